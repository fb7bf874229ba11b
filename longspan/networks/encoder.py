"""The encoder that tasks share: a recurrent network over a sequence, pooled or step by step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from longspan import cells, errors
from longspan.nn import GRU, LSTM, RNN, Recurrent
from longspan.nn.dropout import Dropout

from .pooling import max_over_time, mean_over_time, real_steps

POOLINGS = ("last", "mean", "max", "steps")
CELLS = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}
CELL_NAMES = (*CELLS, *(name for name in cells.CELLS if name.upper() not in CELLS))


def recurrent(cell: str, input_size: int, hidden_size: int, **options: Any) -> Any:
    """A recurrent layer, rows first, by its cell's name: "LSTM", "GRU", "RNN", or one of longspan.cells.

    Args:
        cell: one of CELL_NAMES, in any case, or a cell registered under `@longspan.cell`.
        input_size, hidden_size: I and H.
        options: the other arguments of `longspan.nn.LSTM`.

    Raises:
        ValueError: there is no such cell; the sentence has the nearest name.
    """
    names = {name.lower(): name for name in (*CELL_NAMES, *cells.CELLS)}
    name = names[errors.check_choice("cell", cell.lower() if isinstance(cell, str) else cell, names)]
    if name in CELLS:
        return CELLS[name](input_size, hidden_size, batch_first=True, **options)
    return Recurrent(name, input_size, hidden_size, batch_first=True, **options)


class Encoder(nn.Module):
    """Reads (B, T, I) and answers one vector a row, or one a step.

    Args:
        input_size: I, values a step.
        hidden_size: H, units in each direction.
        cell: see `recurrent`.
        num_layers: L, layers stacked.
        bidirectional: D = 2 directions instead of 1.
        pool: "last" (the state after every row's last step), "mean" or "max" over the steps that count, or
            "steps" for one vector a step.
        dropout: rate between the layers and on what comes out, in training.
        recurrent_dropout, zoneout, weight_dropout, layer_norm, forget_bias: as for `longspan.nn.LSTM`.

    Attributes:
        output_size: D*H, the width of what comes out.

    Steps beyond a row's length, or where the mask is False, change nothing: a row padded in a batch gives
    what it gives alone. A row of length 0 gives zeros.

    >>> encoder = Encoder(3, 4, bidirectional=True)
    >>> out, state = encoder(torch.randn(2, 5, 3), lengths=torch.tensor([5, 2]))
    >>> out.shape
    torch.Size([2, 8])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        cell: str = "LSTM",
        num_layers: int = 1,
        bidirectional: bool = False,
        pool: str = "last",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        weight_dropout: float = 0.0,
        layer_norm: bool = False,
        forget_bias: float | None = None,
    ) -> None:
        super().__init__()
        self.pool = errors.check_choice("pool", pool, POOLINGS)
        self.core = recurrent(
            cell,
            input_size,
            hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            dropout=dropout if num_layers > 1 else 0.0,
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
            weight_dropout=weight_dropout,
            layer_norm=layer_norm,
            forget_bias=forget_bias,
        )
        self.drop = Dropout(dropout)
        self.output_size = hidden_size * (2 if bidirectional else 1)

    def forward(
        self,
        x: Tensor,
        state: Any = None,
        *,
        lengths: Tensor | None = None,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """Read a batch.

        Args:
            x: (B, T, I).
            state: as a call returned it, None for the start.
            lengths: (B,) int64; mask, reset: (B, T) bool; as for `longspan.nn.LSTM`.

        Returns:
            (B, D*H), or (B, T, D*H) with pool "steps"; and the state after the last step.
        """
        out, state = self.core(x, state, lengths=lengths, mask=mask, reset=reset)
        return self.drop(self._pooled(out, state, lengths, mask)), state

    def gates(
        self, x: Tensor, *, lengths: Tensor | None = None, mask: Tensor | None = None
    ) -> list[dict[str, Tensor]]:
        """What every gate and state did: per layer and direction, letter -> (B, T, H)."""
        with torch.no_grad():
            return self.core(x, lengths=lengths, mask=mask, return_gates=True)[2]

    def _pooled(self, out: Tensor, state: Any, lengths: Tensor | None, mask: Tensor | None) -> Tensor:
        if self.pool == "steps":
            return out
        if self.pool == "last":
            h = state[0] if isinstance(state, tuple) else state
            directions = 2 if self.core.bidirectional else 1
            return h[-directions:].transpose(0, 1).flatten(1)
        if self.pool == "max":
            return max_over_time(out, lengths, mask)
        return mean_over_time(out, real_steps(out, lengths, mask))
