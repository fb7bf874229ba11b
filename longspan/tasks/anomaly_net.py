"""Knows the networks of a detector: one foretells the next reading, one writes down what it has read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from longspan.data.batches import Batch
from longspan.nets import Encoder, recurrent

CHUNK = 256  # windows that are written down at once

Apart = tuple[Tensor, list[Tensor]]  # numbers (B, T, N), and of each category its values' logits (B, T, V)


def apart(out: Tensor, parts: Sequence[int]) -> Apart:
    """Outputs (B, T, O) by column."""
    numbers, *texts = out.split(list(parts), dim=-1)
    return numbers, texts


class Foreteller(nn.Module):
    """Foretells every next reading from all before it: outputs (B, T, O) of the reading after each.

    A `Forecaster`'s network reads a window anew for every forecast; this one's state goes on from reading to
    reading, so that a stream costs one step each.

    Args:
        sizes: "inputs" I, "numbers" watched and "categories", the number of values of each watched one.
        options: of `longspan.nets.Encoder`.
    """

    def __init__(self, sizes: Mapping[str, Any], hidden_size: int, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.encoder = Encoder(sizes["inputs"], hidden_size, pool="steps", forget_bias=1.0, **options)
        self.parts = [sizes["numbers"], *sizes["categories"]]
        self.head = nn.Linear(self.encoder.output_size, sum(self.parts))
        self._held: Any = None  # what every step needs, looked up once

    def forward(self, batch: Batch, state: Any = None) -> tuple[Apart, Any]:
        out, state = self.encoder(batch.x, state)
        return apart(self.head(out), self.parts), state

    def follow(self, x: Tensor) -> tuple[Tensor, Any]:
        """What was expected of each reading (T, O), NaN for the first; and the state to go on from."""
        out, state = self.encoder(x[None])
        out = self.head(out)
        first = torch.full_like(out[0, :1], torch.nan)
        return torch.cat([first, out[0, :-1]]), (out[0, -1].tolist(), state)

    def step(self, row: Sequence[float], state: Any) -> tuple[Any, Any]:
        """Take a reading (I,): what had been expected of it, and the state to go on from."""
        if self._held is None:
            numbers = np.empty((1, len(row)), dtype=np.float32)
            self._held = (numbers, torch.from_numpy(numbers), self.encoder.core, *self.head.parameters())
        numbers, x, core, weight, bias = self._held
        numbers[0] = row
        expected, inner = (None, None) if state is None else state
        out, inner = core.step(x if weight.is_cpu else x.to(weight.device), inner)
        return expected, (nn.functional.linear(out, weight, bias)[0].tolist(), inner)


class Mirror(nn.Module):
    """Reads a window into one vector and writes the window down from it, outputs (B, T, O) of each reading.

    Args:
        sizes: as for `Foreteller`, and "context", the readings of a window; a reading is judged by the window
            that ends with it.
        options: as for `Foreteller`.
    """

    def __init__(self, sizes: Mapping[str, Any], hidden_size: int, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.context = sizes["context"]
        self.encoder = Encoder(sizes["inputs"], hidden_size, pool="last", forget_bias=1.0, **options)
        self.writer = recurrent(options["cell"], hidden_size, hidden_size)
        self.parts = [sizes["numbers"], *sizes["categories"]]
        self.head = nn.Linear(hidden_size, sum(self.parts))

    def forward(self, batch: Batch, state: Any = None) -> tuple[Apart, Any]:
        return apart(self._written(batch.x), self.parts), None

    def _written(self, x: Tensor) -> Tensor:
        read, _ = self.encoder(x)
        out, _ = self.writer(read[:, None].expand(-1, x.shape[1], -1).contiguous())
        return self.head(out)

    def follow(self, x: Tensor) -> tuple[Tensor, Any]:
        """What was written down of each reading (T, O), NaN before the first window; and the last window."""
        size = self.context
        if len(x) < size:
            outputs = self.head.out_features
            return x.new_full((len(x), outputs), torch.nan), x.tolist()
        windows = x.unfold(0, size, 1).transpose(1, 2)
        found = [self._written(part)[:, -1] for part in windows.split(CHUNK)]
        first = x.new_full((size - 1, self.head.out_features), torch.nan)
        return torch.cat([first, *found]), x[len(x) - size + 1 :].tolist()

    def step(self, row: Sequence[float], state: Any) -> tuple[Any, Any]:
        """Take a reading (I,): what was written down of it, None before the first window; and the window."""
        rows = [*(state or []), list(row)]
        if len(rows) < self.context:
            return None, rows
        out = self._written(torch.tensor([rows], device=self.head.weight.device))[0, -1].tolist()
        return out, rows[1:]
