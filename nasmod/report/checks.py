"""What `doctor` found, one line a check, and as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from nasmod.study.inspection import Check


def check_lines(checks: Sequence[Check]) -> Iterator[str]:
    """Each check with its level; below it what to mend, if anything."""
    width = max((len(check.name) for check in checks), default=0)
    for check in checks:
        yield f"{check.level:<7}  {check.name:<{width}}  {check.says}"
        if check.mend:
            yield f"{'':<7}  {'':<{width}}  -> {check.mend}"
    wrong = sum(check.level == "wrong" for check in checks)
    warnings = sum(check.level == "warning" for check in checks)
    yield f"{wrong} wrong, {warnings} to look at, {len(checks) - wrong - warnings} in order."


def check_rows(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """Each check as plain data."""
    return [asdict(check) for check in checks]
