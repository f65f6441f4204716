"""What holds for every stopping rule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from hypothesis import given, settings
from hypothesis import strategies as st

from nasmod import registry
from nasmod.measures.objective import Objective
from nasmod.search.stopping import StoppingRule, promoting, rungs_of
from nasmod.study import RungResult, check_settings
from nasmod.testing.kinds import INHERITED

OBJECTIVES = (
    Objective(flops_budget=1000),
    Objective(flops_budget=1000, mode="pareto", directions={"skill": "maximize", "flops": "minimize"}),
)


class StoppingSuite:
    """Inherit it for a registered stopping rule, with settings `chosen` other than its defaults if you like."""

    name: ClassVar[str]
    chosen: ClassVar[Mapping[str, Any]] = {}

    @settings(suppress_health_check=INHERITED)
    @given(epochs=st.integers(1, 300))
    def test_rungs_ascend_and_come_before_the_last_epoch(self, epochs: int) -> None:
        for objective in OBJECTIVES:
            rungs = self._rule(objective).rungs(epochs)
            assert list(rungs) == sorted(set(rungs))
            assert all(1 <= rung < epochs for rung in rungs)

    @settings(suppress_health_check=INHERITED)
    @given(epochs=st.integers(1, 300), key=st.text())
    def test_a_candidate_meets_some_of_the_rungs_and_the_same_again(self, epochs: int, key: str) -> None:
        for objective in OBJECTIVES:
            met = rungs_of(self._rule(objective), key, epochs)
            assert set(met) <= set(self._rule(objective).rungs(epochs))
            assert list(met) == sorted(set(met))
            assert rungs_of(self._rule(objective), key, epochs) == met

    @settings(suppress_health_check=INHERITED)
    @given(data=st.data())
    def test_it_says_why_or_nothing_and_the_same_again(self, data: st.DataObject) -> None:
        """Also with no others yet, and with values that are undefined: those are infinite."""
        for objective in OBJECTIVES:
            curve = data.draw(st.lists(results(objective, epoch=1), min_size=1, max_size=1))
            others = data.draw(st.lists(results(objective, epoch=1), max_size=30))
            reason = self._rule(objective).decide(curve, others)
            assert reason is None or (isinstance(reason, str) and reason and "\n" not in reason)
            assert self._rule(objective).decide(curve, others) == reason

    @settings(suppress_health_check=INHERITED)
    @given(data=st.data())
    def test_the_best_of_all_is_not_stopped(self, data: st.DataObject) -> None:
        for objective in OBJECTIVES:
            others = data.draw(st.lists(results(objective, epoch=1), max_size=30))
            best = RungResult(1, 2.0, 0.0, _values(objective, 2.0, 0.5), _values(objective, 0.0, 0.0))
            assert self._rule(objective).decide([best], others) is None

    @settings(suppress_health_check=INHERITED)
    @given(data=st.data())
    def test_one_that_promotes_asks_as_others_do_until_later_ones_came(self, data: st.DataObject) -> None:
        """And lets the best of all pass, however many came after it."""
        for objective in OBJECTIVES:
            rule = promoting(self._rule(objective))
            if rule is None:
                continue
            curve = data.draw(st.lists(results(objective, epoch=1), min_size=1, max_size=1))
            others = data.draw(st.lists(results(objective, epoch=1), max_size=60))
            assert rule.decide(curve, others, 0) == rule.decide(curve, others)
            best = RungResult(1, 2.0, 0.0, _values(objective, 2.0, 0.5), _values(objective, 0.0, 0.0))
            assert rule.decide([best], others, data.draw(st.integers(0, len(others)))) is None

    def _rule(self, objective: Objective) -> StoppingRule:
        settings = check_settings("stopping", self.name, self.chosen, "settings")
        rule: StoppingRule = registry.resolve("stopping", self.name)(settings, objective)
        return rule


@st.composite
def results(draw: st.DrawFn, objective: Objective, epoch: int) -> RungResult:
    """What a candidate may have reached at a rung."""
    skill, error = draw(st.floats(0, 1)), draw(st.floats(0, 0.3))
    flops = draw(st.one_of(st.floats(1, 1000), st.just(math.inf)))
    return RungResult(epoch, skill, error, _values(objective, skill, flops), _values(objective, error, 0.0))


def _values(objective: Objective, skill: float, flops: float) -> tuple[float, ...]:
    return (skill, flops) if objective.mode == "pareto" else (skill,)
