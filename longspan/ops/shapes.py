"""Changes shapes as Keras does: reshapes, transposes, joins, splits, pads and repeats tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from longspan import errors

from .calling import axes_of, dtype_name, operation, promote, to_int, to_tensor


def shape(x: Any) -> tuple[int | None, ...]:
    """The sizes of a tensor; of a symbolic tensor with None where any size will do."""
    return tuple(x.shape) if "shape" in dir(x) else tuple(to_tensor(x).shape)


def ndim(x: Any) -> int:
    """The number of dimensions."""
    return len(shape(x))


def dtype(x: Any) -> str:
    """The dtype by its name, such as "float32"."""
    own = x.dtype if "dtype" in dir(x) else to_tensor(x).dtype
    return dtype_name(own) if isinstance(own, torch.dtype) else str(own)


@operation
def size(x: Any) -> Tensor:
    """The number of values."""
    return torch.tensor(to_tensor(x).numel())


@operation
def reshape(x: Any, newshape: Any) -> Tensor:
    """The same values in another shape; -1: what remains; None: the size of x in this dimension.

    None is what `shape` says of a symbolic tensor's rows, as in reshape(x, (shape(x)[0], -1)).
    """
    tensor = to_tensor(x)
    sizes = (newshape,) if isinstance(newshape, int) else tuple(newshape)
    return tensor.reshape([tensor.shape[i] if size is None else int(size) for i, size in enumerate(sizes)])


@operation
def ravel(x: Any) -> Tensor:
    """The values in one dimension."""
    return to_tensor(x).reshape(-1)


@operation
def expand_dims(x: Any, axis: Any) -> Tensor:
    """A dimension of 1 more at each of the axes of the result."""
    tensor = to_tensor(x)
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    dims = tensor.dim() + len(axes)
    for number in sorted(number % dims if -dims <= number < dims else number for number in axes):
        tensor = tensor.unsqueeze(number)
    return tensor


@operation
def squeeze(x: Any, axis: Any = None) -> Tensor:
    """Without the dimensions of 1 at the axes; None: without all of them."""
    tensor = to_tensor(x)
    if axis is None:
        return tensor.squeeze()
    axes = axes_of(tensor, axis)
    if any(tensor.shape[number] != 1 for number in axes):
        shape = tuple(tensor.shape)
        raise errors.value_error("axis", f"dimensions of 1 of shape {shape}", axis, "use reshape or take")
    return tensor.squeeze(axes)


@operation
def transpose(x: Any, axes: Sequence[int] | None = None) -> Tensor:
    """The dimensions in another order; None: reversed."""
    tensor = to_tensor(x)
    return tensor.permute(tuple(axes) if axes is not None else tuple(reversed(range(tensor.dim()))))


@operation
def swapaxes(x: Any, axis1: int, axis2: int) -> Tensor:
    """Two dimensions exchanged."""
    return to_tensor(x).swapaxes(axis1, axis2)


@operation
def moveaxis(x: Any, source: Any, destination: Any) -> Tensor:
    """The dimensions `source` at the places `destination`, the others in order."""
    return torch.movedim(to_tensor(x), source, destination)


@operation
def broadcast_to(x: Any, shape: Sequence[int]) -> Tensor:
    """The values repeated to a shape, where a dimension is 1 or missing."""
    return torch.broadcast_to(to_tensor(x), tuple(shape))


@operation
def flip(x: Any, axis: Any = None) -> Tensor:
    """The order reversed along the axes; None: along all."""
    tensor = to_tensor(x)
    return torch.flip(tensor, axes_of(tensor, axis))


@operation
def fliplr(x: Any) -> Tensor:
    """The order reversed along the second dimension."""
    return torch.fliplr(to_tensor(x))


@operation
def flipud(x: Any) -> Tensor:
    """The order reversed along the first dimension."""
    return torch.flipud(to_tensor(x))


@operation
def roll(x: Any, shift: Any, axis: Any = None) -> Tensor:
    """The values moved on by `shift`, those at the end to the start; None: of the flattened tensor."""
    return torch.roll(to_tensor(x), shift, axis)


@operation
def rot90(array: Any, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Tensor:
    """Turned by k times 90 degrees from the first axis to the second."""
    return torch.rot90(to_tensor(array), k, axes)


@operation
def concatenate(xs: Sequence[Any], axis: int | None = 0) -> Tensor:
    """The tensors joined along an existing axis; None: their flattened values."""
    tensors = promote(*xs)
    if axis is None:
        return torch.cat([tensor.reshape(-1) for tensor in tensors])
    return torch.cat(tensors, axis)


@operation
def stack(x: Sequence[Any], axis: int = 0) -> Tensor:
    """The tensors joined along a new axis."""
    return torch.stack(promote(*x), axis)


@operation
def append(x1: Any, x2: Any, axis: int | None = None) -> Tensor:
    """x1, then x2, along the axis; None: their flattened values."""
    first, second = promote(x1, x2)
    if axis is None:
        return torch.cat([first.reshape(-1), second.reshape(-1)])
    return torch.cat([first, second], axis)


@operation
def hstack(xs: Sequence[Any]) -> Tensor:
    """The tensors joined along the second dimension; along the first one if it is the only one."""
    return torch.hstack(promote(*xs))


@operation
def vstack(xs: Sequence[Any]) -> Tensor:
    """The tensors joined along the first dimension, vectors as rows."""
    return torch.vstack(promote(*xs))


@operation
def dstack(xs: Sequence[Any]) -> Tensor:
    """The tensors joined along the third dimension."""
    return torch.dstack(promote(*xs))


@operation
def unstack(x: Any, num: int | None = None, axis: int = 0) -> list[Tensor]:
    """The parts along the axis, without it; `num`, where it is given, must be their number."""
    tensor = to_tensor(x)
    if num is not None and num != tensor.shape[axis]:
        way_out = "leave it out"
        raise errors.value_error("num", f"{tensor.shape[axis]}, the size of axis {axis}", num, way_out)
    return list(tensor.unbind(axis))


@operation
def split(x: Any, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    """Parts along the axis: a number of equal ones, or those between the indices."""
    tensor = to_tensor(x)
    if isinstance(indices_or_sections, int) and tensor.shape[axis] % indices_or_sections:
        expected = f"a divisor of {tensor.shape[axis]}, the size of axis {axis}"
        raise errors.value_error("indices_or_sections", expected, indices_or_sections, "use array_split")
    return _parts(tensor, indices_or_sections, axis)


@operation
def array_split(x: Any, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    """`split` into parts, the first of which are longer by 1 where the size is no multiple."""
    return _parts(to_tensor(x), indices_or_sections, axis)


def _parts(x: Tensor, indices_or_sections: Any, axis: int) -> list[Tensor]:
    if isinstance(indices_or_sections, int):
        return list(torch.tensor_split(x, indices_or_sections, axis))
    return list(torch.tensor_split(x, tuple(to_int(indices_or_sections).tolist()), axis))


@operation
def hsplit(x: Any, indices_or_sections: Any) -> list[Tensor]:
    """`split` along the second dimension; along the first one if it is the only one."""
    tensor = to_tensor(x)
    return split(tensor, indices_or_sections, 0 if tensor.dim() == 1 else 1)


@operation
def vsplit(x: Any, indices_or_sections: Any) -> list[Tensor]:
    """`split` along the first dimension."""
    return split(x, indices_or_sections, 0)


@operation
def dsplit(x: Any, indices_or_sections: Any) -> list[Tensor]:
    """`split` along the third dimension."""
    return split(x, indices_or_sections, 2)


@operation
def repeat(x: Any, repeats: Any, axis: int | None = None) -> Tensor:
    """Each value several times along the axis, one number or one a value; None: of the flattened tensor."""
    tensor = to_tensor(x)
    counts = to_int(repeats)
    number = int(counts) if counts.numel() == 1 else counts.to(tensor.device)
    return torch.repeat_interleave(tensor, number, axis)  # pyright: ignore[reportArgumentType, reportCallIssue]


@operation
def tile(x: Any, repeats: Any) -> Tensor:
    """The whole tensor several times along each dimension."""
    counts = (repeats,) if isinstance(repeats, int) else tuple(to_int(repeats).tolist())
    return torch.tile(to_tensor(x), counts)


@operation
def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = None) -> Tensor:
    """Longer at the start and the end of each dimension.

    Args:
        x: the tensor.
        pad_width: a number, (start, end) for all dimensions, or ((start, end), ...) for each.
        mode: "constant", "reflect", "symmetric", "edge" or "wrap", as numpy.pad has them.
        constant_values: 0 where None.

    >>> pad(torch.tensor([1, 2]), (1, 1))
    tensor([0, 1, 2, 0])
    """
    tensor = to_tensor(x)
    widths = torch.broadcast_to(to_int(pad_width), (tensor.dim(), 2)).tolist()
    errors.check_choice("mode", mode, ("constant", *_PAD_INDICES))
    if mode == "constant":
        flat = [width for pair in reversed(widths) for width in pair]
        return F.pad(tensor, flat, value=0 if constant_values is None else float(constant_values))
    if constant_values is not None:
        way_out = "leave it out, or use mode='constant'"
        raise errors.value_error("constant_values", f"None with mode={mode!r}", constant_values, way_out)
    for axis, (before, after) in enumerate(widths):
        places = torch.arange(-before, tensor.shape[axis] + after, device=tensor.device)
        tensor = tensor.index_select(axis, _PAD_INDICES[mode](places, tensor.shape[axis]))
    return tensor


def _reflected(places: Tensor, size: int) -> Tensor:
    period = max(2 * size - 2, 1)
    return size - 1 - (places.remainder(period) - (size - 1)).abs()


def _mirrored(places: Tensor, size: int) -> Tensor:
    places = places.remainder(2 * size)
    return torch.minimum(places, 2 * size - 1 - places)


# How the places outside of a dimension are filled -> the index inside it for each place.
_PAD_INDICES = {
    "reflect": _reflected,
    "symmetric": _mirrored,
    "edge": lambda places, size: places.clamp(0, size - 1),
    "wrap": lambda places, size: places.remainder(size),
}


@operation
def meshgrid(*x: Any, indexing: str = "xy") -> list[Tensor]:
    """Coordinate tensors of vectors; "xy": the first two dimensions are exchanged, as in NumPy."""
    return list(torch.meshgrid(*[to_tensor(part).reshape(-1) for part in x], indexing=indexing))


@operation
def copy(x: Any) -> Tensor:
    """A copy of the values."""
    return to_tensor(x).clone()
