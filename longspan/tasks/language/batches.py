"""Cuts tokens into batches: chunks of one stream to train on, segments of documents to score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from longspan.data.batches import Batch

from .tokens import BOUNDARY

IGNORED = -100  # the target of a token that is not scored
SEGMENT = 1024  # tokens of a segment that are scored
CONTEXT = 256  # tokens before a segment that the network reads first
_AT_ONCE = 1 << 14  # tokens of a batch to score, padding included
_FEWEST = 32  # tokens of a row to train on; where the text is short there are fewer rows


class ScoredSegments(NamedTuple):
    """Segments of documents to score.

    tokens: (B, T) int64, what is read; document, begin: (B,) int64, which document a segment is of, and the
    number of its first token in it.
    """

    tokens: Tensor
    document: Tensor
    begin: Tensor


class StreamBatches:
    """A stream of tokens as B rows side by side, in chunks of T tokens, for truncated back-propagation.

    Every epoch begins at another token of the stream, drawn by torch's generator.

    Args:
        stream: (N,) tokens; batch_size: B, less where the text is short; chunk_length: T.
    """

    def __init__(self, stream: np.ndarray, batch_size: int, chunk_length: int) -> None:
        self.stream, self.chunk_length = stream, chunk_length
        self.rows = max(1, min(batch_size, (len(stream) - 1) // _FEWEST))
        self.row_length = (len(stream) - 1) // self.rows

    def __len__(self) -> int:
        """Chunks an epoch."""
        return -(-self.row_length // self.chunk_length)

    @property
    def tokens(self) -> int:
        """Tokens an epoch."""
        return self.rows * self.row_length

    def __iter__(self) -> Iterator[Batch]:
        shift = int(torch.randint(self.row_length, ()))
        starts = np.arange(self.rows) * self.row_length + shift
        for begin in range(0, self.row_length, self.chunk_length):
            length = min(self.chunk_length, self.row_length - begin)
            part = torch.from_numpy(np.stack([self._part(start + begin, length + 1) for start in starts]))
            yield Batch(part[:, :-1], part[:, 1:], continues=begin > 0)

    def _part(self, start: int, length: int) -> np.ndarray:
        """So many tokens from `start` on, going on at the beginning after the end."""
        start %= len(self.stream)
        part = self.stream[start : start + length]
        if len(part) < length:
            part = np.concatenate([part, self.stream[: length - len(part)]])
        return part.astype(np.int64)


class SegmentBatches:
    """Documents in segments, each behind the tokens before it, so that a document is scored as a whole.

    A segment's scores do not depend on the batch. Segments of like length are batched together.

    Args:
        documents: their tokens, an array (T_i,) each.
        ends: whether the end of a document is scored too.
    """

    def __init__(self, documents: Sequence[np.ndarray], *, ends: bool) -> None:
        self.documents, self.ends = documents, ends
        segments = [
            (number, begin, min(SEGMENT, len(tokens) + ends - begin))
            for number, tokens in enumerate(documents)
            for begin in range(0, len(tokens) + ends, SEGMENT)
        ]
        self._segments = sorted(segments, key=lambda segment: -(segment[2] + min(CONTEXT, segment[1])))
        self._scored = sum(length for _, _, length in segments) / max(1, len(segments))

    def __iter__(self) -> Iterator[Batch]:
        at = 0
        while at < len(self._segments):
            _, begin, length = self._segments[at]
            width = length + min(CONTEXT, begin)
            rows = self._segments[at : at + max(1, _AT_ONCE // width)]
            yield self._batch(rows, width)
            at += len(rows)

    def _batch(self, segments: Sequence[tuple[int, int, int]], width: int) -> Batch:
        x = torch.full((len(segments), width), 0)
        y = torch.full((len(segments), width), IGNORED)
        lengths = torch.zeros(len(segments), dtype=torch.int64)
        for row, (number, begin, length) in enumerate(segments):
            context = min(CONTEXT, begin)
            tokens = self._with_boundaries(number, begin - context, context + length + 1)
            x[row, : context + length] = tokens[:-1]
            y[row, context : context + length] = tokens[context + 1 :]
            lengths[row] = context + length
        document = torch.tensor([number for number, _, _ in segments])
        start = torch.tensor([begin for _, begin, _ in segments])
        # Such that the mean over all batches, weighted by their rows, is the mean over tokens.
        weight = torch.full((len(segments),), self._scored)
        return Batch(ScoredSegments(x, document, start), y, lengths=lengths, weight=weight)

    def _with_boundaries(self, number: int, begin: int, count: int) -> Tensor:
        """So many tokens of a document from `begin` on, where 0 is the BOUNDARY before its first."""
        tokens = self.documents[number]
        part = tokens[max(0, begin - 1) : begin - 1 + count].astype(np.int64)
        before = [BOUNDARY] if begin == 0 else []
        after = [BOUNDARY] if len(before) + len(part) < count else []
        return torch.from_numpy(np.concatenate([np.array(before, np.int64), part, np.array(after, np.int64)]))
