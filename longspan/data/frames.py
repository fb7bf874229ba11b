"""Reads clips and pictures as frames, resizes, normalizes and augments them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Self

from longspan import errors
from longspan.optional import require

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
CLIP_ENDINGS = (".mp4", ".avi", ".webm", ".mkv", ".mov", ".m4v", ".gif")
_EARLY = 1e-4  # seconds by which a frame may come before its time and still count as in time
_SPARE = 8  # times as many frames as are asked for that a long clip holds while it is read
_GREY = (0.299, 0.587, 0.114)  # weights of red, green and blue, ITU-R BT.601


class FrameFormat(NamedTuple):
    """The form that all frames of a task are brought to.

    height, width: in pixels; channels: 1 for grey, 3 for red, green and blue.
    """

    height: int
    width: int
    channels: int = 3

    def __call__(self, frames: np.ndarray) -> Tensor:
        """Frames (N, H, W, C) uint8, C 1, 3 or 4 -> (N, channels, height, width) uint8, stretched."""
        x = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
        x = _with_channels(x[:, :3] if x.shape[1] == 4 else x, self.channels)
        if x.shape[2:] != (self.height, self.width):
            size = (self.height, self.width)
            x = F.interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)
        return x.contiguous()


def _with_channels(x: Tensor, channels: int) -> Tensor:
    """Frames (N, 1 or 3, H, W) with so many channels."""
    if x.shape[1] == channels:
        return x
    if channels == 3:
        return x.expand(-1, 3, -1, -1)
    weights = torch.tensor(_GREY).view(3, 1, 1)
    return (x * weights).sum(1, keepdim=True).round().to(torch.uint8)


# ---- pictures


def read_picture(path: str | os.PathLike[str], extra: str = "video") -> np.ndarray:
    """A picture file (PNG, JPEG, WebP, BMP ...) as (H, W, 3) uint8; needs Pillow.

    Args:
        extra: the optional install of longspan that an error names where Pillow is missing.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no picture, or damaged; one sentence that names it.
    """
    pillow = require("PIL.Image", extra, "pictures")
    if not Path(path).is_file():
        received = f"{path}, where nothing is"
        raise FileNotFoundError(errors.message("file", "a picture", received, "correct the path"))
    try:
        with pillow.open(path) as picture:
            return np.array(picture.convert("RGB"))
    # Pillow raises many kinds of errors for damaged files: OSError, SyntaxError, ValueError, struct.error ...
    except Exception as error:
        received = f"what cannot be read as one ({type(error).__name__})"
        way_out = "write the file again as PNG or JPEG, or leave it out"
        raise errors.value_error(f"file {path}", "a picture", received, way_out) from error


def array_frames(array: Any, place: str) -> np.ndarray:
    """Frames as (T, H, W, C) uint8.

    Args:
        array: (T, H, W), or (T, H, W, C) with C 1, 3 or 4; integers from 0 to 255, or floats from 0 to 1.
        place: where an error says that it is, such as "clip 3".

    Raises:
        ValueError, TypeError: it has another shape, no frame, or other values; one sentence.
    """
    if isinstance(array, Tensor):
        array = array.detach().cpu().numpy()
    try:
        frames = np.asarray(array)
    except ValueError as error:  # frames of unequal sizes
        received = "frames of different sizes"
        raise errors.value_error(place, "frames of one size", received, "resize them first") from error
    frames = frames[..., np.newaxis] if frames.ndim == 3 else frames
    if frames.ndim != 4 or frames.shape[-1] not in (1, 3, 4):
        expected = "an array (T, H, W) or (T, H, W, C) with 1, 3 or 4 channels"
        raise errors.value_error(place, expected, f"shape {np.shape(array)}", "put the channels last")
    if 0 in frames.shape:
        raise errors.value_error(place, "at least one frame", f"shape {frames.shape}", "leave it out")
    if frames.dtype == np.uint8:
        return frames
    if frames.dtype.kind not in "biuf":
        raise errors.value_error(place, "numbers", f"values of dtype {frames.dtype}", "convert it")
    return _as_bytes(frames, place)


def _as_bytes(frames: np.ndarray, place: str) -> np.ndarray:
    """Truth values, integers from 0 to 255 or floats from 0 to 1 as bytes."""
    low, high = float(frames.min()), float(frames.max())
    most = 255 if frames.dtype.kind in "iu" else 1
    if not (low >= 0 and high <= most):
        expected = f"values from 0 to {most} in an array of {frames.dtype}"
        raise errors.value_error(place, expected, f"{low:g} to {high:g}", "scale them, or convert to uint8")
    if frames.dtype.kind in "iu":
        return frames.astype(np.uint8)
    return np.rint(frames.astype(np.float32) * 255).astype(np.uint8)


# ---- clips


class Sampling(NamedTuple):
    """Which frames of a clip are taken.

    rate: frames a second of a clip file; None for every frame.
    most: frames at most, taken evenly from a longer clip; None for all.
    start, end: seconds of the part that is taken; None for the clip's own ends.
    """

    rate: float | None = None
    most: int | None = None
    start: float | None = None
    end: float | None = None


class ClipInfo(NamedTuple):
    """What a clip's header says. rate: frames a second; frames: their number, 0 where it is not known."""

    height: int
    width: int
    rate: float
    frames: int


def clip_info(path: str | os.PathLike[str]) -> ClipInfo:
    """Size, rate and number of frames of a clip file by its header; errors as for `read_clip`."""
    with _opened(path) as container:
        video = container.streams.video[0]
        rate = float(video.average_rate or video.guessed_rate or 25)
        seconds = float(container.duration or 0) / 1e6
        return ClipInfo(video.height, video.width, rate, video.frames or round(seconds * rate))


def read_clip(
    path: str | os.PathLike[str], sampling: Sampling, form: Callable[[np.ndarray], Tensor]
) -> Tensor:
    """The frames of a clip file (mp4, avi, webm, gif ...); needs PyAV.

    Frames are brought to their form one by one, so that the clip is never in memory as it was written.

    Args:
        sampling: which frames are taken; those at the times k / rate, repeated where the clip has fewer.
        form: frames (1, H, W, 3) uint8 -> (1, ...), such as a `FrameFormat`.

    Returns:
        (T, ...), as `form` gives them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no clip, is damaged, or has no frame in the part asked for; one sentence.
    """
    frames = (form(frame[np.newaxis]) for frame in _decoded(path, sampling))
    kept = list(_thinned(frames, sampling.most))
    if not kept:
        span = "" if sampling.start is None and sampling.end is None else " in the part asked for"
        raise errors.value_error(f"file {path}", f"frames{span}", "none", "leave the clip out")
    return torch.cat(kept)


def _opened(path: str | os.PathLike[str]) -> Any:
    """The container of a clip file with a picture stream."""
    av = require("av", "video", "clips")
    if not Path(path).is_file():
        received = f"{path}, where nothing is"
        raise FileNotFoundError(errors.message("file", "a clip", received, "correct the path"))
    try:
        container = av.open(os.fspath(path))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise _broken(path, error) from error
    if not container.streams.video:
        container.close()
        raise errors.value_error(f"file {path}", "a clip", "a file without pictures", "leave it out")
    return container


def _broken(path: str | os.PathLike[str], error: Exception) -> ValueError:
    received = f"what cannot be decoded ({type(error).__name__})"
    return errors.value_error(f"file {path}", "a clip", received, "write the file again, or leave it out")


def _decoded(path: str | os.PathLike[str], sampling: Sampling) -> Iterator[np.ndarray]:
    """The frames (H, W, 3) of a clip file at the times that are taken, in order."""
    av = require("av", "video", "clips")
    start, end = sampling.start or 0.0, float("inf") if sampling.end is None else sampling.end
    with _opened(path) as container:
        video = container.streams.video[0]
        video.thread_type = "AUTO"
        first = float((video.start_time or 0) * video.time_base)
        taken = 0
        try:
            if start:
                container.seek(int((start + first) * 1e6))
            for number, frame in enumerate(container.decode(video)):
                time = number / 25 if frame.time is None else frame.time - first
                if time >= end - _EARLY:
                    return
                if time >= start - _EARLY:
                    due = taken + 1 if sampling.rate is None else _due(time - start, sampling.rate)
                    if due > taken:
                        yield from [frame.to_ndarray(format="rgb24")] * (due - taken)
                    taken = max(due, taken)
        except av.error.FFmpegError as error:
            raise _broken(path, error) from error


def _due(seconds: float, rate: float) -> int:
    """The frames at the times k / rate up to so many seconds after the first."""
    return int((seconds + _EARLY) * rate) + 1


def _thinned(frames: Iterable[Tensor], most: int | None) -> list[Tensor]:
    """At most so many of the frames, evenly; no more than _SPARE times as many are held at a time."""
    kept: list[Tensor] = []
    stride = 1
    for number, frame in enumerate(frames):
        if number % stride:
            continue
        kept.append(frame)
        if most is not None and len(kept) > _SPARE * most:
            kept, stride = kept[::2], 2 * stride
    return [kept[row] for row in even_rows(len(kept), most)]


def even_rows(rows: int, most: int | None) -> list[int]:
    """At most so many of the numbers 0 to rows - 1, evenly, with the first and the last of them.

    >>> even_rows(9, 3), even_rows(2, 3)
    ([0, 4, 8], [0, 1])
    """
    if most is None or rows <= most:
        return list(range(rows))
    return np.linspace(0, rows - 1, most).round().astype(int).tolist()


def frame_files(folder: Path) -> list[Path]:
    """The pictures of a folder, by the numbers in their names: frame2.png comes before frame10.png."""
    pictures = [path for path in folder.iterdir() if path.suffix.lower() in PICTURE_ENDINGS]
    return sorted(pictures, key=lambda path: [int(n) for n in re.findall(r"\d+", path.stem)] or [0])


def read_frame_folder(
    folder: str | os.PathLike[str], sampling: Sampling, form: Callable[[np.ndarray], Tensor]
) -> Tensor:
    """The frames of a folder of pictures, one file a frame; `sampling.rate` and its times do not concern it.

    Args:
        sampling, form: as for `read_clip`.

    Raises:
        ValueError: a file is no picture, or there is none; one sentence.
    """
    files = frame_files(Path(folder))
    if not files:
        raise errors.value_error(f"folder {folder}", "pictures", "none", "leave it out")
    return torch.cat(
        [form(read_picture(files[row])[np.newaxis]) for row in even_rows(len(files), sampling.most)]
    )


# ---- what networks see


class FrameNormalizer:
    """Scales the bytes of each channel to a mean of 0 and a standard deviation of 1 on the training part.

    Attributes after fit: mean, std: (C,), of values from 0 to 1.

    >>> normalizer = FrameNormalizer().fit([torch.tensor([[[[0, 255]]]], dtype=torch.uint8)])
    >>> normalizer(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
    tensor([[[[-1.,  1.]]]])
    """

    def __init__(self) -> None:
        self.mean, self.std = torch.zeros(1), torch.ones(1)

    def fit(self, clips: Iterable[Tensor]) -> Self:
        """Learn from clips (T, C, H, W) uint8."""
        count, total, squares = 0, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        for clip in clips:
            x = clip.transpose(0, 1).flatten(1).double() / 255
            count, total, squares = count + x.shape[1], total + x.sum(1), squares + x.square().sum(1)
        mean = total / max(1, count)
        variance = (squares / max(1, count) - mean.square()).clamp_min(0)
        self.mean, self.std = mean.float(), variance.sqrt().clamp_min(1e-2).float()
        return self

    def __call__(self, frames: Tensor) -> Tensor:
        """(..., C, H, W) uint8 -> float32 of the same shape."""
        shape = (-1, 1, 1)
        scale, offset = 1 / (255 * self.std), self.mean / self.std
        return frames.float().mul_(scale.view(shape)).sub_(offset.view(shape))

    def state(self) -> dict[str, Tensor]:
        """Plain values that `restore` takes."""
        return {"mean": self.mean, "std": self.std}

    def restore(self, state: Any) -> Self:
        """Take what `state` gave."""
        self.mean, self.std = state["mean"], state["std"]
        return self


class FrameAugmentation(NamedTuple):
    """What is done to training frames, alike to all frames of a clip.

    flip: probability of left and right being exchanged.
    shift: share of height and width by which frames are moved at most; the border is repeated.
    brightness: share by which all values are raised or lowered at most.
    turns: whether frames are turned by a drawn number of quarters, or of halves where they are no squares.
    """

    flip: float = 0.0
    shift: float = 0.0
    brightness: float = 0.0
    turns: bool = False

    def draw(self, height: int, width: int, generator: torch.Generator | None = None) -> DrawnAugmentation:
        """What is done to one clip or picture; generator: None for torch's global one."""
        down, right, gain, flip = torch.rand(4, generator=generator).tolist()
        down, right = (
            round((2 * share - 1) * self.shift * size) for share, size in ((down, height), (right, width))
        )
        gain, flipped = 1 + (2 * gain - 1) * self.brightness, flip < self.flip
        if not self.turns:
            return DrawnAugmentation(flipped, down, right, gain)
        quarters = int(torch.randint(4, (), generator=generator))
        return DrawnAugmentation(flipped, down, right, gain, quarters if height == width else quarters & 2)


class DrawnAugmentation(NamedTuple):
    """flipped: whether left is right; down, right: pixels that frames are moved by; gain: of the values.

    quarters: turns by 90 degrees, before frames are moved.
    """

    flipped: bool
    down: int
    right: int
    gain: float
    quarters: int = 0

    def __call__(self, frames: Tensor) -> Tensor:
        """Frames (..., H, W) uint8 of one clip -> the same shape and dtype."""
        if self.flipped:
            frames = frames.flip(-1)
        if self.quarters:
            frames = frames.rot90(self.quarters, (-2, -1))
        if self.down or self.right:
            height, width = frames.shape[-2:]
            rows = (torch.arange(height) - self.down).clamp(0, height - 1)
            columns = (torch.arange(width) - self.right).clamp(0, width - 1)
            frames = frames[..., rows, :][..., columns]
        if self.gain != 1.0:
            frames = (frames.float() * self.gain).round().clamp(0, 255).to(torch.uint8)
        return frames

    def boxes(self, boxes: Tensor, height: int, width: int) -> Tensor:
        """Boxes (..., 4) of centre x, centre y, width, height, as shares of a frame, moved as it is."""
        x, y, w, h = boxes.unbind(-1)
        x = 1 - x if self.flipped else x
        for _ in range(self.quarters):  # counterclockwise, as torch.rot90
            x, y, w, h = y, 1 - x, h, w
        return torch.stack([x + self.right / width, y + self.down / height, w, h], -1)
