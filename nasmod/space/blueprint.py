"""A blueprint: a space whose wiring is fixed. Each of its named places is filled by one of its kinds, or left empty.

A place that is left empty passes nothing on; what then reads nothing, or is read by nothing, is left empty as well.
Where that would cut an output off, or leave an input unread, empty places are filled in order until it does not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from random import Random

from nasmod.errors import SpaceError, unknown
from nasmod.space.distributions import Choice, Distribution
from nasmod.space.members import Members
from nasmod.space.searched_kind import NONE
from nasmod.space.space import Settings, Space
from nasmod.space.wiring import Edge, Wiring
from nasmod.topology import Parameter, Topology

MOST_PLACEMENTS = 1000  # of a topology on a symmetric blueprint, from which the nearest is chosen


class Blueprint(Space):
    """The space of a file with ``edges = "fixed"``. Its slots are the places, in the order in which they are named."""

    @property
    def places(self) -> tuple[str, ...]:
        """Names of the places, in order."""
        return tuple(self.file.wiring.places)

    def _check(self) -> None:
        whole = self.wiring.live(range(self.max_modules))
        for slot, place in enumerate(self.places):
            if slot not in whole:
                raise SpaceError(f"Search space, wiring.places: nothing that leads to an output reads '{place}'.")
        unread = next((name for name in self.inputs if name not in {source for source, _ in self.wiring.fixed}), None)
        if unread is not None:
            raise SpaceError(f"Search space, wiring.places: no place reads the input '{unread}'.")

    def decode(self, values: Mapping[str, Parameter]) -> tuple[Topology, Settings]:
        values = {**self._defaults, **values}
        kinds = {slot: str(values[f"kind_{slot}"]) for slot in range(self.max_modules)}
        for slot in [slot for slot, kind in kinds.items() if kind == NONE]:
            if self._is_whole(self._filled(kinds)):
                break
            kinds[slot] = next(str(kind) for kind in self._kinds_of(slot).options if kind != NONE)
        filled = self._filled(kinds)
        slots = {slot: self._slot(slot, kinds[slot], values) for slot in filled}
        return self.assemble(slots, self.wiring.wired(filled, {})), self._settings_of(values)

    def random(self, generator: Random) -> tuple[Topology, Settings]:
        """A random proposal: every parameter by itself, each kind of a place as likely as another."""
        return self.decode({name: found.random(generator) for name, found in self.parameters().items()})

    def topologies(self, limit: int) -> list[Topology] | None:
        """Every distinct topology, or None if more than `limit` fillings of the places would have to be looked at."""
        if math.prod(self._count(slot) for slot in range(self.max_modules)) > limit:
            return None
        found: dict[str, Topology] = {}
        for choice in itertools.product(*(list(self._fillings(slot)) for slot in range(self.max_modules))):
            topology, _ = self.decode({name: value for filling in choice for name, value in filling.items()})
            found.setdefault(topology.key, topology)
        return list(found.values())

    def _count(self, slot: int) -> float:
        """How many fillings a place has."""
        kinds = self._kinds_of(slot).options
        return len(self._merges(slot)) * sum(math.prod(found.count for found in self._searched(k)) for k in kinds)

    def _fillings(self, slot: int) -> Iterator[dict[str, Parameter]]:
        """Everything that a place may hold, as parameters."""
        for kind in self._kinds_of(slot).options:
            names = [f"{kind}.{name}_{slot}" for name in (self.kinds[str(kind)].searched if kind != NONE else ())]
            for values in itertools.product(*(found.values() for found in self._searched(kind))):
                for merge in self._merges(slot):
                    yield {f"kind_{slot}": kind, f"merge_{slot}": merge, **dict(zip(names, values, strict=True))}

    def _merges(self, slot: int) -> tuple[str, ...]:
        return self.merges if self.wiring.reads_several(slot) else self.merges[:1]

    def _searched(self, kind: Parameter) -> list[Distribution]:
        return list(self.kinds[str(kind)].searched.values()) if kind != NONE else []

    def _module_counts(self) -> tuple[int, int]:
        return 1, len(self.places)

    def _wiring(self) -> Wiring:
        return Wiring("fixed", self.max_modules, tuple(self.inputs), tuple(self.outputs), frozenset(self._edges()))

    def _edges(self) -> Iterator[Edge]:
        """Those of the file; raises `SpaceError` for a name that is neither an input nor a place named before."""
        known: dict[str, int | str] = {name: name for name in self.inputs}
        for slot, (place, section) in enumerate(self.file.wiring.places.items()):
            if place in self.inputs:
                raise SpaceError(f"Search space, wiring.places: '{place}' is the name of an input; rename the place.")
            for name in section.reads:
                if name not in known:
                    raise SpaceError(_in_place(place, unknown("input, or place named before,", name, known)))
                yield known[name], slot
            for kind in section.kinds or ():
                if kind != NONE and kind not in self.kinds:
                    raise SpaceError(_in_place(place, unknown("kind of this space", kind, (*self.kinds, NONE))))
            if section.kinds == (NONE,):
                raise SpaceError(_in_place(place, "a place that is always empty is none."))
            known[place] = slot
        if self.file.wiring.outputs.keys() != self.outputs.keys():
            raise SpaceError(
                f"Search space, wiring.outputs: the outputs of the data are {', '.join(self.outputs)}, "
                f"not {', '.join(self.file.wiring.outputs)}."
            )
        for output, places in self.file.wiring.outputs.items():
            for name in places:
                if name not in self.places:
                    raise SpaceError(f"Search space, wiring.outputs.{output}: {unknown('place', name, self.places)}")
                yield self.places.index(name), output

    def _kinds_of(self, slot: int) -> Choice:
        kinds = self.file.wiring.places[self.places[slot]].kinds or tuple(self.kinds)
        return Choice(kinds, next(kind for kind in kinds if kind != NONE))

    def _filled(self, kinds: Mapping[int, str]) -> list[int]:
        return self.wiring.live(slot for slot, kind in kinds.items() if kind != NONE)

    def _is_whole(self, filled: Iterable[int]) -> bool:
        """Whether every output is reached, and every input read."""
        edges = self.wiring.wired(sorted(filled), {})
        ends = {end for edge in edges for end in edge}
        return ends >= {*self.inputs, *self.outputs}

    def _unfilled(self, slot: int) -> str:
        found = self._kinds_of(slot)
        return NONE if found.contains(NONE) else str(found.default)

    def _placement(self, found: Members, near: Mapping[str, Parameter] | None) -> list[int]:
        """The places of the modules: where the blueprint is symmetric the first that fit, or the nearest to `near`."""
        fitting = list(itertools.islice(self._placements(found, []), 1 if near is None else MOST_PLACEMENTS))
        if not fitting:
            raise SpaceError("The space's wiring is fixed; this topology is wired otherwise, or by other kinds.")
        return fitting[0] if near is None else min(fitting, key=lambda placed: self._changes(found, placed, near))

    def _changes(self, found: Members, placed: list[int], near: Mapping[str, Parameter]) -> int:
        """How many parameters of `near` a placement changes."""
        module_of = dict(zip(placed, found.slots, strict=True))
        values: dict[str, Parameter] = {}
        for slot in range(self.max_modules):
            values |= self._slot_values(slot, module_of.get(slot))
        return sum(value != near.get(name, self._defaults[name]) for name, value in values.items())

    def _placements(self, found: Members, placed: list[int]) -> Iterator[list[int]]:
        """Ways to go on, module by module; those before it in canonical order have their places."""
        module = len(placed)
        if module == len(found.slots):
            kinds = {slot: self._unfilled(slot) for slot in range(self.max_modules)}
            kinds |= {slot: filled.kind for slot, filled in zip(placed, found.slots, strict=True)}
            if self._filled(kinds) == sorted(placed) and found.edges(placed) == self.wiring.wired(sorted(placed), {}):
                yield placed
            return
        for slot in range(self.max_modules):
            if slot in placed or found.slots[module].kind not in self._kinds_of(slot).options:
                continue
            among = self.wiring.wired(sorted([*placed, slot]), {})
            read = {source for source, reader in among if reader == slot}
            wanted = {*(placed[source] for source in found.sources[module]), *found.read_inputs[module]}
            feeds = {reader for source, reader in among if source == slot}  # outputs: modules that read it come later
            if read == wanted and feeds == set(found.fed_outputs[module]):
                yield from self._placements(found, [*placed, slot])


def _in_place(place: str, what: str) -> str:
    return f"Search space, wiring.places.{place}: {what}"
