"""A CSV file as a table: its separator, encoding and header recognised, and refused by name where two readings fit."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from nasmod.errors import DataError

if TYPE_CHECKING:
    import pandas

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
LOOKED_AT = 50  # lines from which a separator is recognised
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
GROUPED = {
    ",": re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?"),
    ".": re.compile(r"[+-]?\d{1,3}(\.\d{3}){2,}(,\d+)?|[+-]?\d{1,3}(\.\d{3})+,\d+"),
    " ": re.compile(r"[+-]?\d{1,3}([ \u00a0\u202f]\d{3})+([.,]\d+)?"),
    "'": re.compile(r"[+-]?\d{1,3}('\d{3})+(\.\d+)?"),
}
LEADING_ZERO = re.compile(r"[+-]?0\d+")


class TableSettings(BaseModel):
    """How a CSV file is written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    separator: str | None = Field(
        None, min_length=1, max_length=1, description="between columns; recognised where not given: , ; tab or |"
    )
    decimal: str = Field(".", min_length=1, max_length=1, description="before the fraction of a number")
    thousands: str | None = Field(
        None, min_length=1, max_length=1, description="between groups of three digits; none where not given"
    )
    encoding: str = Field("utf-8", description="of the file's text, such as latin-1")
    header: bool = Field(True, description="whether the first line names the columns; if not: column_1, column_2 …")
    missing: tuple[str, ...] | None = Field(
        None, description="texts that stand for no value; where not given the usual ones: empty, NA, None, nan, null …"
    )


def read_table(path: str | Path, how: TableSettings | None = None) -> pandas.DataFrame:
    """The table in a file, numbers as numbers; `DataError` when it is none, or could be read in two ways."""
    import pandas

    path, how = Path(path), how or TableSettings()
    separator = separator_of(path, how)
    try:
        # read in pieces, a long column could be numbers in its first piece and texts in the next
        table = pandas.read_csv(path, sep=separator, low_memory=False, **_options(how))
    except UnicodeDecodeError as error:
        raise _not_encoded(path, how, error) from error
    except LookupError as error:
        raise DataError(f"File '{path}': {error}.") from error
    except (ValueError, OSError) as error:  # pandas' own errors are ValueErrors
        raise DataError(f"File '{path}' is no CSV table: {str(error).splitlines()[0]}") from error
    if how.header:
        _check_header(path, list(table.columns), separator)
    else:
        table.columns = [f"column_{number}" for number in range(1, len(table.columns) + 1)]
    for column in table.columns:
        _check_numbers(path, table[column], how)
    return _with_leading_zeros(path, table, separator, how)


def separator_of(path: str | Path, how: TableSettings) -> str:
    """The separator that is set, or the one that the first lines have. Raises `DataError` where two fit."""
    path = Path(path)
    if how.separator is not None:
        return how.separator
    lines = _first_lines(path, how)
    if not lines:
        return ","
    fitting = {}
    for separator in SEPARATORS:
        widths = [len(row) for row in csv.reader(lines, delimiter=separator, skipinitialspace=True) if row]
        if widths and widths[0] > 1:
            fitting[separator] = len(set(widths)) == 1
    regular = [separator for separator, is_regular in fitting.items() if is_regular]
    if "\t" in regular and path.suffix == ".tsv":
        return "\t"
    if len(regular) == 1:
        return regular[0]
    if len(fitting) > 1:
        named = " or ".join(f"a {SEPARATORS[separator]}" for separator in regular or fitting)
        raise DataError(f"File '{path}': its columns could be separated by {named}; set separator.")
    return next(iter(fitting), ",")


def raw_texts(path: str | Path, columns: Iterable[str], how: TableSettings) -> pandas.DataFrame:
    """Some columns as the texts that stand in the file."""
    import pandas

    path = Path(path)
    options = {
        **_options(how),
        "dtype": str,
        "na_values": [],
        "keep_default_na": False,
        "decimal": ".",
        "thousands": None,
    }
    table = pandas.read_csv(path, sep=separator_of(path, how), **options)
    if not how.header:
        table.columns = [f"column_{number}" for number in range(1, len(table.columns) + 1)]
    found: pandas.DataFrame = table[list(columns)]
    return found


def _options(how: TableSettings) -> dict[str, Any]:
    encoding = "utf-8-sig" if how.encoding.lower().replace("_", "-") in ("utf-8", "utf8") else how.encoding
    missing: Mapping[str, Any] = {} if how.missing is None else {"na_values": list(how.missing)}
    return {
        "skipinitialspace": True,
        "encoding": encoding,
        "header": 0 if how.header else None,
        "decimal": how.decimal,
        "thousands": how.thousands,
        "keep_default_na": how.missing is None,
        **missing,
    }


def _first_lines(path: Path, how: TableSettings) -> list[str]:
    if not path.is_file():
        raise DataError(f"There is no file '{path}'.")
    try:
        with path.open(encoding=str(_options(how)["encoding"]), newline="") as file:
            return list(itertools.islice(file, LOOKED_AT))
    except UnicodeDecodeError as error:
        raise _not_encoded(path, how, error) from error
    except LookupError as error:
        raise DataError(f"File '{path}': {error}.") from error
    except OSError as error:
        raise DataError(f"File '{path}' cannot be read: {error.strerror}.") from error


def _not_encoded(path: Path, how: TableSettings, error: UnicodeDecodeError) -> DataError:
    return DataError(
        f"File '{path}' is not written in {how.encoding} (byte {error.start}): set encoding, such as \"latin-1\" or "
        '"utf-16", or write it anew.'
    )


def _check_header(path: Path, columns: list[Any], separator: str) -> None:
    names = [str(column) for column in columns]
    if all(NUMBER.fullmatch(name) for name in names):
        raise DataError(
            f"File '{path}': its first line holds only numbers ({', '.join(names[:3])} …): set header = false if it "
            "has no line with names."
        )
    if len(names) == 1 and any(other in names[0] for other in SEPARATORS if other != separator):
        raise DataError(f"File '{path}' has one column, '{names[0]:.60}': set separator.")


def _check_numbers(path: Path, column: pandas.Series, how: TableSettings) -> None:
    """Numbers with decimal commas or grouped digits are no categories: they are refused by name."""
    from pandas.api.types import is_numeric_dtype

    if is_numeric_dtype(column):
        return
    texts = column.dropna().astype(str).str.strip().drop_duplicates()
    if not len(texts) or not bool(texts.str.contains(r"\d", regex=True).all()):
        return
    for sign, grouped in GROUPED.items():
        fits = texts.map(lambda text, grouped=grouped: grouped.fullmatch(text) is not None)
        plain = texts.map(lambda text: NUMBER.fullmatch(text) is not None)
        if fits.any() and (fits | plain).all() and how.thousands != sign:
            if sign == "," and texts.map(lambda text: DECIMAL_COMMA.fullmatch(text) is not None).all():
                raise DataError(
                    f"File '{path}': column '{column.name}' holds numbers such as {texts[fits].iloc[0]!r}, where the "
                    'comma could stand before a fraction or between thousands: set decimal = "," or thousands = ",".'
                )
            raise DataError(
                f"File '{path}': column '{column.name}' holds numbers with grouped digits, such as "
                f'{texts[fits].iloc[0]!r}: set thousands = "{sign}".'
            )
    plain = texts.map(lambda text: NUMBER.fullmatch(text) is not None)
    with_comma = texts.map(lambda text: DECIMAL_COMMA.fullmatch(text) is not None)
    if with_comma.any() and (with_comma | plain).all() and how.decimal != ",":
        raise DataError(
            f"File '{path}': column '{column.name}' holds numbers with a decimal comma, such as "
            f'{texts[with_comma].iloc[0]!r}: set decimal = ",".'
        )


def _with_leading_zeros(path: Path, table: pandas.DataFrame, separator: str, how: TableSettings) -> pandas.DataFrame:
    """Whole numbers of which some begin with a zero are codes: they stay as they are spelled ('01' is not '1')."""
    whole = [str(column) for column in table.columns if table[column].dtype.kind in "iu"]
    content = path.read_bytes()
    mark = re.escape(separator.encode())
    if not whole or re.search(rb"(^|[\n\r\"]|" + mark + rb") *[+-]?0\d", content) is None:
        return table
    texts = raw_texts(path, whole, how)
    for column in whole:
        values = texts[column].str.strip()
        if values.map(lambda text: LEADING_ZERO.fullmatch(text) is not None).any():
            table[column] = values.to_numpy(dtype=object)
    return table


def running(values: np.ndarray[Any, Any]) -> bool:
    """Whether numbers only count rows: 0, 1, 2 … or 1, 2, 3 …

    >>> running(np.array([1, 2, 3])), running(np.array([1, 3, 2]))
    (True, False)
    """
    if values.dtype.kind not in "iu" or len(values) < 2 or values[0] not in (0, 1):
        return False
    return bool((np.diff(values) == 1).all())
