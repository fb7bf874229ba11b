"""Knows the n-grams of texts as features: which there are, and how telling each is of its text."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from typing_extensions import Self

MOST = 200_000  # n-grams kept, the most frequent ones


class NGrams:
    """Runs of 1 to n units (words, characters), numbered, each weighted by tf-idf.

    The weights are those of a vector space model with the logarithm of counts (Salton and Buckley 1988,
    "Term-weighting approaches in automatic text retrieval"), as scikit-learn's
    `TfidfVectorizer(sublinear_tf=True)` gives them; a text's weights have the norm 1. An n-gram is kept as 32
    bits of its hash, so that what is saved is small.

    Args:
        longest: n, units of the longest run.
        least: texts in which a run must occur to have a number.

    >>> grams = NGrams(2).fit([["not", "good"], ["good"]])
    >>> grams.size
    4
    >>> numbers, weights = grams(["good", "bad"])
    >>> numbers.tolist(), weights.round(2).tolist()
    ([[2, 0], [0, 0]], [[1.0, 0.0], [0.0, 0.0]])
    """

    def __init__(self, longest: int, least: int = 1) -> None:
        self.longest, self.least = longest, least
        self.keys = np.zeros(0, dtype=np.int64)

    def fit(self, texts: Iterable[Sequence[str]]) -> Self:
        """Number the runs of the training texts, each text its units."""
        count, found = 0, Counter[int]()
        for text in texts:
            count += 1
            found.update({key for _, _, key in self._runs(text)})
        kept = [(key, rows) for key, rows in found.most_common(MOST) if rows >= self.least]
        keys, rows = np.array(sorted(kept), dtype=np.int64).reshape(-1, 2).T
        self._take(keys, (np.log((1 + count) / (1 + rows)) + 1).astype(np.float32))
        return self

    def _take(self, keys: np.ndarray, idf: np.ndarray) -> None:
        self.keys, self.idf = keys, idf
        self._index = {key: number for number, key in enumerate(keys.tolist(), 1)}

    def _runs(self, units: Sequence[str]) -> Iterator[tuple[int, int, int]]:
        """Every run of a text: the place of its last unit, its length less 1, its hash."""
        coded = [unit.encode("utf-8", "surrogatepass") for unit in units]
        for last in range(len(coded)):
            key = b""
            for more in range(min(self.longest, last + 1)):
                key = coded[last - more] + b"\n" + key
                yield last, more, zlib.crc32(key)

    @property
    def size(self) -> int:
        """Numbers in use, 0 for a run that training has not seen among them."""
        return len(self.keys) + 1

    def __call__(self, units: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """A text's runs by the places of their last units.

        Args:
            units: T of them.

        Returns:
            numbers (T, n) int64 and weights (T, n) float32: column k has the run of k + 1 units; both are 0
            where training has not seen it. A run that occurs twice has half its weight at each place.
        """
        numbers = np.zeros((len(units), self.longest), dtype=np.int64)
        for last, more, key in self._runs(units):
            numbers[last, more] = self._index.get(key, 0)
        seen, place, counts = np.unique(numbers, return_inverse=True, return_counts=True)
        strength = np.where(seen > 0, (1 + np.log(counts)) * np.append(0.0, self.idf)[seen], 0.0)
        strength /= max(float(np.linalg.norm(strength)), 1e-12)
        return numbers, (strength / counts)[place].reshape(numbers.shape).astype(np.float32)

    def state(self) -> dict[str, Any]:
        """What `of` makes the same one from."""
        keys, idf = torch.from_numpy(self.keys), torch.from_numpy(self.idf)
        return {"longest": self.longest, "least": self.least, "keys": keys, "idf": idf}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> NGrams:
        made = cls(state["longest"], state["least"])
        made._take(state["keys"].numpy(), state["idf"].numpy())
        return made
