"""The front: the useful candidates that no other beats in every direction. It knows rows of numbers, nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nasmod.measures.objective import Direction, Objective

Row = Mapping[str, float]

USEFUL_SHARE_OF_BEST_SKILL = 0.5
STRONGEST = 32


def front_of(
    rows: Sequence[Row], objective: Objective, *, reference_skill: float | None = None, without: int = 0
) -> list[int]:
    """Indices of the front among the measures of *finished* candidates: feasible, useful, beaten by no other.

    `reference_skill` replaces the best skill of the rows as what usefulness is judged against. `without`: also what
    would be on the front if some rows, at most so many, were taken away.
    """
    feasible = [index for index, row in enumerate(rows) if objective.feasible(row, finished=True)]
    chosen = [feasible[index] for index in useful([rows[index] for index in feasible], reference_skill, without)]
    return [chosen[index] for index in pareto_front([rows[index] for index in chosen], objective.directions, without)]


def useful(rows: Sequence[Row], reference_skill: float | None = None, without: int = 0) -> list[int]:
    """Indices of rows whose skill is above 0 and at least half of the best (or of `reference_skill`).

    Without it the cheapest useless network is always on the front. The best `without` rows are not judged against.

    >>> useful([{"skill": 0.9}, {"skill": 0.45}, {"skill": 0.44}])
    [0, 1]
    >>> useful([{"skill": 0.9}, {"skill": 0.45}, {"skill": 0.44}], without=1)
    [0, 1, 2]
    """
    skills = _matrix(rows, {"skill": "maximize"})[:, 0]
    best = np.sort(skills)[: max(0, len(skills) - without)].max(initial=0.0)
    best = best if reference_skill is None else reference_skill
    return np.flatnonzero((skills > 0) & (skills >= USEFUL_SHARE_OF_BEST_SKILL * best)).tolist()


def pareto_front(rows: Sequence[Row], directions: Mapping[str, Direction], without: int = 0) -> list[int]:
    """Indices of the rows that no other row dominates, ascending; equal rows are all on it.

    A row dominates another when it is nowhere worse and somewhere better. A missing or NaN measure is the worst there
    can be. `without`: the rows that at most so many others dominate (k-skyband, Papadias et al. 2005). Time grows with
    the number of rows times the number found.

    >>> pareto_front([{"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 0, "b": 0}], {"a": "maximize", "b": "minimize"})
    [1, 2]
    >>> pareto_front([{"a": 1}, {"a": 3}, {"a": 2}], {"a": "maximize"}, without=1)
    [1, 2]
    """
    values = _matrix(rows, directions)
    left = np.flatnonzero(_beaten_by_the_strongest(values) <= without)
    order = left[np.lexsort(-values[left].T[::-1])]  # what dominates a row stands before it
    front = np.empty_like(values)
    indices: list[int] = []
    for index in order:
        found = front[: len(indices)]
        better_or_equal = (found >= values[index]).all(axis=1)
        if (better_or_equal & (found > values[index]).any(axis=1)).sum() <= without:
            front[len(indices)] = values[index]
            indices.append(int(index))
    return sorted(indices)


def _beaten_by_the_strongest(values: NDArray[np.float64]) -> NDArray[np.int_]:
    """How many of the few rows that are best in sum dominate each: of thousands of rows nearly all fall so."""
    span = np.where(np.isneginf(values), np.nan, values)
    if len(values) <= STRONGEST or np.isnan(span).all(axis=0).any():
        return np.zeros(len(values), dtype=int)
    low, high = np.nanmin(span, axis=0), np.nanmax(span, axis=0)
    with np.errstate(invalid="ignore"):  # infinite values: any rows serve, as long as they are few
        sums = np.nan_to_num((span - low) / np.where(high > low, high - low, 1.0)).sum(axis=1)
    beaten = np.zeros(len(values), dtype=int)
    for row in values[np.argsort(-sums, kind="stable")[:STRONGEST]]:
        beaten += (row >= values).all(axis=1) & (row > values).any(axis=1)
    return beaten


def nondominated_ranks(
    rows: Sequence[Row], directions: Mapping[str, Direction], standard_errors: Sequence[Row] | None = None
) -> list[int]:
    """Rank of each row: 0 on the front, 1 on the front of the rest, and so on (Deb et al. 2002).

    With `standard_errors`, two values count as equal when they differ by at most one standard error of their
    difference. Domination is then no longer transitive; rows that dominate each other in a ring share a rank.

    >>> nondominated_ranks([{"a": 1.0}, {"a": 2.0}, {"a": 3.0}], {"a": "maximize"})
    [2, 1, 0]
    >>> error = {"a": 0.8}
    >>> nondominated_ranks([{"a": 1.0}, {"a": 2.0}, {"a": 3.0}], {"a": "maximize"}, [error] * 3)
    [1, 0, 0]
    """
    errors = None if standard_errors is None else _errors(rows, directions, standard_errors)
    found: list[int] = ranks_of(_matrix(rows, directions), errors).tolist()
    return found


def ranks_of(values: NDArray[np.float64], errors: NDArray[np.float64] | None = None) -> NDArray[np.int_]:
    """The same of a table (rows, directions) in which larger is better, with standard errors in another.

    >>> ranks_of(np.array([[1.0, 3.0], [3.0, 1.0], [1.0, 1.0]])).tolist()
    [0, 0, 1]
    """
    dominated_by = _dominated_by(values, np.zeros_like(values) if errors is None else errors)
    if errors is not None:  # without errors domination is transitive: there are no rings
        from scipy.sparse.csgraph import connected_components  # half a second, which every worker would pay

        _, ring = connected_components(dominated_by, connection="strong")
        dominated_by &= ring[:, None] != ring[None, :]
    ranks = np.full(len(values), -1)
    rank = 0
    while (left := ranks < 0).any():
        ranks[left & ~dominated_by[:, left].any(axis=1)] = rank
        rank += 1
    return ranks


def crowding(rows: Sequence[Row], directions: Mapping[str, Direction]) -> list[float]:
    """Crowding distance of each row among these (Deb et al. 2002): larger is lonelier, infinite at the extremes.

    Give it the rows of one rank.

    >>> crowding([{"a": 0.0}, {"a": 1.0}, {"a": 4.0}], {"a": "maximize"})
    [inf, 1.0, inf]
    """
    values = _matrix(rows, directions)
    distances = np.zeros(len(rows))
    for column in values.T:
        distances[np.isposinf(column)] = np.inf  # no finite value comes near
        known = np.flatnonzero(np.isfinite(column))
        if known.size == 0:
            continue
        order = known[np.argsort(column[known], kind="stable")]
        span = column[order[-1]] - column[order[0]]
        distances[order[[0, -1]]] = np.inf
        if span > 0:
            distances[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return distances.tolist()


def _matrix(rows: Sequence[Row], directions: Mapping[str, Direction]) -> NDArray[np.float64]:
    """(rows, directions), larger is better, -inf where a measure is missing or NaN."""
    values = np.array([[row.get(name, np.nan) for name in directions] for row in rows], dtype=np.float64)
    values = values.reshape(len(rows), len(directions))
    values *= [1.0 if direction == "maximize" else -1.0 for direction in directions.values()]
    return np.where(np.isnan(values), -np.inf, values)


def _errors(
    rows: Sequence[Row], directions: Mapping[str, Direction], standard_errors: Sequence[Row]
) -> NDArray[np.float64]:
    errors = np.array([[row.get(name, 0.0) for name in directions] for row in standard_errors], dtype=np.float64)
    return np.nan_to_num(errors.reshape(len(rows), len(directions)), posinf=0.0, neginf=0.0)


def _dominated_by(values: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(rows, rows): whether row i is dominated by row j, values within one standard error being equal."""
    worse_somewhere = np.zeros((len(values), len(values)), dtype=bool)
    better_somewhere = np.zeros_like(worse_somewhere)
    for column, error in zip(values.T, errors.T, strict=True):
        margin = np.hypot(error[:, None], error[None, :])
        worse_somewhere |= column[:, None] < column[None, :] - margin
        better_somewhere |= column[:, None] > column[None, :] + margin
    return worse_somewhere & ~better_somewhere
