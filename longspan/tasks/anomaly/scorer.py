"""The base class of the scorers, which turn readings and their predictions into scores and alarms."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

RECOVERY_STEPS = 30  # readings after a known anomaly that are left out of training with the anomaly


class PredictedSeries(NamedTuple):
    """A series with its predictions. Of its W monitored columns, N hold numbers and come first.

    numbers: (T, N), as read.
    targets: (T, W), the scaled numbers, then the categories as indices.
    expected: (T, O), the predictor's outputs, or (T, 2N) predicted numbers and interval widths; NaN where the
        predictor expected nothing.
    known_anomalies: (T,) bool.
    key: the name of its entity, None for a single series.
    """

    numbers: np.ndarray
    targets: np.ndarray
    expected: np.ndarray
    known_anomalies: np.ndarray
    key: str | None = None


class Injected(NamedTuple):
    """A series into which an anomaly was injected: the anomaly's kind, and (T,) bool, True where it is."""

    name: str
    series: PredictedSeries
    anomalous: np.ndarray


class ReadingValues(NamedTuple):
    """One reading with what was expected of it: numbers (N,), targets (W,), expected (O,) or None."""

    numbers: Sequence[float]
    targets: Sequence[float]
    expected: Sequence[float] | None


class Scorer(abc.ABC):
    """Scores readings and decides which of them are alarms. Abstract.

    Attributes:
        threshold: the score from which on a reading is an alarm.
        held_out: "readings", how many were held out in `fit`; "over", how many of them reach the threshold;
            "allowed", how many of them may.
        detected: for each kind of injected anomaly, the area under the ROC curve; empty without a choice.
    """

    score_unit: ClassVar[str] = "-log10 of the share of normal readings that score as much"

    def __init__(self) -> None:
        self.threshold = 1.0
        self.detected: dict[str, float] = {}
        self.dynamic = False  # whether alarms come from dynamic thresholds
        self.held_out = {"readings": 0, "over": 0, "allowed": 0}

    @abc.abstractmethod
    def reset(self, scales: Sequence[float], category_sizes: Sequence[int]) -> None:
        """Set the monitored columns: the scale of every number, and how many values every category has."""

    @abc.abstractmethod
    def fit(
        self,
        records: Sequence[PredictedSeries],
        *,
        share: float,
        false_positive_rate: float,
        min_gap: int,
        injected: Callable[[], Sequence[Injected]] | None = None,
    ) -> list[Any]:
        """Learn what is usual, and the threshold.

        Args:
            share: share of every series, at its end, that is held out; 1.0 for all readings.
            false_positive_rate: share of normal readings that may reach the threshold.
            min_gap: readings without an alarm that end one.
            injected: makes synthetic anomalies in held-out normal readings.

        Returns:
            The state after the last reading of each series.
        """

    @abc.abstractmethod
    def start(self, key: str | None = None) -> Any:
        """The state before the first reading of a series after training; key: the name of its entity."""

    @abc.abstractmethod
    def add(self, state: Any, reading: ReadingValues) -> tuple[float, bool]:
        """The score of the next reading of a series, and whether it is an alarm; the state is updated."""

    @abc.abstractmethod
    def score_series(self, series: PredictedSeries) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scores (T,), alarms (T,) bool, and the index of the column that causes each (T,)."""

    @abc.abstractmethod
    def state(self) -> dict[str, Any]:
        """Plain values and tensors that `restore` takes."""

    @abc.abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Take what `state` gave."""

    @abc.abstractmethod
    def state_to_tree(self, state: Any) -> dict[str, Any]:
        """The state of a series as plain values and tensors."""

    @abc.abstractmethod
    def state_from_tree(self, tree: Mapping[str, Any]) -> Any:
        """The state that `state_to_tree` gave."""

    # ---- what scorers have in common

    def count_held_out(self, scores: np.ndarray, share: float, false_positive_rate: float) -> None:
        """Count the held-out scores that reach the threshold."""
        if share < 1.0:
            over, allowed = int((scores >= self.threshold).sum()), int(false_positive_rate * len(scores))
            self.held_out = {"readings": len(scores), "over": over, "allowed": allowed}

    def common_state(self) -> dict[str, Any]:
        """The part of `state` that all scorers have."""
        return {"threshold": self.threshold, "held_out": dict(self.held_out)}

    def restore_common(self, state: Mapping[str, Any]) -> None:
        """Take what `common_state` gave."""
        self.threshold, self.held_out = state["threshold"], dict(state["held_out"])


def held_out_part(values: np.ndarray, share: float) -> np.ndarray:
    """The last share of values (T, ...)."""
    return values[len(values) - round(len(values) * share) :]


def with_recovery(anomalous: np.ndarray) -> np.ndarray:
    """Known anomalies (T,) bool, with the RECOVERY_STEPS readings after each."""
    counts = np.cumsum(np.concatenate([np.zeros(RECOVERY_STEPS + 1, dtype=np.int64), anomalous]))
    return counts[RECOVERY_STEPS + 1 :] > counts[: len(anomalous)]
