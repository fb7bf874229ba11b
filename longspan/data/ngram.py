"""An interpolated Kneser-Ney n-gram model: what a network is compared and mixed with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from typing_extensions import Self

_LONGEST_KEY = 1 << 62
_CACHED = 2000  # contexts whose next probabilities are cached
COUNTED = 2_000_000  # of the training text that are counted at most, from its beginning


class _Counts(NamedTuple):
    """Sorted int64 keys of n-grams, and how often each occurs."""

    keys: np.ndarray
    counts: np.ndarray

    def of(self, keys: np.ndarray) -> np.ndarray:
        """The counts of these keys, 0 for others."""
        if not len(self.keys):
            return np.zeros(len(keys), np.int64)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, self.counts[at], 0)


class KneserNey:
    """Kneser and Ney's n-gram model, interpolated, with one discount an order (Chen and Goodman 1999).

    An n-gram's probability is its discounted count, plus what the discount left times the probability of
    the n-gram without its first token. Orders below the highest count the different tokens before an
    n-gram instead of its occurrences. The discount is n1 / (n1 + 2 n2), of the n-grams that occur once and
    twice. The lowest order is mixed with equal probabilities.

    Args:
        vocabulary: V; order: n, less where V^n would not fit 62 bits.

    >>> model = KneserNey(4, 2).fit(np.array([3, 1, 2, 1, 2, 3]))
    >>> bool(model.log_probs(np.array([1, 2]))[1] > np.log(0.5))
    True
    """

    def __init__(self, vocabulary: int, order: int) -> None:
        self.vocabulary = vocabulary
        self.order = order
        while self.order > 1 and vocabulary**self.order >= _LONGEST_KEY:
            self.order -= 1
        self.grams: list[_Counts] = []  # per order from 1 on
        self._contexts: list[tuple[_Counts, _Counts]] = []  # per order: sums and numbers of continuations
        self._discounts: list[float] = []
        self._cache: dict[tuple[int, ...], np.ndarray] = {}  # context -> probabilities of the next token

    def fit(self, tokens: np.ndarray) -> Self:
        """Count the n-grams of a text (N,)."""
        tokens = tokens[:COUNTED].astype(np.int64)
        self._take(_Counts(*np.unique(self._keys(tokens, self.order), return_counts=True)))
        return self

    def _take(self, highest: _Counts) -> None:
        self.grams = [highest]
        for order in range(self.order - 1, 0, -1):  # how many different tokens are before each n-gram
            lower = np.unique(self.grams[0].keys % self.vocabulary**order, return_counts=True)
            self.grams.insert(0, _Counts(*lower))
        self._cache = {}
        self._contexts = [self._summed(grams) for grams in self.grams]
        self._discounts = [_discount(grams.counts) for grams in self.grams]

    def _summed(self, grams: _Counts) -> tuple[_Counts, _Counts]:
        """For each context the sum of its n-grams' counts, and their number."""
        contexts, first = np.unique(grams.keys // self.vocabulary, return_index=True)
        ends = np.append(first[1:], len(grams.keys))
        sums = np.add.reduceat(grams.counts, first) if len(first) else grams.counts
        return _Counts(contexts, sums), _Counts(contexts, ends - first)

    def _keys(self, tokens: np.ndarray, order: int) -> np.ndarray:
        """The key of the n-gram that ends at each token from number order - 1 on."""
        count = max(0, len(tokens) - order + 1)
        keys = np.zeros(count, np.int64)
        for start in range(order):
            keys = keys * self.vocabulary + tokens[start : start + count]
        return keys

    def log_probs(self, tokens: np.ndarray) -> np.ndarray:
        """Natural logarithms of the probability of each token (T,) given those before it in the array."""
        tokens = tokens.astype(np.int64)
        probs = np.full(len(tokens), 1.0 / self.vocabulary)
        for order, (grams, (sums, kinds), discount) in enumerate(
            zip(self.grams, self._contexts, self._discounts, strict=True), 1
        ):
            keys = self._keys(tokens, order)
            total = sums.of(keys // self.vocabulary)
            seen = np.maximum(total, 1)
            left = discount * kinds.of(keys // self.vocabulary) / seen
            tail = probs[order - 1 :]
            mixed = np.maximum(grams.of(keys) - discount, 0.0) / seen + left * tail
            probs[order - 1 :] = np.where(total > 0, mixed, tail)
        return np.log(probs)

    def token_counts(self) -> np.ndarray:
        """How often each token (V,) ends an n-gram of the text."""
        grams = self.grams[-1]
        return np.bincount(grams.keys % self.vocabulary, grams.counts, self.vocabulary)

    def next_probs(self, context: Sequence[int]) -> np.ndarray:
        """The probability of every token (V,) after a context, of which the last n - 1 tokens count."""
        return self._next(tuple(context[-self.order + 1 :]) if self.order > 1 else ())

    def _next(self, context: tuple[int, ...]) -> np.ndarray:
        probs = self._cache.get(context)
        if probs is not None:
            return probs
        lower = self._next(context[1:]) if context else np.full(self.vocabulary, 1.0 / self.vocabulary)
        grams, discount = self.grams[len(context)], self._discounts[len(context)]
        key = 0
        for token in context:
            key = key * self.vocabulary + token
        begin, end = np.searchsorted(grams.keys, (key * self.vocabulary, (key + 1) * self.vocabulary))
        probs = lower
        if begin < end:
            counts = grams.counts[begin:end]
            total = counts.sum()
            probs = lower * (discount * len(counts) / total)
            probs[grams.keys[begin:end] % self.vocabulary] += np.maximum(counts - discount, 0.0) / total
        if len(self._cache) >= _CACHED:
            self._cache.clear()
        self._cache[context] = probs
        return probs

    def state(self) -> dict[str, Any]:
        """Plain values and tensors: the n-grams of the highest order, from which the others follow."""
        grams = self.grams[-1]
        return {
            "vocabulary": self.vocabulary,
            "order": self.order,
            "keys": torch.from_numpy(grams.keys),
            "counts": torch.from_numpy(grams.counts.astype(np.int32)),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> KneserNey:
        """The model that gave this state."""
        model = cls(state["vocabulary"], state["order"])
        model._take(_Counts(state["keys"].numpy(), state["counts"].numpy().astype(np.int64)))
        return model


def _discount(counts: np.ndarray) -> float:
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return once / (once + 2 * twice) if once and twice else 0.5
