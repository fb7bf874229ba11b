"""Reads files, frames and arrays as panels: finds columns, and puts rows on a regular grid of time."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from longspan import errors
from longspan.data import transforms
from longspan.data.frequency import ROWS, Frequency
from longspan.data.readers.frames import note_shuffled
from longspan.data.readers.number_arrays import number_arrays
from longspan.data.readers.tables import (
    Source,
    check_columns,
    is_number,
    is_path,
    is_table,
    number_share,
    numbers,
    read_source,
    words,
)
from longspan.data.series_frequencies import SeriesFrequencies, find_frequencies, fitting_frequency
from longspan.data.time_table import (
    ID_NAMES,
    RowTimes,
    TimeOptions,
    check_ids,
    check_unused,
    find_id,
    find_time,
    has_series,
    natural_ids,
    on_clock,
    order_of,
    rounded,
    row_times,
)
from longspan.data.timestamps import check_zone

from .covariates import Covariates
from .panel import Columns, Panel

AS_UNKNOWN = "treated as unknown."  # the end of the notice about missing rows
_CHUNK = 1 << 16  # times that are checked at once
# names of columns that `predict` returns
_FORECAST_COLUMNS = re.compile(r"origin|target|point|actual|q0?\.?\d+|q\d*\.\d+")


def read_panel(
    source: Any,
    columns: Columns,
    *,
    template: Panel | None = None,
    need_target: bool = True,
    options: TimeOptions | None = None,
) -> Panel:
    """The panel of a source.

    Args:
        source: a path, a frame, an array (T,) or (T, C), or a list of such arrays, one for each series.
        columns: those that the user named; target, time and id are found where they are not.
        template: a panel with the columns of fit; columns, kinds, dates and frequency must be the same again.
        need_target: whether there must be values of the target.
        options: how files and times are read.

    Raises:
        FileNotFoundError, ValueError, TypeError: the sentence names the column and what is wrong.
    """
    if isinstance(source, Panel):
        return source
    if not is_table(source):
        return _from_arrays(source, columns, template)
    options = options or TimeOptions()
    columns = template.columns if template is not None else columns
    text = {"unique_id"} if columns.id is None else {columns.id}
    needed = _needed(columns)
    ids = ID_NAMES if columns.id is None and template is None else ()
    table = read_source(source, options=options, text=text, dates=True, needed=needed, ids=ids)
    name = f"file {source}" if is_path(source) else "source"
    columns = _complete(table, columns, name, template)
    if not columns.time:
        note_shuffled(source)
    return _from_table(table.with_ids(columns.id), columns, template, need_target, options)


# ---- arrays


def _from_arrays(source: Any, columns: Columns, template: Panel | None) -> Panel:
    rows = number_arrays(source)
    values = rows[0] if len(rows) == 1 else np.concatenate(rows)
    names = _array_columns(values.shape[1], columns, template)
    _check_target(values, tuple(names.target))
    lengths = [len(array) for array in rows]
    ids = ("",) if len(rows) == 1 else tuple(str(number) for number in range(len(rows)))
    empty = Covariates(np.empty((len(values), 0), np.float32), {})
    static = Covariates(np.empty((len(rows), 0), np.float32), {})
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    first = np.zeros(len(rows), np.int64)
    return Panel(names, ROWS, values, starts, first, ids, empty, empty, static, named=False)


def _array_columns(width: int, columns: Columns, template: Panel | None) -> Columns:
    if columns.past or columns.future or columns.static or columns.id:
        expected = "a frame or a file, whose columns have names"
        raise errors.value_error("source", expected, "an array", "put it into a frame first")
    names = tuple(str(channel) for channel in range(width)) if width > 1 else ("value",)
    if template is not None and len(template.columns.target) != width:
        raise errors.value_error(
            "source", f"{len(template.columns.target)} columns as in fit", width, "pass the same ones"
        )
    if template is not None:
        names = template.columns.target
    elif columns.target:
        if len(columns.target) != width:
            raise errors.value_error(
                "target", f"{width} names for an array of {width} columns", columns.target, "or leave it out"
            )
        names = columns.target
    return Columns(target=names)


# ---- which columns


def _complete(table: Source, columns: Columns, name: str, template: Panel | None) -> Columns:
    """The columns, with those that the user did not name."""
    frame = table.frame
    for option in ("target", "time", "past", "future", "static"):
        check_columns(frame, _split(frame, getattr(columns, option)), _OPTION_NAMES.get(option, option), name)
    if columns.id is not None:
        check_columns(frame, [columns.id], "id", name)
    columns = replace(columns, time=_split(frame, columns.time), target=_split(frame, columns.target))
    if template is not None:
        return columns
    if not columns.time:
        columns = replace(columns, time=find_time(frame, _taken(columns), table.index_columns))
        check_unused(frame, columns.time, _taken(columns), _unused_index(table, columns))
    if columns.id is None:
        columns = replace(columns, id=_find_id(table, columns))
    if not columns.target:
        columns = replace(columns, target=_find_target(frame, columns, name))
    _check_names(columns)
    return columns


def _unused_index(table: Source, columns: Columns) -> tuple[str, ...]:
    """The index of a frame where it is one column, which then is no id."""
    return table.index_columns if len(table.index_columns) == 1 and columns.id is None else ()


_OPTION_NAMES = {"past": "past_covariates", "future": "future_covariates", "static": "static_covariates"}


def _needed(columns: Columns) -> set[str]:
    """The columns that are named, by which others can be left out; empty where the target must be found."""
    if not columns.target:
        return set()
    named = (*columns.target, *columns.time, *columns.past, *columns.future, *columns.static)
    return {*named, *((columns.id,) if columns.id is not None else ())}


def _taken(columns: Columns) -> set[str | None]:
    """The columns that have a role already."""
    return {*columns.target, *columns.time, columns.id, *columns.past, *columns.future, *columns.static}


def _check_names(columns: Columns) -> None:
    """Refuse a column with two roles, and names that `predict` gives to its own columns."""
    taken = [*columns.target, *columns.time, *columns.past, *columns.future, *columns.static]
    taken += [columns.id] if columns.id else []
    twice = next((name for name in taken if taken.count(name) > 1), None)
    if twice is not None and columns.time.count(twice) == 0:
        raise errors.value_error("columns", "each column in one part", f"{twice!r} in two", "name it once")
    for option, column in (("id", columns.id), *(("time", name) for name in columns.time)):
        if column is not None and _FORECAST_COLUMNS.fullmatch(column):
            expected = "a column whose name is none of the answers'"
            raise errors.value_error(option, expected, repr(column), "rename the column")
    if columns.id is not None and columns.id == (columns.time[0] if len(columns.time) == 1 else "time"):
        way_out = "rename the column"
        raise errors.value_error("id", "another name than the time's", repr(columns.id), way_out)


def _split(frame: pl.DataFrame, names: tuple[str, ...]) -> tuple[str, ...]:
    """Column names; a name such as "year,month,day" that is no column is split at its commas."""
    split = ([name] if name in frame.columns else _parts(name) for name in names)
    return tuple(part for parts in split for part in parts)


def _parts(name: str) -> list[str]:
    return [part.strip() for part in name.split(",")]


def _find_id(table: Source, columns: Columns) -> str | None:
    """The column of the series' names, if the index has one or times are there several times; else None."""
    taken = _taken(columns)
    levels = [column for column in table.index_columns if column not in taken]
    if len(table.index_columns) > 1 and levels:
        return find_id(table.frame, taken, table.index_columns)
    if not columns.time:
        return None
    if not has_series(table.frame, columns.time, taken):
        return None
    name = find_id(table.frame, taken, ())
    if name is not None and name != "unique_id":
        errors.notice(f"The table holds several series, which are told apart by {name}.")
    return name


def _find_target(frame: pl.DataFrame, columns: Columns, name: str) -> tuple[str, ...]:
    taken = {*columns.time, columns.id, *columns.past, *columns.future, *columns.static}
    free = [column for column in frame.columns if column not in taken and is_number(frame[column])]
    not_empty = [column for column in free if frame[column].null_count() < frame.height]
    free = not_empty if len(not_empty) == 1 else free
    mixed = [
        column
        for column in frame.columns
        if column not in taken and frame[column].dtype == pl.String and number_share(frame[column]) >= 0.5
    ]
    if len(free) + len(mixed) == 1:
        return tuple(free + mixed)
    if not free and not mixed:
        text = next((column for column in frame.columns if column not in taken), None)
        if text is not None:
            numbers(frame, [text], "target")
        raise errors.value_error("target", f"a column of numbers in {name}", "none", "check what was read")
    free += mixed
    received = f"{len(free)} ({', '.join(free[:6])}{', …' if len(free) > 6 else ''})"
    raise errors.value_error(
        "target",
        "one column of numbers to find it by itself",
        received,
        f"name it, such as target={free[-1]!r}",
    )


# ---- rows


def _from_table(
    table: Source, columns: Columns, template: Panel | None, need_target: bool, options: TimeOptions
) -> Panel:
    frame = table.frame
    rows = row_times(
        frame, columns.time, columns.id, form=template.form if template is not None else None, options=options
    )
    if template is not None:
        _check_kept(rows, columns, template)
    times, wall = _counted(rows, columns, template, options)
    order = order_of(times, rows.series)
    codes = rows.series
    if order is not None:
        _note_order(times, codes)
        frame, times, codes = frame[order], times[order], codes[order]
    starts = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(rows.ids)))]).astype(np.int64)
    _check_twice(times, codes, rows, columns, template, bool(options.frequency))
    frequencies = _frequencies(times, starts, rows, columns, template, wall)
    series = np.arange(len(rows.ids))
    first = frequencies.steps(times[starts[:-1]], series)
    ends = frequencies.steps(times[starts[1:] - 1], series)
    values = numbers(frame, columns.target, "target")
    if need_target:
        _check_target(values, columns.target)
    past = _covariates(frame, columns.past, template.past if template else None, "past_covariates")
    future = _covariates(frame, columns.future, template.future if template else None, "future_covariates")
    static = _static(frame, columns, starts, template)
    grid = np.concatenate([[0], np.cumsum(ends - first + 1)]).astype(np.int64)
    if grid[-1] != len(values):
        note_missing(int(grid[-1]) - len(values), frequencies.common)
        grid_rows = grid[:-1][codes] + frequencies.steps(times, codes) - first[codes]
        values, past, future = _scattered(values, past, future, grid_rows, int(grid[-1]))
    return Panel(
        columns, frequencies.common, values, grid, first, rows.ids, past, future, static,
        form=rows.form, answers=_kind_of(table, columns),
        own_frequencies={rows.ids[series]: own for series, own in frequencies.own.items()},
        id_type=_id_type(table, columns, template),
    )  # fmt: skip


def _id_type(table: Source, columns: Columns, template: Panel | None) -> str:
    """The type in which ids go back: that in which they came, of a file the one of fit."""
    if columns.id is None:
        return "String"
    if table.kind == "file" and template is not None:
        return template.id_type
    ids = natural_ids(table.frame[columns.id].unique(), written=table.kind == "file")
    return str(ids.dtype) if ids.dtype in (pl.Int64, pl.Float64) else "String"


def _kind_of(table: Source, columns: Columns) -> str:
    """The kind of frame that `predict` returns: of the source's library, with times in its index or not."""
    if table.kind != "pandas":
        return "polars"
    return "pandas by time" if table.index_columns == columns.time and len(columns.time) == 1 else "pandas"


def _check_kept(rows: RowTimes, columns: Columns, template: Panel) -> None:
    """Refuse times and ids of another kind than those of fit."""
    if columns.time and rows.form.dated != template.frequency.dated:
        expected = "dates, as in fit" if template.frequency.dated else "whole numbers, as in fit"
        received = "dates" if rows.form.dated else "whole numbers"
        raise errors.value_error(f"time {columns.time[0]}", expected, received, "write them as in fit")
    if columns.time:
        check_zone(rows.form, template.form)
    if columns.id is not None:
        check_ids(rows.ids, template.ids, columns.id)


def _counted(
    rows: RowTimes, columns: Columns, template: Panel | None, options: TimeOptions
) -> tuple[np.ndarray, bool]:
    """Times as steps are counted, and whether they are those of the clocks of their zone."""
    if not columns.time:
        return rows.values, False
    times, _, wall = on_clock(rows, template.frequency if template is not None else None)
    if options.frequency is not None:
        if not rows.form.dated and rows.form.kind != "elapsed":
            way_out = "leave it out, or name a column of dates"
            raise errors.value_error("frequency", "none for times without dates", options.frequency, way_out)
        times, _ = rounded(times, options.frequency)
    return times, wall


def _frequencies(
    times: np.ndarray,
    starts: np.ndarray,
    rows: RowTimes,
    columns: Columns,
    template: Panel | None,
    wall: bool,
) -> SeriesFrequencies:
    """The frequencies of the series: those of fit, by id, or the ones found."""
    if not columns.time:
        return SeriesFrequencies(ROWS)
    if template is None:
        found = find_frequencies(times, starts, rows.form.dated, rows.form.kind == "elapsed")
        return found.in_zone(rows.form.zone, wall)
    own = {
        s: template.own_frequencies[name]
        for s, name in enumerate(rows.ids)
        if name in template.own_frequencies
    }
    if template.own_frequencies:
        for series in [s for s, name in enumerate(rows.ids) if name not in template.ids]:
            fitting = fitting_frequency(times[starts[series] : starts[series + 1]], template.frequencies)
            if fitting not in (None, template.frequency):
                own[series] = fitting
    frequencies = SeriesFrequencies(template.frequency, own)
    _check_fits(frequencies, times, np.repeat(np.arange(len(rows.ids)), np.diff(starts)))
    return frequencies


def _note_order(times: np.ndarray, codes: np.ndarray) -> None:
    by_series = np.argsort(codes, kind="stable")
    if (np.diff(times[by_series])[np.diff(codes[by_series]) == 0] < 0).any():
        errors.notice("The times were not in order; the rows have been sorted.")


def note_missing(count: int, frequency: Frequency) -> None:
    """Say how many rows the source does not have."""
    missing, they = ("1 row is", "it is") if count == 1 else (f"{count:,} rows are", "they are")
    errors.notice(f"{missing} missing in the {frequency} grid of the data; {they} {AS_UNKNOWN}")


def _check_twice(
    times: np.ndarray,
    codes: np.ndarray,
    rows: RowTimes,
    columns: Columns,
    template: Panel | None,
    is_rounded: bool,
) -> None:
    repeated = np.flatnonzero((times[1:] == times[:-1]) & (codes[1:] == codes[:-1]))
    if not len(repeated):
        return
    kind = "step" if rows.form.dated else "number"
    frequency = template.frequency if template is not None else Frequency(kind, 1)
    time = frequency.shown(times[repeated[:1]])[0]
    where = f" of series {rows.ids[codes[repeated[0]]]!r}" if columns.id else ""
    way_out = (
        "take a shorter step, or bring the rows together first"
        if is_rounded
        else "drop one of the rows"
        if columns.id
        else "drop one of the rows, or name the column of the series by id="
    )
    raise errors.value_error(f"time {columns.time[0]}", f"each time{where} once", f"{time} twice", way_out)


def _check_fits(frequencies: SeriesFrequencies, times: np.ndarray, codes: np.ndarray) -> None:
    """Refuse times that are not on the grid of fit."""
    for at in range(0, len(times), _CHUNK):
        part = slice(at, at + _CHUNK)
        fits = frequencies.fits(times[part], codes[part])
        if not fits.all():
            odd = at + int(fits.argmin())
            frequency = frequencies.of(int(codes[odd]))
            expected = f"times {frequency} apart, on the grid of the data in fit"
            shown = frequency.shown(times[odd : odd + 1])[0]
            raise errors.value_error("time", expected, shown, "bring them onto it")


def note_constant(panel: Panel) -> None:
    """Notice which targets never change."""
    low, high = np.fmin.reduce(panel.values, 0), np.fmax.reduce(panel.values, 0)
    for channel in np.flatnonzero(low == high):
        errors.notice(
            f"{panel.columns.target[channel]} is always {low[channel]:g}; it is answered with that."
        )


def note_undefined(values: np.ndarray, names: tuple[str, ...], transform: str) -> None:
    """Say which targets (N, C) have values of which the model's logarithm or square root does not exist."""
    odd = transforms.undefined(values, transform)
    if not odd.any():
        return
    channel = int(odd.any(0).argmax())
    shown = values[odd[:, channel], channel][0]
    kind = {"log": "logarithms", "sqrt": "square roots"}[transform]
    errors.notice(
        f"{names[channel]} is {shown:g}, but the model reads {kind}, which such a value does not have; "
        "it counts as the smallest value that has one. Fit with transform='none' for such data."
    )


def _check_target(values: np.ndarray, names: tuple[str, ...]) -> None:
    if not np.isnan(values[:_CHUNK]).all(0).any():
        return
    empty = np.flatnonzero(np.isnan(values).all(0))
    if len(empty):
        raise errors.value_error(
            f"target {names[empty[0]]}",
            "at least one number",
            "NaN or nothing in all rows",
            "check what was read",
        )


# ---- covariates


def _covariates(
    frame: pl.DataFrame, names: tuple[str, ...], template: Covariates | None, option: str
) -> Covariates:
    """Covariates of numbers and of text; a column of numbers in fit must hold numbers again."""
    text = [name for name in names if (name in template.labels if template else _is_text(frame[name]))]
    numeric = [name for name in names if name not in text]
    values = np.empty((frame.height, len(numeric)), np.float32)
    for column, name in enumerate(numeric):
        values[:, column] = numbers(frame, [name], option)[:, 0]
    return Covariates(values, {name: words(frame, name) for name in text})


def _is_text(column: pl.Series) -> bool:
    """Whether a covariate holds categories; a notice names numbers among its words."""
    if is_number(column):
        return False
    share = number_share(column)
    if 0 < share < 0.5:
        errors.notice(f"{column.name} holds text and numbers; it is read as categories.")
    return share < 0.5


def _static(frame: pl.DataFrame, columns: Columns, starts: np.ndarray, template: Panel | None) -> Covariates:
    """The covariates of each series' first row; an error where they change within a series."""
    rows = _covariates(frame, columns.static, template.static if template else None, "static_covariates")
    if not columns.static:
        return rows.take(starts[:-1])
    series = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    numeric = [name for name in columns.static if name not in rows.labels]
    for name, values in [*rows.labels.items(), *zip(numeric, rows.numbers.T, strict=True)]:
        different = np.flatnonzero(values != values[starts[:-1]][series])
        is_present = [values[row] == values[row] for row in different]  # NaN is not equal to itself
        different = different[is_present] if len(different) else different
        if len(different):
            raise errors.value_error(
                f"static_covariates {name}",
                "one value a series",
                f"another in row {different[0] + 1}",
                "name it in past_covariates or future_covariates",
            )
    return rows.take(starts[:-1])


def _scattered(
    values: np.ndarray, past: Covariates, future: Covariates, grid_rows: np.ndarray, count: int
) -> tuple[np.ndarray, Covariates, Covariates]:
    """Values and covariates on a grid of `count` rows, missing in rows that no row of the source is at."""

    def spread(array: np.ndarray, fill: Any) -> np.ndarray:
        grid = np.full((count, *array.shape[1:]), fill, array.dtype)
        grid[grid_rows] = array
        return grid

    def spread_all(covariates: Covariates) -> Covariates:
        labels = {name: spread(labels, "") for name, labels in covariates.labels.items()}
        return Covariates(spread(covariates.numbers, np.nan), labels)

    return spread(values, np.nan), spread_all(past), spread_all(future)
