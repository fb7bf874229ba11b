"""Reads labels from columns, arrays and lists, and brings each to one form."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl
from torch import Tensor

from longspan import errors
from longspan.data.labels import sort_key
from longspan.data.readers.frames import is_frame_like, library
from longspan.data.readers.tables import Source, read_source

from .layout import Layout


def labels_of_column(table: Source, layout: Layout) -> list[Any]:
    """The labels; those of a file, which are text, as the classes of fit or by what they all look like."""
    column = table.frame[layout.label]
    if column.dtype != pl.String:
        return column.to_list()
    values = column.to_list()
    if layout.labels in ("multilabel", "token"):
        return values
    if layout.classes is not None:
        class_of = {_plain_text(name): name for name in layout.classes if not isinstance(name, tuple)}
        return [None if value is None else class_of.get(_plain_text(value), value) for value in values]
    return (
        values if table.kind != "file" else _natural([value.strip() if value else value for value in values])
    )


def _plain_text(value: Any) -> str:
    """A label as text; whole numbers without a point."""
    text = str(int(value)) if isinstance(value, float) and value == int(value) else str(value)
    return re.sub(r"\.0+$", "", text.strip()) if re.fullmatch(r"-?\d+\.0+", text.strip()) else text.strip()


def _natural(values: list[str | None]) -> list[Any]:
    """Labels of a file as whole numbers, numbers or truth values where all are; zeros in front make text."""
    there = {value for value in values if value is not None}
    if all(re.fullmatch(r"0|-?[1-9]\d{0,17}", value) for value in there):
        return [None if value is None else int(value) for value in values]
    if all(re.fullmatch(r"-?(0|[1-9]\d*)\.\d+", value) for value in there):
        return [None if value is None else float(value) for value in values]
    if all(re.fullmatch(r"-?(0|[1-9]\d{0,17})(\.\d+)?", value) for value in there):  # 1 and 1.0 are one
        numbers = {value: float(value) for value in there}
        whole = all(number == int(number) for number in numbers.values())
        return [None if value is None else int(float(value)) if whole else numbers[value] for value in values]
    if {value.lower() for value in there} <= {"true", "false"}:
        return [None if value is None else value.lower() == "true" for value in values]
    return list(values)


def label_of_series(labels: list[Any], id: Any, layout: Layout) -> Any:
    """The label of a series out of those of its rows; all of them for labels per token."""
    if layout.labels == "token":
        return labels
    if any(label != labels[0] for label in labels):
        received = f"{labels[0]!r} and others in series {id!r}"
        raise errors.value_error(
            "label", "one label a series", received, 'pass labels="token" for one a reading'
        )
    return labels[0]


def labels_of_y(y: Any) -> list[Any]:
    """The labels that come apart from their records, one a record."""
    if isinstance(y, Tensor):
        y = y.detach().cpu().numpy()
    if isinstance(y, (str, bytes, Mapping)) or not isinstance(y, Iterable):
        raise errors.type_error("y", "a list or array of labels", y, "give one label a record")
    if is_frame_like(y):
        frame = read_source(y, "y").frame
        if frame.width != 1:
            raise errors.value_error(
                "y", "one column of labels", f"{frame.width} columns", "pass one of them"
            )
        return frame.to_series().to_list()
    if library(y) == "pyarrow":
        y = np.asarray(y)
    return list(y)


def label_of(value: Any, row: int, layout: Layout, labelled: bool) -> Any:
    """The label of a record: a value, a sorted tuple (multilabel), a list (token), None for none."""
    plain = _plain(value)
    if is_missing(plain) or plain == "":
        if labelled:
            way_out = "fill it or leave the row out"
            raise errors.value_error("label", "a label in every row", f"none in row {row}", way_out)
        return None
    if layout.labels == "token":
        plain = plain.split() if isinstance(plain, str) else plain
        if not isinstance(plain, list):
            raise errors.value_error(
                "label", "a list with one label a step", repr(plain), "give as many as steps"
            )
        return plain
    if isinstance(plain, list):
        if layout.labels == "multiclass":
            raise errors.value_error("label", "one label a record", repr(plain), 'pass labels="multilabel"')
        one_hot = isinstance(value, np.ndarray) and set(plain) <= {0, 1}
        return tuple(
            sorted({n for n, flag in enumerate(plain) if flag} if one_hot else set(plain), key=sort_key)
        )
    if layout.labels == "multilabel":
        parts = str(plain).split(layout.separator)
        return tuple(sorted({part.strip() for part in parts if part.strip()}, key=sort_key))
    return plain


def is_missing(value: Any) -> bool:
    """None, NaN or pd.NA."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def _plain(value: Any) -> Any:
    """A label as Python's own value; several of them as a list."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(each) for each in value]
    return value
