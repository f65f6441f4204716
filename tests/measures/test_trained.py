"""One function trains and measures: the worker and a training again give what it gives, and its hooks do what they say.

The networks and data are small; every training is a real one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from nasmod.data import Dataset, load_dataset
from nasmod.measures import Evaluation, Measured, measure_all
from nasmod.measures.retraining import retrain
from nasmod.measures.trained import Trained, measure_network, measure_plan, train_and_measure
from nasmod.networks import Network, Plan, plan
from nasmod.search.asking import Asked
from nasmod.search.candidate import CandidateTraining
from nasmod.study import Proposal, candidate_key, candidates, records
from nasmod.topology import Node, Topology
from nasmod.training import Epoch, TrainingSettings, derive, save_weights
from tests.search.conftest import make_study, start  # noqa: F401  # fixtures: a small study in a database of its own

TOPOLOGY = Topology(
    (
        Node("input", (), {"name": "x"}),
        Node("dense", (0,), {"width": 8}),
        Node("dense", (0,), {"width": 8}),
        Node("output", (1, 2), {"name": "y"}),
    )
)
SETTINGS = TrainingSettings(epochs=2, batch_size=64)
MEASURES = {"accuracy": {}, "cost": {}, "wiring": {}, "modularity": {"examples": 64}}


@pytest.fixture(scope="module")
def few() -> Dataset:
    return load_dataset({"name": "digits", "limit": 400})


@pytest.fixture(scope="module")
def planned(few: Dataset) -> Plan:
    return plan(TOPOLOGY, few.inputs, few.output_shapes)


@pytest.fixture(scope="module")
def trained(planned: Plan, few: Dataset) -> Trained:
    return train_and_measure(planned, few, SETTINGS, MEASURES, 7)


def steady(values: dict[str, float]) -> dict[str, float]:
    """Measures without those that tell the time."""
    return {name: value for name, value in values.items() if not name.startswith(("latency", "seconds"))}


def state(network: Network) -> dict[str, torch.Tensor]:
    """A copy of all parameters and buffers."""
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def test_a_worker_stores_what_the_function_gives_for_its_seed(make_study: Callable, start: Callable) -> None:  # noqa: F811
    stored, context = start(make_study())
    proposal = context.counted(Proposal(TOPOLOGY))
    key = candidate_key(TOPOLOGY, {})
    candidates.propose(stored.database, stored.id, key, proposal, {}, "reference")
    held = candidates.claim(stored.database, stored.id, "w", context.distributions)
    CandidateTraining(context, stored.database, held, "cpu", Asked()).run()
    (record,) = records.read_records(stored)

    study = context.study
    seed = derive(study.seed, key)
    same = train_and_measure(context.plan(TOPOLOGY), context.dataset, study.training, study.measures, seed)
    assert steady(record.measures) == steady(same.measured.values)
    assert steady(record.standard_errors) == steady(same.measured.standard_errors)
    assert records.weights(stored, record) == save_weights(same.network)
    assert [row["train_loss"] for row in record.curve] == [row["train_loss"] for row in same.result.curve]


def test_training_again_gives_what_the_function_gives_for_each_of_its_seeds(planned: Plan, few: Dataset) -> None:
    for seed, again in zip((5, 6), retrain(planned, few, SETTINGS, MEASURES, (5, 6)), strict=True):
        same = train_and_measure(planned, few, SETTINGS, MEASURES, seed)
        assert again.measures == same.measured.values
        assert again.standard_errors == same.measured.standard_errors
        assert again.weights == save_weights(same.network)


def test_what_is_measured_is_the_plan_before_and_the_network_after(
    trained: Trained, planned: Plan, few: Dataset
) -> None:
    before, after = measure_plan(planned, few, MEASURES, 7), measure_network(trained.network, few, MEASURES, 7)
    assert {"flops", "wiring_density"} <= before.values.keys()
    assert {"accuracy", "modularity"} <= after.values.keys()
    tested = {name for name in trained.measured.values if name.startswith("test_")}
    assert "test_accuracy" in tested  # a rung, which asks for the network's measures alone, sees nothing of it
    untested = {name: value for name, value in trained.measured.values.items() if name not in tested}
    assert before.joined(after).values == untested
    by_hand = Evaluation(planned, few, trained.network, seed=derive(7, "measures"), with_test=True)
    assert measure_all(MEASURES, by_hand, cheap=False).values.items() <= trained.measured.values.items()


def test_what_is_known_is_not_measured_again(planned: Plan, few: Dataset) -> None:
    known = Measured({"flops": 1.0}, {})
    found = train_and_measure(planned, few, SETTINGS, {"cost": {}}, 7, known=known)
    assert found.measured.values == {"flops": 1.0}


def test_flops_that_are_known_are_not_counted(planned: Plan, few: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = measure_plan(planned, few, {"cost": {}}, 7).values
    monkeypatch.setattr("nasmod.networks.flops.count_flops", None)
    given = measure_plan(planned, few, {"cost": {}}, 7, flops=int(counted["flops"])).values
    assert given == counted


def test_validation_outputs_of_an_epoch_are_those_that_would_be_computed(planned: Plan, few: Dataset) -> None:
    """A rung and the end of a training are measured without a pass over the validation split."""
    epochs = []
    found = train_and_measure(planned, few, SETTINGS, {}, 7, on_epoch=epochs.append)
    known = measure_network(found.network, few, {"accuracy": {}}, 7, validation_outputs=epochs[-1].validation_outputs)
    assert known == measure_network(found.network, few, {"accuracy": {}}, 7)
    silent = {name: torch.zeros_like(outputs) for name, outputs in epochs[-1].validation_outputs.items()}
    assert measure_network(found.network, few, {"accuracy": {}}, 7, validation_outputs=silent) != known


def test_the_network_is_prepared_once_built_and_normalised_and_not_yet_trained(
    trained: Trained, planned: Plan, few: Dataset
) -> None:
    seen = []
    again = train_and_measure(
        planned, few, SETTINGS, {}, 7, prepare=lambda network: seen.append((network, state(network)))
    )
    ((network, before),) = seen
    assert network is again.network
    mean, _ = few.normalisation["x"]
    assert torch.equal(before["x_mean"].flatten(), torch.as_tensor(mean).float().flatten())
    after = state(network)
    assert any(not torch.equal(before[name], after[name]) for name in before)
    same = state(trained.network)  # what only looks changes nothing
    assert all(torch.equal(same[name], after[name]) for name in same)


def test_training_starts_where_the_preparation_left_the_network(trained: Trained, planned: Plan, few: Dataset) -> None:
    still = SETTINGS.model_copy(update={"learning_rate": 1e-9, "epochs": 1})
    inherited = state(trained.network)
    found = train_and_measure(
        planned, few, still, {"accuracy": {}}, 8, prepare=lambda network: network.load_state_dict(inherited)
    )
    after = state(found.network)
    assert all(torch.allclose(inherited[name], after[name], atol=1e-6) for name in inherited)
    assert found.measured.values["accuracy"] == trained.measured.values["accuracy"]


def test_a_penalty_reaches_the_loss(trained: Trained, planned: Plan, few: Dataset) -> None:
    seen = []

    def large_weights(network: torch.nn.Module, activations: object) -> torch.Tensor:
        seen.append(activations)
        return 10 * sum(parameter.square().sum() for parameter in network.parameters())

    found = train_and_measure(planned, few, SETTINGS, {}, 7, penalty=large_weights)
    assert set(seen[0]) == set(range(len(planned.steps)))  # by step
    assert found.result.curve[0]["train_loss"] > trained.result.curve[0]["train_loss"] + 1
    norm, without = (
        math.fsum(float(parameter.detach().square().sum()) for parameter in network.parameters())
        for network in (found.network, trained.network)
    )
    assert norm < without


def test_a_reason_of_on_epoch_stops_it_and_then_only_what_was_known_before_is_measured(
    planned: Plan, few: Dataset
) -> None:
    seen: list[Epoch] = []

    def stop(epoch: Epoch) -> str | None:
        seen.append(epoch)
        return "enough" if epoch.number == 2 else None

    longer = SETTINGS.model_copy(update={"epochs": 4})
    found = train_and_measure(planned, few, longer, MEASURES, 7, on_epoch=stop)
    assert found.result.stopped == "enough"
    assert [epoch.number for epoch in seen] == [1, 2]
    assert all(epoch.network is found.network for epoch in seen)
    assert found.measured.values == measure_plan(planned, few, MEASURES, 7).values


def test_a_training_goes_on_from_its_checkpoint(trained: Trained, planned: Plan, few: Dataset) -> None:
    states = []
    train_and_measure(planned, few, SETTINGS, {}, 7, on_epoch=lambda epoch: states.append(epoch.state()))
    seen = []
    found = train_and_measure(
        planned, few, SETTINGS, MEASURES, 7, on_epoch=lambda epoch: seen.append(epoch.number), checkpoint=states[0]
    )
    assert seen == [2]
    assert steady(found.measured.values) == steady(trained.measured.values)
