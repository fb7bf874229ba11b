"""Knows the networks that expect readings: the next one from all before it, or a window written down."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from longspan import cells
from longspan.data.batches import Batch
from longspan.networks.encoder import Encoder, recurrent

WRITTEN = 256  # windows that are written down at once

Apart = tuple[Tensor, list[Tensor]]  # numbers (B, T, N), and of each category its values' logits (B, T, V)


class Expecting(nn.Module, abc.ABC):
    """A network that says what is expected of the numbers and categories of readings. Abstract.

    Args:
        sizes: "inputs" I, "numbers" watched N and "categories", the number of values V of each watched one;
            it gives O values a reading: the numbers, then the logits of each category's values.
    """

    def __init__(self, sizes: Mapping[str, Any]) -> None:
        super().__init__()
        self.parts = [sizes["numbers"], *sizes["categories"]]

    def apart(self, out: Tensor) -> Apart:
        """Outputs (B, T, O) by column."""
        numbers, *texts = out.split(self.parts, dim=-1)
        return numbers, texts

    @abc.abstractmethod
    def follow(self, x: Tensor) -> tuple[Tensor, Any]:
        """What was expected of each reading (T, O) of a series (T, I), NaN for nothing; and the state."""

    @abc.abstractmethod
    def step(self, row: Sequence[float], state: Any) -> tuple[Any, Any]:
        """Take a reading (I,): what had been expected of it, None for nothing; and the state after it."""


def _encoder(sizes: Mapping[str, Any], hidden_size: int, options: Mapping[str, Any], *, pool: str) -> Encoder:
    """An encoder that remembers at the start, where its cell has a gate to forget with."""
    bias = 1.0 if "f" in cells.CELLS[options["cell"].lower()].gates else None
    return Encoder(sizes["inputs"], hidden_size, pool=pool, forget_bias=bias, **options)


class Foreteller(Expecting):
    """Foretells every next reading from all before it: outputs (B, T, O) of the reading after each.

    A `Forecaster`'s network reads a window anew for every forecast; this one's state goes on from reading to
    reading, so that a stream costs one step each.

    Args:
        sizes: see `Expecting`; options: of `longspan.networks.encoder.Encoder`.
    """

    def __init__(self, sizes: Mapping[str, Any], hidden_size: int, options: Mapping[str, Any]) -> None:
        super().__init__(sizes)
        self.encoder = _encoder(sizes, hidden_size, options, pool="steps")
        self.head = nn.Linear(self.encoder.output_size, sum(self.parts))
        self._held: Any = None  # what every step needs, looked up once

    def forward(self, batch: Batch, state: Any = None) -> tuple[Apart, Any]:
        out, state = self.encoder(batch.x, state)
        return self.apart(self.head(out)), state

    def follow(self, x: Tensor) -> tuple[Tensor, Any]:
        out, state = self.encoder(x[None])
        out = self.head(out)
        first = torch.full_like(out[0, :1], torch.nan)
        return torch.cat([first, out[0, :-1]]), (out[0, -1].tolist(), state)

    def step(self, row: Sequence[float], state: Any) -> tuple[Any, Any]:
        if self._held is None:
            numbers = np.empty((1, len(row)), dtype=np.float32)
            self._held = (numbers, torch.from_numpy(numbers), self.encoder.core, *self.head.parameters())
        numbers, x, core, weight, bias = self._held
        numbers[0] = row
        expected, inner = (None, None) if state is None else state
        out, inner = core.step(x if weight.is_cpu else x.to(weight.device), inner)
        return expected, (functional.linear(out, weight, bias)[0].tolist(), inner)


class Mirror(Expecting):
    """Reads a window into one vector and writes the window down from it, outputs (B, T, O) of each reading.

    Args:
        sizes: see `Expecting`, and "context", the readings of a window; a reading is judged by the window
            that ends with it.
        options: of `longspan.networks.encoder.Encoder`.
    """

    def __init__(self, sizes: Mapping[str, Any], hidden_size: int, options: Mapping[str, Any]) -> None:
        super().__init__(sizes)
        self.context = sizes["context"]
        self.encoder = _encoder(sizes, hidden_size, options, pool="last")
        self.writer = recurrent(options["cell"], hidden_size, hidden_size)
        self.head = nn.Linear(hidden_size, sum(self.parts))

    def forward(self, batch: Batch, state: Any = None) -> tuple[Apart, Any]:
        return self.apart(self._written(batch.x)), None

    def _written(self, x: Tensor) -> Tensor:
        read, _ = self.encoder(x)
        out, _ = self.writer(read[:, None].expand(-1, x.shape[1], -1).contiguous())
        return self.head(out)

    def follow(self, x: Tensor) -> tuple[Tensor, Any]:
        size = self.context
        if len(x) < size:
            outputs = self.head.out_features
            return x.new_full((len(x), outputs), torch.nan), x.tolist()
        windows = x.unfold(0, size, 1).transpose(1, 2)
        found = [self._written(part)[:, -1] for part in windows.split(WRITTEN)]
        first = x.new_full((size - 1, self.head.out_features), torch.nan)
        return torch.cat([first, *found]), x[len(x) - size + 1 :].tolist()

    def step(self, row: Sequence[float], state: Any) -> tuple[Any, Any]:
        rows = [*(state or []), list(row)]
        if len(rows) < self.context:
            return None, rows
        out = self._written(torch.tensor([rows], device=self.head.weight.device))[0, -1].tolist()
        return out, rows[1:]


def mean_error(output: Apart, targets: Tensor, weight: Tensor, *, squared: bool) -> Tensor:
    """Mean error of the numbers plus cross entropy of the categories, over what is there.

    Args:
        output: as a network gave it.
        targets: (B, T, W), the numbers and then the places of the categories' values; weight: (B, T, W), 0
            for what does not count.
        squared: whether the numbers' errors are squared or absolute.
    """
    numbers, texts = output
    count = numbers.shape[2]
    off = numbers - targets[..., :count]
    total = ((off.square() if squared else off.abs()) * weight[..., :count]).sum()
    for place, logits in enumerate(texts, start=count):
        found = functional.cross_entropy(
            logits.flatten(0, 1), targets[..., place].flatten().long(), reduction="none"
        )
        total = total + (found * weight[..., place].flatten()).sum()
    return total / weight.sum().clamp_min(1.0)
