"""Mixes the probabilities of the next token and draws one, in C++ where the vocabulary is small."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from longspan import _core

from .cpu_driver import EXCHANGE

_MOST = 2048  # tokens; of more, PyTorch's vectors are faster
_NATIVE = {
    dtype: _core.NextToken(EXCHANGE, Tensor, dtype is torch.float64)
    for dtype in (torch.float32, torch.float64)
}


def mixed_log_probs(logits: Tensor, shares: np.ndarray, weight: float, bias: Tensor) -> Tensor:
    """Logarithms (1, V) of (1 - weight) times the network's probabilities plus weight times others, and bias.

    Args:
        logits: (1, V) of the network.
        shares: (V,) float64, the other probabilities; weight: theirs, from 0 to 1.
        bias: (V,), 0 or -inf for tokens that are left out.

    >>> mixed_log_probs(torch.zeros(1, 2), np.array([1.0, 0.0]), 0.5, torch.zeros(2)).exp()
    tensor([[0.7500, 0.2500]])
    """
    if logits.shape[1] <= _MOST and logits.dtype in _NATIVE:
        mixed = _NATIVE[logits.dtype].mixed(logits, shares, weight, bias)
        if mixed is not None:
            return mixed
    others = torch.from_numpy(shares).to(logits)
    return torch.lerp(logits.softmax(-1), others, weight).log_().add_(bias)


def draw(logits: Tensor, variates: Tensor) -> Tensor | None:
    """The column (1,) of the highest logit minus logarithm of its variate; None where PyTorch has to draw.

    Args:
        logits, variates: (1, V), the variates positive.
    """
    if len(logits) > 1 or logits.shape[1] > _MOST or logits.dtype not in _NATIVE:
        return None
    return _NATIVE[logits.dtype].drawn(logits, variates)
