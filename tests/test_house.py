"""The house: who may import whom, what stays light, and what belongs to one room alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "nasmod"
ROOMS = [
    "topology", "modules", "space", "data", "networks", "training", "measures", "study", "search", "export", "report",
]  # fmt: skip
OUTERMOST = {"cli", "api", "doctor", "testing"}  # may import every room; and each other
EVERYWHERE = {"errors", "registry"}
FILES = sorted(PACKAGE.rglob("*.py"))
FORBIDDEN_NAMES = {"utils.py", "util.py", "common.py", "helpers.py", "helper.py", "base.py", "misc.py"}
TORCH_FREE = [
    "nasmod",
    "nasmod.api",
    "nasmod.cli",
    "nasmod.data.dataset",
    "nasmod.export",
    "nasmod.measures.objective",
    "nasmod.modules",
    "nasmod.report",
    "nasmod.space",
    "nasmod.study",
    "nasmod.study.candidates",
    "nasmod.study.records",
    "nasmod.topology",
    "nasmod.training.settings",
]


def relative(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, those inside functions and under TYPE_CHECKING included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_imported(module: str) -> str | None:
    """The room of our own that a module lies in, None for other packages and for names of `nasmod` itself."""
    parts = module.split(".")
    if parts[0] != "nasmod" or len(parts) == 1:
        return None
    return parts[1] if (PACKAGE / parts[1]).is_dir() or (PACKAGE / f"{parts[1]}.py").is_file() else None


def test_every_room_has_its_place() -> None:
    found = {room_of(path) for path in FILES} - {"__init__", "packaged"}
    assert found == {*ROOMS, *OUTERMOST, *EVERYWHERE}


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_imports_only_leftwards(path: Path) -> None:
    room = room_of(path)
    if room in OUTERMOST or room == "__init__":
        return
    allowed = set(EVERYWHERE) if room in EVERYWHERE else {*EVERYWHERE, *ROOMS[: ROOMS.index(room) + 1]}
    wrong = {module for module in imported(path) if (found := room_imported(module)) and found not in allowed}
    assert not wrong


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_what_belongs_to_one_room_stays_there(path: Path) -> None:
    modules = {module.partition(".")[0] for module in imported(path)}
    room = room_of(path)
    assert "sqlalchemy" not in modules or room == "study"
    assert "optuna" not in modules or room in ("study", "search") or relative(path) == "report/dashboard.py"
    assert "sqlite3" not in modules or room == "study"
    assert "ray" not in modules or relative(path) == "search/ray.py"
    assert "matplotlib" not in modules or relative(path) == "report/plots.py"
    assert "plotly" not in modules or relative(path) in ("report/dashboard.py", "report/page.py")
    assert modules.isdisjoint({"pytest", "hypothesis"}) or room == "testing"
    storages = {module for module in imported(path) if module.startswith("optuna.storages")}
    assert not storages or room == "study"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_only_the_command_line_prints_and_exits(path: Path) -> None:
    if room_of(path) == "cli":
        return
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("print", "exit", "quit"), f"line {node.lineno}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f"{node.value.id}.{node.attr}"
            # a worker is a process: its exit code is what it tells its supervisor
            assert name != "sys.exit" or relative(path) == "search/worker.py", f"line {node.lineno}"
            if name in ("os.environ", "os.getenv", "os.putenv"):
                assert relative(path) in ("modules/nni.py", "search/places.py", "search/ray.py"), f"line {node.lineno}"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_only_files_called_after_nni_import_it(path: Path) -> None:
    names = {name.partition(".")[0] for name in imported(path)}
    assert "nni" not in names or path.name == "nni.py"


def test_no_file_is_named_after_nothing() -> None:
    assert not [relative(path) for path in FILES if path.name in FORBIDDEN_NAMES]


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_first_line_says_what_it_is(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring
    assert docstring.partition("\n")[0].rstrip().endswith((".", ":", "?"))


def test_no_module_kind_is_known_by_name_outside_its_file() -> None:
    kinds = {path.stem for path in (PACKAGE / "modules").glob("*.py")} - {"__init__", "kind"}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                compared = [part for part in [node.left, *node.comparators] if isinstance(part, ast.Constant)]
                assert not [part.value for part in compared if part.value in kinds], f"{relative(path)}:{node.lineno}"


def test_these_import_no_torch() -> None:
    script = "import sys, importlib\n" + "".join(
        f"importlib.import_module({name!r})\nassert 'torch' not in sys.modules, {name!r}\n" for name in TORCH_FREE
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_checking_a_study_file_imports_no_torch() -> None:
    script = (
        "import sys\nfrom nasmod.study import read\nread('digits')\n"
        "assert 'torch' not in sys.modules and 'sklearn' not in sys.modules\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_import_and_help_load_nothing_heavy() -> None:
    heavy = "torch optuna sqlalchemy pandas numpy networkx sklearn pydantic"
    script = f"import sys, nasmod, nasmod.cli\nassert not set({heavy.split()!r}) & set(sys.modules)\n"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
