"""Convolutions of every channel by itself, and these followed by a mix of the channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Unpack

from longspan import activations, errors
from longspan.activations import ActivationLike
from longspan.initializers import InitializerLike
from longspan.nn.conv_lstm import output_length, pad_input
from longspan.regularizers import RegularizerLike

from .base import LayerOptions, check_rank, required_size, warn_mask_ends
from .convolution import LETTERS, Sizes, check_spans, sizes_of
from .data_format import Spatial
from .structure import Shape
from .weights import Weight

_CONVOLVE: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d}


class _Channelwise(Spatial):
    """A convolution of every channel with `depth_multiplier` kernels. Abstract."""

    rank: ClassVar[int]
    ends_mask = True

    def __init__(
        self,
        kernel_size: Sizes,
        strides: Sizes,
        padding: str,
        depth_multiplier: int,
        data_format: str | None,
        dilation_rate: Sizes,
        activation: ActivationLike,
        use_bias: bool,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **shared)
        way_out = "1 makes one output of a channel"
        self.depth_multiplier = errors.check_int("depth_multiplier", depth_multiplier, 1, way_out)
        self.kernel_size = sizes_of("kernel_size", kernel_size, self.rank)
        self.strides = sizes_of("strides", strides, self.rank)
        self.dilation_rate = sizes_of("dilation_rate", dilation_rate, self.rank)
        self.padding = errors.check_choice("padding", padding, ("valid", "same"))
        self.activation, self._act = activation, activations.get(activation)
        self.use_bias = errors.check_bool("use_bias", use_bias)
        self.bias: Tensor | None = None

    def _windows(self) -> list[int]:
        pairs = zip(self.kernel_size, self.dilation_rate, strict=True)
        return [(size - 1) * step + 1 for size, step in pairs]

    def _spans(self, input_shape: Sequence[int | None]) -> list[int | None]:
        """The output's steps or pixels."""
        check_rank(self, input_shape, LETTERS[self.rank], "features come last")
        sides = zip(input_shape[1:-1], self._windows(), self.strides, strict=True)
        spans = [output_length(size, window, stride, self.padding) for size, window, stride in sides]
        check_spans(self, input_shape, spans)
        return spans

    def _add(
        self, name: str, shape: Sequence[int], start: InitializerLike, regularizer: RegularizerLike, stem: str
    ) -> None:
        """A weight; `stem`: what its constraint is called in the options."""
        source, constraint = self.parameter(name, shape), self._constraints.get(stem)
        self.own_weights.append(
            Weight(name, shape, start, [source], regularizer=regularizer, constraint=constraint)
        )

    def _each_channel(self, x: Tensor, kernel: Tensor) -> Tensor:
        """(B, channels * depth_multiplier, …) of x (B, …, channels) by a kernel in Keras' layout."""
        if x.shape[-1] != kernel.shape[-2]:
            expected = f"{kernel.shape[-2]} channels"
            raise errors.value_error(f"input of {self.name}", expected, x.shape[-1], "check data_format")
        rows = x.movedim(-1, 1)
        weight = kernel.flatten(-2).movedim(-1, 0).unsqueeze(1)
        wide = pad_input(rows, self._windows(), self.strides, self.padding)
        return _CONVOLVE[self.rank](wide, weight, None, self.strides, 0, self.dilation_rate, x.shape[-1])

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> None:
        warn_mask_ends(self, mask)


class DepthwiseConvolution(_Channelwise):
    """A convolution of every channel by itself. Abstract; see DepthwiseConv1D.

    Weights in Keras' order: kernel (K, I, D), with a K for every dimension, and bias (I * D,).

    Args:
        kernel_size: K.
        strides, dilation_rate: steps between windows, and inside one.
        padding: "valid" or "same".
        depth_multiplier: D, the outputs of a channel.
        data_format: "channels_last", or "channels_first" for the features before the rest.
        activation, use_bias, depthwise_initializer, bias_initializer, depthwise_regularizer,
        bias_regularizer: as for `Dense`.
    """

    def __init__(
        self,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
        activation: ActivationLike = None,
        use_bias: bool = True,
        depthwise_initializer: InitializerLike = "glorot_uniform",
        bias_initializer: InitializerLike = "zeros",
        depthwise_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, depth_multiplier, data_format, dilation_rate, activation, use_bias,
            **shared,
        )  # fmt: skip
        self._starts = (depthwise_initializer, bias_initializer)
        self._regularizers = (depthwise_regularizer, bias_regularizer)

    kernel: Tensor

    def create_weights_last(self, shape: Shape) -> None:
        inputs = required_size(self, shape[-1], "the channels")
        sizes = (*self.kernel_size, inputs, self.depth_multiplier)
        self._add("kernel", sizes, self._starts[0], self._regularizers[0], "depthwise")
        if self.use_bias:
            del self.bias
            size = (inputs * self.depth_multiplier,)
            self._add("bias", size, self._starts[1], self._regularizers[1], "bias")

    def last_shape(self, input_shape: Sequence[int | None]) -> Any:
        channels = required_size(self, input_shape[-1], "the channels")
        return (input_shape[0], *self._spans(input_shape), channels * self.depth_multiplier)

    def call_last(self, x: Tensor, mask: Tensor | None) -> Tensor:
        self._spans(tuple(x.shape))
        out = self._each_channel(x, self.kernel).movedim(1, -1)
        return self._act(out if self.bias is None else out + self.bias)


class DepthwiseConv1D(DepthwiseConvolution):
    """A convolution of every channel over the steps of (B, T, I): keras.layers.DepthwiseConv1D.

    >>> DepthwiseConv1D(3, depth_multiplier=2)(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 3, 6])
    """

    rank = 1


class DepthwiseConv2D(DepthwiseConvolution):
    """A convolution of every channel over the pixels of (B, Y, X, I): keras.layers.DepthwiseConv2D.

    >>> DepthwiseConv2D(3)(torch.zeros(2, 5, 5, 3)).shape
    torch.Size([2, 3, 3, 3])
    """

    rank = 2


class SeparableConvolution(_Channelwise):
    """A convolution of every channel, then a mix of the channels. Abstract; see SeparableConv1D.

    Weights in Keras' order: depthwise_kernel (K, I, D), pointwise_kernel (1, I * D, F), with a K and a 1 for
    every dimension, and bias (F,). Chollet 2017, arXiv 1610.02357.

    Args:
        filters: F.
        kernel_size, strides, padding, data_format, dilation_rate, depth_multiplier: as for `DepthwiseConv1D`.
        activation, use_bias, depthwise_initializer, pointwise_initializer, bias_initializer,
        depthwise_regularizer, pointwise_regularizer, bias_regularizer: as for `Dense`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
        depth_multiplier: int = 1,
        activation: ActivationLike = None,
        use_bias: bool = True,
        depthwise_initializer: InitializerLike = "glorot_uniform",
        pointwise_initializer: InitializerLike = "glorot_uniform",
        bias_initializer: InitializerLike = "zeros",
        depthwise_regularizer: RegularizerLike = None,
        pointwise_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, depth_multiplier, data_format, dilation_rate, activation, use_bias,
            **shared,
        )  # fmt: skip
        self.filters = errors.check_int("filters", filters, 1, "give the number of output channels")
        self._starts = (depthwise_initializer, pointwise_initializer, bias_initializer)
        self._regularizers = (depthwise_regularizer, pointwise_regularizer, bias_regularizer)

    depthwise_kernel: Tensor
    pointwise_kernel: Tensor

    def create_weights_last(self, shape: Shape) -> None:
        inputs = required_size(self, shape[-1], "the channels")
        depth = (*self.kernel_size, inputs, self.depth_multiplier)
        self._add("depthwise_kernel", depth, self._starts[0], self._regularizers[0], "depthwise")
        point = (*(1,) * self.rank, inputs * self.depth_multiplier, self.filters)
        self._add("pointwise_kernel", point, self._starts[1], self._regularizers[1], "pointwise")
        if self.use_bias:
            del self.bias
            self._add("bias", (self.filters,), self._starts[2], self._regularizers[2], "bias")

    def last_shape(self, input_shape: Sequence[int | None]) -> Any:
        return (input_shape[0], *self._spans(input_shape), self.filters)

    def call_last(self, x: Tensor, mask: Tensor | None) -> Tensor:
        self._spans(tuple(x.shape))
        channels = self._each_channel(x, self.depthwise_kernel).movedim(1, -1)
        out = channels @ self.pointwise_kernel.flatten(0, -2)
        return self._act(out if self.bias is None else out + self.bias)


class SeparableConv1D(SeparableConvolution):
    """A convolution of every channel, then a mix, over the steps of (B, T, I): keras.layers.SeparableConv1D.

    >>> SeparableConv1D(4, 3)(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 3, 4])
    """

    rank = 1


class SeparableConv2D(SeparableConvolution):
    """A convolution of every channel, then a mix, over pixels (B, Y, X, I): keras.layers.SeparableConv2D.

    >>> SeparableConv2D(4, 3)(torch.zeros(2, 5, 5, 3)).shape
    torch.Size([2, 3, 3, 4])
    """

    rank = 2
