"""The base of layers that hold another layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typing_extensions import Unpack

from longspan import errors

from .base import Layer, LayerOptions
from .weights import Weight


class Wrapper(Layer):
    """A layer that holds another one, whose weights are its own: keras.layers.Wrapper. Abstract.

    A subclass defines `call`, which calls self.layer.

    Args:
        layer: the layer that is held; it is built for the wrapper's input.

    Raises:
        TypeError: it is no layer.

    >>> import torch
    >>> from longspan.layers import Dense
    >>> class Twice(Wrapper):
    ...     def call(self, inputs):
    ...         return 2.0 * self.layer(inputs)
    >>> Twice(Dense(4))(torch.zeros(2, 3)).shape
    torch.Size([2, 4])
    """

    ends_mask = True

    def __init__(self, layer: Layer, **shared: Unpack[LayerOptions]) -> None:
        super().__init__(**shared)
        if not isinstance(layer, Layer):
            raise errors.type_error("layer", "a layer, such as Dense(4)", layer, "wrap one")
        self.layer = layer

    def create_weights(self, shape: Any) -> None:
        self.layer.build(shape)

    def keras_weights(self) -> list[Weight]:
        return super().keras_weights() if self.is_own else self.layer.keras_weights()

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        return (
            super().compute_output_shape(input_shape)
            if self.is_own
            else self.layer.compute_output_shape(input_shape)
        )

    def reset_states(self) -> None:
        self.layer.reset_states()
