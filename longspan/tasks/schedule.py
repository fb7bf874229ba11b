"""The options of a training: epochs, the course of the learning rate, when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from longspan.callbacks import Callback
from longspan.optimizers.schedules import CosineDecay


@dataclass(frozen=True)
class Schedule:
    """The course of the learning rate over the steps of a fit: linear warmup, then a half cosine.

    warmup: share of the steps in which the rate rises to its peak.
    final: share of the peak at the last step; 1 for a constant rate after the warmup.
    cycles: how often this course is run through (warm restarts, Loshchilov and Hutter 2016, arXiv
        1608.03983).
    """

    warmup: float = 0.0
    final: float = 1.0
    cycles: int = 1

    def rates(self, peak: float, steps: int) -> Callable[[int], float] | None:
        """The learning rate as a function of the step (0 to steps - 1); None for a constant rate."""
        if self.cycles > 1:
            one_cycle = replace(self, cycles=1).rates(peak, steps // self.cycles)
            return None if one_cycle is None else lambda step: one_cycle(step % (steps // self.cycles))
        if not self.warmup:
            return None if self.final == 1.0 else CosineDecay(peak, steps, alpha=self.final)
        rising = max(1, round(self.warmup * steps))
        falling = max(1, steps - rising)

        def rate(step: int) -> float:
            if step < rising:
                return peak * (step + 1) / rising
            half_cosine = 0.5 * (1 + math.cos(math.pi * (step - rising) / falling))
            return peak * (self.final + (1 - self.final) * half_cosine)

        return rate


class TrainingOptions(NamedTuple):
    """How a network is trained.

    epochs: at most; learning_rate: Adam's peak; schedule: its course; patience: epochs without improvement of
    the validation loss, None for all; stopping: a callback that ends training earlier, None for none.
    """

    epochs: int
    learning_rate: float
    schedule: Schedule
    patience: int | None
    stopping: Callback | None = None


class Convergence(Callback):
    """Stops at the end of a cycle of the learning rate when the training loss has converged.

    It has where the mean loss of the cycle's last epoch is small, or hardly smaller than that of the cycle
    before.

    Args:
        cycle: epochs of a cycle.
        small: loss below which there is nothing left to learn.
        gain: share of the last cycle's loss by which the loss must fall for training to go on.
    """

    def __init__(self, cycle: int, *, small: float = 0.02, gain: float = 0.3) -> None:
        self.cycle, self.small, self.gain = cycle, small, gain
        self.last = math.inf

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self.last = math.inf

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        if (epoch + 1) % self.cycle:
            return
        loss = (logs or {})["loss"]
        if loss < self.small or loss > (1 - self.gain) * self.last:
            self.trainer.stopped = f"the training loss converged after {epoch + 1} epochs"
        self.last = loss

    def state(self) -> Any:
        return {"last": self.last}

    def restore(self, state: Any) -> None:
        self.last = state["last"]
