"""Measures, facts about a network, and the objective that scores them. Importing it imports no torch."""

from nasmod.measures.front import crowding, front_of, nondominated_ranks, pareto_front, useful
from nasmod.measures.measure import (
    Evaluation,
    Measure,
    Measured,
    MeasureSettings,
    Value,
    definition_of,
    mean_of,
    measure_all,
    measured_names,
)
from nasmod.measures.objective import Direction, Objective

__all__ = [
    "Direction",
    "Evaluation",
    "Measure",
    "MeasureSettings",
    "Measured",
    "Objective",
    "Value",
    "crowding",
    "definition_of",
    "front_of",
    "mean_of",
    "measure_all",
    "measured_names",
    "nondominated_ranks",
    "pareto_front",
    "useful",
]
