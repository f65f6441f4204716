"""The probe: the validation examples that lesions and interventions look at, and outputs in a form that compares.

Outputs are logits centred over classes, the same as centred log-probabilities, or the values of a regression. Nothing
here depends on the scale of a network's head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nasmod.measures.measure import Evaluation
from nasmod.measures.refitting import prior_nll, prior_squares, refitted_nll, refitted_squares

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

CHANCE_STANDARD_ERRORS = 3.0


def evenly_spaced(count: int, wanted: int) -> Rows:
    """At most `wanted` of `count` positions, the same for every candidate."""
    kept = min(count, wanted)
    return np.arange(kept) * count // kept


def probe_inputs(evaluation: Evaluation, rows: Rows) -> dict[str, Tensor]:
    """Inputs (N, *shape) that the network reads, of these validation examples."""
    import torch

    inputs = evaluation.dataset.validation.inputs
    return {name: torch.as_tensor(np.asarray(inputs[name])[rows]) for name in evaluation.plan.inputs}


def probe_targets(evaluation: Evaluation, rows: Rows) -> list[NDArray[Any]]:
    """Targets of these validation examples, in the order of the plan's outputs."""
    targets = evaluation.dataset.validation.targets
    return [np.asarray(targets[name])[rows] for name in evaluation.plan.outputs]


def comparable(outputs: Mapping[str, Tensor], evaluation: Evaluation) -> list[Floats]:
    """Outputs (N, C) in the order of the plan's, in double precision; logits are centred over classes."""
    found = [outputs[name].cpu().double().numpy() for name in evaluation.plan.outputs]
    if evaluation.dataset.task == "regression":
        return found
    return [output - output.mean(1, keepdims=True) for output in found]


def losses(outputs: Sequence[Floats], targets: Sequence[NDArray[Any]], task: str) -> Floats:
    """Loss per example (N,) after refitting the scale of the outputs; those of several outputs add up."""
    refitted = refitted_squares if task == "regression" else refitted_nll
    return refitted(outputs, targets)


def prior_losses(targets: Sequence[NDArray[Any]], task: str) -> Floats:
    """Loss per example (N,) of an answer that knows only how common each target is."""
    return prior_squares(targets) if task == "regression" else prior_nll(targets)


def knows_something(prior: Floats, loss: Floats) -> bool:
    """Whether the loss is below that of the prior by more than three standard errors: above chance level."""
    known = prior - loss
    return bool(known.mean() > 0 and known.mean() >= CHANCE_STANDARD_ERRORS * standard_error(known))


def standard_error(per_example: Floats) -> Any:
    """Standard error of the mean over the last axis."""
    return per_example.std(-1) / np.sqrt(per_example.shape[-1])
