"""Measures how alike the series and channels of a panel move, by which fewer of them are independent."""

from __future__ import annotations

import numpy as np

from .panel import Origins
from .series_statistics import training_ends
from .windows import subsample

_MAX_SERIES, _MAX_CHANNELS, _MAX_STEPS = 60, 16, 4_000  # of which changes are compared
_LEAST_STEPS = 4  # seasonal changes of a series, below which plain ones are taken
_LEAST_PAIRS = 30  # pairs of changes at the same step, below which nothing is known


def shared_movement(train: Origins, season: int) -> float | None:
    """The mean correlation of changes at the same step, over pairs of series and channels.

    Changes are those of a season ago taken off those of now. The larger of two correlations counts: that of
    the changes themselves, which add up in errors some steps ahead, and that of their sizes, since both sides
    of an interval miss in the same steps. One standard error is added.

    Returns:
        From 0 to 1; None for a single column or where too few changes are known.
    """
    panel, ends = train.panel, training_ends(train)
    if len(panel.ids) * panel.values.shape[1] < 2:
        return None
    series = subsample(np.arange(len(panel.ids)), _MAX_SERIES)
    channels = subsample(np.arange(panel.values.shape[1]), _MAX_CHANNELS)
    last = int((panel.first[series] + ends[series] - panel.starts[series]).max())
    kinds = np.full((2, len(series), len(channels), _MAX_STEPS), np.nan)
    for place, number in enumerate(series.tolist()):
        begin, end = int(panel.starts[number]), int(ends[number])
        changes = _changes(panel.values[max(begin, end - _MAX_STEPS) : end, channels], season)
        steps = int(panel.first[number]) + end - begin - len(changes) + np.arange(len(changes)) - last
        inside = steps >= -_MAX_STEPS
        for kind, part in enumerate((changes[inside], np.abs(changes[inside]))):
            kinds[kind, place][:, steps[inside]] = _standardised(part).T
    found = [_mean_correlation(columns.reshape(-1, _MAX_STEPS)) for columns in kinds]
    return max((each for each in found if each is not None), default=None)


def independent_share(columns: float, correlation: float) -> float:
    """How many independent columns tell as much as `columns` of this mean correlation (Kish 1965)."""
    return columns / (1 + (columns - 1) * correlation)


def _changes(values: np.ndarray, season: int) -> np.ndarray:
    changes = np.diff(values, axis=0)
    return changes[season:] - changes[:-season] if 1 < season <= len(changes) - _LEAST_STEPS else changes


def _standardised(changes: np.ndarray) -> np.ndarray:
    """Columns (T, C) with mean 0 and deviation 1, missing ones NaN; a constant column is left out."""
    present = ~np.isnan(changes)
    count = np.maximum(present.sum(0), 1)
    centered = changes - np.where(present, changes, 0.0).sum(0) / count
    deviation = np.sqrt(np.where(present, centered**2, 0.0).sum(0) / count)
    return centered / np.where(deviation > 0, deviation, np.nan)


def _mean_correlation(columns: np.ndarray) -> float | None:
    """The mean product of two columns (K, T) at the same step plus one standard error, within 0 and 1."""
    present = ~np.isnan(columns)
    known, count = np.where(present, columns, 0.0), present.sum(0)
    pairs = count * (count - 1)
    if pairs.sum() < 2 * _LEAST_PAIRS:
        return None
    products = known.sum(0) ** 2 - (known**2).sum(0)  # of every pair, twice
    mean = products.sum() / pairs.sum()
    error = np.sqrt(((products - mean * pairs) ** 2).sum()) / pairs.sum()
    return float(np.clip(mean + error, 0.0, 1.0))
