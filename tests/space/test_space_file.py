"""A space file is checked when it is read: one line says what is wrong, and the nearest known name."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasmod.errors import NasmodError, SpaceError
from nasmod.space import Choice, Integer, Real, Space, SpaceFile
from nasmod.space.distributions import distribution
from nasmod.space.file import Range

FLAT = {"x": (64,)}, {"y": (10,)}
GOOD: dict[str, Any] = {"modules": {"max": 3}, "kinds": {"dense": {"width": [8, 16]}}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"knds": {}}, "No key 'knds'. Did you mean 'kinds'"),
        ({"modules": {"max": 3, "mim": 1}}, "modules: No key 'mim'. Did you mean 'min'"),
        ({"modules": {"max": 17}}, "modules.max: Input should be less than or equal to 16, not 17"),
        ({"modules": {"min": 3, "max": 2}}, "`min` must not exceed `max`, not 3 and 2"),
        ({"modules": {"max": "three"}}, "modules.max: Input should be a valid integer, not 'three'"),
        ({"modules": {}}, "modules.max: Field required"),
        ({"kinds": {}}, "kinds: "),
        ({"kinds": {"dnse": {}}}, "No module kind 'dnse'. Did you mean 'dense'"),
        ({"kinds": {"input": {}}}, "'input' cannot be a module kind"),
        ({"kinds": {"none": {}}}, "'none' cannot be a module kind"),
        (
            {"kinds": {"dense": {"widht": [8]}}},
            "kinds.dense: No parameter of the kind 'dense' 'widht'. Did you mean 'width'",
        ),
        ({"kinds": {"dense": {"width": [8, 0]}}}, "'width' of the kind 'dense': .* not 0"),
        ({"kinds": {"dense": {"width": ["8", "9"]}}}, "not '8'"),
        ({"kinds": {"dense": {"width": [8, 8]}}}, "8 is given twice"),
        ({"kinds": {"dense": {"width": []}}}, "kinds.dense.width: "),
        ({"kinds": {"dense": {"width": {"low": 8, "hi": 9}}}}, "kinds.dense.width: No key 'hi'. Did you mean 'high'"),
        ({"kinds": {"dense": {"width": {"low": 9, "high": 8}}}}, "`low` must be below `high`, not 9 and 8"),
        ({"kinds": {"dense": {"width": {"low": 8, "high": 17, "step": 4}}}}, "steps of 4 from 8 never meet 17"),
        ({"kinds": {"dense": {"width": {"low": 0, "high": 8, "log": True}}}}, "`low` above 0, not 0"),
        ({"kinds": {"dense": {"width": {"low": 1, "high": 9, "log": True, "step": 2}}}}, "exclude each other"),
        ({"kinds": {"dense": {"width": {"low": 0, "high": 9}}}}, "'width' of the kind 'dense': .* not 0"),
        ({"kinds": {"dense": {"width": {"low": 1.0, "high": 9.5}}}}, "not 1.0"),
        ({"kinds": {"dense": {"activation": ["relu", "rleu"]}}}, "not 'rleu'"),
        ({"kinds": {"conv": {"kernel": {"low": 1, "high": 7}}}}, "not 2"),
        ({"wiring": {"edges": "chian"}}, "wiring.edges: .* not 'chian'"),
        ({"wiring": {"merge": "som"}}, "wiring.merge.0: .* not 'som'"),
        ({"wiring": {"generators": ["erdos_reny"]}}, "Did you mean 'erdos_renyi'"),
        ({"settings": {"learning_rate": 0.1}}, "settings.learning_rate"),
        ({"settings": {"learning_rate": {"low": 0.0, "high": float("inf")}}}, "settings.learning_rate.high"),
    ],
)
def test_a_mistake_is_one_line_with_the_nearest_name(change, words):
    with pytest.raises(NasmodError, match=words) as caught:
        Space(SpaceFile.from_table({**GOOD, **change}), *FLAT)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(SpaceError, match="No such file"):
        SpaceFile.load(tmp_path / "missing.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[modules\nmax = 3")
    with pytest.raises(SpaceError, match="not valid TOML"):
        SpaceFile.load(broken)
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(SpaceError, match="not valid TOML"):
        SpaceFile.load(broken)


def test_lists_are_choices_tables_are_ranges_and_single_values_are_fixed(tmp_path: Path):
    file = tmp_path / "space.toml"
    file.write_text(
        """
        modules = { max = 1 }
        kinds.conv.channels = { low = 8, high = 64, log = true }
        kinds.conv.depth = { low = 1, high = 5, step = 2 }
        kinds.conv.kernel = [5, 3]
        kinds.conv.stride = [2]
        kinds.conv.separable = true
        settings.learning_rate = { low = 0.001, high = 1 }
        settings.batch_size = [32, 64]
        """
    )
    space = Space.load(file, *FLAT)
    assert space.parameters() == {
        "kind_0": Choice(("none", "conv"), "none"),
        "conv.channels_0": Integer(8, 64, 1, True, 16),
        "conv.depth_0": Integer(1, 5, 2, False, 1),
        "conv.kernel_0": Choice((5, 3), 3),
        "setting.learning_rate": Real(0.001, 1.0, False, 0.001),
        "setting.batch_size": Choice((32, 64), 32),
    }
    assert space.settings == ("learning_rate", "batch_size")
    assert space.default_settings == {"learning_rate": 0.001, "batch_size": 32}
    own = Space.of(space.file, *FLAT, {"learning_rate": 0.02, "batch_size": 48, "clip_norm": None})
    assert own.default_settings == {"learning_rate": 0.02, "batch_size": 32}  # what the space holds
    topology, _ = space.random(random.Random(0))
    assert own.encode(topology)["setting.learning_rate"] == 0.02
    assert topology.nodes[1].params["separable"] is True
    assert topology.nodes[1].params["stride"] == 2


def test_half_of_the_draws_have_the_study_s_own_training_settings() -> None:
    searched = {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}}
    file = SpaceFile.from_table({"modules": {"max": 2}, "kinds": {"dense": {}}, "settings": searched})
    space, generator = Space.of(file, *FLAT, {"learning_rate": 0.02}), random.Random(0)
    drawn = [space.random(generator)[1]["learning_rate"] for _ in range(400)]
    assert 150 < drawn.count(0.02) < 250
    assert min(drawn) < 1e-3 < 5e-2 < max(drawn)


ranges = st.builds(
    lambda low, span, step, log: Range(
        low=low, high=low + span * (1 if log else step), step=None if log else step, log=log
    ),
    st.integers(1, 50),
    st.integers(1, 20),
    st.integers(1, 5),
    st.booleans(),
)


@given(st.one_of(ranges, st.lists(st.integers(), min_size=1, unique=True).map(tuple)), st.integers())
def test_what_is_drawn_is_among_the_values_and_all_values_are_drawn(values, seed):
    found, generator = distribution(values), random.Random(seed)
    assert found.count == len(found.values())
    assert found.contains(found.default)
    drawn = {found.random(generator) for _ in range(50)}
    assert drawn <= set(found.values())
    if found.count <= 2:
        assert drawn == set(found.values())


@given(st.floats(1e-6, 1), st.floats(1.001, 1e6), st.booleans(), st.integers())
def test_reals_stay_within_their_ends(low, factor, log, seed):
    found = distribution(Range(low=low, high=low * factor, log=log))
    assert found.contains(found.random(random.Random(seed)))
