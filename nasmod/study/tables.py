"""The tables of a study: our own, and Optuna's that we keep in step. Numbered upgrades bring an older file forward."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from optuna.storages._rdb import (
    models,
)  # the one place that reads Optuna's schema; tests/study/test_projection.py guards it
from sqlalchemy import (
    Boolean,
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
    text,
)

SCHEMA_VERSION = 4

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
    Column("state", String(16), nullable=False),  # searching, repeating, draining, halting, ended
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
    Column("artifacts", Text),  # a folder or s3://bucket/prefix where files are kept; None: in this database
    Column("workers_per_device", Integer, nullable=False, server_default="1"),
    Column("factors", Text),  # JSON: Factors, found or declared at the start
    Column("reading", Text),  # JSON: Reading, what was read of a person's file at the start
    Column("measures", Text),  # JSON: which definition of each measure its candidates are measured by; None: the first
)

processes = Table(
    "nasmod_processes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study", Integer, ForeignKey("nasmod_studies.id"), nullable=False),
    Column("name", String(200), nullable=False),  # what `candidates.worker` and `studies.controller` hold
    Column("role", String(16), nullable=False),  # worker, supervisor
    Column("machine", String(200), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("device", String(100)),  # of a worker
    Column("log", Text),  # path of a worker's log file on its machine
    Column("beat", Integer, nullable=False, default=0),  # one more at every sign of life
    Column("seen", Float, nullable=False),  # when that was, in seconds of the database's clock: only to be shown
    UniqueConstraint("study", "name"),
)

candidates = Table(
    "candidates",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study", Integer, ForeignKey("nasmod_studies.id"), nullable=False),
    Column("key", String(64), nullable=False),
    Column("role", String(16), nullable=False),  # search, reference, repeat
    Column("state", String(16), nullable=False),  # queued, running, paused, finished, stopped, failed
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
    Column("reason", Text),  # why it was paused, stopped or failed
    Column("weights", String(64)),  # SHA-256 of the kept weights
    Column("ended_at", Float),  # `studies.seconds` when it was finished, stopped or paused
    UniqueConstraint("study", "key"),
    Index("candidates_by_state_and_role", "study", "state", "role"),  # what every claim and every look counts
)

rungs = Table(
    "rungs",
    metadata,
    Column("candidate", Integer, ForeignKey("candidates.id"), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("study", Integer, nullable=False),
    Column("result", Text, nullable=False),  # JSON: RungResult
    Index("rungs_by_epoch", "study", "epoch", "candidate"),
)

chunks = Table(
    "file_chunks",
    metadata,
    Column("candidate", Integer, ForeignKey("candidates.id"), primary_key=True),
    Column("name", String(32), primary_key=True),  # weights, checkpoint
    Column("number", Integer, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("id", String(64), primary_key=True),  # its name in the artifact store
    Column("study", Integer, ForeignKey("nasmod_studies.id"), nullable=False),
    Column("candidate", Integer, ForeignKey("candidates.id"), nullable=False),
    Column("name", String(32), nullable=False),  # weights, checkpoint
    Column("kept", Boolean, nullable=False),  # whether the candidate has it
    Column("token", Integer),  # of the claim that writes it; none once it is no longer wanted
    Column("sha256", String(64)),  # once it is written
    Index("artifacts_by_candidate", "candidate", "name"),
)


def optuna_versions() -> frozenset[str]:
    """The versions of Optuna's tables that the installed Optuna knows: its steps of upgrading are files so named."""
    steps = Path(models.__file__).parent / "alembic" / "versions"
    return frozenset(path.stem.rstrip("_") for path in steps.glob("v*.py"))


optuna_studies = models.StudyModel.__table__
optuna_directions = models.StudyDirectionModel.__table__
optuna_study_system_attributes = models.StudySystemAttributeModel.__table__
optuna_study_user_attributes = models.StudyUserAttributeModel.__table__
optuna_trials = models.TrialModel.__table__
optuna_params = models.TrialParamModel.__table__
optuna_values = models.TrialValueModel.__table__
optuna_steps = models.TrialIntermediateValueModel.__table__
optuna_user_attributes = models.TrialUserAttributeModel.__table__
optuna_system_attributes = models.TrialSystemAttributeModel.__table__


def _to_2(connection: Connection) -> None:
    """Processes that show signs of life, artifact stores, and an index that the counts of a study read alone."""
    for statement in (
        "ALTER TABLE nasmod_studies ADD COLUMN artifacts TEXT",
        "ALTER TABLE nasmod_studies ADD COLUMN workers_per_device INTEGER NOT NULL DEFAULT 1",
        "ALTER TABLE candidates ADD COLUMN ended_at FLOAT",
        "DROP INDEX candidates_by_state",
        "CREATE INDEX candidates_by_state_and_role ON candidates (study, state, role)",
        "DROP INDEX rungs_by_epoch",
        "CREATE INDEX rungs_by_epoch ON rungs (study, epoch, candidate)",
    ):
        connection.execute(text(statement))
    metadata.create_all(connection, [processes, artifacts])


def _to_3(connection: Connection) -> None:
    """The factors that modularity speaks of, and the definitions of measures."""
    connection.execute(text("ALTER TABLE nasmod_studies ADD COLUMN factors TEXT"))
    connection.execute(text("ALTER TABLE nasmod_studies ADD COLUMN measures TEXT"))


def _to_4(connection: Connection) -> None:
    """What was read of a person's file."""
    connection.execute(text("ALTER TABLE nasmod_studies ADD COLUMN reading TEXT"))


upgrades: dict[int, Callable[[Connection], None]] = {1: _to_2, 2: _to_3, 3: _to_4}
"""From version n to n + 1. tests/study/databases holds a file of every older version."""
