"""Knows the short way to one step of a stream at inference: a look at the tensors, and the arithmetic."""

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
from .tracing import interpreters, modes, tracing

FIELDS = ("x", "r", "bx", "br", "p")

_TYPES = frozenset((torch.float32, torch.float64))
_OURS = (None, "cpu")  # the backends that may be forced
_grad = torch.is_grad_enabled
_autocast: Callable[[], bool] = torch._C._is_any_autocast_enabled


class Stream:
    """One step of a stack of plain layers: one cell, direction and hidden size, no option that adds to it.

    Nothing of the weights is kept, so that they may change in every way; copies and pickles carry sizes only.

    Args:
        cell: the equations.
        inputs: I of the first layer.
        hidden: H.
        fields: for each layer, the names (of FIELDS) of its parameters, in the module's order.
        layered: whether the state comes with its layers, as (L, B, H), and h is wanted once more as (B, H).
    """

    def __init__(
        self, cell: Cell, inputs: int, hidden: int, fields: Sequence[Sequence[str]], *, layered: bool
    ) -> None:
        self._given = cell, inputs, hidden, [list(one) for one in fields], layered
        self._runs: dict[torch.dtype, Callable[..., Any]] = {}

    def step(self, parameters: Mapping[str, Tensor | None], x: Tensor, state: object) -> Any:
        """Take the step, or return None where it has to go the long way.

        Args:
            parameters: the module's own dict of them.
            x: (B, I).
            state: as the layer returned it.

        Returns:
            (out, state) with `layered`, else the state.
        """
        if (
            _grad()
            or modes()
            or interpreters() is not None
            or forward_ad._current_level >= 0
            or tracing() is not None
            or FORCED.get() not in _OURS
            or _autocast()
            or type(x) is not Tensor
        ):
            return None
        run = self._runs.get(x.dtype) or self._made(x.dtype)
        return run and run(x, state, parameters)

    def _made(self, dtype: torch.dtype) -> Callable[..., Any] | None:
        cell, inputs, hidden, fields, layered = self._given
        entry = native_cells.entry(cell, native_cells.WIDEST)
        if EXCHANGE is None or dtype not in _TYPES or not entry:
            return None
        sizes = [inputs] + [hidden] * (len(fields) - 1)
        places = [len(FIELDS) * layer + FIELDS.index(f) for layer, row in enumerate(fields) for f in row]
        isa, f64 = native_cells.WIDEST, dtype is torch.float64
        made = _core.Stream(EXCHANGE, Tensor, Parameter, isa, f64, entry, hidden, sizes, places, layered)
        return self._runs.setdefault(dtype, made.run)

    def __reduce__(self) -> Any:
        return _again, self._given


def _again(cell: Cell, inputs: int, hidden: int, fields: list[list[str]], layered: bool) -> Stream:
    return Stream(cell, inputs, hidden, fields, layered=layered)
