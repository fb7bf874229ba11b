"""Turns series of readings into a network's inputs, and what it expected into scores and alarms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from torch import Tensor
from typing_extensions import Self

from longspan import errors
from longspan.data.batches import Batch
from longspan.data.readers.frames import to_pandas
from longspan.tasks.codec import Codec, Metrics
from longspan.tasks.forecast.forecaster import Forecaster

from .alarms import event_scores, record_scores
from .baseline_scoring import BaselineScorer
from .features import FeatureEncoder
from .kinds import DataKind, command_columns, find_kind
from .predictors import forecaster_state, restore_forecaster, set_columns
from .reading import Series
from .record_scoring import RecordScorer
from .scorer import PredictedSeries, Scorer
from .scoring import AnomalyScorer

CONTEXTS = {"series": 100, "sensors": 30, "records": 1, "telemetry": 150}
"""Readings of a training window by kind of data, at most a third of the longest series."""
MIN_GAPS = {"series": 100, "sensors": 30, "records": 1, "telemetry": 100}


class ScoredSeries(NamedTuple):
    """A series with its scores (T,), alarms (T,) bool and the numbers of the columns that cause them (T,)."""

    series: Series
    scores: np.ndarray
    alarms: np.ndarray
    causes: np.ndarray


class AnomalyCodec(Codec[list[Series]]):
    """Readings to network inputs and targets, and what was expected of them to scores and alarms.

    Args:
        target: the columns that are monitored, () for all.
        history: readings that count as the recent past.
        context: readings of a window that is trained on, None for one by the kind of data.
        dynamic: whether alarms come from dynamic thresholds (`.dynamic_threshold`); None by the kind of data.
        min_gap: readings without an alarm that end one, None for a number by the kind of data.
        forecaster: predicts the readings where it is given: not fitted, and the codec's own, since its
            columns are set here.
        kind: of data, one of `kinds.KINDS`; None to find it in `fit`.
        ahead: whether targets are those of the next reading; False for an autoencoder.

    Attributes:
        kind: of the data, and why; features: what a reading is to the network; scorer: what its errors are
            worth.
    """

    def __init__(
        self,
        target: Sequence[str],
        history: int,
        context: int | None,
        dynamic: bool | None = False,
        *,
        min_gap: int | None = 100,
        forecaster: Forecaster | None = None,
        kind: str | None = "series",
        ahead: bool = True,
    ) -> None:
        self.features = FeatureEncoder(target, "" if forecaster is None else "with a forecaster")
        self.history, self.dynamic, self.forced_kind, self._min_gap = history, dynamic, kind, min_gap
        self.context, self.forecaster, self._ahead = context or 0, forecaster, ahead
        self.kind = DataKind(kind or "series", "it was chosen")
        self.scorer: Scorer = self._new_scorer()

    def fit(self, train: list[Series], valid: list[Series] | None = None) -> Self:
        self.features.fit(train)
        if self.forced_kind is None:
            records = [self.features.aligned(series) for series in train]
            self.kind = find_kind(records, self.features.numeric, self.features.textual)
            if self.kind.name != "series":
                errors.notice(f"Data taken as {self.kind.name}: {self.kind.reason}. Set kind to choose.")
        self._set_features(train)
        longest = max(map(len, train)) // 3
        self.context = self.context or min(CONTEXTS[self.kind.name], max(2, longest))
        self.scorer = self._new_scorer()
        self._prepare()
        return self

    def _set_features(self, train: list[Series]) -> None:
        """Raise small scales of sensors and telemetry; leave commands of telemetry unmonitored."""
        if self.kind.name in ("sensors", "telemetry"):
            self.features.raise_scales(train)
        if self.kind.name == "telemetry" and not self.features.target:
            commands = command_columns([self.features.aligned(series) for series in train])
            names = [name for at, name in enumerate(self.features.names) if at not in commands]
            self.features.monitor(names or self.features.names)
        if self.kind.name == "sensors" and (self.features.textual or not self.features.numeric):
            received = ", ".join(self.features.categories) or "none"
            way_out = "name columns of numbers in target, or choose another kind"
            raise errors.value_error("kind sensors", "columns of numbers", received, way_out)

    def _new_scorer(self) -> Scorer:
        if self.kind.name == "sensors":
            return BaselineScorer()
        if self.kind.name == "records":
            return RecordScorer()
        telemetry = self.kind.name == "telemetry"
        dynamic = telemetry if self.dynamic is None else self.dynamic
        return AnomalyScorer(self.history, dynamic, bounded=telemetry)

    def _prepare(self) -> None:
        """Tell scorer and forecaster the columns, once these are known."""
        self.scorer.reset(self.features.monitored_scales, self.features.sizes["categories"])
        if self.forecaster is not None:
            set_columns(self.forecaster, self.features)

    @property
    def ahead(self) -> bool:
        """Whether the network's targets are those of the next reading."""
        return self._ahead and self.kind.name != "records"

    @property
    def min_gap(self) -> int:
        """Readings without an alarm that end one."""
        return MIN_GAPS[self.kind.name] if self._min_gap is None else self._min_gap

    @property
    def sizes(self) -> Mapping[str, Any]:
        """What the network is built from."""
        return {**self.features.sizes, "context": self.context}

    def series_batch(self, series: Series) -> Batch:
        """A whole series as the detector's own network reads it."""
        return self.features.encode_series(series, ahead=self.ahead)

    def predicted(self, series: Series, expected: Tensor) -> PredictedSeries:
        """A series and what the predictor expected of it (T, O), as the scorer takes them."""
        numbers = self.features.aligned(series).numbers[:, self.features.numeric]
        targets = self.features.encode(series)[1]
        return PredictedSeries(numbers, targets, expected.cpu().numpy(), series.known, series.key)

    def decode(self, predictions: list[Tensor], records: list[Series]) -> list[ScoredSeries]:
        self.features.warn_unknown_columns(records[0])
        return [
            ScoredSeries(series, *self.scorer.score_series(self.predicted(series, expected)))
            for series, expected in zip(records, predictions, strict=True)
        ]

    def count_rows(self, records: list[Series]) -> int:
        return sum(map(len, records))

    def trial_records(self, stream: Any) -> list[Series] | None:
        """Two readings of zeros; none with a forecaster, whose readings have times of their own."""
        names, categories = tuple(self.features.names), tuple(self.features.categories)
        if self.forecaster is not None:
            return None
        words = np.full((2, len(categories)), "", dtype=object)
        return [Series(None, None, names, np.zeros((2, len(names))), categories, words, None)]

    def present(self, answers: list[ScoredSeries]) -> Any:
        """`table` in the kind in which the source came: with pandas a pandas frame."""
        table, kind = self.table(answers), answers[0].series.answers
        if not kind.startswith("pandas"):
            return table
        return to_pandas(table, "time" if kind == "pandas by time" else None)

    def table(self, answers: list[ScoredSeries]) -> pl.DataFrame:
        """A row a reading: the entity's name where there is one, time, score, alarm and cause."""
        return pl.concat([self._frame(answer) for answer in answers], how="vertical_relaxed")

    def _frame(self, answer: ScoredSeries) -> pl.DataFrame:
        series, scores, alarms, causes = answer
        columns: dict[str, Any] = {} if series.name is None else {"id": [series.name] * len(series)}
        columns["time"] = list(range(len(series))) if series.times is None else series.times
        columns["score"], columns["alarm"] = scores, alarms
        names = [
            self.features.monitored[column] if alarm else None
            for column, alarm in zip(causes, alarms, strict=True)
        ]
        return pl.DataFrame({**columns, "cause": pl.Series(names, dtype=pl.String)})

    def truth(self, records: list[Series]) -> list[np.ndarray]:
        return [series.known for series in records]

    @property
    def feature_names(self) -> tuple[str, ...]:
        return (*self.features.names, *self.features.categories)

    def metrics(self) -> Metrics:
        """Precision, recall and f1: of alarms that touch flagged stretches; of records each by itself."""
        return {name: self._metric(name) for name in ("precision", "recall", "f1")}

    def _metric(self, name: str) -> Callable[[list[ScoredSeries], list[np.ndarray]], float]:
        def metric(answers: list[ScoredSeries], truth: list[np.ndarray]) -> float:
            alarms = [answer.alarms for answer in answers]
            if self.kind.name == "records":
                return record_scores(alarms, truth)[name]
            return event_scores(alarms, truth, self.min_gap)[name]

        return metric

    # ---- kept

    def state(self) -> Any:
        inner = None if self.forecaster is None else forecaster_state(self.forecaster)
        return {
            **self.features.state(),
            "scorer": self.scorer.state(),
            "context": self.context,
            "forecaster": inner,
            "kind": list(self.kind),
            "target": list(self.features.target),
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        self.kind = DataKind(*state.get("kind", ("series", "it is the only kind there was")))
        self.features.target = tuple(state.get("target", self.features.target))
        self.features.restore(state)
        self.context = state["context"]
        self.scorer = self._new_scorer()
        self._prepare()
        self.scorer.restore(state.get("scorer", state))  # older files have no part of its own for it
        if self.forecaster is not None:
            restore_forecaster(self.forecaster, state["forecaster"])
        return self
