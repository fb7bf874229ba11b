"""Adapts a Sequential to the training loop: batches in, losses and metrics under the output's mask."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from longspan import errors, losses, metrics
from longspan.data.batches import Batch
from longspan.data.padding import sequence_mask
from longspan.layers.conv_lstm import ConvLSTM2D
from longspan.layers.recurrent import RNNBase
from longspan.training import objective

from .protocol import Model


class _OutputMask:
    """The mask of the last output, kept where setting it costs nothing (a Module's own attributes do)."""

    __slots__ = ("mask",)

    def __init__(self) -> None:
        self.mask: Tensor | None = None


class TrainingAdapter(nn.Module):
    """A Sequential as the training loop calls it: (batch, state) -> (output, state).

    Args:
        model: the Sequential, built.
        carries: pass states from a batch to the next one that continues; else only stateful layers do.

    Attributes:
        last_mask: the mask of the last output, (B, T) bool or None, which the loss and the metrics apply.
    """

    def __init__(self, model: Model, *, carries: bool = False) -> None:
        super().__init__()
        self.model, self.carries, self.last_mask = model, carries, _OutputMask()
        self.training = model.training
        self._dtype = torch.int64 if model.takes_token_ids() else model.dtype
        self._recurrent = [
            part
            for part in model.modules()
            if isinstance(part, (RNNBase, ConvLSTM2D)) and (carries or part.stateful)
        ]

    def forward(self, batch: Batch, state: Any = None) -> tuple[Any, Any]:
        x = batch.x if batch.x.dtype == self._dtype else self.model.cast_inputs(batch.x)
        if not self._recurrent:
            output, self.last_mask.mask = self.model.run(x, mask_of(batch))
            return output, None
        return self._carried(x, batch, state)

    def set_states(self, state: Any) -> None:
        """Set the states of stateful layers, as `forward` returned them; None changes nothing."""
        for index, layer in enumerate(self._recurrent):
            if layer.stateful and state is not None:
                layer.states = state[index]

    def _carried(self, x: Tensor, batch: Batch, state: Any) -> tuple[Any, Any]:
        was_stateful = [layer.stateful for layer in self._recurrent]
        for index, layer in enumerate(self._recurrent):
            if state is not None:
                layer.states = state[index]
            elif self.carries and not batch.continues and not layer.stateful:
                layer.states = None
            layer.stateful = True
        try:
            output, self.last_mask.mask = self.model.run(x, mask_of(batch))
        finally:
            for layer, stateful in zip(self._recurrent, was_stateful, strict=True):
                layer.stateful = stateful
        return output, [layer.states for layer in self._recurrent]

    def with_output_mask(self, batch: Batch) -> Batch:
        """The batch with the mask of its output, which the layers may have dropped or made."""
        if self.last_mask.mask is None and batch.mask is None and batch.lengths is None:
            return batch
        return Batch(batch.x, batch.y, None, self.last_mask.mask, batch.weight)


def mask_of(batch: Batch) -> Tensor | None:
    """(B, T) bool, False at padding and at hidden steps; None where every step counts."""
    if batch.lengths is None:
        return batch.mask
    return sequence_mask(batch.lengths, batch.x.shape[1], batch.mask, batch.x.device)


class CompiledLoss:
    """The loss as the training loop calls it: under the output's mask, with regularization losses."""

    def __init__(self, adapter: TrainingAdapter, loss: losses.Loss) -> None:
        self._adapter, self._loss = adapter, objective.MaskedLoss(loss)
        self._has_regularizers = adapter.model.regularization_loss() is not None

    def __call__(self, output: Tensor, batch: Batch) -> Tensor:
        if batch.y is None:
            raise errors.value_error("y", "a target for every row", None, "pass y, or batches (x, y)")
        value = self._loss(output, self._adapter.with_output_mask(batch))
        added = self._adapter.model.regularization_loss() if self._has_regularizers else None
        return value if added is None else value + added

    def count(self, output: Tensor, batch: Batch) -> Tensor:
        """The denominator of the mean, by which the losses of the parts of a batch are combined."""
        return self._loss.count(output, self._adapter.with_output_mask(batch))


class CompiledMetric:
    """A metric as the training loop calls it: under the output's mask."""

    def __init__(self, adapter: TrainingAdapter, metric: metrics.Metric, *, weighted: bool) -> None:
        self._adapter, self._metric = adapter, objective.BatchMetric(metric, weighted)
        self.name, self.direction = metric.name, metric.direction

    def update(self, output: Tensor, batch: Batch) -> None:
        """Add a batch."""
        self._metric.update(output, self._adapter.with_output_mask(batch))

    def result(self) -> Tensor:
        """The metric of the batches so far."""
        return self._metric.result()

    def reset(self) -> None:
        """Start afresh."""
        self._metric.reset()

    def state(self) -> Any:
        """The sums by name, for checkpoints."""
        return self._metric.state()

    def restore(self, state: Any) -> None:
        """Take back what `state` gave."""
        self._metric.restore(state)
