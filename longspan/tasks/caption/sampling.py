"""Draws captions of pictures by a decoder's probabilities, and finds what most of them agree on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from longspan.networks.decoder import DecoderState
from longspan.search import Hypothesis

Step = Callable[[Tensor, DecoderState], tuple[Tensor, DecoderState, Tensor]]


class _Steps(NamedTuple):
    """One step of all rows: tokens (R,), their log-probabilities (R,), attention (R, S)."""

    tokens: Tensor
    log_probs: Tensor
    attention: Tensor


def draw_captions(
    step: Step,
    state: DecoderState,
    start: int,
    end: int,
    uniforms: Tensor,
    *,
    temperature: float,
    top_p: float,
) -> list[list[Hypothesis]]:
    """Captions drawn for each of B pictures.

    Args:
        step: tokens (R,) and a state -> logits (R, V), the state after the tokens, attention (R, S).
        state: of the B pictures before the first token; start, end: tokens.
        uniforms: (B, N, T) numbers in [0, 1), one for each of N captions and T steps.
        temperature: below 1 for likelier tokens; top_p: tokens are drawn among the likeliest ones whose
            probabilities reach this share (Holtzman et al. 2019, arXiv 1904.09751).

    Returns:
        N captions for each picture, in the order in which they were drawn.
    """
    pictures, count, most = uniforms.shape
    numbers = uniforms.reshape(pictures * count, most).to(state.layers[0][0].device)
    state = state.select(torch.arange(pictures, device=numbers.device).repeat_interleave(count))
    tokens = torch.full((len(numbers),), start, device=numbers.device)
    ended = torch.zeros_like(tokens, dtype=torch.bool)
    turns: list[_Steps] = []
    for place in range(most):
        logits, state, attention = step(tokens, state)
        tokens = _tokens_at(numbers[:, place], logits / temperature, top_p).masked_fill(ended, end)
        log_probs = logits.log_softmax(-1).gather(1, tokens.unsqueeze(1)).squeeze(1)
        turns.append(_Steps(tokens, log_probs.masked_fill(ended, 0.0), attention))
        ended |= tokens == end
        if bool(ended.all()):
            break
    drawn = _Steps(*(torch.stack(part, 1) for part in zip(*turns, strict=True)))
    found = [_hypothesis(drawn, row, end) for row in range(len(numbers))]
    return [found[first : first + count] for first in range(0, len(found), count)]


def _tokens_at(numbers: Tensor, logits: Tensor, top_p: float) -> Tensor:
    """The token (R,) in whose share of the nucleus, from the likeliest token on, each number lies."""
    shares, tokens = logits.softmax(-1).sort(descending=True, stable=True)
    reached = shares.cumsum(-1)
    nucleus = shares.masked_fill(reached - shares >= top_p, 0.0).sum(-1)
    place = torch.searchsorted(reached, (numbers * nucleus).unsqueeze(1), right=True)
    return tokens.gather(1, place.clamp_max(logits.shape[1] - 1)).squeeze(1)


def _hypothesis(drawn: _Steps, row: int, end: int) -> Hypothesis:
    tokens = drawn.tokens[row].tolist()
    finished = end in tokens
    length = tokens.index(end) if finished else len(tokens)
    log_prob = float(drawn.log_probs[row].sum())
    return Hypothesis(tokens[:length], log_prob, log_prob, finished, drawn.attention[row, :length])


def uniforms_of(seeds: Tensor, captions: int, steps: int) -> Tensor:
    """Numbers (B, captions, steps) in [0, 1); those of a picture depend on its seed alone.

    Args:
        seeds: (B,) int64.
    """
    rows = [
        torch.rand(captions, steps, generator=torch.Generator().manual_seed(seed)) for seed in seeds.tolist()
    ]
    return torch.stack(rows) if rows else torch.zeros(0, captions, steps)


def consensus(captions: Sequence[Sequence[int]], weights: Tensor) -> Tensor:
    """How similar each of N captions of one picture is to all of them (N,), by the tokens that they have.

    The similarity is the cosine of the counts of tokens times their weights. It tells what most of the
    captions speak of, but not how they word it (Devlin et al. 2015, arXiv 1505.04467, take n-grams).

    Args:
        captions: token numbers; weights: (V,), low for tokens that most pictures' captions have.

    >>> consensus([[0, 1], [1, 0], [2]], torch.ones(3))
    tensor([0.6667, 0.6667, 0.3333])
    """
    rows = [torch.tensor(row, dtype=torch.int64) for row in captions]
    bags = torch.stack([torch.bincount(row, minlength=len(weights)) for row in rows])
    vectors = torch.nn.functional.normalize(bags * weights, dim=1)
    return (vectors @ vectors.T).mean(1)
