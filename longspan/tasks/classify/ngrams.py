"""Numbers the n-grams of texts and weights them by tf-idf."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
import torch
from typing_extensions import Self

MAX_NGRAMS = 200_000  # n-grams that get a number at most: the most frequent ones
_PRIME = np.uint64(0x100000001B3)  # of the FNV hashes


class NGrams:
    """N-grams of 1 to n tokens (words, characters), numbered and weighted by tf-idf.

    The weights are those of a vector space model with the logarithm of counts (Salton and Buckley 1988,
    "Term-weighting approaches in automatic text retrieval"), as scikit-learn's
    `TfidfVectorizer(sublinear_tf=True)` gives them; the weights of a text have the norm 1. An n-gram is
    stored as a hash of 64 bits, so that saved models stay small.

    Words may be read a second time as their shapes (see `word_shapes`): n-grams of shapes hold the context
    of a name or a number, whichever it is. Word shapes are features of named entity recognition (Collins
    2002, "Ranking algorithms for named-entity extraction") and of question classification (Huang et al.
    2008, "Question classification using head words and their hypernyms"). The tokens are then lowercased.

    Args:
        max_n: n, tokens of the longest n-gram.
        min_df: an n-gram that occurs in fewer texts has no number.
        shape_max_n: m, tokens of the longest n-gram of word shapes, 0 for none.

    Attributes:
        orders: tokens of the n-gram in each column of a call's result: 1 to n, then 1 to m; R in all.

    >>> grams = NGrams(2).fit([["not", "good"], ["good"]])
    >>> grams.size
    4
    >>> numbers, weights, lengths = grams([["good", "bad"], []])
    >>> (numbers > 0).tolist(), weights.round(2).tolist(), lengths.tolist()
    ([[True, False], [False, False]], [[1.0, 0.0], [0.0, 0.0]], [2, 0])
    """

    def __init__(self, max_n: int, min_df: int = 1, shape_max_n: int = 0) -> None:
        self.max_n, self.min_df, self.shape_max_n = max_n, min_df, shape_max_n
        self.orders = (*range(1, max_n + 1), *range(1, shape_max_n + 1))
        self.keys = np.zeros(0, dtype=np.int64)
        self.idf = np.zeros(0, dtype=np.float32)

    def fit(self, texts: Sequence[Sequence[str]]) -> Self:
        """Number the n-grams of the training texts; a text is its tokens."""
        keys, real, lengths = self._ngrams(texts)
        rows = np.repeat(np.arange(len(texts)), lengths)[:, None].repeat(len(self.orders), 1)
        distinct, which = np.unique(keys[real], return_inverse=True)
        once = np.unique(rows[real] * max(1, len(distinct)) + which)  # an n-gram counts once a text
        counts = np.bincount(once % max(1, len(distinct)), minlength=len(distinct))
        kept = np.argsort(-counts, kind="stable")[:MAX_NGRAMS]
        kept = np.sort(kept[counts[kept] >= self.min_df])
        self.keys = distinct[kept]
        self.idf = (np.log((1 + len(texts)) / (1 + counts[kept])) + 1).astype(np.float32)
        return self

    def _ngrams(self, texts: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Hashes (S, R) of the n-grams that end at each token, whether each is whole, and lengths (N,)."""
        lengths = np.array([len(text) for text in texts], dtype=np.int64)
        position = np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths)
        if not self.shape_max_n:
            keys = _hashes(texts, self.max_n)
        else:
            plain = _hashes([[token.lower() for token in text] for text in texts], self.max_n)
            other = _hashes([word_shapes(text) for text in texts], self.shape_max_n)
            keys = np.concatenate([plain, ~other], 1)  # an n-gram of shapes never equals one of tokens
        return keys.view(np.int64), position[:, None] >= np.array(self.orders) - 1, lengths

    @property
    def size(self) -> int:
        """The count of numbers, with 0 for every n-gram that training has not seen."""
        return len(self.keys) + 1

    def __call__(self, texts: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The n-grams of texts by the position of their last token, all texts end to end.

        Args:
            texts: N lists of tokens, S tokens in all.

        Returns:
            numbers (S, R) int64 and weights (S, R) float32, a column for each of `runs`; both are 0 where
            training has not seen the n-gram. One that occurs twice has half its weight at each position.
            And the lengths (N,) of the texts.
        """
        keys, real, lengths = self._ngrams(texts)
        if not len(self.keys):
            return np.zeros(keys.shape, np.int64), np.zeros(keys.shape, np.float32), lengths
        index = self.keys.searchsorted(keys).clip(max=len(self.keys) - 1)
        numbers = np.where(real & (self.keys[index] == keys), index + 1, 0)
        rows = np.repeat(np.arange(len(texts)), lengths)[:, None]
        pairs, which, counts = np.unique(rows * self.size + numbers, return_inverse=True, return_counts=True)
        strength = (1 + np.log(counts)) * np.append(0.0, self.idf)[pairs % self.size]
        norms = np.sqrt(np.bincount(pairs // self.size, strength**2, len(texts)))
        strength /= norms[pairs // self.size].clip(1e-12) * counts
        return numbers, strength[which].reshape(numbers.shape).astype(np.float32), lengths

    def state(self) -> dict[str, Any]:
        """Plain values and tensors from which `from_state` makes the same n-grams."""
        keys, idf = torch.from_numpy(self.keys), torch.from_numpy(self.idf)
        kinds = {"max_n": self.max_n, "min_df": self.min_df, "shape_max_n": self.shape_max_n}
        return {**kinds, "keys": keys, "idf": idf}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> NGrams:
        """The n-grams that gave this state."""
        ngrams = cls(state["max_n"], state["min_df"], state["shape_max_n"])
        ngrams.keys, ngrams.idf = state["keys"].numpy(), state["idf"].numpy()
        return ngrams


def word_shapes(text: Sequence[str]) -> list[str]:
    """The words of a text, each that is not lower case as its shape.

    In a shape X stands for capitals in a row, x for small letters, d for digits. The first word is
    lowercased instead, as its capital says nothing.

    >>> word_shapes(["Who", "led", "McGee", "in", "1984", "?"])
    ['who', 'led', 'XxXx', 'in', 'd', '?']
    """
    return [
        word.lower() if not index or word.islower() else _word_shape(word) for index, word in enumerate(text)
    ]


@lru_cache(maxsize=1 << 16)
def _word_shape(word: str) -> str:
    kinds = ("X" if c.isupper() else "x" if c.isalpha() else "d" if c.isdigit() else c for c in word)
    return "".join(kind for kind, _ in groupby(kinds))


def _hashes(texts: Sequence[Sequence[str]], max_n: int) -> np.ndarray:
    """Hashes (S, max_n) of the n-grams that end at each token of the texts end to end."""
    cache: dict[str, int] = {}
    tokens = [
        cache[token] if token in cache else cache.setdefault(token, _hash(token))
        for text in texts
        for token in text
    ]
    keys = np.array(tokens, dtype=np.uint64)[:, None].repeat(max_n, 1)
    for n in range(1, max_n):
        keys[n:, n] += keys[n - 1 : -1, n - 1] * _PRIME
    return keys


def _hash(token: str) -> int:
    """A token's hash: CRC-32, spread to 64 bits."""
    return (zlib.crc32(token.encode("utf-8", "surrogatepass")) + 1) * 0x9E3779B97F4A7C15 % 2**64
