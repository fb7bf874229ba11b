"""Knows what can be done between steps and epochs: stop, save, slow down, log; by Keras' names."""

from __future__ import annotations

import csv
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.optim import Optimizer

from longspan import artifact, errors
from longspan.optimizers import KerasOptimizer
from longspan.optional import require

Logs = dict[str, float]

HOOKS = (
    "on_train_begin",
    "on_train_end",
    "on_epoch_begin",
    "on_epoch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_begin",
    "on_test_end",
)


@dataclass
class TrainerState:
    """What a callback may read and change of the training that is going on.

    epoch: from 0; steps: optimizer steps since the start; directions: metric -> "up", "down" or None;
    stopped: why training ends after this epoch, None while it goes on; log: prints a line where the progress
    is shown.
    """

    network: nn.Module
    optimizer: Optimizer
    directions: Mapping[str, str | None] = field(default_factory=dict)
    epoch: int = 0
    steps: int = 0
    stopped: str | None = None
    log: Callable[[str], None] = print

    @property
    def learning_rate(self) -> float:
        """The learning rate of the first group of parameters; setting it sets all of them."""
        return float(self.optimizer.param_groups[0]["lr"])

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        if isinstance(self.optimizer, KerasOptimizer):
            self.optimizer.learning_rate = value
        for group in self.optimizer.param_groups:
            group["lr"] = float(value)


class Callback:
    """What is called between steps and epochs; override the hooks you need, the others cost nothing.

    Attributes:
        model: the network that is trained, or the model around it.
        params: epochs, steps and verbose as asked for.
        run: what may be read and changed of the training (see `Run`).

    In a hook, `logs` maps names to numbers so far; setting `self.model.stop_training = True` ends training
    after the epoch.
    """

    model: Any = None
    params: dict[str, Any]
    trainer: TrainerState

    def set_model(self, model: Any) -> None:
        """Called once before training."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Called once before training."""
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """After the last epoch."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before an epoch, counted from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """After an epoch and its validation; what is added to `logs` goes into History."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a step, counted from 0 in its epoch."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a step."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Before validation."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """After validation."""

    def state(self) -> Any:
        """What a checkpoint keeps of this callback: None, numbers, text, tensors, dicts, lists, tuples."""
        return None

    def restore(self, state: Any) -> None:
        """Go on from what `state` gave; called after on_train_begin, and only if it was not None."""


class CallbackList:
    """The hooks that callbacks override, ready to be called."""

    def __init__(self, callbacks: Iterable[Any]) -> None:
        self.callbacks: list[Callback] = []
        for one in callbacks:
            if not isinstance(one, Callback):
                way_out = "make its class a subclass of longspan.training.Callback"
                raise errors.type_error("callbacks", "Callback objects", one, way_out)
            self.callbacks.append(one)
        self._hooks = {
            name: [getattr(c, name) for c in self.callbacks if _overrides(c, name)] for name in HOOKS
        }

    def has(self, name: str) -> bool:
        """Whether anyone wants this hook."""
        return bool(self._hooks[name])

    def call(self, name: str, *arguments: Any) -> None:
        """Call a hook of everyone who has it."""
        for hook in self._hooks[name]:
            hook(*arguments)


def _overrides(callback: Callback, name: str) -> bool:
    return getattr(type(callback), name) is not getattr(Callback, name) or name in vars(callback)


class _Monitor(Callback):
    """A callback that watches one number. Abstract."""

    def __init__(self, monitor: str, mode: str, min_delta: float) -> None:
        self.monitor = monitor
        self.mode = errors.check_choice("mode", mode, ("auto", "min", "max"))
        self.min_delta = abs(min_delta)
        self.best: float | None = None

    def value(self, logs: Logs | None) -> float:
        """The number watched, or an error that names those there are."""
        if not logs or self.monitor not in logs:
            raise errors.value_error(
                f"monitor of {type(self).__name__}",
                f"one of {', '.join(logs or ())}",
                repr(self.monitor),
                "pass validation data" if self.monitor.startswith("val_") else "choose one of these",
            )
        return logs[self.monitor]

    def better(self, value: float, than: float | None) -> bool:
        """Whether the value is an improvement by more than min_delta."""
        if than is None:
            return True
        return value + self.min_delta < than if self._falls() else value - self.min_delta > than

    def _falls(self) -> bool:
        if self.mode != "auto":
            return self.mode == "min"
        name = self.monitor.removeprefix("val_")
        direction = "down" if name == "loss" else self.trainer.directions.get(name)
        if direction is None:
            expected = 'mode="min" or mode="max", since it is not known which way this metric improves'
            raise errors.value_error(f"monitor {self.monitor!r}", expected, 'mode="auto"', "say which")
        return direction == "down"


class EarlyStopping(_Monitor):
    """Stop when a number has not improved for some epochs.

    Args:
        monitor: the number watched, such as "val_loss".
        min_delta: the least change that counts as an improvement.
        patience: epochs without improvement after which training stops.
        verbose: 1 says when it stops and what it restores.
        mode: "min", "max", or "auto" by what the number is.
        baseline: a value that an improvement must also beat to reset the patience.
        restore_best_weights: end with the weights of the best epoch.
        start_from_epoch: epochs to wait before watching.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = errors.check_int("patience", patience, 0, "give a number of epochs")
        self.verbose, self.baseline = verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self.wait = self.best_epoch = self.stopped_epoch = 0
        self.best_weights: dict[str, Tensor] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.wait = self.best_epoch = self.stopped_epoch = 0
        self.best = self.best_weights = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = self.value(logs)
        if epoch < self.start_from_epoch:
            return
        self.wait += 1
        if self.better(value, self.best):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self.best_weights = weights_of(self.trainer.network)
            if self.baseline is None or self.better(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.trainer.stopped = f"{self.monitor} did not improve for {self.wait} epochs"

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch and self.verbose:
            self.trainer.log(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose:
                self.trainer.log(f"Restoring the weights of the best epoch: {self.best_epoch + 1}.")
            self.trainer.network.load_state_dict(self.best_weights)

    def state(self) -> Any:
        return {
            "wait": self.wait,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "stopped_epoch": self.stopped_epoch,
            "best_weights": self.best_weights,
        }

    def restore(self, state: Any) -> None:
        self.wait, self.best, self.best_epoch = state["wait"], state["best"], state["best_epoch"]
        self.stopped_epoch, self.best_weights = state["stopped_epoch"], state["best_weights"]


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """A copy of everything that load_state_dict takes."""
    return {
        name: value.detach().clone()
        for name, value in network.state_dict().items()
        if isinstance(value, Tensor)
    }


class ReduceLROnPlateau(_Monitor):
    """Lower the learning rate when a number has not improved for some epochs.

    Args:
        monitor, mode, min_delta: as for `EarlyStopping`.
        factor: what the rate is multiplied by, below 1.
        patience: epochs without improvement before it is lowered.
        verbose: 1 says when it is.
        cooldown: epochs to wait after that.
        min_lr: never below.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.factor = errors.check_fraction("factor", factor, below_one=True)
        self.patience, self.verbose, self.cooldown, self.min_lr = patience, verbose, cooldown, min_lr
        self.wait = self.pause = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.best, self.wait, self.pause = None, 0, 0

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = self.value(logs)
        if logs is not None:
            logs["learning_rate"] = self.trainer.learning_rate
        if self.pause:
            self.pause -= 1
            self.wait = 0
        if self.better(value, self.best):
            self.best, self.wait = value, 0
        elif not self.pause:
            self.wait += 1
            if self.wait >= self.patience and self.trainer.learning_rate > self.min_lr:
                self._reduce(epoch)

    def _reduce(self, epoch: int) -> None:
        self.trainer.learning_rate = max(self.trainer.learning_rate * self.factor, self.min_lr)
        self.pause, self.wait = self.cooldown, 0
        if self.verbose:
            self.trainer.log(f"Epoch {epoch + 1}: the learning rate is now {self.trainer.learning_rate:.4g}.")

    def state(self) -> Any:
        return {"best": self.best, "wait": self.wait, "pause": self.pause}

    def restore(self, state: Any) -> None:
        self.best, self.wait, self.pause = state["best"], state["wait"], state["pause"]


class LearningRateScheduler(Callback):
    """Set the learning rate before every epoch.

    Args:
        schedule: a function (epoch, rate) -> rate, or (epoch) -> rate; epochs count from 0.
        verbose: 1 says what it sets.
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        self.schedule, self.verbose = schedule, verbose
        self._both = len(inspect.signature(schedule).parameters) > 1

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        rate = self.schedule(epoch, self.trainer.learning_rate) if self._both else self.schedule(epoch)
        self.trainer.learning_rate = float(rate)
        if self.verbose:
            self.trainer.log(f"Epoch {epoch + 1}: the learning rate is now {self.trainer.learning_rate:.4g}.")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = self.trainer.learning_rate


@runtime_checkable
class Savable(Protocol):
    """A model that writes itself, such as Sequential."""

    def save(self, path: str) -> None: ...

    def save_weights(self, path: str) -> None: ...


class ModelCheckpoint(_Monitor):
    """Save the model as it gets better, or all the time; to go on with training use `resume` of train.

    Args:
        filepath: where to; {epoch} (from 1), {batch} and the names of logs in it are filled in, such as
            "model-{epoch:02d}-{val_loss:.2f}.ls".
        monitor, mode: as for `EarlyStopping`.
        verbose: 1 says when it saves.
        save_best_only: only when the number watched improves.
        save_weights_only: weights without the model around them.
        save_freq: "epoch", or a number of steps.
        initial_value_threshold: a value that the first improvement must beat.

    A model with `save` and `save_weights` writes itself; any other network's weights go to a file that
    `longspan.artifact.load` reads.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode, 0.0)
        self.filepath, self.verbose = os.fspath(filepath), verbose
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        if save_freq != "epoch":
            save_freq = errors.check_int("save_freq", save_freq, 1, 'give "epoch" or a number of steps')
        self.save_freq, self._since = save_freq, 0
        self.best = initial_value_threshold
        if isinstance(save_freq, int):
            self.on_train_batch_end = self._on_step  # costs nothing where it is not asked for

    def _on_step(self, batch: int, logs: Logs | None = None) -> None:
        self._since += 1
        if self._since == self.save_freq:
            self._since = 0
            self._consider(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._consider(None, logs)

    def _consider(self, batch: int | None, logs: Logs | None) -> None:
        if self.save_best_only:
            value = self.value(logs)
            if not self.better(value, self.best):
                return
            self.best = value
        step = {} if batch is None else {"batch": batch + 1}
        try:
            path = self.filepath.format(epoch=self.trainer.epoch + 1, **step, **(logs or {}))
        except KeyError as error:
            known = ", ".join(["epoch", *step, *(logs or {})])
            raise errors.value_error(
                "filepath", f"names among {known}", error, "leave the others out"
            ) from error
        self._write(path)
        if self.verbose:
            self.trainer.log(f"Epoch {self.trainer.epoch + 1}: saved {path}")

    def _write(self, path: str) -> None:
        if not isinstance(self.model, Savable):
            artifact.save(path, {"kind": "weights"}, weights_of(self.trainer.network))
        elif self.save_weights_only:
            self.model.save_weights(path)
        else:
            self.model.save(path)

    def state(self) -> Any:
        return {"best": self.best, "since": self._since}

    def restore(self, state: Any) -> None:
        self.best, self._since = state["best"], state["since"]


class CSVLogger(Callback):
    """Write the numbers of every epoch to a CSV file, a row an epoch.

    Args:
        filename: the file; its folder is made where it is missing.
        separator: between values.
        append: go on after what the file holds instead of starting it anew. Training that resumes does so by
            itself, without a row twice.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        self.path, self.separator, self.append = Path(filename), separator, append
        self._names: list[str] = []
        self._size = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._names = []
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._size = self.path.stat().st_size if self.append and self.path.exists() else 0
        if self._size:
            with self.path.open(newline="") as file:
                self._names = next(csv.reader(file, delimiter=self.separator))[1:]

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        self._names = self._names or sorted(logs)
        with self.path.open("r+" if self._size else "w", newline="") as file:
            file.truncate(self._size)
            file.seek(self._size)
            table = csv.writer(file, delimiter=self.separator)
            if not self._size:
                table.writerow(["epoch", *self._names])
            table.writerow([epoch, *(logs.get(name, "NA") for name in self._names)])
            self._size = file.tell()

    def state(self) -> Any:
        return {"names": self._names, "size": self._size}

    def restore(self, state: Any) -> None:
        self._names = state["names"]
        self._size = min(state["size"], self.path.stat().st_size if self.path.exists() else 0)


class TensorBoard(Callback):
    """Write the numbers of every epoch for TensorBoard, which must be installed.

    Args:
        log_dir: the folder; training goes to `train` in it and validation to `validation`.

    Raises:
        ImportError: tensorboard is missing; the sentence names the command.
    """

    def __init__(self, log_dir: str | os.PathLike[str] = "logs") -> None:
        require("tensorboard", "tensorboard", "TensorBoard")
        self.log_dir = Path(log_dir)
        self._writers: dict[str, Any] = {}

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        for name, value in (logs or {}).items():
            folder = "validation" if name.startswith("val_") else "train"
            self._writer(folder).add_scalar(f"epoch_{name.removeprefix('val_')}", value, epoch)
        for writer in self._writers.values():
            writer.flush()

    def _writer(self, folder: str) -> Any:
        if folder not in self._writers:
            board = require("torch.utils.tensorboard", "tensorboard", "TensorBoard")
            self._writers[folder] = board.SummaryWriter(str(self.log_dir / folder))
        return self._writers[folder]

    def on_train_end(self, logs: Logs | None = None) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}


class TerminateOnNaN(Callback):
    """End training quietly at a NaN or infinite loss, as in Keras; without this callback that is an error.

    The step is named in `History.stopped` either way, and the step is not taken.
    """


class LambdaCallback(Callback):
    """Functions for hooks, given by the hooks' names.

    >>> callback = LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))
    """

    def __init__(self, **hooks: Callable[..., None] | None) -> None:
        for name, function in hooks.items():
            errors.check_choice("hook", name, HOOKS)
            if function is not None:
                setattr(self, name, function)


# what several processes do alike, each for itself: the others write files or screens, which one does
RUN_IN_EVERY_PROCESS = (EarlyStopping, ReduceLROnPlateau, LearningRateScheduler)
