"""Projects weights after every step of the optimizer, with Keras' names and numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from longspan import errors
from longspan.config import epsilon
from longspan.ops.calling import to_tensor
from longspan.registry import Configured, Registry, by_name, snake_case

# A name in NAMES, a function from weights in Keras' layout to weights of the same shape, or None.
ConstraintLike = str | Callable[[Tensor], Tensor] | None


def _norms(weights: Tensor, axis: int | tuple[int, ...] | list[int]) -> Tensor:
    """The norms over the axes, which are kept."""
    axes = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
    return weights.square().sum(axes, keepdim=True).sqrt()


class Constraint(Configured):
    """Leaves weights as they are: a subclass defines `project`, or `__call__` as in Keras."""

    def __call__(self, w: Any) -> Tensor:
        """The weights, a tensor or array in Keras' layout, changed so that they fulfil the constraint."""
        return self.project(to_tensor(w))

    def project(self, weights: Tensor) -> Tensor:
        """The changed weights."""
        return weights


@dataclass(frozen=True)
class MaxNorm(Constraint):
    """Scales weights down whose norm is larger (Srivastava et al. 2014, section 5.1).

    Args:
        max_value: the largest norm.
        axis: the dimension or dimensions of Keras' array over which a norm is taken: 0 for the weights into
            one unit of Dense, (0, 1, 2) for one filter of Conv2D.

    >>> MaxNorm(1.0)(torch.tensor([[3.0], [4.0]]))
    tensor([[0.6000],
            [0.8000]])
    """

    max_value: float = 2.0
    axis: int | tuple[int, ...] = 0

    def project(self, weights: Tensor) -> Tensor:
        norms = _norms(weights, self.axis)
        return weights * (norms.clamp(0.0, self.max_value) / (epsilon() + norms))


@dataclass(frozen=True)
class NonNeg(Constraint):
    """Sets negative weights to 0."""

    def project(self, weights: Tensor) -> Tensor:
        return weights.clamp_min(0.0)


@dataclass(frozen=True)
class UnitNorm(Constraint):
    """Scales weights to a norm of 1; axis: as for `MaxNorm`."""

    axis: int | tuple[int, ...] = 0

    def project(self, weights: Tensor) -> Tensor:
        return weights / (epsilon() + _norms(weights, self.axis))


@dataclass(frozen=True)
class MinMaxNorm(Constraint):
    """Scales weights towards a norm between two bounds.

    Args:
        min_value, max_value: the bounds.
        rate: the share of the way that a step goes: 1 enforces the bounds.
        axis: as for `MaxNorm`.
    """

    min_value: float = 0.0
    max_value: float = 1.0
    rate: float = 1.0
    axis: int | tuple[int, ...] = 0

    def project(self, weights: Tensor) -> Tensor:
        norms = _norms(weights, self.axis)
        wanted = self.rate * norms.clamp(self.min_value, self.max_value) + (1.0 - self.rate) * norms
        return weights * (wanted / (epsilon() + norms))


REGISTRY: Registry[Any] = Registry(
    "constraint",
    "max_norm",
    "longspan.constraints.NAMES",
    by_name(MaxNorm, NonNeg, UnitNorm, MinMaxNorm),
    {snake_case(kind.__name__): kind.__name__ for kind in (MaxNorm, NonNeg, UnitNorm, MinMaxNorm)},
)
NAMES = REGISTRY.names


def get(constraint: ConstraintLike | Mapping[str, Any]) -> Callable[[Tensor], Tensor] | None:
    """The constraint of a name or a saved config; None and a function are themselves.

    Raises:
        ValueError, TypeError: the name is unknown; the sentence has the nearest one.
    """
    if isinstance(constraint, type):
        return constraint()
    if constraint is None or callable(constraint):
        return constraint
    if not isinstance(constraint, (str, Mapping)):
        raise errors.type_error("constraint", "a name, a function or None", constraint, "such as 'max_norm'")
    return REGISTRY.get(constraint)


def serialize(constraint: Any) -> dict[str, Any]:
    """What `get` makes an equal constraint from."""
    return REGISTRY.config(constraint, constraint.get_config())


deserialize = get
max_norm, non_neg, unit_norm, min_max_norm = MaxNorm, NonNeg, UnitNorm, MinMaxNorm
