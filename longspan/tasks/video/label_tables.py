"""Reads tables of clips: paths and labels, segments, boxes, and skeletons with a row a joint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from longspan import errors
from longspan.data.readers.tables import ReadOptions, check_columns, read_source

from .clips import Box, Clip, Segment, skeleton

_PATH_NAMES = ("path", "file", "clip", "video", "filename", "file_name", "video_path")
_LABEL_NAMES = ("label", "class", "category", "action")
_BOX = ("frame", "x", "y", "w", "h")
_JOINT = ("clip", "frame", "joint", "x", "y")


class VideoColumns(NamedTuple):
    """Names of the columns of paths and of labels, None for those to be found.

    answers: "clip", "frames" or "boxes", what the rows of a table are about; None to find it.
    encoding: of text files.
    """

    path: str | None = None
    label: str | None = None
    answers: str | None = None
    encoding: str = "utf-8"


def read_label_table(source: Any, columns: VideoColumns) -> pl.DataFrame:
    """The table of a file or a frame; paths and joints are text."""
    names = {*_PATH_NAMES, columns.path or "", "joint"}
    options = ReadOptions(encoding=columns.encoding)
    return read_source(source, options=options, text=names | {name.title() for name in names}).frame


def is_skeleton_table(frame: pl.DataFrame) -> bool:
    """Whether the rows are joints: columns clip, frame, joint, x and y."""
    return set(_JOINT) <= set(frame.columns)


def clips_of_table(frame: pl.DataFrame, folder: Path, columns: VideoColumns, name: str) -> list[Clip]:
    """The clips of a table with a row a clip, a segment or a box.

    Args:
        folder: in which relative paths begin; name: how errors call the table.

    Raises:
        ValueError, FileNotFoundError: a column, a path, a label or a file is missing; one sentence.
    """
    path = _column(frame, columns.path, _PATH_NAMES, "path_column", name, needed=True)
    label = _column(frame, columns.label, _LABEL_NAMES, "label_column", name, needed=False)
    boxes = columns.answers in (None, "boxes") and set(_BOX) <= set(frame.columns)
    segments = {"start", "end"} <= set(frame.columns)
    files = _files(frame[path or ""].to_list(), folder, name)
    rows_of: dict[str, list[int]] = {}
    for row, file in enumerate(files):
        rows_of.setdefault(file, []).append(row)
    if boxes:
        return [
            Clip(file, file=file, boxes=boxes_of_table(frame[rows], file, label))
            for file, rows in rows_of.items()
        ]
    labels = [None] * len(files) if label is None else frame[label].to_list()
    if label is not None:
        _check_labels(labels, files, name)
    if segments and columns.answers != "clip" and label is not None:
        spans = _spans(frame, labels, name)
        return [Clip(f, file=f, segments=tuple(spans[row] for row in rows)) for f, rows in rows_of.items()]
    if segments:
        pairs = zip(files, _spans(frame, labels, name), strict=True)
        return [_part(file, span) for file, span in pairs]
    return [Clip(file, file=file, label=value) for file, value in zip(files, labels, strict=True)]


def _part(file: str, span: Segment) -> Clip:
    """A part of a file as a clip of its own."""
    place = f"{file} from {span.start:g} to {span.end:g} s"
    return Clip(place, file=file, label=span.label, start=span.start, end=span.end)


def _check_labels(labels: Sequence[Any], files: Sequence[str], name: str) -> None:
    row = next((row for row, value in enumerate(labels) if value is None), None)
    if row is not None and any(value is not None for value in labels):
        received = f"none for {files[row]} in {name}"
        raise errors.value_error("label", "one in every row", received, "fill it, or leave the row out")


def _files(paths: Sequence[Any], folder: Path, name: str) -> list[str]:
    files = []
    for row, path in enumerate(paths):
        if path is None or not str(path).strip():
            received = f"none in row {row} of {name}"
            raise errors.value_error("path", "a clip for every label", received, "fill it")
        if not (folder / str(path)).exists():
            received = f"{path}, where nothing is, in row {row} of {name}"
            raise FileNotFoundError(
                errors.message("path", "a clip for every label", received, "correct the path")
            )
        files.append(str(folder / str(path)))
    return files


def _spans(frame: pl.DataFrame, labels: Sequence[Any], name: str) -> list[Segment]:
    spans = []
    for row, (start, end) in enumerate(zip(frame["start"], frame["end"], strict=True)):
        if start is None or end is None or not 0 <= float(start) < float(end):
            received = f"{start} and {end} in row {row}"
            raise errors.value_error(name, "0 <= start < end in seconds", received, "correct the row")
        spans.append(Segment(float(start), float(end), labels[row]))
    return spans


def boxes_of_table(frame: pl.DataFrame, place: str, label: str | None = None) -> tuple[Box, ...]:
    """The boxes of one clip out of a table with the columns frame, class, x, y, w and h.

    Args:
        label: the column of the classes; None to find it.

    Raises:
        ValueError: a column or a number is missing; one sentence.
    """
    check_columns(frame, _BOX, "boxes", place)
    label = _column(frame, label, ("class", *_LABEL_NAMES), "label_column", place, needed=True)
    boxes = []
    for row, (number, kind, *values) in enumerate(
        frame.select("frame", label, "x", "y", "w", "h").iter_rows()
    ):
        if number is None or kind is None or any(value is None or value != value for value in values):
            received = f"an empty cell in row {row}"
            raise errors.value_error(f"boxes of {place}", "every cell filled", received, "fill it")
        boxes.append(Box(int(number), kind, *(float(value) for value in values)))
    return tuple(boxes)


def skeletons_of_table(frame: pl.DataFrame, columns: VideoColumns, name: str) -> list[Clip]:
    """The skeletons of a table with a row a joint: clip, frame, joint, x, y and perhaps z and a label.

    A joint that has no row in a frame is missing there.

    Raises:
        ValueError: two rows for one joint, or two labels for one clip; one sentence.
    """
    label = _column(frame, columns.label, _LABEL_NAMES, "label_column", name, needed=False)
    axes = ["x", "y", "z"] if "z" in frame.columns else ["x", "y"]
    frame = frame.with_columns(pl.col("joint").cast(pl.String))
    joints = _natural(frame["joint"].unique().to_list())
    number_of = {joint: number for number, joint in enumerate(joints)}
    clips = []
    for (key,), rows in frame.group_by("clip", maintain_order=True):
        place = f"clip {key} of {name}"
        frames = rows["frame"].unique().sort()
        step_of = {step: number for number, step in enumerate(frames.to_list())}
        where = [(step_of[f], number_of[j]) for f, j in rows.select("frame", "joint").iter_rows()]
        if len(set(where)) < len(where):
            raise errors.value_error(place, "one row a frame and joint", "two for one", "remove one of them")
        values = np.full((len(frames), len(joints), len(axes)), np.nan, np.float32)
        values[tuple(np.array(where).T)] = rows.select(axes).cast(pl.Float32).fill_null(np.nan).to_numpy()
        labels = [None] if label is None else rows[label].unique().to_list()
        if len(labels) > 1:
            raise errors.value_error(place, "one label a clip", f"{labels[0]!r} and others", "correct it")
        clips.append(Clip(place, array=skeleton(values, place), label=labels[0]))
    return clips


def _natural(names: Iterable[str]) -> list[str]:
    """Names in the order of their numbers where all are whole numbers, else of the alphabet."""
    names = list(names)
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else sorted(names)


def _column(
    frame: pl.DataFrame, wanted: str | None, usual: Sequence[str], option: str, name: str, *, needed: bool
) -> Any:
    """The column that an option names, or that has a usual name."""
    if wanted is not None and wanted in frame.columns:
        return wanted
    listed = f"the columns of {name} ({', '.join(frame.columns[:12])})"
    if wanted is not None and needed:
        way_out = errors.did_you_mean(wanted, frame.columns)
        raise errors.value_error(option, f"one of {listed}", repr(wanted), way_out)
    lowered = {column.strip().lower(): column for column in reversed(frame.columns)}
    column = next((lowered[one] for one in usual if one in lowered), None)
    if column is None and needed:
        raise errors.value_error(option, f"a column called {usual[0]} or the like", listed, "name it")
    return column
