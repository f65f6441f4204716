"""Data sets, one file each, and the one contract they keep. No torch in this room."""

from nasmod.data.assemble import assemble
from nasmod.data.dataset import (
    DataPath,
    Dataset,
    DataSettings,
    Split,
    Task,
)
from nasmod.data.loading import dataset_settings, load_dataset

__all__ = [
    "DataPath",
    "DataSettings",
    "Dataset",
    "Split",
    "Task",
    "assemble",
    "dataset_settings",
    "load_dataset",
]
