"""Demonstrates captions: drawn scenes of two shapes, by day and by night, with sentences about them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console

from longspan.atomic_file import atomic_write
from longspan.optional import require
from longspan.report.pictures import png
from longspan.tasks.caption import Captioner

from .written import show_written, write_tables

SEEN, UNSEEN = 900, 60  # scenes to learn from, and to be asked about
SIDE = 40  # pixels of a scene
OPTIONS: dict[str, Any] = {
    "hidden_size": 96,
    "embedding_size": 48,
    "filters": (16, 32, 48),
    "batch_size": 16,
    "learning_rate": 0.005,
    "dropout": 0.1,
    "shift": 0.03,
    "epochs": 36,
    "top_p": 0.5,
}
_COLORS = {"red": (220, 50, 47), "blue": (60, 120, 240), "yellow": (250, 220, 60), "white": (245, 245, 245)}
_SHAPES = ("circle", "square", "triangle")
_SKIES = {"on a meadow": (90, 160, 70), "at night": (25, 25, 45)}
_PLACES = {
    "left of": (0.5, 0.25, 0.5, 0.75),  # y and x of the first shape, y and x of the second
    "right of": (0.5, 0.75, 0.5, 0.25),
    "above": (0.25, 0.5, 0.75, 0.5),
    "below": (0.75, 0.5, 0.25, 0.5),
}
_INVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}

Scenes = tuple[np.ndarray, list[list[str]]]  # pictures (N, SIDE, SIDE, 3), and two sentences about each


def run(folder: Path) -> None:
    """Scenes, training, scores, report; the files go into the folder."""
    require("PIL.Image", "caption", "pictures")
    console = Console(highlight=False)
    console.print(f"[bold]1[/] Data: {SEEN + UNSEEN} drawn scenes of two shapes, two sentences about each;")
    console.print(f"  {UNSEEN} of them are kept for the end.")
    pictures, sentences = scenes(SEEN + UNSEEN)
    console.print("[bold]2[/] Training ...")
    began = time.perf_counter()
    model = Captioner(**OPTIONS).fit(pictures[:SEEN], sentences[:SEEN])
    console.print(f"  done in {time.perf_counter() - began:.0f} s.")
    console.print(f"[bold]3[/] {UNSEEN} scenes that it never saw:")
    scores = model.evaluate(pictures[SEEN:], sentences[SEEN:])
    console.print(
        f"  {100 * scores['exact_match']:.0f} % of the captions equal one of the two sentences; "
        f"BLEU-4 {scores['bleu4']:.2f}, CIDEr-D {scores['cider']:.2f}, "
        f"{100 * scores['distinct']:.0f} % different captions."
    )
    for caption, truth in zip(model.predict(pictures[SEEN : SEEN + 3]), sentences[SEEN:], strict=False):
        console.print(f"  {caption}   (drawn: {truth[0]})")
    console.print("[bold]4[/] Written:")
    files = _write(model, pictures[SEEN:], sentences[SEEN:], folder)
    show_written(console, files, folder / "report.html")


def scenes(count: int) -> Scenes:
    """Scenes drawn by a fixed seed: two shapes of different colours, one beside or above the other."""
    draw = np.random.default_rng(0)
    pictures, sentences = [], []
    for _ in range(count):
        sky, place = (str(draw.choice(list(names))) for names in (_SKIES, _PLACES))
        colors = [str(name) for name in draw.choice(list(_COLORS), 2, replace=False)]
        shapes = [str(name) for name in draw.choice(_SHAPES, 2)]
        picture = np.array(_SKIES[sky]) + draw.normal(0, 6, (SIDE, SIDE, 3))
        at = np.array(_PLACES[place]) + draw.uniform(-0.06, 0.06, 4)
        for number in (0, 1):
            y, x = SIDE * at[2 * number : 2 * number + 2]
            inside = _inside(shapes[number], float(y), float(x), draw.uniform(5, 8))
            picture[inside] = _COLORS[colors[number]]
        pictures.append(picture.clip(0, 255).astype(np.uint8))
        first, second = (f"a {color} {shape}" for color, shape in zip(colors, shapes, strict=True))
        sentences.append([f"{first} {place} {second} {sky}", f"{second} {_INVERSE[place]} {first} {sky}"])
    return np.stack(pictures), sentences


def _inside(shape: str, y: float, x: float, radius: float) -> np.ndarray:
    """(SIDE, SIDE) bool, True where a shape with its centre at y and x covers a pixel."""
    down, right = np.mgrid[:SIDE, :SIDE] - np.array([y, x]).reshape(2, 1, 1)
    if shape == "circle":
        return down**2 + right**2 <= radius**2
    if shape == "square":
        return np.maximum(abs(down), abs(right)) <= 0.85 * radius
    return (down <= 0.8 * radius) & (abs(right) <= 0.6 * (down + radius))


def _write(
    model: Captioner, pictures: np.ndarray, sentences: list[list[str]], folder: Path
) -> dict[Path, str]:
    """Every file, and what it is."""
    unseen = folder / "scenes"
    unseen.mkdir(parents=True, exist_ok=True)
    names = [f"{row:03}.png" for row in range(len(pictures))]
    for name, picture in zip(names, pictures, strict=True):
        with atomic_write(unseen / name) as file:
            file.write(png(picture))
    rows = [
        {"image": name, "caption": text}
        for name, texts in zip(names, sentences, strict=True)
        for text in texts
    ]
    write_tables(unseen, {"captions.csv": pl.DataFrame(rows)})
    model.save(folder / "model")
    write_tables(folder, {"captions.csv": model.predict_table(unseen)})
    lead = "One LSTM describes drawn scenes. Everything below is about scenes that it never saw."
    model.write_report(folder / "report.html", unseen, title="Scenes, described", lead=lead)
    return {
        unseen: "scenes that it never saw, with captions.csv",
        folder / "model": "the model: longspan predict, evaluate, report",
        folder / "captions.csv": "what it says about them",
        folder / "report.html": "the report, with each word's attention over its picture",
    }
