"""Knows what texts are cut into, by what suits them: words, byte pairs or characters, and runs of these."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from longspan import errors
from longspan.data.padding import Ragged
from longspan.data.tokenizers import BPE, SPECIAL, UNKNOWN, Characters, Words, tokenizer

from .ngrams import NGrams

TOKEN_LEVELS = ("words", "bpe", "characters")
_LONGEST = {"words": 2, "bpe": 2, "characters": 4}  # units of an n-gram where nobody says
_NEW_WORDS = 0.25  # share of running words unknown in unseen texts above which words are too rare as units
_PAIRS = 8000  # byte pairs where nobody says


class TextEncoder:
    """Texts, or lists of words, as numbers of their units; and the n-grams of the units as features.

    Args:
        kind: "words", "bpe" or "characters", None for found: characters where the median text has at most
            two words (names), byte pairs where it is long without a blank or where over a quarter of the
            running words of every tenth text are not in the others, else words.
        vocabulary: units at most, None for all, 8000 for bpe.
        lower: whether the case of words is dropped, None for where their vectors are known from a file.
        subwords: buckets that the character n-grams of words share, 0 for none; for words only.
        ngrams: units of the longest n-gram that is a feature by itself, 0 for no such features, None for 2,
            of characters 4. Where words keep their case and some have capitals, those of the words'
            outlines are features too, one longer.
        length: units read at most, None for the longest text in training.
        known: whether words' vectors come from a file.

    Attributes after fit: kind, words (the tokenizer), features (the n-grams, None for none), length.

    >>> units = TextEncoder().fit(["the cat sat", "the dog sat"])
    >>> units.kind, units.rows(["the sat"])
    ('words', [tensor([5, 4])])
    """

    def __init__(
        self,
        kind: str | None = None,
        vocabulary: int | None = None,
        *,
        lower: bool | None = None,
        subwords: int = 0,
        ngrams: int | None = 0,
        length: int | None = None,
        known: bool = False,
    ) -> None:
        self.kind, self.vocabulary, self.length = kind, vocabulary, length
        self.lower = known if lower is None else lower
        self.subwords, self.ngrams, self.known = subwords, ngrams, known
        self.words: Any = None
        self.features: NGrams | None = None
        self._grams: dict[str, list[int]] = {}

    def fit(self, texts: Sequence[Any], *, featured: bool = True) -> Self:
        """Learn the vocabulary, the n-grams and the length.

        Args:
            featured: whether n-grams are features at all.

        Raises:
            ValueError: no text has a word or a character; one sentence.
        """
        self._fit_words(texts)
        if featured:
            self.fit_features(texts)
        self.length = self.length or max(1, max(map(len, self.rows(texts))))
        return self

    def _fit_words(self, texts: Sequence[Any]) -> None:
        if isinstance(texts[0], list):
            self.kind, self.words = "words", _Given(lower=self.lower).fit(texts)
            return
        self.kind = self.kind or _suited(texts, self.lower)
        if self.kind == "characters":
            self.words = Characters(self.vocabulary, lower=False).fit(texts)
        elif self.kind == "bpe":
            self.words = BPE(self.vocabulary or _PAIRS).fit(texts)
        else:
            least = 2 if self.subwords and not self.known else 1
            try:
                self.words = Words(self.vocabulary, lower=self.lower, least=least).fit(texts)
            except ValueError:
                self.words = Characters(self.vocabulary).fit(texts)
        if self.kind != "words":
            self.subwords = 0

    def fit_features(self, texts: Sequence[Any]) -> None:
        """Which n-grams there are in the texts."""
        assert self.kind is not None
        longest = _LONGEST[self.kind] if self.ngrams is None else self.ngrams
        if longest:
            cut = [self._of_runs(text) for text in texts]
            cased = self.kind == "words" and any(unit != unit.lower() for text in cut for unit in text)
            self.features = NGrams(longest, outlined=longest + 1 if cased else 0).fit(cut)

    def rows(self, texts: Sequence[Any]) -> list[Tensor]:
        """Numbers (T_i,) of the texts' units, cut to the length read."""
        for row, one in enumerate(texts):
            if isinstance(one, np.ndarray):
                raise errors.value_error(
                    "source", "texts as in training", f"a series in row {row}", "pass texts"
                )
        return [torch.tensor(self.words.encode(one)[: self.length], dtype=torch.int64) for one in texts]

    def pieces(self, text: Any) -> list[str]:
        """The units that a text is cut into, those unknown among them."""
        if self.kind == "bpe":
            return [self.words.decode([number]) for number in self.words.encode(text)][: self.length]
        return list(self.words._cut(text))[: self.length]

    def _of_runs(self, text: Any) -> list[str]:
        """What n-grams are runs of: the units, byte pairs by their numbers."""
        if self.kind == "bpe":
            return [str(number) for number in self.words.encode(text)][: self.length]
        return self.pieces(text)

    def featured(self, texts: Sequence[Any]) -> tuple[Ragged, Ragged] | None:
        """The n-grams of every text, numbers (T_i, n) and weights (T_i, n); None where there are none."""
        if self.features is None:
            return None
        numbers, weights, lengths = self.features([self._of_runs(text) for text in texts])
        cuts = lengths.tolist()
        return Ragged(torch.from_numpy(numbers).split(cuts)), Ragged(torch.from_numpy(weights).split(cuts))

    def grams(self, word: str) -> list[int]:
        """The buckets of a word's n-grams of 3 to 5 characters, its ends marked."""
        if word not in self._grams:
            marked = f"<{word}>"
            spans = (marked[i : i + n] for n in (3, 4, 5) for i in range(len(marked) - n + 1))
            self._grams[word] = [self._bucket(span) for span in spans] or [self._bucket(marked)]
        return self._grams[word]

    def _bucket(self, span: str) -> int:
        return zlib.crc32(span.encode("utf-8", "surrogatepass")) % self.subwords

    # ---- kept

    def state(self) -> dict[str, Any]:
        """Plain values and tensors that `restore` takes."""
        return {
            "units": self.kind,
            "words": None if self.words is None else self.words.state(),
            "subwords": self.subwords,
            "features": None if self.features is None else self.features.state(),
            "length": self.length,
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        """Take what `state` gave; other keys are passed over."""
        self.kind, self.subwords, self.length = state["units"], state["subwords"], state["length"]
        if state["words"] is not None:
            self.words = _Given.of(state["words"]) or tokenizer(state["words"])
        if state.get("features") is not None:
            self.features = NGrams.of(state["features"])
        return self


class _Given(Words):
    """Words that come one by one, as they are: those of tagging."""

    def _cut(self, text: Sequence[str]) -> list[str]:
        return [word.lower() for word in text] if self.lower else list(text)

    def encode(self, text: Sequence[str], *, ends: bool = False) -> list[int]:
        return [self._index.get(word, SPECIAL.index(UNKNOWN)) for word in self._cut(text)]

    def state(self) -> dict[str, Any]:
        return {"kind": "given", "lower": self.lower, "tokens": self.tokens}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> _Given | None:
        """The words that gave this state, None where others did."""
        if state["kind"] != "given":
            return None
        made = cls(lower=state["lower"])
        made._take(list(state["tokens"]))
        return made


def _suited(texts: Sequence[str], lower: bool) -> str:
    """Which units suit the texts, see `TextEncoder`."""
    if np.median([len(text.split()) for text in texts]) <= 2:
        spaceless = np.mean([len(text) for text in texts]) > 40  # whole sentences without blanks
        return "bpe" if spaceless else "characters"
    seen, other = texts[::10], [text for place, text in enumerate(texts) if place % 10]
    if not any(text.strip() for text in other):
        return "characters"
    words = Words(lower=lower).fit(other)
    numbers = [number for text in seen for number in words.encode(text)]
    unknown = numbers.count(SPECIAL.index(UNKNOWN)) / max(1, len(numbers))
    return "bpe" if unknown > _NEW_WORDS and len(texts) >= 1000 else "words"
