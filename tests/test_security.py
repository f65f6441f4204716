"""What a hostile database, study or file can do: nothing but be refused in one line."""

from __future__ import annotations

import ast
import gc
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filled import STUDY

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


# -- what our own code never does -------------------------------------------------------------------------------------

FILES = sorted(PACKAGE.rglob("*.py"))
UNPICKLES = {
    "pickle",
    "cPickle",
    "_pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "yaml",
    "pandas.io.pickle",
}
LOADS = {
    "torch.load",
    "torch.jit.load",
    "torch.package",
    "np.load",
    "numpy.load",
    "pandas.read_pickle",
    "torch.export.load",
}
OWN_FILES = {  # written a moment before, by the very same export
    "export/exporting.py": {"np.load(outputs)"},
    "export/fresh_process.py": {"np.load(examples_file)", "torch.export.load(PROGRAM)"},
}
EXECUTES = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "runpy.run_path", "runpy.run_module"}
TESTED_BY_ITS_AUTHOR = ("testing/kinds.py", "runpy.run_path")
SQL = {"text", "exec_driver_sql", "literal_column", "scalar", "execute", "scalars", "executemany", "executescript"}
OWN_SQL = {  # of constants, and of names that we give
    "study/database.py": {"f'PRAGMA busy_timeout={BUSY_SECONDS * 1000}'"},
    "study/deletion.py": {"f'VACUUM {table.name}'"},
    "study/inspection.py": {"f'CREATE TABLE nasmod_doctor_{uuid.uuid4().hex} (id INTEGER)'", "query"},
    "study/tables.py": {"statement"},
}


def relative(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call with the dotted name of what is called, as far as it has one."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_nothing_is_unpickled(path: Path) -> None:
    """Weights and checkpoints are safetensors, everything else is JSON."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not UNPICKLES & set(names), f"line {node.lineno}" if names else ""
    for name, node in calls(path):
        refused = [word for word in node.keywords if word.arg == "allow_pickle"]
        assert all(isinstance(word.value, ast.Constant) and word.value.value is False for word in refused)
        if name in LOADS and ast.unparse(node) not in OWN_FILES.get(relative(path), set()):
            assert name in ("np.load", "numpy.load"), f"line {node.lineno}: {ast.unparse(node)}"
            assert refused, f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_text_is_not_executed(path: Path) -> None:
    """But for a user's own files, in one place, and a kind's source, which its author tests; no shell is ever asked."""
    for name, node in calls(path):
        assert name not in EXECUTES or (relative(path), name) == TESTED_BY_ITS_AUTHOR, f"line {node.lineno}"
        assert not [word for word in node.keywords if word.arg == "shell"], f"line {node.lineno}"
        if name.endswith((".exec_module", ".source_to_code", "spec_from_file_location")):
            assert relative(path) == "registry.py", f"line {node.lineno}"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_sql_is_never_put_together(path: Path) -> None:
    """Values go in as bound parameters; the exceptions have none of anybody else's."""
    for name, node in calls(path):
        called = name.rpartition(".")[2]
        if called not in SQL or not node.args:
            continue
        parts = [node.args[0].body, node.args[0].orelse] if isinstance(node.args[0], ast.IfExp) else [node.args[0]]
        for part in parts:
            put_together = isinstance(part, ast.JoinedStr | ast.BinOp) and '"' in ast.unparse(part).replace("'", '"')
            if name in ("text", "sqlalchemy.text") or called == "exec_driver_sql":
                put_together = not isinstance(part, ast.Constant)
            assert not put_together or ast.unparse(part) in OWN_SQL.get(relative(path), set()), f"line {node.lineno}"


# -- files out of a database ------------------------------------------------------------------------------------------


@pytest.fixture
def folder(small_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a study that may be changed, in which commands run."""
    (tmp_path / "runs").mkdir()
    shutil.copy(small_study / "runs" / "small.db", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `nasmod ARGUMENTS`: its exit code, output and errors."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nasmod", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return call


Run = Callable[..., tuple[int, str, str]]


def list_of(folder: Path) -> list[str]:
    """What lies in it, but for what SQLite writes beside a database."""
    return sorted(str(path) for path in folder.rglob("*") if not path.name.endswith(("-wal", "-shm")))


def change(folder: Path, statement: str, *values: object) -> None:
    """Edit the study's database by hand."""
    connection = sqlite3.connect(folder / "runs" / "small.db")
    with connection:
        connection.execute(statement, values)
    connection.close()


class Trap:
    """Executes something when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.place),)


def hostile_files(trap: Path) -> dict[str, bytes]:
    import io
    import pickle

    import torch

    zipped = io.BytesIO()
    torch.save({"weight": Trap(trap)}, zipped)
    header = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    deep = b'{"__metadata__":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    return {
        "a pickle": pickle.dumps(Trap(trap)),
        "torch's own format": zipped.getvalue(),
        "nothing": b"",
        "garbage": bytes(range(256)) * 4,
        "a header larger than the file": (1 << 62).to_bytes(8, "little") + b"{}",
        "tensors larger than the file": len(header).to_bytes(8, "little") + header + b"\0" * 16,
        "deeply nested": len(deep).to_bytes(8, "little") + deep,
    }


def test_hostile_weights_are_refused_in_one_line(folder: Path, run: Run) -> None:
    for name, content in hostile_files(folder / "trap").items():
        change(folder, "UPDATE file_chunks SET content = ? WHERE name = 'weights'", content)
        change(
            folder, "UPDATE candidates SET weights = ? WHERE weights IS NOT NULL", hashlib.sha256(content).hexdigest()
        )
        code, _, error = run("export", "small", "-o", f"exported-{len(content)}")
        assert (code, error.count("\n")) == (2, 1), name
        assert "The stored weights cannot be exported" in error, name
        assert not (folder / "trap").exists(), name
    assert not list(folder.glob("exported*"))


def test_a_hostile_checkpoint_fails_its_candidate(folder: Path) -> None:
    from nasmod.search.asking import Asked
    from nasmod.search.candidate import CandidateTraining
    from nasmod.search.context import bring_to_life
    from nasmod.study import candidates, records

    study = open_study(Database.open(str(folder / "runs" / "small.db")), "small")
    context = bring_to_life(study.study)
    finished = next(record for record in records.read_records(study) if record.state == "finished" and record.weights)
    for number, (name, content) in enumerate(hostile_files(folder / "trap").items()):
        change(folder, "UPDATE nasmod_studies SET state = 'searching', trials = 100")
        change(folder, "UPDATE candidates SET state = 'queued', checkpoint = 1, attempts = 0 WHERE id = ?", finished.id)
        change(folder, "DELETE FROM file_chunks WHERE name = 'checkpoint'")
        change(folder, "DELETE FROM trial_user_attributes")  # what was noted of the failure before
        change(folder, "INSERT INTO file_chunks VALUES (?, 'checkpoint', 0, ?)", finished.id, content)
        held = candidates.claim(study.database, study.id, f"test-{number}", context.distributions)
        assert held is not None
        assert held.key == finished.key
        CandidateTraining(context, study.database, held, "cpu", Asked()).run()
        found = next(record for record in records.read_records(study) if record.key == finished.key)
        assert found.state == "failed", name
        assert found.reason, name
        assert not (folder / "trap").exists(), name
    study.database.close()


# -- names and texts out of a database --------------------------------------------------------------------------------

ESCAPES = "\x1b[2J\x1b]0;title\x07\x9b31m\r\u202e\ud800 [red]markup[/blue] :smile:"


def test_a_database_cannot_steer_the_terminal(folder: Path, run: Run) -> None:
    change(folder, "UPDATE nasmod_studies SET reason = ?", ESCAPES.replace("\ud800", ""))
    change(folder, "UPDATE candidates SET reason = ?, worker = ?", *[ESCAPES.replace("\ud800", "")] * 2)
    connection = sqlite3.connect(folder / "runs" / "small.db")
    for number, proposal, result in connection.execute("SELECT id, proposal, result FROM candidates").fetchall():
        stored = json.loads(proposal)
        topology = stored["topology"].replace('"dense"', json.dumps("dense" + ESCAPES))
        stored |= {"topology": topology, "origin": {"strategy": ESCAPES, "why": ESCAPES, "reference": ESCAPES}}
        changed = result
        if result:
            found = json.loads(result)
            measures = {**found["measures"], ESCAPES: 1.0}
            changed = json.dumps({**found, "measures": measures, "traceback": ESCAPES + "\nline"})
        connection.execute(
            "UPDATE candidates SET proposal = ?, result = ? WHERE id = ?", (json.dumps(stored), changed, number)
        )
    connection.commit()
    connection.close()
    for arguments in (["status"], ["top"], ["show"], ["show", "5"], ["retry", "99"], ["export", "-o", "out"]):
        command, *others = arguments
        code, out, error = run(command, "small", *others)
        assert code in (0, 2), error
        said = out + error
        assert len(said) > 10
        assert all(sign.isprintable() or sign == "\n" for sign in said), (arguments, said)
    for command in ("status", "top", "show"):
        code, out, error = run(command, "small", "--json")
        assert code == 0, error
        assert all(sign.isprintable() or sign == "\n" for sign in out)
        assert ESCAPES.replace("\ud800", "") in json.dumps(json.loads(out), ensure_ascii=False).replace(
            "\\u001b", "\x1b"
        ).replace("\\u0007", "\x07").replace("\\r", "\r")
    _, out, _ = run("show", "small")
    assert "[red]markup[/blue] :smile:" in out


@pytest.mark.parametrize(
    "name", ["../../escape", "/etc/escape", "a\0b", "a\nb", "\x1b[31mred", "..", ".hidden", "", "a" * 200]
)
def test_a_studys_name_cannot_lead_out_of_its_folder(folder: Path, run: Run, name: str) -> None:
    """Neither by its row nor by its definition, however the two are combined."""
    before = list_of(folder)
    connection = sqlite3.connect(folder / "runs" / "small.db")
    definition = json.loads(connection.execute("SELECT definition FROM nasmod_studies").fetchone()[0])
    connection.close()
    hostile = json.dumps({**definition, "name": name})
    for row, text in ((name, hostile), ("small", hostile), (name, json.dumps(definition))):
        change(folder, "UPDATE nasmod_studies SET name = ?, definition = ?", row, text)
        for command in (["status"], ["resume", "--trials", "9", "--workers", "1"], ["export", "-o", "out"]):
            code, out, error = run(command[0], row, "--storage", "runs/small.db", *command[1:])
            if row or command != ["status"]:
                assert (code, out, error.count("\n")) == (2, "", 1), (command, out, error)
    assert list_of(folder) == before


HOSTILE_NAMES = [
    "x\nimport os", "x; import os", 'x"""', "x'", "x²", "ﬁ", "class", "", "1", "../x", "\x1b[31m", "self", "ª",
    "x)", "x\\", "x\0", "__x", "_", "__", "__init__", "Gate", "Dense", "print", "load_file",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_hostile_name_writes_no_code_into_an_export(name: str) -> None:
    """Names of inputs and outputs, and the title, which has a label out of the database."""
    import torch

    from nasmod.export import model_source
    from nasmod.networks import build, plan
    from nasmod.topology import Node, Topology

    nodes = (
        Node("input", (), {"name": name}),
        Node("input", (), {"name": "other"}),
        Node("dense", (0, 1), {"width": 4, "merge": "gated"}),
        Node("output", (2,), {"name": name}),
    )
    network = build(plan(Topology(nodes), {name: (3,), "other": (2, 5)}, {name: (2,)}))
    source = model_source(network.plan, f'The topology {name}""" + print(1) \\ {name}.')
    tree = ast.parse(source)
    imported = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)}
    assert imported == {
        "from __future__ import annotations",
        "import torch",
        "from safetensors.torch import load_file",
        "from torch import nn",
    }
    kinds = [type(node) for node in tree.body[1:] if not isinstance(node, ast.Import | ast.ImportFrom)]
    assert kinds == [ast.ClassDef, ast.ClassDef, ast.ClassDef, ast.FunctionDef]
    names: dict[str, object] = {"__name__": "exported"}
    exec(compile(source, "model.py", "exec"), names)
    model = names["Model"]()
    model.load_state_dict(network.state_dict())
    x = {name: torch.rand(2, 3), "other": torch.rand(2, 2, 5)}
    torch.testing.assert_close(model(*(x[key] for key in network.plan.inputs)), network(x)[name])


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("dense\nimport os", {}),
        ("../dense", {}),
        ("dense", {"width": "4)\nimport os\n("}),
        ("dense", {"activation": 'relu")\nimport os #'}),
        ("dense", {"width": 4, "x=1)\nimport os #": 1}),
        ("dense", {"width": [4]}),
        ("dense", {"width": True}),
    ],
)
def test_a_hostile_topology_is_refused_before_anything_is_written(
    folder: Path, run: Run, kind: str, params: dict[str, object]
) -> None:
    nodes = [
        {"kind": "input", "inputs": [], "params": {"name": "x"}},
        {"kind": kind, "inputs": [0], "params": params},
        {"kind": "output", "inputs": [1], "params": {"name": "y"}},
    ]
    connection = sqlite3.connect(folder / "runs" / "small.db")
    stored = json.loads(connection.execute("SELECT proposal FROM candidates WHERE number = 0").fetchone()[0])
    connection.close()
    stored["topology"] = json.dumps({"version": 1, "nodes": nodes})
    change(folder, "UPDATE candidates SET proposal = ? WHERE number = 0", json.dumps(stored))
    for arguments in (["--trial", "0"], ["--trial", "0", "--retrain", "1"]):
        code, out, error = run("export", "small", "-o", "out", *arguments)
        assert (code, out, error.count("\n")) == (2, "", 1)
    assert not (folder / "out").exists()


# -- rows damaged by hand ---------------------------------------------------------------------------------------------

WRONG = [None, True, 5, -1.5, "x", [], [1], {}, {"a": 1}, [[]], {"name": 5}, {"name": "digits", "limit": "many"}]


def refusal(database: Database, only_to_look: bool) -> str | None:
    try:
        open_study(database, "small", only_to_look=only_to_look)
    except NasmodError as error:
        return str(error)
    return None


def test_a_damaged_definition_is_one_line(folder: Path) -> None:
    database = Database.open(str(folder / "runs" / "small.db"))
    definition = open_study(database, "small", only_to_look=True).study.definition()
    texts = ["", "{", "null", "[]", "5", "[" * 100_000, '{"name": "small"}', "\ufffd"]
    for key in definition:
        texts += [json.dumps({**definition, key: wrong}) for wrong in WRONG]
    for key, section in definition.items():
        if isinstance(section, dict):
            texts += [json.dumps({**definition, key: {**section, inner: w}}) for inner in section for w in WRONG]
    refused = 0
    for text in texts:
        change(folder, "UPDATE nasmod_studies SET definition = ?", text)
        for only_to_look in (True, False):
            said = refusal(database, only_to_look)
            refused += said is not None
            assert "\n" not in (said or "")
    assert refused > len(texts)
    database.close()


@pytest.mark.parametrize("column", ["proposal", "curve", "result"])
def test_a_damaged_candidate_is_one_line(folder: Path, run: Run, column: str) -> None:
    from nasmod.errors import StorageError
    from nasmod.study import candidates

    database = Database.open(str(folder / "runs" / "small.db"))
    study = open_study(database, "small", only_to_look=True).id
    for text in (
        "{",
        "5",
        "[5]",
        '"x"',
        '{"measures": 5, "topology": 5}',
        '{"measures": {"skill": "x"}}',
        "[" * 100_000,
    ):
        change(folder, f"UPDATE candidates SET {column} = ?, state = 'finished'", text)
        change(folder, "UPDATE candidates SET number = id")
        said = [run("top", "small"), run("show", "small", "3"), run("top", "small", "--json")]
        refused = [error for code, _, error in said if code == 2]
        assert all(code in (0, 2) for code, _, _ in said)
        assert refused
        assert all(error.count("\n") == 1 for error in refused), refused
        if column != "proposal":  # a damaged curve is begun anew
            continue
        change(folder, "UPDATE nasmod_studies SET state = 'searching', trials = 100")
        change(folder, "UPDATE candidates SET state = 'queued', worker = NULL")
        with pytest.raises(StorageError, match="is damaged"):
            candidates.claim(database, study, "a worker", {})
    database.close()


def test_tables_of_a_newer_optuna_are_refused_in_one_line(folder: Path, run: Run) -> None:
    change(folder, "UPDATE alembic_version SET version_num = 'v9.0.0.a'")
    code, out, error = run("status", "small")
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert "another Optuna (v9.0.0.a)" in error


def test_text_is_plain() -> None:
    assert plain("ordinary ★ é\nline") == "ordinary ★ é\nline"
    assert plain("\x1b[31m\x9b\ud800") == "\\u001b[31m\\u009b\\ud800"


# -- passwords --------------------------------------------------------------------------------------------------------

PASSWORD = "Correct-Horse-7"
WRONG_PASSWORD = "Wrong-Horse-8"


def processes_of(group: int) -> dict[int, bytes]:
    """Title and environment of every process of a group, as others on the machine may read them."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and os.getpgid(int(folder.name)) == group:
                title = (folder / "cmdline").read_bytes() + (folder / "comm").read_bytes()
                is_worker = b"nasmod.search.worker" in title
                found[int(folder.name)] = title + ((folder / "environ").read_bytes() if is_worker else b"")
        except (OSError, ProcessLookupError):
            continue
    return found


@pytest.mark.slow
# a command's connections end with its process, which here is the test's own
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("given", ["by option", "by the environment"])
def test_a_password_is_nowhere_to_be_read(folder: Path, run: Run, given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in titles, output, logs, errors, status, nor in the database: of a search from its start to its end."""
    from tests.postgresql import binaries, cluster

    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed here; CI installs it")
    (folder / "small.toml").write_text(STUDY.replace("trials = 6", "trials = 3"))
    with cluster(PASSWORD) as server:
        by_option = ["--storage", server.url] if given == "by option" else []
        environment = {**os.environ, **({} if by_option else {"NASMOD_STORAGE": server.url})}
        process = subprocess.Popen(
            [*NASMOD, "start", "small.toml", "--workers", "2", *by_option],
            cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        most = 0
        while process.poll() is None:
            seen = processes_of(process.pid)
            most = max(most, len(seen))
            if most > 1 or not by_option:  # before it has read its command line, what `ps` shows is the shell's
                assert not [pid for pid, text in seen.items() if PASSWORD.encode() in text]
            time.sleep(0.2)
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert most >= 3  # the supervisor and its workers were seen
        said = [out, err, *(path.read_text() for path in folder.rglob("*.log"))]
        assert len(said) >= 4

        monkeypatch.setenv("NASMOD_STORAGE", server.url)
        for arguments in (["status", "small"], ["status"], ["status", "small", "--json"], ["top", "small"], ["doctor"]):
            said += run(*arguments)[1:]
        for url in (server.url.replace(PASSWORD, WRONG_PASSWORD), server.url.replace(f":{PASSWORD}", "")):
            for arguments in (["status", "small"], ["resume", "small"], ["start", "small.toml"], ["doctor"]):
                code, *words = run(*arguments, "--storage", url)
                assert code == 2
                assert arguments == ["doctor"] or words[1].count("\n") == 1, words
                said += words
        said.append(repr(Database.open(server.url).engine) + repr(nasmod.load("small", storage=server.url)))
        said.append(
            subprocess.run(
                [programs / "pg_dump", "-h", "127.0.0.1", "-p", str(server.port), "-U", "nasmod", "postgres"],
                env={**os.environ, "PGPASSWORD": PASSWORD}, capture_output=True, text=True, check=True,
            ).stdout
        )  # fmt: skip
        assert "digits" in said[-1]
    for text in said:
        assert PASSWORD not in text
        assert WRONG_PASSWORD not in text
    gc.collect()  # while they are passed over


def test_the_title_of_a_process_hides_passwords() -> None:
    hidden = [
        "postgresql+psycopg://me:secret@host/name",
        "--storage=postgresql+psycopg://me:se:cr@et@host/name?sslpassword=secret&x=1",
        "postgresql+psycopg://:secret@host/name?password=secret",
    ]
    for argument in hidden:
        shown = cli.PASSWORD.sub("***", argument)
        assert "secret" not in shown
        assert "et@" not in shown
        assert "@host/name" in shown
    for argument in ("postgresql://me@host/name", "runs/a.db", "-o", "me:you", "s3://bucket/prefix"):
        assert cli.PASSWORD.sub("***", argument) == argument
