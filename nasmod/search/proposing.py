"""Filing proposals: the opening, then what the strategy finds, without duplicates and within the FLOPs budget.

It happens on a thread of its own. However long a strategy thinks, the controller keeps its lease and looks after the
workers meanwhile.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Sequence, Set

from nasmod.search import strategies
from nasmod.search.context import Context
from nasmod.search.feasibility import LISTABLE
from nasmod.search.opening import opening
from nasmod.search.strategies.random import draw
from nasmod.study import Proposal, Record, StoredStudy, candidate_key, candidates, stored
from nasmod.study.records import RecordReader
from nasmod.training import derive

DRAWS_WITHOUT_A_NEW_ONE = 1_000  # then the space counts as exhausted
DRAWS_OF_THE_STRATEGY = 50  # of these; the others are random
FILLING_SECONDS = 1.0  # how long proposals are filed before the study is looked at again
WAITED_SECONDS = 1.0  # how long a call waits for what is filed meanwhile
ENDING_SECONDS = 2.0  # how long a strategy that still thinks is waited for at the end


class Proposer:
    """Keeps a study's queue filled. All it needs is in the database; what it keeps spares looking it up again."""

    def __init__(self, context: Context, study: StoredStudy, reader: RecordReader) -> None:
        self.context, self.study, self.reader = context, study, reader
        self._filling: threading.Thread | None = None
        self._found: str | BaseException | None = None  # by the thread: a reason to end, or what it raised
        self._exhausted: str | None = None
        self._listed: list[tuple[str, Proposal]] | None = None
        self._opening: dict[str, Proposal] | None = None
        self._draws = 0  # in a row that brought no new candidate
        self._blind: dict[int, tuple[Record, Record]] = {}  # id -> a record, and what a strategy may see of it

    def fill(self, wanted: int) -> str | None:
        """File proposals until so many are queued; a reason to end the search when there are no new ones.

        Returns after `WAITED_SECONDS` at most; what the strategy still thinks about is filed by the time of a later
        call, which also raises what it raised.
        """
        if self._filling is None:
            self._filling = threading.Thread(target=self._fill, args=(wanted,), daemon=True, name="proposing")
            self._filling.start()
        self._filling.join(WAITED_SECONDS)
        if self._filling.is_alive():
            return None
        self._filling, found, self._found = None, self._found, None
        if isinstance(found, BaseException):
            raise found
        return found

    def end(self) -> None:
        """Wait a little for what is being filed; a strategy that thinks for longer is left to itself."""
        if self._filling is not None:
            self._filling.join(ENDING_SECONDS)

    def _fill(self, wanted: int) -> None:
        try:
            self._found = self._file(wanted, time.monotonic() + FILLING_SECONDS)
        except BaseException as error:  # it is raised where the controller ticks
            self._found = error

    def _file(self, wanted: int, deadline: float) -> str | None:
        filed = 0
        while filed < wanted and time.monotonic() < deadline:  # no more: how those fared is looked at first
            known = self.reader.read()
            queued = sum(record.state == "queued" and record.role == "search" for record in known)
            if queued >= wanted:
                return None
            if self._exhausted is None:
                found = self.file(known, min(wanted - queued, wanted - filed), deadline)
                if isinstance(found, int):
                    filed += found
                else:
                    self._exhausted = found
            if self._exhausted is not None:
                busy = any(record.role == "search" and record.state in ("queued", "running") for record in known)
                return None if busy else self._exhausted
        return None

    def file(self, known: Sequence[Record], wanted: int, deadline: float = math.inf) -> int | str:
        """File up to so many new proposals, those that the strategy finds at once; how many, or why there are none.

        It is 0 where none was found before the deadline (monotonic); the next call goes on.
        """
        seen = {record.key for record in known}
        blind = self._without_test(known)
        while self._draws < DRAWS_WITHOUT_A_NEW_ONE:
            if self._draws and time.monotonic() >= deadline:
                return 0
            proposals = stored.proposals(self.study)
            if (found := self._next(known, seen, blind, proposals, wanted)) is None:
                count = len(self._listed or ())
                return f"exhausted: all {count} candidates of the space within the FLOPs budget were proposed"
            filed = 0
            for drawn_at, proposal in enumerate(found, proposals):
                self._draws += 1
                filed += self._file_one(known, seen, proposal, drawn_at)
            if filed:
                self._draws = 0
                return filed
        return f"exhausted: {DRAWS_WITHOUT_A_NEW_ONE:,} proposals in a row brought no new candidate"

    def _file_one(self, known: Sequence[Record], seen: Set[str], proposal: Proposal, drawn_at: int) -> bool:
        """File a proposal that is new and within the FLOPs budget; count it otherwise."""
        key = candidate_key(proposal.topology, proposal.settings)
        if key not in seen:
            proposal = self.context.counted(proposal)
            if self.context.violation(proposal) is not None:
                candidates.count_infeasible(self.study.database, self.study.id, drawn_at)
                return False
        near = next((record.parameters for record in known if record.key == proposal.parent), None)
        parameters = self.context.space.encode(proposal.topology, proposal.settings, near)
        return candidates.propose(self.study.database, self.study.id, key, proposal, parameters, drawn_at=drawn_at)

    def _next(
        self, known: Sequence[Record], seen: Set[str], blind: Sequence[Record], proposals: int, wanted: int
    ) -> Sequence[Proposal] | None:
        """The opening's next, else the strategy's, else any; None once all of a small space were proposed."""
        if (first := self._next_of_the_opening(known, seen)) is not None:
            return [first]
        if self._draws < DRAWS_OF_THE_STRATEGY:
            strategy = strategies.make(self.study.study, self.context.space, proposals)
            count = min(wanted, strategy.at_once)
            return self._first_new(strategy.propose(blind, count), seen, count)
        if (listed := self._all_of_a_small_space()) is not None:
            unseen = next((proposal for key, proposal in listed if key not in seen), None)
            return None if unseen is None else [unseen]
        generator = random.Random(derive(self.study.study.seed, "fallback", proposals))
        return [draw(self.context.space, generator, "random", "the strategy found no new one")]

    def _first_new(self, proposals: Sequence[Proposal], seen: Set[str], wanted: int) -> list[Proposal]:
        """The first so many that are neither known nor over the FLOPs budget.

        Where there are fewer, the first of the others follow: they are to be counted.
        """
        new: dict[str, Proposal] = {}
        others = []
        for proposal in proposals:
            key = candidate_key(proposal.topology, proposal.settings)
            counted = proposal if key in seen else self.context.counted(proposal)
            if key in seen or key in new or self.context.violation(counted) is not None:
                others.append(proposal)
            else:
                new[key] = counted
            if len(new) == wanted:
                break
        return [*new.values(), *others[: wanted - len(new)]]

    def _next_of_the_opening(self, known: Sequence[Record], seen: Set[str]) -> Proposal | None:
        """The next of those with which the study opens; None once as many candidates were filed."""
        if self._opening is None:
            self._opening = opening(self.context)
        if sum(record.role == "search" for record in known) >= len(self._opening):
            return None
        return next((proposal for key, proposal in self._opening.items() if key not in seen), None)

    def _without_test(self, known: Sequence[Record]) -> list[Record]:
        """What a strategy may see: nothing of the test split. Copies are kept as long as their records are."""
        blind = []
        for record in known:
            kept = self._blind.get(record.id)
            if kept is None or kept[0] is not record:
                kept = self._blind[record.id] = record, record.without_measures("test_")
            blind.append(kept[1])
        return blind

    def _all_of_a_small_space(self) -> list[tuple[str, Proposal]] | None:
        """Every feasible topology of a space that can be listed, with its key; None for a larger space."""
        if self._listed is None:
            everything = self.context.space.proposals(LISTABLE)
            if everything is None:
                return None
            origin = {"strategy": "list", "why": "the next of a small space that was not proposed yet"}
            proposals = (
                self.context.counted(Proposal(topology, settings, None, origin)) for topology, settings in everything
            )
            self._listed = [
                (candidate_key(proposal.topology, proposal.settings), proposal)
                for proposal in proposals
                if self.context.violation(proposal) is None
            ]
        return self._listed
