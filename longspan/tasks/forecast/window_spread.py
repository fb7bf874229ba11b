"""Predicts from the changes within a window how large the errors of its forecast are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

_FEW_WINDOWS = 3.0  # independent windows with which the exponent is half of what was measured
_LARGEST, _SMALLEST = 4.0, 0.8  # factors of an interval; a quiet window promises little
_LEAST_CHANGE = 0.05  # share of the usual change that is added to every one, so that constant windows count
_LEAST_VARIANCE = 1e-4  # of the logarithms of changes, below which they tell nothing


class WindowSpread(NamedTuple):
    """A window's interval is widened by (its mean absolute change / the usual one) ** exponent.

    Where a series grows, or its volatility changes, the errors to come are known better from the last steps
    than from the validation windows alone. Residuals are divided by such a factor before conformal
    calibration (Lei et al. 2018, "Distribution-Free Predictive Inference for Regression", section 5.2).

    exponent: between 0, where changes tell nothing, and 1.
    usual: the median of the mean absolute changes of the validation windows.
    """

    exponent: float = 0.0
    usual: float = 1.0

    @classmethod
    def fit(
        cls, changes: np.ndarray, errors: np.ndarray, valid: np.ndarray, independent: float
    ) -> WindowSpread:
        """Measure the exponent by regression of the errors' logarithms on those of the changes.

        Args:
            changes: (N,), mean absolute changes of windows; errors: (N,), their mean absolute naive errors,
                both in units of the windows' scales, NaN where missing.
            valid: (M,), changes of the validation windows.
            independent: number of the windows that count as independent.
        """
        changes_there, known = valid[~np.isnan(valid)], ~(np.isnan(changes) | np.isnan(errors))
        if not len(changes_there) or not known.any():
            return cls()
        usual = float(np.median(changes_there)) or float(changes_there.mean())
        typical_error = float(np.median(errors[known])) or float(errors[known].mean())
        if not (usual > 0 and typical_error > 0):
            return cls()
        change = np.log(changes[known] + _LEAST_CHANGE * usual)
        error = np.log(errors[known] + _LEAST_CHANGE * typical_error)
        change, error = change - change.mean(), error - error.mean()
        slope = float((change * error).mean() / max((change**2).mean(), _LEAST_VARIANCE))
        evidence = independent / (independent + _FEW_WINDOWS)
        return cls(min(max(slope * evidence, 0.0), 1.0), usual)

    def factors(self, changes: np.ndarray) -> np.ndarray:
        """The factors (N,) of the intervals of windows with these mean absolute changes (N,); 1 for NaN.

        >>> WindowSpread(1.0, usual=2.0).factors(np.array([2.0, 4.1, np.nan])).round(2).tolist()
        [1.0, 2.0, 1.0]
        """
        least = _LEAST_CHANGE * self.usual
        known = np.where(np.isnan(changes), self.usual, changes)
        factors = ((known + least) / (self.usual + least)) ** self.exponent
        return np.clip(factors, _SMALLEST, _LARGEST)

    def widened(self, values: np.ndarray, changes: np.ndarray, median: int) -> tuple[np.ndarray, np.ndarray]:
        """Quantiles (N, H, Q) about their median, moved away from it by the factors; and these (N,).

        Args:
            median: the column of the median.
        """
        factors, middle = self.factors(changes), values[..., median, None]
        return middle + (values - middle) * factors[:, None, None], factors

    def state(self) -> dict[str, float]:
        """Plain values that `from_state` takes."""
        return self._asdict()

    @classmethod
    def from_state(cls, state: Mapping[str, Any] | None) -> WindowSpread:
        """The one that gave this state; one without effect for None, as of older files."""
        return cls() if state is None else cls(**state)


def mean_change(values: Tensor, present: Tensor | None = None) -> Tensor:
    """The mean absolute change (N,) from step to step of windows (N, T); NaN where there is none.

    Args:
        present: (N, T) bool, False where a value is missing; None where all are there.
    """
    changes = (values[:, 1:] - values[:, :-1]).abs()
    if present is None:
        return changes.mean(1)
    both = present[:, 1:] & present[:, :-1]
    return (changes * both).sum(1) / both.sum(1)
