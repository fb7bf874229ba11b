"""Chooses one token after the other: the likeliest one, or one drawn by its probability."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from longspan import errors
from longspan.kernels.next_token import draw

from .steps import Hypothesis, Limits, Step, call_step, check_start

_COLDEST, _HOTTEST = 1e-6, 1e6  # temperatures


@dataclass(frozen=True)
class _Sampling:
    """How one token is chosen from its logits. See `sample`."""

    temperature: float
    top_k: int | None
    top_p: float | None
    repetition_penalty: float

    def __post_init__(self) -> None:
        way_out = "0 takes the likeliest token, 1 the network's own share"
        temperature = errors.check_non_negative("temperature", self.temperature, way_out)
        if temperature and not _COLDEST <= temperature <= _HOTTEST:  # what float32 divides by
            expected = f"0 or a number from {_COLDEST:g} to {_HOTTEST:g}"
            raise errors.value_error("temperature", expected, self.temperature, way_out)
        if self.top_k is not None:
            errors.check_int("top_k", self.top_k, 1, "give the number of tokens to choose from")
        if self.top_p is not None and not 0.0 < errors.check_fraction("top_p", self.top_p) <= 1.0:
            raise errors.value_error("top_p", "a number in (0, 1]", self.top_p, "give a share such as 0.9")
        way_out = "1 changes nothing"
        if errors.check_non_negative("repetition_penalty", self.repetition_penalty, way_out) == 0.0:
            raise errors.value_error("repetition_penalty", "a number above 0", 0, way_out)

    @property
    def remembers(self) -> bool:
        return self.repetition_penalty != 1.0

    def choose(self, logits: Tensor, before: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """One token a row (R,) from logits (R, V); before: (R, T) the tokens so far, for the penalty."""
        if self.remembers and before is not None:
            logits = _penalised(logits, before, self.repetition_penalty)
        if self.temperature == 0.0:
            return logits.argmax(-1)
        logits = logits if self.temperature == 1.0 else logits / self.temperature
        ids = None
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            logits, ids = logits.topk(self.top_k)
        if self.top_p is not None and self.top_p < 1.0:
            if ids is None:
                logits, ids = logits.sort(descending=True)
            logits = _nucleus(logits, self.top_p)
        drawn = _drawn(logits, generator)
        return drawn if ids is None else ids.gather(-1, drawn.unsqueeze(-1)).squeeze(-1)


def _drawn(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """One column a row (R,) of logits (R, V): the numbers of torch.multinomial in a third of its time.

    The largest quotient of a probability and an exponential variate belongs to a column with its probability.
    The logarithm of that quotient is the logit minus the variate's logarithm, up to the row's normaliser.
    """
    variates = torch.empty_like(logits).exponential_(generator=generator)
    drawn = draw(logits, variates)
    if drawn is not None:
        return drawn
    highest, column = (logits - variates.log_()).max(-1)
    if not -math.inf < float(highest.min()):  # NaN too
        raise errors.value_error(
            "logits",
            "numbers, at least one of them finite in every row",
            "NaN",
            "check the network's weights",
        )
    return column


def _penalised(logits: Tensor, before: Tensor, penalty: float) -> Tensor:
    """Logits of tokens that came before, divided by the penalty where positive, else multiplied by it."""
    old = logits.gather(-1, before)
    return logits.scatter(-1, before, torch.where(old > 0, old / penalty, old * penalty))


def _nucleus(logits: Tensor, share: float) -> Tensor:
    """Sorted logits (R, V) without those beyond the fewest whose probabilities reach the share."""
    probability = logits.softmax(-1)
    return logits.masked_fill(probability.cumsum(-1) - probability >= share, -torch.inf)


class _Turn(NamedTuple):
    """One step of all rows: the chosen tokens (B,), their logits (B, V), attention (B, S)."""

    tokens: Tensor
    logits: Tensor
    attention: Tensor | None


def _turns(
    step: Step, start: Tensor, state: Any, limits: Limits, sampling: _Sampling, seed: int | None,
    prompt: Tensor | None,
) -> Iterator[_Turn]:  # fmt: skip
    """Steps until all rows have ended; a row that has ended goes on with its end."""
    generator = None if seed is None else torch.Generator(start.device).manual_seed(seed)
    tokens, ended = start, torch.zeros_like(start, dtype=torch.bool)
    before = start.unsqueeze(1) if prompt is None else torch.cat([prompt, start.unsqueeze(1)], 1)
    for length in range(limits.max_length):
        logits, state, attention = call_step(step, tokens, state)
        logits = limits.without_end(logits, length)
        tokens = sampling.choose(logits, before if sampling.remembers else None, generator)
        if limits.end is not None:
            tokens = tokens.masked_fill(ended, limits.end)
            ended = tokens == limits.end
        yield _Turn(tokens, logits, attention)
        if limits.end is not None and ended.all():
            return
        if sampling.remembers:
            before = torch.cat([before, tokens.unsqueeze(1)], 1)


def greedy(
    step: Step,
    start: Tensor,
    state: Any = None,
    *,
    end: int | None = None,
    min_length: int = 0,
    max_length: int = 100,
) -> list[Hypothesis]:
    """The likeliest next token, again and again.

    Args:
        step: (tokens (B,), state) -> logits (B, V), state[, attention (B, S)].
        start: (B,) int64, the token that each row begins with.
        state: of the rows before their start.
        end: the token that ends a row; None for none.
        min_length, max_length: tokens a row, its end not counted.

    Returns:
        One hypothesis a row.

    >>> def count(tokens, state):
    ...     return torch.nn.functional.one_hot((tokens + 1) % 5, 5).float(), state
    >>> greedy(count, torch.tensor([0, 2]), end=4)[1].tokens
    [3]
    """
    limits = Limits(end, min_length, max_length)
    return _collected(
        _turns(step, check_start(start), state, limits, _Sampling(0.0, None, None, 1.0), None, None), end
    )


def sample(
    step: Step,
    start: Tensor,
    state: Any = None,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
    seed: int | None = None,
    prompt: Tensor | None = None,
    end: int | None = None,
    min_length: int = 0,
    max_length: int = 100,
) -> list[Hypothesis]:
    """Tokens drawn by their probabilities; the other arguments are those of `greedy`.

    Args:
        temperature: what logits are divided by: above 0; 0 is `greedy`.
        top_k: draw from so many of the likeliest tokens (Fan et al. 2018, arXiv 1805.04833).
        top_p: draw from the fewest tokens whose probabilities sum to this (Holtzman et al. 2019, arXiv
            1904.09751).
        repetition_penalty: above 1 makes tokens that came before less likely (Keskar et al. 2019, arXiv
            1909.05858).
        seed: the same seed gives the same tokens; None draws from PyTorch's own generator.
        prompt: (B, P) int64 tokens before `start`, which the repetition penalty also counts.

    Raises:
        ValueError, TypeError: an option is out of range; the sentence names it.
    """
    turns = _sampled(step, start, state, temperature, top_k, top_p, repetition_penalty, seed, prompt, end,
                     min_length, max_length)  # fmt: skip
    return _collected(turns, end)


def stream(
    step: Step,
    start: Tensor,
    state: Any = None,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
    seed: int | None = None,
    prompt: Tensor | None = None,
    end: int | None = None,
    min_length: int = 0,
    max_length: int = 100,
) -> Iterator[Tensor]:
    """`sample` one token at a time: an iterator of tokens (B,), `end` in rows that have ended.

    The options are checked at the call. The iterator stops when all rows have ended, without their last end.

    >>> def count(tokens, state):
    ...     return torch.nn.functional.one_hot((tokens + 1) % 5, 5).float(), state
    >>> [int(token) for token in stream(count, torch.tensor([0]), temperature=0, end=4)]
    [1, 2, 3]
    """
    turns = _sampled(step, start, state, temperature, top_k, top_p, repetition_penalty, seed, prompt, end,
                     min_length, max_length)  # fmt: skip
    return (turn.tokens for turn in turns if end is None or not bool((turn.tokens == end).all()))


def _sampled(
    step: Step, start: Tensor, state: Any, temperature: float, top_k: int | None, top_p: float | None,
    repetition_penalty: float, seed: int | None, prompt: Tensor | None, end: int | None, min_length: int,
    max_length: int,
) -> Iterator[_Turn]:  # fmt: skip
    limits = Limits(end, min_length, max_length)
    sampling = _Sampling(temperature, top_k, top_p, repetition_penalty)
    return _turns(step, check_start(start), state, limits, sampling, seed, prompt)


def _collected(turns: Iterator[_Turn], end: int | None) -> list[Hypothesis]:
    """The rows of all turns as hypotheses."""
    tokens, chosen, attention = [], [], []
    for turn in turns:
        tokens.append(turn.tokens)
        logits = turn.logits.float() if turn.logits.dtype in (torch.float16, torch.bfloat16) else turn.logits
        chosen.append(logits.log_softmax(-1).gather(-1, turn.tokens.unsqueeze(-1)).squeeze(-1))
        attention += [] if turn.attention is None else [turn.attention]
    found, log_probs = torch.stack(tokens, 1), torch.stack(chosen, 1).double()
    weights = torch.stack(attention, 1) if attention else None
    return [
        _hypothesis(row, log_probs[i], None if weights is None else weights[i], end)
        for i, row in enumerate(found.tolist())
    ]


def _hypothesis(row: list[int], log_probs: Tensor, attention: Tensor | None, end: int | None) -> Hypothesis:
    finished = end is not None and end in row
    length = row.index(end) if finished else len(row)  # pyright: ignore[reportArgumentType]
    total = float(log_probs[: length + finished].sum())
    return Hypothesis(row[:length], total, total, finished, None if attention is None else attention[:length])
