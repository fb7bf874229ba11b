"""Counts which items follow and accompany each other: first-order Markov chain, item kNN, repeats.

These are the baselines of every score, and what the network's scores are mixed with.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from longspan.data.stored_rows import blocks

_MOST = 100  # neighbours of an item that are kept
_WINDOW = 10  # events between two items of a user that count as seen together, at most
_RECENT = 10  # last events whose neighbours count
_PAIRS = 2_000_000  # different pairs of items of which those that come once are kept
_DECAY = 0.8  # factor of an event's weight to that of the event after it
_REPEATS = 50  # events back to which a repeat counts
_COUNTED = 500_000  # last events whose followers and neighbours are counted, at most


class ItemLists:
    """For each item a few others with weights, the heaviest first.

    starts: (V + 2,) int64, of each item's list; items: int32; weights: float32.
    """

    def __init__(self, starts: np.ndarray, items: np.ndarray, weights: np.ndarray) -> None:
        self.starts, self.items, self.weights = starts, items, weights

    @classmethod
    def of(cls, first: np.ndarray, second: np.ndarray, weights: np.ndarray, size: int) -> Self:
        """Lists from pairs of items; size: V + 1."""
        order = np.lexsort((second, -weights, first))
        first, second, weights = first[order], second[order], weights[order]
        starts = np.searchsorted(first, np.arange(size + 1))
        keep = np.arange(len(first)) - starts[first] < _MOST
        starts = np.searchsorted(first[keep], np.arange(size + 1)).astype(np.int64)
        return cls(starts, second[keep].astype(np.int32), weights[keep].astype(np.float32))

    def add(self, scores: np.ndarray, rows: np.ndarray, items: np.ndarray, weights: np.ndarray) -> None:
        """Add the lists of items to the scores of rows: scores[rows[n]] += weights[n] * list of items[n].

        Args:
            scores: (R, V + 1) float32, changed in place; rows, items, weights: (n,).
        """
        counts = self.starts[items + 1] - self.starts[items]
        total = int(counts.sum())
        if not total:
            return
        begins = np.cumsum(counts) - counts
        at = np.arange(total) + np.repeat(self.starts[items] - begins, counts)
        flat = np.repeat(rows * scores.shape[1], counts) + self.items[at]
        values = np.repeat(weights, counts) * self.weights[at]
        np.add.at(scores.reshape(-1), flat, values.astype(np.float32))

    def state(self) -> Any:
        """Tensors."""
        return [torch.from_numpy(part) for part in (self.starts, self.items, self.weights)]

    @classmethod
    def restore(cls, state: Any) -> Self:
        """The lists whose `state` this is."""
        return cls(*(part.numpy() for part in state))


class Past(NamedTuple):
    """The items before each of R events that are to be predicted.

    items: (R, P) int64, the latest last, on the right; 0 where there is none.
    """

    items: np.ndarray


class Neighbors:
    """The items' popularity, followers, neighbours, and how often and when items are repeated.

    Args:
        size: V + 1, the items with 0 for an unknown one.

    Attributes after fit: counts (V + 1,) int64, of each item's events; followers, neighbors (`ItemLists`);
    recency (50,): the share of repeats whose item was seen so many events ago; repeats: the share of events
    whose item its user had seen before.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.counts = np.zeros(size, np.int64)

    def fit(self, starts: np.ndarray, items: np.ndarray) -> Self:
        """Count; starts, items: the events of all users, as in `Events`."""
        self.counts = item_counts(items, self.size)
        self.counts[0] = 0
        rows = np.arange(max(0, len(items) - _COUNTED), len(items))
        user = np.searchsorted(starts, rows, side="right")
        items = items[rows].astype(np.int64)
        same = user[1:] == user[:-1]
        first, second, count = _counted(items[:-1][same] * self.size + items[1:][same], self.size)
        totals = np.bincount(first, count, minlength=self.size)
        self.followers = ItemLists.of(first, second, count / totals[first], self.size)
        self.neighbors = self._neighbors(user, items)
        self.repeats, self.recency = _repeats(user, items)
        return self

    def _neighbors(self, user: np.ndarray, items: np.ndarray) -> ItemLists:
        """The cosine of items seen together by a user (item-to-item collaborative filtering)."""
        pairs = []
        for distance in range(1, _WINDOW + 1):
            same = (user[distance:] == user[:-distance]) & (items[distance:] != items[:-distance])
            one, other = items[:-distance][same], items[distance:][same]
            pairs.append(np.minimum(one, other) * self.size + np.maximum(one, other))
        keys = np.concatenate(pairs)
        del pairs  # as large as the keys
        one, other, count = _counted(keys, self.size)
        one, other, count = np.append(one, other), np.append(other, one), np.append(count, count)
        totals = np.sqrt(np.maximum(1, np.bincount(items, minlength=self.size)))
        return ItemLists.of(one, other, count / (totals[one] * totals[other]), self.size)

    @property
    def popularity(self) -> np.ndarray:
        """(V + 1,) float32, the items' shares of all events."""
        return (self.counts / max(1, self.counts.sum())).astype(np.float32)

    def follower_shares(self, past: np.ndarray) -> np.ndarray:
        """(R, V + 1) the shares of the items that followed the last one of `past` (R, P); zeros for none."""
        scores = np.zeros((len(past), self.size), np.float32)
        rows = np.flatnonzero(past[:, -1] > 0)
        self.followers.add(scores, rows, past[rows, -1], np.ones(len(rows)))
        return scores

    def neighbor_shares(self, past: np.ndarray) -> np.ndarray:
        """(R, V + 1) the neighbours of the last items of `past` (R, P), the later the heavier; sums are 1."""
        scores = np.zeros((len(past), self.size), np.float32)
        recent = past[:, -_RECENT:]
        weights = _DECAY ** np.arange(recent.shape[1] - 1, -1, -1)
        rows, places = np.nonzero(recent > 0)
        self.neighbors.add(scores, rows, recent[rows, places], weights[places])
        return scores / np.maximum(scores.sum(1, keepdims=True), 1e-12)

    def repeat_shares(self, past: np.ndarray) -> np.ndarray:
        """(R, V + 1) the user's own items of `past` (R, P), by how long ago they were seen; sums are 1."""
        scores = np.zeros((len(past), self.size), np.float32)
        recent = past[:, -_REPEATS:]
        rows, places = np.nonzero(recent > 0)
        weights = self.recency[recent.shape[1] - 1 - places].astype(np.float32)
        np.add.at(scores, (rows, recent[rows, places]), weights)
        return scores / np.maximum(scores.sum(1, keepdims=True), 1e-12)

    def state(self) -> Any:
        """Plain values and tensors."""
        return {
            "size": self.size,
            "counts": torch.from_numpy(self.counts),
            "followers": self.followers.state(),
            "neighbors": self.neighbors.state(),
            "repeats": self.repeats,
            "recency": torch.from_numpy(self.recency),
        }

    @classmethod
    def restore(cls, state: Any) -> Self:
        """The neighbours whose `state` this is."""
        restored = cls(state["size"])
        restored.counts, restored.recency = state["counts"].numpy(), state["recency"].numpy()
        restored.followers = ItemLists.restore(state["followers"])
        restored.neighbors = ItemLists.restore(state["neighbors"])
        restored.repeats = state["repeats"]
        return restored


def item_counts(items: np.ndarray, size: int) -> np.ndarray:
    """(size,) int64, how many items (N,) have each number; a part at a time, since NumPy widens them."""
    counts = np.zeros(size, np.int64)
    for part in blocks(len(items)):
        counts += np.bincount(items[part], minlength=size)
    return counts


def _counted(keys: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The different pairs of items (int32) and how often each comes; of very many, those that come again.

    Args:
        keys: first * size + second of every pair; they are sorted in place.
    """
    keys.sort()
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else keys
    counts = np.diff(starts, append=len(keys))
    if len(counts) > _PAIRS:
        again = counts > 1
        starts, counts = starts[again], counts[again]
    different = keys[starts]
    first, second = (different // size).astype(np.int32), (different % size).astype(np.int32)
    return first, second, counts.astype(np.float32)


def _repeats(user: np.ndarray, items: np.ndarray) -> tuple[float, np.ndarray]:
    """The share of events that repeat an item of their user, and the shares of how many events ago it was."""
    order = np.lexsort((np.arange(len(items)), items, user))
    same = (np.diff(user[order]) == 0) & (np.diff(items[order]) == 0)
    distance = np.diff(order)[same]
    counts = np.bincount(np.minimum(distance, _REPEATS) - 1, minlength=_REPEATS) + 1.0
    later = np.count_nonzero(user[1:] == user[:-1])
    return len(distance) / max(1, int(later)), counts / counts.sum()


def mixture_weights(parts: Tensor, steps: int = 50) -> Tensor:
    """The weights of a mixture with the highest likelihood (expectation maximization).

    Args:
        parts: (n, C), the probability of each observed event by each of C components.

    Returns:
        (C,), their sum is 1.
    """
    parts = parts.double().clamp_min(1e-12)
    weights = torch.full((parts.shape[1],), 1.0 / parts.shape[1], dtype=torch.float64)
    for _ in range(steps):
        joint = parts * weights
        weights = (joint / joint.sum(1, keepdim=True)).mean(0)
    return weights
