"""A blueprint: a space whose wiring is fixed. Each of its named places is filled by one of its kinds, or left empty.

A place that is left empty passes nothing on; what then reads nothing, or is read by nothing, is left empty as well.
Where that would cut an output off, or leave an input unread, empty places are filled in order until it does not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from random import Random

from nasmod.errors import SpaceError, unknown
from nasmod.space.cells import Layout, lay_out
from nasmod.space.distributions import Choice, Distribution
from nasmod.space.members import Members
from nasmod.space.recombination import TRIES
from nasmod.space.searched_kind import NONE
from nasmod.space.slot import Slot
from nasmod.space.space import Settings, Space
from nasmod.space.wiring import Edge, Wiring
from nasmod.topology import Parameter, Topology

MOST_PLACEMENTS = 1000  # of a topology on a symmetric blueprint, from which the nearest is chosen


class Blueprint(Space):
    """The space of a file with ``edges = "fixed"``. Its slots are the places, in the order in which they are named.

    Places that are alike have one and the same filling: the first of them has the parameters.
    """

    @cached_property
    def layout(self) -> Layout:
        """The places, and what they and the outputs read."""
        return lay_out(self.file.wiring, self.inputs, self.outputs)

    @property
    def places(self) -> tuple[str, ...]:
        """Names of the places, in order."""
        return tuple(self.layout.places)

    @cached_property
    def first_alike(self) -> tuple[int, ...]:
        """For each place the first one that is filled the same, often itself."""
        first: dict[str, int] = {}
        for slot, (place, section) in enumerate(self.layout.places.items()):
            if section.like is not None and section.like not in first:
                raise SpaceError(_in_place(place, unknown("place named before", section.like, first)))
            first[place] = slot if section.like is None else first[section.like]
        return tuple(first.values())

    @property
    def slots(self) -> Sequence[int]:
        return [slot for slot, first in enumerate(self.first_alike) if slot == first]

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
        kinds = {slot: str(values[f"kind_{slot}"]) for slot in self.slots}
        for slot in [slot for slot, kind in kinds.items() if kind == NONE]:
            if self._is_whole(self._filled(kinds)):
                break
            kinds[slot] = next(str(kind) for kind in self._kinds_of(slot).options if kind != NONE)
        firsts = {slot: self.first_alike[slot] for slot in self._filled(kinds)}
        filled = list(firsts)
        slots = {slot: self._slot(first, kinds[first], values) for slot, first in firsts.items()}
        return self.assemble(slots, self.wiring.wired(filled, {})), self._settings_of(values)

    def random(self, generator: Random) -> tuple[Topology, Settings]:
        """A random proposal: every parameter by itself, each kind of a place as likely as another."""
        return self.decode({name: found.random(generator) for name, found in self.parameters().items()})

    def recombine(self, one: Topology, other: Topology, generator: Random) -> Topology:
        """Each place filled as in one or the other; `SpaceError` where both are the same."""
        ones = self.encode(one)
        others = self.encode(other, near=ones)
        for _ in range(TRIES):
            values = dict(ones)
            for slot in self.slots:
                if generator.random() < 0.5:
                    values |= {name: value for name, value in others.items() if name.endswith(f"_{slot}")}
            made, _ = self.decode(values)
            if made.key not in (one.key, other.key):
                return made
        raise SpaceError(f"No topology of the space has parts of both, in {TRIES} tries.")

    def topologies(self, limit: int) -> list[Topology] | None:
        """Every distinct topology, or None if more than `limit` fillings of the places would have to be looked at."""
        if math.prod(self._count(slot) for slot in self.slots) > limit:
            return None
        found: dict[str, Topology] = {}
        for choice in itertools.product(*(list(self._fillings(slot)) for slot in self.slots)):
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
        return self.merges if self._reads_several(slot) else self.merges[:1]

    def _searched(self, kind: Parameter) -> list[Distribution]:
        return list(self.kinds[str(kind)].searched.values()) if kind != NONE else []

    def _module_counts(self) -> tuple[int, int]:
        return 1, len(self.places)

    def _wiring(self) -> Wiring:
        return Wiring("fixed", self.max_modules, tuple(self.inputs), tuple(self.outputs), frozenset(self._edges()))

    def _edges(self) -> Iterator[Edge]:
        """Those of the file; raises `SpaceError` for a name that is neither an input nor a place named before."""
        known: dict[str, int | str] = {name: name for name in self.inputs}
        for slot, (place, section) in enumerate(self.layout.places.items()):
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
        if self.layout.outputs.keys() != self.outputs.keys():
            raise SpaceError(
                f"Search space, wiring.outputs: the outputs of the data are {', '.join(self.outputs)}, "
                f"not {', '.join(self.layout.outputs)}."
            )
        for output, places in self.layout.outputs.items():
            for name in places:
                if name not in self.places:
                    raise SpaceError(f"Search space, wiring.outputs.{output}: {unknown('place', name, self.places)}")
                yield self.places.index(name), output

    def _kinds_of(self, slot: int) -> Choice:
        kinds = self.layout.places[self.places[slot]].kinds or tuple(self.kinds)
        return Choice(kinds, next(kind for kind in kinds if kind != NONE))

    def _reads_several(self, slot: int) -> bool:
        return any(self.wiring.reads_several(alike) for alike, first in enumerate(self.first_alike) if first == slot)

    def _filled(self, kinds: Mapping[int, str]) -> list[int]:
        """The places that are filled and pass something on, when these are the kinds of those with parameters."""
        return self.wiring.live(slot for slot, first in enumerate(self.first_alike) if kinds[first] != NONE)

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
        module_in = self._filling(found, placed)
        values: dict[str, Parameter] = {}
        for slot in self.slots:
            values |= self._slot_values(slot, module_in.get(slot))
        return sum(value != near.get(name, self._defaults[name]) for name, value in values.items())

    def _placements(self, found: Members, placed: list[int]) -> Iterator[list[int]]:
        """Ways to go on, module by module; those before it in canonical order have their places."""
        module = len(placed)
        if not self._are_alike(found, placed):
            return
        if module == len(found.slots):
            kinds = {slot: self._unfilled(slot) for slot in self.slots}
            kinds |= {slot: filled.kind for slot, filled in self._filling(found, placed).items()}
            if self._filled(kinds) == sorted(placed) and found.edges(placed) == self.wiring.wired(sorted(placed), {}):
                yield placed
            return
        for slot in range(self.max_modules):
            if slot in placed or found.slots[module].kind not in self._kinds_of(self.first_alike[slot]).options:
                continue
            among = self.wiring.wired(sorted([*placed, slot]), {})
            read = {source for source, reader in among if reader == slot}
            wanted = {*(placed[source] for source in found.sources[module]), *found.read_inputs[module]}
            feeds = {reader for source, reader in among if source == slot}  # outputs: modules that read it come later
            if read == wanted and feeds == set(found.fed_outputs[module]):
                yield from self._placements(found, [*placed, slot])

    def _filling(self, found: Members, placement: Sequence[int]) -> dict[int, Slot]:
        """What fills the places that have parameters: of those alike one that merges, where there is one, says how."""
        by_first: dict[int, Slot] = {}
        merging = [found.reads_several(module) for module in range(len(placement))]
        for module in sorted(range(len(placement)), key=lambda module: merging[module]):
            by_first[self.first_alike[placement[module]]] = found.slots[module]
        return by_first

    def _are_alike(self, found: Members, placed: list[int]) -> bool:
        """Whether the last module that has a place is equal to those in places that are alike."""
        if not placed:
            return True
        last = len(placed) - 1
        return all(
            found.are_equal(last, module)
            for module in range(last)
            if self.first_alike[placed[module]] == self.first_alike[placed[last]]
        )


def _in_place(place: str, what: str) -> str:
    return f"Search space, wiring.places.{place}: {what}"
