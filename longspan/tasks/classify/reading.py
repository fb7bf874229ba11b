"""Reads texts or series with labels: files of many kinds, folders, frames, arrays and lists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sized
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from torch import Tensor

from longspan import errors
from longspan.data.readers.frames import is_frame, is_frame_like
from longspan.data.readers.tables import (
    TABLE_ENDINGS,
    Source,
    check_columns,
    is_number,
    is_path,
    number_share,
    numbers,
    read_source,
)
from longspan.data.readers.text_files import PACKED_ENDINGS, decoded, existing, lines
from longspan.data.time_table import row_times

from .label_reading import is_missing, label_of, label_of_series, labels_of_column, labels_of_y
from .layout import Layout
from .ts_format import read_ts

_SOURCES = "a path, a frame, texts, or an array or list of series"
_JSON = (".jsonl", ".ndjson", ".json")
_MANY = 10  # numbered columns from which on every row is read as a series
_TEXT_NAMES = ("text", "sentence", "review", "content", "question")
_ID_NAMES = ("id", "series_id", "series", "sequence", "unique_id", "case")


class Example(NamedTuple):
    """input: a text, a list of words, or a series (T, D) float32; label: one label, a tuple of them, a list
    with one a step, or None where it is not known."""

    input: Any
    label: Any = None


class Examples(list[Example]):
    """Records of one source, and where they come from.

    text: the column or field of the texts; series: the columns of values; ids: the name of each series, None
    where the source has none.
    """

    text: str | None = None
    series: tuple[str, ...] = ()
    ids: list[Any] | None = None


def read_examples(
    source: Any, y: Any = None, *, layout: Layout | None = None, labelled: bool = True
) -> Examples:
    """Records with their labels.

    Args:
        source: a path: a table (.csv, .tsv, .parquet, gzipped too) with a row a text or, in the long format,
            a row a reading; JSON lines (.jsonl, .ndjson, .json); a `.ts` file; a folder with a folder of text
            files, or a file of lines, for each class; any other file is lines, `label<TAB>text` or the text
            alone. Or a pandas or polars frame, as a table. Or a list of texts, or of lists of words; an array
            (N, T) or (N, T, D), or a list of series (T_i,) or (T_i, D).
        y: the labels where they come apart: one a record; a list or tuple of labels a record, or an array
            (N, C) of 0 and 1, for "multilabel"; a list a record, or a text with blanks between, for "token".
        layout: the columns and fields; None to find them.
        labelled: whether a record without a label is refused.

    Returns:
        The records in the source's order, those of a folder by class and name.

    Raises:
        FileNotFoundError, ValueError, TypeError: there is nothing to read or a record cannot be used; one
            sentence that names file and line, or row.

    >>> read_examples(["good", "bad"], [1, 0])
    [Example(input='good', label=1), Example(input='bad', label=0)]
    """
    layout = layout or Layout()
    wanted = labelled and y is None
    read_parts = _from_path if is_path(source) else _from_memory
    read = read_parts(Path(source) if is_path(source) else source, layout, wanted)
    inputs, raw_labels = read.inputs, read.labels
    if not len(inputs):
        raise errors.value_error("source", "at least one record", "no data", "check what was read")
    if y is not None:
        raw_labels = labels_of_y(y)
        if len(raw_labels) != len(inputs):
            raise errors.value_error(
                "y", f"{len(inputs)} labels, one a record", len(raw_labels), "give one each"
            )
    if raw_labels is None:
        if labelled:
            way_out = f"pass y, or name the column by label= (now {layout.label!r})"
            raise errors.value_error("label", "labels to learn from", "none", way_out)
        raw_labels = [None] * len(inputs)
    labels = [label_of(raw, row, layout, labelled) for row, raw in enumerate(raw_labels)]
    pairs = enumerate(zip(inputs, labels, strict=True))
    examples = Examples(_example(raw, label, row, layout) for row, (raw, label) in pairs)
    examples.text, examples.series, examples.ids = read.text, read.series, read.ids
    return examples


class SourceParts(NamedTuple):
    """The parts of a source: inputs, their labels or None, and the columns that both came from."""

    inputs: list[Any]
    labels: list[Any] | None
    text: str | None = None
    series: tuple[str, ...] = ()
    ids: list[Any] | None = None


def _from_path(path: Path, layout: Layout, labelled: bool) -> SourceParts:
    suffix = existing(path).suffix.lower()
    if path.is_dir():
        return _from_folder(path, layout)
    if suffix == ".ts":
        return SourceParts(*read_ts(path, layout.encoding))
    if suffix in PACKED_ENDINGS:
        suffix = path.with_suffix("").suffix.lower() or ".csv"
    if suffix in _JSON:
        return _from_fields(_json_lines(path, layout), layout, labelled)
    if suffix in TABLE_ENDINGS:
        return _from_table(_table(path, layout), layout, labelled)
    return _from_lines(path, layout, labelled)


def _table(source: Any, layout: Layout) -> Source:
    """The table in a file or a frame; ids, labels and texts stay as they are written."""
    series = (layout.series,) if isinstance(layout.series, str) else tuple(layout.series or ())
    text = {layout.label, layout.text or "", layout.id or "", *_TEXT_NAMES, *_ID_NAMES} - set(series)
    table = read_source(source, options=layout.options, text=text)
    named = {layout.label, layout.text, layout.id, layout.time, *series}
    unused = [
        column for column in table.index_columns if column not in named and len(table.index_columns) == 1
    ]
    return table._replace(frame=table.frame.drop(unused))


def _from_memory(source: Any, layout: Layout, labelled: bool) -> SourceParts:
    if is_frame(source) and is_frame_like(source):
        return _from_table(_table(source, layout), layout, labelled)
    if isinstance(source, Tensor):
        source = source.detach().cpu().numpy()
    if isinstance(source, np.ndarray) and source.dtype.names is not None:
        return _from_table(_table(source, layout), layout, labelled)
    if isinstance(source, np.ma.MaskedArray):
        source = np.ma.filled(source.astype(np.float64), np.nan)
    if isinstance(source, np.ndarray) and source.dtype.kind in "biuf":
        if source.ndim not in (2, 3):
            expected = "series (N, T) or (N, T, D)"
            raise errors.value_error(
                "source", expected, f"shape {source.shape}", "put a single series in a list"
            )
        return SourceParts(list(source), None)
    if isinstance(source, Mapping) and source and all(_is_column(column) for column in source.values()):
        return _from_table(_table(source, layout), layout, labelled)
    if isinstance(source, Mapping) or not isinstance(source, Iterable):
        raise errors.type_error("source", _SOURCES, source, "convert it to one of these")
    rows = list(source)
    if rows and isinstance(rows[0], Mapping):
        return _from_fields(rows, layout, labelled)
    frame = next((row for row in rows if is_frame_like(row)), None)
    if frame is not None:
        way_out = "join the frames into one with a column that names the series"
        raise errors.type_error("source", f"{_SOURCES}; no list of frames", frame, way_out)
    return SourceParts(rows, None)


def _is_column(value: Any) -> bool:
    return not isinstance(value, (str, bytes, Mapping)) and isinstance(value, Iterable)


# ---- text files


def _from_folder(path: Path, layout: Layout) -> SourceParts:
    """A folder with a folder of text files for each class, or with a file of lines for each."""
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    folders = [entry for entry in entries if entry.is_dir()]
    texts: list[Any] = []
    labels: list[Any] = []
    for entry in folders or entries:
        files = sorted(file for file in entry.rglob("*") if file.is_file()) if folders else [entry]
        for file in files:
            whole = decoded(file, layout.encoding)
            parts = [whole] if folders else [line for line in whole.split("\n") if line.strip()]
            texts += [part.strip() for part in parts]
            labels += [entry.name if folders else entry.stem] * len(parts)
    if not texts:
        way_out = "make a folder of text files for each class, or a file of lines"
        raise errors.value_error("source", "a folder with texts by class", f"none in {path}", way_out)
    return SourceParts(texts, labels)


def _from_lines(path: Path, layout: Layout, labelled: bool) -> SourceParts:
    """A text on every line, its label before it and a tabulator between."""
    texts: list[Any] = []
    labels: list[Any] = []
    for number, line in lines(path, layout.encoding):
        label, tab, text = line.partition("\t")
        if labelled and not tab:
            received = f"no tabulator in line {number} of {path}"
            raise errors.value_error(
                "source", "a label, a tabulator and a text on every line", received, "correct it"
            )
        texts.append(text.strip() if tab else line.strip())
        labels.append(label.strip() if tab else None)
    return SourceParts(texts, labels)


def _json_lines(path: Path, layout: Layout) -> list[Any]:
    objects: list[Any] = []
    whole = decoded(path, layout.encoding).strip() if path.suffix.lower() == ".json" else ""
    if whole.startswith("["):
        try:
            rows = json.loads(whole)
        except (json.JSONDecodeError, RecursionError) as error:
            received = f"text that is none in {path}"
            raise errors.value_error("source", "a list of JSON objects", received, "correct it") from error
        if all(isinstance(row, Mapping) for row in rows):
            return rows
        raise errors.value_error("source", "a list of JSON objects", f"other values in {path}", "correct it")
    for number, line in lines(path, layout.encoding):
        try:
            objects.append(json.loads(line))
        except (json.JSONDecodeError, RecursionError) as error:
            received = f"{getattr(error, 'msg', 'values nested too deep')} in line {number} of {path}"
            raise errors.value_error(
                "source", "one JSON object on every line", received, "correct the line"
            ) from error
        if not isinstance(objects[-1], Mapping):
            received = f"{type(objects[-1]).__name__} in line {number} of {path}"
            raise errors.value_error("source", "one JSON object on every line", received, "correct the line")
    return objects


def _from_fields(rows: list[Any], layout: Layout, labelled: bool) -> SourceParts:
    names = sorted({str(name) for row in rows for name in row})
    field = layout.text or (layout.series if isinstance(layout.series, str) else None)
    field = field or layout.fitted_text or next(iter(layout.fitted_series), None)
    if field is None:
        field = next((name for name in (*_TEXT_NAMES, "series", "values", "x") if name in names), None)
    if field is None or field not in names:
        way_out = "name it by text= or series="
        raise errors.value_error("text", f"a field of the records ({', '.join(names)})", repr(field), way_out)
    for number, row in enumerate(rows):
        if row.get(field) is None:
            raise errors.value_error(
                field, "a value in every record", f"none in row {number}", "fill it or leave the row out"
            )
    if layout.label not in names:
        if labelled:
            raise errors.value_error(
                "label",
                f"a field of the records ({', '.join(names)})",
                repr(layout.label),
                "name it by label=",
            )
        return SourceParts([row[field] for row in rows], None, field)
    return SourceParts([row[field] for row in rows], [row.get(layout.label) for row in rows], field)


# ---- tables


def _from_table(table: Source, layout: Layout, labelled: bool) -> SourceParts:
    frame = table.frame
    has_label = layout.label in frame.columns
    if labelled and not has_label:
        check_columns(frame, [layout.label], "label")
    labels = labels_of_column(table, layout) if has_label else None
    column = _text_column(frame, layout)
    if column is not None:
        check_columns(frame, [column], "text")
        return SourceParts(frame[column].cast(pl.String).fill_null("").to_list(), labels, column)
    if _is_row_a_series(frame, layout):
        columns = _series_columns(frame, layout, None)
        rows = list(numbers(frame, columns, "series").astype(np.float32))
        return SourceParts(rows, labels, series=tuple(columns))
    return _long(frame, layout, labels)


def _is_numeric(column: pl.Series) -> bool:
    return is_number(column) or number_share(column) >= 0.5


def _text_column(frame: pl.DataFrame, layout: Layout) -> str | None:
    """The column with the text, None where the table has series."""
    if layout.text is not None or layout.series is not None:
        return layout.text
    if layout.fitted_text is not None or layout.fitted_series:
        return layout.fitted_text
    others = {layout.label, layout.id, layout.time}
    named = [name for name in frame.columns if name.lower() in _TEXT_NAMES and name not in others]
    named = [name for name in named if frame.schema[name] == pl.String]
    if len(named) == 1:
        return named[0]
    ids = [name for name in frame.columns if name.lower() in _ID_NAMES and frame.schema[name] == pl.String]
    free = [name for name in frame.columns if name not in others]
    numeric = [name for name in free if name not in ids and _is_numeric(frame[name])]
    written = [name for name in free if frame.schema[name] == pl.String and name not in numeric]
    texts = [name for name in written if name not in ids] or written
    if numeric and (not written or written == ids):
        return None
    if len(texts) > 1 and not numeric:
        received = f"{len(texts)} ({', '.join(texts[:6])})"
        raise errors.value_error(
            "text", "one column of text to find it by itself", received, "name it by text="
        )
    return texts[0] if len(texts) == 1 else None


def _id_of(frame: pl.DataFrame, layout: Layout) -> str | None:
    return layout.id or next((name for name in frame.columns if name.lower() in _ID_NAMES), None)


def _series_columns(frame: pl.DataFrame, layout: Layout, id: str | None) -> list[str]:
    others = {layout.label, id, layout.time}
    columns = [layout.series] if isinstance(layout.series, str) else list(layout.series or ())
    check_columns(frame, columns, "series")
    if columns:
        return columns
    if layout.fitted_series:
        check_columns(frame, layout.fitted_series, "series")
        return list(layout.fitted_series)
    return [name for name in frame.columns if name not in others and _is_numeric(frame[name])]


def _is_row_a_series(frame: pl.DataFrame, layout: Layout) -> bool:
    """Whether every row is a series: several columns of one id a row, or many numbered columns."""
    id = _id_of(frame, layout)
    if layout.id is not None or layout.time is not None or layout.labels == "token":
        return False
    if id is not None and frame[id].n_unique() < frame.height:
        return False
    columns = _series_columns(frame, layout, id)
    if layout.series is not None:
        return len(columns) > 1
    matches = [re.fullmatch(r"(.*?)(\d+)", name) for name in columns]
    if len(columns) < _MANY or not all(matches) or len({match.group(1) for match in matches if match}) > 1:
        return False
    errors.notice(f"Every row is read as a series of {len(columns)} readings.")
    return True


def _long(frame: pl.DataFrame, layout: Layout, labels: list[Any] | None) -> SourceParts:
    """Series out of a table with a row a reading: rows of one id belong together."""
    id = _id_of(frame, layout)
    if id is None:
        way_out = "name it by id=, name series= for one a row, or name the column with texts by text="
        raise errors.value_error("id", "the column that says which series a row belongs to", "none", way_out)
    check_columns(frame, [id, *([layout.time] if layout.time else [])], "series")
    columns = _series_columns(frame, layout, id)
    if not columns:
        raise errors.value_error("series", "at least one column of numbers", "none", "name them by series=")
    time = () if layout.time is None else (layout.time,)
    rows = row_times(frame, time, id, options=layout.options)
    values = numbers(frame, columns, "series").astype(np.float32)
    series: list[Any] = []
    series_labels: list[Any] = []
    ids: list[Any] = []
    order = np.lexsort((rows.values, rows.series))
    for part in np.split(order, np.cumsum(np.bincount(rows.series))[:-1]):
        series.append(values[part])
        ids.append(frame[id][int(part.min())])
        if labels is not None:
            series_labels.append(label_of_series([labels[row] for row in part.tolist()], ids[-1], layout))
    return SourceParts(series, series_labels if labels is not None else None, series=tuple(columns), ids=ids)


def _example(value: Any, label: Any, row: int, layout: Layout) -> Example:
    encoded = _input(value, row, layout)
    if layout.labels == "token" and label is not None and len(label) != len(encoded):
        received = f"{len(label)} labels for {len(encoded)} steps in row {row}"
        raise errors.value_error("label", "one label a step", received, "give as many as steps")
    return Example(encoded, label)


def _input(value: Any, row: int, layout: Layout) -> Any:
    if isinstance(value, str):
        return value.split() if layout.labels == "token" else value
    if not isinstance(value, Sized):
        if is_missing(value):  # a missing text
            return ""
        received = f"{value!r} in row {row}"
        raise errors.value_error(
            "source", "texts, or series (T,) or (T, D)", received, "put a single record in a list"
        )
    if len(value) and isinstance(value[0], str):
        return [str(word) for word in value]
    try:
        series = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError) as error:
        received = f"{type(value).__name__} in row {row} ({str(error).splitlines()[0].rstrip('.')})"
        raise errors.value_error(
            "source", "numbers in every series", received, "correct or leave it out"
        ) from error
    if series.ndim == 1:
        series = series[:, None]
    if series.ndim != 2 or not len(series):
        received = f"shape {series.shape} in row {row}"
        raise errors.value_error(
            "source", "series (T,) or (T, D) of at least one reading", received, "leave it out"
        )
    if np.isinf(series).any():
        raise errors.value_error(
            "source", "finite numbers or NaN", f"infinity in row {row}", "correct or leave it out"
        )
    return series
