"""Knows how unusual readings are: their errors held against what was usual, and the threshold of an alarm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .alarms import event_scores, threshold_for_f1, threshold_for_false_positive_rate
from .dynamic_threshold import MIN_ERROR_SHARE, DynamicThreshold, smoothed
from .extremes import ExtremeTracker

MAX_CONFIDENCE_GAIN = 10.0  # upper bound on how much a narrow predicted interval may amplify an error
RECOVERY_STEPS = 30  # readings after a known anomaly that still feel it
MIN_THRESHOLD = 1.02  # the lowest threshold: the extreme of the recent past, and a little

Errors = list[list[float | None]]  # of every reading and watched column, None where none is known


class Seen(NamedTuple):
    """A series as it is judged, W watched columns, the N of numbers first.

    numbers: (T, N) as read; targets: (T, W), the scaled numbers and the categories' places; expected: (T, O),
    what a network gave for them, or a point and a width (T, 2N) each, NaN where nothing; known: (T,) bool,
    True for known anomalies.
    """

    numbers: np.ndarray
    targets: np.ndarray
    expected: np.ndarray
    known: np.ndarray


class AnomalyScorer:
    """Scores readings, and raises alarms.

    An `ExtremeTracker` of every watched column says how far value and error go beyond their recent past; the
    score is the highest of these. There is an alarm where it reaches the threshold, or, if `dynamic`, where
    `longspan.tasks.anomaly.dynamic_threshold.DynamicThreshold` finds the errors unusual.

    Args:
        window: readings that count as the recent past.
        dynamic: whether thresholds find themselves.

    Attributes:
        watches: one a column, what was usual in training; threshold: of the scores.
        least: of every column, an error at most that high is usual.
        usual: of every column the usual width where it is told how surely a number was expected, () if not.
        held_out: of the readings that were held out in `learn`, how many there were, how many lay over the
            threshold, and how many of them the budget allows.
    """

    def __init__(self, window: int, dynamic: bool = False) -> None:
        self.window, self.dynamic = window, dynamic
        self.trackers: list[ExtremeTracker] = []
        self.threshold = 1.0
        self.noise_floor: list[float] = []
        self.typical_width: list[float] = []
        self.held_out = {"readings": 0, "over": 0, "allowed": 0}

    def reset(self, spreads: Sequence[float], values: Sequence[int]) -> None:
        """ExtremeTracker numbers of these usual sizes, and categories with so many values each."""
        self.spreads, self.values = list(spreads), list(values)

    # ---- one reading

    def errors(self, targets: Sequence[float], expected: Sequence[float] | None) -> list[float | None]:
        """How far each watched column was from what was expected, None where either is missing.

        Args:
            targets: (W,); expected: (O,), see `Seen`, None where nothing was.
        """
        if expected is None:
            return [None] * len(targets)
        at = len(self.spreads)
        found: list[float | None] = [
            truth - other if truth == truth else None
            for truth, other in zip(targets[:at], expected, strict=False)
        ]
        if self.typical_width:
            return [
                None if error is None else error * _sureness(usual, width)
                for error, usual, width in zip(found, self.typical_width, expected[at:], strict=True)
            ]
        if not self.values:
            return found
        for many, truth in zip(self.values, targets[at:], strict=True):
            found.append(_surprise(expected[at : at + many], int(truth)))
            at += many
        return found

    def score(
        self,
        watches: list[ExtremeTracker],
        numbers: Sequence[float],
        errors: Sequence[float | None],
        learn: bool = True,
    ) -> tuple[float, int]:
        """The score of one reading and the place of the column that causes it.

        Args:
            watches: of the series, kept up.
            numbers: (N,) as read; errors: (W,) as `errors` gave them.
            learn: False for a known anomaly, which is no part of what is usual.
        """
        best, cause, count = -1.0, 0, len(numbers)
        for place, watch in enumerate(watches):
            value = numbers[place] if place < count else None
            score = watch.add(value if value == value else None, errors[place], learn)
            if score > best:
                best, cause = score, place
        return best, cause

    def new_state(self) -> list[ExtremeTracker]:
        """Watches that have seen nothing."""
        return [
            ExtremeTracker(self.window, spread) for spread in (*self.spreads, *(None for _ in self.values))
        ]

    def initial_state(self, *, go_on: bool = False) -> list[ExtremeTracker]:
        """Watches that know what was usual, at the beginning of another series or where that one ended."""
        copies = [ExtremeTracker.from_state(one.state()) for one in self.trackers]
        if not go_on:
            _restart(copies)
        return copies

    def limits(self) -> list[DynamicThreshold]:
        """The dynamic thresholds of the columns at the beginning of a series, none where not asked for."""
        return [DynamicThreshold(least) for least in self.noise_floor] if self.dynamic else []

    # ---- a series

    def run(
        self, watches: list[ExtremeTracker], one: Seen, *, training: bool = False
    ) -> tuple[np.ndarray, np.ndarray, Errors]:
        """Score a series one by one; watches are kept up.

        Args:
            training: whether known anomalies are kept out of what is usual.

        Returns:
            Scores (T,), the places of the columns that cause them (T,), and errors.
        """
        scores, causes = np.empty(len(one.known)), np.empty(len(one.known), dtype=np.int64)
        errors: Errors = []
        known = _disturbed(one.known & training).tolist()
        parts = (one.numbers.tolist(), one.targets.tolist(), one.expected.tolist())
        for at, (numbers, target, row) in enumerate(zip(*parts, strict=True)):
            error = self.errors(target, None if row[0] != row[0] else row)
            if at and known[at - 1] and not known[at]:
                _restart(watches)
            scores[at], causes[at] = self.score(watches, numbers, error, not known[at])
            errors.append(error)
        return scores, causes, errors

    def excess(self, limits: list[DynamicThreshold], one: Seen, errors: Errors) -> np.ndarray:
        """How far every error of a series lies above its limit (T, W), 0 where usual; limits are kept up."""
        columns = zip(limits, zip(*one.targets.tolist(), strict=True), zip(*errors, strict=True), strict=True)
        return np.stack([_decided(*column) for column in columns], 1)

    def score_series(self, one: Seen) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scores (T,), alarms (T,) bool and the places of the columns that cause them (T,)."""
        scores, causes, errors = self.run(self.initial_state(), one)
        if not self.dynamic:
            return scores, scores >= self.threshold, causes
        excess = self.excess(self.limits(), one, errors)
        return scores, np.any(excess > 0.0, axis=1), excess.argmax(1)

    # ---- learning

    def fit(self, series: Sequence[Seen], *, share: float, budget: float, quiet: int) -> list[Errors]:
        """Learn what is usual, and the threshold: the best for known anomalies, else what the budget allows.

        Args:
            share: of the last readings of every series, held out; budget: of these, how many may be alarms.
            quiet: readings without an alarm that end one.

        Returns:
            The errors of every series.
        """
        watches, scores, errors = self.new_state(), [], []
        for one in series:
            for watch in watches:
                watch.restart()
            found = self.run(watches, one, training=True)
            scores.append(found[0])
            errors.append(found[2])
        self.trackers = watches
        held = np.concatenate([_last(one, share) for one in scores])
        if any(one.known.any() for one in series):
            self.threshold = self._best(series, quiet)
        else:
            self.threshold = threshold_for_false_positive_rate(held, budget, MIN_THRESHOLD)
        if share < 1.0:
            over = int((held >= self.threshold).sum())
            self.held_out = {"readings": len(held), "over": over, "allowed": int(budget * len(held))}
        self._learn_least(series, errors, share, budget)
        return errors

    def fit_widths(self, widths: np.ndarray) -> None:
        """Learn how surely numbers are usually expected, from the widths (T, N) of intervals around them."""
        self.typical_width = np.nanmedian(widths, axis=0).tolist()

    def _best(self, series: Sequence[Seen], quiet: int) -> float:
        """The threshold that finds the known anomalies best, scored as such would be from now on."""
        scores, flags = (
            [self.run(self.initial_state(), one)[0] for one in series],
            [one.known for one in series],
        )

        def worth(limit: float) -> float:
            return event_scores([one >= limit for one in scores], flags, quiet)["f1"]

        return threshold_for_f1(scores, worth, MIN_THRESHOLD)

    def _learn_least(
        self, series: Sequence[Seen], errors: Sequence[Errors], share: float, budget: float
    ) -> None:
        """Learn how high the running mean of errors may be: what the budget says of held-out readings."""
        seen = np.concatenate([one.targets for one in series])
        plain = [np.array(one, dtype=np.float64) for one in errors]
        self.noise_floor = []
        for place in range(seen.shape[1]):
            levels = [_last(smoothed(one[:, place]), share) for one in plain]
            usual = float(np.quantile(np.concatenate(levels), 1.0 - budget))
            numeric = place < len(self.spreads)
            span = np.nanmax(seen[:, place]) - np.nanmin(seen[:, place]) if numeric else 0.0
            self.noise_floor.append(max(usual, MIN_ERROR_SHARE * float(span or 2.0)))

    # ---- kept

    def state(self) -> dict[str, Any]:
        """Plain values and tensors that `restore` takes."""
        found = {"threshold": self.threshold, "dynamic": self.dynamic, "least": self.noise_floor}
        found["held_out"] = dict(self.held_out)
        return {**found, "watches": [one.state() for one in self.trackers], "usual": self.typical_width}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take what `state` gave."""
        self.threshold, self.dynamic = state["threshold"], state["dynamic"]
        self.noise_floor, self.typical_width = state["least"], state["usual"]
        self.held_out = state["held_out"]
        self.trackers = [ExtremeTracker.from_state(one) for one in state["watches"]]


def _last(values: np.ndarray, share: float) -> np.ndarray:
    return values[len(values) - round(len(values) * share) :]


def _sureness(usual: float, width: float) -> float:
    """What an error counts for where the interval is so wide: 1 where as usual, the more the narrower."""
    return usual / max(width, usual / MAX_CONFIDENCE_GAIN) if usual > 0.0 else 1.0


def _surprise(logits: Sequence[float], place: int) -> float:
    """-log of the probability that the network gave to what came."""
    most = max(logits)
    return most + math.log(sum(math.exp(one - most) for one in logits)) - logits[place]


def _disturbed(flags: np.ndarray) -> np.ndarray:
    """Flagged readings (T,) and those after them in which they are still felt."""
    after = np.cumsum(np.concatenate([np.zeros(RECOVERY_STEPS + 1, dtype=np.int64), flags]))
    return after[RECOVERY_STEPS + 1 :] > after[: len(flags)]


def _restart(watches: Sequence[ExtremeTracker]) -> None:
    """What comes is no longer the course of errors that was."""
    for one in watches:
        one.restart()


def _decided(limit: DynamicThreshold, values: Sequence[float], errors: Sequence[float | None]) -> np.ndarray:
    """How far above a limit each of a column's readings (T,) lies, 0 where it is usual."""
    found = [
        limit.add(value if value == value else None, error)
        for value, error in zip(values, errors, strict=True)
    ]
    return np.concatenate([*(one for one in found if one is not None), limit.finish()])
