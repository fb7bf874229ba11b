"""Knows how quantiles are widened until they cover what they promise: conformal calibration."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np


class Widths:
    """How far every quantile is moved outwards, by step ahead: conformalized quantile regression.

    Romano et al. 2019, section 4, each side on its own: a level q below one half is moved by the
    (1 - q)-quantile of (answer - truth), one above by the q-quantile of (truth - answer), in units of the
    window's scale and with the finite-sample factor (n + 1) / n. A level of one half is left alone. Windows
    that overlap are no new evidence, so all distances from the median are stretched as Student's t stretches
    the normal's at as many degrees of freedom as there are windows apart.

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
    ) -> Widths:
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
                    moved[step, place] = _level(span[..., place].ravel(), level, errors.shape[0])
        return cls(levels, moved, np.array([_stretch(level, apart) for level in levels]))

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
    def from_state(cls, state: Mapping[str, Any]) -> Widths:
        """The widths that gave this state."""
        return cls(tuple(state["levels"]), state["moved"].numpy(), np.array(state["stretch"]))


def _stretch(level: float, apart: float) -> float:
    """Student's t by the normal's quantile (Cornish and Fisher's expansion, to the third order in 1 / df)."""
    if level == 0.5:
        return 1.0
    df, z2 = max(apart, 1.5), NormalDist().inv_cdf(level) ** 2
    first = (z2 + 1) / 4
    second = (5 * z2**2 + 16 * z2 + 3) / 96
    third = (3 * z2**3 + 19 * z2**2 + 17 * z2 - 15) / 384
    return 1 + first / df + second / df**2 + third / df**3


def _neighbours(windows: int) -> int:
    """Steps ahead to either side that are looked at together where there are few windows."""
    return 0 if windows >= 200 else 2 if windows >= 50 else 6


def _level(errors: np.ndarray, level: float, windows: int) -> float:
    """The quantile of the errors that lifts the answer's level to what it promises for `windows` more."""
    errors = errors[~np.isnan(errors)]
    if not len(errors):
        return 0.0
    beyond = min(1.0, max(level, 1 - level) * (windows + 1) / windows)
    return float(np.quantile(errors, beyond if level > 0.5 else 1 - beyond))


def coverage(low: np.ndarray, high: np.ndarray, truths: np.ndarray) -> float:
    """The share of known truths between two bounds; NaN where none is known."""
    known = ~np.isnan(truths)
    return float(((truths >= low) & (truths <= high))[known].mean()) if known.any() else float("nan")
