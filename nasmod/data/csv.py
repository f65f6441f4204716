"""A table in a CSV file: one target column, all others are features."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from nasmod.data.assemble import assemble
from nasmod.data.dataset import Array, DataPath, Dataset, DataSettings, Split, Task
from nasmod.data.reading import Part, Reading, of_classes, of_values
from nasmod.data.table import LEADING_ZERO, TableSettings, raw_texts, read_table, running, separator_of
from nasmod.errors import DataError, unknown

if TYPE_CHECKING:
    import pandas

MAX_CATEGORIES = 100  # of one column: a text with more values is a name or a number of a row, not a category
MAX_COUNTED_CLASSES = 20  # whole numbers with at most so many different values are taken for classes
INDEX_NAMES = {"id", "idx", "index", "no", "nr", "number", "row", "row_id", "rowid", "#"}
FEW_TEXTS = 0.05  # a smaller share of texts among more numbers than could be counted classes: a column with mistakes


class CsvSettings(DataSettings, TableSettings):
    """Where the table lies, how it is written, and what is to be told from it."""

    name: str = "csv"
    path: DataPath = Field(description="a CSV file")
    target: str = Field(description="the column to predict")
    task: Literal["auto", "classification", "regression"] = Field(
        "auto", description="auto: text, yes/no and few whole numbers are classes, other numbers a regression"
    )
    ignore: tuple[str, ...] = Field((), description="columns that are left out")
    test_path: DataPath | None = Field(None, description="a second table, kept as the test set")

    @property
    def written(self) -> TableSettings:
        """How the file is written, apart from what is in it."""
        return TableSettings(**{name: getattr(self, name) for name in TableSettings.model_fields})


@dataclass(frozen=True)
class _Features:
    """Features (N, F) with their names, and what each column is used as."""

    values: Array
    names: tuple[str, ...]
    parts: tuple[Part, ...]


def load(settings: CsvSettings) -> Dataset:
    """A CSV table: numeric and categorical columns, classification or regression of one target column."""
    import pandas

    tables = [_read(settings.path, settings)]
    if settings.test_path is not None:
        tables.append(_read(settings.test_path, settings))
        if list(tables[0].columns) != list(tables[1].columns):
            raise DataError(f"'{settings.path}' and '{settings.test_path}' must have the same columns.")
    table = pandas.concat(tables, ignore_index=True)
    numbering = _numbering(tables[0], settings)
    table = table.drop(columns=[part.name for part in numbering])
    _check_complete(table, settings)
    for label in table.columns:
        table[label] = _as_numbers(table[label], settings)
    task, targets, class_names, why = _target(table[settings.target], settings)
    features = _features(table.drop(columns=settings.target), settings)
    count = len(tables[0])
    pool = Split({"x": features.values[:count]}, {"y": targets[:count]})
    test = None if settings.test_path is None else Split({"x": features.values[count:]}, {"y": targets[count:]})
    told = of_values(settings.target, targets, why) if task == "regression" else None
    said, warnings = told or of_classes(settings.target, targets, class_names, why)
    ignored = [Part(name, "not looked at", "left out", "as ignore says") for name in settings.ignore]
    reading = Reading(
        len(table),
        _source(settings),
        (*features.parts, *numbering, *ignored),
        (said,),
        (*warnings, *_leaks(table, targets, task, settings)),
    )
    return assemble(
        settings,
        task,
        pool,
        test=test,
        classes={"y": len(class_names)} if class_names else None,
        class_names={"y": class_names} if class_names else None,
        feature_names={"x": features.names},
        reading=reading,
        written=settings.written,
    )


def _source(settings: CsvSettings) -> str:
    separator = separator_of(settings.path, settings.written)
    named = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}.get(separator, repr(separator))
    how = [f"columns between {named}", *(["decimal commas"] if settings.decimal == "," else [])]
    return f"'{Path(settings.path).name}' ({', '.join(how)})"


def _read(path: str, settings: CsvSettings) -> pandas.DataFrame:
    table = read_table(path, settings.written)
    if not settings.target:
        named = [str(column) for column in table.columns if not str(column).startswith("Unnamed: ")]
        raise DataError(
            f"File '{path}': the target must be a name in the header, not an empty one; does the header end in "
            f"'{separator_of(path, settings.written)}'? Known: {', '.join(named)}."
        )
    for column in (settings.target, *settings.ignore):
        if column not in table.columns:
            raise DataError(f"File '{path}': {unknown('column', column, map(str, table.columns))}")
    return table.drop(columns=list(settings.ignore))


def _numbering(table: pandas.DataFrame, settings: CsvSettings) -> list[Part]:
    """Columns that only count the rows, as a table written with its index has them: they tell nothing of an example."""
    found = []
    for label in table.columns:
        name = str(label)
        is_index = name.startswith("Unnamed: ") or name.lower() in INDEX_NAMES
        if is_index and name != settings.target and running(table[label].to_numpy()):
            found.append(Part(name, "whole numbers in a row", "left out", "it counts the rows"))
    return found


def _check_complete(table: pandas.DataFrame, settings: CsvSettings) -> None:
    for column in table.columns:
        missing = np.flatnonzero(table[column].isna())
        if not len(missing):
            continue
        hint = ""
        if missing[0] < len(texts := raw_texts(settings.path, [str(column)], settings.written)):
            text = str(texts.iloc[int(missing[0]), 0])
            kept = ", ".join(f'"{one}"' for one in ("", "NA", "None") if one != text)
            hint = f'; where "{text}" is a value, set missing = [{kept}]' if text.strip() else ""
        raise DataError(
            f"File '{settings.path}': column '{column}' has no value in {len(missing)} rows (first in row "
            f"{missing[0] + 1}). Fill or remove them, or add the column to ignore{hint}."
        )


def _leaks(table: pandas.DataFrame, targets: Array, task: Task, settings: CsvSettings) -> list[str]:
    """Columns that say the target by another name."""
    import pandas

    found = []
    for label in table.columns:
        if label == settings.target:
            continue
        codes = pandas.factorize(table[label])[0]
        if task == "regression":
            same = _is_number(table[label]) and abs(_correlation(table[label].to_numpy(np.float64), targets)) > 0.9999
        else:
            of_each = pandas.Series(targets).groupby(codes).nunique()
            same = len(of_each) <= max(20, len(np.unique(targets))) and bool((of_each == 1).all()) and len(of_each) > 1
        if running(table[label].to_numpy()):
            found.append(f"the column '{label}' counts the rows: what it tells is the order of the table")
        elif same:
            found.append(
                f"the column '{label}' alone tells '{settings.target}': is it known before what is to be told?"
            )
    return found


def _correlation(one: Array, other: Array) -> float:
    if one.std() == 0 or other.std() == 0:
        return 0.0
    return float(np.corrcoef(one, other.reshape(len(other)))[0, 1])


def _as_numbers(column: pandas.Series, settings: CsvSettings) -> pandas.Series:
    """The column as numbers, if it holds nothing else: pandas reads whole ones beyond 64 bits as texts.

    Raises `DataError` for a few texts among many different numbers, which are mistakes and no categories.
    """
    import pandas
    from pandas.api.types import is_numeric_dtype

    if is_numeric_dtype(column) or column.astype(str).str.fullmatch(LEADING_ZERO).any():
        return column  # what begins with a zero is a code
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


def _target(column: pandas.Series, settings: CsvSettings) -> tuple[Task, Array, tuple[str, ...], str]:
    numeric = _is_number(column)
    task: Task
    if settings.task == "auto":
        few = column.dtype.kind in "iu" and column.nunique() <= MAX_COUNTED_CLASSES
        task = "classification" if not numeric or few else "regression"
        why = "it holds texts" if not numeric else "few whole numbers" if few else "it holds numbers"
    else:
        task, why = settings.task, "as task says"
    if task == "regression":
        if not numeric:
            raise DataError(f"File '{settings.path}': a regression needs numbers in the column '{settings.target}'.")
        return task, column.to_numpy(np.float64), (), why
    values, codes = np.unique(column.to_numpy(), return_inverse=True)
    if len(values) > len(column) // 2:
        raise DataError(
            f"File '{settings.path}': column '{settings.target}' has {len(values)} different values in {len(column)} "
            'rows, too many for classes. Set task = "regression" for real values.'
        )
    return task, codes.astype(np.int64), tuple(str(value) for value in values), why


def _features(table: pandas.DataFrame, settings: CsvSettings) -> _Features:
    columns: list[Array] = []
    names: list[str] = []
    parts: list[Part] = []
    for label in table.columns:
        column, name = table[label], str(label)
        if _is_number(column):
            with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, and is told as that
                columns.append(column.to_numpy(np.float32))
            names.append(name)
            whole = "whole numbers" if column.dtype.kind in "iu" else "numbers"
            parts.append(Part(name, f"{whole} from {column.min():g} to {column.max():g}", "a number"))
            continue
        texts = column.astype(str)
        categories = sorted(set(texts))
        if len(categories) > MAX_CATEGORIES:
            if len(categories) == len(column):
                parts.append(Part(name, "texts", "left out", "another in every row: a name, no category"))
                continue
            raise DataError(
                f"File '{settings.path}': column '{label}' has {len(categories)} different texts, too many for a "
                f"category (at most {MAX_CATEGORIES}). Add it to ignore."
            )
        for category in categories:
            columns.append((texts == category).to_numpy(np.float32))
            names.append(f"{label}={category}")
        parts.append(Part(name, f"{len(categories)} different texts", "a category"))
    if not columns:
        raise DataError(f"File '{settings.path}' has no column besides '{settings.target}' to learn from.")
    return _Features(np.stack(columns, axis=1), tuple(names), tuple(parts))
