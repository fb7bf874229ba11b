"""Holds everything that decides how training goes on, and takes and loads snapshots of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from longspan import errors
from longspan.callbacks import History, TrainerState
from longspan.data.batches import rows_of

from . import checkpoint
from .epoch_batches import Engine, EpochBatches
from .loss_meter import LossMeter
from .objective import MetricLike


@runtime_checkable
class Stateful(Protocol):
    """A network that keeps recurrent states of its own; resuming restores them."""

    def set_states(self, state: Any) -> None:
        """Start the next batch from a state that `forward` returned; None for the initial one."""


class TrainingState:
    """Everything that decides how training goes on.

    Args:
        network, optimizer, schedule, metrics, callbacks, history: of the training.
        batches: of every epoch.
        epoch: the number of epochs that are done; recurrent: the state before the first batch.

    Attributes:
        step: steps that are done of the current epoch.
        status: what callbacks read and change: the learning rate, all steps so far, why training stopped.
        loss_meter: the mean loss of the current epoch.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        batches: EpochBatches,
        *,
        schedule: Any,
        metrics: list[MetricLike],
        callbacks: Sequence[Any],
        history: History,
        epoch: int,
        recurrent: Any,
    ) -> None:
        self.network, self.optimizer, self.batches = network, optimizer, batches
        self.schedule, self.metrics, self.callbacks, self.history = schedule, metrics, callbacks, history
        self.epoch, self.step, self.recurrent = epoch, 0, recurrent
        self.status = TrainerState(network, optimizer, {m.name: m.direction for m in metrics})
        self.loss_meter = LossMeter(rows_of)

    def snapshot(self, engine: Engine) -> dict[str, Any]:
        """The state of all processes as plain values and tensors."""
        self.loss_meter.flush()
        process = {
            "rng": checkpoint.rng_state(),
            **self.batches.state(),
            "state": self.recurrent,
            "mean": (self.loss_meter.total, self.loss_meter.count),
            "metrics": [metric.state() for metric in self.metrics],
        }
        has_scheduler = isinstance(self.schedule, LRScheduler)
        return {
            "epoch": self.epoch,
            "step": self.step,
            "steps": self.status.steps,
            "stopped": self.status.stopped,
            "weights": dict(self.network.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict() if has_scheduler else None,
            "callbacks": [callback.state() for callback in self.callbacks],
            "history": {
                "history": self.history.history,
                "epoch": self.history.epoch,
                "epochs_of": self.history.epochs_of,
            },
            "precision": engine.state(),
            "processes": engine.gather(process),
        }

    def resume(self, snapshot: dict[str, Any], engine: Engine, path: object) -> None:
        """Go on where a snapshot was taken.

        Args:
            path: of the checkpoint, for errors.

        Raises:
            ValueError: the snapshot is of another number of processes or of another network.
        """
        if len(snapshot["processes"]) != engine.world:
            expected = f"{len(snapshot['processes'])}, as many as wrote the checkpoint"
            raise errors.value_error("processes", expected, engine.world, "ask for as many, or start afresh")
        self.load(snapshot, engine.rank, path)
        self.loss_meter.total, self.loss_meter.count = snapshot["processes"][engine.rank]["mean"]
        engine.restore(snapshot["precision"])

    def load(self, snapshot: dict[str, Any], rank: int, path: object) -> None:
        """Take over what process `rank` had in a snapshot; path: of the checkpoint, for errors."""
        checkpoint.check_fits(self.network, snapshot["weights"], path)
        self.network.load_state_dict(snapshot["weights"])
        self.optimizer.load_state_dict(snapshot["optimizer"])
        _lay_out_as_parameters(self.optimizer)
        if snapshot["schedule"] is not None:
            self.schedule.load_state_dict(snapshot["schedule"])
        self.epoch, self.step, self.status.steps = snapshot["epoch"], snapshot["step"], snapshot["steps"]
        self.status.stopped = self.history.stopped = snapshot["stopped"]
        self.history.history = snapshot["history"]["history"]
        self.history.epoch = snapshot["history"]["epoch"]
        self.history.epochs_of = snapshot["history"]["epochs_of"]
        for callback, state in zip(self.callbacks, snapshot["callbacks"], strict=False):
            if state is not None:
                callback.restore(state)
        self._load_process(snapshot["processes"][rank])

    def _load_process(self, process: dict[str, Any]) -> None:
        self.recurrent = process["state"]
        if isinstance(self.network, Stateful):
            self.network.set_states(self.recurrent)
        self.batches.restore(process)
        for metric, state in zip(self.metrics, process["metrics"], strict=False):
            metric.restore(state)
        checkpoint.set_rng_state(process["rng"])


def _lay_out_as_parameters(optimizer: Optimizer) -> None:
    """Give the optimizer's tensors the strides of their parameters, which a file does not keep.

    Fused updates go through the memory of both side by side; weights of convolutions may have channels last.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
