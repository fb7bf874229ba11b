"""Captions are drawn with the network's probabilities; those of a picture depend on its seed alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from longspan.networks.decoder import DecoderState
from longspan.tasks.caption.sampling import draw_captions, uniforms_of

START, END, VOCABULARY = 2, 3, 7


def step(tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState, Tensor]:
    """Token 4 or 5, with probabilities by the row's state, then the end; three cells."""
    share = state.layers[0][0][:, 0]
    logits = torch.full((len(tokens), VOCABULARY), -torch.inf)
    first = tokens == START
    logits[first, 4], logits[first, 5] = share[first].log(), (1 - share[first]).log()
    logits[~first, END] = 0.0
    return logits, state, torch.full((len(tokens), 3), 1 / 3)


def state_of(*shares: float) -> DecoderState:
    return DecoderState(((torch.tensor(shares).unsqueeze(1),),))


def test_tokens_are_drawn_by_their_probabilities() -> None:
    uniforms = uniforms_of(torch.tensor([1, 2]), 2000, 4)
    rows = draw_captions(step, state_of(0.8, 0.1), START, END, uniforms, temperature=1.0, top_p=1.0)
    shares = [sum(one.tokens == [4] for one in row) / len(row) for row in rows]
    assert abs(shares[0] - 0.8) < 0.03 and abs(shares[1] - 0.1) < 0.03
    assert all(
        one.finished and one.attention is not None and one.attention.shape == (1, 3) for one in rows[0]
    )
    assert rows[0][0].log_prob == pytest.approx(math.log(0.8 if rows[0][0].tokens == [4] else 0.2))
    cold = draw_captions(step, state_of(0.8, 0.1), START, END, uniforms, temperature=0.1, top_p=1.0)
    assert all(one.tokens == [4] for one in cold[0]) and all(one.tokens == [5] for one in cold[1])
    nucleus = draw_captions(step, state_of(0.8, 0.1), START, END, uniforms, temperature=1.0, top_p=0.75)
    assert all(one.tokens == [4] for one in nucleus[0]) and all(one.tokens == [5] for one in nucleus[1])


def test_a_picture_alone_has_the_captions_that_it_has_among_others() -> None:
    seeds = torch.tensor([11, 12, 13])
    together = uniforms_of(seeds, 5, 4)
    assert torch.equal(uniforms_of(seeds[1:2], 5, 4)[0], together[1])
    assert not torch.equal(together[0], together[1])


def test_a_caption_that_does_not_end_is_cut() -> None:
    def endless(tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState, Tensor]:
        logits = torch.full((len(tokens), VOCABULARY), -torch.inf)
        logits[:, 5] = 0.0
        return logits, state, torch.ones(len(tokens), 1)

    found = draw_captions(
        endless, state_of(0.5), START, END, uniforms_of(torch.tensor([3]), 2, 6), temperature=1.0, top_p=0.9
    )
    assert [one.tokens for one in found[0]] == [[5] * 6] * 2 and not found[0][0].finished
