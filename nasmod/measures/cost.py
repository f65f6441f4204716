"""What a topology costs, known before any training: FLOPs, parameters, modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from nasmod.measures.measure import Evaluation, MeasureSettings, Value
from nasmod.measures.objective import Direction


class CostSettings(MeasureSettings):
    """Nothing to set."""


class Cost:
    """FLOPs of one forward pass of one example (counted unless they are known), trained parameters, live modules."""

    cheap: ClassVar[bool] = True
    directions: ClassVar[Mapping[str, Direction]] = {
        "flops": "minimize",
        "parameters": "minimize",
        "modules": "maximize",
    }

    def __init__(self, settings: CostSettings) -> None:
        self.settings = settings

    def __call__(self, evaluation: Evaluation) -> dict[str, Value]:
        import torch

        from nasmod.networks import build, count_flops, count_parameters

        plan = evaluation.plan
        with torch.device("meta"):  # no memory, no draw from a generator
            network = build(plan)
        return {
            "flops": Value(count_flops(plan) if evaluation.flops is None else evaluation.flops),
            "parameters": Value(count_parameters(network)),
            "modules": Value(sum(step.node.is_module for step in plan.steps)),
        }
