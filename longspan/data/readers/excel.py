"""Reads sheets of Excel files: finds the header below titles, types by the rows below it, times of day."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from longspan import errors, optional

from .delimited import find_form, is_value

_HEAD_ROWS = 300  # rows by which header and names are found
_CLOCK_DAYS = (date(1899, 12, 30), date(1899, 12, 31))  # the dates under which Excel keeps times of day


def read_excel(path: Path, sheet: str | None = None) -> pl.DataFrame:
    """A sheet as a frame; None: the first one, with a notice where there are others.

    Raises:
        ImportError: the package that reads such files is missing.
        ValueError: it is no Excel file, or has no such sheet; one sentence.
    """
    fastexcel = optional.require("fastexcel", "excel", f"file {path}")
    try:
        book = fastexcel.read_excel(str(path))
        names = book.sheet_names
    except Exception as error:  # the package raises errors of its own kinds
        raise errors.value_error(
            f"file {path}", "an Excel file", "another content", "save it again"
        ) from error
    if sheet is not None and sheet not in names:
        expected = f"one of {', '.join(names)}"
        raise errors.value_error("sheet", expected, repr(sheet), errors.did_you_mean(sheet, names))
    if sheet is None and len(names) > 1:
        errors.notice(f"file {path} has {len(names)} sheets; {names[0]!r} is read.")
    return _sheet(book, sheet or names[0], f"file {path}")


def _sheet(book: Any, sheet: str, name: str) -> pl.DataFrame:
    cells = _load(book, sheet, 0, n_rows=_HEAD_ROWS, dtypes="string")
    rows = [["" if cell is None else str(cell).replace("\n", " ") for cell in row] for row in cells.rows()]
    while rows and not any(rows[-1]):
        rows.pop()
    if not rows:
        return pl.DataFrame()
    form = find_form(_as_csv(rows), name, ",")
    for note in form.notes:
        errors.notice(note)
    frame = _load(book, sheet, form.skip, schema_sample_rows=None)
    frame = frame.rename(dict(zip(frame.columns, form.names, strict=False)))
    frame = frame.drop([c for c in frame.columns if c.startswith("\x00") and _is_empty(frame[c])])
    frame = frame.rename({column: column.removeprefix("\x00") for column in frame.columns})
    frame = frame.filter(~pl.all_horizontal(pl.all().is_null())) if frame.width else frame
    return frame.with_columns([_typed(column) for column in frame.get_columns()])


def _load(book: Any, sheet: str, skip: int, **options: Any) -> pl.DataFrame:
    return book.load_sheet(
        sheet, header_row=None, skip_rows=skip, whitespace_as_null=True, **options
    ).to_polars()


def _as_csv(rows: Sequence[Sequence[str]]) -> str:
    """The rows as text; a title above the table is one cell, not a row with the others empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for place, row in enumerate(rows):
        below = next((other for other in rows[place + 1 :] if any(other)), None)
        if not any(row):
            out.write("\n")
        else:
            writer.writerow(row[:1] if below is not None and _is_title(row, below) else row)
    return out.getvalue()


def _is_title(row: Sequence[str], below: Sequence[str]) -> bool:
    """Whether text stands alone in the first cell, above another title or a header."""
    alone = bool(row[0]) and not any(row[1:]) and not is_value(row[0])
    return alone and (len(row) > 2 or not any(is_value(cell) for cell in below if cell))


def _is_empty(column: pl.Series) -> bool:
    return column.null_count() == len(column)


def _typed(column: pl.Series) -> pl.Series:
    """Times of day as such, days without a time as dates."""
    if not isinstance(column.dtype, pl.Datetime) or _is_empty(column):
        return column
    there = column.drop_nulls()
    if there.dt.date().is_in(list(_CLOCK_DAYS)).all():
        return column.dt.time()
    return column.dt.date() if (there.dt.time().cast(pl.Int64) == 0).all() else column
