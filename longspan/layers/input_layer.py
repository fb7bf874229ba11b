"""The inputs of a model: their shapes and dtypes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from longspan import errors

from .base import Layer
from .structure import Shape
from .symbolic import KerasTensor, Node


class InputLayer(Layer):
    """The shape of what a model receives; it does nothing. Made by `Input`.

    Args:
        shape, batch_size, dtype, name, batch_shape, optional: as for `Input`.
        input_shape: an older name of shape.
        input_tensor: a symbolic tensor that becomes the layer's output; the others may repeat what it says.
        sparse, ragged: accepted for False.
    """

    def __init__(
        self,
        shape: Sequence[int | None] | None = None,
        batch_size: int | None = None,
        dtype: str | None = None,
        name: str | None = None,
        batch_shape: Sequence[int | None] | None = None,
        input_shape: Sequence[int | None] | None = None,
        input_tensor: KerasTensor | None = None,
        sparse: bool = False,
        ragged: bool = False,
        optional: bool = False,
    ) -> None:
        for option, value in (("sparse", sparse), ("ragged", ragged)):
            if value:
                raise errors.value_error(option, "False", value, "pass dense tensors")
        if input_shape is not None:
            warnings.warn("Argument `input_shape` is deprecated. Use `shape` instead.", stacklevel=3)
        shape = input_shape if shape is None else shape
        if input_tensor is None:
            input_tensor = KerasTensor(_whole_shape(shape, batch_size, batch_shape), dtype or "float32")
        else:
            _check_repeats(input_tensor, shape, batch_size, batch_shape, dtype)
            self._options = {"batch_shape": input_tensor.shape, "dtype": input_tensor.dtype}
        super().__init__(name=name or input_tensor.name)
        whole, self.sparse, self.ragged = input_tensor.shape, False, False
        self.declared_shape, self.batch_shape, self.dtype = whole, whole, input_tensor.dtype
        self.built, self._built_shape = True, whole
        input_tensor.name, input_tensor.optional = self.name, errors.check_bool("optional", optional)
        input_tensor.node = Node(self, (), {}, [input_tensor], input_tensor)
        self.inbound_nodes.append(input_tensor.node)

    def get_config(self) -> dict[str, Any]:
        apart = ("input_tensor", "sparse", "ragged")
        return {key: value for key, value in self._options.items() if key not in apart} | {"name": self.name}

    def call(self, x: Tensor | None = None, mask: Tensor | None = None) -> Any:
        return x


def _whole_shape(shape: Any, batch_size: int | None, batch_shape: Any) -> Shape:
    """(B, …) of an input, by its row's shape or by all sizes."""
    if (shape is None) == (batch_shape is None):
        expected, received = "one of shape and batch_shape", "neither" if shape is None else "both"
        raise errors.value_error("Input", expected, received, "shape=(10, 1), for example")
    if batch_shape is not None and batch_size is not None:
        raise errors.value_error("Input", "one of batch_size and batch_shape", "both", "leave batch_size out")
    return (batch_size, *shape) if batch_shape is None else tuple(batch_shape)


def _check_repeats(
    tensor: Any, shape: Any, batch_size: int | None, batch_shape: Any, dtype: str | None
) -> None:
    """An error unless what an input's options say is what its tensor says."""
    if not isinstance(tensor, KerasTensor):
        raise errors.type_error("input_tensor", "a symbolic tensor, as Input returns it", tensor, "pass one")
    if tensor.node is not None:
        received = f"one that {tensor.node.layer.name} returned"
        raise errors.value_error("input_tensor", "a tensor of no layer", received, "pass a KerasTensor")
    own = {"shape": tensor.shape[1:], "batch_shape": tensor.shape, "batch_size": tensor.shape[0]}
    said = {"shape": shape, "batch_shape": batch_shape, "batch_size": batch_size, "dtype": dtype}
    for option, expected in (*own.items(), ("dtype", tensor.dtype)):
        value = tuple(said[option]) if isinstance(said[option], (list, tuple)) else said[option]
        if value is not None and value != expected:
            raise errors.value_error(option, f"{expected} of input_tensor", value, "leave it out")


def Input(
    shape: Sequence[int | None] | int | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    name: str | None = None,
    batch_shape: Sequence[int | None] | None = None,
    optional: bool = False,
) -> KerasTensor:
    """An input of a model, a symbolic tensor; in a Sequential, the shape of its input.

    Args:
        shape: of one row, (T, I) for sequences, None where any size will do.
        batch_size: the number of rows, None for any.
        dtype: None for "float32"; "int32" for token ids.
        name: by which `fit` finds the input in a dict; None makes one.
        batch_shape: the batch size and the shape in one.
        optional: whether the model may get None in its place; the layers that read it must take None.

    >>> Input(shape=(10, 1)).shape
    (None, 10, 1)
    """
    sizes = (shape,) if isinstance(shape, int) else shape
    return InputLayer(sizes, batch_size, dtype, name, batch_shape, optional=optional).output
