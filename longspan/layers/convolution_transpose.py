"""Transposed convolutions over steps, pixels or voxels: they lengthen what strides shortened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Unpack

from longspan import activations, errors
from longspan.activations import ActivationLike
from longspan.initializers import InitializerLike
from longspan.regularizers import RegularizerLike

from .base import LayerOptions, check_rank, required_size, warn_mask_ends
from .convolution import LETTERS, Sizes, check_spans, sizes_of
from .data_format import Spatial
from .structure import Shape
from .weights import KerasLayout, Weight

_CONVOLVE: dict[int, Callable[..., Tensor]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}


def window_cuts(window: int, stride: int, padding: str, extra: int | None) -> tuple[int, int]:
    """What is cut off before and after (size - 1) * stride + window values; below 0 zeros are added.

    extra: output_padding, None for the length that a convolution of these strides shortens to the input's.
    """
    if padding == "valid":
        return 0, -(max(stride - window, 0) if extra is None else extra)
    total = window - stride if extra is None else window - window % 2 - extra  # cut off in all
    kept = 2 * (window - 1) - total  # Keras' padding around the stretched input
    before = window - 1 - min((kept + 1) // 2, window - 1)
    return before, total - before


class ConvolutionTranspose(Spatial):
    """A transposed convolution: the gradient of a convolution with strides, as a layer. Abstract.

    Weights in Keras' order: kernel (K, F, I), with a K for every dimension, and bias (F,).

    Args:
        filters: F.
        kernel_size: K.
        strides: how many outputs an input makes.
        padding: "valid", or "same" for `strides` times as many outputs as inputs.
        output_padding: what the output is longer than the shortest that fits; None for the usual length.
        data_format: "channels_last", or "channels_first" for the features before the rest.
        dilation_rate: steps inside a window.
        activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer: as
            for `Dense`.
    """

    rank: ClassVar[int]
    ends_mask = True

    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: str = "valid",
        output_padding: Sizes | None = None,
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
        activation: ActivationLike = None,
        use_bias: bool = True,
        kernel_initializer: InitializerLike = "glorot_uniform",
        bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(data_format, **shared)
        self.filters = errors.check_int("filters", filters, 1, "give the number of output channels")
        self.kernel_size = sizes_of("kernel_size", kernel_size, self.rank)
        self.strides = sizes_of("strides", strides, self.rank)
        self.dilation_rate = sizes_of("dilation_rate", dilation_rate, self.rank)
        self.padding = errors.check_choice("padding", padding, ("valid", "same"))
        self.output_padding = self._extra(output_padding)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            received = f"strides={self.strides}, dilation_rate={self.dilation_rate}"
            raise errors.value_error(
                self.name, "strides or a dilation_rate", received, "set one of them to 1"
            )
        self.activation, self._act = activation, activations.get(activation)
        self.use_bias = errors.check_bool("use_bias", use_bias)
        self._initializers = (kernel_initializer, bias_initializer)
        self._regularizers = (kernel_regularizer, bias_regularizer)
        self.bias: Tensor | None = None

    weight: Tensor

    def _extra(self, output_padding: Sizes | None) -> tuple[int | None, ...]:
        if output_padding is None:
            return (None,) * self.rank
        each = (output_padding,) * self.rank if isinstance(output_padding, int) else tuple(output_padding)
        for size, stride in zip(each, self.strides, strict=True):
            if not 0 <= size < stride:
                expected = f"numbers from 0 to below the strides {self.strides}"
                raise errors.value_error("output_padding", expected, each, "leave it out")
        return each

    def create_weights_last(self, shape: Shape) -> None:
        inputs = required_size(self, shape[-1], "the channels")
        source = self.parameter("weight", (inputs, self.filters, *self.kernel_size))
        kernel = Weight(
            "kernel",
            (*self.kernel_size, self.filters, inputs),
            self._initializers[0],
            [source],
            KerasLayout(dims=(*range(2, self.rank + 2), 1, 0)),
            regularizer=self._regularizers[0],
        )
        self.own_weights.append(kernel)
        if self.use_bias:
            del self.bias
            source, start = self.parameter("bias", (self.filters,)), self._initializers[1]
            regularizer = self._regularizers[1]
            self.own_weights.append(Weight("bias", (self.filters,), start, [source], regularizer=regularizer))

    def _cuts(self) -> list[tuple[int, int]]:
        windows = [(k - 1) * step + 1 for k, step in zip(self.kernel_size, self.dilation_rate, strict=True)]
        sides = zip(windows, self.strides, self.output_padding, strict=True)
        return [window_cuts(window, stride, self.padding, extra) for window, stride, extra in sides]

    def last_shape(self, input_shape: Sequence[int | None]) -> Any:
        check_rank(self, input_shape, LETTERS[self.rank], "features come last")
        spans: list[int | None] = []
        sides = zip(
            input_shape[1:-1], self.kernel_size, self.dilation_rate, self.strides, self._cuts(), strict=True
        )
        for size, kernel, step, stride, cuts in sides:
            whole = None if size is None else (size - 1) * stride + (kernel - 1) * step + 1
            spans.append(None if whole is None else whole - sum(cuts))
        check_spans(self, input_shape, spans)
        return (input_shape[0], *spans, self.filters)

    def call_last(self, x: Tensor, mask: Tensor | None) -> Tensor:
        self.last_shape(tuple(x.shape))
        if x.shape[-1] != self.weight.shape[0]:
            expected = f"{self.weight.shape[0]} channels"
            raise errors.value_error(f"input of {self.name}", expected, x.shape[-1], "check data_format")
        wide = _CONVOLVE[self.rank](
            x.movedim(-1, 1), self.weight, None, self.strides, 0, 0, 1, self.dilation_rate
        )
        pads = [-cut for cuts in reversed(self._cuts()) for cut in cuts]
        out = F.pad(wide, pads).movedim(1, -1)
        return self._act(out if self.bias is None else out + self.bias)

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> None:
        warn_mask_ends(self, mask)


class Conv1DTranspose(ConvolutionTranspose):
    """A transposed convolution over the steps of (B, T, I): keras.layers.Conv1DTranspose.

    >>> Conv1DTranspose(4, 3, strides=2, padding="same")(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 10, 4])
    """

    rank = 1


class Conv2DTranspose(ConvolutionTranspose):
    """A transposed convolution over the pixels of (B, Y, X, I): keras.layers.Conv2DTranspose.

    >>> Conv2DTranspose(4, 3, strides=2)(torch.zeros(2, 5, 5, 3)).shape
    torch.Size([2, 11, 11, 4])
    """

    rank = 2


class Conv3DTranspose(ConvolutionTranspose):
    """A transposed convolution over the voxels of (B, Z, Y, X, I): keras.layers.Conv3DTranspose.

    >>> Conv3DTranspose(4, 2, strides=2)(torch.zeros(1, 2, 2, 2, 3)).shape
    torch.Size([1, 4, 4, 4, 4])
    """

    rank = 3
