"""How a network is trained: what a study file says under ``[training]``. No torch here."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

WITHOUT_EFFECT = {
    "regression": frozenset({"label_smoothing", "class_weights"})
}  # by task: squared errors have no labels
WARMUP_SHARE = 0.25  # of all steps, at most: a short training must still come down from its largest learning rate


class TrainingSettings(BaseModel):
    """AdamW with warm-up and cosine decay. Planned epochs shape the learning rate, so they belong to the study."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    epochs: int = Field(20, ge=1, le=100_000)
    batch_size: int = Field(64, ge=2, description="at least 2: normalisation needs several examples")
    optimizer: Literal["adamw"] = "adamw"
    learning_rate: float = Field(2e-3, gt=0, le=1, description="the largest one, reached after the warm-up")
    weight_decay: float = Field(0.01, ge=0, le=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: a class counts in the loss as if all had equally many examples"
    )
    warmup_epochs: float = Field(1.0, ge=0, description="at most a quarter of the epochs is used")
    clip_norm: float | None = Field(1.0, gt=0, description="largest norm of the gradient")
    augment: Literal["none", "shift", "shift-flip"] = Field("none", description="of images, on the training split")
    mixed_precision: bool = Field(True, description="bfloat16 on GPUs; a CPU always computes in float32")
    seconds_per_epoch: float | None = Field(None, gt=0, description="a slower candidate fails")


def learning_rate(settings: TrainingSettings, step: int, steps_per_epoch: int) -> float:
    """Learning rate of a step, counted from 0 over all epochs: linear warm-up, then half a cosine to 0.

    >>> settings = TrainingSettings(epochs=4, warmup_epochs=1, learning_rate=0.1)
    >>> [round(learning_rate(settings, step, 2), 4) for step in range(8)]
    [0.05, 0.1, 0.1, 0.0933, 0.075, 0.05, 0.025, 0.0067]
    """
    steps = settings.epochs * steps_per_epoch
    warmup = round(min(settings.warmup_epochs * steps_per_epoch, WARMUP_SHARE * steps))
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
