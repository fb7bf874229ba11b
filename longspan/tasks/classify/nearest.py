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
_CHUNK = 1 << 15  # values of a diagonal that are computed at once: they stay in the cache
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
        exact = "donot_use_mm_for_euclid_dist"  # by a product, equal series would not be at 0
        distances = torch.cdist(x.flatten(1).double(), others.flatten(1).double(), compute_mode=exact)
        return distances.square().float()
    rows = max(1, _CHUNK // (len(others) * (window + 1)))
    return torch.cat([_warped(part, others, window) for part in x.split(rows)])


def _own_distances(series: Tensor, window: int) -> Tensor:
    """Distances (N, N) of series to each other, infinite to themselves."""
    distances = torch.empty(len(series), len(series))
    rows = max(1, _CHUNK // (len(series) * (window + 1)))
    for first in range(0, len(series), rows):
        part = warping_distances(series[first : first + rows], series[first:], window)
        distances[first : first + rows, first:], distances[first:, first : first + rows] = part, part.T
    return distances.fill_diagonal_(torch.inf)


def _warped(x: Tensor, others: Tensor, window: int) -> Tensor:
    """The distances (N, M) of series (N, T, D) and (M, T, D).

    The least cost up to step i of the one and j of the other is cost(i, j) plus the least one of those at
    (i - 1, j), (i, j - 1) and (i - 1, j - 1). One diagonal i + j after the other is computed, for every other
    j - i, in the place of the diagonal before the last.
    """
    steps = x.shape[1]
    # (D, T, N, 1) with the last step first, and (D, T, 1, M)
    ones = np.ascontiguousarray(x.flip(1).permute(2, 1, 0).numpy())[..., None]
    twos = np.ascontiguousarray(others.permute(2, 1, 0).numpy())[:, :, None]
    least = np.full((2 * window + 3, len(x), len(others)), np.inf, np.float32)  # at j - i + W + 1
    for both in range(2 * steps - 1):  # i + j
        end = min(window, both, 2 * (steps - 1) - both)
        end -= (end + both) % 2  # j - i goes from -end to end, by 2
        i, j = steps - 1 - (both + end) // 2, (both - end) // 2
        costs = sum(
            np.square(one[i : i + end + 1] - two[j : j + end + 1])
            for one, two in zip(ones, twos, strict=True)
        )
        first, last = window + 1 - end, window + 2 + end
        if both:
            before = np.minimum(least[first - 1 : last - 1 : 2], least[first + 1 : last + 1 : 2])
            costs += np.minimum(before, least[first:last:2], out=before)
        least[first:last:2] = costs
    return torch.from_numpy(least[window + 1])


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
