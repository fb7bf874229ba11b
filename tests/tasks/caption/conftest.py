"""A folder with a few small pictures, and drawn pictures with captions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Drawn = Callable[[int, int], tuple[np.ndarray, list[list[str]]]]


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """The working folder with a.png, b.jpg and c.webp in it, of three sizes; name -> pixels."""
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    monkeypatch.chdir(tmp_path)
    shown = {}
    for name, (height, width), value in (
        ("a.png", (8, 12), 40),
        ("b.jpg", (16, 10), 90),
        ("c.webp", (9, 9), 200),
    ):
        shown[name] = np.full((height, width, 3), value, np.uint8)
        pillow.fromarray(shown[name]).save(name)
    return shown


@pytest.fixture(scope="session")
def drawn() -> Drawn:
    """(count, seed) -> pictures (N, 16, 16, 3) of a square in one of two colours and corners; captions."""

    def draw(count: int, seed: int) -> tuple[np.ndarray, list[list[str]]]:
        random = np.random.default_rng(seed)
        pictures = random.integers(0, 30, (count, 16, 16, 3)).astype(np.uint8)
        captions = []
        for picture in pictures:
            color, low = int(random.integers(2)), bool(random.integers(2))
            top = 9 if low else 1
            picture[top : top + 6, 4:12, 2 * color] = 230
            words = (["red", "blue"][color], "below" if low else "above")
            captions.append([f"a {words[0]} square {words[1]}", f"the square {words[1]} is {words[0]}"])
        return pictures, captions

    return draw
