"""Knows how windows are gathered from a panel when they are needed: no copies but the batch in hand."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .panel import Origins, Panel

_LONGEST_PEAK = 5_000  # steps of a season that no calendar speaks of


class WindowIndex(NamedTuple):
    """Windows by where they are: row, the first one foretold, series and channel, each (B,) int64."""

    row: np.ndarray
    series: np.ndarray
    channel: np.ndarray


def window_index(origins: Origins, take: np.ndarray | None = None) -> WindowIndex:
    """Every channel at every origin, the channel fastest; or those of them with the numbers `take`."""
    channels = origins.panel.values.shape[1]
    numbers = np.arange(len(origins.rows) * channels) if take is None else take
    taken = origins._replace(rows=origins.rows[numbers // channels])
    return WindowIndex(taken.rows, taken.series, numbers % channels)


def history(panel: Panel, at: WindowIndex, length: int) -> np.ndarray:
    """The `length` values before each place, (B, length) float64, NaN where there are none."""
    return _gathered(panel, at, np.arange(-length, 0))


def future(panel: Panel, at: WindowIndex, horizon: int) -> np.ndarray:
    """The `horizon` values from each place on, (B, horizon) float64, NaN where there are none."""
    return _gathered(panel, at, np.arange(horizon))


def neighbourhood(panel: Panel, at: WindowIndex, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers (B, L) at offsets from the places, and whether they lie inside the series."""
    rows = at.row[:, None] + offsets
    inside = (rows >= panel.starts[at.series, None]) & (rows < panel.starts[at.series + 1, None])
    return np.clip(rows, 0, len(panel.values) - 1), inside


def _gathered(panel: Panel, at: WindowIndex, offsets: np.ndarray) -> np.ndarray:
    rows, inside = neighbourhood(panel, at, offsets)
    found = panel.values[rows, at.channel[:, None]]
    if not inside.all():
        found[~inside] = np.nan
    return found


def forward_fill(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each value or the last one seen before it, and the steps since then, both (B, T).

    Before the first value of a row its first value stands, since T steps; a row of NaN stays NaN.

    >>> forward_fill(np.array([[np.nan, 2.0, np.nan, 3.0]]))
    (array([[2., 2., 2., 3.]]), array([[4, 0, 1, 0]]))
    """
    seen = ~np.isnan(values)
    steps = np.arange(values.shape[1])
    last = np.maximum.accumulate(np.where(seen, steps, -1), axis=1)
    first = np.argmax(seen, axis=1)[:, None]
    filled = np.take_along_axis(values, np.where(last < 0, first, last), axis=1)
    return filled, np.where(last < 0, values.shape[1], steps - last)


def every_origin(panel: Panel, before: int, after: int, most: int = 200_000) -> np.ndarray:
    """Rows with at least `before` rows before them in their series and `after` rows from them on.

    A series ends with its last known row: unknown ones at its end are what is foretold.
    Where there are more than `most`, every second, third and so on.
    """
    begins, ends = panel.starts[:-1] + before, panel.last_seen() - after + 1
    stride = max(1, -(-int(np.maximum(ends - begins, 0).sum()) // most))
    spans = [np.arange(begin, end, stride) for begin, end in zip(begins, ends, strict=True)]
    return np.concatenate(spans).astype(np.int64)


def subsample(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of them, evenly spread."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)]


def seasonal_naive(panel: Panel, at: WindowIndex, horizon: int, season: int) -> np.ndarray:
    """The last season seen, over and over, (B, horizon); the last value with season 1.

    A missing value is taken from the last one seen before it in the last two seasons; NaN if none was.
    """
    span = max(2 * season, 8)
    window, _ = forward_fill(history(panel, at, span))
    return window[:, span - season + np.arange(horizon) % season]


def differences(panel: Panel, rows: np.ndarray, lag: int, most: int = 100_000) -> np.ndarray:
    """(C,): the mean of |y_t - y_{t-lag}| over the rows; NaN for a channel without a pair."""
    rows = subsample(rows, max(1, most // panel.values.shape[1]))
    series = Origins(panel, rows).series
    back = rows - lag
    inside = back >= panel.starts[series]
    gaps = np.abs(panel.values[rows[inside]] - panel.values[back[inside]])
    seen = ~np.isnan(gaps)
    count = seen.sum(0)
    return np.where(count > 0, np.where(seen, gaps, 0.0).sum(0) / np.maximum(count, 1), np.nan)


def find_season(panel: Panel, rows: np.ndarray, longest: int) -> int:
    """The lag, at least 2, after which values repeat best; 1 where there is none.

    The calendar's lags are tried, and the peaks of the autocorrelation of the first differences, which must
    show clearly.
    """
    tried = [lag for lag in panel.frequency.seasons() if 2 <= lag <= longest]
    tried += [lag for lag in _peaks(panel, rows, min(longest, _LONGEST_PEAK)) if lag not in tried]
    if not tried:
        return 1
    spread = np.array([_spread(panel, rows, lag) for lag in tried])
    best = tried[int(np.nanargmin(spread))] if not np.isnan(spread).all() else 1
    if best in panel.frequency.seasons():
        return best
    # a season that no calendar speaks of must show: against the differences at parts of it
    parts = [_spread(panel, rows, lag) for lag in sorted({max(1, best // 4), max(1, best // 2)})]
    return best if np.nanmin(spread) < 0.9 * np.nanmean(parts) else 1


def _spread(panel: Panel, rows: np.ndarray, lag: int) -> float:
    """The differences at a lag, each channel by its differences at lag 1."""
    unit = differences(panel, rows, 1)
    found = differences(panel, rows, lag) / np.where(unit > 0, unit, 1.0)
    return float(np.nanmean(found)) if not np.isnan(found).all() else np.nan


def _peaks(panel: Panel, rows: np.ndarray, longest: int) -> list[int]:
    """The highest peaks of the mean autocorrelation of the differences of up to 20 stretches."""
    lengths = np.diff(panel.starts)
    chosen = subsample(np.flatnonzero(lengths >= max(16, lengths.max() // 2)), 20)
    total = np.zeros(longest + 1)
    for s in chosen:
        begin, end = panel.starts[s], min(panel.starts[s + 1], rows.max() + 1)
        part = panel.values[max(begin, end - 4 * longest - 64) : end]
        for channel in subsample(np.arange(part.shape[1]), 8):
            total += _autocorrelation(part[:, channel], longest)
    inner = total[1:-1]
    peaks = np.flatnonzero((inner > total[:-2]) & (inner >= total[2:]) & (inner > 0.1 * len(chosen))) + 1
    peaks = peaks[peaks >= 2]
    return peaks[np.argsort(-total[peaks])][:4].tolist()


def _autocorrelation(values: np.ndarray, longest: int) -> np.ndarray:
    found = np.zeros(longest + 1)
    steps = np.diff(values)
    if len(steps) < 8:
        return found
    steps = np.where(np.isnan(steps), 0.0, steps - np.nanmean(steps) if not np.isnan(steps).all() else 0.0)
    size = 1 << int(2 * len(steps) - 1).bit_length()
    power = np.abs(np.fft.rfft(steps, size)) ** 2
    whole = np.fft.irfft(power)[: longest + 1]
    if whole[0] > 0:
        found[: len(whole)] = whole / whole[0]
    return found
