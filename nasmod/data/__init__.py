"""Data sets, one file each, and the one contract they keep. No torch in this room."""

from nasmod.data.assemble import assemble
from nasmod.data.dataset import (
    DataPath,
    Dataset,
    DataSettings,
    Split,
    Task,
)
from nasmod.data.factors import DeclaredFactor, Factor, Factors
from nasmod.data.finding_factors import find_factors
from nasmod.data.loading import dataset_settings, load_dataset
from nasmod.data.reading import Reading

__all__ = [
    "DataPath",
    "DataSettings",
    "Dataset",
    "DeclaredFactor",
    "Factor",
    "Factors",
    "Reading",
    "Split",
    "Task",
    "assemble",
    "dataset_settings",
    "find_factors",
    "load_dataset",
]
