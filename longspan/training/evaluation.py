"""Evaluates a network on batches; moves batches to devices, and detaches recurrent states."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from longspan import errors
from longspan.callbacks import CallbackList
from longspan.data.batches import Batch, as_batch, map_tensors, rows_of

from .objective import BatchLoss, MetricLike, logs_of

Logs = dict[str, float]
Forward = Callable[[Batch, Any], tuple[Any, Any]]


def evaluate_batches(
    forward: Forward,
    network: nn.Module,
    batches: Iterable[Any],
    loss: BatchLoss,
    metrics: list[MetricLike],
    state: Any,
    hooks: CallbackList | None = None,
    model: Any = None,
) -> Logs:
    """The mean loss over rows and the metrics, in evaluation mode; see `longspan.training.evaluate`.

    `hooks`: callbacks to call before and after each batch; one that sets the model's stop_evaluating ends it.
    """
    for metric in metrics:
        metric.reset()
    total, count, was_training = 0.0, 0, network.training
    network.eval()
    move, hooks = to_device(network), hooks or CallbackList([])
    before, after = hooks.has("on_test_batch_begin"), hooks.has("on_test_batch_end")
    try:
        with torch.no_grad():
            for index, batch in enumerate(map(move, map(as_batch, batches))):
                if before:
                    hooks.call("on_test_batch_begin", index, {})
                output, state = forward(batch, state if batch.continues else None)
                rows = rows_of(batch)
                total = total + loss(output, batch).detach().double() * rows
                count += rows
                for metric in metrics:
                    metric.update(output, batch)
                if after:
                    hooks.call("on_test_batch_end", index, _logs(total, count, metrics))
                    if model is not None and model.stop_evaluating:
                        break
    finally:
        network.train(was_training)
    if not count:
        raise errors.value_error("batches", "at least one batch", "none", "check that there are data")
    return _logs(total, count, metrics)


def _logs(total: Tensor | float, rows: int, metrics: list[MetricLike]) -> Logs:
    return logs_of(float(total) / rows, metrics)


def detach_state(state: Any) -> Any:
    """The state without its gradient graph."""
    if isinstance(state, Tensor):
        return state.detach()
    return tuple(detach_state(part) for part in state) if isinstance(state, (tuple, list)) else state


def to_device(network: nn.Module) -> Callable[[Batch], Batch]:
    """A function that moves a batch to the network's device; lengths stay on the CPU."""
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    if device.type == "cpu":
        return keep_in_place
    return lambda batch: replace(
        batch,
        x=_moved(batch.x, device),
        y=_moved(batch.y, device),
        mask=_moved(batch.mask, device),
        weight=_moved(batch.weight, device),
    )


def keep_in_place(batch: Batch) -> Batch:
    """The batch itself, for networks on the CPU."""
    return batch


def _moved(value: Any, device: torch.device) -> Any:
    return map_tensors(lambda tensor: tensor.to(device, non_blocking=True), value)
