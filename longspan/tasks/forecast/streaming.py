"""Reads rows one by one, aligns a table's rows with a panel's, and puts kept rows before a panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from longspan import errors
from longspan.data.readers.frames import from_frame
from longspan.data.readers.tables import read_table
from longspan.data.time_table import TimeOptions, canonical_ids, on_clock, rounded, row_times
from longspan.data.timestamps import parse_timestamp, to_wall

from .covariates import Covariates
from .panel import Panel


def align(panel: Panel, source: Any, options: TimeOptions | None = None) -> np.ndarray:
    """For each row of `source` its row number in `panel`, (T,).

    Args:
        panel: of one series, read from the source.
        source: its rows may lack times of the panel's grid, and be in any order.
    """
    if not panel.columns.time:
        return np.arange(len(panel.values))
    frame = read_table(source, options=options)
    rows = row_times(frame, panel.columns.time, None, form=panel.form, options=options)
    times = on_clock(rows, panel.frequency)[0]
    if options is not None and options.frequency is not None:
        times = rounded(times, options.frequency)[0]
    return panel.frequency_of(panel.ids[0]).steps(times) - panel.first[0]


class Row(NamedTuple):
    """One row of a series: its whole step in time, targets (C,), and covariates, numbers and words apart."""

    step: int
    values: Sequence[float]
    past: Sequence[float] = ()
    past_words: Sequence[str] = ()
    future: Sequence[float] = ()
    future_words: Sequence[str] = ()


def read_row(like: Panel, row: Any, after: int | None) -> tuple[Row, str]:
    """A row and the name of its series.

    Args:
        like: a panel with the same columns on the same grid of time.
        row: a dict by column; or, without covariates and times, a number or one for each target.
        after: the step after the series' last row, None at its beginning.

    Raises:
        ValueError: the row lacks a column, or its time is not on the grid or not after the last row's.
    """
    columns = like.columns
    if not isinstance(row, Mapping):
        row = dict(zip(columns.target, np.ravel(row).tolist(), strict=False))
    for name in (*columns.target, *columns.past, *columns.future):
        if name not in row:
            raise errors.value_error(
                "row", f"the column {name} that fit had", ", ".join(row) or "none", "add it"
            )
    id = None if columns.id is None else row.get(columns.id)
    name = "" if id is None else canonical_ids(pl.Series([id]))[0]
    past, past_words = _parted(row, columns.past, like.past)
    future, future_words = _parted(row, columns.future, like.future)
    when = [row.get(column) for column in columns.time]
    values = [row[column] for column in columns.target]
    step = step_of(like, when, after, name)
    return Row(step, values, past, past_words, future, future_words), name


class RowReader:
    """Reads rows whose numbers and words are in a fixed order, without a dict for each row.

    Args:
        like: a panel with the columns of fit; numbers, words: the columns of a row, in their order.
    """

    def __init__(self, like: Panel, numbers: Sequence[str], words: Sequence[str]) -> None:
        columns, self.like, self.timed = like.columns, like, bool(like.columns.time)
        self.target = [numbers.index(name) for name in columns.target]
        self.past, self.future = (
            [numbers.index(name) for name in part if name not in covariates.labels]
            for part, covariates in ((columns.past, like.past), (columns.future, like.future))
        )
        self.past_words = [words.index(name) for name in like.past.labels]
        self.future_words = [words.index(name) for name in like.future.labels]

    def read(
        self, numbers: Sequence[float], words: Sequence[str], when: Any, after: int | None, name: str = ""
    ) -> Row:
        """A row; when: its time, None for none; after, name, errors: as for `step_of`."""
        return Row(
            step_of(self.like, [when] if self.timed else [], after, name),
            [numbers[i] for i in self.target],
            [numbers[i] for i in self.past],
            [words[i] for i in self.past_words],
            [numbers[i] for i in self.future],
            [words[i] for i in self.future_words],
        )


def _parted(row: Mapping[str, Any], names: Sequence[str], like: Covariates) -> tuple[list[Any], list[str]]:
    return [row[name] for name in names if name not in like.labels], [row[name] for name in like.labels]


def extended(panel: Panel, kept: Panel | None, *, over_gaps: bool = True) -> tuple[Panel, np.ndarray | None]:
    """A panel with kept rows before its own, joined by time; rows between them are missing.

    Args:
        over_gaps: whether kept rows are taken too where rows are missing between them and the panel's own.

    Returns:
        The panel, and (S,) the first of its own rows of each series; None if no kept row was taken.
    """
    if kept is None or not panel.columns.time or panel.frequency != kept.frequency:
        return panel, None
    numbers = {name: series for series, name in enumerate(kept.ids)}
    firsts = panel.first.tolist()
    before = [
        _rows_before(kept, numbers.get(name), first, over_gaps)
        for name, first in zip(panel.ids, firsts, strict=True)
    ]
    if not any(before):
        return panel, None
    names = tuple(name for name, count in zip(panel.ids, before, strict=True) if count)
    begins = kept.only(names)
    begins = begins.cut(
        begins.starts[:-1], begins.starts[:-1] + np.array([count for count in before if count])
    )
    joined = begins.joined(panel).only(panel.ids)
    own = joined.starts[1:] - np.diff(panel.starts)
    joined = replace(joined, columns=panel.columns, form=panel.form)
    return replace(joined, answers=panel.answers, id_type=panel.id_type), own


def note_short_history(panel: Panel, kept: Panel, reach: int) -> None:
    """Say where fewer rows are given than a forecast looks back on, though fit had more.

    Args:
        panel: the series to forecast, with the kept rows before them; kept: the rows of fit; reach: the rows
            that a forecast looks back on.
    """
    lengths = dict(zip(kept.ids, np.diff(kept.starts).tolist(), strict=True))
    wanted = np.array([min(reach, lengths.get(name, reach)) for name in panel.ids])
    rows = panel.last_seen() - panel.starts[:-1]
    short = np.flatnonzero((rows < wanted) & (rows > 0))
    if not len(short):
        return
    first = int(short[rows[short].argmin()])
    of = f" of series {panel.ids[first]!r}" if panel.ids[first] else ""
    more = f", and too few of {len(short) - 1} more" if len(short) > 1 else ""
    given = "1 row" if rows[first] == 1 else f"{rows[first]} rows"
    are = "is" if rows[first] == 1 else "are"
    errors.notice(
        f"Only {given}{of} {are} given{more}; a forecast looks back on {reach}, so pass earlier rows too."
    )


def _rows_before(kept: Panel, series: int | None, step: int, over_gaps: bool) -> int:
    """The number of kept rows of a series before a step; 0 if the gap after them is longer than they are."""
    if series is None:
        return 0
    length, first = int(kept.starts[series + 1] - kept.starts[series]), int(kept.first[series])
    gap = step - (first + length)
    return 0 if gap > (length if over_gaps else 0) else max(0, min(length, step - first))


def step_of(like: Panel, when: Sequence[Any], after: int | None, name: str = "") -> int:
    """The whole step in time of a row.

    Args:
        like: a panel on the same grid; when: the row's times, one for each of the panel's columns of time.
        after: the step after the series' last row, returned if there is no time; None at its beginning.
        name: the id of the series.

    Raises:
        ValueError: the time is not on the grid or not after the last; one sentence.
    """
    grid, first = like.frequency_of(name), when[0] if when else None
    if not when or (first is None and after is not None):
        return after or 0
    time = _time(when, like)
    if time is None:
        expected = "when the reading was, a time as in fit"
        raise errors.value_error("time", expected, repr(first), "pass it with the reading")
    step = int(grid.steps(np.array([time]))[0])
    if grid.times(np.array([step]))[0] != time or (after is not None and step < after):
        expected = f"one after the last reading's, on fit's grid of {grid}"
        raise errors.value_error("time", expected, first, "bring the readings onto it, in the order of time")
    return step


def _time(when: Sequence[Any], like: Panel) -> int | None:
    """A row's time, as the frequency counts steps; None if it is of another kind than in fit."""
    frequency, columns, value = like.frequency, like.columns.time, when[0]
    plain = isinstance(value, (int, float, datetime, np.generic)) or (
        isinstance(value, str) and value[4:5] == "-" and value[7:8] == "-"
    )
    if (
        len(columns) > 1
        or (not plain and value is not None)
        or like.form.kind not in ("text", "dates", "number")
    ):
        rows = {name: [part] for name, part in zip(columns, when, strict=True)}
        with suppress(ValueError):
            read = row_times(from_frame(rows)[0], columns, None, form=like.form)
            return int(on_clock(read, frequency)[0][0]) if read.form.dated == frequency.dated else None
        return None
    with suppress(ValueError):  # text that is no time
        parsed = parse_timestamp(value)
        if isinstance(parsed, str) and frequency.dated and ("+" in parsed) == (frequency.zone is not None):
            moment = np.datetime64(parsed.partition("+")[0], "us").astype(np.int64)
            wall = frequency.zone is not None and frequency.wall
            return int(to_wall(np.array([moment]), frequency.zone or "UTC")[0] if wall else moment)
        if isinstance(parsed, (int, float)) and not frequency.dated and parsed == int(parsed):
            return int(parsed)
    return None
