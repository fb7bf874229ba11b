"""Applies losses and metrics of truths and predictions to batches: their weights, masks and padding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from longspan import errors, losses, metrics
from longspan.data.batches import Batch, rows_of
from longspan.data.padding import sequence_mask

BatchLoss = Callable[[Any, Batch], Tensor]


class LossTerm(NamedTuple):
    """A part of a loss, which is the sum of its terms.

    mean: one number; divisor: what it was divided by, None for a sum, which is not divided by anything.
    """

    mean: Tensor
    divisor: Tensor | float | None


@runtime_checkable
class HasLossTerms(Protocol):
    """A loss of a batch whose means are not over rows, or are several; other losses are a mean over rows."""

    def loss_terms(self, output: Any, batch: Batch) -> Sequence[LossTerm]:
        """The terms, by which several processes combine the losses of their parts of a batch."""
        ...


def terms_of(loss: BatchLoss) -> Callable[[Any, Batch], Sequence[LossTerm]]:
    """A function that gives the terms of a loss for (output, batch)."""
    if isinstance(loss, HasLossTerms):
        return loss.loss_terms
    return lambda output, batch: [LossTerm(loss(output, batch), rows_of(batch))]


class MaskedLoss:
    """A loss of truths and predictions as a loss of a batch: (output, batch) -> one number.

    The loss defines how weights count. Where the output has a time dimension, (B, T, ...), steps that the
    batch's mask or lengths hide do not count.
    """

    def __init__(self, loss: losses.Loss) -> None:
        self.loss = loss

    def __call__(self, output: Tensor, batch: Batch) -> Tensor:
        return self.loss(batch.y, output, batch.weight, step_mask(output, batch))

    def count(self, output: Tensor, batch: Batch) -> Tensor:
        """The denominator of the mean."""
        mask = self.loss.valid_mask(batch.y, step_mask(output, batch))
        if self.loss.reduction == "mean_with_sample_weight" and batch.weight is not None:
            return (batch.weight if mask is None else _merged(batch.weight, mask)).sum()
        return torch.tensor(float(rows_of(batch))) if mask is None else mask.sum()

    def loss_terms(self, output: Tensor, batch: Batch) -> list[LossTerm]:
        """The mean with its denominator, or the sum."""
        count = None if self.loss.reduction == "sum" else self.count(output, batch)
        return [LossTerm(self(output, batch), count)]


def as_loss(loss: str | losses.Loss | BatchLoss) -> BatchLoss:
    """A loss by name or as an object of longspan.losses, or already a function (output, batch) -> number."""
    if isinstance(loss, (str, losses.Loss)):
        return MaskedLoss(losses.get(loss))
    if callable(loss):
        return loss
    way_out = 'pass a name such as "mse", or a function'
    raise errors.type_error("loss", "a name, a loss, or a function (output, batch) -> number", loss, way_out)


def step_mask(output: Tensor, batch: Batch) -> Tensor | None:
    """(B, T) bool, False where a step does not count; None where all do or the output has no time."""
    if (batch.mask is None and batch.lengths is None) or output.dim() < 3:
        return None
    mask = batch.mask
    if batch.lengths is not None:
        mask = sequence_mask(batch.lengths, output.shape[1], mask, output.device)
    if mask is not None and mask.shape != output.shape[:2]:
        expected = f"shape {tuple(output.shape[:2])}, (B, T) of the network's output"
        way_out = "mask the loss yourself where the network changes the number of steps"
        raise errors.value_error("mask", expected, tuple(mask.shape), way_out)
    return mask


@runtime_checkable
class MetricLike(Protocol):
    """A metric of batches, as the training loop uses it."""

    name: str
    direction: str | None

    def update(self, output: Any, batch: Batch) -> None:
        """Add a batch."""

    def result(self) -> float | Tensor:
        """The metric of the batches so far."""
        ...

    def reset(self) -> None:
        """Start afresh."""

    def state(self) -> Any:
        """The sums by name, for checkpoints; several processes add them up."""

    def restore(self, state: Any) -> None:
        """Take what `state` returned."""


class BatchMetric:
    """A metric of truths and predictions as a metric of batches.

    Args:
        weighted: whether the batch's weights count, as in Keras' weighted_metrics; the mask always does.
    """

    def __init__(self, metric: metrics.Metric, weighted: bool = False) -> None:
        self.metric, self.weighted = metric, weighted
        self.name, self.direction = metric.name, metric.direction

    def update(self, output: Tensor, batch: Batch) -> None:
        weight = batch.weight if self.weighted else None
        mask = step_mask(output, batch)
        if mask is not None:
            weight = mask.to(output.dtype) if weight is None else _merged(weight, mask)
        self.metric.update_state(batch.y, output.detach(), weight)

    def result(self) -> Tensor:
        return self.metric.result()

    def reset(self) -> None:
        self.metric.reset_state()

    def state(self) -> Any:
        return self.metric.state()

    def restore(self, state: Any) -> None:
        self.metric.restore(state)


def _merged(weight: Tensor, mask: Tensor) -> Tensor:
    """(B,) or (B, T) weights and a (B, T) mask as (B, T) weights."""
    return (weight if weight.dim() == mask.dim() else weight.unsqueeze(-1)) * mask


def as_metrics(metrics_given: Iterable[Any]) -> list[MetricLike]:
    """Metrics of batches from names, objects of longspan.metrics, or metrics of batches."""
    batch_metrics: list[MetricLike] = []
    for metric in metrics_given:
        if isinstance(metric, (str, metrics.Metric)):
            batch_metrics.append(BatchMetric(metrics.get(metric)))
        elif isinstance(metric, MetricLike):
            batch_metrics.append(metric)
        else:
            raise errors.type_error("metrics", "names or metrics", metric, 'pass such as ["mae"]')
    names = [metric.name for metric in batch_metrics]
    for name in names:
        if names.count(name) > 1:
            raise errors.value_error(
                "metrics", "different names", f"{name!r} twice", "give one of them a name"
            )
    return batch_metrics


def logs_of(loss: float, metrics: Sequence[Any]) -> dict[str, float]:
    """The loss and the metrics by name; of a metric whose result is a dict, the numbers in it."""
    logs = {"loss": loss}
    for metric in metrics:
        result = metric.result()
        logs.update(result if isinstance(result, dict) else {metric.name: float(result)})
    return logs
