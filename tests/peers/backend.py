"""Names of Keras' backend that its tests use and that have one answer on PyTorch without an accelerator."""

from __future__ import annotations

import types
from contextlib import contextmanager
from typing import Any

import torch

from longspan import config as _config
from longspan.layers.convolution_transpose import window_cuts
from longspan.layers.structure import mask_of as get_keras_mask
from longspan.layers.symbolic import trial_output
from longspan.losses import match_ranks

from . import random as random

SUPPORTS_SPARSE_TENSORS = SUPPORTS_RAGGED_TENSORS = False
SUPPORTS_COMPLEX_DTYPES = True


def set_keras_mask(x: Any, mask: Any) -> None:
    """Attach a mask to a tensor."""
    x._keras_mask = mask


def standardize_shape(shape: Any) -> tuple[int | None, ...]:
    """A shape as a tuple."""
    return tuple(shape)


@contextmanager
def device(name: str) -> Any:
    """The processor."""
    yield


def is_tensor(x: Any) -> bool:
    """Whether it is a tensor of PyTorch."""
    return isinstance(x, torch.Tensor)


def compute_output_spec(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Symbolic outputs of a function for symbolic inputs."""
    return trial_output(function, args, kwargs)


def compute_conv_transpose_padding_args_for_jax(
    input_shape: Any, kernel_shape: Any, strides: Any, padding: str, output_padding: Any, dilation_rate: Any
) -> list[tuple[int, int]]:
    """What is added before and after an input that strides stretched, for every dimension."""
    rank = len(input_shape) - 2
    each = [value if isinstance(value, (list, tuple)) else [value] * rank
            for value in (kernel_shape[:rank], strides, output_padding, dilation_rate)]  # fmt: skip
    pads = []
    for kernel, stride, extra, step in zip(*each, strict=True):
        window = (kernel - 1) * step + 1
        before, after = window_cuts(window, stride, padding, extra)
        pads.append((window - 1 - before, window - 1 - after))
    return pads


def compute_conv_transpose_output_shape(
    input_shape: Any,
    kernel_size: Any,
    filters: int,
    strides: Any,
    padding: str,
    output_padding: Any,
    data_format: str,
    dilation_rate: Any,
) -> tuple[int, ...]:
    """The output's shape, features last."""
    rank = len(input_shape) - 2
    stretch = strides if isinstance(strides, (list, tuple)) else [strides] * rank
    pads = compute_conv_transpose_padding_args_for_jax(
        input_shape, kernel_size, strides, padding, output_padding, dilation_rate
    )
    steps = dilation_rate if isinstance(dilation_rate, (list, tuple)) else [dilation_rate] * rank
    sizes = []
    sides = zip(input_shape[1:-1], kernel_size, stretch, steps, pads, strict=False)
    for size, kernel, stride, step, pad in sides:
        sizes.append((size - 1) * stride + 1 + sum(pad) - (kernel - 1) * step)
    return (input_shape[0], *sizes, filters)


def in_symbolic_scope() -> bool:
    """False: shapes are found by a call on zeros."""
    return False


def _nothing(*_: Any) -> None:
    """Flash attention is PyTorch's own choice."""


config = types.SimpleNamespace(
    **{name: getattr(_config, name) for name in dir(_config) if not name.startswith("_")},
    disable_flash_attention=_nothing,
    enable_flash_attention=_nothing,
    is_flash_attention_enabled=_nothing,
    is_nnx_enabled=lambda: False,
)
squeeze_or_expand_to_same_rank = match_ranks
disable_flash_attention = enable_flash_attention = is_flash_attention_enabled = _nothing
__all__ = [
    "SUPPORTS_COMPLEX_DTYPES",
    "SUPPORTS_RAGGED_TENSORS",
    "SUPPORTS_SPARSE_TENSORS",
    "compute_conv_transpose_output_shape",
    "compute_conv_transpose_padding_args_for_jax",
    "compute_output_spec",
    "config",
    "device",
    "disable_flash_attention",
    "enable_flash_attention",
    "get_keras_mask",
    "in_symbolic_scope",
    "is_flash_attention_enabled",
    "is_tensor",
    "set_keras_mask",
    "squeeze_or_expand_to_same_rank",
    "standardize_shape",
]
