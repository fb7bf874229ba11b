"""Classifies series by rivals: nearest neighbours by Euclid's distance and by DTW, MiniRocket with ridge.

    PYTHON classification_rivals.py FILE.npz

FILE has x_train, y_train, x_test, y_test, x as (N, C, T) padded with NaN. Prints accuracy and seconds of each
rival as JSON. It runs in a process of its own, as aeon may need other versions of NumPy than the library.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from time import perf_counter

import numpy as np

DTW_CELLS = 4e9  # cells of all distance matrices up to which DTW is quick enough
DTW_WINDOW = 0.1  # share of the length by which DTW may shift


def equal_lengths(x: np.ndarray) -> np.ndarray:
    """(N, C, T): series of unequal lengths are stretched to the longest, linearly."""
    steps = np.linspace(0.0, 1.0, x.shape[2])
    stretched = np.empty_like(x)
    for row, series in zip(stretched, x, strict=True):
        real = ~np.isnan(series).all(0)
        length = int(real.nonzero()[0].max()) + 1
        for channel, values in zip(row, series[:, :length], strict=True):
            there = ~np.isnan(values)
            channel[:] = np.interp(steps, np.linspace(0.0, 1.0, length)[there], values[there])
    return stretched


def euclid(x: np.ndarray, y: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The label of the nearest training series."""
    rows, others = asked.reshape(len(asked), -1), x.reshape(len(x), -1)
    squares = (rows**2).sum(1)[:, None] - 2 * rows @ others.T + (others**2).sum(1)
    return y[squares.argmin(1)]


def dtw(x: np.ndarray, y: np.ndarray, asked: np.ndarray) -> np.ndarray | None:
    """The label of the nearest training series by dynamic time warping; None where it would take long."""
    from aeon.distances import dtw_pairwise_distance  # pyright: ignore[reportMissingImports]

    if len(x) * len(asked) * x.shape[2] ** 2 * DTW_WINDOW > DTW_CELLS:
        return None
    return y[dtw_pairwise_distance(asked, x, window=DTW_WINDOW).argmin(1)]


def minirocket(x: np.ndarray, y: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The labels of aeon's MiniRocket with ridge regression."""
    from aeon.classification.convolution_based import MiniRocketClassifier  # pyright: ignore

    return MiniRocketClassifier(random_state=0).fit(x, y).predict(asked)


RIVALS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray | None]] = {
    "1-NN Euclid": euclid,
    "1-NN DTW": dtw,
    "MiniRocket": minirocket,
}


def main(path: str) -> None:
    data = np.load(path)
    x, asked = (equal_lengths(data[name].astype(np.float64)) for name in ("x_train", "x_test"))
    found: dict[str, dict[str, float]] = {}
    for name, classify in RIVALS.items():
        began = perf_counter()
        answers = classify(x, data["y_train"], asked)
        if answers is not None:
            accuracy = float((answers == data["y_test"]).mean())
            found[name] = {"accuracy": accuracy, "seconds": perf_counter() - began}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
