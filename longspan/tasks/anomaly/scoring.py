"""Scores readings by their prediction errors relative to the recent past, and fits the alarm threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .alarms import event_scores, threshold_for_f1, threshold_for_false_positive_rate
from .dynamic_threshold import MIN_ERROR_SHARE, DynamicThreshold, smoothed
from .extremes import ExtremeTracker

MAX_CONFIDENCE_GAIN = 10.0  # upper bound on how much a narrow predicted interval may amplify an error
RECOVERY_STEPS = (
    30  # readings after a known anomaly that are left out of training, as if they were part of it
)
MIN_THRESHOLD = 1.02  # lowest alarm threshold; a score of 1 is the extreme of the recent past

Errors = list[list[float | None]]  # (T, W): of every reading and monitored column, None where there is none


class PredictedSeries(NamedTuple):
    """A series with its predictions. Of its W monitored columns, N hold numbers and come first.

    numbers: (T, N), as read.
    targets: (T, W), the scaled numbers, then the categories as indices.
    expected: (T, O), the predictor's outputs, or (T, 2N) predicted numbers and interval widths; NaN where the
        predictor expected nothing.
    known_anomalies: (T,) bool.
    """

    numbers: np.ndarray
    targets: np.ndarray
    expected: np.ndarray
    known_anomalies: np.ndarray


class AnomalyScorer:
    """Scores readings and decides which of them are alarms.

    An `ExtremeTracker` for every monitored column compares value and error with their recent past. The score
    of a reading is the highest of its columns' scores. A reading is an alarm if its score reaches the
    threshold. With `dynamic` it is one if a `DynamicThreshold` finds an error of its columns unusual.

    Args:
        history: number of readings that count as the recent past.
        dynamic: whether alarms come from dynamic thresholds.

    Attributes:
        trackers: one for every column, in the state after the training data.
        threshold: the score from which on a reading is an alarm.
        noise_floor: for every column, the running mean of its errors up to which they are never an anomaly.
        typical_width: for every column of numbers, the median width of its predicted intervals; empty if the
            predictor gives no intervals.
        held_out: "readings", how many were held out in `fit`; "over", how many of them reach the threshold;
            "allowed", how many of them may.
    """

    def __init__(self, history: int, dynamic: bool = False) -> None:
        self.history, self.dynamic = history, dynamic
        self.trackers: list[ExtremeTracker] = []
        self.threshold = 1.0
        self.noise_floor: list[float] = []
        self.typical_width: list[float] = []
        self.held_out = {"readings": 0, "over": 0, "allowed": 0}

    def reset(self, scales: Sequence[float], category_sizes: Sequence[int]) -> None:
        """Set the monitored columns: the scale of every number, and how many values every category has."""
        self.scales, self.category_sizes = list(scales), list(category_sizes)

    # ---- one reading

    def errors(self, targets: Sequence[float], expected: Sequence[float] | None) -> list[float | None]:
        """The error of every monitored column, None where the target or the prediction is missing.

        A number's error is target minus prediction, divided by the relative width of its predicted interval
        where there is one. A category's error is -log of its predicted probability.

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
        return [DynamicThreshold(floor) for floor in self.noise_floor] if self.dynamic else []

    # ---- a series

    def run(
        self, trackers: list[ExtremeTracker], series: PredictedSeries, *, training: bool = False
    ) -> tuple[np.ndarray, np.ndarray, Errors]:
        """Score the readings of a series in order. The trackers are updated.

        Args:
            training: whether known anomalies are kept out of the recent past.

        Returns:
            Scores (T,), the index of the column that has each score (T,), and errors.
        """
        length = len(series.known_anomalies)
        scores, causes = np.empty(length), np.empty(length, dtype=np.int64)
        errors: Errors = []
        disturbed = _with_recovery(series.known_anomalies & training).tolist()
        parts = (series.numbers.tolist(), series.targets.tolist(), series.expected.tolist())
        for step, (numbers, targets, expected) in enumerate(zip(*parts, strict=True)):
            row = self.errors(targets, None if expected[0] != expected[0] else expected)
            if step and disturbed[step - 1] and not disturbed[step]:
                _restart(trackers)
            scores[step], causes[step] = self.score(trackers, numbers, row, not disturbed[step])
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
        """Scores (T,), alarms (T,) bool, and the index of the column that causes each (T,)."""
        scores, causes, errors = self.run(self.initial_state(), series)
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
    ) -> list[Errors]:
        """Fit trackers, threshold and noise floors.

        The threshold is the one with the best F1 if there are known anomalies. Otherwise it is the lowest one
        that at most a share `false_positive_rate` of the held-out readings reaches.

        Args:
            share: share of every series, at its end, that is held out; 1.0 for all readings.
            min_gap: readings without an alarm that end one.

        Returns:
            The errors of every series.
        """
        trackers, scores, errors = self.new_state(), [], []
        for series in records:
            for tracker in trackers:
                tracker.restart()
            series_scores, _, series_errors = self.run(trackers, series, training=True)
            scores.append(series_scores)
            errors.append(series_errors)
        self.trackers = trackers
        held_out = np.concatenate([_last(series_scores, share) for series_scores in scores])
        if any(series.known_anomalies.any() for series in records):
            self.threshold = self._best_threshold(records, min_gap)
        else:
            self.threshold = threshold_for_false_positive_rate(held_out, false_positive_rate, MIN_THRESHOLD)
        if share < 1.0:
            over, allowed = int((held_out >= self.threshold).sum()), int(false_positive_rate * len(held_out))
            self.held_out = {"readings": len(held_out), "over": over, "allowed": allowed}
        self._fit_noise_floor(records, errors, share, false_positive_rate)
        return errors

    def fit_widths(self, widths: np.ndarray) -> None:
        """Set the typical widths of predicted intervals from those of the training data, (T, N)."""
        self.typical_width = np.nanmedian(widths, axis=0).tolist()

    def _best_threshold(self, records: Sequence[PredictedSeries], min_gap: int) -> float:
        """The threshold with the best F1 for the known anomalies, with each series scored as new data."""
        scores = [self.run(self.initial_state(), series)[0] for series in records]
        anomalies = [series.known_anomalies for series in records]

        def f1(threshold: float) -> float:
            alarms = [series_scores >= threshold for series_scores in scores]
            return event_scores(alarms, anomalies, min_gap)["f1"]

        return threshold_for_f1(scores, f1, MIN_THRESHOLD)

    def _fit_noise_floor(
        self, records: Sequence[PredictedSeries], errors: Sequence[Errors], share: float, rate: float
    ) -> None:
        """Set the noise floors: the quantile 1 - rate of the smoothed errors of held-out readings."""
        targets = np.concatenate([series.targets for series in records])
        arrays = [np.array(series_errors, dtype=np.float64) for series_errors in errors]
        self.noise_floor = []
        for column in range(targets.shape[1]):
            levels = [_last(smoothed(series_errors[:, column]), share) for series_errors in arrays]
            floor = float(np.quantile(np.concatenate(levels), 1.0 - rate))
            numeric = column < len(self.scales)
            span = np.nanmax(targets[:, column]) - np.nanmin(targets[:, column]) if numeric else 0.0
            self.noise_floor.append(max(floor, MIN_ERROR_SHARE * float(span or 2.0)))

    # ---- kept

    def state(self) -> dict[str, Any]:
        """Plain values and tensors that `restore` takes."""
        return {
            "threshold": self.threshold,
            "dynamic": self.dynamic,
            "noise_floor": self.noise_floor,
            "typical_width": self.typical_width,
            "held_out": dict(self.held_out),
            "trackers": [tracker.state() for tracker in self.trackers],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take what `state` gave."""
        self.threshold, self.dynamic = state["threshold"], state["dynamic"]
        self.noise_floor, self.typical_width = state["noise_floor"], state["typical_width"]
        self.held_out = state["held_out"]
        self.trackers = [ExtremeTracker.from_state(tracker) for tracker in state["trackers"]]


def _last(values: np.ndarray, share: float) -> np.ndarray:
    return values[len(values) - round(len(values) * share) :]


def _confidence_gain(typical_width: float, width: float) -> float:
    """The factor of an error whose predicted interval has this width: 1 at the typical one, more below it."""
    return typical_width / max(width, typical_width / MAX_CONFIDENCE_GAIN) if typical_width > 0.0 else 1.0


def _cross_entropy(logits: Sequence[float], target: int) -> float:
    """-log of the predicted probability of the target."""
    highest = max(logits)
    return highest + math.log(sum(math.exp(logit - highest) for logit in logits)) - logits[target]


def _with_recovery(anomalous: np.ndarray) -> np.ndarray:
    """Known anomalies (T,) bool, with the RECOVERY_STEPS readings after each."""
    counts = np.cumsum(np.concatenate([np.zeros(RECOVERY_STEPS + 1, dtype=np.int64), anomalous]))
    return counts[RECOVERY_STEPS + 1 :] > counts[: len(anomalous)]


def _restart(trackers: Sequence[ExtremeTracker]) -> None:
    """Start the running means of the errors anew."""
    for tracker in trackers:
        tracker.restart()


def _column_excess(
    threshold: DynamicThreshold, targets: Sequence[float], errors: Sequence[float | None]
) -> np.ndarray:
    """Error over threshold of one column (T,), 0 where the error is usual."""
    batches = [
        threshold.add(target if target == target else None, error)
        for target, error in zip(targets, errors, strict=True)
    ]
    return np.concatenate([*(batch for batch in batches if batch is not None), threshold.finish()])
