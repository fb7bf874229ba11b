"""Steps Adam, AdamW, SGD and RMSprop by Keras' equations.

The equations are Keras 3's (keras/src/optimizers), which differ from torch.optim's in where epsilon stands.
Keras' learning rate of Adam includes the bias correction (Kingma and Ba 2015, end of section 2), so that
epsilon is added to sqrt(v) uncorrected. The fused function of torch divides by
sqrt(v / (1 - beta_2^t)) + epsilon; given epsilon / sqrt(1 - beta_2^t) it computes Keras' numbers.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from longspan import errors
from longspan.kernels import training_step

from . import fused
from .base import KerasOptimizer, OptimizerConfig, Rate, SharedOptions, decay_weights


class _AdamOptimizer(KerasOptimizer):
    """Adam and AdamW, which in Keras differ in their defaults alone."""

    _count: Tensor | None = None  # one tensor for all steps, as making one costs as much as a small update

    def _step_tensor(self, step: int, device: torch.device) -> Tensor:
        """The number of a step as the fused kernel wants it."""
        if self._count is None or self._count.device != device:
            self._count = torch.empty((), device=device)
        return self._count.fill_(step)

    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        betas, step = (group["beta_1"], group["beta_2"]), group["steps"] + 1
        rate, decay = group["lr"], group["weight_decay"]
        epsilon = group["epsilon"] / math.sqrt(1.0 - betas[1] ** step)
        averages, squares = self.state_of(params, "momentum"), self.state_of(params, "velocity")
        if not group["amsgrad"] and training_step.adam_fits(params, grads, averages, squares):
            training_step.adam(
                params, grads, averages, squares,
                rate=rate, betas=betas, epsilon=epsilon, step=step, weight_decay=decay,
            )  # fmt: skip
            return
        fused.adamw_(
            params,
            grads,
            averages,
            squares,
            self.state_of(params, "velocity_hat") if group["amsgrad"] else [],
            [self._step_tensor(step, params[0].device)] * len(params),
            amsgrad=group["amsgrad"],
            lr=rate,
            beta1=betas[0],
            beta2=betas[1],
            weight_decay=decay,
            eps=epsilon,
            maximize=False,
        )


class _SGDOptimizer(KerasOptimizer):
    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        rate, momentum = group["lr"], group["momentum"]
        decay_weights(group, params)
        if not momentum:
            fused.add_(params, grads, alpha=-rate)
            return
        speed = self.state_of(params, "momentum")
        fused.multiply_(speed, momentum)
        fused.add_(speed, grads, alpha=-rate)
        if group["nesterov"]:
            fused.add_(params, speed, alpha=momentum)
            fused.add_(params, grads, alpha=-rate)
        else:
            fused.add_(params, speed)


class _RMSpropOptimizer(KerasOptimizer):
    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        decay_weights(group, params)
        if group["momentum"] or group["centered"] or params[0].device.type != "cpu":
            self._update_by_parts(group, params, grads)
        else:
            self._update_at_once(group, params, grads)

    def _update_at_once(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """By fused Adagrad, s += g^2, w -= rate * g / sqrt(s), where s = (v + epsilon) / (1 - rho).

        Keras' v = rho * v + (1 - rho) * g^2 makes that s = rho * s + epsilon + g^2.
        """
        rho, epsilon = group["rho"], group["epsilon"]
        sums = self.state_of(params, "sum", epsilon / (1.0 - rho))
        fused.multiply_(sums, rho)
        fused.add_scalar_(sums, epsilon)
        fused.adagrad_(
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
        velocity = self.state_of(params, "velocity")
        fused.multiply_(velocity, rho)
        fused.add_product_(velocity, grads, grads, 1.0 - rho)
        if group["centered"]:
            average = self.state_of(params, "average_gradient")
            fused.multiply_(average, rho)
            fused.add_(average, grads, alpha=1.0 - rho)
            root = list(fused.add_product(velocity, average, average, -1.0))
            fused.add_scalar_(root, group["epsilon"])
        else:
            root = list(fused.add_scalar(velocity, group["epsilon"]))
        fused.sqrt_(root)
        if not momentum:
            fused.add_quotient_(params, grads, root, -rate)
            return
        speed = self.state_of(params, "momentum")
        fused.multiply_(speed, momentum)
        fused.add_quotient_(speed, grads, root, rate)
        fused.subtract_(params, speed)


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

    stepper = _AdamOptimizer

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
        **shared: Unpack[SharedOptions],
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name, **shared)
        self.beta_1 = errors.check_fraction("beta_1", beta_1, below_one=True)
        self.beta_2 = errors.check_fraction("beta_2", beta_2, below_one=True)
        self.epsilon, self.amsgrad = epsilon, amsgrad


class AdamW(OptimizerConfig):
    """Adam with weight decay apart from the gradient (Loshchilov and Hutter 2019); else as `Adam`."""

    stepper = _AdamOptimizer

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "adamw",
        **shared: Unpack[SharedOptions],
    ) -> None:
        errors.check_non_negative("weight_decay", weight_decay, "Adam has none")
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name, **shared)
        self.beta_1 = errors.check_fraction("beta_1", beta_1, below_one=True)
        self.beta_2 = errors.check_fraction("beta_2", beta_2, below_one=True)
        self.epsilon, self.amsgrad = epsilon, amsgrad


class SGD(OptimizerConfig):
    """Gradient descent as Keras writes it: speed = momentum * speed - rate * gradient, weight += speed.

    Args:
        momentum: what the speed keeps at a step; 0 for none.
        nesterov: look ahead along the speed (Sutskever et al. 2013).
    """

    stepper = _SGDOptimizer

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
        **shared: Unpack[SharedOptions],
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name, **shared)
        self.momentum, self.nesterov = errors.check_fraction("momentum", momentum), nesterov


class RMSprop(OptimizerConfig):
    """Gradients divided by the root of their recent mean square (Tieleman and Hinton 2012), as Keras does.

    Args:
        rho: what the mean square keeps at a step.
        momentum: what the speed keeps at a step; 0 for none.
        epsilon: added to the mean square before the root.
        centered: divide by the standard deviation instead.
    """

    stepper = _RMSpropOptimizer

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
        **shared: Unpack[SharedOptions],
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name, **shared)
        self.rho = errors.check_fraction("rho", rho, below_one=True)
        self.momentum = errors.check_fraction("momentum", momentum)
        self.epsilon, self.centered = epsilon, centered
