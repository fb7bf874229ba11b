"""Pools steps into one vector a row: maximum, mean, last step or learned attention over the real steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from longspan import errors
from longspan.data.padding import sequence_mask
from longspan.kernels.tracing import in_transform, is_tracing
from longspan.nn.linear import Linear

# The ways of `Pool`.
POOLS = ("attention", "max", "mean", "last")


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


def max_over_time(x: Tensor, lengths: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
    """The largest value of every row's steps.

    Args:
        x: (B, T, W); lengths: (B,) int64, the real steps of each row; mask: (B, T) bool, False where a step
            does not count; None where all count.

    Returns:
        (B, W); zeros for a row of length 0.

    >>> x = torch.tensor([[[1.0], [5.0]], [[2.0], [7.0]]])
    >>> max_over_time(x, torch.tensor([2, 1]))
    tensor([[5.],
            [2.]])
    """
    if mask is not None:
        hidden = ~(mask if lengths is None else sequence_mask(lengths, x.shape[1], mask, x.device)).unsqueeze(
            -1
        )
        return x.masked_fill(hidden, -torch.inf).amax(1).masked_fill(hidden.all(1), 0.0)
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
    return ~sequence_mask(lengths.to(x.device) - least, x.shape[1] - least).unsqueeze(-1)


def real_steps(x: Tensor, lengths: Tensor | None, mask: Tensor | None = None) -> Tensor | None:
    """(B, T, 1) bool, True at the steps of x (B, T, ...) that count; None where all do."""
    if lengths is None:
        return None if mask is None else mask.unsqueeze(-1)
    return sequence_mask(lengths, x.shape[1], mask, x.device).unsqueeze(-1)


def mean_over_time(x: Tensor, real: Tensor | None) -> Tensor:
    """The mean (B, W) of the steps of x (B, T, W) that count; real: as from `real_steps`."""
    return x.mean(1) if real is None else (x * real).sum(1) / real.sum(1).clamp_min(1)


class Pool(nn.Module):
    """Steps (B, T, W) as one vector (B, W): "mean", "max", "last", or "attention", by weights it learns.

    The attention is that of Yang et al. 2016 (Hierarchical attention networks, equations 5 to 7).
    """

    def __init__(self, kind: str, size: int) -> None:
        super().__init__()
        self.kind = errors.check_choice("pool", kind, POOLS)
        if kind == "attention":
            self.key, self.query = Linear(size, size), Linear(size, 1, bias=False)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x: (B, T, W); lengths: (B,), None where all steps count. A row of length 0 gives zeros."""
        if self.kind == "max":
            return max_over_time(x, lengths)
        real = real_steps(x, lengths)
        if self.kind == "mean":
            return mean_over_time(x, real)
        real = torch.ones_like(x[..., :1], dtype=torch.bool) if real is None else real
        if self.kind == "attention":
            scores = self.query(self.key(x).tanh()).masked_fill(~real, -1e9)
            return (scores.softmax(1) * x * real).sum(1)
        last = (real.sum(1) - 1).clamp_min(0)
        return x.gather(1, last.unsqueeze(-1).expand(-1, 1, x.shape[2])).squeeze(1)
