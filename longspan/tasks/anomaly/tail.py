"""Turns scores into tail probabilities, learnt from the scores of normal readings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from typing_extensions import Self

_TAIL = 0.1  # share of the largest normal scores that the exponential tail is fitted to
_KNOTS = 91  # quantiles that are kept of the scores below the tail
_MAX_SURPRISE = 30.0  # largest -log10 of a tail probability, as one in 10^30


class TailCalibration:
    """Gives a score's surprise, -log10 of the share of normal readings that score at least as much.

    A surprise of 3 is a reading in a thousand. Below the 90 % quantile of the normal scores the share is
    counted. Above it the excesses are taken to be exponential, which is the peaks-over-threshold method with
    shape 0 (Pickands, "Statistical Inference Using Extreme Order Statistics", 1975).

    Attributes:
        knots: (K,) quantiles of the normal scores, from the smallest to the beginning of the tail.
        scale: mean excess of the tail.
    """

    def __init__(self, knots: np.ndarray, scale: float) -> None:
        self.knots, self.scale = knots, scale
        self.levels = np.linspace(0.0, 1.0 - _TAIL, len(knots))

    @classmethod
    def fit(cls, scores: np.ndarray) -> Self:
        """Learn from the scores (N,) of normal readings."""
        knots = np.quantile(scores, np.linspace(0.0, 1.0 - _TAIL, _KNOTS))
        excess = scores[scores > knots[-1]] - knots[-1]
        spread = float(knots[-1] - knots[_KNOTS // 2])
        scale = float(excess.mean()) if len(excess) else 0.0
        return cls(knots, max(scale, 0.05 * spread, 1e-9))

    def surprise(self, scores: np.ndarray) -> np.ndarray:
        """-log10 of the tail probability of each score, in [0, 30].

        >>> calibration = TailCalibration.fit(np.arange(1000.0))
        >>> calibration.surprise(np.array([-1.0, 500.0, 900.0])).round(1).tolist()
        [0.0, 0.3, 1.0]
        """
        below = -np.log10(1.0 - np.interp(scores, self.knots, self.levels))
        beyond = -np.log10(_TAIL) + (scores - self.knots[-1]) / (self.scale * np.log(10.0))
        return np.minimum(np.where(scores > self.knots[-1], beyond, below), _MAX_SURPRISE) + 0.0  # no -0.0

    def state(self) -> dict[str, Any]:
        """Plain values and tensors that `from_state` takes."""
        return {"knots": torch.from_numpy(self.knots.copy()), "scale": self.scale}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """The calibration that gave this state."""
        return cls(state["knots"].numpy().copy(), state["scale"])
