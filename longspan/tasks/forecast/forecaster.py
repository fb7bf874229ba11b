"""Forecasts series from tables: options, training, quantile forecasts, back-tests, streams and reports."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, cast

import numpy as np
import polars as pl
from typing_extensions import Self

from longspan import errors
from longspan.data.batches import Batch
from longspan.report.elements import Section
from longspan.tasks.codec import Tree
from longspan.tasks.estimator import Estimator
from longspan.tasks.fitting import Run, fit_network, seeded
from longspan.tasks.parts import Fitted, Use
from longspan.tasks.schedule import Schedule
from longspan.training.evaluation import to_device

from . import evaluation, report, windows
from .batches import Windows
from .codec import ForecastCodec
from .cross_validation import cross_validate
from .large_files import read_large_panel
from .network import ForecastNetwork
from .options import ForecasterOptions
from .origins import (
    MANY_SERIES,
    check_future,
    check_length,
    evaluation_origins,
    hold_out,
    known_ends,
    last_origins,
    note_unknown_targets,
    rolling,
    with_full_context,
)
from .panel import Columns, Origins, Panel
from .plot import plot
from .predictions import Forecasts
from .reading import note_constant, note_undefined, read_panel
from .selection import select
from .series_buffer import SeriesBuffer
from .streaming import RowReader, align, extended, note_short_history, read_row
from .window_stream import ForecastStream, predict_rows

_EPOCH_WINDOWS = 20_000  # windows of an epoch at most; twice as many where there are many series
_EPOCH_STEPS = 33  # steps for each epoch at least, where there are many short series
_VALIDATION_WINDOWS = 4_000  # windows of the validation part at most
_EVALUATION_WINDOWS = 20_000  # windows that `evaluate` forecasts at most
_ENCODER_STEPS = 96  # steps of the context that the recurrent part reads at most; the linear part reads all
_MORE_EPOCHS = 1 / 3  # share of the option's epochs in which training goes on on all rows of many series
_MORE_RATE = 0.5  # highest learning rate of that, as a share of the option's
_ROUNDING = 1e-6  # scaled errors that forecasts of series without changes have
_STREAM_HORIZONS, _STREAM_ROWS = 12, 336  # rows kept for recent forecasts: the larger of these many


FittedForecaster = Fitted[ForecastCodec, ForecastNetwork, ForecastStream]


@dataclass(eq=False, repr=False, kw_only=True)
class Forecaster(ForecasterOptions, Estimator[Origins, ForecastCodec, ForecastNetwork, ForecastStream]):
    """Forecasts of one or many series, with intervals that are calibrated on a validation part.

    Sources are files (CSV, Parquet), pandas or polars frames, arrays (T,) or (T, C), or lists of arrays. A
    frame is wide (a column for each target) or long (id, time, value). Missing rows are read as missing
    values, as NaN is. The network reads beside each value whether it is missing, and the steps since the last
    one that is not.

    The options are the fields. An option that is None is set from the data, by the error on the validation
    part (the last rows of every series). With ten series or more, training then goes on with all
    rows, for a third of `epochs`, and longer where these are short. `fit`, `save` and the other verbs are
    those of `Estimator`.

    >>> import numpy as np
    >>> series = np.sin(np.arange(300) / 4) + 0.01 * np.arange(300)
    >>> f = Forecaster(horizon=4, epochs=1).fit(series[:280])
    >>> f.predict().columns
    ['time', 'target', 'point', 'q0.05', 'q0.25', 'q0.75', 'q0.95']

    Options:
        cell ('LSTM'): recurrent cell of the network (one of RNN, LSTM, GRU, rnn_relu, peephole,
            cifg, slstm, indrnn).
        hidden_size (64): units of every recurrent layer.
        num_layers (1): recurrent layers stacked.
        dropout (0.0): share of values dropped in training.
        epochs (12): passes over the training part at most.
        batch_size (128): windows of a training step.
        learning_rate (0.002): highest learning rate of Adam.
        patience (3): epochs without a lower validation loss before training stops.
        validation_fraction (0.15): share of the training data held out for validation.
        seed (0): seed of the random generators: the same seed gives the same model.
        device (None): device such as cpu or cuda; none for a GPU if there is one.
        encoding ('utf-8'): encoding of text files that have no byte order mark, such as latin-1.
        missing (()): cells that mean a missing value, in addition to NA, n/a, -, null and the like.
        sheet (None): sheet of an Excel file; none for the first.
        time_format (None): form of times that are text, such as %d/%m/%Y %H:%M; none to find it.
        horizon (24): steps to forecast.
        target (()): columns to forecast; none named: the only column of numbers.
        time (None): column of the times, or columns of year, month, day, hour; none to find it.
        id (None): column that names the series of a long table.
        past_covariates (()): covariates whose future is unknown.
        future_covariates (()): covariates whose future is known.
        static_covariates (()): covariates with one value for each series.
        quantiles ((0.05, 0.25, 0.75, 0.95)): levels of the quantiles that are forecast beside the
            median.
        distribution ('quantiles'): output of the network: each quantile, or a distribution (one of
            quantiles, normal, laplace, logistic).
        context_length (None): steps before a forecast that the network reads; none to select it.
        season_length (None): steps after which the data repeat, 1 for never; none to find it.
        offset (None): value that is subtracted from every window; none to select it (one of last,
            mean, season, none).
        scaling (None): deviation by which windows are divided: of their series or their own; none
            to select it (one of series, window).
        transform (None): transform of the values before centering and scaling; none to select it
            (one of none, log, sqrt).
        calendar (True): whether hour, weekday, month and the like are inputs.
        frequency (None): step to which times are rounded, such as 10min; none for the step of the
            data.
    """

    name: ClassVar[str] = "forecast"
    score_metric: ClassVar[str] = "-mase"
    schedule: ClassVar[Schedule] = Schedule(final=0.05)

    # ---- the parts

    def panel(self, source: Any, template: Panel | None = None, *, need_target: bool = True) -> Panel:
        """The series of a source.

        Args:
            source: in any of the forms of `fit`.
            template: the fitted encoder's panel, whose columns and frequency are expected again.
            need_target: whether there must be values of the targets.
        """
        options = self._reading(self.frequency)
        panel = None if template is not None else read_large_panel(source, self._columns(), options)
        if panel is None:
            panel = read_panel(
                source, self._columns(), template=template, need_target=need_target, options=options
            )
        if template is not None:
            note_undefined(panel.values, panel.columns.target, self.codec_.encoder.config.transform)
        return panel

    def _columns(self) -> Columns:
        named = (self.target, self.time, self.past_covariates, self.future_covariates, self.static_covariates)
        target, time, past, future, static = (_as_tuple(names) for names in named)
        return Columns(target, time, self.id, past, future, static)

    def read(
        self, source: Any, y: Any = None, *, use: Use = "fit", fitted: FittedForecaster | None = None
    ) -> Origins:
        if y is not None:
            raise errors.value_error(
                "y", "none: a forecast's answers are in its source", "a value", "leave it out"
            )
        if use == "fit":
            panel = self.panel(source)
            check_length(panel, self.horizon, self.context_length)
            note_constant(panel)
            return Origins(panel, windows.every_origin(panel, 1, self.horizon))
        if fitted is None:
            panel = self.panel(source, need_target=use == "evaluate")
            return evaluation_origins(
                panel, 1, self.horizon, begins=None, seen=None, most=_EVALUATION_WINDOWS
            )
        encoder, kept = fitted.codec.encoder, fitted.running.panel
        if source is None:
            return self._next_origins(kept)
        panel = self.panel(source, encoder.template, need_target=use == "evaluate")
        panel, begins = extended(panel, kept, over_gaps=use == "predict")
        if use == "predict":
            note_short_history(panel, kept, encoder.reach)
            return self._next_origins(panel)
        origins = evaluation_origins(
            panel,
            encoder.reach,
            self.horizon,
            begins=begins,
            seen=encoder.last_steps,
            most=_EVALUATION_WINDOWS,
        )
        evaluation.warn_if_out_of_range(origins, self.horizon, encoder.statistics.of_panel(panel))
        return origins

    def _next_origins(self, panel: Panel) -> Origins:
        """One origin for each series with a known target: the row after the last such row."""
        origins = Origins(panel, known_ends(panel))
        note_unknown_targets(origins)
        check_future(origins, self.horizon)
        return origins

    def split(self, records: Origins) -> tuple[Origins, Origins | None]:
        """The last share of every series held out; the horizons of the training origins end before it."""
        return hold_out(records, self.validation_fraction, self.horizon, _VALIDATION_WINDOWS)

    def codec(self) -> ForecastCodec:
        selection = partial(
            select,
            context=self.context_length,
            center=self.offset,
            scaling=self.scaling,
            transform=self.transform,
        )
        return ForecastCodec(
            self.horizon,
            self.quantiles,
            calendar=self.calendar,
            season=self.season_length,
            select=selection,
        )

    def network(self, codec: ForecastCodec, train: Origins | None) -> ForecastNetwork:
        network = ForecastNetwork(
            codec.encoder.sizes,
            levels=codec.levels,
            distribution=self.distribution,
            read=_ENCODER_STEPS,
            hidden_size=self.hidden_size,
            cell=self.cell,
            num_layers=self.num_layers,
            dropout=self.dropout,
        )
        network.set_simple(codec.encoder.simple_forecasts())
        if train is not None and codec.initial is not None:
            network.init_from_linear(codec.initial.line, codec.initial.residual_quantiles)
        return network

    def batches(self, codec: ForecastCodec, records: Origins, *, train: bool) -> Iterable[Batch]:
        encoder = codec.encoder
        if not train:
            return Windows.in_order(
                encoder, [chunk.every for chunk in codec.chunks(records)], self.batch_size
            )
        many = len(records.panel.ids) >= MANY_SERIES
        most, least = _EPOCH_WINDOWS * (2 if many else 1), _EPOCH_STEPS * self.batch_size if many else 0
        origins = with_full_context(records, encoder.reach)
        return Windows(encoder, origins, self.batch_size, shuffle=True, most=most, least=least)

    def calibrate(self, fitted: FittedForecaster, valid: Origins, run: Run) -> None:
        codec, network = fitted.codec, fitted.network
        if network.initial_weights:
            network.shrink_to_init(map(to_device(network), self.batches(codec, valid, train=False)))
        held_out = self._predictions(fitted, valid)
        many, trained_on = len(valid.panel.ids) >= MANY_SERIES, None
        if codec.is_held_out and codec.mean_error(held_out, valid) > _ROUNDING:  # else there is only noise
            shares = codec.find_shares(held_out, valid)
            if many:
                self._train_on_all(fitted, valid.panel, run)
            if shares:
                held_out = codec.blended(held_out, valid, shares)
                codec.encoder.shares = shares
                network.set_simple(codec.encoder.simple_forecasts())
            if many:
                trained_on = self._predictions(fitted, valid)
        codec.calibrate(held_out, valid, trained_on)
        evaluation.warn_if_baseline_wins(codec.validation_scores, "the held-out part")

    def _train_on_all(self, fitted: FittedForecaster, panel: Panel, run: Run) -> None:
        """Go on training on all windows of many series, the validation part's too.

        Of each series the last rows tell most about what follows, and other series guard against overfitting.
        """
        codec, options = fitted.codec, self._training(fitted.codec)
        codec.encoder.statistics.lower_floors(panel)
        origins = Origins(panel, windows.every_origin(panel, 1, self.horizon))
        batches = cast(Windows, self.batches(codec, origins, train=True))
        steps = max(_MORE_EPOCHS * len(batches), _EPOCH_STEPS) * options.epochs
        epochs = min(options.epochs, math.ceil(steps / len(batches)))
        rate = _MORE_RATE * options.learning_rate
        options = options._replace(epochs=epochs, learning_rate=rate, patience=None, stopping=None)
        with seeded(self.seed):  # the same whether or not the training before was resumed
            fit_network(fitted.network.train(), batches, None, options, run)

    def start_stream(self, fitted: FittedForecaster, records: Origins | None) -> ForecastStream:
        codec = fitted.codec
        encoder, recent = codec.encoder, max(_STREAM_HORIZONS * self.horizon, _STREAM_ROWS)
        keep = encoder.memory + 2 * encoder.season + recent + 8
        panel = encoder.template if records is None else records.panel.tail(keep)
        return ForecastStream(codec, fitted.network, panel, keep)

    # ---- the verbs of its own

    def predict(
        self,
        source: Any = None,
        *,
        horizon: int | None = None,
        quantiles: Sequence[float] | None = None,
        **search: Any,
    ) -> Any:
        """The forecasts of what follows each series, as a frame in the source's library.

        Args:
            source: rows in any of the forms of `fit`; None for what follows the rows read so far.
            horizon: steps to forecast, at most those of the option; None for these.
            quantiles: levels between the lowest and the highest of the option; None for these. A level that
                was not trained is interpolated.
            search: none; a forecast has no search.

        Returns:
            Columns id (where there are several series), time, target, point (the median), one for each level.
        """
        fitted = self._check_fitted()
        if search:
            raise errors.value_error(
                "option", "horizon or quantiles", repr(next(iter(search))), "leave it out"
            )
        answers = self._answers(fitted, self._records_to_predict(fitted, source))
        levels = tuple(self.quantiles)
        if horizon is not None:
            steps = errors.check_int("horizon", horizon, 1, "forecast at least one step")
            if steps > self.horizon:
                expected = f"at most {self.horizon}, the horizon of fit"
                raise errors.value_error("horizon", expected, steps, "fit with a longer one")
            answers = answers.until(steps)
        if quantiles is not None:
            levels = _between(quantiles, answers.levels)
            answers = answers.at_levels(levels)
        return answers.answers(levels, past=False)

    def cross_validate(
        self,
        source: Any,
        folds: int = 3,
        stride: int | None = None,
        *,
        refit: bool = True,
        verbose: int | str = 0,
    ) -> Any:
        """Forecasts of the last windows of every series, each by a model that was trained on the rows before.

        This forecaster's options are used; it is neither fitted nor changed.

        Args:
            source: in any of the forms of `fit`.
            folds: windows; stride: rows from one to the next, None for a horizon.
            refit: whether a model is trained for each window; False for one, on the rows before the first.
            verbose: as for `fit`.

        Returns:
            The frame of `backtest`: a row for each window, series, step and target.
        """

        def fit(panel: Panel) -> Callable[[Origins], Forecasts]:
            return self.clone().fit(panel, verbose=verbose).forecasts_at

        parts = cross_validate(self.panel(source), self.horizon, fit, folds=folds, stride=stride, refit=refit)
        frames = [part.frame(tuple(self.quantiles), past=True) for part in parts]
        return parts[0].in_kind_of_source(pl.concat(frames))

    def plot(
        self, source: Any = None, *, series: str | None = None, target: str | None = None, axes: Any = None
    ) -> Any:
        """Draw a forecast with its intervals after the rows before it; needs matplotlib.

        Args:
            source: as for `predict`; series: the id of the series, None for the first.
            target: a target's column, None for the first; axes: matplotlib's, None for new ones.

        Returns:
            The axes.
        """
        fitted = self._check_fitted()
        answers = self._answers(fitted, self._records_to_predict(fitted, source))
        return plot(answers, series, target, axes)

    def backtest(self, source: Any, start: Any, stride: int = 1) -> Any:
        """Forecasts at many origins one after another, with the actual values; nothing is refitted.

        Args:
            source: the rows, those before `start` included.
            start: the first row or time to forecast; a row below 0 counts from each series' end.
            stride: rows from one origin to the next.

        Returns:
            The frame of `predict` with origin (the time of the last row before the forecast) and actual.
        """
        return self.forecasts(source, start, stride).answers(tuple(self.quantiles), past=True)

    def forecasts(self, source: Any, start: Any, stride: int = 1) -> Forecasts:
        """The forecasts of `backtest` as arrays."""
        fitted = self._check_fitted()
        encoder = fitted.codec.encoder
        panel = self.panel(source, encoder.template)
        origins = rolling(panel, start, stride, self.horizon)
        evaluation.warn_if_out_of_range(origins, self.horizon, encoder.statistics.of_panel(panel))
        return self._answers(fitted, origins)

    def forecasts_at(self, origins: Origins) -> Forecasts:
        """The forecasts of the fitted model at origins of a panel."""
        return self._answers(self._check_fitted(), origins)

    def update(self, source: Any) -> Self:
        """Append new rows without training: `predict()` then forecasts the steps after them.

        Args:
            source: rows after the last ones, in any of the forms of `fit`; new series are added.
        """
        fitted = self._check_fitted()
        fitted.running.update(self.panel(source, fitted.codec.encoder.template))
        return self

    # ---- row by row

    def predict_stream(self, source: Any) -> tuple[np.ndarray, SeriesBuffer]:
        """One-step predictions of every row of one series, each from the rows before it.

        Intervals are those that the validation part calibrated. Unlike `predict`'s they are not adapted to
        the errors of recent forecasts, so a row costs one forecast.

        Args:
            source: the rows, in any of the forms of `fit`.

        Returns:
            Quantiles (T, C, Q) of the T rows, C targets and Q levels (codec_.levels, the median among them),
            NaN where there is no whole context before a row; and the state from which `step` goes on.

        Raises:
            ValueError: the source has several series.

        >>> import numpy as np
        >>> wave = np.sin(np.arange(200) / 4)
        >>> f = Forecaster(horizon=1, context_length=16, epochs=1).fit(wave, verbose=0)
        >>> expected, state = f.predict_stream(wave[:100])
        >>> quantiles, state = f.step(wave[100], state)
        >>> expected.shape, quantiles.shape
        ((100, 1, 5), (1, 5))
        """
        codec = self._check_fitted().codec
        panel = self.panel(source, codec.encoder.template, need_target=False)
        if len(panel.ids) > 1:
            raise errors.value_error(
                "source", "rows of one series", f"{len(panel.ids)}", "predict each by itself"
            )
        rows = align(panel, source, self._reading(self.frequency))
        return predict_rows(codec, self.network_, panel, rows), SeriesBuffer.from_panel(codec.encoder, panel)

    def step(self, row: Any, state: SeriesBuffer | None = None) -> tuple[np.ndarray | None, SeriesBuffer]:
        """The one-step prediction of the next row of a series, and the state that includes the row.

        Args:
            row: a dict by column; or, without covariates and times, a number or one for each target.
            state: as `predict_stream` or `step` returned it, None at a series' beginning; changed in place.

        Returns:
            Quantiles (C, Q), None while there is no whole context before the row; and the state.

        Raises:
            ValueError: the row lacks a column, or its time is not on the grid or not after the last row's.
        """
        fitted = self._check_fitted()
        parsed, name = read_row(fitted.codec.encoder.template, row, None if state is None else state.end)
        return fitted.running.step(parsed, name, state)

    def row_reader(self, numbers: Sequence[str], words: Sequence[str]) -> RowReader:
        """A reader of rows for the stream's `step`; numbers, words: the columns in the order of a row."""
        return RowReader(self._check_fitted().codec.encoder.template, numbers, words)

    def state_from_tree(self, tree: Tree) -> SeriesBuffer:
        """The state of a series whose `state()` gave these plain values and tensors."""
        return SeriesBuffer.from_state(self._check_fitted().codec.encoder, tree)

    # ---- the report

    def report(self, fitted: FittedForecaster, source: Any) -> list[Section]:
        codec, network = fitted.codec, fitted.network
        panel = fitted.running.panel if source is None else self.panel(source, codec.encoder.template)
        origins = last_origins(panel, self.horizon)
        ahead = report.next_forecasts(self._answers(fitted, origins))
        gates = report.gates(network, codec.encoder, origins)
        if source is None:
            remembered = report.validation_sections(
                codec.validation_scores, codec.encoder, panel, self.horizon
            )
            return [*remembered, Section("Forecasts", [ahead]), gates]
        records = self.read(source, use="evaluate", fitted=fitted)
        forecasts = self._answers(fitted, records)
        scores = self._scores(fitted, forecasts, codec.truth(records))
        return [*report.evaluated_sections(codec, panel, forecasts, scores, ahead), gates]


def _between(quantiles: Sequence[float], levels: tuple[float, ...]) -> tuple[float, ...]:
    """Levels as they are shown, or an error for one that lies outside the trained ones."""
    for level in quantiles:
        if not levels[0] <= level <= levels[-1]:
            expected = f"levels from {levels[0]:g} to {levels[-1]:g}, those of fit"
            raise errors.value_error("quantiles", expected, level, "fit with wider ones")
    return tuple(quantiles)


def _as_tuple(names: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return () if names is None else (names,) if isinstance(names, str) else tuple(names)
