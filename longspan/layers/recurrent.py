"""Keras' recurrent layers on longspan.nn's layers and kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn
from typing_extensions import Unpack

import longspan.nn as fast
from longspan import errors
from longspan.activations import ActivationLike, step_name
from longspan.cells import Cell
from longspan.initializers import InitializerLike, UnitForgetBias
from longspan.nn import dropout as dropout_masks
from longspan.nn import options
from longspan.nn.explain import explain
from longspan.regularizers import RegularizerLike

from . import activation_cells
from .base import Layer, LayerOptions, check_rank, required_size
from .gru_reset_before import GRUResetBefore
from .structure import Shape, to_tensor
from .weights import SAME_LAYOUT, KerasLayout, Weight


class SequenceOptions(LayerOptions, total=False):
    """The options of every recurrent layer.

    return_sequences: return the output of every step (B, T, H) instead of the last (B, H). return_state:
    return the last states as well, each (B, H). go_backwards: read from the last step to the first; outputs
    come in that order. stateful: start row b of each batch from the last state of row b of the batch before,
    until `reset_states`. zero_output_for_mask: output 0 at masked steps instead of the output before them.
    unroll, seed, use_cudnn, implementation: accepted without effect.
    """

    return_sequences: bool
    return_state: bool
    go_backwards: bool
    stateful: bool
    zero_output_for_mask: bool
    unroll: bool
    seed: int | None
    use_cudnn: bool | str
    implementation: int


@dataclass(frozen=True)
class Initializers:
    """The initializers of a cell's three weights, and their regularizers by the weight's name."""

    kernel: InitializerLike = "glorot_uniform"
    recurrent: InitializerLike = "orthogonal"
    bias: InitializerLike = "zeros"
    regularizers: Mapping[str, RegularizerLike] = field(default_factory=dict[str, RegularizerLike])


def _regularizers(
    kernel: RegularizerLike, recurrent: RegularizerLike, bias: RegularizerLike
) -> dict[str, RegularizerLike]:
    return {"kernel": kernel, "recurrent_kernel": recurrent, "bias": bias}


class TorchCore(Protocol):
    """The module that runs a sequence: a layer of longspan.nn, or GRUResetBefore."""

    def __call__(self, x: Tensor, state: Any = None, *, mask: Tensor | None = None) -> tuple[Any, ...]: ...


class RNNBase(Layer):
    """Any recurrent layer over (B, T, I). Abstract; see LSTM.

    Attributes:
        cell: the equations.
        core: the layer of longspan.nn that runs, once built.
    """

    def __init__(
        self,
        units: int,
        cell: Cell,
        order: str,
        initial: Initializers,
        *,
        use_bias: bool,
        bias_pair: bool,
        dropout: float,
        recurrent_dropout: float,
        **sequences: Unpack[SequenceOptions],
    ) -> None:
        """`order`: the cell's gate letters in Keras' order; `bias_pair`: W x and R h have a bias each."""
        super().__init__(**layer_options(sequences))
        self.units = errors.check_int("units", units, 1, "give the number of units")
        self.cell, self._order, self._initializers = cell, order, initial
        self.use_bias, self._bias_pair = errors.check_bool("use_bias", use_bias), bias_pair
        self.dropout = errors.check_fraction("dropout", dropout, below_one=True)
        self.recurrent_dropout = options.check_recurrent_rate("recurrent_dropout", recurrent_dropout, cell)
        self.return_sequences = errors.check_bool(
            "return_sequences", sequences.get("return_sequences", False)
        )
        self.return_state = errors.check_bool("return_state", sequences.get("return_state", False))
        self.go_backwards = errors.check_bool("go_backwards", sequences.get("go_backwards", False))
        self.stateful = errors.check_bool("stateful", sequences.get("stateful", False))
        self.zero_output_for_mask = sequences.get("zero_output_for_mask", False)
        self.states: tuple[Tensor, ...] | None = None

    # Weights.

    def create_weights(self, shape: Shape) -> None:
        check_rank(
            self, shape, "(B, T, I)", "a sequence has one row of values a step; reshape it to (B, T, 1)"
        )
        self.core = self.new_core(required_size(self, shape[2], "the values of a step"))
        self.attach(self.core, "")

    def new_core(self, inputs: int, bidirectional: bool = False) -> nn.Module:
        """The module that runs the layer; with `bidirectional`, also a copy that reads backwards."""
        return fast.Recurrent(
            self.cell,
            inputs,
            self.units,
            bias=self.use_bias,
            batch_first=True,
            bidirectional=bidirectional,
            recurrent_dropout=self.recurrent_dropout,
        )

    def attach(self, core: nn.Module, suffix: str) -> None:
        """Make the parameters of `core` whose names end in `suffix` the weights of this layer."""
        self.own_weights = _keras_weights(self, core, suffix)
        if (
            self.use_bias
            and not self._bias_pair
            and self.cell.recurrent
            and not isinstance(core, GRUResetBefore)
        ):
            # Keras has one bias where torch.nn has two: the second stays 0.
            second = getattr(core, f"bias_hh_l0{suffix}")
            second.requires_grad_(False).zero_()

    def share(self, other: RNNBase) -> None:
        """Take the weights of a built layer of the same kind and options."""
        self.core = other.core
        self.attach(self.core, "")
        self._finish_build(other.input_shape)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        rows = input_shape[0]
        out = (rows, input_shape[1], self.units) if self.return_sequences else (rows, self.units)
        return (out, *[(rows, self.units)] * len(self.cell.states)) if self.return_state else out

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> Tensor | None:
        return mask if self.return_sequences else None

    # Running.

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*split_states(args, kwargs), **kwargs)

    def call(self, x: Tensor, mask: Tensor | None = None, initial_state: Any = None) -> Any:
        """Run whole sequences.

        Args:
            x: (B, T, I).
            mask: (B, T) bool, False where a step is skipped.
            initial_state: a list with (B, H) for each state, h first; None: zeros, or with stateful where the
                last batch ended.

        Returns:
            (B, H), or (B, T, H) with return_sequences; with return_state a tuple of it and each state (B, H).
        """
        check_rank(self, x.shape, "(B, T, I)", "add the missing dimension, such as x[..., None]")
        if self.dropout and self.training:
            x = x * dropout_masks.dropout_mask((x.shape[0], 1, x.shape[2]), self.dropout, x)
        mask = None if mask is None else mask.bool()
        if self.go_backwards:
            x, mask = x.flip(1), None if mask is None else mask.flip(1)
        first = self.starting_states(x, initial_state)
        out, state = self.core(x, None if first is None else _stacked(first), mask=mask)
        last = tuple([value[0] for value in (state if isinstance(state, tuple) else (state,))])
        if self.stateful:
            self.states = tuple([value.detach() for value in last])
        output = self._output(out, last, mask, first is not None)
        return (output, *last) if self.return_state else output

    def starting_states(self, x: Tensor, initial_state: Any) -> tuple[Tensor, ...] | None:
        """The states (B, H) before the first step: initial_state, else the last batch's, else None."""
        if initial_state is not None:
            return tuple(initial_state) if isinstance(initial_state, (tuple, list)) else (initial_state,)
        if self.states is not None and self.states[0].shape[0] != x.shape[0]:
            way_out = (
                "a stateful layer carries one state a row: keep the batch size, or call reset_states() first"
            )
            raise errors.value_error(
                f"input of {self.name}", f"{self.states[0].shape[0]} rows", x.shape[0], way_out
            )
        return self.states

    def _output(self, out: Tensor, last: tuple[Tensor, ...], mask: Tensor | None, started: bool) -> Tensor:
        """The output of every step or of the last, with Keras' values at masked steps.

        started: whether the sequence began from states that the caller or the last batch gave.
        """
        if mask is None:
            return out if self.return_sequences else last[0]
        if self.zero_output_for_mask:
            out = out.masked_fill(~mask.unsqueeze(2), 0.0)
            return out if self.return_sequences else out[:, -1]
        if started:  # Keras outputs 0 before the first unmasked step
            out = out.masked_fill(mask.cumsum(1).eq(0).unsqueeze(2), 0.0)
            return out if self.return_sequences else out[:, -1]
        return out if self.return_sequences else last[0]

    def reset_states(self) -> None:
        """Let the next batch start from zeros."""
        self.states = None

    def explain(self, x: Any, mask: Tensor | None = None) -> str:
        """Which kernel runs the layer on x (B, T, I), and why the others do not, in words."""
        x = to_tensor(x)
        if not self.built:
            self.build(tuple(x.shape))
        if isinstance(self.core, GRUResetBefore):
            return f"{self.name}: {self.core.explain(x)}"
        return f"{self.name}: {explain(self.core, x, mask=mask)}"  # pyright: ignore[reportArgumentType]


def split_states(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """The positional arguments of a call; states behind x in a list, [x, h, c], become `initial_state`."""
    if args and isinstance(args[0], (list, tuple)) and "initial_state" not in kwargs:
        x, *states = args[0]
        if states:
            kwargs["initial_state"] = states
        return (x, *args[1:])
    return args


def layer_options(options: Any) -> LayerOptions:
    """Those of the keywords that every layer takes."""
    return {key: options[key] for key in LayerOptions.__annotations__ if key in options}  # pyright: ignore


def _stacked(states: Sequence[Tensor]) -> Any:
    """Each state as (1, B, H), for longspan.nn: a tensor for one state, a tuple for several."""
    wide = tuple([state.unsqueeze(0) for state in states])
    return wide[0] if len(wide) == 1 else wide


def _keras_weights(layer: RNNBase, core: nn.Module, suffix: str) -> list[Weight]:
    """Keras' kernel (I, G*H), recurrent_kernel (H, G*H) and bias over torch's parameters of `core`."""
    cell, initial, units = layer.cell, layer._initializers, layer.units
    gates = tuple(cell.gates.index(gate) for gate in layer._order)
    wide, transposed = len(gates) * units, KerasLayout(gates, (1, 0))

    def weight(
        name: str, shape: Sequence[int], initializer: InitializerLike, layout: KerasLayout, *fields: str
    ) -> Weight:
        parameters = [(core, f"{field}_l0{suffix}") for field in fields]
        return Weight(
            name, shape, initializer, parameters, layout, regularizer=initial.regularizers.get(name)
        )

    inputs = getattr(core, f"weight_ih_l0{suffix}").shape[1]
    weights = [weight("kernel", (inputs, wide), initial.kernel, transposed, "weight_ih")]
    if cell.recurrent:
        weights.append(weight("recurrent_kernel", (units, wide), initial.recurrent, transposed, "weight_hh"))
    if layer.use_bias:
        shape, fields = ((2, wide), ("bias_ih", "bias_hh")) if layer._bias_pair else ((wide,), ("bias_ih",))
        weights.append(weight("bias", shape, initial.bias, KerasLayout(gates), *fields))
    if cell.params:
        weights.append(weight("extras", (len(cell.params), units), "uniform", SAME_LAYOUT, "weight_p"))
    return weights


class LSTM(RNNBase):
    """Long short-term memory over (B, T, I): keras.layers.LSTM's options, defaults, weights and numbers.

    Weights in Keras' order: kernel (I, 4*H), recurrent_kernel (H, 4*H), bias (4*H,), gates i, f, c, o.

    Args:
        units: H.
        activation, recurrent_activation: names from layers.ACTIVATIONS; other than tanh and sigmoid they make
            another cell, which runs as plain PyTorch operations until `longspan.compile_cell(layer.cell)`.
        use_bias: whether the gates have a bias.
        kernel_initializer, recurrent_initializer, bias_initializer: draw the first values of the weights.
        unit_forget_bias: start the forget gate's bias at 1.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: added to the loss in fitting.
        dropout: rate of dropout on the input in training, one mask a sequence.
        recurrent_dropout: rate of dropout on h_{t-1} in training, one mask a sequence for all gates (Keras
            draws one for each gate).
        **sequences: see `SequenceOptions` and `LayerOptions`.

    Raises:
        ValueError, TypeError: an option is unknown or out of range; the sentence names it.

    >>> LSTM(4, return_sequences=True)(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 5, 4])
    """

    def __init__(
        self,
        units: int,
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
        names = step_name("activation", activation), step_name("recurrent_activation", recurrent_activation)
        super().__init__(
            units,
            activation_cells.lstm(*names),
            "ifgo",
            Initializers(
                kernel_initializer,
                recurrent_initializer,
                UnitForgetBias(units, bias_initializer) if unit_forget_bias else bias_initializer,
                _regularizers(kernel_regularizer, recurrent_regularizer, bias_regularizer),
            ),
            use_bias=use_bias,
            bias_pair=False,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            **sequences,
        )


class GRU(RNNBase):
    """Gated recurrent unit over (B, T, I): keras.layers.GRU's options, defaults, weights and numbers.

    Weights in Keras' order: kernel (I, 3*H), recurrent_kernel (H, 3*H), bias (2, 3*H), the second row beside
    R h, or (3*H,) with reset_after=False; gates z, r, h. Options are those of `LSTM` but for
    unit_forget_bias.

    Args:
        reset_after: whether the reset gate acts after the product with R, as in cuDNN and torch, by a kernel.
            False: before it (Cho et al. 2014), as plain PyTorch operations.

    >>> GRU(4)(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        units: int,
        activation: ActivationLike = "tanh",
        recurrent_activation: ActivationLike = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: InitializerLike = "glorot_uniform",
        recurrent_initializer: InitializerLike = "orthogonal",
        bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike = None,
        recurrent_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        reset_after: bool = True,
        **sequences: Unpack[SequenceOptions],
    ) -> None:
        self._names = (
            step_name("activation", activation),
            step_name("recurrent_activation", recurrent_activation),
        )
        super().__init__(
            units,
            activation_cells.gru(*self._names),
            "zrn",
            Initializers(
                kernel_initializer,
                recurrent_initializer,
                bias_initializer,
                _regularizers(kernel_regularizer, recurrent_regularizer, bias_regularizer),
            ),
            use_bias=use_bias,
            bias_pair=errors.check_bool("reset_after", reset_after),
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            **sequences,
        )
        self.reset_after = reset_after

    def new_core(self, inputs: int, bidirectional: bool = False) -> nn.Module:
        if self.reset_after:
            return super().new_core(inputs, bidirectional)
        activation, gate = self._names
        return GRUResetBefore(inputs, self.units, self.use_bias, activation, gate, self.recurrent_dropout)


class SimpleRNN(RNNBase):
    """Elman's network over (B, T, I): keras.layers.SimpleRNN's options, defaults, weights and numbers.

    Weights in Keras' order: kernel (I, H), recurrent_kernel (H, H), bias (H,). Options are those of `LSTM`
    but for recurrent_activation and unit_forget_bias; tanh and relu have kernels.

    >>> SimpleRNN(4)(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        units: int,
        activation: ActivationLike = "tanh",
        use_bias: bool = True,
        kernel_initializer: InitializerLike = "glorot_uniform",
        recurrent_initializer: InitializerLike = "orthogonal",
        bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike = None,
        recurrent_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        **sequences: Unpack[SequenceOptions],
    ) -> None:
        super().__init__(
            units,
            activation_cells.rnn(step_name("activation", activation)),
            "n",
            Initializers(
                kernel_initializer,
                recurrent_initializer,
                bias_initializer,
                _regularizers(kernel_regularizer, recurrent_regularizer, bias_regularizer),
            ),
            use_bias=use_bias,
            bias_pair=False,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            **sequences,
        )
