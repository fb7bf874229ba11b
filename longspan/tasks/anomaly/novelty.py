"""Finds readings of a column unlike all of its training data: values, jumps, levels, spreads and pauses."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from typing_extensions import Self

KINDS = ("value", "change", "run", "mean", "spread")  # ways in which a reading is unlike training
LEAST_READINGS = 500  # of training, below which limits by them would hardly hold for later ones
WINDOW = 100  # readings of a running mean and of a running deviation
RANGE_MARGIN = 0.1  # share of the training range by which a value lies outside of it
CHANGE_FACTOR = 1.5  # times the largest change between two training readings
LEAST_CHANGE = 0.02  # of the training range: a change is compared with this one at least
MEAN_MARGIN = 1.0  # share of the running means' range by which one lies outside of it
SPREAD_FACTOR = 1.5  # times the largest running deviation
RUN_FACTOR = 3.0  # times the longest run of equal readings
LEAST_RUN = 20  # readings of a run that is unlike training at least
MOST_CONSTANT = 1 / 3  # share of a series that a run may take for the length of runs to tell anything
ROUNDING = 1e-3  # added to every margin, in units of the scaled values


class Limits(NamedTuple):
    """What the values of a column did not exceed in training, margins included; infinite where unknown.

    low, high: of a value; change: of the difference from the last value; low_mean, high_mean: of the running
    mean; spread: of the running deviation; run: of the number of equal readings in a row.
    """

    low: float
    high: float
    change: float
    low_mean: float
    high_mean: float
    spread: float
    run: float

    @classmethod
    def fit(cls, series: Sequence[np.ndarray]) -> Self | None:
        """Limits by training series, (T_i,) each; NaN readings are left out. None without any reading.

        >>> limits = Limits.fit([np.array([0.0, 1.0, 0.0, 1.0])])
        >>> (round(limits.high, 3), limits.change, limits.run)
        (1.1, 1.5, 20)
        """
        parts = [values[~np.isnan(values)].astype(np.float64) for values in series]
        parts = [values for values in parts if len(values)]
        if not parts:
            return None
        whole = np.concatenate(parts)
        low, high = float(whole.min()), float(whole.max())
        margin = max(RANGE_MARGIN * (high - low), ROUNDING)
        change = max(float(np.abs(np.diff(values)).max(initial=0.0)) for values in parts)
        runs = [_longest_run(values) for values in parts]
        constant = any(run > MOST_CONSTANT * len(values) for run, values in zip(runs, parts, strict=True))
        return cls(
            low - margin,
            high + margin,
            CHANGE_FACTOR * max(change, LEAST_CHANGE * (high - low), ROUNDING**2),
            *_window_limits(parts),
            math.inf if constant else max(RUN_FACTOR * max(runs), LEAST_RUN),
        )


def _longest_run(values: np.ndarray) -> int:
    """Readings of the longest run of equal values (T,)."""
    edges = np.flatnonzero(np.diff(values, prepend=np.nan, append=np.nan) != 0.0)
    return int(np.diff(edges).max())


def _window_limits(parts: Sequence[np.ndarray]) -> tuple[float, float, float]:
    """The lowest and highest running mean and the highest running deviation, with their margins."""
    long = [values for values in parts if len(values) >= 2 * WINDOW]
    if not long:
        return -math.inf, math.inf, math.inf
    usual = float(long[0].mean())  # near 0, squares of deviations are exact
    means = np.concatenate([_running_means(values - usual) for values in long])
    squares = np.concatenate([_running_means((values - usual) ** 2) for values in long])
    spread = math.sqrt(max(float((squares - means**2).max()), 0.0))
    means += usual
    low, high = float(means.min()), float(means.max())
    margin = MEAN_MARGIN * (high - low) + ROUNDING
    return low - margin, high + margin, SPREAD_FACTOR * spread + ROUNDING


def _running_means(values: np.ndarray) -> np.ndarray:
    """The mean of each WINDOW of values (T,), without the first one."""
    sums = np.cumsum(values)
    return (sums[WINDOW:] - sums[:-WINDOW]) / WINDOW


class Novelty:
    """Tells of each reading of a series in which ways it exceeds the limits of training.

    Args:
        limits: of the column.

    >>> novelty = Novelty(Limits.fit([np.array([0.0, 1.0, 0.0, 1.0])]))
    >>> [novelty.add(value) for value in (0.5, 1.0, 1.2)]
    [0, 0, 1]
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.restart()

    def restart(self) -> None:
        """Start another series."""
        self.recent = deque[float]()
        self.run = 0
        self.total = self.squares = 0.0

    def add(self, value: float | None) -> int:
        """In which of the KINDS the next reading is unlike training, a bit each; 0 if it is missing."""
        if value is None:
            return 0
        limits, recent = self.limits, self.recent
        last = recent[-1] if recent else value
        self.run = self.run + 1 if value == last else 1
        recent.append(value)
        self.total += value
        self.squares += value * value
        mean_is_new = spread_is_new = False
        if len(recent) > WINDOW:
            first = recent.popleft()
            self.total -= first
            self.squares -= first * first
            mean = self.total / WINDOW
            mean_is_new = not limits.low_mean <= mean <= limits.high_mean
            spread_is_new = self.squares / WINDOW - mean * mean > limits.spread**2
        ways = (
            not limits.low <= value <= limits.high,
            abs(value - last) > limits.change,
            self.run >= limits.run,
            mean_is_new,
            spread_is_new,
        )
        return sum(1 << kind for kind, is_new in enumerate(ways) if is_new)

    def state(self) -> dict[str, Any]:
        """Plain values that `from_state` takes."""
        sums = {"run": self.run, "total": self.total, "squares": self.squares}
        return {"limits": list(self.limits), "recent": list(self.recent), **sums}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """The one that gave this state."""
        novelty = cls(Limits(*state["limits"]))
        novelty.recent.extend(state["recent"])
        novelty.run, novelty.total, novelty.squares = state["run"], state["total"], state["squares"]
        return novelty
