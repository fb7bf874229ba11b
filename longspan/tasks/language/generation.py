"""Generates text: reads a prompt, draws tokens, and gives the text as soon as it is whole."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from longspan import errors
from longspan.data.tokenizers import Tokenizer

from .codec import LanguageCodec
from .network import LanguageNetwork
from .streaming import LanguageStream

_BROKEN = "\N{REPLACEMENT CHARACTER}"  # at the end of a text whose last bytes are still to come
_CACHED = 10_000  # pairs of tokens whose text is kept
_LONGEST = 8  # tokens that one character may take


def generate(
    network: LanguageNetwork,
    codec: LanguageCodec,
    prompt: str,
    length: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
) -> Iterator[str]:
    """The text after a prompt, piece by piece; see `LanguageModel.generate`.

    Arguments are checked and the prompt is read at the call.
    """
    stream = LanguageStream(codec, network)
    stream.read(prompt)
    return continuation(stream, codec, length, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)


def continuation(
    stream: LanguageStream,
    codec: LanguageCodec,
    length: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
) -> Iterator[str]:
    """The text after what a stream has read, piece by piece; see `LanguageModel.generate`."""
    errors.check_int("length", length, 1, "give the number of tokens to generate")
    drawn = stream.draw(length, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    return _text(drawn, codec.tokenizer, stream.last)


def _text(tokens: Iterator[int], tokenizer: Tokenizer, before: list[int]) -> Iterator[str]:
    """The text of tokens, piece by piece; before: the last token of the prompt, if there is one."""
    waiting: list[int] = []

    @lru_cache(_CACHED)
    def decode(*numbers: int) -> str:
        return tokenizer.decode(numbers)

    shown = len(decode(*before))  # characters of the text of `before`
    for token in tokens:
        waiting.append(token)
        text = decode(*before, *waiting)[shown:]
        if text.endswith(_BROKEN) and len(waiting) < _LONGEST:
            continue
        if text:
            yield text
        before, waiting = waiting[-1:], []
        shown = len(decode(*before))
    if waiting:
        yield decode(*before, *waiting)[shown:]
