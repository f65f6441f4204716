"""Fashion-MNIST: 60,000 + 10,000 grey images of 28x28, 10 kinds of clothing."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from nasmod.data.dataset import DataPath, Dataset
from nasmod.data.idx import IdxSettings, find_files
from nasmod.data.idx import load as load_idx
from nasmod.errors import DataError

FOLDER = "/usr/share/datasets/fashion-mnist"  # where Debian's and Ubuntu's package puts it


class FashionMnistSettings(IdxSettings):
    """Where the four files lie."""

    name: str = "fashion-mnist"
    path: DataPath = Field(FOLDER, description="folder with its four idx files")


def load(settings: FashionMnistSettings) -> Dataset:
    """Fashion-MNIST: 60,000 + 10,000 grey images of 28x28, 10 classes (apt-get install dataset-fashion-mnist)."""
    try:
        find_files(Path(settings.path), settings.prefix)
    except DataError as error:
        raise DataError(
            f"Fashion-MNIST is not there. {error} Get it with 'apt-get install dataset-fashion-mnist', or put its four "
            "idx files into a folder and set path to it."
        ) from None
    return load_idx(settings)
