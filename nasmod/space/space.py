"""A search space: which topologies may be proposed, and each of them as parameters and back.

Modules lie in slots, some of which may be empty; every parameter of every slot always has a value. What parameters say
is repaired so that every module is live and every input is read, so every draw gives a proposal; what is stored is the
encoding of that proposal. The law: ``propose(encode(topology)).key == topology.key``. It knows nothing of Optuna, FLOPs
or training.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random

from nasmod.errors import SpaceError, unknown
from nasmod.modules import Shape
from nasmod.space.distributions import Choice, Distribution, Suggest, distribution
from nasmod.space.drawing import draw
from nasmod.space.file import SpaceFile
from nasmod.space.listing import list_proposals, list_topologies
from nasmod.space.members import Members
from nasmod.space.mutation import mutate
from nasmod.space.placement import nearest_placement
from nasmod.space.recombination import recombine
from nasmod.space.searched_kind import NONE, read_kind
from nasmod.space.slot import Slot
from nasmod.space.wiring import Edge, Wiring
from nasmod.topology import INPUT, OUTPUT, USUAL_MERGE, Node, Parameter, Topology

Settings = dict[str, Parameter]


class Space:
    """The space that a file describes, for a data set's inputs and outputs (shapes by name).

    `training` holds a study's own training settings: those which the space searches begin there.
    """

    def __init__(
        self,
        file: SpaceFile,
        inputs: Mapping[str, Shape],
        outputs: Mapping[str, Shape],
        training: Mapping[str, Parameter | None] | None = None,
    ) -> None:
        self.file = file
        self.inputs, self.outputs = dict(inputs), dict(outputs)
        self.min_modules, self.max_modules = self._module_counts()
        self.kinds = {name: read_kind(name, table) for name, table in file.kinds.items()}
        self.merges = file.wiring.merge
        self.wiring = self._wiring()
        own = training or {}
        self.setting_distributions = {n: distribution(values, own.get(n)) for n, values in file.settings.items()}
        self._parameters = dict(self._named_distributions())
        self._defaults = {name: found.default for name, found in self._parameters.items()}
        self._check()

    @classmethod
    def load(cls, path: str | Path, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]) -> Space:
        """The space of a file; `SpaceError` in one line."""
        return cls.of(SpaceFile.load(path), inputs, outputs)

    @classmethod
    def of(
        cls,
        file: SpaceFile,
        inputs: Mapping[str, Shape],
        outputs: Mapping[str, Shape],
        training: Mapping[str, Parameter | None] | None = None,
    ) -> Space:
        """The space that a file describes: a `Blueprint` where its edges are fixed."""
        from nasmod.space.blueprint import Blueprint

        return (Blueprint if file.wiring.edges == "fixed" else Space)(file, inputs, outputs, training)

    @property
    def slots(self) -> Sequence[int]:
        """The slots that have parameters."""
        return range(self.max_modules)

    @property
    def settings(self) -> tuple[str, ...]:
        """Names of the training settings that are searched too."""
        return tuple(self.setting_distributions)

    @property
    def default_settings(self) -> Settings:
        """The searched training settings as the study has them itself, where the space holds that value."""
        return {name: found.default for name, found in self.setting_distributions.items()}

    def parameters(self) -> dict[str, Distribution]:
        """Every parameter by name, in the order in which they are asked for: the same for ever within a study."""
        return dict(self._parameters)

    def parameters_of(self, slot: int, kind: str) -> list[str]:
        """Names of the parameters of a slot that act while a module of this kind, or none, fills it."""
        searched = self.kinds[kind].searched if kind != NONE else ()
        names = [f"{kind}.{name}_{slot}" for name in searched]
        return [*names, f"merge_{slot}"] if f"merge_{slot}" in self._parameters else names

    def propose(self, suggest: Suggest) -> tuple[Topology, Settings]:
        """The topology and settings that `suggest` draws; every parameter is asked for, always in the same order."""
        return self.decode({name: found.suggest(name, suggest) for name, found in self._parameters.items()})

    def decode(self, values: Mapping[str, Parameter]) -> tuple[Topology, Settings]:
        """The topology and settings that parameters stand for, repaired; those not given stand at their default."""
        values = {**self._defaults, **values}
        kinds = {slot: str(values[f"kind_{slot}"]) for slot in self.slots}
        active = [slot for slot, kind in kinds.items() if kind != NONE]
        empty = [slot for slot, kind in kinds.items() if kind == NONE]
        for slot in empty[: max(0, self.min_modules - len(active))]:
            kinds[slot] = next(iter(self.kinds))
            active = sorted([*active, slot])
        slots = {slot: self._slot(slot, kinds[slot], values) for slot in active}
        return self.assemble(slots, self.wiring.wired(active, values)), self._settings_of(values)

    def encode(
        self,
        topology: Topology,
        settings: Mapping[str, Parameter] | None = None,
        near: Mapping[str, Parameter] | None = None,
    ) -> dict[str, Parameter]:
        """All parameters of a topology, those of empty slots at their default.

        Modules take the first slots in canonical order, or the slots that change the fewest parameters of `near`.
        Raises `SpaceError` if the space does not hold the topology or a setting.
        """
        found = Members(self, topology)
        placement = self._placement(found, near)
        module_in = self._filling(found, placement)
        values: dict[str, Parameter] = {}
        for slot in self.slots:
            values |= self._slot_values(slot, module_in.get(slot))
        edges = found.edges(placement)
        values |= {name: edge in edges for name, edge in self.wiring.parameters.items()}
        if self.wiring.wired(sorted(placement), values) != edges:
            raise SpaceError(f"The space wires its modules as '{self.wiring.edges}'; this topology is wired otherwise.")
        return values | self._setting_values(settings or {})

    def contains(self, topology: Topology) -> bool:
        """Whether `propose` can give this topology."""
        try:
            self.encode(topology)
        except SpaceError:
            return False
        return True

    def random(self, generator: Random) -> tuple[Topology, Settings]:
        """A random proposal: the number of modules first, then the wiring, then kinds and parameters."""
        return draw(self, generator)

    def mutate(
        self, topology: Topology, settings: Mapping[str, Parameter], generator: Random
    ) -> tuple[Topology, Settings]:
        """A proposal one random edit away; `SpaceError` if there is none."""
        return mutate(self, topology, settings, generator)

    def recombine(self, one: Topology, other: Topology, generator: Random) -> Topology:
        """A topology with modules of two others, unlike both; `SpaceError` if there is none."""
        return recombine(self, one, other, generator)

    def topologies(self, limit: int) -> list[Topology] | None:
        """Every distinct topology of the space, or None if more than `limit` encodings would have to be looked at."""
        return list_topologies(self, limit)

    def proposals(self, limit: int) -> list[tuple[Topology, Settings]] | None:
        """Every topology with every combination of searched settings, or None if that takes more than `limit`."""
        return list_proposals(self, limit)

    def assemble(self, slots: Mapping[int, Slot], edges: Iterable[Edge]) -> Topology:
        """The topology of modules in slots and edges between them; a module merges only if it reads several nodes."""
        readers: list[int | str] = [*sorted(slots), *self.outputs]
        sources: dict[int | str, list[int | str]] = {reader: [] for reader in readers}
        for source, reader in edges:
            sources[reader].append(source)
        read = set(itertools.chain.from_iterable(sources.values()))
        position: dict[int | str, int] = {}
        nodes: list[Node] = []
        for name in self.inputs:
            if name in read:
                position[name] = len(nodes)
                nodes.append(Node(INPUT, (), {"name": name}))
        for reader, found in sources.items():
            inputs = tuple(sorted(position[source] for source in found))
            if isinstance(reader, str):
                nodes.append(self.output_node(reader, inputs))
                continue
            slot = slots[reader]
            merge = {"merge": slot.merge} if len(inputs) > 1 else {}
            position[reader] = len(nodes)
            nodes.append(Node(slot.kind, inputs, {**slot.params, **merge}))
        return Topology(tuple(nodes))

    def output_node(self, name: str, inputs: tuple[int, ...]) -> Node:
        """The node of an output, which says how it merges where that is not the usual way."""
        merge = self.file.wiring.output_merge
        unusual = len(inputs) > 1 and merge != USUAL_MERGE
        return Node(OUTPUT, inputs, {"name": name, **({"merge": merge} if unusual else {})})

    def _named_distributions(self) -> Iterator[tuple[str, Distribution]]:
        for slot in self.slots:
            found = self._kinds_of(slot)
            yield f"kind_{slot}", found
            for kind in found.options:
                for name, searched in self.kinds[str(kind)].searched.items() if kind != NONE else ():
                    yield f"{kind}.{name}_{slot}", searched
            if len(self.merges) > 1 and self._reads_several(slot):
                yield f"merge_{slot}", Choice(self.merges, self.merges[0])
        for name in self.wiring.parameters:
            yield name, Choice((False, True), False)
        for name, setting in self.setting_distributions.items():
            yield f"setting.{name}", setting

    def _module_counts(self) -> tuple[int, int]:
        """The fewest and the most modules of a topology."""
        assert self.file.modules is not None
        return self.file.modules.min, self.file.modules.max

    def _check(self) -> None:
        """Raise `SpaceError` for a wiring that leads nowhere: one that is not fixed is repaired instead."""

    def _wiring(self) -> Wiring:
        return Wiring(self.file.wiring.edges, self.max_modules, tuple(self.inputs), tuple(self.outputs))

    def _reads_several(self, slot: int) -> bool:
        """Whether the module in a slot may have to merge."""
        return self.wiring.reads_several(slot)

    def _filling(self, found: Members, placement: Sequence[int]) -> dict[int, Slot]:
        """What fills the slots that have parameters."""
        return dict(zip(placement, found.slots, strict=True))

    def _kinds_of(self, slot: int) -> Choice:
        """The kinds that a slot may have."""
        return Choice((NONE, *self.kinds), NONE)

    def _unfilled(self, slot: int) -> str:
        """The kind of a slot that no module of a topology lies in."""
        return NONE

    def _placement(self, found: Members, near: Mapping[str, Parameter] | None) -> list[int]:
        """The slot of each module."""
        return list(range(len(found.slots))) if near is None else self._placement_near(found, near)

    def _slot(self, slot: int, kind: str, values: Mapping[str, Parameter]) -> Slot:
        searched = {name: values[f"{kind}.{name}_{slot}"] for name in self.kinds[kind].searched}
        return Slot(kind, self.kinds[kind].params(searched), str(values.get(f"merge_{slot}", self.merges[0])))

    def _settings_of(self, values: Mapping[str, Parameter]) -> Settings:
        return {name: values[f"setting.{name}"] for name in self.settings}

    def _slot_values(self, slot: int, module: Slot | None) -> dict[str, Parameter]:
        values: dict[str, Parameter] = {f"kind_{slot}": self._unfilled(slot) if module is None else module.kind}
        for kind in self._kinds_of(slot).options:
            for name, found in self.kinds[str(kind)].searched.items() if kind != NONE else ():
                own = module is not None and kind == module.kind
                values[f"{kind}.{name}_{slot}"] = module.params[name] if own and module else found.default
        if f"merge_{slot}" in self._parameters:
            values[f"merge_{slot}"] = self.merges[0] if module is None else module.merge
        return values

    def _setting_values(self, settings: Mapping[str, Parameter]) -> dict[str, Parameter]:
        values = {}
        for name, value in settings.items():
            if name not in self.setting_distributions:
                raise SpaceError(unknown("searched setting", name, self.setting_distributions))
            if not self.setting_distributions[name].contains(value):
                raise SpaceError(f"Setting '{name}' is never {value!r} in this space.")
        for name, found in self.setting_distributions.items():
            values[f"setting.{name}"] = settings.get(name, found.default)
        return values

    def _placement_near(self, found: Members, near: Mapping[str, Parameter]) -> list[int]:
        near = {**self._defaults, **near}
        edges: dict[int, list[tuple[bool, Edge]]] = {slot: [] for slot in range(self.max_modules)}
        for name, edge in self.wiring.parameters.items():
            edges[max(end for end in edge if isinstance(end, int))].append((bool(near[name]), edge))
        alone = {
            (slot, module): sum(near[name] != value for name, value in self._slot_values(slot, label).items())
            for slot in range(self.max_modules)
            for module, label in [(None, None), *enumerate(found.slots)]
        }

        def cost(slot: int, module: int | None, placed: dict[int, int]) -> int:
            wanted: set[Edge] = set()
            if module is not None:
                wanted = {(placed[source], slot) for source in found.sources[module]}
                wanted |= {(name, slot) for name in found.read_inputs[module]}
                wanted |= {(slot, name) for name in found.fed_outputs[module]}
            return alone[slot, module] + sum(was != (edge in wanted) for was, edge in edges[slot])

        return nearest_placement(self.max_modules, found.sources, cost)
