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


def assert_same_structure(a: Any, b: Any, check_types: bool = True) -> None:
    """A ValueError unless both have the same lists, tuples and dicts."""
    if isinstance(a, dict) != isinstance(b, dict) or (isinstance(a, dict) and a.keys() != b.keys()):
        raise ValueError(f"expected the keys of {a}, received {b}")
    if isinstance(a, (list, tuple)) != isinstance(b, (list, tuple)) or (
        isinstance(a, (list, tuple)) and (type(a) is not type(b) or len(a) != len(b))
    ):
        raise ValueError(f"expected a {type(a).__name__}, received {type(b).__name__}")
    for key in a if isinstance(a, dict) else range(len(a)) if isinstance(a, (list, tuple)) else ():
        assert_same_structure(a[key], b[key])
