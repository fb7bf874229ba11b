"""Finds anomalies in series and event streams, in whole tables or one reading at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import polars as pl

from longspan import errors
from longspan.data.batches import Batch
from longspan.data.readers.frames import in_kind
from longspan.report.elements import Section
from longspan.tasks.estimator import Estimator
from longspan.tasks.fitting import Run
from longspan.tasks.forecast.forecaster import Forecaster
from longspan.tasks.options import option
from longspan.tasks.parts import Fitted, Use
from longspan.tasks.reading_options import ReadingOptions

from . import report
from .alarms import alarm_frame
from .codec import AnomalyCodec
from .extremes import START
from .network import Autoencoder, NextStepPredictor, Predictor
from .predictors import ForecasterPredictor, fit_forecaster, table
from .reading import Columns, Series, held_out, read_reading, read_series
from .streaming import DetectorStream

METHODS = ("forecast", "autoencoder")
LOSSES = ("mae", "mse")
THRESHOLDS = ("fixed", "dynamic")


FittedDetector = Fitted[AnomalyCodec, Predictor, DetectorStream]


@dataclass(eq=False, repr=False, kw_only=True)
class AnomalyDetector(ReadingOptions, Estimator[list[Series], AnomalyCodec, Predictor, DetectorStream]):
    """Finds what a series has not shown before: readings that a recurrent network did not expect.

    The network foretells each next reading (or writes windows down again, method "autoencoder"); the
    value and running means of the signed error are held against their own extremes in the recent past, so
    that a score of 1.1 is a tenth beyond all that was usual (see `.extremes.ExtremeTracker`). The threshold
    lets through as many of the held-out readings as the false-alarm budget says, or, where some readings are
    flagged, is the one that finds the flagged stretches best. For long telemetry there is the dynamic
    threshold of Hundman et al. (2018) instead, which never goes below what the budget says (see
    `longspan.tasks.anomaly.dynamic_threshold`); it needs some two thousand readings.

    A `forecaster` of horizon 1, or its options as text ("context_length=48 past_covariates=mode"),
    foretells the readings in the place of that network: it is fitted with the detector, kept in it as
    forecaster_ and saved with it. It knows the calendar, seasons and covariates (the columns not watched,
    where it names none) and how sure it is: where its intervals are narrow, errors count more. It wants
    times on a regular step, watches numbers alone, judges no reading before a whole context, and takes
    some two thousand readings a second. A source is a CSV or Parquet file, a frame, an array (T,) or (T,
    C), or a list of arrays, in the order of time. Text columns and those in `categorical` are categories;
    each entity in the column `id` is a sequence of its own: logins, transactions, connections.

        >>> import numpy
        >>> wave = numpy.sin(numpy.arange(400) / 5)
        >>> detector = AnomalyDetector(epochs=3, hidden_size=8).fit(wave, verbose=0)
        >>> detector.update(wave[0])[1], detector.update(9.0)[1]
        (False, True)

    On hourly readings with a daily round:

        >>> from longspan import Forecaster
        >>> load = numpy.where(numpy.arange(600) % 24 < 8, 1.0, 5.0) + 0.1 * numpy.sin(numpy.arange(600))
        >>> watched = AnomalyDetector(forecaster=Forecaster(horizon=1, epochs=3)).fit(load, verbose=0)
        >>> load[506] = 5.0  # as by day, but at two at night
        >>> watched.alarms(load)["start"].to_list()
        [506]
    """

    time: str | None = option(
        None, "column with the times; none for one called time, timestamp or date", group="data"
    )
    id: str | None = option(
        None, "column that names each reading's entity; none for a single series", group="data"
    )
    label: str | None = option(None, "column that is 1 where a reading is a known anomaly", group="data")
    target: tuple[str, ...] = option((), "columns that are watched; none for all", group="data")
    categorical: tuple[str, ...] = option((), "columns of numbers that are categories", group="data")
    method: str = option("forecast", "what the network does with the readings", choices=METHODS)
    forecaster: Forecaster | str | None = option(  # noqa: RUF009 it makes a field
        None,
        "options of one that foretells the readings, such as 'context_length=48 past_covariates=mode'; "
        "none for a network that foretells categories too",
        advanced=True,
    )
    false_positive_rate: float = option(
        0.001, "share of ordinary readings that may raise an alarm", fraction=True
    )
    threshold: str = option(
        "fixed",
        "of the scores, fixed in fit; or found anew in the recent errors, 70 readings at a time",
        choices=THRESHOLDS,
        advanced=True,
    )
    history: int = option(
        4000,
        "readings that count as the recent past, to which scores are relative",
        minimum=START,
        advanced=True,
    )
    min_gap: int = option(
        100,
        "readings without an alarm that end one",
        minimum=1,
        advanced=True,
    )
    context_length: int | None = option(None, "readings of a training window", group="network", minimum=2)
    loss: str = option(
        "mae",
        "of a number, that training makes small",
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
        given = self.forecaster
        if given is None:
            return None
        inner = Forecaster.from_string(f"horizon=1 {given}") if isinstance(given, str) else given.clone()
        inner.set_params(
            seed=self.seed,
            device=self.device,
            validation_fraction=self.validation_fraction,
            time_format=self.time_format,
        )
        if self.method != "forecast":
            raise errors.value_error("forecaster", "none to reconstruct", "one", "leave it or the method out")
        inner.check()
        if inner.horizon != 1:
            raise errors.value_error(
                "forecaster", "one with horizon=1", f"horizon={inner.horizon}", "set it to 1"
            )
        if inner.static_covariates:
            raise errors.value_error(
                "forecaster", "no static covariates", inner.static_covariates, "leave them out"
            )
        for name in ("time", "id"):
            if getattr(inner, name) not in (None, (), getattr(self, name)):
                way_out = f"give the detector {name}={getattr(inner, name)!r}"
                raise errors.value_error("forecaster", f"the detector's {name}", f"its own {name}", way_out)
        return inner

    # ---- the parts

    def read(
        self, source: Any, y: Any = None, *, use: Use = "fit", fitted: FittedDetector | None = None
    ) -> list[Series]:
        """Series out of the source; y: flags (T,), True where a reading is a known anomaly."""
        scored = use == "evaluate" and fitted is not None
        if scored and self.label is None and y is None:
            way_out = "set label, or pass them as y"
            raise errors.value_error("label", "the column with the known anomalies", None, way_out)
        time = () if self.time is None else tuple(part.strip() for part in self.time.split(","))
        features = None if fitted is None else fitted.codec.features
        categories = self.categorical if features is None else features.categories
        columns = Columns(time, self.id, self.label, categories, use != "predict", self.target)
        form = None if features is None else features.form
        records = read_series(source, columns, y, form=form, options=self._reading())
        if scored and not any(one.known.any() for one in records):
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
            self.threshold == "dynamic",
            min_gap=self.min_gap,
            forecaster=inner,
        )

    def network(self, codec: AnomalyCodec, train: list[Series] | None) -> Predictor:
        if codec.forecaster is not None:
            return ForecasterPredictor(codec.forecaster, codec.features)
        kind = NextStepPredictor if self.method == "forecast" else Autoencoder
        options = {"cell": self.cell, "num_layers": self.num_layers, "dropout": self.dropout}
        return kind(codec.sizes, self.hidden_size, options, squared=self.loss == "mse")

    def batches(self, codec: AnomalyCodec, records: list[Series], *, train: bool) -> Iterable[Batch]:
        """Windows to train on, else a batch a series: with a forecaster, the table that it reads."""
        if codec.forecaster is not None:
            return [Batch(table(one, codec.features)) for one in records]
        ahead = self.method == "forecast"
        if train:
            return codec.features.windows(records, codec.context, self.batch_size, ahead=ahead)
        return [codec.features.encode_series(one, ahead=ahead) for one in records]

    def learn(
        self, codec: AnomalyCodec, train: list[Series], valid: list[Series] | None, run: Run
    ) -> FittedDetector:
        """Fit the forecaster where there is one, else the detector's own network."""
        if codec.forecaster is None:
            return super().learn(codec, train, valid, run)
        codec.fit(train if valid else held_out(train, self.validation_fraction)[0])
        fit_forecaster(codec.forecaster, codec.features, train, valid, run)
        return Fitted(codec, self.network(codec, train), codec.forecaster.history_)

    def start_stream(self, fitted: FittedDetector, records: list[Series] | None) -> DetectorStream:
        """Fit the scorer to all readings; where each series ends its stream goes on."""
        stream = DetectorStream(fitted.codec, fitted.network)
        if records is not None:
            stream.fit(
                records,
                list(self.batches(fitted.codec, records, train=False)),
                share=self.validation_fraction or 1.0,
                false_positive_rate=self.false_positive_rate,
                min_gap=self.min_gap,
                continues=len(records) == 1 or records[0].name is not None,
            )
        return stream

    @property
    def forecaster_(self) -> Forecaster | None:
        """The fitted forecaster that predicts the readings; None where the detector's own network does."""
        return self.fitted_.codec.forecaster

    # ---- alarms

    def _judged(self, source: Any) -> pl.DataFrame:
        """The answers of `predict` as a polars frame."""
        fitted = self._check_fitted()
        records = self.read(source, use="predict", fitted=fitted)
        return fitted.codec.table(self._answers(fitted, records))

    def alarms(self, source: Any) -> Any:
        """The alarms of a source as intervals.

        Returns:
            A frame: id where there is one, start, end, severity (the highest score), cause (the columns that
            raised it, the one that did so most first), readings (that were over the threshold).
        """
        return in_kind(alarm_frame(self._judged(source), self.min_gap), source)

    # ---- one reading at a time

    def update(self, reading: Any, *, time: Any = None) -> tuple[float, bool]:
        """Take one reading and judge it at once; the first goes on where the training data ended.

        Args:
            reading: a number, a sequence of the columns' values in fit's order (numbers, then categories), or
                a dict of them by name, which may hold the time and has to hold the entity. NaN or None is
                missing.
            time: when it was; it may not be before the last one.

        Returns:
            score, and whether it is an alarm: with the dynamic threshold, whether there was one when a batch
            of readings was last decided about. What was learnt from the reading is saved with the model.

        Raises:
            ValueError, TypeError: the reading lacks a column, or is not in the order of time; one sentence.
        """
        fitted = self._check_fitted()
        columns = fitted.codec.features.names, fitted.codec.features.categories
        form = fitted.codec.features.form
        return fitted.running.update(read_reading(reading, time, columns, (self.time, self.id), form))

    # ---- what a report shows

    def report(self, fitted: FittedDetector, source: Any) -> list[Section]:
        return report.sections(fitted.codec, None if source is None else self._judged(source), self.min_gap)
