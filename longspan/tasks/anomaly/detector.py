"""Knows the task of finding anomalies: in series and event streams, whole or a reading at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from longspan import errors
from longspan.data.batches import Batch
from longspan.report.elements import Curves, Line, Number, Numbers, Section, choice, table_of
from longspan.tasks.estimator import Estimator, Metrics
from longspan.tasks.forecast.forecaster import Forecaster
from longspan.tasks.options import option

from .alarms import alarm_frame, event_scores, intervals
from .codec import Detection, Stream
from .extremes import START
from .network import Foreteller, Mirror, mean_error
from .reading import Columns, Reading, Series, held_out, read_reading, read_series

METHODS = ("forecast", "autoencoder")
LOSSES = ("mae", "mse")
THRESHOLDS = ("fixed", "dynamic")
TIME, ENTITY = "(time)", "(entity)"  # columns of the tables that a forecaster is given
SHOWN = 20  # entities whose scores a report shows
ROWS = 200  # alarms that it lists


@dataclass(eq=False, repr=False, kw_only=True)
class AnomalyDetector(Estimator):
    """Finds what a series has not shown before: readings that a recurrent network did not expect.

    The network foretells each next reading (or writes windows down again, method "autoencoder"); the
    value and running means of the signed error are held against their own extremes in the recent past, so
    that a score of 1.1 is a tenth beyond all that was usual (see `.extremes.Watch`). The threshold lets
    through as many of the held-out readings as the false-alarm budget says, or, where some readings are
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
    )
    false_positive_rate: float = option(0.001, "share of ordinary readings that may raise an alarm")
    threshold: str = option(
        "fixed",
        "of the scores, fixed in fit; or found anew in the recent errors, 70 readings at a time",
        choices=THRESHOLDS,
    )
    history: int = option(4000, "readings that count as the recent past, to which scores are relative")
    min_gap: int = option(100, "readings without an alarm that end one")
    context_length: int | None = option(None, "readings of a training window", group="network")
    loss: str = option("mae", "of a number, that training makes small", choices=LOSSES, group="training")
    hidden_size: int = option(32, "units of every recurrent layer", group="network")
    epochs: int = option(50, "times the training part is gone through at most", group="training")
    batch_size: int = option(32, "windows a step", group="training")
    learning_rate: float = option(1e-2, "of Adam, at the start", group="training")
    patience: int | None = option(10, "epochs without improvement before training stops", group="training")

    name: ClassVar[str] = "anomaly"

    def check(self) -> None:
        super().check()
        errors.check_fraction("false_positive_rate", self.false_positive_rate, below_one=True)
        errors.check_int("history", self.history, START, "give the readings that count as the recent past")
        errors.check_int("min_gap", self.min_gap, 1, "1 makes every reading over the threshold an alarm")
        if self.context_length is not None:
            errors.check_int(
                "context_length", self.context_length, 2, "give the readings of a training window"
            )
        self._check_forecaster()

    def _check_forecaster(self) -> None:
        inner = self._forecaster()
        if inner is None:
            return
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

    def _forecaster(self) -> Forecaster | None:
        """One of the detector's own, not fitted, with the options of the one that was given."""
        given = self.forecaster
        if given is None:
            return None
        inner = Forecaster.from_words(f"horizon=1 {given}") if isinstance(given, str) else given.clone()
        return inner.set_params(
            seed=self.seed, device=self.device, validation_fraction=self.validation_fraction
        )

    # ---- the parts

    def read(self, source: Any, y: Any = None, *, use: str = "fit") -> list[Series]:
        """Series out of the source; y: flags (T,), True where a reading is a known anomaly."""
        columns = Columns(self.time, self.id, self.label, self.categorical, use != "predict")
        return read_series(source, columns, y)

    def split(self, records: list[Series]) -> tuple[Any, Any]:
        """The last part of every series is held out; a forecaster does that by itself."""
        parts = held_out(records, self.validation_fraction)
        return parts if self.forecaster is None else (records, None)

    def codec(self) -> Detection:
        inner, dynamic = self._forecaster(), self.threshold == "dynamic"
        if inner is None:
            return Detection(self.target, self.history, self.context_length, dynamic)
        named = (inner.target,) if isinstance(inner.target, str) else inner.target
        return Foreseen(inner, self.target or named, self.history, self.context_length, dynamic)

    def _learn(self, train_part: Any, held: Any, **how: Any) -> Any:
        if self.forecaster is None:
            return super()._learn(train_part, held, **how)
        codec = self.codec().fit(train_part if held else held_out(train_part, self.validation_fraction)[0])
        assert isinstance(codec, Foreseen)
        return codec, *codec.learn(train_part, held, **how)

    def batches(self, codec: Detection, records: list[Series], *, train: bool) -> Any:
        ahead = self.method == "forecast"
        if train:
            return codec.readings.windows(records, codec.context, self.batch_size, ahead=ahead)
        return [codec.readings.whole(one, ahead=ahead) for one in records]

    def network(self, sizes: Mapping[str, Any]) -> nn.Module:
        inner = self._forecaster()
        if inner is not None:
            return inner.network(sizes)
        kind = Foreteller if self.method == "forecast" else Mirror
        options = {"cell": self.cell, "num_layers": self.num_layers, "dropout": self.dropout}
        return kind(sizes, self.hidden_size, options)

    def batch_loss(self, output: Any, batch: Batch) -> Tensor:
        return mean_error(output, *batch.y, squared=self.loss == "mse")

    @torch.no_grad()
    def coded(self, codec: Detection, network: nn.Module, records: list[Series]) -> list[Any]:
        """What was expected of the readings of each series (T, O), NaN where nothing was."""
        return [codec.follow(network, one)[0] for one in records]

    def metrics(self) -> Metrics:
        """Of alarms and flagged stretches: precision, recall and f1 (an alarm hits by touching a stretch)."""

        def metric(name: str) -> Any:
            return lambda found, truth: event_scores(found, truth, self.min_gap)[name]

        return {name: metric(name) for name in ("precision", "recall", "f1")}

    def exam(self, source: Any, y: Any = None) -> tuple[Any, Any]:
        codec = self.codec_of()
        if self.label is None and y is None:
            way_out = "set label, or pass them as y"
            raise errors.value_error("label", "the column with the known anomalies", None, way_out)
        records = self.read(source, y, use="evaluate")
        truth = codec.truth(records)
        if not any(one.any() for one in truth):
            errors.notice("No reading is flagged, so recall and f1 say nothing.")
        over = codec.decode(self.coded(codec, self.network_, records), records)["alarm"].to_numpy()
        return np.split(over, np.cumsum([len(one) for one in records])[:-1]), truth

    # ---- what is learnt after the weights: what is usual, the threshold, where the stream stands

    @torch.no_grad()
    def settle(self, records: list[Series]) -> None:
        self._hold()
        how = {
            "share": self.validation_fraction or 1.0,
            "budget": self.false_positive_rate,
            "quiet": self.min_gap,
        }
        streams = self.codec_of().settle(self.network_, records, **how)
        goes_on = len(records) == 1 or self.id is not None
        self.stream_ = {one.name: it for one, it in zip(records, streams, strict=True) if goes_on}

    def _hold(self) -> None:
        """Give the forecaster, where there is one, what the detector has learnt or loaded."""
        codec = self.codec_of()
        if isinstance(codec, Foreseen):
            self.forecaster_ = codec.forecaster
            self.forecaster_.network_, self.forecaster_.history_ = self.network_, self.history_

    # ---- alarms

    def alarms(self, source: Any) -> pl.DataFrame:
        """The alarms of a source as intervals.

        Returns:
            A frame: id where there is one, start, end, severity (the highest score), cause (the columns that
            raised it, the one that did so most first), readings (that were over the threshold).
        """
        return alarm_frame(self.predict(source), self.min_gap)

    # ---- one reading at a time

    @torch.no_grad()
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
        codec = self.codec_of()
        columns = codec.readings.names, codec.readings.categories
        taken = read_reading(reading, time, columns, (self.time, self.id))
        stream = self.stream_.get(taken.name) or codec.stream()
        found = codec.take(self.network_, taken, stream)
        self.stream_[taken.name] = stream
        return found

    def stream(self) -> Any:
        streams, codec = getattr(self, "stream_", {}), self.codec_of()
        return [[name, one.tree(codec.state_to_tree(one.state))] for name, one in streams.items()]

    def resume_stream(self, stream: Any) -> None:
        self._hold()
        codec = self.codec_of()
        self.stream_ = {
            name: Stream.from_tree(tree, codec.state_from_tree(tree["state"])) for name, tree in stream
        }

    # ---- what a report shows

    def exhibits(self, source: Any = None) -> list[Section]:
        base, codec, shown = super().exhibits(source), self.codec_of(), []
        level = None if codec.judge.dynamic else codec.judge.threshold
        numbers = [Number("Threshold", "dynamic", "found anew in the recent errors")]
        if level is not None:
            numbers = [Number("Threshold", f"{level:.3g}", "times the extreme of the recent past")]
        if source is not None:
            frame = self.predict(source)
            alarms = alarm_frame(frame, self.min_gap)
            numbers += [Number("Readings", f"{len(frame):,}"), Number("Alarms", f"{len(alarms):,}")]
            curves = {name: _curve(part, self.min_gap, level) for name, part in _entities(frame).items()}
            shown += [Section("Scores", [choice("Scores by entity", curves)])]
            shown += [Section("Alarms", [table_of("Alarms", alarms.head(ROWS))])]
        note = f"Watched: {', '.join(codec.readings.causes)}."
        return [Section("Summary", [Numbers("Detector", numbers, note=note)]), *shown, *base]


class Foreseen(Detection):
    """The codec of a detector whose readings a `Forecaster` foretells; it watches numbers alone.

    What is expected of a reading (2W): the points of the watched numbers, scaled, and half of what their
    intervals span.

    Args:
        forecaster: not fitted; its target, times and entities are set here, and where it names no covariates,
            all columns that are not watched are covariates known up to now.
        target, window, context, dynamic: as for `Detection`.
    """

    def __init__(
        self, forecaster: Forecaster, target: Sequence[str], window: int, context: int | None, dynamic: bool
    ) -> None:
        super().__init__(target, window, context, dynamic, "with a forecaster")
        self.forecaster = forecaster

    def watch(self) -> None:
        super().watch()
        known, inner = self.readings, self.forecaster
        if not known.numeric:
            raise errors.value_error(
                "source", "a column of numbers to foretell", "none", "leave forecaster out"
            )
        self.center, self.scale = (
            np.array(part)[known.numeric, None] for part in (known.center, known.scale)
        )
        inner.target = tuple(known.causes)
        if not inner.past_covariates and not inner.future_covariates:
            inner.past_covariates = tuple(
                one for one in (*known.names, *known.categories) if one not in inner.target
            )

    @property
    def sizes(self) -> Mapping[str, Any]:
        return self.forecaster.codec_.sizes

    def learn(self, records: Sequence[Series], held: Sequence[Series] | None, **how: Any) -> Any:
        """Fit the forecaster, to which known anomalies are unknown: its network and history.

        Args:
            how: arguments of its `fit`.
        """
        if len(records) > 1 and records[0].name is None:
            way_out = "put them into one table with an id, or leave the forecaster out"
            raise errors.value_error(
                "source", "one series, or entities with names", f"{len(records)}", way_out
            )
        inner = self.forecaster
        inner.time = None if records[0].times is None else TIME
        inner.id = None if records[0].name is None else ENTITY
        known, ahead = (part and pl.concat([self._hidden(one) for one in part]) for part in (records, held))
        inner.fit(known, validation_data=ahead, **how)
        return inner.network_, inner.history_

    def _hidden(self, one: Series) -> pl.DataFrame:
        one = self.readings.aligned(one)
        numbers = one.numbers.copy()
        numbers[np.flatnonzero(one.known)[:, None], self.readings.numeric] = np.nan
        return replace(one, numbers=numbers).table(TIME, ENTITY)

    def expect(self, expected: Sequence[np.ndarray]) -> None:
        self.judge.learn_widths(np.concatenate(list(expected))[:, len(self.readings.numeric) :])

    def follow(self, network: Any, one: Series) -> tuple[np.ndarray, Any]:
        quantiles, state = self.forecaster.follow(self.readings.aligned(one).table(TIME, ENTITY))
        return self._scaled(quantiles), state

    def step(self, network: Any, reading: Reading, stream: Stream) -> Any:
        columns = self.readings.names, self.readings.categories
        row = dict(zip((*columns[0], *columns[1]), (*reading.numbers, *reading.words), strict=True))
        row |= {TIME: reading.time, ENTITY: reading.name}
        quantiles, stream.state = self.forecaster.step(row, stream.state)
        _, targets = self.readings.row(reading.numbers, reading.words, stream.before)
        return None if quantiles is None else self._scaled(quantiles).tolist(), targets

    def state_to_tree(self, state: Any) -> Any:
        return self.forecaster.state_to_tree(state)

    def state_from_tree(self, tree: Any) -> Any:
        return self.forecaster.state_from_tree(tree)

    def _scaled(self, quantiles: np.ndarray) -> np.ndarray:
        """What is expected (..., 2W) out of quantiles (..., W, Q)."""
        found = np.arcsinh((quantiles - self.center) / self.scale)
        points = found[..., self.forecaster.codec_.levels.index(0.5)]
        return np.concatenate([points, (found[..., -1] - found[..., 0]) / 2], -1)

    def state(self) -> Any:
        inner = self.forecaster
        held = {"codec": inner.codec_.state(), "stream": inner.stream(), "columns": (inner.time, inner.id)}
        return {**super().state(), "forecaster": held}

    def restore(self, state: Mapping[str, Any]) -> Foreseen:
        super().restore(state)
        inner, held = self.forecaster, state["forecaster"]
        inner.time, inner.id = held["columns"]
        inner.codec_ = inner.codec().restore(held["codec"])
        inner.resume_stream(held["stream"])
        return self


def _entities(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Judged readings by entity, those with most alarms first."""
    if "id" not in frame.columns:
        return {"": frame}
    parts = frame.partition_by("id", maintain_order=True)
    parts.sort(key=lambda part: -int(part["alarm"].sum()))
    return {str(part["id"][0]): part for part in parts[:SHOWN]}


def _curve(part: pl.DataFrame, quiet: int, level: float | None) -> Curves:
    """The scores of an entity with its alarms shaded; level: the threshold where there is one for scores."""
    x = part["time"].to_list()
    spans = [(x[first], x[last], "alarm") for first, last in intervals(part["alarm"].to_list(), quiet)]
    levels = [] if level is None else [(level, "threshold")]
    line = Line("score", x, part["score"].to_list())
    return Curves("Scores", "time", "score", [line], spans=spans, levels=levels)
