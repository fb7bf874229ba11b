"""Layers without time: dense products, dropout, embeddings, masks and reshaping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Unpack

from longspan import activations, errors
from longspan.activations import ActivationLike
from longspan.initializers import Fixed, InitializerLike
from longspan.kernels.linear import linear
from longspan.nn import dropout
from longspan.nn.embedding import lookup
from longspan.regularizers import RegularizerLike

from .base import Layer, LayerOptions, check_rank, required_size, warn_mask_ends
from .data_format import Spatial, is_channels_first
from .structure import Shape, to_tensor
from .weights import KerasLayout, Weight


class Dense(Layer):
    """activation(x W + b) on the last dimension: keras.layers.Dense, weights kernel (I, U) and bias (U,).

    Args:
        units: U.
        activation: a name from layers.ACTIVATIONS, a function of a tensor, or None.
        use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer: as for `LSTM`.
        input_dim: I, another way to say input_shape=(I,).

    >>> Dense(4, activation="relu")(torch.zeros(2, 3)).shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        units: int,
        activation: ActivationLike = None,
        use_bias: bool = True,
        kernel_initializer: InitializerLike = "glorot_uniform",
        bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        input_dim: int | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**shared)
        self.units = errors.check_int("units", units, 1, "give the number of units")
        self.activation, self._act = activation, activations.get(activation)
        self.use_bias = errors.check_bool("use_bias", use_bias)
        self._initializers = (kernel_initializer, bias_initializer)
        self._regularizers = (kernel_regularizer, bias_regularizer)
        if input_dim is not None:
            self.declared_shape = (None, input_dim)
        self.bias: Tensor | None = None

    weight: Tensor

    def create_weights(self, shape: Shape) -> None:
        inputs = required_size(self, shape[-1], "the features")
        source = self.parameter("weight", (self.units, inputs))
        kernel, bias = self._initializers
        self.own_weights.append(
            Weight(
                "kernel",
                (inputs, self.units),
                kernel,
                [source],
                KerasLayout(dims=(1, 0)),
                regularizer=self._regularizers[0],
            )
        )
        if self.use_bias:
            del self.bias
            source = self.parameter("bias", (self.units,))
            self.own_weights.append(
                Weight("bias", (self.units,), bias, [source], regularizer=self._regularizers[1])
            )

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        if len(input_shape) < 2:
            way_out = "give every row at least one feature"
            raise errors.value_error(f"input of {self.name}", "shape (B, …, I)", tuple(input_shape), way_out)
        if self.built and input_shape[-1] not in (None, self.weight.shape[1]):
            raise self._misfit(input_shape)
        return (*input_shape[:-1], self.units)

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if x.shape[-1] != self.weight.shape[1] or x.dim() < 2:
            raise self._misfit(x.shape)
        return self._act(linear(x, self.weight, self.bias))

    def _misfit(self, shape: Sequence[int | None]) -> ValueError:
        way_out = "the last dimension holds the features the layer was built for"
        expected = f"shape (B, …, {self.weight.shape[1]})"
        return errors.value_error(f"input of {self.name}", expected, tuple(shape), way_out)


class Embedding(Layer):
    """Codes (B, …) to vectors (B, …, D): keras.layers.Embedding, weight embeddings (V, D).

    Args:
        input_dim: V, the number of codes, 0 included.
        output_dim: D.
        embeddings_initializer, embeddings_regularizer: as for other layers.
        mask_zero: code 0 is padding: the mask hides it from later layers.
        weights: the table to start with, (V, D) or a list of it.
        input_length: T, taken and without effect.

    Raises:
        ValueError: a code lies outside 0 to V - 1.

    >>> Embedding(10, 4, mask_zero=True)(torch.tensor([[1, 2, 0]])).shape
    torch.Size([1, 3, 4])
    """

    ends_mask = True

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: InitializerLike = "uniform",
        embeddings_regularizer: RegularizerLike = None,
        mask_zero: bool = False,
        weights: Any = None,
        input_length: int | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**shared)
        self.input_dim = errors.check_int("input_dim", input_dim, 1, "give the number of codes")
        self.output_dim = errors.check_int("output_dim", output_dim, 1, "give the length of a vector")
        self.mask_zero = self.supports_masking = errors.check_bool("mask_zero", mask_zero)
        self._start, self._regularizer = embeddings_initializer, embeddings_regularizer
        self._initial_weights = weights
        self._options["weights"] = None  # which are saved as weights, not as an option
        if input_length is not None and self.declared_shape is None:
            self.declared_shape = (None, input_length)
        if weights is not None:
            self.build()

    weight: Tensor

    def build(self, input_shape: Any = None) -> None:
        """Create the table, which does not depend on the input's shape."""
        super().build((None, None) if input_shape is None else input_shape)

    def create_weights(self, shape: Shape) -> None:
        size, regularizer = (self.input_dim, self.output_dim), self._regularizer
        source = self.parameter("weight", size)
        start: InitializerLike = self._start
        if self._initial_weights is not None:
            start = _table(self._initial_weights, size)
        self.own_weights.append(Weight("embeddings", size, start, [source], regularizer=regularizer))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        return (*input_shape, self.output_dim)

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        codes = x if x.dtype in (torch.int64, torch.int32) else x.long()
        try:
            return lookup(self.weight, codes)
        except IndexError:
            received = f"{int(codes.min())} to {int(codes.max())}"
            expected, way_out = (
                f"codes from 0 to {self.input_dim - 1}",
                "raise input_dim or cut the vocabulary",
            )
            raise errors.value_error(f"input of {self.name}", expected, received, way_out) from None

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> Tensor | None:
        return to_tensor(x).ne(0) if self.mask_zero else None


def _table(weights: Any, size: tuple[int, int]) -> Fixed:
    array = weights[0] if isinstance(weights, (list, tuple)) and len(weights) == 1 else weights
    table = torch.as_tensor(np.asarray(array))
    if tuple(table.shape) != size:
        raise errors.value_error(
            "weights of Embedding", f"a table {size}", tuple(table.shape), "match the options"
        )
    return Fixed(table)


class Masking(Layer):
    """Hide every step whose values all equal mask_value from later layers: keras.layers.Masking.

    >>> Masking()(torch.ones(1, 2, 3)).shape
    torch.Size([1, 2, 3])
    """

    def __init__(self, mask_value: float = 0.0, **shared: Unpack[LayerOptions]) -> None:
        super().__init__(**shared)
        self.mask_value = mask_value

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x if self.mask_value == 0 else x.masked_fill(~self._seen(x).unsqueeze(-1), 0.0)

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> Tensor | None:
        seen = self._seen(to_tensor(x))
        return seen if mask is None else seen & mask

    def _seen(self, x: Tensor) -> Tensor:
        return x.ne(self.mask_value).any(-1)


class Dropout(Layer):
    """Zero a share of the values in training and scale the rest up: keras.layers.Dropout.

    Args:
        rate: the share.
        noise_shape: None for a draw a value; else the shape drawn, 1 or None where it is shared or as wide
            as the input.
        seed: taken and without effect; PyTorch's generator draws.

    >>> Dropout(0.5).eval()(torch.ones(2, 3))
    tensor([[1., 1., 1.],
            [1., 1., 1.]])
    """

    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**shared)
        self.rate, self.noise_shape = errors.check_fraction("rate", rate), noise_sizes(noise_shape)

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if not (self.training and self.rate):
            return x
        if self.noise_shape is None:
            return torch.dropout(x, self.rate, True)
        shape = tuple(size or wide for size, wide in zip(self.noise_shape, x.shape, strict=True))
        return x * dropout.dropout_mask(shape, self.rate, x)


def noise_sizes(noise_shape: Any) -> tuple[int | None, ...] | None:
    """The sizes of the noise that dropout draws, None for a draw a value."""
    if noise_shape is None:
        return None
    way_out = "1 shares a draw along a dimension, None has one for each place"
    if not isinstance(noise_shape, (list, tuple)):
        raise errors.value_error("noise_shape", "a list of sizes", repr(noise_shape), way_out)
    for size in noise_shape:
        if size is not None and (not isinstance(size, int) or size < 1):
            raise errors.value_error("noise_shape", "sizes of at least 1, or None", noise_shape, way_out)
    return tuple(noise_shape)


def _without_some_channels(x: Tensor, rate: float) -> Tensor:
    """x (B, ..., I) with a share of each row's channels zeroed at every position, the others scaled up."""
    return x * dropout.dropout_mask((x.shape[0], *[1] * (x.dim() - 2), x.shape[-1]), rate, x)


class SpatialDropout1D(Layer):
    """Zero whole features, the same at every step, in training: keras.layers.SpatialDropout1D.

    >>> SpatialDropout1D(0.5)(torch.ones(2, 5, 3)).shape
    torch.Size([2, 5, 3])
    """

    def __init__(self, rate: float, seed: int | None = None, **shared: Unpack[LayerOptions]) -> None:
        super().__init__(**shared)
        self.rate = errors.check_fraction("rate", rate, below_one=True)

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        check_rank(self, x.shape, "(B, T, I)", "give it sequences")
        return _without_some_channels(x, self.rate) if self.training and self.rate else x


class SpatialDropout2D(Spatial):
    """Zero whole channels, the same at every position, in training: keras.layers.SpatialDropout2D.

    >>> SpatialDropout2D(0.5)(torch.ones(2, 4, 4, 3)).shape
    torch.Size([2, 4, 4, 3])
    """

    def __init__(
        self,
        rate: float,
        data_format: str | None = None,
        seed: int | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **shared)
        self.rate = errors.check_fraction("rate", rate, below_one=True)

    def call_last(self, x: Tensor, mask: Tensor | None) -> Tensor:
        check_rank(self, x.shape, "(B, Y, X, I)", "channels come last")
        return _without_some_channels(x, self.rate) if self.training and self.rate else x


class SpatialDropout3D(Spatial):
    """Zero whole channels, the same at every position, in training: keras.layers.SpatialDropout3D.

    >>> SpatialDropout3D(0.5)(torch.ones(2, 4, 4, 4, 3)).shape
    torch.Size([2, 4, 4, 4, 3])
    """

    def __init__(
        self,
        rate: float,
        data_format: str | None = None,
        seed: int | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **shared)
        self.rate = errors.check_fraction("rate", rate, below_one=True)

    def call_last(self, x: Tensor, mask: Tensor | None) -> Tensor:
        check_rank(self, x.shape, "(B, Z, Y, X, I)", "channels come last")
        return _without_some_channels(x, self.rate) if self.training and self.rate else x


class Activation(Layer):
    """An activation by itself: keras.layers.Activation.

    >>> Activation("relu")(torch.tensor([[-1.0, 2.0]]))
    tensor([[0., 2.]])
    """

    def __init__(self, activation: ActivationLike, **shared: Unpack[LayerOptions]) -> None:
        super().__init__(**shared)
        self.activation, self._act = activation, activations.get(activation)

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self._act(x)


class ReLU(Layer):
    """x from the threshold up to max_value, negative_slope * (x - threshold) below: keras.layers.ReLU.

    >>> ReLU(max_value=1.0)(torch.tensor([[-1.0, 2.0]]))
    tensor([[0., 1.]])
    """

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**shared)
        self.max_value = (
            None if max_value is None else errors.check_non_negative("max_value", max_value, "or None")
        )
        self.negative_slope = errors.check_non_negative("negative_slope", negative_slope, "0 cuts off")
        self.threshold = errors.check_non_negative("threshold", threshold, "0 is usual")

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return activations.relu(x, self.negative_slope, self.max_value, self.threshold)


class LeakyReLU(Layer):
    """x above 0 and negative_slope * x below: keras.layers.LeakyReLU.

    >>> LeakyReLU(0.5)(torch.tensor([[-1.0, 2.0]]))
    tensor([[-0.5000,  2.0000]])
    """

    def __init__(self, negative_slope: float = 0.3, **shared: Unpack[LayerOptions]) -> None:
        super().__init__(**shared)
        self.negative_slope = errors.check_non_negative("negative_slope", negative_slope, "0.3 is usual")

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return F.leaky_relu(x, self.negative_slope)


class Flatten(Layer):
    """(B, …) to (B, all the rest): keras.layers.Flatten.

    >>> Flatten()(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 15])
    """

    ends_mask = True

    def __init__(self, data_format: str | None = None, **shared: Unpack[LayerOptions]) -> None:
        super().__init__(**shared)
        self.channels_first = is_channels_first(data_format)

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        rows = x.movedim(1, -1) if self.channels_first and x.dim() > 2 else x
        return rows.reshape(x.shape[0], -1)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        return (input_shape[0], _product(input_shape[1:]))

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> None:
        warn_mask_ends(self, mask)


class Reshape(Layer):
    """Every row in another shape, -1 where the size follows: keras.layers.Reshape.

    >>> Reshape((3, -1))(torch.zeros(2, 6)).shape
    torch.Size([2, 3, 2])
    """

    ends_mask = True

    def __init__(self, target_shape: Sequence[int], **shared: Unpack[LayerOptions]) -> None:
        super().__init__(**shared)
        self.target_shape = tuple(target_shape)
        if self.target_shape.count(-1) > 1 or any(size < -1 or size == 0 for size in self.target_shape):
            way_out = "leave at most one -1 in it"
            raise errors.value_error("target_shape", "sizes above 0", self.target_shape, way_out)

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        self.compute_output_shape(tuple(x.shape))
        return x.reshape(x.shape[0], *self.target_shape)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        total, fixed = _product(input_shape[1:]), math.prod(size for size in self.target_shape if size > 0)
        if total is None:
            return (input_shape[0], *(None if size == -1 else size for size in self.target_shape))
        if total % fixed or (-1 not in self.target_shape and total != fixed):
            expected = f"{fixed} values a row for {self.target_shape}"
            raise errors.value_error(f"input of {self.name}", expected, total, "change target_shape")
        return (input_shape[0], *(total // fixed if size == -1 else size for size in self.target_shape))

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> None:
        warn_mask_ends(self, mask)


class Permute(Layer):
    """The dimensions of every row in another order, counted from 1: keras.layers.Permute.

    >>> Permute((2, 1))(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 3, 5])
    """

    ends_mask = True

    def __init__(self, dims: Sequence[int], **shared: Unpack[LayerOptions]) -> None:
        super().__init__(**shared)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise errors.value_error("dims", "every dimension from 1 on once", self.dims, "such as (2, 1)")

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x.permute(0, *self.dims)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        return (input_shape[0], *(input_shape[d] for d in self.dims))

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> None:
        warn_mask_ends(self, mask)


class RepeatVector(Layer):
    """(B, I) to (B, n, I), the row at every step: keras.layers.RepeatVector.

    >>> RepeatVector(4)(torch.zeros(2, 3)).shape
    torch.Size([2, 4, 3])
    """

    ends_mask = True

    def __init__(self, n: int, **shared: Unpack[LayerOptions]) -> None:
        super().__init__(**shared)
        self.n = errors.check_int("n", n, 1, "give the number of steps")

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        check_rank(self, x.shape, "(B, I)", "leave return_sequences out of the layer before")
        return x.unsqueeze(1).expand(-1, self.n, -1)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        check_rank(self, input_shape, "(B, I)", "leave return_sequences out of the layer before")
        return (input_shape[0], self.n, input_shape[1])

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> None:
        warn_mask_ends(self, mask)


def _product(sizes: Sequence[int | None]) -> int | None:
    return None if any(size is None for size in sizes) else math.prod(size or 0 for size in sizes)
