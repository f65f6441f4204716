"""Searches without training: strategies propose, and results are made up."""

from __future__ import annotations

import random

from nasmod import registry
from nasmod.measures import Objective
from nasmod.space import Space, SpaceFile
from nasmod.study import Record
from nasmod.study.definition import read_toml
from nasmod.testing.strategies import made_up

COMBINED = Objective(flops_budget=100_000)
PARETO = Objective(flops_budget=100_000, mode="pareto")


def dense_space() -> Space:
    """The packaged space `dense` on the digits."""
    table = read_toml(registry.packaged("search_spaces")["dense"])
    return Space(SpaceFile.from_table(table), {"x": (64,)}, {"y": (10,)})


def searched(space: Space, name: str, objective: Objective, count: int, **settings: object) -> list[Record]:
    """A search of `count` candidates, one after the other, some of them stopped, failed, or still running."""
    model, target = registry.settings("strategy", name), registry.resolve("strategy", name)
    records: list[Record] = []
    for number in range(count):
        strategy = target(model(**settings), space, random.Random(number), objective)
        proposal = strategy.propose(records, 1)[0]
        state = {5: "stopped", 7: "failed"}.get(number % 9, "finished")
        records.append(made_up(space, proposal, number, objective, "running" if number == count - 1 else state))
    return records
