"""Batches give every row once, in an order that can be repeated; chunks go on in time."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from longspan.data import Batch, Batches, BPTTChunks
from longspan.data import batches as module
from longspan.data.batches import as_batch


def rows(batches: Any) -> list[list[int]]:
    return [batch.y.tolist() for batch in batches]


def test_in_order_and_the_last_one_smaller():
    batches = Batches(torch.arange(14.0).view(7, 2), range(7), batch_size=3)
    assert rows(batches) == [[0, 1, 2], [3, 4, 5], [6]] and len(batches) == 3
    assert [batch.x[0, 0].item() for batch in batches] == [0, 6, 12]
    assert all(batch.lengths is None and batch.mask is None and not batch.continues for batch in batches)


@pytest.mark.parametrize("block", [1, 3 * 20, 1 << 24])
def test_shuffled_every_row_once_whatever_the_block(block: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_BLOCK", block)
    x = torch.arange(50.0).view(25, 2)
    batches = Batches(x, np.arange(25), batch_size=4, shuffle=True, weight=np.arange(25.0), seed=3)
    first, second = list(batches), list(batches)
    for batch in first + second:
        assert batch.weight is not None
        assert torch.equal(batch.x[:, 0], 2.0 * batch.y) and torch.equal(batch.weight, batch.y.float())
    orders = [[int(y) for batch in epoch for y in batch.y] for epoch in (first, second)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(25)) and orders[0] != orders[1]
    assert rows(Batches(x, np.arange(25), batch_size=4, shuffle=True, seed=3)) == rows(first)


def test_torchs_seed_decides_the_order():
    orders = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        orders.append(rows(Batches(torch.zeros(20, 1), range(20), shuffle=True)))
    assert orders[0] == orders[1] != orders[2]


def test_an_order_can_be_dealt_again():
    batches = Batches(torch.zeros(20, 1), range(20), batch_size=6, shuffle=True)
    rows(batches)
    state = batches.state()
    second, third = rows(batches), rows(batches)
    batches.restore(state)
    assert rows(batches) == second and rows(batches) == third


def test_ragged_rows_keep_their_lengths():
    batches = Batches([[1.0], [2.0, 3.0, 4.0], [5.0, 6.0]], range(3), batch_size=2, shuffle=True)
    for batch in batches:
        assert batch.lengths is not None
        assert batch.lengths.tolist() == [(1, 3, 2)[int(y)] for y in batch.y]


def test_several_inputs_and_masks():
    x = (torch.arange(5.0), torch.arange(5).view(5, 1))
    mask = torch.ones(5, 4, dtype=torch.bool)
    mask[2] = False
    dealt = list(Batches(x, batch_size=2, mask=mask, shuffle=True))
    assert all(torch.equal(batch.x[0], batch.x[1][:, 0].float()) for batch in dealt)
    for batch in dealt:
        assert batch.mask is not None and batch.mask.any(1).tolist() == [v != 2 for v in batch.x[0]]


def test_a_data_loader_decides_everything():
    loader = DataLoader(TensorDataset(torch.zeros(5, 2), torch.arange(5)), batch_size=2)
    batches = Batches(loader)
    assert rows(batches) == [[0, 1], [2, 3], [4]] and len(batches) == 3


def test_items_become_batches():
    x, y, w = torch.zeros(2), torch.ones(2), torch.ones(2)
    assert as_batch(Batch(x)).x is x and as_batch(x).x is x
    assert as_batch((x, y)).y is y and as_batch([x, y, w]).weight is w and as_batch((x,)).y is None


def test_spans_carry_in_time():
    x = torch.arange(10.0).view(2, 5, 1)
    chunks = list(BPTTChunks(x, x + 1, chunk_length=2))
    assert [(chunk.x.shape[1], chunk.continues) for chunk in chunks] == [(2, False), (2, True), (1, True)]
    assert torch.equal(torch.cat([chunk.x for chunk in chunks], 1), x)
    assert all(torch.equal(chunk.y, chunk.x + 1) for chunk in chunks)
    assert len(BPTTChunks(x, chunk_length=2)) == 3 and next(iter(BPTTChunks(x, chunk_length=9))).y is None


X = torch.zeros(4, 2)
WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "rows": (lambda: Batches(X, range(3)), "y: expected 4 rows like x, received 3; give one for every row."),
    "weights": (lambda: Batches(X, weight=[1.0]), "weight: expected 4 rows like x, received 1"),
    "batch size": (lambda: Batches(X, batch_size=0), "batch_size: expected a whole number of at least 1"),
    "shuffle": (lambda: Batches(X, shuffle=1), "shuffle: expected True or False, received int"),  # pyright: ignore[reportArgumentType]
    "nan": (lambda: Batches(X * float("nan")), "x: expected finite numbers, received 8 NaN or infinite"),
    "nan in y": (
        lambda: Batches(X, [0.0, 1.0, float("nan"), 2.0]),
        "y: expected finite numbers, received 1 NaN",
    ),
    "no data": (lambda: Batches(X[:0]), "x: expected at least one value, received no data"),
    "no input": (lambda: Batches(()), "x: expected at least one input, received an empty tuple"),
    "mask": (
        lambda: Batches(X, mask=torch.zeros(4, 2)),
        "mask: expected at least one step that counts, received False everywhere; True marks real steps.",
    ),
    "loader and y": (
        lambda: Batches(DataLoader(TensorDataset(X)), range(4)),
        "y: expected None beside a DataLoader, which gives everything itself, received a value",
    ),
    "four values": (
        lambda: as_batch((X, X, X, X)),
        "batch: expected x, (x, y) or (x, y, weight), received 4 values",
    ),
    "chunk_length": (
        lambda: BPTTChunks(X, chunk_length=0),
        "chunk_length: expected a whole number of at least 1",
    ),
    "flat": (lambda: BPTTChunks(X[0], chunk_length=1), "x: expected shape (B, T, ...), received (2,)"),
    "answers": (
        lambda: BPTTChunks(X, X[:, :1], chunk_length=1),
        "y: expected a target for each of (4, 2) (B, T) steps",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_sentence(case: str):
    wrong, words = WRONG[case]
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        wrong()
