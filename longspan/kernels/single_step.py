"""Runs one step of a stream of vectors or tokens at inference in C++, where the tensors allow it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

from longspan import _core
from longspan.cells import Cell

from . import native_cells
from .cpu_driver import EXCHANGE
from .selection import FORCED
from .tracing import dispatch_modes, innermost_transform, jit_trace

FIELDS = ("x", "r", "bx", "br", "p", "x_scale", "r_scale")  # in the order of csrc/stream.h

_TYPES = frozenset((torch.float32, torch.float64))
_BACKENDS = (None, "cpu")  # with which of these forced the step may run here
# Where one of these answers other than false or None, something is active that has to see the ordinary call.
_OBSERVERS: list[Callable[[], object]] = [
    torch.is_grad_enabled,
    dispatch_modes,
    innermost_transform,
    jit_trace,
    torch._C._is_any_autocast_enabled,
]


class SingleStep:
    """One step of a stack of plain layers: one cell, one direction, one hidden size, no further options.

    Weights are read afresh at every step, so that they may change; copies and pickles carry sizes only.

    Args:
        cell: the equations.
        inputs: I of the first layer.
        hidden: H.
        fields: for each layer, the names (of FIELDS) of its parameters, in the module's order.
        layered: whether states are (L, B, H) and the last layer's h is returned too, as (B, H).
    """

    def __init__(
        self, cell: Cell, inputs: int, hidden: int, fields: Sequence[Sequence[str]], *, layered: bool
    ) -> None:
        self._arguments = cell, inputs, hidden, [list(names) for names in fields], layered
        self._runs: dict[torch.dtype, Callable[..., Any]] = {}
        self._run: Callable[..., Any] | None = None  # for the type of the last step

    def step(self, parameters: Mapping[str, Tensor | None], x: Tensor, state: object) -> Any:
        """Run the step, or return None where the ordinary call has to run it.

        Args:
            parameters: the module's own dict of them.
            x: (B, I).
            state: as the layer returned it.

        Returns:
            (out, state) with `layered`, else the state.
        """
        if forward_ad._current_level >= 0 or FORCED.get() not in _BACKENDS:
            return None
        used = self._run
        result = None if used is None else used(x, state, parameters)
        if result is None and (run := self._compiled(x)) is not used:
            self._run = run
            result = run and run(x, state, parameters)
        return result

    def with_fields(self, fields: Sequence[Sequence[str]]) -> SingleStep:
        """The same step for parameters of other fields, as for int8 weights."""
        return SingleStep(*self._arguments[:3], fields, layered=self._arguments[4])

    def unlayered(self) -> SingleStep:
        """The same step for states (B, H) of a single layer."""
        return SingleStep(*self._arguments[:4], layered=False)

    def stream(self, dtype: torch.dtype) -> Any:
        """The compiled step of tensors of this type, or None where there is none."""
        cell, inputs, hidden, fields, layered = self._arguments
        address = native_cells.address_of(cell, native_cells.WIDEST)
        types = _TYPES if "x_scale" not in fields[0] else _TYPES - {torch.float64}  # int8 weights
        if EXCHANGE is None or dtype not in types or not address:
            return None
        sizes = [inputs] + [hidden] * (len(fields) - 1)
        slots = [len(FIELDS) * i + FIELDS.index(f) for i, names in enumerate(fields) for f in names]
        isa, f64 = native_cells.WIDEST, dtype is torch.float64
        layers = hidden, sizes, slots, layered
        return _core.Stream(EXCHANGE, Tensor, Parameter, isa, f64, address, *layers, _OBSERVERS)

    def _compiled(self, x: object) -> Callable[..., Any] | None:
        if type(x) is not Tensor:
            return None
        if x.dtype not in self._runs and (stream := self.stream(x.dtype)) is not None:
            self._runs[x.dtype] = stream.run
        return self._runs.get(x.dtype)

    def __reduce__(self) -> Any:
        return _rebuild, self._arguments


class TokenStep:
    """One token a row, in one call: an embedding, recurrent layers and linear layers after them.

    Args:
        steps: the recurrent layers, whose states are (B, H).
    """

    def __init__(self, steps: Sequence[SingleStep]) -> None:
        self.steps = list(steps)
        self._runs: dict[torch.dtype, Callable[..., Any]] = {}

    def step(
        self,
        tokens: Tensor,
        states: tuple[tuple[Tensor, ...], ...],
        parameters: tuple[Mapping[str, Tensor | None], ...],
        table: Tensor | None,
        linears: tuple[tuple[Tensor | None, Tensor | None], ...],
    ) -> Any:
        """Run the step, or return None where the ordinary calls have to run it.

        Args:
            tokens: (B,) int64.
            states: of each layer, (B, H) each.
            parameters: each layer's own dict of them.
            table: (V, E), the embedding's weight.
            linears: the weight and bias of each linear layer.

        Returns:
            (out, states): the last linear layer's output (B, V) and the new states.
        """
        if table is None or forward_ad._current_level >= 0 or FORCED.get() not in _BACKENDS:
            return None
        run = self._runs.get(table.dtype) or self._compiled(table.dtype)
        return run and run(tokens, states, parameters, table, linears)

    def _compiled(self, dtype: torch.dtype) -> Callable[..., Any] | None:
        streams = [step.stream(dtype) for step in self.steps]
        if None in streams:
            return None
        isa, f64 = native_cells.WIDEST, dtype is torch.float64
        stream = _core.TokenStream(EXCHANGE, Tensor, Parameter, isa, f64, streams, _OBSERVERS)
        return self._runs.setdefault(dtype, stream.run)

    def __reduce__(self) -> Any:
        return TokenStep, (self.steps,)


def _rebuild(cell: Cell, inputs: int, hidden: int, fields: list[list[str]], layered: bool) -> SingleStep:
    return SingleStep(cell, inputs, hidden, fields, layered=layered)
