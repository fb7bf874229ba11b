"""Reads readings and events: series of numbers, categories, times and flags, or one reading at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from longspan import errors
from longspan.data.readers import numeric
from longspan.data.readers.frames import note_shuffled
from longspan.data.readers.number_arrays import number_arrays
from longspan.data.readers.tables import (
    check_columns,
    is_number,
    is_path,
    is_table,
    number_share,
    numbers,
    read_source,
    words,
)
from longspan.data.splits import rows_of_fraction
from longspan.data.time_table import (
    TimeOptions,
    canonical_ids,
    check_unused,
    comes_twice,
    find_id,
    find_time,
    is_row_name,
    natural_ids,
    row_times,
)
from longspan.data.timestamps import TIME_NAMES, TimeForm, parse_times

FLAG = "known anomaly"  # the column of flags that came apart from a table
LABEL_NAMES = (
    "label",
    "labels",
    "is_anomaly",
    "anomaly",
    "anomalies",
    "is_outlier",
    "outlier",
    "flag",
    "is_attack",
)
"""Names of columns that say which readings are anomalies."""

_MOMENT = "(moment)"  # the column of times as numbers
_COUNTERS = ("index", "row", "rows", "no", "nr", "number", "unnamed: 0", "#", "id", "record")
_MANY_WORDS = 20  # different values from which text such as "5 kWh" is numbers with a unit, no category
_FEW = 0.05  # the share of numbers among text below which it is taken for categories


@dataclass(frozen=True)
class Columns:
    """The roles of a table's columns. Columns of text are categories, beside those named here.

    time: () for the column that looks like times; flagged: whether the column of flags must be there; target:
    the columns that are watched, () for all.
    """

    time: tuple[str, ...] = ()
    id: str | None = None
    label: str | None = None
    categories: tuple[str, ...] = ()
    flagged: bool = True
    target: tuple[str, ...] = ()


@dataclass(frozen=True)
class Series:
    """One series in the order of time.

    name: of the series' entity, None for a single series; times: (T,) in the user's form, None for none;
    numbers: (T, N) float64, NaN where missing, called `names`; words: (T, K) text, "" where missing, called
    `categories`; flags: (T,) bool, True where the user knows of an anomaly, None for no such column;
    form, moments: the form of the times, and (T,) these as numbers, None where there are none; answers: the
    kind of frame in which answers go back.
    """

    name: Any
    times: Sequence[Any] | pl.Series | None
    names: tuple[str, ...]
    numbers: np.ndarray
    categories: tuple[str, ...]
    words: np.ndarray
    flags: np.ndarray | None
    form: TimeForm | None = field(default=None)
    moments: np.ndarray | None = field(default=None)
    answers: str = "polars"

    def __len__(self) -> int:
        return len(self.numbers)

    def cut(self, start: int, end: int) -> Series:
        """The readings from start to end."""
        times = None if self.times is None else self.times[start:end]
        flags = None if self.flags is None else self.flags[start:end]
        plain = self.numbers[start:end], self.categories, self.words[start:end]
        moments = None if self.moments is None else self.moments[start:end]
        return Series(self.name, times, self.names, *plain, flags, self.form, moments, self.answers)

    def rows(self, rows: np.ndarray) -> Series:
        """The readings of these rows (n,), in their order."""
        part = self.cut(0, 0)
        times = None if self.times is None else [self.times[row] for row in rows.tolist()]
        flags = None if self.flags is None else self.flags[rows]
        moments = None if self.moments is None else self.moments[rows]
        chosen = {"times": times, "flags": flags, "moments": moments}
        return replace(part, numbers=self.numbers[rows], words=self.words[rows], **chosen)

    def without_anomalies(self) -> Series:
        """The readings that are no known anomalies."""
        return self.rows(np.flatnonzero(~self.known)) if self.known.any() else self

    @property
    def last(self) -> int | float | str | None:
        """The `parse_timestamp` of the last reading, or None."""
        if self.moments is not None and self.form is not None and self.form.dated:
            return moment_text(int(self.moments[-1]), self.form)
        last = None if self.times is None else self.times[-1]
        return last if isinstance(last, (int, float)) else None

    @property
    def key(self) -> str | None:
        """The name by which the stream of its entity is found."""
        return key_of(self.name)

    @property
    def known(self) -> np.ndarray:
        """(T,) bool, True where a reading is known to be an anomaly."""
        return self.flags if self.flags is not None else np.zeros(len(self), dtype=bool)

    def table(self, time: str, entity: str) -> pl.DataFrame:
        """Numbers and categories as a table, with columns of these names for times and entity where known."""
        columns: dict[str, Any] = {} if self.times is None else {time: self.times}
        if self.name is not None:
            columns[entity] = [str(self.name)] * len(self)
        columns |= dict(zip(self.names, self.numbers.T, strict=True))
        columns |= {name: pl.Series(self.words[:, at].tolist()) for at, name in enumerate(self.categories)}
        return pl.DataFrame(columns)


def held_out(series: Sequence[Series], share: float) -> tuple[list[Series], list[Series] | None]:
    """Every series without its last share, and the last shares of two readings or more, None for none.

    Raises:
        ValueError: no first part is long enough to learn from; one sentence.
    """
    ends = [len(part) - rows_of_fraction(len(part), share) for part in series]
    first = [part.cut(0, end) for part, end in zip(series, ends, strict=True)]
    last = [part.cut(end, len(part)) for part, end in zip(series, ends, strict=True) if len(part) - end > 1]
    if max(map(len, first)) < 4:
        received = f"{max(map(len, series))} in the longest series"
        raise errors.value_error("source", "at least 5 readings", received, "give more of them")
    return first, last or None


def moment_text(moment: int, form: TimeForm) -> str:
    """A moment as `timestamps.parse_timestamp` gives it, with its offset where the times have a zone."""
    when = datetime(1970, 1, 1) if form.zone is None else datetime(1970, 1, 1, tzinfo=timezone.utc)
    return str(when + (np.timedelta64(moment, "us").astype("timedelta64[us]").item()))


def key_of(name: Any) -> str | None:
    """The name of an entity as text, the same for 1 and 1.0."""
    return None if name is None else canonical_ids(pl.Series([name]))[0]


def read_series(
    source: Any, columns: Columns, flags: Any = None, *, form: TimeForm | None = None, options: Any = None
) -> list[Series]:
    """Series out of a table, an array (T,) or (T, C), or a list of such arrays.

    Args:
        source: the table or arrays; columns: roles of the table's columns.
        flags: (T,), 1 or True where a reading is a known anomaly, or -1 beside 1, for each of a list of
            arrays.
        form: of the times, as in fit; options: `time_table.TimeOptions`, how files are read.

    Raises:
        FileNotFoundError, ValueError, TypeError: the source is not there or cannot be used; one sentence.
    """
    if not is_table(source):
        series = _from_arrays(source)
        return series if flags is None else _with_flags(series, flags)
    options = options or TimeOptions()
    name = f"file {source}" if is_path(source) else "source"
    table = read_source(source, name, options=options, text={*columns.categories, columns.id or ""})
    frame = table.frame
    if flags is not None:
        frame, columns = _flagged(frame, flags), replace(columns, label=FLAG)
    elif columns.label not in frame.columns and not columns.flagged:
        columns = replace(columns, label=None)
    columns = _with_roles(frame, columns, table.index_columns, name)
    _check_flags(frame, columns)
    if not columns.time:
        note_shuffled(source)
    frame, form = _timed(frame, columns, form, options)
    if columns.id is not None:
        frame = frame.with_columns(natural_ids(frame[columns.id], written=table.kind == "file"))
    kinds = _kinds(frame, columns)
    parts = [((None,), frame)] if columns.id is None else frame.partition_by(columns.id, as_dict=True).items()
    series = [_from_frame(part, key[0], columns, kinds, form) for key, part in parts]
    timed = bool(columns.time) and table.index_columns == columns.time
    answers = ("pandas by time" if timed else "pandas") if table.kind == "pandas" else "polars"
    return [replace(part, answers=answers) for part in series]


def _with_roles(frame: pl.DataFrame, columns: Columns, index: Sequence[str], name: str) -> Columns:
    """The columns with the time and entity that were not named; a notice tells of unused times."""
    for option, named in (
        ("time", columns.time),
        ("id", (columns.id,)),
        ("label", (columns.label,)),
        ("categorical", columns.categories),
    ):
        check_columns(frame, [column for column in named if column is not None], option, name)
    taken = {columns.id, columns.label, *columns.categories, *columns.target}
    if not columns.time:
        columns = replace(columns, time=find_time(frame, taken, index))
    check_unused(frame, columns.time, taken, index if len(index) == 1 else ())
    if columns.id is None and len(index) > 1:
        columns = replace(columns, id=find_id(frame, {*taken, *columns.time}, index))
    if columns.id is None and columns.time and comes_twice(frame, columns.time):
        id = find_id(frame, {*taken, *columns.time}, ())
        if id is not None:
            errors.notice(f"Some times come several times; if {id} tells entities apart, name it by id=.")
    if columns.id is not None:
        _filled(frame, columns.id, "an entity")
    return columns


def _timed(
    frame: pl.DataFrame, columns: Columns, form: TimeForm | None, options: TimeOptions
) -> tuple[pl.DataFrame, TimeForm | None]:
    """The rows in the order of time, with a column of their moments; and the form of the times."""
    if not columns.time:
        return frame, None
    for column in columns.time:
        _filled(frame, column, "a time")
    rows = row_times(frame, columns.time, None, form=form, options=options)
    frame = frame.with_columns(pl.Series(_MOMENT, rows.values))
    if len(columns.time) > 1:
        frame = frame.with_columns(pl.Series("time", rows.values).cast(pl.Datetime("us")))
    if columns.id is None and bool((rows.values[1:] < rows.values[:-1]).any()):
        errors.notice(f"The rows were not in the order of {', '.join(columns.time)} and have been sorted.")
        frame = frame[np.argsort(rows.values, kind="stable")]
    return frame, rows.form


def _kinds(frame: pl.DataFrame, columns: Columns) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns of numbers and those of categories; times and labels that were not named are left out."""
    with_roles = {*columns.time, columns.id, columns.label, _MOMENT}
    with_roles |= {"time"} if len(columns.time) > 1 else set()
    text, plain = [], []
    for column in (name for name in frame.columns if name not in with_roles):
        series = frame[column]
        if column in columns.categories:
            text.append(column)
        elif column not in columns.target and (_is_label(series) or _is_time(series)):
            continue
        elif _is_counter(series):
            errors.notice(f"{column} only counts the rows and is not watched.")
        elif is_number(series) or series.null_count() == frame.height or number_share(series) >= _FEW:
            plain.append(column)
        elif series.dtype == pl.String and numeric.is_marked(series) and series.n_unique() > _MANY_WORDS:
            plain.append(column)  # which names the first cell that is no number
        elif is_row_name(series):
            if columns.time:  # else it is told as one that may hold times
                errors.notice(f"{column} differs in every row and is not watched.")
        else:
            text.append(column)
            if number_share(series) or (series.dtype == pl.String and numeric.is_marked(series)):
                errors.notice(f"{column} holds text and numbers; it is read as categories.")
    return tuple(plain), tuple(text)


def _is_counter(column: pl.Series) -> bool:
    """Whether a column is called as an index is and counts the rows from 0 or 1."""
    if column.name.strip().lower() not in _COUNTERS or not column.dtype.is_integer() or column.null_count():
        return False
    return column[0] in (0, 1) and bool((column == pl.int_range(len(column), eager=True) + column[0]).all())


def _is_label(column: pl.Series) -> bool:
    """Whether a column has the name of labels and holds labels alone; a notice tells of it."""
    if column.name.strip().lower() not in LABEL_NAMES or not is_number(column):
        return False
    if not set(column.drop_nulls().unique().cast(pl.Float64).to_list()) <= {-1.0, 0.0, 1.0}:
        return False
    errors.notice(f"{column.name} looks like labels and is not watched; name it by label= to learn from it.")
    return True


def _is_time(column: pl.Series) -> bool:
    """Whether a column that is not the time holds times."""
    if (
        column.dtype == pl.Date
        or isinstance(column.dtype, (pl.Datetime, pl.Duration))
        or column.dtype == pl.Time
    ):
        return True
    if column.dtype != pl.String or column.name.strip().lower() not in TIME_NAMES or column.null_count():
        return False
    try:
        dated = parse_times(column.head(50).to_frame(), (column.name,)) is not None
    except ValueError:
        dated = True
    if dated:
        errors.notice(f"{column.name} looks like times too and is not used; name the times by time=.")
    return dated


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
    values = frame[column].fill_nan(None) if frame[column].dtype.is_float() else frame[column]
    if values.null_count():
        row = int(values.is_null().arg_true()[0]) + 1
        way_out = "fill it or drop the row"
        raise errors.value_error(f"column {column}", f"{what} in every row", f"none in row {row}", way_out)


def _as_flags(raw_flags: Any, name: str = "y") -> np.ndarray:
    """Flags (T,) bool: 0 and 1, True and False, or scikit-learn's 1 and -1, of which -1 is an anomaly.

    Raises:
        ValueError: there are other values; one sentence.
    """
    way_out = "give one a reading, 1 where it is a known anomaly"
    try:
        values = np.asarray(raw_flags, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise errors.value_error(name, "flags, 1 or 0", str(error).splitlines()[0], way_out) from error
    there = set(np.unique(values[~np.isnan(values)]).tolist())
    if -1.0 in there and there <= {-1.0, 1.0}:
        errors.notice(f"{name} holds 1 and -1; -1 is read as an anomaly, as scikit-learn means it.")
        return values == -1.0
    if not there <= {0.0, 1.0}:
        odd = min(there - {0.0, 1.0})
        raise errors.value_error(name, "flags, 1 or 0", f"{odd:g}", way_out)
    flags = values == 1.0
    if 0.5 < flags.mean() < 1:
        errors.notice(f"Most readings are flagged as anomalies in {name}; 1 means an anomaly, 0 none.")
    return flags


def _with_flags(series: Sequence[Series], flags: Any) -> list[Series]:
    """The series with flags that are not part of the source: (T,), or a list of these, one a series."""
    if len(series) == 1:
        flags = [flags]
    if len(flags) != len(series):
        raise _uneven(f"{len(series)} arrays of", len(flags))
    parsed = [_as_flags(part) for part in flags]
    expected, received = [len(part) for part in series], [len(part) for part in parsed]
    if expected != received:
        raise _uneven(" and ".join(map(str, expected)), " and ".join(map(str, received)))
    return [replace(part, flags=own) for part, own in zip(series, parsed, strict=True)]


def _uneven(expected: Any, received: Any) -> ValueError:
    return errors.value_error("y", f"{expected} flags", received, "give one a reading")


def _from_arrays(source: Any) -> list[Series]:
    series = []
    for values in number_arrays(source):
        names = tuple(f"channel {column}" for column in range(values.shape[1]))
        series.append(Series(None, None, names, values, (), np.empty((len(values), 0), dtype=object), None))
    return series


def _flagged(frame: pl.DataFrame, flags: Any) -> pl.DataFrame:
    parsed = _as_flags(flags)
    if len(parsed) != frame.height:
        raise _uneven(frame.height, len(parsed))
    return frame.with_columns(pl.Series(FLAG, parsed.astype(np.int8)))


def _from_frame(
    frame: pl.DataFrame,
    name: Any,
    columns: Columns,
    kinds: tuple[tuple[str, ...], tuple[str, ...]],
    form: TimeForm | None,
) -> Series:
    times = moments = None
    if form is not None:
        moments = frame[_MOMENT].to_numpy()
        if bool((moments[1:] < moments[:-1]).any()):
            errors.notice(f"The rows were not in the order of {columns.time[0]} and have been sorted.")
            order = np.argsort(moments, kind="stable")
            frame, moments = frame[order], moments[order]
        times = frame[columns.time[0] if len(columns.time) == 1 else "time"]
        times = times if isinstance(times.dtype, pl.Datetime) and times.dtype.time_zone else times.to_list()
    plain, text = kinds
    flags = None
    if columns.label is not None:
        flags = _as_flags(numbers(frame, [columns.label], "label")[:, 0], f"label {columns.label}")
    categories = np.empty((frame.height, len(text)), dtype=object)
    for column, category in enumerate(text):
        categories[:, column] = words(frame, category)
    return Series(name, times, plain, _numbers(frame, plain), text, categories, flags, form, moments)


def _numbers(frame: pl.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """Columns of numbers; the error for a column with text says how to make categories of its values."""
    for column in columns:
        series = frame[column]
        if series.dtype == pl.String:
            read = numeric.read_numbers(series)
            if read.odd.any():
                cell, row = numeric.odd_cell(read, series)
                way_out = f"{numeric.way_out_of(cell)}, or name the column by categorical="
                received = f"{cell!r} in row {row + 1}"
                raise errors.value_error(f"column {column}", "numbers", received, way_out)
    return numbers(frame, columns, "column")


# ---- one reading at a time


class Reading(NamedTuple):
    """One reading: numbers, NaN where missing, categories, "" where missing, name of the entity, time."""

    numbers: list[float]
    words: list[str]
    name: Any
    time: Any


def read_reading(
    reading: Any,
    time: Any,
    columns: tuple[Sequence[str], Sequence[str]],
    roles: tuple[str | None, str | None],
    form: TimeForm | None = None,
) -> Reading:
    """A reading out of a number, a sequence in the order of the columns, or a dict by column.

    Args:
        reading: the number, sequence or dict; time: of the reading, where a dict does not hold it.
        columns: names of the numbers and of the categories.
        roles: the columns of the time and of the entity, None for none.
        form: of the times, as in fit.

    Raises:
        ValueError: a column is lacking, there are too many, or a number is none; one sentence.

    >>> read_reading({"time": 7, "load": 2, "mode": None}, None, (["load"], ["mode"]), (None, None))
    Reading(numbers=[2.0], words=[''], name=None, time=7)
    """
    name, when = None, time
    if isinstance(reading, (int, float)):
        values = [reading]
    elif isinstance(reading, Mapping):
        values, name, when = _by_column(reading, time, (*columns[0], *columns[1]), roles)
    else:
        values = [reading] if np.ndim(reading) == 0 else list(reading)
    return Reading(*_parts(values, len(columns[0]), len(columns[1])), name, _moment(when, form))


def _moment(when: Any, form: TimeForm | None) -> Any:
    """A time in the form of fit's times as text that can be compared; other times stay."""
    if (
        form is None
        or form.kind not in ("text", "digits", "unix")
        or (form.layouts[:1] and form.layouts[0].plain)
    ):
        return when
    if not isinstance(when, (str, int, float)) or isinstance(when, bool):
        return when
    try:
        read = parse_times(pl.DataFrame({"time": [when]}), ("time",), form=form)
    except ValueError:
        return when
    return when if read is None or not read.form.dated else moment_text(int(read.values[0]), form)


def _by_column(reading: Mapping[Any, Any], time: Any, names: Sequence[str], roles: Any) -> Any:
    """The values of the columns, the entity and the time."""
    when, entity = roles
    when = when or next((name for name in reading if str(name).lower() in TIME_NAMES), None)
    lacking = [name for name in names if name not in reading]
    if lacking:
        expected = "every column that fit had"
        raise errors.value_error("reading", expected, f"none called {lacking[0]}", "pass None where missing")
    if entity is not None and entity not in reading:
        raise errors.value_error("reading", "the entity it belongs to", f"none called {entity}", "name it")
    return [reading[name] for name in names], reading.get(entity), reading.get(when, time)


def _parts(values: list[Any], count: int, categories: int) -> tuple[list[float], list[str]]:
    """A reading's numbers, `count` of them, and its categories."""
    if len(values) != count + categories:
        expected = f"{count + categories} values"
        raise errors.value_error("reading", expected, len(values), "give one a column, as in fit")
    try:
        numbers = [math.nan if _is_na(value) else float(value) for value in values[:count]]
    except (TypeError, ValueError) as error:
        raise errors.value_error(
            "reading", "numbers", str(error), "give None where one is missing"
        ) from error
    for value in numbers:
        if math.isinf(value):
            raise errors.value_error("reading", "finite numbers", value, "give None where one is missing")
    if not categories:
        return numbers, []
    return numbers, ["" if _is_na(value) else str(value) for value in values[count:]]


def _is_na(value: Any) -> bool:
    return value is None or type(value).__name__ == "NAType"
