"""Figures as a person reads them: shares with their standard errors, counts with a prefix, times with a unit."""

from __future__ import annotations

import math

from nasmod.measures.objective import Objective
from nasmod.study.record import Record
from nasmod.topology import Node

SHARES = frozenset({"score", "skill", "modularity", "parallelism", "necessity", "independence", "wiring_density"})
COUNTS = frozenset({"flops", "parameters"})
WIDE = 1e9  # from here on every digit would take a table's whole width
INFORMATION = "information."  # begins the names of what is lost without each module
CURVES = ("validation_accuracy", "validation_loss")
NONE = "–"  # noqa: RUF001  an en dash is what stands for "nothing" in a table


def figure(name: str, value: float | None, standard_error: float | None = None) -> str:
    """One measure by its name: ``0.971 ± 0.004``, ``1.24 M``, ``2.3 ms``.

    >>> figure("accuracy", 0.97123, 0.0041), figure("flops", 1_240_000), figure("latency", 0.0023)
    ('0.971 ± 0.004', '1.24 M', '2.3 ms')
    >>> figure("modules", 4.0), figure("loss", float("nan")), figure("r2", None), figure("r2", float("-inf"))
    ('4', '–', '–', '-∞')
    >>> figure("r2", -4.9184e76)
    '-4.92e+76'
    """
    if value is None:
        return NONE
    if not math.isfinite(value):
        return _not_finite(value)
    if name in COUNTS:
        return with_prefix(value)
    if name.startswith(("latency", "seconds")):
        return seconds(value)
    if abs(value) >= WIDE:
        return f"{value:.3g}"
    if name not in SHARES and "accuracy" not in name and value == int(value):
        return f"{value:.0f}"
    text = f"{value:.3f}"
    return text if standard_error is None or not math.isfinite(standard_error) else f"{text} ± {standard_error:.3f}"


def with_prefix(count: float) -> str:
    """A count in three digits.

    >>> with_prefix(950), with_prefix(12_345), with_prefix(999_999), with_prefix(3.2e9)
    ('950', '12.3 k', '1 M', '3.2 G')
    """
    for prefix in ("", " k", " M", " G"):
        if float(f"{count:.3g}") < 1000 or prefix == " G":
            return f"{count:.3g}{prefix}"
        count /= 1000
    raise AssertionError("the last prefix holds every count")


def seconds(value: float) -> str:
    """A short time with its unit.

    >>> seconds(0.000012), seconds(0.0123), seconds(75), seconds(3725)
    ('12 µs', '12.3 ms', '1 min 15 s', '1 h 02 min')
    """
    if not math.isfinite(value):
        return _not_finite(value)
    if value < 0.001:
        return f"{value * 1e6:.3g} µs"
    if value < 1:
        return f"{value * 1e3:.3g} ms"
    if value < 60:
        return f"{value:.3g} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def settings(record: Record) -> str:
    """The searched training settings of a record; empty where its space searches none."""
    said = {k: f"{v:.3g}" if isinstance(v, float) else str(v) for k, v in record.proposal.settings.items()}
    return ", ".join(f"{name} {value}" for name, value in said.items())


def parameters_of(node: Node) -> str:
    """The parameters of a module; how it merges what it reads is left out, and so is what is off.

    >>> parameters_of(Node("dense", (0, 1), {"width": 8, "residual": True, "layer_norm": False, "merge": "sum"}))
    'width 8, residual'
    """
    said = ((name, value) for name, value in node.params.items() if name != "merge" and value and node.is_module)
    return ", ".join(name if value is True else f"{name} {value}" for name, value in said)


def front_axes(objective: Objective) -> tuple[str, str, str | None]:
    """What a picture of the front shows across, upwards and as colour: FLOPs across, where they are a direction.

    >>> front_axes(Objective(flops_budget=1000))
    ('flops', 'skill', 'modularity')
    """
    across = "flops" if "flops" in objective.directions else list(objective.directions)[-1]
    upwards, *more = [name for name in objective.directions if name != across] or ["skill"]
    return across, upwards, more[0] if more else None


def curve_measure(record: Record) -> str | None:
    """What of a record's learning curve is looked at; None where it has none."""
    return next((name for name in CURVES if record.curve and name in record.curve[-1]), None)


def measure(record: Record, name: str) -> str:
    """A measure of a record with its standard error."""
    return figure(name, record.measures.get(name), record.standard_errors.get(name))


def main_measure(records: list[Record]) -> str:
    """What says how well a candidate does: accuracy, or R² or bits per symbol where the task is another."""
    names = {name for record in records for name in record.measures}
    return next((name for name in ("bits_per_symbol", "accuracy", "r2") if name in names), "accuracy")


def _not_finite(value: float) -> str:
    if math.isnan(value):
        return NONE
    return "∞" if value > 0 else "-∞"
