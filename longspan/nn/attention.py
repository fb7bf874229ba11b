"""Attention: scores of queries against keys, and the mean of the values weighted by their softmax."""

from __future__ import annotations

import torch
from torch import Tensor

# Subtracted from the scores of masked positions. Where all are masked the weights become equal, not NaN.
HIDDEN = 1e9


def dot_scores(query: Tensor, key: Tensor) -> Tensor:
    """query . key for every pair: (B, Q, D), (B, V, D) -> (B, Q, V). Luong et al. 2015, arXiv 1508.04025."""
    return query @ key.transpose(-2, -1)


def sum_scores(query: Tensor, key: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    """sum(tanh(scale * (query + key))) for every pair: (B, Q, D), (B, V, D) -> (B, Q, V).

    `scale` is a number or (D,). A vector multiplies the tanh, as in Bahdanau et al. 2014, arXiv 1409.0473,
    a number its argument, as in Keras' Attention(score_mode="concat").
    """
    pairs = query.unsqueeze(-2) + key.unsqueeze(-3)
    if isinstance(scale, Tensor) and scale.dim() == 1:
        return (pairs.tanh() * scale).sum(-1)
    return (scale * pairs).tanh().sum(-1)


def attend(
    scores: Tensor, value: Tensor, seen: Tensor | None = None, dropout: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The mean of the values, weighted by the softmax of the scores.

    Args:
        scores: (B, Q, V).
        value: (B, V, D).
        seen: bool, (B, V) or (B or 1, Q, V): False where a value may not be read.
        dropout: rate of dropout on the weights.

    Returns:
        (B, Q, D) and the weights (B, Q, V).

    >>> out, weights = attend(torch.zeros(1, 2, 3), torch.ones(1, 3, 4))
    >>> out.shape, weights.sum(-1)
    (torch.Size([1, 2, 4]), tensor([[1., 1.]]))
    """
    if seen is not None:
        hidden = ~(seen.unsqueeze(-2) if seen.dim() == 2 else seen)
        scores = scores - HIDDEN * hidden.to(scores.dtype)
    weights = scores.softmax(-1)
    if dropout:
        weights = torch.dropout(weights, dropout, True)
    return weights @ value, weights


def causal(scores: Tensor) -> Tensor:
    """(1, Q, V) bool, True where the value's position is not after the query's."""
    return torch.ones(1, *scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
