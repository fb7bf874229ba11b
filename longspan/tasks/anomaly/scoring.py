"""Scores readings by their prediction errors relative to the recent past, and fits the alarm threshold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from longspan.errors import notice

from .alarms import event_scores, threshold_for_f1, threshold_for_false_positive_rate
from .dynamic_threshold import MIN_ERROR_SHARE, DynamicThreshold, smoothed
from .extremes import ExtremeTracker
from .novelty import LEAST_READINGS, Limits
from .scorer import Injected, PredictedSeries, ReadingValues, Scorer, held_out_part, with_recovery

MAX_CONFIDENCE_GAIN = 10.0  # upper bound on how much a narrow predicted interval may amplify an error
MIN_THRESHOLD = 1.02  # lowest alarm threshold; a score of 1 is the extreme of the recent past
SUSPECT_SCORE = 1.5  # score from which on an unlabelled training reading is taken for an anomaly
SUSPECT_HISTORY = 500  # readings of a series before the first one that is suspected
_LISTED = 1 << 14  # readings that are lists of numbers at once
MAX_SUSPECTED = 0.01  # share of the readings that may be suspected; more of them are a way the series behaves

Errors = list[list[float | None]]  # (T, W): of every reading and monitored column, None without a prediction


@dataclass
class RecentPast:
    """The recent past of one series.

    trackers: one for every monitored column.
    thresholds: the dynamic threshold of every monitored column; empty if the threshold is fixed.
    alarm: whether the dynamic thresholds found an anomaly when they last decided.
    """

    trackers: list[ExtremeTracker]
    thresholds: list[DynamicThreshold]
    alarm: bool = False

    def to_tree(self) -> dict[str, Any]:
        """Plain values, for saving."""
        return {
            "trackers": [tracker.state() for tracker in self.trackers],
            "thresholds": [threshold.state() for threshold in self.thresholds],
            "alarm": self.alarm,
        }

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> RecentPast:
        """The past that gave this tree."""
        trackers = [ExtremeTracker.from_state(tracker) for tracker in tree["trackers"]]
        thresholds = [DynamicThreshold.from_state(threshold) for threshold in tree["thresholds"]]
        return cls(trackers, thresholds, tree["alarm"])


class AnomalyScorer(Scorer):
    """Scores readings against the recent past of their series.

    An `ExtremeTracker` for every monitored column compares value and error with their recent past. The score
    of a reading is the highest of its columns' scores. A reading is an alarm if its score reaches the
    threshold. With `dynamic` it is an alarm if a `DynamicThreshold` finds an error of its columns unusual.

    Args:
        history: number of readings that count as the recent past.
        dynamic: whether alarms come from dynamic thresholds.
        bounded: whether the distance from the training range counts as an error, too. A prediction that
            starts from the last value soon follows a level never seen before, and its errors vanish.

    Attributes:
        trackers: one for every column, in the state after the training data.
        bounds: for every column of numbers, its lowest and highest scaled value in training; empty if not
            bounded.
        limits: for every column of numbers, what else its values did not exceed in training; empty if not
            bounded, or where training readings are too few to tell.
        noise_floor: for every column, the running mean of its errors up to which they are never an anomaly.
        typical_width: for every column of numbers, the median width of its predicted intervals; empty if the
            predictor gives no intervals.
    """

    score_unit = "times the extreme of the recent past"

    def __init__(self, history: int, dynamic: bool = False, *, bounded: bool = False) -> None:
        super().__init__()
        self.bounded = bounded
        self.bounds: list[list[float]] = []
        self.limits: list[Limits | None] = []
        self.history, self.dynamic = history, dynamic
        self.trackers: list[ExtremeTracker] = []
        self.noise_floor: list[float] = []
        self.typical_width: list[float] = []

    def reset(self, scales: Sequence[float], category_sizes: Sequence[int]) -> None:
        self.scales, self.category_sizes = list(scales), list(category_sizes)
        self.trackers = self.new_state()

    # ---- one reading

    def errors(self, targets: Sequence[float], expected: Sequence[float] | None) -> list[float | None]:
        """The error of every monitored column, None where the target or the prediction is missing.

        A number's error is target minus prediction, plus the distance from the training range where that
        counts. It is divided by the relative width of its predicted interval where there is one. A category's
        error is -log of its predicted probability.

        Args:
            targets: (W,); expected: (O,), as in `PredictedSeries`, or None.
        """
        if expected is None:
            return [None] * len(targets)
        column = len(self.scales)
        errors: list[float | None] = [
            target - predicted if target == target else None
            for target, predicted in zip(targets[:column], expected, strict=False)
        ]
        if self.bounds:
            errors = [
                None if error is None else error + max(target - high, 0.0) - max(low - target, 0.0)
                for error, target, (low, high) in zip(errors, targets, self.bounds, strict=False)
            ]
        if self.typical_width:
            return [
                None if error is None else error * _confidence_gain(typical, width)
                for error, typical, width in zip(errors, self.typical_width, expected[column:], strict=True)
            ]
        if not self.category_sizes:
            return errors
        for size, target in zip(self.category_sizes, targets[column:], strict=True):
            errors.append(_cross_entropy(expected[column : column + size], int(target)))
            column += size
        return errors

    def score(
        self,
        trackers: list[ExtremeTracker],
        numbers: Sequence[float],
        errors: Sequence[float | None],
        learn: bool = True,
    ) -> tuple[float, int]:
        """The score of one reading, and the index of the column that has this score.

        Args:
            trackers: of the series; they are updated.
            numbers: (N,) as read; errors: (W,) from `errors`.
            learn: whether the reading becomes part of the recent past; False for a known anomaly.
        """
        best, cause, count = -1.0, 0, len(numbers)
        for column, tracker in enumerate(trackers):
            value = numbers[column] if column < count else None
            score = tracker.add(value if value == value else None, errors[column], learn)
            if score > best:
                best, cause = score, column
        return best, cause

    def new_state(self) -> list[ExtremeTracker]:
        """Trackers without any past."""
        scales = (*self.scales, *(None for _ in self.category_sizes))
        return [ExtremeTracker(self.history, scale) for scale in scales]

    def initial_state(self, *, continues: bool = False) -> list[ExtremeTracker]:
        """Copies of the trackers after training.

        Args:
            continues: whether the readings that follow continue the training series. Otherwise the running
                means of the errors start anew.
        """
        copies = [ExtremeTracker.from_state(tracker.state()) for tracker in self.trackers]
        if not continues:
            _restart(copies)
        return copies

    def new_thresholds(self) -> list[DynamicThreshold]:
        """A dynamic threshold for every column of a series; empty without `dynamic`."""
        if not self.dynamic:
            return []
        return [DynamicThreshold(*pair) for pair in zip_longest(self.noise_floor, self.limits)]

    def start(self, key: str | None = None) -> RecentPast:
        return RecentPast(self.initial_state(), self.new_thresholds())

    def add(self, state: RecentPast, reading: ReadingValues) -> tuple[float, bool]:
        errors = self.errors(reading.targets, reading.expected)
        score, _ = self.score(state.trackers, reading.numbers, errors)
        if not self.dynamic:
            return score, score >= self.threshold
        excess = [
            threshold.add(target if target == target else None, error)
            for threshold, target, error in zip(state.thresholds, reading.targets, errors, strict=True)
        ]
        if excess[0] is not None:
            state.alarm = any(batch is not None and batch[-1] > 0.0 for batch in excess)
        return score, state.alarm

    # ---- a series

    def run(
        self,
        trackers: list[ExtremeTracker],
        series: PredictedSeries,
        *,
        training: bool = False,
        keep_errors: bool = True,
    ) -> tuple[np.ndarray, np.ndarray, Errors]:
        """Score the readings of a series in order. The trackers are updated.

        Args:
            training: whether known anomalies are kept out of the recent past.
            keep_errors: whether the errors are returned, which take most of the memory.

        Returns:
            Scores (T,), the index of the column that has each score (T,), and errors.
        """
        length = len(series.known_anomalies)
        scores, causes = np.empty(length), np.empty(length, dtype=np.int64)
        errors: Errors = []
        disturbed = with_recovery(series.known_anomalies & training).tolist()
        for step, (numbers, targets, expected) in enumerate(_readings(series)):
            row = self.errors(targets, None if expected[0] != expected[0] else expected)
            if step and disturbed[step - 1] and not disturbed[step]:
                _restart(trackers)
            scores[step], causes[step] = self.score(trackers, numbers, row, not disturbed[step])
            if keep_errors:
                errors.append(row)
        return scores, causes, errors

    def excess(
        self, thresholds: list[DynamicThreshold], series: PredictedSeries, errors: Errors
    ) -> np.ndarray:
        """Error over dynamic threshold (T, W), 0 where the error is usual. The thresholds are updated."""
        columns = zip(
            thresholds,
            zip(*series.targets.tolist(), strict=True),
            zip(*errors, strict=True),
            strict=True,
        )
        return np.stack([_column_excess(*column) for column in columns], 1)

    def score_series(self, series: PredictedSeries) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        scores, causes, errors = self.run(self.initial_state(), series, keep_errors=self.dynamic)
        if not self.dynamic:
            return scores, scores >= self.threshold, causes
        excess = self.excess(self.new_thresholds(), series, errors)
        return scores, np.any(excess > 0.0, axis=1), excess.argmax(1)

    # ---- learning

    def fit(
        self,
        records: Sequence[PredictedSeries],
        *,
        share: float,
        false_positive_rate: float,
        min_gap: int,
        injected: Callable[[], Sequence[Injected]] | None = None,
    ) -> list[RecentPast]:
        """Fit trackers, threshold and noise floors.

        The threshold is the one with the best F1 if there are known anomalies. Otherwise it is the lowest one
        that at most a share `false_positive_rate` of the held-out readings reaches.

        Args:
            share, min_gap: see `Scorer.fit`; injected: not used, since a recent past needs no choice.
        """
        count = len(self.scales)
        if not self.category_sizes and records[0].expected.shape[1] == 2 * count:
            self.fit_widths(np.concatenate([series.expected[:, count:] for series in records]))
        if self.bounded:
            normal = np.concatenate([series.targets[~series.known_anomalies, :count] for series in records])
            self.bounds = np.stack([np.nanmin(normal, 0), np.nanmax(normal, 0)], 1).tolist()
            if len(normal) >= LEAST_READINGS:
                self.limits = [
                    Limits.fit([series.targets[~series.known_anomalies, column] for series in records])
                    for column in range(count)
                ]
        self.trackers, scores, errors = self._learn(records)
        held_out = np.concatenate([held_out_part(series_scores, share) for series_scores in scores])
        if any(series.known_anomalies.any() for series in records):
            as_new = [self.run(self.initial_state(), series)[0] for series in records]
            self.threshold = _best_threshold(as_new, [series.known_anomalies for series in records], min_gap)
        else:
            suspected = self._leave_out_suspected(records, scores)
            held_out = held_out[~np.concatenate([held_out_part(mask, share) for mask in suspected])]
            self.threshold = threshold_for_false_positive_rate(held_out, false_positive_rate, MIN_THRESHOLD)
        self.count_held_out(held_out, share, false_positive_rate)
        targets = np.concatenate([series.targets for series in records])
        self.noise_floor = _noise_floors(targets, errors, share, false_positive_rate, numeric=count)
        return [
            self._final_state(*pair, alone=len(records) == 1) for pair in zip(records, errors, strict=True)
        ]

    def _learn(
        self, records: Sequence[PredictedSeries]
    ) -> tuple[list[ExtremeTracker], list[np.ndarray], list[Errors]]:
        """Trackers that have seen all series but their known anomalies; scores and errors of every series."""
        trackers, scores, errors = self.new_state(), [], []
        for series in records:
            _restart(trackers)
            series_scores, _, series_errors = self.run(trackers, series, training=True)
            scores.append(series_scores)
            errors.append(series_errors)
        return trackers, scores, errors

    def _leave_out_suspected(
        self, records: Sequence[PredictedSeries], scores: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Learn the trackers anew without the few readings that lie far beyond all before them.

        An anomaly among unlabelled training readings would otherwise be the extreme that later readings are
        compared with, so that neither it nor its like would ever be found.

        Returns:
            For every series, the readings (T,) left out. There are none, and the trackers stay as they were,
            where the readings are too many or not beyond those after them either.
        """
        masks = _suspected(scores)
        count = sum(int(mask.sum()) for mask in masks)
        if not count:
            return masks
        marked = [series._replace(known_anomalies=mask) for series, mask in zip(records, masks, strict=True)]
        learnt, self.trackers = self.trackers, self._learn(marked)[0]
        beyond = [self.run(self.initial_state(), series)[0] >= MIN_THRESHOLD for series in records]
        if not any((far & mask).any() for far, mask in zip(beyond, masks, strict=True)):
            self.trackers = learnt
            return [np.zeros_like(mask) for mask in masks]
        notice(
            f"{count} training readings lie far beyond all others and are taken for anomalies: nothing is "
            "learnt from them; name a column of flags (label) to decide it"
        )
        return [with_recovery(mask) for mask in masks]

    def _final_state(self, series: PredictedSeries, errors: Errors, *, alone: bool) -> RecentPast:
        """The recent past at the end of a training series; alone: whether it is the only one."""
        thresholds = self.new_thresholds()
        if thresholds:
            self.excess(thresholds, series, errors)
        return RecentPast(self.initial_state(continues=alone), thresholds)

    def fit_widths(self, widths: np.ndarray) -> None:
        """Set the typical widths of predicted intervals from those of the training data, (T, N)."""
        self.typical_width = np.nanmedian(widths, axis=0).tolist()

    # ---- saving

    def state(self) -> dict[str, Any]:
        return {
            "threshold": self.threshold,
            "dynamic": self.dynamic,
            "noise_floor": self.noise_floor,
            "typical_width": self.typical_width,
            "bounds": self.bounds,
            "limits": [None if limits is None else list(limits) for limits in self.limits],
            "held_out": dict(self.held_out),
            "trackers": [tracker.state() for tracker in self.trackers],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.restore_common(state)
        self.dynamic = state["dynamic"]
        self.noise_floor, self.typical_width = state["noise_floor"], state["typical_width"]
        self.bounds = state.get("bounds", [])  # none in older files
        self.limits = [limits and Limits(*limits) for limits in state.get("limits", [])]
        self.trackers = [ExtremeTracker.from_state(tracker) for tracker in state["trackers"]]

    def state_to_tree(self, state: RecentPast) -> dict[str, Any]:
        return state.to_tree()

    def state_from_tree(self, tree: Mapping[str, Any]) -> RecentPast:
        return RecentPast.from_tree(tree)


def _readings(series: PredictedSeries) -> Iterator[tuple[list[float], list[float], list[float]]]:
    """The numbers, the targets and the prediction of every reading; few of them are lists at once."""
    for begin in range(0, len(series.numbers), _LISTED):
        rows = slice(begin, begin + _LISTED)
        parts = (series.numbers[rows], series.targets[rows], series.expected[rows])
        yield from zip(*(part.tolist() for part in parts), strict=True)


def _best_threshold(scores: list[np.ndarray], anomalies: list[np.ndarray], min_gap: int) -> float:
    """The threshold with the best F1 for the known anomalies of all series."""

    def f1(threshold: float) -> float:
        alarms = [series_scores >= threshold for series_scores in scores]
        return event_scores(alarms, anomalies, min_gap)["f1"]

    return threshold_for_f1(scores, f1, MIN_THRESHOLD)


def _noise_floors(
    targets: np.ndarray, errors: Sequence[Errors], share: float, rate: float, *, numeric: int
) -> list[float]:
    """For every column, the quantile 1 - rate of the smoothed errors of held-out readings.

    Args:
        targets: (T, W), of all series; errors: of every series.
        numeric: how many columns, the first ones, hold numbers.
    """
    arrays = [np.array(series_errors, dtype=np.float64) for series_errors in errors]
    floors: list[float] = []
    for column in range(targets.shape[1]):
        levels = [held_out_part(smoothed(series_errors[:, column]), share) for series_errors in arrays]
        floor = float(np.quantile(np.concatenate(levels), 1.0 - rate))
        span = np.nanmax(targets[:, column]) - np.nanmin(targets[:, column]) if column < numeric else 0.0
        floors.append(max(floor, MIN_ERROR_SHARE * float(span or 2.0)))
    return floors


def _suspected(scores: Sequence[np.ndarray]) -> list[np.ndarray]:
    """For every series, the readings (T,) far beyond all before them; none where they are too many."""
    masks = [(each >= SUSPECT_SCORE) & (np.arange(len(each)) >= SUSPECT_HISTORY) for each in scores]
    count = sum(int(mask.sum()) for mask in masks)
    few = count <= MAX_SUSPECTED * max(1, sum(map(len, masks)))
    return masks if few else [np.zeros_like(mask) for mask in masks]


def _confidence_gain(typical_width: float, width: float) -> float:
    """The factor of an error whose predicted interval has this width: 1 at the typical one, more below it."""
    return typical_width / max(width, typical_width / MAX_CONFIDENCE_GAIN) if typical_width > 0.0 else 1.0


def _cross_entropy(logits: Sequence[float], target: int) -> float:
    """-log of the predicted probability of the target."""
    highest = max(logits)
    return highest + math.log(sum(math.exp(logit - highest) for logit in logits)) - logits[target]


def _restart(trackers: Sequence[ExtremeTracker]) -> None:
    """Start the running means of the errors anew."""
    for tracker in trackers:
        tracker.restart()


def _column_excess(
    threshold: DynamicThreshold, targets: Sequence[float], errors: Sequence[float | None]
) -> np.ndarray:
    """Error over threshold of one column (T,), 0 where the error is usual."""
    values = [target if target == target else None for target in targets]
    return threshold.run(values, errors)
