"""Scores classes by the nearest training series, by Euclidean distance or by dynamic time warping."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

MOST_SERIES = 300  # training series up to which distances to all of them take little time
_STEPS, _VALUES = 128, 512  # to which longer series are resampled: steps, and values of all channels
_WINDOWS = (0.0, 0.1, 0.2)  # candidates for the window, as shares of the steps
_LEAST = 0.1  # of the smallest distance between training series: distances below count as that


class NearestSeries:
    """Scores a class by how much nearer its nearest training series is than that without it.

    A score is the logarithm of the ratio of both distances. The distance is dynamic time warping within a
    window (Sakoe and Chiba 1978, "Dynamic programming algorithm optimization for spoken word recognition"),
    which with a window of 0 is Euclid's. Series are resampled to the same number of steps.

    Attributes after fit: series (N, T, D) and targets (N, C), those of training; window, in steps; least, the
    smallest distance that counts; left_out (N, C), the scores of training series by the others.

    >>> x = [torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [0.0]])] * 2
    >>> y = torch.tensor([[1.0, 0.0], [0.0, 1.0]] * 2)
    >>> nearest = NearestSeries().fit(x, y, lambda scores: -float((scores * y).sum()))
    >>> nearest.scores([torch.tensor([[0.0], [0.9]])]).argmax(1)
    tensor([0])
    """

    def __init__(self) -> None:
        self.series, self.targets = torch.zeros(0, 0, 0), torch.zeros(0, 0)
        self.window, self.least, self.left_out = 0, 1.0, torch.zeros(0, 0)

    def fit(
        self, series: Sequence[Tensor], targets: Tensor, loss: Callable[[Tensor], float]
    ) -> NearestSeries:
        """Store the series, and select the window whose `left_out` has the lowest loss; returns itself.

        Args:
            series: N of (T_i, D); targets: (N, C) zeros and ones; loss: of scores (N, C).
        """
        self.targets = targets
        steps = max(2, min(_STEPS, _VALUES // series[0].shape[1], max(map(len, series))))
        self.series = _resampled(series, steps)
        losses: dict[int, float] = {}
        for window in sorted({round(share * self.series.shape[1]) for share in _WINDOWS}):
            distances = _own_distances(self.series, window)
            positive = distances[(distances > 0) & distances.isfinite()]
            least = _LEAST * float(positive.min()) if len(positive) else 1.0
            left_out = _log_ratios(distances, targets, least)
            losses[window] = loss(left_out)
            if losses[window] <= min(losses.values()):
                self.window, self.least, self.left_out = window, least, left_out
        return self

    def scores(self, series: Sequence[Tensor]) -> Tensor:
        """Scores (N, C) of N series (T_i, D)."""
        distances = warping_distances(_resampled(series, self.series.shape[1]), self.series, self.window)
        return _log_ratios(distances, self.targets, self.least)

    def state(self) -> dict[str, Any]:
        """Plain values and tensors that `from_state` takes."""
        return {name: getattr(self, name) for name in ("series", "targets", "window", "least")}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> NearestSeries:
        """The fit that gave this state, without `left_out`."""
        nearest = cls()
        nearest.series, nearest.targets = state["series"], state["targets"]
        nearest.window, nearest.least = state["window"], state["least"]
        return nearest


def warping_distances(x: Tensor, others: Tensor, window: int) -> Tensor:
    """Squared distances (N, M) of series (N, T, D) and (M, T, D): the least sum of squared differences.

    Args:
        window: steps by which one series may be shifted against the other.
    """
    if window == 0:
        return torch.cdist(x.flatten(1).double(), others.flatten(1).double()).square().float()
    padded = np.pad(others.numpy().astype(np.float64), ((0, 0), (window, window), (0, 0)))
    rows = [_warped(each, padded, window) for each in x.numpy().astype(np.float64)]
    return torch.from_numpy(np.stack(rows)).float()


def _own_distances(series: Tensor, window: int) -> Tensor:
    """Distances (N, N) of series to each other, infinite to themselves."""
    if window == 0:
        return warping_distances(series, series, 0).fill_diagonal_(torch.inf)
    distances = torch.full((len(series), len(series)), torch.inf)
    for row in range(len(series) - 1):
        later = warping_distances(series[row : row + 1], series[row + 1 :], window)[0]
        distances[row, row + 1 :] = distances[row + 1 :, row] = later
    return distances


def _warped(one: np.ndarray, others: np.ndarray, window: int) -> np.ndarray:
    """The distances (M,) of a series (T, D) and others (M, T + 2 W, D), padded by the window W at both ends.

    The least cost up to step i of the one and j of the other is cost(i, j) plus the least one of those at
    (i - 1, j), (i - 1, j - 1) and (i, j - 1). Along a row the last of them is a running minimum, once the
    sums of the costs are taken off.
    """
    width, steps = 2 * window + 1, len(one)
    before = np.full((len(others), width + 1), np.inf)  # the row before, at j = i - 1 - W to i + W
    before[:, window] = 0.0
    for i, values in enumerate(one):
        costs = np.square(others[:, i : i + width] - values).sum(-1)
        first, end = max(0, window - i), min(width, steps + window - i)
        costs[:, :first] = 0.0
        sums = costs.cumsum(1)
        entered = np.minimum(before[:, :-1], before[:, 1:]) - (sums - costs)
        before[:, :-1] = np.minimum.accumulate(entered, 1) + sums
        before[:, :first] = np.inf
        before[:, end:] = np.inf
    return before[:, window]


def _resampled(series: Sequence[Tensor], steps: int) -> Tensor:
    """Series (T_i, D) as (N, steps, D), by linear interpolation."""
    rows = []
    for values in series:
        place = torch.linspace(0, len(values) - 1, steps)
        low = place.floor().long()
        high, part = (low + 1).clamp_max(len(values) - 1), (place - low).unsqueeze(1)
        rows.append(values[low] * (1 - part) + values[high] * part)
    return torch.stack(rows).float()


def _log_ratios(distances: Tensor, targets: Tensor, least: float) -> Tensor:
    """Scores (N, C) by distances (N, M) to series with targets (M, C); 0 where either side has no series."""
    masked = distances.clamp_min(least).unsqueeze(2)
    inside, outside = (torch.where(side, masked, torch.inf).amin(1) for side in (targets > 0, targets <= 0))
    ratios = outside.log() - inside.log()
    return torch.where(inside.isfinite() & outside.isfinite(), ratios, 0.0)
