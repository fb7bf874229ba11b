"""Attention over a memory: additive or multiplicative scores, masked by lengths, with coverage."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from longspan import errors

from .attention import attend, dot_scores, sum_scores
from .linear import Linear

ATTENTIONS = ("additive", "multiplicative")


class Memory(NamedTuple):
    """What a decoder attends to: S positions, such as the encoder's outputs.

    Attributes:
        keys: (B, S, A).
        values: (B, S, M), zeros at masked positions.
        seen: (B, S) bool, False at masked positions; None where there are none.
        tokens: (B, S) int64, the token at each position, for copying; None without copying.
        extra: how many of the token numbers lie at or beyond V, the size of the vocabulary.
    """

    keys: Tensor
    values: Tensor
    seen: Tensor | None = None
    tokens: Tensor | None = None
    extra: int = 0

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Memory:
        """The memory with `function` applied to every tensor."""
        seen, tokens = (t if t is None else function(t) for t in (self.seen, self.tokens))
        return Memory(function(self.keys), function(self.values), seen, tokens, self.extra)

    def mean(self) -> Tensor:
        """(B, M), the mean of the values at unmasked positions."""
        if self.seen is None:
            return self.values.mean(1)
        return self.values.sum(1) / self.seen.sum(1, keepdim=True).clamp_min(1)


class Reading(NamedTuple):
    """What queries read: context (B, Q, M), attention (B, Q, S), coverage before each query (B, Q, S)."""

    context: Tensor
    attention: Tensor
    coverage: Tensor | None = None


class MemoryAttention(nn.Module):
    """Means of a memory's values, weighed by the scores of queries against its keys.

    additive: v . tanh(W q + U m + b) (Bahdanau et al. 2014, arXiv 1409.0473); multiplicative: (W q) . (U m)
    / sqrt(A) (Luong et al. 2015, arXiv 1508.04025, "general"). With coverage the scores see the sum of the
    past attention (See et al. 2017, arXiv 1704.04368, equation 11): queries are then answered one after
    the other.

    Args:
        query_size, memory_size: of a query and of a place of the memory (M).
        kind: one of ATTENTIONS.
        size: A, of keys; None: query_size.
        coverage: whether the scores see the attention so far.
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        *,
        kind: str = "multiplicative",
        size: int | None = None,
        coverage: bool = False,
    ) -> None:
        super().__init__()
        self.kind = errors.check_choice("attention", kind, ATTENTIONS)
        size = size or query_size
        self.query = Linear(query_size, size, bias=kind == "additive")
        self.key = Linear(memory_size, size, bias=False)
        self.scale = (
            nn.Parameter(torch.empty(size).uniform_(-(size**-0.5), size**-0.5))
            if kind == "additive"
            else None
        )
        self.covered = nn.Parameter(torch.zeros(size if kind == "additive" else 1)) if coverage else None

    def remember(
        self,
        memory: Tensor,
        lengths: Tensor | None = None,
        mask: Tensor | None = None,
        tokens: Tensor | None = None,
        extra: int = 0,
    ) -> Memory:
        """A memory (B, S, M) with its keys.

        Args:
            memory: (B, S, M).
            lengths: (B,) unmasked positions of each row; mask: (B, S) bool, False at masked positions.
            tokens: (B, S) int64 and extra: see `Memory`.
        """
        seen = mask
        if lengths is not None:
            positions = torch.arange(memory.shape[1], device=memory.device)
            within = positions < lengths.to(memory.device).unsqueeze(1)
            seen = within if mask is None else within & mask
        if seen is not None:
            memory = memory.masked_fill(~seen.unsqueeze(-1), 0.0)
        return Memory(self.key(memory), memory, seen, tokens, extra)

    def forward(self, queries: Tensor, memory: Memory, coverage: Tensor | None = None) -> Reading:
        """Answer queries (B, Q, H); coverage: (B, S), the attention's sum before them, None for zeros."""
        queries = self.query(queries)
        if self.covered is None:
            return Reading(*self._read(queries, memory, None))
        total = memory.keys.new_zeros(memory.keys.shape[:2]) if coverage is None else coverage
        contexts, weights, before = [], [], []
        for query in queries.split(1, 1):
            context, attention = self._read(query, memory, total)
            contexts.append(context)
            weights.append(attention)
            before.append(total)
            total = total + attention.squeeze(1)
        return Reading(torch.cat(contexts, 1), torch.cat(weights, 1), torch.stack(before, 1))

    def answer(self, queries: Tensor, memory: Memory, coverage: Tensor | None = None) -> Reading:
        """One query for each of R rows (R, H), where R / B rows in a row share a row of the memory.

        coverage: (R, S). The reading's tensors begin with (R, 1).
        """
        rows = memory.keys.shape[0]
        if coverage is not None:
            shared = memory.mapped(lambda part: part.repeat_interleave(queries.shape[0] // rows, 0))
            return self(queries.unsqueeze(1), shared, coverage)
        context, attention, _ = self(queries.view(rows, -1, queries.shape[-1]), memory)
        return Reading(context.flatten(0, 1).unsqueeze(1), attention.flatten(0, 1).unsqueeze(1))

    def _read(self, queries: Tensor, memory: Memory, coverage: Tensor | None) -> tuple[Tensor, Tensor]:
        keys = memory.keys
        if self.scale is not None:
            if coverage is not None and self.covered is not None:
                keys = keys + coverage.unsqueeze(-1) * self.covered
            scores = sum_scores(queries, keys, self.scale)
        else:
            scores = dot_scores(queries, keys) * keys.shape[-1] ** -0.5
            if coverage is not None and self.covered is not None:
                scores = scores + (coverage * self.covered).unsqueeze(1)
        return attend(scores, memory.values, memory.seen)
