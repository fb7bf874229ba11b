"""Changes the learning rate between epochs: on a plateau, or by a function of the epoch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from longspan import errors
from longspan.optimizers import KerasOptimizer

from .base import Callback, Logs, Monitor


class ReduceLROnPlateau(Monitor):
    """Lower the learning rate when a number has not improved for some epochs.

    Args:
        monitor, mode, min_delta: as for `EarlyStopping`.
        factor: what the rate is multiplied by, below 1.
        patience: epochs without improvement before it is lowered.
        verbose: 1 prints when it is.
        cooldown: epochs to wait after that.
        min_lr: the lowest rate.
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
        self.wait = self.cooldown_counter = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.best, self.wait, self.cooldown_counter = None, 0, 0

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = self.value(logs)
        if logs is not None:
            logs["learning_rate"] = self.trainer.learning_rate
        if value is None:
            return
        if self.cooldown_counter:
            self.cooldown_counter -= 1
            self.wait = 0
        if self.better(value, self.best):
            self.best, self.wait = value, 0
        elif not self.cooldown_counter:
            self.wait += 1
            if self.wait >= self.patience and self.trainer.learning_rate > self.min_lr:
                self._reduce(epoch)

    def _reduce(self, epoch: int) -> None:
        _check_constant(self)
        self.trainer.change_learning_rate(self._reduced)
        self.cooldown_counter, self.wait = self.cooldown, 0
        if self.verbose:
            rate = self.trainer.learning_rate
            self.trainer.log(f"Epoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {rate}.")

    def _reduced(self, rate: float) -> float:
        return max(float(f"{rate * self.factor:.12g}"), self.min_lr)  # 0.01 where 0.1 * 0.1 has a tail

    def state(self) -> Any:
        return {"best": self.best, "wait": self.wait, "cooldown_counter": self.cooldown_counter}

    def restore(self, state: Any) -> None:
        self.best, self.wait, self.cooldown_counter = state["best"], state["wait"], state["cooldown_counter"]


class LearningRateScheduler(Callback):
    """Set the learning rate before every epoch.

    Args:
        schedule: a function (epoch, rate) -> rate, or (epoch) -> rate; epochs count from 0.
        verbose: 1 prints the rate.
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        self.schedule, self.verbose = schedule, verbose
        self._takes_rate = len(inspect.signature(schedule).parameters) > 1

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        _check_constant(self)
        self.trainer.change_learning_rate(
            lambda rate: self.schedule(epoch, rate) if self._takes_rate else self.schedule(epoch)
        )
        if self.verbose:
            rate = self.trainer.learning_rate
            self.trainer.log(f"Epoch {epoch + 1}: LearningRateScheduler setting learning rate to {rate}.")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = self.trainer.learning_rate


def _check_constant(callback: Callback) -> None:
    """An error where the optimizer's own schedule sets the learning rate at every step."""
    for optimizer in callback.trainer.optimizers:
        if isinstance(optimizer, KerasOptimizer) and optimizer.has_schedule:
            kind, rate = type(callback).__name__, optimizer.config.learning_rate
            way_out = f"give the optimizer a number, or leave {kind} out"
            raise errors.type_error("learning_rate", f"a number beside {kind}", rate, way_out)
