"""Forecasts series from tables: options, training, quantile forecasts, back-tests, streams and reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from typing_extensions import Self

from longspan import errors
from longspan.data.batches import Batch
from longspan.data.transforms import TRANSFORMS
from longspan.report import charts
from longspan.report.elements import Section, Stat, Stats, Table
from longspan.tasks.codec import Tree
from longspan.tasks.estimator import Estimator
from longspan.tasks.fitting import Schedule
from longspan.tasks.options import option
from longspan.tasks.parts import Fitted, Use
from longspan.tasks.reading_options import ReadingOptions
from longspan.training.evaluation import to_device

from . import evaluation, report, windows
from .batches import Windows
from .codec import CENTERS, SCALES, ForecastCodec
from .network import OUTPUTS, ForecastNetwork
from .origins import (
    MANY_SERIES,
    check_future,
    check_length,
    evaluation_origins,
    hold_out,
    last_origins,
    rolling,
    with_full_context,
)
from .panel import Columns, Origins, Panel
from .predictions import Forecasts
from .reading import note_constant, read_panel
from .selection import select
from .streaming import RowReader, align, extended, read_row
from .window_stream import ForecastStream, SeriesBuffer

_EPOCH = 20_000  # windows at most; twice as many of many series
_HELD = 4_000  # windows at most that training is watched and intervals are calibrated on
_EXAM = 20_000  # windows at most in evaluate
_FOLLOWED = 2048  # rows that are foretold at once
_READ = 96  # steps at most that the recurrent part reads; the linear part reads all
_TAKEN = {"none": "as they are", "sqrt": "as square roots", "log": "as logarithms"}


FittedForecaster = Fitted[ForecastCodec, ForecastNetwork, ForecastStream]


@dataclass(eq=False, repr=False, kw_only=True)
class Forecaster(ReadingOptions, Estimator[Origins, ForecastCodec, ForecastNetwork, ForecastStream]):
    """Forecasts of one or many series, with intervals that are calibrated on data held out.

    Sources are files (CSV, Parquet), pandas or polars frames, arrays (T,) or (T, C), or lists of arrays. A
    frame is wide (a column a target) or long (id, time, value). Rows that are missing are treated as unknown,
    as NaN is; what is not known stays masked for the network, beside the time since it was last seen.

    The options are the fields; None is found from the data, on the held-out last part where there is a
    choice. `fit`, `save` and the other verbs are those of `Estimator`.

    >>> import numpy as np
    >>> series = np.sin(np.arange(300) / 4) + 0.01 * np.arange(300)
    >>> f = Forecaster(horizon=4, epochs=1).fit(series[:280])
    >>> f.predict().columns
    ['time', 'target', 'point', 'q0.05', 'q0.25', 'q0.75', 'q0.95']
    """

    horizon: int = option(24, "steps to foretell", minimum=1)
    target: str | tuple[str, ...] = option(
        (), "columns to foretell; none named: the only one of numbers", group="data"
    )
    time: str | tuple[str, ...] | None = option(
        None, "column of the times, or those of year, month, day, hour; none to find it", group="data"
    )
    id: str | None = option(None, "column that names the series of a long table", group="data")
    past_covariates: str | tuple[str, ...] = option((), "covariates known up to now", group="data")
    future_covariates: str | tuple[str, ...] = option((), "covariates known beforehand", group="data")
    static_covariates: str | tuple[str, ...] = option((), "covariates with one value a series", group="data")
    quantiles: tuple[float, ...] = option(
        (0.05, 0.25, 0.75, 0.95), "levels that are answered beside the median"
    )
    distribution: str = option(
        "quantiles",
        "what the network gives: each quantile, or a distribution",
        choices=OUTPUTS,
        group="network",
        advanced=True,
    )
    context_length: int | None = option(
        None, "steps that a forecast looks back on; none to choose it", group="network", minimum=2
    )
    season_length: int | None = option(
        None, "steps after which the data repeat, 1 for never; none to find it", group="data", minimum=1
    )
    offset: str | None = option(
        None,
        "what every window is counted from; none to choose it",
        choices=CENTERS,
        group="network",
        advanced=True,
    )
    scaling: str | None = option(
        None,
        "whether windows are scaled by their series or by themselves; none to choose it",
        choices=SCALES,
        group="network",
        advanced=True,
    )
    transform: str | None = option(
        None,
        "what is taken of the values before all else; none to choose it",
        choices=TRANSFORMS,
        group="network",
        advanced=True,
    )
    calendar: bool = option(
        True,
        "whether hour, weekday, month and the like are read",
        group="data",
        advanced=True,
    )
    frequency: str | None = option(
        None,
        "step onto which rows are brought, such as 10min; none for the one they are on",
        group="data",
        advanced=True,
    )
    batch_size: int = option(128, "rows a step", group="training")
    learning_rate: float | None = option(2e-3, "of Adam, at the start", group="training")
    epochs: int = option(12, "times the training part is gone through at most", group="training")
    patience: int | None = option(
        3, "epochs without improvement on the held-out part before training stops", group="training"
    )
    name: ClassVar[str] = "forecast"
    score_metric: ClassVar[str] = "-mase"
    schedule: ClassVar[Schedule] = Schedule(final=0.05)

    # ---- the parts

    def panel(self, source: Any, known: Panel | None = None, *, need_target: bool = True) -> Panel:
        """The series of a source; `known`: the fitted codec's panel, whose columns are wanted again."""
        how = self._reading(self.frequency)
        return read_panel(source, self._columns(), known=known, need_target=need_target, options=how)

    def _columns(self) -> Columns:
        named = (self.target, self.time, self.past_covariates, self.future_covariates, self.static_covariates)
        target, time, past, future, static = (_names(one) for one in named)
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
            return evaluation_origins(panel, 1, self.horizon, begins=None, seen=None, most=_EXAM)
        codec, kept = fitted.codec, fitted.running.panel
        if source is None:
            return self._ends(kept)
        panel = self.panel(source, codec.template, need_target=use == "evaluate")
        panel, begins = extended(panel, kept, over_gaps=use == "predict")
        if use == "predict":
            return self._ends(panel)
        return evaluation_origins(
            panel, codec.reach, self.horizon, begins=begins, seen=codec.last_steps, most=_EXAM
        )

    def _ends(self, panel: Panel) -> Origins:
        """One origin a series: right after the last row in which a target is known."""
        origins = Origins(panel, panel.last_seen())
        check_future(origins, self.horizon)
        return origins

    def split(self, records: Origins) -> tuple[Origins, Origins | None]:
        """The last share of every series held out; what is trained on ends before it begins."""
        return hold_out(records, self.validation_fraction, self.horizon, _HELD)

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
            codec.sizes,
            levels=codec.levels,
            distribution=self.distribution,
            read=_READ,
            hidden_size=self.hidden_size,
            cell=self.cell,
            num_layers=self.num_layers,
            dropout=self.dropout,
        )
        if train is not None and codec.skip is not None and codec.residuals is not None:
            network.init_from_linear(codec.skip, codec.residuals)
        return network

    def batches(self, codec: ForecastCodec, records: Origins, *, train: bool) -> Iterable[Batch]:
        if train:
            many = len(records.panel.ids) >= MANY_SERIES
            origins, most = with_full_context(records, codec.reach), _EPOCH * (2 if many else 1)
            return Windows(codec, origins, self.batch_size, shuffle=True, most=most)
        return Windows.in_order(codec, [chunk.every for chunk in codec.chunks(records)], self.batch_size)

    def calibrate(self, fitted: FittedForecaster, valid: Origins) -> None:
        codec, network = fitted.codec, fitted.network
        if network.initial_weights:
            network.shrink_to_init(map(to_device(network), self.batches(codec, valid, train=False)))
        codec.calibrate(self._predictions(fitted, valid), valid)
        evaluation.warn_if_baseline_wins(codec.validation_scores, "the held-out part")

    def start_stream(self, fitted: FittedForecaster, records: Origins | None) -> ForecastStream:
        codec = fitted.codec
        keep = codec.reach + 2 * codec.season + max(12 * self.horizon, 336) + 8
        panel = codec.template if records is None else records.panel.tail(keep)
        return ForecastStream(codec, fitted.network, panel, keep)

    # ---- the verbs of its own

    def backtest(self, source: Any, start: Any, stride: int = 1) -> Any:
        """Forecasts at many origins one after another, with what came; nothing is refitted.

        Args:
            source: the rows, those before `start` included.
            start: the first row or time to be foretold; a row below 0 counts from each series' end.
            stride: rows from one origin to the next.

        Returns:
            The frame of `predict` with origin (the last time seen) and actual.
        """
        return self.forecasts(source, start, stride).answers(tuple(self.quantiles), past=True)

    def forecasts(self, source: Any, start: Any, stride: int = 1) -> Forecasts:
        """The forecasts of `backtest` as arrays."""
        fitted = self._check_fitted()
        return self._answers(fitted, self.rolling(self.panel(source, fitted.codec.template), start, stride))

    def rolling(self, panel: Panel, start: Any, stride: int = 1) -> Origins:
        """The origins of a back-test; see `backtest`."""
        return rolling(panel, start, stride, self.horizon)

    def update(self, source: Any) -> Self:
        """Go on from new rows without training: `predict()` then forecasts what comes after them.

        Args:
            source: rows after the last ones, in any of the forms of `fit`; new series are taken up.
        """
        fitted = self._check_fitted()
        fitted.running.update(self.panel(source, fitted.codec.template))
        return self

    # ---- row by row

    def predict_stream(self, source: Any) -> tuple[np.ndarray, SeriesBuffer]:
        """What was expected of every row of one series from the rows before it.

        Intervals are those that the held-out part calibrated; unlike `predict`'s they do not follow how well
        the last forecasts did, so that a row costs one forecast.

        Args:
            source: the rows, in any of the forms of `fit`.

        Returns:
            Quantiles (T, C, Q) of the T rows, C targets and Q levels (codec_.levels, the median among them),
            NaN where there is no whole context before a row; and the last rows, from which `step` goes on.

        >>> import numpy as np
        >>> wave = np.sin(np.arange(200) / 4)
        >>> f = Forecaster(horizon=1, context_length=16, epochs=1).fit(wave, verbose=0)
        >>> expected, state = f.predict_stream(wave[:100])
        >>> quantiles, state = f.step(wave[100], state)
        >>> expected.shape, quantiles.shape
        ((100, 1, 5), (1, 5))
        """
        codec = self._check_fitted().codec
        panel = self.panel(source, codec.template, need_target=False)
        if len(panel.ids) > 1:
            raise errors.value_error(
                "source", "rows of one series", f"{len(panel.ids)}", "follow each by itself"
            )
        rows, keep = align(panel, source, self._reading(self.frequency)), codec.reach
        found = np.full((len(rows), len(codec.template.columns.target), len(codec.levels)), np.nan)
        whole = np.flatnonzero(rows >= keep)
        for at in range(0, len(whole), _FOLLOWED):
            part = whole[at : at + _FOLLOWED]
            found[part] = self._expected(panel, rows[part])
        return found, SeriesBuffer.from_panel(codec, panel)

    def step(self, row: Any, state: SeriesBuffer | None = None) -> tuple[np.ndarray | None, SeriesBuffer]:
        """Take one row of a series: what had been expected of it, and the state from which the next goes on.

        Args:
            row: a dict by column, or without covariates and times a number, or one a target.
            state: as `predict_stream` or `step` returned it, None at a series' beginning; changed in place.

        Returns:
            Quantiles (C, Q), None before a whole context; and the state.

        Raises:
            ValueError: it lacks a column, or its time is not on the grid or not after the last; one sentence.
        """
        fitted = self._check_fitted()
        parsed, name = read_row(fitted.codec.template, row, None if state is None else state.end)
        return fitted.running.step(parsed, name, state)

    def row_reader(self, numbers: Sequence[str], words: Sequence[str]) -> RowReader:
        """What makes rows for the stream's `step` of numbers and words in the order of these columns."""
        return RowReader(self._check_fitted().codec.template, numbers, words)

    def state_from_tree(self, tree: Tree) -> SeriesBuffer:
        """The state of a series that its `state()` gave as plain values and tensors."""
        return SeriesBuffer.from_state(self._check_fitted().codec, tree)

    @torch.no_grad()
    def _expected(self, panel: Panel, rows: np.ndarray) -> np.ndarray:
        """Quantiles (n, C, Q) of rows of a panel of one series, each from the rows before it."""
        codec = self.codec_
        batch = codec.encode(
            panel,
            windows.window_index(Origins(panel, rows)),
            codec.statistics_of(panel.ids[0]),
            with_targets=False,
        )
        values, scale = self.network_.predict(to_device(self.network_)(batch))
        quantiles = codec.first_step(values.cpu().numpy(), scale.cpu().numpy())
        return quantiles.reshape(len(rows), -1, len(codec.levels))

    # ---- what a report shows

    def report(self, fitted: FittedForecaster, source: Any) -> list[Section]:
        codec = fitted.codec
        panel = fitted.running.panel if source is None else self.panel(source, codec.template)
        origins = last_origins(panel, self.horizon)
        ahead = report.next_forecasts(self._answers(fitted, origins))
        gates = self._gates(origins)
        if source is None:
            return [*self._remembered(), Section("Forecasts", [ahead]), gates]
        records = self.read(source, use="evaluate", fitted=fitted)
        found = self._answers(fitted, records)
        scores = self._scores(fitted, found, codec.truth(records))
        return [
            Section("Summary", [self._headline(scores, panel)]),
            Section("Data", [report.series_charts(panel), self._facts(panel)]),
            Section("Back-test", [report.score_table(scores)], note=evaluation.summary(scores)),
            Section("Error by horizon", [report.error_by_step(found)]),
            Section("Coverage", [report.coverage_table(found)]),
            Section("Forecasts", [report.past_forecasts(found), ahead]),
            gates,
        ]

    def _remembered(self) -> list[Section]:
        """What is known without a source: how it did on the part that was held out in training."""
        held = self.codec_.validation_scores
        if not held:
            return []
        names = ("model", *evaluation.BASELINES)
        rows = [[name.replace("_", " "), held[name]] for name in names]
        table = Table("Held-out part", ["forecast", "MAE"], rows, best={"MAE": "low"}, emphasis=0)
        scores = {
            evaluation.metric_name(name, "mae") if name in names else name: value
            for name, value in held.items()
        }
        headline = self._headline(scores, self._check_fitted().running.panel)
        return [
            Section("Summary", [headline]),
            Section("Back-test", [table], note=evaluation.summary(scores)),
        ]

    def _headline(self, scores: Mapping[str, float], panel: Panel) -> Stats:
        mae, rival = scores["mae"], min(scores["naive_mae"], scores["seasonal_naive_mae"])
        gain = 100 * (1 - mae / rival) if rival > 0 else 0.0
        remark = f"{abs(gain):.0f} % {'below' if gain >= 0 else 'above'} the best plain forecast"
        numbers = [Stat("Mean absolute error", f"{mae:.4g}", remark, "good" if gain > 0 else "bad")]
        for name, value in scores.items():
            if name.startswith("coverage_"):
                percent = int(name.removeprefix("coverage_"))
                mood = "good" if abs(100 * value - percent) <= 5 else "bad"
                numbers.append(Stat(f"{percent} % intervals cover", f"{100 * value:.0f} %", "", mood))
        count = len(panel.ids) * panel.values.shape[1]
        numbers.append(Stat("Series", f"{count:,}", f"every {panel.frequency}, {self.horizon} steps ahead"))
        return Stats("At a glance", numbers)

    def _facts(self, panel: Panel) -> Table:
        codec, columns = self.codec_, panel.columns
        rows = [
            ["series", len(panel.ids) * panel.values.shape[1]],
            ["rows", len(panel.values)],
            ["step", str(panel.frequency)],
            ["values missing", int(np.isnan(panel.values).sum())],
            ["season found", f"{codec.season} steps" if codec.season > 1 else "none"],
            ["context", f"{codec.context} steps"],
            ["windows counted from", codec.center],
            ["windows scaled by", codec.scaling],
            ["values read", _TAKEN[codec.transform]],
            ["calendar read", ", ".join(codec.calendar_features) or "none"],
            ["covariates", ", ".join([*columns.past, *columns.future, *columns.static]) or "none"],
        ]
        return Table("What was found", ["", "value"], rows)

    def _gates(self, origins: Origins) -> Section:
        """What each gate did over the last window of the first series."""
        first, network = Origins(origins.panel, origins.rows[:1]), self.network_
        batch = next(iter(Windows(self.codec_, first, 1, shuffle=False, most=1)))
        layers = network.gates(batch)
        steps, row = next(iter(layers[0].values())).shape[1], int(first.rows[0])
        rows = np.arange(row - steps, row)
        values = first.panel.values[np.clip(rows, 0, None), 0]
        times = report.times_of(first.panel, rows, 0)
        shown = charts.gates(layers, times, values, first.panel.columns.target[0])
        note = "Each picture has a row a unit and a column a step of the last window that the network read."
        return Section("Gates", [shown], note=note)


def _names(given: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return () if given is None else (given,) if isinstance(given, str) else tuple(given)
