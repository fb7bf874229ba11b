"""Forecasts by repeating the last season, and finds the season's length in the data."""

from __future__ import annotations

import numpy as np

from .panel import Origins, Panel
from .windows import WindowIndex, forward_fill, history, subsample

_LONGEST_PEAK = 5_000  # longest season, in steps, that is looked for by autocorrelation
_MAX_DIFFERENCES = 100_000  # values at most from which a season's differences are taken
_MIN_CORRELATION = 0.1  # mean autocorrelation below which a peak is no candidate for a season
_MIN_ERRORS = 3.0  # standard errors of it below which a peak is none either
_MAX_RATIO = (
    0.9  # seasonal differences of a season that the calendar lacks, over those at parts of it, at most
)
_SAME = 1.1  # ratio of the differences of a season to those of a multiple of it, up to which it is taken


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
    _, differences = _differences(panel, rows, lag, most)
    present = ~np.isnan(differences)
    count, total = present.sum(0), np.where(present, differences, 0.0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _differences(
    panel: Panel, rows: np.ndarray, lag: int, most: int, *, of_changes: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The series (n,) and |y_t - y_(t - lag)| (n, C) of the rows that have such a pair in their series.

    Args:
        of_changes: whether y is not the value but its change in one step, in which a trend is no difference.
    """
    rows = subsample(rows, max(1, most // panel.values.shape[1]))
    series = Origins(panel, rows).series
    earlier = rows - lag
    inside = earlier - of_changes >= panel.starts[series]
    rows, earlier = rows[inside], earlier[inside]
    differences = panel.values[rows] - panel.values[earlier]
    if of_changes:
        differences -= panel.values[rows - 1] - panel.values[earlier - 1]
    return series[inside], np.abs(differences)


def find_season(panel: Panel, rows: np.ndarray, longest: int) -> int:
    """The season's length in steps: the lag, 2 at least, with the smallest mean difference; 1 for none.

    Candidates are the calendar's lags (a day, a week, ...) and the highest peaks of the autocorrelation. One
    that is not the calendar's has to have smaller differences than a half and a quarter of it, of the values
    or of their changes. Of a season and its multiples the shortest is taken unless it has larger differences.

    Args:
        rows: from which differences are taken; longest: longest season in steps.
    """
    calendar = panel.frequency.seasons()
    lags = [lag for lag in calendar if 2 <= lag <= longest]
    peaks = _autocorrelation_peaks(panel, rows, min(longest, _LONGEST_PEAK) + 1)
    lags += [lag for lag in peaks if lag not in lags]
    if not lags:
        return 1
    ratios = np.array([_difference_ratio(panel, rows, lag) for lag in lags])
    if np.isnan(ratios).all():
        return 1
    best = lags[int(np.nanargmin(ratios))]
    if best in calendar:
        return best
    least = np.nanmin(ratios)
    best = min(
        lag for lag, ratio in zip(lags, ratios, strict=True) if best % lag == 0 and ratio <= _SAME * least
    )
    shorter = sorted({max(1, best // 4), max(1, best // 2)})
    other = sorted({max(2, best // 4), max(2, best // 2)} - {best}) or [best + 1]
    found = _is_smaller(panel, rows, best, shorter) or _is_smaller(panel, rows, best, other, of_changes=True)
    return best if found else 1


def _is_smaller(
    panel: Panel, rows: np.ndarray, lag: int, others: list[int], *, of_changes: bool = False
) -> bool:
    """Whether the differences at a lag are clearly smaller than those at other lags on average."""
    at_lag, *at_others = (
        _difference_ratio(panel, rows, each, of_changes=of_changes) for each in (lag, *others)
    )
    known = [ratio for ratio in at_others if not np.isnan(ratio)]  # too few rows may be there
    return bool(known) and at_lag < _MAX_RATIO * float(np.mean(known))


def _difference_ratio(panel: Panel, rows: np.ndarray, lag: int, *, of_changes: bool = False) -> float:
    """The mean difference at a lag over that of values at lag 1, of the same series and channel.

    The mean over all differences that are known, so that a short series counts for little; NaN for none.
    """
    _, unit = _series_differences(panel, rows, 1)
    count, mean = _series_differences(panel, rows, lag, of_changes=of_changes)
    ratio = mean / np.where(unit > 0, unit, 1.0)
    return float((count * np.nan_to_num(ratio)).sum() / count.sum()) if count.any() else np.nan


def _series_differences(
    panel: Panel, rows: np.ndarray, lag: int, *, of_changes: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """How many differences of every series are known, (S, C), and their means, NaN for none."""
    series, differences = _differences(panel, rows, lag, _MAX_DIFFERENCES, of_changes=of_changes)
    present = ~np.isnan(differences)
    count, total = (
        np.stack([np.bincount(series, part, len(panel.ids)) for part in parts.T], 1)
        for parts in (present.astype(float), np.where(present, differences, 0.0))
    )
    return count, np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _autocorrelation_peaks(panel: Panel, rows: np.ndarray, longest: int) -> list[int]:
    """The lags of the four highest peaks of the mean autocorrelation of the first differences.

    It is the mean over up to 20 series and 8 channels of each, of their last rows.
    """
    lengths = np.diff(panel.starts)
    chosen = subsample(np.flatnonzero(lengths >= max(16, lengths.max() // 2)), 20)
    total, known = np.zeros(longest + 1), 0
    for series in chosen:
        begin, end = panel.starts[series], min(panel.starts[series + 1], rows.max() + 1)
        values = panel.values[max(begin, end - 4 * longest - 64) : end]
        for channel in subsample(np.arange(values.shape[1]), 8):
            total += _autocorrelation(values[:, channel], longest)
            known += len(values)
    inner, least = total[1:-1], max(_MIN_CORRELATION, _MIN_ERRORS / max(known, 1) ** 0.5)
    is_peak = (inner > total[:-2]) & (inner >= total[2:]) & (inner > least * len(chosen))
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
