"""What cheap predictors tell of the candidates of a stored study before any training.

For every topology of the study that was trained so far: predictors of one batch on two untrained networks, and the
accuracy that its trainings had after some epochs on the validation split. Printed are Spearman correlations of the two,
also partial at equal FLOPs, which are the plain alternative: they are known without any predictor.

    naswot     log determinant of how alike the examples' patterns of active units are (Mellor et al. 2021)
    synflow    what flows through all weights, made positive (Tanaka et al. 2020)
    gradient   norm of the gradient of the loss (Abdelfattah et al. 2021)

Prints a table and one line of JSON last. The score plays no part: FLOPs are in it.

    python -m benchmarks.predictors pairs [--storage runs/pairs.db] [--epoch 4]
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Mapping
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import nasmod
from nasmod.data import Task
from nasmod.measures.ranks import average_ranks
from nasmod.networks import Network, build, count_parameters
from nasmod.search.context import Context, bring_to_life
from nasmod.topology import Topology
from nasmod.training.batches import tensor
from nasmod.training.evaluation import loss_of

EXAMPLES, NETWORKS = 64, 2
ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU)
Batch = Mapping[str, Tensor]


def naswot(network: Network, inputs: Batch) -> float:
    active: list[Tensor] = []
    hooks = [
        module.register_forward_hook(lambda _module, _given, found: active.append((found > 0).flatten(1).float()))
        for module in network.modules()
        if isinstance(module, ACTIVATIONS)
    ]
    with torch.no_grad():
        network(inputs)
    for hook in hooks:
        hook.remove()
    alike = sum((units @ units.T + (1 - units) @ (1 - units).T for units in active), 1e-4 * torch.eye(EXAMPLES))
    return float(torch.linalg.slogdet(alike)[1])


def gradient(network: Network, inputs: Batch, targets: Batch, task: Task) -> float:
    network.zero_grad()
    loss_of(network(inputs), targets, task, 0.0).backward()  # type: ignore[no-untyped-call]  # of torch
    found = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    return float(sum(one.square().sum() for one in found)) ** 0.5


def synflow(network: Network, inputs: Batch) -> float:
    network.eval().double()
    for parameter in network.parameters():
        parameter.data.abs_()
    network.zero_grad()
    ones = {name: torch.ones(1, *values.shape[1:], dtype=torch.double) for name, values in inputs.items()}
    torch.stack([output.sum() for output in network(ones).values()]).sum().backward()  # type: ignore[no-untyped-call]
    flow = sum((p.grad * p.data).sum() for p in network.parameters() if p.grad is not None)
    return math.log(abs(float(flow)) + 1e-300)


def predicted(context: Context, topology: Topology) -> dict[str, float]:
    """Every predictor of a topology, means over untrained networks; FLOPs and parameters beside them."""
    plan, train = context.plan(topology), context.dataset.train
    inputs = {name: tensor(values[:EXAMPLES]) for name, values in train.inputs.items()}
    targets = {name: tensor(values[:EXAMPLES]) for name, values in train.targets.items()}
    found: dict[str, list[float]] = defaultdict(list)
    for seed in range(NETWORKS):
        torch.manual_seed(seed)
        network = build(plan)
        network.normalise(context.dataset.normalisation)
        found["naswot"].append(naswot(network, inputs))
        found["gradient"].append(gradient(network, inputs, targets, context.dataset.task))
        found["parameters"].append(count_parameters(network))
        found["synflow"].append(synflow(network, inputs))  # last: it changes the network
    return {name: fmean(values) for name, values in found.items()} | {"flops": float(context.flops(topology))}


def spearman(
    first: NDArray[np.float64], second: NDArray[np.float64], given: NDArray[np.float64] | None = None
) -> float:
    """Rank correlation, partial at equal ranks of `given` if there are any."""
    sides = [average_ranks(side) for side in (first, second)]
    if given is not None:
        known = np.column_stack([np.ones(len(given)), average_ranks(given)])
        sides = [side - known @ np.linalg.lstsq(known, side, rcond=None)[0] for side in sides]
    return float(np.corrcoef(*sides)[0, 1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="name of a stored study")
    parser.add_argument("--storage", help="its database file or URL")
    parser.add_argument(
        "--epoch", type=int, default=3, help="of the accuracy; those that were stopped earlier are left out"
    )
    chosen = parser.parse_args()

    torch.set_num_threads(1)
    study = nasmod.load(chosen.study, storage=chosen.storage)
    context = bring_to_life(study.study)
    trained: dict[str, tuple[Topology, list[float]]] = {}
    for record in study.records():
        if record.role == "search" and len(record.curve) >= chosen.epoch:
            topology = record.proposal.topology
            accuracy = record.curve[chosen.epoch - 1]["validation_accuracy"]
            trained.setdefault(topology.key, (topology, []))[1].append(accuracy)
    rows = [predicted(context, topology) for topology, _ in trained.values()]
    accuracies = np.array([fmean(values) for _, values in trained.values()])
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    found = {
        name: {
            "correlation": round(spearman(values, accuracies), 2),
            "at_equal_flops": None if name == "flops" else round(spearman(values, accuracies, columns["flops"]), 2),
        }
        for name, values in columns.items()
    }
    for name, values in found.items():
        print(f"{name:12} {values['correlation']:5.2f}   at equal FLOPs {values['at_equal_flops']}")
    print(json.dumps({"study": chosen.study, "epoch": chosen.epoch, "topologies": len(rows), "spearman": found}))


if __name__ == "__main__":
    main()
