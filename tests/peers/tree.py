"""Keras' functions on nested lists, tuples and dicts, as its tests call them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from longspan.layers.structure import flatten as flatten
from longspan.layers.structure import is_shape
from longspan.layers.structure import map_structure as _map


def map_structure(function: Callable[..., Any], first: Any, *others: Any) -> Any:
    """The structure of the first with the function applied to the leaves of all."""
    leaves = iter(zip(flatten(first), *(flatten(other) for other in others), strict=True))
    return _map(lambda _: function(*next(leaves)), first)


def map_shape_structure(function: Callable[..., Any], shapes: Any) -> Any:
    """The structure with the function applied to every shape."""
    if is_shape(shapes):
        return function(shapes)
    if isinstance(shapes, dict):
        return {key: map_shape_structure(function, shape) for key, shape in shapes.items()}
    return type(shapes)(map_shape_structure(function, shape) for shape in shapes)
