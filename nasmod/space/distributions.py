"""Distributions: what one parameter of a space may be. They know nothing of Optuna, whose words they use."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from nasmod.space.file import Range
from nasmod.topology import Parameter

NEAR_SHARE = 0.2  # of a range: how far a number moves at most to one nearby


class Suggest(Protocol):
    """Whatever draws parameters by name: an Optuna trial, a fixed trial, a test double."""

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...
    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...
    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...


@dataclass(frozen=True)
class Choice:
    """One of several options, in no order.

    >>> Choice((8, 16), default=8).count
    2
    """

    options: tuple[Parameter, ...]
    default: Parameter

    @property
    def count(self) -> float:
        """How many values there are."""
        return len(self.options)

    def values(self) -> tuple[Parameter, ...]:
        return self.options

    def contains(self, value: Parameter) -> bool:
        return any(type(value) is type(option) and value == option for option in self.options)

    def near(self, value: Parameter, generator: random.Random) -> Parameter:
        """The next larger or smaller option; any where they are not all numbers."""
        numbers = [option for option in self.options if isinstance(option, int | float) and type(option) is not bool]
        if len(numbers) < len(self.options):
            return self.random(generator)
        return _next_to(value, sorted(numbers), generator)

    def random(self, generator: random.Random) -> Parameter:
        return generator.choice(self.options)

    def suggest(self, name: str, suggest: Suggest) -> Parameter:
        value: Parameter = suggest.suggest_categorical(name, self.options)
        return value


@dataclass(frozen=True)
class Integer:
    """A whole number from `low` to `high` in steps; `log`: small ones as likely as large ones.

    >>> Integer(1, 9, step=4, log=False, default=1).values()
    (1, 5, 9)
    """

    low: int
    high: int
    step: int
    log: bool
    default: int

    @property
    def count(self) -> float:
        """How many values there are."""
        return (self.high - self.low) // self.step + 1

    def values(self) -> tuple[Parameter, ...]:
        return tuple(range(self.low, self.high + 1, self.step))

    def contains(self, value: Parameter) -> bool:
        return type(value) is int and self.low <= value <= self.high and (value - self.low) % self.step == 0

    def near(self, value: Parameter, generator: random.Random) -> Parameter:
        """The next larger or smaller number; with `log` up to a fifth away."""
        assert isinstance(value, int)
        far = max(self.step, round(value * NEAR_SHARE)) if self.log else self.step
        found = value + generator.choice((-1, 1)) * generator.randint(1, far // self.step) * self.step
        return min(max(found, self.low), self.low + int(self.count - 1) * self.step)

    def random(self, generator: random.Random) -> Parameter:
        if self.log:
            drawn = round(math.exp(generator.uniform(math.log(self.low - 0.5), math.log(self.high + 0.5))))
            return min(max(drawn, self.low), self.high)
        return generator.randrange(self.low, self.high + 1, self.step)

    def suggest(self, name: str, suggest: Suggest) -> Parameter:
        return suggest.suggest_int(name, self.low, self.high, step=self.step, log=self.log)


@dataclass(frozen=True)
class Real:
    """A number from `low` to `high`; `log`: every order of magnitude as likely as another."""

    low: float
    high: float
    log: bool
    default: float

    @property
    def count(self) -> float:
        """How many values there are: without end."""
        return math.inf

    def values(self) -> tuple[Parameter, ...]:
        raise AssertionError("a range of reals cannot be listed")

    def contains(self, value: Parameter) -> bool:
        return type(value) is float and self.low <= value <= self.high

    def near(self, value: Parameter, generator: random.Random) -> Parameter:
        """A number nearby: up to a fifth of the range away, on a log scale if `log`."""
        assert isinstance(value, float)
        step = generator.uniform(-NEAR_SHARE, NEAR_SHARE)
        found: float = value * (self.high / self.low) ** step if self.log else value + step * (self.high - self.low)
        return min(max(found, self.low), self.high)

    def random(self, generator: random.Random) -> Parameter:
        if self.log:
            drawn = math.exp(generator.uniform(math.log(self.low), math.log(self.high)))
            return min(max(drawn, self.low), self.high)
        return generator.uniform(self.low, self.high)

    def suggest(self, name: str, suggest: Suggest) -> Parameter:
        return suggest.suggest_float(name, self.low, self.high, log=self.log)


Distribution = Choice | Integer | Real


def _next_to(value: Parameter, ordered: Sequence[Parameter], generator: random.Random) -> Parameter:
    place = ordered.index(value)
    return generator.choice([ordered[index] for index in (place - 1, place + 1) if 0 <= index < len(ordered)])


def distribution(values: Range | tuple[Parameter, ...], default: Parameter | None = None) -> Distribution:
    """What a space file says as a distribution; `default` counts if it is one of the values, else the first does.

    >>> distribution((16, 8), default=8).default, distribution(Range(low=1, high=3)).default
    (8, 1)
    """
    found: Distribution
    if isinstance(values, tuple):
        found = Choice(values, values[0])
    elif isinstance(values.low, int) and isinstance(values.high, int) and not isinstance(default, float):
        found = Integer(values.low, values.high, values.step or 1, values.log, values.low)
    else:
        found = Real(float(values.low), float(values.high), values.log, float(values.low))
    known: Any = default
    return replace(found, default=known) if known is not None and found.contains(known) else found
