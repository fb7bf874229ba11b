"""Turns series of readings into a network's inputs, and what it expected into scores and alarms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from torch import Tensor
from typing_extensions import Self

from longspan.data.readers.frames import to_pandas
from longspan.tasks.codec import Codec, Metrics
from longspan.tasks.forecast.forecaster import Forecaster

from .alarms import event_scores
from .features import FeatureEncoder
from .predictors import forecaster_state, restore_forecaster, set_columns
from .reading import Series
from .scoring import AnomalyScorer, PredictedSeries


class ScoredSeries(NamedTuple):
    """A series with its scores (T,), alarms (T,) bool and the numbers of the columns that cause them (T,)."""

    series: Series
    scores: np.ndarray
    alarms: np.ndarray
    causes: np.ndarray


class AnomalyCodec(Codec[list[Series]]):
    """Readings to network inputs and targets, and what was expected of them to scores and alarms.

    Args:
        target: the columns that are watched, () for all.
        history: readings that count as the recent past.
        context: readings of a window that is trained on, None for a third of the longest series, 100 at most.
        dynamic: whether alarms come from thresholds that find themselves (`.dynamic_threshold`).
        min_gap: readings without an alarm that end one.
        forecaster: predicts the readings where it is given: not fitted, and the codec's own, since its
            columns are set here.

    Attributes:
        features: what a reading is to the network; scorer: what its errors are worth.
    """

    def __init__(
        self,
        target: Sequence[str],
        history: int,
        context: int | None,
        dynamic: bool = False,
        *,
        min_gap: int = 100,
        forecaster: Forecaster | None = None,
    ) -> None:
        self.features = FeatureEncoder(target, "" if forecaster is None else "with a forecaster")
        self.scorer = AnomalyScorer(history, dynamic)
        self.context, self.min_gap, self.forecaster = context or 0, min_gap, forecaster

    def fit(self, train: list[Series], valid: list[Series] | None = None) -> Self:
        self.features.fit(train)
        self.context = self.context or max(2, min(100, max(map(len, train)) // 3))
        self._prepare()
        self.scorer.trackers = self.scorer.new_state()
        return self

    def _prepare(self) -> None:
        """Tell scorer and forecaster the columns, once these are known."""
        self.scorer.reset(self.features.monitored_scales, self.features.sizes["categories"])
        if self.forecaster is not None:
            set_columns(self.forecaster, self.features)

    @property
    def sizes(self) -> Mapping[str, Any]:
        """What the network is built from."""
        return {**self.features.sizes, "context": self.context}

    def predicted(self, series: Series, expected: Tensor) -> PredictedSeries:
        """A series and what the predictor expected of it (T, O), as the scorer takes them."""
        numbers = self.features.aligned(series).numbers[:, self.features.numeric]
        targets = self.features.encode(series)[1]
        return PredictedSeries(numbers, targets, expected.cpu().numpy(), series.known)

    def decode(self, predictions: list[Tensor], records: list[Series]) -> list[ScoredSeries]:
        self.features.warn_unknown_columns(records[0])
        pairs = zip(records, predictions, strict=True)
        return [
            ScoredSeries(one, *self.scorer.score_series(self.predicted(one, expected)))
            for one, expected in pairs
        ]

    def present(self, answers: list[ScoredSeries]) -> Any:
        """`table` in the kind in which the source came: with pandas a pandas frame."""
        table, kind = self.table(answers), answers[0].series.answers
        if not kind.startswith("pandas"):
            return table
        return to_pandas(table, "time" if kind == "pandas by time" else None)

    def table(self, answers: list[ScoredSeries]) -> pl.DataFrame:
        """A row a reading: the entity's name where there is one, time, score, alarm and cause."""
        return pl.concat([self._frame(one) for one in answers], how="vertical_relaxed")

    def _frame(self, scored: ScoredSeries) -> pl.DataFrame:
        one, scores, alarms, causes = scored
        columns: dict[str, Any] = {} if one.name is None else {"id": [one.name] * len(one)}
        columns["time"] = list(range(len(one))) if one.times is None else one.times
        columns["score"], columns["alarm"] = scores, alarms
        names = [
            self.features.monitored[at] if alarm else None for at, alarm in zip(causes, alarms, strict=True)
        ]
        return pl.DataFrame({**columns, "cause": pl.Series(names, dtype=pl.String)})

    def truth(self, records: list[Series]) -> list[np.ndarray]:
        return [one.known for one in records]

    @property
    def feature_names(self) -> tuple[str, ...]:
        return (*self.features.names, *self.features.categories)

    def metrics(self) -> Metrics:
        """Of alarms and flagged stretches: precision, recall and f1 (an alarm hits by touching a stretch)."""
        return {name: self._metric(name) for name in ("precision", "recall", "f1")}

    def _metric(self, name: str) -> Callable[[list[ScoredSeries], list[np.ndarray]], float]:
        return lambda answers, truth: event_scores([one.alarms for one in answers], truth, self.min_gap)[name]

    # ---- kept

    def state(self) -> Any:
        inner = None if self.forecaster is None else forecaster_state(self.forecaster)
        return {
            **self.features.state(),
            **self.scorer.state(),
            "context": self.context,
            "forecaster": inner,
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        self.features.restore(state)
        self.scorer.restore(state)
        self.context = state["context"]
        self._prepare()
        if self.forecaster is not None:
            restore_forecaster(self.forecaster, state["forecaster"])
        return self
