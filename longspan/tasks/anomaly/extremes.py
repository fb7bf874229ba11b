"""Knows how unusual a number of a stream is, beside the extremes of its own recent past."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import torch

SPEEDS = (0.3, 0.1, 0.03)  # how fast the running means of the errors follow: from one reading to some thirty
START = 100  # readings that are only learnt from before the first score
MIN_EXTREME = 1e-3  # of a range or an error, in units of the data's usual spread: less is rounding


class SlidingMax:
    """The largest of the last `window` numbers, in constant time a number."""

    __slots__ = ("items", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self.items: deque[tuple[int, float]] = deque()  # (when it is forgotten, number), numbers falling

    def add(self, now: int, value: float) -> None:
        """Take the number that came at `now`, a count that grows."""
        items = self.items
        while items and items[-1][1] <= value:
            items.pop()
        items.append((now + self.window, value))
        while items[0][0] <= now:
            items.popleft()

    def state(self) -> Any:
        """A tensor that `restore` takes."""
        return torch.tensor(list(self.items), dtype=torch.float64).reshape(-1, 2)

    def restore(self, state: Any) -> None:
        """Go on from what `state` gave."""
        self.items = deque((int(when), value) for when, value in state.tolist())


class ExtremeTracker:
    """Scores one channel: 1 is what the recent past has seen at most, 1.1 a tenth more.

    Two things are held against the last `window` readings: how far the value lies outside the range it had,
    and running means of the signed error of its prediction at several speeds, beside their largest, so that a
    short jump and a long drift both stand out. What was usual is forgotten after `window` readings, which
    follows drift. A tail that is compared with its own record needs no distribution.

    Args:
        window: readings that count as the recent past.
        spread: the usual size of the value's changes, its unit; None where the value itself is not judged.
    """

    def __init__(self, window: int, spread: float | None) -> None:
        self.window, self.spread = window, spread
        speeds = SPEEDS if spread is not None else (1.0, *SPEEDS)  # a surprise counts by itself too
        self.speeds, self.means, self.count, self.fresh = speeds, [0.0] * len(speeds), 0, 0
        self.errors = [SlidingMax(window) for _ in speeds]
        self.high, self.low = SlidingMax(window), SlidingMax(window)

    def restart(self) -> None:
        """Another series begins: what is usual stays, the running means do not."""
        self.means, self.fresh = [0.0] * len(self.speeds), 0

    def add(self, value: float | None, error: float | None, learn: bool = True) -> float:
        """The score of a reading, 0 while nothing is known; None for a missing value or prediction.

        With `learn` False it is no part of the past for those that come: a known anomaly.
        """
        now = self.count = self.count + 1
        score = 0.0
        if value is not None and self.spread is not None:
            score = self._excess(now, value, learn)
        if error is not None:
            fresh = self.fresh = self.fresh + 1
            for place, speed in enumerate(self.speeds):
                mean, full = self.means[place], speed * fresh
                mean += (error - mean) * (speed if full > 1.0 else 1.0 / fresh)
                self.means[place] = mean
                peak, size = self.errors[place], mean if mean >= 0.0 else -mean
                if peak.items:
                    ratio = size / max(peak.items[0][1], MIN_EXTREME)
                    if full < 1.0:  # what one error of many adds to a mean is all that one of few counts for
                        ratio *= full
                    if ratio > score:
                        score = ratio
                if learn:
                    peak.add(now, size)
        return score if now > START else 0.0

    def _excess(self, now: int, value: float, learn: bool) -> float:
        score = 0.0
        if self.high.items:
            top, bottom = self.high.items[0][1], -self.low.items[0][1]
            beyond = max(value - top, bottom - value)
            assert self.spread is not None
            score = 1.0 + beyond / max(top - bottom, MIN_EXTREME * self.spread)
        if learn:
            self.high.add(now, value)
            self.low.add(now, -value)
        return max(score, 0.0)

    def state(self) -> dict[str, Any]:
        """Plain values and tensors that `from_state` takes."""
        peaks = [peak.state() for peak in (self.high, self.low, *self.errors)]
        plain = {"window": self.window, "spread": self.spread, "count": self.count, "fresh": self.fresh}
        return {**plain, "means": list(self.means), "peaks": peaks}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> ExtremeTracker:
        """The watch that gave this state."""
        watch = cls(state["window"], state["spread"])
        watch.count, watch.fresh, watch.means = state["count"], state["fresh"], list(state["means"])
        for peak, kept in zip((watch.high, watch.low, *watch.errors), state["peaks"], strict=True):
            peak.restore(kept)
        return watch
