"""One topology of the benchmark: trained, measured, and put to every use. What is slow is kept in a folder.

Weights and outcomes are kept, each under a hash of the data, the topology and its recipe, so that a run can be
interrupted and gone on with. Measures are computed anew every time: they are what the benchmark is about.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.truth import composition, damage, pruning, repair, swap, upgrade
from benchmarks.truth.rivals import rivals
from benchmarks.truth.training import SETTINGS, share_right, tensors, train_one, untrained
from benchmarks.truth.views import SIX, TWO, folder_of_views, views
from benchmarks.truth.worlds import TASKS, World, world
from nasmod.networks import Network, count_flops
from nasmod.topology import Topology
from nasmod.training import TrainingSettings, load_weights, save_weights

VERSION = 1  # of the outcomes' definitions: a new one forgets all that was kept
SEED, TWIN_SEED, FRESH_SEED = 0, 1, 2
FEW = ("repair", "damage")  # outcomes of every topology
ALL = (*FEW, "composition", "swap", "upgrade", "pruning")


@dataclass(frozen=True)
class Recipe:
    """How long things take: of the training, and of the repairs."""

    training: TrainingSettings = SETTINGS
    repair_epochs: int = repair.EPOCHS
    repetitions: int = 3


@dataclass(frozen=True)
class Job:
    """A topology in a world (a task of `TASKS`, or "2 views" or "6 views"), and which outcomes are wanted."""

    world: str
    name: str
    topology: Topology
    recipe: Recipe
    folder: Path
    views: str | None = None  # folder of the files
    outcomes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """What a job found."""

    world: str
    name: str
    accuracy: float  # on test
    skill: float  # accuracy above chance, as a share of what there is
    flops: int
    modules: int
    measures: Mapping[str, float] = field(default_factory=dict)
    outcomes: Mapping[str, Any] = field(default_factory=dict)


@functools.cache
def world_of(name: str, files: str | None = None) -> World:
    """The world of a job; loaded once a process."""
    if name in TASKS:
        return world(name)
    folder = folder_of_views(files)
    assert folder is not None
    return views(folder, {"2 views": TWO, "6 views": SIX}[name])


def measured(job: Job) -> Found:
    """The trained network, and what every measure says of it."""
    network = _network(job, SEED)
    return _found(job, network, measures=rivals(network, world_of(job.world, job.views)))


def used(job: Job) -> Found:
    """The outcomes that are wanted of the trained network."""
    network = _network(job, SEED)
    made = {name: _kept(job, name, functools.partial(OUTCOMES[name], job, network)) for name in job.outcomes}
    return _found(job, network, outcomes=made)


def _found(job: Job, network: Network, **rest: Any) -> Found:
    found = world_of(job.world, job.views)
    inputs, targets = tensors(found, "test")
    with torch.no_grad():
        accuracy = share_right(network(inputs), targets)
    skill = (accuracy - found.dataset.chance) / (1 - found.dataset.chance)
    modules = sum(step.node.is_module for step in network.plan.steps)
    return Found(job.world, job.name, accuracy, skill, count_flops(network.plan), modules, **rest)


def _network(job: Job, seed: int) -> Network:
    found = world_of(job.world, job.views)
    path = _path(job, "weights", [seed], ".safetensors")
    if path.exists():
        network = untrained(job.topology, found, seed)
        load_weights(network, path.read_bytes())
        return network.eval()
    network = train_one(job.topology, found, seed, job.recipe.training)
    _write(path, save_weights(network))
    return network


def _repair(job: Job, network: Network) -> list[dict[str, Any]]:
    found = world_of(job.world, job.views)
    changes = found.changes(job.recipe.repetitions)
    rows = repair.repairs(network, found, changes, job.recipe.repair_epochs)
    return [{**asdict(row), "change": asdict(row.change)} for row in rows]


def _damage(job: Job, network: Network) -> dict[str, float]:
    return damage.damage(network, world_of(job.world, job.views))


def _composition(job: Job, network: Network) -> dict[str, dict[str, float]]:
    found = world_of(job.world, job.views)
    return composition.composition(job.topology, found, SEED, job.recipe.training)


def _swap(job: Job, network: Network) -> dict[str, float]:
    found = world_of(job.world, job.views)
    return swap.swap(network, _network(job, TWIN_SEED), untrained(job.topology, found, FRESH_SEED).eval(), found)


def _upgrade(job: Job, network: Network) -> dict[str, float]:
    return upgrade.upgrade(job.topology, network, world_of(job.world, job.views), FRESH_SEED)


def _pruning(job: Job, network: Network) -> dict[str, float]:
    return pruning.pruning(network, world_of(job.world, job.views))


OUTCOMES: Mapping[str, Callable[[Job, Network], Any]] = {
    "repair": _repair,
    "damage": _damage,
    "composition": _composition,
    "swap": _swap,
    "upgrade": _upgrade,
    "pruning": _pruning,
}


def _constants(job: Job) -> dict[str, list[Any]]:
    """What an outcome depends on besides the trained network."""
    return {
        "weights": [],
        "repair": [
            *(repair.EXAMPLES, repair.BATCH, repair.LEARNING_RATE),
            *(job.recipe.repair_epochs, job.recipe.repetitions),
        ],
        "damage": [damage.NEEDED],
        "composition": [composition.kept_out().tolist()],
        "swap": [damage.NEEDED, swap.MATCHED_ON, TWIN_SEED, FRESH_SEED],
        "upgrade": [damage.NEEDED, upgrade.EPOCHS, FRESH_SEED],
        "pruning": [pruning.ALLOWED, pruning.STEP, pruning.RANDOM_ORDERS],
    }


def _kept(job: Job, name: str, make: Callable[[], Any]) -> Any:
    path = _path(job, name, [SEED], ".json")
    if not path.exists():
        _write(path, json.dumps(make()).encode())
    return json.loads(path.read_text())


def _path(job: Job, name: str, more: list[Any], suffix: str) -> Path:
    recipe = [
        *(VERSION, name, world_of(job.world, job.views).dataset.fingerprint, job.topology.key),
        *(job.recipe.training.model_dump(mode="json"), _constants(job)[name], more),
    ]
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
    return job.folder / f"{job.world.replace(' ', '-')}-{name}-{digest[:24]}{suffix}"


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    aside.write_bytes(data)
    aside.replace(path)


def figures(found: Found) -> dict[str, float]:
    """What the outcomes come to, one figure each; every figure is better the larger it is.

    Repairs of one kind: the share of the lost accuracy that comes back over all repetitions, mean over the places.
    """
    made = found.outcomes
    result: dict[str, float] = {}
    if "repair" in made:
        for kind in ("sensor", "meaning", "labels"):
            rows = [row for row in made["repair"] if row["change"]["kind"] == kind]
            if rows:
                result[kind] = regained(rows, "best_module")
                result[f"{kind}, all"] = regained(rows, "everything")
    if "damage" in made:
        result |= {f"damage, {part}": made["damage"][part] for part in ("mean", "worst", "needed")}
    if "composition" in made:
        for way, right in made["composition"].items():
            result[f"unseen, {way}"], result[f"seen, {way}"] = right["unseen"], right["seen"]
        asked = made["composition"].get("regression", made["composition"]["classes"])
        result["composition"] = asked["unseen"] / max(asked["seen"], 0.01)
    if "swap" in made:
        result["swap"] = made["swap"]["twin"] - made["swap"]["untrained"]
    if "upgrade" in made:
        result["upgrade"] = made["upgrade"]["trained"] - made["upgrade"]["untrained"]
    if "pruning" in made:
        result["pruning"] = made["pruning"]["share"]
        result["pruning, at random"] = made["pruning"]["lost_at_random"]
    return result


def regained(rows: list[dict[str, Any]], by: str) -> float:
    """Share of the accuracy lost in all repetitions that came back, mean over what changed.

    A change that costs less than 2 points leaves nothing to repair; NaN where all are such.
    """
    shares = []
    for where in dict.fromkeys(row["change"]["where"] for row in rows):
        same = [row for row in rows if row["change"]["where"] == where]
        lost = sum(row["before"] - row["broken"] for row in same)
        if lost >= damage.NEEDED * len(same):
            shares.append(sum(row[by] - row["broken"] for row in same) / lost)
    return float(np.mean(shares)) if shares else float("nan")
