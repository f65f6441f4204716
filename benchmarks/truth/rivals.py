"""Every candidate for a measure of modularity on one trained network: the product's own and its rivals, losers too."""

from __future__ import annotations

from collections.abc import Sequence

import networkx
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.truth.worlds import World
from nasmod.data.factors import Factor
from nasmod.data.feature_groups import feature_groups
from nasmod.measures import Evaluation
from nasmod.measures.modularity import FlowRecord, flow_record
from nasmod.measures.trained import measure_network
from nasmod.networks import Network, module_steps

EXAMPLES = 1024
Floats = NDArray[np.float64]


def rivals(network: Network, world: World) -> dict[str, float]:
    """Each candidate measure by name; larger should mean more modular."""
    measures = {"modularity": {"examples": EXAMPLES}, "parallelism": {"modules_wanted": 2}}
    values = measure_network(network, world.dataset, measures, seed=0).values
    evaluation = Evaluation(network.plan, world.dataset, network)
    steps = module_steps(network)
    named = flow_record(evaluation, steps, world.dataset.factors.factors, EXAMPLES)
    blind = flow_record(evaluation, steps, _blind_factors(world), EXAMPLES)
    inputs = world.dataset.validation.inputs
    runs = _activations(network, {name: torch.as_tensor(np.asarray(x)[:EXAMPLES]) for name, x in inputs.items()})
    return {
        "modularity": values["modularity"],
        "parallelism": values["parallelism"],
        "necessity": values["necessity"],
        "independence": values["independence"],
        "alignment of variance": _prototype(named),
        "alignment of variance, blind factors": _prototype(blind),
        "Newman's Q of the wiring": _wiring_q(network),
        "Newman's Q of what flows": _flow_q(network, runs),
        "unpredictable from parallels": _unpredictable(network, steps, runs),
        "disentanglement and completeness": _disentangled_and_complete(named),
        "largest share at one module": _largest_share(named),
    }


def _prototype(record: FlowRecord) -> float:
    """Mean over factors of the best module's selectivity in variance times its share of the effect."""
    counts, effect = _counts(record)
    through = np.clip(record.through.mean(-1)[counts] / effect, 0, 1)
    return float((_selectivity(record.reads[counts]) * through).max(1, initial=0).mean()) if counts.sum() > 1 else 0.0


def _flows(record: FlowRecord) -> Floats:
    """Flows (K, n), both enough and needed, of the factors that have an effect."""
    counts, effect = _counts(record)
    around = effect - record.around.mean(-1)[counts]
    found: Floats = np.clip(np.minimum(record.through.mean(-1)[counts], around) / effect, 0, 1)
    return found


def _counts(record: FlowRecord) -> tuple[NDArray[np.bool_], Floats]:
    """Which factors have an effect (K,), and the effects of these as a column."""
    effect = record.effect.mean(-1)
    counts = (effect > 0) & (effect >= 0.01 * effect.max())
    return counts, effect[counts][:, None]


def _disentangled_and_complete(record: FlowRecord) -> float:
    """Eastwood & Williams 2018 with modules for latents and interventions for regressors: D times C, entropies."""
    flows = _flows(record)
    if min(flows.shape) < 2 or flows.sum() == 0:
        return 0.0

    def one_less_entropy(shares: Floats, axis: int) -> Floats:
        total = shares.sum(axis, keepdims=True)
        p = np.divide(shares, total, out=np.zeros_like(shares), where=total > 0)
        found: Floats = 1 + (p * np.log(np.where(p > 0, p, 1))).sum(axis) / np.log(shares.shape[axis])
        return found

    weights = flows.sum(0) / flows.sum()
    return float((one_less_entropy(flows, 0) * weights).sum() * one_less_entropy(flows, 1).mean())


def _largest_share(record: FlowRecord) -> float:
    """Mean over factors of the largest share of its effect that flows through one module, whatever else does."""
    flows = _flows(record)
    return float(flows.max(1, initial=0).mean()) if len(flows) else 0.0


def _selectivity(shares: Floats) -> Floats:
    total = shares.sum(0, keepdims=True)
    p = np.divide(shares, total, out=np.zeros_like(shares), where=total > 0)
    found: Floats = np.maximum(0, (p - 1 / len(p)) / (1 - 1 / len(p)))
    return found


def _blind_factors(world: World) -> list[Factor]:
    """Groups of features that vary together, over all inputs at once."""
    names = list(world.dataset.inputs)
    rows = min(2000, len(world.dataset.train))
    columns = [np.asarray(world.dataset.train.inputs[name][:rows], np.float64).reshape(rows, -1) for name in names]
    place = [(name, index) for name, values in zip(names, columns, strict=True) for index in range(values.shape[1])]
    groups = feature_groups(np.concatenate(columns, axis=1), (len(place),))
    factors = []
    for number, group in enumerate(groups):
        inputs: dict[str, tuple[int, ...]] = {}
        for feature in group:
            name, index = place[feature]
            inputs[name] = (*inputs.get(name, ()), index)
        factors.append(Factor(f"group_{number}", inputs))
    return factors


@torch.no_grad()
def _activations(network: Network, inputs: dict[str, Tensor]) -> dict[int, Tensor]:
    return network.eval().run(inputs)


def _wiring_q(network: Network) -> float:
    """Newman's modularity of the best partition found of the live graph, inputs and outputs included."""
    graph: networkx.Graph = networkx.Graph()
    for index, step in enumerate(network.plan.steps):
        graph.add_edges_from((source, index) for source in step.sources)
    return _q(graph)


@torch.no_grad()
def _flow_q(network: Network, runs: dict[int, Tensor]) -> float:
    """The same with each edge weighed by what cutting it costs its reader: the share of its variance that moves."""
    graph: networkx.Graph = networkx.Graph()
    for index, step in enumerate(network.plan.steps):
        for source in step.sources:
            known = {other: runs[other] for other in step.sources} | {source: runs[source].mean(0, keepdim=True)}
            count = len(runs[index])
            known = {other: tensor.expand(count, *tensor.shape[1:]) for other, tensor in known.items()}
            cut = network.run({}, known=known, wanted=[index])[index]
            spread = (runs[index] - runs[index].mean(0)).square().sum()
            graph.add_edge(source, index, weight=float((cut - runs[index]).square().sum() / spread.clamp_min(1e-9)))
    return _q(graph)


def _q(graph: networkx.Graph) -> float:
    if graph.size(weight="weight") == 0:
        return 0.0
    parts = networkx.community.louvain_communities(graph, weight="weight", seed=0)
    return float(networkx.community.modularity(graph, parts, weight="weight"))


def _unpredictable(network: Network, steps: Sequence[int], runs: dict[int, Tensor]) -> float:
    """Mean share of a module's variance that no linear map of its parallel modules predicts; 0 without parallels."""
    ancestors: dict[int, set[int]] = {}
    for index, step in enumerate(network.plan.steps):
        ancestors[index] = set(step.sources).union(*(ancestors[source] for source in step.sources))
    shares = []
    for step in steps:
        parallel = [o for o in steps if o != step and o not in ancestors[step] and step not in ancestors[o]]
        if not parallel:
            continue
        y = runs[step].flatten(1).double().numpy()
        x = np.concatenate([runs[other].flatten(1).double().numpy() for other in parallel], 1)
        y, x = y - y.mean(0), np.column_stack([x, np.ones(len(x))])
        half = len(x) // 2
        weights = np.linalg.solve(x[:half].T @ x[:half] + 1e-2 * half * np.eye(x.shape[1]), x[:half].T @ y[:half])
        left = ((y[half:] - x[half:] @ weights) ** 2).sum() / max((y[half:] ** 2).sum(), 1e-9)
        shares.append(min(1.0, float(left)))
    return float(np.mean(shares)) if shares else 0.0
