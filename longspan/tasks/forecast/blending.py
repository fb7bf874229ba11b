"""Finds the share of a naive forecast that makes the forecasts of many series better."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from longspan.data import transforms

from . import baselines, windows
from .linear_forecast import mean_or_inf
from .panel import Origins
from .window_encoder import WindowEncoder

_SHARES = (0.15, 0.3, 0.5, 0.7, 0.85)  # of the naive forecast
_GAIN = 0.998  # error ratio below which a share replaces a smaller error found before


class Blend(NamedTuple):
    """A naive forecast, its season and its share in the forecasts, 0 for none of it."""

    season: int = 1
    share: float = 0.0


def find_blend(encoder: WindowEncoder, points: np.ndarray, valid: Origins) -> Blend:
    """The naive forecast and its share with the least error on validation windows.

    The mean of a forecast and a simple one is often better than either (Bates and Granger 1969), most of all
    where series are close to random walks or short.

    Args:
        points: (N, H), transformed forecasts of the windows, by a network that was not trained on them.
    """
    index = windows.window_index(valid)
    truth = windows.future(valid.panel, index, encoder.horizon)
    deviation = encoder.statistics.of_panel(valid.panel).deviation[index.series, index.channel][:, None]

    def error(forecasts: np.ndarray) -> float:
        values = transforms.invert(forecasts, encoder.config.transform)
        size = np.abs(values - truth)
        found = mean_or_inf(size / deviation)
        if not encoder.positive:
            return found
        return (found * mean_or_inf(size / np.maximum(np.abs(values) + np.abs(truth), 1e-300))) ** 0.5

    best, least = Blend(), error(points)
    for season in sorted({1, encoder.season}):
        if encoder.naive_map(season) is None:
            continue
        naive = transformed_naive(encoder, valid, season)
        for share in _SHARES:
            found = error(points + share * (naive - points))
            if found < _GAIN * least:
                best, least = Blend(season, share), found
    return best


def transformed_naive(encoder: WindowEncoder, origins: Origins, season: int) -> np.ndarray:
    """The last season repeated, transformed, (N, H)."""
    index = windows.window_index(origins)
    floor = encoder.statistics.of_panel(origins.panel).floor[index.series, index.channel][:, None]
    naive = baselines.seasonal_naive(origins.panel, index, encoder.horizon, season)
    return transforms.apply(naive, encoder.config.transform, floor)
