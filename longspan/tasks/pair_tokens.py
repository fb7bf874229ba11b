"""Cuts the texts of pairs into tokens: finds the level of each side, numbers tokens, also unknown ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from typing_extensions import Self

from longspan.data.tokenizers import BPE, SPECIAL, UNKNOWN, Characters, Tokenizer, Words, tokenizer

TOKEN_LEVELS = ("words", "bpe", "characters")
_NEW_WORDS = 0.005  # share of unknown running words in unseen texts above which words are not the tokens
_TEXTS_PER_TOKEN = 6  # texts for each byte pair of a vocabulary
_BPE_TOKENS = (500, 8000)  # the smallest and the largest vocabulary of byte pairs that is found
_WORD_TOKENS = 10_000  # the largest vocabulary of words where unknown ones are copied
_UNKNOWN = SPECIAL.index(UNKNOWN)


class SideTokens:
    """The tokens of one side of the pairs.

    Args:
        level: one of TOKEN_LEVELS.
        max_tokens: size of the vocabulary at most; None: for byte pairs one for six texts, from 500 to 8,000.
        copied: whether unknown tokens are copied; then words that occur once have no number of their own.

    >>> side = SideTokens("words", copied=True).fit(["a dog", "a dog", "a cat"])
    >>> numbers, unknown = side.encode_to_copy("a blue dog")
    >>> numbers, unknown, side.decode([6, 4], unknown)
    ([4, 6, 5], ['blue'], 'blue a')
    """

    def __init__(self, level: str, max_tokens: int | None = None, *, copied: bool = False) -> None:
        self.level, self.max_tokens, self.copied = level, max_tokens, copied
        self.tokenizer: Tokenizer = Characters()

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn the vocabulary."""
        if self.level == "bpe":
            fewest, most = _BPE_TOKENS
            self.tokenizer = BPE(self.max_tokens or min(most, max(fewest, len(texts) // _TEXTS_PER_TOKEN)))
        elif self.level == "characters":
            self.tokenizer = Characters(self.max_tokens)
        else:
            size = self.max_tokens or (_WORD_TOKENS if self.copied else None)
            self.tokenizer = Words(size, lower=False, least=2 if self.copied else 1)
        self.tokenizer.fit(texts)
        return self

    @property
    def size(self) -> int:
        """V, numbers in use."""
        return self.tokenizer.size

    def encode(self, text: str) -> list[int]:
        """The numbers of a text, without start and end."""
        return self.tokenizer.encode(text)

    def pieces(self, text: str) -> list[str]:
        """The tokens of a text as strings, unknown ones too."""
        if isinstance(self.tokenizer, (Words, Characters)):
            return list(self.tokenizer._cut(text))
        return [self.tokenizer.decode([number]) for number in self.encode(text)]

    def encode_to_copy(self, text: str) -> tuple[list[int], list[str]]:
        """The numbers of a text, and its unknown tokens, which are numbered from V on."""
        numbers = self.encode(text)
        if _UNKNOWN not in numbers:
            return numbers, []
        pieces = self.pieces(text)
        unknown = list(dict.fromkeys(p for p, n in zip(pieces, numbers, strict=True) if n == _UNKNOWN))
        return self.with_unknown(numbers, pieces, unknown), unknown

    def with_unknown(self, numbers: list[int], pieces: list[str], unknown: Sequence[str]) -> list[int]:
        """Numbers with those of unknown tokens that stand in `unknown`: V and its place there."""
        extra = {piece: self.size + place for place, piece in enumerate(unknown)}
        return [extra.get(piece, n) if n == _UNKNOWN else n for n, piece in zip(numbers, pieces, strict=True)]

    def decode(self, numbers: Sequence[int], unknown: Sequence[str] = ()) -> str:
        """The text of numbers; those from V on are tokens of `unknown`."""
        if all(number < self.size for number in numbers):
            return self.tokenizer.decode(numbers)
        pieces = self.names(numbers, unknown)
        kind = {"kind": self.level, "size": None, "lower": False, "least": 1, "tokens": [*SPECIAL, *pieces]}
        return tokenizer(kind).decode(range(len(SPECIAL), len(SPECIAL) + len(pieces)))

    def names(self, numbers: Sequence[int], unknown: Sequence[str] = ()) -> list[str]:
        """Each token as a string."""
        if self.level == "bpe":
            return [self.tokenizer.decode([number]) for number in numbers]
        tokens = self.tokenizer.tokens
        return [tokens[n] if n < self.size else unknown[n - self.size] for n in numbers]

    def state(self) -> dict[str, Any]:
        """Plain values that `from_state` takes."""
        return {
            "level": self.level,
            "max_tokens": self.max_tokens,
            "copied": self.copied,
            "tokenizer": self.tokenizer.state(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> SideTokens:
        """The side that gave this state."""
        side = cls(state["level"], state["max_tokens"], copied=state["copied"])
        side.tokenizer = tokenizer(state["tokenizer"])
        return side


def find_level(texts: Sequence[str], *, copied: bool = False) -> str:
    """The level on which texts are cut.

    Characters where the median text has at most two words (words to spell, names, dates) or has no blanks.
    Words where unknown ones are copied, or where a tenth of the texts has hardly a word that the others have
    not and words give the texts back. Else byte pairs.

    >>> find_level(["hello", "world"]), find_level(["a b c", "b a c"] * 9)
    ('characters', 'words')
    """
    if np.median([len(text.split()) for text in texts]) <= 2 and not copied:
        return "characters"
    if copied:
        return "words"
    tenth, rest = texts[::10], [text for row, text in enumerate(texts) if row % 10]
    if not rest:
        return "words"
    words = Words(lower=False).fit(rest)
    numbers = [number for text in tenth for number in words.encode(text)]
    unknown = numbers.count(_UNKNOWN) / max(1, len(numbers))
    whole = Words(lower=False).fit(tenth)
    kept = np.mean([whole.decode(whole.encode(text)) == " ".join(text.split()) for text in tenth])
    return "words" if unknown <= _NEW_WORDS and kept > 0.95 else "bpe"
