"""Keras' random tensors, as its tests draw their inputs."""

from __future__ import annotations

from typing import Any

import torch


def _seeded(seed: Any) -> torch.Generator | None:
    return torch.Generator().manual_seed(seed) if isinstance(seed, int) else None


def uniform(shape: Any, minval: float = 0.0, maxval: float = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    """Numbers between minval and maxval."""
    return torch.rand(tuple(shape), generator=_seeded(seed)) * (maxval - minval) + minval


def normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    """Numbers of a normal distribution."""
    return torch.randn(tuple(shape), generator=_seeded(seed)) * stddev + mean


def randint(shape: Any, minval: int, maxval: int, dtype: Any = "int32", seed: Any = None) -> Any:
    """Whole numbers from minval to below maxval."""
    return torch.randint(minval, maxval, tuple(shape), generator=_seeded(seed))
