"""Estimates mean, scale and range of series: from the training part, or from a new series' own values."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch

from longspan.data.scaling import moments

from .panel import Origins, Panel


class SeriesStatistics(NamedTuple):
    """Statistics of S series of C channels, each (S, C).

    mean, scale: mean and standard deviation of the transformed values.
    floor: values below it are raised to it before a logarithm is taken.
    deviation: standard deviation in the user's units.
    low, high: the smallest and the largest value in the user's units; NaN where all are missing.
    """

    mean: np.ndarray
    scale: np.ndarray
    floor: np.ndarray
    deviation: np.ndarray
    low: np.ndarray
    high: np.ndarray


class TrainingStatistics:
    """The statistics of every training series, found by the series' name.

    Args:
        names: of the S series.
        table: the statistics, (S, C) each.
        transform: the transform of the values, see `longspan.data.transforms`.
        ends: (S,), the rows before which the values were; None after loading.
    """

    def __init__(
        self, names: Sequence[str], table: SeriesStatistics, transform: str, ends: np.ndarray | None = None
    ) -> None:
        self.table, self.transform, self.ends = table, transform, ends
        self.rows = {name: row for row, name in enumerate(names)}

    @classmethod
    def fit(cls, train: Origins, transform: str) -> TrainingStatistics:
        """The statistics of every series up to the end of its last training window."""
        panel = train.panel
        ends = _fit_ends(train)
        spans = zip(panel.starts[:-1].tolist(), ends.tolist(), strict=True)
        parts = [series_statistics(panel.values[begin:end], transform) for begin, end in spans]
        return cls(panel.ids, _stacked(parts), transform, ends)

    def lower_floors(self, panel: Panel) -> None:
        """Lower the floors of the training series to half of their smallest values above 0 in all rows."""
        floor = self.table.floor.copy()
        for series, (begin, end) in enumerate(pairwise(panel.starts.tolist())):
            values = panel.values[begin:end]
            low = np.fmin.reduce(values, 0, initial=np.inf, where=values > 0)
            floor[series] = np.where(floor[series] > 0, np.minimum(floor[series], 0.5 * low), floor[series])
        self.table = self.table._replace(floor=floor)

    def is_of(self, train: Origins, transform: str) -> bool:
        """Whether these are the statistics of these training windows with this transform."""
        same = self.ends is not None and np.array_equal(_fit_ends(train), self.ends)
        return same and transform == self.transform

    def of_panel(self, panel: Panel) -> SeriesStatistics:
        """The statistics of a panel's series: those of training, and for a new series of its own values."""
        if all(name in self.rows for name in panel.ids):
            rows = [self.rows[name] for name in panel.ids]
            return SeriesStatistics(*(column[rows] for column in self.table))
        parts = []
        for series, name in enumerate(panel.ids):
            row = self.rows.get(name)
            if row is None:
                values = panel.values[panel.starts[series] : panel.starts[series + 1]]
                parts.append(series_statistics(values, self.transform))
            else:
                parts.append(SeriesStatistics(*(column[row] for column in self.table)))
        return _stacked(parts)

    def of_name(self, name: str) -> SeriesStatistics:
        """The statistics (1, C) of one training series; for any other name the mean over these series."""
        row = self.rows.get(name)
        if row is None:
            return SeriesStatistics(*(column.mean(0, keepdims=True) for column in self.table))
        return SeriesStatistics(*(column[row : row + 1] for column in self.table))

    def constants(self) -> np.ndarray:
        """(C,): the only value of each channel in all training series, NaN where there are several."""
        low, high = np.fmin.reduce(self.table.low, 0), np.fmax.reduce(self.table.high, 0)
        return np.where(low == high, low, np.nan)

    def state(self) -> list[torch.Tensor]:
        """The table as tensors, in the order of `SeriesStatistics`."""
        return [torch.from_numpy(column.copy()) for column in self.table]

    @classmethod
    def from_state(cls, names: Sequence[str], state: Any, transform: str) -> TrainingStatistics:
        """The statistics that gave this state."""
        return cls(names, SeriesStatistics(*(column.numpy() for column in state)), transform)


def training_ends(train: Origins) -> np.ndarray:
    """(S,), the row after the last training origin of every series; the series' end if it has none."""
    ends = train.panel.starts[1:].copy()
    last = np.full(len(ends), -1)
    np.maximum.at(last, train.series, train.rows + 1)
    return np.where(last >= 0, last, ends)


def _fit_ends(train: Origins) -> np.ndarray:
    """(S,), the row before which the values of each series count, at least one after its start."""
    return np.maximum(training_ends(train), train.panel.starts[:-1] + 1)


def series_statistics(values: np.ndarray, transform: str) -> SeriesStatistics:
    """The statistics of one series (T, C), each (C,). The floor is half the smallest value."""
    if not len(values):
        values = np.full((1, values.shape[1]), np.nan)
    low, high = np.fmin.reduce(values, 0), np.fmax.reduce(values, 0)
    floor = 0.5 * np.nan_to_num(low)
    mean, scale = moments(values, transform, floor)
    return SeriesStatistics(mean, scale, floor, moments(values)[1], low, high)


def _stacked(parts: list[SeriesStatistics]) -> SeriesStatistics:
    return SeriesStatistics(*(np.stack(columns) for columns in zip(*parts, strict=True)))
