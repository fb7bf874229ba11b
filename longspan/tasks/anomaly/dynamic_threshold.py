"""Finds unusual errors by a dynamic threshold, the one that best separates the recent errors into two groups.

After Hundman et al., "Detecting Spacecraft Anomalies Using LSTMs and Nonparametric Dynamic Thresholding"
(arXiv 1802.04431), sections 3.2 and 3.3, with the settings of https://github.com/khundman/telemanom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from typing_extensions import Self

from .novelty import KINDS, Limits, Novelty

SMOOTHING_SPAN = (
    105  # readings: span of the exponential mean of the absolute errors, as in pandas' ewm(span=)
)
BATCH = 70  # readings that are decided at once
HISTORY = 2100  # readings that a decision takes into account, the batch included
BUFFER = 100  # readings before and after an unusual one that count as unusual too
SKIPPED_AT_START = 500  # readings at the start of a long series that are never an anomaly
STEPS = np.arange(2.5, 12.0, 0.5)  # standard deviations above the mean: the thresholds that are tried
MIN_ERRORS_APART = (
    0.1  # a peak that is less than this share above the next lower one is dropped; 0.13 in telemanom
)
SHARE = 0.05  # share of the values' range below which a smoothed error is never an anomaly
MAX_NOVEL = 210  # readings unlike training in a history; with more of them, they are usual by now
ALONE = 1.5  # times the noise floor that errors must reach where no reading near them is unlike training
ROUNDING = 1e-6  # of the mean: smoothed errors that differ less are the same
MIN_ERROR_SHARE = 0.01  # lowest noise floor, as a share of the training data's range


class DynamicThreshold:
    """Decides which readings of one column have unusual errors, batch by batch.

    The exponential mean of the absolute errors (the smoothed errors) of the last HISTORY readings is compared
    with a threshold (section 3.2). Smoothed errors that are unusually small count too.
    Stretches whose peak is hardly above the next lower one are dropped (section 3.3).

    With `limits`, what errors alone say is weighed by whether values are unlike training, see `weighed`.

    Args:
        noise_floor: smoothed errors up to this are never an anomaly, in the unit of the errors.
        limits: of the values in training; None to judge by errors alone.

    Attributes:
        started: whether a batch has been decided. The first one is decided when HISTORY readings are there.
        levels, values: the smoothed errors and values of the readings that are kept.
        novel: in which ways each of them is unlike training, see `Novelty.add`; empty without limits.
        anomalous: (n,) bool, the decisions about the first n of them, by errors alone.
        unusual: of the last readings that were decided, the excess by errors alone.
    """

    def __init__(self, noise_floor: float, limits: Limits | None = None) -> None:
        self.noise_floor = noise_floor
        self.novelty = None if limits is None else Novelty(limits)
        self.started = False
        self.restart()

    def restart(self) -> None:
        """Start another series, which is compared with itself alone."""
        self.total = self.weight = 0.0
        self.levels: list[float] = []
        self.values: list[float] = []
        self.novel: list[int] = []
        self.unusual = np.zeros(0)
        if self.novelty is not None:
            self.novelty.restart()
        self.anomalous = np.zeros(0, dtype=bool)
        self.started = False

    @property
    def waiting(self) -> int:
        """Number of readings that are not decided yet."""
        return len(self.levels) - len(self.anomalous)

    def add(self, value: float | None, error: float | None) -> np.ndarray | None:
        """Add a reading.

        Args:
            value, error: None where the value or its prediction is missing.

        Returns:
            None until the batch is full. Then for each reading not decided yet (n,) its error divided by the
            threshold, at least 1, or 0 where the error is usual.
        """
        decay = (SMOOTHING_SPAN - 1) / (SMOOTHING_SPAN + 1)
        if error is not None:
            self.total = self.total * decay + abs(error)
            self.weight = self.weight * decay + 1.0
        self.levels.append(self.total / self.weight if self.weight else 0.0)
        last = self.values[-1] if self.values else 0.0
        self.values.append(last if value is None else value)
        if self.novelty is not None:
            self.novel.append(self.novelty.add(value))
        if self.waiting < (BATCH if self.started else HISTORY):
            return None
        return self.finish()

    def finish(self) -> np.ndarray:
        """Decide about all waiting readings, as if the batch were full."""
        waiting = self.waiting
        if waiting == 0:
            return np.zeros(0)
        levels, values = np.array(self.levels), np.array(self.values)
        decided = np.concatenate([self.anomalous, np.zeros(waiting, dtype=bool)])
        first = len(decided) - waiting
        if not self.started and waiting > 2 * SKIPPED_AT_START:
            first += SKIPPED_AT_START
            levels[:SMOOTHING_SPAN] = levels[SMOOTHING_SPAN]  # means of few errors, large by chance
        elif not self.started:
            levels = _from_median(levels)
        excess = find_anomalies(levels, values, decided, first, self.noise_floor)
        kept = slice(-(HISTORY - BATCH), None)
        self.anomalous = (decided | (excess > 0.0))[kept]
        self.unusual = excess[len(decided) - waiting :]
        if self.novelty is not None:
            excess = np.where(decided & (excess == 0.0), 1.0, excess)
            excess = weighed(excess, np.array(self.levels), np.array(self.novel, np.uint8), self.noise_floor)
        self.levels, self.values, self.novel = self.levels[kept], self.values[kept], self.novel[kept]
        self.started = True
        return excess[len(decided) - waiting :]

    def run(self, values: Sequence[float | None], errors: Sequence[float | None]) -> np.ndarray:
        """What `add` gives for all readings of a series (T,), weighed with the whole series in view."""
        levels, novel = np.zeros(len(values)), np.zeros(len(values), dtype=np.uint8)
        unusual = [np.zeros(0)]
        for row, (value, error) in enumerate(zip(values, errors, strict=True)):
            decided = self.add(value, error)
            levels[row] = self.levels[-1]
            novel[row] = self.novel[-1] if self.novel else 0
            if decided is not None:
                unusual.append(self.unusual)
        if self.waiting:
            self.finish()
            unusual.append(self.unusual)
        excess = np.concatenate(unusual)
        return excess if self.novelty is None else weighed(excess, levels, novel, self.noise_floor)

    def state(self) -> dict[str, Any]:
        """Plain values and tensors that `from_state` takes."""
        return {
            "noise_floor": self.noise_floor,
            "started": self.started,
            "total": self.total,
            "weight": self.weight,
            "past": torch.tensor([self.levels, self.values], dtype=torch.float64),
            "anomalous": torch.from_numpy(self.anomalous.copy()),
            "novelty": None if self.novelty is None else self.novelty.state(),
            "novel": torch.tensor(self.novel, dtype=torch.uint8),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """The threshold that gave this state."""
        threshold = cls(state["noise_floor"])
        threshold.started = state["started"]
        threshold.total, threshold.weight = state["total"], state["weight"]
        threshold.levels, threshold.values = state["past"].tolist()
        threshold.anomalous = state["anomalous"].numpy().copy()
        if state.get("novelty") is not None:  # older files have none
            threshold.novelty = Novelty.from_state(state["novelty"])
            threshold.novel = state["novel"].tolist()
        return threshold


def find_anomalies(
    levels: np.ndarray, values: np.ndarray, anomalous: np.ndarray, first: int, noise_floor: float
) -> np.ndarray:
    """Smoothed error over threshold for the readings (T,) from `first` on, 0 where the error is usual.

    Args:
        levels: (T,) smoothed errors; values: (T,) what was read.
        anomalous: (T,) bool, True where an earlier decision was an anomaly.
        noise_floor: smoothed errors up to this are never an anomaly.
    """
    excess, span = np.zeros(len(levels)), float(np.subtract(*np.quantile(values, [0.95, 0.05])))
    mean, deviation, highest = levels.mean(), levels.std(), levels.max()
    small = deviation <= SHARE * values.std() and highest <= SHARE * span
    if deviation == 0.0 or small or highest <= noise_floor:
        return excess
    too_high, too_low = levels, 2 * mean - levels  # small errors, mirrored at the mean
    for side, lowest in ((too_high, max(SHARE * span, noise_floor)), (too_low, SHARE * span)):
        threshold = _best_threshold(side, mean, deviation)
        over = dilate((side >= threshold) & (side > lowest), BUFFER)
        over[:first] = False
        for start, end in _pruned(side, over, anomalous):
            ratio = np.maximum(side[start:end] / threshold, 1.0)
            excess[start:end] = np.maximum(excess[start:end], ratio)
    return excess


def weighed(excess: np.ndarray, levels: np.ndarray, novel: np.ndarray, noise_floor: float) -> np.ndarray:
    """Excess by errors alone (T,), weighed by which readings are unlike training.

    A stretch without such a reading counts only if its smoothed errors are well above the noise floor. A
    stretch near such readings counts from the lowest threshold on: some smoothed error is that many standard
    deviations above the mean of the history up to it.

    Args:
        levels: (T,) smoothed errors; novel: (T,) whole numbers, see `Novelty.add`.
        noise_floor: see `DynamicThreshold`.
    """
    high, near, out = _high(levels), np.zeros(len(levels), dtype=bool), excess.copy()
    added = near.copy()
    for kind in range(len(KINDS)):
        flags = (novel >> kind & 1).astype(bool)
        stretches = dilate(flags & (_recent_sums(flags.astype(float)) <= MAX_NOVEL), BUFFER)
        near |= stretches
        for start, end in _runs(stretches):
            added[start:end] |= high[start:end].any()
    for start, end in _runs(excess > 0.0):
        if not near[start:end].any() and levels[start:end].max() < ALONE * noise_floor:
            out[start:end] = 0.0
    return np.where(added, np.maximum(out, 1.0), out)


def _from_median(levels: np.ndarray) -> np.ndarray:
    """Smoothed errors (T,) of a whole series as if the mean had begun at their median, not at one error."""
    known = 1.0 - (1.0 - 2.0 / (SMOOTHING_SPAN + 1)) ** np.arange(1, len(levels) + 1)
    return np.median(levels) + known * (levels - np.median(levels))


def _high(levels: np.ndarray) -> np.ndarray:
    """(T,) bool, whether smoothed errors (T,) are above the lowest threshold of the history up to each."""
    counts = np.minimum(np.arange(1, len(levels) + 1), HISTORY)
    mean = _recent_sums(levels) / counts
    variance = np.maximum(_recent_sums(levels**2) / counts - mean**2, 0.0)
    return levels - mean > STEPS[0] * np.sqrt(variance) + ROUNDING * mean


def _recent_sums(values: np.ndarray) -> np.ndarray:
    """The sum of each value (T,) and those before it in a history."""
    sums = np.cumsum(values)
    return sums - np.concatenate([np.zeros(min(HISTORY, len(sums))), sums[:-HISTORY]])


def _best_threshold(levels: np.ndarray, mean: float, deviation: float) -> float:
    """The threshold of section 3.2: mean and deviation fall most for the fewest readings over it."""
    best_gain, best = -np.inf, mean + 12.0 * deviation
    for step in STEPS:
        threshold = mean + step * deviation
        over = levels >= threshold
        if not over.any():
            break
        below, around = levels[~over], dilate(over, BUFFER - 1)
        stretches, count = len(_runs(around)), int(around.sum())
        fall = (mean - below.mean()) / mean + (deviation - below.std()) / deviation
        gain = fall / (stretches**2 + count)
        if gain >= best_gain and stretches <= 5 and count < len(levels) / 2:
            best_gain, best = gain, threshold
    return best


def _pruned(levels: np.ndarray, over: np.ndarray, anomalous: np.ndarray) -> list[tuple[int, int]]:
    """Stretches (start, end) over the threshold, highest peak first, without those of section 3.3.

    A stretch is kept if its peak, or a lower one's, is MIN_ERRORS_APART above the next lower peak.
    """
    stretches = _runs(over)
    usual = levels[~over & ~anomalous]
    stretches.sort(key=lambda stretch: -levels[stretch[0] : stretch[1]].max())
    peaks = [levels[start:end].max() for start, end in stretches]
    next_lower = [*peaks[1:], usual.max() if len(usual) else 0.0]
    apart = [(high - low) / high >= MIN_ERRORS_APART for high, low in zip(peaks, next_lower, strict=False)]
    return stretches[: len(apart) - apart[::-1].index(True)] if True in apart else []


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Start and end (exclusive) of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def dilate(flags: np.ndarray, buffer: int) -> np.ndarray:
    """Flags that are True also up to `buffer` steps before and after a True.

    >>> dilate(np.array([False, False, False, True]), 1).tolist()
    [False, False, True, True]
    """
    changes, rows = np.zeros(len(flags) + 1), np.flatnonzero(flags)
    np.add.at(changes, np.maximum(rows - buffer, 0), 1.0)
    np.add.at(changes, np.minimum(rows + buffer + 1, len(flags)), -1.0)
    return np.cumsum(changes[:-1]) > 0.5


def smoothed(errors: np.ndarray) -> np.ndarray:
    """The exponential mean of absolute errors (T,) up to each reading, without NaN ones; 0 before the first.

    >>> smoothed(np.array([1.0, -1.0, 1.0])).tolist()
    [1.0, 1.0, 1.0]
    """
    decay, total, weight = (SMOOTHING_SPAN - 1) / (SMOOTHING_SPAN + 1), 0.0, 0.0
    levels = np.zeros(len(errors))
    for row, error in enumerate(np.abs(errors).tolist()):
        if error == error:
            total, weight = total * decay + error, weight * decay + 1.0
        levels[row] = total / weight if weight else 0.0
    return levels
