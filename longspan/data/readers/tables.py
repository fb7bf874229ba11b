"""Reads tables from files and frames into polars, numbers as numbers; describes columns that do not fit."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from longspan import errors

from . import numeric
from .delimited import read_delimited
from .excel import read_excel
from .frames import from_frame, is_frame, library
from .text_files import compression, decoded, ending_of, read_bytes, text_pieces

_EXCEL = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
_BINARY = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".feather": "feather",
    ".arrow": "feather",
    ".ipc": "feather",
}
_JSON = (".jsonl", ".ndjson", ".json")
_TABBED = (".tsv", ".tab")
_HEAD_ROWS = 100_000  # rows of a large Parquet or Feather file that stand for it
TABLE_ENDINGS = (".csv", *_TABBED, *_BINARY, *_EXCEL)


@dataclass(frozen=True)
class ReadOptions:
    """How files are read.

    encoding: of text files without a byte order mark; missing: markers of missing values beside
    `numeric.MISSING`; sheet: of an Excel file, None for the first.
    """

    encoding: str = "utf-8"
    missing: tuple[str, ...] = ()
    sheet: str | None = None


class Source(NamedTuple):
    """A table and where it came from.

    frame: its columns; index_columns: those that were the index of a pandas frame; kind: the library in which
    it came ("pandas", "polars", "file" ...), which is that of the answers; written: columns of numbers that
    may be ids, as their file writes them.
    """

    frame: pl.DataFrame
    index_columns: tuple[str, ...]
    kind: str
    written: Mapping[str, pl.Series] = MappingProxyType({})

    def with_ids(self, column: str | None) -> Source:
        """The table with a column of ids as its file writes them, such as 0007."""
        if column is None or column not in self.written:
            return self
        return self._replace(frame=self.frame.with_columns(self.written[column]))


def is_path(source: Any) -> bool:
    """Whether it names a file."""
    return isinstance(source, (str, os.PathLike))


def is_table(source: Any) -> bool:
    """Whether it is a file or a frame, whose columns have names."""
    return is_path(source) or is_frame(source) or library(source) == "pandas"


def read_table(
    source: Any, name: str = "source", *, options: ReadOptions | None = None, text: Collection[str] = ()
) -> pl.DataFrame:
    """A polars frame out of a file or a frame; see `read_source`."""
    return read_source(source, name, options=options, text=text).frame


def read_source(
    source: Any,
    name: str = "source",
    *,
    options: ReadOptions | None = None,
    text: Collection[str] = (),
    dates: bool = False,
    needed: Collection[str] = (),
    ids: Collection[str] = (),
) -> Source:
    """A table out of a file or a frame; columns of text that hold numbers alone are numbers.

    Args:
        source: a path (Parquet, Feather, Excel, JSON lines by their endings, else delimited text; gzip,
            bzip2, xz and zip are unpacked), or a pandas, polars or other frame, records, a structured array.
        name: how errors call it.
        options: how files are read.
        text: columns that stay as they are written, such as ids and labels.
        dates: whether columns of text files with dates in ISO form alone are read as such, which takes a
            third of the memory.
        needed: where all of them are there, columns of fractions beside these may be left out of text files
            with columns of such dates.
        ids: names, in small letters, of columns that may be ids: of text files they are kept as written, too.

    Raises:
        FileNotFoundError, ValueError, TypeError: it is not there, empty, has a header only, or is none of
            these; one sentence.
    """
    options = options or ReadOptions()
    decimal = "."
    if is_path(source):
        name = f"file {source}"
        frame, decimal = _from_file(Path(source), options, text, dates, needed, ids)
        index, kind = (), "file"
    else:
        (frame, index), kind = from_frame(source, name), library(source)
        frame = (
            frame.rename({column: str(column).strip() or column for column in frame.columns})
            if len({str(column).strip() for column in frame.columns}) == frame.width
            else frame
        )
    if frame.height == 0:
        received = "a header only" if frame.width else "no data"
        raise errors.value_error(name, "at least one row", received, "check what was written there")
    written = {} if kind != "file" else {
        name: _without_blanks(frame[name])
        for name in frame.columns
        if name.strip().lower() in ids and name not in text and frame.schema[name] == pl.String
    }  # fmt: skip
    return Source(_with_numbers(frame, text, options.missing, decimal), index, kind, written)


def _with_numbers(
    frame: pl.DataFrame, text: Collection[str], missing: Collection[str], decimal: str
) -> pl.DataFrame:
    """The frame with the columns of text that hold numbers alone as numbers."""
    new: list[pl.Series] = []
    for column in frame.get_columns():
        if column.dtype == pl.Categorical or isinstance(column.dtype, pl.Enum):
            column = column.cast(pl.String)
            frame = frame.with_columns(column)
        if column.dtype == pl.Null:
            new.append(column.cast(pl.Float64))
        if missing and is_number(column) and column.name not in text:
            new.append(numeric.without_markers(column, missing))
        if column.name in text and column.dtype == pl.String:
            new.append(_without_blanks(column))
        elif column.dtype == pl.String and not numeric.is_text(column):
            if (whole := _as_whole(column)) is not None:
                new.append(whole)
                continue
            found = numeric.read_numbers(column, missing, decimal)
            if not found.odd.any():
                new.append(found.values.alias(column.name))
                if found.guess:
                    errors.notice(f"In column {column.name} {found.guess}.")
            elif missing:
                new.append(column.replace(list(missing), None))
    return frame.with_columns(new) if new else frame


def _as_whole(column: pl.Series) -> pl.Series | None:
    """Text as whole numbers, None where some cell is none."""
    if column.null_count() == len(column):
        return None
    whole = column.cast(pl.Int64, strict=False)
    return whole if whole.null_count() == column.null_count() else None


def _without_blanks(column: pl.Series) -> pl.Series:
    """Text whose empty cells are missing."""
    return (
        pl.select(pl.when(column.str.strip_chars() == "").then(None).otherwise(column))
        .to_series()
        .alias(column.name)
    )


# ---- files


def _from_file(
    path: Path,
    options: ReadOptions,
    text: Collection[str],
    dates: bool,
    needed: Collection[str],
    ids: Collection[str],
) -> tuple[pl.DataFrame, str]:
    """The table in a file, and the decimal mark of its text."""
    if not path.is_file():
        received = "a folder" if path.is_dir() else "nothing there"
        raise FileNotFoundError(errors.message(f"file {path}", "a table", received, _nearest_file(path)))
    ending = ending_of(path)
    if ending in _EXCEL:
        return read_excel(path, options.sheet), "."
    if ending in _JSON:
        return _from_json(path, options.encoding), "."
    if ending in _BINARY or _looks_binary(path):
        return _from_binary(path, _BINARY.get(ending, "parquet")), "."
    separator = "\t" if ending in _TABBED else None
    frame, form = read_delimited(
        path, encoding=options.encoding, text=text, separator=separator, dates=dates, needed=needed, ids=ids
    )
    first = frame.columns[0] if frame.width else ""
    if first == "column_1" and frame.width > 1 and _is_count(frame[first]):
        frame = frame.drop(first)
    return frame, form.decimal


def _is_count(column: pl.Series) -> bool:
    """Whether a column counts the rows from 0 or 1, as an index that was written beside them does."""
    if not column.dtype.is_integer() or column.null_count() or not len(column):
        return False
    return column[0] in (0, 1) and bool((column == pl.int_range(len(column), eager=True) + column[0]).all())


def _looks_binary(path: Path) -> bool:
    if path.suffix.lower() in (".csv", *_TABBED, ".txt") or compression(path) is not None:
        return False
    return read_bytes(path, 4) == b"PAR1"


def _from_binary(path: Path, kind: str) -> pl.DataFrame:
    """A Parquet or Feather file; both begin and end with their mark, which a damaged file often lacks."""
    mark = b"PAR1" if kind == "parquet" else b"ARROW1"
    try:
        with path.open("rb") as file:
            begin = file.read(len(mark))
            file.seek(-min(len(mark), path.stat().st_size), os.SEEK_END)
            if begin != mark or file.read() != mark:
                raise OSError("no mark")
        return _scan(path, kind).collect()
    except (pl.exceptions.PolarsError, OSError, pl.exceptions.PanicException) as error:
        way_out = "write it again"
        raise errors.value_error(f"file {path}", f"a {kind} file", "another content", way_out) from error


def _scan(path: Path, kind: str) -> pl.LazyFrame:
    """The rows of a file, whose name is no pattern of names: brackets are brackets."""
    return pl.scan_parquet(path, glob=False) if kind == "parquet" else pl.scan_ipc(path, glob=False)


def _from_json(path: Path, encoding: str) -> pl.DataFrame:
    """One JSON object a line, or one list of them."""
    import json

    content = decoded(path, encoding).strip()
    try:
        if content.startswith("["):
            rows = json.loads(content)
        else:
            rows = [json.loads(line) for line in content.splitlines() if line.strip()]
            rows = json_columns(rows[0]) or rows if len(rows) == 1 and isinstance(rows[0], dict) else rows
    except (json.JSONDecodeError, RecursionError) as error:
        received = f"{getattr(error, 'msg', 'values nested too deep')}"
        way_out = "write one object a line"
        raise errors.value_error(f"file {path}", "JSON objects, one a line", received, way_out) from error
    rows_named = isinstance(rows, dict) or (
        isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
    )
    if not rows or not rows_named:
        received = "no data" if not rows else "other values"
        raise errors.value_error(
            f"file {path}", "JSON objects, one a line", received, "write one object a line"
        )
    return from_frame(rows, f"file {path}")[0]


def json_columns(row: dict[str, Any]) -> dict[str, list[Any]] | None:
    """The columns that one object holds, in any of the ways in which pandas writes a frame; None for none."""
    if row.keys() == {"columns", "index", "data"}:
        names, rows = row["columns"], row["data"]
        whole = all(isinstance(cells, list) and len(cells) == len(names) for cells in rows)
        return {str(name): [cells[at] for cells in rows] for at, name in enumerate(names)} if whole else None
    if all(isinstance(value, list) for value in row.values()):
        columns: dict[str, list[Any]] = row
    elif all(
        isinstance(value, dict) and value.keys() == next(iter(row.values())).keys() for value in row.values()
    ):
        columns = {name: list(cells.values()) for name, cells in row.items()}
    else:
        return None
    return columns if len({len(cells) for cells in columns.values()}) == 1 else None


def write_head(path: Path, head: Path, size: int, encoding: str) -> bool:
    """Write the first rows of a large file into another file of its kind, unpacked.

    Args:
        size: bytes of text that are read, cut after a whole line; of Parquet and Feather 100,000 rows are.
        encoding: of text without a byte order mark.

    Returns:
        False, with nothing written, for a kind of file that is read as a whole, such as Excel.
    """
    ending = ending_of(path)
    if ending in _EXCEL or ending == ".json":
        return False
    if ending in _BINARY or _looks_binary(path):
        kind = _BINARY.get(ending, "parquet")
        rows = _scan(path, kind).head(_HEAD_ROWS).collect()
        rows.write_parquet(head) if kind == "parquet" else rows.write_ipc(head)
        return True
    text = next(text_pieces(path, encoding, size), "")
    end = text.rfind("\n") + 1
    while end > 0 and text.count('"', 0, end) % 2:  # a line end inside of quotes
        end = text.rfind("\n", 0, end - 1) + 1
    head.write_text(text[:end] or text, encoding="utf-8-sig", newline="")
    return True


def _nearest_file(path: Path) -> str:
    beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    near = errors.did_you_mean(path.name, beside) if beside else ""
    return near if "nearest" in near else "check the path"


# ---- columns


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
    values = np.empty((frame.height, len(columns)))
    for place, column in enumerate(columns):
        series = _float(frame[column], f"{option} {column}")
        numeric.note_stand_in(series, column)
        values[:, place] = series.fill_null(float("nan")) if series.null_count() else series
    return values


def _float(series: pl.Series, name: str) -> pl.Series:
    """A column as Float64 numbers that are not too large, null or NaN where a value is missing."""
    if series.dtype == pl.String:
        read = numeric.read_numbers(series)
        if read.odd.any():
            raise numeric.not_a_number(name, *numeric.odd_cell(read, series))
        series = read.values
    elif series.dtype == pl.Object or series.dtype.is_nested():
        received = numeric.first_object(series)
        raise errors.value_error(name, "numbers", received, "put one number into every cell")
    elif not (series.dtype.is_numeric() or series.dtype in (pl.Boolean, pl.Null)):
        raise errors.value_error(name, "numbers", f"a column of {series.dtype}", "name another column")
    series = series.cast(pl.Float64)
    low, high = series.min(), series.max()
    if isinstance(low, float) and isinstance(high, float) and max(-low, high) > numeric.LARGEST:
        row = int((series.abs() > numeric.LARGEST).arg_true()[0])
        received = f"{series[row]} in row {row + 1}"
        raise errors.value_error(
            name, numeric.within_range(series[row]), received, "correct it or leave it empty"
        )
    return series


def is_number(series: pl.Series) -> bool:
    """Whether a column holds numbers (booleans count)."""
    return series.dtype.is_numeric() or series.dtype == pl.Boolean


def holds_numbers(series: pl.Series) -> bool:
    """Whether a column is one of numbers: all of them, or at least every twentieth cell of its text."""
    return is_number(series) or number_share(series) >= 0.05


def number_share(series: pl.Series) -> float:
    """The share of a column of text that reads as numbers, of the cells that are not missing."""
    if series.dtype != pl.String:
        return float(is_number(series))
    read = numeric.read_numbers(series)
    there = len(series) - read.values.null_count()
    return there / max(1, there + int(read.odd.sum()))


def as_text(series: pl.Series) -> pl.Series:
    """A column as text; a ValueError of one sentence where its cells hold several values each."""
    if series.dtype == pl.Object or series.dtype.is_nested():
        received = numeric.first_object(series)
        raise errors.value_error(f"column {series.name}", "text", received, "put one text into every cell")
    return series.cast(pl.String, strict=False)


def words(frame: pl.DataFrame, column: str) -> np.ndarray:
    """A column as text (N,), "" where a value is missing."""
    series = frame[column]
    as_text(series)
    if series.dtype == pl.Float64 and bool((series.fill_nan(None).drop_nulls() % 1 == 0).all()):
        series = series.fill_nan(None).cast(pl.Int64, strict=False)
    text = series.cast(pl.String)
    if series.dtype == pl.String:
        stripped = text.str.strip_chars()
        text = pl.select(
            pl.when(stripped.is_in(list(numeric.MISSING))).then(None).otherwise(stripped)
        ).to_series()
    return text.fill_null("").to_numpy().astype(object)
