"""Cuts events into batches: session-parallel chunks to train on, padded sequences to evaluate and predict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from longspan.data.batches import Batch, rows_of_process

IGNORED = -100  # the target of an event that is not scored
_AT_ONCE = 1 << 14  # events of a batch to evaluate, padding included
_FEWEST = 16  # chunks of an epoch; where there are few events there are fewer rows


class Inputs(NamedTuple):
    """The events that the network reads.

    items: (B, T) int64, the items' numbers; context: (B, T, C) float32, None without columns.
    reset: (B, T) bool, True at the first event of a user; None where rows are users.
    user: (B,) int64, the number of each row's user; None in training.
    """

    items: Tensor
    context: Tensor | None = None
    reset: Tensor | None = None
    user: Tensor | None = None


class SessionParallelBatches:
    """The events of all users end to end, in B rows side by side and in chunks of T events.

    A row goes on with the next user where one ends, and the state is reset there, so that nothing is padded
    (session-parallel mini-batches: Hidasi et al. 2016, arXiv 1511.06939, section 3.1.1). The state is carried
    from chunk to chunk. Every epoch has another order of the users, drawn by torch's generator.

    Args:
        starts: (U + 1,); items: (N,) the items' numbers; context: (N, C) float32.
        batch_size: B, less where there are few events; chunk_length: T.
    """

    def __init__(
        self, starts: np.ndarray, items: np.ndarray, context: np.ndarray, batch_size: int, chunk_length: int
    ) -> None:
        self.starts, self.items = torch.from_numpy(starts), items
        self.context = context if context.shape[1] else None
        self.chunk_length = chunk_length
        self.rows = max(1, min(batch_size, len(items) // (_FEWEST * chunk_length)))
        self.row_length = len(items) // self.rows

    def __len__(self) -> int:
        """Chunks an epoch."""
        return -(-self.row_length // self.chunk_length)

    def __iter__(self) -> Iterator[Batch]:
        for batch, _ in self.parts(0, 1):
            yield batch

    def parts(self, rank: int, world: int) -> Iterator[tuple[Batch, int]]:
        """A process's rows of every batch, and the number of all; see `longspan.training.SharesBatches`."""
        order = torch.randperm(len(self.starts) - 1)
        begins, ends = self.starts[:-1][order], self.starts[1:][order]
        until = (ends - begins).cumsum(0)  # events of the epoch up to each user's end
        offset = begins - (until - (ends - begins))  # from an event's place in the epoch to its row
        rows = rows_of_process(self.rows, rank, world).unsqueeze(1) * self.row_length
        for begin in range(0, self.row_length, self.chunk_length):
            steps = torch.arange(begin, min(begin + self.chunk_length, self.row_length))
            place = rows + steps
            user = torch.searchsorted(until, place, right=True)
            event = place + offset[user]
            last = event + 1 == ends[user]
            # by NumPy, as the items may lie in a file that may not be written
            following = torch.from_numpy(self.items[(event + 1 - last.long()).numpy()]).long()
            y = following.masked_fill_(last, IGNORED)
            items = torch.from_numpy(self.items[event.numpy()]).long()
            context = None if self.context is None else torch.from_numpy(self.context[event.numpy()])
            inputs = Inputs(items, context, event == begins[user])
            yield Batch(inputs, y, continues=begin > 0), self.rows


class UserSequence(NamedTuple):
    """One user's events: its number, items (T,), context (T, C), and the first event that is scored."""

    user: int
    items: np.ndarray
    context: np.ndarray
    scored: int


class PaddedBatches:
    """The sequences of users, padded, those of like length together.

    Args:
        sequences: of the users; targets: whether events are scored. Then an event is a target and the events
            before it are read; otherwise all events are read.
    """

    def __init__(self, sequences: Sequence[UserSequence], *, targets: bool) -> None:
        self.targets = targets
        self._sequences = sorted(sequences, key=lambda sequence: -len(sequence.items))
        scored = sum(len(sequence.items) - sequence.scored for sequence in sequences)
        self._scored = scored / max(1, len(sequences))

    def __iter__(self) -> Iterator[Batch]:
        at = 0
        while at < len(self._sequences):
            longest = max(1, len(self._sequences[at].items) - self.targets)
            rows = self._sequences[at : at + max(1, _AT_ONCE // longest)]
            yield self._batch(rows, longest)
            at += len(rows)

    def _batch(self, rows: Sequence[UserSequence], steps: int) -> Batch:
        items = np.zeros((len(rows), steps), np.int64)
        context = np.zeros((len(rows), steps, rows[0].context.shape[1]), np.float32)
        y = np.full((len(rows), steps), IGNORED, np.int64)
        lengths = torch.tensor([len(row.items) - self.targets for row in rows])
        for place, row in enumerate(rows):
            count = len(row.items) - self.targets
            items[place, :count], context[place, :count] = row.items[:count], row.context[:count]
            if self.targets:
                y[place, row.scored - 1 : count] = row.items[row.scored :]
        inputs = Inputs(
            torch.from_numpy(items),
            torch.from_numpy(context) if context.shape[2] else None,
            user=torch.tensor([row.user for row in rows]),
        )
        if not self.targets:
            return Batch(inputs, lengths=lengths)
        # Such that the mean over all batches, weighted by their rows, is the mean over scored events.
        weight = torch.full((len(rows),), self._scored)
        return Batch(inputs, torch.from_numpy(y), lengths=lengths, weight=weight)
