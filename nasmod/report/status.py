"""How far a study is and who works on it, in a few lines and as plain data."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

from nasmod.data import Factors, Reading
from nasmod.report.figures import seconds
from nasmod.report.roles import factors_lines
from nasmod.study.overview import Overview, silent
from nasmod.study.processes import Seen
from nasmod.study.stored import Status

SECONDS_BETWEEN_LINES = 30.0
STATES = {
    "searching": "searching",
    "repeating": "training the finalists again with other seeds",
    "draining": "draining: what runs is trained to its end, nothing else is begun",
    "halting": "halting: what runs is handed back",
    "ended": "ended",
}


def state_in_words(status: Status) -> str:
    """The study's state, and why."""
    return f"{STATES[status.state]}{f', {status.reason}' if status.reason else ''}"


def status_lines(
    found: Overview, storage: str, factors: Factors | None = None, reading: Reading | None = None
) -> Iterator[str]:
    """The counts, the pace, and the processes at work: by machine, with what each trains and its last sign of life."""
    status = found.status
    yield f"{status.name}: {state_in_words(status)}"
    ends = [f"{status.finished} finished", f"{status.stopped} stopped early"]
    ends += [f"{status.paused} paused"] if status.paused else []
    yield f"  {status.trained} of {status.budget} trained: {', '.join(ends)}"
    yield f"  {status.running} running, {status.queued} queued, {status.failed} failed"
    yield f"  {status.proposals} proposals: {status.duplicates} duplicates, {status.infeasible} over the FLOPs budget"
    beside = f"{status.references} references and " if status.references else ""
    yield f"  {beside}{status.repeats} repeats trained beside"
    yield f"  searched {seconds(status.seconds)}{_pace(found)}, in {storage}"
    for rung in found.rungs:
        yield (
            f"  rung at epoch {rung.epoch}: rank correlation {rung.correlation:.2f} with the end, "
            f"over the {rung.finished} that finished"
        )
    yield from factors_lines(factors)
    if reading is not None:
        yield from reading.lines()
    if found.at_work:
        yield from _processes(found)
    elif status.state != "ended":
        yield "No process is at work on it."
    if found.unattended:
        held = f"{_count(found.unattended, 'running candidate')} {'is' if found.unattended == 1 else 'are'} held"
        yield f"{held} by no process at work; whoever searches takes back what stays so for a lease."


def status_row(found: Overview, factors: Factors | None = None, reading: Reading | None = None) -> dict[str, Any]:
    """What ``status --json`` tells: the counts, the factors, and everything of the processes."""
    return {
        **found.status.to_json(),
        "factors": None if factors is None else factors.to_json(),
        "reading": None if reading is None else reading.to_json(),
        "candidates_per_hour": found.candidates_per_hour,
        "seconds_left": found.seconds_left,
        "rungs": [vars(rung) for rung in found.rungs],
        "machines": sorted({seen.process.machine for seen in found.at_work}),
        "workers": sum(seen.process.role == "worker" for seen in found.at_work),
        "controller": found.controller,
        "unattended": found.unattended,
        "processes": [
            {
                **vars(seen.process),
                "seconds_since_sign_of_life": seen.seconds,
                "silent": silent(seen),
                "controller": seen.process.name == found.controller,
                "training": None
                if seen.candidate is None
                else {
                    "number": seen.number,
                    "key": seen.key,
                    "role": seen.candidate_role,
                    "epoch": seen.epoch,
                    "epochs": found.epochs,
                },
            }
            for seen in found.at_work
        ],
    }


def studies_lines(found: Sequence[tuple[Status, str]]) -> Iterator[str]:
    """One line a study: its name, how far it is, its state, where it lies."""
    width = max((len(status.name) for status, _ in found), default=0)
    for status, storage in found:
        trained = f"{status.trained} of {status.budget} trained"
        yield f"{status.name:<{width}}  {trained}, {state_in_words(status)} (in {storage})"


class WaitingView:
    """What a person sees who waits for a study to stop: a line when the count changes, or now and then."""

    def __init__(self) -> None:
        self._last: tuple[float, str] = (-math.inf, "")

    def lines(self, status: Status) -> Iterator[str]:
        """A line, or none when nothing is new."""
        what = "handed back" if status.state == "halting" else "trained to the end"
        line = f"{status.name}: waiting until {status.running} running are {what}; Ctrl-C leaves that to the workers"
        if line != self._last[1] or time.monotonic() - self._last[0] >= SECONDS_BETWEEN_LINES:
            self._last = (time.monotonic(), line)
            yield line


def _pace(found: Overview) -> str:
    if found.candidates_per_hour is None:
        return ""
    hourly = (
        f"{found.candidates_per_hour:,.0f}" if found.candidates_per_hour >= 100 else f"{found.candidates_per_hour:.3g}"
    )
    left = "" if found.seconds_left is None else f", about {seconds(found.seconds_left)} to the end"
    return f", {hourly} candidates an hour{left}"


def _processes(found: Overview) -> Iterator[str]:
    machines: dict[str, list[Seen]] = {}
    for seen in found.at_work:
        machines.setdefault(seen.process.machine, []).append(seen)
    workers = [seen for seen in found.at_work if seen.process.role == "worker"]
    dead = sum(silent(seen) for seen in workers)
    but = f", {dead} of them silent" if dead else ""
    yield f"{_count(len(workers), 'worker')} on {_count(len(machines), 'machine')}{but}:"
    for machine, at_work in machines.items():
        of_role = {role: [seen for seen in at_work if seen.process.role == role] for role in ("supervisor", "worker")}
        yield f"  {machine}"
        for seen in of_role["supervisor"]:
            steers = ", the controller" if seen.process.name == found.controller else ""
            yield f"    supervisor {seen.process.pid}{steers}, {_life(seen)}"
        for seen in of_role["worker"]:
            yield f"    worker {seen.process.pid} on {seen.process.device}: {_training(found, seen)}, {_life(seen)}"
    logs = [f"  {seen.process.machine}: {seen.process.log}" for seen in found.at_work if seen.process.log]
    if logs:
        yield "Logs:"
        yield from logs


def _training(found: Overview, seen: Seen) -> str:
    if seen.candidate is None:
        return "idle"
    what = f"#{seen.number}" if seen.number is not None else f"{seen.candidate_role} {(seen.key or '')[:8]}"
    return f"{what}, epoch {seen.epoch}{f' of {found.epochs}' if found.epochs is not None else ''}"


def _life(seen: Seen) -> str:
    return f"seen {seconds(max(1.0, seen.seconds))} ago{' (silent)' if silent(seen) else ''}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
