"""Tokenizes text: words, characters, bytes or byte pairs as numbers, and numbers as text again."""

from __future__ import annotations

import abc
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from longspan import errors
from longspan.optional import require

from .arrays import Tensors
from .sequences import pad

PAD, UNKNOWN, START, END = "<pad>", "<unknown>", "<start>", "<end>"
SPECIAL = (PAD, UNKNOWN, START, END)  # 0 to 3 in every vocabulary
_WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")
_WORD_OR_LINE = re.compile(rf"{_WORD.pattern}|\n")
_BLANK_OR_LINE = re.compile(r"[^\s]+|\n")
_TIGHT = re.compile(r"[^\S\n]+([.,;:!?%)\]}])|([(\[{])[^\S\n]+")
_LINE_END = re.compile(r" ?\n ?")


class Tokenizer(abc.ABC):
    """Text to numbers and back. Abstract: Words, Characters, Bytes and BPE say how text is cut.

    Numbers 0 to 3 are padding, unknown, start and end.
    """

    tokens: list[str]  # by number; empty before fit

    @abc.abstractmethod
    def fit(self, texts: Iterable[str]) -> Tokenizer:
        """Learn the vocabulary; call it on the training part alone."""

    @abc.abstractmethod
    def _numbers(self, text: str) -> list[int]:
        """The text's numbers, without start and end."""

    @abc.abstractmethod
    def _text(self, numbers: list[int]) -> str:
        """The text of numbers that are no padding, start or end."""

    @abc.abstractmethod
    def state(self) -> dict[str, Any]:
        """Plain values that `tokenizer` makes the same one from."""

    @property
    def size(self) -> int:
        """Numbers in use, the special ones included: the size of an embedding or an output layer."""
        return len(self.tokens)

    def encode(self, text: str, *, ends: bool = False) -> list[int]:
        """The numbers of one text, with start and end around it where `ends` asks for them.

        Raises:
            ValueError, TypeError: it is no text, or fit was not called.
        """
        if not isinstance(text, str):
            raise errors.type_error("text", "a string", text, "pass texts one by one")
        if not self.tokens:
            raise errors.value_error(
                "tokenizer", "a fitted one", "one before fit", "call fit on the training texts"
            )
        found = self._numbers(text)
        return [SPECIAL.index(START), *found, SPECIAL.index(END)] if ends else found

    def encode_array(self, text: str) -> np.ndarray:
        """The numbers of one text as an array (T,), without start and end; for long texts."""
        return np.asarray(self.encode(text), dtype=np.int32)

    def decode(self, numbers: Sequence[int] | Tensor) -> str:
        """The text of numbers up to the end; padding and start are left out."""
        kept = []
        for number in numbers.tolist() if isinstance(numbers, Tensor) else numbers:
            if number == SPECIAL.index(END):
                break
            if not 0 <= number < self.size:
                way_out = "decode with the tokenizer that encoded"
                raise errors.value_error("numbers", f"numbers from 0 to {self.size - 1}", number, way_out)
            if number not in (SPECIAL.index(PAD), SPECIAL.index(START)):
                kept.append(number)
        return self._text(kept)

    def __call__(
        self, texts: Iterable[str], length: int | None = None, *, ends: bool = False, side: str = "right"
    ) -> Tensors:
        """Many texts as numbers side by side.

        Args:
            length: T, None for the longest text; longer ones lose their end.
            ends: whether start and end stand around each text.
            side: where the padding goes.

        Returns:
            values (N, T) int64, padded with 0, and lengths (N,).
        """
        if isinstance(texts, str):
            raise errors.type_error("texts", "a list of strings", texts, "put it in a list")
        rows = [self.encode(text, ends=ends) for text in texts]
        if rows and not any(rows):
            raise errors.value_error(
                "texts", "at least one token in all", "empty texts only", "check what was read"
            )
        return pad(rows, length, side=side)


def _counted(texts: Iterable[Iterable[str]], size: int | None, least: int) -> list[str]:
    """The vocabulary: special tokens, then pieces of texts by how often they occur, at most `size` in all."""
    counts: Counter[str] = Counter()
    for pieces in texts:
        counts.update(pieces)
    return _ranked(counts, size, least)


def _ranked(found: Counter[str], size: int | None, least: int) -> list[str]:
    if not found:
        raise errors.value_error("texts", "at least one token", "no text", "check what was read")
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    kept = [piece for piece, count in ranked if count >= least and piece not in SPECIAL]
    return [*SPECIAL, *kept][: size or None]


def _code_points(text: str) -> np.ndarray:
    """The numbers of a text's characters in Unicode, uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def _size(size: int | None) -> int | None:
    return None if size is None else errors.check_int("size", size, len(SPECIAL) + 1, "or None for all")


class Words(Tokenizer):
    """Words and punctuation marks.

    Args:
        size: numbers at most, the special ones included; the rarest words become unknown. None for all.
        lower: whether case is dropped.
        least: how often a word must occur to have a number.
        lines: whether the end of a line is a token too.
        blanks: whether text is cut at blanks alone, for texts whose tokens have blanks between them.

    >>> words = Words().fit(["The cat sat.", "The dog sat."])
    >>> words.encode("the bird sat"), words.decode(words.encode("the cat sat."))
    ([6, 1, 5], 'the cat sat.')
    """

    def __init__(
        self,
        size: int | None = None,
        *,
        lower: bool = True,
        least: int = 1,
        lines: bool = False,
        blanks: bool = False,
    ) -> None:
        self.limit, self.lower, self.least = _size(size), lower, least
        self.lines, self.blanks = lines or blanks, blanks
        self.tokens = []

    def fit(self, texts: Iterable[str]) -> Words:
        self._take(_counted(map(self._cut, texts), self.limit, self.least))
        return self

    def _take(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self._index = {token: number for number, token in enumerate(tokens)}

    def _cut(self, text: str) -> list[str]:
        pattern = _BLANK_OR_LINE if self.blanks else _WORD_OR_LINE if self.lines else _WORD
        return pattern.findall(text.lower() if self.lower else text)

    def _numbers(self, text: str) -> list[int]:
        number_of, unknown = self._index.get, SPECIAL.index(UNKNOWN)
        return [number_of(word, unknown) for word in self._cut(text)]

    def _text(self, numbers: list[int]) -> str:
        spaced = " ".join(self.tokens[number] for number in numbers)
        if self.lines:
            spaced = _LINE_END.sub("\n", spaced)
        return spaced if self.blanks else _TIGHT.sub(lambda found: found.group(1) or found.group(2), spaced)

    def state(self) -> dict[str, Any]:
        return {
            "kind": "words",
            "size": self.limit,
            "lower": self.lower,
            "least": self.least,
            "lines": self.lines,
            "blanks": self.blanks,
            "tokens": self.tokens,
        }


class Characters(Tokenizer):
    """Single characters.

    Args:
        size: numbers at most, the special ones included; the rarest characters become unknown.
        lower: whether case is dropped.

    >>> letters = Characters().fit(["abba", "b"])
    >>> letters.encode("bad"), letters.decode([4, 5, 0, 0])
    ([4, 5, 1], 'ba')
    """

    def __init__(self, size: int | None = None, *, lower: bool = False) -> None:
        self.limit, self.lower = _size(size), lower
        self.tokens = []

    def fit(self, texts: Iterable[str]) -> Characters:
        counts = np.zeros(1, np.int64)  # by code point
        for text in texts:
            seen = np.bincount(_code_points(self._cut(text)), minlength=len(counts))
            seen[: len(counts)] += counts
            counts = seen
        found = Counter({chr(code): int(counts[code]) for code in counts.nonzero()[0].tolist()})
        self._take(_ranked(found, self.limit, 1))
        return self

    def _take(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self._index = {token: number for number, token in enumerate(tokens)}
        letters = tokens[len(SPECIAL) :]
        self._table = np.full(1 + max(map(ord, letters), default=0), SPECIAL.index(UNKNOWN), dtype=np.int32)
        self._table[[ord(letter) for letter in letters]] = np.arange(len(SPECIAL), len(tokens))

    def encode_array(self, text: str) -> np.ndarray:
        codes = _code_points(self._cut(text))
        numbers = self._table[np.minimum(codes, len(self._table) - 1)]
        return np.where(codes < len(self._table), numbers, SPECIAL.index(UNKNOWN)).astype(np.int32)

    def _cut(self, text: str) -> str:
        return text.lower() if self.lower else text

    def _numbers(self, text: str) -> list[int]:
        return [self._index.get(letter, SPECIAL.index(UNKNOWN)) for letter in self._cut(text)]

    def _text(self, numbers: list[int]) -> str:
        return "".join("\N{REPLACEMENT CHARACTER}" if n in range(4) else self.tokens[n] for n in numbers)

    def state(self) -> dict[str, Any]:
        return {"kind": "characters", "size": self.limit, "lower": self.lower, "tokens": self.tokens}


class Bytes(Tokenizer):
    """The bytes of a text in UTF-8: no text is unknown, and there is nothing to learn.

    >>> letters = Bytes().fit(["any text"])
    >>> letters.encode("é"), letters.decode(letters.encode("é"))
    ([199, 173], 'é')
    """

    def __init__(self) -> None:
        self.tokens = [*SPECIAL, *(f"<0x{byte:02x}>" for byte in range(256))]

    def fit(self, texts: Iterable[str]) -> Bytes:
        return self

    def _numbers(self, text: str) -> list[int]:
        return self.encode_array(text).tolist()

    def encode_array(self, text: str) -> np.ndarray:
        content = np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)
        return content.astype(np.int32) + len(SPECIAL)

    def _text(self, numbers: list[int]) -> str:
        return bytes(n - len(SPECIAL) for n in numbers if n >= len(SPECIAL)).decode("utf-8", "replace")

    def state(self) -> dict[str, Any]:
        return {"kind": "bytes"}


class BPE(Tokenizer):
    """Byte pairs, merged from the most frequent on (Sennrich et al. 2016), over bytes: nothing is unknown.

    Hugging Face's tokenizers does the work, an optional install.

    Args:
        size: numbers at most, the special ones and the 256 bytes included.
        least: how often a pair must occur to be merged.

    Raises:
        ImportError: tokenizers is missing; the sentence names the command.
    """

    def __init__(self, size: int = 8000, *, least: int = 2) -> None:
        self.limit = errors.check_int("size", size, 256 + len(SPECIAL), "bytes alone take 260")
        self.least, self.tokens = least, []
        self._library = require("tokenizers", "text", "BPE")
        self._model: Any = None

    def fit(self, texts: Iterable[str]) -> BPE:
        tools = self._library
        model = tools.Tokenizer(tools.models.BPE())
        model.pre_tokenizer = tools.pre_tokenizers.ByteLevel(add_prefix_space=False)
        model.decoder = tools.decoders.ByteLevel()
        trainer = tools.trainers.BpeTrainer(
            vocab_size=self.limit,
            min_frequency=self.least,
            special_tokens=list(SPECIAL),
            initial_alphabet=tools.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        held = list(texts)
        if not any(held):
            raise errors.value_error("texts", "at least one token", "no text", "check what was read")
        model.train_from_iterator(held, trainer)
        self._take(model)
        return self

    def _take(self, model: Any) -> None:
        model.encode_special_tokens = True  # "<pad>" in a text is text
        self._model = model
        vocabulary = model.get_vocab()
        self.tokens = sorted(vocabulary, key=vocabulary.__getitem__)

    def _numbers(self, text: str) -> list[int]:
        return self._model.encode(text, add_special_tokens=False).ids

    def _text(self, numbers: list[int]) -> str:
        return self._model.decode(numbers, skip_special_tokens=True)

    def state(self) -> dict[str, Any]:
        model = None if self._model is None else self._model.to_str()
        return {"kind": "bpe", "size": self.limit, "least": self.least, "model": model}


def tokenizer(state: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that gave this state.

    >>> tokenizer(Words().fit(["a b"]).state()).encode("b")
    [5]
    """
    kind = errors.check_choice("kind", state.get("kind"), ("words", "characters", "bytes", "bpe"))
    if kind == "bytes":
        return Bytes()
    if kind == "bpe":
        pairs = BPE(state["size"], least=state["least"])
        if state["model"] is not None:
            pairs._take(pairs._library.Tokenizer.from_str(state["model"]))
        return pairs
    if kind == "words":
        cut = {name: state.get(name, False) for name in ("lines", "blanks")}  # older files lack them
        made: Words | Characters = Words(state["size"], lower=state["lower"], least=state["least"], **cut)
    else:
        made = Characters(state["size"], lower=state["lower"])
    made._take(list(state["tokens"]))
    return made
