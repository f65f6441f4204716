"""The source of a network, as a person would have written it: module classes copied, then one class `Model`."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from nasmod.errors import ExportError, plain
from nasmod.export.printing import Group, Text, pretty
from nasmod.modules import check_params, kind, network_class
from nasmod.networks import Layer, Plan, Step
from nasmod.networks.network import Gate

RESERVED_CLASSES = {"Model", "Gate"}

_WRITTEN_INLINE: dict[str, Callable[[str, Mapping[str, Any]], Text]] = {  # layers without parameters
    "Flatten": lambda x, a: f"{x}.flatten({a['start_dim']})",
    "Unflatten": lambda x, a: f"{x}.unflatten({a['dim']}, {a['unflattened_size']})",
    "Upsample": lambda x, a: f"F.interpolate({x}, size={a['size']})",
    "AdaptiveAvgPool1d": lambda x, a: f"F.adaptive_avg_pool1d({x}, {a['output_size']})",
    "AdaptiveAvgPool2d": lambda x, a: f"F.adaptive_avg_pool2d({x}, {a['output_size']})",
}


def model_source(plan: Plan, title: str) -> str:
    """Text of a file that needs torch and safetensors alone: class `Model`, and `load(weights) -> Model`.

    Its state dict has the names of the trained network's. `title` is the first line of its docstring.
    """
    names = _class_names(plan)
    classes = [_class_source(network_class(name), renamed) for name, renamed in names.items()]
    if any(step.merge == "gated" for step in plan.steps):
        classes.append(_class_source(Gate, "Gate"))
    body = "\n\n\n".join([*classes, _model(plan, names), _LOAD])
    imports = ["import torch", "from safetensors.torch import load_file", "from torch import nn"]
    if re.search(r"\bF\.", body):
        imports.append("from torch.nn import functional as F")
    if re.search(r"\bmath\.", body):
        imports[:0] = ["import math", ""]
    title = plain(title).replace("\\", "/").replace('"', "'")
    return f'"""{title}"""\n\nfrom __future__ import annotations\n\n' + "\n".join(imports) + f"\n\n\n{body}\n"


_LOAD = '''\
def load(weights: str) -> Model:
    """The trained model from its safetensors file, in eval mode."""
    model = Model()
    model.load_state_dict(load_file(weights))
    return model.eval()'''


def _class_names(plan: Plan) -> dict[str, str]:
    """The class name per kind, made different where two kinds chose the same."""
    found: dict[str, str] = {}
    for step in plan.steps:
        if step.node.is_module and step.node.kind not in found:
            name = network_class(step.node.kind).__name__
            while name in found.values() or name in RESERVED_CLASSES:
                name += "_"
            found[step.node.kind] = name
    return found


def _class_source(of: type[nn.Module], name: str) -> str:
    try:
        source = textwrap.dedent(inspect.getsource(of))
    except (OSError, TypeError) as error:
        raise ExportError(f"The source of the class '{of.__name__}' cannot be read: {error}.") from error
    if name != of.__name__:
        source = re.sub(rf"\b{of.__name__}\b", name, source)
    return source.rstrip()


def _model(plan: Plan, classes: Mapping[str, str]) -> str:
    by_name = [plan.steps[plan.input_step(name)] for name in plan.inputs]
    results = [plan.steps[plan.output_step(name)].name for name in plan.outputs]
    lines = ["class Model(nn.Module):", f'    """{_docstring(plan)}"""', "", "    def __init__(self) -> None:"]
    lines += ["        super().__init__()", *_constructions(plan, classes), ""]
    arguments = ["self", *(f"{step.name}: torch.Tensor" for step in by_name)]
    returned = "torch.Tensor" if len(results) == 1 else f"tuple[{', '.join(['torch.Tensor'] * len(results))}]"
    lines.append(pretty(Group("def forward(", arguments, f") -> {returned}:"), indent=4))
    for step in plan.steps:
        shape = f"  # (B, {', '.join(map(str, step.shape))})"
        if step.is_input:
            mean, std = f"self.{step.name}_mean", f"self.{step.name}_std"
            value: Text = f"({step.name}.to({mean}.dtype) - {mean}) / {std}"
        else:
            name = f"{step.name}_head" if step.is_output else step.name
            is_layer = step.has_head or not step.is_output
            value = Group(f"self.{name}(", [_read(plan, step)], ")") if is_layer else _read(plan, step)
        lines.append(pretty(_assigned(step.name, value), indent=8, comment=shape))
    lines.append(f"        return {', '.join(results)}")
    return "\n".join(lines)


def _docstring(plan: Plan) -> str:
    read = ", ".join(f"{plan.steps[plan.input_step(n)].name} {_batch(shape)}" for n, shape in plan.inputs.items())
    given = ", ".join(f"{plan.steps[plan.output_step(n)].name} {_batch(shape)}" for n, shape in plan.outputs.items())
    return f"Reads raw values {read}; gives {given}."


def _batch(shape: tuple[int, ...]) -> str:
    return f"(B, {', '.join(map(str, shape))})"


def _constructions(plan: Plan, classes: Mapping[str, str]) -> list[str]:
    lines = []
    for step in plan.steps:
        if step.is_input:
            per_feature = ", ".join(str(size) for size in (step.shape[0], *(1 for _ in step.shape[1:])))
            for part, fill in (("mean", "zeros"), ("std", "ones")):
                lines.append(f'        self.register_buffer("{step.name}_{part}", torch.{fill}({per_feature}))')
            continue
        for position, layers in enumerate(step.adapters):
            if not _is_inline(layers):
                name = plan.adapter_name(step, position)
                lines.append(pretty(_assigned(f"self.{name}", _adapter(layers)), indent=8))
        if step.merge == "gated":
            lines.append(f"        self.{step.name}_gate = Gate({len(step.sources)})")
        if step.has_head:
            lines.append(f"        self.{step.name}_head = nn.Linear({step.merged[0]}, {step.shape[0]})")
        if not step.node.is_module:
            continue
        arguments = kind(step.node.kind).arguments(step.merged, check_params(step.node.kind, step.node.params))
        call = _call(classes[step.node.kind], network_class(step.node.kind), arguments)
        lines.append(pretty(_assigned(f"self.{step.name}", call), indent=8))
    return lines


def _is_inline(layers: tuple[Layer, ...]) -> bool:
    return all(layer.name in _WRITTEN_INLINE for layer in layers)


def _adapter(layers: tuple[Layer, ...]) -> Group:
    calls = [_call(f"nn.{layer.name}", getattr(nn, layer.name), layer.arguments) for layer in layers]
    return calls[0] if len(calls) == 1 else Group("nn.Sequential(", calls, ")")


def _call(name: str, of: type[nn.Module], arguments: Mapping[str, Any]) -> Group:
    """What a person would write: required arguments by position, others by name where they differ from the default."""
    printed: list[Text] = []
    for parameter in inspect.signature(of).parameters.values():
        if parameter.name not in arguments:
            continue
        value = arguments[parameter.name]
        printable = isinstance(value, str) and value.isprintable()
        text = json.dumps(value, ensure_ascii=False) if printable else repr(value)
        if parameter.default is inspect.Parameter.empty and parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            printed.append(text)
        elif value != parameter.default or type(value) is not type(parameter.default):
            printed.append(f"{parameter.name}={text}")
    return Group(f"{name}(", printed, ")")


def _read(plan: Plan, step: Step) -> Text:
    """What a step reads: its sources through their adapters, merged."""
    read: list[Text] = []
    for position, layers in enumerate(step.adapters):
        value: Text = plan.steps[step.sources[position]].name
        if not _is_inline(layers):
            value = Group(f"self.{plan.adapter_name(step, position)}(", [value], ")")
        else:
            for layer in layers:
                assert isinstance(value, str)
                value = _WRITTEN_INLINE[layer.name](value, layer.arguments)
        read.append(value)
    if step.merge == "concat":
        return Group("torch.cat(", [Group("[", read, "]"), "dim=1"], ")")
    if step.merge == "gated":
        return Group(f"self.{step.name}_gate(", read, ")")
    if step.merge == "sum":
        return Group("", read, "", separator=" + ")
    return read[0]


def _assigned(name: str, value: Text) -> Text:
    if isinstance(value, Group):
        return Group(f"{name} = {value.opening}", value.items, value.closing, value.separator)
    return f"{name} = {value}"
