"""Learning rate schedules under Keras' names: functions from an optimizer's step, counted from 0, to a rate.

The definitions are Keras 3's (keras/src/optimizers/schedules).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from longspan import errors
from longspan.registry import Configured, Registry, by_name


class LearningRateSchedule(Configured):
    """The learning rate of a step. Abstract: a subclass defines `__call__`, and `get_config` for saving."""

    def __call__(self, step: int) -> float:
        """The rate of an optimizer's step, from 0."""
        raise NotImplementedError


@dataclass(frozen=True)
class ExponentialDecay(LearningRateSchedule):
    """initial_learning_rate * decay_rate^(step / decay_steps), the exponent whole with staircase.

    >>> ExponentialDecay(0.1, decay_steps=10, decay_rate=0.5)(20)
    0.025
    """

    initial_learning_rate: float
    decay_steps: int
    decay_rate: float
    staircase: bool = False
    name: str = "ExponentialDecay"

    def __call__(self, step: int) -> float:
        share = step / self.decay_steps
        return self.initial_learning_rate * self.decay_rate ** (
            math.floor(share) if self.staircase else share
        )


@dataclass(frozen=True)
class InverseTimeDecay(LearningRateSchedule):
    """initial_learning_rate / (1 + decay_rate * step / decay_steps), the share whole with staircase."""

    initial_learning_rate: float
    decay_steps: int
    decay_rate: float
    staircase: bool = False
    name: str = "InverseTimeDecay"

    def __call__(self, step: int) -> float:
        share = step / self.decay_steps
        return self.initial_learning_rate / (
            1.0 + self.decay_rate * (math.floor(share) if self.staircase else share)
        )


@dataclass(frozen=True)
class PolynomialDecay(LearningRateSchedule):
    """From initial_learning_rate to end_learning_rate in decay_steps along a power; over again with cycle."""

    initial_learning_rate: float
    decay_steps: int
    end_learning_rate: float = 0.0001
    power: float = 1.0
    cycle: bool = False
    name: str = "PolynomialDecay"

    def __call__(self, step: int) -> float:
        whole = (
            self.decay_steps * max(1, math.ceil(step / self.decay_steps)) if self.cycle else self.decay_steps
        )
        share = min(step, whole) / whole
        span = self.initial_learning_rate - self.end_learning_rate
        return span * (1.0 - share) ** self.power + self.end_learning_rate


@dataclass(frozen=True)
class CosineDecay(LearningRateSchedule):
    """Half a cosine from the start (or warmup_target) down to alpha times it (Loshchilov and Hutter 2017).

    With warmup_target the rate first rises to it over warmup_steps, in a line.
    """

    initial_learning_rate: float
    decay_steps: int
    alpha: float = 0.0
    name: str = "CosineDecay"
    warmup_target: float | None = None
    warmup_steps: int = 0

    def __call__(self, step: int) -> float:
        top = self.initial_learning_rate
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                return top + (self.warmup_target - top) * step / self.warmup_steps
            top, step = self.warmup_target, step - self.warmup_steps
        share = min(step, self.decay_steps) / self.decay_steps
        return top * ((1.0 - self.alpha) * 0.5 * (1.0 + math.cos(math.pi * share)) + self.alpha)


@dataclass(frozen=True)
class CosineDecayRestarts(LearningRateSchedule):
    """Half a cosine again and again, each t_mul times as long and m_mul times as high as the last.

    Source: Loshchilov and Hutter 2017, arXiv 1608.03983.

    Args:
        initial_learning_rate: the start.
        first_decay_steps: the first period's steps.
        t_mul, m_mul: how much longer and higher a period is than the one before.
        alpha: the least rate, as a share of the start.
    """

    initial_learning_rate: float
    first_decay_steps: int
    t_mul: float = 2.0
    m_mul: float = 1.0
    alpha: float = 0.0
    name: str = "CosineDecayRestarts"

    def __call__(self, step: int) -> float:
        periods = float(step) / self.first_decay_steps
        if self.t_mul == 1.0:
            restart = math.floor(periods)
            share = periods - restart
        else:
            restart = math.floor(math.log(1.0 - periods * (1.0 - self.t_mul)) / math.log(self.t_mul))
            before = (1.0 - self.t_mul**restart) / (1.0 - self.t_mul)
            share = (periods - before) / self.t_mul**restart
        height = 0.5 * self.m_mul**restart * (1.0 + math.cos(math.pi * share))
        return self.initial_learning_rate * ((1.0 - self.alpha) * height + self.alpha)


@dataclass(frozen=True)
class PiecewiseConstantDecay(LearningRateSchedule):
    """values[i] up to step boundaries[i], then the next; there is one value more than boundaries."""

    boundaries: Sequence[int]
    values: Sequence[float]
    name: str = "PiecewiseConstantDecay"

    def __post_init__(self) -> None:
        if len(self.values) != len(self.boundaries) + 1:
            received = f"{len(self.values)} for {len(self.boundaries)} boundaries"
            raise errors.value_error(
                "values", "one more than boundaries", received, "add the rate after the last one"
            )

    def __call__(self, step: int) -> float:
        return self.values[sum(step > boundary for boundary in self.boundaries)]


CLASSES: dict[str, Callable[..., Callable[[int], float]]] = by_name(
    ExponentialDecay,
    InverseTimeDecay,
    PolynomialDecay,
    CosineDecay,
    CosineDecayRestarts,
    PiecewiseConstantDecay,
)
_REGISTRY: Registry[Callable[[int], float]] = Registry(
    "schedule", "CosineDecay", "longspan.optimizers.schedules.CLASSES", CLASSES
)


def get(saved: Mapping[str, Any]) -> Callable[[int], float]:
    """The schedule of a saved config, as `serialize` gives it."""
    return _REGISTRY.get(saved)


def serialize(schedule: Callable[[int], float]) -> dict[str, Any]:
    """The class's name and options, from which `get` makes an equal schedule.

    Raises:
        ValueError: it is a function of your own, which cannot be saved.
    """
    options = schedule.get_config() if isinstance(schedule, LearningRateSchedule) else {}
    return _REGISTRY.config(schedule, options)


deserialize = get
