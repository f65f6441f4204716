"""The digits of scikit-learn: 1,797 grey images of 8x8, 10 classes, no download."""

from __future__ import annotations

import numpy as np

from nasmod.data.assemble import assemble
from nasmod.data.dataset import Dataset, DataSettings, Split


class DigitsSettings(DataSettings):
    """Digits need no settings of their own."""

    name: str = "digits"


def load(settings: DigitsSettings) -> Dataset:
    """Scikit-learn's handwritten digits: 1,797 grey images of 8x8, 10 classes; no download.

    >>> len(load(DigitsSettings()).train)
    1078
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = bunch.images.astype(np.uint8)[:, None]  # (N, 1, 8, 8), values 0 to 16
    return assemble(settings, "classification", Split({"x": images}, {"y": bunch.target}), classes={"y": 10})
