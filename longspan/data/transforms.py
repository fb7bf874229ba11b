"""Transforms values before scaling, and back: not at all, by logarithm, by square root."""

from __future__ import annotations

import numpy as np

TRANSFORMS = ("none", "log", "sqrt")  # where two do equally well, the earlier one is taken
_HIGHEST = 300.0  # logarithms above it are inverted as if they were it, since float64 ends at exp(709)


def allowed(smallest: float) -> tuple[str, ...]:
    """The transforms that are defined for data with this smallest value.

    >>> allowed(0.0)
    ('none', 'sqrt')
    """
    return TRANSFORMS if smallest > 0 else ("none", "sqrt") if smallest >= 0 else ("none",)


def apply(values: np.ndarray, transform: str, floor: np.ndarray | float = 0.0) -> np.ndarray:
    """Transformed values. For "log", values below the floor are raised to it; for "sqrt", those below 0 to 0.

    >>> apply(np.array([1.0, 4.0]), "sqrt")
    array([1., 2.])
    """
    if transform == "log":
        return np.log(np.maximum(values, floor))
    return np.sqrt(np.maximum(values, 0.0)) if transform == "sqrt" else values


def undefined(values: np.ndarray, transform: str) -> np.ndarray:
    """Which values have no transform of their own, so that `apply` raises them; False for NaN.

    >>> undefined(np.array([-1.0, 0.0, 1.0]), "log").tolist()
    [True, True, False]
    """
    if transform == "log":
        return values <= 0
    return values < 0 if transform == "sqrt" else np.zeros(values.shape, bool)


def invert(values: np.ndarray, transform: str) -> np.ndarray:
    """The values whose transform these are. It rises with them, so that the order of quantiles stays."""
    if transform == "log":
        return np.exp(np.minimum(values, _HIGHEST))
    return np.square(np.maximum(values, 0.0)) if transform == "sqrt" else values
