"""Reads users' events one by one, and keeps the network's state of every user."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longspan import errors
from longspan.tasks.codec import Tree
from longspan.tasks.parts import Stream

from .codec import RecommendCodec
from .network import RecommendNetwork
from .vocabulary import UNKNOWN, text_of

_STATES = 100_000  # users whose states are kept; the others' are read again from their past
_CHUNK = 2048  # events of a past that are read at a time


class RecommenderStream(Stream):
    """The users' states, each after its last event.

    Args:
        codec: fitted, whose histories grow with every event; network: trained.
    """

    def __init__(self, codec: RecommendCodec, network: RecommendNetwork) -> None:
        self.codec, self.network = codec, network
        self._states: dict[str, tuple[Tensor, Any]] = {}  # user -> the last output (1, D) and the state

    @torch.no_grad()
    def update(self, reading: tuple[Any, Any, Mapping[str, Any]]) -> None:
        """Read the next event: user, item and the values of the context."""
        user, item, values = reading
        _check_id("user", user)
        _check_id("item", item)
        codec = self.codec
        context = codec.context_columns.encode_row(values) if codec.context_columns.codes else _NOTHING
        number = 1 + codec.items.number(item)
        if number == UNKNOWN:
            errors.notice(f"The item {item!r} has not been seen in training; it says nothing about its user.")
        _, state = self._state(user)
        codec.histories.add(user, number, context)
        inputs = torch.tensor([number]), torch.from_numpy(context).unsqueeze(0) if len(context) else None
        self._keep(user, self.network.step(_on_device(inputs, self.network), state))

    @torch.no_grad()
    def recommend(self, user: Any, k: int | None, exclude_seen: bool | None) -> tuple[np.ndarray, np.ndarray]:
        """The numbers and the scores of the k best items after a user's events so far."""
        output, number = self._state(user)[0], self.codec.histories.number(user)
        items = self.codec.histories.past(number)[0] if number >= 0 else np.zeros(0, np.int32)
        vectors, bias = self.network.all_item_vectors()
        seen = torch.from_numpy(items.astype(np.int64)).to(bias.device)
        hidden = vectors.new_zeros(vectors.shape[1]) if output is None else output[0]
        best, scores = self.network.scorer.top(hidden, vectors, bias, seen, k=k, exclude_seen=exclude_seen)
        there = torch.isfinite(scores)
        return best[there].cpu().numpy(), scores[there].cpu().numpy()

    def _state(self, user: Any) -> tuple[Tensor | None, Any]:
        """The last output and the state of a user, read from the past where they are not kept."""
        kept = self._states.get(text_of(user))
        if kept is not None:
            return kept
        number = self.codec.histories.number(user)
        if number < 0:
            return None, self.network.initial_state()
        items, context = self.codec.histories.past(number)
        output, state = None, self.network.initial_state()
        for begin in range(0, len(items), _CHUNK):
            part = slice(begin, begin + _CHUNK)
            numbers = torch.from_numpy(items[part].astype(np.int64)).unsqueeze(0)
            columns = torch.from_numpy(context[part]).unsqueeze(0) if context.shape[1] else None
            output, state = self.network.read(*_on_device((numbers, columns), self.network), state)
        if output is not None:
            self._keep(user, (output, state))
        return output, state

    def _keep(self, user: Any, state: tuple[Tensor, Any]) -> None:
        name = text_of(user)
        self._states.pop(name, None)
        self._states[name] = state
        if len(self._states) > _STATES:
            del self._states[next(iter(self._states))]

    def state(self) -> Tree:
        return [[user, output, state] for user, (output, state) in self._states.items()]

    def restore(self, state: Tree) -> None:
        self._states = {user: (output, _as_state(values)) for user, output, values in state}


_NOTHING = np.zeros(0, np.float32)


def _as_state(values: Any) -> Any:
    """A state as layers take it: a tensor, or a tuple of tensors, which files hold as a list."""
    return tuple(values) if isinstance(values, list) else values


def _on_device(
    inputs: tuple[Tensor, Tensor | None], network: RecommendNetwork
) -> tuple[Tensor, Tensor | None]:
    device = network.bias.device
    return inputs[0].to(device), None if inputs[1] is None else inputs[1].to(device)


def _check_id(option: str, id: Any) -> None:
    """Refuse a missing id, as tables without one are."""
    if (isinstance(id, float) and math.isnan(id)) or not text_of(id):
        raise errors.value_error(option, "an id", repr(id), f"pass the {option} of the event")
