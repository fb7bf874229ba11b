"""Gathers windows of a panel batch by batch, so that only the current batch is copied."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .panel import Origins, Panel


class WindowIndex(NamedTuple):
    """The positions of B windows: the first row to forecast, the series and the channel, each (B,) int64."""

    row: np.ndarray
    series: np.ndarray
    channel: np.ndarray


def window_index(origins: Origins, take: np.ndarray | None = None) -> WindowIndex:
    """The windows of every channel at every origin, the channel changing fastest.

    Args:
        take: (B,) numbers of the windows to return, in that order; None for all.
    """
    channels = origins.panel.values.shape[1]
    numbers = np.arange(len(origins.rows) * channels) if take is None else take
    taken = origins._replace(rows=origins.rows[numbers // channels])
    return WindowIndex(taken.rows, taken.series, numbers % channels)


def history(panel: Panel, index: WindowIndex, length: int) -> np.ndarray:
    """The last `length` values before every origin, (B, length) float64, NaN before the series begins."""
    return _gathered(panel, index, np.arange(-length, 0))


def future(panel: Panel, index: WindowIndex, horizon: int) -> np.ndarray:
    """The first `horizon` values from every origin on, (B, horizon) float64, NaN after the series ends."""
    return _gathered(panel, index, np.arange(horizon))


def neighbourhood(panel: Panel, index: WindowIndex, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers (B, L) at offsets (L,) from the origins, and whether each lies inside the series (B, L)."""
    rows = index.row[:, None] + offsets
    inside = (rows >= panel.starts[index.series, None]) & (rows < panel.starts[index.series + 1, None])
    return np.clip(rows, 0, len(panel.values) - 1), inside


def _gathered(panel: Panel, index: WindowIndex, offsets: np.ndarray) -> np.ndarray:
    rows, inside = neighbourhood(panel, index, offsets)
    values = panel.values[rows, index.channel[:, None]]
    if not inside.all():
        values[~inside] = np.nan
    return values


def forward_fill(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values (B, T) with NaN replaced by the last value before, and the steps since that value (B, T).

    NaN before a row's first value become that first value, with T as the steps. A row of NaN stays NaN.

    >>> forward_fill(np.array([[np.nan, 2.0, np.nan, 3.0]]))
    (array([[2., 2., 2., 3.]]), array([[4, 0, 1, 0]]))
    """
    present = ~np.isnan(values)
    steps = np.arange(values.shape[1])
    last = np.maximum.accumulate(np.where(present, steps, -1), axis=1)
    first = np.argmax(present, axis=1)[:, None]
    filled = np.take_along_axis(values, np.where(last < 0, first, last), axis=1)
    return filled, np.where(last < 0, values.shape[1], steps - last)


def every_origin(panel: Panel, before: int, after: int, most: int = 200_000) -> np.ndarray:
    """Rows with at least `before` rows of their series before them and `after` rows from them on.

    Rows after the last known target do not count. Of more than `most` rows every second, third, ... is taken.
    """
    begins, ends = panel.starts[:-1] + before, panel.last_seen() - after + 1
    stride = max(1, -(-int(np.maximum(ends - begins, 0).sum()) // most))
    spans = [np.arange(begin, end, stride) for begin, end in zip(begins, ends, strict=True)]
    return np.concatenate(spans).astype(np.int64)


def subsample(rows: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the rows, evenly spaced."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)]
