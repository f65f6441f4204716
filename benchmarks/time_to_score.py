"""How soon a packaged study's search has what it finds, beside plain Optuna on the same space, score and trainer.

For each study seed the study runs with two workers, and plain Optuna (TPE and the median pruner) with two processes and
as many trainings or several times as many, one after the other, in another order for each seed. Each candidate that was
the best so far of its search, by its single training, is trained five times with seeds that no search has seen; the
first whose mean score reaches the target says how many trainings, epochs and seconds its search took until then. The
target is

    rival      the score, in the same fresh trainings, of what plain Optuna says is best of as many trainings
    found      that of what the whole study says is best
    by-hand    what a person would build: on digits the best row of the grid of `benchmarks.search`, on pairs the true
               decomposition, trained as the study file says; less one standard error

Where no best so far of a study reaches the target but what it says is best does, all that it cost counts, finalists
included. Where none of plain Optuna's does, all of its trainings count: the ratio is then a lower bound.

Prints a line a study seed and one line of JSON last; exit code 1 when the median ratio is under what is wanted.

    python -m benchmarks.time_to_score digits [--seeds 0 1 2 3 4]
    python -m benchmarks.time_to_score pairs --target by-hand --times 4 [--without-references]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing.pool import Pool
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch

import nasmod
from benchmarks.search import best_by_hand, fresh
from benchmarks.truth.wirings import by_hand
from nasmod.search import plain_optuna
from nasmod.search.compare import Trained, of_records, of_trials
from nasmod.search.context import bring_to_life
from nasmod.study import TRAINED, Study, read

WANTED = {"digits": 3, "fashion": 5, "pairs": 5}  # times as many trainings of plain Optuna


@dataclass(frozen=True)
class Cost:
    """What a search had spent when it had what it was asked for."""

    trainings: int
    epochs: int
    seconds: float


def until(score: float, trained: Sequence[Trained], study: Study, pool: Pool) -> Cost | None:
    """What was spent until a best so far reached the score in fresh trainings."""
    best, epochs, began = 0.0, 0, min(one.began for one in trained)
    for number, one in enumerate(trained, 1):
        epochs += one.epochs
        own = 0.0 if one.measures is None else study.objective.score(one.measures)
        if own > best:
            best = own
            if reached_by(one, study, pool) >= score:
                return Cost(number, epochs, (one.ended - began).total_seconds())
    return None


def best_of(trained: Sequence[Trained], study: Study) -> Trained:
    """The one with the best score in its own training."""
    return max(trained, key=lambda one: 0.0 if one.measures is None else study.objective.score(one.measures))


def reached_by(one: Trained, study: Study, pool: Pool) -> float:
    """Its score in fresh trainings."""
    return fresh(study, one.topology, one.settings, pool).score


def all_of(trained: Sequence[Trained]) -> Cost:
    """What the whole of a search took."""
    began = min(one.began for one in trained)
    return Cost(len(trained), sum(one.epochs for one in trained), (trained[-1].ended - began).total_seconds())


def searched(study: Study, storage: Path) -> tuple[nasmod.SearchStudy, Cost]:
    """The study at its end, and all that it cost, finalists included."""
    started = time.perf_counter()
    found = nasmod.start(study, storage=storage, workers=2)
    seconds = time.perf_counter() - started
    trained = [record for record in found.records() if record.state in TRAINED]
    return found, Cost(len(trained), sum(len(record.curve) for record in trained), seconds)


def target_by_hand(study: Study, pool: Pool) -> float:
    """What a person would build reaches, less one standard error."""
    if study.name == "pairs":
        reached = fresh(study, by_hand(bring_to_life(study).dataset, "true", study.objective.flops_budget), {}, pool)
    else:
        _, reached = best_by_hand(study, pool)
    return reached.score - reached.standard_error


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=sorted(WANTED))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)), help="of the studies")
    parser.add_argument("--target", choices=["rival", "found", "by-hand"], default="rival")
    parser.add_argument("--times", type=int, default=1, help="how many times the study's trainings plain Optuna has")
    parser.add_argument("--without-references", action="store_true", help="without the simple wirings at the start")
    parser.add_argument("--trials", type=int, help="candidates a study trains; by default the packaged number")
    chosen = parser.parse_args()

    packaged = read(chosen.study, trials=chosen.trials)
    rows = []
    with TemporaryDirectory() as folder, multiprocessing.get_context("spawn").Pool(2) as pool:
        goal = target_by_hand(packaged, pool) if chosen.target == "by-hand" else None
        for seed in chosen.seeds:
            storage = Path(folder) / f"{seed}.db"
            url, url_of_rival = f"sqlite:///{storage}", f"sqlite:///{Path(folder) / f'{seed}-rival.db'}"
            changes = {"seed": seed, "name": f"{chosen.study}-{seed}", "references": not chosen.without_references}
            study = packaged.model_copy(update=changes)
            longer = {"name": f"{study.name}-{plain_optuna.NAME}", "trials": chosen.times * study.trials}
            rival = study.model_copy(update=longer)
            if seed % 2:
                trials = plain_optuna.search(rival, url_of_rival, 2)
            found, whole = searched(study, storage)
            if not seed % 2:
                trials = plain_optuna.search(rival, url_of_rival, 2)
            proposal = found.best.proposal
            reached = fresh(packaged, proposal.topology, proposal.settings, pool).score
            of_rival = of_trials(trials)
            if goal is not None:
                target = goal
            elif chosen.target == "found":
                target = reached
            else:
                target = reached_by(best_of(of_rival, study), packaged, pool)
            own = until(target, of_records(found.records(), study, url), packaged, pool)
            if own is None and reached >= target:
                own = whole
            other = until(target, of_rival, packaged, pool)
            rows.append((own, other or all_of(of_rival), other is not None))
            said = {"seed": seed, "target": target, "found": reached, "whole study": asdict(whole)}
            said |= {"nasmod": own and asdict(own), plain_optuna.NAME: other and asdict(other)}
            print(json.dumps(said), file=sys.stderr, flush=True)

    def ratio(what: str) -> float:
        return median(getattr(other, what) / getattr(own, what) if own is not None else 0.0 for own, other, _ in rows)

    result = {
        "name": "time_to_score",
        "study": chosen.study,
        "target": chosen.target,
        "reached": sum(own is not None for own, *_ in rows),
        f"reached by {plain_optuna.NAME}": sum(did for *_, did in rows),
        "of": len(rows),
        "times the trainings": ratio("trainings"),
        "times the epochs": ratio("epochs"),
        "times the seconds": ratio("seconds"),
        "references": not chosen.without_references,
        "conditions": f"{packaged.trials} candidates, {chosen.times} times as many of {plain_optuna.NAME}, 2 workers, "
        f"torch {torch.__version__}, {platform.machine()}",
    }
    print(json.dumps(result))
    return 0 if result["times the trainings"] >= WANTED[chosen.study] else 1


if __name__ == "__main__":
    sys.exit(main())
