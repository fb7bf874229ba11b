"""Chooses the dtype of a half-precision or autocast call, and the dtypes of its results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from functools import reduce

import torch
from torch import Tensor

from longspan.kernels import gpu
from longspan.kernels.job import Weights

HALF_DTYPES = frozenset((torch.float16, torch.bfloat16))

States = Sequence[tuple[Tensor, ...]]
Layers = Sequence[tuple[Weights, ...]]


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """Autocast's dtype for the device of `x`, None where it is off."""
    if x.is_meta:  # a device that autocast does not cover
        return None
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


def promoted_dtype(half: torch.dtype, tensors: Iterable[Tensor]) -> torch.dtype:
    """What PyTorch's type promotion makes of autocast's dtype and these tensors."""
    return reduce(torch.promote_types, (tensor.dtype for tensor in tensors), half)


def compute_dtype(x: Tensor, half: torch.dtype | None) -> torch.dtype:
    """The dtype a call on `x` is computed in; `half` is autocast's where it is on.

    Sums over hundreds of steps need float32: float64 stays, everything smaller becomes float32, but for
    bfloat16 on a GPU, whose kernels read and write it and sum in float32 themselves.
    """
    if x.dtype is torch.float64:
        return x.dtype
    narrow = half or x.dtype
    return narrow if gpu.computes_in(narrow, x.device) else torch.float32


def to_compute_dtype(
    x: Tensor, states: States, weights: Layers, half: torch.dtype | None
) -> tuple[Tensor, States, Layers]:
    """All of a call in the dtype it is computed in; gradients flow back to the originals."""
    dtype = compute_dtype(x, half)
    wide_states = [tuple(tensor.to(dtype) for tensor in layer) for layer in states]
    wide_weights = [tuple(_in(direction, dtype) for direction in layer) for layer in weights]
    return x.to(dtype), wide_states, wide_weights


def _in(weights: Weights, dtype: torch.dtype) -> Weights:
    tensors = {field.name: getattr(weights, field.name) for field in fields(weights)}
    floats = {name: t.to(dtype) for name, t in tensors.items() if t is not None and t.is_floating_point()}
    return replace(weights, **floats)
