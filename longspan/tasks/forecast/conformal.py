"""Calibrates quantile forecasts by held-out windows, and adapts them to the errors of recent forecasts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from longspan.statistics import t_over_normal

_RECENT = 40  # earlier forecasts of the same series that intervals adapt to
_RECENT_STEPS = 12  # steps ahead, evenly spaced, whose errors are looked at
_PRIOR_HORIZONS = 5.0  # horizons that recent forecasts must span to weigh as much as the held-out windows
_CHUNK = 512  # origins that are adapted at once
_MARGIN = 1.05  # factor of every interval, since the held-out windows also selected the model
_WIDEST = 8.0  # largest factor, and 1 / smallest, by which recent errors change an interval


class ConformalQuantiles:
    """Shifts every quantile by its held-out errors: conformalized quantile regression.

    Romano et al. 2019, section 4, each side by itself. A level q above one half is shifted by the q-quantile
    of (truth - forecast), with the finite-sample factor (n + 1) / n; a level below it alike, mirrored. Shifts
    are in units of the window's scale. The level of one half stays. Overlapping windows are dependent, so all
    distances from the median are then widened as Student's t is wider than the normal distribution, with one
    degree of freedom less than there are independent windows.

    Attributes:
        levels: (Q,), 0.5 among them.
        shifts: (H, Q), in units of the window's scale, added to the quantiles.
        widening: (Q,), factors of the distances from the median.
    """

    def __init__(self, levels: tuple[float, ...], shifts: np.ndarray, widening: np.ndarray) -> None:
        self.levels, self.shifts, self.widening = levels, shifts, widening

    @classmethod
    def fit(
        cls,
        levels: tuple[float, ...],
        forecasts: np.ndarray,
        truths: np.ndarray,
        scale: np.ndarray,
        *,
        independent: float,
    ) -> ConformalQuantiles:
        """Fit the shifts to held-out windows.

        Args:
            levels: (Q,).
            forecasts: (N, H, Q); truths: (N, H), NaN where not known; scale: (N,), of the windows.
            independent: how many of the windows do not overlap.
        """
        shifts = np.zeros(forecasts.shape[1:])
        errors = (truths[..., None] - forecasts) / scale[:, None, None]
        pooled = _pooled_steps(errors.shape[0])
        for step in range(errors.shape[1]):
            nearby = errors[:, max(0, step - pooled) : step + pooled + 1]
            for column, level in enumerate(levels):
                if level != 0.5:
                    errors_of_level = nearby[..., column].ravel()
                    shifts[step, column] = _corrected_quantile(errors_of_level, level, errors.shape[0])
        return cls(levels, shifts, np.array([t_over_normal(level, independent - 1) for level in levels]))

    def apply(self, values: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Calibrated quantiles (..., H, Q), sorted by level.

        Args:
            values: (..., H, Q) not calibrated; scale: (...), of the windows.
        """
        shifted = np.sort(values + self.shifts * scale[..., None, None], axis=-1)
        median = shifted[..., self.levels.index(0.5), None]
        return median + (shifted - median) * self.widening

    def state(self) -> dict[str, Any]:
        """Plain values and tensors that `from_state` takes."""
        import torch

        return {
            "levels": self.levels,
            "shifts": torch.from_numpy(self.shifts.copy()),
            "widening": self.widening.tolist(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> ConformalQuantiles:
        """The calibration that gave this state."""
        return cls(tuple(state["levels"]), state["shifts"].numpy(), np.array(state["widening"]))


def _pooled_steps(windows: int) -> int:
    """How many steps ahead on either side share their errors with a step, more for fewer windows."""
    return 0 if windows >= 200 else 2 if windows >= 50 else 6


def _corrected_quantile(errors: np.ndarray, level: float, windows: int) -> float:
    """The shift of a quantile forecast: the quantile of its errors, corrected for the number of windows.

    On exchangeable windows the shifted forecast has coverage `level` (split conformal, n = `windows`).
    """
    errors = errors[~np.isnan(errors)]
    if not len(errors):
        return 0.0
    upper = min(1.0, max(level, 1 - level) * (windows + 1) / windows)
    return float(np.quantile(errors, upper if level > 0.5 else 1 - upper))


def recent_origins(row: np.ndarray, first: np.ndarray, horizon: int) -> np.ndarray:
    """Earlier origins of the same series whose horizons end before each origin, (n, K) rows, -1 for none.

    They are evenly spaced over the last ten horizons, 336 rows at least.

    Args:
        row: (n,), the origins; first: (n,), the earliest row that may be used for each.
        horizon: H, in rows.
    """
    span = max(10 * horizon, 336)
    rows = row[:, None] - horizon - np.linspace(0, span, _RECENT).round().astype(np.int64)
    return np.where(rows >= first[:, None], rows, -1)


def adapt(
    levels: tuple[float, ...], values: np.ndarray, truths: np.ndarray, own: np.ndarray, recent: np.ndarray
) -> np.ndarray:
    """Rescales each interval about the median to cover the recent forecasts of the same series.

    Held-out windows no longer tell the width once the data have changed (Gibbs and Candes 2021). The factor
    is the quantile of (truth - median) / (bound - median) over the recent forecasts, raised to a power below
    1. That power grows with the number of whole horizons that the recent forecasts span. Another 5 % are
    added because the held-out windows also selected the model.

    Args:
        levels: (Q,), 0.5 among them.
        values: (R, C, H, Q), calibrated quantiles of R origins; truths: (R, C, H), NaN where not known.
        own: (n,), which of the R origins to return; recent: (n, K), earlier ones of each, -1 for none.

    Returns:
        (n, C, H, Q).
    """
    adapted = values[own].copy()
    horizon, median = values.shape[2], levels.index(0.5)
    steps = np.unique(np.linspace(0, horizon - 1, _RECENT_STEPS).round().astype(np.int64))
    error = (truths - values[..., median])[..., steps]
    weight = _weight(recent, horizon)
    for low, high in level_pairs(levels):
        side = np.where(error > 0, high, low)[..., None]
        width = np.take_along_axis(values[:, :, steps], side, -1)[..., 0] - values[:, :, steps, median]
        without_width = np.where(error == 0, 0.0, np.inf) + 0 * error  # NaN where the truth is not known
        needed = np.where(width == 0, without_width, error / np.where(width == 0, 1.0, width))
        factor = _MARGIN * _needed_factor(needed, recent, levels[high] - levels[low]) ** weight[:, None]
        for column in (low, high):
            distance = values[own, :, :, column] - values[own, :, :, median]
            adapted[..., column] = values[own, :, :, median] + distance * factor[..., None]
    return np.sort(adapted, axis=-1)


def _needed_factor(needed: np.ndarray, recent: np.ndarray, coverage: float) -> np.ndarray:
    """The factor (n, C) with which the recent intervals would have had this coverage; 1 where none is known.

    Args:
        needed: (R, C, S), the factor with which each interval would just hold its truth.
        recent: (n, K), as in `adapt`.
    """
    factor = np.ones((len(recent), needed.shape[1]))
    for begin in range(0, len(recent), _CHUNK):
        rows = recent[begin : begin + _CHUNK]
        factors = np.where((rows >= 0)[..., None, None], needed[rows], np.nan)
        factors = factors.transpose(0, 2, 1, 3).reshape(len(rows), needed.shape[1], -1)
        any_known = (~np.isnan(factors)).any(-1)
        factor[begin : begin + _CHUNK][any_known] = np.nanquantile(factors[any_known], coverage, axis=-1)
    return np.clip(np.nan_to_num(factor, posinf=_WIDEST), 1 / _WIDEST, _WIDEST)


def _weight(recent: np.ndarray, horizon: int) -> np.ndarray:
    """The weight (n,) of the recent forecasts: 0 for one horizon, one half for 1 + _PRIOR_HORIZONS."""
    count = (recent >= 0).sum(1)
    spacing = max(10 * horizon, 336) / (_RECENT - 1)
    horizons = np.where(count > 0, 1 + (count - 1) * spacing / horizon, 0.0)
    beyond_first = np.maximum(horizons - 1, 0)  # one horizon does not show how much errors vary
    return beyond_first / (beyond_first + _PRIOR_HORIZONS)


def level_pairs(levels: tuple[float, ...]) -> list[tuple[int, int]]:
    """The indices of levels that are symmetric about one half, in pairs, widest interval first."""
    pairs = []
    for low, level in enumerate(levels):
        high = next((h for h, other in enumerate(levels) if abs(other - (1 - level)) < 1e-9), None)
        if high is not None and low < high:
            pairs.append((low, high))
    return pairs


def share_inside(low: np.ndarray, high: np.ndarray, truths: np.ndarray) -> float:
    """The share of known truths between two bounds; NaN where none is known."""
    known = ~np.isnan(truths)
    return float(((truths >= low) & (truths <= high))[known].mean()) if known.any() else float("nan")
