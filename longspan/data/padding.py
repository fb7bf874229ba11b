"""Pads sequences of unequal length, stores them end to end, and batches them by length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

_POOL = 50  # batches among which rows are sorted by length


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


class RaggedTensor:
    """Rows of unequal length, stored end to end in one tensor.

    Args:
        rows: (T_i, ...) each, of one dtype and width; a row may be empty.

    >>> rows = RaggedTensor([torch.tensor([1, 2, 3]), torch.tensor([4])])
    >>> rows.pad(torch.tensor([1, 0]))
    (tensor([[4, 0, 0],
            [1, 2, 3]]), tensor([1, 3]))
    """

    def __init__(self, rows: Sequence[Tensor]) -> None:
        self.lengths = torch.tensor([len(row) for row in rows])
        self.values = torch.cat(list(rows))
        self.starts = self.lengths.cumsum(0) - self.lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def pad(self, rows: Tensor, value: float = 0, *, multiple: int = 1) -> tuple[Tensor, Tensor]:
        """Rows padded with `value` to (B, T, ...), and their lengths (B,).

        Args:
            rows: (B,) row numbers.
            value: of the padding.
            multiple: where lengths differ, T is rounded up to a multiple of it. T is at least 1.
        """
        lengths = self.lengths[rows]
        longest = max(1, int(lengths.max()))
        if int(lengths.min()) < longest:
            longest = -(-longest // multiple) * multiple
        steps, real = torch.arange(longest), sequence_mask(lengths, longest)
        index = (self.starts[rows].unsqueeze(1) + steps).masked_fill_(~real, 0)
        if not len(self.values):
            return self.values.new_full((*real.shape, *self.values.shape[1:]), value), lengths
        out = self.values[index]
        out[~real] = value
        return out, lengths

    def concat(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (B,) by number end to end: the values (S, ...), and where each row starts in them (B,)."""
        lengths = self.lengths[rows]
        starts = lengths.cumsum(0) - lengths
        offset = torch.arange(int(lengths.sum())) - starts.repeat_interleave(lengths)
        return self.values[self.starts[rows].repeat_interleave(lengths) + offset], starts


def bucket_by_length(lengths: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Row numbers (B,) of batches with rows of similar length, drawn from torch's global generator.

    Rows are shuffled, sorted by length within pools of 50 batches, and the batches are shuffled. So there is
    little padding, and the order stays random.
    """
    shuffled = torch.randperm(len(lengths))
    pools = shuffled.split(batch_size * _POOL)
    ordered = torch.cat([pool[lengths[pool].argsort(stable=True)] for pool in pools])
    batches = ordered.split(batch_size)
    for index in torch.randperm(len(batches)).tolist():
        yield batches[index]
