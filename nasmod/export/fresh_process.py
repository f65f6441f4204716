"""The script of the process that proves an export: nasmod cannot be imported here, and the export is its directory.

``fresh_process.py EXAMPLES ANSWERS THREADS [NAME...]`` writes ``model.pt2`` out of ``model.py`` (where there is none it
is there already), and where names of the inputs and outputs are given ``model.onnx``, loads each form from its files
and stores what it answers. EXAMPLES is an npz file with one array per input, in order; ANSWERS gets
``<form>/<output number>``. ``model.py`` reads the values in their own types, the others read float32.
"""

from __future__ import annotations

import inspect
import itertools
import logging
import sys
import warnings
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

BATCH = 256
WEIGHTS, SOURCE, PROGRAM, ONNX = "weights.safetensors", "model.py", "model.pt2", "model.onnx"
OPSET = 18  # of ONNX: what torch's exporter writes without converting


class NoNasmod(MetaPathFinder):
    """Refuses the package, however it is installed."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname.partition(".")[0] == "nasmod":
            raise ImportError("an exported model must not need nasmod")


def exported_program(model: Any, examples: list[Any]) -> Any:
    """The exported program of the model; its batch may be of any size."""
    import torch

    batch = torch.export.Dim("batch", min=1)
    two = tuple(torch.cat([values[:1], values[:1]]) for values in examples)  # a batch of one would be taken as fixed
    each = tuple({0: batch} for _ in examples)
    takes_any = any(one.kind is one.VAR_POSITIONAL for one in inspect.signature(model.forward).parameters.values())
    shapes = (each,) if takes_any else each
    # the copied `forward` of a kind is followed as it runs, not as bytecode: strict=True knows less of Python
    return torch.export.export(model, two, dynamic_shapes=shapes, strict=False)


def write_onnx(program: Any, names: list[str], outputs: list[str]) -> None:
    """Write the program as ONNX, its inputs and outputs under these names."""
    import torch

    logging.disable(logging.WARNING)  # of packages that the exporter would know too
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        made = torch.onnx.export(
            program, input_names=names, output_names=outputs, opset_version=OPSET, dynamo=True, verbose=False
        )
    assert made is not None
    made.save(ONNX)


def in_onnxruntime() -> Callable[..., Any]:
    """The ONNX file as a function of tensors, run by onnxruntime."""
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(ONNX, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def call(*values: Any) -> tuple[Any, ...]:
        given = {name: tensor.numpy() for name, tensor in zip(names, values, strict=True)}
        return tuple(torch.from_numpy(array) for array in session.run(None, given))

    return call


def answers(model: Callable[..., Any], examples: list[Any]) -> list[Any]:
    """Per output, an array (N, size): the first example alone, then all others in batches."""
    import torch

    count = len(examples[0])
    edges = [0, *range(1, count, BATCH), count]
    parts = []
    with torch.no_grad():
        for start, stop in itertools.pairwise(edges):
            found = model(*(values[start:stop] for values in examples))
            parts.append(found if isinstance(found, tuple) else (found,))
    return [torch.cat(tensors).numpy() for tensors in zip(*parts, strict=True)]


def main(examples_file: str, answers_file: str, threads: str, *names: str) -> None:
    sys.meta_path.insert(0, NoNasmod())
    sys.path.insert(0, str(Path.cwd()))
    import numpy as np
    import torch

    torch.set_num_threads(int(threads))
    with np.load(examples_file) as stored:
        examples = [torch.from_numpy(stored[f"arr_{index}"]) for index in range(len(stored.files))]
    found = {}
    floats = [values.float() for values in examples]
    if Path(SOURCE).exists():
        from model import load  # type: ignore[import-not-found]  # the export's own file

        model = load(WEIGHTS)
        found[SOURCE] = answers(model, examples)
        torch.export.save(exported_program(model, floats), PROGRAM)
    program = torch.export.load(PROGRAM)
    found[PROGRAM] = answers(program.module(), floats)
    if names:
        write_onnx(program, list(names[: len(floats)]), list(names[len(floats) :]))
        found[ONNX] = answers(in_onnxruntime(), floats)
    np.savez(answers_file, **{f"{form}/{index}": array for form in found for index, array in enumerate(found[form])})


if __name__ == "__main__":
    main(*sys.argv[1:])
