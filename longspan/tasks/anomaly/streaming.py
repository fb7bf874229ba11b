"""Scores streams of readings one by one, and learns from whole series what is usual in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from longspan.data.batches import Batch
from longspan.data.timestamps import next_timestamp
from longspan.tasks.codec import Tree
from longspan.tasks.parts import Stream

from .codec import AnomalyCodec
from .injection import changed_records, changed_series
from .network import EncodedReading, Predictor
from .reading import Reading, Series, key_of
from .scorer import Injected, ReadingValues


@dataclass
class SeriesState:
    """The state of one series after its last reading.

    predictor, scorer: their states.
    last: the last scaled numbers (N,), see `FeatureEncoder.encode_row`.
    time: of the last reading, as `parse_timestamp` gives it.
    """

    predictor: Any
    scorer: Any
    last: list[float]
    time: Any


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
        predicted = [
            self.codec.predicted(series, expected)
            for series, (expected, _) in zip(records, predictions, strict=True)
        ]
        states = self.scorer.fit(
            predicted,
            share=share,
            false_positive_rate=false_positive_rate,
            min_gap=min_gap,
            injected=lambda: self._injected(records),
        )
        if not continues:
            return
        for series, state, (_, predictor) in zip(records, states, predictions, strict=True):
            last = self.features.encode(series)[2]
            self.series[series.key] = SeriesState(predictor, state, last, series.last)

    def _injected(self, records: Sequence[Series]) -> list[Injected]:
        """Synthetic anomalies in normal readings of the records, with what the predictor expects of them."""
        features = self.features
        normal = [features.aligned(series).without_anomalies() for series in records]
        if self.codec.kind.name == "records":
            changed = changed_records(normal, features.numeric, features.textual)
        else:
            changed = changed_series(normal, features.numeric)
        injected = []
        for name, series, anomalous in changed:
            expected = self.predictor.predict(self.codec.series_batch(series))
            injected.append(Injected(name, self.codec.predicted(series, expected), anomalous))
        return injected

    def new_state(self, key: str | None = None) -> SeriesState:
        """The state of a series before its first reading; key: the name of its entity."""
        return SeriesState(
            self.predictor.initial_state(), self.scorer.start(key), self.features.start(), None
        )

    @torch.no_grad()
    def update(self, reading: Reading) -> tuple[float, bool]:
        """The score of the next reading of its series, and whether it is an alarm.

        Raises:
            ValueError: its time is before the last reading's. The series then keeps its state.
        """
        key = key_of(reading.name)
        series = self.series.get(key) or self.new_state(key)
        if reading.time is not None:
            reading = reading._replace(time=next_timestamp(series.time, reading.time))
        score, alarm = self._score(reading, series)
        self.series[key] = series
        return score, alarm

    def _score(self, reading: Reading, series: SeriesState) -> tuple[float, bool]:
        last = list(series.last)
        inputs, targets = self.features.encode_row(reading.numbers, reading.words, last)
        expected, series.predictor = self.predictor.step(EncodedReading(reading, inputs), series.predictor)
        series.last = last
        series.time = series.time if reading.time is None else reading.time
        numbers = [reading.numbers[column] for column in self.features.numeric]
        return self.scorer.add(series.scorer, ReadingValues(numbers, targets, expected))

    def state(self) -> Tree:
        return [[name, self._tree(series)] for name, series in self.series.items()]

    def restore(self, state: Tree) -> None:
        self.series = {name: self._series(tree) for name, tree in state}

    def _tree(self, series: SeriesState) -> dict[str, Any]:
        predictor = self.predictor.state_to_tree(series.predictor)
        scorer = self.scorer.state_to_tree(series.scorer)
        return {"predictor": predictor, **scorer, "last": series.last, "time": series.time}

    def _series(self, tree: Mapping[str, Any]) -> SeriesState:
        predictor = self.predictor.state_from_tree(tree["predictor"])
        return SeriesState(predictor, self.scorer.state_from_tree(tree), list(tree["last"]), tree["time"])
