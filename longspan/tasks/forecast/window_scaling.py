"""Centers and scales windows of series, so that one network fits series at any level."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import windows

CENTERS = ("last", "mean", "season", "none")
SCALES = ("series", "window")
_LEAST_DEVIATION = 1e-3  # share of the series' scale; a window that varies less is scaled by its series


class WindowConfig(NamedTuple):
    """How windows are cut, centered and scaled.

    context: T, steps of a window.
    center: what is subtracted from a window: its "last" value, its "mean", the value one "season" before each
        step, or with "none" the mean of its series.
    scaling: what a window is divided by: the deviation of its "series" or of the "window" itself.
    transform: of the values, before all else; see `longspan.data.transforms`.
    """

    context: int
    center: str
    scaling: str
    transform: str


DEFAULT_CONFIG = WindowConfig(0, "last", "series", "none")


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


def scale_windows(
    raw: np.ndarray, mean: np.ndarray, scale: np.ndarray, config: WindowConfig, *, season: int, horizon: int
) -> ScaledWindow:
    """Windows on the network's scale.

    Args:
        raw: (B, T) transformed values, with center "season" (B, T + season).
        mean, scale: (B, 1), statistics of the windows' series.
    """
    lag, missing = season if config.center == "season" else 0, np.isnan(raw)
    if missing.any():
        filled, since = windows.forward_fill(raw)
        filled = np.where(np.isnan(filled), mean, filled)
    else:
        filled, since = raw, np.zeros(raw.shape, np.int64)
    window = filled[:, lag:]
    if config.scaling == "window":
        deviation = window.std(1, keepdims=True)
        scale = np.where(deviation > _LEAST_DEVIATION * scale, deviation, scale)
    if config.center == "season":
        steps = len(raw[0]) - lag + np.arange(horizon) % lag
        center, values = filled[:, steps], (window - filled[:, :-lag]) / scale
    else:
        level = {"last": window[:, -1:], "mean": window.mean(1, keepdims=True), "none": mean}[config.center]
        center, values = np.repeat(level, horizon, 1), (window - level) / scale
    return ScaledWindow(values, ~missing[:, lag:], since[:, lag:], center, scale)
