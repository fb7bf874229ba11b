"""Pooling to a given number of steps, pixels or voxels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Unpack

from .base import LayerOptions, check_rank, warn_mask_ends
from .convolution import LETTERS, Sizes, sizes_of
from .data_format import Spatial


class AdaptivePooling(Spatial):
    """Windows of nearly equal size, as many as the output has places. Abstract.

    Args:
        output_size: one number for all dimensions, or one for each.
        data_format: "channels_last", or "channels_first" for the features before the rest.
    """

    rank: ClassVar[int]
    pool: ClassVar[Callable[..., Any]]
    ends_mask = True

    def __init__(
        self, output_size: Sizes, data_format: str | None = None, **shared: Unpack[LayerOptions]
    ) -> None:
        super().__init__(data_format, **shared)
        self.output_size = self._options["output_size"] = sizes_of("output_size", output_size, self.rank)

    def last_shape(self, input_shape: Sequence[int | None]) -> Any:
        check_rank(self, input_shape, LETTERS[self.rank], "features come last")
        return (input_shape[0], *self.output_size, input_shape[-1])

    def call_last(self, x: Tensor, mask: Tensor | None) -> Tensor:
        self.last_shape(tuple(x.shape))
        return type(self).pool(x.movedim(-1, 1), self.output_size).movedim(1, -1)

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> None:
        warn_mask_ends(self, mask)


class AdaptiveAveragePooling1D(AdaptivePooling):
    """The means of `output_size` windows of (B, T, I): keras.layers.AdaptiveAveragePooling1D.

    >>> AdaptiveAveragePooling1D(2)(torch.ones(1, 6, 1)).shape
    torch.Size([1, 2, 1])
    """

    rank, pool = 1, F.adaptive_avg_pool1d


class AdaptiveAveragePooling2D(AdaptivePooling):
    """The means of windows of (B, Y, X, I): keras.layers.AdaptiveAveragePooling2D."""

    rank, pool = 2, F.adaptive_avg_pool2d


class AdaptiveAveragePooling3D(AdaptivePooling):
    """The means of windows of (B, Z, Y, X, I): keras.layers.AdaptiveAveragePooling3D."""

    rank, pool = 3, F.adaptive_avg_pool3d


class AdaptiveMaxPooling1D(AdaptivePooling):
    """The largest values of windows of (B, T, I): keras.layers.AdaptiveMaxPooling1D.

    >>> AdaptiveMaxPooling1D(2)(torch.ones(1, 6, 1)).shape
    torch.Size([1, 2, 1])
    """

    rank, pool = 1, F.adaptive_max_pool1d


class AdaptiveMaxPooling2D(AdaptivePooling):
    """The largest values of windows of (B, Y, X, I): keras.layers.AdaptiveMaxPooling2D."""

    rank, pool = 2, F.adaptive_max_pool2d


class AdaptiveMaxPooling3D(AdaptivePooling):
    """The largest values of windows of (B, Z, Y, X, I): keras.layers.AdaptiveMaxPooling3D."""

    rank, pool = 3, F.adaptive_max_pool3d
