"""Encodes texts as numbers of words, byte pairs or characters, and as weighted n-grams of these."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from longspan import errors
from longspan.data.padding import RaggedTensor
from longspan.data.tokenizers import BPE, SPECIAL, UNKNOWN, Characters, Words, tokenizer
from longspan.tasks.pretrained import PretrainedEncoder

from .ngrams import NGrams

TOKEN_LEVELS = ("words", "bpe", "characters")
_MAX_NGRAM = {"words": 2, "bpe": 2, "characters": 4, "bytes": 4}  # tokens of the longest n-gram by default
_NUMBERED = ("bpe", "bytes")  # levels whose tokens are parts of characters
_NEW_WORDS = 0.25  # share of unknown running words in unseen texts above which byte pairs are used
_BPE_TOKENS = 8000  # vocabulary of byte pairs by default


class TextEncoder:
    """Encodes texts, or lists of words, as token numbers; n-grams of the tokens are sparse features.

    Args:
        token_level: "words", "bpe" or "characters". None chooses: characters where the median text has at
            most two words (names); byte pairs where such texts are long and have no blanks, or where over a
            quarter of the running words of every tenth text do not occur in the other texts; else words.
        max_tokens: size of the vocabulary at most; None: all tokens, for byte pairs 8000.
        lowercase: lowercase words; None: only where a file gives their vectors.
        subword_buckets: buckets that the character n-grams of words are hashed to, 0 for none; words only.
        max_ngram: tokens of the longest n-gram feature; 0: no such features; None: 2, of characters 4. Where
            words keep their case and some have capitals, n-grams of their shapes are added, one token longer.
        max_length: tokens read of a text at most; None: the longest text in training.
        has_vectors: whether a file gives the vectors of words.

    Attributes after fit: token_level, tokenizer, features (`NGrams`, None for none), max_length; start: the
    numbers before every text, [] unless a language model needs one.

    >>> encoder = TextEncoder().fit(["the cat sat", "the dog sat"])
    >>> encoder.token_level, encoder.rows(["the sat"])
    ('words', [tensor([5, 4])])
    """

    def __init__(
        self,
        token_level: str | None = None,
        max_tokens: int | None = None,
        *,
        lowercase: bool | None = None,
        subword_buckets: int = 0,
        max_ngram: int | None = 0,
        max_length: int | None = None,
        has_vectors: bool = False,
    ) -> None:
        self.token_level, self.max_tokens, self.max_length = token_level, max_tokens, max_length
        self.lowercase = has_vectors if lowercase is None else lowercase
        self.subword_buckets, self.max_ngram, self.has_vectors = subword_buckets, max_ngram, has_vectors
        self.tokenizer: Any = None
        self.start: list[int] = []
        self.features: NGrams | None = None
        self._subword_ids: dict[str, list[int]] = {}

    def start_from(self, pretrained: PretrainedEncoder) -> None:
        """Cut texts as a language model does.

        Raises:
            ValueError: another token level was asked for; one sentence.
        """
        if self.token_level not in (None, pretrained.token_level):
            expected = f"{pretrained.token_level}, as the pretrained model has"
            raise errors.value_error("token_level", expected, repr(self.token_level), "leave it out")
        self.token_level, self.tokenizer = pretrained.token_level, pretrained.tokenizer
        self.start, self.subword_buckets = [pretrained.sizes.start], 0

    def fit(self, texts: Sequence[Any], *, features: bool = True) -> Self:
        """Learn the vocabulary, the n-grams and the length from N texts.

        Args:
            features: whether to learn n-grams as features.

        Raises:
            ValueError: no text has a word or a character; one sentence.
        """
        if not self.start:
            self._fit_tokenizer(texts)
        elif isinstance(texts[0], list):
            way_out = "join the words of every record, or leave pretrained out"
            raise errors.value_error("source", "whole texts for a language model", "lists of words", way_out)
        if features:
            self.fit_features(texts)
        self.max_length = self.max_length or max(1, max(map(len, self.rows(texts))) - len(self.start))
        return self

    def _fit_tokenizer(self, texts: Sequence[Any]) -> None:
        if isinstance(texts[0], list):
            self.token_level, self.tokenizer = "words", _SplitWords(lower=self.lowercase).fit(texts)
            return
        self.token_level = self.token_level or _find_token_level(texts, self.lowercase)
        if self.token_level == "characters":
            self.tokenizer = Characters(self.max_tokens, lower=False).fit(texts)
        elif self.token_level == "bpe":
            self.tokenizer = BPE(self.max_tokens or _BPE_TOKENS).fit(texts)
        else:
            least = 2 if self.subword_buckets and not self.has_vectors else 1
            try:
                self.tokenizer = Words(self.max_tokens, lower=self.lowercase, least=least).fit(texts)
            except ValueError:
                self.tokenizer = Characters(self.max_tokens).fit(texts)
        if self.token_level != "words":
            self.subword_buckets = 0

    def fit_features(self, texts: Sequence[Any]) -> None:
        """Learn which n-grams occur in the texts."""
        assert self.token_level is not None
        longest = _MAX_NGRAM[self.token_level] if self.max_ngram is None else self.max_ngram
        if longest:
            tokens = [self._ngram_tokens(text) for text in texts]
            cased = self.token_level == "words" and any(t != t.lower() for text in tokens for t in text)
            self.features = NGrams(longest, shape_max_n=longest + 1 if cased else 0).fit(tokens)

    def rows(self, texts: Sequence[Any]) -> list[Tensor]:
        """Token numbers (T_i,) int64 of each text, cut to `max_length`, after those of `start`."""
        for row, text in enumerate(texts):
            if isinstance(text, np.ndarray):
                raise errors.value_error(
                    "source", "texts as in training", f"a series in row {row}", "pass texts"
                )
        numbers = (self.tokenizer.encode(text)[: self.max_length] for text in texts)
        return [torch.tensor([*self.start, *row], dtype=torch.int64) for row in numbers]

    def tokens(self, text: Any) -> list[str]:
        """The tokens of a text as strings, unknown ones too, cut to `max_length`."""
        if self.token_level in _NUMBERED:
            numbers = self.tokenizer.encode(text)[: self.max_length]
            return [self.tokenizer.decode([number]) for number in numbers]
        return list(self.tokenizer._cut(text))[: self.max_length]

    def _ngram_tokens(self, text: Any) -> list[str]:
        """The tokens that n-grams are made of; bytes and byte pairs as their numbers."""
        if self.token_level in _NUMBERED:
            return [str(number) for number in self.tokenizer.encode(text)][: self.max_length]
        return self.tokens(text)

    def sparse_features(self, texts: Sequence[Any]) -> tuple[RaggedTensor, RaggedTensor] | None:
        """Numbers and weights of every text's n-grams, (T_i, R) each, see `NGrams`; None without features."""
        if self.features is None:
            return None
        numbers, weights, lengths = self.features([self._ngram_tokens(text) for text in texts])
        parts = (torch.from_numpy(values).split(lengths.tolist()) for values in (numbers, weights))
        rows_of_numbers, rows_of_weights = map(RaggedTensor, parts)
        return rows_of_numbers, rows_of_weights

    def subwords(self, word: str) -> list[int]:
        """Buckets of a word's n-grams of 3 to 5 characters, its ends marked (Bojanowski et al. 2017)."""
        if word not in self._subword_ids:
            marked = f"<{word}>"
            spans = (marked[i : i + n] for n in (3, 4, 5) for i in range(len(marked) - n + 1))
            self._subword_ids[word] = [self._bucket(span) for span in spans] or [self._bucket(marked)]
        return self._subword_ids[word]

    def _bucket(self, span: str) -> int:
        return zlib.crc32(span.encode("utf-8", "surrogatepass")) % self.subword_buckets

    def state(self) -> dict[str, Any]:
        """Plain values and tensors that `restore` takes."""
        return {
            "token_level": self.token_level,
            "tokenizer": None if self.tokenizer is None else self.tokenizer.state(),
            "subword_buckets": self.subword_buckets,
            "start": self.start,
            "features": None if self.features is None else self.features.state(),
            "max_length": self.max_length,
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        """Take what `state` gave; other keys are passed over."""
        self.token_level, self.max_length = state["token_level"], state["max_length"]
        self.subword_buckets, self.start = state["subword_buckets"], list(state.get("start", ()))
        if state["tokenizer"] is not None:
            self.tokenizer = _SplitWords.from_state(state["tokenizer"]) or tokenizer(state["tokenizer"])
        if state.get("features") is not None:
            self.features = NGrams.from_state(state["features"])
        return self


class _SplitWords(Words):
    """Words of texts that come as lists of words, as in tagging."""

    def _cut(self, text: Sequence[str]) -> list[str]:
        return [word.lower() for word in text] if self.lower else list(text)

    def encode(self, text: Sequence[str], *, ends: bool = False) -> list[int]:
        return [self._index.get(word, SPECIAL.index(UNKNOWN)) for word in self._cut(text)]

    def state(self) -> dict[str, Any]:
        return {"kind": "split", "lower": self.lower, "tokens": self.tokens}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> _SplitWords | None:
        """The tokenizer that gave this state; None if another class gave it."""
        if state["kind"] != "split":
            return None
        words = cls(lower=state["lower"])
        words._take(list(state["tokens"]))
        return words


def _find_token_level(texts: Sequence[str], lower: bool) -> str:
    """The token level chosen for the texts, see `TextEncoder`."""
    if np.median([len(text.split()) for text in texts]) <= 2:
        spaceless = np.mean([len(text) for text in texts]) > 40  # whole sentences without blanks
        return "bpe" if spaceless else "characters"
    tenth, rest = texts[::10], [text for row, text in enumerate(texts) if row % 10]
    if not any(text.strip() for text in rest):
        return "characters"
    words = Words(lower=lower).fit(rest)
    numbers = [number for text in tenth for number in words.encode(text)]
    unknown = numbers.count(SPECIAL.index(UNKNOWN)) / max(1, len(numbers))
    return "bpe" if unknown > _NEW_WORDS and len(texts) >= 1000 else "words"
