"""Penalises large weights in the loss, with Keras' names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from longspan.registry import Registry, by_name

# A name in NAMES, a function weights -> scalar, or None.
Regularizer = str | Callable[[Tensor], Tensor] | None


@dataclass(frozen=True)
class L1L2:
    """l1 * sum |w| + l2 * sum w^2.

    >>> L1L2(l2=0.5)(torch.tensor([1.0, 2.0]))
    tensor(2.5000)
    """

    l1: float = 0.0
    l2: float = 0.0

    def __call__(self, weights: Tensor) -> Tensor:
        total = weights.new_zeros(())
        if self.l1:
            total = total + self.l1 * weights.abs().sum()
        if self.l2:
            total = total + self.l2 * weights.square().sum()
        return total


def L1(l1: float = 0.01) -> L1L2:
    """l1 * sum |w|."""
    return L1L2(l1=l1)


def L2(l2: float = 0.01) -> L1L2:
    """l2 * sum w^2."""
    return L1L2(l2=l2)


def l1_l2(l1: float = 0.01, l2: float = 0.01) -> L1L2:
    """l1 * sum |w| + l2 * sum w^2."""
    return L1L2(l1, l2)


REGISTRY: Registry[L1L2] = Registry(
    "regularizer",
    "l2",
    "longspan.regularizers.NAMES",
    by_name(L1, L2, L1L2, l1_l2),
    {"l1": "L1", "l2": "L2"},
)
NAMES = REGISTRY.names


def get(regularizer: Regularizer | Mapping[str, Any]) -> Callable[[Tensor], Tensor] | None:
    """The regularizer of a name or a saved config; None and a function are themselves.

    Raises:
        ValueError: the name is unknown; the sentence has the nearest one.
    """
    return regularizer if regularizer is None or callable(regularizer) else REGISTRY.get(regularizer)


l1, l2 = L1, L2
