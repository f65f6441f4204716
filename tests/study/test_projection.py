"""The contract with Optuna's tables: what we write is what Optuna's own calls would have written."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution, distribution_to_json
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import select

from nasmod.study import Database, projection, tables

DISTRIBUTIONS = {
    "kind": CategoricalDistribution(("none", "dense")),
    "edge": CategoricalDistribution((True, False)),
    "width": IntDistribution(8, 128, log=True),
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
}
PARAMETERS = {"kind": "dense", "edge": False, "width": 32, "rate": 0.01}


@pytest.fixture
def both(tmp_path: Path) -> tuple[Database, optuna.storages.RDBStorage]:
    database = Database.create(str(tmp_path / "a.db"))
    return database, optuna.storages.RDBStorage(database.url)


def rows_of(database: Database, trial: int) -> dict[str, list[tuple[object, ...]]]:
    """Everything Optuna's tables hold of a trial, but times, ids and numbers."""

    def work(connection):  # type: ignore[no-untyped-def]
        found = {}
        for table in (
            tables.optuna_params,
            tables.optuna_values,
            tables.optuna_steps,
            tables.optuna_user_attributes,
            tables.optuna_system_attributes,
        ):
            columns = [c for c in table.c if not c.primary_key and c.name != "trial_id"]
            rows = connection.execute(select(*columns).where(table.c.trial_id == trial)).all()
            found[table.name] = sorted(map(tuple, rows), key=repr)
        state = connection.scalar(select(tables.optuna_trials.c.state).where(tables.optuna_trials.c.trial_id == trial))
        found["state"] = [(state,)]
        return found

    return database.read(work)


def ours(database: Database, study: int) -> int:
    described = {name: (found, distribution_to_json(found)) for name, found in DISTRIBUTIONS.items()}
    trial, _ = database.transact(
        lambda c: projection.create_trial(c, study, PARAMETERS, described, {"key": "k", "topology": {"a": [1]}})
    )
    return trial


def theirs(storage: optuna.storages.RDBStorage, study: int) -> int:
    trial = storage.create_new_trial(study)
    for name, distribution in DISTRIBUTIONS.items():
        storage.set_trial_param(trial, name, distribution.to_internal_repr(PARAMETERS[name]), distribution)
    storage.set_trial_user_attr(trial, "key", "k")
    storage.set_trial_user_attr(trial, "topology", {"a": [1]})
    return trial


@pytest.mark.filterwarnings("ignore:optuna.study.study.Study.set_metric_names is experimental")
@pytest.mark.parametrize("named", [{"score": "maximize"}, {"skill": "maximize", "flops": "minimize"}])
def test_a_study_and_a_complete_trial_are_row_by_row_what_optuna_writes(both, named):
    database, storage = both
    directions = list(named.values())
    mine = database.transact(lambda connection: projection.create_study(connection, "mine", named))
    optuna.create_study(study_name="theirs", storage=storage, directions=directions).set_metric_names(list(named))
    foreign = storage.get_study_id_from_name("theirs")
    assert storage.get_study_system_attrs(mine) == storage.get_study_system_attrs(foreign)
    assert optuna.load_study(study_name="mine", storage=storage).metric_names == list(named)
    assert "accuracy on validation data" in storage.get_study_user_attrs(mine)["intermediate values"]
    assert storage.get_study_directions(mine) == storage.get_study_directions(foreign)

    first, second = ours(database, mine), theirs(storage, foreign)
    assert rows_of(database, first) == rows_of(database, second)
    values = [0.5, float("inf")][: len(directions)]

    database.transact(lambda c: projection.report(c, first, 1, float("nan")))
    database.transact(lambda c: projection.report(c, first, 1, 0.25))  # an attempt that repeats the epoch
    storage.set_trial_intermediate_value(second, 1, 0.25)
    database.transact(lambda c: projection.complete(c, first, values, fraction_left=0.0, attributes={"accuracy": 0.9}))
    storage.set_trial_user_attr(second, "accuracy", 0.9)
    if len(directions) > 1:
        storage.set_trial_system_attr(second, "constraints:early_stopped", 0.0)
    storage.set_trial_state_values(second, TrialState.COMPLETE, values)
    assert rows_of(database, first) == rows_of(database, second)


def test_times_are_read_back_by_optuna_as_the_times_they_were(both):
    database, storage = both
    study = database.transact(lambda connection: projection.create_study(connection, "mine", {"score": "maximize"}))
    trial = ours(database, study)
    database.transact(lambda c: projection.complete(c, trial, [1.0], fraction_left=0.0, attributes={}))
    found: FrozenTrial = storage.get_trial(trial)
    reference = storage.get_trial(theirs(storage, study))
    assert found.datetime_complete is not None
    assert found.duration is not None
    assert abs((reference.datetime_start - found.datetime_start).total_seconds()) < 60


def test_numbers_count_on_from_optunas_own_trials(both):
    database, storage = both
    study = database.transact(lambda connection: projection.create_study(connection, "mine", {"score": "maximize"}))
    assert [storage.get_trial(trial).number for trial in (theirs(storage, study), ours(database, study))] == [0, 1]


def test_an_early_stop_is_pruned_with_one_direction_and_constrained_with_several(both):
    database, storage = both
    for directions in ({"score": "maximize"}, {"skill": "maximize", "r2": "maximize"}):
        name = f"s{len(directions)}"
        study = database.transact(lambda c, n=name, d=directions: projection.create_study(c, n, d))
        stopped, whole = ours(database, study), ours(database, study)
        for trial, left, value in ((stopped, 0.75, 0.9), (whole, 0.0, 0.5)):
            database.transact(
                lambda c, t=trial, left=left, v=value, d=directions: projection.complete(
                    c, t, [v] * len(d), fraction_left=left, attributes={}
                )
            )
        loaded = optuna.load_study(study_name=name, storage=storage)
        assert [trial.number for trial in loaded.best_trials] == [1]
        states = [trial.state for trial in loaded.trials]
        assert states[0] == (TrialState.PRUNED if len(directions) == 1 else TrialState.COMPLETE)


def test_handed_back_trials_wait_and_forget_what_comes_again(both):
    database, storage = both
    study = database.transact(lambda connection: projection.create_study(connection, "mine", {"score": "maximize"}))
    trial = ours(database, study)
    for step in (1, 2, 3):
        database.transact(lambda c, step=step: projection.report(c, trial, step, 0.1 * step))
    database.transact(lambda c: projection.wait(c, trial))
    assert storage.get_trial(trial).state == TrialState.WAITING
    database.transact(lambda c: projection.delete_from_step(c, trial, 1))
    database.transact(lambda c: projection.run(c, trial))
    assert storage.get_trial(trial).intermediate_values == {1: 0.1}
    database.transact(lambda c: projection.fail(c, trial, "no memory"))
    assert storage.get_trial(trial).state == TrialState.FAIL
    assert storage.get_trial(trial).user_attrs["reason"] == "no memory"


def test_every_column_that_optuna_demands_is_one_we_fill(both):
    """A column added to Optuna's tables without a default would break our statements: this test names it."""
    filled = {
        tables.optuna_trials: {"number", "study_id", "state", "datetime_start", "datetime_complete"},
        tables.optuna_params: {"trial_id", "param_name", "param_value", "distribution_json"},
        tables.optuna_values: {"trial_id", "objective", "value", "value_type"},
        tables.optuna_steps: {"trial_id", "step", "intermediate_value", "intermediate_value_type"},
        tables.optuna_user_attributes: {"trial_id", "key", "value_json"},
        tables.optuna_system_attributes: {"trial_id", "key", "value_json"},
        tables.optuna_studies: {"study_name"},
        tables.optuna_directions: {"direction", "study_id", "objective"},
    }
    for table, columns in filled.items():
        assert {column.name for column in table.c if not column.primary_key} == columns, table.name
