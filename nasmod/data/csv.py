"""A table in a CSV file: one target column, all others are features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from nasmod.data.assemble import assemble
from nasmod.data.dataset import Array, DataPath, Dataset, DataSettings, Split, Task
from nasmod.errors import DataError, unknown

if TYPE_CHECKING:
    import pandas

MAX_CATEGORIES = 100  # of one column: a text with more values is a name or a number of a row, not a category
MAX_COUNTED_CLASSES = 20  # whole numbers with at most so many different values are taken for classes
FEW_TEXTS = 0.05  # a smaller share of texts among more numbers than could be counted classes: a column with mistakes


class CsvSettings(DataSettings):
    """Where the table lies, and what is to be told from it."""

    name: str = "csv"
    path: DataPath = Field(description="a CSV file with a header line")
    target: str = Field(description="the column to predict")
    task: Literal["auto", "classification", "regression"] = Field(
        "auto", description="auto: text, yes/no and few whole numbers are classes, other numbers a regression"
    )
    ignore: tuple[str, ...] = Field((), description="columns that are left out")
    separator: str = Field(",", min_length=1, max_length=1)
    test_path: DataPath | None = Field(None, description="a second table, kept as the test set")


def load(settings: CsvSettings) -> Dataset:
    """A CSV table: numeric and categorical columns, classification or regression of one target column."""
    import pandas

    tables = [_read(settings.path, settings)]
    if settings.test_path is not None:
        tables.append(_read(settings.test_path, settings))
        if list(tables[0].columns) != list(tables[1].columns):
            raise DataError(f"'{settings.path}' and '{settings.test_path}' must have the same columns.")
    table = pandas.concat(tables, ignore_index=True)
    _check_complete(table, settings)
    for label in table.columns:
        table[label] = _as_numbers(table[label], settings)
    task, targets, class_names = _target(table[settings.target], settings)
    features, feature_names = _features(table.drop(columns=settings.target), settings)
    count = len(tables[0])
    pool = Split({"x": features[:count]}, {"y": targets[:count]})
    test = None if settings.test_path is None else Split({"x": features[count:]}, {"y": targets[count:]})
    return assemble(
        settings,
        task,
        pool,
        test=test,
        classes={"y": len(class_names)} if class_names else None,
        class_names={"y": class_names} if class_names else None,
        feature_names={"x": feature_names},
    )


def read_table(path: str | Path, separator: str) -> pandas.DataFrame:
    """The table in a file; `DataError` when it is none."""
    import pandas

    if not Path(path).is_file():
        raise DataError(f"There is no file '{path}'.")
    try:
        # read in pieces, a long column could be numbers in its first piece and texts in the next
        return pandas.read_csv(path, sep=separator, skipinitialspace=True, low_memory=False)
    except (ValueError, OSError) as error:  # pandas' own errors are ValueErrors
        raise DataError(f"File '{path}' is no CSV table: {str(error).splitlines()[0]}") from error


def _read(path: str, settings: CsvSettings) -> pandas.DataFrame:
    table = read_table(path, settings.separator)
    if not settings.target:
        named = [str(column) for column in table.columns if not str(column).startswith("Unnamed: ")]
        raise DataError(
            f"File '{path}': the target must be a name in the header, not an empty one; does the header end in "
            f"'{settings.separator}'? Known: {', '.join(named)}."
        )
    for column in (settings.target, *settings.ignore):
        if column not in table.columns:
            raise DataError(f"File '{path}': {unknown('column', column, map(str, table.columns))}")
    return table.drop(columns=list(settings.ignore))


def _check_complete(table: pandas.DataFrame, settings: CsvSettings) -> None:
    for column in table.columns:
        missing = np.flatnonzero(table[column].isna())
        if len(missing):
            raise DataError(
                f"File '{settings.path}': column '{column}' has no value in {len(missing)} rows (first in row "
                f"{missing[0] + 1}). Fill or remove them, or add the column to ignore."
            )


def _as_numbers(column: pandas.Series, settings: CsvSettings) -> pandas.Series:
    """The column as numbers, if it holds nothing else: pandas reads whole ones beyond 64 bits as texts.

    Raises `DataError` for a few texts among many different numbers, which are mistakes and no categories.
    """
    import pandas
    from pandas.api.types import is_numeric_dtype

    if is_numeric_dtype(column):
        return column
    numbers = pandas.to_numeric(column, errors="coerce")
    texts = np.flatnonzero(numbers.isna())
    if len(texts) == 0:
        return numbers
    if len(texts) < FEW_TEXTS * len(column) and numbers.nunique() > MAX_COUNTED_CLASSES:
        raise DataError(
            f"File '{settings.path}': column '{column.name}' holds numbers, but texts in {len(texts)} rows (first "
            f"{column.iloc[texts[0]]!r:.60} in row {texts[0] + 1}). Correct or remove them, or add the column to "
            "ignore; if its numbers are names of categories, write them as texts too, such as 'n12'."
        )
    return column


def _is_number(column: pandas.Series) -> bool:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return is_numeric_dtype(column) and not is_bool_dtype(column)


def _target(column: pandas.Series, settings: CsvSettings) -> tuple[Task, Array, tuple[str, ...]]:
    numeric = _is_number(column)
    task: Task
    if settings.task == "auto":
        few = column.dtype.kind in "iu" and column.nunique() <= MAX_COUNTED_CLASSES
        task = "classification" if not numeric or few else "regression"
    else:
        task = settings.task
    if task == "regression":
        if not numeric:
            raise DataError(f"File '{settings.path}': a regression needs numbers in the column '{settings.target}'.")
        return task, column.to_numpy(np.float64), ()
    values, codes = np.unique(column.to_numpy(), return_inverse=True)
    if len(values) > len(column) // 2:
        raise DataError(
            f"File '{settings.path}': column '{settings.target}' has {len(values)} different values in {len(column)} "
            'rows, too many for classes. Set task = "regression" for real values.'
        )
    return task, codes.astype(np.int64), tuple(str(value) for value in values)


def _features(table: pandas.DataFrame, settings: CsvSettings) -> tuple[Array, tuple[str, ...]]:
    columns: list[Array] = []
    names: list[str] = []
    for label in table.columns:
        column = table[label]
        if _is_number(column):
            with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, and is told as that
                columns.append(column.to_numpy(np.float32))
            names.append(str(label))
            continue
        categories = sorted(set(column.astype(str)))
        if len(categories) > MAX_CATEGORIES:
            raise DataError(
                f"File '{settings.path}': column '{label}' has {len(categories)} different texts, too many for a "
                f"category (at most {MAX_CATEGORIES}). Add it to ignore."
            )
        for category in categories:
            columns.append((column.astype(str) == category).to_numpy(np.float32))
            names.append(f"{label}={category}")
    if not columns:
        raise DataError(f"File '{settings.path}' has no column besides '{settings.target}' to learn from.")
    return np.stack(columns, axis=1), tuple(names)
