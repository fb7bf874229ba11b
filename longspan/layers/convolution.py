"""Convolutions over steps, pixels or voxels, features last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Unpack

from longspan import activations, errors
from longspan.activations import ActivationLike
from longspan.initializers import InitializerLike
from longspan.nn.conv_lstm import output_length, pad_input
from longspan.regularizers import RegularizerLike

from .base import Layer, LayerOptions, check_rank, required_size, warn_mask_ends
from .data_format import Spatial
from .structure import Shape
from .weights import KerasLayout, Weight

Sizes = int | Sequence[int]
LETTERS = {1: "(B, T, I)", 2: "(B, Y, X, I)", 3: "(B, Z, Y, X, I)"}
_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def sizes_of(argument: str, sizes: Sizes, rank: int) -> tuple[int, ...]:
    """One whole number for all `rank` dimensions, or one for each."""
    if not isinstance(sizes, (int, list, tuple)):
        way_out = "give a size for each dimension"
        raise errors.type_error(argument, f"a whole number, or {rank}", sizes, way_out)
    each = (sizes,) * rank if isinstance(sizes, int) else tuple(sizes)
    if len(each) != rank:
        raise errors.value_error(argument, f"one number, or {rank}", each, "give a size for each dimension")
    return tuple(errors.check_int(argument, size, 1, "give sizes of at least 1") for size in each)


class Convolution(Spatial):
    """A convolution over `rank` dimensions. Abstract; see Conv1D."""

    ends_mask = True

    def __init__(
        self,
        rank: int,
        filters: int,
        kernel_size: Sizes,
        strides: Sizes,
        padding: str,
        dilation_rate: Sizes,
        groups: int,
        activation: ActivationLike,
        use_bias: bool,
        starts: tuple[InitializerLike, InitializerLike],
        regularizers: tuple[RegularizerLike, RegularizerLike],
        data_format: str | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **shared)
        self.rank, self.groups = rank, errors.check_int("groups", groups, 1, "1 joins all channels")
        self.filters = errors.check_int("filters", filters, 1, "give the number of output channels")
        self.kernel_size = sizes_of("kernel_size", kernel_size, rank)
        self.strides = sizes_of("strides", strides, rank)
        self.dilation_rate = sizes_of("dilation_rate", dilation_rate, rank)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            received = f"strides={self.strides}, dilation_rate={self.dilation_rate}"
            raise errors.value_error(
                self.name, "strides or a dilation_rate", received, "set one of them to 1"
            )
        if self.filters % self.groups:
            expected = f"a divisor of {self.filters} filters"
            raise errors.value_error(f"groups of {self.name}", expected, self.groups, "choose another")
        self.padding = errors.check_choice(
            "padding", padding, ("valid", "same", "causal")[: 3 if rank == 1 else 2]
        )
        self.activation, self._act = activation, activations.get(activation)
        self.use_bias = errors.check_bool("use_bias", use_bias)
        self._initializers, self._regularizers = starts, regularizers
        self.bias: Tensor | None = None

    weight: Tensor

    def _windows(self) -> list[int]:
        return [
            (size - 1) * step + 1 for size, step in zip(self.kernel_size, self.dilation_rate, strict=True)
        ]

    def create_weights_last(self, shape: Shape) -> None:
        inputs = required_size(self, shape[-1], "the channels")
        if inputs % self.groups or self.filters % self.groups:
            expected = f"a divisor of {inputs} channels and {self.filters} filters"
            raise errors.value_error(f"groups of {self.name}", expected, self.groups, "choose another")
        source = self.parameter("weight", (self.filters, inputs // self.groups, *self.kernel_size))
        self.own_weights.append(
            Weight(
                "kernel",
                (*self.kernel_size, inputs // self.groups, self.filters),
                self._initializers[0],
                [source],
                KerasLayout(dims=(*range(2, self.rank + 2), 1, 0)),
                regularizer=self._regularizers[0],
            )
        )
        if self.use_bias:
            del self.bias
            source = self.parameter("bias", (self.filters,))
            regularizer = self._regularizers[1]
            self.own_weights.append(
                Weight("bias", (self.filters,), self._initializers[1], [source], regularizer=regularizer)
            )

    def last_shape(self, input_shape: Sequence[int | None]) -> Any:
        check_rank(self, input_shape, LETTERS[self.rank], "features come last")
        sides = zip(input_shape[1:-1], self._windows(), self.strides, strict=True)
        spans = [output_length(size, window, stride, self.padding) for size, window, stride in sides]
        check_spans(self, input_shape, spans)
        return (input_shape[0], *spans, self.filters)

    def call_last(self, x: Tensor, mask: Tensor | None) -> Tensor:
        self.last_shape(tuple(x.shape))
        if x.shape[-1] != self.weight.shape[1] * self.groups:
            expected = f"{self.weight.shape[1] * self.groups} channels"
            raise errors.value_error(f"input of {self.name}", expected, x.shape[-1], "channels come last")
        wide = pad_input(x.movedim(-1, 1), self._windows(), self.strides, self.padding)
        out: Tensor = _CONVOLVE[self.rank](  # pyright: ignore[reportCallIssue]
            wide, self.weight, self.bias, self.strides, 0, self.dilation_rate, self.groups
        )
        return self._act(out.movedim(1, -1))

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> None:
        warn_mask_ends(self, mask)


def check_spans(layer: Layer, shape: Sequence[int | None], spans: Sequence[int | None]) -> None:
    if any(span is not None and span < 1 for span in spans):
        expected = "at least one window's worth of values"
        raise errors.value_error(f"input of {layer.name}", expected, tuple(shape), "choose padding='same'")


class Conv1D(Convolution):
    """A convolution over the steps of (B, T, I): keras.layers.Conv1D.

    Weights in Keras' order: kernel (K, I / groups, F), bias (F,).

    Args:
        filters: F.
        kernel_size: K.
        strides, dilation_rate: steps between windows, and inside one.
        padding: "valid", "same", or "causal" (a step sees none after it).
        data_format: "channels_last", or "channels_first" for the features before the rest.
        groups: channels that see each other only within their group.
        activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer: as
            for `Dense`.

    >>> Conv1D(4, 3, padding="causal")(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 5, 4])
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
        groups: int = 1,
        activation: ActivationLike = None,
        use_bias: bool = True,
        kernel_initializer: InitializerLike = "glorot_uniform",
        bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(
            1,
            filters,
            kernel_size,
            strides,
            padding,
            dilation_rate,
            groups,
            activation,
            use_bias,
            (kernel_initializer, bias_initializer),
            (kernel_regularizer, bias_regularizer),
            data_format=data_format,
            **shared,
        )


class Conv2D(Convolution):
    """A convolution over the pixels of (B, Y, X, I): keras.layers.Conv2D.

    Weights in Keras' order: kernel (K, K, I / groups, F), bias (F,). Options are those of `Conv1D` but for
    "causal".

    >>> Conv2D(4, (3, 3))(torch.zeros(2, 8, 8, 3)).shape
    torch.Size([2, 6, 6, 4])
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
        groups: int = 1,
        activation: ActivationLike = None,
        use_bias: bool = True,
        kernel_initializer: InitializerLike = "glorot_uniform",
        bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(
            2,
            filters,
            kernel_size,
            strides,
            padding,
            dilation_rate,
            groups,
            activation,
            use_bias,
            (kernel_initializer, bias_initializer),
            (kernel_regularizer, bias_regularizer),
            data_format=data_format,
            **shared,
        )


class Conv3D(Convolution):
    """A convolution over the voxels of (B, Z, Y, X, I): keras.layers.Conv3D.

    Weights in Keras' order: kernel (K, K, K, I / groups, F), bias (F,). Options are those of `Conv1D` but for
    "causal".

    >>> Conv3D(4, 3)(torch.zeros(2, 8, 8, 8, 3)).shape
    torch.Size([2, 6, 6, 6, 4])
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
        groups: int = 1,
        activation: ActivationLike = None,
        use_bias: bool = True,
        kernel_initializer: InitializerLike = "glorot_uniform",
        bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(
            3,
            filters,
            kernel_size,
            strides,
            padding,
            dilation_rate,
            groups,
            activation,
            use_bias,
            (kernel_initializer, bias_initializer),
            (kernel_regularizer, bias_regularizer),
            data_format=data_format,
            **shared,
        )
