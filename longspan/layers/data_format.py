"""Layers over steps, pixels or voxels whose features stand last, or first as data_format says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from typing_extensions import Unpack

from longspan import config, errors

from .base import Layer, LayerOptions
from .structure import Shape

FORMATS = ("channels_last", "channels_first")


def is_channels_first(data_format: str | None) -> bool:
    """Whether the features stand before the steps or pixels; None for the format in `longspan.config`."""
    return (
        errors.check_choice("data_format", data_format or config.image_data_format(), FORMATS) == FORMATS[1]
    )


class Spatial(Layer):
    """A layer that computes with its features in the last dimension. Abstract.

    Subclasses define `call_last` and `last_shape`, and `create_weights_last` where they have weights; with
    data_format="channels_first" they see the input's features moved to the end.

    Args:
        data_format: "channels_last" or "channels_first"; None for the format in `longspan.config`.
    """

    feature_axis = 1  # of channels_first

    def __init__(self, data_format: str | None, **shared: Unpack[LayerOptions]) -> None:
        super().__init__(**shared)
        self.channels_first = is_channels_first(data_format)
        self.data_format = FORMATS[self.channels_first]

    def call_last(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """The output (B, …, features) for x (B, …, features)."""
        raise NotImplementedError

    def last_shape(self, input_shape: Sequence[int | None]) -> Any:
        """The shape of the output, features last, for an input of this shape."""
        return tuple(input_shape)

    def create_weights_last(self, shape: Shape) -> None:
        """Create the weights for inputs of this shape, features last; nothing for a layer without weights."""

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if not self.channels_first:
            return self.call_last(x, mask)
        return self.call_last(x.movedim(1, -1), mask).movedim(-1, 1)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        if not self.channels_first:
            return self.last_shape(input_shape)
        batch, *sizes, features = self.last_shape(_features_last(input_shape))
        return (batch, features, *sizes)

    def create_weights(self, shape: Shape) -> None:
        self.create_weights_last(_features_last(shape) if self.channels_first else shape)


def _features_last(shape: Sequence[int | None]) -> Shape:
    batch, *rest = shape
    return (batch, *rest[1:], *rest[:1])
