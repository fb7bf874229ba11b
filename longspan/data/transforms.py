"""Knows the scales that series are learnt on: as they are, by their square root, by their logarithm."""

from __future__ import annotations

import numpy as np

TRANSFORMS = ("none", "log", "sqrt")  # the more usual first
_HIGHEST = 300.0  # of a logarithm that is turned back: beyond it numbers end


def usable(least: float) -> tuple[str, ...]:
    """The transforms for data whose least value this is.

    >>> usable(0.0)
    ('none', 'sqrt')
    """
    return TRANSFORMS if least > 0 else ("none", "sqrt") if least >= 0 else ("none",)


def bent(values: np.ndarray, transform: str, floor: np.ndarray | float = 0.0) -> np.ndarray:
    """Values on the scale of the transform; those below the floor, and for a root below 0, as these.

    >>> bent(np.array([1.0, 4.0]), "sqrt")
    array([1., 2.])
    """
    if transform == "log":
        return np.log(np.maximum(values, floor))
    return np.sqrt(np.maximum(values, 0.0)) if transform == "sqrt" else values


def straight(values: np.ndarray, transform: str) -> np.ndarray:
    """What `bent` undoes, in the same order of size."""
    if transform == "log":
        return np.exp(np.minimum(values, _HIGHEST))
    return np.square(np.maximum(values, 0.0)) if transform == "sqrt" else values
