"""A plan: the live part of a topology with its names, adapters, merges and every shape resolved. It imports no torch.

Everything that speaks of a network reads the plan: building, FLOPs, lesions, export.
"""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nasmod.errors import TopologyError, unknown
from nasmod.modules import Shape, check_params, gives_outputs, kind
from nasmod.networks.adapters import Layer, adapt
from nasmod.topology import USUAL_MERGE, Node, Topology

MERGES = ("concat", "sum", "gated")

_RESERVED = {"self", "torch", "nn", "F", "math", "inputs", "Model", "load"}  # names an exported model.py has


@dataclass(frozen=True)
class Step:
    """One node of the plan, and what it reads."""

    name: str  # an identifier, unique in the plan: "x", "conv_1", "y"
    node: Node
    sources: tuple[int, ...]  # earlier steps
    adapters: tuple[tuple[Layer, ...], ...]  # one per source; empty: the source is read as it is
    merge: str  # "single", "sum", "concat" or "gated"
    merged: Shape  # what the module reads
    shape: Shape  # what it gives
    has_head: bool = False  # an output: whether a linear layer makes its values of what it reads

    @property
    def is_input(self) -> bool:
        return self.node.kind == "input"

    @property
    def is_output(self) -> bool:
        return self.node.kind == "output"


@dataclass(frozen=True)
class Plan:
    """Steps in canonical order, and the shapes of the inputs that are read and of the outputs."""

    steps: tuple[Step, ...]
    inputs: dict[str, Shape]
    outputs: dict[str, Shape]

    def input_step(self, name: str) -> int:
        """Index of the step that gives the input `name`."""
        return next(i for i, s in enumerate(self.steps) if s.is_input and s.node.params["name"] == name)

    def output_step(self, name: str) -> int:
        """Index of the step that gives the output `name`."""
        return next(i for i, s in enumerate(self.steps) if s.is_output and s.node.params["name"] == name)

    def adapter_name(self, step: Step, position: int) -> str:
        """Name of the adapter of a step's source: ``conv_2_from_dense_1``."""
        return f"{step.name}_from_{self.steps[step.sources[position]].name}"


def plan(topology: Topology, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]) -> Plan:
    """Resolve the live part of a topology on data of these shapes (without the batch, features first).

    The same for every isomorphic topology. Raises `TopologyError` when the names of inputs or outputs do not fit the
    data, `SpaceError` for impossible parameters of a kind; no wiring fails on shapes.

    >>> nodes = [Node("input", (), {"name": "x"}), Node("dense", (0,), {"width": 8})]
    >>> found = plan(Topology((*nodes, Node("output", (1,), {"name": "y"}))), {"x": (1, 4, 4)}, {"y": (10,)})
    >>> [(step.name, step.merged, step.shape) for step in found.steps]
    [('x', (1, 4, 4), (1, 4, 4)), ('dense_1', (16,), (8,)), ('y', (8,), (10,))]
    """
    nodes = topology.canonical().nodes
    _check_names(nodes, inputs, outputs)
    names = _names(nodes)
    steps: list[Step] = []
    for node, name in zip(nodes, names, strict=True):
        if node.kind == "input":
            shape = tuple(inputs[str(node.params["name"])])
            steps.append(Step(name, node, (), (), "single", shape, shape))
            continue
        sources = [steps[source].shape for source in node.inputs]
        merge = _merge(node)
        if node.kind == "output":
            adapters, merged = adapt(sources, accepts=(1,), merge=merge)
            shape = tuple(outputs[str(node.params["name"])])
            has_head = merged != shape or not all(_gives_outputs(nodes[source]) for source in node.inputs)
        else:
            adapters, merged = adapt(sources, kind(node.kind).accepts, merge)
            shape = kind(node.kind).output_shape(merged, check_params(node.kind, node.params))
            has_head = False
        steps.append(Step(name, node, node.inputs, adapters, merge, merged, shape, has_head))

    read = {step.node.params["name"] for step in steps if step.is_input}
    return Plan(
        tuple(steps), {n: tuple(s) for n, s in inputs.items() if n in read}, {n: tuple(s) for n, s in outputs.items()}
    )


def _gives_outputs(node: Node) -> bool:
    return node.is_module and gives_outputs(node.kind)


def _merge(node: Node) -> str:
    if len(node.inputs) == 1:
        return "single"
    merge = str(node.params.get("merge", USUAL_MERGE))
    if merge not in MERGES:
        raise TopologyError(unknown("merge", merge, MERGES))
    return merge


def _check_names(nodes: Sequence[Node], inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]) -> None:
    for node in nodes:
        if node.is_module:
            continue
        known = inputs if node.kind == "input" else outputs
        if node.params["name"] not in known:
            raise TopologyError(unknown(f"{node.kind} of the data", str(node.params["name"]), known))
    given = {node.params["name"] for node in nodes if node.kind == "output"}
    missing = sorted(set(outputs) - given)
    if missing:
        raise TopologyError(f"A topology must give every output of the data; '{missing[0]}' is missing.")
    for name, shape in inputs.items():
        if len(shape) not in (1, 2, 3) or min(shape) < 1:
            raise TopologyError(f"An input has 1 to 3 dimensions besides the batch, not '{name}' {tuple(shape)}.")
    for name, shape in outputs.items():
        if len(shape) != 1 or shape[0] < 1:
            raise TopologyError(f"An output has 1 dimension besides the batch, not '{name}' {tuple(shape)}.")


def _names(nodes: Sequence[Node]) -> list[str]:
    """An identifier per node, unique: the names of inputs and outputs; modules counted within their kind."""
    taken = set(_RESERVED)
    counts: dict[str, int] = {}
    found: dict[int, str] = {}
    for index in sorted(range(len(nodes)), key=lambda i: nodes[i].is_module):  # the user's own names first
        node = nodes[index]
        if node.is_module:
            counts[node.kind] = counts.get(node.kind, 0) + 1
            wanted = f"{node.kind}_{counts[node.kind]}"
        else:
            wanted = str(node.params["name"])
        name = re.sub(r"\W", "_", unicodedata.normalize("NFKC", wanted))  # as Python reads identifiers
        name = f"_{name}" if not name or name[0].isdigit() else name
        name = name if name.isidentifier() else re.sub(r"\W", "_", name, flags=re.ASCII)
        # in a class Python gives names that begin with two underscores another one: "_" and "_head" would be such
        name = re.sub("^__+", "_", name) if name.strip("_") else "unnamed"
        while name in taken or keyword.iskeyword(name):
            name += "_"
        taken.add(name)
        found[index] = name
    return [found[index] for index in range(len(nodes))]
