"""Session-parallel batches hold every event once and reset states; the network has its losses and steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from longspan.data.batches import Batch
from longspan.tasks.recommend.batches import (
    IGNORED,
    Inputs,
    PaddedBatches,
    SessionParallelBatches,
    UserSequence,
)
from longspan.tasks.recommend.losses import bpr_max, full_bpr_max
from longspan.tasks.recommend.neighbors import Neighbors
from longspan.tasks.recommend.network import LossOptions, RecommendNetwork
from longspan.tasks.recommend.ranking import Scorer

STARTS = np.array([0, 5, 7, 8, 20, 27])
ITEMS = np.arange(1, 28, dtype=np.int32)
NO_CONTEXT = np.zeros((27, 0), np.float32)


def network(loss: str = "cross_entropy", **changed: Any) -> RecommendNetwork:
    """Nine items of training and two with attributes alone."""
    torch.manual_seed(0)
    counts = torch.arange(12)
    options: dict[str, Any] = {
        "embedding_size": 6, "hidden_size": 5, "num_layers": 1, "cell": "GRU", "dropout": 0.0,
        "embedding_dropout": 0.0, "item_dropout": 0.0, "loss": LossOptions(loss, num_samples=4),
        "scorer": Scorer(Neighbors(12).fit(np.array([0, 4]), np.array([1, 2, 3, 4], np.int32))),
        "counts": counts,
    }  # fmt: skip
    attributes = torch.tensor([[0.0, 0.0], *([float(n % 3), n / 9] for n in range(1, 12))])
    return RecommendNetwork(10, attributes, (3, 0), (), **{**options, **changed})


def test_every_event_is_read_once_and_followed_by_its_users_next(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    monkeypatch.setattr("longspan.tasks.recommend.batches._FEWEST", 2)
    batches = SessionParallelBatches(STARTS, ITEMS, NO_CONTEXT, batch_size=3, chunk_length=4)
    assert (batches.rows, batches.row_length, len(batches)) == (3, 9, 3)
    read = list(batches)
    assert [batch.continues for batch in read] == [False, True, True]
    items = torch.cat([batch.x.items for batch in read], 1)
    y = torch.cat([batch.y for batch in read], 1)
    reset = torch.cat([batch.x.reset for batch in read], 1)
    assert sorted(items.flatten().tolist()) == ITEMS.tolist()
    ends = {int(end) for end in STARTS[1:]}
    for item, target, first in zip(items.flatten(), y.flatten(), reset.flatten(), strict=True):
        assert target == (IGNORED if int(item) in ends else item + 1)
        assert bool(first) == (int(item) - 1 in STARTS)
    other = torch.cat([batch.x.items for batch in batches], 1)
    assert not torch.equal(other, items), "an epoch has its own order"


def test_processes_read_their_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longspan.tasks.recommend.batches._FEWEST", 2)
    batches = SessionParallelBatches(STARTS, ITEMS, NO_CONTEXT, batch_size=3, chunk_length=4)
    torch.manual_seed(3)
    whole = list(batches)
    for rank, rows in enumerate(([0, 2], [1])):
        torch.manual_seed(3)
        for batch, (part, count) in zip(whole, batches.parts(rank, 2), strict=True):
            assert count == 3 and part.continues == batch.continues
            assert torch.equal(part.x.items, batch.x.items[rows]) and torch.equal(part.y, batch.y[rows])
            assert torch.equal(part.x.reset, batch.x.reset[rows])


def test_rows_read_side_by_side_are_read_as_users_alone() -> None:
    torch.manual_seed(1)
    layer = network()
    starts, items = np.array([0, 3, 7, 9, 18]), (np.arange(18) % 9 + 1).astype(np.int32)
    batches = SessionParallelBatches(starts, items, np.zeros((18, 0), np.float32), 1, 5)
    state, outputs, read = None, [], []
    for batch in batches:
        out, state = layer(batch, state if batch.continues else None)
        outputs.append(out)
        read.append(batch.x)
    out = torch.cat(outputs, 1)[0]
    first = torch.cat([x.reset for x in read], 1)[0].nonzero().flatten().tolist()
    numbers = torch.cat([x.items for x in read], 1)[0]
    for begin, end in zip(first, [*first[1:], 18], strict=True):
        alone, _ = layer(Batch(Inputs(numbers[begin:end].unsqueeze(0))))
        torch.testing.assert_close(out[begin:end], alone[0])


def sequence(user: int, items: list[int], scored: int) -> UserSequence:
    return UserSequence(user, np.array(items), np.zeros((len(items), 0), np.float32), scored)


def test_padded_batches_score_the_events_after_the_past() -> None:
    rows = [sequence(0, [1, 2], 1), sequence(1, [3, 4, 5, 0], 2)]
    (batch,) = PaddedBatches(rows, targets=True)
    assert batch.x.user.tolist() == [1, 0] and batch.lengths is not None and batch.lengths.tolist() == [3, 1]
    assert batch.x.items.tolist() == [[3, 4, 5], [1, 0, 0]]
    assert batch.y.tolist() == [[IGNORED, 5, 0], [2, IGNORED, IGNORED]]
    assert batch.weight.tolist() == [1.5, 1.5]
    (whole,) = PaddedBatches([sequence(0, [], 1), sequence(1, [3, 4], 1)], targets=False)
    assert whole.y is None and whole.x.items.tolist() == [[3, 4], [0, 0]]


def test_the_validation_loss_is_the_mean_over_events() -> None:
    layer = network().eval().requires_grad_(False)
    rows = [sequence(0, [1, 2], 1), sequence(1, [3, 4, 5, 6, 7], 1), sequence(2, [8, 0, 3], 1)]
    (batch,) = PaddedBatches(rows, targets=True)
    out, _ = layer(batch)
    loss = float(layer.loss(out, batch)) * float(batch.weight.sum())
    logits = F.linear(out, layer.item_vectors(), layer.bias)
    counts = batch.y > 0
    whole = F.cross_entropy(logits[counts], batch.y[counts], reduction="sum")
    assert loss == pytest.approx(float(whole), rel=1e-5)


@pytest.mark.parametrize("loss", ["cross_entropy", "sampled_softmax", "bpr_max"])
def test_every_loss_has_gradients_and_falls(loss: str) -> None:
    layer = network(loss).train()
    items = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8], [8, 7, 6, 5, 4, 3, 2, 1]])
    y = torch.cat([items[:, 1:], torch.full((2, 1), IGNORED)], 1)
    batch = Batch(Inputs(items, reset=torch.zeros(2, 8, dtype=torch.bool)), y)
    optimizer = torch.optim.Adam(layer.parameters(), 0.05)
    layer.eval()
    before = float(layer.loss(layer(batch)[0], batch).detach())
    layer.train()
    for _ in range(30):
        value = layer.loss(layer(batch)[0], batch)
        value.backward()
        assert all(parameter.grad is not None for parameter in layer.parameters())
        optimizer.step()
        optimizer.zero_grad()
    layer.eval()
    assert float(layer.loss(layer(batch)[0], batch).detach()) < (0.95 if loss == "bpr_max" else 0.7) * before


def test_a_chunk_without_targets_has_no_loss_and_no_nan() -> None:
    layer = network().train()
    batch = Batch(Inputs(torch.tensor([[1]])), torch.tensor([[IGNORED]]))
    value = layer.loss(layer(batch)[0], batch)
    value.backward()
    assert float(value.detach()) == 0.0
    assert not any(p.grad.isnan().any() for p in layer.parameters() if p.grad is not None)


def test_bpr_max_is_that_of_the_paper() -> None:
    own, others = torch.tensor([1.0, 0.0]), torch.tensor([[0.5, -0.5], [2.0, -torch.inf]])

    def by_hand(own: float, negative: Tensor) -> float:
        weights = negative.softmax(0)
        likelihood = (weights * torch.sigmoid(own - negative)).sum()
        return float(-likelihood.log() + 0.3 * (weights * negative**2).sum())

    expected = [by_hand(1.0, torch.tensor([0.5, -0.5])), by_hand(0.0, torch.tensor([2.0]))]
    assert bpr_max(own, others, 0.3).tolist() == pytest.approx(expected)
    hidden, weight, bias = torch.randn(4, 3), torch.randn(5, 3), torch.randn(5)
    target = torch.tensor([0, 1, 4, 4])
    scores = F.linear(hidden, weight, bias)
    rows = [by_hand(float(s[t]), torch.cat([s[:t], s[t + 1 :]])) for s, t in zip(scores, target, strict=True)]
    assert float(full_bpr_max(hidden, weight, bias, target, 0.3)) == pytest.approx(np.mean(rows), rel=1e-5)


def test_items_are_tied_and_items_without_events_are_scored_by_attributes() -> None:
    layer = network().eval()
    vectors, bias = layer.all_item_vectors()
    assert vectors.shape == (12, 6) and bool(torch.isneginf(bias[0])) and bool(bias[1:].isfinite().all())
    torch.testing.assert_close(vectors[:10], layer.item_vectors())
    with torch.no_grad():
        layer.embedding.weight[2] += 1.0
    changed, _ = layer.all_item_vectors()
    torch.testing.assert_close(changed[2], vectors[2] + 1.0)
    # items 10 and 7 have the same category, items 10 and 11 have not; own vectors are those of training alone
    with torch.no_grad():
        layer.embedding.weight.zero_()
    alone, _ = layer.all_item_vectors()
    assert not torch.allclose(alone[10], alone[11])
    read = layer(Batch(Inputs(torch.tensor([[10], [11], [0]]))))[0]
    assert not torch.allclose(read[0], read[1])


def test_steps_equal_the_whole_sequence() -> None:
    layer = network(num_layers=2, cell="LSTM").eval()
    items = torch.tensor([[1, 5, 9, 0, 3]])
    whole, _ = layer(Batch(Inputs(items)))
    state = layer.initial_state()
    for step in range(5):
        out, state = layer.step((items[:, step], None), state)
        torch.testing.assert_close(out, whole[:, step])


def test_dropout_of_items_and_vectors_is_of_training_alone() -> None:
    items = torch.randint(1, 10, (4, 50))
    for changed in ("item_dropout", "embedding_dropout", "dropout"):
        options: dict[str, Any] = {changed: 0.5}
        layer = network(**options)
        batch = Batch(Inputs(items))
        first, second = layer.train()(batch)[0], layer(batch)[0]
        assert not torch.allclose(first, second), changed
        assert torch.equal(layer.eval()(batch)[0], layer(batch)[0])


def test_long_rows_are_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = network().eval()
    (batch,) = PaddedBatches([sequence(0, [1, 2, 3, 4, 5, 6, 7], 3), sequence(1, [2, 4, 6], 1)], targets=True)
    whole = layer.predict(batch)
    monkeypatch.setattr("longspan.tasks.recommend.network._STEPS", 2)
    parts = layer.predict(batch)
    assert whole.ranks is not None and parts.ranks is not None
    assert torch.equal(whole.ranks, parts.ranks)
    torch.testing.assert_close(whole.scores, parts.scores)
