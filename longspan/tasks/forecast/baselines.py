"""Forecasts by repeating the last season, and finds the season's length in the data."""

from __future__ import annotations

import numpy as np

from .panel import Origins, Panel
from .windows import WindowIndex, forward_fill, history, subsample

_LONGEST_PEAK = 5_000  # longest season, in steps, that is looked for by autocorrelation
_MIN_CORRELATION = 0.1  # mean autocorrelation below which a peak is no candidate for a season
_MAX_RATIO = (
    0.9  # seasonal differences of a season that the calendar lacks, over those at parts of it, at most
)


def seasonal_naive(panel: Panel, index: WindowIndex, horizon: int, season: int) -> np.ndarray:
    """The last season repeated, (B, horizon); with season 1 the last value.

    A missing value is replaced by the last one before it within two seasons, or 8 steps if these are more. It
    stays NaN if there is none.
    """
    span = max(2 * season, 8)
    window, _ = forward_fill(history(panel, index, span))
    return window[:, span - season + np.arange(horizon) % season]


def mean_difference(panel: Panel, rows: np.ndarray, lag: int, most: int = 100_000) -> np.ndarray:
    """The mean of |y_t - y_(t - lag)| over the rows, (C,); NaN for a channel where no such pair is known.

    Args:
        most: values at most; of more, evenly spaced rows are taken.
    """
    rows = subsample(rows, max(1, most // panel.values.shape[1]))
    series = Origins(panel, rows).series
    earlier = rows - lag
    inside = earlier >= panel.starts[series]
    differences = np.abs(panel.values[rows[inside]] - panel.values[earlier[inside]])
    present = ~np.isnan(differences)
    count, total = present.sum(0), np.where(present, differences, 0.0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def find_season(panel: Panel, rows: np.ndarray, longest: int) -> int:
    """The season's length in steps: the lag, 2 at least, with the smallest mean difference; 1 for none.

    Candidates are the calendar's lags (a day, a week, ...) and the highest peaks of the autocorrelation. One
    that is not the calendar's has to have smaller differences than a half and a quarter of it.

    Args:
        rows: from which differences are taken; longest: longest season in steps.
    """
    calendar = panel.frequency.seasons()
    lags = [lag for lag in calendar if 2 <= lag <= longest]
    lags += [
        lag for lag in _autocorrelation_peaks(panel, rows, min(longest, _LONGEST_PEAK)) if lag not in lags
    ]
    if not lags:
        return 1
    ratios = np.array([_difference_ratio(panel, rows, lag) for lag in lags])
    if np.isnan(ratios).all():
        return 1
    best = lags[int(np.nanargmin(ratios))]
    if best in calendar:
        return best
    shorter = sorted({max(1, best // 4), max(1, best // 2)})
    parts = np.array([_difference_ratio(panel, rows, lag) for lag in shorter])
    parts = parts[~np.isnan(parts)]  # too few rows may be there
    return best if len(parts) and np.nanmin(ratios) < _MAX_RATIO * parts.mean() else 1


def _difference_ratio(panel: Panel, rows: np.ndarray, lag: int) -> float:
    """The mean over channels of the mean difference at a lag over that at lag 1."""
    unit = mean_difference(panel, rows, 1)
    ratio = mean_difference(panel, rows, lag) / np.where(unit > 0, unit, 1.0)
    return float(np.nanmean(ratio)) if not np.isnan(ratio).all() else np.nan


def _autocorrelation_peaks(panel: Panel, rows: np.ndarray, longest: int) -> list[int]:
    """The lags of the four highest peaks of the mean autocorrelation of the first differences.

    It is the mean over up to 20 series and 8 channels of each, of their last rows.
    """
    lengths = np.diff(panel.starts)
    chosen = subsample(np.flatnonzero(lengths >= max(16, lengths.max() // 2)), 20)
    total = np.zeros(longest + 1)
    for series in chosen:
        begin, end = panel.starts[series], min(panel.starts[series + 1], rows.max() + 1)
        values = panel.values[max(begin, end - 4 * longest - 64) : end]
        for channel in subsample(np.arange(values.shape[1]), 8):
            total += _autocorrelation(values[:, channel], longest)
    inner = total[1:-1]
    is_peak = (inner > total[:-2]) & (inner >= total[2:]) & (inner > _MIN_CORRELATION * len(chosen))
    peaks = np.flatnonzero(is_peak) + 1
    peaks = peaks[peaks >= 2]
    return peaks[np.argsort(-total[peaks])][:4].tolist()


def _autocorrelation(values: np.ndarray, longest: int) -> np.ndarray:
    """The autocorrelation of the first differences of values (T,) at lags 0 to `longest`, by FFT."""
    correlation = np.zeros(longest + 1)
    steps = np.diff(values)
    if len(steps) < 8:
        return correlation
    steps = np.where(np.isnan(steps), 0.0, steps - np.nanmean(steps) if not np.isnan(steps).all() else 0.0)
    size = 1 << int(2 * len(steps) - 1).bit_length()
    power = np.abs(np.fft.rfft(steps, size)) ** 2
    covariance = np.fft.irfft(power)[: longest + 1]
    if covariance[0] > 0:
        correlation[: len(covariance)] = covariance / covariance[0]
    return correlation
