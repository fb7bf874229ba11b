"""Holds a clip before it is decoded, its targets, and the checks of skeletons and boxes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from longspan import errors
from longspan.data.frames import PICTURE_ENDINGS

SKELETON_ENDINGS = (".npy", ".npz")


class Segment(NamedTuple):
    """A stretch of a clip with one label; start, end: seconds of a file, frames of an array."""

    start: float
    end: float
    label: Any


class Box(NamedTuple):
    """Where an object is in a frame; x, y: the upper left corner, all in pixels of the clip's own frames."""

    frame: int
    label: Any
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip that is decoded when it is needed, with what is known about it.

    place: how errors call it, such as "clip 3".
    file: the path of a file, or of a folder of pictures; None for an array.
    array: frames (T, H, W, C) uint8, or a skeleton (T, J, D) float32 with D of 2 or 3; None for a file.
    label: of the whole clip; segments, or steps (a label a frame); boxes. None where they are not known.
    start, end: seconds of the part of a file that is the clip; None for its own ends.
    stamp: size and time of the file, so that a changed file is another clip.
    """

    place: str
    file: str | None = None
    array: np.ndarray | None = None
    label: Any = None
    segments: tuple[Segment, ...] | None = None
    steps: tuple[Any, ...] | None = None
    boxes: tuple[Box, ...] | None = None
    start: float | None = None
    end: float | None = None
    stamp: tuple[int, int] | None = None

    @property
    def is_skeleton(self) -> bool:
        return self.array is not None and self.array.ndim == 3

    @property
    def is_folder(self) -> bool:
        return self.file is not None and Path(self.file).is_dir()

    @property
    def values(self) -> np.ndarray:
        """The array; an empty one for a file."""
        return np.zeros((0, 0, 0, 0), np.uint8) if self.array is None else self.array


def skeleton(array: Any, place: str) -> np.ndarray:
    """The positions of joints (T, J, D) float32; frames in which nothing was tracked are left out.

    Args:
        array: (T, J, 2) or (T, J, 3) numbers; a joint that is NaN takes its last position, or its next one.
            Frames of zeros or NaN alone were not tracked.
        place: how errors call it.

    Raises:
        ValueError: another shape, infinite values, or no tracked frame; one sentence.
    """
    values = np.asarray(array.detach().cpu() if isinstance(array, Tensor) else array)
    if values.ndim != 3 or values.shape[2] not in (2, 3) or values.dtype.kind not in "fiu":
        expected = "a skeleton (T, J, 2) or (T, J, 3) of numbers"
        raise errors.value_error(place, expected, f"shape {values.shape}", "give x, y and z of each joint")
    values = values.astype(np.float32)
    if np.isinf(values).any():
        raise errors.value_error(place, "finite positions", "infinite ones", "correct them, or use NaN")
    tracked = (np.nan_to_num(values) != 0).any((1, 2))
    if not tracked.any():
        raise errors.value_error(place, "at least one tracked frame", "none", "leave it out")
    return _filled(values[tracked])


def _filled(values: np.ndarray) -> np.ndarray:
    """Each NaN as the last number of its joint and axis before it, else the next one, else 0."""
    missing = np.isnan(values)
    if not missing.any():
        return values
    steps = np.arange(len(values))[:, None, None]
    last = np.maximum.accumulate(np.where(missing, -1, steps), axis=0)
    following = np.minimum.accumulate(np.where(missing, len(values), steps)[::-1], axis=0)[::-1]
    row = np.where(last >= 0, last, np.minimum(following, len(values) - 1))
    return np.nan_to_num(np.take_along_axis(values, row, axis=0))


def check_boxes(boxes: tuple[Box, ...], height: int, width: int, frames: int, place: str) -> None:
    """Refuse a box outside the frame, or of a frame that the clip does not have.

    Raises:
        ValueError: one sentence that names the box.
    """
    seen: set[tuple[int, Any]] = set()
    for box in boxes:
        name = f"box of {box.label!r} in frame {box.frame} of {place}"
        if not 0 <= box.frame < frames:
            raise errors.value_error(name, f"a frame from 0 to {frames - 1}", box.frame, "correct its number")
        inside = box.x >= 0 and box.y >= 0 and box.x + box.width <= width and box.y + box.height <= height
        if not (inside and box.width > 0 and box.height > 0):
            received = f"x, y, w, h of {box.x:g}, {box.y:g}, {box.width:g}, {box.height:g}"
            expected = f"a box inside the frame, {width} pixels wide and {height} high"
            raise errors.value_error(name, expected, received, "cut it at the border, or correct it")
        if (box.frame, box.label) in seen:
            raise errors.value_error(name, "one box of a class in a frame", "two", "give them two classes")
        seen.add((box.frame, box.label))


def holds_pictures(folder: Path) -> bool:
    """Whether a folder has pictures in it, the frames of one clip."""
    return any(path.suffix.lower() in PICTURE_ENDINGS for path in folder.iterdir() if path.is_file())
