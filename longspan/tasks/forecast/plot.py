"""Draws a forecast with its intervals beside the rows before it, by matplotlib."""

from __future__ import annotations

from typing import Any

import numpy as np

from longspan import errors
from longspan.optional import require

from . import evaluation
from .predictions import Forecasts
from .report import times_of

_COLOR = "#0b67c2"
_OPACITY = 0.18  # of an interval
_HORIZONS = 4  # of rows before the forecast that are drawn


def plot(forecasts: Forecasts, series: str | None, target: str | None, axes: Any) -> Any:
    """The matplotlib axes with one forecast.

    Args:
        forecasts: one for each series; series: its id, None for the first; target: its column, None for the
            first; axes: to draw into, None for new ones.

    Raises:
        ImportError: matplotlib is missing; the sentence names the command.
        ValueError: there is no such series or target.
    """
    panel = forecasts.origins.panel
    channel = 0 if target is None else _position("target", target, panel.columns.target)
    number = 0 if series is None else _position("series", series, panel.ids)
    n = int(np.flatnonzero(forecasts.origins.series == number)[0])
    if axes is None:
        _, axes = require("matplotlib.pyplot", "plot", "the plot").subplots(
            figsize=(8, 3), layout="constrained"
        )
    row, horizon = int(forecasts.origins.rows[n]), forecasts.point.shape[1]
    before = np.arange(max(int(panel.starts[number]), row - _HORIZONS * horizon), row)
    x = times_of(panel, np.arange(row, row + horizon), number)
    axes.plot(times_of(panel, before, number), panel.values[before, channel], color="black", label="actual")
    axes.plot(x, forecasts.point[n, :, channel], color=_COLOR, label="forecast")
    for percent, low, high in evaluation.interval_pairs(forecasts.levels):
        edges = forecasts.quantiles[n, :, channel][:, [low, high]].T
        axes.fill_between(x, *edges, color=_COLOR, alpha=_OPACITY, linewidth=0, label=f"{percent} %")
    title = " ".join(part for part in (panel.ids[number], panel.columns.target[channel]) if part)
    axes.set(title=title, xlabel="time", ylabel=panel.columns.target[channel])
    axes.legend()
    return axes


def _position(argument: str, name: str, names: tuple[str, ...]) -> int:
    return names.index(errors.check_choice(argument, name, names))
