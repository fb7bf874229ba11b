"""Knows how good forecasts are, beside the two plain ones; and how they look as a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from longspan.data.intervals import coverage, intervals

from .forecast_codec import Forecasts

Score = Callable[[np.ndarray, np.ndarray], float]


def mae(answer: np.ndarray, truth: np.ndarray) -> float:
    """The mean absolute error over what is known of both."""
    return _mean(np.abs(answer - truth))


def mse(answer: np.ndarray, truth: np.ndarray) -> float:
    """The mean squared error."""
    return _mean((answer - truth) ** 2)


def rmse(answer: np.ndarray, truth: np.ndarray) -> float:
    """The root of the mean squared error."""
    return float(np.sqrt(mse(answer, truth)))


def smape(answer: np.ndarray, truth: np.ndarray) -> float:
    """The symmetric mean absolute percentage error, 0 to 200 (Makridakis 1993; M4's definition)."""
    total = np.abs(answer) + np.abs(truth)
    return 200.0 * _mean(np.abs(answer - truth) / np.where(total > 0, total, 1.0))


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if values.size and not np.isnan(values).all() else float("nan")


def mase(answer: np.ndarray, truth: np.ndarray, unit: np.ndarray) -> float:
    """The mean absolute error in units of the seasonal naive's in training (Hyndman and Koehler 2006)."""
    return _mean(np.abs(answer - truth) / unit)


def crps(forecasts: Forecasts, truth: np.ndarray) -> float:
    """The continuous ranked probability score by the mean quantile loss of the levels, times 2."""
    error = truth[..., None] - forecasts.quantiles
    levels = np.array(forecasts.levels)
    return 2.0 * _mean(np.maximum(levels * error, (levels - 1) * error))


def pairs(levels: tuple[float, ...]) -> list[tuple[int, int, int]]:
    """The intervals that levels make: (percent, place of the lower, place of the upper), widest first."""
    return [(round(100 * (levels[high] - levels[low])), low, high) for low, high in intervals(levels)]


def covered(forecasts: Forecasts, truth: np.ndarray, low: int, high: int) -> float:
    """The share of truths inside an interval."""
    return coverage(forecasts.quantiles[..., low], forecasts.quantiles[..., high], truth)


def level_name(level: float) -> str:
    """The column of a quantile: q0.05."""
    return f"q{level:g}"


def frame_of(found: Forecasts, shown: tuple[float, ...], *, past: bool) -> pl.DataFrame:
    """[origin], [id], time, target, point, [actual], and one column a quantile; `past` adds the two."""
    panel, rows = found.origins
    n, horizon, channels = found.point.shape
    series = (
        np.zeros(n, np.int64)
        if len(panel.ids) == 1
        else np.searchsorted(panel.starts, rows - 1, side="right") - 1
    )
    steps = panel.steps(rows, series)
    order = (n, channels, horizon)
    times = (
        panel.frequency.times(steps[:, None] + np.arange(horizon)) if n else np.empty((0, horizon), np.int64)
    )
    columns: dict[str, Any] = {}
    if past:
        columns["origin"] = _spread(panel.frequency.shown(panel.frequency.times(steps - 1)), order, 0)
    if panel.columns.id is not None or len(panel.ids) > 1:
        columns[panel.columns.id or "id"] = _spread(np.array(panel.ids, object)[series], order, 0)
    time = panel.columns.time[0] if len(panel.columns.time) == 1 else "time"
    columns[time] = np.repeat(panel.frequency.shown(times)[:, None], channels, 1).ravel()
    columns["target"] = _spread(np.array(panel.columns.target, object), order, 1)
    columns["point"] = found.point.transpose(0, 2, 1).ravel()
    for level in shown:
        place = found.levels.index(level)
        columns[level_name(level)] = found.quantiles[..., place].transpose(0, 2, 1).ravel()
    if past:
        columns["actual"] = found.actual.transpose(0, 2, 1).ravel()
    return pl.DataFrame({name: pl.Series(name, _plain(values)) for name, values in columns.items()})


def _plain(values: np.ndarray) -> np.ndarray | list[Any]:
    return values.tolist() if values.dtype == object else values


def _spread(values: np.ndarray, order: tuple[int, int, int], axis: int) -> np.ndarray:
    shape = [1, 1, 1]
    shape[axis] = -1
    return np.broadcast_to(values.reshape(shape), order).ravel()
