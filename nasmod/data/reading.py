"""What was read of a person's data, in words: how each column or array is used and why, and what looks wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
SHOWN = 12  # parts of a kind that are listed one by one
NAMED = 12  # classes that are listed with their counts
RARE = 0.03  # a class with a smaller share is told
FAR = 20.0  # an outlier lies so many times the middle half's width from it


@dataclass(frozen=True)
class Part:
    """A column or an array: what it holds, what it is used as, and why."""

    name: str
    holds: str
    used: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.holds}, {self.used}{f' ({self.why})' if self.why else ''}"


@dataclass(frozen=True)
class Reading:
    """What a loader read of a file, in words."""

    examples: int
    source: str = ""
    parts: tuple[Part, ...] = ()
    targets: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def lines(self, shown: int = SHOWN) -> Iterator[str]:
        """For a person, a line each, whatever line breaks names have; of many parts only some."""
        yield _in_one_line(f"Read {self.examples:,} examples{f' of {self.source}' if self.source else ''}.")
        yield from (f"  {_in_one_line(str(part))}" for part in self.parts[:shown])
        if len(self.parts) > shown:
            yield f"  and {len(self.parts) - shown} more."
        yield from map(_in_one_line, self.targets)
        yield from (_in_one_line(f"Look at this: {warning}") for warning in self.warnings)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Reading:
        """What `to_json` gave."""
        parts = tuple(Part(**part) for part in stored["parts"])
        lists = {name: tuple(stored[name]) for name in ("targets", "warnings")}
        return cls(stored["examples"], stored["source"], parts, **lists)


def _in_one_line(text: str) -> str:
    return " ".join(text.split())


def of_classes(name: str, labels: Array, names: tuple[str, ...] | None, why: str) -> tuple[str, list[str]]:
    """What is to be told of class numbers (N,), and what looks wrong with them."""
    counts = np.bincount(labels)
    called = [names[number] if names else str(number) for number in range(len(counts))]
    listed = ", ".join(
        f"{' '.join(one.split())} {count:,}" for one, count in list(zip(called, counts, strict=True))[:NAMED]
    )
    more = f" and {len(counts) - NAMED} more" if len(counts) > NAMED else ""
    said = f"{name}: {len(counts)} classes ({why}): {listed}{more}."
    warnings = []
    if once := [one for one, count in zip(called, counts, strict=True) if count == 1]:
        warnings.append(
            f"{name}: the class '{once[0]}' has one example, which is in one split only: it is never judged."
        )
    share = counts.max() / max(1, counts.sum())
    if len(counts) > 1 and 1 - share < RARE * (len(counts) - 1):
        warnings.append(
            f"{name}: {share:.0%} of the examples are of the class '{called[int(counts.argmax())]}': a constant answer "
            "is nearly as accurate as a good one."
        )
    return said, warnings


def of_values(name: str, values: Array, why: str) -> tuple[str, list[str]]:
    """What is to be told of real targets (N,) or (N, dims), and what looks wrong with them."""
    flat = values.reshape(len(values), -1)
    said = f"{name}: real values ({why}): from {flat.min():.4g} to {flat.max():.4g}, mean {flat.mean():.4g}."
    low, middle, high = np.quantile(flat, [0.25, 0.5, 0.75], axis=0)
    width = np.maximum(high - low, 1e-12)
    far = np.abs(flat - middle) / width
    if (far > FAR).any():
        row, column = np.unravel_index(int(far.argmax()), far.shape)
        said_far = (
            f"{name}: {flat[row, column]:.4g} in example {row} lies {far.max():.0f} times the middle half's width"
        )
        return said, [f"{said_far} from the middle: one such value can decide the error of all."]
    return said, []
