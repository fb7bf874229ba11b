"""Reads numbers out of text: missing markers, decimal commas, thousands; names the cells that are none."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import polars as pl

from longspan import errors

MISSING = (
    "", "-", "--", "---", "\N{EN DASH}", "\N{EM DASH}", ".", "..", "...", "?", "NA", "N/A", "n/a", "n.a.",
    "N.A.", "#N/A", "#N/A N/A", "#NA", "<NA>", "NaN", "nan", "NAN", "-NaN", "-nan", "1.#QNAN", "-1.#IND",
    "1.#IND", "-1.#QNAN", "NaT", "NULL", "Null", "null", "(null)", "nil", "None", "none", "missing",
    "Missing", "#VALUE!", "#DIV/0!", "#REF!", "#NUM!", "#NAME?", "#NULL!", "\\N",
)  # fmt: skip
"""Cells that stand for an unknown number or category; an estimator's option `missing` adds others."""

_GROUP = r"[ \u00a0\u202f\u2009'\u2019]"
_COMMA_THOUSANDS = r"^-?\d{1,3}(,\d{3})+(\.\d*)?$"
_COMMA_DECIMAL = rf"^-?(\d+|\d{{1,3}}((\.|{_GROUP})\d{{3}})+)?,\d*$"
_DOT_THOUSANDS = r"^-?\d{1,3}(\.\d{3})+$"
_SPACED = rf"^-?\d{{1,3}}({_GROUP}\d{{3}})+([.,]\d+)?$"
_PLAIN_DECIMAL = r"^-?\d*\.\d*$"
_CURRENCY = "$€£¥₹₽₩"
_NUMBER = r"(?:\d{1,3}(?:[., '\u00a0]\d{3})+(?:[.,]\d+)?|\d+(?:[.,]\d+)?)"
_MARKED = (
    rf"^[-+]?(?:\(\s*{_NUMBER}\s*\)|[{_CURRENCY}]\s*-?{_NUMBER}"
    rf"|{_NUMBER}\s*(?:%|[{_CURRENCY}]|-|°?[A-Za-zµ/³²]{{1,5}}))$"
    r"|^0x[0-9a-fA-F]+$|^-?\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?$"
)
LARGEST = 1e100  # number in size: sums of squares of much larger ones overflow
_LOST = 0.01  # share of a series' range that rounding may take from a reading unsaid
_TOO_FINE = (
    "The readings of some series are so large beside their changes that single precision loses the changes; "
    "subtract a constant from them."
)
_LOOKED_AT = 200  # cells by which a column of text alone is told from numbers


class Numbers(NamedTuple):
    """A column of text as numbers.

    values: Float64, null where missing or no number; odd: Boolean, whether a cell is neither a number nor a
    missing marker; guess: a sentence about what could be read in two ways, "" for none.
    """

    values: pl.Series
    odd: pl.Series
    guess: str = ""


def within_range(number: float, largest: float = LARGEST) -> str:
    """What is expected instead of a number that is infinite or larger than `largest` in size.

    >>> within_range(1e200)
    'numbers from -1e+100 to 1e+100'
    """
    return "finite numbers" if np.isinf(number) else f"numbers from {-largest:g} to {largest:g}"


def in_single_precision(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Series as float32, with a notice where that loses what changes in one.

    Args:
        values: float64, NaN where missing; axis: that of time.

    >>> in_single_precision(np.array([[0.1], [0.2]])).dtype
    dtype('float32')
    """
    with np.errstate(over="ignore", invalid="ignore"):
        single = values.astype(np.float32)
        if values.dtype == np.float64 and values.size:
            lost = np.where(np.isfinite(single), np.abs(values - single), 0.0).max(axis)
            span = np.fmax.reduce(values, axis) - np.fmin.reduce(values, axis)
            if ((lost > _LOST * span) & (span > 0)).any():
                errors.notice(_TOO_FINE)
    return single


def first_object(column: pl.Series) -> str:
    """What the first cell of a column of lists or objects holds.

    >>> first_object(pl.Series([None, [1, 2]]))
    'a list in row 2'
    """
    if column.null_count() == len(column):
        return f"a column of {column.dtype}"
    row = int(column.is_not_null().arg_true()[0])
    kind = "list" if isinstance(column[row], pl.Series) else type(column[row]).__name__
    return f"a {kind} in row {row + 1}"


def read_numbers(text: pl.Series, missing: Collection[str] = (), decimal: str = "") -> Numbers:
    """A column of text as numbers.

    Args:
        text: String.
        missing: markers of missing values beside `MISSING`.
        decimal: "," where the file writes decimal commas, "." where it does not, "" to find it by the column.

    >>> read_numbers(pl.Series(["1,5", " - ", "x"])).values.to_list()
    [1.5, None, None]
    >>> read_numbers(pl.Series(["1,234.5", "20"])).values.to_list()
    [1234.5, 20.0]
    """
    stripped = text.str.strip_chars()
    if missing:
        stripped = _without(stripped, missing)
    if decimal == "," and not bool(stripped.str.contains(_PLAIN_DECIMAL_ONLY).any()):
        return _from_commas(_without(stripped, MISSING))
    values = stripped.cast(pl.Float64, strict=False).fill_nan(None)
    rest = stripped.filter(values.is_null() & stripped.is_not_null())
    if not len(rest):
        return Numbers(values, values.is_null() & False)
    stripped = _without(stripped, MISSING)
    rest = _tidied(_without(rest, MISSING).drop_nulls())
    if not len(rest):
        return Numbers(values, values.is_null() & False)
    return _with_style(stripped, values, rest, decimal)


_PLAIN_DECIMAL_ONLY = r"^-?\d*\.(\d{1,2}|\d{4,})$"  # a dot that cannot stand between thousands


def _with_style(stripped: pl.Series, values: pl.Series, rest: pl.Series, decimal: str) -> Numbers:
    """Numbers with separators between thousands or decimal commas, by what most cells that need it show."""
    thousands = int(rest.str.contains(_COMMA_THOUSANDS).sum())
    commas = int(rest.str.contains(_COMMA_DECIMAL).sum())
    guess = ""
    if decimal != "," and thousands and thousands >= commas:
        right = _tidied(stripped).str.contains(_COMMA_THOUSANDS)
        if _has_dots(values, stripped):  # 20,037 beside 20.04 may be either
            right = right & stripped.str.contains(r"\.|,.*,")
        elif commas == thousands:
            example = rest.filter(rest.str.contains(_COMMA_THOUSANDS))[0]
            guess = f"{example!r} is read as {float(example.replace(',', '')):g}"
        written = _tidied(stripped).str.replace_all(",", "", literal=True)
    elif commas:
        return _from_commas(stripped)
    else:
        written, right = _tidied(stripped), _tidied(stripped).str.contains(_SPACED)
    written = pl.select(pl.when(right).then(_unspaced(written)).otherwise(_tidied(stripped))).to_series()
    found = pl.select(
        pl.when(values.is_not_null()).then(values).otherwise(written.cast(pl.Float64, strict=False))
    ).to_series()
    return Numbers(found, found.is_null() & stripped.is_not_null(), guess)


def _has_dots(values: pl.Series, stripped: pl.Series) -> bool:
    """Whether some cells that are numbers as they stand have a decimal point."""
    return bool(stripped.filter(values.is_not_null()).str.contains(_PLAIN_DECIMAL).any())


def _from_commas(stripped: pl.Series) -> Numbers:
    """Numbers with decimal commas, dots or blanks between thousands."""
    tidied = _tidied(stripped)
    grouped = tidied.str.contains(_DOT_THOUSANDS) | tidied.str.contains(_COMMA_DECIMAL)
    plain = tidied.str.contains(r"^-?\d+([eE][-+]?\d+)?$") | tidied.str.contains(_SPACED)
    undotted = _unspaced(tidied.str.replace_all(".", "", literal=True)).str.replace(",", ".", literal=True)
    right = (grouped | plain).fill_null(value=False)
    written = pl.select(pl.when(right).then(undotted).otherwise(None)).to_series()
    values = written.cast(pl.Float64, strict=False)
    return Numbers(values, values.is_null() & stripped.is_not_null())


def _unspaced(text: pl.Series) -> pl.Series:
    return text.str.replace_all(_GROUP, "")


def _tidied(text: pl.Series) -> pl.Series:
    """Minus signs of typography as plain ones, no plus."""
    return text.str.replace("\N{MINUS SIGN}", "-", literal=True).str.strip_prefix("+")


def _without(text: pl.Series, markers: Collection[str]) -> pl.Series:
    return pl.select(pl.when(text.is_in(list(markers))).then(None).otherwise(text)).to_series()


def is_text(column: pl.Series) -> bool:
    """Whether the first cells of a column of text are no numbers at all, a quick look before a whole one."""
    head = column.drop_nulls().head(_LOOKED_AT)
    found = read_numbers(head)
    return bool(len(head)) and found.values.null_count() == len(head) and bool(found.odd.any())


def is_marked(text: pl.Series) -> bool:
    """Whether most of the first cells are numbers with a sign or a unit, such as 5 %, $5, (5) or 5 kWh.

    >>> is_marked(pl.Series(["5 %", "6 %"])), is_marked(pl.Series(["5 of 6", "on"]))
    (True, False)
    """
    head = text.drop_nulls().head(_LOOKED_AT).str.strip_chars()
    return bool(len(head)) and int(head.str.contains(_MARKED).sum()) > 0.5 * len(head)


def odd_cell(numbers: Numbers, text: pl.Series) -> tuple[str, int]:
    """The first cell that is no number, and its row counted from 0."""
    row = int(numbers.odd.arg_true()[0])
    return str(text[row]), row


def way_out_of(cell: str) -> str:
    """What to do about a cell that is no number."""
    bare = cell.strip()
    if bare.endswith("%"):
        return "write it without the sign, 5 % as 5 or as 0.05"
    if any(sign in bare for sign in _CURRENCY) or bare[-3:] in ("USD", "EUR", "GBP"):
        return "write it without the currency"
    return f"correct it, leave it empty, or name it as a marker by missing=({bare!r},)"


def not_a_number(name: str, cell: str, row: int) -> ValueError:
    """The error for a cell that is no number; row: counted from 0."""
    return errors.value_error(name, "numbers", f"{cell!r} in row {row + 1}", way_out_of(cell))


def without_markers(column: pl.Series, missing: Collection[str]) -> pl.Series:
    """A column of numbers whose cells equal to a marker such as "-999" are missing.

    >>> without_markers(pl.Series([1.0, -999.0]), ["-999", "x"]).to_list()
    [1.0, None]
    """
    written = pl.Series(list(missing), dtype=pl.String).cast(pl.Float64, strict=False).drop_nulls()
    if not len(written) or column.dtype == pl.Boolean:
        return column
    is_marker = column.cast(pl.Float64, strict=False).is_in(written.to_list())
    return pl.select(pl.when(is_marker).then(None).otherwise(column)).to_series().alias(column.name)


_STAND_INS = (-99.0, -999.0, -9999.0, -99999.0, -999.9, -99.9, 999.0, 9999.0, 99999.0, 999999.0)
_LEAST_STAND_INS = 2  # cells with such a number from which it may stand for missing values


def note_stand_in(column: pl.Series, name: str) -> None:
    """Say which number, such as -999, may stand for missing values: it lies far from all others.

    Args:
        column: Float64, null or NaN where a value is missing.
    """
    for extreme in (column.min(), column.max()):
        if extreme not in _STAND_INS:
            continue
        values = column.to_numpy()
        is_extreme = values == extreme
        others = values[~is_extreme & ~np.isnan(values)]
        if int(is_extreme.sum()) < _LEAST_STAND_INS or not len(others):
            continue
        span = float(others.max() - others.min())
        if min(abs(float(others.min() - extreme)), abs(float(others.max() - extreme))) > 3 * max(span, 1.0):
            errors.notice(
                f"{name} is {extreme:g} in {int(is_extreme.sum())} rows, far from all other values; if that "
                f"stands for missing values, name it by missing=('{extreme:g}',) or leave those cells empty."
            )
