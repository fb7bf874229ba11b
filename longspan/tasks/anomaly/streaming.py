"""Scores streams of readings one by one, and learns from whole series what is usual in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from longspan.data.batches import Batch
from longspan.data.timestamps import next_timestamp
from longspan.tasks.codec import Tree
from longspan.tasks.parts import Stream

from .codec import AnomalyCodec
from .dynamic_threshold import DynamicThreshold
from .extremes import ExtremeTracker
from .network import EncodedReading, Predictor
from .reading import Reading, Series, key_of


@dataclass
class SeriesState:
    """The state of one series after its last reading.

    predictor: the predictor's state.
    trackers: one for every monitored column.
    thresholds: the dynamic threshold of every monitored column; empty if the threshold is fixed.
    last: the last scaled numbers (N,), see `FeatureEncoder.encode_row`.
    time: of the last reading, as `parse_timestamp` gives it.
    alarm: whether the dynamic thresholds found an anomaly when they last decided.
    """

    predictor: Any
    trackers: list[ExtremeTracker]
    thresholds: list[DynamicThreshold]
    last: list[float]
    time: Any
    alarm: bool = False

    def tree(self, predictor: Tree) -> dict[str, Any]:
        """Plain values and tensors that `from_tree` takes; predictor: its state as such values."""
        return {
            "predictor": predictor,
            "trackers": [tracker.state() for tracker in self.trackers],
            "thresholds": [threshold.state() for threshold in self.thresholds],
            "last": self.last,
            "time": self.time,
            "alarm": self.alarm,
        }

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any], predictor: Any) -> SeriesState:
        """The state that gave this tree; predictor: the predictor's state, restored."""
        trackers = [ExtremeTracker.from_state(tracker) for tracker in tree["trackers"]]
        thresholds = [DynamicThreshold.from_state(threshold) for threshold in tree["thresholds"]]
        return cls(predictor, trackers, thresholds, list(tree["last"]), tree["time"], tree["alarm"])


class DetectorStream(Stream):
    """Scores the readings of any number of series one by one.

    Args:
        codec: fitted; predictor: trained.

    Attributes:
        series: the state of every series, by the name of its entity.
    """

    def __init__(self, codec: AnomalyCodec, predictor: Predictor) -> None:
        self.features, self.scorer, self.predictor = codec.features, codec.scorer, predictor
        self.codec = codec
        self.series: dict[Any, SeriesState] = {}

    @torch.no_grad()
    def fit(
        self,
        records: Sequence[Series],
        batches: Sequence[Batch],
        *,
        share: float,
        false_positive_rate: float,
        min_gap: int,
        continues: bool,
    ) -> None:
        """Fit the scorer to whole series, and keep the state in which each ends.

        Args:
            records, batches: the series, and each as the predictor reads it.
            share, false_positive_rate, min_gap: see `AnomalyScorer.fit`.
            continues: whether later readings continue these series.
        """
        predictions = [self.predictor.predict_series(batch) for batch in batches]
        if self.codec.forecaster is not None:
            outputs = np.concatenate([expected.numpy() for expected, _ in predictions])
            self.scorer.fit_widths(outputs[:, len(self.features.numeric) :])
        predicted = [
            self.codec.predicted(series, expected)
            for series, (expected, _) in zip(records, predictions, strict=True)
        ]
        errors = self.scorer.fit(
            predicted, share=share, false_positive_rate=false_positive_rate, min_gap=min_gap
        )
        if not continues:
            return
        for series, prediction, error, (_, state) in zip(
            records, predicted, errors, predictions, strict=True
        ):
            thresholds = self.scorer.new_thresholds()
            if thresholds:
                self.scorer.excess(thresholds, prediction, error)
            trackers = self.scorer.initial_state(continues=len(records) == 1)
            last = self.features.encode(series)[2]
            self.series[series.key] = SeriesState(state, trackers, thresholds, last, series.last)

    def new_state(self) -> SeriesState:
        """The state of a series before its first reading."""
        predictor, trackers = self.predictor.initial_state(), self.scorer.initial_state()
        return SeriesState(predictor, trackers, self.scorer.new_thresholds(), self.features.start(), None)

    @torch.no_grad()
    def update(self, reading: Reading) -> tuple[float, bool]:
        """The score of the next reading of its series, and whether it is an alarm.

        Raises:
            ValueError: its time is before the last reading's. The series then keeps its state.
        """
        key = key_of(reading.name)
        series = self.series.get(key) or self.new_state()
        if reading.time is not None:
            reading = reading._replace(time=next_timestamp(series.time, reading.time))
        score, alarm = self._score(reading, series)
        self.series[key] = series
        return score, alarm

    def _score(self, reading: Reading, series: SeriesState) -> tuple[float, bool]:
        last = list(series.last)
        inputs, targets = self.features.encode_row(reading.numbers, reading.words, last)
        expected, series.predictor = self.predictor.step(EncodedReading(reading, inputs), series.predictor)
        series.last, scorer = last, self.scorer
        series.time = series.time if reading.time is None else reading.time
        errors = scorer.errors(targets, expected)
        numbers = [reading.numbers[column] for column in self.features.numeric]
        score, _ = scorer.score(series.trackers, numbers, errors)
        if not scorer.dynamic:
            return score, score >= scorer.threshold
        excess = [
            threshold.add(target if target == target else None, error)
            for threshold, target, error in zip(series.thresholds, targets, errors, strict=True)
        ]
        if excess[0] is not None:
            series.alarm = any(batch is not None and batch[-1] > 0.0 for batch in excess)
        return score, series.alarm

    def state(self) -> Tree:
        return [
            [name, series.tree(self.predictor.state_to_tree(series.predictor))]
            for name, series in self.series.items()
        ]

    def restore(self, state: Tree) -> None:
        self.series = {
            name: SeriesState.from_tree(tree, self.predictor.state_from_tree(tree["predictor"]))
            for name, tree in state
        }
