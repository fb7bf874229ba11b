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
    """Where one series stands.

    state: the predictor's; watches: of every watched column; limits: its dynamic thresholds, none where not
    asked for; before: the scaled numbers last seen; time: `parse_timestamp` of the last reading; alarm:
    whether there was one when the dynamic thresholds last decided.
    """

    state: Any
    trackers: list[ExtremeTracker]
    limits: list[DynamicThreshold]
    before: list[float]
    time: Any
    alarm: bool = False

    def tree(self, state: Tree) -> dict[str, Any]:
        """Plain values and tensors that `from_tree` takes; state: the predictor's, as such values."""
        watches, limits = [one.state() for one in self.trackers], [one.state() for one in self.limits]
        plain = {"before": self.before, "time": self.time, "alarm": self.alarm}
        return {"state": state, "watches": watches, "limits": limits, **plain}

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any], state: Any) -> SeriesState:
        """The state of the series that gave this tree; state: the predictor's, made again."""
        watches = [ExtremeTracker.from_state(one) for one in tree["watches"]]
        limits = [DynamicThreshold.from_state(one) for one in tree["limits"]]
        return cls(state, watches, limits, list(tree["before"]), tree["time"], tree["alarm"])


class DetectorStream(Stream):
    """The series that a detector watches, by the names of their entities.

    Args:
        codec: fitted; predictor: trained.
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
        budget: float,
        min_gap: int,
        goes_on: bool,
    ) -> None:
        """Learn from whole series what is usual and the threshold; each series goes on where it ends.

        Args:
            records, batches: the series, and each as the predictor reads it.
            share, budget: see `AnomalyScorer.fit`; min_gap: readings without an alarm that end one.
            goes_on: whether later readings belong to these series.
        """
        predicted = [self.predictor.predict_series(batch) for batch in batches]
        if self.codec.forecaster is not None:
            widths = np.concatenate([expected.numpy() for expected, _ in predicted])
            self.scorer.fit_widths(widths[:, len(self.features.numeric) :])
        series = [
            self.codec.seen(one, expected) for one, (expected, _) in zip(records, predicted, strict=True)
        ]
        errors = self.scorer.fit(series, share=share, budget=budget, quiet=min_gap)
        for one, seen, error, (_, state) in zip(records, series, errors, predicted, strict=True):
            if goes_on:
                limits = self.scorer.limits()
                if limits:
                    self.scorer.excess(limits, seen, error)
                watches = self.scorer.initial_state(go_on=len(records) == 1)
                before = self.features.encode(one)[2]
                self.series[one.key] = SeriesState(state, watches, limits, before, one.last)

    def new_state(self) -> SeriesState:
        """The state of a series of which nothing has been read yet."""
        initial, start = self.predictor.initial_state(), self.features.start()
        return SeriesState(initial, self.scorer.initial_state(), self.scorer.limits(), start, None)

    @torch.no_grad()
    def update(self, reading: Reading) -> tuple[float, bool]:
        """The score of the next reading of its series, and whether it is an alarm.

        Raises:
            ValueError: its time cannot be the next; the series stays where it is.
        """
        key = key_of(reading.name)
        series = self.series.get(key) or self.new_state()
        if reading.time is not None:
            reading = reading._replace(time=next_timestamp(series.time, reading.time))
        score, alarm = self._score(reading, series)
        self.series[key] = series
        return score, alarm

    def _score(self, reading: Reading, series: SeriesState) -> tuple[float, bool]:
        before = list(series.before)
        inputs, targets = self.features.encode_row(reading.numbers, reading.words, before)
        expected, series.state = self.predictor.step(EncodedReading(reading, inputs), series.state)
        series.before, scorer = before, self.scorer
        series.time = series.time if reading.time is None else reading.time
        errors = scorer.errors(targets, expected)
        numbers = [reading.numbers[place] for place in self.features.numeric]
        score, _ = scorer.score(series.trackers, numbers, errors)
        if not scorer.dynamic:
            return score, score >= scorer.threshold
        decided = [
            limit.add(target if target == target else None, error)
            for limit, target, error in zip(series.limits, targets, errors, strict=True)
        ]
        if decided[0] is not None:
            series.alarm = any(one is not None and one[-1] > 0.0 for one in decided)
        return score, series.alarm

    def state(self) -> Tree:
        return [
            [name, one.tree(self.predictor.state_to_tree(one.state))] for name, one in self.series.items()
        ]

    def restore(self, state: Tree) -> None:
        self.series = {
            name: SeriesState.from_tree(tree, self.predictor.state_from_tree(tree["state"]))
            for name, tree in state
        }
