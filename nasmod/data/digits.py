"""The digits of scikit-learn: 1,797 grey images of 8x8, 10 classes, no download."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from nasmod.data.assemble import assemble
from nasmod.data.dataset import Array, Dataset, DataSettings, Split
from nasmod.errors import DataError

FILE = "datasets/data/digits.csv.gz"  # in scikit-learn's package


class DigitsSettings(DataSettings):
    """Digits need no settings of their own."""

    name: str = "digits"


def load(settings: DigitsSettings) -> Dataset:
    """Scikit-learn's handwritten digits: 1,797 grey images of 8x8, 10 classes; no download.

    >>> len(load(DigitsSettings()).train)
    1078
    """
    images, classes = images_and_classes()
    return assemble(settings, "classification", Split({"x": images}, {"y": classes}), classes={"y": 10})


def images_and_classes() -> tuple[Array, Array]:
    """Every digit as an image (1797, 1, 8, 8) of values 0 to 16, and its class (1797,).

    The file is read as ``sklearn.datasets.load_digits`` reads it, without importing scikit-learn, which would cost
    every worker two seconds.
    """
    found = find_spec("sklearn")
    file = Path(found.origin if found and found.origin else "").parent / FILE
    if not file.is_file():
        raise DataError(f"This scikit-learn does not have its digits in {FILE}: install scikit-learn 1.9.")
    rows = np.loadtxt(file, delimiter=",", dtype=np.uint8)  # an image's 64 values and its class
    return rows[:, :-1].reshape(-1, 1, 8, 8), rows[:, -1].astype(np.int64)
