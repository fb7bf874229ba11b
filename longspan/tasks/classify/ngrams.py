"""Knows the n-grams of texts as features: which there are, and how telling each is of its text."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
import torch
from typing_extensions import Self

MOST = 200_000  # n-grams kept, the most frequent ones
_PRIME = np.uint64(0x100000001B3)  # of the FNV hashes


class NGrams:
    """Runs of 1 to n units (words, characters), numbered, each weighted by tf-idf.

    The weights are those of a vector space model with the logarithm of counts (Salton and Buckley 1988,
    "Term-weighting approaches in automatic text retrieval"), as scikit-learn's
    `TfidfVectorizer(sublinear_tf=True)` gives them; a text's weights have the norm 1. Of a run 64 bits of a
    hash are kept, so that what is saved is small.

    Words can be seen a second time by their outlines (see `outlines`): runs of these tell what stands around
    a name or a number, whichever it is. Word shapes are features of named entity recognition (Collins 2002,
    "Ranking algorithms for named-entity extraction") and of questions (Huang et al. 2008, "Question
    classification using head words and their hypernyms"). The units themselves lose their case then.

    Args:
        longest: n, units of the longest run.
        least: texts in which a run must occur to have a number.
        outlined: m, units of the longest run of outlines, 0 for none.

    Attributes:
        runs: units of a run in each column of what a call gives: 1 to n, then 1 to m.

    >>> grams = NGrams(2).fit([["not", "good"], ["good"]])
    >>> grams.size
    4
    >>> numbers, weights, lengths = grams([["good", "bad"], []])
    >>> (numbers > 0).tolist(), weights.round(2).tolist(), lengths.tolist()
    ([[True, False], [False, False]], [[1.0, 0.0], [0.0, 0.0]], [2, 0])
    """

    def __init__(self, longest: int, least: int = 1, outlined: int = 0) -> None:
        self.longest, self.least, self.outlined = longest, least, outlined
        self.runs = (*range(1, longest + 1), *range(1, outlined + 1))
        self.keys = np.zeros(0, dtype=np.int64)
        self.idf = np.zeros(0, dtype=np.float32)

    def fit(self, texts: Sequence[Sequence[str]]) -> Self:
        """Number the runs of the training texts, each text its units."""
        keys, real, lengths = self._runs(texts)
        rows = np.repeat(np.arange(len(texts)), lengths)[:, None].repeat(len(self.runs), 1)
        found, which = np.unique(keys[real], return_inverse=True)
        once = np.unique(rows[real] * max(1, len(found)) + which)  # a run counts once a text
        counts = np.bincount(once % max(1, len(found)), minlength=len(found))
        kept = np.argsort(-counts, kind="stable")[:MOST]
        kept = np.sort(kept[counts[kept] >= self.least])
        self.keys = found[kept]
        self.idf = (np.log((1 + len(texts)) / (1 + counts[kept])) + 1).astype(np.float32)
        return self

    def _runs(self, texts: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Hashes (S, R) of the runs that end at each unit, which of them are whole, the texts' lengths."""
        lengths = np.array([len(text) for text in texts], dtype=np.int64)
        place = np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths)
        if not self.outlined:
            keys = _hashes(texts, self.longest)
        else:
            plain = _hashes([[unit.lower() for unit in text] for text in texts], self.longest)
            other = _hashes([outlines(text) for text in texts], self.outlined)
            keys = np.concatenate([plain, ~other], 1)  # a run of outlines is never one of units
        return keys.view(np.int64), place[:, None] >= np.array(self.runs) - 1, lengths

    @property
    def size(self) -> int:
        """Numbers in use, 0 for a run that training has not seen among them."""
        return len(self.keys) + 1

    def __call__(self, texts: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The texts' runs by the places of their last units, all texts end to end.

        Args:
            texts: N of them, S units in all.

        Returns:
            numbers (S, R) int64 and weights (S, R) float32, a column for each of `runs`; both are 0 where
            training has not seen the run. One that occurs twice has half its weight at each place. And the
            texts' lengths (N,).
        """
        keys, real, lengths = self._runs(texts)
        if not len(self.keys):
            return np.zeros(keys.shape, np.int64), np.zeros(keys.shape, np.float32), lengths
        places = self.keys.searchsorted(keys).clip(max=len(self.keys) - 1)
        numbers = np.where(real & (self.keys[places] == keys), places + 1, 0)
        rows = np.repeat(np.arange(len(texts)), lengths)[:, None]
        pairs, which, counts = np.unique(rows * self.size + numbers, return_inverse=True, return_counts=True)
        strength = (1 + np.log(counts)) * np.append(0.0, self.idf)[pairs % self.size]
        norms = np.sqrt(np.bincount(pairs // self.size, strength**2, len(texts)))
        strength /= norms[pairs // self.size].clip(1e-12) * counts
        return numbers, strength[which].reshape(numbers.shape).astype(np.float32), lengths

    def state(self) -> dict[str, Any]:
        """What `of` makes the same one from."""
        keys, idf = torch.from_numpy(self.keys), torch.from_numpy(self.idf)
        kinds = {"longest": self.longest, "least": self.least, "outlined": self.outlined}
        return {**kinds, "keys": keys, "idf": idf}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> NGrams:
        made = cls(state["longest"], state["least"], state["outlined"])
        made.keys, made.idf = state["keys"].numpy(), state["idf"].numpy()
        return made


def outlines(text: Sequence[str]) -> list[str]:
    """A text's words, those other than lower-case ones by their outline: X, x and d stand for capitals, small
    letters and digits in a row. The first word, whose capital says nothing, is taken in lower case.

    >>> outlines(["Who", "led", "McGee", "in", "1984", "?"])
    ['who', 'led', 'XxXx', 'in', 'd', '?']
    """
    return [
        word.lower() if not place or word.islower() else _outline(word) for place, word in enumerate(text)
    ]


@lru_cache(maxsize=1 << 16)
def _outline(word: str) -> str:
    kinds = ("X" if c.isupper() else "x" if c.isalpha() else "d" if c.isdigit() else c for c in word)
    return "".join(kind for kind, _ in groupby(kinds))


def _hashes(texts: Sequence[Sequence[str]], longest: int) -> np.ndarray:
    """Hashes (S, longest) of the runs that end at each unit of texts end to end."""
    known: dict[str, int] = {}
    units = [
        known[unit] if unit in known else known.setdefault(unit, _hash(unit))
        for text in texts
        for unit in text
    ]
    keys = np.array(units, dtype=np.uint64)[:, None].repeat(longest, 1)
    for more in range(1, longest):
        keys[more:, more] += keys[more - 1 : -1, more - 1] * _PRIME
    return keys


def _hash(unit: str) -> int:
    """32 bits of a unit's, brought apart to 64."""
    return (zlib.crc32(unit.encode("utf-8", "surrogatepass")) + 1) * 0x9E3779B97F4A7C15 % 2**64
