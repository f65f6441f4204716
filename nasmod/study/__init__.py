"""The study file, and how a study lies in its database. The only SQL and the only Optuna storage; no torch."""

from nasmod.study.database import Database
from nasmod.study.definition import Study, check_settings, read
from nasmod.study.projection import to_optuna
from nasmod.study.record import ENDED, TRAINED, Proposal, Record, RungResult, candidate_key
from nasmod.study.stored import Status, StoredStudy, create_or_join, open_study, status

__all__ = [
    "ENDED",
    "TRAINED",
    "Database",
    "Proposal",
    "Record",
    "RungResult",
    "Status",
    "StoredStudy",
    "Study",
    "candidate_key",
    "check_settings",
    "create_or_join",
    "open_study",
    "read",
    "status",
    "to_optuna",
]
