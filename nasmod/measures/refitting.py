"""Loss per example after the scale of the outputs has been refitted, so that a head's confidence cannot count.

It knows arrays only: outputs are lists of (N, C), one per output of the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Outputs = Sequence[Floats]

LARGEST_TEMPERATURE = 1e9  # of outputs with an RMS of 1: separable examples have no finite best one
MOST_STEPS = 200


def refitted_nll(outputs: Outputs, classes: Sequence[NDArray[Any]]) -> Floats:
    """NLL in nats per example (N,) at the one temperature t > 0 that minimises its mean: ``min NLL(t * o)``.

    Several outputs share the temperature and their losses add up. Outputs that point the wrong way have their infimum
    at t = 0, where every class is as likely.

    >>> logits, classes = np.array([[1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, -1.0]]), np.array([0, 0, 1, 1])
    >>> once, scaled = refitted_nll([logits], [classes]), refitted_nll([100 * logits], [classes])
    >>> bool(np.allclose(once, scaled)), round(float(once.mean()), 4)  # the entropy of 3 right in 4
    (True, 0.5623)
    """
    scale = max(root_mean_square(np.concatenate([o.ravel() for o in outputs])), np.finfo(np.float64).tiny)
    scaled = [o / scale for o in outputs]
    temperature = _best_temperature(scaled, classes)
    return _nll(scaled, classes, temperature)


def refitted_squares(outputs: Outputs, targets: Sequence[NDArray[Any]]) -> Floats:
    """Squared error per example (N,) after refitting slope and intercept of each column by least squares.

    >>> y = np.array([[1.0], [2.0], [4.0]])
    >>> bool(np.allclose(refitted_squares([3 - 5 * y], [y]), 0))
    True
    """
    squares = np.zeros(len(outputs[0]))
    for output, target in zip(outputs, targets, strict=True):
        x = output - output.mean(0)
        y = _columns(target) - _columns(target).mean(0)
        variance = (x**2).mean(0)
        slope = np.where(variance > 0, (x * y).mean(0) / np.where(variance > 0, variance, 1), 0)
        squares += ((y - slope * x) ** 2).sum(1)
    return squares


def prior_nll(classes: Sequence[NDArray[Any]]) -> Floats:
    """-log of the share of each example's own class (N,), summed over outputs: its mean is the entropy H(y).

    >>> round(float(prior_nll([np.array([0, 0, 0, 1])]).mean()), 4)
    0.5623
    """
    total = np.zeros(len(classes[0]))
    for found in classes:
        _, inverse, counts = np.unique(found, return_inverse=True, return_counts=True)
        total -= np.log(counts / len(found))[inverse]
    return total


def prior_squares(targets: Sequence[NDArray[Any]]) -> Floats:
    """Squared distance from the mean (N,), summed over columns and outputs: its mean is the variance."""
    total = np.zeros(len(targets[0]))
    for target in targets:
        columns = _columns(target)
        total += ((columns - columns.mean(0)) ** 2).sum(1)
    return total


def root_mean_square(values: Floats) -> float:
    """sqrt(mean(values²))."""
    return float(np.sqrt(np.mean(values**2)))


def _columns(target: NDArray[Any]) -> Floats:
    return target.reshape(len(target), -1).astype(np.float64)


def _best_temperature(outputs: Outputs, classes: Sequence[NDArray[Any]]) -> float:
    """Newton's method on the convex mean NLL, kept between bounds on either side of its only minimum."""
    low, high = 0.0, LARGEST_TEMPERATURE
    slope, _ = _slope_and_curvature(outputs, classes, low)
    if slope >= 0:
        return 0.0
    temperature = 1.0
    for _ in range(MOST_STEPS):
        slope, curvature = _slope_and_curvature(outputs, classes, temperature)
        low, high = (temperature, high) if slope < 0 else (low, temperature)
        step = slope / curvature if curvature > 0 else np.inf
        if abs(step) <= 1e-12 * temperature:  # rounding may have put the minimum just outside the bounds
            return float(temperature - step)
        wanted = temperature - step
        if not low < wanted < high or wanted > 10 * temperature:
            wanted = min(10 * temperature, (low + high) / 2)
        if abs(wanted - temperature) <= 1e-12 * temperature or high - low <= 1e-12 * high:
            return float(wanted)
        temperature = wanted
    return float(temperature)


def _slope_and_curvature(outputs: Outputs, classes: Sequence[NDArray[Any]], temperature: float) -> tuple[float, float]:
    """First and second derivative of the mean NLL by the temperature."""
    slope = curvature = 0.0
    for output, found in zip(outputs, classes, strict=True):
        share = np.exp(_log_softmax(temperature * output))
        expected = (share * output).sum(1)
        slope += float((expected - output[np.arange(len(found)), found]).mean())
        curvature += float(((share * output**2).sum(1) - expected**2).mean())
    return slope, curvature


def _nll(outputs: Outputs, classes: Sequence[NDArray[Any]], temperature: float) -> Floats:
    total = np.zeros(len(outputs[0]))
    for output, found in zip(outputs, classes, strict=True):
        total -= _log_softmax(temperature * output)[np.arange(len(found)), found]
    return total


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(1, keepdims=True)
    found: Floats = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return found
