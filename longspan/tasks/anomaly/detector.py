"""Finds anomalies in series and event streams, in whole tables or one reading at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import polars as pl

from longspan import errors
from longspan.data.batches import Batch
from longspan.data.readers.frames import in_kind
from longspan.data.readers.tables import is_path
from longspan.report.elements import Section
from longspan.tasks.estimator import Estimator
from longspan.tasks.fitting import Run
from longspan.tasks.forecast.forecaster import Forecaster
from longspan.tasks.options import option
from longspan.tasks.parts import Fitted, Use
from longspan.tasks.reading_options import ReadingOptions
from longspan.training.evaluation import to_device

from . import report
from .alarms import alarm_frame
from .codec import AnomalyCodec
from .extremes import START
from .kinds import KINDS
from .network import Autoencoder, LastValuePredictor, NextStepPredictor, Predictor, RecordAutoencoder
from .predictors import ForecasterPredictor, check_forecaster, fit_forecaster, table
from .reading import Columns, Series, held_out, read_reading, read_series
from .streaming import DetectorStream

METHODS = ("forecast", "autoencoder")
LOSSES = ("mae", "mse")
THRESHOLDS = ("fixed", "dynamic")
FALSE_POSITIVE_RATES = {"series": 0.001, "sensors": 0.001, "records": 0.01, "telemetry": 0.001}


FittedDetector = Fitted[AnomalyCodec, Predictor, DetectorStream]


@dataclass(eq=False, repr=False, kw_only=True)
class AnomalyDetector(ReadingOptions, Estimator[list[Series], AnomalyCodec, Predictor, DetectorStream]):
    """Finds readings and records that are unlike what was learnt from normal ones.

    A source is a CSV or Parquet file, a frame, an array (T,) or (T, C), or a list of arrays, in the order of
    time. Text columns and those in `categorical` are categories. Each entity in the column `id` is a sequence
    of its own. The kind of data is found in the training part; a notice and the report name it and the
    reason, and `kind` sets it:

    - series: one channel, or several with a rhythm. A recurrent network predicts each next reading. Values
      and running means of the prediction errors are compared with their extremes in the recent past. A score
      of 1.1 is a tenth beyond these (see `.extremes.ExtremeTracker`).
    - sensors: several channels that keep their levels, whose faults last. Running means of values, errors,
      spreads and whitened errors are compared with the training part (see
      `.baseline_scoring.BaselineScorer`), so that alarms last as long as a fault.
    - records: rows without order, such as connections, transactions and logins. They are scored by the
      likelihood of numbers and categories together, given their entity (see
      `.record_scoring.RecordScorer`).
    - telemetry: channels beside columns of commands, 0 or 1. The network predicts changes from the last
      value. Alarms come from the dynamic threshold of Hundman et al. (arXiv 1802.04431, see
      `.dynamic_threshold`), which needs some two thousand readings. Smaller errors are enough near readings
      unlike all of the training data (see `.novelty`), larger ones are needed elsewhere.

    The scores of sensors and records are tail probabilities: 3 means that one normal reading in 10^3 scores
    as much. A fixed threshold lets the share `false_positive_rate` of held-out readings through. Where some
    readings are flagged as known anomalies, the threshold is the one with the best F1 for these.

    A `forecaster` of horizon 1, or its options as text ("context_length=48 past_covariates=mode"), predicts
    the readings of a series in place of the network. It is fitted with the detector, kept as forecaster_ and
    saved with the detector. The forecaster uses the calendar, seasons and covariates (by default the columns
    that are not watched). Errors count more where its intervals are narrow. Times must lie on a regular step,
    and only numbers are watched. No reading is scored before a whole context. A forecaster reads a whole
    window for each forecast, so that `update` takes a few thousand readings a second; without one, more than
    ten thousand.

        >>> import numpy
        >>> wave = numpy.sin(numpy.arange(400) / 5)
        >>> detector = AnomalyDetector(epochs=3, hidden_size=8).fit(wave, verbose=0)
        >>> detector.update(wave[0])[1], detector.update(9.0)[1]
        (False, True)

    On hourly readings with a daily rhythm:

        >>> from longspan import Forecaster
        >>> load = numpy.where(numpy.arange(600) % 24 < 8, 1.0, 5.0) + 0.1 * numpy.sin(numpy.arange(600))
        >>> watched = AnomalyDetector(forecaster=Forecaster(horizon=1, epochs=3)).fit(load, verbose=0)
        >>> load[506] = 5.0  # as by day, but at two at night
        >>> watched.alarms(load)["start"].to_list()
        [506]

    Options:
        cell ('LSTM'): recurrent cell of the network (one of RNN, LSTM, GRU, rnn_relu, peephole,
            cifg, slstm, indrnn).
        hidden_size (32): units of every recurrent layer.
        num_layers (1): recurrent layers stacked.
        dropout (0.0): share of values dropped in training.
        epochs (50): times the training part is gone through at most.
        batch_size (32): windows a step.
        learning_rate (0.01): of Adam, at the start.
        patience (10): epochs without improvement before training stops.
        validation_fraction (0.15): share of the training data held out for validation.
        seed (0): seed of the random generators: the same seed gives the same model.
        device (None): device such as cpu or cuda; none for a GPU if there is one.
        encoding ('utf-8'): encoding of text files that have no byte order mark, such as latin-1.
        missing (()): cells that mean a missing value, in addition to NA, n/a, -, null and the like.
        sheet (None): sheet of an Excel file; none for the first.
        time_format (None): form of times that are text, such as %d/%m/%Y %H:%M; none to find it.
        time (None): column with the times; none for one called time, timestamp or date.
        id (None): column that names each reading's entity; none for a single series.
        label (None): column that is 1 where a reading is a known anomaly.
        target (()): columns that are watched; none for all.
        categorical (()): columns of numbers that are categories.
        kind (None): kind of data: series, sensors whose faults last, records without order,
            telemetry with commands; none to find it (one of series, sensors, records, telemetry).
        method ('forecast'): what the network does with the readings (one of forecast, autoencoder).
        forecaster (None): options of one that predicts the readings, such as 'context_length=48
            past_covariates=mode'; none for a network that predicts categories too.
        false_positive_rate (None): share of normal readings that may raise an alarm; none for
            0.001, and for 0.01 of records.
        threshold (None): of the scores, fixed in fit; or dynamic, found anew in the recent errors,
            70 readings at a time; none for dynamic with telemetry (one of fixed, dynamic).
        history (4000): readings that count as the recent past, to which scores are relative.
        min_gap (None): readings without an alarm that end one; none for a number by the kind of
            data.
        context_length (None): readings of a training window.
        loss (None): of a number, that training minimises; none for mae with series and mse with
            others (one of mae, mse).
    """

    time: str | None = option(
        None, "column with the times; none for one called time, timestamp or date", group="data"
    )
    id: str | None = option(
        None, "column that names each reading's entity; none for a single series", group="data"
    )
    label: str | None = option(
        None, "column that is 1 where a reading is a known anomaly", group="data", per_source=True
    )
    target: tuple[str, ...] = option((), "columns that are watched; none for all", group="data")
    categorical: tuple[str, ...] = option((), "columns of numbers that are categories", group="data")
    kind: str | None = option(
        None,
        "kind of data: series, sensors whose faults last, records without order, telemetry with commands; "
        "none to find it",
        choices=KINDS,
    )
    method: str = option("forecast", "what the network does with the readings", choices=METHODS)
    forecaster: Forecaster | str | None = option(  # noqa: RUF009 it makes a field
        None,
        "options of one that predicts the readings, such as 'context_length=48 past_covariates=mode'; "
        "none for a network that predicts categories too",
        advanced=True,
    )
    false_positive_rate: float | None = option(
        None,
        "share of normal readings that may raise an alarm; none for 0.001, and for 0.01 of records",
        fraction=True,
    )
    threshold: str | None = option(
        None,
        "of the scores, fixed in fit; or dynamic, found anew in the recent errors, 70 readings at a time; "
        "none for dynamic with telemetry",
        choices=THRESHOLDS,
        advanced=True,
    )
    history: int = option(
        4000,
        "readings that count as the recent past, to which scores are relative",
        minimum=START,
        advanced=True,
    )
    min_gap: int | None = option(
        None,
        "readings without an alarm that end one; none for a number by the kind of data",
        minimum=1,
        advanced=True,
    )
    context_length: int | None = option(None, "readings of a training window", group="network", minimum=2)
    loss: str | None = option(
        None,
        "of a number, that training minimises; none for mae with series and mse with others",
        choices=LOSSES,
        group="training",
        advanced=True,
    )
    hidden_size: int = option(32, "units of every recurrent layer", group="network")
    epochs: int | None = option(50, "times the training part is gone through at most", group="training")
    batch_size: int = option(32, "windows a step", group="training")
    learning_rate: float | None = option(1e-2, "of Adam, at the start", group="training")
    patience: int | None = option(10, "epochs without improvement before training stops", group="training")

    name: ClassVar[str] = "anomaly"
    score_metric: ClassVar[str] = "f1"

    def _forecaster(self) -> Forecaster | None:
        """A forecaster of the detector's own, not fitted, with the options of the one that was given.

        Raises:
            ValueError, TypeError: it cannot be one of this detector; one sentence.
        """
        if self.forecaster is None:
            return None
        if isinstance(self.forecaster, str):
            inner = Forecaster.from_string(f"horizon=1 {self.forecaster}")
        else:
            inner = self.forecaster.clone()
        inner.set_params(
            seed=self.seed,
            device=self.device,
            validation_fraction=self.validation_fraction,
            time_format=self.time_format,
        )
        if self.method != "forecast":
            raise errors.value_error("forecaster", "none to reconstruct", "one", "leave it or the method out")
        if self.kind not in (None, "series"):
            way_out = "leave it or the kind out"
            raise errors.value_error("forecaster", f"none with kind {self.kind}", "one", way_out)
        check_forecaster(inner, time=self.time, id=self.id)
        return inner

    def _kind(self) -> str | None:
        """The kind of data, None to find it: what asks for a recent past is a series."""
        if self.method == "autoencoder" and self.kind not in (None, "series"):
            way_out = "leave method or kind out"
            raise errors.value_error("method", f"forecast with kind {self.kind}", "autoencoder", way_out)
        series = self.forecaster is not None or self.method == "autoencoder"
        return "series" if series and self.kind is None else self.kind

    # ---- the parts

    def read(
        self, source: Any, y: Any = None, *, use: Use = "fit", fitted: FittedDetector | None = None
    ) -> list[Series]:
        """Series out of the source; y: flags (T,), True where a reading is a known anomaly."""
        evaluates = use == "evaluate" and fitted is not None
        if evaluates and self.label is None and y is None:
            way_out = "name it by label=" + ("" if is_path(source) else ", or pass the flags as y")
            raise errors.value_error("label", "the column with the known anomalies", None, way_out)
        time = () if self.time is None else tuple(part.strip() for part in self.time.split(","))
        features = None if fitted is None else fitted.codec.features
        categories = self.categorical if features is None else features.categories
        columns = Columns(time, self.id, self.label, categories, use != "predict", self.target)
        form = None if features is None else features.form
        records = read_series(source, columns, y, form=form, options=self._reading())
        if evaluates and not any(series.known.any() for series in records):
            errors.notice("No reading is flagged, so recall and f1 say nothing.")
        return records

    def split(self, records: list[Series]) -> tuple[list[Series], list[Series] | None]:
        """The last part of every series is held out; a forecaster does that by itself."""
        parts = held_out(records, self.validation_fraction)
        return parts if self.forecaster is None else (records, None)

    def codec(self) -> AnomalyCodec:
        inner, target = self._forecaster(), self.target
        if inner is not None and not target:
            target = (inner.target,) if isinstance(inner.target, str) else inner.target
        return AnomalyCodec(
            target,
            self.history,
            self.context_length,
            None if self.threshold is None else self.threshold == "dynamic",
            min_gap=self.min_gap,
            forecaster=inner,
            kind=self._kind(),
            ahead=self.method == "forecast",
        )

    def network(self, codec: AnomalyCodec, train: list[Series] | None) -> Predictor:
        if codec.forecaster is not None:
            return ForecasterPredictor(codec.forecaster, codec.features)
        kind, sizes, hidden_size = codec.kind.name, codec.sizes, self.hidden_size
        squared = (self.loss or ("mae" if kind == "series" else "mse")) == "mse"
        if kind == "records":
            return RecordAutoencoder(sizes, hidden_size, squared=squared)
        options = {"cell": self.cell, "num_layers": self.num_layers, "dropout": self.dropout}
        if kind != "series":
            values = codec.features.value_positions
            return LastValuePredictor(sizes, hidden_size, options, values, squared=squared)
        network = NextStepPredictor if self.method == "forecast" else Autoencoder
        return network(sizes, hidden_size, options, squared=squared)

    def batches(self, codec: AnomalyCodec, records: list[Series], *, train: bool) -> Iterable[Batch]:
        """Windows to train on, else a batch a series: with a forecaster, the table that it reads."""
        if codec.forecaster is not None:
            return [Batch(table(series, codec.features)) for series in records]
        if train:
            return codec.features.windows(records, codec.context, self.batch_size, ahead=codec.ahead)
        return [codec.series_batch(series) for series in records]

    def learn(
        self, codec: AnomalyCodec, train: list[Series], valid: list[Series] | None, run: Run
    ) -> FittedDetector:
        """Fit the forecaster where there is one, else the detector's own network."""
        if codec.forecaster is None:
            return super().learn(codec, train, valid, run)
        codec.fit(train if valid else held_out(train, self.validation_fraction)[0])
        fit_forecaster(codec.forecaster, codec.features, train, valid, run)
        return Fitted(codec, self.network(codec, train), codec.forecaster.history_)

    def calibrate(self, fitted: FittedDetector, valid: list[Series], run: Run) -> None:
        """Let the network's changes count as far as they beat the last value on held-out readings."""
        if isinstance(fitted.network, LastValuePredictor):
            move = to_device(fitted.network)
            batches = self.batches(fitted.codec, valid, train=False)
            fitted.network.fit_trust([move(batch) for batch in batches])

    def start_stream(self, fitted: FittedDetector, records: list[Series] | None) -> DetectorStream:
        """Fit the scorer to all readings; where each series ends its stream goes on."""
        stream = DetectorStream(fitted.codec, fitted.network)
        if records is not None:
            rate = self.false_positive_rate
            stream.fit(
                records,
                list(self.batches(fitted.codec, records, train=False)),
                share=self.validation_fraction or 1.0,
                false_positive_rate=FALSE_POSITIVE_RATES[fitted.codec.kind.name] if rate is None else rate,
                min_gap=fitted.codec.min_gap,
                continues=len(records) == 1 or records[0].name is not None,
            )
        return stream

    @property
    def forecaster_(self) -> Forecaster | None:
        """The fitted forecaster that predicts the readings; None where the detector's own network does."""
        return self.fitted_.codec.forecaster

    # ---- alarms

    def _scored(self, source: Any) -> pl.DataFrame:
        """The answers of `predict` as a polars frame."""
        fitted = self._check_fitted()
        records = self.read(source, use="predict", fitted=fitted)
        return fitted.codec.table(self._answers(fitted, records))

    def alarms(self, source: Any) -> Any:
        """The alarms of a source as intervals.

        Returns:
            A frame: id where there is one, start, end, severity (the highest score), cause (the columns that
            raised the alarm, that with the highest score first), readings (how many were over the threshold).
        """
        return in_kind(alarm_frame(self._scored(source), self._check_fitted().codec.min_gap), source)

    # ---- one reading at a time

    def update(self, reading: Any, *, time: Any = None) -> tuple[float, bool]:
        """Score one reading; the first one follows the training data.

        Args:
            reading: a number, a sequence of the columns' values in fit's order (numbers, then categories), or
                a dict of values by name, with the entity and, where there is one, the time. NaN or None is
                a missing value.
            time: of the reading; times may not fall.

        Returns:
            The score, and whether the reading is an alarm. With the dynamic threshold: whether there was an
            alarm when a batch of readings was last decided. What is learnt is saved with the model.

        Raises:
            ValueError, TypeError: the reading lacks a column, or is not in the order of time; one sentence.
        """
        fitted = self._check_fitted()
        columns = fitted.codec.features.names, fitted.codec.features.categories
        form = fitted.codec.features.form
        return fitted.running.update(read_reading(reading, time, columns, (self.time, self.id), form))

    # ---- what a report shows

    def report(self, fitted: FittedDetector, source: Any) -> list[Section]:
        if source is None:
            return report.sections(fitted.codec, None, {})
        records = self.read(source, use="predict", fitted=fitted)
        answers = self._answers(fitted, records)
        labelled = any(series.known.any() for series in records)
        scores = self._scores(fitted, answers, fitted.codec.truth(records)) if labelled else {}
        return report.sections(fitted.codec, answers, scores)
