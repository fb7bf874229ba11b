"""Encodes windows of series for a network, and decodes its outputs to forecasts in the user's units."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from typing_extensions import Self

from longspan import errors
from longspan.data import transforms
from longspan.data.batches import Batch
from longspan.data.scaling import moments
from longspan.tasks.codec import Codec, Metrics

from . import baselines, windows
from .conformal import ConformalQuantiles, adapt, recent_origins, share_inside
from .covariates import standard, vocabularies
from .evaluation import forecast_metrics, interval_pairs, mae
from .network import ForecastInputs
from .origins import end_times, spacing
from .panel import Origins, Panel
from .predictions import Forecasts
from .time_features import Calendar, calendar_names
from .windows import WindowIndex

CENTERS = ("last", "mean", "season", "none")
SCALES = ("series", "window")
_FEW_ORIGINS = 256  # origins of a chunk where there are at most two of each series
_CHUNK_WINDOWS = 16_384  # windows of a chunk otherwise, without those of earlier origins
_MAX_ROWS = 200_000  # rows from which the season and the scales of covariates are estimated
_KEPT = (
    "context", "season", "center", "scaling", "transform", "has_gaps", "calendar_features", "vocabularies",
    "validation_scores", "last_steps", "validation_start",
)  # fmt: skip


class SeriesStatistics(NamedTuple):
    """Statistics of S series of C channels, each (S, C).

    mean, scale: mean and standard deviation of the transformed values.
    floor: values below it are raised to it before a logarithm is taken.
    deviation: standard deviation in the user's units.
    """

    mean: np.ndarray
    scale: np.ndarray
    floor: np.ndarray
    deviation: np.ndarray


class ScaledWindow(NamedTuple):
    """B windows on the network's scale.

    values: (B, T) float64, missing ones filled forward.
    present: (B, T) bool, False where the value is missing.
    since: (B, T), steps since the last value that is present.
    center, scale: (B, H) and (B, 1); an output times the scale plus the center is a transformed value.
    """

    values: np.ndarray
    present: np.ndarray
    since: np.ndarray
    center: np.ndarray
    scale: np.ndarray


class Chunk(NamedTuple):
    """Origins that are forecast together: the requested ones, and earlier ones to adapt their intervals to.

    every: all of them.
    own: (n,), positions of the requested ones in `every`.
    recent: (n, K), positions of the earlier ones of each requested one, -1 for none.
    """

    every: Origins
    own: np.ndarray
    recent: np.ndarray


class ForecastCodec(Codec[Origins]):
    """Encodes windows as tensors, and decodes a network's outputs to forecasts.

    Args:
        horizon: H, steps of a forecast.
        quantiles: levels of the quantiles, in the order in which `predict` gives them.
        calendar: whether calendar features are inputs.
        season: season length in steps; None to find it in the data.
        select: sets context, center, scaling and transform from training and validation windows; None to
            leave their defaults.

    Attributes:
        levels: (Q,) rising: the quantiles and the median.
        context: T, steps of a window; season: steps, 1 for none.
        center, scaling, transform: how windows are shifted, scaled and transformed, see `CENTERS`, `SCALES`
            and `longspan.data.transforms`.
        skip: (T + 1, H), weights and bias of the linear forecast from which the network starts.
        residuals: (H, Q), quantiles of that forecast's errors on the network's scale.
        training_statistics: of the series of the training part, in the order of `series_index`.
        conformal: the calibration of the quantiles; None without a validation part.
        validation_scores: mean absolute errors by name of the forecast, and coverages, on that part.
        validation_start: for each series the step at which its validation part starts.
        last_steps: for each series the step after its last row with a target in fit.
        template: a panel with the columns of fit and no rows.

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
        select: Callable[[ForecastCodec, Origins, Origins | None], None] | None = None,
    ) -> None:
        for level in quantiles:
            if not 0 < level < 1:
                raise errors.value_error("quantiles", "levels between 0 and 1", level, "such as (0.05, 0.95)")
        self.horizon, self.calendar, self.fixed_season, self._select = horizon, calendar, season, select
        self.quantiles, self.levels = tuple(quantiles), tuple(sorted({*quantiles, 0.5}))
        self.context, self.season = 0, 1
        self.center, self.scaling, self.transform = "last", "series", "none"
        self.skip: np.ndarray | None = None
        self.residuals: np.ndarray | None = None
        self.conformal: ConformalQuantiles | None = None
        self.validation_scores: dict[str, float] = {}
        self.validation_start: dict[str, int] = {}

    # ---- learning

    def fit(self, train: Origins, valid: Origins | None = None) -> Self:
        self._fit_series(train)
        if self._select is not None:
            self._select(self, train, valid)
        return self

    def _fit_series(self, records: Origins) -> None:
        panel = records.panel
        self.template = panel.tail(0)
        unknown = int((panel.starts[1:] - panel.last_seen()).sum()) * panel.values.shape[1]
        self.has_gaps = int(np.isnan(panel.values).sum()) > unknown  # beside the rows to foretell
        ends = panel.steps(panel.last_seen(), np.arange(len(panel.ids)))
        self.last_steps = dict(zip(panel.ids, ends.tolist(), strict=True))
        limits = _limits(records)
        steps = int((limits - panel.starts[:-1]).max())
        self.calendar_features = calendar_names(panel.frequency, steps) if self.calendar else ()
        self.calendar_table = Calendar(self.calendar_features)
        self.fit_scale(records, "none")
        spans = list(zip(panel.starts[:-1].tolist(), limits.tolist(), strict=True))
        stride = max(1, len(panel.values) // _MAX_ROWS)
        rows = np.concatenate([np.arange(begin, end, stride) for begin, end in spans])
        self.season = (
            baselines.find_season(panel, rows, steps // 2) if self.fixed_season is None else self.fixed_season
        )
        self.mase_scale = self._mase_scales(panel, limits)
        self.vocabularies = vocabularies((panel.past, panel.future, panel.static))
        parts = (panel.past.numbers[rows], panel.future.numbers[rows], panel.static.numbers)
        self.moments = [moments(part.astype(np.float64)) for part in parts]

    def fit_scale(self, records: Origins, transform: str) -> None:
        """Set the transform, and the statistics of every series up to the end of its last training window."""
        panel = records.panel
        ends = np.maximum(_limits(records), panel.starts[:-1] + 1)
        spans = zip(panel.starts[:-1].tolist(), ends.tolist(), strict=True)
        parts = [_statistics(panel.values[a:b], transform) for a, b in spans]
        self.transform, self.training_statistics = transform, _stacked(parts)
        self.series_index = {name: row for row, name in enumerate(panel.ids)}

    @property
    def lag(self) -> int:
        """Steps before a window that are read to center it: a season, or none."""
        return self.season if self.center == "season" else 0

    @property
    def reach(self) -> int:
        """Rows before an origin that a whole window needs."""
        return self.context + self.lag

    @property
    def positive(self) -> bool:
        """Whether all values of the training part are above 0."""
        return bool(np.nanmin(self.training_statistics.floor) > 0)

    def allowed_transforms(self) -> tuple[str, ...]:
        """The transforms that the training part allows."""
        return transforms.allowed(float(np.nanmin(2 * self.training_statistics.floor)))

    def _mase_scales(self, panel: Panel, limits: np.ndarray) -> np.ndarray:
        """(S, C): the mean error of one-step seasonal naive forecasts of each series before its limit row."""
        spans = zip(panel.starts[:-1], np.maximum(limits, panel.starts[:-1] + 1), strict=True)
        scales = np.stack([baselines.mean_difference(panel, np.arange(a, b), self.season) for a, b in spans])
        return np.where(scales > 0, scales, np.nan)

    def mase_scales(self, panel: Panel) -> np.ndarray:
        """The denominators of MASE, (S, C): those of training, and for a new series from its own values."""
        new = [name for name in panel.ids if name not in self.series_index]
        own = self._mase_scales(panel, panel.starts[1:]) if new else None
        rows = [
            self.mase_scale[self.series_index[name]] if own is None or name in self.series_index else own[s]
            for s, name in enumerate(panel.ids)
        ]
        return np.stack(rows)

    def mase_scales_of(self, forecasts: Forecasts) -> np.ndarray:
        """`mase_scales` of every origin, (n, 1, C)."""
        return self.mase_scales(forecasts.origins.panel)[forecasts.origins.series][:, None]

    @property
    def sizes(self) -> dict[str, Any]:
        past, future, static = self.template.past, self.template.future, self.template.static
        words = [len(self.vocabularies[n]) + 1 for n in past.labels]
        ahead = [len(self.vocabularies[n]) + 1 for n in future.labels]
        return {
            "context": self.context,
            "horizon": self.horizon,
            "values": 1 + 2 * self.has_gaps,
            "past": past.numbers.shape[1],
            "ahead": future.numbers.shape[1] + 2 * len(self.calendar_features),
            "static": static.numbers.shape[1],
            "past_words": words,
            "ahead_words": ahead,
            "static_words": [len(self.vocabularies[n]) + 1 for n in static.labels],
        }

    # ---- encoding

    def statistics(self, panel: Panel) -> SeriesStatistics:
        """The statistics of a panel's series: those of training, and for a new series of its own values."""
        rows = []
        for s, name in enumerate(panel.ids):
            row = self.series_index.get(name)
            if row is None:
                rows.append(_statistics(panel.values[panel.starts[s] : panel.starts[s + 1]], self.transform))
            else:
                rows.append(SeriesStatistics(*(part[row] for part in self.training_statistics)))
        return _stacked(rows)

    def statistics_of(self, name: str) -> SeriesStatistics:
        """The statistics (1, C) of one series of training; for any other name the mean over these series."""
        row = self.series_index.get(name)
        if row is None:
            return SeriesStatistics(*(part.mean(0, keepdims=True) for part in self.training_statistics))
        return SeriesStatistics(*(part[row : row + 1] for part in self.training_statistics))

    def targets(self, panel: Panel, index: WindowIndex, statistics: SeriesStatistics) -> np.ndarray:
        """The transformed values from every origin on, (B, H)."""
        floor = statistics.floor[index.series, index.channel][:, None]
        return transforms.apply(windows.future(panel, index, self.horizon), self.transform, floor)

    def scaled(self, panel: Panel, index: WindowIndex, statistics: SeriesStatistics) -> ScaledWindow:
        """The windows before the origins, on the network's scale."""
        mean, scale, floor, _ = (part[index.series, index.channel][:, None] for part in statistics)
        raw = transforms.apply(windows.history(panel, index, self.reach), self.transform, floor)
        return self.scaled_windows(raw, mean, scale)

    def scaled_windows(self, raw: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> ScaledWindow:
        """Windows on the network's scale.

        Args:
            raw: (B, reach), transformed values.
            mean, scale: (B, 1), statistics of the windows' series.
        """
        lag, missing = self.lag, np.isnan(raw)
        if missing.any():
            filled, since = windows.forward_fill(raw)
            filled = np.where(np.isnan(filled), mean, filled)
        else:
            filled, since = raw, np.zeros(raw.shape, np.int64)
        window = filled[:, lag:]
        if self.scaling == "window":
            deviation = window.std(1, keepdims=True)
            scale = np.where(deviation > 1e-3 * scale, deviation, scale)
        if self.center == "season":
            steps = len(raw[0]) - lag + np.arange(self.horizon) % lag
            center, values = filled[:, steps], (window - filled[:, :-lag]) / scale
        else:
            middle = {"last": window[:, -1:], "mean": window.mean(1, keepdims=True), "none": mean}[
                self.center
            ]
            center, values = np.repeat(middle, self.horizon, 1), (window - middle) / scale
        return ScaledWindow(values, ~missing[:, lag:], since[:, lag:], center, scale)

    def encode(
        self, panel: Panel, index: WindowIndex, statistics: SeriesStatistics, with_targets: bool
    ) -> Batch:
        """The windows before the origins as a batch of `ForecastInputs`.

        With targets, y (B, H) holds the values from the origins on, on the network's scale; else it is None.
        """
        scaled = self.scaled(panel, index, statistics)
        rows, inside = windows.neighbourhood(panel, index, np.arange(-self.context, self.horizon))
        future, future_words = self._future(panel, index, rows, inside)
        before, within = rows[:, : self.context], inside[:, : self.context]
        x = ForecastInputs(
            self.network_values(scaled),
            _tensor(standard(panel.past.numbers[before], self.moments[0], within)),
            _tensor(future),
            _tensor(standard(panel.static.numbers[index.series], self.moments[2])),
            torch.from_numpy(panel.past.words(before, self.vocabularies, within)),
            torch.from_numpy(future_words),
            torch.from_numpy(panel.static.words(index.series, self.vocabularies)),
            torch.from_numpy(scaled.center),
            torch.from_numpy(scaled.scale),
        )
        targets = (
            (self.targets(panel, index, statistics) - scaled.center) / scaled.scale if with_targets else None
        )
        y = None if targets is None else _tensor(targets)
        return Batch(x, y, mask=torch.from_numpy(within) if not within.all() else None)

    def network_values(self, scaled: ScaledWindow) -> torch.Tensor:
        """Scaled windows as the network reads them, (B, T, V) float32."""
        values = [scaled.values[..., None]]
        if self.has_gaps:
            values += [scaled.present[..., None], np.log1p(scaled.since)[..., None]]
        return _tensor(np.concatenate(values, 2))

    def first_step(self, values: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """The calibrated quantiles (n, Q) of the first step ahead, in the user's units.

        Args:
            values: (n, H, Q), transformed and not calibrated; scale: (n,), of the windows.
        """
        if self.conformal is not None:
            values = self.conformal.apply(values, scale)
        return transforms.invert(values[:, 0], self.transform)

    def _future(
        self, panel: Panel, index: WindowIndex, rows: np.ndarray, inside: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Future covariates and calendar over context and horizon: (B, T+H, F) numbers, (B, T+H, K) words."""
        numbers = standard(panel.future.numbers[rows], self.moments[1], inside)
        if self.calendar_features:
            steps = panel.steps(index.row, index.series)[:, None] + np.arange(-self.context, self.horizon)
            low, high = int(panel.first.min()) - self.context, int(panel.ends.max()) + self.horizon
            numbers = np.concatenate([numbers, self.calendar_table.at(panel.frequency, steps, low, high)], 2)
        return numbers, panel.future.words(rows, self.vocabularies, inside)

    # ---- back

    def chunks(self, origins: Origins) -> list[Chunk]:
        """The origins in chunks, each with the earlier origins to which intervals are adapted."""
        panel, rows = origins
        if self.conformal is None or not len(rows):
            return [Chunk(origins, np.arange(len(rows)), np.full((len(rows), 0), -1))]
        size = (
            _FEW_ORIGINS
            if len(rows) <= 2 * len(panel.ids)
            else max(1, _CHUNK_WINDOWS // panel.values.shape[1])
        )
        parts = (Origins(panel, rows[begin : begin + size]) for begin in range(0, len(rows), size))
        return [self._with_earlier(part) for part in parts]

    def _with_earlier(self, origins: Origins) -> Chunk:
        earlier = self.recent_origins(origins)
        rows = np.unique([*origins.rows, *earlier[earlier >= 0]])
        recent = np.where(earlier >= 0, np.searchsorted(rows, earlier), -1)
        return Chunk(Origins(origins.panel, rows), np.searchsorted(rows, origins.rows), recent)

    def decode(self, predictions: list[Any], records: Origins) -> Forecasts:
        """Forecasts whose intervals are calibrated and adapted to the recent forecasts of their series.

        Args:
            predictions: for every batch of the windows of all `chunks`, quantiles and scales of the network.
        """
        values, scale = _flat(predictions)
        parts, channels, end = [], records.panel.values.shape[1], 0
        for chunk in self.chunks(records):
            begin, end = end, end + len(chunk.every.rows) * channels
            parts.append(self._adapted(chunk, values[begin:end], scale[begin:end]))
        quantiles, scales = (np.concatenate(part) for part in zip(*parts, strict=True))
        return self.forecasts(quantiles, scales, records)

    def _adapted(self, chunk: Chunk, values: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Transformed quantiles (n, C, H, Q) and scales (n, C) of the requested origins of a chunk."""
        values, scale = self.calibrated(values, scale, chunk.every)
        if self.conformal is None:
            return values, scale
        truth = self.transformed_truth(chunk.every)
        return adapt(self.levels, values, truth, chunk.own, chunk.recent), scale[chunk.own]

    def present(self, answers: Forecasts) -> Any:
        return answers.answers(self.quantiles, past=False)

    def metrics(self) -> Metrics:
        return forecast_metrics(self.levels, self.mase_scales_of)

    def calibrate(self, predictions: list[Any], valid: Origins) -> None:
        """Fit the calibration to validation windows, and score model and baselines on them.

        Args:
            predictions: for every batch of these windows, quantiles and scales of the network.
        """
        self.conformal, self.validation_start = None, end_times(valid)
        values, scale = _flat(predictions)
        truths = self.transformed_truth(valid).reshape(-1, self.horizon)
        self.conformal = ConformalQuantiles.fit(
            self.levels, values, truths, scale, independent=spacing(valid, self.horizon)
        )
        forecasts = self.forecasts(*self.calibrated(values, scale, valid), valid)
        maes = {name: mae(points, forecasts.actual) for name, points in forecasts.baselines().items()}
        self.validation_scores = {**maes, **_half_coverage(self.levels, values, truths, scale)}

    def calibrated(
        self, values: np.ndarray, scale: np.ndarray, records: Origins
    ) -> tuple[np.ndarray, np.ndarray]:
        """Calibrated transformed quantiles (n, C, H, Q), and the windows' scales (n, C).

        Args:
            values: (n * C, H, Q), transformed and not calibrated; scale: (n * C,).
        """
        n, c = len(records.rows), records.panel.values.shape[1]
        values, scale = values.reshape(n, c, self.horizon, -1), scale.reshape(n, c)
        return (values if self.conformal is None else self.conformal.apply(values, scale)), scale

    def recent_origins(self, origins: Origins) -> np.ndarray:
        """Earlier origins after the training part, to whose forecasts intervals are adapted, (n, K) rows."""
        panel, rows = origins
        first_steps = zip(panel.ids, panel.first, strict=True)
        after_training = np.array([self.validation_start.get(name, int(step)) for name, step in first_steps])
        first = panel.starts[:-1] + np.maximum(after_training - panel.first, 1)
        return recent_origins(rows, first[origins.series], self.horizon)

    def forecasts(self, values: np.ndarray, scale: np.ndarray, records: Origins) -> Forecasts:
        """Forecasts of transformed quantiles (n, C, H, Q), beside actual values and baselines."""
        panel, rows = records
        n, c = len(rows), panel.values.shape[1]
        values = transforms.invert(values, self.transform).transpose(0, 2, 1, 3)
        index = windows.window_index(records)
        naive, seasonal = (
            self._shaped(baselines.seasonal_naive(panel, index, self.horizon, m), n, c)
            for m in (1, self.season)
        )
        actual = self._shaped(windows.future(panel, index, self.horizon), n, c)
        middle = self.levels.index(0.5)
        return Forecasts(values[..., middle], values, actual, naive, seasonal, scale, records, self.levels)

    def _shaped(self, flat: np.ndarray, n: int, c: int) -> np.ndarray:
        return flat.reshape(n, c, self.horizon).transpose(0, 2, 1)

    def transformed_truth(self, records: Origins) -> np.ndarray:
        """The transformed actual values, (n, C, H)."""
        panel = records.panel
        values = self.targets(panel, windows.window_index(records), self.statistics(panel))
        return values.reshape(len(records.rows), -1, self.horizon)

    def truth(self, records: Origins) -> np.ndarray:
        n, c = len(records.rows), records.panel.values.shape[1]
        return self._shaped(windows.future(records.panel, windows.window_index(records), self.horizon), n, c)

    # ---- kept

    def state(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name) for name in _KEPT},
            "template": self.template.state(),
            "training_statistics": [torch.from_numpy(part.copy()) for part in self.training_statistics],
            "mase_scale": torch.from_numpy(self.mase_scale.copy()),
            "moments": [tuple(torch.from_numpy(part.copy()) for part in pair) for pair in self.moments],
            "conformal": None if self.conformal is None else self.conformal.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        for name in _KEPT:
            setattr(self, name, state[name])
        self.template, self.calendar_table = (
            Panel.from_state(state["template"]),
            Calendar(self.calendar_features),
        )
        self.training_statistics = SeriesStatistics(*(part.numpy() for part in state["training_statistics"]))
        self.mase_scale = state["mase_scale"].numpy()
        self.series_index = {name: row for row, name in enumerate(self.template.ids)}
        self.moments = [(pair[0].numpy(), pair[1].numpy()) for pair in state["moments"]]
        self.conformal = (
            None if state["conformal"] is None else ConformalQuantiles.from_state(state["conformal"])
        )
        return self


def _flat(predictions: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles (N, H, Q) and scales (N,) of all batches."""
    values = np.concatenate([part.cpu().numpy() for part, _ in predictions])
    return values, np.concatenate([part.cpu().numpy() for _, part in predictions])


def _limits(origins: Origins) -> np.ndarray:
    """(S,), the row after the last training origin of every series; the series' end if it has none."""
    ends = origins.panel.starts[1:].copy()
    limits = np.full(len(ends), -1)
    np.maximum.at(limits, origins.series, origins.rows + 1)
    return np.where(limits >= 0, limits, ends)


def _statistics(values: np.ndarray, transform: str) -> SeriesStatistics:
    """The statistics of one series (T, C), each (C,). The floor is half the smallest value."""
    smallest = np.fmin.reduce(values, 0) if len(values) else np.zeros(values.shape[1])
    floor = 0.5 * np.nan_to_num(smallest)
    return SeriesStatistics(*moments(values, transform, floor), floor=floor, deviation=moments(values)[1])


def _stacked(parts: list[SeriesStatistics]) -> SeriesStatistics:
    return SeriesStatistics(*(np.stack(part) for part in zip(*parts, strict=True)))


def _half_coverage(
    levels: tuple[float, ...], values: np.ndarray, truths: np.ndarray, scale: np.ndarray
) -> dict[str, float]:
    """The coverage of the intervals on the second half of the windows, calibrated on the first."""
    half = len(values) // 2
    if half < 8:
        return {}
    conformal = ConformalQuantiles.fit(levels, values[:half], truths[:half], scale[:half], independent=half)
    quantiles = conformal.apply(values[half:], scale[half:])
    return {
        f"coverage_{percent}": share_inside(quantiles[..., low], quantiles[..., high], truths[half:])
        for percent, low, high in interval_pairs(levels)
    }


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
