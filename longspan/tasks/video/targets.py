"""Encodes segments, labels a frame and boxes as tensors, and turns answers a frame into segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from longspan import errors
from longspan.data.labels import Labels

from .clips import Box, Clip, Segment

BACKGROUND = "background"  # the class of frames that no segment covers


class FrameAnswer(NamedTuple):
    """probabilities: (T, K) of each frame; rate: frames a second, 1 for the frames of an array."""

    probabilities: np.ndarray
    rate: float


class BoxAnswer(NamedTuple):
    """boxes: (T, K, 5) presence, centre x and y, width and height as shares; size: H and W in pixels."""

    boxes: np.ndarray
    size: tuple[int, int]


def answers_of(clips: Sequence[Clip]) -> str:
    """What the targets of clips ask for: "boxes", "frames" or "clip".

    Raises:
        ValueError: the clips have targets of several kinds; one sentence.
    """
    kinds = {_kind(clip) for clip in clips}
    if len(kinds) > 1:
        received = " and ".join(sorted(kinds))
        raise errors.value_error("labels", "targets of one kind for all clips", received, "split the clips")
    return kinds.pop()


def _kind(clip: Clip) -> str:
    if clip.boxes is not None:
        return "boxes"
    return "clip" if clip.segments is None and clip.steps is None else "frames"


def fit_labels(clips: Sequence[Clip], answers: str) -> Labels:
    """The classes of clips' targets; segments have the class "background" beside their own.

    Raises:
        ValueError: there is one class only, or no box; one sentence.
    """
    if answers == "boxes":
        return Labels().fit([tuple(box.label for box in clip.boxes or ()) for clip in clips])
    if answers == "clip":
        return Labels().fit([clip.label for clip in clips])
    return Labels().fit([_frame_labels(clip) for clip in clips])


def _frame_labels(clip: Clip) -> list[Any]:
    if clip.steps is not None:
        return list(clip.steps)
    return [*(segment.label for segment in clip.segments or ()), BACKGROUND]


def check_steps(clip: Clip, frames: int) -> None:
    """Refuse labels a frame that are not one a frame."""
    if clip.steps is not None and len(clip.steps) != frames:
        received = f"{len(clip.steps)} for {frames} frames of {clip.place}"
        raise errors.value_error("labels", "one for every frame", received, "give as many of both")


def frame_targets(clip: Clip, labels: Labels, times: Tensor) -> Tensor:
    """The class numbers (T,) of frames at times (T,): seconds of a file, or frame numbers of an array."""
    if clip.steps is not None:
        encoded = labels.encode([list(clip.steps)])[0]
        return encoded[times.round().long().clamp(0, len(encoded) - 1)]
    background = labels.encode([[BACKGROUND]])[0] if BACKGROUND in labels.classes else torch.zeros(1).long()
    target = background.repeat(len(times))
    for segment in clip.segments or ():
        covered = (times >= segment.start - 1e-6) & (times < segment.end - 1e-6)
        target[covered] = labels.encode([[segment.label]])[0]
    return target


def box_targets(clip: Clip, labels: Labels, frames: int, size: tuple[int, int]) -> Tensor:
    """Boxes (T, K, 5): presence, and centre x, centre y, width, height as shares; size: H and W in pixels."""
    height, width = size
    targets = torch.zeros(frames, len(labels.classes), 5)
    number_of = {label: number for number, label in enumerate(labels.classes)}
    for box in clip.boxes or ():
        if box.label not in number_of:
            received = f"{box.label!r} in frame {box.frame} of {clip.place}"
            expected = f"a class of training ({', '.join(map(str, labels.classes[:10]))})"
            raise errors.value_error("class", expected, received, "train with boxes of it")
        x, y = (box.x + box.width / 2) / width, (box.y + box.height / 2) / height
        values = torch.tensor([1.0, x, y, box.width / width, box.height / height])
        targets[box.frame, number_of[box.label]] = values
    return targets


def segments_of(numbers: np.ndarray, classes: Sequence[Any], rate: float) -> list[Segment]:
    """The stretches of equal class numbers (T,), without the background.

    >>> segments_of(np.array([0, 1, 1, 0]), ["background", "jump"], 2.0)
    [Segment(start=0.5, end=1.5, label='jump')]
    """
    edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
    spans = [(start, end) for start, end in pairwise(edges) if start < end]
    return [
        Segment(start / rate, end / rate, classes[int(numbers[start])])
        for start, end in spans
        if classes[int(numbers[start])] != BACKGROUND
    ]


def segment_rows(
    answers: Sequence[FrameAnswer], labels: Labels, names: Sequence[Any]
) -> Mapping[str, list[Any]]:
    """The columns clip, label, start, end and probability of the segments of all clips."""
    columns: dict[str, list[Any]] = {name: [] for name in ("clip", "label", "start", "end", "probability")}
    for answer, name in zip(answers, names, strict=True):
        for segment in segments_of(answer.probabilities.argmax(1), labels.classes, answer.rate):
            first, last = round(segment.start * answer.rate), round(segment.end * answer.rate)
            number = labels.classes.index(segment.label)
            share = float(answer.probabilities[first:last, number].mean())
            values = (name, segment.label, segment.start, segment.end, share)
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
    return columns


def boxes_of(answer: BoxAnswer, classes: Sequence[Any]) -> list[tuple[Box, float]]:
    """The boxes that are likelier there than not, in pixels, with the probability of each."""
    height, width = answer.size
    boxes = []
    for frame, number in np.argwhere(answer.boxes[..., 0] >= 0.5).tolist():
        presence, x, y, w, h = answer.boxes[frame, number].tolist()
        left, top = max(0.0, x - w / 2), max(0.0, y - h / 2)
        right, bottom = min(1.0, x + w / 2), min(1.0, y + h / 2)
        place = (left * width, top * height, (right - left) * width, (bottom - top) * height)
        boxes.append((Box(frame, classes[number], *place), presence))
    return boxes
