"""Beam search beside greedy search and beside all sequences there are."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from longspan import search

END = 0


def table(size: int, seed: int = 0) -> Tensor:
    """Logits (V, V) of the next token by the last one."""
    return torch.randn(size, size, generator=torch.Generator().manual_seed(seed)) * 2


def markov(logits: Tensor):
    """A step whose state is the last two tokens: a state in the wrong row changes the answer."""

    def step(tokens: Tensor, state: Tensor):
        state = torch.stack([state[:, 1], tokens], 1)
        return logits[tokens] + 0.5 * logits[state[:, 0]].roll(1, -1), state

    return step


def zeros(rows: int) -> Tensor:
    return torch.zeros(rows, 2, dtype=torch.int64)


def log_prob(logits: Tensor, start: int, tokens: list[int]) -> float:
    """Of these tokens after the start."""
    state, total, step = zeros(1), 0.0, markov(logits)
    for last, token in itertools.pairwise([start, *tokens]):
        row, state = step(torch.tensor([last]), state)
        total += float(row[0].log_softmax(0)[token])
    return total


@pytest.mark.parametrize("seed", range(5))
def test_a_beam_of_one_is_greedy(seed: int) -> None:
    step, start = markov(table(8, seed)), torch.arange(1, 8)
    beams = search.beam(step, start, zeros(7), beam_size=1, end=END, max_length=10, min_length=1)
    plain = search.greedy(step, start, zeros(7), end=END, max_length=10, min_length=1)
    assert [h[0].tokens for h in beams] == [h.tokens for h in plain]
    assert [h[0].finished for h in beams] == [h.finished for h in plain]
    for a, b in zip(beams, plain, strict=True):
        assert math.isclose(a[0].log_prob, b.log_prob, abs_tol=1e-4)


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.5])
def test_a_wide_beam_finds_the_best_of_all_sequences(length_penalty: float) -> None:
    logits, longest = table(3, 1), 4
    found = search.beam(
        markov(logits), torch.tensor([1]), zeros(1), beam_size=31, n_best=3, length_penalty=length_penalty,
        end=END, max_length=longest,
    )[0]  # fmt: skip
    scores = {}
    for length in range(longest):
        for tokens in itertools.product((1, 2), repeat=length):
            total = log_prob(logits, 1, [*tokens, END])
            scores[tokens] = total / ((5 + length + 1) / 6) ** length_penalty
    best = sorted(scores, key=lambda tokens: -scores[tokens])[:3]
    assert [tuple(h.tokens) for h in found] == best
    for hypothesis in found:
        assert math.isclose(hypothesis.score, scores[tuple(hypothesis.tokens)], abs_tol=1e-4)


def test_unlikely_ends_do_not_stop_a_likely_sequence() -> None:
    logits = torch.full((12, 12), -12.0)
    for token in range(1, 11):
        logits[token, token + 1] = 0.0
        logits[token, END] = -3.0  # at each step the second likeliest
    logits[11, END] = 0.0
    step = lambda tokens, state: (logits[tokens], state)  # noqa: E731
    for n_best in (1, 3):
        hypotheses = search.beam(
            step, torch.tensor([1]), zeros(1), beam_size=3, n_best=n_best, length_penalty=1.0, end=END
        )[0]
        assert hypotheses[0].tokens == list(range(2, 12))
        assert len(hypotheses) == n_best


def test_a_batch_gives_what_its_rows_give_alone() -> None:
    logits, starts = table(12, 3), torch.arange(1, 12)
    options: dict[str, Any] = {"beam_size": 4, "n_best": 3, "end": END, "max_length": 9}
    together = search.beam(markov(logits), starts, zeros(11), **options)
    for i, start in enumerate(starts):
        alone = search.beam(markov(logits), start.view(1), zeros(1), **options)[0]
        assert [h.tokens for h in alone] == [h.tokens for h in together[i]]
        for a, b in zip(alone, together[i], strict=True):
            assert math.isclose(a.score, b.score, abs_tol=1e-4)


def test_log_probs_are_those_of_the_tokens() -> None:
    logits = table(6, 2)
    for hypothesis in search.beam(
        markov(logits), torch.tensor([3]), zeros(1), beam_size=4, n_best=4, end=END, max_length=6
    )[0]:
        tokens = [*hypothesis.tokens, *([END] if hypothesis.finished else [])]
        assert math.isclose(hypothesis.log_prob, log_prob(logits, 3, tokens), abs_tol=1e-4)


def test_more_beams_than_tokens_give_what_there_is() -> None:
    logits = table(3, 4)
    found = search.beam(
        markov(logits), torch.tensor([1]), zeros(1), beam_size=9, n_best=9, end=END, max_length=1
    )[0]
    assert sorted(tuple(h.tokens) for h in found) == [(), (1,), (2,)]
    assert [h.finished for h in found] == [True, False, False]


def test_no_rows_give_no_hypotheses() -> None:
    assert search.beam(markov(table(3)), zeros(1)[0, :0], zeros(0), end=END) == []


def test_attention_and_its_coverage_follow_the_beams() -> None:
    """With a coverage penalty, reading both places is worth more than likelier tokens that read one."""
    first, second = torch.tensor([-9.0, 1.0, 0.5, -9.0]), torch.tensor([-9.0, 1.0, 0.2, -9.0])
    places = torch.tensor([[0.0, 0.0], [0.99, 0.01], [0.5, 0.5], [0.99, 0.01]])

    def step(tokens: Tensor, state: Tensor):
        """The token chosen last is what is read now, so the first step reads by the start, 3."""
        logits = torch.where(state == 0, first, second)
        logits = torch.where(state >= 2, torch.tensor([9.0, -9.0, -9.0, -9.0]), logits)
        return logits, state + 1, places[tokens]

    def best(penalty: float) -> search.Hypothesis:
        found = search.beam(
            step, torch.tensor([3]), torch.zeros(1, 1), beam_size=4, coverage_penalty=penalty,
            length_penalty=0.0, end=END, max_length=5,
        )  # fmt: skip
        return found[0][0]

    plain, covering = best(0.0), best(5.0)
    assert plain.tokens == [1, 1] and covering.tokens == [2, 2]
    assert plain.attention is not None and covering.attention is not None
    torch.testing.assert_close(plain.attention, places[[3, 1]])
    torch.testing.assert_close(covering.attention, places[[3, 2]])
    assert covering.log_prob < plain.log_prob and covering.score < covering.log_prob + 1e-5


def test_coverage_without_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="coverage_penalty: expected 0, as the step returns no attention"):
        search.beam(markov(table(3)), torch.tensor([1]), zeros(1), coverage_penalty=0.2, end=END)


@pytest.mark.parametrize(
    "options", [{"beam_size": 0}, {"beam_size": 2, "n_best": 3}, {"length_penalty": -1.0}]
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        search.beam(markov(table(3)), torch.tensor([1]), zeros(1), end=END, **options)


def test_another_layout_of_the_state_is_reordered_by_the_caller() -> None:
    logits, starts = table(6, 5), torch.tensor([1, 2, 3])

    def step(tokens: Tensor, state: Tensor):
        out, state = markov(logits)(tokens, state.T)
        return out, state.T

    def reorder(state: Tensor, rows: Tensor) -> Tensor:
        return state.index_select(1, rows)

    there = search.beam(step, starts, zeros(3).T, reorder=reorder, end=END, max_length=7)
    here = search.beam(markov(logits), starts, zeros(3), end=END, max_length=7)
    assert [h[0].tokens for h in there] == [h[0].tokens for h in here]
