"""Lets batch normalization take its statistics over the whole batch that several processes share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from longspan import errors

from .process_groups import ProcessGroup


class _AddUp(torch.autograd.Function):
    """The sum of a tensor over all processes, of which each has the gradients of its own loss."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, group: ProcessGroup) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.group = group
        return group.add_up(values.clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ctx.group.add_up(gradient.contiguous().clone()), None


@contextmanager
def over_all_processes(
    network: nn.Module, group: ProcessGroup, has_rows: Callable[[], bool]
) -> Iterator[None]:
    """Inside the block, torch's batch normalizations in training use the rows of all processes.

    Args:
        has_rows: whether the batch has rows for this process; those of padding do not count.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        vars(norm)["forward"] = partial(_normalized, norm, group, has_rows)
    try:
        yield
    finally:
        for norm in norms:
            del vars(norm)["forward"]


def _normalized(
    norm: Any, group: ProcessGroup, has_rows: Callable[[], bool], input: Tensor, real: Tensor | None = None
) -> Tensor:
    """Batch normalization of (B, C, ...); real: 1 at what counts and 0 at padding, None for no padding."""
    if not norm.training:
        return type(norm).forward(norm, input) if real is None else type(norm).forward(norm, input, real)
    statistics = _of_all_rows if real is None else partial(_of_real_rows, real.to(input.dtype))
    mean, variance, count = statistics(input, group, has_rows())
    _follow(norm, mean, variance * count / max(1.0, count - 1.0) if real is None else variance)
    shape = [1, -1] + [1] * (input.dim() - 2)
    scale = torch.rsqrt(variance + norm.eps)
    shift = -mean * scale
    if norm.weight is not None:
        scale, shift = scale * norm.weight, shift * norm.weight + norm.bias
    return input * scale.view(shape) + shift.view(shape)


def _of_all_rows(input: Tensor, group: ProcessGroup, has_rows: bool) -> tuple[Tensor, Tensor, float]:
    """Mean and variance of each channel over all processes, from those of each, and the number of values.

    Raises:
        ValueError: there is one value alone, whose variance would be 0.
    """
    own = float(input.numel() // input.shape[1]) if has_rows else 0.0
    count = float(group.add_up(torch.tensor(own, dtype=torch.float64, device=input.device)))
    if count <= 1.0:  # as torch refuses it in one process
        expected, way_out = "more than 1 value a channel to normalize a batch by", "make the batches larger"
        raise errors.value_error("batches", expected, f"{count:.0f} in all processes", way_out)
    own_variance, own_mean = torch.var_mean(input, [0, *range(2, input.dim())], correction=0)
    mean = _add_up(own_mean * (own / count), group)
    variance = _add_up((own_variance + (own_mean - mean).square()) * (own / count), group)
    return mean, variance, count


def _of_real_rows(
    real: Tensor, input: Tensor, group: ProcessGroup, has_rows: bool
) -> tuple[Tensor, Tensor, float]:
    """The same without padding, where `real` is 0."""
    over, shape = [0, *range(2, input.dim())], [1, -1] + [1] * (input.dim() - 2)
    counted = real if has_rows else torch.zeros_like(real)
    count = max(1.0, group.add_up(counted.sum().double()).item())
    mean = _add_up((input * counted).sum(over), group) / count
    squares = (input - mean.view(shape)).square() * counted
    return mean, _add_up(squares.sum(over), group) / count, count


def _add_up(values: Tensor, group: ProcessGroup) -> Tensor:
    return _AddUp.apply(values, group)  # pyright: ignore[reportReturnType]


@torch.no_grad()
def _follow(norm: Any, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics towards those of a batch."""
    if norm.running_mean is None:
        return
    norm.num_batches_tracked.add_(1)
    rate = 1.0 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, rate)
    norm.running_var.lerp_(variance, rate)
