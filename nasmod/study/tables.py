"""The tables of a study: our own, and Optuna's that we keep in step. Numbered upgrades bring an older file forward."""

from __future__ import annotations

from collections.abc import Callable

from optuna.storages._rdb import (
    models,
)  # the one place that reads Optuna's schema; tests/study/test_projection.py guards it
from sqlalchemy import (
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION = 1

metadata = MetaData()

schema = Table("nasmod_schema", metadata, Column("version", Integer, nullable=False))

studies = Table(
    "nasmod_studies",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(100), nullable=False, unique=True),
    Column("optuna_study", Integer, nullable=False),
    Column("definition", Text, nullable=False),  # JSON: all of the study but its amounts
    Column("fingerprint", String(64), nullable=False),  # of the data
    Column("trials", Integer, nullable=False),  # the budget
    Column("hours", Float),
    Column("state", String(16), nullable=False),  # searching, repeating, ended
    Column("reason", Text),  # why it ended
    Column("seconds", Float, nullable=False, default=0.0),  # searched so far, by the controller's monotonic clock
    Column("proposals", Integer, nullable=False, default=0),  # drawn so far: seeds the next strategy's generator
    Column("duplicates", Integer, nullable=False, default=0),
    Column("infeasible", Integer, nullable=False, default=0),
    Column("failures_in_row", Integer, nullable=False, default=0),
    Column("controller", String(200)),  # who holds the lease
    Column("controller_token", Integer, nullable=False, default=0),
    Column("controller_beat", Integer, nullable=False, default=0),
    Column("versions", Text, nullable=False),  # JSON: of nasmod, torch, optuna … at the start
)

candidates = Table(
    "candidates",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study", Integer, ForeignKey("nasmod_studies.id"), nullable=False),
    Column("key", String(64), nullable=False),
    Column("role", String(16), nullable=False),  # search, reference, repeat
    Column("state", String(16), nullable=False),  # queued, running, finished, stopped, failed
    Column("token", Integer, nullable=False, default=0),  # one more at every claim and hand-back: the fence
    Column("beat", Integer, nullable=False, default=0),  # one more at every sign of life
    Column("attempts", Integer, nullable=False, default=0),
    Column("worker", String(200)),
    Column("trial", Integer),  # Optuna's trial_id, once claimed
    Column("number", Integer),  # Optuna's trial number, once claimed
    Column("proposal", Text, nullable=False),  # JSON: Proposal
    Column("curve", Text, nullable=False, default="[]"),  # JSON: one point an epoch
    Column("checkpoint", Integer, nullable=False, default=0),  # epoch of the stored checkpoint, 0 for none
    Column("result", Text),  # JSON: measures, standard errors, score, seconds, device, versions
    Column("reason", Text),  # why it was stopped or failed
    Column("weights", String(64)),  # SHA-256 of the kept weights
    UniqueConstraint("study", "key"),
    Index("candidates_by_state", "study", "state"),
)

rungs = Table(
    "rungs",
    metadata,
    Column("candidate", Integer, ForeignKey("candidates.id"), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("study", Integer, nullable=False),
    Column("result", Text, nullable=False),  # JSON: RungResult
    Index("rungs_by_epoch", "study", "epoch"),
)

chunks = Table(
    "file_chunks",
    metadata,
    Column("candidate", Integer, ForeignKey("candidates.id"), primary_key=True),
    Column("name", String(32), primary_key=True),  # weights, checkpoint
    Column("number", Integer, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

optuna_studies = models.StudyModel.__table__
optuna_directions = models.StudyDirectionModel.__table__
optuna_trials = models.TrialModel.__table__
optuna_params = models.TrialParamModel.__table__
optuna_values = models.TrialValueModel.__table__
optuna_steps = models.TrialIntermediateValueModel.__table__
optuna_user_attributes = models.TrialUserAttributeModel.__table__
optuna_system_attributes = models.TrialSystemAttributeModel.__table__

upgrades: dict[int, Callable[[Connection], None]] = {}
"""From version n to n + 1. Version 1 is the first; the first upgrade will be ``upgrades[1]``."""
