"""What goes into an exported model and comes out of it, as plain data beside it: `nasmod predict` reads it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from nasmod.data import Dataset
from nasmod.data.dataset import Task
from nasmod.data.table import TableSettings
from nasmod.networks import Plan


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Input(_Plain):
    """An input: the shape of one example, and what its features are called, where they have names.

    A category of a column is a feature ``column=category``, 1 or 0.
    """

    name: str
    shape: tuple[int, ...]
    features: tuple[str, ...] | None


class Output(_Plain):
    """An output: the names of its classes, or mean and standard deviation, which lead back to the data's own units."""

    name: str
    size: int
    classes: tuple[str, ...] | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None


class Interface(_Plain):
    """Inputs in the order in which the model takes them, outputs in that in which it gives them."""

    version: int = 1
    task: Task
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    table: TableSettings | None = None  # how the table was written that the network was trained on


def interface(plan: Plan, dataset: Dataset) -> Interface:
    """That of a network on the data it was trained on."""
    inputs = [
        Input(name=name, shape=shape, features=dataset.feature_names.get(name)) for name, shape in plan.inputs.items()
    ]
    outputs = []
    for name, shape in plan.outputs.items():
        mean, std = dataset.target_normalisation.get(name, (None, None))
        outputs.append(
            Output(
                name=name,
                size=shape[0],
                classes=dataset.class_names.get(name),
                mean=None if mean is None else tuple(map(float, mean)),
                std=None if std is None else tuple(map(float, std)),
            )
        )
    return Interface(task=dataset.task, inputs=tuple(inputs), outputs=tuple(outputs), table=dataset.written)
