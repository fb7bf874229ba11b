"""Finds the columns of times and series ids in a table, and gives the time and series of every row."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from longspan import errors

from .frequency import Frequency
from .layouts import DAY, SECOND
from .readers.numeric import first_object, is_marked
from .readers.tables import ReadOptions, is_number
from .timestamps import FRACTION_NAMES, NUMBERED, PARTS, TIME_NAMES, TimeForm, parse_times, to_wall

ID_NAMES = ("unique_id", "id", "series_id", "item_id", "series", "sequence", "entity", "sku", "store", "case")
"""Names of columns that tell series apart, the more usual first."""

_MOSTLY = 0.8  # share of the first rows that must be dates for a column with odd cells to hold the times
_LARGEST_WHOLE = 2.0**53  # above it not every whole number is a float
_LEAST_NAMES = 10  # rows from which text that differs in every row may be times
_HEAD = 50  # rows by which a column of text is tried as times
_STEP = re.compile(r"(\d*\.?\d*)\s*([A-Za-z]+)")
_STEP_UNITS = {
    "us": 1, "ms": 1000, "s": SECOND, "sec": SECOND, "min": 60 * SECOND, "t": 60 * SECOND, "m": 60 * SECOND,
    "h": 3600 * SECOND, "hour": 3600 * SECOND, "d": DAY, "day": DAY, "w": 7 * DAY, "week": 7 * DAY,
}  # fmt: skip


@dataclass(frozen=True)
class TimeOptions(ReadOptions):
    """The options for reading files and the times in them.

    time_format: the form of dates as text, such as "%d/%m/%Y"; None to find it.
    frequency: the step to which times are rounded, such as "10min"; None for the step of the data.
    """

    time_format: str | None = None
    frequency: str | None = None


class RowTimes(NamedTuple):
    """The times of a table's rows, and the series of each row.

    values: (N,) int64, see `timestamps.Times`; form: of the column of times.
    series: (N,) int32, the index in `ids` of each row's series; ids: the names of the series.
    """

    values: np.ndarray
    form: TimeForm
    series: np.ndarray
    ids: tuple[str, ...]


NO_TIMES = TimeForm("number")


# ---- which columns


def find_time(
    frame: pl.DataFrame, taken: Collection[str | None], index: Sequence[str] = ()
) -> tuple[str, ...]:
    """The columns of the times: by type, by a usual name, or by text that reads as dates; () for none.

    Args:
        taken: columns that have another role; index: columns that were the index of a pandas frame.

    Raises:
        ValueError: a column with a usual name holds times in some rows only; one sentence.
    """
    free = [column for column in frame.columns if column not in taken]
    free.sort(key=lambda column: column not in index)
    by_name = sorted(free, key=lambda column: (column not in index, _name_rank(column)))
    time = next((column for column in free if _is_dated(frame[column])), None)
    if time is None:
        time = next((column for column in by_name if _reads_as_dates(frame, column)), None)
    if time is None:
        parts = [column for column in free if column.lower() in PARTS]
        by_name = [column for column in by_name if len(parts) < 2 or column not in parts]
        time = next((column for column in by_name if _is_numbered(frame[column])), None)
    if time is None:  # one with odd cells, of which the first is told where the times are read
        time = next((column for column in by_name if _reads_as_dates(frame, column, least=_MOSTLY)), None)
    if time is None:
        return ()
    clock = next((column for column in free if column != time and _is_clock(frame[column])), None)
    if clock is not None and _is_midnight(frame, time) and clock.lower() in (*TIME_NAMES, "time_of_day"):
        return time, clock
    return (time,)


def _name_rank(column: str) -> int:
    """The rank of a column's name among the usual names of times, `len(TIME_NAMES)` for other names."""
    name = column.strip().lower()
    return TIME_NAMES.index(name) if name in TIME_NAMES else len(TIME_NAMES)


def _is_dated(column: pl.Series) -> bool:
    return isinstance(column.dtype, (pl.Datetime, pl.Duration)) or column.dtype == pl.Date


def _reads_as_dates(frame: pl.DataFrame, column: str, least: float = 1.0) -> bool:
    """Whether text stands for dates in this share of its first rows, each row with a date of its own."""
    if frame[column].dtype != pl.String:
        return False
    named = _name_rank(column) < len(TIME_NAMES)
    head = frame.select(pl.col(column).drop_nulls().head(_HEAD))
    if not head.height or (frame[column].null_count() and not named):
        return False
    try:
        return parse_times(head, (column,)) is not None
    except ValueError as error:
        return named or "told apart" in str(error) or (least < 1 and _mostly_dates(head, column, least))


def _mostly_dates(head: pl.DataFrame, column: str, least: float) -> bool:
    """Whether a share of the rows reads as dates without the others, and all rows differ."""
    cells = head[column]
    dated = cells.filter(cells.str.contains(r"\d{1,4}[-/. ]\w{1,9}[-/. ]\d{1,4}|\d{8}"))
    enough = least * len(cells) <= len(dated) < len(cells) and cells.n_unique() == len(cells)
    try:
        return enough and parse_times(dated.to_frame(), (column,)) is not None
    except ValueError:
        return False


def _is_numbered(column: pl.Series) -> bool:
    """Whether a column of numbers holds times: by its name, or as dates written as digits (20240131)."""
    name = column.name.strip().lower()
    if not is_number(column) or column.dtype == pl.Boolean or column.null_count() == len(column):
        return False
    if name in NUMBERED:
        return True
    if column.null_count() or not column.dtype.is_integer():
        return False
    digits = int(column[0]) > 19_000_000  # days as 20240131, or with hours, under any name
    return (digits or name in ("year", "jahr", "month", "period")) and _digits_form(column) is not None


def _digits_form(column: pl.Series) -> TimeForm | None:
    """The form of a column of numbers that stand for dates, None for plain numbers."""
    try:
        with errors.collect_notices():
            read = parse_times(column.head(_HEAD).to_frame(), (column.name,))
    except ValueError:
        return None
    return read.form if read is not None and read.form.kind == "digits" else None


def _is_clock(column: pl.Series) -> bool:
    """Whether a column holds times of day without a date."""
    if column.dtype == pl.Time:
        return True
    if column.dtype != pl.String:
        return False
    head = column.drop_nulls().head(_HEAD)
    return bool(len(head)) and bool(
        head.str.contains(r"^\s*\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?\s*([AaPp][Mm])?$").all()
    )


def _is_midnight(frame: pl.DataFrame, column: str) -> bool:
    head = frame.select(pl.col(column).head(_HEAD))
    try:
        read = parse_times(head, (column,))
    except ValueError:
        return True  # day and month of some rows alone cannot be told apart
    return read is not None and read.form.dated and not (read.values % DAY).any()


def check_unused(
    frame: pl.DataFrame, time: Sequence[str], taken: Collection[str | None], index: Sequence[str] = ()
) -> None:
    """Say which columns look like times, or were the index of a frame, and are not used.

    Raises:
        ValueError: no column holds times, but one is called so and holds text; one sentence.
    """
    for column in frame.columns:
        if column in taken or column in time:
            continue
        name = column.strip().lower()
        if not time and (name in NUMBERED or (name in TIME_NAMES and is_row_name(frame[column]))):
            shown = next((value for value in frame[column].to_list() if value is not None), None)
            expected = "dates, date-times or numbers"
            way_out = "write them so, give time_format, or rename the column if it is no time"
            raise errors.value_error(f"column {column}", expected, repr(shown)[:60], way_out)
        if _is_dated(frame[column]) and frame[column].null_count() < frame.height:
            errors.notice(f"{column} looks like times too and is not used; name the times by time=.")
        elif not time and name in FRACTION_NAMES and _has_fractions(frame[column]):
            errors.notice(
                f"{column} looks like times and is not used; write them as 2024-01-31 and name them by time=."
            )
        elif column in index and name not in ID_NAMES:
            errors.notice(f"The index ({column}) holds no times and is not used.")
        elif not time and is_row_name(frame[column]):
            errors.notice(
                f"{column} differs in every row and is not used; if it holds times, give their form by "
                "time_format."
            )
        elif not time and name in TIME_NAMES and frame[column].dtype == pl.String:
            shown = next((value for value in frame[column].to_list() if value is not None), None)
            errors.notice(f"{column} holds no dates ({str(shown)[:30]!r}) and is not used as time.")
    parts = [column for column in frame.columns if column.lower() in ("year", "month", "day", "hour")]
    if not time and len(parts) > 1 and not set(parts) & set(taken):
        errors.notice(
            f"{', '.join(parts)} look like times and are not used; name them by time={','.join(parts)}."
        )


def _has_fractions(column: pl.Series) -> bool:
    """Whether a column of numbers has some that are not whole."""
    return column.dtype.is_float() and bool((column.drop_nulls() % 1 != 0).any())


def is_row_name(column: pl.Series) -> bool:
    """Whether text with digits differs in every row, as times do that could not be read."""
    if column.dtype != pl.String or len(column) < _LEAST_NAMES or column.null_count() or is_marked(column):
        return False
    head = column.head(_HEAD)
    return bool(head.str.contains(r"\d").all()) and head.n_unique() == len(head) and _is_unique(column)


def _is_unique(column: pl.Series) -> bool:
    return not comes_twice(column.to_frame(), [column.name])


def comes_twice(frame: pl.DataFrame, time: Sequence[str]) -> bool:
    """Whether some row's times are those of another row; times in order are compared with the next only."""
    column = frame[time[0]]
    if any(frame[name].dtype == pl.Object or frame[name].dtype.is_nested() for name in time):
        return False  # no times at all, which is refused where they are read
    if len(time) == 1 and column.is_sorted():
        return _has_equal_neighbours(column)
    hashes = np.sort(frame.select(time).hash_rows().to_numpy())
    return bool((hashes[1:] == hashes[:-1]).any())


def _has_equal_neighbours(column: pl.Series) -> bool:
    """Whether a row's value is that of the next row."""
    if not column.dtype.is_temporal() or column.null_count():
        return bool((column == column.shift(1)).any())
    values = column.to_physical().to_numpy()
    return bool((values[1:] == values[:-1]).any())


def find_id(frame: pl.DataFrame, taken: Collection[str | None], index: Sequence[str]) -> str | None:
    """The column of series ids in a table whose times repeat: of the index, or by a usual name; else None."""
    levels = [column for column in index if column not in taken]
    if len(levels) == 1 and len(index) > 1:
        return levels[0]
    if len(levels) > 1:
        way_out = "call reset_index() and name the columns"
        raise errors.value_error("source", "an index of a time and an id", ", ".join(levels), way_out)
    names = {column.lower(): column for column in frame.columns if column not in taken}
    return next((names[name] for name in ID_NAMES if name in names), None)


def has_series(frame: pl.DataFrame, time: Sequence[str], taken: Collection[str | None]) -> bool:
    """Whether a table holds several series: times come several times, or series stand one below another.

    Args:
        taken: columns that have a role, which are no ids.
    """
    if comes_twice(frame, time):
        return True
    name = find_id(frame, taken, ())
    if name is None or frame[name].dtype == pl.Object or frame[name].dtype.is_nested():
        return False
    series = frame[name].n_unique()
    if not 1 < series <= frame.height / 2:
        return False
    changes = (frame[name] != frame[name].shift(1)).fill_null(False).to_numpy()[1:]
    return name == "unique_id" or (int(changes.sum()) == series - 1 and _start_anew(frame, time, changes))


def _start_anew(frame: pl.DataFrame, time: Sequence[str], changes: np.ndarray) -> bool:
    """Whether times rise within series that stand one below another, and go back from one to the next.

    Args:
        changes: (N - 1,) bool, whether the next row is of another series.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", errors.LongspanWarning)
            read = parse_times(frame, time)
    except ValueError:
        return False
    if read is None:
        return False
    gaps = np.diff(read.values)
    return bool((gaps[changes] < 0).any()) and bool((gaps[~changes] > 0).all())


# ---- rows


def row_times(
    frame: pl.DataFrame,
    time: Sequence[str],
    id: str | None,
    *,
    form: TimeForm | None = None,
    options: TimeOptions | None = None,
) -> RowTimes:
    """The times and series of all rows; the times are row numbers if no column holds times.

    Args:
        form: of the times in fit, None during fit.

    Raises:
        ValueError: a time cannot be read, or an id is missing; one sentence.
    """
    series, ids = series_of(frame, id)
    if not time:
        return RowTimes(np.arange(frame.height, dtype=np.int64), NO_TIMES, series, ids)
    options = options or TimeOptions()
    read = parse_times(frame, time, form=form, series=series, written=options.time_format)
    if read is None:
        shown = repr(frame[time[0]][0])
        expected = "dates, date-times or whole numbers"
        raise errors.value_error(f"time {time[0]}", expected, shown, "name the column of the times")
    return RowTimes(read.values, read.form, series, ids)


def series_of(frame: pl.DataFrame, id: str | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """The index of each row's series (N,) int32, and the names of the series in order of appearance."""
    if id is None:
        return np.zeros(frame.height, np.int32), ("",)
    names = canonical_ids(frame[id])
    if names.null_count():
        row = int(names.is_null().arg_true()[0]) + 1
        way_out = "fill it or drop the row"
        raise errors.value_error(f"column {id}", "an id in every row", f"none in row {row}", way_out)
    unique = names.unique(maintain_order=True)
    order = {name: place for place, name in enumerate(unique.to_list())}
    codes = names.replace_strict(order, return_dtype=pl.Int32).to_numpy()
    return codes, tuple(unique.to_list())


def canonical_ids(column: pl.Series) -> pl.Series:
    """Ids as text; whole numbers without a decimal point.

    >>> canonical_ids(pl.Series([1.0, 2.0])).to_list(), canonical_ids(pl.Series(["0007"])).to_list()
    (['1', '2'], ['0007'])

    Raises:
        ValueError: they are neither text, numbers nor dates; one sentence.
    """
    if column.dtype == pl.Object or column.dtype.is_nested():
        received = first_object(column)
        raise errors.value_error(f"column {column.name}", "ids of text or numbers", received, "write them so")
    if column.dtype.is_float():
        column = column.fill_nan(None)
        if bool(((column == column.round()) & (column.abs() < _LARGEST_WHOLE)).all()):
            column = column.cast(pl.Int64)
    text = column.cast(pl.String)
    if column.dtype == pl.String:
        text = text.str.strip_chars()
        if bool(text.str.contains(r"^-?\d+\.0+$").all()):
            text = text.str.replace(r"\.0+$", "")
    return text


def natural_ids(column: pl.Series, *, written: bool) -> pl.Series:
    """Ids in the type in which they are answered: whole numbers as such, zeros in front make text.

    Args:
        written: whether the column is text of a file, in which 7 and "7" look alike.

    >>> natural_ids(pl.Series(["7", "42"]), written=True).to_list()
    [7, 42]
    >>> natural_ids(pl.Series(["7", "42"]), written=False).to_list()
    ['7', '42']
    """
    text = canonical_ids(column)
    if not written and not column.dtype.is_numeric():
        return text.alias(column.name)
    whole = bool(text.str.contains(r"^(0|-?[1-9]\d{0,17})$").all())
    return (text.cast(pl.Int64) if whole else text if written else column).alias(column.name)


def check_ids(new: Iterable[str], known: Iterable[str], column: str) -> None:
    """Refuse ids that differ from those of fit only by leading zeros.

    Raises:
        ValueError: one sentence that names the first.
    """
    stripped = {name.lstrip("0"): name for name in known if name.startswith("0")}
    known = set(known)
    for name in new:
        if name not in known and name.lstrip("0") in stripped:
            expected = f"ids as in fit, such as {stripped[name.lstrip('0')]!r}"
            raise errors.value_error(f"column {column}", expected, repr(name), "write it with its zeros")


def order_of(times: np.ndarray, series: np.ndarray) -> np.ndarray | None:
    """The order that sorts rows by series and time, None if they are sorted."""
    rising = (series[1:] > series[:-1]) | ((series[1:] == series[:-1]) & (times[1:] >= times[:-1]))
    return None if bool(rising.all()) else np.lexsort((times, series))


# ---- clocks and steps


def on_clock(rows: RowTimes, fitted: Frequency | None) -> tuple[np.ndarray, str | None, bool]:
    """The times in which steps are counted: local times of daily data in a zone, else UTC.

    A day in local time has 23 or 25 hours when the clocks change. Data are daily if all local times have the
    same time of day.

    Args:
        fitted: the frequency that fit found, None during fit.

    Returns:
        The times, the zone in which answers are given, and whether the times are local.
    """
    zone = rows.form.zone if fitted is None else fitted.zone
    if zone is None or rows.form.zone is None:
        return rows.values, zone, False
    if fitted is not None and not fitted.wall:
        return rows.values, zone, False
    wall = to_wall(rows.values, zone)
    daily = fitted is not None or len(np.unique(wall % DAY)) == 1
    return (wall, zone, True) if daily else (rows.values, zone, False)


def rounded(times: np.ndarray, step: str) -> tuple[np.ndarray, int]:
    """Times rounded to the nearest multiple of a step, such as "10min", and the step in microseconds.

    Raises:
        ValueError: the step cannot be read; one sentence.
    """
    size = step_size(step)
    return (times + size // 2) // size * size, size


def step_size(step: str) -> int:
    """The microseconds of a step such as "10min", "1h" or "0.5s".

    >>> step_size("10min")
    600000000
    """
    match = _STEP.fullmatch(step.strip())
    word = match.group(2).lower() if match else ""
    unit = _STEP_UNITS.get(word) or _STEP_UNITS.get(word.rstrip("s"))
    size = round(float(match.group(1) or 1) * unit) if match and unit else 0
    if size < 1:
        raise errors.value_error("frequency", "a step such as 10min, 1h or 1d", repr(step), "write it so")
    return size
