"""Steps matrices by Muon, whose updates are orthogonal, and all other weights by AdamW, as Keras does."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from longspan import errors

from .adaptive import TensorOptimizer
from .base import OptimizerConfig, Rate, SharedOptions

_TINY = 1e-7  # added to a norm that divides


def orthogonalized(matrix: Tensor, steps: int, coefficients: tuple[float, float, float]) -> Tensor:
    """The nearest orthogonal matrix, about, by Newton-Schulz steps X <- aX + (bA + cA^2)X, A = XX^T.

    Args:
        matrix: (..., rows, columns).
        steps: how many; five bring the singular values near 1.
        coefficients: a, b and c.
    """
    a, b, c = coefficients
    is_tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.mT if is_tall else matrix
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + _TINY)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if is_tall else x


# The options that a step reads from its group of parameters; the others are in the config.
_OF_GROUPS = (
    "adam_beta_1", "adam_beta_2", "adam_weight_decay", "epsilon", "adam_lr_ratio", "momentum", "ns_steps",
    "nesterov",
)  # fmt: skip


class _MuonOptimizer(TensorOptimizer):
    config: Muon

    def __init__(self, parameters: Iterable[Any], config: Muon, **options: Any) -> None:
        super().__init__(parameters, config, **{name: options[name] or 0.0 for name in _OF_GROUPS})

    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        for param, grad in zip(params, grads, strict=True):
            is_adam = self.config.uses_adam(param)
            decay = group["adam_weight_decay"] if is_adam else group["weight_decay"]
            if decay:
                param.mul_(1.0 - group["lr"] * decay)
            if is_adam:
                self._adam_step(group, param, grad)
            else:
                self.update_tensor(group, param, grad, group["steps"] + 1)

    def _adam_step(self, group: dict[str, Any], param: Tensor, grad: Tensor) -> None:
        step, beta_1, beta_2 = group["steps"] + 1, group["adam_beta_1"], group["adam_beta_2"]
        momentum = self.average(param, "momentum", grad, beta_1)
        velocity = self.average(param, "velocity", grad * grad, beta_2)
        rate = group["lr"] * group["adam_lr_ratio"] * math.sqrt(1.0 - beta_2**step) / (1.0 - beta_1**step)
        param.addcdiv_(momentum, velocity.sqrt().add_(group["epsilon"]), value=-rate)

    def update_tensor(self, group: dict[str, Any], param: Tensor, grad: Tensor, step: int) -> None:
        momentum = self.buffer(param, "momentum").mul_(group["momentum"]).add_(grad)
        ahead = grad + group["momentum"] * momentum if group["nesterov"] else momentum
        update = self.config.zeropower_via_newtonschulz5(ahead, group["ns_steps"])
        param.sub_(self.config.lr_adjust(group["lr"] * update))


class Muon(OptimizerConfig):
    """Orthogonal updates for matrices, and AdamW for all other weights, as Keras writes it.

    Sources: Jordan et al. 2024 (github.com/KellerJordan/Muon); Liu et al. 2025, arXiv 2502.16982. AdamW also
    steps the weights of embeddings and those in exclude_layers; name the last layer there.

    Args:
        adam_beta_1, adam_beta_2, epsilon: of AdamW, as for `Adam`.
        adam_weight_decay: the weight decay of weights that AdamW steps, None for none.
        exclude_layers: patterns of re that are searched in the names of weights, such as "dense/kernel".
        exclude_embeddings: whether AdamW steps weights with "embedding" in their names.
        muon_a, muon_b, muon_c: the coefficients of a Newton-Schulz step.
        adam_lr_ratio: the learning rate of AdamW over that of Muon.
        momentum: what the momentum of a matrix keeps at a step.
        ns_steps: Newton-Schulz steps at an update.
        nesterov: look ahead along the momentum.
        rms_rate: updates have this root mean square, as AdamW's have about; None leaves them as they are.

    >>> layer = torch.nn.Linear(2, 1)
    >>> optimizer = Muon(learning_rate=0.01).build(layer.parameters())
    >>> layer(torch.ones(1, 2)).sum().backward()
    >>> _ = optimizer.step()
    """

    stepper = _MuonOptimizer

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        adam_beta_1: float = 0.9,
        adam_beta_2: float = 0.999,
        adam_weight_decay: float | None = 0.004,
        epsilon: float = 1e-7,
        weight_decay: float | None = 0.004,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "muon",
        exclude_layers: Sequence[str] | None = None,
        exclude_embeddings: bool = True,
        muon_a: float = 3.4445,
        muon_b: float = -4.7750,
        muon_c: float = 2.0315,
        adam_lr_ratio: float = 1.0,
        momentum: float = 0.95,
        ns_steps: int = 5,
        nesterov: bool = True,
        rms_rate: float | None = 0.2,
        **shared: Unpack[SharedOptions],
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name, **shared)
        self.adam_beta_1 = errors.check_fraction("adam_beta_1", adam_beta_1, below_one=True)
        self.adam_beta_2 = errors.check_fraction("adam_beta_2", adam_beta_2, below_one=True)
        self.adam_weight_decay, self.epsilon = adam_weight_decay, epsilon
        self.exclude_layers = list(exclude_layers or [])
        self.exclude_embeddings = errors.check_bool("exclude_embeddings", exclude_embeddings)
        self.muon_a, self.muon_b, self.muon_c = muon_a, muon_b, muon_c
        self.adam_lr_ratio = errors.check_non_negative("adam_lr_ratio", adam_lr_ratio, "1 is usual")
        self.momentum = errors.check_fraction("momentum", momentum)
        self.ns_steps = errors.check_int("ns_steps", ns_steps, 1, "5 is usual")
        self.nesterov, self.rms_rate = errors.check_bool("nesterov", nesterov), rms_rate

    def groups(self, parameters: Iterable[Any]) -> list[Any]:
        """The parameters, those without weight decay in a group of their own."""
        groups = super().groups(parameters)
        return [
            {**group, "adam_weight_decay": 0.0}
            if isinstance(group, dict) and group.get("weight_decay") == 0.0
            else group
            for group in groups
        ]

    def uses_adam(self, variable: Tensor) -> bool:
        """Whether AdamW steps a variable, or a weight of a model."""
        path = self.path_of(variable)
        if variable.dim() != 2 or (self.exclude_embeddings and "embedding" in path.lower()):
            return True
        return any(re.search(pattern, path) for pattern in self.exclude_layers)

    def zeropower_via_newtonschulz5(self, x: Tensor, steps: int) -> Tensor:
        """A matrix made about orthogonal by so many Newton-Schulz steps."""
        return orthogonalized(x, steps, (self.muon_a, self.muon_b, self.muon_c))

    def lr_adjust(self, x: Tensor) -> Tensor:
        """An update (rows, columns) with the root mean square rms_rate."""
        return x if self.rms_rate is None else x * (math.sqrt(max(x.shape)) * self.rms_rate)
