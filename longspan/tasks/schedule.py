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
    """The learning rate over the steps of a fit: linear warmup to the peak, then half a cosine down.

    The peak is the task's option `learning_rate`.

    warmup: share of the steps in which the rate rises to its peak.
    final: the rate at the last step, as a share of the peak; 1 for a constant rate after the warmup.
    cycles: number of times that rise and decay are repeated, each over an equal number of steps (warm
        restarts, Loshchilov and Hutter 2016, arXiv 1608.03983).
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
        warmup_steps = max(1, round(self.warmup * steps))
        decay_steps = max(1, steps - warmup_steps)

        def rate(step: int) -> float:
            if step < warmup_steps:
                return peak * (step + 1) / warmup_steps
            half_cosine = 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / decay_steps))
            return peak * (self.final + (1 - self.final) * half_cosine)

        return rate


class TrainingOptions(NamedTuple):
    """How a network is trained.

    epochs: the largest number of epochs.
    learning_rate: Adam's learning rate at its peak.
    schedule: the learning rate over the steps, relative to the peak.
    patience: epochs without a lower validation loss after which training stops; None to train all epochs.
    stopping: a further callback that ends training early, None for none.
    """

    epochs: int
    learning_rate: float
    schedule: Schedule
    patience: int | None
    stopping: Callback | None = None


class Convergence(Callback):
    """Stops training at the end of a cycle of the learning rate if the training loss has converged.

    The mean loss of the last epoch of every cycle is compared. The loss has converged if it is below `small`,
    or if it has fallen by less than the share `gain` since the cycle before.

    Args:
        cycle: epochs of a cycle.
        small: training loss below which there is nothing left to learn.
        gain: share of the loss of the cycle before by which the loss must fall for training to go on.
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
