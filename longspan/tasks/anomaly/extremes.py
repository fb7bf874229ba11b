"""Compares values and prediction errors of a stream with their extremes in the recent past."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import torch

SPEEDS = (0.3, 0.1, 0.03)  # weight of a new error in each running mean; it averages about 1 / speed readings
START = 100  # readings of a stream before its first score other than 0
MIN_EXTREME = 1e-3  # smallest extreme that is divided by; ranges are in units of the column's scale


class SlidingMax:
    """The largest of the last `window` numbers, with constant mean time per number."""

    __slots__ = ("items", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self.items: deque[tuple[int, float]] = deque()  # (step at which it leaves, number), numbers falling

    def add(self, step: int, value: float) -> None:
        """Add the number of a step. Steps have to rise."""
        items = self.items
        while items and items[-1][1] <= value:
            items.pop()
        items.append((step + self.window, value))
        while items[0][0] <= step:
            items.popleft()

    def state(self) -> Any:
        """A tensor that `restore` takes."""
        return torch.tensor(list(self.items), dtype=torch.float64).reshape(-1, 2)

    def restore(self, state: Any) -> None:
        """Take what `state` gave."""
        self.items = deque((int(step), value) for step, value in state.tolist())


class ExtremeTracker:
    """Scores the readings of one column: 1 is the extreme of the recent past, 1.1 is a tenth more.

    The score is the larger of two ratios, each relative to the last `window` readings: how far the value lies
    outside their range, and how large running means of the signed error are beside their largest. The fast
    mean reacts to jumps, the slow one to drifts. Readings older than `window` no longer count, so that the
    scores adapt to drift. No distribution of values or errors is assumed.

    Args:
        window: number of readings that count as the recent past.
        scale: the column's scale, the unit of its values; None for a category, of which errors alone count.
    """

    def __init__(self, window: int, scale: float | None) -> None:
        self.window, self.scale = window, scale
        speeds = SPEEDS if scale is not None else (1.0, *SPEEDS)  # a category's single error counts too
        self.speeds, self.means, self.count, self.fresh = speeds, [0.0] * len(speeds), 0, 0
        self.errors = [SlidingMax(window) for _ in speeds]
        self.high, self.low = SlidingMax(window), SlidingMax(window)

    def restart(self) -> None:
        """Start another series: the running means begin anew, the extremes stay."""
        self.means, self.fresh = [0.0] * len(self.speeds), 0

    def add(self, value: float | None, error: float | None, learn: bool = True) -> float:
        """The score of a reading; 0 for the first START readings.

        Args:
            value, error: None where the value or its prediction is missing.
            learn: whether the reading becomes part of the recent past; False for a known anomaly.
        """
        step = self.count = self.count + 1
        score = 0.0
        if value is not None and self.scale is not None:
            score = self._range_score(step, value, learn)
        if error is not None:
            fresh = self.fresh = self.fresh + 1
            for number, speed in enumerate(self.speeds):
                mean, fill = self.means[number], speed * fresh  # fill < 1: fewer errors than the mean spans
                mean += (error - mean) * (speed if fill > 1.0 else 1.0 / fresh)
                self.means[number] = mean
                extreme, size = self.errors[number], mean if mean >= 0.0 else -mean
                if extreme.items:
                    ratio = size / max(extreme.items[0][1], MIN_EXTREME)
                    if fill < 1.0:  # a mean of few errors is larger by chance: count its share of a full mean
                        ratio *= fill
                    if ratio > score:
                        score = ratio
                if learn:
                    extreme.add(step, size)
        return score if step > START else 0.0

    def _range_score(self, step: int, value: float, learn: bool) -> float:
        """1 plus how far the value lies outside the recent range, in units of that range; 0 at least."""
        score = 0.0
        if self.high.items:
            top, bottom = self.high.items[0][1], -self.low.items[0][1]
            beyond = max(value - top, bottom - value)
            assert self.scale is not None
            score = 1.0 + beyond / max(top - bottom, MIN_EXTREME * self.scale)
        if learn:
            self.high.add(step, value)
            self.low.add(step, -value)
        return max(score, 0.0)

    def state(self) -> dict[str, Any]:
        """Plain values and tensors that `from_state` takes."""
        maxima = [maximum.state() for maximum in (self.high, self.low, *self.errors)]
        plain = {"window": self.window, "scale": self.scale, "count": self.count, "fresh": self.fresh}
        return {**plain, "means": list(self.means), "maxima": maxima}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> ExtremeTracker:
        """The tracker that gave this state."""
        tracker = cls(state["window"], state["scale"])
        tracker.count, tracker.fresh, tracker.means = state["count"], state["fresh"], list(state["means"])
        maxima = (tracker.high, tracker.low, *tracker.errors)
        for maximum, saved in zip(maxima, state["maxima"], strict=True):
            maximum.restore(saved)
        return tracker
