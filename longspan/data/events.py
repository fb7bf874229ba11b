"""Knows how readings and events come in: one or many series, numbers and categories, times and flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from longspan import checks

from .table import check_columns, is_number, is_path, numbers, read_table, words

TIMES = ("time", "timestamp", "datetime", "date", "ds")  # a column of one of these names is the time
FLAG = "known anomaly"  # the column of flags that came apart from a table


@dataclass(frozen=True)
class Columns:
    """Which columns are what; time None is the first one called so, columns of text are categories too.

    `flagged` says whether the column of flags has to be there.
    """

    time: str | None = None
    id: str | None = None
    flag: str | None = None
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
    frame = read_table(source, f"file {source}" if is_path(source) else "source")
    if flags is not None:
        frame, columns = _flagged(frame, flags), replace(columns, flag=FLAG)
    elif columns.flag not in frame.columns and not columns.flagged:
        columns = replace(columns, flag=None)
    if columns.time is None:
        columns = replace(columns, time=next((one for one in frame.columns if one.lower() in TIMES), None))
    named = [name for name in (columns.time, columns.id, columns.flag) if name is not None]
    check_columns(frame, [*named, *columns.categories], "column")
    parts = [((None,), frame)] if columns.id is None else frame.partition_by(columns.id, as_dict=True).items()
    return [_from_frame(part, key[0], columns) for key, part in parts]


def _with_flags(series: Sequence[Series], flags: Any) -> list[Series]:
    """The series with flags that came apart: (T,), or a list of these, one a series."""
    if len(series) == 1:
        flags = [flags]
    given = [np.asarray(one).reshape(-1) > 0 for one in flags]
    expected, received = [len(one) for one in series], [len(one) for one in given]
    if expected != received:
        raise _uneven(" and ".join(map(str, expected)), " and ".join(map(str, received)))
    return [replace(one, flags=known) for one, known in zip(series, given, strict=True)]


def _uneven(expected: Any, received: Any) -> ValueError:
    return checks.wrong("y", f"{expected} flags", received, "give one a reading")


def _from_arrays(source: Any) -> list[Series]:
    ragged = isinstance(source, (list, tuple)) and len(source) > 0 and np.ndim(source[0]) > 0
    try:
        arrays = [np.asarray(one, dtype=np.float64) for one in (source if ragged else [source])]
    except (ValueError, TypeError) as error:
        way_out = "name text columns as categories in a frame"
        raise checks.wrong("source", "numbers (T,) or (T, C)", str(error), way_out) from error
    found = []
    for array in arrays:
        if array.ndim not in (1, 2) or array.size == 0:
            raise checks.wrong(
                "source", "numbers (T,) or (T, C)", f"shape {array.shape}", "check what it holds"
            )
        values = array.reshape(len(array), -1)
        if np.isinf(values).any():
            raise checks.wrong("source", "finite numbers or NaN", "infinity", "drop it first")
        names = tuple(f"channel {place}" for place in range(values.shape[1]))
        found.append(Series(None, None, names, values, (), np.empty((len(array), 0), dtype=object), None))
    return found


def _flagged(frame: pl.DataFrame, flags: Any) -> pl.DataFrame:
    known = np.asarray(flags).reshape(-1) > 0
    if len(known) != frame.height:
        raise _uneven(frame.height, len(known))
    return frame.with_columns(pl.Series(FLAG, known.astype(np.int8)))


def _from_frame(frame: pl.DataFrame, name: Any, columns: Columns) -> Series:
    times = None
    if columns.time is not None:
        frame, times = _in_order(frame, columns.time)
    known = {columns.time, columns.id, columns.flag}
    rest = [one for one in frame.columns if one not in known]
    empty = [one for one in rest if frame[one].null_count() == frame.height and frame[one].dtype == pl.String]
    frame = frame.with_columns(pl.col(empty).cast(pl.Float64))  # as a CSV file's column with nothing in it
    text = [one for one in rest if one in columns.categories or not is_number(frame[one])]
    plain = [one for one in rest if one not in text]
    flags = None if columns.flag is None else numbers(frame, [columns.flag], "flag")[:, 0] > 0
    categories = np.empty((frame.height, len(text)), dtype=object)
    for place, one in enumerate(text):
        categories[:, place] = words(frame, one)
    values = numbers(frame, plain, "column")
    return Series(name, times, tuple(plain), values, tuple(text), categories, flags)


def _in_order(frame: pl.DataFrame, time: str) -> tuple[pl.DataFrame, list[Any]]:
    if frame[time].null_count():
        row = int(frame[time].is_null().arg_true()[0]) + 1
        raise checks.wrong(
            f"column {time}", "a time in every row", f"none in row {row}", "fill it or drop the row"
        )
    if not frame[time].is_sorted():
        checks.note(f"The rows were not in the order of {time} and have been sorted.")
        frame = frame.sort(time, maintain_order=True)
    return frame, frame[time].to_list()
