"""Defines callbacks: the hooks of training that users override, and what a hook may read and change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from longspan import errors
from longspan.optimizers import KerasOptimizer

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
    """The state of training that a callback may read and change.

    Args:
        network, optimizer: what is trained, and by what.
        directions: metric -> "up" where more is better, "down", or None where it is unknown.
        epoch: the current epoch, from 0.
        steps: optimizer steps since the start.
        stopped: why training ends after this epoch; None while it goes on.
        log: prints a line beside the progress display.
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
    """Hooks that training calls between steps and epochs; a hook that is not overridden costs nothing.

    Attributes:
        model: the network that is trained, or the model around it.
        params: epochs, steps and verbose as asked for.
        trainer: the state of training, to read and change (see `TrainerState`).

    In a hook, `logs` maps names to the numbers so far. Setting `self.model.stop_training = True` ends
    training after the epoch.
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
        """What a checkpoint saves of this callback: None, numbers, text, tensors, dicts, lists, tuples."""
        return None

    def restore(self, state: Any) -> None:
        """Take back what `state` gave; called after on_train_begin, unless that was None."""


class CallbackList:
    """Several callbacks as one: calls a hook of all that override it."""

    def __init__(self, callbacks: Iterable[Any]) -> None:
        self.callbacks: list[Callback] = []
        for callback in callbacks:
            if not isinstance(callback, Callback):
                way_out = "make its class a subclass of longspan.training.Callback"
                raise errors.type_error("callbacks", "Callback objects", callback, way_out)
            self.callbacks.append(callback)
        self._hooks = {
            name: [getattr(c, name) for c in self.callbacks if _overrides(c, name)] for name in HOOKS
        }

    def has(self, name: str) -> bool:
        """Whether any callback overrides this hook."""
        return bool(self._hooks[name])

    def call(self, name: str, *arguments: Any) -> None:
        """Call a hook of every callback that overrides it."""
        for hook in self._hooks[name]:
            hook(*arguments)


def _overrides(callback: Callback, name: str) -> bool:
    return getattr(type(callback), name) is not getattr(Callback, name) or name in vars(callback)


class LambdaCallback(Callback):
    """Functions as hooks, by the hooks' names.

    >>> callback = LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))
    """

    def __init__(self, **hooks: Callable[..., None] | None) -> None:
        for name, function in hooks.items():
            errors.check_choice("hook", name, HOOKS)
            if function is not None:
                setattr(self, name, function)


class Monitor(Callback):
    """A callback that monitors one number of the logs. Abstract."""

    def __init__(self, monitor: str, mode: str, min_delta: float) -> None:
        self.monitor = monitor
        self.mode = errors.check_choice("mode", mode, ("auto", "min", "max"))
        self.min_delta = abs(min_delta)
        self.best: float | None = None

    def value(self, logs: Logs | None) -> float:
        """The monitored number; an error that lists the names in the logs if it is missing."""
        if not logs or self.monitor not in logs:
            raise errors.value_error(
                f"monitor of {type(self).__name__}",
                f"one of {', '.join(logs or ())}",
                repr(self.monitor),
                "pass validation data" if self.monitor.startswith("val_") else "choose one of these",
            )
        return logs[self.monitor]

    def better(self, value: float, reference: float | None) -> bool:
        """Whether the value improves on the reference by more than min_delta; on None, always."""
        if reference is None:
            return True
        return (
            value + self.min_delta < reference
            if self._lower_is_better()
            else value - self.min_delta > reference
        )

    def _lower_is_better(self) -> bool:
        if self.mode != "auto":
            return self.mode == "min"
        name = self.monitor.removeprefix("val_")
        direction = "down" if name == "loss" else self.trainer.directions.get(name)
        if direction is None:
            expected = 'mode="min" or mode="max", since it is not known which way this metric improves'
            raise errors.value_error(f"monitor {self.monitor!r}", expected, 'mode="auto"', "say which")
        return direction == "down"


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """A copy of everything that load_state_dict takes."""
    return {
        name: value.detach().clone()
        for name, value in network.state_dict().items()
        if isinstance(value, Tensor)
    }
