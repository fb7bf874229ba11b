"""Knows Keras' optimizers by its names, with its equations, stepping small models quickly.

The equations are Keras 3's (keras/src/optimizers), which differ from torch.optim's in where epsilon stands.
Each is a config: `build(parameters)` gives a torch.optim.Optimizer. Keras' learning rate of Adam includes the
bias correction (Kingma and Ba 2015, end of section 2), so its epsilon is added to sqrt(v) uncorrected; the
fused kernel of torch divides by sqrt(v / (1 - beta_2^t)) + epsilon, so handing it
epsilon / sqrt(1 - beta_2^t) gives Keras' numbers.
"""

from __future__ import annotations

import abc
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from longspan import errors

from . import schedules

_torch: Any = torch  # its kernels over lists of tensors have no public names
Rate = float | Callable[[int], float]  # a number, or a function from the step (from 0) to one


class OptimizerConfig(abc.ABC):
    """An optimizer without its parameters. Abstract.

    Args:
        learning_rate: a number, or a function from the optimizer's step (from 0) to one.
        weight_decay: share of every weight taken off at a step, times the learning rate; None for none.
        clipnorm: the largest norm that the gradient of one weight tensor keeps.
        clipvalue: the largest magnitude that a gradient value keeps.
        global_clipnorm: the largest norm that all gradients together keep.
    """

    def __init__(
        self,
        learning_rate: Rate,
        weight_decay: float | None,
        clipnorm: float | None,
        clipvalue: float | None,
        global_clipnorm: float | None,
        name: str,
    ) -> None:
        if not callable(learning_rate) and not learning_rate >= 0.0:
            raise errors.value_error(
                "learning_rate", "a number of at least 0", learning_rate, "0.001 is usual"
            )
        given = [v for v in (clipnorm, clipvalue, global_clipnorm) if v is not None]
        if len(given) > 1:
            names = "clipnorm, clipvalue or global_clipnorm"
            raise errors.value_error(names, "at most one of them", f"{len(given)}", "leave the others out")
        self.learning_rate, self.weight_decay, self.name = learning_rate, weight_decay, name
        self.clipnorm, self.clipvalue, self.global_clipnorm = clipnorm, clipvalue, global_clipnorm

    @abc.abstractmethod
    def build(self, parameters: Iterable[Tensor]) -> KerasOptimizer:
        """The optimizer of these parameters."""

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}


class KerasOptimizer(Optimizer):
    """A torch optimizer that steps all parameters in a few calls. Abstract: subclasses say `update`.

    `learning_rate` reads and sets the rate of every group, as Keras' optimizers do.
    """

    def __init__(self, parameters: Iterable[Tensor], config: OptimizerConfig, **options: Any) -> None:
        rate = config.learning_rate
        self._plan = rate if callable(rate) else None
        self.config = config
        defaults = {
            "lr": float(rate(0)) if callable(rate) else float(rate),
            "weight_decay": config.weight_decay or 0.0,
            "steps": 0,
            **options,
        }
        super().__init__(list(parameters), defaults)
        self._clip = clipper(config.global_clipnorm, config.clipvalue, config.clipnorm)

    # torch.optim wraps these so that torch.compile leaves them alone, and to do so loads torch._dynamo at the
    # first call: a second of waiting before the first step of a model that nobody compiles.
    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the first group."""
        return self.param_groups[0]["lr"]

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._plan = None
        for group in self.param_groups:
            group["lr"] = float(value)

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step with the gradients there are; a parameter without one is left alone."""
        answer = None
        if closure is not None:
            with torch.enable_grad():
                answer = closure()
        self.fused_step()
        return answer

    def fused_step(self) -> None:
        """`step` without torch.optim's profiling and hooks around it, which cost as much as a small step."""
        with torch.no_grad():
            for group in self.param_groups:
                params = group["params"]
                grads = [param.grad for param in params]
                if any(grad is None for grad in grads):
                    params = [param for param in params if param.grad is not None]
                    grads = [param.grad for param in params]
                if params:
                    self._step_group(group, params, grads)

    def _step_group(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        if self._clip is not None:
            self._clip(grads)
        if self._plan is not None:
            group["lr"] = float(self._plan(group["steps"]))
        for some, theirs in _alike(params, grads):
            self.update(group, some, theirs)
        group["steps"] += 1

    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """Change the parameters in place; group["steps"] is the number of steps before this one."""
        raise NotImplementedError

    def slots(self, params: list[Tensor], name: str, start: float = 0.0) -> list[Tensor]:
        """One tensor of state a parameter, full of `start` at first."""
        state = self.state
        try:
            return [state[param][name] for param in params]
        except KeyError:
            for param in params:
                state[param].setdefault(name, torch.full_like(param, start, requires_grad=False))
            return [state[param][name] for param in params]


def _alike(params: list[Tensor], grads: list[Tensor]) -> Iterable[tuple[list[Tensor], list[Tensor]]]:
    """The parameters in lists of one dtype and device, as the fused kernels want them."""
    kinds = {(param.dtype, param.device) for param in params}
    if len(kinds) == 1:
        return [(params, grads)]
    places = [[i for i, param in enumerate(params) if (param.dtype, param.device) == kind] for kind in kinds]
    return [([params[i] for i in some], [grads[i] for i in some]) for some in places]


def clipper(
    global_norm: float | None, value: float | None, norm: float | None = None
) -> Callable[[list[Tensor]], None] | None:
    """What clips gradients in place: by their joint norm, by value, by each one's norm; None for nothing."""
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
            _torch._foreach_clamp_min_(grads, -value)
            _torch._foreach_clamp_max_(grads, value)

    return clip


def _shrink(grads: list[Tensor], limit: float) -> None:
    """Scale the gradients so that their joint norm is at most `limit` (Pascanu et al. 2013, algorithm 1)."""
    norms = _torch._foreach_norm(grads)
    if grads[0].device.type == "cpu":
        total = math.sqrt(sum(norm.item() ** 2 for norm in norms))
        if total > limit:
            _torch._foreach_mul_(grads, limit / total)
    else:
        total = torch.linalg.vector_norm(torch.stack(list(norms)))
        _torch._foreach_mul_(grads, (limit / total).clamp_max(1.0))


class _AdamOptimizer(KerasOptimizer):
    """Adam and AdamW, which in Keras differ in their defaults alone."""

    _count: Tensor | None = None  # one tensor for all steps, as making one costs as much as a small update

    def _counted(self, step: int, device: torch.device) -> Tensor:
        """The number of a step as the fused kernel wants it."""
        if self._count is None or self._count.device != device:
            self._count = torch.empty((), device=device)
        return self._count.fill_(step)

    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        beta_1, beta_2 = group["beta_1"], group["beta_2"]
        now = group["steps"] + 1
        count = self._counted(now, params[0].device)
        _torch._fused_adamw_(
            params,
            grads,
            self.slots(params, "momentum"),
            self.slots(params, "velocity"),
            self.slots(params, "velocity_hat") if group["amsgrad"] else [],
            [count] * len(params),
            amsgrad=group["amsgrad"],
            lr=group["lr"],
            beta1=beta_1,
            beta2=beta_2,
            weight_decay=group["weight_decay"],
            eps=group["epsilon"] / math.sqrt(1.0 - beta_2**now),
            maximize=False,
        )


class _SGDOptimizer(KerasOptimizer):
    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        rate, momentum = group["lr"], group["momentum"]
        _decay(group, params)
        if not momentum:
            _torch._foreach_add_(params, grads, alpha=-rate)
            return
        speed = self.slots(params, "momentum")
        _torch._foreach_mul_(speed, momentum)
        _torch._foreach_add_(speed, grads, alpha=-rate)
        if group["nesterov"]:
            _torch._foreach_add_(params, speed, alpha=momentum)
            _torch._foreach_add_(params, grads, alpha=-rate)
        else:
            _torch._foreach_add_(params, speed)


class _RMSpropOptimizer(KerasOptimizer):
    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        _decay(group, params)
        if group["momentum"] or group["centered"] or params[0].device.type != "cpu":
            self._update_by_parts(group, params, grads)
        else:
            self._update_at_once(group, params, grads)

    def _update_at_once(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """By Adagrad's fused kernel, s += g^2, w -= rate * g / sqrt(s), where s = (v + epsilon) / (1 - rho).

        Keras' v = rho * v + (1 - rho) * g^2 makes that s = rho * s + epsilon + g^2.
        """
        rho, epsilon = group["rho"], group["epsilon"]
        sums = self.slots(params, "sum", epsilon / (1.0 - rho))
        _torch._foreach_mul_(sums, rho)
        _torch._foreach_add_(sums, epsilon)
        _torch._fused_adagrad_(
            params,
            grads,
            sums,
            [torch.ones(())] * len(params),
            lr=group["lr"] / math.sqrt(1.0 - rho),
            lr_decay=0.0,
            weight_decay=0.0,
            eps=0.0,
            maximize=False,
        )

    def _update_by_parts(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        rate, rho, momentum = group["lr"], group["rho"], group["momentum"]
        velocity = self.slots(params, "velocity")
        _torch._foreach_mul_(velocity, rho)
        _torch._foreach_addcmul_(velocity, grads, grads, 1.0 - rho)
        if group["centered"]:
            average = self.slots(params, "average_gradient")
            _torch._foreach_mul_(average, rho)
            _torch._foreach_add_(average, grads, alpha=1.0 - rho)
            root = list(_torch._foreach_addcmul(velocity, average, average, -1.0))
            _torch._foreach_add_(root, group["epsilon"])
        else:
            root = list(_torch._foreach_add(velocity, group["epsilon"]))
        _torch._foreach_sqrt_(root)
        if not momentum:
            _torch._foreach_addcdiv_(params, grads, root, -rate)
            return
        speed = self.slots(params, "momentum")
        _torch._foreach_mul_(speed, momentum)
        _torch._foreach_addcdiv_(speed, grads, root, rate)
        _torch._foreach_sub_(params, speed)


def _decay(group: dict[str, Any], params: list[Tensor]) -> None:
    """Weight decay apart from the gradient (Loshchilov and Hutter 2019, algorithm 2)."""
    if group["weight_decay"]:
        _torch._foreach_mul_(params, 1.0 - group["lr"] * group["weight_decay"])


class Adam(OptimizerConfig):
    """Adam as Keras writes it (Kingma and Ba 2015, end of section 2).

    See `OptimizerConfig` for the common arguments.

    Args:
        beta_1, beta_2: what the averages of the gradient and of its square keep at a step.
        epsilon: added to the root of the second.
        amsgrad: use the largest second average so far (Reddi et al. 2018).

    >>> layer = torch.nn.Linear(2, 1)
    >>> optimizer = Adam(learning_rate=0.01).build(layer.parameters())
    >>> layer(torch.ones(1, 2)).sum().backward()
    >>> _ = optimizer.step()
    """

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "adam",
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name)
        self.beta_1 = errors.check_fraction("beta_1", beta_1, below_one=True)
        self.beta_2 = errors.check_fraction("beta_2", beta_2, below_one=True)
        self.epsilon, self.amsgrad = epsilon, amsgrad

    def build(self, parameters: Iterable[Tensor]) -> KerasOptimizer:
        options = {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
        return _AdamOptimizer(parameters, self, **options, amsgrad=self.amsgrad)


class AdamW(OptimizerConfig):
    """Adam with weight decay apart from the gradient (Loshchilov and Hutter 2019); else as `Adam`."""

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        weight_decay: float | None = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "adamw",
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name)
        self.beta_1 = errors.check_fraction("beta_1", beta_1, below_one=True)
        self.beta_2 = errors.check_fraction("beta_2", beta_2, below_one=True)
        self.epsilon, self.amsgrad = epsilon, amsgrad

    def build(self, parameters: Iterable[Tensor]) -> KerasOptimizer:
        options = {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
        return _AdamOptimizer(parameters, self, **options, amsgrad=self.amsgrad)


class SGD(OptimizerConfig):
    """Gradient descent as Keras writes it: speed = momentum * speed - rate * gradient, weight += speed.

    Args:
        momentum: what the speed keeps at a step; 0 for none.
        nesterov: look ahead along the speed (Sutskever et al. 2013).
    """

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "SGD",
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name)
        self.momentum, self.nesterov = errors.check_fraction("momentum", momentum), nesterov

    def build(self, parameters: Iterable[Tensor]) -> KerasOptimizer:
        return _SGDOptimizer(parameters, self, momentum=self.momentum, nesterov=self.nesterov)


class RMSprop(OptimizerConfig):
    """Gradients divided by the root of their recent mean square (Tieleman and Hinton 2012), as Keras does.

    Args:
        rho: what the mean square keeps at a step.
        momentum: what the speed keeps at a step; 0 for none.
        epsilon: added to the mean square before the root.
        centered: divide by the standard deviation instead.
    """

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "rmsprop",
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name)
        self.rho = errors.check_fraction("rho", rho, below_one=True)
        self.momentum = errors.check_fraction("momentum", momentum)
        self.epsilon, self.centered = epsilon, centered

    def build(self, parameters: Iterable[Tensor]) -> KerasOptimizer:
        options = {"rho": self.rho, "momentum": self.momentum, "epsilon": self.epsilon}
        return _RMSpropOptimizer(parameters, self, **options, centered=self.centered)


CLASSES: dict[str, Callable[..., OptimizerConfig]] = {
    kind.__name__: kind for kind in (Adam, AdamW, SGD, RMSprop)
}
NAMES = {**{name.lower(): name for name in CLASSES}, **{name: name for name in CLASSES}}


def get(identifier: str | OptimizerConfig | Mapping[str, Any]) -> OptimizerConfig:
    """The optimizer that is meant: by name, as a config, or as saved.

    Raises:
        ValueError, TypeError: there is no such optimizer; the sentence has the nearest name.

    >>> get("adam").get_config()["learning_rate"]
    0.001
    """
    if isinstance(identifier, OptimizerConfig):
        return identifier
    if isinstance(identifier, str):
        return CLASSES[NAMES[errors.check_choice("optimizer", identifier, NAMES)]]()
    if isinstance(identifier, Mapping):
        config = dict(identifier.get("config", {}))
        if isinstance(config.get("learning_rate"), Mapping):
            config["learning_rate"] = schedules.get(config["learning_rate"])
        return CLASSES[errors.check_choice("optimizer", identifier.get("class_name"), CLASSES)](**config)
    raise errors.type_error(
        "optimizer", "a name, or an optimizer of longspan", identifier, 'pass one such as "adam"'
    )


def serialize(config: OptimizerConfig) -> dict[str, Any]:
    """What `get` makes the same optimizer from again.

    Raises:
        ValueError: its learning rate is a function of your own, which cannot be saved.
    """
    saved = config.get_config()
    if callable(config.learning_rate):
        saved["learning_rate"] = schedules.serialize(config.learning_rate)
    return {"class_name": type(config).__name__, "config": saved}
