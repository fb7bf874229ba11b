"""Trains and evaluates a network: `train` and `evaluate`, which tasks and Keras-shaped models call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from longspan import errors
from longspan.callbacks import Callback, CallbackList, History
from longspan.nn.quantization import check_trainable

from . import checkpoint, engines
from . import processes as processes_
from .distributed import DistributedEngine
from .epoch_batches import length_of
from .evaluation import Logs, evaluate_batches
from .objective import as_loss, as_metrics
from .process_groups import ProcessGroup
from .trainer import Trainer, Validation


def train(
    network: nn.Module,
    batches: Iterable[Any],
    loss: Any,
    optimizer: Optimizer,
    *,
    epochs: int,
    initial_epoch: int = 0,
    validate: Validation | None = None,
    validation_freq: int | Sequence[int] = 1,
    metrics: Sequence[Any] = (),
    callbacks: Sequence[Any] | Callback = (),
    clip_norm: float | None = None,
    clip_value: float | None = None,
    schedule: LRScheduler | Callable[[int], float] | None = None,
    verbose: int | str = 1,
    resume: Any = None,
    precision: str | None = None,
    processes: int | None = None,
    state: Any = None,
    model: Any = None,
    engine: Any = None,
) -> History:
    """Train a network in place.

    Args:
        network: maps (batch, state) to (output, state). A batch with `continues` gets the state that the
            previous batch returned (tensors and tuples of them), detached; any other batch gets None.
        batches: Batch objects, iterated every epoch: `Batches`, `BPTTChunks`, a DataLoader, a list.
        loss: a name or object of longspan.losses, or a function (output, batch) -> one number.
        optimizer: of the network's parameters; those of `longspan.optimizers` step fastest.
        epochs: the number of the last epoch, counted from 1.
        initial_epoch: the number of epochs that an earlier call has trained.
        validate: batches to evaluate on after every epoch, or a function that returns numbers by name. In the
            logs "val_" precedes their names.
        validation_freq: validate every so many epochs; or the epochs, counted from 1, that have one.
        metrics: names or objects of longspan.metrics, or objects that read whole batches (see
            `longspan.training.objective.MetricLike`).
        callbacks: `Callback` objects, or one.
        clip_norm: the largest norm of all gradients together; larger gradients are scaled down to it.
        clip_value: the largest magnitude of a gradient's values; larger values are set to it.
        schedule: a function from the optimizer step, counted from 0, to the learning rate. Or a scheduler of
            torch, whose `step` is called after every optimizer step.
        verbose: 0 for no output, 1 for a progress bar in a terminal, 2 for a line per epoch.
        resume: a checkpoint file to resume from and to write, or a `CheckpointConfig`.
        precision: such as "bf16-mixed", through lightning-fabric; None for the dtype of the parameters.
        processes: the number of processes that share every batch. They are forked, with one thread each;
            under torchrun they are those that torchrun started. Weights are those of one process, to
            rounding; only dropout and negative samples are drawn by each process for itself.
        state: the state for the first batch, if that batch has `continues`.
        model: the callbacks' `model`; None for the network.
        engine: what takes the steps instead of `optimizer` (see `longspan.training.engines.SingleProcess`).

    Returns:
        The numbers of every epoch; the loss is the mean over rows.

    Raises:
        FloatingPointError: a loss is NaN or infinite; the sentence names epoch and step. On the CPU the
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
    check_trainable(network)
    trainer = Trainer(
        network,
        batches,
        as_loss(loss),
        optimizer,
        epochs=errors.check_int("epochs", epochs, 0, "give the number of the last epoch"),
        initial_epoch=errors.check_int("initial_epoch", initial_epoch, 0, "give the epochs that are done"),
        validate=validate,
        validation_freq=_checked_freq(validation_freq),
        metrics=as_metrics(metrics),
        callbacks=callbacks,
        clip=(clip_norm, clip_value),
        schedule=_checked_schedule(schedule),
        verbose=verbose,
        resume=checkpoint.as_checkpoint_config(resume),
        state=state,
        model=model,
    )
    if engine is not None:
        return trainer.run(engine)
    if processes is not None and processes_.check_processes(processes) > 1:
        return _run_in_processes(trainer, precision, processes)
    return trainer.run(_engine(trainer, precision))


def _engine(trainer: Trainer, precision: str | None) -> engines.SingleProcess | engines.FabricEngine:
    """What takes the steps in one process."""
    network, optimizer = trainer.network, trainer.optimizer
    if precision is None:
        counts_steps = isinstance(trainer.schedule, LRScheduler)  # by a hook on `optimizer.step`
        return engines.SingleProcess(network, optimizer, *trainer.clip, counts_steps)
    return engines.FabricEngine(engines.fabric_of(network, precision), network, optimizer, *trainer.clip)


def _run_in_processes(trainer: Trainer, precision: str | None, count: int) -> History:
    def run(group: ProcessGroup) -> History:
        engine = _engine(trainer, precision)
        return trainer.run(DistributedEngine(engine, group, trainer.network, trainer.status))

    weights = engines.parameters_of(trainer.network, trainer.optimizer)
    return processes_.run_in_processes(count, weights, run)


def _checked_freq(freq: Any) -> int | frozenset[int]:
    if isinstance(freq, (list, tuple, set, frozenset, range)):
        way_out = "give epochs counted from 1"
        return frozenset(errors.check_int("validation_freq", epoch, 1, way_out) for epoch in freq)
    return errors.check_int("validation_freq", freq, 1, "validate every so many epochs, or list the epochs")


def _checked_schedule(schedule: Any) -> Any:
    if isinstance(schedule, ReduceLROnPlateau):
        way_out = "use longspan.training.ReduceLROnPlateau among the callbacks"
        raise errors.value_error("schedule", "one that needs no metric", "torch's ReduceLROnPlateau", way_out)
    if schedule is not None and not isinstance(schedule, LRScheduler) and not callable(schedule):
        expected = "a function from the step to a rate, or a scheduler of torch"
        raise errors.type_error("schedule", expected, schedule, "leave it out for a constant rate")
    return schedule


def evaluate(
    network: nn.Module,
    batches: Iterable[Any],
    loss: Any,
    metrics: Sequence[Any] = (),
    *,
    state: Any = None,
    callbacks: Sequence[Any] | Callback = (),
    model: Any = None,
) -> Logs:
    """The mean loss over rows and the metrics, without training.

    Args:
        network, batches, loss, metrics, state, callbacks, model: as for `train`.

    Returns:
        "loss" and every metric by name.

    Raises:
        ValueError: there is no batch.
    """
    hooks = CallbackList(callbacks)
    hooks.attach(network if model is None else model, {"steps": length_of(batches), "verbose": 0})
    hooks.call("on_test_begin", {})
    if model is not None:
        model.stop_evaluating = False
    loss, metrics = as_loss(loss), as_metrics(metrics)
    logs = evaluate_batches(network, network, batches, loss, metrics, state, hooks, model)
    hooks.call("on_test_end", logs)
    return logs
