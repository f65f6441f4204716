"""The public suites, as the author of a plugin uses them: pytest run on a test file of theirs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parent.parent / "docs" / "plugins.md"

SOUND = """
import nasmod
from nasmod.search.strategies.random import Random, RandomSettings
from nasmod.testing import StrategySuite

nasmod.register("strategy", "mine", Random, RandomSettings)

class TestMine(StrategySuite):
    name = "mine"
"""
FORGETFUL = SOUND.replace(
    'nasmod.register("strategy", "mine", Random, RandomSettings)',
    """
class Counting(Random):
    asked = 0
    def propose(self, records, count):
        Counting.asked += 1  # what another process would not know
        for _ in range(Counting.asked):
            found = super().propose(records, count)
        return found

nasmod.register("strategy", "mine", Counting, RandomSettings)
""",
)
HARSH = """
import nasmod
from nasmod.search.stopping import StoppingSettings
from nasmod.testing import StoppingSuite

class Harsh:
    def __init__(self, settings, objective): pass
    def rungs(self, epochs): return (1,)
    def decide(self, curve, results): return "nobody is good enough"

nasmod.register("stopping", "harsh", Harsh, StoppingSettings)

class TestHarsh(StoppingSuite):
    name = "harsh"
"""
WRONG_SHAPE = """
import nasmod
from nasmod.modules import Parameters
from nasmod.modules.dense import Dense, DenseParameters
from nasmod.testing import KindSuite

class Short(Dense):
    def output_shape(self, shape, params): return (params.width + 1,)

nasmod.register("kind", "short", Short, DenseParameters)

class TestShort(KindSuite):
    name = "short"
"""


def ended(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_mine.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_sound_plugin_passes(tmp_path: Path) -> None:
    said = ended(tmp_path, SOUND)
    assert said.returncode == 0, said.stdout + said.stderr
    assert " passed" in said.stdout


@pytest.mark.slow
def test_the_kind_in_the_docs_passes_as_they_say(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PLUGINS.read_text(encoding="utf-8"), re.DOTALL)
    (kind,) = [block for block in blocks if 'nasmod.register("kind", "glu"' in block]
    (suite,) = [block for block in blocks if "class TestGlu(KindSuite)" in block]
    (tmp_path / "my_kinds.py").write_text(kind)
    said = ended(tmp_path, suite)
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.slow
def test_what_is_wrong_with_a_plugin_is_found(tmp_path: Path) -> None:
    for text, failed in [
        (FORGETFUL, "test_another_process_proposes_the_same"),
        (HARSH, "test_the_best_of_all_is_not_stopped"),
        (HARSH, "test_rungs_ascend_and_come_before_the_last_epoch"),
        (WRONG_SHAPE, "test_what_comes_out_has_the_output_shape_and_trains"),
    ]:
        said = ended(tmp_path, text)
        assert said.returncode == 1, said.stdout + said.stderr
        assert failed in said.stdout
