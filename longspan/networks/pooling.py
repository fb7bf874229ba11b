"""Knows how the largest value over time is found where rows are padded, and to whom its gradient goes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from longspan.kernels.tracing import in_transform, is_tracing


class _Largest(torch.autograd.Function):
    """(x (B, T, W), beyond (B, T - least, 1) or None, least) -> (B, W).

    Steps up to `least` count in every row; after it those where `beyond` is False. The gradient goes in equal
    parts to the steps that are largest, as that of torch's amax.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, beyond: Tensor | None, least: int) -> Tensor:
        out = _largest(x, beyond, least)
        ctx.save_for_backward(x, out, beyond)
        ctx.least = least
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, out, beyond = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated again, by plain operations
            with torch.enable_grad():
                again = x.view_as(x)
                found = torch.autograd.grad(
                    _largest(again, beyond, ctx.least), again, grads[0], create_graph=True
                )
            return found[0], None, None
        # into floats, as comparisons into bytes are several times slower
        hits = torch.eq(x, out.unsqueeze(1), out=torch.empty_like(x))
        if beyond is not None:
            hits[:, ctx.least :].masked_fill_(beyond, 0.0)
        share = grads[0] / hits.sum(1).clamp_min_(1.0)
        return hits.mul_(share.unsqueeze(1)), None, None


# Without Function.apply's search for torch.func's wrappers, since these take the other way.
_applied: Any = super(torch.autograd.Function, _Largest).apply  # pyright: ignore[reportAttributeAccessIssue]


def _largest(x: Tensor, beyond: Tensor | None, least: int) -> Tensor:
    if beyond is None:
        return x.amax(1)
    tail = x[:, least:].masked_fill(beyond, -torch.inf).amax(1)
    if least:
        return torch.maximum(x[:, :least].amax(1), tail)
    return tail.masked_fill(beyond.all(1), 0.0)


def max_over_time(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The largest value of every row's steps.

    Args:
        x: (B, T, W); lengths: (B,) int64, the real steps of each row; None where all count.

    Returns:
        (B, W); zeros for a row of length 0.

    >>> x = torch.tensor([[[1.0], [5.0]], [[2.0], [7.0]]])
    >>> max_over_time(x, torch.tensor([2, 1]))
    tensor([[5.],
            [2.]])
    """
    if torch.compiler.is_compiling() or is_tracing() or in_transform():
        return _largest(x, None if lengths is None else _beyond(x, lengths, 0), 0)
    least, beyond = x.shape[1], None
    if lengths is not None and (shortest := int(lengths.min())) < least:
        least, beyond = shortest, _beyond(x, lengths, shortest)
    if x.requires_grad and torch.is_grad_enabled() and type(x) is Tensor:
        return _applied(x, beyond, least)
    return _largest(x, beyond, least)


def _beyond(x: Tensor, lengths: Tensor, least: int) -> Tensor:
    """(B, T - least, 1) bool."""
    steps = torch.arange(least, x.shape[1], device=x.device)
    return (steps >= lengths.to(x.device).unsqueeze(1)).unsqueeze(-1)
