"""Clips as arrays and as files, skeletons, and tables of them, made by a seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

WriteClip = Callable[..., Path]


@pytest.fixture
def write_clip() -> WriteClip:
    """A function that writes frames (T, H, W, 3) uint8 to a file of ten frames a second."""
    av = pytest.importorskip("av", reason="PyAV is not installed")

    def write(path: Path, clip: np.ndarray) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.height, stream.width, stream.pix_fmt = *clip.shape[1:3], "yuv420p"
            for picture in clip:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
        return path

    return write


def moving(frames: int, left: bool, seed: int = 0, size: int = 12) -> np.ndarray:
    """A square (T, size, size) that moves to one side."""
    draw = np.random.default_rng(seed)
    clip = draw.integers(0, 30, (frames, size, size)).astype(np.uint8)
    row = int(draw.integers(size - 3))
    for step in range(frames):
        column = (size - 4 - step if left else 1 + step) % (size - 2)
        clip[step, row : row + 3, column : column + 3] = 220
    return clip


def coloured(clip: np.ndarray, size: int = 32) -> np.ndarray:
    """A grey clip as (T, size, size, 3)."""
    factor = size // clip.shape[1]
    larger = clip.repeat(factor, axis=1).repeat(factor, axis=2)
    larger = np.pad(larger, ((0, 0), (0, size - larger.shape[1]), (0, size - larger.shape[2])))
    return np.repeat(larger[..., None], 3, axis=3)


def moving_clips(count: int, seed: int = 0) -> tuple[list[np.ndarray], list[str]]:
    """Clips of 4 to 7 frames, and which way the square moves."""
    clips = [moving(4 + n % 4, n % 2 == 0, seed + n) for n in range(count)]
    return clips, ["left" if n % 2 == 0 else "right" for n in range(count)]


def swinging(count: int, seed: int = 0) -> tuple[list[np.ndarray], list[str]]:
    """Skeletons of five joints, of which the last moves up and down, or in a circle."""
    draw = np.random.default_rng(seed)
    body = np.array([[0, 2, 0], [0, 1, 0], [0, 0, 0], [1, 1, 0], [2, 1, 0]], np.float32)
    clips, labels = [], []
    for n in range(count):
        time = np.arange(8 + n % 5) / 2 + draw.uniform(0, 6)
        clip = np.repeat(body[None], len(time), axis=0) + draw.normal(0, 0.02, (len(time), 5, 3))
        clip[:, 4, 1] += np.sin(time)
        clip[:, 4, 2] += np.cos(time) if n % 2 else 0.0
        clips.append((clip * draw.uniform(0.5, 2) + draw.normal(0, 3, 3)).astype(np.float32))
        labels.append("circle" if n % 2 else "wave")
    return clips, labels


def with_boxes(count: int, seed: int = 0) -> tuple[list[np.ndarray], list[pl.DataFrame]]:
    """Clips of a square that comes and goes, and tables of where it is."""
    clips, tables = [], []
    for n in range(count):
        draw = np.random.default_rng(seed + n)
        clip = np.zeros((6, 16, 16), np.uint8)
        x, y = (int(place) for place in draw.integers(0, 6, 2))
        for step in range(1, 6):
            clip[step, y : y + 5, x + step : x + step + 5] = 255
        frames = list(range(1, 6))
        columns = {
            "frame": frames,
            "class": "square",
            "x": [x + step for step in frames],
            "y": y,
            "w": 5,
            "h": 5,
        }
        clips.append(clip)
        tables.append(pl.DataFrame(columns))
    return clips, tables
