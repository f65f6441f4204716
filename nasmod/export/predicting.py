"""What an exported model says of new examples. No Python out of its directory is executed, and nothing unpickled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError
from scipy.special import softmax

from nasmod.data.arrays import laid_out
from nasmod.data.dataset import Array
from nasmod.data.folder import PICTURES, read_picture
from nasmod.data.idx import read_idx
from nasmod.data.npz import read_arrays
from nasmod.data.table import TableSettings, read_table
from nasmod.errors import DataError, ExportError, TopologyError, unknown
from nasmod.export.interface import Input, Interface, Output
from nasmod.topology import Topology

if TYPE_CHECKING:
    import pandas

    from nasmod.networks import Network

BATCH = 256
INTERFACE = "interface.json"


def predict(directory: Path | str, file: Path | str, *, separator: str | None = None) -> pandas.DataFrame:
    """A row for each example of a CSV table, an ``.npz`` file, a folder of ``.npy`` files or an idx file of images.

    Of a classification the likeliest class of each output and its probability, of a regression the values in the
    data's own units. A table is read as the one that the model was trained on; its `separator` is recognised where it
    is not given. Raises `ExportError` for a directory that holds no export, `DataError` for examples that do not fit.
    """
    import pandas

    directory, file = Path(directory), Path(file)
    found = _interface(directory)
    network = _network(directory, found)
    answers = _answers(network, _examples(file, found, separator))
    said = _regression if found.task == "regression" else _classification
    columns: dict[str, Any] = {}
    for output in found.outputs:
        columns |= said(output, answers[output.name])
    return pandas.DataFrame(columns)


def _interface(directory: Path) -> Interface:
    path = directory / INTERFACE
    try:
        return Interface.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ExportError(f"'{directory}' holds no export with the file {INTERFACE}; export it again.") from error
    except ValidationError as error:
        raise ExportError(f"'{path}' is damaged; export it again.") from error


def _network(directory: Path, found: Interface) -> Network:
    """Built anew from the topology; what torch has exported could hold a pickle."""
    from nasmod.networks import build, plan
    from nasmod.training import load_weights

    try:
        topology = Topology.from_json((directory / "topology.json").read_text(encoding="utf-8"))
        weights = (directory / "weights.safetensors").read_bytes()
        inputs = {one.name: one.shape for one in found.inputs}
        network = build(plan(topology, inputs, {one.name: (one.size,) for one in found.outputs}))
        load_weights(network, weights)
    except (OSError, ValueError, TopologyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ExportError(f"The export in '{directory}' cannot be loaded ({reason}); export it again.") from error
    return network.eval()


def _examples(file: Path, found: Interface, separator: str | None) -> dict[str, Array]:
    if file.suffix in (".csv", ".tsv", ".txt"):
        how = (found.table or TableSettings()).model_copy(update={"separator": separator})
        return {one.name: _of_table(file, one, how) for one in found.inputs}
    if file.is_dir() and (pictures := sorted(one for one in file.iterdir() if one.suffix.lower() in PICTURES)):
        return {one.name: _of_pictures(pictures, one) for one in found.inputs}
    if file.is_dir() or file.suffix in (".npz", ".npy"):
        arrays = read_arrays(file)
    elif "ubyte" in file.name:
        if not file.is_file():
            raise DataError(f"There is no file '{file}'.")
        arrays = {found.inputs[0].name: read_idx(file)}
    elif file.suffix.lower() in PICTURES:
        return {one.name: _of_pictures([file], one) for one in found.inputs}
    else:
        raise DataError(
            f"'{file}' must be a .csv table, an .npz file, a folder of .npy files or of pictures, a picture, or an idx "
            "file of images."
        )
    return _of_arrays(arrays, found.inputs, file)


def _of_arrays(arrays: Mapping[str, Array], inputs: tuple[Input, ...], file: Path) -> dict[str, Array]:
    found = {}
    for one in inputs:
        if one.name not in arrays:
            raise DataError(f"'{file}': {unknown('input', one.name, arrays)} The model reads it.")
        array = arrays[one.name]
        wanted = next((laid for laid in (array, laid_out(array, "auto")) if laid.shape[1:] == one.shape), None)
        if wanted is None or wanted.dtype.kind not in "biuf":
            shape = ", ".join(map(str, one.shape))
            raise DataError(
                f"'{file}': the input '{one.name}' must hold numbers of the shape (N, {shape}), not {array.dtype} of "
                f"{array.shape}."
            )
        found[one.name] = wanted
    if len(lengths := {len(array) for array in found.values()}) > 1:
        raise DataError(f"'{file}': the inputs must have equally many examples, not {sorted(lengths)}.")
    return found


def _of_pictures(files: Sequence[Path], one: Input) -> Array:
    """Pictures as the input of a model, in the order of their names."""
    if len(one.shape) != 3 or one.shape[0] not in (1, 3):
        raise DataError(
            f"The input '{one.name}' of this model is no picture; give an .npz file with an array of that name."
        )
    made = [read_picture(file, "grey" if one.shape[0] == 1 else "rgb") for file in files]
    for file, picture in zip(files, made, strict=True):
        if picture.shape != one.shape:
            sizes = [f"{height} by {width}" for _, height, width in (picture.shape, one.shape)]
            raise DataError(f"'{file}' has {sizes[0]} pixels, the model reads {sizes[1]}: resize it.")
    return np.stack(made)


def _of_table(file: Path, one: Input, how: TableSettings) -> Array:
    import pandas

    if one.features is None:
        raise DataError(
            f"The input '{one.name}' of this model is no table; give an .npz file with an array of that name."
        )
    table = read_table(file, how)
    columns = []
    known: dict[str, list[str]] = {}  # of each column of categories
    for feature in one.features:
        column, category = _column(feature, table, file)
        if category is None:
            values = pandas.to_numeric(table[column], errors="coerce")
            if len(wrong := np.flatnonzero(values.isna())):
                raise DataError(f"'{file}': column '{column}' must hold numbers; row {wrong[0] + 1} does not.")
            columns.append(values.to_numpy(np.float32))
        else:
            known.setdefault(column, []).append(category)
            columns.append((table[column].astype(str) == category).to_numpy(np.float32))
    for column, categories in known.items():
        strange = table[column][~table[column].astype(str).isin(categories)]
        if len(strange):
            raise DataError(
                f"'{file}': column '{column}' holds {str(strange.iloc[0])!r:.60} in row {strange.index[0] + 1}, which "
                f"the training data did not have. Known: {', '.join(categories)}."
            )
    return np.stack(columns, axis=1)


def _column(feature: str, table: pandas.DataFrame, file: Path) -> tuple[str, str | None]:
    """The column of a feature, and the category that it stands for, if it stands for one."""
    if feature in table.columns:
        return feature, None
    parts = feature.split("=")
    for place in range(1, len(parts)):
        column = "=".join(parts[:place])
        if column in table.columns:
            return column, "=".join(parts[place:])
    meant = f"'{feature}'" if len(parts) == 1 else f"'{parts[0]}' or '{feature}'"
    raise DataError(
        f"'{file}' has no column {meant}, which the model reads. Known: {', '.join(map(str, table.columns))}."
    )


def _answers(network: Network, inputs: Mapping[str, Array]) -> dict[str, Array]:
    import torch

    count = len(next(iter(inputs.values())))
    if not count:
        raise DataError("There are no examples to predict.")
    parts = []
    with torch.no_grad():
        for start in range(0, count, BATCH):
            batch = {name: np.asarray(array[start : start + BATCH], np.float32) for name, array in inputs.items()}
            parts.append(network({name: torch.from_numpy(array) for name, array in batch.items()}))
    return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}


def _classification(output: Output, logits: Array) -> dict[str, Any]:
    likely = logits.argmax(axis=1)
    names = likely if output.classes is None else np.array(output.classes)[likely]
    return {output.name: names, f"{output.name}_probability": softmax(logits, axis=1).max(axis=1)}


def _regression(output: Output, values: Array) -> dict[str, Any]:
    if output.mean is not None and output.std is not None:
        values = values * np.array(output.std) + np.array(output.mean)
    if output.size == 1:
        return {output.name: values[:, 0]}
    return {f"{output.name}_{number}": values[:, number] for number in range(output.size)}
