"""Chooses and fits tokenizers for texts, and keeps their tokens in one array, memory-mapped if large."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec

import numpy as np

from longspan import errors
from longspan.data.tokenizers import BPE, END, SPECIAL, UNKNOWN, Bytes, Characters, Tokenizer, Words

from .reading import Document

TOKEN_LEVELS = ("words", "bpe", "characters", "bytes")
BOUNDARY = SPECIAL.index(END)  # between documents: the end of one, and what the next one begins from
UNKNOWN_NUMBER = SPECIAL.index(UNKNOWN)
BPE_TOKENS = 8000  # vocabulary of byte pairs by default
_LOOKED_AT = 1 << 20  # characters by which the token level is chosen
_BPE_TEXT = 20 << 20  # characters that byte pairs are learned from at most
_MANY = 20 << 20  # characters from which on byte pairs are chosen
_IN_MEMORY = 1 << 25  # tokens; a longer array is mapped from a temporary file
# Words with a mark at their end, and the share of them up to which a text counts as cut into tokens already.
# Abbreviations keep their stops.
_ATTACHED = ((re.compile(r"\S[,;:!?](?=\s)"), 0.005), (re.compile(r"\S\.(?=\s)"), 0.03))
_MAX_NEW = 0.04  # share of new words in the last tenth up to which a vocabulary of words suffices


def find_token_level(documents: Sequence[Document]) -> str:
    """The token level for some texts.

    Words: where blanks alone are between tokens, punctuation too, and new words are rare, as in text that
    was prepared for language models. Byte pairs: from 20 million characters on, where tokenizers is
    installed. Otherwise characters.
    """
    sample = "".join(_first(documents, _LOOKED_AT))
    words = sample.split()
    if len(words) > 1000 and _is_split(sample, len(words)) and _new_words(words) < _MAX_NEW:
        return "words"
    many = sum(document.characters for document in documents) >= _MANY
    return "bpe" if many and find_spec("tokenizers") is not None else "characters"


def _first(documents: Sequence[Document], characters: int) -> Iterator[str]:
    """The texts, a line end after each, up to so many characters."""
    for document in documents:
        for piece in document.pieces():
            yield piece[:characters]
            characters -= len(piece)
            if characters <= 0:
                return
        yield "\n"


def _is_split(text: str, words: int) -> bool:
    """Whether punctuation is between blanks."""
    return all(sum(1 for _ in mark.finditer(text)) <= share * words for mark, share in _ATTACHED)


def _new_words(words: Sequence[str]) -> float:
    """The share of the last tenth's words that the others do not have."""
    cut = len(words) - len(words) // 10
    before = set(words[:cut])
    return sum(word not in before for word in words[cut:]) / max(1, len(words) - cut)


def fit_tokenizer(documents: Sequence[Document], level: str, size: int | None, *, lower: bool) -> Tokenizer:
    """A tokenizer that has learned its vocabulary.

    Args:
        level: one of TOKEN_LEVELS; size: tokens at most, None for all, for byte pairs 8000.
        lower: whether the case of words is dropped.

    Raises:
        ValueError: the texts have no token; ImportError: tokenizers is missing; one sentence.
    """
    pieces = (piece for document in documents for piece in document.pieces())
    if level == "bytes":
        return Bytes()
    if level == "characters":
        return Characters(size).fit(pieces)
    if level == "bpe":
        return BPE(size or BPE_TOKENS).fit(_first(documents, _BPE_TEXT))
    sample = "".join(_first(documents, _LOOKED_AT))
    blanks = _is_split(sample, len(sample.split()))
    return Words(size, lower=lower, least=1 if blanks else 2, lines=True, blanks=blanks).fit(pieces)


def encode(document: Document, tokenizer: Tokenizer) -> np.ndarray:
    """The tokens (T,) of one document."""
    parts = [tokenizer.encode_array(piece) for piece in document.pieces()]
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)


def token_stream(documents: Iterable[Document], tokenizer: Tokenizer, *, ends: bool) -> np.ndarray:
    """The tokens (N,) of all documents, BOUNDARY before each; with `ends` after the last one too.

    The array has the smallest type for the vocabulary. A long one is mapped from a temporary file, which is
    gone with the array.
    """
    smallest = next(
        kind for kind in (np.uint8, np.uint16, np.int32) if tokenizer.size <= np.iinfo(kind).max + 1
    )
    waiting: list[np.ndarray] = []
    count, written, file = 0, 0, None
    for part in _parts(documents, tokenizer, ends):
        waiting.append(part.astype(smallest))
        count += len(part)
        if count - written >= _IN_MEMORY:
            file = file or tempfile.TemporaryFile()  # noqa: SIM115, it is closed below
            np.concatenate(waiting).tofile(file)
            waiting, written = [], count
    if file is None:
        return np.concatenate(waiting)
    if waiting:
        np.concatenate(waiting).tofile(file)
    with file:  # the map stays when the file is closed
        file.flush()
        return np.memmap(file, dtype=smallest, mode="r", shape=(count,))


def _parts(documents: Iterable[Document], tokenizer: Tokenizer, ends: bool) -> Iterator[np.ndarray]:
    boundary = np.array([BOUNDARY])
    for document in documents:
        yield boundary
        for piece in document.pieces():
            yield tokenizer.encode_array(piece)
    if ends:
        yield boundary


def note_unknown(text: str, tokenizer: Tokenizer) -> None:
    """Tell which tokens of a prompt training has not seen."""
    numbers = tokenizer.encode_array(text)
    if not (numbers == UNKNOWN_NUMBER).any():
        return
    pieces = [text[at] for at in range(len(text))] if isinstance(tokenizer, Characters) else text.split()
    new = [piece for piece in dict.fromkeys(pieces) if UNKNOWN_NUMBER in tokenizer.encode(piece)]
    names = ", ".join(repr(piece) for piece in new[:5]) + (" and others" if len(new) > 5 else "")
    errors.notice(f"Training has not seen {names} of the prompt; read as unknown.")
