"""Knows how readings and events come in: series of numbers, categories, times and flags, or one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from longspan import errors
from longspan.data.frequency import parse_times
from longspan.data.readers.tables import check_columns, is_number, is_path, numbers, read_table, words
from longspan.data.timestamps import parse_timestamp

TIMES = ("time", "timestamp", "datetime", "date", "ds")  # a column of one of these names is the time
FLAG = "known anomaly"  # the column of flags that came apart from a table


@dataclass(frozen=True)
class Columns:
    """Which columns are what; time None is the first one called so, columns of text are categories too.

    `flagged` says whether the column of flags has to be there.
    """

    time: str | None = None
    id: str | None = None
    label: str | None = None
    categories: tuple[str, ...] = ()
    flagged: bool = True


@dataclass(frozen=True)
class Series:
    """One series in the order of time.

    name: of its entity, None for a single series; times: (T,) in the user's form, None for none; numbers:
    (T, N) float64 with NaN where missing, called `names`; words: (T, K) text, "" where missing, called
    `categories`; flags: (T,) bool, True where the user says that it is an anomaly, None for no such column.
    """

    name: Any
    times: Sequence[Any] | None
    names: tuple[str, ...]
    numbers: np.ndarray
    categories: tuple[str, ...]
    words: np.ndarray
    flags: np.ndarray | None

    def __len__(self) -> int:
        return len(self.numbers)

    def cut(self, start: int, end: int) -> Series:
        """The readings from start to end."""
        times = None if self.times is None else self.times[start:end]
        flags = None if self.flags is None else self.flags[start:end]
        plain = self.numbers[start:end], self.categories, self.words[start:end]
        return Series(self.name, times, self.names, *plain, flags)

    @property
    def last(self) -> int | float | str | None:
        """The `parse_timestamp` of the last reading, or None."""
        with suppress(ValueError):
            return None if self.times is None else parse_timestamp(self.times[-1])
        return None

    @property
    def known(self) -> np.ndarray:
        """(T,) bool, True where a reading is known to be an anomaly."""
        return self.flags if self.flags is not None else np.zeros(len(self), dtype=bool)

    def table(self, time: str, entity: str) -> pl.DataFrame:
        """Numbers and categories as a table, with columns of these names for times and entity where known."""
        found: dict[str, Any] = {} if self.times is None else {time: list(self.times)}
        if self.name is not None:
            found[entity] = [str(self.name)] * len(self)
        found |= dict(zip(self.names, self.numbers.T, strict=True))
        found |= {name: pl.Series(self.words[:, at].tolist()) for at, name in enumerate(self.categories)}
        return pl.DataFrame(found)


def held_out(series: Sequence[Series], share: float) -> tuple[list[Series], list[Series] | None]:
    """Every series up to its last share, and these last parts of two readings or more, None for none.

    Raises:
        ValueError: what is left is too short to learn from; one sentence.
    """
    ends = [len(one) - round(len(one) * share) for one in series]
    first = [one.cut(0, end) for one, end in zip(series, ends, strict=True)]
    last = [one.cut(end, len(one)) for one, end in zip(series, ends, strict=True) if len(one) - end > 1]
    if max(map(len, first)) < 4:
        received = f"{max(map(len, series))} in the longest series"
        raise errors.value_error("source", "at least 5 readings", received, "give more of them")
    return first, last or None


def read_series(source: Any, columns: Columns, flags: Any = None) -> list[Series]:
    """Series out of a table, an array (T,) or (T, C), or a list of such arrays.

    Args:
        source: those; columns: of the table.
        flags: (T,), above 0 where a reading is a known anomaly, for each of a list of arrays.

    Raises:
        FileNotFoundError, ValueError, TypeError: it is not there or cannot be used; one sentence.
    """
    if hasattr(source, "detach"):
        source = source.detach().cpu().numpy()
    if isinstance(source, (np.ndarray, list, tuple)):
        found = _from_arrays(source)
        return found if flags is None else _with_flags(found, flags)
    name = f"file {source}" if is_path(source) else "source"
    frame = read_table(source, name)
    if flags is not None:
        frame, columns = _flagged(frame, flags), replace(columns, label=FLAG)
    elif columns.label not in frame.columns and not columns.flagged:
        columns = replace(columns, label=None)
    if columns.time is None:
        columns = replace(columns, time=next((one for one in frame.columns if one.lower() in TIMES), None))
    for option in ("time", "id", "label"):
        if getattr(columns, option) is not None:
            check_columns(frame, [getattr(columns, option)], option, name)
    check_columns(frame, columns.categories, "categorical", name)
    _check_flags(frame, columns)
    if columns.id is not None:
        _filled(frame, columns.id, "an entity")
    parts = [((None,), frame)] if columns.id is None else frame.partition_by(columns.id, as_dict=True).items()
    return [_from_frame(part, key[0], columns) for key, part in parts]


def _check_flags(frame: pl.DataFrame, columns: Columns) -> None:
    """Refuse flags of which there is none where they count, and say where some are missing."""
    if columns.label is None or not columns.flagged:
        return
    missing = frame[columns.label].null_count()
    if missing == frame.height:
        expected = "1 where a reading is a known anomaly and 0 elsewhere"
        raise errors.value_error(f"label {columns.label}", expected, "no value in any row", "fill the column")
    if missing:
        errors.notice(
            f"{missing} of {frame.height} readings have no {columns.label}; they count as ordinary."
        )


def _filled(frame: pl.DataFrame, column: str, what: str) -> None:
    if frame[column].null_count():
        row = int(frame[column].is_null().arg_true()[0]) + 1
        way_out = "fill it or drop the row"
        raise errors.value_error(f"column {column}", f"{what} in every row", f"none in row {row}", way_out)


def _as_flags(given: Any) -> np.ndarray:
    try:
        return np.asarray(given, dtype=np.float64).reshape(-1) > 0
    except (TypeError, ValueError) as error:
        way_out = "give one a reading, above 0 where it is a known anomaly"
        raise errors.value_error("y", "flags, 1 or 0", str(error), way_out) from error


def _with_flags(series: Sequence[Series], flags: Any) -> list[Series]:
    """The series with flags that came apart: (T,), or a list of these, one a series."""
    if len(series) == 1:
        flags = [flags]
    if len(flags) != len(series):
        raise _uneven(f"{len(series)} arrays of", len(flags))
    given = [_as_flags(one) for one in flags]
    expected, received = [len(one) for one in series], [len(one) for one in given]
    if expected != received:
        raise _uneven(" and ".join(map(str, expected)), " and ".join(map(str, received)))
    return [replace(one, flags=known) for one, known in zip(series, given, strict=True)]


def _uneven(expected: Any, received: Any) -> ValueError:
    return errors.value_error("y", f"{expected} flags", received, "give one a reading")


def _from_arrays(source: Any) -> list[Series]:
    ragged = isinstance(source, (list, tuple)) and len(source) > 0 and np.ndim(source[0]) > 0
    try:
        arrays = [np.asarray(one, dtype=np.float64) for one in (source if ragged else [source])]
    except (ValueError, TypeError) as error:
        way_out = "name text columns as categories in a frame"
        raise errors.value_error("source", "numbers (T,) or (T, C)", str(error), way_out) from error
    found = []
    for array in arrays:
        if array.ndim not in (1, 2) or array.size == 0:
            raise errors.value_error(
                "source", "numbers (T,) or (T, C)", f"shape {array.shape}", "check what it holds"
            )
        values = array.reshape(len(array), -1)
        if np.isinf(values).any():
            raise errors.value_error("source", "finite numbers or NaN", "infinity", "drop it first")
        names = tuple(f"channel {place}" for place in range(values.shape[1]))
        found.append(Series(None, None, names, values, (), np.empty((len(array), 0), dtype=object), None))
    return found


def _flagged(frame: pl.DataFrame, flags: Any) -> pl.DataFrame:
    known = _as_flags(flags)
    if len(known) != frame.height:
        raise _uneven(frame.height, len(known))
    return frame.with_columns(pl.Series(FLAG, known.astype(np.int8)))


def _from_frame(frame: pl.DataFrame, name: Any, columns: Columns) -> Series:
    times = None
    if columns.time is not None:
        frame, times = _in_order(frame, columns.time)
    known = {columns.time, columns.id, columns.label}
    rest = [one for one in frame.columns if one not in known]
    empty = [one for one in rest if frame[one].null_count() == frame.height and frame[one].dtype == pl.String]
    frame = frame.with_columns(pl.col(empty).cast(pl.Float64))  # as a CSV file's column with nothing in it
    text = [one for one in rest if one in columns.categories or not is_number(frame[one])]
    plain = [one for one in rest if one not in text]
    flags = None if columns.label is None else numbers(frame, [columns.label], "label")[:, 0] > 0
    categories = np.empty((frame.height, len(text)), dtype=object)
    for place, one in enumerate(text):
        categories[:, place] = words(frame, one)
    values = numbers(frame, plain, "column")
    return Series(name, times, tuple(plain), values, tuple(text), categories, flags)


def _in_order(frame: pl.DataFrame, time: str) -> tuple[pl.DataFrame, list[Any]]:
    _filled(frame, time, "a time")
    order = frame[time]
    if order.dtype == pl.String:
        times = parse_times(frame, (time,))
        if times is None:
            way_out = "write them so, or rename the column if it is no time"
            raise errors.value_error(
                f"column {time}", "dates, date-times or numbers", repr(order[0]), way_out
            )
        order = pl.Series(times[0])
    if not order.is_sorted():
        errors.notice(f"The rows were not in the order of {time} and have been sorted.")
        frame = frame[np.argsort(order.to_numpy(), kind="stable")]
    return frame, frame[time].to_list()


# ---- one reading at a time


class Reading(NamedTuple):
    """One reading: its numbers, NaN where missing, its categories, "" where missing, its entity and time."""

    numbers: list[float]
    words: list[str]
    name: Any
    time: Any


def read_reading(
    given: Any, time: Any, columns: tuple[Sequence[str], Sequence[str]], places: tuple[str | None, str | None]
) -> Reading:
    """A reading out of a number, a sequence in the order of the columns, or a dict by column.

    Args:
        given: those; time: when it was, where the dict does not hold it.
        columns: names of the numbers and of the categories.
        places: the columns of the time and of the entity, None for none.

    Raises:
        ValueError: a column is lacking, there are too many, or a number is none; one sentence.

    >>> read_reading({"time": 7, "load": 2, "mode": None}, None, (["load"], ["mode"]), (None, None))
    Reading(numbers=[2.0], words=[''], name=None, time=7)
    """
    name, when = None, time
    if isinstance(given, (int, float)):
        values = [given]
    elif isinstance(given, Mapping):
        values, name, when = _by_column(given, time, (*columns[0], *columns[1]), places)
    else:
        values = [given] if np.ndim(given) == 0 else list(given)
    return Reading(*_parts(values, len(columns[0]), len(columns[1])), name, when)


def _by_column(given: Mapping[Any, Any], time: Any, known: Sequence[str], places: Any) -> Any:
    """The values of the columns, the entity and the time."""
    when, entity = places
    when = when or next((one for one in given if str(one).lower() in TIMES), None)
    lacking = [one for one in known if one not in given]
    if lacking:
        expected = "every column that fit had"
        raise errors.value_error("reading", expected, f"none called {lacking[0]}", "pass None where missing")
    if entity is not None and entity not in given:
        raise errors.value_error("reading", "the entity it belongs to", f"none called {entity}", "name it")
    return [given[one] for one in known], given.get(entity), given.get(when, time)


def _parts(values: list[Any], count: int, categories: int) -> tuple[list[float], list[str]]:
    """A reading's numbers, `count` of them, and its categories."""
    if len(values) != count + categories:
        expected = f"{count + categories} values"
        raise errors.value_error("reading", expected, len(values), "give one a column, as in fit")
    try:
        numbers = [math.nan if value is None else float(value) for value in values[:count]]
    except (TypeError, ValueError) as error:
        raise errors.value_error(
            "reading", "numbers", str(error), "give None where one is missing"
        ) from error
    for value in numbers:
        if math.isinf(value):
            raise errors.value_error("reading", "finite numbers", value, "give None where one is missing")
    if not categories:
        return numbers, []
    return numbers, ["" if value is None else str(value) for value in values[count:]]
