"""Cuts transcripts into the labels of a CTC network: commands, words, byte pairs or characters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from typing_extensions import Self

from longspan import errors
from longspan.data.tokenizers import BPE, PAD, SPECIAL, UNKNOWN, Characters, Tokenizer, Words, tokenizer

TOKEN_LEVELS = ("commands", "words", "bpe", "characters")
BLANK = SPECIAL.index(PAD)  # CTC's label for no token has the number of padding
_UNKNOWN = SPECIAL.index(UNKNOWN)
_SOUNDS_PER_COMMAND = 5  # at least, on average, where whole texts are the tokens
_TIMES_PER_WORD = 20  # that a word occurs at least, on average, where words are the tokens
_NEW_WORDS = 0.005  # share of unknown running words in unseen texts up to which words are the tokens
_BPE_WORDS = 100_000  # running words from which on byte pairs are the tokens
_BPE_TOKENS = 500


class SpeechTokens:
    """The labels of a CTC network: number 0 is the blank, tokens follow behind the special ones.

    Args:
        level: one of TOKEN_LEVELS; with "commands" every text of the training part is one token.
        max_tokens: size of the vocabulary at most; None: 500 for byte pairs, else all.

    >>> tokens = SpeechTokens("words").fit(["one two", "two"])
    >>> tokens.encode("two one"), tokens.decode([4, 5])
    ([4, 5], 'two one')
    """

    def __init__(self, level: str, max_tokens: int | None = None) -> None:
        self.level, self.max_tokens = level, max_tokens
        self.tokenizer: Tokenizer = Characters()
        self.commands: list[str] = []  # every text of the training part, where these are the tokens

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn the vocabulary of transcripts with single blanks."""
        if self.level == "commands":
            self.commands = sorted(set(texts))
        elif self.level == "bpe":
            self.tokenizer = BPE(self.max_tokens or _BPE_TOKENS).fit(texts)
        elif self.level == "characters":
            self.tokenizer = Characters(self.max_tokens).fit(texts)
        else:
            self.tokenizer = Words(self.max_tokens, lower=False, blanks=True).fit(texts)
        return self

    @property
    def size(self) -> int:
        """V, numbers in use."""
        return len(SPECIAL) + len(self.commands) if self.commands else self.tokenizer.size

    def encode(self, text: str) -> list[int]:
        """The numbers of a text; unknown tokens are left out, since no label stands for them."""
        if self.commands:
            return [len(SPECIAL) + self.commands.index(text)] if text in self.commands else []
        return [number for number in self.tokenizer.encode(text) if number != _UNKNOWN]

    def decode(self, numbers: Sequence[int]) -> str:
        """The text of numbers, without blanks at its ends."""
        if self.commands:
            return " ".join(self.commands[number - len(SPECIAL)] for number in numbers)
        return " ".join(self.tokenizer.decode(numbers).split())

    def names(self) -> list[str]:
        """Every number's token as text, "·" for the blank and "_" for a space."""
        if self.commands:
            return ["·", *SPECIAL[1:], *self.commands]
        if self.level == "bpe":
            return ["·", *SPECIAL[1:], *(self.tokenizer.decode([n]) for n in range(4, self.size))]
        return ["·", *("_" if token == " " else token for token in self.tokenizer.tokens[1:])]

    def word_numbers(self, numbers: Sequence[int]) -> list[int]:
        """For each token the number of the word that it is part of; -1 for a blank between words."""
        if self.level in ("commands", "words"):
            return list(range(len(numbers)))
        words, word, inside = [], -1, False
        for number in numbers:
            piece = self.tokenizer.decode([number])
            if not piece.strip():
                inside = False
                words.append(-1)
                continue
            word += int(not inside or piece[0].isspace())
            inside = not piece[-1].isspace()
            words.append(word)
        return words

    def unheard(self, text: str) -> list[str]:
        """The parts of a text that no text in training had: the command, words, or characters."""
        if self.commands:
            return [] if text in self.commands else [text]
        if self.level == "bpe":
            return []
        parts = text.split() if self.level == "words" else list(text)
        return [part for part in dict.fromkeys(parts) if _UNKNOWN in self.tokenizer.encode(part)]

    def state(self) -> dict[str, Any]:
        """Plain values that `from_state` takes."""
        learned = None if self.commands else self.tokenizer.state()
        return {
            "level": self.level,
            "max_tokens": self.max_tokens,
            "commands": self.commands,
            "tokenizer": learned,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> SpeechTokens:
        """The tokens that gave this state."""
        tokens = cls(errors.check_choice("level", state["level"], TOKEN_LEVELS), state["max_tokens"])
        tokens.commands = list(state["commands"])
        if state["tokenizer"] is not None:
            tokens.tokenizer = tokenizer(state["tokenizer"])
        return tokens


def find_level(texts: Sequence[str]) -> str:
    """The level on which transcripts are cut.

    Commands: where there are five times as many sounds as different texts. Words: where a word occurs 20
    times on average, and a tenth of the texts has hardly a word that the others do not have. Byte pairs: from
    100,000 running words on, where tokenizers is installed. Else characters.

    >>> find_level(["yes", "no"] * 9), find_level(["call the office", "what a day"])
    ('commands', 'characters')
    """
    if len(texts) >= _SOUNDS_PER_COMMAND * len(set(texts)):
        return "commands"
    rest = [text for row, text in enumerate(texts) if row % 10]
    counts = Counter(word for text in rest for word in text.split())
    tenth = [word for text in texts[::10] for word in text.split()]
    new = sum(word not in counts for word in tenth) / max(1, len(tenth))
    if counts and counts.total() >= _TIMES_PER_WORD * len(counts) and new <= _NEW_WORDS:
        return "words"
    many = counts.total() + len(tenth) >= _BPE_WORDS
    return "bpe" if many and find_spec("tokenizers") is not None else "characters"
