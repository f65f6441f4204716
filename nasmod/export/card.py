"""The model card (Mitchell et al. 2019) in an export's README: what it is for, learned from what, with what limits."""

from __future__ import annotations

import numpy as np

from nasmod.data import Dataset
from nasmod.measures.measure import Arrays

LOOKED_AT = 10_000  # examples of which the range of values is told
LISTED = 30  # classes with a row of their own


def card(dataset: Dataset, outputs: Arrays) -> str:
    """Markdown; `outputs` are what the network says of the test split (N, size), by name."""
    return "\n\n".join([_purpose(dataset), *_by_class(dataset, outputs), _limits(dataset)])


def _purpose(dataset: Dataset) -> str:
    inputs = ", ".join(f"`{name}` of shape {shape}" for name, shape in dataset.inputs.items())
    sizes = {name: len(dataset.split(name)) for name in ("train", "validation", "test")}
    told = ", ".join(
        f"`{name}` ({count} {'values' if dataset.task == 'regression' else 'classes'})"
        for name, count in dataset.outputs.items()
    )
    lines = [
        "## What it is for",
        "",
        f"It tells {told} from {inputs}, as learned from {sizes['train']:,} examples of the data set '{dataset.name}'; "
        f"{sizes['validation']:,} others chose it among other networks, {sizes['test']:,} more were kept for the "
        "figures here.",
    ]
    if dataset.task != "regression":
        lines.append(f"A constant answer would have an accuracy of {dataset.chance:.3f} on the validation examples.")
    if dataset.reading is not None:
        lines += ["", *(f"- {line.strip()}" for line in dataset.reading.lines())]
    return "\n".join(lines)


def _by_class(dataset: Dataset, outputs: Arrays) -> list[str]:
    """How many of each class's test examples are told, the worst first."""
    if dataset.task != "classification":
        return []
    found = []
    for name, logits in outputs.items():
        labels, likely = dataset.test.targets[name], logits.argmax(axis=1)
        names = dataset.class_names.get(name)
        rows = []
        for number in np.unique(labels):
            right = likely[labels == number] == number
            called = " ".join(str(names[number] if names else number).split()).replace("|", "\\|")
            rows.append((float(right.mean()), f"| {called} | {len(right):,} | {right.mean():.3f} |"))
        rows.sort(key=lambda row: row[0])
        more = f"\n\nand {len(rows) - LISTED} classes that are told more often." if len(rows) > LISTED else ""
        table = [
            f"| class of `{name}` | test examples | share told |",
            "|---|---|---|",
            *(row for _, row in rows[:LISTED]),
        ]
        found.append("\n".join(table) + more)
    return found


def _limits(dataset: Dataset) -> str:
    lines = [
        "## Limits",
        "",
        "- Its figures are of examples drawn like those it was trained on. Of data from elsewhere they say nothing.",
        "- It answers whatever it is given: a probability says how it compares the classes it knows, not whether an "
        "example is like those it has seen."
        if dataset.task != "regression"
        else "- It answers whatever it is given, however unlike the examples it has seen.",
    ]
    for name in dataset.inputs:
        values = dataset.train.inputs[name][:LOOKED_AT]
        some = f" (the first {LOOKED_AT:,} examples)" if len(dataset.train) > LOOKED_AT else ""
        lines.append(f"- Its training values of `{name}`{some} lie between {values.min():g} and {values.max():g}.")
    if dataset.reading is not None:
        lines += [f"- {warning}" for warning in dataset.reading.warnings]
    return "\n".join(lines)
