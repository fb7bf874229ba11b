"""Computes Keras' reductions over axes: sums, means, extremes, quantiles, counts, and their kin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from longspan import errors

from .calling import (
    axes_of,
    dtype_named,
    folded,
    is_float,
    operation,
    promote,
    summed_dtype,
    to_float,
    to_int,
    to_tensor,
)

Axis = Any  # None for all axes, a number, or several numbers
_METHODS = ("linear", "lower", "higher", "midpoint", "nearest")


def _reduced(function: Callable[[Tensor], Tensor], x: Tensor, axis: Axis, keepdims: bool) -> Tensor:
    """A function that reduces the last dimension, over any axes."""
    values, kept = folded(x, axis)
    result = function(values)
    return result.reshape(kept) if keepdims else result


@operation
def sum(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum over the axes; None: over all."""
    tensor = to_tensor(x)
    if axis == ():
        return tensor
    return torch.sum(tensor, axes_of(tensor, axis), keepdims, dtype=summed_dtype(tensor))


@operation
def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The mean over the axes; None: over all."""
    tensor = to_float(x)
    return tensor if axis == () else torch.mean(tensor, axes_of(tensor, axis), keepdims)


@operation
def var(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The mean squared difference from the mean over the axes; None: over all."""
    tensor = to_float(x)
    return _reduced(lambda v: v.var(-1, correction=0), tensor, axis, keepdims)


@operation
def std(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The square root of `var`."""
    return _reduced(lambda v: v.std(-1, correction=0), to_float(x), axis, keepdims)


@operation
def prod(x: Any, axis: Axis = None, keepdims: bool = False, dtype: Any = None) -> Tensor:
    """The product over the axes; None: over all."""
    tensor = to_tensor(x, dtype)
    wanted = tensor.dtype if dtype is not None else summed_dtype(tensor)
    return _reduced(lambda v: v.prod(-1, dtype=wanted), tensor, axis, keepdims)


@operation
def max(x: Any, axis: Axis = None, keepdims: bool = False, initial: Any = None) -> Tensor:
    """The largest value over the axes; `initial` is one more value."""
    return _extreme(torch.amax, torch.maximum, x, axis, keepdims, initial)


@operation
def min(x: Any, axis: Axis = None, keepdims: bool = False, initial: Any = None) -> Tensor:
    """The least value over the axes; `initial` is one more value."""
    return _extreme(torch.amin, torch.minimum, x, axis, keepdims, initial)


def _extreme(
    function: Callable[..., Tensor],
    pair: Callable[..., Tensor],
    x: Any,
    axis: Axis,
    keepdims: bool,
    initial: Any,
) -> Tensor:
    tensor = to_tensor(x)
    if initial is not None and not tensor.numel():
        values, kept = folded(tensor, axis)
        shape = kept if keepdims else values.shape[:-1]
        return torch.full(shape, initial, dtype=tensor.dtype, device=tensor.device)
    result = tensor if axis == () else function(tensor, axes_of(tensor, axis), keepdims)
    return result if initial is None else pair(*promote(result, initial))


@operation
def amax(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest value over the axes."""
    return max(x, axis, keepdims)


@operation
def amin(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The least value over the axes."""
    return min(x, axis, keepdims)


@operation
def ptp(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest value minus the least over the axes."""
    return max(x, axis, keepdims) - min(x, axis, keepdims)


@operation
def all(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether all values over the axes are true (not 0)."""
    return _reduced(lambda v: v.all(-1), to_tensor(x).bool(), axis, keepdims)


@operation
def any(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether at least one value over the axes is true (not 0)."""
    return _reduced(lambda v: v.any(-1), to_tensor(x).bool(), axis, keepdims)


@operation
def count_nonzero(x: Any, axis: Axis = None) -> Tensor:
    """The number of values over the axes that are not 0."""
    return sum(to_tensor(x) != 0, axis)


@operation
def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the largest value along the axis; None: in the flattened tensor."""
    return _reduced(lambda v: v.argmax(-1).int(), _ordered(x), axis, keepdims)


@operation
def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the least value along the axis; None: in the flattened tensor."""
    return _reduced(lambda v: v.argmin(-1).int(), _ordered(x), axis, keepdims)


def _ordered(x: Any) -> Tensor:
    """Truths as whole numbers, which torch can sort."""
    tensor = to_tensor(x)
    return tensor.to(torch.uint8) if tensor.dtype == torch.bool else tensor


@operation
def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) over the axes, without overflow."""
    return _reduced(lambda v: v.logsumexp(-1), to_float(x), axis, keepdims)


@operation
def cumsum(x: Any, axis: int | None = None, dtype: Any = None) -> Tensor:
    """The sums of the values up to each, along the axis; None: of the flattened tensor."""
    tensor = to_tensor(x)
    wanted = _running_dtype(tensor) if dtype is None else dtype_named(dtype)
    return _lined(tensor, axis).cumsum(0 if axis is None else axis, dtype=wanted)


@operation
def cumprod(x: Any, axis: int | None = None, dtype: Any = None) -> Tensor:
    """The products of the values up to each, along the axis; None: of the flattened tensor."""
    tensor = to_tensor(x)
    wanted = _running_dtype(tensor) if dtype is None else dtype_named(dtype)
    return _lined(tensor, axis).cumprod(0 if axis is None else axis, dtype=wanted)


def _running_dtype(x: Tensor) -> torch.dtype:
    return torch.int32 if x.dtype == torch.bool else x.dtype


def _lined(x: Tensor, axis: int | None) -> Tensor:
    return x.reshape(-1) if axis is None else x


@operation
def median(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The middle value over the axes, or the mean of the middle two."""
    return quantile(x, 0.5, axis, keepdims=keepdims)


@operation
def quantile(x: Any, q: Any, axis: Axis = None, method: str = "linear", keepdims: bool = False) -> Tensor:
    """The q-th quantiles over the axes, q in [0, 1]; several of them in a first dimension."""
    return _quantile(torch.quantile, x, q, axis, method, keepdims)


@operation
def nanquantile(x: Any, q: Any, axis: Axis = None, method: str = "linear", keepdims: bool = False) -> Tensor:
    """`quantile` of the values that are numbers."""
    return _quantile(torch.nanquantile, x, q, axis, method, keepdims)


@operation
def percentile(x: Any, q: Any, axis: Axis = None, method: str = "linear", keepdims: bool = False) -> Tensor:
    """The q-th percentiles over the axes, q in [0, 100]; several of them in a first dimension."""
    return _quantile(torch.quantile, x, to_float(q) / 100.0, axis, method, keepdims)


@operation
def nanpercentile(
    x: Any, q: Any, axis: Axis = None, method: str = "linear", keepdims: bool = False
) -> Tensor:
    """`percentile` of the values that are numbers."""
    return _quantile(torch.nanquantile, x, to_float(q) / 100.0, axis, method, keepdims)


def _quantile(
    function: Callable[..., Tensor], x: Any, q: Any, axis: Axis, method: str, keepdims: bool
) -> Tensor:
    errors.check_choice("method", method, _METHODS)
    tensor = to_float(x)
    if tensor.dtype in (torch.float16, torch.bfloat16):
        return _quantile(function, tensor.float(), q, axis, method, keepdims).to(tensor.dtype)
    points = to_float(q).to(tensor)
    values, kept = folded(tensor, axis)
    result = function(values, points, -1, interpolation=method)
    return result.reshape(*points.shape, *kept) if keepdims else result


@operation
def average(x: Any, axis: Axis = None, weights: Any = None) -> Tensor:
    """The mean over the axes, with weights of the shape of x, or one for each place of one axis."""
    if weights is None:
        return mean(x, axis)
    values, shares = (to_float(part) for part in promote(x, weights))
    if shares.shape != values.shape:
        if shares.dim() != 1 or not isinstance(axis, int):
            expected = f"shape {tuple(values.shape)} like x, or one weight for each place of one axis"
            raise errors.value_error("weights", expected, tuple(shares.shape), "pass axis as one number")
        shape = [1] * values.dim()
        shape[axis] = -1
        shares = shares.reshape(shape).expand(values.shape)
    return sum(values * shares, axis) / sum(shares, axis)


@operation
def nansum(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum over the axes of the values that are numbers."""
    return sum(_without_nan(x, 0.0), axis, keepdims)


@operation
def nanprod(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The product over the axes of the values that are numbers."""
    return prod(_without_nan(x, 1.0), axis, keepdims)


@operation
def nancumsum(x: Any, axis: int | None = None, dtype: Any = None) -> Tensor:
    """`cumsum` with 0 in place of NaN."""
    return cumsum(_without_nan(x, 0.0), axis, dtype)


@operation
def nancumprod(x: Any, axis: int | None = None, dtype: Any = None) -> Tensor:
    """`cumprod` with 1 in place of NaN."""
    return cumprod(_without_nan(x, 1.0), axis, dtype)


@operation
def nanmean(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The mean over the axes of the values that are numbers."""
    return sum(_without_nan(to_float(x), 0.0), axis, keepdims) / sum(_numbers(x), axis, keepdims)


@operation
def nanvar(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """`var` of the values that are numbers."""
    tensor = to_float(x)
    return nanmean((tensor - nanmean(tensor, axis, True)).abs().square(), axis, keepdims)


@operation
def nanstd(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The square root of `nanvar`."""
    return nanvar(x, axis, keepdims).sqrt()


@operation
def nanmax(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest of the values that are numbers; NaN where none is."""
    largest = max(_without_nan(x, -torch.inf), axis, keepdims)
    return torch.where(any(_numbers(x), axis, keepdims), largest, torch.nan) if is_float(largest) else largest


@operation
def nanmin(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The least of the values that are numbers; NaN where none is."""
    least = min(_without_nan(x, torch.inf), axis, keepdims)
    return torch.where(any(_numbers(x), axis, keepdims), least, torch.nan) if is_float(least) else least


@operation
def nanargmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the largest of the values that are numbers; -1 where none is."""
    index = argmax(_without_nan(x, -torch.inf), axis, keepdims)
    return torch.where(any(_numbers(x), axis, keepdims), index, -1)


@operation
def nanargmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the least of the values that are numbers; -1 where none is."""
    index = argmin(_without_nan(x, torch.inf), axis, keepdims)
    return torch.where(any(_numbers(x), axis, keepdims), index, -1)


@operation
def nanmedian(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """`median` of the values that are numbers."""
    return nanquantile(x, 0.5, axis, keepdims=keepdims)


def _numbers(x: Any) -> Tensor:
    return ~torch.isnan(to_tensor(x))


def _without_nan(x: Any, value: float) -> Tensor:
    tensor = to_tensor(x)
    return torch.where(torch.isnan(tensor), value, tensor) if is_float(tensor) else tensor


@operation
def segment_sum(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Tensor:
    """The sum of the rows of each segment; `segment_ids` has one whole number for each row."""
    return _segments("sum", data, segment_ids, num_segments)


@operation
def segment_prod(
    data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False
) -> Tensor:
    """The product of the rows of each segment."""
    return _segments("prod", data, segment_ids, num_segments)


@operation
def segment_max(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Tensor:
    """The largest values of the rows of each segment; the dtype's least where a segment has none."""
    return _segments("amax", data, segment_ids, num_segments)


@operation
def segment_min(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Tensor:
    """The least values of the rows of each segment; the dtype's largest where a segment has none."""
    return _segments("amin", data, segment_ids, num_segments)


def _segments(reduction: str, data: Any, segment_ids: Any, count: int | None) -> Tensor:
    values, segments = to_tensor(data), to_int(segment_ids)
    if count is None:
        count = int(segments.max()) + 1 if segments.numel() else 0
    shape = (count, *values.shape[1:])
    start = torch.full(shape, _neutral(reduction, values), dtype=values.dtype, device=values.device)
    inside = (segments >= 0) & (segments < count)
    rows = segments[inside].reshape(-1, *[1] * (values.dim() - 1)).expand(values[inside].shape)
    return start.scatter_reduce(0, rows, values[inside], reduction)


def _neutral(reduction: str, values: Tensor) -> float:
    """The value that changes nothing in a reduction."""
    if reduction in ("sum", "prod"):
        return float(reduction == "prod")
    limits = torch.finfo(values.dtype) if is_float(values) else torch.iinfo(values.dtype)
    if is_float(values):
        return -torch.inf if reduction == "amax" else torch.inf
    return limits.min if reduction == "amax" else limits.max
