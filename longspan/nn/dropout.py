"""Draws the random masks of dropout, recurrent dropout, zoneout and DropConnect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from longspan.kernels.cpu_driver import bernoulli_mask as draw_on_cpu
from longspan.kernels.job import Weights, Zoneout
from longspan.kernels.tracing import in_transform, is_tracing


def bernoulli_mask(shape: tuple[int, ...], rate: float, device: torch.device) -> Tensor:
    """A uint8 tensor: 1 with probability `rate`, else 0, from PyTorch's generator of the device."""
    if device.type == "cpu" and not torch.compiler.is_compiling() and not is_tracing():
        return draw_on_cpu(shape, rate)
    if in_transform():  # torch.vmap draws for each model only what is not drawn in place
        return torch.bernoulli(torch.full(shape, rate, device=device)).to(torch.uint8)
    return torch.empty(shape, dtype=torch.uint8, device=device).bernoulli_(rate)


def dropout_mask(shape: tuple[int, ...], rate: float, like: Tensor) -> Tensor:
    """A dropout mask in the dtype of `like`: 0 with probability `rate`, else 1 / (1 - rate)."""
    return bernoulli_mask(shape, 1.0 - rate, like.device).to(like.dtype).div_(1.0 - rate)


def zoneouts(
    rates: Sequence[float], shapes: Sequence[tuple[int, ...]], device: torch.device, training: bool
) -> tuple[Zoneout | None, ...]:
    """Per state: which values keep their past (Krueger et al. 2017).

    Args:
        rates: per state, the probability of keeping the past; 0 gives None.
        shapes: per state, (D, T, B, W).
        training: whether to draw masks; else the kernels mix past and present by the rate.
    """
    zones: list[Zoneout | None] = []
    for rate, shape in zip(rates, shapes, strict=True):
        mask = bernoulli_mask(shape, rate, device) if training and rate else None
        zones.append(Zoneout(rate, mask) if rate else None)
    return tuple(zones)


def drop_connect(weights: Weights, rate: float) -> Weights:
    """DropConnect on R, once a forward pass (Merity et al. 2018, section 2)."""
    return weights if weights.r is None else replace(weights, r=torch.dropout(weights.r, rate, True))


class Dropout(nn.Dropout):
    """torch.nn.Dropout, out of place, with a mask from `dropout_mask`: on a CPU several times faster."""

    def forward(self, input: Tensor) -> Tensor:
        """(...) -> (...)."""
        if not self.training or not 0.0 < self.p < 1.0:
            return super().forward(input)
        return input * dropout_mask(tuple(input.shape), self.p, input)
