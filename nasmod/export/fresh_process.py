"""The script of the process that proves an export: nasmod cannot be imported here, and the export is its directory.

``fresh_process.py EXAMPLES OUTPUTS THREADS`` writes ``model.pt2``, loads each form from its files and stores what it
answers. EXAMPLES is an npz file with one array per input, in order; OUTPUTS gets ``<form>/<output number>``.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

BATCH = 256
WEIGHTS, PROGRAM = "weights.safetensors", "model.pt2"


class NoNasmod(MetaPathFinder):
    """Refuses the package, however it is installed."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname.partition(".")[0] == "nasmod":
            raise ImportError("an exported model must not need nasmod")


def write_program(model: Any, examples: list[Any]) -> None:
    """Write the exported program of the model; its batch may be of any size."""
    import torch

    batch = torch.export.Dim("batch", min=1)
    two = tuple(torch.cat([values[:1], values[:1]]) for values in examples)  # a batch of one would be taken as fixed
    shapes = tuple({0: batch} for _ in examples)
    # the copied `forward` of a kind is followed as it runs, not as bytecode: strict=True knows less of Python
    program = torch.export.export(model, two, dynamic_shapes=shapes, strict=False)
    torch.export.save(program, PROGRAM)


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


def main(examples_file: str, outputs_file: str, threads: str) -> None:
    sys.meta_path.insert(0, NoNasmod())
    sys.path.insert(0, str(Path.cwd()))
    import numpy as np
    import torch
    from model import load  # type: ignore[import-not-found]  # the export's own file

    torch.set_num_threads(int(threads))
    with np.load(examples_file) as stored:
        examples = [torch.from_numpy(stored[f"arr_{index}"]) for index in range(len(stored.files))]
    model = load(WEIGHTS)
    outputs = {f"model.py/{index}": array for index, array in enumerate(answers(model, examples))}
    write_program(model, examples)
    program = torch.export.load(PROGRAM).module()
    outputs |= {f"{PROGRAM}/{index}": array for index, array in enumerate(answers(program, examples))}
    np.savez(outputs_file, **outputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
