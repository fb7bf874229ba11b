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
from longspan.nn.linear import Linear
from longspan.tasks.network import StreamingNetwork

from .reading import Reading

READINGS_AT_ONCE = 1 << 14  # of a series whose recurrent outputs are in memory at once
WINDOWS_AT_ONCE = 256  # windows that an autoencoder reads in one batch
RECORD_DROPOUT = 0.1  # share of a record's inputs that an autoencoder is trained without


class Outputs(NamedTuple):
    """Predictions: numbers (B, T, N), and for each category the logits (B, T, V) of its values."""

    numbers: Tensor
    logits: list[Tensor]


class EncodedReading(NamedTuple):
    """A reading as it was read, and the inputs (I,) that a network reads of it."""

    reading: Reading
    inputs: Sequence[float]


class Predictor(StreamingNetwork):
    """A network that predicts every reading of a series. Abstract.

    Its `step` takes an `EncodedReading` and returns the prediction (O,) of that reading, None for no one.
    """

    @abc.abstractmethod
    def predict_series(self, batch: Batch) -> tuple[Tensor, Any]:
        """The prediction of each reading of one series, and the state after the series.

        Args:
            batch: what the detector's `batches` give for a whole series.

        Returns:
            (T, O) float64, NaN where there is no prediction; and the state from which `step` goes on.
        """

    def predict(self, batch: Batch) -> Tensor:
        """The prediction of each reading of one series, (T, O) float64, NaN where there is none."""
        return self.predict_series(batch)[0]

    def initial_state(self) -> Any:
        return None

    def state_to_tree(self, state: Any) -> Any:
        """The state of a series as plain values and tensors."""
        return state

    def state_from_tree(self, tree: Any) -> Any:
        """The state that `state_to_tree` gave."""
        return tree


class ColumnPredictor(Predictor):
    """A predictor trained on windows of encoded readings, of whose outputs each column has its own. Abstract.

    Args:
        sizes: "inputs" I, "numbers" watched N and "categories", the number of values V of each watched one;
            the network gives O values a reading: the numbers, then the logits of each category's values.
        squared: whether errors of numbers are squared or absolute.
    """

    def __init__(self, sizes: Mapping[str, Any], squared: bool) -> None:
        super().__init__()
        self.sections, self.squared = [sizes["numbers"], *sizes["categories"]], squared

    def split_outputs(self, out: Tensor) -> Outputs:
        """Outputs (B, T, O) by column."""
        numbers, *logits = out.split(self.sections, dim=-1)
        return Outputs(numbers, logits)

    def loss(self, output: Outputs, batch: Batch) -> Tensor:
        assert batch.weight is not None
        return mixed_loss(output, batch.y, batch.weight, squared=self.squared)

    def loss_count(self, output: Outputs, batch: Batch) -> Tensor:
        assert batch.weight is not None
        return batch.weight.sum()


class RecurrentPredictor(ColumnPredictor):
    """A predictor with a recurrent encoder. Abstract.

    Args:
        sizes, squared: see `ColumnPredictor`.
        hidden_size: units of the encoder; options: further ones of `longspan.networks.encoder.Encoder`.
        pool: how the encoder sums up its steps.
    """

    def __init__(
        self, sizes: Mapping[str, Any], hidden_size: int, options: Mapping[str, Any], pool: str, squared: bool
    ) -> None:
        super().__init__(sizes, squared)
        # an encoder remembers at the start, where its cell has a gate to forget with
        bias = 1.0 if "f" in cells.CELLS[options["cell"].lower()].gates else None
        self.encoder = Encoder(sizes["inputs"], hidden_size, pool=pool, forget_bias=bias, **options)


class NextStepPredictor(RecurrentPredictor):
    """Predicts every next reading from all before it: outputs (B, T, O) of the reading after each.

    A `Forecaster`'s network reads a whole window for every forecast. The state of this network goes on from
    reading to reading, so that a stream costs one step each.

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
        self.head = Linear(self.encoder.output_size, sum(self.sections))
        self._step_parts: Any = None  # what every step needs, looked up once

    def forward(self, batch: Batch, state: Any = None) -> tuple[Outputs, Any]:
        out, state = self.encoder(batch.x, state)
        return self.split_outputs(self._outputs(batch.x, self.head(out))), state

    def predict_series(self, batch: Batch) -> tuple[Tensor, Any]:
        parts, state = [], None
        for x in batch.x.split(READINGS_AT_ONCE, 1):
            out, state = self.encoder(x, state)
            parts.append(self._outputs(x, self.head(out))[0])
        out = torch.cat(parts)
        first = torch.full_like(out[:1], torch.nan)
        return torch.cat([first, out[:-1]]).double(), (out[-1].tolist(), state)

    def _outputs(self, x: Tensor, out: Tensor) -> Tensor:
        """The predictions (B, T, O) from the inputs (B, T, I) and the head's outputs (B, T, O)."""
        return out

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


class LastValuePredictor(NextStepPredictor):
    """Predicts the change from the last value of every number: outputs are the last values plus changes.

    A factor in [0, 1] scales the changes of each number. `fit_trust` finds the one with the least squared
    error on held-out readings, 0 where the last value alone is better.

    Args:
        sizes, hidden_size, options, squared: see `RecurrentPredictor`.
        values: positions of the watched numbers among the inputs, (N,).
    """

    def __init__(
        self,
        sizes: Mapping[str, Any],
        hidden_size: int,
        options: Mapping[str, Any],
        values: Sequence[int],
        *,
        squared: bool = False,
    ) -> None:
        super().__init__(sizes, hidden_size, options, squared=squared)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.values = list(values)
        self._factors: list[float] | None = None  # of every step, looked up once
        self.trust: Tensor
        self.register_buffer("trust", torch.ones(len(self.values)))

    def _outputs(self, x: Tensor, out: Tensor) -> Tensor:
        """The last values plus the changes (B, T, O) that the head gave."""
        count = len(self.values)
        numbers = x[..., self.values] + self.trust * out[..., :count]
        return torch.cat([numbers, out[..., count:]], -1)

    @torch.no_grad()
    def fit_trust(self, batches: Sequence[Batch]) -> None:
        """Find the factor of each number's change by held-out batches of one series each."""
        change_of_squares = torch.zeros(2, len(self.values), dtype=torch.float64)
        for batch in batches:
            assert batch.weight is not None
            count = len(self.values)
            change = self.head(self.encoder(batch.x)[0])[..., :count].double()
            error = (batch.y[..., :count] - batch.x[..., self.values]).double()
            weight = batch.weight[..., :count].double()
            products = torch.stack([(weight * error * change), (weight * change**2)]).flatten(1, -2).sum(1)
            change_of_squares += products.cpu()
        best = change_of_squares[0] / change_of_squares[1].clamp_min(1e-12)
        self.trust.copy_(best.clamp(0.0, 1.0).float())
        self._factors = None

    def step(self, inputs: EncodedReading, state: Any) -> tuple[list[float] | None, Any]:
        expected, (outputs, inner) = super().step(inputs, state)
        if self._factors is None:
            self._factors = self.trust.tolist()
        for number, (position, factor) in enumerate(zip(self.values, self._factors, strict=True)):
            outputs[number] = inputs.inputs[position] + factor * outputs[number]
        return expected, (outputs, inner)


class RecordAutoencoder(ColumnPredictor):
    """Reconstructs single records from a code of a few numbers, outputs (B, T, O) for each by itself.

    Args:
        sizes, squared: see `ColumnPredictor`; hidden_size: units of the layers before and after the code,
            which has a quarter of them.
    """

    def __init__(self, sizes: Mapping[str, Any], hidden_size: int, *, squared: bool = False) -> None:
        super().__init__(sizes, squared)
        code = max(2, hidden_size // 4)
        self.layers = nn.Sequential(
            nn.Dropout(RECORD_DROPOUT),
            Linear(sizes["inputs"], hidden_size),
            nn.ReLU(),
            Linear(hidden_size, code),
            nn.Tanh(),
            Linear(code, hidden_size),
            nn.ReLU(),
            Linear(hidden_size, sum(self.sections)),
        )

    def forward(self, batch: Batch, state: Any = None) -> tuple[Outputs, Any]:
        return self.split_outputs(self.layers(batch.x)), None

    def predict_series(self, batch: Batch) -> tuple[Tensor, Any]:
        return self.layers(batch.x[0]).double(), None

    def step(self, inputs: EncodedReading, state: Any) -> tuple[list[float] | None, Any]:
        weight = next(self.layers.parameters())
        row = torch.tensor([list(inputs.inputs)], dtype=torch.float32, device=weight.device)
        return self.layers(row)[0].tolist(), None


class Autoencoder(RecurrentPredictor):
    """Encodes a window as one vector and reconstructs the window from this vector, outputs (B, T, O).

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
        self.head = Linear(hidden_size, sum(self.sections))

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
    """Mean error of the numbers plus cross entropy of the categories, over the targets that are there.

    Args:
        output: of a network.
        targets: (B, T, W), the numbers, then the indices of the categories' values; weight: (B, T, W), 0
            where a target does not count.
        squared: whether the numbers' errors are squared or absolute.
    """
    numbers, logits = output
    count = numbers.shape[2]
    error = numbers - targets[..., :count]
    total = ((error.square() if squared else error.abs()) * weight[..., :count]).sum()
    for column, scores in enumerate(logits, start=count):
        entropy = functional.cross_entropy(
            scores.flatten(0, 1), targets[..., column].flatten().long(), reduction="none"
        )
        total = total + (entropy * weight[..., column].flatten()).sum()
    return total / weight.sum().clamp_min(1.0)
