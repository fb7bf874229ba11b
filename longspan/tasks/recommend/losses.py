"""Losses over items: BPR-max with drawn or with all items; the others are in `longspan.nn`."""

from __future__ import annotations

import torch
from torch import Tensor

from longspan.kernels.linear import linear

LOSSES = ("cross_entropy", "sampled_softmax", "bpr_max")
_CHUNK = 1 << 21  # scores of negative items that are held at a time


def bpr_max(own: Tensor, others: Tensor, regularization: float) -> Tensor:
    """BPR-max of each event (n,): Hidasi and Karatzoglou 2018, arXiv 1706.03847, equations 9 and 10.

    Args:
        own: (n,) the scores of the events' items; others: (n, S) those of negative items, -inf for none.
        regularization: of the negative items' scores.
    """
    weights = others.softmax(1)
    finite = others.masked_fill(others == -torch.inf, 0.0)
    chance = torch.sigmoid(own.unsqueeze(1) - finite)
    likelihood = (weights * chance).sum(1).clamp_min(1e-12)
    return regularization * (weights * finite.square()).sum(1) - likelihood.log()


def full_bpr_max(
    hidden: Tensor, weight: Tensor, bias: Tensor, target: Tensor, regularization: float
) -> Tensor:
    """The mean BPR-max with all other items as negative ones; hidden: (n, D), target: (n,) int64."""
    total = hidden.new_zeros(())
    for x, y in zip(*(t.split(max(1, _CHUNK // len(weight))) for t in (hidden, target)), strict=True):
        scores = linear(x, weight, bias)
        own = scores.gather(1, y.unsqueeze(1))
        total = (
            total + bpr_max(own[:, 0], scores.scatter(1, y.unsqueeze(1), -torch.inf), regularization).sum()
        )
    return total / max(1, len(target))
