"""Tests that every strategy, stopping rule and module kind must pass: inherit one for yours, and pytest runs it.

    from nasmod.testing import StrategySuite


    class TestMine(StrategySuite):
        name = "mine"

It must be registered by then: import your plugin first. Needs `pip install 'nasmod[testing]'`.
"""

import pytest

pytest.register_assert_rewrite("nasmod.testing.kinds", "nasmod.testing.stopping", "nasmod.testing.strategies")

from nasmod.testing.kinds import KindSuite  # noqa: E402  # after pytest was told to explain their assertions
from nasmod.testing.stopping import StoppingSuite  # noqa: E402
from nasmod.testing.strategies import StrategySuite  # noqa: E402

__all__ = ["KindSuite", "StoppingSuite", "StrategySuite"]
