"""Cuts captions into tokens: words, symbols with blanks between them (LaTeX), or characters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from typing_extensions import Self

from longspan import errors
from longspan.data.tokenizers import SPECIAL, UNKNOWN, Characters, Tokenizer, Words, tokenizer

TOKEN_LEVELS = ("words", "symbols", "characters")
_UNKNOWN = SPECIAL.index(UNKNOWN)
_PUNCTUATION = re.compile(r"[^\w\s'-]+")
_FREQUENT = 1000  # captions from which on a word must occur twice to be a token


class CaptionTokens:
    """The tokens of captions, as a decoder writes them and as scores count them.

    Args:
        level: one of TOKEN_LEVELS. Words are written in lower case; symbols have blanks around them.
        max_tokens: size of the vocabulary at most. None for all; in 1,000 captions or more, words must occur
            twice.

    >>> tokens = CaptionTokens("words").fit(["A dog runs.", "a cat"])
    >>> tokens.decode(tokens.encode("a dog.")), tokens.scored("A dog, a cat.")
    ('a dog.', ['a', 'dog', 'a', 'cat'])
    """

    def __init__(self, level: str, max_tokens: int | None = None) -> None:
        self.level = errors.check_choice("token_level", level, TOKEN_LEVELS)
        self.max_tokens = max_tokens
        self.tokenizer: Tokenizer = Characters()

    def fit(self, captions: Sequence[str]) -> Self:
        """Learn the vocabulary."""
        if self.level == "characters":
            self.tokenizer = Characters(self.max_tokens).fit(captions)
        elif self.level == "symbols":
            self.tokenizer = Words(self.max_tokens, lower=False, blanks=True).fit(captions)
        else:
            least = 2 if len(captions) >= _FREQUENT and self.max_tokens is None else 1
            self.tokenizer = Words(self.max_tokens, least=least).fit(captions)
        return self

    @property
    def size(self) -> int:
        """V, numbers in use."""
        return self.tokenizer.size

    def encode(self, caption: str) -> list[int]:
        """The numbers of a caption, without start and end."""
        return self.tokenizer.encode(caption)

    def decode(self, numbers: Sequence[int]) -> str:
        """The caption of numbers."""
        return self.tokenizer.decode(numbers)

    def names(self, numbers: Sequence[int]) -> list[str]:
        """Each token as a string, "␣" for a blank."""
        return ["␣" if (name := self.tokenizer.tokens[number]) == " " else name for number in numbers]

    def scored(self, caption: str) -> list[str]:
        """The tokens that scores count: words in lower case without punctuation, symbols, or characters."""
        if self.level == "characters":
            return list(caption)
        if self.level == "symbols":
            return caption.split()
        return _PUNCTUATION.sub(" ", caption.lower()).split()

    def state(self) -> dict[str, Any]:
        """Plain values that `from_state` takes."""
        return {"level": self.level, "max_tokens": self.max_tokens, "tokenizer": self.tokenizer.state()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> CaptionTokens:
        """The tokens that gave this state."""
        tokens = cls(state["level"], state["max_tokens"])
        tokens.tokenizer = tokenizer(state["tokenizer"])
        return tokens


def find_level(captions: Sequence[str]) -> str:
    """The level on which captions are cut.

    Symbols where half of the captions have a backslash, as LaTeX has. Characters where the median caption is
    one word, such as a number plate. Else words.

    >>> find_level([r"\\\\frac { a } { b }"]), find_level(["XK12", "A7"]), find_level(["a dog on grass"])
    ('symbols', 'characters', 'words')
    """
    if np.mean(["\\" in caption for caption in captions]) >= 0.5:
        return "symbols"
    return "characters" if np.median([len(caption.split()) for caption in captions]) <= 1 else "words"
