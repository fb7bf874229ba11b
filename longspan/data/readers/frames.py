"""Reads what programs hold (pandas, polars and other frames, structured arrays, records) as polars frames."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np
import polars as pl

from longspan import errors

KINDS = "a path to a table, a pandas or polars frame, an array, or a list of arrays"
_WAY_OUT = "convert it to one of these"


@runtime_checkable
class FrameLike(Protocol):
    """A table of any library: it has columns with names, which single columns and arrays do not have."""

    @property
    def columns(self) -> Any:
        """The columns, or their names."""
        ...


def is_frame_like(value: object) -> TypeGuard[FrameLike]:
    """Whether a value is a table with named columns, not a single column, an array or a list."""
    if isinstance(value, (list, tuple, np.ndarray)) and not hasattr(value, "columns"):
        return False  # at once: checks of a protocol are slow
    if isinstance(value, pl.LazyFrame):  # whose columns would have to be found out
        return True
    return isinstance(value, FrameLike) or (library(value) == "xarray" and isinstance(value, Mapping))


_FRAME_PACKAGES = ("pandas", "polars", "xarray", "pyarrow", "duckdb", "modin", "cudf", "dask", "ibis")


def library(source: Any) -> str:
    """The package that an object's class, or a class of frames above it, is from: "pandas", "polars" ..."""
    packages = [kind.__module__.partition(".")[0] for kind in type(source).__mro__]
    return next((package for package in packages if package in _FRAME_PACKAGES), packages[0])


def _is_a(source: Any, *names: str) -> bool:
    """Whether an object's class, or one above it, has one of these names."""
    return any(kind.__name__ in names for kind in type(source).__mro__)


def is_frame(source: Any) -> bool:
    """Whether a source is a table whose columns have names."""
    if library(source) in _FRAME_PACKAGES:
        return True
    if isinstance(source, np.ndarray):
        return source.dtype.names is not None
    return isinstance(source, Mapping) or is_records(source)


def is_records(source: Any) -> bool:
    """Whether a source is a list of dicts, one a row."""
    return isinstance(source, (list, tuple)) and len(source) > 0 and isinstance(source[0], Mapping)


def from_frame(source: Any, name: str = "source") -> tuple[pl.DataFrame, tuple[str, ...]]:
    """A polars frame out of a frame of any library, and the names of the columns that were its index.

    Raises:
        TypeError, ValueError: it is none, or its columns have no names of their own; one sentence.
    """
    kind = library(source)
    if kind == "xarray":
        return _from_xarray(source, name)
    if kind == "pandas":
        return _from_pandas(source, name)
    if isinstance(source, pl.LazyFrame):
        return _collected(source, name), ()
    if isinstance(source, pl.Series):
        return source.to_frame(source.name or "value"), ()
    if isinstance(source, pl.DataFrame):
        return source, ()
    if isinstance(source, np.ndarray):
        return pl.DataFrame(
            {str(field): _plain_array(source[field]) for field in source.dtype.names or ()}
        ), ()
    if is_records(source):
        names = list(dict.fromkeys(key for row in source for key in _mapping(row, name)))
        source = {key: [row.get(key) for row in source] for key in names}
    if isinstance(source, Mapping):
        return _from_columns(source, name)
    return _from_other(source, name), ()


def _collected(frame: pl.LazyFrame, name: str) -> pl.DataFrame:
    try:
        return frame.collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        received = str(error).splitlines()[0][:120]
        raise errors.value_error(
            name, "a lazy frame that can be collected", received, "correct it"
        ) from error


def _mapping(row: Any, name: str) -> Mapping[Any, Any]:
    if not isinstance(row, Mapping):
        raise errors.type_error(name, "a dict in every place of the list", row, "give one a row")
    return row


def _has_own_index(values: Any) -> bool:
    """Whether a pandas series has an index that says more than a count of rows."""
    is_series = library(values) == "pandas" and _is_a(values, "Series")
    return is_series and not _is_counting(values.index)


def _from_columns(source: Mapping[Any, Any], name: str) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """A dict of columns; where pandas series have an index of their own, they are put side by side by it."""
    if any(_has_own_index(values) for values in source.values()):
        import pandas as pd

        return _from_pandas(pd.DataFrame(dict(source)), name)
    columns = {str(key): _objects(values, f"column {key}") for key, values in source.items()}
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        received = ", ".join(f"{len(column)} in {key}" for key, column in list(columns.items())[:4])
        raise errors.value_error(name, "columns of one length", received, "fill up the shorter ones")
    return pl.DataFrame(columns), ()


def _from_other(source: Any, name: str) -> pl.DataFrame:
    import narwhals  # only here: it reads the rarer frames

    try:
        frame: Any = narwhals.from_native(source)
        frame = frame.collect() if isinstance(frame, narwhals.LazyFrame) else frame
        return frame.to_polars()
    except TypeError as error:
        raise errors.type_error(name, KINDS, source, _WAY_OUT) from error


# ---- pandas and xarray


def _from_xarray(source: Any, name: str) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """A data set or an array with coordinates, as the pandas frame whose index these are."""
    if any(dimension not in source.coords for dimension in source.dims):
        expected, received = "coordinates of every dimension", "a dimension without"
        raise errors.value_error(name, expected, received, "assign coordinates, or pass the array's values")
    if len(source.dims) > 2:
        expected = "one dimension of times and at most one of series"
        received = ", ".join(map(str, source.dims))
        raise errors.value_error(name, expected, received, "select along the others first")
    if isinstance(source, Mapping):
        return _from_pandas(source.to_dataframe(), name)  # pyright: ignore[reportAttributeAccessIssue]
    return _from_pandas(source.to_dataframe(source.name or "value"), name)


def _from_pandas(source: Any, name: str) -> tuple[pl.DataFrame, tuple[str, ...]]:
    if not _is_a(source, "DataFrame", "Series"):
        raise errors.type_error(name, KINDS, source, "pass a frame or a series")
    if source.ndim == 1:
        source = source.to_frame("value" if source.name is None else source.name)
    names = _column_names(source.columns, name)
    columns = {label: _pandas_column(source.iloc[:, place], label) for place, label in enumerate(names)}
    index = {
        label: _pandas_column(values.to_series(), label)
        for label, values in _index_levels(source.index, names)
    }
    return pl.DataFrame({**index, **columns}), tuple(index)


def _column_names(columns: Any, name: str) -> list[str]:
    """Names as text; those of two levels with "_" between, or the first level where it tells them apart."""
    levels = [one if isinstance(one, tuple) else (one,) for one in columns.tolist()]
    first = [str(one[0]) for one in levels]
    names = (
        first
        if len(set(first)) == len(first)
        else ["_".join(str(p) for p in one if p != "") for one in levels]
    )
    twice = next((one for one in names if names.count(one) > 1), None)
    if twice is not None:
        raise errors.value_error(
            name, "columns with different names", f"{twice!r} twice", "rename one of them"
        )
    return names


def _index_levels(index: Any, taken: Sequence[str]) -> list[tuple[str, Any]]:
    """The levels of an index that say something, with the names of the columns they become."""
    levels = [index.get_level_values(place) for place in range(index.nlevels)]
    found: list[tuple[str, Any]] = []
    for place, level in enumerate(levels):
        timed = type(level).__name__ in ("DatetimeIndex", "PeriodIndex", "TimedeltaIndex")
        if len(levels) == 1 and level.name is None and not timed and _is_counting(level):
            continue
        usual = "time" if timed else "index" if len(levels) == 1 else "id" if place == 0 else f"level_{place}"
        label = usual if level.name is None else str(level.name)
        while label in taken or label in [other for other, _ in found]:
            label = f"{label} (index)"
        found.append((label, level))
    return found


def note_shuffled(source: Any) -> None:
    """Say that a pandas object has an index of whole numbers that do not rise, as drawn rows have it."""
    if library(source) != "pandas" or not _is_a(source, "DataFrame", "Series"):
        return
    if _is_counting(source.index) and not source.index.is_monotonic_increasing:
        errors.notice("The index is not in order; the rows are read in the order in which they stand.")


def _is_counting(index: Any) -> bool:
    """Whether an unnamed index holds whole numbers, as rows that were counted or chosen have them."""
    return getattr(index.dtype, "kind", "O") in "iu"


def _pandas_column(series: Any, name: str) -> pl.Series:
    """A pandas series of any type: nullable, Arrow, categories, periods, zones, objects."""
    kind, word = getattr(series.dtype, "kind", "O"), str(series.dtype)
    if word.startswith("period"):
        return _pandas_column(series.dt.to_timestamp(), name)
    if kind == "M":
        zone = getattr(series.dtype, "tz", None) or getattr(series.dt, "tz", None)
        if zone is not None:
            plain = series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(dtype="datetime64[us]")
            return _in_zone(pl.Series(plain), str(zone))
        return pl.Series(series.to_numpy(dtype="datetime64[us]"))
    if kind == "m":
        return pl.Series(series.to_numpy(dtype="timedelta64[us]"))
    if kind in "biuf" and type(series.dtype).__module__.partition(".")[0] == "numpy":
        return pl.Series(np.ascontiguousarray(series.to_numpy()))
    if kind in "iuf":
        missing = series.isna().to_numpy(dtype=bool)
        if kind != "f" and not missing.any():
            return pl.Series(series.to_numpy(dtype=np.int64 if kind == "i" else np.uint64))
        return pl.Series(series.to_numpy(dtype=np.float64, na_value=np.nan)).fill_nan(None)
    missing = series.isna().to_numpy(dtype=bool).tolist()
    values = series.astype(object).to_numpy().tolist()
    return _objects([None if gone else value for value, gone in zip(values, missing, strict=True)], name)


def _in_zone(plain: pl.Series, zone: str) -> pl.Series:
    """Times in UTC as those of a zone."""
    utc = plain.dt.replace_time_zone("UTC")
    named = iana_name(zone)
    try:
        there = utc.dt.convert_time_zone(named)
    except (pl.exceptions.PolarsError, ValueError):
        there, named = utc, "UTC"
    if named == "UTC" and zone not in _UTC:
        errors.notice(f"The time zone {zone} has no usual name; its times are answered in UTC.")
    return there


_UTC = ("UTC", "tzutc()", "Z", "UTC+00:00", "+00:00", "pytz.FixedOffset(0)")


def iana_name(zone: str) -> str:
    """A zone's name as polars takes it: whole hours from UTC as `Etc/GMT-2`.

    >>> iana_name("UTC+02:00"), iana_name("Europe/Berlin")
    ('Etc/GMT-2', 'Europe/Berlin')
    >>> iana_name("tzfile('/usr/share/zoneinfo/Asia/Tokyo')")
    'Asia/Tokyo'
    """
    if "zoneinfo/" in zone:  # of dateutil
        return zone.partition("zoneinfo/")[2].strip("')")
    bare = zone.removeprefix("pytz.FixedOffset").removeprefix("UTC").strip("()")
    if len(bare) == 6 and bare[0] in "+-" and bare[3:] == ":00":
        hours = int(bare[1:3])
        return f"Etc/GMT{'-' if bare[0] == '+' else '+'}{hours}" if hours else "UTC"
    return zone if zone[:1].isalpha() else "UTC"


def _plain_array(values: np.ndarray) -> Any:
    """A field of a structured array, what is masked missing."""
    if isinstance(values, np.ma.MaskedArray):
        return [
            None if gone else value
            for value, gone in zip(values.data.tolist(), np.ma.getmaskarray(values), strict=True)
        ]
    if values.dtype.kind == "M":
        return values.astype("datetime64[us]")
    return [one.decode("utf-8", "replace") for one in values.tolist()] if values.dtype.kind == "S" else values


def _objects(values: Any, name: str) -> pl.Series:
    """Python's own values as a column: numbers, text, times; text and numbers mixed as text."""
    if isinstance(values, pl.Series):
        return values
    if library(values) == "pandas":
        if type(values).__name__.endswith("Index"):
            values = values.to_series()
        return _pandas_column(values if values.ndim == 1 else values.iloc[:, 0], name)
    if isinstance(values, np.ndarray) and values.dtype != object and values.ndim == 1:
        return pl.Series(_plain_array(values))
    if isinstance(values, (str, bytes)) or not isinstance(values, Collection):
        raise errors.type_error(name, "a list or an array", values, "give one value a row")
    plain = [None if _is_missing(value) else value for value in values]
    kinds = {_kind(value) for value in plain if value is not None}
    if kinds <= {"bool"}:
        return pl.Series(plain, dtype=pl.Boolean if kinds else None)
    if kinds <= {"int"}:
        return pl.Series([None if v is None else int(v) for v in plain], dtype=pl.Int64, strict=False)
    if kinds <= {"bool", "int", "float"}:
        return pl.Series([None if v is None else float(v) for v in plain], dtype=pl.Float64)
    if kinds == {"time"}:
        return _times(plain)
    if kinds == {"other"} or "other" in kinds:
        return pl.Series(plain, dtype=pl.Object)
    return pl.Series([v if v is None or isinstance(v, str) else str(v) for v in plain], dtype=pl.String)


def _times(values: list[Any]) -> pl.Series:
    zones = {str(v.tzinfo) if isinstance(v, datetime) and v.tzinfo else "" for v in values if v is not None}
    if zones == {""}:
        plain = [
            None if v is None else datetime(v.year, v.month, v.day) if not isinstance(v, datetime) else v
            for v in values
        ]
        return pl.Series(
            np.array([np.datetime64("NaT") if v is None else np.datetime64(v, "us") for v in plain])
        )
    if "" in zones:
        return pl.Series([None if v is None else str(v) for v in values], dtype=pl.String)
    from datetime import timezone

    utc = [None if v is None else v.astimezone(timezone.utc).replace(tzinfo=None) for v in values]
    found = pl.Series(np.array([np.datetime64("NaT") if v is None else np.datetime64(v, "us") for v in utc]))
    return _in_zone(found, zones.pop() if len(zones) == 1 else "UTC")


def _is_missing(value: Any) -> bool:
    """None, NaN, NaT or pd.NA."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))


def _kind(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "bool"
    if isinstance(value, (int, np.integer)):
        return "int" if -(1 << 63) <= int(value) < 1 << 63 else "float"
    if isinstance(value, (float, np.floating, Decimal)):
        return "float"
    if isinstance(value, (date, datetime)):
        return "time"
    return "text" if isinstance(value, str) else "other"


# ---- back


def to_pandas(frame: pl.DataFrame, index: str | None = None) -> Any:
    """A polars frame as a pandas one, without pyarrow.

    Args:
        index: a column of times that becomes the index too.
    """
    import pandas as pd

    columns = {name: _to_pandas_column(frame[name], pd) for name in frame.columns}
    found = pd.DataFrame(columns)
    if index is not None:
        found.index = pd.DatetimeIndex(found[index]).rename(None)
    return found


def in_kind(frame: pl.DataFrame, source: Any, time: str | None = None) -> Any:
    """Answers in the kind of their source: a pandas frame for one, its index the times where they were so."""
    if library(source) != "pandas":
        return frame
    timed = type(source.index).__name__ in ("DatetimeIndex", "PeriodIndex")
    return to_pandas(frame, time if timed and time in frame.columns else None)


def _to_pandas_column(column: pl.Series, pd: Any) -> Any:
    if isinstance(column.dtype, pl.Datetime):
        zone = column.dtype.time_zone
        plain = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zone else column
        times = pd.Series(plain.to_numpy())
        return times.dt.tz_localize("UTC").dt.tz_convert(zone) if zone else times
    if column.dtype.is_numeric() or (column.dtype == pl.Boolean and not column.null_count()):
        return column.to_numpy()
    return pd.Series(column.to_list(), dtype=None if column.dtype == pl.String else object)
