"""Exporting: the files of a trained topology, proved in a process that cannot import nasmod before they are in place.

It knows nothing of studies: whoever calls it says in `recipe` where the network came from.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nasmod.data import Dataset
from nasmod.errors import ExportError
from nasmod.export.fresh_process import ONNX, PROGRAM, SOURCE, WEIGHTS, exported_program
from nasmod.export.interface import interface
from nasmod.export.readme import Facts, readme
from nasmod.export.source import model_source
from nasmod.measures.accuracy import classification, language, regression
from nasmod.measures.measure import Arrays, Value
from nasmod.measures.roles import Roles
from nasmod.modules import has_source
from nasmod.networks import Network, Plan, build
from nasmod.topology import Topology
from nasmod.training import evaluate, load_weights

FILES = (SOURCE, WEIGHTS, PROGRAM, "topology.json", "interface.json", "README.md")
NEEDED_FOR_ONNX = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4  # of the largest output (at least 1): other kernels round otherwise, other weights differ far more
ACCURACY_TOLERANCE = 0.005  # against a stored accuracy that was measured on another device

_SCRIPT = Path(__file__).with_name("fresh_process.py")


@dataclass(frozen=True)
class Exported:
    """What was written, and how it was proved. `scores` are of the test split, by form: accuracy, or R²."""

    directory: Path
    differences: Mapping[str, float]  # by form: largest absolute difference from an output of the trained network
    score_name: str
    scores: Mapping[str, float]
    trained_score: Value
    examples: int
    files: tuple[str, ...] = FILES

    @property
    def difference(self) -> float:
        """The largest over all forms."""
        return max(self.differences.values())


@dataclass(frozen=True)
class _Answers:
    """What the trained network says about the test split."""

    outputs: Arrays
    score_name: str
    score: Value


def export(
    directory: Path | str,
    plan: Plan,
    weights: bytes,
    dataset: Dataset,
    *,
    recipe: Mapping[str, Any],
    measures: Mapping[str, float] | None = None,
    standard_errors: Mapping[str, float] | None = None,
    expected: float | None = None,
    title: str = "A modular network found by nasmod.",
    roles: Roles | None = None,
    onnx: bool = False,
) -> Exported:
    """Write a trained network as files that run without nasmod, and prove them on the test split.

    `weights` are the safetensors of the network's state dict; `recipe`, `measures`, `standard_errors` and `roles` go
    into the README; `expected` is the stored test accuracy (R² of a regression) of these very weights, if there is one.
    With `onnx` there is an ONNX file too, proved in onnxruntime. Where a kind's source does not stand alone there is no
    ``model.py``.

    Raises `ExportError`, and leaves nothing behind, when the directory is in use, the weights belong to another
    network, or a form cannot be loaded without nasmod or differs from the trained network.
    """
    directory = Path(directory)
    check_free(directory, onnx=onnx)
    trained = _trained_answers(plan, weights, dataset, expected)
    try:
        # inside a directory that is there already (it may be a mount); else beside it, to be moved as a whole
        place = directory if directory.exists() else directory.parent
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=place) as aside:
            files = Path(aside) / "export"
            files.mkdir()
            if all(has_source(step.node.kind) for step in plan.steps if step.node.is_module):
                (files / SOURCE).write_text(model_source(plan, title), encoding="utf-8")
            else:
                _write_program(files / PROGRAM, plan, weights, dataset)
            (files / WEIGHTS).write_bytes(weights)
            topology = Topology(tuple(step.node for step in plan.steps))
            (files / "topology.json").write_text(topology.to_json() + "\n", encoding="utf-8")
            described = interface(plan, dataset).model_dump_json(indent=1)
            (files / "interface.json").write_text(described + "\n", encoding="utf-8")
            exported = _prove(files, Path(aside), directory, plan, dataset, trained, onnx)
            stored = measures or {}, standard_errors or {}, roles or {}
            facts = Facts(title, recipe, *stored, exported.differences, exported.scores, trained.outputs)
            (files / "README.md").write_text(readme(plan, dataset, facts), encoding="utf-8")
            _into_place(files, directory, exported.files)
    except OSError as error:
        raise ExportError(f"Cannot write to '{directory}': {error.strerror or error}.") from error
    return exported


def _into_place(files: Path, directory: Path, names: Iterable[str]) -> None:
    if not directory.exists():
        files.rename(directory)
        return
    for name in names:  # the README last: a directory without it is not complete
        (files / name).rename(directory / name)


def check_free(directory: Path, *, onnx: bool = False) -> None:
    """Raise `ExportError` when there is anything in the way of an export, or a package for ONNX is missing."""
    if onnx and not all(map(find_spec, NEEDED_FOR_ONNX)):
        raise ExportError("ONNX needs onnx, onnxscript and onnxruntime: pip install 'nasmod[onnx]'.")
    if directory.is_dir():
        if any(directory.iterdir()):
            raise ExportError(f"The export directory must be new or empty; '{directory}' is not.")
    elif directory.exists():
        raise ExportError(f"The export directory must be new or empty; '{directory}' is a file.")


def _trained_answers(plan: Plan, weights: bytes, dataset: Dataset, expected: float | None) -> _Answers:
    network = build(plan)
    try:
        load_weights(network, weights)
    except ValueError as error:
        raise ExportError(f"The stored weights cannot be exported: {error}.") from error
    outputs = {name: tensor.numpy() for name, tensor in evaluate(network, dataset.test, dataset.task).items()}
    name, score = _score(outputs, dataset)
    if expected is not None and abs(score.value - expected) > ACCURACY_TOLERANCE + 1 / len(dataset.test):
        raise ExportError(
            f"The stored weights reach a test {name} of {score.value:.4f}, the study says {expected:.4f}."
        )
    return _Answers(outputs, name, score)


def _score(outputs: Arrays, dataset: Dataset) -> tuple[str, Value]:
    targets = dict(dataset.test.targets)
    if dataset.task == "regression":
        return "r2", regression(outputs, targets)["r2"]
    if dataset.task == "language":
        return "accuracy", language(outputs, targets)["accuracy"]
    return "accuracy", classification(outputs, targets, dataset.chance)["accuracy"]


class _Positional(nn.Module):
    """A network with inputs and outputs in the plan's order, as ``model.py`` has them."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        plan = self.network.plan
        return tuple(self.network(dict(zip(plan.inputs, inputs, strict=True)))[name] for name in plan.outputs)


def _write_program(file: Path, plan: Plan, weights: bytes, dataset: Dataset) -> None:
    network = build(plan)
    load_weights(network, weights)
    examples = [torch.from_numpy(dataset.test.inputs[name][:1]).float() for name in plan.inputs]
    try:
        program = exported_program(_Positional(network).eval(), examples)
    except Exception as error:  # a user's forward may be beyond torch.export
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExportError(f"torch.export cannot follow the network: {reason}") from error
    torch.export.save(program, file)


def _prove(
    files: Path, aside: Path, directory: Path, plan: Plan, dataset: Dataset, trained: _Answers, onnx: bool
) -> Exported:
    """Make the exported program, and ONNX, and run each form, in a process that cannot import nasmod."""
    examples, outputs = aside / "examples.npz", aside / "outputs.npz"
    np.savez(examples, *(dataset.test.inputs[name] for name in plan.inputs))
    read = [plan.steps[plan.input_step(name)].name for name in plan.inputs]
    given = [plan.steps[plan.output_step(name)].name for name in plan.outputs]
    _in_fresh_process(files, examples, outputs, [*read, *given] if onnx else [])
    forms = [form for form in (SOURCE, PROGRAM, ONNX) if (files / form).exists()]
    differences, scores = {}, {}
    with np.load(outputs) as stored:
        for form in forms:
            found = {name: stored[f"{form}/{index}"] for index, name in enumerate(plan.outputs)}
            differences[form] = max(_difference(form, found[name], trained.outputs[name]) for name in found)
            scores[form] = _score(found, dataset)[1].value
            if abs(scores[form] - trained.score.value) > ACCURACY_TOLERANCE + 1 / len(dataset.test):
                raise ExportError(
                    f"{form} reaches a test {trained.score_name} of {scores[form]:.4f}, "
                    f"the trained network {trained.score.value:.4f}."
                )
    written = [name for name in (ONNX, *FILES[:-1]) if (files / name).exists()] + [FILES[-1]]
    return Exported(
        directory, differences, trained.score_name, scores, trained.score, len(dataset.test), tuple(written)
    )


def _difference(form: str, found: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> float:
    if found.shape != wanted.shape:
        raise ExportError(f"{form} gives outputs of shape {found.shape}, the trained network {wanted.shape}.")
    difference = float(np.abs(found.astype(np.float64) - wanted).max())
    allowed = TOLERANCE * max(1.0, float(np.abs(wanted).max()))
    if not difference <= allowed:  # NaN too
        raise ExportError(f"{form} differs from the trained network by {difference:.3g}; at most {allowed:.3g} may be.")
    return difference


def _in_fresh_process(directory: Path, examples: Path, outputs: Path, names: Sequence[str]) -> None:
    """`names` of the inputs and the outputs, where ONNX is wanted."""
    arguments = [str(examples.resolve()), str(outputs.resolve()), str(torch.get_num_threads()), *names]
    command = [sys.executable, "-B", "-P", str(_SCRIPT), *arguments]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        reason = said[-1] if said else f"the process ended with code {done.returncode}"
        raise ExportError(
            f"The exported model does not run without nasmod: {reason} "
            "(a kind's network class may use only math, torch, nn and F)."
        )
