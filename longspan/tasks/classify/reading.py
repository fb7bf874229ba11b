"""Reads texts or series with labels: files of many kinds, folders, frames, arrays and lists."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sized
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from torch import Tensor

from longspan import errors
from longspan.data.readers.frames import is_frame, is_frame_like
from longspan.data.readers.numeric import in_single_precision, within_range
from longspan.data.readers.tables import (
    TABLE_ENDINGS,
    Source,
    is_path,
    json_columns,
    read_source,
)
from longspan.data.readers.text_files import (
    PACKED_ENDINGS,
    decoded,
    existing,
    lines,
    name_of,
    visible_files,
)

from .label_reading import is_missing, label_of, labels_of_y
from .layout import Layout, SourceParts
from .series_encoder import MixedInput
from .table_reading import ID_NAMES, TEXT_NAMES, from_table, static_values
from .ts_format import read_ts

_SOURCES = "a path, a frame, texts, or an array or list of series"
_JSON = (".jsonl", ".ndjson", ".json")
_SERIES_FIELDS = ("series", "values", "x")
_LARGEST = 1e18  # number in size: squares of much larger ones overflow in single precision


class Example(NamedTuple):
    """A record and its label.

    input: a text, a list of words, a series (T, D) float32, or a `MixedInput`; label: one label, a tuple of
    them, a list with one a step, or None where it is not known.
    """

    input: Any
    label: Any = None


class Examples(list[Example]):
    """Records of one source, and where they come from.

    text: the column or field of the texts; series: the columns of values; static: the columns with one value
    a record; ids: the name of each series, None where the source has none.
    """

    text: str | None = None
    series: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    ids: list[Any] | None = None


def read_examples(
    source: Any, y: Any = None, *, layout: Layout | None = None, labelled: bool = True
) -> Examples:
    """Records with their labels.

    Args:
        source: a path: a table (.csv, .tsv, .parquet, gzipped too) with a row a text, a row a record of
            numbers and categories or, in the long format, a row a reading; JSON lines (.jsonl, .ndjson,
            .json); a `.ts` file; a folder with a folder of text
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
            way_out = f"name the column by label= (now {layout.label!r})"
            way_out += "" if is_path(source) else ", or pass y"
            raise errors.value_error("label", "labels to learn from", "none", way_out)
        raw_labels = [None] * len(inputs)
    labels = [label_of(raw, row, layout, labelled) for row, raw in enumerate(raw_labels)]
    pairs = enumerate(zip(inputs, labels, strict=True))
    examples = Examples(_example(raw, label, row, layout) for row, (raw, label) in pairs)
    examples.text, examples.series, examples.ids = read.text, read.series, read.ids
    examples.static = read.static
    return examples


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
        return from_table(_table(path, layout), layout, labelled)
    return _from_lines(path, layout, labelled)


def _table(source: Any, layout: Layout) -> Source:
    """The table in a file or a frame; ids, labels and texts stay as they are written."""
    series = (layout.series,) if isinstance(layout.series, str) else tuple(layout.series or ())
    text = {layout.label, layout.text or "", layout.id or "", *TEXT_NAMES, *ID_NAMES} - set(series)
    table = read_source(source, options=layout.options, text=text)
    named = {layout.label, layout.text, layout.id, layout.time, *series}
    unused = [
        column for column in table.index_columns if column not in named and len(table.index_columns) == 1
    ]
    return table._replace(frame=table.frame.drop(unused))


def _from_memory(source: Any, layout: Layout, labelled: bool) -> SourceParts:
    if is_frame(source) and is_frame_like(source):
        return from_table(_table(source, layout), layout, labelled)
    if isinstance(source, Tensor):
        source = source.detach().cpu().numpy()
    if isinstance(source, np.ndarray) and source.dtype.names is not None:
        return from_table(_table(source, layout), layout, labelled)
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
        return from_table(_table(source, layout), layout, labelled)
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
    if folders and len(folders) < len(entries):
        beside = next(entry.name for entry in entries if entry not in folders)
        errors.notice(f"Files beside the folders of classes are not read, such as {beside}.")
    for entry in folders or entries:
        for file in visible_files(entry) if folders else [entry]:
            whole = decoded(file, layout.encoding)
            parts = [whole] if folders else [line for line in whole.split("\n") if line.strip()]
            texts += [part.strip() for part in parts]
            labels += [entry.name if folders else name_of(entry)] * len(parts)
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
    columns = json_columns(objects[0]) if len(objects) == 1 and path.suffix.lower() == ".json" else None
    return objects if columns is None else pl.DataFrame(columns, strict=False).to_dicts()


def _from_fields(rows: list[Any], layout: Layout, labelled: bool) -> SourceParts:
    if not rows:
        raise errors.value_error("source", "at least one record", "none", "check what was read")
    names = sorted({str(name) for row in rows for name in row})
    field = layout.text or (layout.series if isinstance(layout.series, str) else None)
    field = field or layout.fitted_text or next(iter(layout.fitted_series), None)
    if field is None and not layout.fitted_static:
        field = next((name for name in (*TEXT_NAMES, *_SERIES_FIELDS) if name in names), None)
    if field is None and _are_flat(rows):
        return from_table(_table(rows, layout), layout, labelled)
    if field is None or field not in names:
        way_out = "name it by text= or series="
        raise errors.value_error("text", f"a field of the records ({', '.join(names)})", repr(field), way_out)
    for number, row in enumerate(rows):
        if row.get(field) is None:
            raise errors.value_error(
                field, "a value in every record", f"none in row {number}", "fill it or leave the row out"
            )
    if layout.label not in names and labelled:
        expected = f"a field of the records ({', '.join(names)})"
        raise errors.value_error("label", expected, repr(layout.label), "name it by label=")
    labels = [row.get(layout.label) for row in rows] if layout.label in names else None
    static = layout.static_columns
    if not static:
        return SourceParts([row[field] for row in rows], labels, field)
    values = static_values(pl.DataFrame([{name: row.get(name) for name in static} for row in rows]), static)
    series = [_series_of(row[field], number) for number, row in enumerate(rows)]
    inputs: list[Any] = [MixedInput(*pair) for pair in zip(series, values, strict=True)]
    return SourceParts(inputs, labels, series=(field,), static=static)


def _are_flat(rows: list[Any]) -> bool:
    """Whether no field of the first record holds several values."""
    return not any(isinstance(value, (list, tuple, Mapping, np.ndarray)) for value in rows[0].values())


def _example(value: Any, label: Any, row: int, layout: Layout) -> Example:
    encoded = _input(value, row, layout)
    if layout.labels == "token" and label is not None and len(label) != len(encoded):
        received = f"{len(label)} labels for {len(encoded)} steps in row {row}"
        raise errors.value_error("label", "one label a step", received, "give as many as steps")
    return Example(encoded, label)


def _is_sized(value: Any) -> bool:
    return isinstance(value, Sized)


def _input(value: Any, row: int, layout: Layout) -> Any:
    if isinstance(value, MixedInput):
        return value
    if isinstance(value, str):
        return value.split() if layout.labels == "token" else value
    if not _is_sized(value) or isinstance(value, Mapping):
        if is_missing(value):  # a missing text
            return ""
        received = f"{value!r} in row {row}"
        raise errors.value_error(
            "source", "texts, or series (T,) or (T, D)", received, "put a single record in a list"
        )
    if len(value) and isinstance(value[0], str):
        return [str(word) for word in value]
    return _series_of(value, row)


def _float_of(value: Any) -> type:
    """float32 for what is in it already, else float64."""
    return np.float32 if str(getattr(value, "dtype", "")).endswith(("float32", "float16")) else np.float64


def _series_of(value: Any, row: int) -> np.ndarray:
    """A series (T, D) float32."""
    try:
        series = in_single_precision(np.asarray(value, _float_of(value)))
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
    too_large = np.abs(series) > _LARGEST
    if too_large.any():
        number = float(np.asarray(value, np.float64).reshape(series.shape)[too_large][0])
        expected = within_range(number, _LARGEST)
        raise errors.value_error("source", expected, f"{number} in row {row}", "correct or leave it out")
    return series
