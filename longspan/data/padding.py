"""Knows sequences of unequal length held end to end, and how some of them are laid side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

_POOL = 50  # batches whose rows are sorted by length together


def sequence_mask(lengths: Tensor, steps: int, mask: Tensor | None = None, device: Any = None) -> Tensor:
    """(B, T) bool, True at the steps that count.

    Args:
        lengths: (B,) int64, the real steps of each row.
        steps: T.
        mask: (B, T) bool, False where a step does not count; None where all within the lengths do.
        device: of the result; None: that of the lengths.

    >>> sequence_mask(torch.tensor([2, 0]), 3)
    tensor([[ True,  True, False],
            [False, False, False]])
    """
    device = lengths.device if device is None else device
    real = torch.arange(steps, device=device) < lengths.to(device).unsqueeze(1)
    return real if mask is None else real & mask


def cut_rows(rows: Sequence[Any], length: int, *, left: bool = False) -> list[Any]:
    """Rows of at most `length` steps; those that are longer lose steps on the right, or on the left."""
    return [row[-length:] if left else row[:length] for row in rows]


def fill_rows(padded: Any, rows: Iterable[Any], *, left: bool = False) -> Any:
    """The array or tensor `padded` (N, T, ...) with each row (T_i, ...) written over it, at its start or end.

    Args:
        padded: full of the padding value; it is changed.
        rows: N arrays or tensors as `padded` is one, of at most T steps each.
        left: put the padding on the left, so that the rows end at T.

    >>> fill_rows(torch.zeros(2, 3), [torch.ones(2), torch.ones(0)], left=True)
    tensor([[0., 1., 1.],
            [0., 0., 0.]])
    """
    for target, row in zip(padded, rows, strict=True):
        if len(row):
            target[len(target) - len(row) if left else 0 :][: len(row)] = row
    return padded


class Ragged:
    """Rows of unequal length, all their steps in one tensor.

    Args:
        rows: (T_i, ...) each, of one dtype and width; a row may be empty.

    >>> rows = Ragged([torch.tensor([1, 2, 3]), torch.tensor([4])])
    >>> rows.padded(torch.tensor([1, 0]))
    (tensor([[4, 0, 0],
            [1, 2, 3]]), tensor([1, 3]))
    """

    def __init__(self, rows: Sequence[Tensor]) -> None:
        self.lengths = torch.tensor([len(row) for row in rows])
        self.values = torch.cat(list(rows))
        self.starts = self.lengths.cumsum(0) - self.lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def padded(self, places: Tensor, value: float = 0, *, multiple: int = 1) -> tuple[Tensor, Tensor]:
        """Some rows side by side: (B, T, ...) filled up with `value`; and their lengths (B,).

        T is the longest's length, where lengths differ brought up to a multiple of `multiple`; at least 1.
        """
        lengths = self.lengths[places]
        longest = max(1, int(lengths.max()))
        if int(lengths.min()) < longest:
            longest = -(-longest // multiple) * multiple
        steps, real = torch.arange(longest), sequence_mask(lengths, longest)
        where = (self.starts[places].unsqueeze(1) + steps).masked_fill_(~real, 0)
        if not len(self.values):
            return self.values.new_full((*real.shape, *self.values.shape[1:]), value), lengths
        out = self.values[where]
        out[~real] = value
        return out, lengths

    def joined(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Some rows end to end: the values, and where each row starts in them."""
        lengths = self.lengths[places]
        starts = lengths.cumsum(0) - lengths
        inside = torch.arange(int(lengths.sum())) - starts.repeat_interleave(lengths)
        return self.values[self.starts[places].repeat_interleave(lengths) + inside], starts


def by_length(lengths: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Places of rows in batches of about one length, drawn anew from torch's global generator.

    Rows are shuffled, sorted by length within stretches of many batches, and the batches shuffled, so that
    little padding is run and the order is still a random one.
    """
    shuffled = torch.randperm(len(lengths))
    pools = shuffled.split(batch_size * _POOL)
    ordered = torch.cat([pool[lengths[pool].argsort(stable=True)] for pool in pools])
    batches = ordered.split(batch_size)
    for place in torch.randperm(len(batches)).tolist():
        yield batches[place]
