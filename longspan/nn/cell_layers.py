"""The layers that run one step: LSTMCell, GRUCell and RNNCell as in torch.nn, RecurrentCell for any cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.compiler import is_compiling
from torch.nn import Module

from longspan import errors, kernels
from longspan.cells import Cell
from longspan.kernels.job import Job
from longspan.kernels.single_step import SingleStep

from . import autocast, inputs, options, parameters

# (B, H) for a cell with one state, else a tuple of these in the cell's order; without B for one row.
State = Tensor | tuple[Tensor, ...] | list[Tensor]


class RNNCellBase(Module):
    """One step of any cell. Abstract; see LSTMCell for the arguments."""

    def __init__(
        self,
        cell: Cell | str,
        input_size: int,
        hidden_size: int,
        bias: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.cell = options.resolve_cell(cell)
        self.input_size = errors.check_int("input_size", input_size, 1, "give the number of values a step")
        self.hidden_size = errors.check_int("hidden_size", hidden_size, 1, "give the number of units")
        self.bias = errors.check_bool("bias", bias)
        self._weights = parameters.ParameterTable(1)
        shapes = parameters.parameter_shapes(self.cell, self.input_size, self.hidden_size, bias=self.bias)
        self._weights.add(self, shapes, "", device, options.check_floating(dtype))
        if not self.bias:
            self.register_parameter("bias_ih", None)
            self.register_parameter("bias_hh", None)
        fields = [list(row) for row in self._weights.rows]
        self._stream = SingleStep(self.cell, self.input_size, self.hidden_size, fields, layered=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every parameter afresh, as torch.nn does and in the same order."""
        parameters.initialise(self._weights.fields(self)[0], self.cell, self.hidden_size, None)

    def forward(self, input: Tensor, hx: State | None = None) -> Any:
        """Run one step.

        Args:
            input: (B, I), or (I,) for one row.
            hx: the state (B, H), or (H,) for one row, a tuple where the cell has several states; None:
                the cell's constants (zeros).

        Returns:
            The new state, shaped like `hx`; its first (or only) tensor is the output.

        Raises:
            ValueError, TypeError: an argument does not fit; the sentence names it.
        """
        if hx is not None and not is_compiling():
            state = self._stream.step(self._parameters, input, hx)
            if state is not None:
                return state
        if not isinstance(input, Tensor):
            raise errors.type_error("input", "a tensor", input, "convert it with torch.as_tensor")
        weights = self._weights.weights(self)
        half = autocast.autocast_dtype(input)
        inputs.check_values(input, weights[0][0], (2, 1), ("(B, I)", "(I,)"), half)
        batched = input.dim() == 2
        x = (input if batched else input.unsqueeze(0)).unsqueeze(0)
        states = self._initial(x) if hx is None else self._checked(hx, x, half, batched)
        if half is None and input.dtype not in autocast.HALF_DTYPES:
            new = kernels.run(Job(self.cell, x, states, weights[0])).state
        else:
            new = self._run_in_compute_dtype(x, states, weights, half)
        new = tuple([tensor.squeeze(0) if batched else tensor[0, 0] for tensor in new])
        return new[0] if len(new) == 1 else new

    def _initial(self, x: Tensor) -> tuple[Tensor, ...]:
        constants = [self.cell.initial.get(letter, 0.0) for letter in self.cell.states]
        return tuple(x.new_full((1, x.shape[1], self.hidden_size), constant) for constant in constants)

    def _checked(
        self, state: State, x: Tensor, half: torch.dtype | None, batched: bool
    ) -> tuple[Tensor, ...]:
        shape, letters = (x.shape[1], self.hidden_size), "(B, H)"
        if not batched:
            shape, letters = shape[1:], "(H,)"
        named = zip(self.cell.states, inputs.check_states(self.cell.states, state), strict=True)
        checked = [inputs.check_state(letter, value, shape, letters, x, half) for letter, value in named]
        return tuple(value.reshape(1, x.shape[1], self.hidden_size) for value in checked)

    def _run_in_compute_dtype(
        self, x: Tensor, states: tuple[Tensor, ...], weights: autocast.Layers, half: torch.dtype | None
    ) -> Sequence[Tensor]:
        """Compute without autocast (see autocast.compute_dtype); give back the dtype that torch.nn would."""
        dtype = (
            x.dtype
            if half is None
            else self._autocast_dtype(half, autocast.promoted_dtype(half, [x, *states]))
        )
        with torch.autocast(x.device.type, enabled=False):
            x, (states,), (wide,) = autocast.to_compute_dtype(x, [states], weights, half)
            new = kernels.run(Job(self.cell, x, states, wide)).state
        return [tensor.to(dtype) for tensor in new]

    def _autocast_dtype(self, half: torch.dtype, promoted: torch.dtype) -> torch.dtype:
        return promoted

    def extra_repr(self) -> str:
        bias, int8 = "" if self.bias else ", bias=False", ", int8" if self._weights.int8 else ""
        return f"{self.input_size}, {self.hidden_size}{bias}{int8}"


class LSTMCell(RNNCellBase):
    """One step of an LSTM: torch.nn.LSTMCell's arguments, parameters and numbers.

    Args:
        input_size: I, values a step.
        hidden_size: H, units.
        bias: whether the gates have biases.
        device, dtype: of the parameters.

    Parameters: weight_ih (4*H, I), weight_hh (4*H, H), bias_ih and bias_hh (4*H,), gate order i, f, g, o,
    uniform in (-1/sqrt(H), 1/sqrt(H)) at first.

    Raises:
        ValueError, TypeError: an argument is out of range; the sentence names it.

    >>> h, c = LSTMCell(3, 4)(torch.randn(2, 3))
    >>> h.shape, c.shape
    (torch.Size([2, 4]), torch.Size([2, 4]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__("lstm", input_size, hidden_size, bias, device, dtype)


class GRUCell(RNNCellBase):
    """One step of a GRU: torch.nn.GRUCell's arguments, parameters and numbers; as `LSTMCell`, gates r, z, n.

    >>> GRUCell(3, 4)(torch.randn(2, 3)).shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__("gru", input_size, hidden_size, bias, device, dtype)


class RNNCell(RNNCellBase):
    """One step of an Elman network: torch.nn.RNNCell's arguments, parameters and numbers; as `LSTMCell`.

    Args:
        nonlinearity: "tanh" or "relu".

    >>> RNNCell(3, 4, nonlinearity="relu")(torch.randn(2, 3)).shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(options.elman_cell_name(nonlinearity), input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def _autocast_dtype(self, half: torch.dtype, promoted: torch.dtype) -> torch.dtype:
        return half  # torch.nn's RNNCell is matrix products and an activation, all in autocast's dtype

    def extra_repr(self) -> str:
        shown = super().extra_repr()
        return shown if self.nonlinearity == "tanh" else f"{shown}, nonlinearity={self.nonlinearity}"


class RecurrentCell(RNNCellBase):
    """One step of any cell: one of `longspan.cells.CELLS` by name, or your own under `@longspan.cell`.

    Arguments and errors are those of `LSTMCell`; the state is a tuple in the order of the cell's states where
    it has several. A cell with per-unit extras has the parameter weight_p (P, H) too.

    Args:
        cell: the name of a cell, or a cell.

    >>> h, c = RecurrentCell("peephole", 3, 4)(torch.randn(2, 3))
    >>> h.shape, c.shape
    (torch.Size([2, 4]), torch.Size([2, 4]))
    """

    def __init__(
        self,
        cell: Cell | str,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(cell, input_size, hidden_size, bias, device, dtype)

    def extra_repr(self) -> str:
        return f"{self.cell.name}, {super().extra_repr()}"
