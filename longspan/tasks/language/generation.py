"""Generates text: reads a prompt, draws tokens, and gives the text as soon as it is whole."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from longspan import errors, search
from longspan.data.tokenizers import Tokenizer

from .codec import LanguageCodec
from .network import LanguageNetwork
from .reading import document_of, normalize
from .tokens import BOUNDARY, encode, note_unknown

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
    errors.check_int("length", length, 1, "give the number of tokens to generate")
    if not isinstance(prompt, str):
        raise errors.type_error("prompt", "a string", prompt, "give the text to go on from")
    prompt = normalize(prompt)
    note_unknown(prompt, codec.tokenizer)
    device = network.decoder.output.weight.device
    tokens = torch.from_numpy(encode(document_of(prompt), codec.tokenizer)).long()
    tokens = torch.cat([torch.tensor([BOUNDARY]), tokens]).to(device)
    state = network.initial_state()
    if len(tokens) > 1:
        state = network.read(tokens[:-1], state)
    forbidden = torch.zeros(codec.tokenizer.size, device=device)
    forbidden[codec.forbidden] = -torch.inf
    context, advance = tokens[:-1].tolist(), network.decoder.stepper()

    def step(last: Tensor, state: Any) -> tuple[Tensor, Any]:
        context.append(int(last))
        logits, state = advance(last, state)
        return codec.mixed_logits(logits, context, forbidden), state

    drawn = search.stream(
        step, tokens[-1:], state, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed,
        end=BOUNDARY if codec.ends else None, max_length=length,
    )  # fmt: skip
    return _text((int(token) for token in drawn), codec.tokenizer, tokens[1:].tolist()[-1:])


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
