"""Copies from a memory beside writing from the vocabulary: pointer-generator, arXiv 1704.04368."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from longspan import errors
from longspan.nn.memory_attention import Memory


def pointer_log_probs(logits: Tensor, generate: Tensor, attention: Tensor, memory: Memory) -> Tensor:
    """log(generate * softmax(logits) + (1 - generate) * the attention on each token's places), equation 9.

    Args:
        logits: (B, T, V); generate: (B, T); attention: (B, T, S); memory: of B rows, or of fewer with T =
            1, each row of which is shared by as many rows that follow each other.

    Returns:
        (B, T, V + memory.extra).
    """
    share = generate.unsqueeze(-1)
    written = F.pad(logits.softmax(-1) * share, (0, memory.extra))
    copied = attention * (1.0 - share)
    if memory.tokens is None:
        raise errors.value_error("tokens", "those of the memory", None, "pass them to remember")
    rows = memory.tokens.shape[0]
    tokens = memory.tokens.unsqueeze(1)
    copied, both = copied.reshape(rows, -1, copied.shape[-1]), written.reshape(rows, -1, written.shape[-1])
    both = both.scatter_add(-1, tokens.expand_as(copied), copied)
    return both.clamp_min(torch.finfo(both.dtype).tiny).log().view(written.shape)


def pointer_losses(
    losses: Tensor, target: Tensor, known: Tensor, generate: Tensor, attention: Tensor, memory: Memory
) -> Tensor:
    """What `pointer_log_probs` has for the targets, negated, without the other tokens (B, T).

    Args:
        losses: (B, T) of writing the target from the vocabulary; target: (B, T); known: (B, T) bool,
            whether the vocabulary has it.
    """
    if memory.tokens is None:
        raise errors.value_error("tokens", "those of the memory", None, "pass them to remember")
    tiny = torch.finfo(generate.dtype).tiny
    copied = (attention * (memory.tokens.unsqueeze(1) == target.unsqueeze(-1))).sum(-1)
    written = torch.where(known, generate.clamp_min(tiny).log() - losses, -torch.inf)
    read = (1.0 - generate).clamp_min(tiny).log() + copied.clamp_min(tiny).log()
    return -torch.logaddexp(written, read)
