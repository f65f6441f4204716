"""Small real studies on the digits, in real SQLite files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nasmod.search import proposing
from nasmod.search.context import Context, bring_to_life
from nasmod.study import Database, StoredStudy, Study, create_or_join, read
from tests.study.conftest import empty_postgresql, postgresql, storage  # noqa: F401  # fixtures: where a study may lie

collect_ignore = ["waiting.py"]  # a plugin: it is loaded by the studies that name it

TEXT = """
name = "small"
space = "{space}"
trials = {trials}
references = {references}
finalists = {finalists}
repeats = 2
{top}
[data]
name = "digits"
limit = 400
[training]
epochs = {epochs}
batch_size = 64
[objective]
flops_budget = 40000
{objective}
[strategy]
name = "{strategy}"
[stopping]
name = "{stopping}"
{more}
"""


@pytest.fixture
def make_study(tmp_path: Path) -> Callable[..., Study]:
    """A study file with these values, read."""

    def make(**values: object) -> Study:
        chosen = {
            "space": "dense", "trials": 4, "references": "false", "finalists": 0, "epochs": 3, "top": "",
            "objective": "", "strategy": "random", "stopping": "none", "more": "", **values,
        }  # fmt: skip
        path = tmp_path / "small.toml"
        path.write_text(TEXT.format(**chosen))
        return read(path)

    return make


@pytest.fixture(autouse=True)
def a_tick_files_what_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow this machine is: tests that tick by hand claim what was filed."""
    monkeypatch.setattr(proposing, "WAITED_SECONDS", 240.0)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Study], tuple[StoredStudy, Context]]]:
    """File a study in a database of its own."""
    opened = []

    def begin(study: Study) -> tuple[StoredStudy, Context]:
        context = bring_to_life(study)
        database = Database.create(str(tmp_path / "small.db"))
        opened.append(database)
        return create_or_join(database, study, context.dataset.fingerprint, {}), context

    yield begin
    for database in opened:
        database.close()
