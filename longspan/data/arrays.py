"""Turns arrays, frames, lists and ragged lists into tensors; refuses what is not numeric or not finite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from longspan import errors

from .padding import fill_rows

_KINDS = "numbers as a NumPy array, a tensor, a pandas or polars frame, or a list"


class Tensors(NamedTuple):
    """values: (N, ...); lengths: (N,) int64, the real steps of each row where rows were padded, else None."""

    values: Tensor
    lengths: Tensor | None = None


def as_tensors(x: Any, name: str = "x", *, finite: bool = True) -> Tensors:
    """Tensors of arrays, frames or lists of numbers.

    Args:
        x: a tensor (kept as it is), a NumPy array, a pandas or polars frame or series, or a list of numbers,
            arrays or tensors. A list whose rows differ in length, (T_i,) or (T_i, D) each, is padded with
            zeros to (N, T) or (N, T, D) and its lengths are given. Floating numbers that are not in a tensor
            become torch's default dtype, whole ones int64; bool and uint8 stay.
        name: how errors call `x`.
        finite: refuse NaN and infinity.

    Raises:
        ValueError, TypeError: it is empty, not numeric or not finite; the sentence names the position.

    >>> as_tensors([[1.0, 2.0, 3.0], [4.0]])
    Tensors(values=tensor([[1., 2., 3.],
            [4., 0., 0.]]), lengths=tensor([3, 1]))
    """
    tensors = _convert(x, name)
    if tensors.values.dim() == 0:
        raise errors.value_error(name, "at least one row", "a single number", "put it in a list")
    if tensors.values.numel() == 0:
        raise errors.value_error(
            name, "at least one value", "no data", "check what was read or how it was split"
        )
    if finite and tensors.values.is_floating_point():
        check_finite(tensors.values, name)
    return tensors


def check_finite(values: Tensor, name: str) -> None:
    """Refuse NaN and infinity, naming the first position; one pass over the data."""
    if values.sum().isfinite():
        return
    bad = ~values.isfinite()
    count = int(bad.sum())
    if count == 0:
        return  # the sum itself overflowed
    position = bad.nonzero()[0].tolist()
    received = f"{count} NaN or infinite, the first {values[tuple(position)].item()} at {position}"
    raise errors.value_error(name, "finite numbers", received, "fill or drop them first")


def _convert(x: Any, name: str) -> Tensors:
    if isinstance(x, Tensor):
        return Tensors(x)
    if isinstance(x, (str, bytes)):
        raise errors.type_error(name, _KINDS, x, "turn text into numbers with longspan.data.Words")
    if isinstance(x, Sequence):
        return _from_list(x, name)
    array = np.asarray(x)
    return _from_list(list(array), name) if _holds_rows(array) else Tensors(_from_array(array, name, x))


def _holds_rows(array: np.ndarray) -> bool:
    """Whether it is an object array whose elements are sequences themselves."""
    return array.dtype == object and array.ndim == 1 and array.size > 0 and _is_row(array[0])


def _is_row(value: object) -> bool:
    return isinstance(value, (Tensor, np.ndarray, list, tuple))


def _from_list(rows: Sequence[Any], name: str) -> Tensors:
    if not rows or not _is_row(rows[0]):
        return Tensors(_from_array(np.asarray(rows), name, rows))
    steps = [len(row) if _is_row(row) else -1 for row in rows]
    if min(steps) < 0:
        odd = steps.index(-1)
        raise errors.value_error(
            name, "rows that are all sequences", f"{rows[odd]!r} in row {odd}", "make it a list of one number"
        )
    if len(set(steps)) > 1:
        return pad_sequences(rows, name)
    if all(isinstance(row, Tensor) for row in rows):
        _check_alike([tuple(row.shape) for row in rows], name)
        return Tensors(torch.stack(list(rows)))
    try:
        array = np.asarray(rows)
    except ValueError as error:
        _check_alike([_shape_of(row) for row in rows], name)
        received = "steps of different width inside a row"
        raise errors.value_error(name, "rows of one shape", received, "make every step as wide") from error
    return Tensors(_from_array(array, name, rows))


def _check_alike(shapes: list[tuple[int, ...]], name: str) -> None:
    for row, shape in enumerate(shapes):
        if shape != shapes[0]:
            received = f"{shapes[0]} in row 0 and {shape} in row {row}"
            raise errors.value_error(name, "rows of one shape", received, "only their lengths may differ")


def _shape_of(row: Any) -> tuple[int, ...]:
    """The shape of one row; of one whose steps differ, its steps alone."""
    try:
        return tuple(np.shape(row))
    except ValueError:
        return (len(row),)


def pad_sequences(
    rows: Sequence[Any], name: str, *, length: int | None = None, value: float = 0, left: bool = False
) -> Tensors:
    """Rows (T_i,) or (T_i, D) side by side as (N, T) or (N, T, D), filled up with `value`, and their lengths.

    `length` is T, None for the longest; longer rows are refused. `left` puts the filling before the row.
    """
    parts = [_convert(row, f"{name}[{i}]").values if len(row) else () for i, row in enumerate(rows)]
    real = [part for part in parts if isinstance(part, Tensor)]
    if not real:
        raise errors.value_error(
            name, "at least one row with a step", "empty rows only", "check what was read"
        )
    _check_alike([tuple(part.shape[1:]) for part in real], name)
    dtype = real[0].dtype
    for part in real[1:]:
        dtype = torch.promote_types(dtype, part.dtype)
    lengths = torch.tensor([len(part) for part in parts])
    steps = int(lengths.max()) if length is None else length
    padded = torch.full((len(rows), steps, *real[0].shape[1:]), value, dtype=dtype)
    return Tensors(fill_rows(padded, parts, left=left), lengths)


def _from_array(array: np.ndarray, name: str, source: object) -> Tensor:
    """A NumPy array of numbers as a tensor; memory is shared where the dtype allows it."""
    if array.dtype == object or array.dtype.kind not in "biuf":
        raise _not_numeric(array, name, source)
    wanted = np.dtype(np.int64)
    if array.dtype.kind == "f":
        wanted = torch.empty(0).numpy().dtype
    elif array.dtype in (np.bool_, np.uint8):
        wanted = array.dtype  # pixels stay small
    array = array.astype(wanted, copy=not array.flags.writeable)
    if any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array)


def _not_numeric(array: np.ndarray, name: str, source: object) -> TypeError:
    received = f"{type(source).__name__} of {array.dtype}"
    way_out = "leave out or encode the columns that are no numbers"
    if array.size and array.dtype == object:
        odd = next((v for v in array.flat if not isinstance(v, (int, float))), None)
        received = f"{type(source).__name__} with {odd!r}"
        way_out = "fill missing values, and leave out or encode what is no number"
    elif array.dtype.kind == "U":
        received = f"{type(source).__name__} of text, such as {str(array.flat[0])!r}"
        way_out = "turn text into numbers with longspan.data.Words"
    return TypeError(errors.message(name, _KINDS, received, way_out))
