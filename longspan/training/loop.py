"""Knows how a network learns: the only training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from time import perf_counter
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from longspan import errors
from longspan.callbacks import History
from longspan.callbacks import callbacks as events
from longspan.data.batches import Batch, Batches, BPTTChunks, as_batch, map_tensors, rows_of

from . import checkpoint, engines, progress
from .loss_meter import AsyncLossMeter, LossMeter, NotFinite
from .objective import BatchLoss, MetricLike, as_loss, as_metrics

Logs = dict[str, float]
Validation = Iterable[Batch] | Callable[[], Mapping[str, float]]

Forward = Callable[[Batch, Any], tuple[Any, Any]]


@runtime_checkable
class Stateful(Protocol):
    """A network that also keeps states by itself, whatever a batch says; resuming gives them back."""

    def carry(self, state: Any) -> None:
        """Start the next batch from what the network gave as its state; None for nothing."""


def train(
    network: nn.Module,
    batches: Iterable[Any],
    loss: Any,
    optimizer: Optimizer,
    *,
    epochs: int,
    initial_epoch: int = 0,
    validate: Validation | None = None,
    metrics: Sequence[Any] = (),
    callbacks: Sequence[Any] = (),
    clip_norm: float | None = None,
    clip_value: float | None = None,
    schedule: LRScheduler | Callable[[int], float] | None = None,
    verbose: int | str = 1,
    resume: Any = None,
    precision: str | None = None,
    processes: int | None = None,
    state: Any = None,
    model: Any = None,
) -> History:
    """Train a network in place.

    Args:
        network: maps (batch, state) to (output, state); a state, in tensors and tuples of them, is handed on
            without its gradients to a batch that carries, and None to one that does not.
        batches: Batch objects, dealt again every epoch: `Batches`, `BPTTChunks`, a DataLoader, a list.
        loss: a name or object of longspan.losses, or a function (output, batch) -> one number.
        optimizer: of the network's parameters; those of `longspan.optimizers` step fastest.
        epochs: the number of the last epoch, counted from 1; initial_epoch: how many are behind already.
        validate: batches to evaluate on after every epoch, or a function that gives numbers by name; both go
            into the logs with "val_" before the name.
        metrics: names or objects of longspan.metrics, or others that read batches (see `MetricLike`).
        callbacks: `Callback` objects.
        clip_norm: the largest norm that all gradients together keep.
        clip_value: the largest magnitude that a value of a gradient keeps.
        schedule: a function from the optimizer step, counted from 0, to the learning rate, or a scheduler of
            torch that is stepped after every step.
        verbose: 0 for nothing, 1 for a bar where there is a terminal, 2 for a line an epoch.
        resume: a file to go on from and to write to, or a `CheckpointConfig` that says how often.
        precision: such as "bf16-mixed", through lightning-fabric; None for the parameters' own.
        processes: how many share every batch, through lightning-fabric: forked, one thread each, or, under
            torchrun, those it has started.
        state: what the first batch starts from if it carries.
        model: what callbacks call their model; None for the network.

    Returns:
        The numbers of every epoch; the loss is the mean over rows.

    Raises:
        FloatingPointError: a loss is NaN or infinite; the sentence names epoch and step, and on the CPU the
            weights are those before that step.
        ValueError, TypeError: an argument does not fit, or there is no data.

    >>> from longspan.data import Batches
    >>> class Line(torch.nn.Linear):
    ...     def forward(self, batch, state):
    ...         return super().forward(batch.x), state
    >>> x = torch.rand(64, 1)
    >>> network = Line(1, 1)
    >>> optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    >>> history = train(network, Batches(x, 3 * x + 1, batch_size=16), "mse", optimizer, epochs=50, verbose=0)
    >>> history.history["loss"][-1] < 0.01
    True
    """
    training = Training(
        network,
        batches,
        as_loss(loss),
        optimizer,
        epochs=errors.check_int("epochs", epochs, 0, "give the number of the last epoch"),
        initial_epoch=errors.check_int("initial_epoch", initial_epoch, 0, "give the epochs that are done"),
        validate=validate,
        metrics=as_metrics(metrics),
        callbacks=callbacks,
        clip=(clip_norm, clip_value),
        schedule=_checked_schedule(schedule),
        verbose=verbose,
        resume=checkpoint.as_checkpoint_config(resume),
        state=state,
        model=model,
    )
    if processes is None and precision is None:
        hooked = isinstance(schedule, LRScheduler)
        return training.run(engines.SingleProcess(network, optimizer, clip_norm, clip_value, hooked))
    return _through_fabric(training, precision, processes)


def _through_fabric(training: Training, precision: str | None, processes: int | None) -> History:
    count = 1 if processes is None else errors.check_int("processes", processes, 1, "give their number")
    started = count > 1 and engines.launched_by_others(count)
    if count > 1:
        engines.check_order(training.batches)
    fabric = engines.fabric_of(training.network, precision, count, fork=not started)

    def work(fabric: Any) -> dict[str, Any]:
        together = engines.FabricEngine(
            fabric, training.network, training.optimizer, *training.clip, training.loss
        )
        training.run(together)
        return training.snapshot()

    if count == 1 or started:
        fabric.launch()
        work(fabric)
    else:
        device = next(training.network.parameters()).device.type
        training.adopt(engines.launch(fabric, work, device), rank=0)
    return training.history


def _checked_schedule(schedule: Any) -> Any:
    if isinstance(schedule, ReduceLROnPlateau):
        way_out = "use longspan.training.ReduceLROnPlateau among the callbacks"
        raise errors.value_error("schedule", "one that needs no metric", "torch's ReduceLROnPlateau", way_out)
    if schedule is not None and not isinstance(schedule, LRScheduler) and not callable(schedule):
        expected = "a function from the step to a rate, or a scheduler of torch"
        raise errors.type_error("schedule", expected, schedule, "leave it out for a constant rate")
    return schedule


def detach_state(state: Any) -> Any:
    """The state without the graph behind it."""
    if isinstance(state, Tensor):
        return state.detach()
    return tuple(detach_state(part) for part in state) if isinstance(state, (tuple, list)) else state


def evaluate(
    network: nn.Module,
    batches: Iterable[Any],
    loss: Any,
    metrics: Sequence[Any] = (),
    *,
    state: Any = None,
) -> Logs:
    """The mean loss over rows and the metrics, without training.

    Args:
        network, batches, loss, metrics, state: as for `train`.

    Returns:
        "loss" and every metric by name.

    Raises:
        ValueError: there is no batch.
    """
    return _evaluated(network, network, batches, as_loss(loss), as_metrics(metrics), state)


def _evaluated(
    forward: Forward,
    network: nn.Module,
    batches: Iterable[Any],
    loss: BatchLoss,
    metrics: list[MetricLike],
    state: Any,
) -> Logs:
    for metric in metrics:
        metric.reset()
    total, count, was_training = 0.0, 0, network.training
    network.eval()
    place = to_device(network)
    try:
        with torch.no_grad():
            for batch in map(place, map(as_batch, batches)):
                output, state = forward(batch, state if batch.continues else None)
                rows = rows_of(batch)
                total = total + loss(output, batch).detach().double() * rows
                count += rows
                for metric in metrics:
                    metric.update(output, batch)
    finally:
        network.train(was_training)
    if not count:
        raise errors.value_error("batches", "at least one batch", "none", "check that there are data")
    return {"loss": float(total) / count, **{metric.name: float(metric.result()) for metric in metrics}}


def to_device(network: nn.Module) -> Callable[[Batch], Batch]:
    """What brings a batch to the network's device; lengths stay on the CPU."""
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    if device.type == "cpu":
        return _same
    return lambda batch: replace(
        batch,
        x=_to(batch.x, device),
        y=_to(batch.y, device),
        mask=_to(batch.mask, device),
        weight=_to(batch.weight, device),
    )


def _same(batch: Batch) -> Batch:
    return batch


def _to(value: Any, device: torch.device) -> Any:
    return map_tensors(lambda tensor: tensor.to(device, non_blocking=True), value)


class Training:
    """One call of `train`: what it was given and where it is. `run` does it."""

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
        self.batches = _redealt(batches, epochs - initial_epoch)
        self.epochs, self.epoch, self.step = epochs, initial_epoch, 0
        self.validate, self.metrics, self.clip = validate, metrics, clip
        self.schedule, self.resume, self.state, self.model = schedule, resume, state, model
        self.hooks = events.CallbackList(callbacks)
        self.callbacks = self.hooks.callbacks
        self.now = events.TrainerState(network, optimizer, {m.name: m.direction for m in metrics})
        self.show = progress.progress_display(verbose)
        self.length = _length(batches)
        self.history = History(params={"epochs": epochs, "steps": self.length, "verbose": verbose})
        self._order: dict[str, Any] = {}  # what decides the order of this epoch's batches

    def run(self, engine: engines.SingleProcess | engines.FabricEngine) -> History:
        """Train to the last epoch, or until something stops it."""
        self.engine = engine
        self._introduce()
        kept = None if self.resume is None else self.resume.read()
        self.hooks.call("on_train_begin", {})
        if kept is not None:
            self._go_on(kept)
        elif engine.world > 1:
            self._agree()
        self.show.begin(self.epochs, self.epoch, self.length)
        try:
            while self.epoch < self.epochs and self.now.stopped is None:
                self._run_epoch()
        except NotFinite as error:
            if not any(isinstance(callback, events.TerminateOnNaN) for callback in self.callbacks):
                raise
            self.now.stopped = str(error)
        else:
            if self.resume is not None:
                self._write()
        finally:
            self.show.close()
        self.history.stopped = self.now.stopped
        self.hooks.call("on_train_end", self._last_logs())
        return self.history

    def _introduce(self) -> None:
        """Tell the callbacks whom they work for; files and screens are the first process's."""
        if self.engine.rank:
            self.show = progress.NoProgress()
            self.hooks = events.CallbackList(
                [c for c in self.callbacks if isinstance(c, events.RUN_IN_EVERY_PROCESS)]
            )
        device = next((p.device.type for p in self.network.parameters()), "cpu")
        self._fresh_mean = lambda: (LossMeter if device == "cpu" else AsyncLossMeter)(self.engine.rows)
        self.mean = self._fresh_mean()
        self.now.log = self.show.log
        model: Any = self.network if self.model is None else self.model
        model.stop_training = False
        for callback in self.hooks.callbacks:
            callback.trainer = self.now
            callback.set_params(self.history.params)
            callback.set_model(model)

    def _agree(self) -> None:
        """Deal the same batches in every process, and draw different masks."""
        if isinstance(self.batches, Batches):
            self.batches.restore(self.engine.gather(self.batches.state())[0])
        seed = self.engine.gather(int(torch.randint(2**31, ())))[0]
        torch.manual_seed(seed + self.engine.rank)

    def _run_epoch(self) -> None:
        began, epoch = perf_counter(), self.epoch
        self.now.epoch = epoch
        if self.step == 0:
            self.mean = self._fresh_mean()
            for metric in self.metrics:
                metric.reset()
            self.hooks.call("on_epoch_begin", epoch, {})
        self.network.train()
        self._steps(self._dealt())
        self._merge()
        logs = self._results()
        if self.validate is not None:
            logs.update(self._validated(self.validate))
        self.hooks.call("on_epoch_end", epoch, logs)
        self.history.add(epoch, logs)
        self.show.end_epoch(epoch, self.step, logs, perf_counter() - began)
        self._look_for_stop()
        self.epoch, self.step = epoch + 1, 0
        if self.resume is not None and self._due():
            self._write()

    def _dealt(self) -> Iterator[Batch]:
        """The batches of this epoch, without those that a killed run has been through."""
        if self.step:
            found = self._dealt_from_the_middle()
        else:
            if self.resume is not None:
                self._order = {"chance": checkpoint.rng_state(), "batches": _order_of(self.batches)}
            found = iter(self.batches)
        if not isinstance(self.batches, (Batches, BPTTChunks)):
            found = map(as_batch, found)
        if self.engine.world > 1:
            found = map(self.engine.shard, found)
        move = to_device(self.network)
        return found if move is _same else map(move, found)

    def _dealt_from_the_middle(self) -> Iterator[Any]:
        now = checkpoint.rng_state()
        checkpoint.set_rng_state(self._order["chance"])
        if isinstance(self.batches, Batches):
            self.batches.restore(self._order["batches"])
        found = iter(self.batches)
        done = sum(1 for _ in islice(found, self.step))
        if done < self.step:
            expected = f"the data of the checkpoint, at least {self.step} batches an epoch"
            raise errors.value_error("batches", expected, done, "pass the same data, or start afresh")
        checkpoint.set_rng_state(now)
        return found

    def _steps(self, found: Iterator[Batch]) -> None:
        """Every step of an epoch: what is here is paid at every one of them."""
        engine, loss, add, metrics = self.engine, self.loss, self.mean.add, self.metrics
        forward, take, before, after = engine.forward, engine.step, self._before(), self._after()
        state, step, epoch = self.state, self.step, self.epoch
        for batch in found:
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
        self.mean.flush()
        if not after:
            self.now.steps += step
        self.step, self.state = step, detach_state(state)

    def _before(self) -> list[Callable[[int], None]]:
        """What is done before a step; nothing at all for most."""
        found: list[Callable[[int], None]] = []
        if self.schedule is not None and not isinstance(self.schedule, LRScheduler):
            found.append(self._set_rate)
        if self.hooks.has("on_train_batch_begin"):
            found.append(lambda step: self.hooks.call("on_train_batch_begin", step, {}))
        return found

    def _after(self) -> list[Callable[[int], None]]:
        """What is done after a step, counting it first; nothing at all for most."""
        found: list[Callable[[int], None]] = []
        if isinstance(self.schedule, LRScheduler):
            found.append(lambda step: self.schedule.step())
        if self.hooks.has("on_train_batch_end"):
            found.append(lambda step: self.hooks.call("on_train_batch_end", step - 1, self._results()))
        if isinstance(self.show, progress.ProgressBar):
            found.append(lambda step: self.show.step(self.epoch, step, self._results))
        if self.resume is not None:
            found.append(lambda step: self._write() if self._due() else None)
        return [self._count, *found] if found or self._before() else []

    def _count(self, step: int) -> None:
        self.now.steps += 1

    def _set_rate(self, step: int) -> None:
        self.now.learning_rate = self.schedule(self.now.steps)

    def _due(self) -> bool:
        """Whether to write a checkpoint; of several processes the first decides, now and then."""
        if self.resume is None:
            return False
        if self.engine.world == 1:
            return self.resume.should_write(self.now.steps)
        if self.resume.steps is None and self.now.steps % 16:
            return False
        return self.engine.gather(self.resume.should_write(self.now.steps))[0]

    def _merge(self) -> None:
        """At the end of an epoch: the loss and the metrics of all processes."""
        if self.engine.world == 1:
            return
        parts = self.engine.gather((self.mean.total, self.mean.count, [m.state() for m in self.metrics]))
        self.mean.total, self.mean.count = sum(part[0] for part in parts), sum(part[1] for part in parts)
        for place, metric in enumerate(self.metrics):
            states = [part[2][place] for part in parts]
            metric.restore({name: sum(state[name] for state in states) for name in states[0]})

    def _results(self) -> Logs:
        """The mean loss and the metrics so far."""
        return {"loss": self.mean.result(), **{m.name: float(m.result()) for m in self.metrics}}

    def _validated(self, validate: Validation) -> Logs:
        self.hooks.call("on_test_begin", {})
        if callable(validate):
            found = dict(validate())
        else:
            forward = self.engine.forward
            found = _evaluated(forward, self.network, validate, self.loss, self.metrics, None)
        self.hooks.call("on_test_end", found)
        return {f"val_{name}": float(value) for name, value in found.items()}

    def _look_for_stop(self) -> None:
        model = self.network if self.model is None else self.model
        if self.now.stopped is None and model.stop_training:
            self.now.stopped = "a callback set stop_training"
        if self.engine.world > 1:
            self.now.stopped = self.engine.gather(self.now.stopped)[0]

    def _last_logs(self) -> Logs:
        return {name: values[-1] for name, values in self.history.history.items()}

    def _write(self) -> None:
        assert self.resume is not None
        snapshot = self.snapshot()
        if self.engine.rank == 0:
            self.resume.write(snapshot)

    def snapshot(self) -> dict[str, Any]:
        """Everything that decides how training goes on; of all processes."""
        self.mean.flush()
        own = {
            "chance": checkpoint.rng_state(),
            "order": self._order,
            "batches": _order_of(self.batches),
            "state": self.state,
            "mean": (self.mean.total, self.mean.count),
            "metrics": [metric.state() for metric in self.metrics],
        }
        planned = isinstance(self.schedule, LRScheduler)
        return {
            "epoch": self.epoch,
            "step": self.step,
            "steps": self.now.steps,
            "stopped": self.now.stopped,
            "weights": dict(self.network.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict() if planned else None,
            "callbacks": [callback.state() for callback in self.callbacks],
            "history": {"history": self.history.history, "epoch": self.history.epoch},
            "precision": self.engine.state(),
            "own": self.engine.gather(own),
        }

    def _go_on(self, kept: dict[str, Any]) -> None:
        """Be where a snapshot was taken."""
        if len(kept["own"]) != self.engine.world:
            expected = f"{len(kept['own'])}, as many as wrote the checkpoint"
            raise errors.value_error(
                "processes", expected, self.engine.world, "ask for as many, or start afresh"
            )
        self.adopt(kept, self.engine.rank)
        self.mean.total, self.mean.count = kept["own"][self.engine.rank]["mean"]
        self.engine.restore(kept["precision"])

    def adopt(self, kept: dict[str, Any], rank: int) -> None:
        """Take over what a snapshot holds of the process `rank`."""
        where = "" if self.resume is None else self.resume.path
        checkpoint.check_fits(self.network, kept["weights"], where)
        self.network.load_state_dict(kept["weights"])
        self.optimizer.load_state_dict(kept["optimizer"])
        if kept["schedule"] is not None:
            self.schedule.load_state_dict(kept["schedule"])
        self.epoch, self.step, self.now.steps = kept["epoch"], kept["step"], kept["steps"]
        self.now.stopped = self.history.stopped = kept["stopped"]
        self.history.history, self.history.epoch = kept["history"]["history"], kept["history"]["epoch"]
        for callback, state in zip(self.callbacks, kept["callbacks"], strict=False):
            if state is not None:
                callback.restore(state)
        self._adopt_own(kept["own"][rank])

    def _adopt_own(self, own: dict[str, Any]) -> None:
        self._order, self.state = own["order"], own["state"]
        if isinstance(self.network, Stateful):
            self.network.carry(self.state)
        if isinstance(self.batches, Batches):
            self.batches.restore(own["batches"])
        for metric, state in zip(self.metrics, own["metrics"], strict=False):
            metric.restore(state)
        checkpoint.set_rng_state(own["chance"])


def _redealt(batches: Any, epochs: int) -> Any:
    """The batches, if they can be dealt every epoch."""
    if not isinstance(batches, Iterable):
        way_out = "pass longspan.data.Batches or a DataLoader"
        raise errors.type_error("batches", "batches to go through every epoch", batches, way_out)
    if isinstance(batches, Iterator) and epochs > 1:
        way_out = "pass a list, longspan.data.Batches or a DataLoader"
        raise errors.type_error("batches", "batches that can be dealt every epoch", batches, way_out)
    return batches


def _length(batches: Any) -> int | None:
    """Batches an epoch, None where that is not known before."""
    try:
        return len(batches)
    except TypeError:
        return None


def _order_of(batches: Any) -> Tensor | None:
    return batches.state() if isinstance(batches, Batches) else None
