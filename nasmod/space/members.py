"""The members of a topology as a space sees them: modules without an order, and the edges between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nasmod.errors import SpaceError, unknown
from nasmod.space.slot import Slot
from nasmod.space.wiring import Edge
from nasmod.topology import INPUT, OUTPUT, USUAL_MERGE, Node, Topology

if TYPE_CHECKING:
    from nasmod.space.space import Space


class Members:
    """The modules of a topology in canonical order, and what each reads and feeds.

    Raises `SpaceError` if one of them cannot be of the space.
    """

    def __init__(self, space: Space, topology: Topology) -> None:
        nodes = topology.canonical().nodes
        ordinal = {index: number for number, index in enumerate(i for i, node in enumerate(nodes) if node.is_module)}
        if not space.min_modules <= len(ordinal) <= space.max_modules:
            raise SpaceError(
                f"The space holds {space.min_modules} to {space.max_modules} modules; this topology has {len(ordinal)}."
            )
        for kind, known in [(INPUT, space.inputs), (OUTPUT, space.outputs)]:
            names = [str(node.params["name"]) for node in nodes if node.kind == kind]
            if set(names) != known.keys():
                raise SpaceError(f"The space's {kind}s are {', '.join(known)}; the topology's are {', '.join(names)}.")
        self.slots: list[Slot] = []
        self.sources: list[frozenset[int]] = []
        self.read_inputs: list[list[str]] = []
        self.fed_outputs: list[list[str]] = [[] for _ in ordinal]
        for node in nodes:
            inputs = [str(nodes[source].params["name"]) for source in node.inputs if nodes[source].kind == INPUT]
            modules = frozenset(ordinal[source] for source in node.inputs if source in ordinal)
            if node.kind == OUTPUT:
                name = str(node.params["name"])
                if inputs:
                    raise SpaceError(f"Output '{name}' reads an input, which no space proposes.")
                merge, wanted = node.params.get("merge", USUAL_MERGE), space.file.wiring.output_merge
                if len(node.inputs) > 1 and merge != wanted:
                    raise SpaceError(f"Outputs of this space merge by {wanted}, not {merge!r}.")
                for module in modules:
                    self.fed_outputs[module].append(name)
            elif node.is_module:
                self.slots.append(_slot(space, node))
                self.sources.append(modules)
                self.read_inputs.append(inputs)

    def reads_several(self, module: int) -> bool:
        """Whether a module merges several nodes."""
        return len(self.sources[module]) + len(self.read_inputs[module]) > 1

    def are_equal(self, one: int, other: int) -> bool:
        """Whether two modules are of one kind with the same parameters, and merge alike where both do."""
        first, second = self.slots[one], self.slots[other]
        both = self.reads_several(one) and self.reads_several(other)
        return (first.kind, first.params) == (second.kind, second.params) and not (both and first.merge != second.merge)

    def edges(self, placement: list[int]) -> frozenset[Edge]:
        """Every edge, when `placement` gives the slots of the modules."""
        found: set[Edge] = set()
        for module, slot in enumerate(placement):
            found |= {(placement[source], slot) for source in self.sources[module]}
            found |= {(name, slot) for name in self.read_inputs[module]}
            found |= {(slot, name) for name in self.fed_outputs[module]}
        return frozenset(found)


def _slot(space: Space, node: Node) -> Slot:
    if node.kind not in space.kinds:
        raise SpaceError(unknown("kind of this space", node.kind, space.kinds))
    kind = space.kinds[node.kind]
    merge = node.params.get("merge", space.merges[0])
    if merge not in space.merges or (len(node.inputs) > 1) != ("merge" in node.params):
        raise SpaceError(f"A module that reads several nodes merges by {', '.join(space.merges)}, not {merge!r}.")
    return Slot(kind.name, kind.params(kind.read(node.params)), str(merge))
