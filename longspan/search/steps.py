"""What searches have in common: steps of a network and their states, limits of length, hypotheses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from longspan import errors

Step = Callable[[Tensor, Any], tuple[Any, ...]]
Reorder = Callable[[Any, Tensor], Any]


class Hypothesis(NamedTuple):
    """A sequence that a search found.

    tokens: without the start and the end; log_prob: of the tokens and the end, natural logarithm; score:
    what the search ranks by; finished: whether the end came before the maximum length; attention:
    (len(tokens), S) where the step returns it.
    """

    tokens: list[int]
    log_prob: float
    score: float
    finished: bool
    attention: Tensor | None = None


def select_rows(state: Any, rows: Tensor) -> Any:
    """The rows (R',) int64 of every tensor in a nested state, repeated or left out as they say.

    >>> select_rows((torch.tensor([[1], [2]]), None), torch.tensor([1, 1]))
    (tensor([[2],
            [2]]), None)
    """
    if isinstance(state, Tensor):
        return state.index_select(0, rows)
    return _mapped(lambda part: select_rows(part, rows), state)


def _mapped(function: Callable[[Any], Any], state: Any) -> Any:
    if state is None or isinstance(state, (int, float)):  # of all rows alike
        return state
    if isinstance(state, dict):
        return {name: function(part) for name, part in state.items()}
    if isinstance(state, tuple) and type(state) is not tuple:
        return type(state)(*map(function, state))
    if isinstance(state, (tuple, list)):
        return type(state)(map(function, state))
    raise errors.type_error(
        "state", "tensors in tuples, lists and dicts", state, "pass reorder=, which selects its rows"
    )


@dataclass(frozen=True)
class Limits:
    """How long a sequence may become; end: the token that ends it, None for none."""

    end: int | None
    min_length: int
    max_length: int

    def __post_init__(self) -> None:
        errors.check_int("min_length", self.min_length, 0, "give the fewest tokens")
        errors.check_int("max_length", self.max_length, 1, "give the most tokens")
        if self.min_length > self.max_length:
            raise errors.value_error(
                "min_length", f"at most max_length, {self.max_length}", self.min_length, "lower it"
            )

    def without_end(self, logits: Tensor, length: int) -> Tensor:
        """The logits of the next token after `length` of them: the end has none before the minimum."""
        if self.end is None or length >= self.min_length:
            return logits
        logits = logits.clone()
        logits[:, self.end] = -torch.inf
        return logits


def check_start(start: object) -> Tensor:
    if not isinstance(start, Tensor) or start.dim() != 1 or start.dtype != torch.int64:
        received = tuple(start.shape) if isinstance(start, Tensor) else type(start).__name__
        raise errors.value_error(
            "start", "int64 tokens of shape (B,), one a row", received, "give each row its first token"
        )
    return start


def call_step(step: Step, tokens: Tensor, state: Any) -> tuple[Tensor, Any, Tensor | None]:
    with torch.no_grad():
        logits, state, *attention = step(tokens, state)
    return logits, state, attention[0] if attention else None
