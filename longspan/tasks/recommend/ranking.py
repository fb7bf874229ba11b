"""Mixes and ranks the scores of all items, and computes the metrics of rankings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from longspan import errors
from longspan.data.batches import Batch

from .neighbors import Neighbors

MODELS = ("", "popular_", "markov_", "knn_")  # the model and its baselines, as their metrics begin
USUAL_REPEATS = 0.05  # share of repeats in training from which on evaluation ranks items that were seen
_TOP = 10  # items of a list; coverage and popularity are measured of so many
_PAST = 50  # last events that the neighbours look at
_SCORES = 1 << 22  # scores that are held at a time
PARTS = ("network", "followers", "neighbors", "repeats")


class Ranking(NamedTuple):
    """The rankings of n events of a batch.

    user, step: (n,) which user, and the number of the event among those of its row.
    items, scores: (n, k), the items' numbers and their probabilities; -inf where fewer can be recommended.
    ranks: (n, 4) of the item that came, from 1 on, by the model and by the baselines, which order items of
        equal scores by their popularity; None without targets.
    parts: (n, 4) the probability of that item by each of PARTS; None without targets.
    """

    user: Tensor
    step: Tensor
    items: Tensor
    scores: Tensor
    ranks: Tensor | None = None
    parts: Tensor | None = None


class ScoredEvents(NamedTuple):
    """The events of a batch after which items are ranked; rows, steps: (n,) where they are in the batch."""

    batch: Batch
    rows: Tensor
    steps: Tensor

    def seen(self) -> Tensor:
        """(n, T) the items up to each event, 0 after it."""
        items = self.batch.x.items[self.rows]
        read = torch.arange(items.shape[1], device=items.device) <= self.steps.unsqueeze(1)
        if self.batch.lengths is not None:
            read &= (self.batch.lengths.to(self.steps)[self.rows] > 0).unsqueeze(1)
        return items.masked_fill(~read, 0)

    def targets(self) -> Tensor | None:
        """(n,) the items that came, 0 for unknown ones; None where they are not known."""
        return None if self.batch.y is None else self.batch.y[self.rows, self.steps]

    def split(self, size: int) -> list[ScoredEvents]:
        """Parts of at most so many events."""
        parts = zip(self.rows.split(size), self.steps.split(size), strict=True)
        return [ScoredEvents(self.batch, rows, steps) for rows, steps in parts]


class Scorer:
    """Scores items by a mixture of the network with counts of training.

    Args:
        neighbors: the counts.
        weights: of the mixture, by PARTS; they are found by the likelihood of held-out events. Where a part
            says nothing, its weight is the network's.
    """

    def __init__(self, neighbors: Neighbors, weights: Sequence[float] = (1.0, 0.0, 0.0, 0.0)) -> None:
        self.neighbors, self.weights = neighbors, tuple(weights)

    def rank(
        self,
        hidden: Tensor,
        vectors: Tensor,
        bias: Tensor,
        events: ScoredEvents,
        *,
        k: int | None,
        exclude_seen: bool | None,
        compare: bool,
    ) -> Ranking:
        """Rank all items after n events.

        Args:
            hidden: (n, D); vectors: (V + 1, D) of all items; bias: (V + 1,), -inf for what is never ranked.
            k: items of a list, where there are no targets; None for 10, or for all where there are fewer.
            compare: whether the baselines are ranked too.
            exclude_seen: whether items of the user's past are left out; None for found.
        """
        rankable = int(torch.isfinite(bias).sum())
        if events.batch.y is not None:
            k = None
            if exclude_seen is None:
                exclude_seen = self.neighbors.repeats < USUAL_REPEATS
        if k is None:
            k = min(_TOP, rankable)
        elif k > rankable:
            raise errors.value_error("k", f"at most the number of items, {rankable}", k, "ask for fewer")
        size = max(1, _SCORES // max(len(vectors), events.batch.x.items.shape[1]))
        exclude = True if exclude_seen is None else bool(exclude_seen)
        parts = zip(hidden.split(size), events.split(size), strict=True)
        rankings = [
            self._rank(torch.addmm(bias, part, vectors.T), chunk, k, exclude, compare)
            for part, chunk in parts
        ]
        return Ranking(*(_joined(column) for column in zip(*rankings, strict=True)))

    def _rank(self, logits: Tensor, events: ScoredEvents, k: int, exclude: bool, compare: bool) -> Ranking:
        """The ranking of one part; logits: (n, V + 1) of the network."""
        seen, targets = events.seen(), events.targets()
        compare = compare and targets is not None
        past = _last(seen, events.steps).cpu().numpy()
        impossible, network = torch.isneginf(logits[0]), logits.softmax(1)
        others = self._others(past, network, needed=compare)
        scores = self._mixed(network, others)
        if not past[:, -1].all():
            nothing = (seen == 0).all(1, keepdim=True)
            scores = torch.where(nothing, others["popular"], scores)
        scores = scores.masked_fill(impossible, -torch.inf)
        excluded = seen if exclude else torch.zeros_like(seen[:, :1])
        scores.scatter_(1, excluded, -torch.inf)
        best, users = scores.topk(k, 1), events.batch.x.user[events.rows]
        if targets is None:
            return Ranking(users, events.steps, best.indices, best.values)
        if not compare:
            ranks = _rank_of(scores, targets).unsqueeze(1)
            return Ranking(users, events.steps, best.indices, best.values, ranks)
        ranks = [_rank_of(scores, targets)]
        for name in ("popular", "followers", "neighbors"):
            rival = others[name].scatter(1, excluded, -torch.inf)
            ranks.append(_rank_of(rival, targets, others["popular"]))
        parts = [network, *(others[name] for name in PARTS[1:])]
        chances = torch.stack([part.gather(1, targets.unsqueeze(1))[:, 0] for part in parts], 1)
        return Ranking(users, events.steps, best.indices, best.values, torch.stack(ranks, 1), chances)

    def _others(self, past: np.ndarray, like: Tensor, *, needed: bool) -> dict[str, Tensor]:
        """(n, V + 1) the shares of the popular items, and of the parts with a weight, or all if `needed`.

        Args:
            past: (n, P) the last items; like: the network's shares.
        """
        shares = {
            "followers": self.neighbors.follower_shares,
            "neighbors": self.neighbors.neighbor_shares,
            "repeats": self.neighbors.repeat_shares,
        }
        popular = torch.from_numpy(self.neighbors.popularity).to(like)
        return {
            name: torch.from_numpy(shares[name](past)).to(like)
            for name, weight in zip(PARTS[1:], self.weights[1:], strict=True)
            if needed or weight
        } | {"popular": popular.expand(len(past), -1).clone()}

    def _mixed(self, network: Tensor, others: Mapping[str, Tensor]) -> Tensor:
        """The mixture's probabilities; what says nothing about a row leaves its weight to the network."""
        mixed, left = network.clone(), torch.ones_like(network[:, :1])
        total = torch.zeros_like(network)
        for name, weight in zip(PARTS[1:], self.weights[1:], strict=True):
            if weight:
                total = total + weight * others[name]
                left = left - weight * others[name].sum(1, keepdim=True)
        return mixed * left + total if any(self.weights[1:]) else mixed


def _last(seen: Tensor, steps: Tensor) -> Tensor:
    """(n, P) the items of the last events up to each step, the latest on the right."""
    at = steps.unsqueeze(1) - torch.arange(_PAST - 1, -1, -1, device=steps.device)
    return seen.gather(1, at.clamp_min(0)).masked_fill(at < 0, 0)


def _rank_of(scores: Tensor, targets: Tensor, ties: Tensor | None = None) -> Tensor:
    """(n,) float64 from 1 on, the mean of the ranks of equal scores; V + 1 where the target is not ranked.

    Args:
        scores: (n, V + 1); targets: (n,); ties: (n, V + 1), by which equal scores are ordered.
    """
    place = targets.unsqueeze(1)
    own = scores.gather(1, place)
    better, equal = scores > own, scores == own
    if ties is not None:
        better |= equal & (ties > ties.gather(1, place))
        equal &= ties == ties.gather(1, place)
    ranks = better.sum(1).double() + (equal.sum(1).double() + 1.0) / 2.0
    missed = torch.isneginf(own[:, 0]) | (targets == 0)
    return ranks.masked_fill(missed, float(scores.shape[1]))


def _joined(parts: Sequence[Any]) -> Any:
    return None if parts[0] is None else torch.cat(list(parts))


# ---- metrics


class Rankings(NamedTuple):
    """The rankings of a source's events, as the metrics take them.

    user: (n,) which user; items: (n, k) numbers; scores: (n, k) float32; ranks: (n, 4), empty without
    targets; parts: (n, 4); popularity: (V + 1,) the share of items that are at most as popular as each.
    """

    user: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray
    parts: np.ndarray
    popularity: np.ndarray


def hit_rate(ranks: np.ndarray, k: int) -> float:
    """The share of events whose item is among the first k; recall, as each event has one item.

    >>> hit_rate(np.array([1, 11]), 10)
    0.5
    """
    return float((ranks <= k).mean())


def ndcg(ranks: np.ndarray, k: int) -> float:
    """The mean of 1 / log2(1 + rank) of the items among the first k: with one item the best sum is 1.

    >>> ndcg(np.array([1, 3]), 10)
    0.75
    """
    return float(np.where(ranks <= k, 1.0 / np.log2(1.0 + ranks), 0.0).mean())


def mrr(ranks: np.ndarray, k: int) -> float:
    """The mean of 1 / rank of the items among the first k.

    >>> mrr(np.array([1, 2]), 10)
    0.75
    """
    return float(np.where(ranks <= k, 1.0 / ranks, 0.0).mean())


_METRICS: dict[str, tuple[Callable[[np.ndarray, int], float], int]] = {
    "hr@10": (hit_rate, 10),
    "ndcg@10": (ndcg, 10),
    "mrr@10": (mrr, 10),
    "recall@20": (hit_rate, 20),
    "ndcg@20": (ndcg, 20),
    "mrr@20": (mrr, 20),
}


def metrics() -> dict[str, Callable[[Rankings, Any], float]]:
    """Name -> function (rankings, truth) -> number: of the model, and with a prefix of the baselines."""
    named: dict[str, Callable[[Rankings, Any], float]] = {}
    for model, prefix in enumerate(MODELS):
        for name, (metric, k) in _METRICS.items():
            named[f"{prefix}{name}"] = partial(_of_ranks, metric, k, model)
        if not prefix:
            named["coverage@10"], named["popularity@10"] = _coverage, _popularity
    return named


def _of_ranks(
    metric: Callable[[np.ndarray, int], float], k: int, model: int, rankings: Rankings, truth: object
) -> float:
    return metric(rankings.ranks[:, model], k)


def _coverage(rankings: Rankings, truth: object) -> float:
    """The share of all items that are in some user's list."""
    listed = np.unique(rankings.items[np.isfinite(rankings.scores)])
    return len(listed) / max(1, len(rankings.popularity) - 1)


def _popularity(rankings: Rankings, truth: object) -> float:
    """The mean share of items that are at most as popular as a recommended one: 0.5 is without a bias."""
    return float(rankings.popularity[rankings.items[np.isfinite(rankings.scores)]].mean())
