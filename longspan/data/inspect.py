"""Describes a table before anyone trains on it: its columns, times, step, gaps, and what would be refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from longspan import errors

from .frequency import Frequency
from .readers import numeric
from .readers.tables import check_columns, is_number, number_share, read_source
from .series_frequencies import find_frequencies
from .time_table import (
    ID_NAMES,
    RowTimes,
    TimeOptions,
    check_unused,
    find_id,
    find_time,
    has_series,
    on_clock,
    order_of,
    row_times,
)

_SHOWN = 3  # first and last rows


@dataclass
class Inspection:
    """What a table holds.

    facts: name -> value, such as the step of its times; columns: rows of name, type, role, missing cells and
    an example; first, last: rows as text; refused: sentences about what a task would refuse; notes.
    """

    names: list[str]
    facts: dict[str, str] = field(default_factory=dict)
    columns: list[list[Any]] = field(default_factory=list)
    first: list[list[str]] = field(default_factory=list)
    last: list[list[str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def has_numbers(self) -> bool:
        """Whether a column holds numbers or times; a table without them may be running text."""
        return any(role not in ("text", "empty") for _, _, role, *_ in self.columns)

    @property
    def has_text(self) -> bool:
        """Whether it is running text, or a column holds text that is neither times nor ids."""
        return not self.columns or any(role == "text" for _, _, role, *_ in self.columns)


def inspect_table(
    source: Any, *, time: tuple[str, ...] = (), id: str | None = None, options: TimeOptions | None = None
) -> Inspection:
    """What a table holds, read as every task reads it.

    Args:
        source: a file or a frame; time, id: the columns of times and ids, where they are not to be found.
        options: how files and times are read.

    Raises:
        FileNotFoundError, ValueError, TypeError: it cannot be read at all; one sentence.

    >>> found = inspect_table({"day": ["2024-01-01", "2024-01-02", "2024-01-04"], "v": [1, 2, 3]})
    >>> found.facts["step"], found.facts["gaps"]
    ('1 day', '1 row missing')
    """
    options = options or TimeOptions()
    with errors.collect_notices() as notes:
        text, ids = (() if id is None else (id,)), (ID_NAMES if id is None else ())
        table = read_source(source, options=options, text=text, ids=ids)
        frame = table.frame
        check_columns(frame, time, "time")
        check_columns(frame, () if id is None else (id,), "id")
        found = Inspection(frame.columns, {"rows": f"{frame.height:,}"})
        try:
            time = time or find_time(frame, (id,), table.index_columns)
            check_unused(frame, time, (id,))
            if id is None:
                id = _found_id(frame, time, table.index_columns)
                frame = table.with_ids(id).frame
            _describe_times(found, frame, time, id, options)
        except ValueError as error:
            found.refused.append(str(error))
    found.columns = [_column(frame[name], time, id, found) for name in frame.columns]
    found.first, found.last = _rows(frame.head(_SHOWN)), _rows(frame.tail(_SHOWN))
    found.notes = list(notes)
    return found


def _found_id(frame: pl.DataFrame, time: tuple[str, ...], index: tuple[str, ...]) -> str | None:
    """The column of ids, where times come several times."""
    if len(index) > 1:
        return find_id(frame, time, index)
    if time and has_series(frame, time, time):
        return find_id(frame, time, ())
    return None


def _describe_times(
    found: Inspection, frame: pl.DataFrame, time: tuple[str, ...], id: str | None, options: TimeOptions
) -> None:
    """The form, zone, step, span and gaps of the times, and how many series there are."""
    if not time:
        found.facts["time"] = "none: rows are counted"
        return
    rows = row_times(frame, time, id, options=options)
    found.facts["time"] = f"{', '.join(time)} ({rows.form})"
    found.facts["zone"] = rows.form.zone or "none"
    found.facts["series"] = f"{len(rows.ids):,}" + (f" by {id}" if id else "")
    times, zone, wall = on_clock(rows, None)
    order = order_of(times, rows.series)
    if order is not None:
        times, rows = times[order], rows._replace(series=rows.series[order])
    found.facts["order"] = "by time" if order is None else "not by series and time; rows are sorted"
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows.series))])
    twice = (np.diff(times) == 0) & (np.diff(rows.series) == 0)
    if twice.any():
        expected = "each time once in a series"
        shown = Frequency("step" if rows.form.dated else "number", 1).shown(times[:-1][twice][:1])[0]
        way_out = "drop the rows that come again, or name the column of the series by id="
        raise errors.value_error(f"time {time[0]}", expected, f"{shown} twice", way_out)
    _describe_step(found, times, starts, rows, (zone, wall))


def _describe_step(
    found: Inspection, times: np.ndarray, starts: np.ndarray, rows: RowTimes, zone: tuple[str | None, bool]
) -> None:
    frequencies = find_frequencies(times, starts, rows.form.dated, rows.form.kind == "elapsed")
    frequency, steps = frequencies.common, frequencies.steps(times, rows.series)
    found.facts["step"] = str(frequencies)
    first, last = steps[starts[:-1]], steps[starts[1:] - 1]
    missing = int((last - first + 1).sum()) - len(times)
    found.facts["gaps"] = (
        "none" if not missing else "1 row missing" if missing == 1 else f"{missing:,} rows missing"
    )
    shown = Frequency("step" if rows.form.dated else frequency.kind, 1, zone=zone[0], wall=zone[1])
    found.facts["first"], found.facts["last"] = (
        str(shown.shown(np.array([moment]))[0]) for moment in (times.min(), times.max())
    )


def _column(column: pl.Series, time: tuple[str, ...], id: str | None, found: Inspection) -> list[Any]:
    """Name, type, role, missing cells and an example of one column; its odd cells are told."""
    share = number_share(column)
    there = column.drop_nulls()
    example = str(there[0]) if len(there) else ""
    kind, role = str(column.dtype), "text"
    if not len(there):
        role = "empty"
    elif is_number(column):
        role = "numbers"
    elif column.dtype == pl.String and share >= 0.05 and column.name not in (id, *time):
        role = "numbers and text"
        read = numeric.read_numbers(column)
        found.refused.append(
            str(numeric.not_a_number(f"column {column.name}", *numeric.odd_cell(read, column)))
        )
    elif column.dtype.is_temporal():
        role = "times, not used"
    role = "time" if column.name in time else "id" if column.name == id else role
    return [column.name, kind, role, column.null_count(), example[:30]]


def _rows(frame: pl.DataFrame) -> list[list[str]]:
    return [["" if cell is None else str(cell)[:30] for cell in row] for row in frame.rows()]
