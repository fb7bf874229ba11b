"""Reads tables for a classifier: a text, a series, a reading or a record of many values in every row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from longspan import errors
from longspan.data.readers.numeric import in_single_precision
from longspan.data.readers.tables import Source, as_text, check_columns, is_number, number_share, numbers
from longspan.data.time_table import natural_ids, row_times

from .label_reading import label_of_series, labels_of_column
from .layout import Layout, SourceParts
from .series_encoder import MixedInput

TEXT_NAMES = ("text", "sentence", "review", "content", "question")
ID_NAMES = ("id", "series_id", "series", "sequence", "unique_id", "case")
_MANY = 10  # numbered columns from which on every row is read as a series
_CATEGORY_WORDS = 3  # words of a category at most, in the mean
_CATEGORY_SHARE = 0.5  # share of distinct values up to which a column of short texts holds categories


def from_table(table: Source, layout: Layout, labelled: bool) -> SourceParts:
    """The inputs and labels of a table, by what its rows hold."""
    frame = table.frame
    has_label = layout.label in frame.columns
    if labelled and not has_label:
        check_columns(frame, [layout.label], "label")
    labels = labels_of_column(table, layout) if has_label else None
    column = _text_column(frame, layout)
    if column is not None:
        check_columns(frame, [column], "text")
        return SourceParts(as_text(frame[column]).fill_null("").to_list(), labels, column)
    check_columns(frame, layout.static_columns, "static_covariates")
    if _is_row_a_series(frame, layout):
        columns = _series_columns(frame, layout, None)
        rows = [row[:, None] for row in in_single_precision(numbers(frame, columns, "series"), axis=1)]
        static = layout.static_columns
        inputs = _with_static(rows, frame, static, range(len(rows)))
        return SourceParts(inputs, labels, series=tuple(columns), static=static)
    columns = _record_columns(frame, layout)
    if columns:
        values = static_values(frame, columns)
        return SourceParts([MixedInput(None, row) for row in values], labels, static=tuple(columns))
    return _long(table, layout, labels)


def static_values(frame: pl.DataFrame, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """The values of static columns, a tuple a row: numbers, categories as text, None where one is missing."""
    parts: list[list[Any]] = []
    for name in columns:
        if _is_numeric(frame[name]):
            values = numbers(frame, [name], "static_covariates")[:, 0].tolist()
            parts.append([None if value != value else value for value in values])
        else:
            parts.append(as_text(frame[name]).to_list())
    return list(zip(*parts, strict=True))


def _with_static(
    rows: list[Any], frame: pl.DataFrame, columns: Sequence[str], lines: Sequence[int]
) -> list[Any]:
    """Series with the static values in their lines of the table; the series alone without static columns."""
    if not columns:
        return rows
    values = static_values(frame, columns)
    return [MixedInput(row, values[line]) for row, line in zip(rows, lines, strict=True)]


def _record_columns(frame: pl.DataFrame, layout: Layout) -> list[str]:
    """The columns of a table whose rows are single records without a series; [] for other tables."""
    if layout.series is not None or layout.fitted_series or layout.labels == "token":
        return []
    if layout.fitted_static:
        return list(layout.fitted_static)
    id = _id_of(frame, layout)
    if layout.time is not None or (id is not None and (layout.id or frame[id].n_unique() < frame.height)):
        return []
    if layout.static_columns:
        return list(layout.static_columns)
    others = {layout.label, id}
    columns = [name for name in frame.columns if name not in others and not frame[name].dtype.is_nested()]
    numeric = [name for name in columns if _is_numeric(frame[name])]
    received = f"{len(numeric)} numbers and {len(columns) - len(numeric)} categories"
    errors.notice(f"Every row is read as a record of {received}; name id= where rows make up series.")
    return columns


def _is_categorical(column: pl.Series) -> bool:
    """Whether a column of text holds categories: short texts that occur again and again."""
    values = column.drop_nulls().cast(pl.String)
    if not len(values):
        return True
    words = float(values.str.count_matches(r"\s+").mean() or 0) + 1  # pyright: ignore[reportArgumentType]
    return words <= _CATEGORY_WORDS and values.n_unique() <= _CATEGORY_SHARE * len(values)


def _is_numeric(column: pl.Series) -> bool:
    return is_number(column) or number_share(column) >= 0.5


def _text_column(frame: pl.DataFrame, layout: Layout) -> str | None:
    """The column with the text, None where the table has series."""
    if layout.text is not None or layout.series is not None or layout.static is not None:
        return layout.text
    if layout.fitted_text is not None or layout.fitted_series or layout.fitted_static:
        return layout.fitted_text
    others = {layout.label, layout.id, layout.time}
    named = [name for name in frame.columns if name.lower() in TEXT_NAMES and name not in others]
    named = [name for name in named if frame.schema[name] == pl.String]
    if len(named) == 1:
        return named[0]
    ids = [name for name in frame.columns if name.lower() in ID_NAMES and frame.schema[name] == pl.String]
    free = [name for name in frame.columns if name not in others]
    numeric = [name for name in free if name not in ids and _is_numeric(frame[name])]
    written = [name for name in free if frame.schema[name] == pl.String and name not in numeric]
    texts = [name for name in written if name not in ids] or written
    if numeric and (not written or written == ids or all(_is_categorical(frame[name]) for name in texts)):
        return None
    if len(texts) > 1 and all(_is_categorical(frame[name]) for name in texts):
        return None
    if len(texts) > 1:
        received = f"{len(texts)} ({', '.join(texts[:6])})"
        raise errors.value_error(
            "text", "one column of text to find it by itself", received, "name it by text="
        )
    return texts[0] if len(texts) == 1 else None


def _id_of(frame: pl.DataFrame, layout: Layout) -> str | None:
    return layout.id or next((name for name in frame.columns if name.lower() in ID_NAMES), None)


def _series_columns(frame: pl.DataFrame, layout: Layout, id: str | None) -> list[str]:
    others = {layout.label, id, layout.time, *layout.static_columns}
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
    others = set(frame.columns) - {*columns, layout.label, id, *layout.static_columns}
    if any(frame.schema[name] == pl.String for name in others):
        return False
    matches = [re.fullmatch(r"(.*?)(\d+)", name) for name in columns]
    if len(columns) < _MANY or not all(matches) or len({match.group(1) for match in matches if match}) > 1:
        return False
    errors.notice(f"Every row is read as a series of {len(columns)} readings.")
    return True


def _long(table: Source, layout: Layout, labels: list[Any] | None) -> SourceParts:
    """Series out of a table with a row a reading: rows of one id belong together."""
    frame = table.frame
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
    names = natural_ids(frame[id], written=table.kind == "file")
    values = numbers(frame, columns, "series")
    series: list[Any] = []
    series_labels: list[Any] = []
    ids: list[Any] = []
    firsts: list[int] = []
    order = np.lexsort((rows.values, rows.series))
    for part in np.split(order, np.cumsum(np.bincount(rows.series))[:-1]):
        series.append(in_single_precision(values[part]))
        firsts.append(int(part.min()))
        ids.append(names[firsts[-1]])
        if labels is not None:
            series_labels.append(label_of_series([labels[row] for row in part.tolist()], ids[-1], layout))
    static = layout.static_columns
    inputs = _with_static(series, frame, static, firsts)
    all_labels = series_labels if labels is not None else None
    return SourceParts(inputs, all_labels, series=tuple(columns), static=static, ids=ids)
