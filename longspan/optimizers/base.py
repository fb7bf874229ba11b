"""Defines an optimizer's options and its steps: schedules, clipping, state, parameters of several kinds."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypedDict

import torch
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import Unpack

from longspan import errors
from longspan.registry import Configured

from . import by_hand, fused, schedules
from .by_hand import AppliedByHand

Rate = float | Callable[..., float]  # a number, or a function from the step (from 0), or of nothing, to one


class SharedOptions(TypedDict, total=False):
    """The options that every optimizer takes beside its own.

    use_ema: keep an average of every weight, which the weights become at the end of `fit`. ema_momentum: what
    the average keeps at a step. ema_overwrite_frequency: the steps after which the weights become their
    averages, None for the end of `fit` alone.

    gradient_accumulation_steps: the steps whose mean gradient makes one update, None for one.

    decay: the learning rate is divided by 1 + decay * step, as in Keras 2. lr: Keras 2's name of
    learning_rate.

    loss_scale_factor: by which a training loop of your own multiplies the loss, with `scale_loss`; `apply`
    divides the gradients by it. None for 1. `fit` scales losses itself where its precision needs that.
    """

    use_ema: bool
    ema_momentum: float
    ema_overwrite_frequency: int | None
    gradient_accumulation_steps: int | None
    decay: float
    lr: Rate
    loss_scale_factor: float | None


_DEFAULTS: dict[str, Any] = {
    "use_ema": False, "ema_momentum": 0.99, "ema_overwrite_frequency": None,
    "gradient_accumulation_steps": None, "loss_scale_factor": None,
}  # fmt: skip


class OptimizerConfig(Configured, AppliedByHand):
    """The options of an optimizer; `build` makes the optimizer of some parameters. Abstract.

    A subclass names the class of the optimizer in `stepper`, and stores each argument as an attribute.

    Args:
        learning_rate: a number, or a function from the optimizer's step (from 0) to one.
        weight_decay: the share of every weight taken off at a step, times the learning rate; None for none.
        clipnorm: the gradient of each weight tensor is scaled down to this norm.
        clipvalue: gradient values are cut to this magnitude.
        global_clipnorm: all gradients together are scaled down to this norm.
        shared: see `SharedOptions`.
    """

    stepper: ClassVar[type[KerasOptimizer]]

    def __init__(
        self,
        learning_rate: Rate,
        weight_decay: float | None,
        clipnorm: float | None,
        clipvalue: float | None,
        global_clipnorm: float | None,
        name: str,
        **shared: Unpack[SharedOptions],
    ) -> None:
        super().__init__()
        _check_shared(type(self).__name__, shared)
        learning_rate = shared.get("lr", learning_rate)
        if not callable(learning_rate) and not learning_rate >= 0.0:
            raise errors.value_error(
                "learning_rate", "a number of at least 0", learning_rate, "0.001 is usual"
            )
        clips = [v for v in (clipnorm, clipvalue, global_clipnorm) if v is not None]
        if len(clips) > 1:
            names = "clipnorm, clipvalue or global_clipnorm"
            raise errors.value_error(names, "at most one of them", f"{len(clips)}", "leave the others out")
        decay = shared.get("decay", 0.0)
        if decay and not callable(learning_rate):
            learning_rate = schedules.InverseTimeDecay(learning_rate, 1, decay)
        self.learning_rate, self.weight_decay, self.name = learning_rate, weight_decay, name
        self.clipnorm, self.clipvalue, self.global_clipnorm = clipnorm, clipvalue, global_clipnorm
        chosen = {**_DEFAULTS, **shared}
        self.use_ema: bool = errors.check_bool("use_ema", chosen["use_ema"])
        self.ema_momentum = errors.check_fraction("ema_momentum", chosen["ema_momentum"])
        self.ema_overwrite_frequency = _count("ema_overwrite_frequency", chosen)
        self.gradient_accumulation_steps = _count("gradient_accumulation_steps", chosen)
        self.loss_scale_factor: float | None = chosen["loss_scale_factor"]
        if self.loss_scale_factor is not None and not self.loss_scale_factor > 0.0:
            way_out = "None does not scale"
            raise errors.value_error("loss_scale_factor", "a number above 0", self.loss_scale_factor, way_out)

    @property
    def learning_rate(self) -> Rate:
        """A number, or a function from the step to one; setting it sets that of the built optimizer, too."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Rate) -> None:
        self._learning_rate = value
        if self._own is not None:
            self._own.learning_rate = value

    def build(
        self,
        parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
        paths: Mapping[int, str] | None = None,
    ) -> KerasOptimizer:
        """The optimizer of these parameters, or of these groups as torch's optimizers take them.

        Args:
            parameters: tensors or variables.
            paths: id of a tensor -> its layer's and its own name, as in "dense/kernel"; None: those that
                variables have.
        """
        self._paths = dict(paths or {})
        common = {*inspect.signature(OptimizerConfig).parameters, *_DEFAULTS}
        own = {name: value for name, value in self.get_config().items() if name not in common}
        self._own = self.stepper(self.groups(parameters), self, **own)
        return self._own

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        shared = {name: value for name in _DEFAULTS if (value := getattr(self, name)) != _DEFAULTS[name]}
        return {**super().get_config(), **shared}


def _check_shared(kind: str, shared: Mapping[str, Any]) -> None:
    for name in shared:
        if name not in SharedOptions.__annotations__:
            way_out = errors.did_you_mean(name, [*SharedOptions.__annotations__, "learning_rate", "epsilon"])
            raise TypeError(errors.message(kind, "one of its options", repr(name), way_out))


def _count(name: str, options: Mapping[str, Any]) -> int | None:
    value = options[name]
    return None if value is None else errors.check_int(name, value, 1, "give a number of steps, or None")


def _by_step(rate: Any) -> Callable[..., Any] | None:
    """The learning rate as a function of the step, None for a number; a function may take nothing."""
    if not callable(rate):
        return None
    return rate if inspect.signature(rate).parameters else lambda step: rate()


class LearningRate(float):
    """The learning rate of an optimizer at this moment: a number, with Keras' ways to read and to set it."""

    _optimizer: KerasOptimizer

    @classmethod
    def of(cls, optimizer: KerasOptimizer) -> LearningRate:
        """The rate of the optimizer's first group of parameters."""
        rate = cls(optimizer.param_groups[0]["lr"])
        rate._optimizer = optimizer
        return rate

    def assign(self, value: float) -> None:
        """Set the rate of the optimizer's every group."""
        self._optimizer.learning_rate = value

    def numpy(self) -> float:
        """The number."""
        return float(self)

    @property
    def value(self) -> float:
        """The number."""
        return float(self)


class KerasOptimizer(Optimizer):
    """A torch optimizer that steps all parameters in a few calls. Abstract: subclasses define `update`.

    `learning_rate` reads and sets the rate of every group, as Keras' optimizers do.
    """

    def __init__(self, parameters: Iterable[Any], config: OptimizerConfig, **options: Any) -> None:
        start = config._learning_rate
        self._schedule = rate = _by_step(start)
        self.config = config
        defaults = {
            "lr": float(start if rate is None else rate(0)),  # pyright: ignore[reportArgumentType]
            "weight_decay": config.weight_decay or 0.0,
            "steps": 0,
            **options,
        }
        super().__init__(list(parameters) or [{"params": []}], defaults)
        self._clip = clipper(config.global_clipnorm, config.clipvalue, config.clipnorm)
        self.projections: list[Callable[[], None]] = []  # called after every step: constraints of weights

    add_param_group = fused.UNWRAPPED["add_param_group"]
    state_dict = fused.UNWRAPPED["state_dict"]
    load_state_dict = fused.UNWRAPPED["load_state_dict"]
    zero_grad = fused.UNWRAPPED["zero_grad"]

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the first group, a `LearningRate`; a function of the step may be set."""
        return LearningRate.of(self)

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self._schedule = _by_step(value)
        for group in self.param_groups:
            group["lr"] = float(value if self._schedule is None else self._schedule(group["steps"]))

    @property
    def loss_scale_factor(self) -> float | None:
        """By which `apply` divides gradients, None for 1."""
        return self.config.loss_scale_factor

    @property
    def has_schedule(self) -> bool:
        """Whether a function of the step sets the learning rate."""
        return self._schedule is not None

    @property
    def variables(self) -> list[Tensor]:
        """The number of updates, the learning rate unless a schedule sets it, every parameter's state."""
        numbers = [torch.tensor(self.iterations)]
        numbers += [] if self.has_schedule else [torch.tensor(float(self.learning_rate))]
        return [*numbers, *self.state_tensors()]

    def state_tensors(self) -> list[Tensor]:
        """The tensors of every parameter's state."""
        states = [value for state in self.state.values() for value in state.values()]
        return [value for value in states if isinstance(value, Tensor)]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Take what `variables` of an optimizer of the same options and parameters gives."""
        by_hand.set_weights(self, weights)

    @property
    def iterations(self) -> int:
        """The number of updates so far."""
        return self.param_groups[0]["steps"]

    def parameters_in_groups(self) -> list[Tensor]:
        """The parameters of all groups."""
        return [param for group in self.param_groups for param in group["params"]]

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> int:
        """One step with these gradients; see `OptimizerConfig.apply`."""
        return by_hand.apply(self, grads, trainable_variables)

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Any]]) -> int:
        """One step with pairs of a gradient and its variable; the number of steps so far."""
        pairs = list(grads_and_vars)
        return self.apply([grad for grad, _ in pairs], [variable for _, variable in pairs])

    @property
    def lr(self) -> float:
        """The learning rate by Keras' older name."""
        return self.learning_rate

    @lr.setter
    def lr(self, value: float) -> None:
        self.learning_rate = value

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step with the gradients there are; a parameter without one is left alone."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.fused_step()
        return loss

    def fused_step(self) -> None:
        """`step` without torch.optim's profiling and hooks, which cost as much as a small step."""
        if self.config.gradient_accumulation_steps is not None and not self._accumulated():
            return
        with torch.no_grad():
            for group in self.param_groups:
                params = group["params"]
                grads = [param.grad for param in params]
                if any(grad is None for grad in grads):
                    params = [param for param in params if param.grad is not None]
                    grads = [param.grad for param in params]
                if params:
                    self._step_group(group, params, grads)
            if self.config.use_ema:
                self._average()
        for project in self.projections:
            project()

    @torch.no_grad()
    def _accumulated(self) -> bool:
        """Add the gradients up; whether this step makes an update, for which they are their mean."""
        steps = self.config.gradient_accumulation_steps or 1
        params = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        sums = self.state_of(params, "gradient_sum")
        fused.add_(sums, [param.grad for param in params])
        self.param_groups[0]["accumulated"] = self.param_groups[0].get("accumulated", 0) + 1
        if self.param_groups[0]["accumulated"] < steps:
            return False
        self.param_groups[0]["accumulated"] = 0
        for param, total in zip(params, sums, strict=True):
            param.grad = total / steps
            total.zero_()
        return True

    def _average(self) -> None:
        """Move the averages of the weights towards the weights; the first ones are the weights."""
        for group in self.param_groups:
            momentum = self.config.ema_momentum if group["steps"] > 1 else 0.0
            averages = self.state_of(group["params"], "average")
            for average, param in zip(averages, group["params"], strict=True):
                average.lerp_(param, 1.0 - momentum)
            frequency = self.config.ema_overwrite_frequency
            if frequency is not None and group["steps"] % frequency == 0:
                self.finalize_variable_values()

    @torch.no_grad()
    def finalize_variable_values(self, trainable_variables: Any = None) -> None:
        """Set the weights to their averages, where there are some; `fit` does so at its end.

        Args:
            trainable_variables: accepted without effect, the optimizer knows its weights.
        """
        for group in self.param_groups if self.config.use_ema else ():
            for param in group["params"]:
                if "average" in self.state[param]:
                    param.copy_(self.state[param]["average"])

    def _step_group(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        if self._clip is not None:
            self._clip(grads)
        if self._schedule is not None:
            group["lr"] = float(self._schedule(group["steps"]))
        for alike, their_grads in _by_kind(params, grads):
            self.update(group, alike, their_grads)
        group["steps"] += 1

    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """Change the parameters in place; group["steps"] is the number of steps before this one."""
        raise NotImplementedError

    def state_of(self, params: list[Tensor], name: str, start: float = 0.0) -> list[Tensor]:
        """One state tensor a parameter, filled with `start` at first."""
        state = self.state
        try:
            return [state[param][name] for param in params]
        except KeyError:
            for param in params:
                state[param].setdefault(name, torch.full_like(param, start, requires_grad=False))
            return [state[param][name] for param in params]


def decay_weights(group: dict[str, Any], params: list[Tensor]) -> None:
    """Weight decay apart from the gradient (Loshchilov and Hutter 2019, algorithm 2)."""
    if group["weight_decay"]:
        fused.multiply_(params, 1.0 - group["lr"] * group["weight_decay"])


def _by_kind(params: list[Tensor], grads: list[Tensor]) -> Iterable[tuple[list[Tensor], list[Tensor]]]:
    """The parameters and gradients in lists of one dtype and device, as the fused functions need them."""
    kinds = {(param.dtype, param.device) for param in params}
    if len(kinds) == 1:
        return [(params, grads)]
    indices = [[i for i, param in enumerate(params) if (param.dtype, param.device) == kind] for kind in kinds]
    return [([params[i] for i in alike], [grads[i] for i in alike]) for alike in indices]


def clipper(
    global_norm: float | None, value: float | None, norm: float | None = None
) -> Callable[[list[Tensor]], None] | None:
    """Clips gradients in place: by joint norm, by value, by each gradient's norm; None without limits."""
    limits = {"clip_norm": global_norm, "clip_value": value, "clipnorm": norm}
    for name, limit in limits.items():
        if limit is not None and not limit > 0.0:
            raise errors.value_error(name, "a number above 0", limit, "leave it out for no clipping")
    if global_norm is None and value is None and norm is None:
        return None

    def clip(grads: list[Tensor]) -> None:
        if norm is not None:
            for grad in grads:
                _shrink([grad], norm)
        if global_norm is not None:
            _shrink(grads, global_norm)
        if value is not None:
            fused.at_least_(grads, -value)
            fused.at_most_(grads, value)

    return clip


def _shrink(grads: list[Tensor], limit: float) -> None:
    """Scale the gradients so that their joint norm is at most `limit` (Pascanu et al. 2013, algorithm 1)."""
    norms = fused.norms(grads)
    if grads[0].device.type == "cpu":
        total = math.sqrt(sum(norm.item() ** 2 for norm in norms))
        if total > limit:
            fused.multiply_(grads, limit / total)
    else:
        total = torch.linalg.vector_norm(torch.stack(list(norms)))
        fused.multiply_(grads, (limit / total).clamp_max(1.0))
