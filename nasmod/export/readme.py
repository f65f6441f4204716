"""The README of an export: what the network is, how good it is, how to load it, where it came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nasmod.data import Dataset
from nasmod.export.card import card
from nasmod.export.fresh_process import ONNX, OPSET, SOURCE
from nasmod.measures.measure import Arrays
from nasmod.measures.roles import Roles
from nasmod.modules import Noted, check_params, has_source, kind
from nasmod.networks import Plan


@dataclass(frozen=True)
class Facts:
    """What the README tells besides the network itself."""

    title: str
    recipe: Mapping[str, Any]
    measures: Mapping[str, float]
    standard_errors: Mapping[str, float]
    roles: Roles
    differences: Mapping[str, float]
    scores: Mapping[str, float]
    outputs: Arrays  # what the network says of the test split


_SOURCE = """From its source (`pip install torch safetensors`):

```python
from model import load
model = load("weights.safetensors")  # a torch.nn.Module in eval mode
{results} = model({arguments})
```
"""

_ONNX = """
As ONNX of opset {opset} (`pip install onnxruntime`); other runtimes read it too:

```python
import onnxruntime
session = onnxruntime.InferenceSession("model.onnx")
outputs = session.run(None, {{{given}}})  # a list of NumPy arrays
```
"""


def readme(plan: Plan, dataset: Dataset, facts: Facts) -> str:
    """Markdown text."""
    parts = [
        f"# {facts.title.rstrip('.')}",
        _loading(plan, facts),
        card(dataset, facts.outputs),
        _interface(plan, dataset),
        _modules(plan),
        *([_roles(facts.roles)] if facts.roles else []),
        _measures(facts),
        _proof(dataset, facts),
        _recipe(facts),
    ]
    return "\n\n".join(parts) + "\n"


def _loading(plan: Plan, facts: Facts) -> str:
    names = [plan.steps[plan.input_step(name)].name for name in plan.inputs]
    arguments, floats = ", ".join(names), ", ".join(f"{name}.float()" for name in names)
    results = ", ".join(plan.steps[plan.output_step(name)].name for name in plan.outputs)
    onnx = _ONNX.format(opset=OPSET, given=", ".join(f'"{name}": {name}.float().numpy()' for name in names))
    source = SOURCE in facts.differences
    types = "Its source converts values of any type; the other forms take float32." if source else "It takes float32."
    return f"""\
## Load it

It runs without nasmod. Give it raw values: it normalises them itself. The batch may be of any size. {types}

{_SOURCE.format(results=results, arguments=arguments) if source else _notes(plan)}
As an exported program (`pip install torch`):

```python
import torch
model = torch.export.load("model.pt2").module()
{results} = model({floats})
```
{onnx if ONNX in facts.differences else ""}
On a GPU, or on another device:

```python
{_on_devices(facts, source)}
```

The topology alone, to go on with in nasmod:

```python
from nasmod.topology import Topology
topology = Topology.from_json(open("topology.json").read())
```"""


def _on_devices(facts: Facts, source: bool) -> str:
    lines = ['model = load("weights.safetensors").to("cuda")'] if source else []
    lines += [
        "from torch.export.passes import move_to_device_pass",
        'program = move_to_device_pass(torch.export.load("model.pt2"), "cuda")  # it is made for the CPU',
        "model = program.module()",
    ]
    if ONNX in facts.differences:
        lines.append('session = onnxruntime.InferenceSession("model.onnx", providers=["CUDAExecutionProvider"])')
    return "\n".join(lines)


def _notes(plan: Plan) -> str:
    """What its kinds say of modules that no source here can make."""
    lines = ["There is no `model.py`: what makes these modules is not in this folder.", ""]
    for step in plan.steps:
        if step.node.is_module and not has_source(step.node.kind):
            made = kind(step.node.kind)
            note = made.note(check_params(step.node.kind, step.node.params)) if isinstance(made, Noted) else ""
            lines.append(f"- `{step.name}`, of the kind '{step.node.kind}'" + (f": `{note}`" if note else ""))
    return "\n".join([*lines, ""])


def _interface(plan: Plan, dataset: Dataset) -> str:
    rows = ["## Inputs and outputs", "", "| name | shape | values |", "|---|---|---|"]
    for name, shape in plan.inputs.items():
        kind = dataset.test.inputs[name].dtype
        rows.append(f"| input `{name}` | {_batch(shape)} | {kind}, raw{_listed(dataset.feature_names.get(name))} |")
    for name, shape in plan.outputs.items():
        if dataset.task == "regression":
            meaning = "standardised values"
            if name in dataset.target_normalisation:
                mean, std = (_plain(part) for part in dataset.target_normalisation[name])
                meaning += f": times {std}, plus {mean} gives the data's own units"
        else:
            meaning = f"logits, one per class{_listed(dataset.class_names.get(name))}"
        rows.append(f"| output `{name}` | {_batch(shape)} | {meaning} |")
    return "\n".join(rows)


def _modules(plan: Plan) -> str:
    rows = ["## Modules", "", "| module | reads | merged by | parameters | gives |", "|---|---|---|---|---|"]
    for step in plan.steps:
        if step.is_input:
            continue
        read = ", ".join(plan.steps[source].name for source in step.sources)
        merge = "" if step.merge == "single" else step.merge
        params = ", ".join(
            f"{name} {value}" for name, value in step.node.params.items() if name not in ("name", "merge")
        )
        rows.append(f"| {step.name} | {read} | {merge} | {params} | {_batch(step.shape)} |")
    return "\n".join(rows)


def _roles(roles: Roles) -> str:
    factors = [_cell(factor) for factor in next(iter(roles.values()))]
    rows = [
        "## What each module does",
        "",
        "Of each factor of the data's work: the share of the module's variance that the factor moves (*reads*), and "
        "the share of the factor's effect on the outputs that flows through the module (*carries*).",
        "",
        f"| module |{''.join(f' {factor} |' for factor in factors)}",
        f"|---|{'---|' * len(factors)}",
    ]
    for module, of_module in roles.items():
        cells = [
            f"carries {role.carries:.2f}"
            if role.reads is None
            else f"reads {role.reads:.2f}, carries {role.carries:.2f}"
            for role in of_module.values()
        ]
        rows.append(f"| {_cell(module)} |{''.join(f' {cell} |' for cell in cells)}")
    return "\n".join(rows)


def _measures(facts: Facts) -> str:
    if not facts.measures:
        return "## Measures\n\nNone were stored."
    rows = ["## Measures", "", "| measure | value | standard error |", "|---|---|---|"]
    for name, value in sorted(facts.measures.items()):
        error = facts.standard_errors.get(name)
        rows.append(f"| {name} | {_number(value)} | {'' if error is None else f'± {_number(error)}'} |")
    return "\n".join(rows)


def _proof(dataset: Dataset, facts: Facts) -> str:
    score = "R²" if dataset.task == "regression" else "accuracy"
    rows = [
        "## Checked",
        "",
        f"On the {len(dataset.test):,} test examples, in a process without nasmod:",
        "",
        f"| form | test {score} | largest absolute difference from the trained network |",
        "|---|---|---|",
        *(f"| {form} | {facts.scores[form]:.4f} | {facts.differences[form]:.2g} |" for form in facts.scores),
    ]
    return "\n".join(rows)


def _recipe(facts: Facts) -> str:
    text = json.dumps(facts.recipe, indent=2, default=str, ensure_ascii=False)
    return f"## Recipe\n\n```json\n{text}\n```"


def _cell(name: str) -> str:
    """A name as a cell of a table holds it."""
    return " ".join(name.split()).replace("|", "\\|")


def _batch(shape: tuple[int, ...]) -> str:
    return f"(B, {', '.join(map(str, shape))})"


def _listed(names: tuple[str, ...] | None) -> str:
    if not names:
        return ""
    shown = names if len(names) <= 100 else (*names[:100], "…")
    return ": " + ", ".join(_cell(str(name)) for name in shown)


def _plain(values: Any) -> str:
    numbers = [f"{float(value):.6g}" for value in values]
    return numbers[0] if len(numbers) == 1 else f"[{', '.join(numbers)}]"


def _number(value: float) -> str:
    return f"{int(value):,}" if float(value).is_integer() and abs(value) >= 10 else f"{value:.4g}"
