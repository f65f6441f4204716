"""Finding the factors of a data set: those that a study declares, or what the data themselves offer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from nasmod.data.dataset import Array, Dataset
from nasmod.data.factors import DeclaredFactor, Factor, Factors, Family
from nasmod.data.feature_groups import feature_groups
from nasmod.errors import DataError, unknown

EXAMPLES = 2000  # training examples that correlations are read from


def find_factors(dataset: Dataset, declared: Mapping[str, DeclaredFactor] | None = None) -> Factors:
    """The factors of a data set: those declared, or the first family that has enough of them.

    Raises `DataError` for a declared factor that is no input, column or output of the data.

    >>> from nasmod.data import load_dataset
    >>> found = find_factors(load_dataset({"name": "digit_pairs"}))
    >>> found.family, [factor.name for factor in found.factors], found.leave_the_data
    ('inputs', ['a', 'b'], False)
    """
    if declared:
        return _of_inputs(dataset, "declared", [_declared(dataset, name, given) for name, given in declared.items()])
    if len(dataset.inputs) > 1:
        return _of_inputs(dataset, "inputs", [Factor(name, {name: None}) for name in dataset.inputs])
    if len(dataset.outputs) > 1:
        return Factors("outputs", tuple(Factor(name, _all(dataset), name) for name in dataset.outputs))
    ((name, rows),) = dataset.train.inputs.items()
    groups = feature_groups(_sampled(rows), dataset.inputs[name])
    if len(groups) > 1:
        named = [Factor(f"group_{number}", {name: group}) for number, group in enumerate(groups, 1)]
        return _of_inputs(dataset, "features", named)
    ((output, columns),) = dataset.outputs.items()
    if columns >= (2 if dataset.task == "regression" else 3):
        return Factors("classes", tuple(_column(dataset, output, column) for column in range(columns)))
    return Factors("none", ())


def _column(dataset: Dataset, output: str, column: int) -> Factor:
    names = dataset.class_names.get(output)
    return Factor(f"{output} = {names[column] if names else column}", _all(dataset), output, column)


def _all(dataset: Dataset) -> dict[str, None]:
    return dict.fromkeys(dataset.inputs)


def _declared(dataset: Dataset, name: str, given: DeclaredFactor) -> Factor:
    where = f"Factor '{name}'"
    if given.output is not None:
        if given.output not in dataset.outputs:
            raise DataError(f"{where}: {unknown('output of the data', given.output, dataset.outputs)}")
        return Factor(name, _all(dataset), given.output)
    if given.columns is not None:
        return Factor(name, _columns(dataset, where, given.columns))
    assert given.input is not None  # one of the three is given
    if given.input not in dataset.inputs:
        raise DataError(f"{where}: {unknown('input of the data', given.input, dataset.inputs)}")
    if given.features is None:
        return Factor(name, {given.input: None})
    return Factor(name, {given.input: _slice(where, given.features, math.prod(dataset.inputs[given.input]))})


def _columns(dataset: Dataset, where: str, wanted: Sequence[str]) -> dict[str, tuple[int, ...]]:
    place = {
        column: (name, index) for name, names in dataset.feature_names.items() for index, column in enumerate(names)
    }
    found: dict[str, tuple[int, ...]] = {}
    for column in wanted:
        if column not in place:
            if not place:
                raise DataError(f"{where}: the data have no named columns; name an `input` and its `features` instead.")
            raise DataError(f"{where}: {unknown('column of the data', column, place)}")
        name, index = place[column]
        found[name] = (*found.get(name, ()), index)
    return found


def _slice(where: str, text: str, count: int) -> tuple[int, ...]:
    """The indices of a slice such as ``0:32`` or ``0:64:2`` among so many features."""
    try:
        parts = [int(part) if part.strip() else None for part in text.split(":")]
        chosen = tuple(range(count)[slice(*parts)]) if len(parts) in (2, 3) else ()
    except ValueError:
        chosen = ()
    if not chosen:
        raise DataError(f'{where}: features must be a slice of the {count} features, such as "0:32"; got "{text}".')
    return chosen


def _of_inputs(dataset: Dataset, family: Family, factors: Sequence[Factor]) -> Factors:
    if len(factors) < 2:
        raise DataError(f"Modularity needs at least two factors; got {', '.join(f.name for f in factors)} alone.")
    if len({factor.output is None for factor in factors}) > 1:
        raise DataError("Declared factors are all parts of the inputs, or all outputs; got some of both.")
    if factors[0].output is not None:
        return Factors(family, tuple(factors))
    return Factors(family, tuple(factors), _largest_correlation(dataset, factors))


def _largest_correlation(dataset: Dataset, factors: Sequence[Factor]) -> float:
    """The largest absolute correlation between a feature of one factor and a feature of another."""
    standardised = []
    for factor in factors:
        columns = [
            _sampled(dataset.train.inputs[name])[:, slice(None) if rows is None else list(rows)]
            for name, rows in factor.inputs.items()
        ]
        values = np.concatenate(columns, axis=1)
        values -= values.mean(0)
        deviation = values.std(0)
        standardised.append(values[:, deviation > 0] / deviation[deviation > 0])
    largest = 0.0
    for one, other in combinations(standardised, 2):
        largest = max(largest, float(np.abs(one.T @ other / len(one)).max(initial=0.0)))
    return largest


def _sampled(rows: Array) -> Array:
    """At most `EXAMPLES` evenly spaced examples, flattened (N, features), float64."""
    kept = min(len(rows), EXAMPLES)
    return np.asarray(rows[np.arange(kept) * len(rows) // kept], np.float64).reshape(kept, -1)
