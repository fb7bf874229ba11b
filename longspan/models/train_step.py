"""Knows how a Sequential looks to the training loop: a network of batches, losses under its own mask."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from longspan import errors, losses, metrics
from longspan.data.batches import Batch
from longspan.layers.conv_lstm import ConvLSTM2D
from longspan.layers.recurrent import RNNBase
from longspan.training import objective

from .protocol import Model


class _Seen:
    """The mask of the last output, kept where setting it costs nothing (a Module's own attributes do)."""

    __slots__ = ("mask",)

    def __init__(self) -> None:
        self.mask: Tensor | None = None


class TrainingAdapter(nn.Module):
    """A Sequential as the training loop calls it: (batch, state) -> (output, state).

    Args:
        model: the Sequential, built.
        carries: hand states from a batch to the next where the batch says so; else only stateful layers do.

    Attributes:
        seen: the mask of the last output, (B, T) bool or None, which the loss and the metrics heed.
    """

    def __init__(self, model: Model, *, carries: bool = False) -> None:
        super().__init__()
        self.model, self.carries, self.seen = model, carries, _Seen()
        self.training = model.training
        self._wanted = torch.int64 if model.takes_token_ids() else model.dtype
        self._recurrent = [
            part
            for part in model.modules()
            if isinstance(part, (RNNBase, ConvLSTM2D)) and (carries or part.stateful)
        ]

    def forward(self, batch: Batch, state: Any = None) -> tuple[Any, Any]:
        x = batch.x if batch.x.dtype == self._wanted else self.model.cast_inputs(batch.x)
        if not self._recurrent:
            answer, self.seen.mask = self.model.run(x, mask_of(batch))
            return answer, None
        return self._carried(x, batch, state)

    def set_states(self, state: Any) -> None:
        """Give the stateful layers the states they had, as `forward` gave them; None for nothing."""
        for place, layer in enumerate(self._recurrent):
            if layer.stateful and state is not None:
                layer.states = state[place]

    def _carried(self, x: Tensor, batch: Batch, state: Any) -> tuple[Any, Any]:
        usual = [layer.stateful for layer in self._recurrent]
        for place, layer in enumerate(self._recurrent):
            if state is not None:
                layer.states = state[place]
            elif self.carries and not batch.continues and not layer.stateful:
                layer.states = None
            layer.stateful = True
        try:
            answer, self.seen.mask = self.model.run(x, mask_of(batch))
        finally:
            for layer, stateful in zip(self._recurrent, usual, strict=True):
                layer.stateful = stateful
        return answer, [layer.states for layer in self._recurrent]

    def shown(self, batch: Batch) -> Batch:
        """The batch under the mask that its output has, which the layers may have dropped or made."""
        if self.seen.mask is None and batch.mask is None and batch.lengths is None:
            return batch
        return Batch(batch.x, batch.y, None, self.seen.mask, batch.weight)


def mask_of(batch: Batch) -> Tensor | None:
    """(B, T) bool, False at padding and at hidden steps; None where every step counts."""
    if batch.lengths is None:
        return batch.mask
    steps = torch.arange(batch.x.shape[1], device=batch.x.device)
    real = steps < batch.lengths.to(batch.x.device).unsqueeze(1)
    return real if batch.mask is None else real & batch.mask


class CompiledLoss:
    """The loss as the training loop calls it: under the output's own mask, with what regularizers add."""

    def __init__(self, adapter: TrainingAdapter, loss: losses.Loss) -> None:
        self._adapter, self._loss = adapter, objective.MaskedLoss(loss)
        self._regular = adapter.model.regularization_loss() is not None

    def __call__(self, output: Tensor, batch: Batch) -> Tensor:
        if batch.y is None:
            raise errors.value_error("y", "an answer for every row", None, "pass y, or batches (x, y)")
        value = self._loss(output, self._adapter.shown(batch))
        added = self._adapter.model.regularization_loss() if self._regular else None
        return value if added is None else value + added

    def count(self, output: Tensor, batch: Batch) -> Tensor:
        """What the mean divides by, so that the parts of a batch can be put together again."""
        return self._loss.count(output, self._adapter.shown(batch))


class CompiledMetric:
    """A metric as the training loop calls it: under the output's own mask."""

    def __init__(self, adapter: TrainingAdapter, metric: metrics.Metric, *, weighted: bool) -> None:
        self._adapter, self._measured = adapter, objective.BatchMetric(metric, weighted)
        self.name, self.direction = metric.name, metric.direction

    def update(self, output: Tensor, batch: Batch) -> None:
        """Add a batch."""
        self._measured.update(output, self._adapter.shown(batch))

    def result(self) -> Tensor:
        """The number so far."""
        return self._measured.result()

    def reset(self) -> None:
        """Start afresh."""
        self._measured.reset()

    def state(self) -> Any:
        """What a checkpoint keeps."""
        return self._measured.state()

    def restore(self, state: Any) -> None:
        """Go on from there."""
        self._measured.restore(state)
