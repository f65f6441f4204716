"""Proposal, RungResult and Record: what is filed, what is compared at a rung, and what is known of a candidate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from nasmod.errors import StorageError, TopologyError
from nasmod.measures.roles import Roles, from_json
from nasmod.topology import Parameter, Topology

Role = Literal["search", "reference", "repeat"]  # studies before 2026-12 have references beside the search
State = Literal["queued", "running", "paused", "finished", "stopped", "failed"]
TRAINED: tuple[State, ...] = ("finished", "stopped", "paused")  # what the budget counts
ENDED: tuple[State, ...] = ("finished", "stopped", "failed")


@dataclass(frozen=True)
class Proposal:
    """A topology to train, the training settings searched with it, and where it came from.

    `origin` says which strategy made it and why (``{"strategy": "evolution", "why": "dropped an edge of 1f3a…"}``) and
    carries what the strategy needs back with the result, such as the system attributes of Optuna's samplers. `flops` of
    one forward pass of one example are counted before it is filed; None where they could not be.
    """

    topology: Topology
    settings: Mapping[str, Parameter] = field(default_factory=dict)
    parent: str | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)
    flops: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain form, for the database."""
        return {
            "topology": self.topology.to_json(),
            "settings": dict(self.settings),
            "parent": self.parent,
            "origin": dict(self.origin),
            "flops": self.flops,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Proposal:
        """What `to_json` gave, or that of a version which counted no FLOPs."""
        parent, flops = stored["parent"], stored.get("flops")
        if not isinstance(parent, str | None):
            raise TypeError(f"the parent of a proposal is a key, not {parent!r:.100}")
        if flops is not None and (type(flops) is not int or flops < 0):
            raise TypeError(f"the FLOPs of a proposal are a whole number, not {flops!r:.100}")
        topology = Topology.from_json(stored["topology"])
        return cls(topology, dict(stored["settings"]), parent, dict(stored["origin"]), flops)


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
        """Plain text, for the database. A value may be infinite, as in a result."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> RungResult:
        """What `to_json` gave."""
        stored = json.loads(text)
        return cls(**{**stored, "values": tuple(stored["values"]), "errors": tuple(stored["errors"])})


# what reading a text that somebody has changed by hand may raise
DAMAGED = (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError, TopologyError)
StoredText = Literal["proposal", "curve", "result"]
_TEXT_OF_FIELD: Mapping[str, StoredText] = {
    "proposal": "proposal",
    "parameters": "proposal",
    "curve": "curve",
    "measures": "result",
    "standard_errors": "result",
    "roles": "result",
    "score": "result",
    "seconds": "result",
    "traceback": "result",
}


def _none() -> None:
    """A default that is no attribute of the class: an absent one is parsed when it is asked for."""


@dataclass(frozen=True, repr=False)
class Record:
    """Everything known of one candidate. `number` is its Optuna trial's, None before it is claimed or if it has none.

    After finalists were repeated, `measures` are means over the `repeats` trainings with seeds that the search has not
    seen, and `standard_errors` those of the mean; `curve`, `roles` and `weights` remain those of the search's own
    training (modules of two trainings may swap parts). `curve` holds one mapping an epoch.

    A record that was read from a database (`Record.stored`) parses its JSON when one of its fields is first asked for:
    of ten thousand records most are asked for their state and score alone.
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
    repeats: int = 0
    worker: str | None = None
    seconds: float | None = field(default_factory=_none)
    attempts: int = 0
    traceback: str | None = field(default_factory=_none)
    id: int = 0
    roles: Roles = field(default_factory=dict)

    def __repr__(self) -> str:
        score = "" if self.score is None else f", score {self.score:.4g}"
        return f"<Record {self.label}: {self.state}{score}, {self.proposal.topology.module_count} modules>"

    @classmethod
    def stored(cls, columns: Mapping[str, Any], texts: Mapping[StoredText, str | None]) -> Record:
        """A record of plain columns and of JSON texts, equal to the one that has every field given."""
        record = object.__new__(cls)
        record.__dict__.update(columns, _texts=texts)
        return record

    def without_measures(self, prefix: str) -> Record:
        """A copy that has no measure whose name begins so."""
        copy = object.__new__(Record)
        copy.__dict__.update(self.__dict__)
        if "measures" in self.__dict__:
            copy.__dict__["measures"] = _without(self.measures, prefix)
        else:  # nothing is parsed for it
            copy.__dict__["_texts"] = {**self.__dict__["_texts"], "hidden": prefix}
        return copy

    if not TYPE_CHECKING:  # mypy would take it for the promise that every attribute exists

        def __getattr__(self, name: str) -> Any:
            text = _TEXT_OF_FIELD.get(name)
            texts = self.__dict__.get("_texts")
            if text is None or texts is None:
                raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
            self.__dict__.update(_parsed(text, texts[text], texts.get("hidden")))
            return self.__dict__[name]

    @property
    def label(self) -> str:
        """How a person names it: its number, or the beginning of its key."""
        if self.role == "reference":
            return self.reference or "reference"
        return f"#{self.number}" if self.number is not None else self.key[:8]

    @property
    def standing(self) -> tuple[bool, float]:
        """By what simple wirings are compared: one that was repeated is judged by its mean, before lucky trainings."""
        return self.repeats > 0, self.score or 0.0

    @property
    def reference(self) -> str | None:
        """Which simple wiring it is, if the study opened with it: ``monolith``, ``chain``, ``parallel``, ``towers``."""
        texts = self.__dict__.get("_texts", {})
        if "proposal" not in self.__dict__ and '"reference"' not in (texts.get("proposal") or ""):
            return None  # most are none: their topologies need not be parsed for that
        found = self.proposal.origin.get("reference")
        return None if found is None or self.role == "repeat" else str(found)


def _without(measures: Mapping[str, float], prefix: str) -> dict[str, float]:
    return {name: value for name, value in measures.items() if not name.startswith(prefix)}


def _parsed(name: StoredText, text: str | None, hidden: str | None) -> dict[str, Any]:
    """The fields of a record that one stored text holds, without the measures that are hidden."""
    try:
        return _fields(name, json.loads(text) if text else {}, hidden)
    except DAMAGED as error:
        raise StorageError(f"The {name} of a candidate in the database is damaged: {error}") from error


def _fields(name: StoredText, stored: Any, hidden: str | None) -> dict[str, Any]:
    if name == "curve":
        return {"curve": tuple(_numbers(point) for point in stored)}
    if name == "proposal":
        return {"proposal": Proposal.from_json(stored), "parameters": dict(stored["parameters"])}
    measures = _numbers(stored.get("measures", {}))
    score, seconds, traceback = (stored.get(key) for key in ("score", "seconds", "traceback"))
    _numbers({"score": score or 0.0, "seconds": seconds or 0.0})
    return {
        "measures": measures if hidden is None else _without(measures, hidden),
        "standard_errors": _numbers(stored.get("standard_errors", {})),
        "roles": from_json(stored.get("roles", {})),
        "score": score,
        "seconds": seconds,
        "traceback": None if traceback is None else str(traceback),
    }


def _numbers(values: Mapping[str, float]) -> Mapping[str, float]:
    for name, value in values.items():
        if type(value) is not float and type(value) is not int:
            raise TypeError(f"'{name}' is no number, but {value!r:.100}")
    return values
