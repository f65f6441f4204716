"""What each part of the search adds: a packaged study without it, beside the whole, in the same study seeds.

    simple wirings      the study does not open with them
    surrogate           the strategy is `evolution`
    halving             every candidate is trained to its end
    promotion           added, not taken away: what a rung stops waits, and goes on once it would pass
    settings searched   training settings stand as the study file says
    settings alone      no candidate is filed to tell what a single training setting does
    crossovers          `graph_bo` looks at edits and random draws alone
    edits of groups     `resize all`, `make alike`, `duplicate`, `swap` and `merge` are never drawn
    near sizes          an edit moves a size to any value, not most often to a neighbouring one
    strategy            everything is drawn at random

All variants of a study seed run one after the other, with two workers, in another order for each seed. What each says
is best is trained five times with seeds that no study has seen. Prints a table and one line of JSON last: scores, and
differences from the whole search with their standard errors over the study seeds.

    python -m benchmarks.ablation pairs [--seeds 0 1 2 3 4] [--without-references] [--only surrogate halving]
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import platform
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from statistics import fmean, median, stdev
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch

import nasmod
from benchmarks.search import fresh
from benchmarks.truth.tables import markdown
from nasmod.search.strategies import graph_bo
from nasmod.space import mutation
from nasmod.space.space import Space
from nasmod.study import TRAINED, Study, read
from nasmod.topology import Topology

WHOLE = "nothing"
GROUPS = {"resize all", "make alike", "duplicate", "swap", "merge"}
Changes = Callable[[Study], Mapping[str, Any]]


@contextmanager
def without_edits(names: set[str]) -> Iterator[None]:
    """Strategies of this process never draw these edits."""
    every = mutation.edits_of

    def others(space: Space, topology: Topology) -> list[str]:
        return [name for name in every(space, topology) if name not in names]

    with patch.object(mutation, "edits_of", others):
        yield


def fixed_settings(study: Study) -> Mapping[str, Any]:
    """The study's space without the training settings that it searches."""
    return {"space": {name: table for name, table in study.space.items() if name != "settings"}}


VARIANTS: Mapping[str, tuple[Changes, Callable[[], AbstractContextManager[Any]]]] = {
    WHOLE: (lambda study: {}, nullcontext),
    "simple wirings": (lambda study: {"references": False}, nullcontext),
    "surrogate": (lambda study: {"strategy": {"name": "evolution"}}, nullcontext),
    "halving": (lambda study: {"stopping": {"name": "none"}}, nullcontext),
    "promotion": (lambda study: {"stopping": {**study.stopping, "promotion": True}}, nullcontext),
    "settings searched": (fixed_settings, nullcontext),
    "settings alone": (lambda study: {}, lambda: patch.object(graph_bo, "SETTINGS_ALONE", 0.0)),
    "crossovers": (lambda study: {}, lambda: patch.object(graph_bo, "CROSSED", 0.0)),
    "edits of groups": (lambda study: {}, lambda: without_edits(GROUPS)),
    "near sizes": (lambda study: {}, lambda: patch.object(mutation, "NEAR", 0.0)),
    "strategy": (lambda study: {"strategy": {"name": "random"}, "references": False}, nullcontext),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=["digits", "fashion", "pairs"])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)), help="of the studies")
    parser.add_argument("--only", nargs="+", choices=sorted(VARIANTS), help="variants beside the whole search")
    parser.add_argument("--trials", type=int, help="candidates a study trains; by default the packaged number")
    parser.add_argument("--without-references", action="store_true", help="no variant opens with the simple wirings")
    chosen = parser.parse_args()

    packaged = read(chosen.study, trials=chosen.trials)
    packaged = packaged.model_copy(update={"references": not chosen.without_references})
    names = [name for name in VARIANTS if name == WHOLE or chosen.only is None or name in chosen.only]
    scores: dict[str, list[float]] = {name: [] for name in names}
    epochs: dict[str, list[float]] = {name: [] for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with TemporaryDirectory() as folder, multiprocessing.get_context("spawn").Pool(2) as pool:
        for seed in chosen.seeds:
            for name in random.Random(seed).sample(names, len(names)):
                changed, patched = VARIANTS[name]
                changes = {"seed": seed, "name": f"{name.replace(' ', '-')}-{seed}", **changed(packaged)}
                study = packaged.model_copy(update=changes)
                started = time.perf_counter()
                with patched():
                    found = nasmod.start(study, storage=Path(folder) / f"{study.name}.db", workers=2)
                seconds[name].append(time.perf_counter() - started)
                proposal = found.best.proposal
                scores[name].append(fresh(packaged, proposal.topology, proposal.settings, pool).score)
                trained = [record for record in found.records() if record.state in TRAINED]
                epochs[name].append(sum(len(record.curve) for record in trained))
                said = {"seed": seed, "without": name, "score": scores[name][-1], "epochs": epochs[name][-1]}
                print(json.dumps({**said, "seconds": round(seconds[name][-1])}), file=sys.stderr, flush=True)

    rows: dict[str, dict[str, float]] = {}
    for name in names:
        gains = [own - whole for own, whole in zip(scores[name], scores[WHOLE], strict=True)]
        error = stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else math.nan
        rows[name] = {
            "score": fmean(scores[name]),
            "difference": fmean(gains),
            "standard_error": error,
            "epochs": median(epochs[name]),
            "seconds": median(seconds[name]),
        }
    heading = ["without", "score", "difference", "epochs", "seconds"]
    print(
        markdown(
            heading,
            [
                [
                    name,
                    f"{row['score']:.4f}",
                    f"{row['difference']:+.4f} ± {row['standard_error']:.4f}",
                    f"{row['epochs']:.0f}",
                    f"{row['seconds']:.0f}",
                ]
                for name, row in rows.items()
            ],
        )
    )
    conditions = f"{packaged.trials} candidates, 2 workers, torch {torch.__version__}, {platform.machine()}"
    result = {"name": "ablation", "study": chosen.study, "seeds": chosen.seeds, "references": packaged.references}
    print(json.dumps({**result, "without": rows, "conditions": conditions}))


if __name__ == "__main__":
    main()
