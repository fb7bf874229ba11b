"""Measures how much errors at neighbouring origins, and of different series and channels, tell the same."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from typing_extensions import Self

from .panel import Origins
from .series_statistics import training_ends
from .windows import subsample

_MAX_SERIES, _MAX_CHANNELS, _MAX_ROWS = 60, 16, 4_000  # whose errors are compared
_MAX_STEPS = 12  # steps ahead at which they are; those between are interpolated
_LEAST_PAIRS = 30  # pairs of errors at the same row, below which nothing is known


class Dependence(NamedTuple):
    """How many errors of a forecast tell as much as one independent error, at each step ahead.

    Both are measured on the errors of a naive forecast in the training part.

    memory: (H,), from 1 to h at step h: how many origins in a row count as one. Windows that overlap share
        steps, but where the noise is forgotten soon their errors are as good as independent.
    correlation: (H,), from 0 to 1: the mean correlation of two series or channels at the same row. The larger
        of two counts: that of errors, and that of their sizes, since both sides of an interval miss in the
        same rows. None for a single column or where too few rows are known.
    """

    memory: np.ndarray
    correlation: np.ndarray | None

    @classmethod
    def measure(cls, train: Origins, horizon: int, season: int) -> Self:
        """Measure the errors of repeating the last season, over at most 60 series of 16 channels.

        The memory is the integrated autocorrelation time of the sizes of errors, in steps (Geyer 1992,
        "Practical Markov Chain Monte Carlo", section 3.3). One standard error is added to every correlation.

        Args:
            horizon: H, in steps; season: in steps, 1 for repeating the last value.
        """
        every = np.arange(1, horizon + 1)
        steps = np.unique(np.geomspace(1, horizon, _MAX_STEPS).round().astype(int))
        lags, place = np.unique(-(-steps // season) * season, return_inverse=True)
        measured = [_measured(_naive_errors(train, int(lag)), horizon) for lag in lags]
        times = np.stack(
            [np.minimum(measured[i][0], every)[s - 1] for i, s in zip(place, steps, strict=True)]
        )
        memory = np.exp(np.interp(np.log(every), np.log(steps), np.log(times)))
        found = [measured[i][1] for i in place]
        known = [each for each in found if each is not None]
        correlation = np.interp(every, steps, known) if len(known) == len(found) else None
        return cls(memory, correlation)


def independent_share(columns: float, correlation: np.ndarray) -> np.ndarray:
    """How many independent columns tell as much as `columns` of these mean correlations (Kish 1965)."""
    return columns / (1 + (columns - 1) * correlation)


def _naive_errors(train: Origins, lag: int) -> np.ndarray:
    """Differences to the value `lag` rows before, (columns, R): one row for each series and channel.

    Errors of the same time stand in one column of R, NaN where a value is missing.
    """
    panel, ends = train.panel, training_ends(train)
    series = subsample(np.arange(len(panel.ids)), _MAX_SERIES)
    channels = subsample(np.arange(panel.values.shape[1]), _MAX_CHANNELS)
    lasts = panel.first[series] + ends[series] - panel.starts[series]
    errors = np.full((len(series), len(channels), _MAX_ROWS), np.nan)
    for place, (number, last) in enumerate(zip(series.tolist(), lasts.tolist(), strict=True)):
        begin, end = int(panel.starts[number]), int(ends[number])
        values = panel.values[max(begin, end - _MAX_ROWS - lag) : end, channels]
        changes = values[lag:] - values[:-lag]
        stop = _MAX_ROWS - int(lasts.max() - last)  # the latest series fills the last column
        kept = changes[max(0, len(changes) - max(stop, 0)) :]
        errors[place, :, max(stop, 0) - len(kept) : max(stop, 0)] = kept.T
    return errors.reshape(-1, _MAX_ROWS)


def _measured(errors: np.ndarray, horizon: int) -> tuple[np.ndarray, float | None]:
    """The integrated autocorrelation times (H,) within 1, 2, ... H rows, and the correlation of columns."""
    sizes = _standardised(np.abs(errors))
    found = [_mean_correlation(columns) for columns in (_standardised(errors), sizes)]
    return _memory(sizes, horizon), max((each for each in found if each is not None), default=None)


def _memory(sizes: np.ndarray, horizon: int) -> np.ndarray:
    """1 + 2 * the sum of the autocorrelations at fewer than h rows apart, up to the first below 0."""
    known = np.where(np.isnan(sizes), 0.0, sizes)
    rows, present = sizes.shape[1], (~np.isnan(sizes)).sum(1)
    spectrum = np.fft.rfft(known, 2 * rows)
    products = np.fft.irfft((np.abs(spectrum) ** 2).sum(0), 2 * rows)[:horizon]
    apart = np.arange(len(products))
    pairs = np.maximum(present[:, None] - apart, 0).sum(0)
    error = 1 / max(present.sum(), 1) ** 0.5
    correlation = np.zeros(horizon)
    correlation[: len(products)] = np.where(pairs > 0, products / np.maximum(pairs, 1) + error, 0.0)
    below = np.flatnonzero(correlation <= 0)
    if len(below):
        correlation[below[0] :] = 0.0
    correlation[0] = 0.0
    return np.maximum(1 + 2 * np.cumsum(correlation), 1.0)


def _standardised(errors: np.ndarray) -> np.ndarray:
    """Rows (K, R) with mean 0 and deviation 1, missing values NaN; a constant row is left out."""
    present = ~np.isnan(errors)
    count = np.maximum(present.sum(1, keepdims=True), 1)
    centered = errors - np.where(present, errors, 0.0).sum(1, keepdims=True) / count
    deviation = np.sqrt(np.where(present, centered**2, 0.0).sum(1, keepdims=True) / count)
    return centered / np.where(deviation > 0, deviation, np.nan)


def _mean_correlation(columns: np.ndarray) -> float | None:
    """The mean product of two rows of (K, R) in the same column plus one standard error, within 0 and 1."""
    present = ~np.isnan(columns)
    known, count = np.where(present, columns, 0.0), present.sum(0)
    pairs = count * (count - 1)
    if pairs.sum() < 2 * _LEAST_PAIRS:
        return None
    products = known.sum(0) ** 2 - (known**2).sum(0)  # of every pair, twice
    mean = products.sum() / pairs.sum()
    error = np.sqrt(((products - mean * pairs) ** 2).sum()) / pairs.sum()
    return float(np.clip(mean + error, 0.0, 1.0))
