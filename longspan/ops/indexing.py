"""Takes, finds, sorts and replaces values by their indices, as Keras does."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from longspan import errors

from .calling import is_float, operation, promote, to_float, to_int, to_tensor


@operation
def get_item(x: Any, key: Any) -> Tensor:
    """x[key]."""
    return to_tensor(x)[tuple(key) if isinstance(key, list) else key]


@operation
def take(x: Any, indices: Any, axis: int | None = None) -> Tensor:
    """The parts at the indices along the axis, negative ones from the end; None: of the flattened tensor."""
    tensor, places = to_tensor(x), to_int(indices)
    if axis is None:
        return take(tensor.reshape(-1), places, 0)
    axis = axis % tensor.dim()
    places = torch.where(places < 0, places + tensor.shape[axis], places).to(tensor.device)
    taken = tensor.index_select(axis, places.reshape(-1))
    return taken.reshape((*tensor.shape[:axis], *places.shape, *tensor.shape[axis + 1 :]))


@operation
def take_along_axis(x: Any, indices: Any, axis: int | None = None) -> Tensor:
    """The value at an index for each place, along the axis; None: of the flattened tensors."""
    tensor, places = to_tensor(x), to_int(indices)
    if axis is None:
        tensor, places, axis = tensor.reshape(-1), places.reshape(-1), 0
    places = torch.where(places < 0, places + tensor.shape[axis], places)
    return torch.take_along_dim(tensor, places.to(tensor.device), axis)


@operation
def slice(inputs: Any, start_indices: Any, shape: Sequence[int]) -> Tensor:
    """The block of a shape that starts at the indices, one for each dimension; a size of -1: to the end."""
    tensor = to_tensor(inputs)
    return tensor[_block(tensor, start_indices, shape)]


def _block(x: Tensor, start_indices: Any, shape: Sequence[int]) -> tuple[Any, ...]:
    """The slices of a block, which is moved inside where it would end beyond x."""
    block = []
    for start, size, whole in zip(to_int(start_indices).tolist(), shape, x.shape, strict=True):
        length = whole - start if size == -1 else int(size)
        first = max(min(start, whole - length), 0)
        block.append(builtins.slice(first, first + length))
    return tuple(block)


@operation
def slice_update(inputs: Any, start_indices: Any, updates: Any) -> Tensor:
    """The tensor with a block replaced, which starts at the indices, one for each dimension."""
    tensor = to_tensor(inputs)
    new = to_tensor(updates).to(tensor)
    changed = tensor.clone()
    changed[_block(tensor, start_indices, new.shape)] = new
    return changed


@operation
def scatter(indices: Any, values: Any, shape: Sequence[int]) -> Tensor:
    """Zeros of a shape with values added at the indices, whose last dimension has one place a dimension."""
    new = to_tensor(values)
    zeros = torch.zeros(tuple(shape), dtype=new.dtype, device=new.device)
    return zeros.index_put(_columns(indices), new, accumulate=True)


@operation
def scatter_update(inputs: Any, indices: Any, updates: Any, reduction: str | None = None) -> Tensor:
    """The tensor with values replaced at the indices, or joined with those there.

    Args:
        inputs: the tensor.
        indices: whole numbers (..., D): the place in the first D dimensions.
        updates: the values (..., *the other dimensions).
        reduction: None: replaced; or "add", "mul", "max", "min".
    """
    tensor = to_tensor(inputs)
    new, columns = to_tensor(updates).to(tensor), _columns(indices)
    errors.check_choice("reduction", "none" if reduction is None else reduction, ("none", *_REDUCTIONS))
    if reduction is None:
        return tensor.index_put(columns, new)
    if reduction == "add":
        return tensor.index_put(columns, new, accumulate=True)
    rows = torch.arange(tensor.numel(), device=tensor.device).reshape(tensor.shape)[columns].reshape(-1)
    flat = tensor.reshape(-1).scatter_reduce(0, rows, new.reshape(-1), _REDUCTIONS[reduction])
    return flat.reshape(tensor.shape)


_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _columns(indices: Any) -> tuple[Tensor, ...]:
    return tuple(to_int(indices).unbind(-1))


@operation
def nonzero(x: Any) -> tuple[Tensor, ...]:
    """The indices of the values that are not 0, one tensor for each dimension."""
    return tuple(index.int() for index in torch.nonzero(to_tensor(x), as_tuple=True))


@operation
def sort(x: Any, axis: int | None = -1) -> Tensor:
    """The values in rising order along the axis; None: of the flattened tensor."""
    tensor = to_tensor(x)
    return tensor.reshape(-1).sort().values if axis is None else tensor.sort(axis).values


@operation
def argsort(x: Any, axis: int | None = -1) -> Tensor:
    """The indices that put the values in rising order along the axis; equal ones stay in order."""
    tensor = to_tensor(x)
    if axis is None:
        tensor, axis = tensor.reshape(-1), 0
    return tensor.argsort(dim=axis, stable=True).int()


@operation
def argpartition(x: Any, kth: int, axis: int | None = -1) -> Tensor:
    """Indices with those of the k-th least value at its place, and those of lesser ones before it."""
    return argsort(x, axis)


class TopK(NamedTuple):
    """The largest values and their indices."""

    values: Tensor
    indices: Tensor


@operation
def top_k(x: Any, k: int, sorted: bool = True) -> TopK:
    """The k largest values of the last dimension and their indices, the largest first if sorted."""
    values, indices = torch.topk(to_tensor(x), k, sorted=sorted)
    return TopK(values, indices.int())


@operation
def in_top_k(targets: Any, predictions: Any, k: int) -> Tensor:
    """Whether the score of each target (B,) is among the k largest of its row of predictions (B, V)."""
    classes, scores = to_int(targets), to_float(predictions)
    own = scores.gather(-1, classes.unsqueeze(-1))
    return own.squeeze(-1) >= torch.topk(scores, min(k, scores.shape[-1])).values[..., -1]


@operation
def searchsorted(sorted_sequence: Any, values: Any, side: str = "left") -> Tensor:
    """Where each value would stand in a rising vector, before ("left") or after ("right") equal ones."""
    row = to_tensor(sorted_sequence)
    if row.dim() != 1:
        raise errors.value_error("sorted_sequence", "one dimension", row.dim(), "use torch.searchsorted")
    return torch.searchsorted(row.contiguous(), to_tensor(values), side=side, out_int32=True)


@operation
def digitize(x: Any, bins: Any) -> Tensor:
    """The number of the bin of each value: of the rising limits, those that are at most the value."""
    values, limits = promote(x, bins)
    return torch.bucketize(values, limits, right=True, out_int32=True)


@operation
def bincount(x: Any, weights: Any = None, minlength: int = 0, sparse: bool = False) -> Tensor:
    """How often each whole number from 0 on is in a vector, or in each row of several.

    Args:
        x: whole numbers of at least 0, (T,) or (B, T).
        weights: of the shape of x: their sums are returned instead of counts.
        minlength: the least length of the result.
        sparse: accepted for False.
    """
    refuse_sparse(sparse)
    numbers = to_int(x)
    shares = None if weights is None else to_tensor(weights)
    length = max(minlength, int(numbers.max()) + 1 if numbers.numel() else 0)
    if numbers.dim() == 1:
        counts = torch.bincount(numbers, shares, length)
    else:
        rows = range(len(numbers))
        parts = [torch.bincount(numbers[i], None if shares is None else shares[i], length) for i in rows]
        counts = torch.stack(parts)
    return counts.int() if shares is None else counts.to(shares.dtype)


def refuse_sparse(sparse: object) -> None:
    """An error for sparse tensors."""
    if sparse:
        raise errors.value_error("sparse", "False", sparse, "use the dense result, or torch.sparse")


@operation
def histogram(x: Any, bins: int = 10, range: tuple[float, float] | None = None) -> tuple[Tensor, Tensor]:
    """How many values lie in each of the bins of equal width over the range, and the bins' limits.

    None: the range of the values.
    """
    values = to_tensor(x).reshape(-1)
    floats = values if is_float(values) else values.float()
    low, high = range if range is not None else (float(floats.min()), float(floats.max()))
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts, limits = torch.histogram(floats.cpu(), bins, range=(low, high))
    return counts.int().to(values.device), limits.to(values.device)


@operation
def unravel_index(indices: Any, shape: Sequence[int]) -> tuple[Tensor, ...]:
    """The index in each dimension of a shape for indices of its flattened tensor."""
    return tuple(index.int() for index in torch.unravel_index(to_int(indices), tuple(shape)))


@operation
def unique(
    x: Any,
    sorted: bool = True,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    size: int | None = None,
    fill_value: Any = None,
) -> Any:
    """The different values, or the different parts along an axis, in rising order.

    Args:
        x: the tensor.
        sorted: accepted for True and False; the values are in rising order either way.
        return_index: whether the index of each value's first occurrence is returned too.
        return_inverse: whether the place among the different values is returned for each value of x.
        return_counts: whether the number of occurrences is returned too.
        axis: None: of the flattened tensor.
        size: the number of values to return: fewer are filled up with fill_value.
        fill_value: None: the least value.
    """
    tensor = to_tensor(x)
    if axis is None:
        tensor, axis = tensor.reshape(-1), 0
    values, inverse, counts = torch.unique(tensor, dim=axis, return_inverse=True, return_counts=True)
    places = torch.arange(len(inverse), device=inverse.device)
    first = torch.full_like(counts, len(inverse)).scatter_reduce(0, inverse, places, "amin")
    parts = [_sized(values, axis, size, fill_value)]
    for wanted, indices in ((return_index, first), (return_inverse, inverse), (return_counts, counts)):
        if wanted:
            parts.append(indices.int() if indices is inverse else _sized(indices.int(), 0, size, 0))
    return parts[0] if len(parts) == 1 else tuple(parts)


def _sized(values: Tensor, axis: int, size: int | None, fill_value: Any) -> Tensor:
    """The first `size` of the values, or more, filled up."""
    length = values.shape[axis]
    if size is None or size == length:
        return values
    if size < length:
        return values.narrow(axis, 0, size)
    shape = [size - length if i == axis % values.dim() else n for i, n in enumerate(values.shape)]
    rest = (
        values.narrow(axis, 0, 1).expand(shape) if fill_value is None else values.new_full(shape, fill_value)
    )
    return torch.cat([values, rest], axis)
