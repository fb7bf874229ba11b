"""Trains within a budget of steps and minutes: the learning rate's course, averaged weights, the end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Any

import torch
from torch import Tensor

from longspan.callbacks import Callback
from longspan.callbacks.base import Logs
from longspan.data.batches import Batch

_WARMUP = 100  # steps in which the learning rate rises, or a tenth of all if these are fewer
_FINAL = 0.02  # share of the learning rate that is left at the end
_EVERY = 5  # steps between two weights that are averaged
_NOT_BETTER = 3  # epochs without a lower validation loss after which averaging starts


class Budget(Callback):
    """Ends training when its steps or minutes are spent, and sets the learning rate by what is spent.

    The rate rises in a line and then falls along half a cosine. What is spent is the larger share of the
    two budgets, so that the rate arrives at its end whichever runs out. Only the time of this training
    counts, that before a kill too.

    Args:
        steps: at most; minutes: at most, None for no limit; learning_rate: the highest.
    """

    def __init__(self, steps: int, minutes: float | None, learning_rate: float) -> None:
        self.max_steps, self.learning_rate = steps, learning_rate
        self.max_seconds = None if minutes is None else 60.0 * minutes
        self.steps, self.seconds = 0, 0.0
        self.resumed_at = 0  # steps of the epoch that were taken before training went on from a checkpoint
        self._epoch_begin = 0
        self._last: float | None = None

    @property
    def spent(self) -> float:
        """The share that is spent: 1 or more at the end."""
        share = self.steps / self.max_steps
        return share if self.max_seconds is None else max(share, self.seconds / self.max_seconds)

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        warmup = min(_WARMUP, 1 + self.max_steps // 10)
        fall = 0.5 * (1.0 + math.cos(math.pi * min(1.0, self.spent)))
        return self.learning_rate * min(1.0, (self.steps + 1) / warmup) * (_FINAL + (1.0 - _FINAL) * fall)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.steps, self.seconds, self._last = 0, 0.0, monotonic()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.resumed_at, self._epoch_begin = 0, self.steps

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self.trainer.learning_rate = self.rate

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        now = monotonic()
        self.steps, self.seconds = self.steps + 1, self.seconds + now - (self._last or now)
        self._last = now

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.spent >= 1.0 and self.trainer.stopped is None and self.steps < self.max_steps:
            self.trainer.stopped = f"{self.seconds / 60.0:.1f} minutes were spent, {self.steps:,} steps"
        elif self.spent >= 1.0 and self.trainer.stopped is None and epoch + 1 < self.params["epochs"]:
            self.trainer.stopped = f"{self.steps:,} steps were taken"

    def state(self) -> Any:
        return {"steps": self.steps, "seconds": self.seconds, "epoch_begin": self._epoch_begin}

    def restore(self, state: Any) -> None:
        self.steps, self.seconds, self._last = state["steps"], state["seconds"], monotonic()
        self._epoch_begin = state["epoch_begin"]
        self.resumed_at = self.steps - self._epoch_begin


class BudgetedBatches:
    """Batches of an epoch up to where a budget is spent."""

    def __init__(self, batches: Any, budget: Budget) -> None:
        self.batches, self.budget = batches, budget

    def __len__(self) -> int:
        """Batches an epoch, if the budget lasts."""
        return min(len(self.batches), self.budget.max_steps)

    def __iter__(self) -> Iterator[Batch]:
        batches: Iterable[Batch] = self.batches
        for number, batch in enumerate(batches):
            if self.budget.spent >= 1.0 and number >= self.budget.resumed_at:
                return
            yield batch


class AveragedWeights(Callback):
    """Validates and ends with the mean of the weights of the last steps.

    Averaging starts when a share of the budget is left, or when the validation loss has not improved for
    three epochs (NT-ASGD: Merity et al. 2017, arXiv 1708.02182, with Adam's steps).

    Args:
        budget: of the training; fraction: the share at its end, 0 for no averaging.
        stopping: whether early stopping holds the weights that training ends with.
    """

    def __init__(self, budget: Budget, fraction: float, *, stopping: bool) -> None:
        self.budget, self.fraction, self.stopping = budget, fraction, stopping
        self._forget()

    def _forget(self) -> None:
        self._mean: list[Tensor] | None = None
        self._current: list[Tensor] | None = None
        self._count, self._losses = 0, list[float]()

    def _weights(self) -> list[Tensor]:
        return [weight.data for weight in self.trainer.network.parameters()]

    @property
    def _is_on(self) -> bool:
        if not self.fraction:
            return False
        stalled = len(self._losses) > _NOT_BETTER and min(self._losses[-_NOT_BETTER:]) > min(self._losses)
        return self._count > 0 or stalled or self.budget.spent >= 1.0 - self.fraction

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._forget()

    @torch.no_grad()
    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self.budget.steps % _EVERY or not self._is_on:
            return
        self._count += 1
        if self._mean is None:
            self._mean = [weight.clone() for weight in self._weights()]
        else:
            for mean, weight in zip(self._mean, self._weights(), strict=True):
                mean.lerp_(weight, 1.0 / self._count)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        if self._mean is not None:
            self._current = [weight.clone() for weight in self._weights()]
            self._set(self._mean)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None and "val_loss" in logs:
            self._losses.append(logs["val_loss"])
        if self._current is not None:
            self._set(self._current)
            self._current = None

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self._mean is not None and not self.stopping:
            self._set(self._mean)

    @torch.no_grad()
    def _set(self, values: list[Tensor]) -> None:
        for weight, value in zip(self._weights(), values, strict=True):
            weight.copy_(value)

    def state(self) -> Any:
        return {"mean": self._mean, "count": self._count, "losses": self._losses}

    def restore(self, state: Any) -> None:
        self._mean, self._count, self._losses = state["mean"], state["count"], list(state["losses"])
