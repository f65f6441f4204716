"""Large studies: what is read, claimed and proposed does not grow with what was trained, and stays the same answer."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import optuna
import pytest
from optuna.samplers import NSGAIISampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import event
from sqlalchemy.engine import CursorResult

from nasmod import registry
from nasmod.measures import Objective
from nasmod.search import strategies
from nasmod.search.strategies.mirror import LATEST, Mirror, Nsga2OfMirror, TpeOfMirror, window
from nasmod.space import Space, SpaceFile
from nasmod.study import Proposal, Record, RungResult, StoredStudy, recovery
from nasmod.study import candidates as protocol
from nasmod.study import records as reading
from nasmod.study.files import sweep_weights
from nasmod.study.stored import raise_budget
from nasmod.study.tables import candidates
from tests.many import fill
from tests.study.conftest import INPUTS, OUTPUTS, RESULT, trials_of

PARETO = Objective(flops_budget=100_000, mode="pareto")

STRATEGIES = [
    name
    for name in registry.names("strategy")
    if not name.startswith("nni.") or (find_spec("nni") and (name != "nni.anneal" or find_spec("hyperopt")))
]


@contextmanager
def counted(study: StoredStudy) -> Iterator[dict[str, int]]:
    """How many statements are executed within, and how many rows their results have."""
    found = {"statements": 0, "rows": 0}

    def executed(connection: object, cursor: object, *rest: object) -> None:
        found["statements"] += 1

    before = CursorResult._fetchall_impl

    def fetched(result: CursorResult[Any]) -> Any:
        rows = before(result)
        found["rows"] += len(rows)
        return rows

    event.listen(study.database.engine, "after_cursor_execute", executed)
    CursorResult._fetchall_impl = fetched  # type: ignore[method-assign]
    try:
        yield found
    finally:
        CursorResult._fetchall_impl = before
        event.remove(study.database.engine, "after_cursor_execute", executed)


def eager(stored: StoredStudy) -> list[Record]:
    """Every record with every field given, by plain JSON."""
    with stored.database.engine.connect() as connection:
        rows = connection.execute(candidates.select().order_by(candidates.c.id)).all()
    found = []
    for row in rows:
        proposal, result = json.loads(row.proposal), json.loads(row.result or "{}")
        found.append(
            Record(
                number=row.number,
                key=row.key,
                state=row.state,
                proposal=Proposal.from_json(proposal),
                measures=result.get("measures", {}),
                standard_errors=result.get("standard_errors", {}),
                score=result.get("score"),
                curve=tuple(json.loads(row.curve)),
                reason=row.reason,
                weights=row.weights,
                role=row.role,
                parameters=proposal["parameters"],
                worker=row.worker,
                seconds=result.get("seconds"),
                attempts=row.attempts,
                traceback=result.get("traceback"),
                id=row.id,
            )
        )
    return found


def test_records_that_parse_what_is_asked_for_equal_those_that_were_parsed_whole(study, space, file_one):
    fill(study, space, 20, stopped=5, failed=3)
    file_one()
    lazy, whole = reading.read_records(study), eager(study)
    assert [record.score for record in lazy] == [record.score for record in whole]
    assert lazy == whole
    again = [dataclasses.replace(record, reason="another") for record in reading.read_records(study)]
    assert again == [dataclasses.replace(record, reason="another") for record in whole]
    with pytest.raises(AttributeError, match="no attribute 'skore'"):
        _ = lazy[0].skore  # type: ignore[attr-defined]


def test_a_copy_without_the_test_split_shows_nothing_of_it(study, space):
    fill(study, space, 2)
    for record in (*reading.read_records(study), *eager(study)):
        blind = record.without_measures("test_")
        assert set(record.measures) - set(blind.measures) == {"test_accuracy", "test_loss"}
        assert dataclasses.replace(record, measures=blind.measures) == blind


def test_reading_again_costs_the_same_however_much_was_trained(study, space, file_one, claim_one):
    costs = []
    raise_budget(study, 10_000, None)
    for more in (30, 300):
        fill(study, space, more, stopped=more // 10, seed=more)
        file_one()
        reader = reading.RecordReader(study)
        reader.read()
        with counted(study) as cost:
            reader.read()
        costs.append(cost)
        held = claim_one("w")
        protocol.finish(study.database, held, RESULT, [0.5], weights=b"w")
        assert reader.read() == reading.read_records(study)
        sweep(study)
    assert costs[0]["statements"] == costs[1]["statements"] <= 4
    assert costs[0]["rows"] == costs[1]["rows"]


def sweep(study: StoredStudy) -> None:
    study.database.transact(lambda connection: sweep_weights(connection, study.id, (), study.artifacts))


def test_a_reader_sees_retried_failures_swept_weights_and_what_others_finished(study, file_one, claim_one):
    reader = reading.RecordReader(study)
    for _ in range(2):
        file_one()
    protocol.fail(study.database, claim_one("w"), "no memory")
    assert [found.state for found in reader.read()] == ["failed", "queued"]
    recovery.retry(study.database, study.id)
    assert [found.state for found in reader.read()] == ["queued", "queued"]
    # tried again and ended between two looks: nothing says so but its token
    protocol.fail(study.database, claim_one("w"), "no memory, again")
    recovery.retry(study.database, study.id)
    protocol.finish(study.database, claim_one("w"), RESULT, [0.5], weights=b"w")
    found = reader.read()
    assert [record.state for record in found] == ["finished", "queued"]
    assert found[0].weights is not None
    sweep(study)
    found = reader.read()
    assert found[0].weights is None
    assert found == reading.read_records(study)


def test_a_claim_and_a_rung_cost_the_same_however_much_was_trained(study, space, file_one, claim_one, monkeypatch):
    monkeypatch.setattr(protocol, "COMPARED", 40)
    raise_budget(study, 10_000, None)
    costs = []
    for more in (50, 300):
        fill(study, space, more, seed=more)
        file_one()
        with counted(study) as claimed:
            held = claim_one(f"w{more}")
        assert held is not None
        with counted(study) as reported:
            others = protocol.report(study.database, held, [{"epoch": 1.0}] * 8, 0.5, RungResult(8, 0.5))
        assert len(others) == 40
        costs.append((claimed["statements"], claimed["rows"], reported["statements"], reported["rows"]))
        protocol.finish(study.database, held, RESULT, [0.5])
    assert costs[0] == costs[1]


def test_optuna_reads_a_filled_study_as_if_it_had_been_searched(study, space, file_one, claim_one):
    fill(study, space, 12, stopped=2, failed=1)
    raise_budget(study, 100, None)
    file_one()
    held = claim_one("w")
    protocol.finish(study.database, held, RESULT, [0.5])
    trials = trials_of(study.database)
    assert [trial.number for trial in trials] == list(range(16))
    assert trials[-1].params.keys() == trials[0].params.keys()
    for record, trial in zip(reading.read_records(study), trials, strict=True):
        assert record.number == trial.number
        assert dict(record.parameters) == trial.params


def test_a_fresh_process_proposes_what_the_one_before_would_have(study, space):
    fill(study, space, 800, stopped=60, failed=10)  # more than a sampler is shown
    fresh = Space(SpaceFile.from_table(study.study.space), INPUTS, OUTPUTS)
    records = reading.read_records(study)
    for name in STRATEGIES:
        definition = study.study.model_copy(update={"strategy": {"name": name}})
        for number in range(3):
            kept = strategies.make(definition, space, number).propose(records[: 700 + 85 * number], 1)
        again = strategies.make(definition, fresh, 2).propose(reading.read_records(study)[: 700 + 85 * 2], 1)
        assert again == kept

    shown = window(records)
    living = [record for record in records if record.state != "failed"]
    assert shown[-LATEST:] == living[-LATEST:]
    older = [record for record in living[:-LATEST] if record not in shown]
    assert all(record.score >= max(other.score for other in older) for record in shown[:-LATEST])


@pytest.mark.parametrize("name", STRATEGIES)
def test_strategies_propose_after_measures_that_are_not_finite(study, space, name):
    fill(study, space, 60, stopped=10)
    odd = itertools.cycle([math.inf, 1.0, -math.inf, math.nan, 2.0, math.inf])
    records = [
        dataclasses.replace(record, measures={**record.measures, "high": value, "low": value})
        for record, value in zip(reading.read_records(study), odd, strict=False)
    ]
    objective = Objective(flops_budget=100_000, mode="pareto", directions={"high": "maximize", "low": "minimize"})
    definition = study.study.model_copy(update={"strategy": {"name": name}, "objective": objective})
    for number in range(5):
        assert strategies.make(definition, space, number).propose(records, 1)


def plain(record: Record, mirror: Mirror) -> FrozenTrial:
    """A record as Optuna's own constructor makes it."""
    common = {
        "params": dict(record.parameters),
        "distributions": mirror.distributions,
        "system_attrs": dict(record.proposal.origin["system_attributes"]),
    }
    values = list(mirror.objective.values(record.measures))
    if record.state == "stopped" and mirror.stopped_as is TrialState.PRUNED:
        steps = {len(record.curve): values[0]}
        return create_trial(state=TrialState.PRUNED, value=values[0], intermediate_values=steps, **common)
    constraints = {"early_stopped": 1.0 if record.state == "stopped" else 0.0}
    return create_trial(state=TrialState.COMPLETE, values=values, constraints=constraints, **common)


def asked(
    sampler: optuna.samplers.BaseSampler, records: list[Record], mirror: Mirror, space: Space
) -> dict[str, object]:
    """What a sampler proposes in a study made by Optuna's own calls."""
    directions = ["maximize"] if mirror.objective.mode == "combined" else list(mirror.objective.directions.values())
    study = optuna.create_study(directions=directions, sampler=sampler)
    study.add_trials([plain(record, mirror) for record in records])
    trial = study.ask()
    space.propose(trial)
    return trial.params


@pytest.mark.parametrize("mode", ["combined", "pareto"])
def test_samplers_of_a_mirror_propose_what_optunas_own_do(study, space, mode):
    """A contract with Optuna: told the space and the numbers, its samplers compute what they find out themselves."""
    fill(study, space, 120, stopped=20)
    records = reading.read_records(study)
    objective = PARETO if mode == "pareto" else study.study.objective
    stopped_as = TrialState.COMPLETE if mode == "pareto" else TrialState.PRUNED
    options = {"n_startup_trials": 0, "multivariate": True, "group": False, "constant_liar": True, "seed": 5}
    mirror = Mirror(space, objective, stopped_as)
    ours = mirror.study(records, TpeOfMirror(mirror, **options)).ask()
    space.propose(ours)
    assert ours.params == asked(TPESampler(**options), records, mirror, space)

    options = {"population_size": 24, "crossover_prob": 0.9, "seed": 5}
    mirror = Mirror(space, objective, TrialState.COMPLETE)
    ours = mirror.study(records, Nsga2OfMirror(mirror, **options)).ask()
    space.propose(ours)
    assert ours.params == asked(NSGAIISampler(**options), records, mirror, space)


def test_nsga2_goes_on_after_hundreds_of_generations(study, space):
    """Optuna's own selects back to the first generation, one call in another: from about 500 on, too deep."""
    fill(study, space, 60)
    records = [
        dataclasses.replace(
            record,
            proposal=dataclasses.replace(
                record.proposal, origin={"system_attributes": {"NSGAIISampler:generation": 600 + number // 2}}
            ),
        )
        for number, record in enumerate(reading.read_records(study))
    ]
    definition = study.study.model_copy(update={"strategy": {"name": "nsga2", "population": 2}})
    (proposal,) = strategies.make(definition, space, 0).propose(records, 1)
    assert proposal.origin["system_attributes"]["NSGAIISampler:generation"] == 630
