"""Layers that lengthen or shorten steps and pixels without weights: upsampling, zero padding, cropping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Unpack

from longspan import errors

from .base import LayerOptions, check_rank, warn_mask_ends
from .convolution import LETTERS, Sizes, sizes_of
from .data_format import Spatial

# One number for both sides of every dimension, one for each dimension, or a pair for each.
Sides = int | Sequence[int] | Sequence[Sequence[int]]


class UpSampling(Spatial):
    """Every step or pixel several times. Abstract; see UpSampling1D."""

    ends_mask = True

    def __init__(
        self, rank: int, size: Sizes, data_format: str | None = None, **shared: Unpack[LayerOptions]
    ) -> None:
        super().__init__(data_format, **shared)
        self.rank, self.size = rank, sizes_of("size", size, rank)

    def call_last(self, x: Tensor, mask: Tensor | None) -> Tensor:
        check_rank(self, x.shape, LETTERS[self.rank], "features come last")
        for dimension, times in enumerate(self.size, 1):
            x = x.repeat_interleave(times, dimension)
        return x

    def last_shape(self, input_shape: Sequence[int | None]) -> Any:
        check_rank(self, input_shape, LETTERS[self.rank], "features come last")
        pairs = zip(input_shape[1:-1], self.size, strict=True)
        lengths = [None if length is None else length * times for length, times in pairs]
        return (input_shape[0], *lengths, input_shape[-1])

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> None:
        warn_mask_ends(self, mask)


_INTERPOLATIONS = ("nearest", "bilinear", "bicubic")


class UpSampling1D(UpSampling):
    """Every step of (B, T, I) `size` times: keras.layers.UpSampling1D.

    >>> UpSampling1D(2)(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 10, 3])
    """

    def __init__(self, size: int = 2, **shared: Unpack[LayerOptions]) -> None:
        super().__init__(1, size, **shared)


class UpSampling2D(UpSampling):
    """Every pixel of (B, Y, X, I) `size` times in each direction: keras.layers.UpSampling2D.

    Args:
        size: one number, or one for rows and one for columns.
        data_format: "channels_last", or "channels_first" for the features before the rest.
        interpolation: "nearest", or "bilinear" or "bicubic" for curves between neighbours.

    >>> UpSampling2D((2, 3))(torch.zeros(2, 4, 4, 1)).shape
    torch.Size([2, 8, 12, 1])
    """

    def __init__(
        self,
        size: Sizes = (2, 2),
        data_format: str | None = None,
        interpolation: str = "nearest",
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(2, size, data_format=data_format, **shared)
        self.interpolation = errors.check_choice("interpolation", interpolation, _INTERPOLATIONS)

    def call_last(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if self.interpolation == "nearest":
            return super().call_last(x, mask)
        check_rank(self, x.shape, LETTERS[2], "features come last")
        pixels = [length * times for length, times in zip(x.shape[1:3], self.size, strict=True)]
        floats = x if x.is_floating_point() else x.to(torch.get_default_dtype())
        wide = F.interpolate(floats.movedim(-1, 1), pixels, mode=self.interpolation, align_corners=False)
        return wide.movedim(1, -1)


class UpSampling3D(UpSampling):
    """Every voxel of (B, Z, Y, X, I) `size` times in each direction: keras.layers.UpSampling3D.

    >>> UpSampling3D()(torch.zeros(1, 2, 2, 2, 1)).shape
    torch.Size([1, 4, 4, 4, 1])
    """

    def __init__(
        self, size: Sizes = (2, 2, 2), data_format: str | None = None, **shared: Unpack[LayerOptions]
    ) -> None:
        super().__init__(3, size, data_format=data_format, **shared)


def pairs_of(argument: str, sides: Sides, rank: int) -> tuple[tuple[int, int], ...]:
    """(before, after) of every dimension; for one dimension a pair of numbers is its two sides.

    >>> pairs_of("padding", 1, 2), pairs_of("padding", (1, 2), 1), pairs_of("padding", (1, 2), 2)
    (((1, 1), (1, 1)), ((1, 2),), ((1, 1), (2, 2)))
    """
    if not isinstance(sides, (int, list, tuple)):
        way_out = "give one number, one for each dimension, or a pair for each"
        raise errors.value_error(argument, f"sizes for {rank} dimensions", sides, way_out)
    parts: list[Any] = [sides] * rank if isinstance(sides, int) else list(sides)
    if rank == 1 and all(isinstance(part, int) for part in parts) and not isinstance(sides, int):
        parts = [parts]
    pairs = [(part, part) if isinstance(part, int) else tuple(part) for part in parts]
    if len(pairs) != rank or any(len(pair) != 2 for pair in pairs):
        way_out = "give one number, one for each dimension, or a pair for each"
        raise errors.value_error(argument, f"sizes for {rank} dimensions", sides, way_out)
    checked = [
        [errors.check_int(argument, size, 0, "0 leaves a side alone") for size in pair] for pair in pairs
    ]
    return tuple((before, after) for before, after in checked)


class Bordering(Spatial):
    """Adds to the sides of every dimension, or cuts off where negative. Abstract; see ZeroPadding1D."""

    ends_mask = True

    def __init__(
        self,
        rank: int,
        sides: Sequence[tuple[int, int]],
        sign: int,
        data_format: str | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **shared)
        self.rank, self._sides = rank, [(sign * before, sign * after) for before, after in sides]

    def call_last(self, x: Tensor, mask: Tensor | None) -> Tensor:
        self.last_shape(tuple(x.shape))
        flat = [size for pair in reversed(self._sides) for size in pair]
        return F.pad(x, [0, 0, *flat])

    def last_shape(self, input_shape: Sequence[int | None]) -> Any:
        check_rank(self, input_shape, LETTERS[self.rank], "features come last")
        pairs = zip(input_shape[1:-1], self._sides, strict=True)
        lengths = [None if length is None else length + sum(sides) for length, sides in pairs]
        if any(length is not None and length < 1 for length in lengths):
            expected, way_out = "more values than are cut off", "crop less"
            raise errors.value_error(f"input of {self.name}", expected, tuple(input_shape), way_out)
        return (input_shape[0], *lengths, input_shape[-1])

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> None:
        warn_mask_ends(self, mask)


class ZeroPadding1D(Bordering):
    """Zeros before and after the steps of (B, T, I): keras.layers.ZeroPadding1D.

    Args:
        padding: steps on both sides, or (before, after).
        data_format: "channels_last", or "channels_first" for the features before the rest.

    >>> ZeroPadding1D((1, 2))(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 8, 3])
    """

    def __init__(
        self, padding: Sides = 1, data_format: str | None = None, **shared: Unpack[LayerOptions]
    ) -> None:
        super().__init__(1, pairs_of("padding", padding, 1), 1, data_format=data_format, **shared)


class ZeroPadding2D(Bordering):
    """Zeros around the pixels of (B, Y, X, I): keras.layers.ZeroPadding2D.

    Args:
        padding: one number, (rows, columns), or ((top, bottom), (left, right)).
        data_format: "channels_last", or "channels_first" for the features before the rest.

    >>> ZeroPadding2D(((1, 0), (2, 2)))(torch.zeros(2, 4, 4, 1)).shape
    torch.Size([2, 5, 8, 1])
    """

    def __init__(
        self, padding: Sides = (1, 1), data_format: str | None = None, **shared: Unpack[LayerOptions]
    ) -> None:
        super().__init__(2, pairs_of("padding", padding, 2), 1, data_format=data_format, **shared)


class ZeroPadding3D(Bordering):
    """Zeros around the voxels of (B, Z, Y, X, I): keras.layers.ZeroPadding3D; as `ZeroPadding2D`.

    >>> ZeroPadding3D(1)(torch.zeros(1, 2, 2, 2, 1)).shape
    torch.Size([1, 4, 4, 4, 1])
    """

    def __init__(
        self, padding: Sides = (1, 1, 1), data_format: str | None = None, **shared: Unpack[LayerOptions]
    ) -> None:
        super().__init__(3, pairs_of("padding", padding, 3), 1, data_format=data_format, **shared)


class Cropping1D(Bordering):
    """The steps of (B, T, I) without the first and last: keras.layers.Cropping1D.

    Args:
        cropping: steps on both sides, or (first, last).

    >>> Cropping1D((1, 2))(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 2, 3])
    """

    def __init__(self, cropping: Sides = (1, 1), **shared: Unpack[LayerOptions]) -> None:
        super().__init__(1, pairs_of("cropping", cropping, 1), -1, **shared)


class Cropping2D(Bordering):
    """The pixels of (B, Y, X, I) without a border: keras.layers.Cropping2D.

    Args:
        cropping: one number, (rows, columns), or ((top, bottom), (left, right)).
        data_format: "channels_last", or "channels_first" for the features before the rest.

    >>> Cropping2D(1)(torch.zeros(2, 4, 5, 1)).shape
    torch.Size([2, 2, 3, 1])
    """

    def __init__(
        self,
        cropping: Sides = ((0, 0), (0, 0)),
        data_format: str | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(2, pairs_of("cropping", cropping, 2), -1, data_format=data_format, **shared)


class Cropping3D(Bordering):
    """The voxels of (B, Z, Y, X, I) without a border: keras.layers.Cropping3D; as `Cropping2D`.

    >>> Cropping3D(1)(torch.zeros(1, 4, 4, 4, 1)).shape
    torch.Size([1, 2, 2, 2, 1])
    """

    def __init__(
        self,
        cropping: Sides = ((1, 1), (1, 1), (1, 1)),
        data_format: str | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(3, pairs_of("cropping", cropping, 3), -1, data_format=data_format, **shared)
