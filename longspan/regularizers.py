"""Knows what large weights add to the loss, by Keras' names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from longspan import errors

# A name of REGULARIZERS, weights -> a scalar, or None.
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


REGULARIZERS: dict[str, Callable[[], L1L2]] = {"l1": L1, "l2": L2, "l1_l2": lambda: L1L2(0.01, 0.01)}


def get(regularizer: Regularizer) -> Callable[[Tensor], Tensor] | None:
    """The regularizer of a name; None and one that is made already are themselves.

    Raises:
        ValueError: the name is unknown; the nearest is given.
    """
    if regularizer is None or callable(regularizer):
        return regularizer
    return REGULARIZERS[errors.check_choice("regularizer", regularizer, REGULARIZERS)]()


l1, l2 = L1, L2


def l1_l2(l1: float = 0.01, l2: float = 0.01) -> L1L2:
    """l1 * sum |w| + l2 * sum w^2."""
    return L1L2(l1, l2)
