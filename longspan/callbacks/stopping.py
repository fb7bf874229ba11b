"""Stops training: when a number no longer improves, or at a loss that is NaN."""

from __future__ import annotations

from typing import Any

from longspan import errors

from .base import Callback, Logs, Monitor, set_weights_of, weights_of


class EarlyStopping(Monitor):
    """Stop when a number has not improved for some epochs.

    Args:
        monitor: the number monitored, such as "val_loss".
        min_delta: the least change that counts as an improvement.
        patience: epochs without improvement after which training stops.
        verbose: 1 prints when it stops and what it restores.
        mode: "min", "max", or "auto": by the metric's direction.
        baseline: a value that an improvement must also beat to reset the patience.
        restore_best_weights: end with the weights of the best epoch.
        start_from_epoch: epochs to wait before monitoring.
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
        self.best_weights: Any = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.wait = self.best_epoch = self.stopped_epoch = 0
        self.best = self.best_weights = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = self.value(logs)
        if value is None or epoch < self.start_from_epoch:
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
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch and self.verbose:
            self.trainer.log(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose:
                self.trainer.log(f"Restoring the weights of the best epoch: {self.best_epoch + 1}.")
            set_weights_of(self.trainer.network, self.best_weights)

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


class TerminateOnNaN(Callback):
    """Ends training at a NaN or infinite loss, as in Keras; without this callback such a loss is an error.

    The step is named in `History.stopped` either way, and the step is not taken. `fit` then takes targets
    that are not finite, which it otherwise refuses before the first step.

    Args:
        raise_error: make it an error after all.
    """

    def __init__(self, raise_error: bool = False) -> None:
        self.raise_error = errors.check_bool("raise_error", raise_error)
