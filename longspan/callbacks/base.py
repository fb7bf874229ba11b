"""Defines callbacks: the hooks of training that users override, and what a hook may read and change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from longspan import errors, ops
from longspan.optimizers import KerasOptimizer, MultiOptimizer, MultiStepper, OptimizerConfig

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
    "on_test_batch_begin",
    "on_test_batch_end",
    "on_predict_begin",
    "on_predict_end",
    "on_predict_batch_begin",
    "on_predict_batch_end",
)
# Keras' older names of two hooks: called where the hook itself is not overridden.
OLDER_NAMES = {"on_train_batch_begin": "on_batch_begin", "on_train_batch_end": "on_batch_end"}


@dataclass
class TrainerState:
    """The state of training that a callback may read and change.

    Args:
        network, optimizer: what is trained, an nn.Module, and by what, an optimizer of torch.
        directions: metric -> "up" where more is better, "down", or None where it is unknown.
        epoch: the current epoch, from 0.
        steps: optimizer steps since the start.
        stopped: why training ends after this epoch; None while it goes on.
        skips_validation: whether this epoch leaves the validation out, which others have.
        log: prints a line beside the progress display.
    """

    network: Any
    optimizer: Any
    directions: Mapping[str, str | None] = field(default_factory=dict)
    epoch: int = 0
    steps: int = 0
    stopped: str | None = None
    skips_validation: bool = False
    log: Callable[[str], None] = print

    @property
    def learning_rate(self) -> float:
        """The learning rate of the first group of parameters; setting it sets all of them."""
        return _rate_of(self.optimizers[0])

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.change_learning_rate(lambda rate: value)

    @property
    def optimizers(self) -> list[Any]:
        """The optimizer, or those of a MultiOptimizer, each of which has a learning rate."""
        several = isinstance(self.optimizer, (MultiOptimizer, MultiStepper))
        return self.optimizer.optimizers if several else [self.optimizer]

    def change_learning_rate(self, change: Callable[[float], float]) -> None:
        """Set the learning rate of every optimizer to what a function makes of it."""
        for optimizer in self.optimizers:
            value = float(change(_rate_of(optimizer)))
            if isinstance(optimizer, (KerasOptimizer, OptimizerConfig)):
                optimizer.learning_rate = value
            else:
                for group in optimizer.param_groups:
                    group["lr"] = value


def _rate_of(optimizer: Any) -> float:
    """The learning rate of an optimizer: of torch, by its first group, or of one that is not built yet."""
    if isinstance(optimizer, OptimizerConfig):
        return float(optimizer.learning_rate)  # pyright: ignore[reportArgumentType]
    return float(optimizer.param_groups[0]["lr"])


class Callback:
    """Hooks that fit, evaluate and predict call; a hook that is not overridden costs nothing.

    Attributes:
        model: the network that is trained, or the model around it.
        params: epochs, steps and verbose as asked for.
        trainer: the state of training, to read and change (see `TrainerState`).

    In a hook, `logs` maps names to the numbers so far. Setting `self.model.stop_training = True` ends
    training: after a step the epoch's other steps are left out.
    """

    model: Any = None
    params: dict[str, Any]
    _trainer: TrainerState | None = None

    @property
    def trainer(self) -> TrainerState:
        """The state of training; in a loop of one's own, that of the model which `set_model` set."""
        if self._trainer is None:
            self._trainer = TrainerState(self.model, getattr(self.model, "optimizer", None))
        return self._trainer

    @trainer.setter
    def trainer(self, state: TrainerState) -> None:
        self._trainer = state

    def set_model(self, model: Any) -> None:
        """Called once before training; a loop of one's own calls it itself."""
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
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a step."""
        self.on_batch_end(batch, logs)

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Keras' older name of `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Keras' older name of `on_train_batch_end`."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Before a validation or `evaluate`."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """After a validation or `evaluate`."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of a validation or of `evaluate`, counted from 0."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of a validation or of `evaluate`; `logs` has the numbers of the batches so far."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Before `predict`."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """After `predict`."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of `predict`, counted from 0."""

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        """After a batch of `predict`; `logs` has its "outputs"."""

    def state(self) -> Any:
        """What a checkpoint saves of this callback: None, numbers, text, tensors, dicts, lists, tuples."""
        return None

    def restore(self, state: Any) -> None:
        """Take back what `state` gave; called after on_train_begin, unless that was None."""


class CallbackList:
    """Several callbacks as one: calls a hook of all that override it.

    Args:
        callbacks: the callbacks, or one.
    """

    def __init__(self, callbacks: Iterable[Any] | Callback) -> None:
        self.callbacks: list[Callback] = []
        for callback in [callbacks] if isinstance(callbacks, Callback) else callbacks:
            if not isinstance(callback, Callback):
                way_out = "make its class a subclass of longspan.training.Callback"
                raise errors.type_error("callbacks", "Callback objects", callback, way_out)
            _note_unknown_hooks(callback)
            self.callbacks.append(callback)
        self._hooks = {
            name: [getattr(c, name) for c in self.callbacks if _overrides(c, name)] for name in HOOKS
        }

    def attach(self, model: Any, params: dict[str, Any]) -> None:
        """Give every callback the model and what was asked for."""
        for callback in self.callbacks:
            callback.set_params(params)
            callback.set_model(model)

    def has(self, name: str) -> bool:
        """Whether any callback overrides this hook."""
        return bool(self._hooks[name])

    def call(self, name: str, *arguments: Any) -> None:
        """Call a hook of every callback that overrides it."""
        for hook in self._hooks[name]:
            hook(*arguments)


def _overrides(callback: Callback, name: str) -> bool:
    names = [name, OLDER_NAMES[name]] if name in OLDER_NAMES else [name]
    return any(getattr(type(callback), n) is not getattr(Callback, n) or n in vars(callback) for n in names)


def _note_unknown_hooks(callback: Callback) -> None:
    """Say which methods are named like hooks and are none."""
    names = [name for name in dir(callback) if name.startswith("on_")]
    for name in names:
        if name not in HOOKS and name not in OLDER_NAMES.values():
            near = errors.did_you_mean(name, HOOKS)
            errors.notice(f"{type(callback).__name__}.{name} is not a hook and is not called; {near}.")


class LambdaCallback(Callback):
    """Functions as hooks, by the hooks' names.

    >>> callback = LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))
    """

    def __init__(self, **hooks: Callable[..., Any] | None) -> None:
        """`hooks`: by the hooks' names; a name that does not begin with on_ becomes a method of that name."""
        for name, function in hooks.items():
            if name.startswith("on_"):
                errors.check_choice("hook", name, (*HOOKS, *OLDER_NAMES.values()))
            if function is not None:
                setattr(self, name, function)


class Monitor(Callback):
    """A callback that monitors one number of the logs. Abstract.

    Attributes:
        without: what it does where the logs do not have the number, in words.
    """

    without = "does nothing"

    def __init__(self, monitor: str, mode: str, min_delta: float) -> None:
        self.monitor = monitor
        self.mode = errors.check_choice("mode", mode, ("auto", "min", "max"))
        self.min_delta = abs(min_delta)
        self.best: float | None = None
        self._noted = False  # whether it was said that the number is missing

    def value(self, logs: Logs | None) -> float | None:
        """The monitored number; None with a notice where the logs do not have it.

        Without a notice where validation does not take place in every epoch.
        """
        if logs and self.monitor in logs:
            return logs[self.monitor]
        if logs and self.mode == "auto" and self._direction() is None:
            names = ", ".join(logs)
            way_out = errors.did_you_mean(self.monitor, list(logs))
            raise errors.value_error("monitor", f"one of the numbers {names}", repr(self.monitor), way_out)
        validation = self.monitor.startswith("val_")
        if not self._noted and not (validation and self.trainer.skips_validation):
            self._noted = True
            way_out = "pass validation data" if validation else "choose one of these"
            names = ", ".join(logs or ())
            errors.notice(
                f"{type(self).__name__} monitors {self.monitor!r}, which is not among {names}, and "
                f"{self.without}; {way_out}."
            )
        return None

    def better(self, value: float, reference: float | None) -> bool:
        """Whether the value improves on the reference by more than min_delta; on None, always."""
        if reference is None:
            return True
        return (
            value + self.min_delta < reference
            if self._lower_is_better()
            else value - self.min_delta > reference
        )

    @property
    def monitor_op(self) -> Callable[..., Any]:
        """`longspan.ops.less` where a lower number is better, else `longspan.ops.greater`."""
        return ops.less if self._lower_is_better() else ops.greater

    def _lower_is_better(self) -> bool:
        if self.mode != "auto":
            return self.mode == "min"
        direction = self._direction()
        if direction is None:
            expected = 'mode="min" or mode="max", since it is not known which way this metric improves'
            raise errors.value_error(f"monitor {self.monitor!r}", expected, 'mode="auto"', "say which")
        return direction == "down"

    def _direction(self) -> str | None:
        """ "up" where more of the monitored number is better, "down", or None where it is unknown."""
        name = self.monitor.removeprefix("val_")
        return "down" if name == "loss" else self.trainer.directions.get(name)


@runtime_checkable
class Weighted(Protocol):
    """A model that is no nn.Module, with Keras' two methods for its weights."""

    def get_weights(self) -> Any: ...

    def set_weights(self, weights: Any) -> None: ...


def weights_of(network: nn.Module | Weighted) -> Any:
    """A copy of everything that load_state_dict takes; of a model that is no nn.Module its weights."""
    if not isinstance(network, nn.Module):
        return network.get_weights()
    return {
        name: value.detach().clone()
        for name, value in network.state_dict().items()
        if isinstance(value, Tensor)
    }


def set_weights_of(network: nn.Module | Weighted, weights: Any) -> None:
    """Take back what `weights_of` gave."""
    if isinstance(network, nn.Module):
        network.load_state_dict(weights)
    else:
        network.set_weights(weights)
