"""What a hostile database, study or file can do: nothing but be refused in one line."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filled import STUDY, study_file

import nasmod
from nasmod import cli, registry
from nasmod.errors import NasmodError, PluginError, plain
from nasmod.study import Database, open_study, read
from nasmod.study.allowed import code_of, listed, permit

PACKAGE = Path(nasmod.__file__).parent
NASMOD = [sys.executable, "-m", "nasmod.cli"]

FACTORY = """
from pathlib import Path
import numpy as np
Path(__file__).with_suffix(".executed").touch()
def make(rows=300):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows, 4)).astype("float32")
    return {"x": x, "y": (x[:, 0] > 0).astype("int64")}
def other(rows=300):
    Path(__file__).with_suffix(".other").touch()
    return make()
"""
PLUGIN = """
from pathlib import Path
Path(__file__).with_suffix(".executed").touch()
"""
OWN = """
plugins = ["plugin.py"]
trials = 1
space = "dense"
references = false
finalists = 0
[data]
name = "python"
factory = "factory.py:make"
[training]
epochs = 1
[objective]
flops_budget = 100_000
[strategy]
name = "random"
[stopping]
name = "none"
"""


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without an allow-list, in a process that has allowed nothing; the list's file."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(registry, "_allowed", set())
    return tmp_path / "config" / "nasmod" / "allowed"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with a study file, its plugin and its data's function, which leave a file where they are executed."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "factory.py").write_text(FACTORY)
    (folder / "plugin.py").write_text(f"# of {tmp_path}\n{PLUGIN}")  # a module of its own in every test
    (folder / "own.toml").write_text(OWN)
    return folder


def executed(folder: Path) -> set[str]:
    """What left a trace, forgotten now."""
    found = {path.name for path in folder.iterdir() if path.suffix in (".executed", ".other")}
    for name in found:
        (folder / name).unlink()
    return found


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*NASMOD, *arguments], cwd=folder, capture_output=True, text=True, check=False)


# -- Python that a study names ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_study_of_a_database_executes_nothing_that_this_user_has_not_allowed(
    own: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started by its owner it just works, later too; a stranger is refused until they allow it, in either way."""
    for arguments in (["start", "own.toml", "--workers", "1"], ["resume", "own", "--trials", "2", "--workers", "1"]):
        done = call(own, *arguments)
        assert done.returncode == 0, done.stderr
    assert executed(own) == {"plugin.executed", "factory.executed"}
    owners = listed(config)
    assert owners == {part.key for part in code_of(read(own / "own.toml"))}
    executed(own)

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "stranger"))
    for arguments in (
        ["resume", "own", "--trials", "3"],
        ["export", "own", "-o", "exported"],
        ["export", "own", "-o", "exported", "--retrain", "1"],
    ):
        done = call(own, *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        for part in ("plugin.py", "factory.py", *owners, "--allow-plugins", str(tmp_path / "stranger")):
            assert part in done.stderr
        assert "Traceback" not in done.stderr
    for arguments in (["status", "own"], ["top", "own"], ["show", "own"], ["copy", "own", "copied.db"]):
        assert call(own, *arguments).returncode == 0
    assert executed(own) == set()

    done = call(own, "export", "own", "-o", "exported", "--allow-plugins")
    assert done.returncode == 0, done.stderr
    assert executed(own) == {"plugin.executed", "factory.executed"}
    assert call(own, "resume", "own", "--trials", "3", "--workers", "1").returncode == 0  # it was remembered

    third = tmp_path / "third" / "nasmod" / "allowed"
    third.parent.mkdir(parents=True)
    third.write_text("".join(f"{key}\n" for key in owners))  # as the refusal says
    monkeypatch.setenv("XDG_CONFIG_HOME", str(third.parent.parent))
    assert call(own, "resume", "own", "--trials", "4", "--workers", "1").returncode == 0


def test_only_what_was_allowed_is_executed_not_its_other_functions(own: Path, config: Path) -> None:
    study = read(own / "own.toml")
    permit(study, config, allow=True)
    registry._allowed.clear()
    permit(study, config)
    hostile = study.model_copy(update={"data": {**study.data, "factory": f"{own}/factory.py:other"}})
    with pytest.raises(PluginError, match=rf"factory\.py' \({'[0-9a-f]' * 64}:other\).*--allow-plugins.*{config}"):
        permit(hostile, config)
    (own / "factory.py").write_text(FACTORY + "# changed\n")
    with pytest.raises(PluginError, match=r"factory\.py"):
        permit(study, config)


def test_what_is_checked_is_what_is_executed(own: Path) -> None:
    """A file that changes after it was allowed is not executed; nor is one that changes after it was read."""
    from nasmod.data import load_dataset

    study = read(own / "own.toml")
    executed(own)
    (own / "factory.py").write_text(FACTORY.replace("import numpy", "import os, numpy"))
    with pytest.raises(PluginError, match=r"factory\.py' is Python that nobody has allowed here"):
        load_dataset(study.data)
    assert executed(own) == set()
    code = registry.read_code(own / "factory.py")
    registry.allow([code.key])
    (own / "factory.py").write_text("raise RuntimeError")
    assert registry.execute(code, "nasmod_data_of_a_test").make(7)["y"].shape == (7,)


@pytest.mark.parametrize("factory", ["os:system", "builtins:eval", "subprocess:run", "nasmod.cli:main", "math:exp"])
def test_a_module_that_is_installed_is_no_exception(own: Path, config: Path, factory: str) -> None:
    """Whether it is imported already or not: calling it with a study's arguments is what must be allowed."""
    from nasmod.data import load_dataset

    data = {"name": "python", "factory": factory, "arguments": {"args": f"touch {own}/hacked.executed"}}
    with pytest.raises(NasmodError, match=r"must lie in Python files|nobody has allowed"):
        load_dataset(data)
    hostile = read(own / "own.toml").model_copy(update={"data": data, "plugins": ()})
    executed(own)
    with pytest.raises(NasmodError, match=r"must lie in Python files|have not allowed here: .*\.py"):
        permit(hostile, config)
    assert executed(own) == set()


def test_to_find_a_modules_file_no_package_is_imported(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The packages around a module are executed by its import: they are named, and allowed, with it."""
    from nasmod.data import dataset_settings, load_dataset

    package = tmp_path / "outer_of_a_test" / "inner"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text(PLUGIN)
    (package / "data.py").write_text(FACTORY)  # `inner` itself has no file
    monkeypatch.syspath_prepend(tmp_path)
    data = {"name": "python", "factory": "outer_of_a_test.inner.data:make", "arguments": {"rows": 200}}
    keys = [part.key for part in dataset_settings(data).code()]
    assert keys == [hashlib.sha256(PLUGIN.encode()).hexdigest(), f"{hashlib.sha256(FACTORY.encode()).hexdigest()}:make"]
    registry.allow(keys[1:])
    with pytest.raises(PluginError, match=r"__init__\.py' is Python that nobody has allowed"):
        load_dataset(data)
    assert "outer_of_a_test" not in sys.modules
    assert not executed(package.parent) | executed(package)
    registry.allow(keys)
    assert load_dataset(data).inputs == {"x": (4,)}
    assert sys.modules["outer_of_a_test"].inner.data.make is sys.modules["outer_of_a_test.inner.data"].make
    for name in ("outer_of_a_test", "outer_of_a_test.inner", "outer_of_a_test.inner.data"):
        del sys.modules[name]


def test_a_plugin_is_refused_by_whoever_opens_the_study(own: Path) -> None:
    """Also by code of ours that does not think of asking: a worker without the permission, say."""
    from nasmod.study import create_or_join

    database = Database.create(str(own / "a.db"))
    create_or_join(database, read(own / "own.toml"), "f" * 64, {})
    registry._allowed.clear()
    assert open_study(database, "own", only_to_look=True).name == "own"
    with pytest.raises(PluginError, match=r"plugin\.py' is Python that nobody has allowed here"):
        open_study(database, "own")
    database.close()


def test_the_allow_list_is_written_whole_and_what_is_no_key_in_it_counts_for_nothing(own: Path, config: Path) -> None:
    study = read(own / "own.toml")
    config.parent.mkdir(parents=True)
    config.write_text("*\nall\n# a line of mine\n" + "A" * 64 + "\n" + "0" * 64 + ":make extra words")
    assert listed(config) == {"0" * 64 + ":make"}
    permit(study, config, allow=True)
    before = config.read_text()
    permit(study, config, allow=True)
    assert config.read_text() == before
    assert "# a line of mine\n" in before
    assert len(listed(config)) == 3
    assert [path.name for path in config.parent.iterdir()] == ["allowed"]
    hostile = own / f"a\n{'1' * 64}.py"  # a name that would write a line of its own
    hostile.write_text(FACTORY + "# hostile\n")
    data = {**study.data, "factory": f"{hostile}:make"}
    permit(study.model_copy(update={"data": data}), config, allow=True)
    assert "1" * 64 not in listed(config)


def test_a_home_that_cannot_be_written_allows_for_this_time(own: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    permit(read(own / "own.toml"), tmp_path / "file" / "nasmod" / "allowed", allow=True)
    assert len(registry.allowed()) == 2
