"""A small study with every sort of candidate in it, trained for real, in a real SQLite file."""

from __future__ import annotations

import random
from pathlib import Path

import torch

from nasmod.api import versions
from nasmod.search.asking import Asked
from nasmod.search.candidate import CandidateTraining
from nasmod.search.context import Context, bring_to_life
from nasmod.search.references import references
from nasmod.study import Database, Proposal, RungResult, StoredStudy, candidate_key, candidates, create_or_join, read
from nasmod.study import records as reading
from nasmod.study.stored import move_on

STUDY = """\
# A small study of digits, for tests.
trials = 6
space = "dense"
references = true
finalists = 0

[data]
name = "digits"
limit = 500

[training]
epochs = 2
batch_size = 32
learning_rate = 8e-3

[objective]
flops_budget = 100_000

[stopping]
name = "none"
"""

FINISHED = 4


def study_file(folder: Path, name: str = "small", text: str = STUDY) -> Path:
    """A study file that can be started."""
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def filled_study(folder: Path, name: str = "small") -> StoredStudy:
    """A study in ``folder/runs/NAME.db``: four finished (the first a reference), one stopped, failed, queued; ended."""
    torch.set_num_threads(1)  # as a worker does: small networks gain nothing from more
    study = read(study_file(folder, name))
    context = bring_to_life(study)
    database = Database.create(str(folder / "runs" / f"{name}.db"))
    stored = create_or_join(database, study, context.dataset.fingerprint, versions())
    generator = random.Random(3)
    filed: list[Proposal] = []
    proposal = references(context)[0]
    while len(filed) < FINISHED + 3:
        key = candidate_key(proposal.topology, proposal.settings)
        parameters = context.space.encode(proposal.topology, proposal.settings)
        if context.violation(proposal) is None and candidates.propose(database, stored.id, key, proposal, parameters):
            filed.append(proposal)
        topology, settings = context.space.random(generator)
        parent = candidate_key(filed[0].topology, filed[0].settings)
        origin = {"strategy": "random", "why": "drawn for a test"}
        proposal = context.counted(Proposal(topology, settings, parent, origin))
    assert not candidates.propose(database, stored.id, key, filed[-1], {})  # a duplicate, counted
    for _ in range(FINISHED - 1):
        _train(context, stored)
    _stop(context, stored)
    _fail(context, stored)
    _train(context, stored)
    move_on(stored, "searching", "ended", "the tests need no more")
    return stored


def _train(context: Context, stored: StoredStudy) -> None:
    held = candidates.claim(stored.database, stored.id, "test", context.distributions)
    assert held is not None
    CandidateTraining(context, stored.database, held, "cpu", Asked()).run()
    record = next(record for record in reading.read_records(stored) if record.key == held.key)
    assert record.state == "finished", record.reason


def _stop(context: Context, stored: StoredStudy) -> None:
    held = candidates.claim(stored.database, stored.id, "test", context.distributions)
    assert held is not None
    point = {"epoch": 1.0, "validation_accuracy": 0.5, "validation_loss": 1.5}
    candidates.report(stored.database, held, [point], 0.4, RungResult(1, 0.4))
    measures = {"accuracy": 0.5, "skill": 0.44, "flops": 5e4, "modularity": 0.1}
    result = {"measures": measures, "standard_errors": {"accuracy": 0.05}, "score": 0.4}
    reason = "score 0.4 at epoch 1 is under the cut of 0.6"
    candidates.finish(stored.database, held, result, [0.4], stopped=reason, fraction_left=0.5)


def _fail(context: Context, stored: StoredStudy) -> None:
    held = candidates.claim(stored.database, stored.id, "test", context.distributions)
    assert held is not None
    candidates.fail(stored.database, held, "ValueError: too odd", "Traceback ...\nValueError: too odd\n")
