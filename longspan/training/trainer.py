"""Runs training step by step: epochs, callbacks, validation, and checkpoints to go on from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from time import perf_counter
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from longspan import callbacks as hooks
from longspan import errors
from longspan.callbacks import History
from longspan.data.batches import Batch, Batches, BPTTChunks, as_batch

from . import checkpoint, engines, progress
from .evaluation import Logs, detach_state, evaluate_batches, keep_in_place, to_device
from .loss_meter import AsyncLossMeter, LossMeter, NotFinite
from .objective import BatchLoss, MetricLike

Validation = Iterable[Batch] | Callable[[], Mapping[str, float]]


@runtime_checkable
class Stateful(Protocol):
    """A network that keeps recurrent states of its own; resuming gives them back."""

    def set_states(self, state: Any) -> None:
        """Start the next batch from a state that `forward` returned; None for the initial one."""


class Trainer:
    """One call of `train`: its arguments, its progress, and `run`, which trains."""

    def __init__(
        self,
        network: nn.Module,
        batches: Iterable[Any],
        loss: BatchLoss,
        optimizer: Optimizer,
        *,
        epochs: int,
        initial_epoch: int,
        validate: Validation | None,
        metrics: list[MetricLike],
        callbacks: Sequence[Any],
        clip: tuple[float | None, float | None],
        schedule: Any,
        verbose: Any,
        resume: checkpoint.CheckpointConfig | None,
        state: Any,
        model: Any,
    ) -> None:
        self.network, self.loss, self.optimizer = network, loss, optimizer
        self.batches = _checked_batches(batches, epochs - initial_epoch)
        self.epochs, self.epoch, self.step = epochs, initial_epoch, 0
        self.validate, self.metrics, self.clip = validate, metrics, clip
        self.schedule, self.resume, self.state, self.model = schedule, resume, state, model
        self.hooks = hooks.CallbackList(callbacks)
        self.callbacks = self.hooks.callbacks
        self.status = hooks.TrainerState(network, optimizer, {m.name: m.direction for m in metrics})
        self.display = progress.progress_display(verbose)
        self.length = _length(batches)
        self.history = History(params={"epochs": epochs, "steps": self.length, "verbose": verbose})
        # Random states at the start of the epoch: they decide the order of its batches.
        self._epoch_start: dict[str, Any] = {}

    def run(self, engine: engines.SingleProcess | engines.FabricEngine) -> History:
        """Train to the last epoch, or until something stops it."""
        self.engine = engine
        self._attach_callbacks()
        snapshot = None if self.resume is None else self.resume.read()
        self.hooks.call("on_train_begin", {})
        if snapshot is not None:
            self._resume_from(snapshot)
            self._tell_if_finished()
        elif engine.world > 1:
            self._synchronise()
        self.display.begin(self.epochs, self.epoch, self.length)
        try:
            while self.epoch < self.epochs and self.status.stopped is None:
                self._run_epoch()
        except NotFinite as error:
            if not any(isinstance(callback, hooks.TerminateOnNaN) for callback in self.callbacks):
                raise
            self.status.stopped = str(error)
        else:
            if self.resume is not None:
                self._write_checkpoint()
        finally:
            self.display.close()
        self.history.stopped = self.status.stopped
        self.hooks.call("on_train_end", self._last_logs())
        return self.history

    def _attach_callbacks(self) -> None:
        """Give the callbacks the model and the state; only the first process writes files and the display."""
        if self.engine.rank:
            self.display = progress.NoProgress()
            self.hooks = hooks.CallbackList(
                [c for c in self.callbacks if isinstance(c, hooks.RUN_IN_EVERY_PROCESS)]
            )
        device = next((p.device.type for p in self.network.parameters()), "cpu")
        self._new_loss_meter = lambda: (LossMeter if device == "cpu" else AsyncLossMeter)(self.engine.rows)
        self.loss_meter = self._new_loss_meter()
        self.status.log = self.display.log
        model: Any = self.network if self.model is None else self.model
        model.stop_training = False
        for callback in self.hooks.callbacks:
            callback.trainer = self.status
            callback.set_params(self.history.params)
            callback.set_model(model)

    def _synchronise(self) -> None:
        """Give every process the same order of batches and its own random masks."""
        if isinstance(self.batches, Batches):
            self.batches.restore(self.engine.gather(self.batches.state())[0])
        seed = self.engine.gather(int(torch.randint(2**31, ())))[0]
        torch.manual_seed(seed + self.engine.rank)

    def _run_epoch(self) -> None:
        start, epoch = perf_counter(), self.epoch
        self.status.epoch = epoch
        if self.step == 0:
            self.loss_meter = self._new_loss_meter()
            for metric in self.metrics:
                metric.reset()
            self.hooks.call("on_epoch_begin", epoch, {})
        self.network.train()
        self._run_steps(self._epoch_batches())
        if self.engine.world > 1:
            _merge_processes(self.engine, self.loss_meter, self.metrics)
        logs = self._current_logs()
        if self.validate is not None:
            logs.update(self._validate(self.validate))
        self.hooks.call("on_epoch_end", epoch, logs)
        self.history.add(epoch, logs)
        self.display.end_epoch(epoch, self.step, logs, perf_counter() - start)
        self._check_stop()
        self.epoch, self.step = epoch + 1, 0
        if self.resume is not None and self._checkpoint_is_due():
            self._write_checkpoint()

    def _epoch_batches(self) -> Iterator[Batch]:
        """The batches of this epoch; after resuming in the middle of one, those that are left."""
        if self.step:
            batches = self._remaining_batches()
        else:
            if self.resume is not None:
                self._epoch_start = {"rng": checkpoint.rng_state(), "batches": _batch_order(self.batches)}
            batches = iter(self.batches)
        if not isinstance(self.batches, (Batches, BPTTChunks)):
            batches = map(as_batch, batches)
        if self.engine.world > 1:
            batches = map(self.engine.shard, batches)
        move = to_device(self.network)
        return batches if move is keep_in_place else map(move, batches)

    def _remaining_batches(self) -> Iterator[Any]:
        current = checkpoint.rng_state()
        checkpoint.set_rng_state(self._epoch_start["rng"])
        if isinstance(self.batches, Batches):
            self.batches.restore(self._epoch_start["batches"])
        batches = iter(self.batches)
        skipped = sum(1 for _ in islice(batches, self.step))
        if skipped < self.step:
            expected = f"the data of the checkpoint, at least {self.step} batches an epoch"
            raise errors.value_error("batches", expected, skipped, "pass the same data, or start afresh")
        checkpoint.set_rng_state(current)
        return batches

    def _run_steps(self, batches: Iterator[Batch]) -> None:
        """All steps of an epoch. The time of this loop is added to every step, so it does little."""
        engine, loss, add, metrics = self.engine, self.loss, self.loss_meter.add, self.metrics
        forward, take, before, after = engine.forward, engine.step, self._before_step(), self._after_step()
        state, step, epoch = self.state, self.step, self.epoch
        for batch in batches:
            for hook in before:
                hook(step)
            output, state = forward(batch, detach_state(state) if batch.continues else None)
            value = loss(output, batch)
            add(value, batch, epoch, step)
            take(value, output, batch)
            if metrics and not engine.is_padding:
                for metric in metrics:
                    metric.update(output, batch)
            step += 1
            if after:
                self.step, self.state = step, state
                for hook in after:
                    hook(step)
        if step == 0:
            raise errors.value_error(
                "batches", "at least one batch an epoch", "none", "check that there are data"
            )
        self.loss_meter.flush()
        if not after:
            self.status.steps += step
        self.step, self.state = step, detach_state(state)

    def _before_step(self) -> list[Callable[[int], None]]:
        """Functions to call before a step; most trainings have none."""
        functions: list[Callable[[int], None]] = []
        if self.schedule is not None and not isinstance(self.schedule, LRScheduler):
            functions.append(self._set_learning_rate)
        if self.hooks.has("on_train_batch_begin"):
            functions.append(lambda step: self.hooks.call("on_train_batch_begin", step, {}))
        return functions

    def _after_step(self) -> list[Callable[[int], None]]:
        """Functions to call after a step, the first counts it; most trainings have none."""
        functions: list[Callable[[int], None]] = []
        if isinstance(self.schedule, LRScheduler):
            functions.append(lambda step: self.schedule.step())
        if self.hooks.has("on_train_batch_end"):
            functions.append(
                lambda step: self.hooks.call("on_train_batch_end", step - 1, self._current_logs())
            )
        if isinstance(self.display, progress.ProgressBar):
            functions.append(lambda step: self.display.step(self.epoch, step, self._current_logs))
        if self.resume is not None:
            functions.append(lambda step: self._write_checkpoint() if self._checkpoint_is_due() else None)
        return [self._count_step, *functions] if functions or self._before_step() else []

    def _count_step(self, step: int) -> None:
        self.status.steps += 1

    def _set_learning_rate(self, step: int) -> None:
        self.status.learning_rate = self.schedule(self.status.steps)

    def _checkpoint_is_due(self) -> bool:
        """Whether to write a checkpoint; of several processes the first decides, every 16 steps."""
        if self.resume is None:
            return False
        if self.engine.world == 1:
            return self.resume.should_write(self.status.steps)
        if self.resume.steps is None and self.status.steps % 16:
            return False
        return self.engine.gather(self.resume.should_write(self.status.steps))[0]

    def _current_logs(self) -> Logs:
        """The mean loss and the metrics so far."""
        return {"loss": self.loss_meter.result(), **{m.name: float(m.result()) for m in self.metrics}}

    def _validate(self, validate: Validation) -> Logs:
        self.hooks.call("on_test_begin", {})
        if callable(validate):
            logs = dict(validate())
        else:
            forward = self.engine.forward
            logs = evaluate_batches(forward, self.network, validate, self.loss, self.metrics, None)
        self.hooks.call("on_test_end", logs)
        return {f"val_{name}": float(value) for name, value in logs.items()}

    def _check_stop(self) -> None:
        model = self.network if self.model is None else self.model
        if self.status.stopped is None and model.stop_training:
            self.status.stopped = "a callback set stop_training"
        if self.engine.world > 1:
            self.status.stopped = self.engine.gather(self.status.stopped)[0]

    def _last_logs(self) -> Logs:
        return {name: values[-1] for name, values in self.history.history.items()}

    def _write_checkpoint(self) -> None:
        snapshot = self.snapshot()
        if self.engine.rank == 0 and self.resume is not None:
            self.resume.write(snapshot)

    def snapshot(self) -> dict[str, Any]:
        """Everything that decides how training goes on, of all processes."""
        self.loss_meter.flush()
        process = {
            "rng": checkpoint.rng_state(),
            "epoch_start": self._epoch_start,
            "batches": _batch_order(self.batches),
            "state": self.state,
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
            "history": {"history": self.history.history, "epoch": self.history.epoch},
            "precision": self.engine.state(),
            "processes": self.engine.gather(process),
        }

    def _resume_from(self, snapshot: dict[str, Any]) -> None:
        """Go on where a snapshot was taken."""
        if len(snapshot["processes"]) != self.engine.world:
            expected = f"{len(snapshot['processes'])}, as many as wrote the checkpoint"
            raise errors.value_error(
                "processes", expected, self.engine.world, "ask for as many, or start afresh"
            )
        self.load_snapshot(snapshot, self.engine.rank)
        self.loss_meter.total, self.loss_meter.count = snapshot["processes"][self.engine.rank]["mean"]
        self.engine.restore(snapshot["precision"])

    def _tell_if_finished(self) -> None:
        """Say that a checkpoint leaves nothing to train."""
        finished = self.epoch >= self.epochs or self.status.stopped is not None
        if finished and self.resume is not None and self.engine.rank == 0:
            path = os.fspath(self.resume.path)
            errors.notice(
                f"The training in checkpoint {path} was finished: its weights are taken as they are."
            )

    def load_snapshot(self, snapshot: dict[str, Any], rank: int) -> None:
        """Take over a snapshot, as process `rank`."""
        path = "" if self.resume is None else self.resume.path
        checkpoint.check_fits(self.network, snapshot["weights"], path)
        self.network.load_state_dict(snapshot["weights"])
        self.optimizer.load_state_dict(snapshot["optimizer"])
        if snapshot["schedule"] is not None:
            self.schedule.load_state_dict(snapshot["schedule"])
        self.epoch, self.step, self.status.steps = snapshot["epoch"], snapshot["step"], snapshot["steps"]
        self.status.stopped = self.history.stopped = snapshot["stopped"]
        self.history.history = snapshot["history"]["history"]
        self.history.epoch = snapshot["history"]["epoch"]
        for callback, state in zip(self.callbacks, snapshot["callbacks"], strict=False):
            if state is not None:
                callback.restore(state)
        self._load_process_state(snapshot["processes"][rank])

    def _load_process_state(self, process: dict[str, Any]) -> None:
        self._epoch_start, self.state = process["epoch_start"], process["state"]
        if isinstance(self.network, Stateful):
            self.network.set_states(self.state)
        if isinstance(self.batches, Batches):
            self.batches.restore(process["batches"])
        for metric, state in zip(self.metrics, process["metrics"], strict=False):
            metric.restore(state)
        checkpoint.set_rng_state(process["rng"])


def _merge_processes(engine: Any, meter: LossMeter, metrics: list[MetricLike]) -> None:
    """Add up the loss and the metrics of all processes at the end of an epoch."""
    parts = engine.gather((meter.total, meter.count, [metric.state() for metric in metrics]))
    meter.total, meter.count = sum(part[0] for part in parts), sum(part[1] for part in parts)
    for index, metric in enumerate(metrics):
        states = [part[2][index] for part in parts]
        metric.restore({name: sum(state[name] for state in states) for name in states[0]})


def _checked_batches(batches: Any, epochs: int) -> Any:
    """The batches; an error unless they can be iterated every epoch."""
    if not isinstance(batches, Iterable):
        way_out = "pass longspan.data.Batches or a DataLoader"
        raise errors.type_error("batches", "batches to go through every epoch", batches, way_out)
    if isinstance(batches, Iterator) and epochs > 1:
        way_out = "pass a list, longspan.data.Batches or a DataLoader"
        raise errors.type_error("batches", "batches that can be iterated every epoch", batches, way_out)
    return batches


def _length(batches: Any) -> int | None:
    """Batches an epoch, None where that is not known before."""
    try:
        return len(batches)
    except TypeError:
        return None


def _batch_order(batches: Any) -> Tensor | None:
    return batches.state() if isinstance(batches, Batches) else None
