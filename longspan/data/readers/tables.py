"""Knows how tables come in (CSV, Parquet, pandas, polars, NumPy) and what is said of columns that fit ill."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from longspan import errors

from .text_files import fault

MISSING = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "?")
_KINDS = "a path to a CSV or Parquet file, a pandas or polars frame, an array, or a list of arrays"
_ENDINGS = {".parquet": "parquet", ".pq": "parquet", ".tsv": "tsv", ".tab": "tsv"}


def is_path(source: Any) -> bool:
    """Whether it names a file."""
    return isinstance(source, (str, os.PathLike))


def read_table(source: Any, name: str = "source") -> pl.DataFrame:
    """A polars frame out of a file or a frame.

    Args:
        source: a path (.parquet, .pq; else text with a header line, gzipped or not, whose separator is
            found), or a pandas, polars or other frame that narwhals reads.
        name: how errors call it.

    Raises:
        FileNotFoundError, ValueError, TypeError: it is not there, empty, has a header only, or is none of
            these; one sentence.
    """
    if is_path(source):
        return _filled(_from_file(Path(source)), f"file {source}")
    if isinstance(source, pl.DataFrame):
        return _filled(source, name)
    import narwhals  # only here: files and polars frames need none of it

    try:
        frame: Any = narwhals.from_native(source)
    except TypeError as error:
        raise errors.type_error(name, _KINDS, source, "convert it to one of these") from error
    if isinstance(frame, narwhals.LazyFrame):
        frame = frame.collect()
    columns = {str(column): _column(frame[column]) for column in frame.columns}
    return _filled(pl.DataFrame(columns), name)


def _filled(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    if frame.height == 0:
        received = "a header only" if frame.width else "no data"
        raise errors.value_error(name, "at least one row", received, "check what was written there")
    return frame


def _column(series: Any) -> pl.Series:
    """A column of another library's frame; text and categories as text."""
    values = series.to_numpy()
    if values.dtype == object or values.dtype.kind in "US":
        return pl.Series([None if _is_missing(value) else value for value in values.tolist()], strict=False)
    if values.dtype.kind == "M":
        return pl.Series(values.astype("datetime64[us]"))
    return pl.Series(np.ascontiguousarray(values))


def _is_missing(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str) and value in MISSING)


def _from_file(path: Path) -> pl.DataFrame:
    if not path.is_file():
        received = "a folder" if path.is_dir() else "nothing there"
        raise FileNotFoundError(errors.message(f"file {path}", "a table", received, _nearest_file(path)))
    kind = _ENDINGS.get(path.suffix.lower(), "csv")
    try:
        if kind == "parquet":
            return pl.read_parquet(path)
        return pl.read_csv(
            path,
            separator="\t" if kind == "tsv" else _separator(path),
            null_values=list(MISSING),
            infer_schema_length=None,
            try_parse_dates=False,
        )
    except pl.exceptions.NoDataError as error:
        raise errors.value_error(
            f"file {path}", "a table with a header", "an empty file", "check it"
        ) from error
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        if "utf-8" in str(error):
            raise _undecodable(path) from error
        way_out = "save it as CSV with a header line, or as Parquet"
        received = str(error).splitlines()[0].rstrip(".")[:120]
        raise errors.value_error(f"file {path}", "a readable table", received, way_out) from error


def _undecodable(path: Path) -> ValueError:
    """The error for a table with a byte that is no UTF-8."""
    with _unzipped(path) as file:
        raw = file.read()
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return errors.value_error(f"file {path}", "a table in utf-8", fault(error), "save it as UTF-8")
    return errors.value_error(f"file {path}", "a table in utf-8", "another encoding", "save it as UTF-8")


def _unzipped(path: Path) -> Any:
    """The file's bytes, unpacked where they are gzipped."""
    import gzip

    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if zipped else path.open("rb")


def _nearest_file(path: Path) -> str:
    beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    return (
        errors.did_you_mean(path.name, beside)
        if beside and "nearest" in errors.did_you_mean(path.name, beside)
        else "check the path"
    )


def _separator(path: Path) -> str:
    """The separator that the header line has most of."""
    with _unzipped(path) as file:
        head = file.readline().decode("utf-8", "replace")
    return max((",", ";", "\t", "|"), key=head.count)


def check_columns(frame: pl.DataFrame, wanted: Collection[str], option: str, name: str = "source") -> None:
    """Refuse columns that are not there, with the nearest name.

    >>> check_columns(pl.DataFrame({"OT": [1]}), ["OTT"], "target")
    Traceback (most recent call last):
    ...
    ValueError: target: expected a column of source (OT), received 'OTT'; the nearest is 'OT'.
    """
    for column in wanted:
        if column not in frame.columns:
            shown = ", ".join(frame.columns[:12]) + (", …" if frame.width > 12 else "")
            way_out = errors.did_you_mean(column, frame.columns)
            near = {c.lower(): c for c in frame.columns}.get(column.lower())
            way_out = f"the nearest is {near!r}" if near else way_out
            raise errors.value_error(option, f"a column of {name} ({shown})", repr(column), way_out)


def numbers(frame: pl.DataFrame, columns: Sequence[str], option: str) -> np.ndarray:
    """Columns as float64 (N, C), NaN where a value is missing.

    Raises:
        ValueError: a column holds text or infinity; the sentence names the first place.
    """
    found = np.empty((frame.height, len(columns)))
    for place, column in enumerate(columns):
        found[:, place] = _float(frame[column], f"{option} {column}")
    return found


def _float(series: pl.Series, name: str) -> np.ndarray:
    if series.dtype == pl.String or series.dtype == pl.Object:
        cast = series.cast(pl.String, strict=False).str.strip_chars().cast(pl.Float64, strict=False)
        bad = (cast.is_null() & series.is_not_null()).arg_true()
        if len(bad):
            received = f"{series[int(bad[0])]!r} in row {int(bad[0]) + 1}"
            raise errors.value_error(
                name, "numbers", received, "correct it, leave it empty, or drop the column"
            )
        series = cast
    elif not (series.dtype.is_numeric() or series.dtype in (pl.Boolean, pl.Null)):
        raise errors.value_error(name, "numbers", f"a column of {series.dtype}", "name another column")
    series = series.cast(pl.Float64)
    values = (series.fill_null(float("nan")) if series.null_count() else series).to_numpy()
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        received = f"{values[infinite[0]]} in row {infinite[0] + 1}"
        raise errors.value_error(name, "finite numbers", received, "correct it or leave it empty")
    return values


def is_number(series: pl.Series) -> bool:
    """Whether a column holds numbers (booleans count)."""
    return series.dtype.is_numeric() or series.dtype == pl.Boolean


def words(frame: pl.DataFrame, column: str) -> np.ndarray:
    """A column as text (N,), "" where a value is missing."""
    return frame[column].cast(pl.String).fill_null("").to_numpy().astype(object)
