"""Parallelism: modules each carry needed information (necessity) without entangling each other (independence).

Both are read from the network's behaviour under lesions on held-out examples; no weight is looked at. Splitting one
module by width into k parallel ones does not change the function, and it scores like k parallel modules, because it
is: no lesion can tell. Keep the weight of parallelism in a score small.

Necessity counts what a module carries only as far as no other module opposes it: u_i (1 - c_i) in place of u_i. Here
the measure departs from its first definition, which took u_i whole and left opposing effects to independence alone.
There they are a share of all pairs and thin out as modules grow in number: on digits, one module that does all the
work beside four pairs of untrained modules that each undo one another scored .60, and scores 0 now. Networks that were
only trained move by less than .005 (`benchmarks/LOG.md`). ``information.<step>`` stays u: what a module carries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nasmod.measures.measure import Evaluation, MeasureSettings, Value
from nasmod.measures.objective import Direction
from nasmod.measures.probe import (
    Floats,
    comparable,
    evenly_spaced,
    knows_something,
    losses,
    prior_losses,
    probe_inputs,
    probe_targets,
    standard_error,
)
from nasmod.measures.refitting import root_mean_square

SOFTLY_NEEDED = 0.01  # g = 1/2 where a module carries 1 % of the information
REPLICATES = 200  # of the bootstrap


class ParallelismSettings(MeasureSettings):
    """How many evenly needed modules count as fully modular, and how many examples are looked at."""

    modules_wanted: int = Field(default=4, ge=2, description="evenly needed modules that count as fully modular")
    examples: int = Field(default=1024, ge=2, description="validation examples for lesions of one module")
    pair_examples: int = Field(default=256, ge=2, description="of these, the examples for lesions of two modules")


@dataclass(frozen=True)
class LesionRecord:
    """What lesions did, example by example: losses on the probe (N,), outputs' changes on its pair part (P,).

    Pairs are in the order of `itertools.combinations`.
    """

    prior: Floats  # (N,) loss of an answer that knows only how common each target is
    loss: Floats  # (N,) of the whole network, refitted
    lesioned: Floats  # (n, N) after losing each module, refitted
    squares: Floats  # (n, P) ||d_i||²
    interactions: Floats  # (pairs, P) ||d_ij - d_i - d_j||²
    inner: Floats  # (pairs, P) <d_i, d_j>
    pair_examples: NDArray[np.intp]  # (P,) where in the probe the pair part lies


class Parallelism:
    """Parallelism = necessity times independence of the modules, by lesions; information of each module."""

    cheap: ClassVar[bool] = False
    directions: ClassVar[Mapping[str, Direction]] = {
        "parallelism": "maximize",
        "necessity": "maximize",
        "independence": "maximize",
    }

    def __init__(self, settings: ParallelismSettings) -> None:
        self.settings = settings

    def __call__(self, evaluation: Evaluation) -> dict[str, Value]:
        from nasmod.networks import module_steps

        steps = module_steps(evaluation.trained)
        if len(steps) < 2:
            return {name: Value(0.0, 0.0) for name in self.directions}
        record = lesion_record(evaluation, steps, self.settings)
        values = parallelism(record, self.settings.modules_wanted, np.random.default_rng(evaluation.seed))
        shares, errors = information(record)
        for step, share, error in zip(steps, shares, errors, strict=True):
            values[f"information.{evaluation.plan.steps[step].name}"] = Value(float(share), float(error))
        return values


def parallelism(record: LesionRecord, modules_wanted: int, generator: np.random.Generator) -> dict[str, Value]:
    """Necessity V, independence I and V * I with standard errors by resampling examples, temperatures held fixed."""
    shares, _ = information(record)
    squares, interactions, inner = _pair_means(record, np.ones((1, record.loss.size)))
    found_necessity = necessity(shares * (1 - opposed(squares, inner)), modules_wanted).item()
    found_independence = independence(squares, interactions, inner).item()
    weights = generator.multinomial(
        record.loss.size, np.full(record.loss.size, 1 / record.loss.size), size=REPLICATES
    ).astype(np.float64)
    squares, interactions, inner = _pair_means(record, weights)
    resampled = independence(squares, interactions, inner)
    if found_necessity > 0:
        resampled_shares = _resampled_information(record, weights)
        resampled_necessity = necessity(resampled_shares * (1 - opposed(squares, inner)), modules_wanted)
    else:
        resampled_necessity = np.zeros(REPLICATES)
    return {
        "parallelism": Value(found_necessity * found_independence, float((resampled_necessity * resampled).std())),
        "necessity": Value(found_necessity, float(resampled_necessity.std())),
        "independence": Value(found_independence, float(resampled.std())),
    }


def information(record: LesionRecord) -> tuple[Floats, Floats]:
    """u_i = max(0, L(o_i) - L(o) - SE_i) / (H(y) - L(o)) of each module, and its standard error SE_i / (H(y) - L(o)).

    All are 0 at chance level: when H(y) - L(o) is under three of its standard errors.
    """
    if not knows_something(record.prior, record.loss):
        return np.zeros(len(record.lesioned)), np.zeros(len(record.lesioned))
    known = record.prior - record.loss
    lost = record.lesioned - record.loss
    errors = standard_error(lost)
    return np.maximum(0, lost.mean(1) - errors) / known.mean(), errors / known.mean()


def necessity(shares: Floats, modules_wanted: int) -> Floats:
    """V = sum(p_i g_i) (exp(entropy(p)) - 1) / (max(n, modules_wanted) - 1), over the last axis of u (..., n).

    p_i = u_i / sum(u), g_i = u_i / (u_i + 0.01); u without what is opposed.

    >>> float(necessity(np.array([0.5, 0.5]), modules_wanted=2).round(3))  # two evenly needed ones: g = .5 / .51
    0.98
    >>> float(necessity(np.array([0.9, 0.0]), modules_wanted=2))
    0.0
    """
    modules = shares.shape[-1]
    total = shares.sum(-1, keepdims=True)
    if modules < 2:
        return np.zeros(shares.shape[:-1])
    p = np.divide(shares, total, out=np.zeros_like(shares), where=total > 0)
    needed = shares / (shares + SOFTLY_NEEDED)
    entropy = -(p * np.log(np.where(p > 0, p, 1))).sum(-1)
    evenly = np.where(total[..., 0] > 0, np.exp(entropy) - 1, 0)
    found: Floats = (p * needed).sum(-1) * evenly / (max(modules, modules_wanted) - 1)
    return found


def opposed(squares: Floats, inner: Floats) -> Floats:
    """c_i = min(1, sum_j max(0, -<d_i, d_j>) / ||d_i||²), the share of each module's effect that others take back.

    From means over examples: ||d_i||² (..., n) and <d_i, d_j> (..., pairs), to (..., n).

    >>> opposed(np.array([1.0, 4.0]), inner=np.array([-0.5])).tolist()
    [0.5, 0.125]
    >>> opposed(np.array([1.0, 4.0]), inner=np.array([0.5])).tolist()
    [0.0, 0.0]
    """
    members = np.zeros((inner.shape[-1], squares.shape[-1]))  # (pairs, n)
    for side in _pairs(squares.shape[-1]):
        members[np.arange(len(side)), side] = 1
    taken_back = np.maximum(0, -inner) @ members
    found: Floats = np.minimum(1, np.divide(taken_back, squares, out=np.zeros_like(squares), where=squares > 0))
    return found


def independence(squares: Floats, interactions: Floats, inner: Floats) -> Floats:
    """I from means over examples: ||d_i||² (..., n), ||d_ij - d_i - d_j||² and <d_i, d_j> (..., pairs).

    I = 1 - sum(interaction + 2 max(0, -inner)) / sum(min(||d_i||², ||d_j||²)), clipped to [0, 1]; 0 where no lesion
    does anything. The second term is what opposing effects cost each pair; `opposed` is what they cost a module.

    >>> additive, shared = np.array([0.0]), np.array([1.0])
    >>> float(independence(np.array([1.0, 1.0]), additive, inner=np.array([0.0])))
    1.0
    >>> float(independence(np.array([1.0, 1.0]), shared, inner=np.array([1.0])))  # a chain: d_ij = d_i = d_j
    0.0
    """
    first, second = _pairs(squares.shape[-1])
    room = np.minimum(squares[..., first], squares[..., second]).sum(-1)
    entangled = (interactions + 2 * np.maximum(0, -inner)).sum(-1)
    share = np.divide(entangled, room, out=np.ones_like(room), where=room > 0)
    found: Floats = np.clip(1 - share, 0, 1)
    return found


def lesion_record(evaluation: Evaluation, steps: Sequence[int], settings: ParallelismSettings) -> LesionRecord:
    """Lesion every module and every pair of them on evenly spaced validation examples."""
    from nasmod.networks import lesion

    probe = evenly_spaced(len(evaluation.dataset.validation), settings.examples)
    pair_part = evenly_spaced(len(probe), settings.pair_examples)
    targets = probe_targets(evaluation, probe)
    task = evaluation.dataset.task

    singles = [frozenset({step}) for step in steps]
    whole, *lesioned = (
        comparable(outputs, evaluation)
        for outputs in lesion(evaluation.trained, probe_inputs(evaluation, probe), [frozenset(), *singles])
    )
    scales = [root_mean_square(output) or 1.0 for output in whole] if len(whole) > 1 else [1.0]

    def loss(outputs: list[Floats]) -> Floats:
        return losses([output / scale for output, scale in zip(outputs, scales, strict=True)], targets, task)

    pairs = [frozenset(pair) for pair in combinations(steps, 2)]
    found = (
        np.concatenate(
            [output / scale for output, scale in zip(comparable(outputs, evaluation), scales, strict=True)], 1
        )
        for outputs in lesion(
            evaluation.trained, probe_inputs(evaluation, probe[pair_part]), [frozenset(), *singles, *pairs]
        )
    )
    origin = next(found)
    effects = np.stack([origin - next(found) for _ in singles])  # (n, P, outputs)
    joint = np.stack([origin - outputs for outputs in found])  # (pairs, P, outputs)
    first, second = _pairs(len(steps))
    return LesionRecord(
        prior=prior_losses(targets, task),
        loss=loss(whole),
        lesioned=np.stack([loss(outputs) for outputs in lesioned]),
        squares=(effects**2).sum(-1),
        interactions=((joint - effects[first] - effects[second]) ** 2).sum(-1),
        inner=(effects[first] * effects[second]).sum(-1),
        pair_examples=pair_part,
    )


def _resampled_information(record: LesionRecord, weights: Floats) -> Floats:
    """u (replicates, n) of resampled examples; SE_i as it was."""
    examples = record.loss.size
    known = (weights @ (record.prior - record.loss) / examples)[:, None]
    lost = record.lesioned - record.loss
    resampled = np.maximum(0, weights @ lost.T / examples - standard_error(lost))
    found: Floats = np.divide(resampled, known, out=np.zeros_like(resampled), where=known > 0)
    return found


def _pair_means(record: LesionRecord, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Weighted means over the pair part of the probe: (replicates, n), (replicates, pairs), (replicates, pairs)."""
    part = weights[:, record.pair_examples]
    part = part / np.maximum(part.sum(1, keepdims=True), 1)  # a resample may hold none of them
    return part @ record.squares.T, part @ record.interactions.T, part @ record.inner.T


def _pairs(modules: int) -> tuple[list[int], list[int]]:
    """First and second members of all pairs."""
    found = list(combinations(range(modules), 2))
    return [i for i, _ in found], [j for _, j in found]
