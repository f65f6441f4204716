"""What training tells: an epoch while it runs, a result at its end, or why it failed. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


class TrainingFailed(Exception):  # noqa: N818  it names what happened; a candidate that fails is no user's mistake
    """A candidate that cannot be trained: its loss became NaN, it is too slow, it does not fit into memory."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def why_failed(error: BaseException) -> str:
    """Why a training failed, in one line: a user's kind or measure may raise anything.

    >>> why_failed(TrainingFailed("too slow")), why_failed(ValueError("odd\\nlines"))
    ('too slow', 'ValueError: odd')
    """
    if isinstance(error, TrainingFailed):
        return error.reason
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"


@dataclass(frozen=True, eq=False)
class Epoch:
    """One epoch that is done. `validation_accuracy` is the share of right answers, or R² of a regression.

    `seconds` is its training and validation, without what `on_epoch` does. `curve` holds one row per epoch so far,
    this one included. `validation_outputs` are those of the network now, (N, n) by name, on the device of the training.
    ``state()`` gives the checkpoint to go on from: call it inside `on_epoch`, later it would tell
    of a later epoch. `averaged` is a copy of the network with averaged weights, with its own outputs on the validation
    split, where `train` was asked for it; the row of such an epoch has an ``averaged_accuracy``.
    """

    number: int  # from 1
    network: nn.Module
    train_loss: float
    validation_loss: float
    validation_accuracy: float
    learning_rate: float  # of its last step
    seconds: float
    curve: tuple[dict[str, float], ...]
    validation_outputs: Mapping[str, Tensor]
    state: Callable[[], bytes]
    averaged: nn.Module | None = None
    averaged_outputs: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class TrainResult:
    """What is left of a training: its curve, why it was stopped early (None: it ran to its end), its seconds."""

    curve: list[dict[str, float]]
    stopped: str | None
    seconds: float
