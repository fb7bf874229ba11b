"""The GRU of Cho et al. 2014, whose reset gate acts before the product with R."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from longspan import errors
from longspan.activations import STEPS
from longspan.nn import dropout


class GRUResetBefore(nn.Module):
    """z, k = gate(W x + R h + b); n = act(W_n x + R_n (k h) + b_n); h' = z h + (1 - z) n.

    Source: Cho et al. 2014, arXiv 1406.1078, section 2.3, equations 5 to 8. A cell's step sees R h only, so
    this one cannot be written as a cell: it runs as plain PyTorch operations, a few a step. Called like
    longspan.nn.GRU with batch_first; gate order r, z, n.

    Args:
        inputs: I.
        units: H.
        bias: whether the gates have a bias.
        activation, recurrent_activation: names in activations.STEPS.
        recurrent_dropout: rate of dropout on h_{t-1} in training, one mask a sequence.
    """

    def __init__(
        self,
        inputs: int,
        units: int,
        bias: bool,
        activation: str,
        recurrent_activation: str,
        recurrent_dropout: float,
    ) -> None:
        super().__init__()
        self.weight_ih_l0 = Parameter(torch.empty(3 * units, inputs))
        self.weight_hh_l0 = Parameter(torch.empty(3 * units, units))
        self.bias_ih_l0 = Parameter(torch.empty(3 * units)) if bias else None
        self.units, self.recurrent_dropout = units, recurrent_dropout
        self._act, self._gate = STEPS[activation], STEPS[recurrent_activation]

    def forward(
        self, x: Tensor, state: Tensor | None = None, *, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As longspan.nn.GRU: x (B, T, I), state (1, B, H), mask (B, T) -> out (B, T, H), state (1, B, H)."""
        if x.dim() != 3 or x.shape[2] != self.weight_ih_l0.shape[1]:
            expected = f"a tensor of shape (B, T, {self.weight_ih_l0.shape[1]})"
            raise errors.value_error("input", expected, tuple(x.shape), "give every step this many values")
        h = x.new_zeros(x.shape[0], self.units) if state is None else state[0]
        drop = self._drop(x)
        wide = nn.functional.linear(x, self.weight_ih_l0, self.bias_ih_l0).transpose(0, 1)
        gates, last = self.weight_hh_l0.split([2 * self.units, self.units])
        outs: list[Tensor] = []
        for t, step in enumerate(wide.unbind(0)):
            new = self._step(step, h, h if drop is None else h * drop, gates.T, last.T)
            h = new if mask is None else torch.where(mask[:, t, None], new, h)
            outs.append(h)
        return torch.stack(outs, 1), h.unsqueeze(0)

    def _step(self, x: Tensor, h: Tensor, read: Tensor, gates: Tensor, last: Tensor) -> Tensor:
        x_k, x_z, x_n = x.chunk(3, 1)
        r_k, r_z = (read @ gates).chunk(2, 1)
        k, z = self._gate(x_k + r_k), self._gate(x_z + r_z)
        n = self._act(x_n + (k * read) @ last)
        return n + z * (h - n)

    def _drop(self, x: Tensor) -> Tensor | None:
        if not (self.training and self.recurrent_dropout):
            return None
        return dropout.dropout_mask((x.shape[0], self.units), self.recurrent_dropout, x)

    def explain(self, x: Tensor) -> str:
        """What `longspan.explain` says of other layers."""
        shape = f"T={x.shape[1]}, B={x.shape[0]}"
        return (
            f"gru with reset_after=False, {shape}: plain PyTorch operations run it: its candidate reads "
            "R (k h), a second product in every step that no kernel has; reset_after=True has one."
        )
