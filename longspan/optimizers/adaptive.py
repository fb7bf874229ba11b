"""Steps Adagrad, Adadelta, Adamax, Nadam, Lamb, Lion, Ftrl and Adafactor by the equations of Keras.

The equations are Keras 3's (keras/src/optimizers); the papers are named with each class.
"""

from __future__ import annotations

import abc
import math
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from longspan import errors

from .base import KerasOptimizer, OptimizerConfig, Rate, SharedOptions, decay_weights


class TensorOptimizer(KerasOptimizer, abc.ABC):
    """Steps one parameter after another. Abstract: subclasses define `update_tensor`."""

    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        decay_weights(group, params)
        for param, grad in zip(params, grads, strict=True):
            self.update_tensor(group, param, grad, group["steps"] + 1)

    @abc.abstractmethod
    def update_tensor(self, group: dict[str, Any], param: Tensor, grad: Tensor, step: int) -> None:
        """Change a parameter in place; step: from 1."""

    def average(self, param: Tensor, name: str, value: Tensor, kept: float) -> Tensor:
        """A running average of a parameter, after one more value; kept: the share of what was there."""
        return self.buffer(param, name).mul_(kept).add_(value, alpha=1.0 - kept)

    def moments(self, group: dict[str, Any], param: Tensor, grad: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Adam's average gradient, not corrected, and the corrected root of the average square + epsilon."""
        momentum = self.average(param, "momentum", grad, group["beta_1"])
        velocity = self.average(param, "velocity", grad * grad, group["beta_2"])
        return momentum, (velocity / (1.0 - group["beta_2"] ** step)).sqrt_().add_(group["epsilon"])

    def buffer(self, param: Tensor, name: str, start: float = 0.0) -> Tensor:
        """A state tensor of a parameter's shape, filled with `start` at first."""
        return self.state_of([param], name, start)[0]


class _AdagradOptimizer(TensorOptimizer):
    def update_tensor(self, group: dict[str, Any], param: Tensor, grad: Tensor, step: int) -> None:
        total = self.buffer(param, "accumulator", group["initial_accumulator_value"])
        total.addcmul_(grad, grad)
        param.addcdiv_(grad, (total + group["epsilon"]).sqrt_(), value=-group["lr"])


class _AdadeltaOptimizer(TensorOptimizer):
    def update_tensor(self, group: dict[str, Any], param: Tensor, grad: Tensor, step: int) -> None:
        rho, epsilon = group["rho"], group["epsilon"]
        squares = self.average(param, "accumulated_gradient", grad * grad, rho)
        before = self.buffer(param, "accumulated_change")
        change = -(before + epsilon).sqrt_() * grad / (squares + epsilon).sqrt_()
        self.average(param, "accumulated_change", change * change, rho)
        param.add_(change, alpha=group["lr"])


class _AdamaxOptimizer(TensorOptimizer):
    def update_tensor(self, group: dict[str, Any], param: Tensor, grad: Tensor, step: int) -> None:
        momentum = self.average(param, "momentum", grad, group["beta_1"])
        largest = self.buffer(param, "largest").mul_(group["beta_2"])
        torch.maximum(largest, grad.abs(), out=largest)
        rate = group["lr"] / (1.0 - group["beta_1"] ** step)
        param.addcdiv_(momentum, largest + group["epsilon"], value=-rate)


class _NadamOptimizer(TensorOptimizer):
    def update_tensor(self, group: dict[str, Any], param: Tensor, grad: Tensor, step: int) -> None:
        now, after = (group["beta_1"] * (1.0 - 0.5 * 0.96**t) for t in (step, step + 1))
        product = self.state[param].get("product", 1.0) * now
        self.state[param]["product"] = product
        momentum, root = self.moments(group, param, grad, step)
        ahead = momentum * (after / (1.0 - product * after)) + grad * ((1.0 - now) / (1.0 - product))
        param.addcdiv_(ahead, root, value=-group["lr"])


class _LambOptimizer(TensorOptimizer):
    def update_tensor(self, group: dict[str, Any], param: Tensor, grad: Tensor, step: int) -> None:
        momentum, root = self.moments(group, param, grad, step)
        change = momentum / (1.0 - group["beta_1"] ** step) / root
        norms = torch.linalg.vector_norm(param), torch.linalg.vector_norm(change)
        trust = torch.where((norms[0] > 0) & (norms[1] > 0), norms[0] / norms[1], 1.0)
        param.sub_(trust * group["lr"] * change)


class _LionOptimizer(TensorOptimizer):
    def update_tensor(self, group: dict[str, Any], param: Tensor, grad: Tensor, step: int) -> None:
        momentum = self.buffer(param, "momentum")
        param.add_(torch.lerp(grad, momentum, group["beta_1"]).sign_(), alpha=-group["lr"])
        self.average(param, "momentum", grad, group["beta_2"])


class _FtrlOptimizer(TensorOptimizer):
    def update_tensor(self, group: dict[str, Any], param: Tensor, grad: Tensor, step: int) -> None:
        rate, power = group["lr"], -group["learning_rate_power"]
        l1, l2 = group["l1_regularization_strength"], group["l2_regularization_strength"]
        shrunk = grad + 2.0 * group["l2_shrinkage_regularization_strength"] * param
        before = self.buffer(param, "accumulator", group["initial_accumulator_value"])
        after = before + grad * grad
        linear = self.buffer(param, "linear")
        linear.add_(shrunk - (after.pow(power) - before.pow(power)) / rate * param)
        quadratic = after.pow(power) / rate + 2.0 * (l2 + group["beta"] / (2.0 * rate))
        param.copy_((linear.clamp(-l1, l1) - linear) / quadratic)
        before.copy_(after)


class _AdafactorOptimizer(TensorOptimizer):
    def update_tensor(self, group: dict[str, Any], param: Tensor, grad: Tensor, step: int) -> None:
        rate = min(group["lr"], 1.0 / math.sqrt(step))  # also without relative_step, see Keras' rho_t
        square, kept = grad * grad + group["epsilon_1"], 1.0 - step ** group["beta_2_decay"]
        if param.ndim < 2:
            variance = self.average(param, "variance", square, kept)
        else:
            rows, columns = self._factors(param, square, kept)
            variance = (rows / rows.mean(-1, keepdim=True)).unsqueeze(-1) * columns.unsqueeze(-2)
        change = grad / variance.sqrt()
        change /= (_root_mean_square(change) / group["clip_threshold"]).clamp_min(1.0)
        param.sub_(_root_mean_square(param).clamp_min(group["epsilon_2"]) * rate * change)

    def _factors(self, param: Tensor, square: Tensor, kept: float) -> tuple[Tensor, Tensor]:
        """The running means of the squares over the last dimension and over the last but one."""
        state = self.state[param]
        for name, axis in (("rows", -1), ("columns", -2)):
            mean = square.mean(axis)
            state[name] = torch.lerp(mean, state.get(name, torch.zeros_like(mean)), kept)
        return state["rows"], state["columns"]


def _root_mean_square(values: Tensor) -> Tensor:
    return values.square().mean().sqrt()


class Adagrad(OptimizerConfig):
    """Gradients divided by the root of the sum of their squares (Duchi et al. 2011).

    Args:
        initial_accumulator_value: what the sum begins with, at least 0.
        epsilon: added to the sum before the root.
    """

    stepper = _AdagradOptimizer

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "adagrad",
        **shared: Unpack[SharedOptions],
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name, **shared)
        self.initial_accumulator_value = errors.check_non_negative(
            "initial_accumulator_value", initial_accumulator_value, "0.1 is usual"
        )
        self.epsilon = epsilon


class Adadelta(OptimizerConfig):
    """Gradients scaled by the ratio of recent changes to recent gradients (Zeiler 2012, arXiv 1212.5701).

    Args:
        rho: what the averages of squares keep at a step.
        epsilon: added to both averages before their roots.
    """

    stepper = _AdadeltaOptimizer

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        rho: float = 0.95,
        epsilon: float = 1e-7,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "adadelta",
        **shared: Unpack[SharedOptions],
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name, **shared)
        self.rho = errors.check_fraction("rho", rho, below_one=True)
        self.epsilon = epsilon


class MomentConfig(OptimizerConfig):
    """The options of the kin of Adam without its amsgrad. Abstract."""

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
        **shared: Unpack[SharedOptions],
    ) -> None:
        super().__init__(
            learning_rate,
            weight_decay,
            clipnorm,
            clipvalue,
            global_clipnorm,
            name or type(self).__name__.lower(),
            **shared,
        )
        self.beta_1 = errors.check_fraction("beta_1", beta_1, below_one=True)
        self.beta_2 = errors.check_fraction("beta_2", beta_2, below_one=True)
        self.epsilon = epsilon


class Adamax(MomentConfig):
    """Adam with the largest recent gradient in place of the root of squares (Kingma and Ba 2015, 7.1).

    Args:
        beta_1: what the average gradient keeps at a step.
        beta_2: what the largest gradient keeps at a step.
        epsilon: added to the largest gradient.
    """

    stepper = _AdamaxOptimizer


class Nadam(MomentConfig):
    """Adam with Nesterov's momentum, whose schedule is 1 - 0.5 * 0.96^step (Dozat 2016).

    Args:
        beta_1, beta_2: what the averages of the gradient and of its square keep at a step.
        epsilon: added to the root of the second.
    """

    stepper = _NadamOptimizer


class Lamb(MomentConfig):
    """Adam whose step is scaled to the norm of each weight tensor (You et al. 2020, arXiv 1904.00962).

    Args:
        beta_1, beta_2: what the averages of the gradient and of its square keep at a step.
        epsilon: added to the root of the second.
    """

    stepper = _LambOptimizer


class Lion(OptimizerConfig):
    """Steps of one size along the sign of a momentum (Chen et al. 2023, arXiv 2302.06675).

    Args:
        beta_1: the share of the momentum in the sign that is taken.
        beta_2: what the momentum keeps at a step.
    """

    stepper = _LionOptimizer

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "lion",
        **shared: Unpack[SharedOptions],
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name, **shared)
        self.beta_1 = errors.check_fraction("beta_1", beta_1, below_one=True)
        if self.beta_1 == 0.0:
            raise errors.value_error("beta_1", "a number above 0", beta_1, "0.9 is usual")
        self.beta_2 = errors.check_fraction("beta_2", beta_2, below_one=True)


class Ftrl(OptimizerConfig):
    """Follow the regularized leader, for sparse linear models (McMahan et al. 2013).

    Args:
        learning_rate_power: how the rate falls with the sum of squares; at most 0.
        initial_accumulator_value: what the sum of squares begins with, at least 0.
        l1_regularization_strength, l2_regularization_strength: penalties, at least 0.
        l2_shrinkage_regularization_strength: a penalty on the size of weights, which only shrinks them.
        beta: adds beta / (2 * learning_rate) to the squared penalty.
    """

    stepper = _FtrlOptimizer

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float = 0.0,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "ftrl",
        **shared: Unpack[SharedOptions],
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name, **shared)
        if learning_rate_power > 0.0:
            raise errors.value_error(
                "learning_rate_power", "a number of at most 0", learning_rate_power, "-0.5 is usual"
            )
        self.learning_rate_power, self.beta = learning_rate_power, beta
        self.initial_accumulator_value = errors.check_non_negative(
            "initial_accumulator_value", initial_accumulator_value, "0.1 is usual"
        )
        self.l1_regularization_strength = errors.check_non_negative(
            "l1_regularization_strength", l1_regularization_strength, "0 is none"
        )
        self.l2_regularization_strength = errors.check_non_negative(
            "l2_regularization_strength", l2_regularization_strength, "0 is none"
        )
        self.l2_shrinkage_regularization_strength = errors.check_non_negative(
            "l2_shrinkage_regularization_strength", l2_shrinkage_regularization_strength, "0 is none"
        )


class Adafactor(OptimizerConfig):
    """Gradients scaled by the means of squares of rows and columns (Shazeer and Stern 2018, 1804.04235).

    Args:
        beta_2_decay: exponent of the step in what the means take of a new square.
        epsilon_1: added to the squares.
        epsilon_2: least root mean square of a weight tensor, to which its steps are scaled.
        clip_threshold: largest root mean square of a change before that scaling.
        relative_step: kept for Keras' scripts; a step is at most 1 / sqrt(step) in either case, as in Keras.
    """

    stepper = _AdafactorOptimizer

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_2_decay: float = -0.8,
        epsilon_1: float = 1e-30,
        epsilon_2: float = 0.001,
        clip_threshold: float = 1.0,
        relative_step: bool = True,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "adafactor",
        **shared: Unpack[SharedOptions],
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name, **shared)
        self.beta_2_decay = beta_2_decay
        self.epsilon_1 = epsilon_1
        self.epsilon_2 = epsilon_2
        self.clip_threshold = clip_threshold
        self.relative_step = relative_step
