"""Decodes a network's outputs to calibrated forecasts in the user's units, and holds all that fit learns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from typing_extensions import Self

from longspan import errors
from longspan.data import transforms
from longspan.tasks.codec import Codec, Metrics
from longspan.tasks.joining import slices

from . import baselines, windows
from .blending import find_shares, sum_of_simple
from .conformal import ConformalQuantiles, NaiveErrors, adapt, mean_absolute, recent_origins, share_inside
from .dependence import Dependence
from .evaluation import forecast_metrics, interval_pairs, mae
from .linear_forecast import mean_or_inf
from .origins import end_times, independent_windows, last_origins
from .panel import Origins, Panel, stacked
from .predictions import Forecasts
from .series_statistics import training_ends
from .window_encoder import WindowEncoder
from .window_spread import WindowSpread

_FEW_ORIGINS = 256  # origins of a chunk where there are at most two of each series
_CHUNK_WINDOWS = 16_384  # windows of a chunk otherwise, without those of earlier origins
_MANY_WINDOWS = 30  # independent validation windows from which on the network learns its intervals' widths
_LEAST_ERROR = 1e-12  # smallest mean error by which another one is divided
_MIN_HALF = 8  # windows in each half of the validation part, below which no coverage is estimated on it


class InitialForecast(NamedTuple):
    """The linear forecast from which the network starts, on the network's scale.

    line: (T + 1, H), weights and last the bias; residual_quantiles: (H, Q), quantiles of its errors.
    widening: how much wider intervals have to be than the errors on the validation windows say.
    """

    line: np.ndarray
    residual_quantiles: np.ndarray
    widening: float = 1.0


Selection = Callable[[WindowEncoder, tuple[float, ...], Origins, "Origins | None"], InitialForecast]


class Chunk(NamedTuple):
    """Origins that are forecast together: the requested ones, and earlier ones to adapt their intervals to.

    every: all of them.
    own: (n,), positions of the requested ones in `every`.
    recent: (n, K), positions of the earlier ones of each requested one, -1 for none.
    age: (n, K), rows from each earlier one to the requested one.
    """

    every: Origins
    own: np.ndarray
    recent: np.ndarray
    age: np.ndarray


class ForecastCodec(Codec[Origins]):
    """Encodes windows by its `encoder`, and decodes the network's quantiles to calibrated forecasts.

    Args:
        horizon: H, steps of a forecast.
        quantiles: levels of the quantiles, in the order in which `predict` gives them.
        calendar: whether calendar features are inputs.
        season: season length in steps; None to find it in the data.
        select: configures the encoder from training and validation windows; None leaves its defaults.

    Attributes:
        levels: (Q,) rising: the quantiles and the median.
        encoder: encodes windows, and holds the settings and statistics for it.
        initial: the linear forecast from which the network starts; None without `select` and after loading.
        naive_season: the season of the naive forecast with the smaller error on the training windows.
        dependence: how much errors tell the same as others; None without `select` and after loading.
        memory: (H,), that of `dependence`, also after loading; None as long as it is not known.
        is_held_out: whether the validation part is the end of the training part's series.
        optimism: (H,), how many times larger errors are on rows that the network has not been trained on;
            None where it has not been trained on the validation part.
        conformal: the calibration of the quantiles; None without a validation part.
        spread: how the changes in a window widen its intervals, before `conformal`.
        validation_scores: mean absolute errors by name of the forecast, and coverages, on that part.
        validation_start: for each series the step at which its validation part starts.

    Raises:
        ValueError: a level is not between 0 and 1.
    """

    def __init__(
        self,
        horizon: int,
        quantiles: Sequence[float],
        *,
        calendar: bool = True,
        season: int | None = None,
        select: Selection | None = None,
    ) -> None:
        for level in quantiles:
            if not 0 < level < 1:
                raise errors.value_error("quantiles", "levels between 0 and 1", level, "such as (0.05, 0.95)")
        self.horizon, self._select = horizon, select
        self.quantiles, self.levels = tuple(quantiles), tuple(sorted({*quantiles, 0.5}))
        self.encoder = WindowEncoder(horizon, calendar=calendar, season=season)
        self.initial: InitialForecast | None = None
        self.naive_season = 1
        self._training_errors: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self.is_held_out = False
        self.dependence: Dependence | None = None
        self.memory: np.ndarray | None = None
        self.optimism: np.ndarray | None = None
        self.conformal: ConformalQuantiles | None = None
        self.spread = WindowSpread()
        self.validation_scores: dict[str, float] = {}
        self.validation_start: dict[str, int] = {}

    def fit(self, train: Origins, valid: Origins | None = None) -> Self:
        self.encoder.fit(train)
        self.is_held_out = valid is not None and valid.panel is train.panel
        self.mase_scale = self._mase_scales(train.panel, training_ends(train))
        if self._select is not None:
            self.initial = self._select(self.encoder, self.levels, train, valid)
            self._measure_naive_errors(train)
        return self

    def _measure_naive_errors(self, train: Origins) -> None:
        """Keep the errors of the better naive forecast and the changes in the training windows."""
        errors_of = {season: self.encoder.naive_errors(train, season) for season in (1, self.encoder.season)}
        self.naive_season = min(errors_of, key=lambda season: mean_or_inf(errors_of[season]))
        self.dependence = Dependence.measure(train, self.horizon, self.naive_season)
        self.memory = self.dependence.memory
        independent = independent_windows(train, self.horizon, self.dependence)
        self._training_errors = errors_of[self.naive_season], independent, self.encoder.changes(train)

    # ---- decoding

    def chunks(self, origins: Origins) -> list[Chunk]:
        """The origins in chunks, each with the earlier origins to which intervals are adapted."""
        panel, rows = origins
        if self.conformal is None or not len(rows):
            none = np.full((len(rows), 0), -1)
            return [Chunk(origins, np.arange(len(rows)), none, none)]
        few = len(rows) <= 2 * len(panel.ids)
        size = _FEW_ORIGINS if few else max(1, _CHUNK_WINDOWS // panel.values.shape[1])
        parts = (Origins(panel, rows[begin : begin + size]) for begin in range(0, len(rows), size))
        return [self._with_earlier(part) for part in parts]

    def _with_earlier(self, origins: Origins) -> Chunk:
        earlier = self.recent_origins(origins)
        rows = np.unique([*origins.rows, *earlier[earlier >= 0]])
        recent = np.where(earlier >= 0, np.searchsorted(rows, earlier), -1)
        own, age = np.searchsorted(rows, origins.rows), origins.rows[:, None] - earlier
        return Chunk(Origins(origins.panel, rows), own, recent, age)

    def decode(self, predictions: list[Any], records: Origins) -> Forecasts:
        """Forecasts whose intervals are calibrated and adapted to the recent forecasts of their series.

        Args:
            predictions: for every batch of the windows of all `chunks`, what the network predicted.
        """
        predicted = _concatenated(predictions)
        parts, channels, end = [], records.panel.values.shape[1], 0
        for chunk in self.chunks(records):
            begin, end = end, end + len(chunk.every.rows) * channels
            parts.append(self._adapted(chunk, *(part[begin:end] for part in predicted)))
        quantiles, scales = (np.concatenate(part) for part in zip(*parts, strict=True))
        return self.forecasts(quantiles, scales, records)

    def _adapted(
        self, chunk: Chunk, values: np.ndarray, scale: np.ndarray, changes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Transformed quantiles (n, C, H, Q) and scales (n, C) of the requested origins of a chunk."""
        values, scale = self.calibrated(values, scale, changes, chunk.every)
        if self.conformal is None:
            return values, scale
        truth, optimism = self.transformed_truth(chunk.every), self._optimism_of(chunk.every)
        adapted = adapt(self.levels, values, truth, chunk.own, chunk.recent, chunk.age, optimism, self.memory)
        return adapted, scale[chunk.own]

    def _optimism_of(self, origins: Origins) -> np.ndarray | None:
        """(n, H): `optimism` at the steps ahead that the network has been trained on, 1 at later ones."""
        if self.optimism is None:
            return None
        panel, never = origins.panel, np.iinfo(np.int64).min
        ends = np.array([self.encoder.last_steps.get(name, never) for name in panel.ids])[origins.series]
        steps = panel.steps(origins.rows, origins.series)[:, None] + np.arange(self.horizon)
        return np.where(steps < ends[:, None], self.optimism, 1.0)

    def calibrated(
        self, values: np.ndarray, scale: np.ndarray, changes: np.ndarray, records: Origins
    ) -> tuple[np.ndarray, np.ndarray]:
        """Calibrated transformed quantiles (n, C, H, Q), and the windows' scales (n, C).

        Args:
            values: (n * C, H, Q), transformed and not calibrated.
            scale, changes: (n * C,), scales and mean absolute changes of the windows.
        """
        n, c = len(records.rows), records.panel.values.shape[1]
        values = self._calibrated(values, scale, changes)
        return values.reshape(n, c, self.horizon, -1), scale.reshape(n, c)

    def _calibrated(self, values: np.ndarray, scale: np.ndarray, changes: np.ndarray) -> np.ndarray:
        """Calibrated quantiles (N, H, Q); they stay as they are without a calibration."""
        if self.conformal is None:
            return values
        values, factors = self.spread.widened(values, changes, self.levels.index(0.5))
        return self.conformal.apply(values, scale * factors)

    def first_step(self, values: np.ndarray, scale: np.ndarray, changes: np.ndarray) -> np.ndarray:
        """The calibrated quantiles (n, Q) of the first step ahead, in the user's units.

        Args:
            values: (n, H, Q), transformed and not calibrated.
            scale, changes: (n,), scales and mean absolute changes of the windows.
        """
        values = self._calibrated(values, scale, changes)
        return transforms.invert(values[:, 0], self.encoder.config.transform)

    def forecasts(self, values: np.ndarray, scale: np.ndarray, records: Origins) -> Forecasts:
        """Forecasts of transformed quantiles (n, C, H, Q), beside actual values and baselines."""
        panel, rows = records
        n, c = len(rows), panel.values.shape[1]
        values = transforms.invert(values, self.encoder.config.transform).transpose(0, 2, 1, 3)
        index = windows.window_index(records)
        naive, seasonal = (
            self._by_origin(baselines.seasonal_naive(panel, index, self.horizon, season), n, c)
            for season in (1, self.encoder.season)
        )
        constants = np.broadcast_to(self.encoder.statistics.constants(), naive.shape)  # (n, H, C)
        is_constant = (constants == naive) | (np.isnan(naive) & ~np.isnan(constants))
        values = np.where(is_constant[..., None], constants[..., None], values)
        median = values[..., self.levels.index(0.5)]
        return Forecasts(median, values, self.truth(records), naive, seasonal, scale, records, self.levels)

    def _by_origin(self, values: np.ndarray, n: int, c: int) -> np.ndarray:
        """Values (n * C, H) of windows as (n, H, C)."""
        return values.reshape(n, c, self.horizon).transpose(0, 2, 1)

    def count_rows(self, records: Origins) -> int:
        return len(records.panel.values)

    def join(self, parts: Sequence[Origins]) -> Origins | None:
        panel = stacked([part.panel for part in parts])
        tables_alike = self._has_id_column or len({len(part.panel.ids) == 1 for part in parts}) == 1
        if panel is None or not tables_alike or any(_before_rows(part) for part in parts):
            return None
        begins = np.cumsum([0, *(len(part.panel.values) for part in parts[:-1])])
        rows = [part.rows + begin for part, begin in zip(parts, begins, strict=True)]
        return Origins(panel, np.concatenate(rows))

    def split(self, table: pl.DataFrame, parts: Sequence[Origins]) -> list[pl.DataFrame]:
        of_origin = self.horizon * len(self.encoder.template.columns.target)
        if not self._has_id_column and len(parts[0].panel.ids) == 1:
            # without the column that only tells the sources apart; `drop` would hand over to polars' threads
            table = pl.DataFrame([column for column in table if column.name != "id"])
        return slices(table, [len(part.rows) * of_origin for part in parts])

    @property
    def _has_id_column(self) -> bool:
        return self.encoder.template.columns.id is not None

    def trial_records(self, stream: Any) -> Origins:
        """The next forecast of the first series."""
        return last_origins(stream.panel.only(stream.panel.ids[:1]), self.horizon)

    def present(self, answers: Forecasts) -> Any:
        return answers.answers(self.quantiles, past=False)

    # ---- calibration

    def mean_error(self, predictions: list[Any], valid: Origins) -> float:
        """The mean absolute error of the medians that the network predicted of windows, on its scale."""
        values, scale, _ = _concatenated(predictions)
        truths = self.transformed_truth(valid).reshape(-1, self.horizon)
        return mean_or_inf(np.abs(truths - values[..., self.levels.index(0.5)]) / scale[:, None])

    def find_shares(self, predictions: list[Any], valid: Origins) -> dict[str, float]:
        """The shares of simple forecasts that lower the error of what the network predicted of windows."""
        points = _concatenated(predictions)[0][..., self.levels.index(0.5)]
        independent = independent_windows(valid, self.horizon, self.dependence)
        return find_shares(self.encoder, points, valid, float(independent.mean()))

    def blended(self, predictions: list[Any], valid: Origins, shares: Mapping[str, float]) -> list[Any]:
        """The predictions moved to simple forecasts by their shares."""
        values, scale, changes = _concatenated(predictions)
        simple = sum_of_simple(self.encoder, valid, shares, np.arange(len(values)))
        moved = simple - sum(shares.values()) * values[..., self.levels.index(0.5)]
        return [tuple(map(torch.from_numpy, (values + moved[..., None], scale, changes)))]

    def calibrate(self, predictions: list[Any], valid: Origins, trained_on: list[Any] | None = None) -> None:
        """Fit the calibration to validation windows, and score model and baselines on them.

        Args:
            predictions: for every batch of these windows, what the network predicted.
            trained_on: what it predicts once it has been trained on them too; None where it has not.
        """
        self.conformal, self.validation_start = None, end_times(valid)
        values, scale, changes = _concatenated(predictions)
        self.spread = self._fitted_spread(valid, changes)
        widened, units, truths = self._fit_conformal(values, scale, changes, valid)
        independent = independent_windows(valid, self.horizon, self.dependence)
        forecasts = self.forecasts(*self.calibrated(values, scale, changes, valid), valid)
        maes = {name: mae(points, forecasts.actual) for name, points in forecasts.baselines().items()}
        self.validation_scores = {**maes, **_half_coverage(self.levels, widened, truths, units, independent)}
        if trained_on is not None:
            later, median = _concatenated(trained_on)[0], self.levels.index(0.5)
            held_out, fitted = (
                np.abs(truths - part[..., median]) / scale[:, None] for part in (values, later)
            )
            self.optimism = np.maximum(
                mean_absolute(held_out) / np.maximum(mean_absolute(fitted), _LEAST_ERROR), 1.0
            )
            # its quantiles about the medians of before, whose errors are those of new rows
            self._fit_conformal(later + (values - later)[..., median, None], scale, changes, valid)

    def _fit_conformal(
        self, values: np.ndarray, scale: np.ndarray, changes: np.ndarray, valid: Origins
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Fit the factors of the quantiles' distances from the median.

        Returns:
            The windows' quantiles as they are before that, the units of their widths, and the truths.
        """
        widened, factors = self.spread.widened(values, changes, self.levels.index(0.5))
        truths, units = self.transformed_truth(valid).reshape(-1, self.horizon), scale * factors
        self.conformal = ConformalQuantiles.fit(
            self.levels,
            widened,
            truths,
            units,
            independent=independent_windows(valid, self.horizon, self.dependence),
            naive=self._naive_errors(valid),
            widening=1.0 if self.initial is None else self.initial.widening,
        )
        return widened, units, truths

    def _fitted_spread(self, valid: Origins, changes: np.ndarray) -> WindowSpread:
        """How the errors of the better naive forecast depend on the changes (N,) in a window.

        Many windows teach the network by themselves how wide intervals are; the spread has no effect then.

        Args:
            changes: of the validation windows.
        """
        on_valid = float(independent_windows(valid, self.horizon, self.dependence)[-1])
        if self._training_errors is None or on_valid >= _MANY_WINDOWS:
            return WindowSpread()
        past, independent, past_changes = self._training_errors
        errors = np.concatenate([past, self.encoder.naive_errors(valid, self.naive_season)])
        present = ~np.isnan(errors)
        means = np.where(present, errors, 0.0).sum(1) / np.where(present.any(1), present.sum(1), np.nan)
        every = np.concatenate([past_changes, self.encoder.changes(valid)])
        return WindowSpread.fit(every, means, changes, float(independent[-1]) + on_valid)

    def _naive_errors(self, valid: Origins) -> NaiveErrors | None:
        """The errors of the better naive forecast on the validation windows and on all windows of fit."""
        if self._training_errors is None:
            return None
        past, independent, _ = self._training_errors
        on_valid = self.encoder.naive_errors(valid, self.naive_season)
        independent = independent + independent_windows(valid, self.horizon, self.dependence)
        return NaiveErrors(on_valid, np.concatenate([past, on_valid]), independent)

    def recent_origins(self, origins: Origins) -> np.ndarray:
        """Earlier origins after the training part, to whose forecasts intervals are adapted, (n, K) rows."""
        panel, rows = origins
        first_steps = zip(panel.ids, panel.first, strict=True)
        after_training = np.array([self.validation_start.get(name, int(step)) for name, step in first_steps])
        first = panel.starts[:-1] + np.maximum(after_training - panel.first, 1)
        return recent_origins(rows, first[origins.series], self.horizon)

    # ---- truths and metrics

    def transformed_truth(self, records: Origins) -> np.ndarray:
        """The transformed actual values, (n, C, H)."""
        panel = records.panel
        statistics = self.encoder.statistics.of_panel(panel)
        values = self.encoder.targets(panel, windows.window_index(records), statistics)
        return values.reshape(len(records.rows), -1, self.horizon)

    def truth(self, records: Origins) -> np.ndarray:
        n, c = len(records.rows), records.panel.values.shape[1]
        values = windows.future(records.panel, windows.window_index(records), self.horizon)
        return self._by_origin(values, n, c)

    def metrics(self) -> Metrics:
        return forecast_metrics(self.levels, self.mase_scales_of)

    def mase_scales_of(self, forecasts: Forecasts) -> np.ndarray:
        """`mase_scales` of every origin, (n, 1, C)."""
        return self.mase_scales(forecasts.origins.panel)[forecasts.origins.series][:, None]

    def mase_scales(self, panel: Panel) -> np.ndarray:
        """The denominators of MASE, (S, C): those of training, and for a new series from its own values."""
        rows = [self.encoder.statistics.rows.get(name) for name in panel.ids]
        own = self._mase_scales(panel, panel.starts[1:]) if None in rows else self.mase_scale
        return np.stack([own[s] if row is None else self.mase_scale[row] for s, row in enumerate(rows)])

    def _mase_scales(self, panel: Panel, limits: np.ndarray) -> np.ndarray:
        """(S, C): the mean error of one-step seasonal naive forecasts of each series before its limit row."""
        spans = zip(panel.starts[:-1], np.maximum(limits, panel.starts[:-1] + 1), strict=True)
        season = self.encoder.season
        scales = [baselines.mean_difference(panel, np.arange(begin, end), season) for begin, end in spans]
        return np.where(np.stack(scales) > 0, np.stack(scales), np.nan)

    # ---- saving

    def state(self) -> dict[str, Any]:
        return {
            **self.encoder.state(),
            "mase_scale": torch.from_numpy(self.mase_scale.copy()),
            "conformal": None if self.conformal is None else self.conformal.state(),
            "spread": self.spread.state(),
            "optimism": None if self.optimism is None else torch.from_numpy(self.optimism.copy()),
            "memory": None if self.memory is None else torch.from_numpy(self.memory.copy()),
            "validation_scores": self.validation_scores,
            "validation_start": self.validation_start,
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        self.encoder.restore(state)
        self.mase_scale = state["mase_scale"].numpy()
        conformal = state["conformal"]
        self.conformal = None if conformal is None else ConformalQuantiles.from_state(conformal)
        self.spread = WindowSpread.from_state(state.get("spread"))
        optimism, memory = state.get("optimism"), state.get("memory")
        self.optimism = None if optimism is None else optimism.numpy()
        self.memory = None if memory is None else memory.numpy()
        self.validation_scores, self.validation_start = state["validation_scores"], state["validation_start"]
        return self


def _before_rows(origins: Origins) -> bool:
    """Whether an origin lies before the first row of its series, where stacked panels have another one."""
    first = origins.panel.starts[origins.panel.series_of(origins.rows - 1)]
    return bool((origins.rows <= first).any())


def _concatenated(predictions: list[Any]) -> list[np.ndarray]:
    """Quantiles (N, H, Q), scales (N,) and mean changes (N,) of all batches."""
    return [
        np.concatenate([part.cpu().numpy() for part in parts]) for parts in zip(*predictions, strict=True)
    ]


def _half_coverage(
    levels: tuple[float, ...],
    values: np.ndarray,
    truths: np.ndarray,
    scale: np.ndarray,
    independent: np.ndarray,
) -> dict[str, float]:
    """The coverage of the intervals on the second half of the windows, calibrated on the first."""
    half = len(values) // 2
    if half < _MIN_HALF:
        return {}
    in_half = np.maximum(independent / 2, 1)
    conformal = ConformalQuantiles.fit(
        levels, values[:half], truths[:half], scale[:half], independent=in_half
    )
    quantiles = conformal.apply(values[half:], scale[half:])
    return {
        f"coverage_{percent}": share_inside(quantiles[..., low], quantiles[..., high], truths[half:])
        for percent, low, high in interval_pairs(levels)
    }
