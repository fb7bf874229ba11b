"""Knows many series side by side on one regular grid of time: read from tables and arrays, cut, joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from longspan import errors
from longspan.data.frequency import ROWS, Frequency, find_frequency, parse_times
from longspan.data.readers.tables import check_columns, is_number, is_path, numbers, read_table, words

from .covariates import Covariates

TIME_NAMES = ("time", "date", "datetime", "timestamp", "ds", "day", "month", "week", "year", "hour")

_CHUNK = 1 << 16  # rows that are looked at at once


@dataclass(frozen=True)
class Columns:
    """Which column of a table is what; time: one column, or year, month, day ... apart; id: the series' name.

    past, future, static: covariates known up to now, known beforehand, and one value a series.
    """

    target: tuple[str, ...] = ()
    time: tuple[str, ...] = ()
    id: str | None = None
    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    static: tuple[str, ...] = ()


@dataclass(frozen=True)
class Panel:
    """S series of C channels on regular grids, one after another in N rows.

    columns: what was read as what; frequency: of all series; values: (N, C) float64, NaN where missing;
    starts: (S+1,) int64, where series start, and N; first: (S,) int64, the whole step (see `Frequency`) of
    each series' first row; ids: the series' names; past, future: by row; static: by series.
    """

    columns: Columns
    frequency: Frequency
    values: np.ndarray
    starts: np.ndarray
    first: np.ndarray
    ids: tuple[str, ...]
    past: Covariates
    future: Covariates
    static: Covariates
    named: bool = field(default=True)  # whether times and targets came with names

    def series_of(self, rows: np.ndarray) -> np.ndarray:
        """The number of the series that rows (0 to N, the row after a series' last being its own) are in."""
        return np.searchsorted(self.starts, rows, side="right") - 1

    def steps(self, rows: np.ndarray, series: np.ndarray) -> np.ndarray:
        """The whole steps in time of rows; rows beyond a series' end are in its future."""
        return rows - self.starts[series] + self.first[series]

    @property
    def ends(self) -> np.ndarray:
        """(S,): the whole step after each series' last row."""
        return self.first + np.diff(self.starts)

    def last_seen(self) -> np.ndarray:
        """(S,): for each series the row after the last one in which any target is there."""
        ends = np.empty(len(self.ids), np.int64)
        for s in range(len(self.ids)):
            part = self.values[self.starts[s] : self.starts[s + 1]]
            seen = np.flatnonzero(~np.isnan(part).all(1))
            ends[s] = self.starts[s] + (seen[-1] + 1 if len(seen) else 0)
        return ends

    def tail(self, rows: int) -> Panel:
        """The last rows of every series, as copies."""
        return self.cut(np.maximum(self.starts[1:] - rows, self.starts[:-1]), self.starts[1:])

    def cut(self, begins: np.ndarray, ends: np.ndarray) -> Panel:
        """Rows begins[s] to ends[s] of every series, as copies."""
        take = np.concatenate([np.arange(a, b) for a, b in zip(begins, ends, strict=True)])
        return replace(
            self,
            values=self.values[take],
            starts=np.concatenate([[0], np.cumsum(ends - begins)]).astype(np.int64),
            first=self.first + begins - self.starts[:-1],
            past=self.past.take(take),
            future=self.future.take(take),
        )

    def only(self, names: tuple[str, ...]) -> Panel:
        """The series of these names, in this order, as copies."""
        places = np.array([self.ids.index(name) for name in names], np.int64)
        spans = [np.arange(int(self.starts[s]), int(self.starts[s + 1])) for s in places.tolist()]
        take = np.concatenate(spans)
        return replace(
            self,
            values=self.values[take],
            starts=np.concatenate([[0], np.cumsum([len(span) for span in spans])]).astype(np.int64),
            first=self.first[places],
            ids=names,
            past=self.past.take(take),
            future=self.future.take(take),
            static=self.static.take(places),
        )

    def joined(self, new: Panel) -> Panel:
        """These series continued by new rows; new series are added.

        Raises:
            ValueError: rows that are there already, or columns or steps of another kind.
        """
        if new.frequency != self.frequency and len(new.values) > len(new.ids):
            expected = f"rows {self.frequency} apart, as in fit"
            raise errors.value_error(
                "source", expected, f"{new.frequency} apart", "bring them onto that step"
            )
        places = {name: place for place, name in enumerate(new.ids)}
        held = [_rows_of(self, s, _rows_at(new, places.get(name))) for s, name in enumerate(self.ids)]
        held += [_rows_at(new, s) for s, name in enumerate(new.ids) if name not in self.ids]
        return _stacked(self, [part for part in held if part is not None], new)

    def state(self) -> dict[str, Any]:
        """Plain values and tensors that `from_state` makes the same panel from."""
        import torch  # only here: reading tables needs none of it

        c = self.columns
        return {
            "columns": [c.target, c.time, c.id, c.past, c.future, c.static],
            "frequency": self.frequency.state(),
            "values": torch.from_numpy(self.values.copy()),
            "starts": self.starts.tolist(),
            "first": self.first.tolist(),
            "ids": self.ids,
            "named": self.named,
            **{name: getattr(self, name).state() for name in ("past", "future", "static")},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Panel:
        """The panel that gave this state."""
        return cls(
            Columns(*state["columns"]),
            Frequency.from_state(state["frequency"]),
            state["values"].numpy(),
            np.array(state["starts"], np.int64),
            np.array(state["first"], np.int64),
            tuple(state["ids"]),
            *(Covariates.from_state(state[name]) for name in ("past", "future", "static")),
            named=state["named"],
        )


class Origins(NamedTuple):
    """Places at which forecasts begin: rows (n,) int64 of the panel, each the first row that is foretold."""

    panel: Panel
    rows: np.ndarray

    @property
    def series(self) -> np.ndarray:
        """(n,): the numbers of their series; the row after a series' last belongs to it."""
        if len(self.panel.ids) == 1:
            return np.zeros(len(self.rows), np.int64)
        return self.panel.series_of(self.rows - 1)


class _Rows(NamedTuple):
    """A stretch of one series."""

    name: str
    first: int
    values: np.ndarray
    past: Covariates
    future: Covariates
    static: Covariates


def _rows_at(panel: Panel, series: int | None) -> _Rows | None:
    if series is None:
        return None
    span = np.arange(panel.starts[series], panel.starts[series + 1])
    return _Rows(
        panel.ids[series],
        int(panel.first[series]),
        panel.values[span],
        panel.past.take(span),
        panel.future.take(span),
        panel.static.take(np.array([series])),
    )


def _rows_of(old: Panel, series: int, new: _Rows | None) -> _Rows:
    """A series of the old panel, continued by new rows."""
    held = _rows_at(old, series)
    assert held is not None
    if new is None:
        return held
    end = held.first + len(held.values)
    first = end if old.frequency == ROWS else new.first  # rows of an array have no times: they follow
    if first < end:
        at = old.frequency.shown(old.frequency.times(np.array([first])))[0]
        expected = f"rows after the last of series {held.name!r}" if held.name else "rows after the last ones"
        raise errors.value_error("source", expected, f"one at {at}", "pass new rows only")
    gap = first - end
    return _Rows(
        held.name,
        held.first,
        np.concatenate([held.values, np.full((gap, held.values.shape[1]), np.nan), new.values]),
        _chained(held.past, new.past, gap),
        _chained(held.future, new.future, gap),
        held.static,
    )


def _chained(one: Covariates, other: Covariates, gap: int) -> Covariates:
    hole = np.full((gap, one.numbers.shape[1]), np.nan, np.float32)
    labels = {
        name: np.concatenate([values, np.full(gap, "", object), other.labels[name]])
        for name, values in one.labels.items()
    }
    return Covariates(np.concatenate([one.numbers, hole, other.numbers]), labels)


def _stacked(like: Panel, rows: Sequence[_Rows], new: Panel) -> Panel:
    def together(parts: Sequence[Covariates]) -> Covariates:
        names = parts[0].labels
        return Covariates(
            np.concatenate([part.numbers for part in parts]),
            {name: np.concatenate([part.labels[name] for part in parts]) for name in names},
        )

    lengths = [len(row.values) for row in rows]
    return replace(
        like,
        values=np.concatenate([row.values for row in rows]),
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        first=np.array([row.first for row in rows], np.int64),
        ids=tuple(row.name for row in rows),
        past=together([row.past for row in rows]),
        future=together([row.future for row in rows]),
        static=together([row.static for row in rows]),
    )


# ---- reading


def read_panel(
    source: Any, columns: Columns, *, known: Panel | None = None, need_target: bool = True
) -> Panel:
    """A panel out of what the user has.

    Args:
        source: a path, a frame, an array (T,) or (T, C), or a list of such arrays, one a series.
        columns: what is named; where target or time is not, it is found.
        known: the panel that a model was fitted on: its columns, kinds and frequency are wanted again.
        need_target: whether there must be values of the target.

    Raises:
        FileNotFoundError, ValueError, TypeError: one sentence that names what is wrong with which column.
    """
    if isinstance(source, Panel):
        return source
    if _is_arrays(source):
        return _from_arrays(source, columns, known)
    frame = read_table(source)
    name = f"file {source}" if is_path(source) else "source"
    columns = _found(frame, known.columns if known is not None else columns, name)
    return _from_table(frame, columns, known, need_target)


def _is_arrays(source: Any) -> bool:
    import torch

    if isinstance(source, (np.ndarray, torch.Tensor)):
        return True
    return isinstance(source, (list, tuple)) and not is_path(source)


def _from_arrays(source: Any, columns: Columns, known: Panel | None) -> Panel:
    rows = [np.asarray(one, dtype=np.float64) for one in _as_list(source)]
    rows = [one[:, None] if one.ndim == 1 else one for one in rows]
    widths = {one.shape[1:] for one in rows}
    if not rows or not all(one.ndim == 2 for one in rows) or len(widths) > 1:
        received = " and ".join(str(one.shape) for one in rows[:3]) or "an empty list"
        raise errors.value_error("source", "arrays (T,) or (T, C) of one width", received, "make them so")
    values = rows[0] if len(rows) == 1 else np.concatenate(rows)
    if values.size == 0:
        raise errors.value_error("source", "at least one row", "no data", "check what was read")
    if np.isinf(values).any():
        place = np.argwhere(np.isinf(values))[0].tolist()
        raise errors.value_error(
            "source", "finite numbers", f"{values[tuple(place)]} at {place}", "correct it or make it NaN"
        )
    names = _array_columns(values.shape[1], columns, known)
    _check_target(values[:, names[1]], tuple(names[0].target))
    lengths = [len(one) for one in rows]
    ids = ("",) if len(rows) == 1 else tuple(str(place) for place in range(len(rows)))
    empty = Covariates(np.empty((len(values), 0), np.float32), {})
    lone = Covariates(np.empty((len(rows), 0), np.float32), {})
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Panel(
        names[0], ROWS, values, starts, np.zeros(len(rows), np.int64), ids, empty, empty, lone, named=False
    )


def _as_list(source: Any) -> list[Any]:
    """Arrays of a source: a list of numbers is one series, a list of sequences several."""
    if isinstance(source, (list, tuple)):
        if source and np.ndim(source[0]) == 0:
            return [np.asarray(source, dtype=np.float64)]
        return list(source)
    return [source]


def _array_columns(width: int, columns: Columns, known: Panel | None) -> tuple[Columns, slice]:
    if columns.past or columns.future or columns.static or columns.id:
        expected = "a frame or a file, whose columns have names"
        raise errors.value_error("source", expected, "an array", "put it into a frame first")
    names = tuple(str(place) for place in range(width)) if width > 1 else ("value",)
    if known is not None and len(known.columns.target) != width:
        raise errors.value_error(
            "source", f"{len(known.columns.target)} columns as in fit", width, "pass the same ones"
        )
    if known is not None:
        names = known.columns.target
    elif columns.target:
        if len(columns.target) != width:
            raise errors.value_error(
                "target", f"{width} names for an array of {width} columns", columns.target, "or leave it out"
            )
        names = columns.target
    return Columns(target=names), slice(None)


def _found(frame: pl.DataFrame, columns: Columns, name: str) -> Columns:
    """The columns with what was not named found."""
    for option in ("target", "time", "past", "future", "static"):
        check_columns(frame, _split(frame, getattr(columns, option)), option, name)
    if columns.id is not None:
        check_columns(frame, [columns.id], "id", name)
    columns = replace(columns, time=_split(frame, columns.time), target=_split(frame, columns.target))
    if not columns.time:
        columns = replace(columns, time=_find_time(frame, columns))
    if not columns.target:
        columns = replace(columns, target=_find_target(frame, columns, name))
    taken = [*columns.target, *columns.time, *columns.past, *columns.future, *columns.static]
    taken += [columns.id] if columns.id else []
    twice = next((one for one in taken if taken.count(one) > 1), None)
    if twice is not None and columns.time.count(twice) == 0:
        raise errors.value_error("columns", "each column in one part", f"{twice!r} in two", "name it once")
    return columns


def _split(frame: pl.DataFrame, names: tuple[str, ...]) -> tuple[str, ...]:
    """Names with those that stand for several, "year,month,day", taken apart."""
    parts = [part if part in frame.columns else part.split(",") for part in names]
    return tuple(
        one.strip() if isinstance(part, list) else one
        for part in parts
        for one in ([part] if isinstance(part, str) else part)
    )


def _find_time(frame: pl.DataFrame, columns: Columns) -> tuple[str, ...]:
    """The column of dates: by its type, by a usual name, or by text that can be read as dates."""
    taken = {*columns.target, columns.id, *columns.past, *columns.future, *columns.static}
    free = [column for column in frame.columns if column not in taken]
    for column in free:
        if frame[column].dtype.is_temporal():
            return (column,)
    usual = sorted(free, key=lambda column: column.lower() not in TIME_NAMES)
    for column in usual:
        if frame[column].dtype == pl.String and frame[column].null_count() == 0:
            head = frame.select(column).head(50)
            try:
                if parse_times(head, (column,)) is not None:
                    return (column,)
            except ValueError:
                continue  # text that is a date in some rows only is no time column
    return tuple(
        column for column in usual[:1] if column.lower() in TIME_NAMES[:5] and is_number(frame[column])
    )


def _find_target(frame: pl.DataFrame, columns: Columns, name: str) -> tuple[str, ...]:
    taken = {*columns.time, columns.id, *columns.past, *columns.future, *columns.static}
    free = [column for column in frame.columns if column not in taken and is_number(frame[column])]
    if len(free) == 1:
        return tuple(free)
    if not free:
        text = next((column for column in frame.columns if column not in taken), None)
        if text is not None:
            numbers(frame, [text], "target")
        raise errors.value_error("target", f"a column of numbers in {name}", "none", "check what was read")
    received = f"{len(free)} ({', '.join(free[:6])}{', …' if len(free) > 6 else ''})"
    raise errors.value_error(
        "target",
        "one column of numbers to find it by itself",
        received,
        f"name it, such as target={free[-1]!r}",
    )


def _from_table(frame: pl.DataFrame, columns: Columns, known: Panel | None, need_target: bool) -> Panel:
    times, dated = _times(frame, columns)
    codes, ids = _ids(frame, columns)
    frame, times, codes = _sorted(frame, times, codes)
    counts = np.bincount(codes, minlength=len(ids))
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    _check_twice(times, codes, ids, columns, dated)
    frequency = _frequency(times, starts, dated, columns, known)
    first, ends = frequency.steps(times[starts[:-1]]), frequency.steps(times[starts[1:] - 1])
    values = numbers(frame, columns.target, "target")
    if need_target:
        _check_target(values, columns.target)
    past = _covariates(frame, columns.past, known.past if known else None, "past_covariates")
    future = _covariates(frame, columns.future, known.future if known else None, "future_covariates")
    static = _static(frame, columns, starts, known)
    grid = np.concatenate([[0], np.cumsum(ends - first + 1)]).astype(np.int64)
    if grid[-1] > len(values):
        count = int(grid[-1]) - len(values)
        missing, they = ("1 row is", "it is") if count == 1 else (f"{count:,} rows are", "they are")
        errors.notice(f"{missing} missing in the {frequency} grid of the data; {they} treated as unknown.")
        place = grid[:-1][codes] + frequency.steps(times) - first[codes]
        values, past, future = _scattered(values, past, future, place, int(grid[-1]))
    return Panel(columns, frequency, values, grid, first, ids, past, future, static)


def _frequency(
    times: np.ndarray, starts: np.ndarray, dated: bool, columns: Columns, known: Panel | None
) -> Frequency:
    if known is None:
        return find_frequency(times, starts, dated) if columns.time else ROWS
    frequency = known.frequency
    if columns.time and not _fits(frequency, times):
        expected = f"times {frequency} apart, on the grid of the data in fit"
        odd = times[np.argmax(frequency.times(frequency.steps(times)) != times)]
        raise errors.value_error("time", expected, frequency.shown(np.array([odd]))[0], "bring them onto it")
    return frequency


def _fits(frequency: Frequency, times: np.ndarray) -> bool:
    """Whether all times are on the frequency's grid."""
    parts = (times[at : at + _CHUNK] for at in range(0, len(times), _CHUNK))
    return all(np.array_equal(frequency.times(frequency.steps(part)), part) for part in parts)


def _times(frame: pl.DataFrame, columns: Columns) -> tuple[np.ndarray, bool]:
    if not columns.time:
        return np.arange(frame.height, dtype=np.int64), False
    found = parse_times(frame, columns.time)
    if found is None:
        shown = repr(frame[columns.time[0]][0])
        raise errors.value_error(
            f"time {columns.time[0]}",
            "dates, date-times or whole numbers",
            shown,
            "name the column of the times",
        )
    return found


def _ids(frame: pl.DataFrame, columns: Columns) -> tuple[np.ndarray, tuple[str, ...]]:
    if columns.id is None:
        return np.zeros(frame.height, np.int32), ("",)
    names = frame[columns.id].cast(pl.String).fill_null("")
    found = names.unique(maintain_order=True)
    order = {name: place for place, name in enumerate(found.to_list())}
    codes = names.replace_strict(order, return_dtype=pl.Int32).to_numpy()
    return codes, tuple(found.to_list())


def _sorted(
    frame: pl.DataFrame, times: np.ndarray, codes: np.ndarray
) -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
    if bool(((codes[1:] > codes[:-1]) | ((codes[1:] == codes[:-1]) & (times[1:] >= times[:-1]))).all()):
        return frame, times, codes
    order = np.lexsort((times, codes))
    by_series = np.argsort(codes, kind="stable")
    if (np.diff(times[by_series])[np.diff(codes[by_series]) == 0] < 0).any():
        errors.notice("The times were not in order; the rows have been sorted.")
    return frame[order], times[order], codes[order]


def _check_twice(
    times: np.ndarray, codes: np.ndarray, ids: tuple[str, ...], columns: Columns, dated: bool
) -> None:
    twice = np.flatnonzero((times[1:] == times[:-1]) & (codes[1:] == codes[:-1]))
    if not len(twice):
        return
    at = Frequency("step" if dated else "number", 1).shown(times[twice[:1]])[0]
    where = f" of series {ids[codes[twice[0]]]!r}" if columns.id else ""
    way_out = (
        "drop one of the rows"
        if columns.id
        else "drop one of the rows, or name the column of the series with id"
    )
    raise errors.value_error(f"time {columns.time[0]}", f"each time{where} once", f"{at} twice", way_out)


def note_constant(panel: Panel) -> None:
    """Say which targets never change."""
    low, high = np.fmin.reduce(panel.values, 0), np.fmax.reduce(panel.values, 0)
    for channel in np.flatnonzero(low == high):
        errors.notice(
            f"{panel.columns.target[channel]} is always {low[channel]:g}; it is answered with that."
        )


def _check_target(values: np.ndarray, names: tuple[str, ...]) -> None:
    empty = np.flatnonzero(np.isnan(values).all(0))
    if len(empty):
        raise errors.value_error(
            f"target {names[empty[0]]}",
            "at least one number",
            "NaN or nothing in all rows",
            "check what was read",
        )


def _covariates(
    frame: pl.DataFrame, names: tuple[str, ...], known: Covariates | None, option: str
) -> Covariates:
    """Numbers and text apart; what was a number in fit must be one again."""
    text = [name for name in names if (name in known.labels if known else not is_number(frame[name]))]
    plain = [name for name in names if name not in text]
    found = np.empty((frame.height, len(plain)), np.float32)
    for place, name in enumerate(plain):
        found[:, place] = numbers(frame, [name], option)[:, 0]
    return Covariates(found, {name: words(frame, name) for name in text})


def _static(frame: pl.DataFrame, columns: Columns, starts: np.ndarray, known: Panel | None) -> Covariates:
    found = _covariates(frame, columns.static, known.static if known else None, "static")
    series = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    for name, values in [*found.labels.items(), *zip(columns.static, found.numbers.T, strict=False)]:
        odd = np.flatnonzero(values != values[starts[:-1]][series])
        odd = odd[[values[o] == values[o] for o in odd]] if len(odd) else odd
        if len(odd):
            raise errors.value_error(
                f"static {name}",
                "one value a series",
                f"another in row {odd[0] + 1}",
                "name it in past or future",
            )
    return found.take(starts[:-1])


def _scattered(values: np.ndarray, past: Covariates, future: Covariates, place: np.ndarray, rows: int) -> Any:
    def spread(array: np.ndarray, fill: Any) -> np.ndarray:
        grid = np.full((rows, *array.shape[1:]), fill, array.dtype)
        grid[place] = array
        return grid

    def wide(found: Covariates) -> Covariates:
        labels = {name: spread(labels, "") for name, labels in found.labels.items()}
        return Covariates(spread(found.numbers, np.nan), labels)

    return spread(values, np.nan), wide(past), wide(future)
