"""Steps AdamW without a schedule of the learning rate, by an average of the weights, as Keras does."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from longspan import errors

from .adaptive import TensorOptimizer
from .base import OptimizerConfig, Rate, SharedOptions, decay_weights


class _ScheduleFreeOptimizer(TensorOptimizer):
    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        for param in params:
            if "momentum" not in self.state[param]:  # which begins as the weight, before any decay
                self.state[param]["momentum"] = param.detach().clone()
        decay_weights(group, params)
        for param, grad in zip(params, grads, strict=True):
            self.update_tensor(group, param, grad, group["steps"] + 1)

    def update_tensor(self, group: dict[str, Any], param: Tensor, grad: Tensor, step: int) -> None:
        beta_1, beta_2 = group["beta_1"], group["beta_2"]
        warmup = min(step / group["warmup_steps"], 1.0) if group["warmup_steps"] else 1.0
        velocity = self.average(param, "velocity", grad * grad, beta_2)
        root = velocity.sqrt().div_(math.sqrt(1.0 - beta_2**step)).add_(group["epsilon"])
        fast = self.buffer(param, "momentum")
        slow = (param - (1.0 - beta_1) * fast) / beta_1
        fast.addcdiv_(grad, root, value=-group["lr"] * warmup)
        param.copy_(torch.lerp(fast, torch.lerp(slow, fast, 1.0 / step), beta_1))


class ScheduleFreeAdamW(OptimizerConfig):
    """AdamW whose weights lie between fast ones and their average, so that the rate needs no schedule.

    Source: Defazio et al. 2024, arXiv 2405.15682. With fast weights z and their average x the weights are
    y = (1 - beta_1) z + beta_1 x. Keras on PyTorch finds x with z after its step, the paper before.

    Args:
        beta_1: the share of the average in the weights, above 0.
        beta_2: what the average of the squared gradient keeps at a step.
        epsilon: added to its root.
        warmup_steps: the steps over which the learning rate rises from 0 in a line.
    """

    stepper = _ScheduleFreeOptimizer

    def __init__(
        self,
        learning_rate: Rate = 0.0025,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        warmup_steps: int = 0,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "schedule_free_adam_w",
        **shared: Unpack[SharedOptions],
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name, **shared)
        self.beta_1 = errors.check_fraction("beta_1", beta_1, below_one=True)
        if self.beta_1 == 0.0:
            raise errors.value_error("beta_1", "a number above 0", beta_1, "0.9 is usual")
        self.beta_2 = errors.check_fraction("beta_2", beta_2, below_one=True)
        self.epsilon = epsilon
        self.warmup_steps = errors.check_int("warmup_steps", warmup_steps, 0, "0 for none")
