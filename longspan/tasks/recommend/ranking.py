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
_SCORES = 1 << 20  # scores that are held at a time
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
            hidden: (n, D); vectors: (V + 1, D) of all items; bias: (V + 1,), -inf for unknown items.
            k: items of a list, where there are no targets; None for 10, or for all where there are fewer.
            compare: whether the baselines are ranked too.
            exclude_seen: whether items of the user's past are left out; None for found.
        """
        if events.batch.y is not None:
            k = None
            if exclude_seen is None:
                exclude_seen = self.neighbors.repeats < USUAL_REPEATS
        k, exclude = _list_length(k, len(vectors) - 1), exclude_seen is None or bool(exclude_seen)
        size = max(1, _SCORES // max(len(vectors), events.batch.x.items.shape[1]))
        parts = zip(hidden.split(size), events.split(size), strict=True)
        rankings = [
            self._rank(torch.addmm(bias, part, vectors.T), chunk, k, exclude, compare)
            for part, chunk in parts
        ]
        return Ranking(*(_joined(column) for column in zip(*rankings, strict=True)))

    def top(
        self,
        hidden: Tensor,
        vectors: Tensor,
        bias: Tensor,
        items: Tensor,
        *,
        k: int | None,
        exclude_seen: bool | None,
    ) -> tuple[Tensor, Tensor]:
        """The k best items after all events of one user: numbers (k,) and scores (k,), as `rank` gives them.

        Args:
            hidden: (D,); items: (T,) of the user's events; the others: as for `rank`.
        """
        k, seen = _list_length(k, len(vectors) - 1), items.unsqueeze(0)
        logits = torch.addmv(bias, vectors, hidden).unsqueeze(0)
        past = seen[:, -_PAST:].cpu().numpy() if len(items) else np.zeros((1, 1), np.int64)
        scores, _ = self._scores(
            logits.softmax(1), seen, past, exclude=exclude_seen is None or exclude_seen, compare=False
        )
        best = scores[0].topk(k)
        return best.indices, best.values

    def _rank(self, logits: Tensor, events: ScoredEvents, k: int, exclude: bool, compare: bool) -> Ranking:
        """The ranking of one part; logits: (n, V + 1) of the network."""
        seen, targets = events.seen(), events.targets()
        compare = compare and targets is not None
        past, network = _last(seen, events.steps).cpu().numpy(), logits.softmax(1)
        scores, others = self._scores(network, seen, past, exclude=exclude, compare=compare)
        best, users = scores.topk(k, 1), events.batch.x.user[events.rows]
        if targets is None:
            return Ranking(users, events.steps, best.indices, best.values)
        ranks = [_rank_of(scores, targets)]
        if not compare:
            return Ranking(users, events.steps, best.indices, best.values, torch.stack(ranks, 1))
        for name in ("popular", "followers", "neighbors"):
            rival = _without(others[name].clone(), seen, exclude)
            ranks.append(_rank_of(rival, targets, others["popular"]))
        parts = [network, *(others[name] for name in PARTS[1:])]
        chances = torch.stack([part.gather(1, targets.unsqueeze(1))[:, 0] for part in parts], 1)
        return Ranking(users, events.steps, best.indices, best.values, torch.stack(ranks, 1), chances)

    def _scores(
        self, network: Tensor, seen: Tensor, past: np.ndarray, *, exclude: bool, compare: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(n, V + 1) the scores of all items, -inf for those left out, and the shares of the other parts.

        Args:
            network: (n, V + 1) the network's probabilities.
            seen: (n, T) the items of the past; past: (n, P) the last ones of them, the latest on the right.
            compare: whether all parts are wanted, those without a weight and the popular items too.
        """
        others = self._others(past, network, needed=compare)
        scores, some = self._mixed(network, others), past[:, -1] > 0
        if compare or not some.all():
            others["popular"] = self._popular(network)
        if not some.all():
            nothing = (seen == 0).all(1, keepdim=True)
            scores = torch.where(nothing, others["popular"], scores)
        return _without(scores, seen, exclude), others

    def _popular(self, like: Tensor) -> Tensor:
        """(n, V + 1) the items' shares of all events."""
        return torch.from_numpy(self.neighbors.popularity).to(like).expand(len(like), -1)

    def _others(self, past: np.ndarray, like: Tensor, *, needed: bool) -> dict[str, Tensor]:
        """(n, V + 1) the shares of the parts with a weight, or of all if `needed`.

        Args:
            past: (n, P) the last items; like: the network's shares.
        """
        shares = {
            "followers": self.neighbors.follower_shares,
            "neighbors": self.neighbors.neighbor_shares,
            "repeats": self.neighbors.repeat_shares,
        }
        return {
            name: torch.from_numpy(shares[name](past)).to(like)
            for name, weight in zip(PARTS[1:], self.weights[1:], strict=True)
            if needed or weight
        }

    def _mixed(self, network: Tensor, others: Mapping[str, Tensor]) -> Tensor:
        """The mixture's probabilities; what says nothing about a row leaves its weight to the network."""
        weights = dict(zip(PARTS[1:], self.weights[1:], strict=True))
        left = 1.0 - sum(w * others[name].sum(1, keepdim=True) for name, w in weights.items() if w)
        mixed = network * left
        for name, weight in weights.items():
            if weight:
                mixed.add_(others[name], alpha=weight)
        return mixed


def _list_length(k: int | None, items: int) -> int:
    """The length of the lists: k, or 10 or all items without one."""
    if k is None:
        return min(_TOP, items)
    if k > items:
        raise errors.value_error("k", f"at most the number of items, {items}", k, "ask for fewer")
    return k


def _without(scores: Tensor, seen: Tensor, exclude: bool) -> Tensor:
    """Scores (n, V + 1), changed in place, with -inf for unknown items, and for seen ones to be left out."""
    scores[:, 0] = -torch.inf
    return scores.scatter_(1, seen, -torch.inf) if exclude else scores


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
