"""Penalises large weights in the loss, with Keras' names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from longspan import errors
from longspan.ops.calling import to_tensor
from longspan.registry import Configured, Registry, by_name

# A name in NAMES, a function weights -> scalar, or None.
RegularizerLike = str | Callable[[Tensor], Tensor] | None


class Regularizer(Configured):
    """Weights to a number for the loss. Abstract: a subclass defines `penalty`, or `__call__` as in Keras."""

    def __call__(self, x: Any) -> Tensor:
        """The number for weights, a tensor or array in Keras' layout."""
        return self.penalty(to_tensor(x))

    def penalty(self, weights: Tensor) -> Tensor:
        """The number."""
        raise NotImplementedError


def _check_factor(name: str, value: Any) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not math.isfinite(value)
        or value < 0
    ):
        raise errors.value_error(name, "a number of at least 0", repr(value), "0.01 is usual")
    return float(value)


class L1L2(Regularizer):
    """l1 * sum |w| + l2 * sum w^2.

    >>> L1L2(l2=0.5)([1.0, 2.0])
    tensor(2.5000)
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = _check_factor("l1", 0.0 if l1 is None else l1)
        self.l2 = _check_factor("l2", 0.0 if l2 is None else l2)

    def penalty(self, weights: Tensor) -> Tensor:
        return _elastic(weights, self.l1, self.l2)


class L1(Regularizer):
    """l1 * sum |w|."""

    def __init__(self, l1: float = 0.01) -> None:
        self.l1 = _check_factor("l1", 0.01 if l1 is None else l1)

    def penalty(self, weights: Tensor) -> Tensor:
        return _elastic(weights, self.l1, 0.0)


class L2(Regularizer):
    """l2 * sum w^2."""

    def __init__(self, l2: float = 0.01) -> None:
        self.l2 = _check_factor("l2", 0.01 if l2 is None else l2)

    def penalty(self, weights: Tensor) -> Tensor:
        return _elastic(weights, 0.0, self.l2)


def _elastic(weights: Tensor, l1: float, l2: float) -> Tensor:
    total = weights.new_zeros(())
    if l1:
        total = total + l1 * weights.abs().sum()
    if l2:
        total = total + l2 * weights.square().sum()
    return total


class OrthogonalRegularizer(Regularizer):
    """factor * the mean |cosine| between different rows, or columns, of a matrix.

    Args:
        factor: how much it counts.
        mode: "rows" or "columns", which are to be orthogonal.

    Raises:
        ValueError: the mode is another, or weights are no matrix.
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows") -> None:
        self.factor = _check_factor("factor", factor)
        self.mode = errors.check_choice("mode", mode, ("rows", "columns"))

    def penalty(self, weights: Tensor) -> Tensor:
        if weights.dim() != 2:
            received = tuple(weights.shape)
            raise errors.value_error(
                "OrthogonalRegularizer", "a matrix", received, "use it for kernels of Dense"
            )
        rows = weights if self.mode == "rows" else weights.T
        rows = rows * rows.square().sum(1, keepdim=True).clamp_min(1e-12).rsqrt()
        cosines = (rows @ rows.T) * (1.0 - torch.eye(len(rows), dtype=rows.dtype, device=rows.device))
        pairs = len(rows) * (len(rows) - 1.0) / 2.0
        return self.factor * 0.5 * cosines.abs().sum() / pairs


def l1_l2(l1: float = 0.01, l2: float = 0.01) -> L1L2:
    """l1 * sum |w| + l2 * sum w^2."""
    return L1L2(l1, l2)


REGISTRY: Registry[Any] = Registry(
    "regularizer",
    "l2",
    "longspan.regularizers.NAMES",
    by_name(L1, L2, L1L2, OrthogonalRegularizer, l1_l2),
    {
        "l1": "L1",
        "l2": "L2",
        "l1l2": "L1L2",
        "orthogonal_regularizer": "OrthogonalRegularizer",
        "orthogonal": "OrthogonalRegularizer",
    },
)
NAMES = REGISTRY.names


def get(regularizer: RegularizerLike | Mapping[str, Any]) -> Callable[[Tensor], Tensor] | None:
    """The regularizer of a name or a saved config; None and a function are themselves.

    Raises:
        ValueError: the name is unknown; the sentence has the nearest one.
    """
    if isinstance(regularizer, type):
        return regularizer()
    return regularizer if regularizer is None or callable(regularizer) else REGISTRY.get(regularizer)


def serialize(regularizer: Any) -> dict[str, Any]:
    """What `get` makes an equal regularizer from."""
    return REGISTRY.config(regularizer, regularizer.get_config())


deserialize = get
l1, l2, orthogonal_regularizer = L1, L2, OrthogonalRegularizer
