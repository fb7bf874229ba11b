"""Reads a text as it comes: pieces of text in, the likeliest next tokens out; writes on from there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from longspan import errors, search
from longspan.tasks.codec import Tree

from .codec import LanguageCodec
from .network import LanguageNetwork
from .reading import document_of, normalize
from .tokens import BOUNDARY, encode, note_unknown

_CONTEXT = 64  # last tokens that are kept; more than any n-gram model's order


class NextToken(NamedTuple):
    """A token that may follow, as text, and its probability."""

    token: str
    probability: float


class LanguageStream:
    """One text that comes in pieces. Each piece is cut into tokens by itself.

    Args:
        codec, network: of a fitted language model.
    """

    def __init__(self, codec: LanguageCodec, network: LanguageNetwork) -> None:
        self._codec, self._network = codec, network
        device = network.decoder.output.weight.device
        self._forbidden = torch.zeros(codec.tokenizer.size, device=device)
        self._forbidden[codec.forbidden] = -torch.inf
        self._tokens = [BOUNDARY]  # the last ones; the network has read all but the very last
        self._state: Any = network.initial_state()

    @property
    def last(self) -> list[int]:
        """The last token of the text, an empty list before the first."""
        return [token for token in self._tokens[-1:] if token != BOUNDARY]

    def read(self, text: str) -> None:
        """Read more of the text; tokens that training has not seen are noted, and read as unknown.

        Raises:
            TypeError: it is no text; one sentence.
        """
        if not isinstance(text, str):
            raise errors.type_error("prompt", "a string", text, "give the text to go on from")
        text = normalize(text)
        note_unknown(text, self._codec.tokenizer)
        new = encode(document_of(text), self._codec.tokenizer).tolist()
        unread = [self._tokens[-1], *new[:-1]] if new else []
        if unread:
            tokens = torch.tensor(unread, device=self._forbidden.device)
            self._state = self._network.read(tokens, self._state)
        self._tokens = [*self._tokens, *new][-_CONTEXT:]

    def step(self, text: str, count: int = 10) -> list[NextToken]:
        """The tokens that are likeliest after more of the text, the likeliest first.

        Args:
            text: what comes next; count: of tokens at most.
        """
        self.read(text)
        last = torch.tensor(self._tokens[-1:], device=self._forbidden.device)
        with torch.no_grad():
            logits, _ = self._network.decoder.stepper()(last, self._state)
            mixed = self._codec.mixed_logits(logits, self._tokens, self._forbidden)
        shares = mixed[0].softmax(-1).topk(min(count, mixed.shape[1]))
        pairs = zip(shares.indices.tolist(), shares.values.tolist(), strict=True)
        decode = self._codec.tokenizer.decode
        return [NextToken(decode([token]), share) for token, share in pairs if share > 0.0]

    def draw(
        self,
        length: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
    ) -> Iterator[int]:
        """The tokens that a text drawn from here has; the stream itself stays where it is.

        Args:
            length, temperature, top_k, top_p, seed: as for `LanguageModel.generate`.
        """
        context, advance = self._tokens[:-1], self._network.decoder.stepper()

        def step(last: Tensor, state: Any) -> tuple[Tensor, Any]:
            context.append(int(last))
            logits, state = advance(last, state)
            return self._codec.mixed_logits(logits, context, self._forbidden), state

        last = torch.tensor(self._tokens[-1:], device=self._forbidden.device)
        drawn = search.stream(
            step, last, self._state, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed,
            end=BOUNDARY if self._codec.ends else None, max_length=length,
        )  # fmt: skip
        return (int(token) for token in drawn)

    def state(self) -> Tree:
        """Plain values and tensors."""
        return {"tokens": self._tokens, "layers": self._state.layers}

    def restore(self, state: Tree) -> None:
        """Take what `state` returned."""
        device = self._forbidden.device
        layers = tuple(tuple(part.to(device) for part in layer) for layer in state["layers"])
        self._tokens, self._state = list(state["tokens"]), self._state._replace(layers=layers)
