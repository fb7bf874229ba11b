"""Estimates mean, scale and floor of series: from the training part, or from a new series' own values."""

from __future__ import annotations

from collections.abc import Sequence
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
    """

    mean: np.ndarray
    scale: np.ndarray
    floor: np.ndarray
    deviation: np.ndarray


class TrainingStatistics:
    """The statistics of every training series, found by the series' name.

    Args:
        names: of the S series.
        table: the statistics, (S, C) each.
        transform: the transform of the values, see `longspan.data.transforms`.
    """

    def __init__(self, names: Sequence[str], table: SeriesStatistics, transform: str) -> None:
        self.table, self.transform = table, transform
        self.rows = {name: row for row, name in enumerate(names)}

    @classmethod
    def fit(cls, train: Origins, transform: str) -> TrainingStatistics:
        """The statistics of every series up to the end of its last training window."""
        panel = train.panel
        ends = np.maximum(training_ends(train), panel.starts[:-1] + 1)
        spans = zip(panel.starts[:-1].tolist(), ends.tolist(), strict=True)
        parts = [series_statistics(panel.values[begin:end], transform) for begin, end in spans]
        return cls(panel.ids, _stacked(parts), transform)

    def of_panel(self, panel: Panel) -> SeriesStatistics:
        """The statistics of a panel's series: those of training, and for a new series of its own values."""
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


def series_statistics(values: np.ndarray, transform: str) -> SeriesStatistics:
    """The statistics of one series (T, C), each (C,). The floor is half the smallest value."""
    smallest = np.fmin.reduce(values, 0) if len(values) else np.zeros(values.shape[1])
    floor = 0.5 * np.nan_to_num(smallest)
    return SeriesStatistics(*moments(values, transform, floor), floor=floor, deviation=moments(values)[1])


def _stacked(parts: list[SeriesStatistics]) -> SeriesStatistics:
    return SeriesStatistics(*(np.stack(columns) for columns in zip(*parts, strict=True)))
