"""Finds the shares of simple forecasts that make a network's forecasts better."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from longspan.data import transforms

from . import windows
from .origins import MANY_SERIES
from .panel import Origins
from .simple_forecasts import SimpleForecasts
from .window_encoder import WindowEncoder

_NETWORK = "network"
_FIRST_VOTES, _FIRST_VOTES_OF_FEW = 3, 5  # votes that the network has before the others; for few series
_MORE_VOTES = 10  # votes that go one after another to the forecast that lowers the error of the mean most
_SURE, _SURE_OF_FEW = 0.75, 0.25  # standard errors by which a vote lowers it at least; for few series
_MOST_VALUES = 400_000  # forecast values that are compared at most
_CHUNK = 1_000  # windows that are forecast at once
_SMALL = 1e-300  # least sum of values by which an error is divided
_LEAST_ERROR = 1e-12  # least mean error that is a unit


def find_shares(
    encoder: WindowEncoder, points: np.ndarray, valid: Origins, independent: float
) -> dict[str, float]:
    """The shares of simple forecasts, by name, with the least error on validation windows; empty for none.

    The mean of forecasts is often better than each of them (Bates and Granger 1969), most of all where
    series are short. Forecasts are added one after another, as often as that helps (Caruana et al. 2004), and
    only while the error's change is hardly chance. Many series count alike in its mean and its standard
    error; where there are few, windows do.

    Args:
        points: (N, H), transformed forecasts of the windows, by a network that was not trained on them.
        independent: the number of windows that count as independent, for the standard error of few series.
    """
    few = len(valid.panel.ids) < MANY_SERIES
    first, sure = (_FIRST_VOTES_OF_FEW, _SURE_OF_FEW) if few else (_FIRST_VOTES, _SURE)
    most = independent if few else np.inf
    numbers = windows.subsample(np.arange(len(points)), max(1, _MOST_VALUES // encoder.horizon))
    points = points[numbers]
    errors = _Errors(encoder, valid, numbers, points, few)
    members = {_NETWORK: points, **simple_forecasts(encoder, valid, numbers)}
    votes, total, least = {_NETWORK: first}, first * points, errors(points)
    for count in range(first + 1, first + _MORE_VOTES + 1):
        tried = {name: errors((total + member) / count) for name, member in members.items()}
        surely = [name for name, found in tried.items() if _is_less(found, least, sure, most)]
        if not surely:
            break
        best = min(surely, key=lambda name: tried[name].mean())
        votes[best] = votes.get(best, 0) + 1
        total, least = total + members[best], tried[best]
    count = sum(votes.values())
    return {name: number / count for name, number in votes.items() if name != _NETWORK}


def _is_less(errors: np.ndarray, others: np.ndarray, sure: float, most: float) -> bool:
    """Whether errors are less than others by a number of standard errors.

    Args:
        most: number of errors that count as independent, at most.
    """
    change = errors - others
    return bool(change.mean() < -sure * change.std() / max(min(len(change), most), 1.0) ** 0.5)


class _Errors:
    """Mean errors of forecasts, of every series or window with any, in units of the first forecasts' mean.

    They are absolute errors in deviations of the series; where all values are above 0, the mean of those and
    of relative errors.
    """

    def __init__(
        self, encoder: WindowEncoder, valid: Origins, numbers: np.ndarray, points: np.ndarray, few: bool
    ) -> None:
        index = windows.window_index(valid, numbers)
        self._transform, self._positive = encoder.config.transform, encoder.positive
        self._truth = windows.future(valid.panel, index, encoder.horizon)
        statistics = encoder.statistics.of_panel(valid.panel)
        self._deviation = statistics.deviation[index.series, index.channel][:, None]
        self._present = ~np.isnan(self._truth)
        owner = index.series * valid.panel.values.shape[1] + index.channel
        owner = np.arange(len(numbers)) if few else owner
        _, self._owner = np.unique(owner, return_inverse=True)
        self._known = np.bincount(self._owner, self._present.sum(1))
        self._units = [max(float(kind.mean()), _LEAST_ERROR) for kind in self._means(points)]

    def __call__(self, points: np.ndarray) -> np.ndarray:
        kinds = zip(self._means(points), self._units, strict=True)
        return np.mean([kind / unit for kind, unit in kinds], 0)

    def _means(self, points: np.ndarray) -> list[np.ndarray]:
        values = transforms.invert(points, self._transform)
        size = np.abs(values - self._truth)
        kinds = [size / self._deviation]
        if self._positive:
            kinds.append(size / np.maximum(np.abs(values) + np.abs(self._truth), _SMALL))
        sums = [np.bincount(self._owner, np.where(self._present, kind, 0.0).sum(1)) for kind in kinds]
        has_any = self._known > 0
        return [total[has_any] / self._known[has_any] for total in sums]


def simple_forecasts(encoder: WindowEncoder, origins: Origins, numbers: np.ndarray) -> dict[str, np.ndarray]:
    """All simple forecasts of windows, by name, transformed, (B, H); numbers: (B,), of the windows."""
    names = encoder.history_shape.forecasts()
    return {name: sum_of_simple(encoder, origins, {name: 1.0}, numbers) for name in names}


def sum_of_simple(
    encoder: WindowEncoder, origins: Origins, shares: Mapping[str, float], numbers: np.ndarray
) -> np.ndarray:
    """The weighted sum of simple forecasts of windows, transformed, (B, H).

    Args:
        shares: by name; numbers: (B,), of the windows.
    """
    panel, statistics = origins.panel, encoder.statistics.of_panel(origins.panel)
    module, parts = SimpleForecasts(shares, encoder.history_shape), []
    for begin in range(0, len(numbers), _CHUNK):
        index = windows.window_index(origins, numbers[begin : begin + _CHUNK])
        parts.append(module(*encoder.filled_history(panel, index, statistics)).numpy())
    return np.concatenate(parts)
