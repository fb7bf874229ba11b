"""Ranks and metrics equal counts by hand; the baselines count what they say; mixtures find their weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from longspan.data.batches import Batch
from longspan.tasks.recommend import ranking
from longspan.tasks.recommend.batches import IGNORED, Inputs
from longspan.tasks.recommend.neighbors import ItemLists, Neighbors, mixture_weights
from longspan.tasks.recommend.ranking import ScoredEvents, Scorer

STARTS = np.array([0, 4, 7, 9])
ITEMS = np.array([1, 2, 3, 1, 1, 2, 4, 4, 2], np.int32)


def counted() -> Neighbors:
    return Neighbors(6).fit(STARTS, ITEMS)


def test_followers_are_shares_of_what_came_next() -> None:
    shares = counted().follower_shares(np.array([[0, 1], [3, 2], [0, 5], [0, 0]]))
    np.testing.assert_allclose(shares[0], [0, 0, 1, 0, 0, 0])
    np.testing.assert_allclose(shares[1], [0, 0, 0, 0.5, 0.5, 0])
    assert not shares[2:].any(), "nothing followed an item without followers, and none"


def test_neighbors_are_cosines_of_items_seen_together() -> None:
    lists = counted().neighbors
    row = slice(lists.starts[3], lists.starts[4])
    found = dict(zip(lists.items[row].tolist(), lists.weights[row].tolist(), strict=True))
    # 3 was beside 2 once, and beside 1 twice (before and after it); 1 and 2 occur three times, 3 once
    assert found == pytest.approx({1: 2 / math.sqrt(3), 2: 1 / math.sqrt(3)})
    shares = counted().neighbor_shares(np.array([[0, 3], [4, 3]]))
    assert shares.sum(1) == pytest.approx([1, 1]) and shares[0, 1] == pytest.approx(2 / 3)


def test_repeats_are_weighed_by_how_long_ago_they_usually_are() -> None:
    found = counted()
    assert found.repeats == pytest.approx(1 / 6) and found.recency.argmax() == 2  # item 1, three events ago
    shares = found.repeat_shares(np.array([[1, 2, 3], [0, 0, 0]]))
    assert shares[0, 1] == pytest.approx(2 / 4) and shares[0, 3] == pytest.approx(1 / 4)
    assert not shares[1].any()


def test_the_counts_are_saved() -> None:
    before = counted()
    after = Neighbors.restore(before.state())
    past = np.array([[1, 2, 3]])
    for name in ("follower_shares", "neighbor_shares", "repeat_shares"):
        np.testing.assert_array_equal(getattr(after, name)(past), getattr(before, name)(past))
    np.testing.assert_array_equal(after.popularity, before.popularity)


def test_lists_keep_the_heaviest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longspan.tasks.recommend.neighbors._MOST", 2)
    lists = ItemLists.of(np.array([1, 1, 1]), np.array([2, 3, 4]), np.array([0.1, 0.3, 0.2]), 5)
    assert lists.items.tolist() == [3, 4] and lists.starts.tolist() == [0, 0, 2, 2, 2, 2]


def test_mixture_weights_maximize_the_likelihood() -> None:
    draw = torch.Generator().manual_seed(0)
    parts = torch.rand(400, 3, generator=draw, dtype=torch.float64)
    weights = mixture_weights(parts, steps=2000)
    assert float(weights.sum()) == pytest.approx(1)

    def likelihood(weights: torch.Tensor) -> float:
        return float((parts @ weights).log().mean())

    for _ in range(200):
        other = torch.rand(3, generator=draw, dtype=torch.float64)
        assert likelihood(other / other.sum()) <= likelihood(weights) + 1e-9
    one_sided = torch.tensor([[0.9, 0.0], [0.8, 0.1]])
    assert mixture_weights(one_sided)[0] > 0.99


def scored(items: list[list[int]], targets: list[list[int]]) -> ScoredEvents:
    x = torch.tensor(items)
    y = torch.tensor(targets)
    batch = Batch(Inputs(x, user=torch.arange(len(x))), y, lengths=torch.tensor([x.shape[1]] * len(x)))
    return ScoredEvents(batch, *(y != IGNORED).nonzero(as_tuple=True))


def rank(scorer: Scorer, logits: list[float], events: ScoredEvents, exclude: bool | None) -> ranking.Ranking:
    """The ranking of events that all have these logits of the network."""
    bias = torch.tensor([-math.inf, *logits])
    hidden, vectors = torch.zeros(len(events.rows), 2), torch.zeros(len(bias), 2)
    return scorer.rank(hidden, vectors, bias, events, k=10, exclude_seen=exclude, compare=True)


def test_ranks_count_the_items_that_are_scored_higher() -> None:
    events = scored([[1, 2], [3, 4]], [[IGNORED, 3], [4, 0]])
    found = rank(Scorer(counted()), [5.0, 4.0, 3.0, 2.0, 1.0], events, False)
    assert found.ranks is not None
    assert found.ranks[:, 0].tolist() == [3, 4, 6], "an unknown item is behind all"
    assert found.items[0].tolist() == [1, 2, 3, 4, 5] and found.user.tolist() == [0, 1, 1]
    without = rank(Scorer(counted()), [5.0, 4.0, 3.0, 2.0, 1.0], events, True)
    assert without.ranks is not None and without.ranks[:, 0].tolist() == [1, 3, 6]
    assert torch.isinf(without.scores[0]).sum() == 2, "seen items are left out"


def test_equal_scores_share_the_mean_of_their_ranks() -> None:
    events = scored([[5]], [[3]])
    found = rank(Scorer(counted()), [1.0, 1.0, 1.0, 0.0, 0.0], events, False)
    assert found.ranks is not None and found.ranks[0, 0] == 2
    # popular: 1 and 2 three times, 4 twice, 3 once; followers of 5: none, so by popularity
    assert found.ranks[0, 1:].tolist() == [4, 4, 4]


def test_seen_items_are_ranked_where_repeats_are_usual() -> None:
    events = scored([[1, 2]], [[IGNORED, 1]])
    usual = counted()
    found = rank(Scorer(usual), [5.0, 4.0, 3.0, 2.0, 1.0], events, None)
    assert found.ranks is not None and found.ranks[0, 0] == 1
    usual.repeats = 0.01
    found = rank(Scorer(usual), [5.0, 4.0, 3.0, 2.0, 1.0], events, None)
    assert found.ranks is not None and found.ranks[0, 0] == 6


def test_a_mixture_is_a_distribution_and_the_popular_items_answer_nobody() -> None:
    scorer = Scorer(counted(), (0.4, 0.3, 0.2, 0.1))
    batch = Batch(Inputs(torch.tensor([[1, 2], [0, 0]]), user=torch.arange(2)), lengths=torch.tensor([2, 0]))
    events = ScoredEvents(batch, torch.arange(2), torch.tensor([1, 0]))
    bias = torch.tensor([-math.inf, 1.0, 0.0, 0.0, 0.0, 0.0])
    found = scorer.rank(
        torch.zeros(2, 3), torch.zeros(6, 3), bias, events, k=5, exclude_seen=False, compare=False
    )
    assert found.scores.sum(1).tolist() == pytest.approx([1, 1])
    assert set(found.items[1, :3].tolist()) == {1, 2, 4} and found.ranks is None
    with pytest.raises(ValueError, match=r"^k: expected at most the number of items, 5, received 6"):
        scorer.rank(
            torch.zeros(2, 3), torch.zeros(6, 3), bias, events, k=6, exclude_seen=False, compare=False
        )


def test_parts_of_a_long_source_are_ranked_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    events = scored([[1, 2, 4], [3, 4, 1]], [[2, 4, 3], [4, 1, 2]])
    scorer = Scorer(counted(), (0.4, 0.3, 0.2, 0.1))
    whole = rank(scorer, [5.0, 4.0, 3.0, 2.0, 1.0], events, False)
    monkeypatch.setattr(ranking, "_SCORES", 8)
    parts = rank(scorer, [5.0, 4.0, 3.0, 2.0, 1.0], events, False)
    for one, other in zip(whole, parts, strict=True):
        assert one is not None and other is not None
        assert torch.allclose(one.double(), other.double())


def test_metrics_of_ranks() -> None:
    ranks = np.array([1.0, 2.0, 10.0, 11.0])
    assert ranking.hit_rate(ranks, 10) == 0.75
    assert ranking.mrr(ranks, 10) == pytest.approx((1 + 1 / 2 + 1 / 10) / 4)
    assert ranking.ndcg(ranks, 10) == pytest.approx((1 + 1 / math.log2(3) + 1 / math.log2(11)) / 4)
    rankings = ranking.Rankings(
        np.zeros(2), np.array([[1, 2], [1, 3]]), np.array([[0.5, 0.4], [0.5, -np.inf]]), np.zeros((2, 4)),
        np.zeros((2, 4)), np.array([0.0, 1.0, 0.5, 0.25, 0.25]),
    )  # fmt: skip
    named = ranking.metrics()
    assert named["coverage@10"](rankings, None) == 0.5
    assert named["popularity@10"](rankings, None) == pytest.approx((1.0 + 0.5 + 1.0) / 3)
    assert [name for name in named if name.startswith("knn_")] == [
        f"knn_{name}" for name in ("hr@10", "ndcg@10", "mrr@10", "recall@20", "ndcg@20", "mrr@20")
    ]
