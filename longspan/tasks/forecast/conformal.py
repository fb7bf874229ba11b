"""Knows how quantiles are moved until they cover what they promise, by what was held out and lately."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from longspan.statistics import t_over_normal


class ConformalQuantiles:
    """How far every quantile is moved outwards, by step ahead: conformalized quantile regression.

    Romano et al. 2019, section 4, each side on its own: a level q below one half is moved by the
    (1 - q)-quantile of (answer - truth), one above by the q-quantile of (truth - answer), in units of the
    window's scale and with the finite-sample factor (n + 1) / n. A level of one half is left alone. Windows
    that overlap are no new evidence, so all distances from the median are stretched as Student's t stretches
    the normal's at one degree of freedom less than there are windows apart.

    Attributes:
        moved: (H, Q), in units of the scale, positive upwards; levels: (Q,), 0.5 among them; stretch: (Q,).
    """

    def __init__(self, levels: tuple[float, ...], moved: np.ndarray, stretch: np.ndarray) -> None:
        self.levels, self.moved, self.stretch = levels, moved, stretch

    @classmethod
    def learn(
        cls,
        levels: tuple[float, ...],
        answers: np.ndarray,
        truths: np.ndarray,
        scale: np.ndarray,
        *,
        apart: float,
    ) -> ConformalQuantiles:
        """From held-out windows.

        Args:
            levels: (Q,).
            answers: (N, H, Q); truths: (N, H), NaN where not known; scale: (N,).
            apart: how many of the windows do not overlap.
        """
        moved = np.zeros(answers.shape[1:])
        errors = (truths[..., None] - answers) / scale[:, None, None]
        pooled = _neighbours(errors.shape[0])
        for step in range(errors.shape[1]):
            span = errors[:, max(0, step - pooled) : step + pooled + 1]
            for place, level in enumerate(levels):
                if level != 0.5:
                    moved[step, place] = _corrected_quantile(span[..., place].ravel(), level, errors.shape[0])
        return cls(levels, moved, np.array([t_over_normal(level, apart - 1) for level in levels]))

    def apply(self, values: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Quantiles (..., H, Q) moved, in order again; scale: (...)."""
        found = np.sort(values + self.moved * scale[..., None, None], axis=-1)
        middle = found[..., self.levels.index(0.5), None]
        return middle + (found - middle) * self.stretch

    def state(self) -> dict[str, Any]:
        """What `from_state` makes the same widths from."""
        import torch

        return {
            "levels": self.levels,
            "moved": torch.from_numpy(self.moved.copy()),
            "stretch": self.stretch.tolist(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> ConformalQuantiles:
        """The widths that gave this state."""
        return cls(tuple(state["levels"]), state["moved"].numpy(), np.array(state["stretch"]))


def _neighbours(windows: int) -> int:
    """Steps ahead to either side that are looked at together where there are few windows."""
    return 0 if windows >= 200 else 2 if windows >= 50 else 6


def _corrected_quantile(errors: np.ndarray, level: float, windows: int) -> float:
    """The quantile of the errors that lifts the answer's level to what it promises for `windows` more."""
    errors = errors[~np.isnan(errors)]
    if not len(errors):
        return 0.0
    beyond = min(1.0, max(level, 1 - level) * (windows + 1) / windows)
    return float(np.quantile(errors, beyond if level > 0.5 else 1 - beyond))


_LATELY = 40  # of the last forecasts that intervals follow
_STEPS = 12  # of a horizon that are looked at
_TRUST = 5.0  # whole horizons whose evidence weighs as much as what was held out
_AT_ONCE = 512  # forecasts
_MARGIN = 1.05
_WIDEST = 8.0  # times as wide as what was held out says


def recent_origins(row: np.ndarray, first: np.ndarray, horizon: int) -> np.ndarray:
    """Earlier origins whose horizons had ended at each origin, (n, K) rows, -1 where there are too few.

    Args:
        row: (n,) where forecasts begin; first: (n,) the earliest origin that may be looked at.
        horizon: H; the last ten of them, and 336 rows at least, are looked at.
    """
    span = max(10 * horizon, 336)
    found = row[:, None] - horizon - np.linspace(0, span, _LATELY).round().astype(np.int64)
    return np.where(found >= first[:, None], found, -1)


def adapt(
    levels: tuple[float, ...], values: np.ndarray, truths: np.ndarray, own: np.ndarray, recent: np.ndarray
) -> np.ndarray:
    """Quantiles whose intervals are as wide as the last forecasts would have needed, each series its own.

    Where data change, what was held out does not tell how wide intervals must be (Gibbs and Candes 2021):
    every interval is stretched about the median by the quantile of (truth - median) / (bound - median) over
    the recent forecasts, the less the fewer whole horizons they span, and by 5 % for what was held out having
    chosen the model too.

    Args:
        levels: (Q,), 0.5 among them.
        values: (R, C, H, Q), calibrated; truths: (R, C, H), NaN where not known.
        own: (n,) which of the R are asked for; recent: (n, K) which came before each, -1 for none.

    Returns:
        (n, C, H, Q).
    """
    found = values[own].copy()
    horizon, middle = values.shape[2], levels.index(0.5)
    steps = np.unique(np.linspace(0, horizon - 1, _STEPS).round().astype(np.int64))
    gap = (truths - values[..., middle])[..., steps]
    trust = _weight(recent, horizon)
    for low, high in level_pairs(levels):
        side = np.where(gap > 0, high, low)[..., None]
        width = np.take_along_axis(values[:, :, steps], side, -1)[..., 0] - values[:, :, steps, middle]
        flat = np.where(gap == 0, 0.0, np.inf) + 0 * gap  # where the interval has no width
        needed = np.where(width == 0, flat, gap / np.where(width == 0, 1.0, width))
        stretch = _MARGIN * _needed(needed, recent, levels[high] - levels[low]) ** trust[:, None]
        for place in (low, high):
            away = values[own, :, :, place] - values[own, :, :, middle]
            found[..., place] = values[own, :, :, middle] + away * stretch[..., None]
    return np.sort(found, axis=-1)


def _needed(needed: np.ndarray, recent: np.ndarray, share: float) -> np.ndarray:
    """(n, C): the quantile of what was needed (R, C, S) over the recent forecasts; 1 where none is known."""
    stretch = np.ones((len(recent), needed.shape[1]))
    for begin in range(0, len(recent), _AT_ONCE):
        part = recent[begin : begin + _AT_ONCE]
        seen = np.where((part >= 0)[..., None, None], needed[part], np.nan)
        seen = seen.transpose(0, 2, 1, 3).reshape(len(part), needed.shape[1], -1)
        known = (~np.isnan(seen)).any(-1)
        stretch[begin : begin + _AT_ONCE][known] = np.nanquantile(seen[known], share, axis=-1)
    return np.clip(np.nan_to_num(stretch, posinf=_WIDEST), 1 / _WIDEST, _WIDEST)


def _weight(recent: np.ndarray, horizon: int) -> np.ndarray:
    """(n,): how far the recent forecasts are believed, 0 to 1."""
    there = recent >= 0
    span = max(10 * horizon, 336) / (_LATELY - 1)
    count = there.sum(1)
    whole = np.where(count > 0, 1 + (count - 1) * span / horizon, 0.0)
    more = np.maximum(whole - 1, 0)  # one alone says nothing of how far others may be
    return more / (more + _TRUST)


def level_pairs(levels: tuple[float, ...]) -> list[tuple[int, int]]:
    """The places of the levels that make intervals around the median, widest first."""
    found = []
    for low, level in enumerate(levels):
        high = next((h for h, other in enumerate(levels) if abs(other - (1 - level)) < 1e-9), None)
        if high is not None and low < high:
            found.append((low, high))
    return found


def share_inside(low: np.ndarray, high: np.ndarray, truths: np.ndarray) -> float:
    """The share of known truths between two bounds; NaN where none is known."""
    known = ~np.isnan(truths)
    return float(((truths >= low) & (truths <= high))[known].mean()) if known.any() else float("nan")
