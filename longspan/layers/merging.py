"""Layers that merge several inputs into one: sums, products, means, extremes, concatenation, dot products."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import reduce
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import Unpack

from longspan import errors

from .base import Layer, LayerOptions
from .structure import Shape, is_shape, to_tensors


class Merge(Layer):
    """A layer called on a list of tensors of one shape, or of shapes that broadcast. Abstract.

    The output's mask keeps the steps that any input's mask keeps; there is none if an input has none.
    """

    skips_hidden: ClassVar[bool] = False  # whether an input does not count at the steps that its mask hides

    def __init__(self, **shared: Unpack[LayerOptions]) -> None:
        super().__init__(**shared)

    @abstractmethod
    def merge(self, parts: Sequence[Tensor]) -> Tensor:
        """The output for two or more tensors."""

    def call(self, x: Any, mask: Any = None) -> Tensor:
        parts = _several(self, x)
        masks = mask if isinstance(mask, (list, tuple)) and self.skips_hidden else None
        if masks is None or all(part is None for part in masks):
            return self.merge(parts)
        return self._merge_shown(parts, masks)

    def _merge_shown(self, parts: Sequence[Tensor], masks: Sequence[Tensor | None]) -> Tensor:
        """The output where an input counts at the steps that its mask shows."""
        output, seen = parts[0], _over_values(masks[0], parts[0])
        for part, mask in zip(parts[1:], masks[1:], strict=True):
            shown, merged = _over_values(mask, part), self.merge([output, part])
            if shown is not None:
                merged = torch.where(shown, merged, output)
            if seen is not None:
                hidden = part if shown is None else torch.where(shown, part, output)
                merged = torch.where(seen, merged, hidden)
            output, seen = merged, None if seen is None or shown is None else seen | shown
        return output

    def compute_output_shape(self, input_shape: Any) -> Shape:
        first, *others = _several_shapes(self, input_shape)
        for shape in others:
            first = _broadcast(self, first, shape)
        return first

    def compute_mask(self, x: Any, mask: Any = None) -> Tensor | None:
        masks = _masks(self, x, mask)
        if masks is None or any(part is None for part in masks):
            return None
        return reduce(torch.logical_or, to_tensors(masks))


class Add(Merge):
    """The sum of its inputs: keras.layers.Add.

    >>> Add()([torch.ones(1, 2), torch.ones(1, 2)])
    tensor([[2., 2.]])
    """

    def merge(self, parts: Sequence[Tensor]) -> Tensor:
        return reduce(torch.add, parts)


class Subtract(Merge):
    """The first of two inputs less the second: keras.layers.Subtract.

    >>> Subtract()([torch.ones(1, 2), torch.ones(1, 2)])
    tensor([[0., 0.]])
    """

    def merge(self, parts: Sequence[Tensor]) -> Tensor:
        self._check(parts)
        return parts[0] - parts[1]

    def compute_output_shape(self, input_shape: Any) -> Shape:
        self._check(input_shape)
        return super().compute_output_shape(input_shape)

    def _check(self, parts: Any) -> None:
        if len(parts) != 2:
            way_out = "subtract them one after the other"
            raise errors.value_error(f"input of {self.name}", "two tensors", len(parts), way_out)


class Multiply(Merge):
    """The product of its inputs, value by value: keras.layers.Multiply.

    >>> Multiply()([torch.ones(1, 2), 2 * torch.ones(1, 2)])
    tensor([[2., 2.]])
    """

    skips_hidden = True

    def merge(self, parts: Sequence[Tensor]) -> Tensor:
        return reduce(torch.mul, parts)


class Average(Merge):
    """The mean of its inputs: keras.layers.Average.

    >>> Average()([torch.ones(1, 2), 3 * torch.ones(1, 2)])
    tensor([[2., 2.]])
    """

    def merge(self, parts: Sequence[Tensor]) -> Tensor:
        return reduce(torch.add, parts) / len(parts)


class Maximum(Merge):
    """The largest of its inputs, value by value: keras.layers.Maximum.

    >>> Maximum()([torch.ones(1, 2), 3 * torch.ones(1, 2)])
    tensor([[3., 3.]])
    """

    skips_hidden = True

    def merge(self, parts: Sequence[Tensor]) -> Tensor:
        return reduce(torch.maximum, parts)


class Minimum(Merge):
    """The smallest of its inputs, value by value: keras.layers.Minimum.

    >>> Minimum()([torch.ones(1, 2), 3 * torch.ones(1, 2)])
    tensor([[1., 1.]])
    """

    skips_hidden = True

    def merge(self, parts: Sequence[Tensor]) -> Tensor:
        return reduce(torch.minimum, parts)


class Concatenate(Merge):
    """Its inputs one after another along a dimension: keras.layers.Concatenate.

    Args:
        axis: the dimension, the batch is 0.

    >>> Concatenate()([torch.ones(1, 2), torch.ones(1, 3)]).shape
    torch.Size([1, 5])
    """

    def __init__(self, axis: int = -1, **shared: Unpack[LayerOptions]) -> None:
        super().__init__(**shared)
        self.axis = axis

    def merge(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(parts), self.axis)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shapes = _several_shapes(self, input_shape)
        rank = len(shapes[0])
        axis = self.axis % rank
        for shape in shapes[1:]:
            sizes = zip(shapes[0], shape, strict=False)
            wrong = [i for i, (a, b) in enumerate(sizes) if i != axis and a != b and None not in (a, b)]
            if len(shape) != rank or wrong:
                expected = f"shapes that differ in dimension {axis} alone"
                raise errors.value_error(f"input of {self.name}", expected, shapes, "reshape one of them")
        along = [shape[axis] for shape in shapes]
        joined = None if any(size is None for size in along) else sum(size or 0 for size in along)
        known = [
            next((size for size in sizes if size is not None), None) for sizes in zip(*shapes, strict=True)
        ]
        return (*known[:axis], joined, *known[axis + 1 :])

    def compute_mask(self, x: Any, mask: Any = None) -> Tensor | None:
        masks = _masks(self, x, mask)
        if masks is None or all(part is None for part in masks):
            return None
        pairs = zip(to_tensors(x), to_tensors(masks), strict=True)
        return torch.cat([_full_mask(*pair) for pair in pairs], self.axis).any(-1)


def _over_values(mask: Tensor | None, x: Tensor) -> Tensor | None:
    """A mask of the steps of x for each of its values; None without one."""
    if mask is None:
        return None
    return mask.bool().reshape(*mask.shape, *(1,) * (x.dim() - mask.dim()))


def _full_mask(x: Tensor, mask: Tensor | None) -> Tensor:
    """A mask with the shape of x; True everywhere without a mask."""
    if mask is None:
        return torch.ones_like(x, dtype=torch.bool)
    return mask.unsqueeze(-1).expand_as(x) if mask.dim() < x.ndim else mask


class Dot(Merge):
    """Products of two inputs along one dimension of each: keras.layers.Dot.

    Args:
        axes: the dimension of both, or one for each, the batch is 0.
        normalize: divide by the vectors' lengths first, which gives the cosine similarity.

    >>> Dot(axes=1)([torch.ones(2, 3), torch.ones(2, 3)])
    tensor([[3.],
            [3.]])
    """

    def __init__(
        self, axes: int | Sequence[int], normalize: bool = False, **shared: Unpack[LayerOptions]
    ) -> None:
        super().__init__(**shared)
        self.axes, self.normalize = axes, errors.check_bool("normalize", normalize)

    def _pair(self, first: int, second: int) -> tuple[int, int]:
        one, other = (self.axes, self.axes) if isinstance(self.axes, int) else tuple(self.axes)
        return one % first, other % second

    def merge(self, parts: Sequence[Tensor]) -> Tensor:
        first, second = parts
        one, other = self._pair(first.dim(), second.dim())
        if self.normalize:
            first, second = _normalized(first, one), _normalized(second, other)
        first, second = first.movedim(one, -1), second.movedim(other, 1)
        rest = (*first.shape[:-1], *second.shape[2:])
        product = first.reshape(len(first), -1, first.shape[-1]) @ second.reshape(*second.shape[:2], -1)
        return product.reshape(rest) if len(rest) > 1 else product.reshape(len(first), 1)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        first, second = _several_shapes(self, input_shape)
        one, other = self._pair(len(first), len(second))
        if first[one] != second[other] and None not in (first[one], second[other]):
            expected = f"sizes that agree in dimensions {one} and {other}"
            raise errors.value_error(f"input of {self.name}", expected, [first, second], "change axes")
        rest = (*first[:one], *first[one + 1 :], *second[1:other], *second[other + 1 :])
        return rest if len(rest) > 1 else (*rest, 1)

    def compute_mask(self, x: Any, mask: Any = None) -> None:
        return None


def _normalized(x: Tensor, axis: int) -> Tensor:
    """x over its length along a dimension, as Keras: the squared length is at least 1e-12."""
    return x * x.square().sum(axis, keepdim=True).clamp_min(1e-12).rsqrt()


def _masks(layer: Merge, x: Any, mask: Any) -> Sequence[Any] | None:
    """A mask for each input, None for no masks."""
    if mask is None:
        return None
    if not isinstance(mask, (list, tuple)) or not isinstance(x, (list, tuple)) or len(mask) != len(x):
        raise errors.value_error(
            f"mask of {layer.name}", "a list with a mask or None for each input", mask, "pass one"
        )
    return mask


def _several(layer: Merge, x: Any) -> Sequence[Tensor]:
    """Tensors of one rank; where ranks differ, dimensions of 1 come after the batch, as in Keras."""
    if not isinstance(x, (list, tuple)) or len(x) < 1:
        raise errors.type_error(f"input of {layer.name}", "a list of tensors", x, "call it on [a, b]")
    rank = max(part.dim() for part in x)
    if isinstance(layer, (Concatenate, Dot)) or all(part.dim() == rank for part in x):
        return list(x)
    return [part.reshape(len(part), *[1] * (rank - part.dim()), *part.shape[1:]) for part in x]


def _several_shapes(layer: Merge, shapes: Any) -> list[Shape]:
    if is_shape(shapes):
        raise errors.value_error(f"input of {layer.name}", "a list of tensors", "one", "call it on [a, b]")
    return [tuple(shape) for shape in shapes]


def _broadcast(layer: Merge, first: Shape, second: Shape) -> Shape:
    """The shape of a sum of two; rows broadcast against nothing."""
    rank = max(len(first), len(second))
    one, other = ((shape[0], *[1] * (rank - len(shape)), *shape[1:]) for shape in (first, second))
    sizes: list[int | None] = []
    for axis, (a, b) in enumerate(zip(one, other, strict=True)):
        if a != b and None not in (a, b) and (axis == 0 or 1 not in (a, b)):
            expected = "shapes that broadcast to one"
            raise errors.value_error(
                f"input of {layer.name}", expected, [first, second], "reshape one of them"
            )
        sizes.append(b if a == 1 and axis else a if b == 1 and axis else a if b is None else b)
    return tuple(sizes)


def add(inputs: Sequence[Any]) -> Any:
    """`Add()(inputs)`."""
    return Add()(inputs)


def subtract(inputs: Sequence[Any]) -> Any:
    """`Subtract()(inputs)`."""
    return Subtract()(inputs)


def multiply(inputs: Sequence[Any]) -> Any:
    """`Multiply()(inputs)`."""
    return Multiply()(inputs)


def average(inputs: Sequence[Any]) -> Any:
    """`Average()(inputs)`."""
    return Average()(inputs)


def maximum(inputs: Sequence[Any]) -> Any:
    """`Maximum()(inputs)`."""
    return Maximum()(inputs)


def minimum(inputs: Sequence[Any]) -> Any:
    """`Minimum()(inputs)`."""
    return Minimum()(inputs)


def concatenate(inputs: Sequence[Any], axis: int = -1) -> Any:
    """`Concatenate(axis)(inputs)`."""
    return Concatenate(axis)(inputs)


def dot(inputs: Sequence[Any], axes: int | Sequence[int], normalize: bool = False) -> Any:
    """`Dot(axes, normalize)(inputs)`."""
    return Dot(axes, normalize)(inputs)
