"""Loads clips when they are needed: decoded, sampled, resized, or as features of the user's."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from longspan import errors
from longspan.data.frame_features import FrameFeatures
from longspan.data.frames import (
    ClipInfo,
    FrameFormat,
    Sampling,
    clip_info,
    even_rows,
    frame_files,
    read_clip,
    read_frame_folder,
    read_picture,
)

from .clips import Clip, check_boxes
from .skeletons import smoothed
from .targets import check_steps

_MOST_FRAMES = 64  # of a clip with one answer, where no number is given


class ClipLoader:
    """Loads a clip as frames (T, C, H, W) uint8, joints (T, J, D), or features (T, F).

    Args:
        form: of frames.
        frame_rate: frames a second that are taken from a file; None for every frame.
        max_frames: frames of a clip at most, taken evenly; None for 64 where a clip has one answer.
        smooth: whether skeletons are smoothed.

    Attributes:
        features: of the user's in place of frames; None for none.
        whole: whether each frame has an answer, so that clips are not thinned.
        joints: J and D, that all skeletons have.
    """

    def __init__(
        self,
        form: FrameFormat,
        frame_rate: float | None = None,
        max_frames: int | None = None,
        smooth: bool = True,
    ) -> None:
        self.form, self.frame_rate, self.max_frames, self.smooth = form, frame_rate, max_frames, smooth
        self.features: FrameFeatures | None = None
        self.whole, self.joints = False, (0, 0)

    @property
    def most(self) -> int | None:
        """Frames of a clip at most; None for all."""
        return None if self.whole else self.max_frames or _MOST_FRAMES

    def __call__(self, clip: Clip, span: tuple[int, int] | None = None) -> Tensor:
        """The clip, or its frames from `span[0]` to before `span[1]`, of those that are taken.

        Raises:
            ValueError: the clip cannot be decoded, or its skeleton has other joints; one sentence.
        """
        if clip.is_skeleton:
            return self._skeleton(clip, span)
        frames = self._frames(clip, span)
        if self.features is None:
            return frames
        return self.features(frames).flatten(1)

    def _frames(self, clip: Clip, span: tuple[int, int] | None) -> Tensor:
        if clip.file is None:
            rows = even_rows(len(clip.values), self.most) if span is None else list(range(*span))
            return self.form(clip.values[rows])
        if clip.is_folder:
            folder = read_frame_folder(clip.file, Sampling(most=self.most), self.form)
            return folder if span is None else folder[slice(*span)]
        start, end, rate = clip.start, clip.end, self.rate(clip) if self.whole else self.frame_rate
        if span is not None:
            start, end = ((clip.start or 0.0) + place / self.rate(clip) for place in span)
        frames = read_clip(clip.file, Sampling(rate, self.most, start, end), self.form)
        return frames if not self.whole else self._as_many(frames, clip, span)

    def _as_many(self, frames: Tensor, clip: Clip, span: tuple[int, int] | None) -> Tensor:
        """So many frames as the header says, for which there are targets; the last one is repeated."""
        count = self.frames(clip) if span is None else span[1] - span[0]
        missing = count - len(frames)
        return torch.cat([frames, frames[-1:].expand(missing, -1, -1, -1)]) if missing > 0 else frames[:count]

    def _skeleton(self, clip: Clip, span: tuple[int, int] | None) -> Tensor:
        values = torch.from_numpy(clip.values)
        if self.joints != (0, 0) and tuple(values.shape[1:]) != tuple(self.joints):
            expected = f"{self.joints[0]} joints with {self.joints[1]} numbers each"
            received = f"{values.shape[1]} with {values.shape[2]}"
            raise errors.value_error(clip.place, expected, received, "give the joints of training")
        values = smoothed(values) if self.smooth else values
        rows = even_rows(len(values), self.most) if span is None else list(range(*span))
        return values[rows]

    # ---- facts by which targets are placed

    def rate(self, clip: Clip) -> float:
        """Frames a second of those that are taken from a file; 1 for other clips."""
        if clip.file is None or clip.is_folder:
            return 1.0
        return self.frame_rate or _info(clip.file, clip.stamp).rate

    def frames(self, clip: Clip) -> int:
        """The number of frames that are taken, by the header of a file."""
        count = self._source_frames(clip)
        return count if self.most is None else min(count, self.most)

    def _source_frames(self, clip: Clip) -> int:
        if clip.file is None:
            return len(clip.values)
        if clip.is_folder:
            return len(frame_files(Path(clip.file)))
        info = _info(clip.file, clip.stamp)
        seconds = info.frames / info.rate
        seconds = min(seconds, math.inf if clip.end is None else clip.end) - (clip.start or 0.0)
        return max(1, round(seconds * (self.frame_rate or info.rate)))

    def times(self, clip: Clip) -> Tensor:
        """The times (T,) of the frames: seconds of a file, frame numbers of an array."""
        return torch.arange(self.frames(clip)) / self.rate(clip)

    def check_targets(self, clip: Clip) -> None:
        """Refuse labels that are not one a frame, and boxes outside their frame."""
        if clip.steps is not None:
            check_steps(clip, self._source_frames(clip))
        if clip.boxes is not None:
            height, width, _ = source_size(clip)
            check_boxes(clip.boxes, height, width, self._source_frames(clip), clip.place)

    def state(self) -> dict[str, Any]:
        """Plain values that `restore` takes."""
        features = None if self.features is None else self.features.state()
        return {
            "form": list(self.form),
            "whole": self.whole,
            "joints": list(self.joints),
            "features": features,
        }

    def restore(self, state: Any, cache: str | None = None) -> Self:
        """Take what `state` gave; cache: the folder in which features are kept."""
        self.form, self.whole = FrameFormat(*state["form"]), state["whole"]
        self.joints = (state["joints"][0], state["joints"][1])
        if state["features"] is not None:
            self.features = FrameFeatures.from_state(state["features"], cache)
        return self


def without_broken(clips: list[Clip]) -> list[Clip]:
    """The clips that can be decoded to their ends; a notice says how many are left out.

    Raises:
        ValueError: none can be decoded; one sentence.
    """
    small = FrameFormat(2, 2, 1)
    kept, broken = list[Clip](), list[str]()
    for clip in clips:
        try:
            ClipLoader(small, max_frames=1)(clip)
            kept.append(clip)
        except ValueError:
            broken.append(clip.place)
    if not kept:
        raise errors.value_error("source", "at least one clip that can be decoded", "none", "check the files")
    if broken:
        errors.notice(
            f"{len(broken)} of {len(clips)} clips cannot be decoded and are left out: {broken[0]}, ..."
        )
    return kept


def source_size(clip: Clip) -> tuple[int, int, int]:
    """Height, width and channels of a clip's frames before they are resized."""
    if clip.file is None:
        height, width, channels = clip.values.shape[1:]
        return height, width, channels
    if clip.is_folder:
        height, width, channels = read_picture(frame_files(Path(clip.file))[0]).shape
        return height, width, channels
    info = _info(clip.file, clip.stamp)
    return info.height, info.width, 3


@lru_cache(maxsize=100_000)
def _info(file: str, stamp: tuple[int, int] | None) -> ClipInfo:
    """What a file's header says, read once for a size and time of the file (stamp)."""
    return clip_info(file)
