"""Demonstrates video classification on drawn shapes that move: what is seen, and what it does.

Clips of circles, squares and triangles that go left, go right, or grow are drawn by a seed and written as mp4
files in a folder a class. No single frame tells where a shape goes. The model reads the files, is asked about
clips that it has never seen, and answers a last one frame by frame as a camera would give it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from longspan.optional import require
from longspan.tasks.video import VideoClassifier
from longspan.tasks.video.streaming import StreamAnswer

from .written import show_written, write_tables

SHAPES, MOTIONS = ("circle", "square", "triangle"), ("left", "right", "grows")
SIDE, FRAMES, RATE = 48, 20, 10  # pixels of a frame, frames of a clip, frames a second
SEEN, UNSEEN = 30, 8  # clips of each class to learn from, and to be asked about
OPTIONS: dict[str, Any] = {"epochs": 16, "refit": False, "bidirectional": False, "size": SIDE}


def run(folder: Path) -> None:
    """Clips, training, scores, a stream, report; the files go into the folder."""
    console = Console(highlight=False)
    classes = len(SHAPES) * len(MOTIONS)
    console.print(f"[bold]1[/] Data: {classes * (SEEN + UNSEEN)} clips of shapes that move, drawn by a seed,")
    console.print(f"  {FRAMES} frames each, in a folder a class: {classes} classes such as circle-left.")
    write_clips(folder / "seen", SEEN, 0)
    write_clips(folder / "unseen", UNSEEN, 1)
    console.print("[bold]2[/] Training ...")
    began = time.perf_counter()
    model = VideoClassifier(**OPTIONS).fit(folder / "seen")
    console.print(f"  done in {time.perf_counter() - began:.0f} s.")
    scores = model.evaluate(folder / "unseen")
    console.print(
        f"[bold]3[/] {classes * UNSEEN} clips that it never saw: {100 * scores['top1']:.1f} % right,"
    )
    console.print(f"  {100 * scores['top5']:.1f} % among the five most probable; one class for all: "
                  f"{100 / classes:.1f} %.")  # fmt: skip
    console.print("[bold]4[/] One of them, a triangle that grows, frame by frame:")
    for frame, answer in _streamed(model):
        console.print(f"  frame {frame:2}: {answer.label} {100 * answer.probability:.0f} %")
    console.print("[bold]5[/] Written:")
    files = _write(model, folder)
    show_written(console, files, folder / "report.html")


def drawn(shape: str, motion: str, draw: np.random.Generator) -> np.ndarray:
    """A clip (T, H, W, 3) uint8 of one shape that moves, in colours that say nothing.

    >>> drawn("circle", "left", np.random.default_rng(0)).shape
    (20, 48, 48, 3)
    """
    size, row = draw.uniform(6, 10), draw.uniform(14, SIDE - 14)
    steps = np.arange(FRAMES)
    travel = draw.uniform(0.7, 1.1) * (steps - FRAMES / 2)
    columns = SIDE / 2 + draw.uniform(-4, 4) + {"left": -travel, "right": travel, "grows": 0 * travel}[motion]
    sizes = size * (0.6 + 0.8 * steps / FRAMES) if motion == "grows" else np.full(FRAMES, size)
    ground, ink = draw.uniform(20, 90, 3), draw.uniform(130, 250, 3)
    y, x = np.mgrid[:SIDE, :SIDE]
    clip = np.empty((FRAMES, SIDE, SIDE, 3), np.uint8)
    for step, (column, radius) in enumerate(zip(columns, sizes, strict=True)):
        inside = _inside(shape, x - column, y - row, radius)[..., None]
        noisy = np.where(inside, ink, ground) + draw.normal(0, 6, (SIDE, SIDE, 3))
        clip[step] = noisy.clip(0, 255)
    return clip


def _inside(shape: str, x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Where a shape is, by the distances from its centre."""
    if shape == "circle":
        return x**2 + y**2 <= radius**2
    if shape == "square":
        return np.maximum(np.abs(x), np.abs(y)) <= 0.9 * radius
    return (y <= 0.8 * radius) & (y >= 2 * np.abs(x) - 1.1 * radius)


def write_clips(folder: Path, count: int, seed: int) -> None:
    """Write so many mp4 files of every class, in a folder a class."""
    draw = np.random.default_rng(seed)
    for shape in SHAPES:
        for motion in MOTIONS:
            for number in range(count):
                path = folder / f"{shape}-{motion}" / f"{number:02}.mp4"
                _write_clip(path, drawn(shape, motion, draw))


def _write_clip(path: Path, clip: np.ndarray) -> None:
    av = require("av", "video", "clips")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = SIDE, SIDE, "yuv420p", 400_000
        for picture in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def _streamed(model: VideoClassifier) -> list[tuple[int, StreamAnswer]]:
    """The answers to every fourth frame of a clip, and to the last."""
    stream, answers = model.stream(), []
    for number, frame in enumerate(drawn("triangle", "grows", np.random.default_rng(2)), start=1):
        answer = stream.step(frame)
        if isinstance(answer, StreamAnswer) and number % 4 == 0:
            answers.append((number, answer))
    return answers


def _write(model: VideoClassifier, folder: Path) -> dict[Path, str]:
    """Every file, and what it is."""
    model.save(folder / "model")
    write_tables(folder, {"answers.csv": model.predict_table(folder / "unseen")})
    lead = "One network saw drawn shapes move. Everything below is about clips that it has never seen."
    model.write_report(folder / "report.html", folder / "unseen", title="Shapes that move", lead=lead)
    return {
        folder / "unseen": "clips that it never saw, a folder a class",
        folder / "model": "the model: longspan predict, evaluate, report",
        folder / "answers.csv": "its answers about them",
        folder / "report.html": "the report, with frames and what mattered in them",
    }
