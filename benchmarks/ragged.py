"""Measures the speed of ragged batches: lengths= beside torch.nn with a PackedSequence, training."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .measure import Column, Options, Size, Table, interleaved, threads
from .parity import Check, compare
from .speed import first, outputs, pair, sequences, training

COLUMNS = (
    Column("size", "BxTxIxH"),
    Column("useful", "real steps", "share"),
    Column("torch_packed", "torch packed ms", "ms"),
    Column("longspan_ragged", "longspan ms", "ms"),
    Column("speedup", "faster", "times"),
    Column("torch_cost", "torch packed / padded", "times"),
    Column("longspan_cost", "longspan ragged / padded", "times"),
    Column("against_useful", "cost of a real step", "times"),
)


def lengths_of(size: Size) -> Tensor:
    """(B,) uniform in T/10 .. T."""
    chance = torch.Generator().manual_seed(2)
    return torch.randint(max(size.T // 10, 1), size.T + 1, (size.B,), generator=chance)


def packed(layer: Module, lengths: Tensor) -> Callable[[Tensor], list[Tensor]]:
    """x -> the output and the final states, by way of a PackedSequence as PyTorch's users do."""

    def forward(x: Tensor) -> list[Tensor]:
        out, state = layer(pack_padded_sequence(x, lengths, enforce_sorted=False))
        padded, _ = pad_packed_sequence(out, total_length=x.shape[0])
        return [padded, *(state if isinstance(state, tuple) else (state,))]

    return forward


def parity(options: Options) -> Iterator[Check]:
    """Every cell at every size and number of threads that will be timed."""
    for count in options.threads:
        with threads(count):
            for cell in options.cells:
                for size in _sizes(options):
                    theirs, ours = pair(cell, size)
                    lengths = lengths_of(size)
                    sides = (outputs(ours, lengths=lengths), ours), (packed(theirs, lengths), theirs)
                    yield compare(f"ragged {cell} {size}, {count} threads", sequences(size), *sides)


def tables(options: Options) -> Iterator[Table]:
    """A table for each cell and number of threads."""
    for count in options.threads:
        with threads(count):
            for cell in options.cells:
                title = f"Ragged batches, {cell}, training, lengths uniform in T/10 .. T, {count} thread(s)"
                table = Table(title, COLUMNS)
                table.rows += [_row(cell, size, options.seconds) for size in _sizes(options)]
                table.add_means()
                yield table


def _sizes(options: Options) -> list[Size]:
    return [size for size in options.sizes if size.B > 1]


def _row(cell: str, size: Size, seconds: float) -> dict[str, float | str]:
    theirs, ours = pair(cell, size)
    x, lengths = sequences(size), lengths_of(size)
    pack = packed(theirs, lengths)
    steps = {
        "torch packed": training(lambda x: pack(x)[0], theirs, x),
        "longspan ragged": training(lambda x: ours(x, lengths=lengths)[0], ours, x),
        "torch padded": training(first(theirs), theirs, x),
        "longspan padded": training(first(ours), ours, x),
    }
    timing, useful = interleaved(steps, seconds), lengths.sum().item() / (size.B * size.T)
    cost = timing.ratio("longspan ragged", "longspan padded")
    return {
        "size": str(size),
        "useful": useful,
        "torch_packed": timing.median("torch packed"),
        "longspan_ragged": timing.median("longspan ragged"),
        "speedup": timing.ratio("torch packed", "longspan ragged"),
        "torch_cost": timing.ratio("torch packed", "torch padded"),
        "longspan_cost": cost,
        "against_useful": cost / useful,
    }
