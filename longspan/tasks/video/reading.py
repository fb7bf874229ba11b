"""Reads clips with their labels: files, folders, tables, arrays and skeletons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from torch import Tensor

from longspan import errors
from longspan.data.frames import CLIP_ENDINGS, array_frames
from longspan.data.readers.frames import is_frame
from longspan.data.readers.tables import TABLE_ENDINGS, is_path
from longspan.data.readers.text_files import ending_of, existing

from .clips import SKELETON_ENDINGS, Clip, holds_pictures, skeleton
from .label_tables import (
    VideoColumns,
    boxes_of_table,
    clips_of_table,
    is_skeleton_table,
    read_label_table,
    skeletons_of_table,
)

_TABLES = (*TABLE_ENDINGS, ".jsonl", ".ndjson", ".json")
_TABLE_NAMES = ("labels", "boxes", "segments")  # of a table in a folder of clips
_KINDS = "a path, a frame of paths and labels, or a list of paths, arrays (T, H, W, C) or (T, J, 3)"


def read_clips(
    source: Any, y: Any = None, *, columns: VideoColumns | None = None, labelled: bool = True
) -> list[Clip]:
    """Clips out of a source; files are not decoded yet.

    Args:
        source: a folder with a folder a class, with a table labels.csv, or of clips alone; a folder of
            pictures, which is one clip; a clip file (mp4, avi, webm, gif ...); a .npy or .npz file of
            skeletons; a table of paths and labels, with start and end for segments or frame, class, x, y, w
            and h for boxes; a table clip, frame, joint, x, y, z of skeletons; a frame; an array; or a list of
            paths, arrays, or pairs with a label behind them.
        y: the targets where they come apart, one a clip: a label, a list of labels with one a frame, or a
            table of boxes.
        columns: of tables; None for those that are found.
        labelled: whether a clip without a target is refused.

    Raises:
        FileNotFoundError, ValueError, TypeError: there is nothing to read, or a label or a clip is missing;
            one sentence.
    """
    clips = _clips(source, columns or VideoColumns())
    if y is not None:
        clips = _with_targets(clips, y)
    if not clips:
        raise errors.value_error("source", "at least one clip", "none", "check what was read")
    kinds = {clip.is_skeleton for clip in clips}
    if len(kinds) > 1:
        raise errors.value_error("source", "clips or skeletons", "both", "give them to two models")
    for clip in clips if labelled else ():
        if clip.label is None and clip.segments is None and clip.steps is None and clip.boxes is None:
            raise errors.value_error("label", "one for every clip", f"none for {clip.place}", "add it")
    return [_stamped(clip) for clip in clips]


def _stamped(clip: Clip) -> Clip:
    if clip.file is None:
        return clip
    facts = Path(clip.file).stat()
    return replace(clip, stamp=(facts.st_size, facts.st_mtime_ns))


def _clips(source: Any, columns: VideoColumns) -> list[Clip]:
    if is_path(source):
        path = existing(source)
        return _of_folder(path, columns) if path.is_dir() else _of_file(path, columns)
    if is_frame(source):
        return _of_table(source, Path(), columns, "source")
    if isinstance(source, (np.ndarray, Tensor)):
        return _of_array(source)
    if isinstance(source, (bytes, Mapping)) or not isinstance(source, Iterable):
        raise errors.type_error("source", _KINDS, source, "convert it to one of these")
    return [clip for row, item in enumerate(source) for clip in _of_item(item, f"clip {row}")]


def _of_array(array: Any) -> list[Clip]:
    """One clip, or several: (N, T, H, W, C), or skeletons (N, T, J, 2)."""
    if array.ndim == 5 or (array.ndim == 4 and array.shape[-1] == 2):
        return [array_clip(item, f"clip {row}") for row, item in enumerate(array)]
    if array.ndim == 4 and array.shape[-1] == 3 and np.asarray(array[:0]).dtype.kind == "f":
        received = f"an array of floats of shape {tuple(array.shape)}, one clip or several skeletons"
        raise errors.value_error("source", "a list of clips", received, "put the clips into a list")
    return [array_clip(array, "clip 0")]


def array_clip(array: Any, place: str) -> Clip:
    """A clip of an array: a skeleton (T, J, 2 or 3), else frames (T, H, W) or (T, H, W, C)."""
    shape = np.shape(array) if isinstance(array, (np.ndarray, Tensor)) else ()
    if len(shape) == 3 and shape[-1] in (2, 3):
        return Clip(place, array=skeleton(array, place))
    return Clip(place, array=array_frames(array, place))


def _file_clip(path: Path) -> Clip:
    return Clip(str(path), file=str(path))


def _of_item(item: Any, place: str) -> list[Clip]:
    """An item of a list: a path, an array, or a pair of one of them with its label."""
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], (str, int)):
        return [replace(clip, label=item[1]) for clip in _of_item(item[0], place)]
    if not is_path(item):
        return [array_clip(item, place)]
    path = Path(str(item))
    if not path.exists():
        received = f"{path}, where nothing is, in {place}"
        raise FileNotFoundError(errors.message("file", "a clip", received, "correct the path"))
    return [_file_clip(path)] if path.is_dir() else _of_file(path, VideoColumns())


def _of_file(path: Path, columns: VideoColumns) -> list[Clip]:
    if path.suffix.lower() in SKELETON_ENDINGS:
        return _of_numpy(path)
    if ending_of(path) in _TABLES:
        return _of_table(path, path.parent, columns, str(path))
    return [_file_clip(path)]


def _of_numpy(path: Path) -> list[Clip]:
    """The skeletons of a .npy or .npz file; `labels` of an .npz file has a label for each other array."""
    try:
        content = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        received = f"what NumPy cannot read ({type(error).__name__})"
        raise errors.value_error(f"file {path}", "arrays", received, "save it with numpy.save") from error
    if isinstance(content, np.ndarray):
        return [array_clip(content, str(path))]
    with content:
        names = [name for name in content.files if name not in ("label", "labels")]
        several = len(names) > 1
        clips = [array_clip(content[name], f"{name} of {path}" if several else str(path)) for name in names]
        given = next((content[name] for name in ("label", "labels") if name in content.files), None)
    return clips if given is None else _with_targets(clips, np.atleast_1d(given).tolist())


# ---- folders


def _of_folder(folder: Path, columns: VideoColumns) -> list[Clip]:
    tables = [path for path in sorted(folder.iterdir()) if _is_label_table(path)]
    if len(tables) > 1:
        received = ", ".join(path.name for path in tables)
        raise errors.value_error(f"folder {folder}", "one table of labels", received, "name one of them")
    if tables:
        return _of_table(tables[0], folder, columns, str(tables[0]))
    if holds_pictures(folder):
        return [_file_clip(folder)]
    clips = _clips_in(folder)
    if not clips:
        way_out = f"put files that end in {', '.join(CLIP_ENDINGS[:3])} or folders of pictures there"
        raise errors.value_error(f"folder {folder}", "clips", "none", way_out)
    return clips


def _is_label_table(path: Path) -> bool:
    return path.stem.lower().split(".")[0] in _TABLE_NAMES and ending_of(path) in _TABLES


def _clips_in(folder: Path) -> list[Clip]:
    """The clips in a folder without a label, and those in its folders with these folders' names as labels."""
    clips: list[Clip] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and not holds_pictures(path):
            clips += [replace(clip, label=path.name) for inside in sorted(path.iterdir())
                      for clip in _clip_at(inside)]  # fmt: skip
        else:
            clips += _clip_at(path)
    return clips


def _clip_at(path: Path) -> list[Clip]:
    if path.name.startswith("."):
        return []
    if path.is_dir():
        return [_file_clip(path)] if holds_pictures(path) else []
    if path.suffix.lower() in SKELETON_ENDINGS:
        return _of_numpy(path)
    return [_file_clip(path)] if path.suffix.lower() in CLIP_ENDINGS else []


# ---- tables and targets


def _of_table(source: Any, folder: Path, columns: VideoColumns, name: str) -> list[Clip]:
    frame = read_label_table(source, columns)
    if is_skeleton_table(frame):
        return skeletons_of_table(frame, columns, name)
    return clips_of_table(frame, folder, columns, name)


def _with_targets(clips: list[Clip], y: Any) -> list[Clip]:
    is_table = is_frame(y) and not isinstance(y, (list, tuple, np.ndarray))
    if isinstance(y, (str, bytes, Mapping)) or not isinstance(y, Iterable) or is_table:
        raise errors.type_error("labels", "a list with one entry a clip", y, "put them in a list")
    targets = y.tolist() if isinstance(y, (np.ndarray, Tensor)) else list(y)
    if len(targets) != len(clips):
        received = f"{len(targets)} for {len(clips)} clips"
        raise errors.value_error("labels", "one for every clip", received, "give as many of both")
    return [_with_target(clip, target) for clip, target in zip(clips, targets, strict=True)]


def _with_target(clip: Clip, target: Any) -> Clip:
    if isinstance(target, Mapping) or (is_frame(target) and not isinstance(target, (list, np.ndarray))):
        table = (
            pl.DataFrame(target) if isinstance(target, Mapping) else read_label_table(target, VideoColumns())
        )
        return replace(clip, boxes=boxes_of_table(table, clip.place))
    if isinstance(target, np.ndarray):
        target = target.tolist()
    if isinstance(target, Sequence) and not isinstance(target, str):
        return replace(clip, steps=tuple(target))
    return replace(clip, label=target.item() if isinstance(target, np.generic) else target)
