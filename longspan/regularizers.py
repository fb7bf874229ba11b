"""Knows what large weights add to the loss, by the place that Keras has for it."""

from longspan.layers.regularizers import L1, L1L2, L2

l1, l2 = L1, L2


def l1_l2(l1: float = 0.01, l2: float = 0.01) -> L1L2:
    """l1 * sum |w| + l2 * sum w^2."""
    return L1L2(l1, l2)


__all__ = ["L1", "L1L2", "L2", "l1", "l1_l2", "l2"]
