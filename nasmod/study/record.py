"""Proposal, RungResult and Record: what is filed, what is compared at a rung, and what is known of a candidate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from nasmod.topology import Parameter, Topology

Role = Literal["search", "reference", "repeat"]
State = Literal["queued", "running", "finished", "stopped", "failed"]
TRAINED: tuple[State, ...] = ("finished", "stopped")
ENDED: tuple[State, ...] = ("finished", "stopped", "failed")


@dataclass(frozen=True)
class Proposal:
    """A topology to train, the training settings searched with it, and where it came from.

    `origin` says which strategy made it and why (``{"strategy": "evolution", "why": "dropped an edge of 1f3a…"}``) and
    carries what the strategy needs back with the result, such as the system attributes of Optuna's samplers.
    """

    topology: Topology
    settings: Mapping[str, Parameter] = field(default_factory=dict)
    parent: str | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain form, for the database."""
        return {
            "topology": self.topology.to_json(),
            "settings": dict(self.settings),
            "parent": self.parent,
            "origin": dict(self.origin),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Proposal:
        """What `to_json` gave."""
        return cls(Topology.from_json(stored["topology"]), stored["settings"], stored["parent"], stored["origin"])


def candidate_key(topology: Topology, settings: Mapping[str, Parameter], repeat: int = 0) -> str:
    """Identity of a candidate: SHA-256 of the topology's key, the searched settings and the repeat number."""
    text = json.dumps([topology.key, sorted(settings.items()), repeat], separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class RungResult:
    """What early stopping compares at a rung: the score there with its standard error, and every objective's value."""

    epoch: int
    score: float
    standard_error: float = 0.0
    values: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()

    def to_json(self) -> str:
        """Plain text, for the database."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> RungResult:
        """What `to_json` gave."""
        stored = json.loads(text)
        return cls(**{**stored, "values": tuple(stored["values"]), "errors": tuple(stored["errors"])})


@dataclass(frozen=True)
class Record:
    """Everything known of one candidate. `number` is its Optuna trial's, None before it is claimed or if it has none.

    After finalists were repeated, `measures` are means over the `repeats` trainings and `standard_errors` those of the
    mean. `curve` holds one mapping an epoch.
    """

    number: int | None
    key: str
    state: State
    proposal: Proposal
    measures: Mapping[str, float]
    standard_errors: Mapping[str, float]
    score: float | None
    curve: tuple[Mapping[str, float], ...]
    reason: str | None
    weights: str | None
    role: Role = "search"
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    repeats: int = 1
    worker: str | None = None
    seconds: float | None = None
    attempts: int = 0
    traceback: str | None = None
    id: int = 0

    @property
    def label(self) -> str:
        """How a person names it: its number, or which reference it is."""
        if self.role == "reference":
            return str(self.proposal.origin.get("reference", "reference"))
        return f"#{self.number}" if self.number is not None else self.key[:8]
