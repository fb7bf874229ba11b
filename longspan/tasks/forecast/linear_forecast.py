"""Fits ridge regressions from windows to the horizons after them, and measures their validation errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from longspan.data.transforms import invert

from . import windows
from .panel import Origins
from .window_encoder import WindowEncoder

_MAX_VALIDATION_WINDOWS = 2_000
_MIN_WINDOWS = 8  # below which the forecast is the mean of the training windows' horizons
_RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the mean square of the inputs, times the number of windows
_CHUNK = 1_000  # windows that are gathered at once


class LinearForecast(NamedTuple):
    """A linear forecast of windows, and its errors on validation windows.

    weight, bias: (T, H) and (H,), on the network's scale.
    error: the mean absolute error in deviations of each series; where all values are above 0, the geometric
        mean of that and of the mean relative error (sMAPE's), since either may be what counts.
    residuals: (N, H), truth minus forecast on the network's scale.
    """

    weight: np.ndarray
    bias: np.ndarray
    error: float
    residuals: np.ndarray


class WindowPairs(NamedTuple):
    """Windows x (n, T) and the values after them y (n, H), on the network's scale.

    center, scale: (n, H) and (n, 1), of the windows.
    truth: (n, H), the values after the windows in the user's units.
    deviation: (n, 1), standard deviations of the windows' series in the user's units.
    """

    x: np.ndarray
    y: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    truth: np.ndarray
    deviation: np.ndarray

    def absolute_errors(self, forecasts: np.ndarray, transform: str) -> tuple[np.ndarray, np.ndarray]:
        """Absolute errors (n, H) of forecasts (n, H): in deviations of the series, and relative ones."""
        values = invert(forecasts * self.scale + self.center, transform)
        error = np.abs(values - self.truth)
        return error / self.deviation, error / np.maximum(np.abs(values) + np.abs(self.truth), 1e-300)


def fit_linear(encoder: WindowEncoder, train: Origins, valid: Origins, most: int) -> LinearForecast:
    """Ridge regression from windows to the horizons after them; validation error selects its strength.

    Args:
        encoder: configured.
        most: training windows at most.
    """
    size, horizon = encoder.config.context, encoder.horizon
    count, sx, sy = 0, np.zeros(size), np.zeros(horizon)
    square, right = np.zeros((size, size)), np.zeros((size, horizon))
    for pairs in _window_pairs(encoder, train, most):
        complete = ~np.isnan(pairs.y).any(1)
        x, y = pairs.x[complete], pairs.y[complete]
        count, sx, sy = count + len(x), sx + x.sum(0), sy + y.sum(0)
        square += x.T @ x
        right += x.T @ y
    candidates = [(np.zeros((size, horizon)), sy / max(count, 1))]
    if count >= _MIN_WINDOWS:
        mx, my = sx / count, sy / count
        values, vectors = np.linalg.eigh(square - count * np.outer(mx, mx))
        turned, unit = vectors.T @ (right - count * np.outer(mx, my)), max(values.mean(), 1e-12)
        weights = [vectors @ (turned / (np.maximum(values, 0) + r * unit)[:, None]) for r in _RIDGES]
        candidates += [(weight, my - mx @ weight) for weight in weights]
    parts = list(_window_pairs(encoder, valid, _MAX_VALIDATION_WINDOWS))
    scored = [_scored(weight, bias, parts, encoder) for weight, bias in candidates]
    return min(scored, key=lambda forecast: forecast.error)


def _scored(
    weight: np.ndarray, bias: np.ndarray, parts: list[WindowPairs], encoder: WindowEncoder
) -> LinearForecast:
    """A linear forecast with its errors on validation windows."""
    forecasts = [pairs.x @ weight + bias for pairs in parts]
    errors = [
        pairs.absolute_errors(forecast, encoder.config.transform)
        for pairs, forecast in zip(parts, forecasts, strict=True)
    ]
    error, relative = (mean_or_inf(np.concatenate(kind)) for kind in zip(*errors, strict=True))
    if encoder.positive:
        error = float(np.sqrt(error * relative))
    residuals = [pairs.y - forecast for pairs, forecast in zip(parts, forecasts, strict=True)]
    return LinearForecast(weight, bias, error, np.concatenate(residuals))


def mean_or_inf(values: np.ndarray) -> float:
    """The mean without missing values; infinity where all are missing."""
    return float(np.nanmean(values)) if not np.isnan(values).all() else np.inf


def _window_pairs(encoder: WindowEncoder, origins: Origins, most: int) -> Iterator[WindowPairs]:
    """At most `most` windows, evenly spaced, and the values after them, in parts."""
    panel = origins.panel
    numbers = windows.subsample(np.arange(len(origins.rows) * panel.values.shape[1]), most)
    statistics = encoder.statistics.of_panel(panel)
    for begin in range(0, len(numbers), _CHUNK):
        index = windows.window_index(origins, numbers[begin : begin + _CHUNK])
        scaled = encoder.scaled(panel, index, statistics)
        y = (encoder.targets(panel, index, statistics) - scaled.center) / scaled.scale
        truth = windows.future(panel, index, encoder.horizon)
        deviation = statistics.deviation[index.series, index.channel][:, None]
        yield WindowPairs(scaled.values, y, scaled.center, scaled.scale, truth, deviation)
