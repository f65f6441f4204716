"""Pages that are followed from top to bottom: every file on them is written, every command on them is run."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


def follow(page: str, folder: Path) -> dict[str, str]:
    """What each command, and each Python file, of a page printed."""
    commands = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
    printed: dict[str, str] = {}

    def run(name: str, *command: str) -> None:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        printed[name] = done.stdout

    for language, code in re.findall(r"```(\w+)\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL):
        if language == "sh":
            for line in code.splitlines():
                run(line, *line.split())
            continue
        if language == "json":
            (folder / "search_space.json").write_text(code)
            continue
        name = re.match(r"# (\S+)\n", code)
        assert name is not None, code
        (folder / name[1]).write_text(code)
        if language == "python":
            run(name[1], sys.executable, name[1])
    return printed


@pytest.mark.slow
def test_the_tutorial(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("plotly")
    printed = follow("tutorial.md", tmp_path)
    assert (
        "target: 3 classes (few whole numbers): 0 59, 1 71, 2 48."
        in printed["nasmod new wine.toml --data wine.csv --target target"]
    )
    assert "20 candidates were trained" in printed["nasmod start wine.toml --trials 20"]
    assert "24 candidates were trained" in printed["nasmod resume wine --trials 24"]
    assert len((tmp_path / "said.csv").read_text().splitlines()) == 179
    assert (tmp_path / "wine.html").stat().st_size > 100_000
    assert "<svg" in (tmp_path / "wine.svg").read_text()
    assert "The search" in printed["look.py"]


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("nni"), reason="nasmod[nni] is not installed")
def test_the_page_for_those_who_come_from_nni(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNI_FRAMEWORK", "none")
    printed = follow("nni.md", tmp_path)
    settings = {"learning_rate": {"low": 0.001, "high": 0.1, "log": True}, "batch_size": [32, 64]}
    assert ast.literal_eval(printed["settings.py"].strip()) == settings
    assert ast.literal_eval(printed["my_space.py"].strip())["kinds"]["convolutions"]["channels"] == [8, 16]
    assert "model.py" in printed["nasmod export from-nni -o exported"]
    assert {path.name for path in (tmp_path / "frozen").iterdir()} >= {"model.pt2", "README.md"}
