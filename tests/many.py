"""A study of thousands of candidates, filed in bulk: real topologies, curves and results as real ones, none trained.

What is written is what the protocol would have written, Optuna's trials in step; tests/study/test_many_records.py holds
the two side by side.
"""

from __future__ import annotations

import json
import math
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import Connection, Table, func, insert, select, update

from nasmod.space import Space
from nasmod.study import Proposal, RungResult, StoredStudy, candidate_key, tables
from nasmod.study.projection import with_json
from nasmod.topology import Topology

AT_ONCE = 500  # candidates filed in one transaction
GENERATION = 24  # candidates in a generation, as NSGA-II notes it
RUNG = 8
Rows = dict[Table, list[dict[str, Any]]]


def fill(stored: StoredStudy, space: Space, finished: int, stopped: int = 0, failed: int = 0, seed: int = 0) -> None:
    """File so many candidates that ended, in a random order, beside what is there."""
    generator = random.Random(seed)
    states = ["finished"] * finished + ["stopped"] * stopped + ["failed"] * failed
    generator.shuffle(states)
    distributions = with_json(space.parameters())
    with stored.database.engine.connect() as connection:
        seen = set(connection.scalars(select(tables.candidates.c.key).where(tables.candidates.c.study == stored.id)))
    drawn = _distinct(space, generator, seen)
    for start in range(0, len(states), AT_ONCE):
        part = [(state, *next(drawn)) for state in states[start : start + AT_ONCE]]

        def work(connection: Connection, part: list[tuple[str, str, Proposal]] = part) -> None:
            rows: Rows = defaultdict(list)
            optuna_study = connection.scalar(
                select(tables.studies.c.optuna_study).where(tables.studies.c.id == stored.id)
            )
            candidate = connection.scalar(select(func.max(tables.candidates.c.id))) or 0
            trial = connection.scalar(select(func.max(tables.optuna_trials.c.trial_id))) or 0
            of_study = tables.optuna_trials.c.study_id == optuna_study
            number = connection.scalar(select(func.count()).select_from(tables.optuna_trials).where(of_study)) or 0
            for index, (state, key, proposal) in enumerate(part, 1):
                parameters = space.encode(proposal.topology, proposal.settings)
                result, curve = _result(stored, proposal.topology, state, generator), _curve(stored, state, generator)
                common = {
                    "study": stored.id,
                    "id": candidate + index,
                    "trial": trial + index,
                    "number": number + index - 1,
                }
                origin = {
                    **proposal.origin,
                    "system_attributes": {"NSGAIISampler:generation": common["number"] // GENERATION},
                }
                filed = {**proposal.to_json(), "origin": origin, "parameters": parameters}
                reason = {"stopped": "score is under the cut", "failed": "loss is not finite"}.get(state)
                rows[tables.candidates].append(
                    common
                    | {"key": key, "role": "search", "state": state, "token": 1, "beat": len(curve) + 1, "attempts": 1}
                    | {"worker": "a:1", "proposal": json.dumps(filed), "curve": json.dumps(curve)}
                    | {"result": json.dumps(result), "reason": reason, "ended_at": float(common["number"])}
                )
                if state != "failed":
                    _add_rung(rows, common["id"], stored.id, result)
                ids = {"trial_id": common["trial"], "study_id": optuna_study, "number": common["number"]}
                _add_trial(rows, ids, state, parameters, distributions, proposal, key, curve, result, reason)
            for table, content in rows.items():
                connection.execute(insert(table), content)
            proposals = tables.studies.c.proposals + len(part)
            connection.execute(
                update(tables.studies).where(tables.studies.c.id == stored.id).values(proposals=proposals)
            )
            _count_on(connection)

        stored.database.transact(work)
    if stored.database.engine.dialect.name == "postgresql":  # as its own statistics would be after hours of work
        with stored.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE")


def _distinct(space: Space, generator: random.Random, seen: set[str]) -> Iterator[tuple[str, Proposal]]:
    while True:
        topology, settings = space.random(generator)
        key = candidate_key(topology, settings)
        if key not in seen:
            seen.add(key)
            yield key, Proposal(topology, settings, None, {"strategy": "random", "why": "drawn at random"})


def _result(stored: StoredStudy, topology: Topology, state: str, generator: random.Random) -> dict[str, Any]:
    """Measures such as a candidate of this topology might have: more modules do better, and cost more."""
    if state == "failed":
        return {
            "measures": {},
            "standard_errors": {},
            "score": None,
            "traceback": "Traceback: loss is not finite\n" * 20,
        }
    modules = topology.module_count
    accuracy = min(0.99, 0.7 + 0.03 * modules + generator.uniform(-0.1, 0.1))
    measures = {
        "flops": stored.study.objective.flops_budget * modules / 9 * generator.uniform(0.5, 1.0),
        "parameters": 1000.0 * modules,
        "modules": float(modules),
        "wiring_density": generator.random(),
        "depth": float(generator.randint(1, modules)),
        "accuracy": accuracy,
        "loss": 1 - accuracy,
        "skill": accuracy / 0.9 - 0.1 / 0.9,
        "test_accuracy": accuracy,
        "test_loss": 1 - accuracy,
        "latency": generator.random() / 1000,
        "modularity": generator.random(),
        "necessity": generator.random(),
        "independence": generator.random(),
        **{f"information.dense_{number}": generator.random() for number in range(1, modules + 1)},
        "seconds": generator.uniform(5, 15),
    }
    return {
        "measures": measures,
        "standard_errors": {
            name: 0.01 * generator.random() for name in measures if name not in ("flops", "parameters")
        },
        "score": stored.study.objective.score(measures),
        "seconds": measures["seconds"],
        "device": "cpu",
        "versions": {"nasmod": "0.1.0", "torch": "2.13.0", "optuna": "5.0.0"},
        "seed": generator.getrandbits(60),
    }


def _curve(stored: StoredStudy, state: str, generator: random.Random) -> list[dict[str, float]]:
    epochs = {"finished": stored.study.training.epochs, "stopped": RUNG, "failed": 2}[state]
    return [
        {
            "epoch": float(epoch),
            "train_loss": math.exp(-epoch / 8) * generator.uniform(0.9, 1.1),
            "validation_loss": math.exp(-epoch / 9) * generator.uniform(0.9, 1.1),
            "validation_accuracy": (1 - math.exp(-epoch / 4)) * generator.uniform(0.95, 1.0),
            "learning_rate": 4e-3 * (1 - epoch / (epochs + 1)),
            "seconds": generator.uniform(0.01, 0.03),
        }
        for epoch in range(1, epochs + 1)
    ]


def _add_rung(rows: Rows, candidate: int, study: int, result: Mapping[str, Any]) -> None:
    rung = RungResult(RUNG, result["score"], 0.01)
    rows[tables.rungs].append({"candidate": candidate, "epoch": RUNG, "study": study, "result": rung.to_json()})


def _add_trial(
    rows: Rows,
    ids: Mapping[str, Any],
    state: str,
    parameters: Mapping[str, Any],
    distributions: Mapping[str, Any],
    proposal: Proposal,
    key: str,
    curve: list[dict[str, float]],
    result: Mapping[str, Any],
    reason: str | None,
) -> None:
    trial = ids["trial_id"]
    began = datetime.now(UTC).replace(tzinfo=None)
    known = {"finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}
    rows[tables.optuna_trials].append(
        {**ids, "state": known[state], "datetime_start": began, "datetime_complete": began + timedelta(seconds=10)}
    )
    rows[tables.optuna_params].extend(
        {
            "trial_id": trial,
            "param_name": name,
            "param_value": distributions[name][0].to_internal_repr(value),
            "distribution_json": distributions[name][1],
        }
        for name, value in parameters.items()
    )
    attributes = {"key": key, "topology": json.loads(proposal.topology.to_json()), **result["measures"]}
    if reason is not None:
        attributes["reason"] = reason
    rows[tables.optuna_user_attributes].extend(
        {"trial_id": trial, "key": name, "value_json": json.dumps(value)} for name, value in attributes.items()
    )
    rows[tables.optuna_steps].extend(
        {
            "trial_id": trial,
            "step": int(point["epoch"]),
            "intermediate_value": point["validation_accuracy"],
            "intermediate_value_type": "FINITE",
        }
        for point in curve
    )
    if result["score"] is not None:
        rows[tables.optuna_values].append(
            {"trial_id": trial, "objective": 0, "value": result["score"], "value_type": "FINITE"}
        )


def _count_on(connection: Connection) -> None:
    """PostgreSQL numbers rows by a sequence of its own, which ids that are given do not move."""
    if connection.dialect.name != "postgresql":
        return
    for table, column in ((tables.candidates, "id"), (tables.optuna_trials, "trial_id")):
        connection.exec_driver_sql(
            f"SELECT setval(pg_get_serial_sequence('{table.name}', '{column}'), max({column})) FROM {table.name}"
        )
