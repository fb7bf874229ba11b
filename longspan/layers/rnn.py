"""Recurrent cells, which run one step, and RNN, which runs a cell or a stack of cells over a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from longspan import errors
from longspan.activations import ActivationLike
from longspan.cells import Cell
from longspan.initializers import InitializerLike
from longspan.kernels.program import program
from longspan.nn import options as nn_options
from longspan.regularizers import RegularizerLike

from .base import Layer, LayerOptions
from .recurrent import (
    GRU,
    LSTM,
    Initializers,
    RNNBase,
    SequenceOptions,
    SimpleRNN,
    layer_options,
    split_states,
)
from .structure import Shape, to_tensor
from .weights import Weight


class RecurrentCell(Layer):
    """One step of a recurrent layer. Abstract; see LSTMCell.

    Called as `cell(x, states)`, x (B, I) and states a list with (B, H) for each state; returns the output
    (B, H) and the list of the new states. `RNN(cell)` runs the same weights over sequences in one call.
    """

    layer_class: ClassVar[type[RNNBase]]

    def __init__(self, units: int, **shared: Unpack[LayerOptions]) -> None:
        super().__init__(**shared)
        self.units = errors.check_int("units", units, 1, "give the number of units")
        self.inner = self.layer_class(**self._cell_options())

    def _cell_options(self) -> dict[str, Any]:
        return {key: value for key, value in self._options.items() if key not in LayerOptions.__annotations__}

    def over_time(self, **sequences: Any) -> RNNBase:
        """The layer that runs the cell over a sequence, by the same weights."""
        layer = self.layer_class(**self._cell_options(), **sequences)
        if self.inner.built:
            layer.share(self.inner)
        self.inner = layer
        return self.inner

    @property
    def state_size(self) -> int | list[int]:
        """H, or a list with H for each of several states."""
        count = len(self.inner.cell.states)
        return self.units if count == 1 else [self.units] * count

    @property
    def output_size(self) -> int:
        """H."""
        return self.units

    def get_initial_state(self, batch_size: int | None = None) -> list[Tensor]:
        """Zeros (B, H) for each state."""
        return [torch.zeros(batch_size or 1, self.units) for _ in self.inner.cell.states]

    def keras_weights(self) -> list[Weight]:
        return self.inner.keras_weights()

    def create_weights(self, shape: Shape) -> None:
        self.inner.build((shape[0], None, shape[-1]))

    def build_from(self, *args: Any, **kwargs: Any) -> None:
        self.build(tuple(args[0].shape))

    def compute_output_shape(self, input_shape: Sequence[int | None], states_shape: Any = None) -> Any:
        size = (input_shape[0], self.units)
        return size, [size] * len(self.inner.cell.states)

    def call(self, x: Tensor, mask: Tensor | None = None, states: Any = None) -> tuple[Tensor, list[Tensor]]:
        layer = self.inner
        flags = layer.return_sequences, layer.return_state
        layer.return_sequences, layer.return_state = False, True
        try:
            output, *last = layer.call(x.unsqueeze(1), None, states)
        finally:
            layer.return_sequences, layer.return_state = flags
        return output, last

    def forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The output and the new states for x (B, I) and states."""
        states = args[0] if args else kwargs.pop("states", None)
        kwargs.pop("mask", None)
        return super().forward(x, None, states, **kwargs)


class LSTMCell(RecurrentCell):
    """One step of `LSTM`, or its cell for `RNN`; options as there: keras.layers.LSTMCell.

    >>> h, (h, c) = LSTMCell(4)(torch.zeros(2, 3), [torch.zeros(2, 4), torch.zeros(2, 4)])
    >>> RNN(LSTMCell(4))(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 4])
    """

    layer_class = LSTM

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
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(units, **shared)


class GRUCell(RecurrentCell):
    """One step of `GRU`, or its cell for `RNN`; options as there: keras.layers.GRUCell."""

    layer_class = GRU

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
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(units, **shared)


class SimpleRNNCell(RecurrentCell):
    """One step of `SimpleRNN`, or its cell for `RNN`; options as there: keras.layers.SimpleRNNCell."""

    layer_class = SimpleRNN

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
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(units, **shared)


class CustomCell(RNNBase):
    """A cell of longspan over (B, T, I): one of longspan.cells.CELLS, or your own under @longspan.cell.

    Weights: kernel (I, G*H), recurrent_kernel (H, G*H) where the cell has R, bias (G*H,) or (2, G*H) where
    the equations use the biases of W x and R h separately, extras (P, H). Gates are in the order of the
    cell's letters.
    """

    def __init__(self, units: int, cell: Cell | str, **sequences: Unpack[SequenceOptions]) -> None:
        resolved = nn_options.resolve_cell(cell)
        bias_pair = resolved.recurrent and not program(resolved).shared
        super().__init__(
            units,
            resolved,
            resolved.gates,
            Initializers(),
            use_bias=True,
            bias_pair=bias_pair,
            dropout=0.0,
            recurrent_dropout=0.0,
            **sequences,
        )


class CellLoop(Layer):
    """A cell of a user's own, a layer of one step, over (B, T, …) in a loop: `RNN` makes it.

    Args:
        cell: a layer with `state_size` and `call(self, inputs, states)`.
        return_sequences, return_state, stateful, zero_output_for_mask: as for `LSTM`.
    """

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        stateful: bool = False,
        zero_output_for_mask: bool = False,
        unroll: bool = False,
    ) -> None:
        super().__init__()
        self.cell = cell
        self.return_sequences, self.return_state = return_sequences, return_state
        self.stateful, self.zero_output_for_mask = stateful, zero_output_for_mask
        self.states: list[Tensor] | None = None
        self._names = set(dir(cell))

    def keras_weights(self) -> list[Weight]:
        return self.cell.keras_weights()

    def create_weights(self, shape: Shape) -> None:
        if not self.cell.built:
            self.cell.build((shape[0], *shape[2:]))

    def state_sizes(self) -> list[Any]:
        """The size of each state, a number or a shape."""
        sizes = self.cell.state_size
        return list(sizes) if isinstance(sizes, (list, tuple)) else [sizes]

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        sizes = [_shape_of(size) for size in self.state_sizes()]
        size = sizes[0]
        if "output_size" in self._names:
            size = _shape_of(self.cell.output_size)
        rows = input_shape[0]
        out = (rows, input_shape[1], *size) if self.return_sequences else (rows, *size)
        return (out, *[(rows, *state) for state in sizes]) if self.return_state else out

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> Tensor | None:
        return mask if self.return_sequences else None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*split_states(args, kwargs), **kwargs)

    def call(self, x: Tensor, mask: Tensor | None = None, initial_state: Any = None) -> Any:
        states = self._first(x, initial_state)
        outputs: list[Tensor] = []
        for step in range(x.shape[1]):
            output, after = self._step(x[:, step], states)
            if mask is not None:
                shown = mask[:, step].bool()
                before = outputs[-1] if outputs else torch.zeros_like(output)
                hidden = torch.zeros_like(output) if self.zero_output_for_mask else before
                output = _where(shown, output, hidden)
                after = [_where(shown, new, old) for new, old in zip(after, states, strict=True)]
            outputs.append(output)
            states = after
        if self.stateful:
            self.states = [state.detach() for state in states]
        result = torch.stack(outputs, 1) if self.return_sequences else outputs[-1]
        return (result, *states) if self.return_state else result

    def _step(self, x: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        output, after = self.cell(x, states)
        return output, list(after) if isinstance(after, (list, tuple)) else [after]

    def _first(self, x: Tensor, initial_state: Any) -> list[Tensor]:
        if initial_state is not None:
            return list(initial_state) if isinstance(initial_state, (list, tuple)) else [initial_state]
        if self.states is not None:
            rows = self.states[0].shape[0]
            if rows != x.shape[0]:
                expected, way_out = f"{rows} rows, the batch size of its states", "call reset_states() before"
                raise errors.value_error(f"input of {self.cell.name}", expected, x.shape[0], way_out)
            return self.states
        if "get_initial_state" in self._names:
            first = self.cell.get_initial_state(batch_size=x.shape[0])
            return list(first) if isinstance(first, (list, tuple)) else [first]
        return [x.new_zeros(x.shape[0], *_shape_of(size)) for size in self.state_sizes()]

    def reset_states(self) -> None:
        self.states = None

    def explain(self, x: Any, mask: Tensor | None = None) -> str:
        """That a loop runs the cell, and why."""
        name = type(self.cell).__name__
        return f"{self.name}: a loop over the steps runs {name}, of your own; @longspan.cell compiles one"


def _shape_of(size: Any) -> tuple[int, ...]:
    return (size,) if isinstance(size, int) else tuple(size)


def _where(shown: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """The new values in the rows that are shown."""
    return torch.where(shown.view(-1, *[1] * (new.dim() - 1)), new, old)


def _sizes_of(layer: Any) -> list[Any]:
    """The size of each state of a layer over time."""
    if isinstance(layer, CellLoop):
        return layer.state_sizes()
    return [layer.units] * len(layer.cell.states)


def _over_time(cell: Any, units: int | None, **sequences: Any) -> Layer:
    """The layer that runs a cell over a sequence."""
    if isinstance(cell, RecurrentCell):
        return cell.over_time(**sequences)
    if isinstance(cell, (Cell, str)):
        if units is None:
            way_out = "give the number of units, such as RNN('peephole', units=32)"
            raise errors.value_error("units", "a whole number beside a cell of longspan", None, way_out)
        return CustomCell(units=units, cell=cell, **sequences)
    if isinstance(cell, Layer) and "state_size" in dir(cell):
        return CellLoop(cell, **sequences)
    way_out = "give LSTMCell(32), a layer with state_size, or a cell under @longspan.cell with units"
    raise errors.type_error("cell", "a cell", cell, way_out)


class RNN(Layer):
    """One cell or a stack of cells over (B, T, I): keras.layers.RNN, and any cell of longspan.

    Args:
        cell: LSTMCell, GRUCell or SimpleRNNCell of this module; a layer of your own with `state_size` and
            `call(self, inputs, states)`, which returns the output and the list of the new states, and which a
            loop runs; or with `units` the name of a cell in longspan.cells.CELLS or one under @longspan.cell.
            A list of these is a stack, in which each reads the outputs of the one before.
        units: H, for a cell of longspan.
        **sequences: as for `LSTM`.

    Raises:
        ValueError, TypeError: there is no such cell, or units are missing.

    >>> RNN([LSTMCell(4), GRUCell(6)], return_sequences=True)(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 5, 6])
    >>> RNN("peephole", units=4)(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 4])
    """

    def __init__(self, cell: Any, units: int | None = None, **sequences: Unpack[SequenceOptions]) -> None:
        super().__init__(**layer_options(sequences))
        inner: Any = {
            key: value for key, value in sequences.items() if key not in LayerOptions.__annotations__
        }
        self.go_backwards = inner.pop("go_backwards", False)
        self.stateful = inner.get("stateful", False)
        self.return_sequences, self.return_state = (
            inner.pop("return_sequences", False),
            inner.pop("return_state", False),
        )
        cells = list(cell) if isinstance(cell, (list, tuple)) else [cell]
        if not cells:
            raise errors.value_error(
                "cell", "at least one cell", "an empty list", "give LSTMCell(32), for example"
            )
        self.cell = cells[0] if len(cells) == 1 else cells
        *below, top = cells
        parts = [_over_time(part, units, **inner, return_sequences=True, return_state=True) for part in below]
        sequences_of_top = {**inner, "return_sequences": self.return_sequences, "return_state": True}
        parts.append(_over_time(top, units, **sequences_of_top))
        self.parts = nn.ModuleList(parts)

    def _layers(self) -> list[Any]:
        return list(self.parts)

    @property
    def state_size(self) -> Any:
        """The size of the state, or a list of the sizes of all states."""
        sizes = [size for layer in self._layers() for size in _sizes_of(layer)]
        return sizes[0] if len(sizes) == 1 else sizes

    def keras_weights(self) -> list[Weight]:
        return [weight for layer in self._layers() for weight in layer.keras_weights()]

    def create_weights(self, shape: Shape) -> None:
        for layer in self._layers():
            layer.build(shape)
            shape = layer.compute_output_shape(shape)[0]

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        states: list[Any] = []
        shape: Any = tuple(input_shape)
        for layer in self._layers():
            shape, *own = layer.compute_output_shape(shape)
            states += own
        return (shape, *states) if self.return_state else shape

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> Tensor | None:
        return mask if self.return_sequences else None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*split_states(args, kwargs), **kwargs)

    def call(self, x: Tensor, mask: Tensor | None = None, initial_state: Any = None) -> Any:
        if self.go_backwards:
            x, mask = x.flip(1), None if mask is None else mask.flip(1)
        remaining = None if initial_state is None else list(initial_state)
        states: list[Tensor] = []
        for layer in self._layers():
            count = len(_sizes_of(layer))
            first = None if remaining is None else remaining[:count]
            remaining = None if remaining is None else remaining[count:]
            x, *last = layer(x, mask, initial_state=first)
            states += last
        return (x, *states) if self.return_state else x

    def reset_states(self) -> None:
        for layer in self._layers():
            layer.reset_states()

    def explain(self, x: Any, mask: Tensor | None = None) -> str:
        """Which kernel runs each cell on x (B, T, I), and why the others do not, in words."""
        x = to_tensor(x)
        lines = []
        for layer in self._layers():
            lines.append(layer.explain(x, mask))
            x = x.new_zeros(x.shape[0], x.shape[1], *layer.compute_output_shape(tuple(x.shape))[0][2:])
        return "\n".join(lines)


def StackedRNNCells(cells: Sequence[Any]) -> list[Any]:
    """A stack of cells for `RNN`, which also takes a plain list of them.

    >>> RNN(StackedRNNCells([LSTMCell(4), GRUCell(6)]))(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 6])
    """
    return list(cells)
