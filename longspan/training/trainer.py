"""Runs the training loop: epochs and steps, callbacks, validation, progress and checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from time import perf_counter
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from longspan import callbacks as hooks
from longspan import errors
from longspan.callbacks import History
from longspan.data.batches import Batch

from . import checkpoint, progress
from .epoch_batches import EpochBatches
from .evaluation import Logs, detach_state, evaluate_batches
from .loss_meter import AsyncLossMeter, LossMeter, NotFinite
from .objective import BatchLoss, MetricLike, logs_of
from .state import TrainingState

Validation = Iterable[Batch] | Callable[[], Mapping[str, float]]
_SHARED_DECISION_STEPS = 16  # steps between two questions to the first process whether a checkpoint is due


class Trainer:
    """One call of `train`: its arguments, its state, and `run`, which trains.

    Args:
        network, batches, loss, optimizer: as for `longspan.training.train`, as are the others; those below
            differ from it.
        loss: a function (output, batch) -> one number; metrics: of batches.
        validation_freq: the epochs between validations, or the epochs, counted from 1, that have one.
        clip: the norm and the value to which gradients are clipped, None for no clipping.
        resume: where checkpoints are written and read, None for none.
        state: the recurrent state before the first batch.
    """

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
        validation_freq: int | frozenset[int],
        metrics: list[MetricLike],
        callbacks: Sequence[Any] | hooks.Callback,
        clip: tuple[float | None, float | None],
        schedule: Any,
        verbose: Any,
        resume: checkpoint.CheckpointConfig | None,
        state: Any,
        model: Any,
    ) -> None:
        self.network, self.loss, self.optimizer, self.epochs = network, loss, optimizer, epochs
        self.batches = EpochBatches(batches, epochs - initial_epoch)
        self.validate, self.metrics, self.clip = validate, metrics, clip
        self.validation_freq = validation_freq
        self.schedule, self.resume, self.model = schedule, resume, model
        self.hooks = hooks.CallbackList(callbacks)
        self.callbacks = self.hooks.callbacks
        self.display = progress.progress_display(verbose)
        self.history = History(params={"epochs": epochs, "steps": self.batches.length, "verbose": verbose})
        self.state = TrainingState(
            network,
            optimizer,
            self.batches,
            schedule=schedule,
            metrics=metrics,
            callbacks=self.callbacks,
            history=self.history,
            epoch=initial_epoch,
            recurrent=state,
        )
        self.status = self.state.status

    def run(self, engine: Any) -> History:
        """Train to the last epoch, or until something stops it."""
        self.engine = engine
        self._attach_callbacks()
        snapshot = None if self.resume is None else self.resume.read()
        self.hooks.call("on_train_begin", {})
        if snapshot is not None:
            self.state.resume(snapshot, engine, self._checkpoint_path())
            self._notice_if_finished()
        elif engine.world > 1:
            self._synchronise()
        self.display.begin(self.epochs, self.state.epoch, self.batches.length)
        try:
            while self.state.epoch < self.epochs and self.status.stopped is None:
                self._run_epoch()
        except NotFinite as error:
            ending = [c for c in self.callbacks if isinstance(c, hooks.TerminateOnNaN)]
            if not ending or any(callback.raise_error for callback in ending):
                raise
            self._end_at_bad_loss(error)
        else:
            if self.resume is not None:
                self._write_checkpoint()
        finally:
            self.display.close()
        self.history.stopped = self.status.stopped
        self.hooks.call("on_train_end", self._last_logs())
        if engine.world > 1:
            engine.end()
        return self.history

    def _attach_callbacks(self) -> None:
        """Give the callbacks the model and the state; of several processes only the first has callbacks."""
        if self.engine.rank:
            self.display = progress.NoProgress()
            self.hooks = hooks.CallbackList([])
        device = next((p.device.type for p in self.network.parameters()), "cpu")
        self._new_loss_meter = lambda: (LossMeter if device == "cpu" else AsyncLossMeter)(self.engine.rows)
        self.state.loss_meter = self._new_loss_meter()
        self.status.log = self.display.log
        model: Any = self.network if self.model is None else self.model
        model.stop_training = False
        self.history.model = model
        for callback in self.hooks.callbacks:
            callback.trainer = self.status
        self.hooks.attach(model, self.history.params)

    def _synchronise(self) -> None:
        """Give every process the same order of batches and its own random masks."""
        self.batches.synchronise(self.engine)
        self.engine.begin()

    def _run_epoch(self) -> None:
        start, state, epoch = perf_counter(), self.state, self.state.epoch
        self.status.epoch, self.status.skips_validation = epoch, self._skips_validation(epoch + 1)
        if state.step == 0:
            state.loss_meter = self._new_loss_meter()
            for metric in self.metrics:
                metric.reset()
            self.hooks.call("on_epoch_begin", epoch, {})
        if self.engine.world > 1:
            self.engine.begin_epoch()
        self.network.train()
        resumable = self.resume is not None
        self._run_steps(self.batches(self.network, self.engine, step=state.step, resumable=resumable))
        if state.step == 0:
            return
        if self.engine.world > 1:
            _merge_metrics(self.engine, self.metrics)
        logs = self._current_logs()
        if self.validate is not None and not self.status.skips_validation and self.engine.rank == 0:
            logs.update(self._validate(self.validate))
        if self.engine.world > 1:
            logs = self.engine.gather(logs)[0]
        self.hooks.call("on_epoch_end", epoch, logs)
        self.history.add(epoch, logs)
        self.display.end_epoch(epoch, state.step, logs, perf_counter() - start)
        self._check_stop()
        state.epoch, state.step = epoch + 1, 0
        if self._checkpoint_is_due() or (self.resume is not None and self.resume.epochs):
            self._write_checkpoint()

    def _end_without_data(self) -> None:
        """End training where an iterator has nothing left for another epoch; an error in the first epoch."""
        if not self.history.epoch:
            way_out = "check that there are data"
            raise errors.value_error("batches", "at least one batch an epoch", "none", way_out)
        self.status.stopped = "the data ended"
        errors.notice(f"The data ended after {len(self.history.epoch)} of {self.epochs} epochs.")

    def _end_at_bad_loss(self, error: NotFinite) -> None:
        """End the epoch and training at a loss that is NaN or infinite, with that loss in the logs."""
        self.status.stopped = str(error)
        logs: Logs = {"loss": error.loss}
        self.hooks.call("on_epoch_end", self.state.epoch, logs)
        self.history.add(self.state.epoch, logs)

    def _skips_validation(self, epoch: int) -> bool:
        """Whether an epoch, counted from 1, leaves the validation out."""
        freq = self.validation_freq
        return epoch % freq > 0 if isinstance(freq, int) else epoch not in freq

    def _run_steps(self, batches: Iterator[Batch]) -> None:
        """All steps of an epoch. The time of this loop is added to every step, so it does little."""
        engine, loss, metrics, state = self.engine, self.loss, self.metrics, self.state
        if engine.world > 1:
            loss = engine.objective(loss)
        add, before, after = state.loss_meter.add, self._before_step(), self._after_step()
        forward, optimize = engine.forward, engine.step
        recurrent, step, epoch = state.recurrent, state.step, state.epoch
        model: Any = self.network if self.model is None else self.model
        whole, add_number = engine.whole_step(self.loss), state.loss_meter.add_number
        with nullcontext() if engine.world == 1 else engine.steps_of_epoch():
            for batch in batches:
                for hook in before:
                    hook(step)
                taken = None if whole is None else whole.run(batch)
                if taken is None:
                    output, recurrent = forward(batch, detach_state(recurrent) if batch.continues else None)
                    value = loss(output, batch)
                    add(value, batch, epoch, step)
                    optimize(value, output, batch)
                else:
                    number, output = taken
                    add_number(number, batch, epoch, step)
                    engine.update(whole)
                if metrics and not engine.is_padding:
                    for metric in metrics:
                        metric.update(output, batch)
                step += 1
                if after:
                    state.step, state.recurrent = step, recurrent
                    for hook in after:
                        hook(step)
                    if model.stop_training:
                        break
        if step == 0:
            self._end_without_data()
        state.loss_meter.flush()
        if not after:
            self.status.steps += step
        state.step, state.recurrent = step, detach_state(recurrent)

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
            functions.append(lambda step: self.display.step(self.state.epoch, step, self._current_logs))
        if self.resume is not None:
            functions.append(lambda step: self._write_checkpoint() if self._checkpoint_is_due() else None)
        return [self._count_step, *functions] if functions or self._before_step() else []

    def _count_step(self, step: int) -> None:
        self.status.steps += 1

    def _set_learning_rate(self, step: int) -> None:
        self.status.learning_rate = self.schedule(self.status.steps)

    def _checkpoint_is_due(self) -> bool:
        """Whether to write a checkpoint; of several processes the first decides."""
        if self.resume is None:
            return False
        if self.engine.world == 1:
            return self.resume.should_write(self.status.steps)
        if self.resume.steps is None and self.status.steps % _SHARED_DECISION_STEPS:
            return False
        return self.engine.gather(self.resume.should_write(self.status.steps))[0]

    def _current_logs(self) -> Logs:
        """The mean loss and the metrics so far."""
        return logs_of(self.state.loss_meter.result(), self.metrics)

    def _validate(self, validate: Validation) -> Logs:
        self.hooks.call("on_test_begin", {})
        if callable(validate):
            logs = dict(validate())
        else:
            forward = self.engine.forward
            logs = evaluate_batches(
                forward, self.network, validate, self.loss, self.metrics, None, self.hooks
            )
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
        snapshot = self.state.snapshot(self.engine)
        if self.engine.rank == 0 and self.resume is not None:
            self.resume.write(snapshot)

    def _checkpoint_path(self) -> str:
        return "" if self.resume is None else os.fspath(self.resume.path)

    def _notice_if_finished(self) -> None:
        """Say that a checkpoint leaves nothing to train."""
        finished = self.state.epoch >= self.epochs or self.status.stopped is not None
        if finished and self.engine.rank == 0:
            errors.notice(
                f"The training in checkpoint {self._checkpoint_path()} was finished: its weights are taken "
                "as they are."
            )


def _merge_metrics(engine: Any, metrics: list[MetricLike]) -> None:
    """Add up the metrics of all processes at the end of an epoch."""
    parts = engine.gather([metric.state() for metric in metrics])
    for index, metric in enumerate(metrics):
        states = [part[index] for part in parts]
        metric.restore({name: sum(state[name] for state in states) for name in states[0]})
