"""Study files: what is right is read, what is wrong is named in one line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import field_validator

from nasmod import registry
from nasmod.errors import DataError, NasmodError, StudyError
from nasmod.search.strategies import StrategySettings
from nasmod.study import Database, check_settings, create_or_join, open_study, read, stored

GOOD = """
space = "tiny"
trials = 5
[data]
name = "digits"
[objective]
flops_budget = 10000
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", sorted(registry.packaged("studies")))
def test_every_packaged_study_is_read(name: str):
    assert read(name).name == name


def test_a_study_is_named_after_its_file_and_holds_its_space_written_out(tmp_path: Path):
    study = read(write(tmp_path, GOOD))
    assert study.name == "mine"
    assert study.space["modules"] == {"min": 1, "max": 3}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("trails = 5", "unknown key 'trails'. Did you mean 'trials'"),
        ("[training]\nepoch = 5", "unknown key 'training.epoch'. Did you mean 'epochs'"),
        ("[training]\nepochs = 0", "'training.epochs'"),
        ("[training]\nepochs = 'many'", "'training.epochs'"),
        ("[strategy]\nname = 'evolutoin'", "No strategy 'evolutoin'. Did you mean 'evolution'"),
        ("[strategy]\nname = 'evolution'\nsample = 100", "cannot be larger than the population"),
        ("[strategy]\npopulation = 3", "needs a `name`"),
        ("[stopping]\nname = 'halfing'", "No stopping rule 'halfing'. Did you mean 'halving'"),
        ("[stopping]\nname = 'halving'\nrungs = [3, 2]", "ascending"),
        ("[measures.modularitie]", "No measure 'modularitie'. Did you mean 'modularity'"),
        ("[measures.parallelism]\nwanted = 3", "Did you mean 'modules_wanted'"),
        ("plugins = ['none.py']", "Plugin file '.*none.py' cannot be read"),
        ("name = '../escape'", "'name'"),
        ("trials = [", "not valid TOML"),
        ('[factors]\nleft = { inputs = "x" }', "unknown key 'factors.left.inputs'. Did you mean 'input'"),
        ('[factors]\nleft = { features = "0:4" }', "needs one of `input`, `columns` and `output`"),
        ('[factors]\nleft = { input = "x", output = "y" }', "needs one of `input`, `columns` and `output`"),
    ],
)
def test_each_mistake_is_one_line_that_names_it(tmp_path: Path, change: str, says: str):
    text = change + "\n" + GOOD if "[" not in change.split("\n")[0] or "=" in change.split("\n")[0] else GOOD + change
    text = text.replace("trials = 5\n", "", 1) if change.startswith("trials") else text
    with pytest.raises(NasmodError, match=says) as caught:
        read(write(tmp_path, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"tiny"', '"tinny"', "No search space 'tinny'. Did you mean 'tiny'"),
        ('"digits"', '"digitz"', "No data set 'digitz'. Did you mean 'digits'"),
        ("flops_budget = 10000", "", "'objective.flops_budget' is required"),
        ("flops_budget = 10000", 'flops_budget = 10000\nmodularity = "modularty"', "Did you mean 'modularity'"),
        ("flops_budget = 10000", 'flops_budget = 10000\nmodularity = "depth"', "of which more is better, not 'depth'"),
        ("flops_budget = 10000", "flops_budget = 10000\nfloors = { acuracy = 0.9 }", "Did you mean 'accuracy'"),
    ],
)
def test_each_wrong_value_is_one_line_that_names_it(tmp_path: Path, old: str, new: str, says: str):
    with pytest.raises(NasmodError, match=says) as caught:
        read(write(tmp_path, GOOD.replace(old, new, 1)))
    assert "\n" not in str(caught.value)


def test_an_unknown_study_is_told_the_packaged_ones():
    with pytest.raises(StudyError, match="Did you mean 'digits'"):
        read("digit")


def test_reading_a_study_imports_no_torch(tmp_path: Path):
    script = "import sys; from nasmod.study import read; read(sys.argv[1]); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script, str(write(tmp_path, GOOD))], check=False)
    assert done.returncode == 0


def test_the_same_definition_joins_and_another_is_refused_with_the_difference(tmp_path: Path):
    database = Database.create(str(tmp_path / "a.db"))
    first = create_or_join(database, read(write(tmp_path, GOOD)), "f" * 64, {})
    more = read(write(tmp_path, GOOD), trials=50)  # an amount is not part of the definition
    assert create_or_join(database, more, "f" * 64, {}).id == first.id
    other = read(write(tmp_path, GOOD.replace("10000", "20000")))
    with pytest.raises(StudyError, match=r"objective\.flops_budget: 10000 -> 20000"):
        create_or_join(database, other, "f" * 64, {})
    with pytest.raises(DataError, match=r"ffffffffffffffff.* 0000000000000000"):
        create_or_join(database, read(write(tmp_path, GOOD)), "0" * 64, {})
    database.close()


def test_the_budget_is_absolute_and_may_only_be_raised(tmp_path: Path):
    database = Database.create(str(tmp_path / "a.db"))
    study = create_or_join(database, read(write(tmp_path, GOOD)), "f" * 64, {})
    stored.move_on(study, "searching", "ended", "the budget is reached")
    stored.raise_budget(study, 5, None)
    assert stored.status(study).state == "ended"
    stored.raise_budget(study, 8, None)
    status = stored.status(study)
    assert (status.budget, status.state, status.reason) == (8, "searching", None)
    with pytest.raises(StudyError, match="may only be raised: it is 8, got 5"):
        stored.raise_budget(study, 5, None)
    database.close()


PLUGIN = """
from nasmod.modules import Parameters
from nasmod.registry import register
class Nothing(Parameters):
    pass
class Identity:
    "Passes on what it reads."
    Parameters = Nothing
    accepts = (1, 2, 3)
    def output_shape(self, shape, params): return shape
    def arguments(self, shape, params): return {}
    def network(self):
        from torch import nn
        return nn.Identity
register("kind", "%s", Identity, Nothing)
"""


def test_a_plugin_registers_its_kind_and_a_changed_one_is_refused(tmp_path: Path):
    plugin = tmp_path / "kinds.py"
    plugin.write_text(PLUGIN % "identity_of_a_test")
    path = write(tmp_path, 'plugins = ["kinds.py"]\n' + GOOD)
    database = Database.create(str(tmp_path / "a.db"))
    create_or_join(database, read(path), "f" * 64, {})
    assert registry.summary("kind", "identity_of_a_test") == "Passes on what it reads."
    plugin.write_text(plugin.read_text() + "# changed\n")
    with pytest.raises(NasmodError, match="has changed since the study was started"):
        open_study(database, "mine")
    plugin.unlink()
    with pytest.raises(NasmodError, match="cannot be read"):
        open_study(database, "mine")
    database.close()


def test_a_plugin_that_takes_a_taken_name_registers_nothing(tmp_path: Path):
    (tmp_path / "kinds.py").write_text((PLUGIN % "fresh_of_a_test") + (PLUGIN % "dense"))
    with pytest.raises(NasmodError, match="'dense' is already registered"):
        read(write(tmp_path, 'plugins = ["kinds.py"]\n' + GOOD))
    assert "fresh_of_a_test" not in registry.names("kind")


def test_settings_that_a_users_validator_refuses_with_any_error_are_one_line(register: Callable[..., None]):
    class Odd(StrategySettings):
        size: int = 1

        @field_validator("size")
        @classmethod
        def _possible(cls, size: int) -> int:
            return 1 // size

    register("strategy", "odd", None, Odd)
    with pytest.raises(StudyError, match=r"^here: 'odd' refuses \{'size': 0\}: ZeroDivisionError: integer division"):
        check_settings("strategy", "odd", {"size": 0}, "here")
