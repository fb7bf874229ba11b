"""Maps and flattens nested lists, tuples and dicts of tensors, and keeps the masks of tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

# A shape with None where any size will do: (B, …).
Shape = tuple[int | None, ...]


def map_structure(function: Callable[[Any], Any], value: Any) -> Any:
    """The same nested lists, tuples and dicts, with `function` applied to everything else in them.

    >>> map_structure(str, [1, {"a": (2, 3)}])
    ['1', {'a': ('2', '3')}]
    """
    if isinstance(value, dict):
        return {key: map_structure(function, part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        parts = [map_structure(function, part) for part in value]
        if isinstance(value, list):
            return parts
        return tuple(parts) if type(value) is tuple else type(value)(*parts)
    return function(value)


def flatten(value: Any) -> list[Any]:
    """Everything in nested lists, tuples and dicts, in order.

    >>> flatten([1, {"a": (2, 3)}])
    [1, 2, 3]
    """
    leaves: list[Any] = []
    map_structure(leaves.append, value)
    return leaves


def is_shape(value: Any) -> bool:
    """Whether a value is one shape, such as (None, 10, 1), and no structure of shapes."""
    return isinstance(value, (tuple, list)) and all(size is None or isinstance(size, int) for size in value)


def map_shapes(function: Callable[[Shape], Any], shapes: Any) -> Any:
    """`function` applied to a shape, or to every shape in nested lists, tuples and dicts, but None."""
    if shapes is None:
        return None
    if is_shape(shapes):
        return function(tuple(shapes))
    if isinstance(shapes, dict):
        return {key: map_shapes(function, shape) for key, shape in shapes.items()}
    return [map_shapes(function, shape) for shape in shapes]


def shapes_of(values: Any) -> Any:
    """The shape of a tensor, or those of all tensors in nested lists, tuples and dicts."""
    return map_structure(lambda value: None if value is None else tuple(value.shape), values)


def open_batch(shapes: Any) -> Any:
    """Shapes with None for the number of rows."""
    return map_shapes(lambda shape: (None, *shape[1:]), shapes)


def to_tensors(values: Any) -> Any:
    """NumPy arrays in a structure as int64 tensors or default floats; any other value unchanged."""
    return map_structure(to_tensor, values)


def to_tensor(x: Any) -> Any:
    """A NumPy array as an int64 tensor or one of torch's default float dtype; any other value unchanged."""
    if not isinstance(x, np.ndarray):
        return x
    if x.dtype == np.bool_:
        return torch.as_tensor(x)
    if np.issubdtype(x.dtype, np.integer):
        return torch.as_tensor(x.astype(np.int64))
    return torch.as_tensor(x.astype(np.float64 if torch.get_default_dtype() == torch.float64 else np.float32))


def mask_of(value: Any) -> Any:
    """The mask that a layer attached to its output, (B, T) bool or None; a list or tuple of them for several.

    Keras attaches masks to tensors too: so they reach the next layer where layers are called one by one.
    """
    if isinstance(value, Tensor):
        return getattr(value, "_keras_mask", None)
    if isinstance(value, (list, tuple, dict)):
        masks = [mask_of(part) for part in (value.values() if isinstance(value, dict) else value)]
        if all(mask is None for mask in masks):
            return None
        return tuple(masks) if isinstance(value, tuple) else masks
    return None


def with_mask(output: Any, mask: Any) -> Any:
    """`output` with masks attached: one mask for the first tensor of several, or one mask each.

    Where the output is the input itself, under another mask, a view of it takes the mask.
    """
    if isinstance(output, (list, tuple)):
        masks: Sequence[Any] = mask if isinstance(mask, (list, tuple)) else [mask]
        padded = [*masks, *[None] * (len(output) - len(masks))]
        parts = [with_mask(part, own) for part, own in zip(output, padded, strict=True)]
        return parts if isinstance(output, list) else tuple(parts)
    if not isinstance(output, Tensor):
        return output
    attached = getattr(output, "_keras_mask", None)
    if attached is mask:
        return output
    if attached is not None:
        output = output.view_as(output)
    if mask is not None:
        output._keras_mask = mask  # pyright: ignore[reportAttributeAccessIssue]
    return output
