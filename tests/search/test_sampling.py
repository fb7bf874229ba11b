"""Greedy search, sampling and streaming over a network whose answers are known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from longspan import search

END = 0


def table(size: int = 7, seed: int = 0) -> Tensor:
    """Logits (V, V) of the next token by the last one."""
    return torch.randn(size, size, generator=torch.Generator().manual_seed(seed)) * 2


def markov(logits: Tensor):
    """A step whose state counts the tokens so far, to see that states follow their rows."""

    def step(tokens: Tensor, state):
        return logits[tokens] + 0.1 * state["count"], {"count": state["count"] + 1, "none": None}

    return step


def counts(rows: int) -> dict[str, Tensor | None]:
    return {"count": torch.zeros(rows, 1), "none": None}


def test_greedy_takes_the_likeliest_token() -> None:
    logits = table()
    found = search.greedy(markov(logits), torch.tensor([1, 3]), counts(2), end=END, max_length=12)
    for start, hypothesis in zip((1, 3), found, strict=True):
        token, total = start, 0.0
        for expected in [*hypothesis.tokens, *([END] if hypothesis.finished else [])]:
            row = logits[token].log_softmax(0)
            token = int(row.argmax())
            assert token == expected
            total += float(row[token])
        assert math.isclose(hypothesis.log_prob, total, abs_tol=1e-5)


def test_minimum_and_maximum_length() -> None:
    always_end = torch.zeros(4, 4)
    always_end[:, END] = 9.0
    start = torch.tensor([1])
    assert search.greedy(markov(always_end), start, counts(1), end=END)[0].tokens == []
    longer = search.greedy(markov(always_end), start, counts(1), end=END, min_length=3)[0]
    assert len(longer.tokens) == 3 and END not in longer.tokens and longer.finished
    cut = search.greedy(markov(table(4)), start, counts(1), max_length=5)[0]
    assert len(cut.tokens) == 5 and not cut.finished
    with pytest.raises(ValueError, match="min_length: expected at most max_length"):
        search.greedy(markov(table(4)), start, counts(1), min_length=6, max_length=5)


def test_a_batch_gives_what_its_rows_give_alone() -> None:
    logits = table(9)
    starts = torch.arange(1, 9)
    together = search.greedy(markov(logits), starts, counts(8), end=END, max_length=9)
    for i, start in enumerate(starts):
        alone = search.greedy(markov(logits), start.view(1), counts(1), end=END, max_length=9)[0]
        assert alone.tokens == together[i].tokens
        assert math.isclose(alone.log_prob, together[i].log_prob, abs_tol=1e-5)


def test_temperature_zero_is_greedy_and_negative_is_refused() -> None:
    step, start = markov(table()), torch.tensor([1, 2, 3])
    cold = search.sample(step, start, counts(3), temperature=0, end=END, max_length=20)
    assert [h.tokens for h in cold] == [
        h.tokens for h in search.greedy(step, start, counts(3), end=END, max_length=20)
    ]
    with pytest.raises(ValueError, match="temperature: expected a number of at least 0, received -1"):
        search.sample(step, start, counts(3), temperature=-1)
    with pytest.raises(ValueError, match="temperature"):
        search.stream(step, start, counts(3), temperature=float("nan"))


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, [0.1, 0.2, 0.3, 0.4]),
        ({"temperature": 0.5}, [1 / 30, 4 / 30, 9 / 30, 16 / 30]),
        ({"top_k": 2}, [0.0, 0.0, 3 / 7, 4 / 7]),
        ({"top_p": 0.6}, [0.0, 0.0, 3 / 7, 4 / 7]),
        ({"top_p": 0.71}, [0.0, 2 / 9, 3 / 9, 4 / 9]),
        ({"top_k": 3, "top_p": 0.5}, [0.0, 0.0, 3 / 7, 4 / 7]),
    ],
)
def test_samples_have_the_shares_they_should(options: dict[str, Any], expected: list[float]) -> None:
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()
    start = torch.zeros(20000, dtype=torch.int64)

    def step(tokens: Tensor, state: None):
        return logits.expand(len(tokens), -1), state

    tokens = next(search.stream(step, start, seed=3, **options))
    shares = torch.bincount(tokens, minlength=4) / len(tokens)
    torch.testing.assert_close(shares, torch.tensor(expected), atol=0.015, rtol=0)


def test_repetition_penalty_counts_the_prompt_too() -> None:
    logits = torch.tensor([1.0, 2.0, -1.0, 1.9])

    def step(tokens: Tensor, state: None):
        return logits.expand(len(tokens), -1), state

    start, prompt = torch.tensor([1]), torch.tensor([[0]])
    kept = search.sample(step, start, temperature=0, repetition_penalty=1.5, prompt=prompt, max_length=3)
    assert kept[0].tokens == [3, 1, 1]  # 2 / 1.5 > 1.9 / 1.5 once 3 came too
    assert search.sample(step, start, temperature=0, max_length=2)[0].tokens == [1, 1]


def test_a_seed_gives_the_same_tokens_and_leaves_the_generator_alone() -> None:
    step, start = markov(table()), torch.tensor([1, 2])
    before = torch.get_rng_state()
    first = search.sample(step, start, counts(2), seed=5, max_length=30)
    assert torch.equal(before, torch.get_rng_state())
    assert [h.tokens for h in first] == [
        h.tokens for h in search.sample(step, start, counts(2), seed=5, max_length=30)
    ]
    assert first != search.sample(step, start, counts(2), seed=6, max_length=30)
    torch.manual_seed(1)
    loose = search.sample(step, start, counts(2), max_length=30)
    torch.manual_seed(1)
    assert [h.tokens for h in loose] == [
        h.tokens for h in search.sample(step, start, counts(2), max_length=30)
    ]


def test_a_stream_gives_the_tokens_of_sample() -> None:
    step, start = markov(table()), torch.tensor([4])
    streamed = search.stream(step, start, counts(1), seed=2, top_k=4, end=END, max_length=40)
    sampled = search.sample(step, start, counts(1), seed=2, top_k=4, end=END, max_length=40)[0]
    assert [int(token) for token in streamed] == sampled.tokens


def test_a_stream_asks_for_a_token_only_when_one_is_wanted() -> None:
    asked = []

    def step(tokens: Tensor, state: None):
        asked.append(tokens)
        return torch.zeros(1, 3), state

    tokens = search.stream(step, torch.tensor([1]), max_length=1000)
    next(tokens)
    next(tokens)
    assert len(asked) == 2


@pytest.mark.parametrize(
    "options, words",
    [
        ({"top_k": 0}, "top_k: expected a whole number of at least 1, received 0"),
        ({"top_p": 0.0}, "top_p: expected a number in"),
        ({"repetition_penalty": 0}, "repetition_penalty: expected a number above 0"),
        ({"max_length": 0}, "max_length: expected a whole number of at least 1"),
    ],
)
def test_options_out_of_range_are_one_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        search.sample(markov(table()), torch.tensor([1]), counts(1), **options)


def test_start_must_be_one_token_a_row() -> None:
    with pytest.raises(ValueError, match="start: expected int64 tokens of shape"):
        search.greedy(markov(table()), torch.tensor([[1]]), counts(1))


def test_a_state_of_something_else_names_the_way_out() -> None:
    with pytest.raises(
        TypeError, match="state: expected tensors in tuples, lists and dicts, received str; pass reorder"
    ):
        search.select_rows((torch.zeros(2, 1), 3, "h"), torch.tensor([0]))


def test_draws_are_those_of_multinomial() -> None:
    logits = torch.randn(3, 50)
    for seed in range(20):
        tokens = next(search.stream(lambda tokens, state: (logits, state), torch.zeros(3).long(), seed=seed))
        generator = torch.Generator().manual_seed(seed)
        expected = torch.multinomial(logits.softmax(-1), 1, generator=generator).squeeze(-1)
        assert torch.equal(tokens, expected)


def test_logits_without_a_number_are_refused() -> None:
    broken = torch.full((2, 5), torch.nan)
    with pytest.raises(ValueError, match="logits: expected numbers"):
        search.sample(lambda tokens, state: (broken, state), torch.tensor([0, 0]), max_length=1)
