"""Attention of several heads along any dimensions, and the masks of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def merged_mask(
    masks: Sequence[Tensor | None], attention_mask: Tensor | None, window: Tensor | None, axes: Sequence[int]
) -> Tensor | None:
    """(B, Q, V) bool, False where a query may not read a value; None for no mask.

    Args:
        masks: the query's (B, Q), the value's and the key's (B, V), None for none; along several axes a
            dimension for each of them.
        attention_mask: (B, Q, V), None for none.
        window: (1, Q, V), None for none.
        axes: the dimensions that are attended along.
    """
    attended, ones = len(axes), (1,) * len(axes)
    seen = None if window is None else window
    for index, mask in enumerate(masks):
        if mask is None:
            continue
        mask = _attended_last(mask.bool(), axes)
        before, own = mask.shape[: mask.dim() - attended], mask.shape[mask.dim() - attended :]
        part = mask.reshape(*before, *own, *ones) if index == 0 else mask.reshape(*before, *ones, *own)
        seen = part if seen is None else seen & part
    if attention_mask is None:
        return seen
    return attention_mask.bool() if seen is None else attention_mask.bool() & seen


def _attended_last(mask: Tensor, axes: Sequence[int]) -> Tensor:
    """A mask of every dimension of a query but the last one, with those that are attended along behind."""
    if mask.dim() == 1 + len(axes):
        return mask
    return mask.permute(0, *(d for d in range(1, mask.dim()) if d not in axes), *axes)


def attention_along(
    axes: Sequence[int],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    seen: Tensor | None,
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """What the heads read, and the attention weights.

    Args:
        axes: the dimensions of the query that are attended along, (1,) for steps.
        query, key, value: (B, Q, heads, K), (B, V, heads, K), (B, V, heads, D), the query with its scale.
        seen: (B, Q, V) bool, False where a query may not read a value; None for all.
        dropout: rate of dropout on the weights.

    Returns:
        (B, Q, heads, D) and (B, heads, Q, V).

    >>> x = torch.zeros(2, 3, 4, 5, 6)  # three sequences of four steps a row
    >>> mixed, weights = attention_along((2,), x, x, x, None)
    >>> mixed.shape, weights.shape
    (torch.Size([2, 3, 4, 5, 6]), torch.Size([2, 3, 5, 4, 4]))
    """
    if query.dim() == 4:
        return _attention(query, key, value, None if seen is None else _with_heads(seen, 4, 1), dropout)
    free = [d for d in range(query.dim() - 2) if d not in axes]
    order = (*free, *axes, query.dim() - 2, query.dim() - 1)
    q, k, v = (x.permute(order) for x in (query, key, value))
    rows, asked, read = q.shape[: len(free)], q.shape[len(free) : -2], k.shape[len(free) : -2]
    if seen is not None:
        seen = _with_heads(seen, len(rows) + 1 + 2 * len(axes), len(axes))
        heads = seen.shape[len(rows)]
        seen = seen.broadcast_to(*rows, heads, *asked, *read)
        seen = seen.reshape(-1, heads, math.prod(asked), math.prod(read))
    flat = [x.reshape(-1, math.prod(x.shape[len(free) : -2]), *x.shape[-2:]) for x in (q, k, v)]
    mixed, weights = _attention(flat[0], flat[1], flat[2], seen, dropout)
    mixed = mixed.reshape(*rows, *asked, *mixed.shape[-2:])
    back = [order.index(d) for d in range(query.dim())]
    return mixed.permute(back), weights.reshape(*rows, weights.shape[1], *asked, *read)


def _with_heads(seen: Tensor, dimensions: int, attended: int) -> Tensor:
    """A mask with a dimension of size 1 for everything that it lacks before the pairs of positions."""
    while seen.dim() < dimensions:
        seen = seen.unsqueeze(-2 * attended - 1)
    return seen


def _attention(
    query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None, dropout: float
) -> tuple[Tensor, Tensor]:
    """The same for (B, Q, heads, K) alone; seen: (B or 1, heads or 1, Q, V)."""
    scores = torch.einsum("bqhd,bvhd->bhqv", query, key)
    if seen is None:
        weights = scores.softmax(-1)
    else:  # a query that may read no value has weights of 0
        hidden = ~seen
        weights = (
            scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(-1).masked_fill(hidden, 0.0)
        )
    dropped = torch.dropout(weights, dropout, True) if dropout else weights
    return torch.einsum("bhqv,bvhd->bqhd", dropped, value), weights
