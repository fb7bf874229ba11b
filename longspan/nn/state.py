"""Converts the states of a stack between the callers' shapes and the kernels', and checks them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from longspan.cells import Cell

from . import inputs

# Of a whole stack: (L*D, B, H) for a cell with one state, else a tuple of these in the cell's order.
State = Tensor | tuple[Any, ...] | list[Any]

# Per layer, per state: (D, B, W).
LayerStates = Sequence[tuple[Tensor, ...]]


class StateLayout:
    """The states of L layers in D directions: as the kernels take them (per layer) and as callers hold them.

    Attributes:
        widths: per layer, per state: W, which is R for h and H for the others.
    """

    def __init__(
        self, cell: Cell, sizes: Sequence[int], proj: int, directions: int, *, by_layer: bool
    ) -> None:
        """`by_layer`: callers hold each state as a tuple with a tensor a layer, since these may differ."""
        self._letters, self._directions, self._by_layer = cell.states, directions, by_layer
        self.widths = [(proj or size, *(size for _ in cell.states[1:])) for size in sizes]
        constants = [cell.initial.get(letter, 0.0) for letter in cell.states]
        starts = [list(zip(row, constants, strict=True)) for row in self.widths]
        self._distinct = list(dict.fromkeys(start for row in starts for start in row))
        self._index = [[self._distinct.index(start) for start in row] for row in starts]

    def starting(
        self, state: State | None, x: Tensor, half: torch.dtype | None, batched: bool
    ) -> LayerStates:
        """The caller's states, checked, for `x` (T, B, I); None: the cell's constants."""
        return self._initial(x) if state is None else self._checked(state, x, half, batched)

    def _initial(self, x: Tensor) -> LayerStates:
        """The cell's constants; states that are equal are one tensor."""
        rows = x.shape[1]
        tensors = [x.new_full((self._directions, rows, width), value) for width, value in self._distinct]
        return [tuple([tensors[index] for index in layer]) for layer in self._index]

    def _checked(self, state: State, x: Tensor, half: torch.dtype | None, batched: bool) -> LayerStates:
        values = inputs.check_states(self._letters, state)
        if self._by_layer:
            return self._checked_by_layer(values, x, half, batched)
        rows, count = x.shape[1], len(self.widths) * self._directions
        words = "(layers * directions, B, H)" if batched else "(layers * directions, H)"
        columns = []
        for letter, value, width in zip(self._letters, values, self.widths[0], strict=True):
            shape = (count, rows, width) if batched else (count, width)
            tensor = inputs.check_state(letter, value, shape, words, x, half)
            columns.append(tensor if batched else tensor.unsqueeze(1))
        if len(self.widths) == 1:
            return [tuple(columns)]
        return list(zip(*[column.split(self._directions) for column in columns], strict=True))

    def _checked_by_layer(
        self, values: Sequence[object], x: Tensor, half: torch.dtype | None, batched: bool
    ) -> LayerStates:
        words = "(directions, B, H) of its layer" if batched else "(directions, H) of its layer"
        columns = []
        for position, (letter, value) in enumerate(zip(self._letters, values, strict=True)):
            column = []
            tensors = inputs.check_layer_states(letter, value, len(self.widths))
            for widths, tensor in zip(self.widths, tensors, strict=True):
                shape = (self._directions, x.shape[1], widths[position])
                wanted = shape if batched else (shape[0], shape[2])
                column.append(inputs.check_state(letter, tensor, wanted, words, x, half).reshape(shape))
            columns.append(column)
        return list(zip(*columns, strict=True))

    def for_caller(self, layers: LayerStates, batched: bool) -> State:
        """The final states as callers hold them."""
        if not batched:
            layers = [tuple(tensor.squeeze(1) for tensor in layer) for layer in layers]
        if self._by_layer:
            columns = tuple(zip(*layers, strict=True))
        elif len(layers) == 1:
            columns = layers[0]
        else:
            columns = tuple([torch.cat(column) for column in zip(*layers, strict=True)])
        return columns[0] if len(columns) == 1 else columns
