"""Keras' convolutional LSTM over frames of one, two or three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor
from typing_extensions import Unpack

from longspan import errors
from longspan.activations import ActivationLike, step_name
from longspan.initializers import InitializerLike, UnitForgetBias
from longspan.nn import dropout as dropout_masks
from longspan.nn.conv_lstm import ConvLSTM, output_length
from longspan.regularizers import RegularizerLike

from . import activation_cells
from .base import Layer, check_rank, required_size
from .convolution import Sizes, sizes_of
from .data_format import is_channels_first
from .recurrent import SequenceOptions, layer_options, split_states
from .structure import Shape
from .weights import KerasLayout, Weight

_LETTERS = {1: "(B, T, X, C)", 2: "(B, T, Y, X, C)", 3: "(B, T, Z, Y, X, C)"}


class ConvLSTMBase(Layer):
    """A convolutional LSTM over frames. Abstract; see ConvLSTM2D.

    Weights in Keras' order: kernel (K, K, C, 4*F), recurrent_kernel (K, K, F, 4*F), bias (4*F,), gates i, f,
    c, o, with a K for every dimension. Returns (B, Y', X', F), or (B, T, Y', X', F) with return_sequences.

    Args:
        filters: F.
        kernel_size: of both convolutions.
        strides, padding, dilation_rate: of the input's convolution, as for `Conv2D`.
        data_format: "channels_last", or "channels_first" for the channels before the pixels.
        activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer,
        bias_initializer, unit_forget_bias, kernel_regularizer, recurrent_regularizer, bias_regularizer,
        dropout, recurrent_dropout: as for `LSTM`.
        **sequences: as for `LSTM`.
    """

    rank: ClassVar[int]

    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
        activation: ActivationLike = "tanh",
        recurrent_activation: ActivationLike = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: InitializerLike = "glorot_uniform",
        recurrent_initializer: InitializerLike = "orthogonal",
        bias_initializer: InitializerLike = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: RegularizerLike = None,
        recurrent_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        **sequences: Unpack[SequenceOptions],
    ) -> None:
        super().__init__(**layer_options(sequences))
        self.channels_first = is_channels_first(data_format)
        self.filters = errors.check_int("filters", filters, 1, "give the number of output channels")
        self.kernel_size = sizes_of("kernel_size", kernel_size, self.rank)
        self.strides = sizes_of("strides", strides, self.rank)
        self.dilation_rate = sizes_of("dilation_rate", dilation_rate, self.rank)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            received = f"strides={self.strides}, dilation_rate={self.dilation_rate}"
            raise errors.value_error(
                self.name, "strides or a dilation_rate", received, "set one of them to 1"
            )
        self.padding = errors.check_choice("padding", padding, ("valid", "same"))
        names = step_name("activation", activation), step_name("recurrent_activation", recurrent_activation)
        self.cell, self.use_bias = activation_cells.lstm(*names), errors.check_bool("use_bias", use_bias)
        bias = UnitForgetBias(filters, bias_initializer) if unit_forget_bias else bias_initializer
        self._initializers = (kernel_initializer, recurrent_initializer, bias)
        self._regularizers = (kernel_regularizer, recurrent_regularizer, bias_regularizer)
        self.dropout = errors.check_fraction("dropout", dropout, below_one=True)
        self.recurrent_dropout = errors.check_fraction("recurrent_dropout", recurrent_dropout, below_one=True)
        self.return_sequences = sequences.get("return_sequences", False)
        self.return_state = sequences.get("return_state", False)
        self.go_backwards = sequences.get("go_backwards", False)
        self.stateful = sequences.get("stateful", False)
        self.states: tuple[Tensor, ...] | None = None

    def create_weights(self, shape: Shape) -> None:
        channels = required_size(self, self._sides(shape)[1], "the channels")
        self.core = ConvLSTM(
            channels,
            self.filters,
            self.kernel_size,
            stride=self.strides,
            dilation=self.dilation_rate,
            padding=self.padding,
            bias=self.use_bias,
            cell=self.cell,
            recurrent_dropout=self.recurrent_dropout,
        )
        wide = 4 * self.filters
        for index, (name, field, inputs) in enumerate(
            (("kernel", "weight_ih", channels), ("recurrent_kernel", "weight_hh", self.filters))
        ):
            self.own_weights.append(
                Weight(
                    name,
                    (*self.kernel_size, inputs, wide),
                    self._initializers[index],
                    [(self.core, field)],
                    KerasLayout(dims=(*range(2, self.rank + 2), 1, 0)),
                    regularizer=self._regularizers[index],
                )
            )
        if self.use_bias:
            regularizer = self._regularizers[2]
            bias = Weight(
                "bias", (wide,), self._initializers[2], [(self.core, "bias_ih")], regularizer=regularizer
            )
            self.own_weights.append(bias)

    def _sides(self, shape: Sequence[int | None]) -> tuple[list[int | None], int | None]:
        """The pixels of a frame in each dimension, and the channels."""
        check_rank(self, shape, _LETTERS[self.rank], "frames have pixels and channels")
        frame = list(shape[2:])
        return (frame[1:], frame[0]) if self.channels_first else (frame[:-1], frame[-1])

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        windows = [
            (size - 1) * gap + 1 for size, gap in zip(self.kernel_size, self.dilation_rate, strict=True)
        ]
        sides = zip(self._sides(input_shape)[0], windows, self.strides, strict=True)
        pixels = [output_length(size, window, stride, self.padding) for size, window, stride in sides]
        frame = (self.filters, *pixels) if self.channels_first else (*pixels, self.filters)
        state = (input_shape[0], *frame)
        out = (state[0], input_shape[1], *state[1:]) if self.return_sequences else state
        return (out, state, state) if self.return_state else out

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> Tensor | None:
        return mask if self.return_sequences else None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*split_states(args, kwargs), **kwargs)

    def call(self, x: Tensor, mask: Tensor | None = None, initial_state: Any = None) -> Any:
        """As `LSTM`'s, for x (B, T, Y, X, C) and states (B, Y', X', F)."""
        self._sides(tuple(x.shape))
        if self.dropout and self.training:
            x = x * dropout_masks.dropout_mask((x.shape[0], 1, *x.shape[2:]), self.dropout, x)
        if self.go_backwards:
            x, mask = x.flip(1), None if mask is None else mask.flip(1)
        first = self.states if initial_state is None else initial_state
        state = None if first is None else (self._channels_second(first[0]), self._channels_second(first[1]))
        out, last = self.core(x if self.channels_first else x.movedim(-1, 2), state, mask=mask)
        h, c = last if self.channels_first else (state.movedim(1, -1) for state in last)
        if self.stateful:
            self.states = (h.detach(), c.detach())
        frames = out if self.channels_first else out.movedim(2, -1)
        output = frames if self.return_sequences else h
        return (output, h, c) if self.return_state else output

    def reset_states(self) -> None:
        self.states = None

    def _channels_second(self, state: Tensor) -> Tensor:
        return state if self.channels_first else state.movedim(-1, 1)


class ConvLSTM1D(ConvLSTMBase):
    """A convolutional LSTM over rows of values (B, T, X, C): keras.layers.ConvLSTM1D.

    >>> ConvLSTM1D(4, 3, padding="same")(torch.zeros(2, 5, 8, 3)).shape
    torch.Size([2, 8, 4])
    """

    rank = 1


class ConvLSTM2D(ConvLSTMBase):
    """A convolutional LSTM over frames (B, T, Y, X, C): keras.layers.ConvLSTM2D.

    >>> ConvLSTM2D(4, (3, 3), padding="same")(torch.zeros(2, 5, 8, 8, 3)).shape
    torch.Size([2, 8, 8, 4])
    """

    rank = 2


class ConvLSTM3D(ConvLSTMBase):
    """A convolutional LSTM over volumes (B, T, Z, Y, X, C): keras.layers.ConvLSTM3D.

    >>> ConvLSTM3D(4, 2, padding="same")(torch.zeros(1, 2, 3, 3, 3, 1)).shape
    torch.Size([1, 3, 3, 3, 4])
    """

    rank = 3
