"""The lines of `status`, `stop` and `doctor`: what a person must be able to read off them."""

from __future__ import annotations

from nasmod.report.checks import check_lines, check_rows
from nasmod.report.status import WaitingView, status_lines, status_row, studies_lines
from nasmod.study.inspection import Check
from nasmod.study.overview import Agreement, Overview
from nasmod.study.processes import Process, Seen
from tests.study.test_overview import status

WORKER = Process("a:w", "worker", "big-machine", 12, "cuda:1", "/runs/a-12.log")
SUPERVISOR = Process("a:s", "supervisor", "big-machine", 11)
SILENT = Process("b:w", "worker", "small-machine", 13, "cpu", "/runs/b-13.log")
TRAINING = {"candidate": 5, "number": 41, "key": "1f3a" * 16, "candidate_role": "search", "epoch": 3}


def overview(**changes: object) -> Overview:
    at_work = [Seen(SUPERVISOR, 2.0), Seen(WORKER, 4.0, **TRAINING), Seen(SILENT, 90.0)]
    given = {"status": status(), "at_work": at_work, "controller": "a:s", "epochs": 20, "candidates_per_hour": 1234.6}
    return Overview(**{**given, "seconds_left": 9000.0, "rungs": [Agreement(4, 0.738, 23)], **changes})


def test_it_says_who_trains_what_and_when_it_ends():
    lines = list(status_lines(overview(), "postgresql://me:***@host/name"))
    text = "\n".join(lines)
    for part in (
        "a: searching",
        "40 of 100 trained: 30 finished, 10 stopped early",
        "1,235 candidates an hour, about 2 h 30 min to the end, in postgresql://me:***@host/name",
        "rung at epoch 4: rank correlation 0.74 with the end, over the 23 that finished",
        "2 workers on 2 machines, 1 of them silent:",
        "supervisor 11, the controller, seen 2 s ago",
        "worker 12 on cuda:1: #41, epoch 3 of 20, seen 4 s ago",
        "worker 13 on cpu: idle, seen 1 min 30 s ago (silent)",
        "big-machine: /runs/a-12.log",
        "small-machine: /runs/b-13.log",
        "1 running candidate is held by no process at work",
    ):
        assert part in text, part


def test_what_waits_at_a_rung_is_counted_where_a_rule_promotes():
    lines = list(status_lines(overview(status=status(finished=20, stopped=0, paused=20)), "a.db"))
    assert "  40 of 100 trained: 20 finished, 0 stopped early, 20 paused" in lines


def test_states_are_told_in_words():
    for state, words in [
        ("draining", "what runs is trained to its end"),
        ("halting", "what runs is handed back"),
        ("repeating", "training the finalists again"),
    ]:
        (first, *_) = status_lines(overview(status=status(state=state, reason="stopped by a person")), "a.db")
        assert words in first
        assert first.endswith("stopped by a person")


def test_a_reference_and_a_repeat_are_told_by_their_role_and_searched_epochs_are_not_promised():
    reference = Seen(WORKER, 4.0, candidate=5, key="1f3a" * 16, candidate_role="reference", epoch=3)
    text = "\n".join(status_lines(overview(at_work=[reference], epochs=None), "a.db"))
    assert "reference 1f3a1f3a, epoch 3, seen" in text


def test_nobody_at_work_is_said_unless_the_study_has_ended():
    assert "No process is at work on it." in list(status_lines(overview(at_work=[]), "a.db"))
    ended = overview(at_work=[], status=status(state="ended", running=0), seconds_left=None)
    assert not [line for line in status_lines(ended, "a.db") if "process" in line or "to the end" in line]


def test_as_plain_data_it_is_all_there():
    row = status_row(overview())
    assert row["rungs"] == [{"epoch": 4, "correlation": 0.738, "finished": 23}]
    assert (row["trained"], row["workers"], row["machines"]) == (40, 2, ["big-machine", "small-machine"])
    supervisor, worker, silent = row["processes"]
    assert supervisor["controller"]
    assert supervisor["training"] is None
    assert worker["training"] == {"number": 41, "key": "1f3a" * 16, "role": "search", "epoch": 3, "epochs": 20}
    assert (worker["log"], worker["silent"], silent["silent"]) == ("/runs/a-12.log", False, True)


def test_studies_are_one_line_each():
    lines = list(studies_lines([(status(), "a.db"), (status(name="longer", state="ended", reason="done"), "b.db")]))
    assert lines == [
        "a       40 of 100 trained, searching (in a.db)",
        "longer  40 of 100 trained, ended, done (in b.db)",
    ]


def test_who_waits_for_a_study_to_stop_hears_what_has_changed_and_nothing_twice():
    view = WaitingView()
    (line,) = view.lines(status(state="draining"))
    assert "2 running are trained to the end" in line
    assert list(view.lines(status(state="draining"))) == []
    (line,) = view.lines(status(state="halting", running=1))
    assert "1 running are handed back" in line


def test_checks_are_a_line_each_with_what_to_mend_below():
    checks = [
        Check("python", "ok", "3.11"),
        Check("rights", "wrong", "denied", "GRANT them"),
        Check("b", "warning", "c"),
    ]
    assert list(check_lines(checks)) == [
        "ok       python  3.11",
        "wrong    rights  denied",
        "                 -> GRANT them",
        "warning  b       c",
        "1 wrong, 1 to look at, 1 in order.",
    ]
    assert check_rows(checks)[1] == {"name": "rights", "level": "wrong", "says": "denied", "mend": "GRANT them"}
