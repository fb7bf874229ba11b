"""The networks that predict readings: the next one from all before it, or a window from its own code."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from longspan import cells
from longspan.data.batches import Batch
from longspan.networks.encoder import Encoder, recurrent
from longspan.tasks.network import StreamingNetwork

from .reading import Reading

WINDOWS_AT_ONCE = 256  # windows that an autoencoder reads in one batch


class Outputs(NamedTuple):
    """What is expected: numbers (B, T, N), and for each category the logits (B, T, V) of its values."""

    numbers: Tensor
    logits: list[Tensor]


class EncodedReading(NamedTuple):
    """A reading on its way: as it was read, and the inputs (I,) that a network reads of it."""

    reading: Reading
    inputs: Sequence[float]


class Predictor(StreamingNetwork):
    """A network that says what it expects of every reading of a series. Abstract.

    Its `step` takes an `EncodedReading` and returns what had been expected of it (O,), None for nothing.
    """

    @abc.abstractmethod
    def predict_series(self, batch: Batch) -> tuple[Tensor, Any]:
        """What was expected of each reading of one series, and the state after it.

        Args:
            batch: what the detector's `batches` give for a whole series.

        Returns:
            (T, O) float64, NaN where nothing was expected; and the state from which `step` goes on.
        """

    def predict(self, batch: Batch) -> Tensor:
        """What was expected of each reading of one series, (T, O) float64, NaN where nothing was."""
        return self.predict_series(batch)[0]

    def initial_state(self) -> Any:
        return None

    def state_to_tree(self, state: Any) -> Any:
        """The state of a series as plain values and tensors."""
        return state

    def state_from_tree(self, tree: Any) -> Any:
        """The state that `state_to_tree` gave."""
        return tree


class RecurrentPredictor(Predictor):
    """A predictor with a recurrent encoder, trained on windows of encoded readings. Abstract.

    Args:
        sizes: "inputs" I, "numbers" watched N and "categories", the number of values V of each watched one;
            the network gives O values a reading: the numbers, then the logits of each category's values.
        hidden_size: units of the encoder; options: further ones of `longspan.networks.encoder.Encoder`.
        pool: how the encoder sums up its steps; squared: whether errors of numbers are squared or absolute.
    """

    def __init__(
        self, sizes: Mapping[str, Any], hidden_size: int, options: Mapping[str, Any], pool: str, squared: bool
    ) -> None:
        super().__init__()
        self.sections, self.squared = [sizes["numbers"], *sizes["categories"]], squared
        # an encoder remembers at the start, where its cell has a gate to forget with
        bias = 1.0 if "f" in cells.CELLS[options["cell"].lower()].gates else None
        self.encoder = Encoder(sizes["inputs"], hidden_size, pool=pool, forget_bias=bias, **options)

    def split_outputs(self, out: Tensor) -> Outputs:
        """Outputs (B, T, O) by column."""
        numbers, *logits = out.split(self.sections, dim=-1)
        return Outputs(numbers, logits)

    def loss(self, output: Outputs, batch: Batch) -> Tensor:
        assert batch.weight is not None
        return mixed_loss(output, batch.y, batch.weight, squared=self.squared)


class NextStepPredictor(RecurrentPredictor):
    """Predicts every next reading from all before it: outputs (B, T, O) of the reading after each.

    A `Forecaster`'s network reads a window anew for every forecast; this one's state goes on from reading to
    reading, so that a stream costs one step each.

    Args:
        sizes, hidden_size, options, squared: see `RecurrentPredictor`.
    """

    def __init__(
        self,
        sizes: Mapping[str, Any],
        hidden_size: int,
        options: Mapping[str, Any],
        *,
        squared: bool = False,
    ) -> None:
        super().__init__(sizes, hidden_size, options, "steps", squared)
        self.head = nn.Linear(self.encoder.output_size, sum(self.sections))
        self._step_parts: Any = None  # what every step needs, looked up once

    def forward(self, batch: Batch, state: Any = None) -> tuple[Outputs, Any]:
        out, state = self.encoder(batch.x, state)
        return self.split_outputs(self.head(out)), state

    def predict_series(self, batch: Batch) -> tuple[Tensor, Any]:
        out, state = self.encoder(batch.x)
        out = self.head(out)
        first = torch.full_like(out[0, :1], torch.nan)
        return torch.cat([first, out[0, :-1]]).double(), (out[0, -1].tolist(), state)

    def step(self, inputs: EncodedReading, state: Any) -> tuple[list[float] | None, Any]:
        if self._step_parts is None:
            numbers = np.empty((1, len(inputs.inputs)), dtype=np.float32)
            parts = (self.encoder.core, *self.head.parameters())
            self._step_parts = (numbers, torch.from_numpy(numbers), *parts)
        numbers, x, core, weight, bias = self._step_parts
        numbers[0] = inputs.inputs
        expected, inner = (None, None) if state is None else state
        out, inner = core.step(x if weight.is_cpu else x.to(weight.device), inner)
        return expected, (functional.linear(out, weight, bias)[0].tolist(), inner)


class Autoencoder(RecurrentPredictor):
    """Reads a window into one vector and writes the window from it again, outputs (B, T, O) of each reading.

    Args:
        sizes: see `RecurrentPredictor`, and "context", the readings of a window; a reading is judged by the
            window that ends with it.
        hidden_size, options, squared: see `RecurrentPredictor`.
    """

    def __init__(
        self,
        sizes: Mapping[str, Any],
        hidden_size: int,
        options: Mapping[str, Any],
        *,
        squared: bool = False,
    ) -> None:
        super().__init__(sizes, hidden_size, options, "last", squared)
        self.context = sizes["context"]
        self.decoder = recurrent(options["cell"], hidden_size, hidden_size)
        self.head = nn.Linear(hidden_size, sum(self.sections))

    def forward(self, batch: Batch, state: Any = None) -> tuple[Outputs, Any]:
        return self.split_outputs(self._reconstructed(batch.x)), None

    def _reconstructed(self, x: Tensor) -> Tensor:
        code, _ = self.encoder(x)
        out, _ = self.decoder(code[:, None].expand(-1, x.shape[1], -1).contiguous())
        return self.head(out)

    def predict_series(self, batch: Batch) -> tuple[Tensor, Any]:
        x, size = batch.x[0], self.context
        first = x.new_full((min(len(x), size - 1), self.head.out_features), torch.nan)
        if len(x) < size:
            return first.double(), x.tolist()
        windows = x.unfold(0, size, 1).transpose(1, 2)
        last = [self._reconstructed(part)[:, -1] for part in windows.split(WINDOWS_AT_ONCE)]
        return torch.cat([first, *last]).double(), x[len(x) - size + 1 :].tolist()

    def step(self, inputs: EncodedReading, state: Any) -> tuple[list[float] | None, Any]:
        rows = [*(state or []), list(inputs.inputs)]
        if len(rows) < self.context:
            return None, rows
        window = torch.tensor([rows], device=self.head.weight.device)
        return self._reconstructed(window)[0, -1].tolist(), rows[1:]


def mixed_loss(output: Outputs, targets: Tensor, weight: Tensor, *, squared: bool) -> Tensor:
    """Mean error of the numbers plus cross entropy of the categories, over what is there.

    Args:
        output: as a network gave it.
        targets: (B, T, W), the numbers and then the places of the categories' values; weight: (B, T, W), 0
            for what does not count.
        squared: whether the numbers' errors are squared or absolute.
    """
    numbers, logits = output
    count = numbers.shape[2]
    off = numbers - targets[..., :count]
    total = ((off.square() if squared else off.abs()) * weight[..., :count]).sum()
    for place, scores in enumerate(logits, start=count):
        surprise = functional.cross_entropy(
            scores.flatten(0, 1), targets[..., place].flatten().long(), reduction="none"
        )
        total = total + (surprise * weight[..., place].flatten()).sum()
    return total / weight.sum().clamp_min(1.0)
