"""The page for those who come from NNI: every file on it is written, every command on it is run."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "nni.md"


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("nni"), reason="nasmod[nni] is not installed")
def test_the_page_runs_from_top_to_bottom(tmp_path: Path) -> None:
    commands = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}", "NNI_FRAMEWORK": "none"}

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    printed: dict[str, str] = {}
    for language, code in re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        if language == "sh":
            for line in code.splitlines():
                printed[line] = run(*line.split())
            continue
        if language == "json":
            (tmp_path / "search_space.json").write_text(code)
            continue
        name = re.match(r"# (\S+)\n", code)
        assert name is not None, code
        (tmp_path / name[1]).write_text(code)
        if language == "python":
            printed[name[1]] = run(sys.executable, name[1])
    assert printed["settings.py"].strip() == str(
        {"learning_rate": {"low": 0.001, "high": 0.1, "log": True}, "batch_size": [32, 64]}
    )
    assert '"channels": [8, 16]' in json.dumps(eval(printed["my_space.py"].strip()))
    assert "model.py" in printed["nasmod export from-nni -o exported"]
    assert {path.name for path in (tmp_path / "frozen").iterdir()} >= {"model.pt2", "README.md"}
