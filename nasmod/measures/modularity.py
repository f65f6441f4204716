"""Modularity: how far different parts of the work are done by different modules, by interventions on the factors.

A factor is a part of the data's work (`nasmod.data.factors`). For each, its values are permuted across held-out
examples, and the effect of that on the outputs is followed through the modules:

    E_ik   share of factor k's effect that flows through module i: only i's activation is taken from the permuted run
    B_ik   share of the effect that vanishes when, all else permuted, i alone keeps its activation
    F_ik = max(0, min(1, E_ik, B_ik))                          what flows through i is both enough and needed

With shares of squared distance of the outputs. A module that is selective carries one factor and no other,

    s_ik = max(0, (F_ik / sum_k F_ik - 1/K) / (1 - 1/K))       0 where all K factors flow through it alike
    modularity = mean over k of max over i of max(0, (F_ik (1 + 2 s_ik) - 1) / 2)

which is 1 where each factor flows through a module of its own, and 0 for one module, a chain and replicas: a module
that carries all of a factor and all others alike counts nothing, nor does one that carries a third of a factor or less.
It depends on the function of each module alone: no rescaling, no order of units and no confidence of the head changes
it. The plain product s_ik F_ik predicts local repair less well: it puts a factor that is scattered over modules above
one that flows through a single module with others (benchmarks/LOG.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nasmod.data.factors import Factor
from nasmod.measures.measure import Evaluation, MeasureSettings, Value
from nasmod.measures.objective import Direction
from nasmod.measures.probe import (
    Floats,
    Rows,
    comparable,
    evenly_spaced,
    knows_something,
    losses,
    prior_losses,
    probe_inputs,
    probe_targets,
)
from nasmod.measures.refitting import root_mean_square
from nasmod.measures.roles import Role, Roles

if TYPE_CHECKING:
    from torch import Tensor

    from nasmod.networks.interventions import Intervention

SMALLEST_EFFECT = 0.01  # of the largest: a factor that moves the outputs less is left out
WHAT_SELECTIVITY_ADDS = 2.0  # to a flow; of 0.5 to 4, what predicts local repair best (benchmarks/LOG.md)
PARTS_IN_FULL = 4  # with more parts of the inputs, of fewer examples: the mean over factors evens out what each loses
REPLICATES = 200  # of the bootstrap


class ModularitySettings(MeasureSettings):
    """How many examples are looked at."""

    examples: int = Field(
        default=512,
        ge=2,
        description="validation examples for interventions; of n > 4 parts of the inputs, 4 / n of them",
    )


@dataclass(frozen=True)
class FlowRecord:
    """What interventions did, example by example: squared distances of the outputs, 0 for outputs at chance level."""

    effect: Floats  # (K, N) ||o - o'||², o' under the permuted factor
    through: Floats  # (K, n, N) ||o - o(a_i')||², only module i from the permuted run
    around: Floats  # (K, n, N) ||o - o'(a_i)||², all but module i from the permuted run
    reads: Floats  # (K, n) share of the variance of module i's activation that the factor moves


class Modularity:
    """How far different factors of the data's work flow through different modules; what each module does."""

    cheap: ClassVar[bool] = False
    directions: ClassVar[Mapping[str, Direction]] = {"modularity": "maximize"}
    definition: ClassVar[int] = 2  # 1 was what is `parallelism` now

    def __init__(self, settings: ModularitySettings) -> None:
        self.settings = settings

    def __call__(self, evaluation: Evaluation) -> dict[str, Value | Roles]:
        from nasmod.networks import module_steps

        factors = evaluation.dataset.factors.factors
        if not factors:
            return {}
        steps = module_steps(evaluation.trained)
        record = flow_record(evaluation, steps, factors, self.settings.examples)
        return {
            "modularity": modularity(record, np.random.default_rng(evaluation.seed)),
            "roles": roles(record, [evaluation.plan.steps[step].name for step in steps], factors),
        }


def modularity(record: FlowRecord, generator: np.random.Generator) -> Value:
    """Modularity with its standard error, by resampling examples."""
    examples = record.effect.shape[-1]
    whole = np.full((1, examples), 1 / examples)
    resampled = generator.multinomial(examples, whole[0], size=REPLICATES) / examples
    found = alignment(*_shares(record, np.concatenate([whole, resampled])))
    return Value(float(found[0]), float(found[1:].std()))


def alignment(flows: Floats, counts: NDArray[np.bool_]) -> Floats:
    """Mean over the factors that count of the best module's share, from F (..., K, n) and which count (..., K).

    0 where fewer than two factors count.

    >>> one_each = np.array([[1.0, 0.0], [0.0, 1.0]])  # two factors, two modules
    >>> shared = np.array([[0.5, 0.5], [0.5, 0.5]])
    >>> float(alignment(one_each, np.ones(2, bool))), float(alignment(shared, np.ones(2, bool)))
    (1.0, 0.0)
    >>> float(alignment(one_each, np.array([True, False])))
    0.0
    """
    flows = flows * counts[..., None]
    number = counts.sum(-1)[..., None, None]  # (..., 1, 1)
    total = flows.sum(-2, keepdims=True)
    share = np.divide(flows, total, out=np.zeros_like(flows), where=total > 0)
    selective = np.maximum(0, (share * number - 1) / np.maximum(number - 1, 1))
    best = np.maximum(0, (flows * (1 + WHAT_SELECTIVITY_ADDS * selective) - 1) / WHAT_SELECTIVITY_ADDS)
    best = best.max(-1, initial=0).sum(-1)
    found: Floats = np.where(counts.sum(-1) > 1, best / np.maximum(counts.sum(-1), 1), 0.0)
    return found


def roles(record: FlowRecord, modules: Sequence[str], factors: Sequence[Factor]) -> Roles:
    """What each module reads of each factor, and the share of the factor's effect that flows through it."""
    weights = np.full((1, record.effect.shape[-1]), 1 / record.effect.shape[-1])
    flows = _shares(record, weights)[0][0]  # (K, n)
    return {
        module: {
            factor.name: Role(
                round(min(1.0, float(record.reads[k, i])), 4) if factor.output is None else None,
                round(float(flows[k, i]), 4),
            )
            for k, factor in enumerate(factors)
        }
        for i, module in enumerate(modules)
    }


def flow_record(evaluation: Evaluation, steps: Sequence[int], factors: Sequence[Factor], examples: int) -> FlowRecord:
    """Permute every factor across evenly spaced validation examples, and follow its effect through every step."""
    from nasmod.networks.interventions import intervene

    parts = {tuple(factor.inputs.items()): factor for factor in factors}  # outputs and classes change the same inputs
    rows = evenly_spaced(
        len(evaluation.dataset.validation), max(2, examples * PARTS_IN_FULL // max(PARTS_IN_FULL, len(parts)))
    )
    inputs = probe_inputs(evaluation, rows)
    changes = [_permuted(inputs, factor, number) for number, factor in enumerate(parts.values())]
    whole, found = intervene(evaluation.trained, inputs, changes, steps)
    interventions = dict(zip(parts, found, strict=True))
    before = comparable(whole, evaluation)
    scales = _scales(before, evaluation, rows)
    read = [
        _distances(interventions[tuple(factor.inputs.items())], before, scales, factor, evaluation)
        for factor in factors
    ]
    return FlowRecord(
        np.stack([effect for effect, _, _ in read]),
        np.stack([through for _, through, _ in read]),
        np.stack([around for _, _, around in read]),
        np.stack([interventions[tuple(factor.inputs.items())].moved for factor in factors]),
    )


def _permuted(inputs: Mapping[str, Tensor], factor: Factor, number: int) -> dict[str, Tensor]:
    """Inputs in which every example has the factor's values of another one; the same for every candidate."""
    import torch

    count = len(next(iter(inputs.values())))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(number))
    other = torch.empty_like(order)
    other[order] = order.roll(1)  # no example keeps its own
    found = {}
    for name, features in factor.inputs.items():
        if name not in inputs:  # the network does not read it
            continue
        if features is None:
            found[name] = inputs[name][other]
            continue
        values = inputs[name].flatten(1).clone()
        values[:, list(features)] = values[other][:, list(features)]
        found[name] = values.reshape(inputs[name].shape)
    return found


def _scales(before: Sequence[Floats], evaluation: Evaluation, rows: Rows) -> list[float]:
    """What each output is divided by: its RMS, or infinity where it is at chance level: it then has no effect."""
    task = evaluation.dataset.task
    found = []
    for output, target in zip(before, probe_targets(evaluation, rows), strict=True):
        scale = root_mean_square(output)
        known = scale > 0 and knows_something(prior_losses([target], task), losses([output], [target], task))
        found.append(scale if known else np.inf)
    return found


def _distances(
    found: Intervention, before: Sequence[Floats], scales: Sequence[float], factor: Factor, evaluation: Evaluation
) -> tuple[Floats, Floats, Floats]:
    """Squared distances from the outputs before: of the whole effect (N,), through and around each step (n, N)."""
    names = list(evaluation.plan.outputs)

    def distance(outputs: Mapping[str, Tensor]) -> Floats:
        total = np.zeros(len(before[0]))
        for name, origin, now, scale in zip(names, before, comparable(outputs, evaluation), scales, strict=True):
            if factor.output in (None, name):
                difference = (origin - now) / scale
                columns = slice(None) if factor.column is None else slice(factor.column, factor.column + 1)
                total += (difference[:, columns] ** 2).sum(1)
        return total

    empty = np.zeros((0, len(before[0])))
    return (
        distance(found.changed),
        np.stack([distance(outputs) for outputs in found.through]) if found.through else empty,
        np.stack([distance(outputs) for outputs in found.around]) if found.around else empty,
    )


def _shares(record: FlowRecord, weights: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """F (R, K, n) and which factors count (R, K), for each of R weightings (R, N) of the examples."""
    effect = np.einsum("rn,kn->rk", weights, record.effect)
    through = np.einsum("rn,kin->rki", weights, record.through)
    around = np.einsum("rn,kin->rki", weights, record.around)
    counts = effect >= SMALLEST_EFFECT * effect.max(-1, keepdims=True)
    counts &= effect > 0
    whole = np.where(effect > 0, effect, 1)[..., None]
    flows: Floats = np.clip(np.minimum(through, effect[..., None] - around) / whole, 0, 1)
    return flows, counts
