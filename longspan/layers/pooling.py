"""Pooling over steps, pixels or voxels: of windows, or of all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Unpack

from longspan import errors
from longspan.nn.conv_lstm import output_length, pad_input

from .base import LayerOptions, check_rank, warn_mask_ends
from .convolution import LETTERS, Sizes, check_spans, sizes_of
from .data_format import Spatial

_MAX: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


class Pooling(Spatial):
    """The largest value or the mean of every window. Abstract; see MaxPooling1D."""

    ends_mask = True

    def __init__(
        self,
        rank: int,
        largest: bool,
        pool_size: Sizes,
        strides: Sizes | None,
        padding: str,
        data_format: str | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **shared)
        self.rank, self._largest = rank, largest
        self.pool_size = sizes_of("pool_size", pool_size, rank)
        self.strides = sizes_of("strides", pool_size if strides is None else strides, rank)
        self.padding = errors.check_choice("padding", padding, ("valid", "same"))

    def last_shape(self, input_shape: Sequence[int | None]) -> Any:
        check_rank(self, input_shape, LETTERS[self.rank], "features come last")
        sides = zip(input_shape[1:-1], self.pool_size, self.strides, strict=True)
        spans = [output_length(size, window, stride, self.padding) for size, window, stride in sides]
        check_spans(self, input_shape, spans)
        return (input_shape[0], *spans, input_shape[-1])

    def call_last(self, x: Tensor, mask: Tensor | None) -> Tensor:
        self.last_shape(tuple(x.shape))
        rows = x.movedim(-1, 1)
        fill = float("-inf") if self._largest else 0.0
        wide = pad_input(rows, self.pool_size, self.strides, self.padding, fill)
        if self._largest:
            return _MAX[self.rank](wide, self.pool_size, self.strides).movedim(1, -1)
        return self._mean(rows, wide).movedim(1, -1)

    def _mean(self, rows: Tensor, wide: Tensor) -> Tensor:
        """Of the values that are there: padding does not count."""
        average = _AVERAGE[self.rank]
        mean = average(wide, self.pool_size, self.strides)  # pyright: ignore[reportArgumentType]
        if wide is rows:
            return mean
        there = pad_input(torch.ones_like(rows[:1, :1]), self.pool_size, self.strides, self.padding)
        return mean / average(there, self.pool_size, self.strides)  # pyright: ignore[reportArgumentType]

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> None:
        warn_mask_ends(self, mask)


class MaxPooling1D(Pooling):
    """The largest of every window over the steps of (B, T, I): keras.layers.MaxPooling1D.

    Args:
        pool_size: steps a window.
        strides: steps between windows; None: pool_size.
        padding: "valid" or "same".
        data_format: "channels_last", or "channels_first" for the features before the rest.

    >>> MaxPooling1D(2)(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 2, 3])
    """

    def __init__(
        self,
        pool_size: Sizes = 2,
        strides: Sizes | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(1, True, pool_size, strides, padding, data_format=data_format, **shared)


class AveragePooling1D(Pooling):
    """The mean of every window over the steps of (B, T, I): keras.layers.AveragePooling1D; as `MaxPooling1D`.

    >>> AveragePooling1D(2, padding="same")(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 3, 3])
    """

    def __init__(
        self,
        pool_size: Sizes = 2,
        strides: Sizes | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(1, False, pool_size, strides, padding, data_format=data_format, **shared)


class MaxPooling2D(Pooling):
    """The largest of every window over the pixels of (B, Y, X, I): keras.layers.MaxPooling2D.

    >>> MaxPooling2D((2, 2))(torch.zeros(2, 8, 8, 3)).shape
    torch.Size([2, 4, 4, 3])
    """

    def __init__(
        self,
        pool_size: Sizes = 2,
        strides: Sizes | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(2, True, pool_size, strides, padding, data_format=data_format, **shared)


class AveragePooling2D(Pooling):
    """The mean of every window over the pixels of (B, Y, X, I): keras.layers.AveragePooling2D.

    >>> AveragePooling2D(2)(torch.zeros(2, 8, 8, 3)).shape
    torch.Size([2, 4, 4, 3])
    """

    def __init__(
        self,
        pool_size: Sizes = 2,
        strides: Sizes | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(2, False, pool_size, strides, padding, data_format=data_format, **shared)


class GlobalPooling(Spatial):
    """One number a feature over all steps or pixels. Abstract; see GlobalMaxPooling1D."""

    ends_mask = True

    def __init__(
        self, rank: int, keepdims: bool, data_format: str | None = None, **shared: Unpack[LayerOptions]
    ) -> None:
        super().__init__(data_format, **shared)
        self.rank, self.keepdims = rank, errors.check_bool("keepdims", keepdims)

    def _over(self, x: Tensor) -> list[int]:
        check_rank(self, x.shape, LETTERS[self.rank], "features come last")
        return list(range(1, self.rank + 1))

    def last_shape(self, input_shape: Sequence[int | None]) -> Any:
        check_rank(self, input_shape, LETTERS[self.rank], "features come last")
        return (input_shape[0], *((1,) * self.rank if self.keepdims else ()), input_shape[-1])

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> None:
        warn_mask_ends(self, mask)


class GlobalMaxPooling1D(GlobalPooling):
    """The largest value of each feature over the steps of (B, T, I): keras.layers.GlobalMaxPooling1D.

    >>> GlobalMaxPooling1D()(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self, data_format: str | None = None, keepdims: bool = False, **shared: Unpack[LayerOptions]
    ) -> None:
        super().__init__(1, keepdims, data_format=data_format, **shared)

    def call_last(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return x.amax(self._over(x), keepdim=self.keepdims)


class GlobalAveragePooling1D(GlobalPooling):
    """The mean of each feature over the steps that the mask shows: keras.layers.GlobalAveragePooling1D.

    >>> GlobalAveragePooling1D()(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 3])
    """

    ends_mask = False

    def __init__(
        self, data_format: str | None = None, keepdims: bool = False, **shared: Unpack[LayerOptions]
    ) -> None:
        super().__init__(1, keepdims, data_format=data_format, **shared)

    def call_last(self, x: Tensor, mask: Tensor | None) -> Tensor:
        over = self._over(x)
        if mask is None:
            return x.mean(over, keepdim=self.keepdims)
        shown = mask.to(x.dtype).unsqueeze(2)
        return (x * shown).sum(over, keepdim=self.keepdims) / shown.sum(over, keepdim=self.keepdims)

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> None:
        """None: the mask is used up."""


class GlobalMaxPooling2D(GlobalPooling):
    """The largest value of each feature over the pixels of (B, Y, X, I): keras.layers.GlobalMaxPooling2D.

    >>> GlobalMaxPooling2D()(torch.zeros(2, 8, 8, 3)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self, data_format: str | None = None, keepdims: bool = False, **shared: Unpack[LayerOptions]
    ) -> None:
        super().__init__(2, keepdims, data_format=data_format, **shared)

    def call_last(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return x.amax(self._over(x), keepdim=self.keepdims)


class GlobalAveragePooling2D(GlobalPooling):
    """The mean of each feature over the pixels of (B, Y, X, I): keras.layers.GlobalAveragePooling2D.

    >>> GlobalAveragePooling2D()(torch.zeros(2, 8, 8, 3)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self, data_format: str | None = None, keepdims: bool = False, **shared: Unpack[LayerOptions]
    ) -> None:
        super().__init__(2, keepdims, data_format=data_format, **shared)

    def call_last(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return x.mean(self._over(x), keepdim=self.keepdims)


class MaxPooling3D(Pooling):
    """The largest of every window over the voxels of (B, Z, Y, X, I): keras.layers.MaxPooling3D.

    >>> MaxPooling3D(2)(torch.zeros(2, 8, 8, 8, 3)).shape
    torch.Size([2, 4, 4, 4, 3])
    """

    def __init__(
        self,
        pool_size: Sizes = 2,
        strides: Sizes | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(3, True, pool_size, strides, padding, data_format=data_format, **shared)


class AveragePooling3D(Pooling):
    """The mean of every window over the voxels of (B, Z, Y, X, I): keras.layers.AveragePooling3D.

    >>> AveragePooling3D(2)(torch.zeros(2, 8, 8, 8, 3)).shape
    torch.Size([2, 4, 4, 4, 3])
    """

    def __init__(
        self,
        pool_size: Sizes = 2,
        strides: Sizes | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(3, False, pool_size, strides, padding, data_format=data_format, **shared)


class GlobalMaxPooling3D(GlobalPooling):
    """The largest value of each feature over the voxels of (B, Z, Y, X, I): keras.layers.GlobalMaxPooling3D.

    >>> GlobalMaxPooling3D()(torch.zeros(2, 8, 8, 8, 3)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self, data_format: str | None = None, keepdims: bool = False, **shared: Unpack[LayerOptions]
    ) -> None:
        super().__init__(3, keepdims, data_format=data_format, **shared)

    def call_last(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return x.amax(self._over(x), keepdim=self.keepdims)


class GlobalAveragePooling3D(GlobalPooling):
    """The mean of each feature over the voxels of (B, Z, Y, X, I): keras.layers.GlobalAveragePooling3D.

    >>> GlobalAveragePooling3D()(torch.zeros(2, 8, 8, 8, 3)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self, data_format: str | None = None, keepdims: bool = False, **shared: Unpack[LayerOptions]
    ) -> None:
        super().__init__(3, keepdims, data_format=data_format, **shared)

    def call_last(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return x.mean(self._over(x), keepdim=self.keepdims)
