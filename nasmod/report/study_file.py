"""A commented study file for a person's own data: the data are looked at, a fitting space and FLOPs budget chosen."""

from __future__ import annotations

import json
import math
import os
import random
import re
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nasmod import registry
from nasmod.data import Dataset, Reading, load_dataset
from nasmod.data.arrays import TARGET
from nasmod.data.folder import holds_pictures
from nasmod.data.npz import read_arrays
from nasmod.data.table import TableSettings, read_table
from nasmod.errors import DataError, StudyError
from nasmod.report.figures import with_prefix
from nasmod.search.context import Context, bring_to_life
from nasmod.study.definition import NAME_PATTERN, check, read_space

DRAWS = 200  # random topologies whose FLOPs are looked at
TOPOLOGY_SHARE = 0.75  # of them fit into the FLOPs budget

# by the training examples there are: fewer than, epochs, examples a step
TRAINING = [(2_000, 24, 32), (20_000, 16, 64), (100_000, 8, 128), (math.inf, 4, 256)]


def write_study_file(
    path: Path, data: str, target: str | None = None, settings: Mapping[str, Any] | None = None
) -> tuple[Path, Reading | None]:
    """Look at the data and write `path`, a study file that can be started as it is; also what was read of the data.

    `settings` of the data set are added to those that are found. Raises `StudyError` when there is a file already,
    `DataError` when the data cannot be used.
    """
    if path.suffix != ".toml" or not re.match(NAME_PATTERN, path.stem):
        raise StudyError(f"A study file is called NAME.toml, NAME of letters, digits, '.', '_' and '-', not '{path}'.")
    if path.exists():
        raise StudyError(f"'{path}' is there already; choose another name, or remove it.")
    settings = data_settings(data, target, settings)
    dataset = load_dataset(settings)
    space = space_for(dataset)
    _, epochs, batch_size = next(row for row in TRAINING if len(dataset.train) < row[0])
    budget = flops_budget(dataset, settings, space)
    if "path" in settings:
        settings["path"] = _from_folder(Path(settings["path"]), path.parent)
    text = TEMPLATE.format(
        name=path.stem,
        told=_described(dataset),
        reading="".join(f"# {line}\n" for line in dataset.reading.lines()) if dataset.reading is not None else "",
        space=space,
        spaces=", ".join(registry.packaged("search_spaces")),
        data="\n".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in settings.items()),
        budget=f"{budget:_}",
        budget_words=with_prefix(budget),
        epochs=epochs,
        batch_size=min(batch_size, len(dataset.train)),
        strategies=", ".join(registry.names("strategy")),
        rules=", ".join(registry.names("stopping")),
        rungs=sorted({max(1, epochs // 8), max(2, epochs // 3)}),
    )
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise StudyError(f"'{path}' cannot be written: {error.strerror}.") from error
    return path, dataset.reading


def data_settings(data: str, target: str | None = None, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The ``[data]`` table for a file, a folder, or the name of a data set; settings that are `given` come last."""
    more = dict(given or {})
    path = Path(data).expanduser()
    if not path.exists() and data in registry.names("dataset"):
        return {"name": data, **more}
    if not path.exists():
        raise DataError(f"There is no file or folder '{data}'.")
    absolute = str(path.resolve())
    if path.suffix in (".csv", ".tsv"):
        return {"name": "csv", "path": absolute, "target": target or _last_column(path, more), **more}
    if target is not None:
        raise DataError(f"A target column can only be named for a .csv file, not for '{data}'.")
    if path.suffix == ".npz" or (path.is_dir() and any(path.glob("*.npy"))):
        return {"name": "npz", "path": absolute, "task": _task_of_arrays(path), **more}
    if path.is_dir():
        return {"name": "folder" if holds_pictures(path) else "idx", "path": absolute, **more}
    raise DataError(
        f"'{data}' is no .npz or .csv file and no folder of idx or .npy files or of pictures; see "
        "`nasmod list datasets`."
    )


def space_for(dataset: Dataset) -> str:
    """The packaged space that fits the inputs: convolutions where any of them is an image, else dense modules."""
    return "conv" if any(len(shape) == 3 for shape in dataset.inputs.values()) else "dense"


def flops_budget(dataset: Dataset, data: dict[str, Any], space: str) -> int:
    """Most topologies of the space fit, its most costly ones do not; in two digits."""
    table = {
        "name": "new",
        "space": read_space(space, Path()),
        "data": data,
        "objective": {"flops_budget": 1},
    }
    context: Context = bring_to_life(check(table, "new study"), dataset)
    generator = random.Random(0)
    found = sorted(context.flops(context.space.random(generator)[0]) for _ in range(DRAWS))
    share = statistics.quantiles(found, n=100)[round(100 * TOPOLOGY_SHARE) - 1]
    step = int(10 ** max(0, math.floor(math.log10(share)) - 1))
    return math.ceil(share / step) * step


def _last_column(path: Path, given: Mapping[str, Any]) -> str:
    known = {name: value for name, value in given.items() if name in TableSettings.model_fields}
    columns = list(map(str, read_table(path, TableSettings(**known)).columns))
    if len(columns) < 2:
        raise DataError(f"File '{path}' needs at least two columns; got {columns}.")
    return columns[-1]


def _task_of_arrays(path: Path) -> str:
    """Targets that are not whole numbers make a regression."""
    for name, array in read_arrays(path).items():
        if TARGET.fullmatch(name) and array.dtype.kind == "f" and (array % 1 != 0).any():
            return "regression"
    return "classification"


def _from_folder(path: Path, folder: Path) -> str:
    """Relative where the data lie in or below the study file's folder, so that both can be moved together."""
    relative = os.path.relpath(path, folder.resolve())
    return str(path) if relative.startswith("..") else relative


def _described(dataset: Dataset) -> str:
    inputs = ", ".join(f"{name} of shape {shape}" for name, shape in dataset.inputs.items())
    noun = "dimensions" if dataset.task == "regression" else "classes"
    outputs = ", ".join(f"{name} with {count} {noun}" for name, count in dataset.outputs.items())
    sizes = ", ".join(f"{len(dataset.split(name)):,} {name}" for name in ("train", "validation", "test"))
    return f"{dataset.task} of {outputs} from {inputs}; {sizes} examples"


TEMPLATE = """\
# {told}.
{reading}# Start it with `nasmod start {name}.toml`; every key can be changed before the first start, `trials` and
# `hours` later.
name = "{name}"
trials = 100 # budget: how many candidates are trained, over all workers and machines
# hours = 2.0 # end the search after so many hours
# target = {{ score = 0.9 }} # or once a candidate has this (also {{ accuracy = 0.97, flops = 50_000 }})
# patience = 50 # or after so many candidates in a row that were not better
seed = 0 # every random choice of the study is derived from it

# What may be proposed: a packaged space ({spaces}), or the path of a .toml file of your own.
# `nasmod list spaces` says what each holds; copy one of them as a start.
space = "{space}"

[data]
{data}
# validation = 0.2 # share of the examples that judges candidates
# test = 0.2 # share of the examples that only the final figures see; a test set that comes with the data is kept

[objective]
# Most FLOPs of one forward pass of one example, {budget_words} here: three of four random topologies of the space fit.
# What needs more is never trained; what needs less scores a little higher.
flops_budget = {budget}
# modularity_weight = 0.10 # skill counts in full, plus up to 10 % of it for modularity ...
# flops_weight = 0.02 # ... and up to 2 % of it for cheapness
# floors = {{ accuracy = 0.9 }} # least values of measures, for finished candidates

[training]
epochs = {epochs} # of a candidate that is not stopped early
batch_size = {batch_size}
# learning_rate = 2e-3
# augment = "shift" # of images: "none", "shift" or "shift-flip"

[strategy]
name = "graph_bo" # {strategies}

[stopping]
name = "halving" # {rules}
# rungs = {rungs} # epochs after which the worse candidates are stopped; by default a third, a ninth ... of all
"""
