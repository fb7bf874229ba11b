"""Knows the threshold that finds itself: where a stretch of errors parts into usual and unusual ones.

After Hundman et al., "Detecting Spacecraft Anomalies Using LSTMs and Nonparametric Dynamic Thresholding"
(arXiv 1802.04431), sections 3.2 and 3.3, with the settings of https://github.com/khundman/telemanom.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from typing_extensions import Self

SMOOTHING_SPAN = 105  # of the running mean of the errors
BATCH = 70  # readings that are decided about together
HISTORY = 2100  # readings that a batch is seen within, itself the newest of them
BUFFER = 100  # readings around an unusual one that belong to it
SKIPPED_AT_START = 500  # readings at the beginning of a series that have too little before them to be judged
STEPS = np.arange(2.5, 12.0, 0.5)  # deviations above the mean that are tried
MIN_ERRORS_APART = 0.1  # how much lower, as a share, the next lower peak has to be; 0.13 in that code
SHARE = 0.05  # of what the values span: errors below it are usual, whatever else was
# The least error that can be an anomaly, as a share of the training data's range. An error of the whole
# range in one reading leaves twice that in the running mean.
MIN_ERROR_SHARE = 0.01


class DynamicThreshold:
    """Which readings of one channel have unusual errors, decided about in batches, each within its history.

    The running mean of the absolute errors is held against the threshold that best parts the last HISTORY of
    them; unusually small ones count too. Then stretches whose peak is not well above the next are dropped.

    Args:
        least: running means that are never unusual, in the unit of the errors.
    """

    def __init__(self, least: float) -> None:
        self.least = least
        self.settled = False  # whether there has been a batch
        self.restart()

    def restart(self) -> None:
        """Another series begins, which is seen within itself alone."""
        self.total = self.weight = 0.0
        self.levels: list[float] = []
        self.values: list[float] = []
        self.found = np.zeros(0, dtype=bool)
        self.settled = False

    def go_on(self) -> None:
        """Decide from now on batch by batch, however little there is before it."""
        self.finish()
        self.settled = True

    @property
    def waiting(self) -> int:
        """Readings that are not decided about yet."""
        return len(self.levels) - len(self.found)

    def add(self, value: float | None, error: float | None) -> np.ndarray | None:
        """Take a reading, None for a missing value or prediction.

        Returns:
            None while the batch is not full; then of every reading not decided about yet (n,) how far its
            error is above the threshold as a ratio, at least 1, and 0 where it is usual.
        """
        keep = (SMOOTHING_SPAN - 1) / (SMOOTHING_SPAN + 1)
        if error is not None:
            self.total = self.total * keep + abs(error)
            self.weight = self.weight * keep + 1.0
        self.levels.append(self.total / self.weight if self.weight else 0.0)
        last = self.values[-1] if self.values else 0.0
        self.values.append(last if value is None else value)
        if self.waiting < (BATCH if self.settled else HISTORY):
            return None
        return self.finish()

    def finish(self) -> np.ndarray:
        """Decide about what waits, as if the batch were full."""
        waiting = self.waiting
        if waiting == 0:
            return np.zeros(0)
        levels, values = np.array(self.levels), np.array(self.values)
        known = np.concatenate([self.found, np.zeros(waiting, dtype=bool)])
        first = len(known) - waiting
        if not self.settled:
            first += SKIPPED_AT_START if waiting > 2 * SKIPPED_AT_START else 0
        excess = find_anomalies(levels, values, known, first, self.least)
        self.found = (known | (excess > 0.0))[-(HISTORY - BATCH) :]
        self.levels, self.values = self.levels[-(HISTORY - BATCH) :], self.values[-(HISTORY - BATCH) :]
        self.settled = True
        return excess[len(known) - waiting :]

    def state(self) -> dict[str, Any]:
        """Plain values and tensors that `from_state` takes."""
        plain = {"least": self.least, "settled": self.settled, "total": self.total, "weight": self.weight}
        past = torch.tensor([self.levels, self.values], dtype=torch.float64)
        return {**plain, "past": past, "found": torch.from_numpy(self.found.copy())}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """The one that gave this state."""
        one = cls(state["least"])
        one.settled, one.total, one.weight = state["settled"], state["total"], state["weight"]
        one.levels, one.values = state["past"].tolist()
        one.found = state["found"].numpy().copy()
        return one


def find_anomalies(
    levels: np.ndarray, values: np.ndarray, known: np.ndarray, first: int, least: float
) -> np.ndarray:
    """How far above its threshold each of the readings (T,) from `first` on is, 0 where it is usual.

    Args:
        levels: (T,) running means of errors; values: (T,) what was read.
        known: (T,) bool, True where it has been found unusual before.
        least: levels at most that high are usual.
    """
    excess, span = np.zeros(len(levels)), float(np.subtract(*np.quantile(values, [0.95, 0.05])))
    mean, deviation, most = levels.mean(), levels.std(), levels.max()
    small = deviation <= SHARE * values.std() and most <= SHARE * span
    if deviation == 0.0 or small or most <= least:
        return excess
    for side, bound in ((levels, max(SHARE * span, least)), (2 * mean - levels, SHARE * span)):
        limit = _limit(side, mean, deviation)
        found = dilate((side >= limit) & (side > bound), BUFFER)
        found[:first] = False
        for start, end in _pruned(side, found, known):
            ratio = np.maximum(side[start:end] / limit, 1.0)
            excess[start:end] = np.maximum(excess[start:end], ratio)
    return excess


def _limit(side: np.ndarray, mean: float, deviation: float) -> float:
    """The threshold that lets mean and deviation fall most for the fewest readings and stretches above."""
    best, limit = -np.inf, mean + 12.0 * deviation
    for step in STEPS:
        tried = mean + step * deviation
        above = side >= tried
        if not above.any():
            break
        below, around = side[~above], dilate(above, BUFFER - 1)
        stretches, count = len(_runs(around)), int(around.sum())
        gain = (mean - below.mean()) / mean + (deviation - below.std()) / deviation
        worth = gain / (stretches**2 + count)
        if worth >= best and stretches <= 5 and count < len(side) / 2:
            best, limit = worth, tried
    return limit


def _pruned(side: np.ndarray, found: np.ndarray, known: np.ndarray) -> list[tuple[int, int]]:
    """Stretches, as start and end, down to the last one that is well above the next lower peak."""
    stretches = _runs(found)
    usual = side[~found & ~known]
    stretches.sort(key=lambda one: -side[one[0] : one[1]].max())
    peaks = [side[start:end].max() for start, end in stretches]
    lower = [*peaks[1:], usual.max() if len(usual) else 0.0]
    apart = [(high - low) / high >= MIN_ERRORS_APART for high, low in zip(peaks, lower, strict=False)]
    return stretches[: len(apart) - apart[::-1].index(True)] if True in apart else []


def _runs(found: np.ndarray) -> list[tuple[int, int]]:
    """Start and end (not included) of what is True without a gap."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], found.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def dilate(found: np.ndarray, buffer: int) -> np.ndarray:
    """True also up to `buffer` steps from a True.

    >>> dilate(np.array([False, False, False, True]), 1).tolist()
    [False, False, True, True]
    """
    marks, places = np.zeros(len(found) + 1), np.flatnonzero(found)
    np.add.at(marks, np.maximum(places - buffer, 0), 1.0)
    np.add.at(marks, np.minimum(places + buffer + 1, len(found)), -1.0)
    return np.cumsum(marks[:-1]) > 0.5


def smoothed(errors: np.ndarray) -> np.ndarray:
    """The running mean of absolute errors (T,) that `DynamicThreshold` judges by, NaN for none.

    >>> smoothed(np.array([1.0, -1.0, 1.0])).tolist()
    [1.0, 1.0, 1.0]
    """
    keep, total, weight = (SMOOTHING_SPAN - 1) / (SMOOTHING_SPAN + 1), 0.0, 0.0
    found = np.zeros(len(errors))
    for place, error in enumerate(np.abs(errors).tolist()):
        if error == error:
            total, weight = total * keep + error, weight * keep + 1.0
        found[place] = total / weight if weight else 0.0
    return found
