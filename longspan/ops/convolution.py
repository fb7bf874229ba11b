"""Computes Keras' convolutions and pooling over one to three dimensions, channels last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from longspan import errors

from .calling import operation, promote, to_float, to_tensor

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_ADAPTIVE_MAX = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}
_ADAPTIVE_AVERAGE = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
Sizes = Any  # a number, or one for each dimension


def _each(argument: str, value: Sizes, rank: int) -> tuple[int, ...]:
    """One number for each of the dimensions."""
    sizes = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(sizes) != rank:
        raise errors.value_error(argument, f"a number, or {rank} of them", value, "see the input's shape")
    return sizes


def _channels_first(x: Tensor, data_format: str | None) -> Tensor:
    errors.check_choice("data_format", data_format or "channels_last", ("channels_last", "channels_first"))
    return x if data_format == "channels_first" else x.movedim(-1, 1)


def _as_given(x: Tensor, data_format: str | None) -> Tensor:
    return x if data_format == "channels_first" else x.movedim(1, -1)


def _check_padding(padding: str) -> None:
    errors.check_choice("padding", padding, ("valid", "same"))


def _same(x: Tensor, kernel: Sequence[int], strides: Sequence[int], value: float = 0.0) -> Tensor:
    """Channels-first x padded so that strides divide it: the odd step is at the end, as in Keras."""
    widths: list[int] = []
    for size, length, stride in zip(reversed(x.shape[2:]), reversed(kernel), reversed(strides), strict=True):
        total = max((-(-size // stride) - 1) * stride + length - size, 0)
        widths += [total // 2, total - total // 2]
    return F.pad(x, widths, value=value) if any(widths) else x


@operation
def conv(
    inputs: Any,
    kernel: Any,
    strides: Sizes = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Sizes = 1,
) -> Tensor:
    """A convolution of inputs (B, ..., I) with a kernel (..., I / groups, O) over one to three dimensions."""
    x, weights = (to_float(part) for part in promote(inputs, kernel))
    rank = x.dim() - 2
    steps, dilation = _each("strides", strides, rank), _each("dilation_rate", dilation_rate, rank)
    _check_padding(padding)
    x = _channels_first(x, data_format)
    if padding == "same":
        spans = [(size - 1) * step + 1 for size, step in zip(weights.shape[:rank], dilation, strict=True)]
        x = _same(x, spans, steps)
    groups = x.shape[1] // weights.shape[-2]
    weights = weights.movedim((-1, -2), (0, 1))
    return _as_given(_CONV[rank](x, weights, None, steps, 0, dilation, groups), data_format)


@operation
def depthwise_conv(
    inputs: Any,
    kernel: Any,
    strides: Sizes = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Sizes = 1,
) -> Tensor:
    """A convolution of each channel alone with a kernel (..., I, multiplier): I * multiplier outputs."""
    weights = to_tensor(kernel)
    weights = weights.reshape(*weights.shape[:-2], 1, weights.shape[-2] * weights.shape[-1])
    return conv(inputs, weights, strides, padding, data_format, dilation_rate)


@operation
def separable_conv(
    inputs: Any,
    depthwise_kernel: Any,
    pointwise_kernel: Any,
    strides: Sizes = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Sizes = 1,
) -> Tensor:
    """`depthwise_conv`, then a convolution with a kernel of size 1."""
    x = depthwise_conv(inputs, depthwise_kernel, strides, padding, data_format, dilation_rate)
    return conv(x, pointwise_kernel, 1, "valid", data_format)


@operation
def conv_transpose(
    inputs: Any,
    kernel: Any,
    strides: Sizes = 1,
    padding: str = "valid",
    output_padding: Sizes | None = None,
    data_format: str | None = None,
    dilation_rate: Sizes = 1,
) -> Tensor:
    """The transpose of a convolution with a kernel (..., O, I): strides make the output longer.

    output_padding None: T steps become T * stride ("same"), or at least the kernel's span more ("valid").
    """
    x, weights = (to_float(part) for part in promote(inputs, kernel))
    rank = x.dim() - 2
    steps, dilation = _each("strides", strides, rank), _each("dilation_rate", dilation_rate, rank)
    _check_padding(padding)
    x, weights = _channels_first(x, data_format), weights.movedim((-1, -2), (0, 1))
    full = _CONV_TRANSPOSE[rank](x, weights, None, steps, 0, 0, 1, dilation)
    spans = [(size - 1) * step + 1 for size, step in zip(weights.shape[2:], dilation, strict=True)]
    extra = None if output_padding is None else _each("output_padding", output_padding, rank)
    for axis, (span, stride) in enumerate(zip(spans, steps, strict=True)):
        start, length = _kept(
            x.shape[axis + 2], span, stride, padding, None if extra is None else extra[axis]
        )
        missing = start + length - full.shape[axis + 2]
        if missing > 0:
            full = F.pad(full, [0, 0] * (rank - 1 - axis) + [0, missing])
        full = full.narrow(axis + 2, start, length)
    return _as_given(full, data_format)


def _kept(size: int, span: int, stride: int, padding: str, extra: int | None) -> tuple[int, int]:
    """Where the output starts in the full transposed convolution, and its length."""
    if padding == "valid":
        return 0, (size - 1) * stride + span + (max(stride - span, 0) if extra is None else extra)
    padded = stride + span - 2 if extra is None else span + span % 2 - 2 + extra
    return span - 1 - min((padded + 1) // 2, span - 1), (size - 1) * stride - span + 2 + padded


def _pooled_sizes(
    x: Tensor, pool_size: Sizes, strides: Sizes | None, padding: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    _check_padding(padding)
    sizes = _each("pool_size", pool_size, x.dim() - 2)
    return sizes, sizes if strides is None else _each("strides", strides, x.dim() - 2)


@operation
def max_pool(
    inputs: Any,
    pool_size: Sizes,
    strides: Sizes | None = None,
    padding: str = "valid",
    data_format: str | None = None,
) -> Tensor:
    """The largest value of each window of the inputs (B, ..., C)."""
    x = to_float(inputs)
    sizes, steps = _pooled_sizes(x, pool_size, strides, padding)
    x = _channels_first(x, data_format)
    x = _same(x, sizes, steps, -torch.inf) if padding == "same" else x
    return _as_given(_MAX[len(sizes)](x, sizes, steps), data_format)


@operation
def average_pool(
    inputs: Any,
    pool_size: Sizes,
    strides: Sizes | None = None,
    padding: str = "valid",
    data_format: str | None = None,
) -> Tensor:
    """The mean of each window of the inputs (B, ..., C), of the values inside alone."""
    x = to_float(inputs)
    sizes, steps = _pooled_sizes(x, pool_size, strides, padding)
    x = _channels_first(x, data_format)
    pool = _AVERAGE[len(sizes)]
    if padding == "valid":
        return _as_given(pool(x, sizes, steps), data_format)
    inside = pool(_same(torch.ones_like(x[:1, :1]), sizes, steps), sizes, steps)
    return _as_given(pool(_same(x, sizes, steps), sizes, steps) / inside, data_format)


@operation
def adaptive_max_pool(inputs: Any, output_size: Sizes, data_format: str | None = None) -> Tensor:
    """The largest value of each of `output_size` windows that cover the inputs (B, ..., C)."""
    x = to_float(inputs)
    sizes: Any = _each("output_size", output_size, x.dim() - 2)
    return _as_given(_ADAPTIVE_MAX[len(sizes)](_channels_first(x, data_format), sizes), data_format)


@operation
def adaptive_average_pool(inputs: Any, output_size: Sizes, data_format: str | None = None) -> Tensor:
    """The mean of each of `output_size` windows that cover the inputs (B, ..., C)."""
    x = to_float(inputs)
    sizes: Any = _each("output_size", output_size, x.dim() - 2)
    return _as_given(_ADAPTIVE_AVERAGE[len(sizes)](_channels_first(x, data_format), sizes), data_format)


@operation
def unfold(x: Any, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1) -> Tensor:
    """The windows of images (B, C, H, W) as columns, (B, C * kernel, windows)."""
    return F.unfold(to_float(x), kernel_size, dilation, padding, stride)


@operation
def fold(
    x: Any,
    output_size: Sizes,
    kernel_size: Sizes,
    dilation: Sizes = 1,
    padding: Sizes = 0,
    stride: Sizes = 1,
) -> Tensor:
    """Images (B, C, H, W) from the columns of `unfold`: values of windows that overlap are added."""
    return F.fold(to_float(x), output_size, kernel_size, dilation, padding, stride)


@operation
def depth_to_space(x: Any, block_size: int, data_format: str = "channels_last") -> Tensor:
    """Channels moved to blocks of pixels, (B, H, W, C) -> (B, H * block, W * block, C / block^2)."""
    tensor = _channels_first(to_tensor(x), data_format)
    rows, channels, height, width = tensor.shape
    split, order = _depth(channels // block_size**2, block_size, data_format)
    parts = tensor.reshape((rows, *split, height, width)).permute((0, *order))
    return _as_given(parts.reshape(rows, -1, height * block_size, width * block_size), data_format)


@operation
def space_to_depth(x: Any, block_size: int, data_format: str = "channels_last") -> Tensor:
    """Blocks of pixels moved to channels, (B, H, W, C) -> (B, H / block, W / block, C * block^2)."""
    tensor = _channels_first(to_tensor(x), data_format)
    rows, channels, height, width = tensor.shape
    blocks = height // block_size, width // block_size
    _, order = _depth(channels, block_size, data_format)
    inverse = sorted(range(5), key=lambda place: order[place])
    parts = tensor.reshape(rows, channels, blocks[0], block_size, blocks[1], block_size)
    parts = parts.permute((0, *(place + 1 for place in inverse)))
    return _as_given(parts.reshape(rows, -1, *blocks), data_format)


def _depth(channels: int, block: int, data_format: str) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """The parts of the deep channels dimension, and the dimensions in the order C, H, rows, W, columns.

    The channels vary fastest with channels last, and slowest with channels first, as in TensorFlow.
    """
    if data_format == "channels_first":
        return (channels, block, block), (1, 4, 2, 5, 3)
    return (block, block, channels), (3, 4, 1, 5, 2)
