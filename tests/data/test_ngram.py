"""The n-gram model's probabilities: a distribution, by the formula, from a saved state too."""

from __future__ import annotations

import numpy as np

from longspan.data.ngram import KneserNey


def text(length: int = 300) -> np.ndarray:
    return np.random.default_rng(0).choice(5, length, p=[0.4, 0.3, 0.15, 0.1, 0.05])


def by_the_formula(
    model: KneserNey, tokens: list[int], history: list[int], token: int, highest: bool
) -> float:
    """Chen and Goodman 1999, section 2.7, counted naively."""
    order = len(history) + 1
    grams = [tuple(tokens[i : i + order]) for i in range(len(tokens) - order + 1)]
    if not highest:
        longer = {tuple(tokens[i : i + order + 1]) for i in range(len(tokens) - order)}
        longest = {tuple(tokens[i : i + model.order]) for i in range(len(tokens) - model.order + 1)}
        while longest and len(next(iter(longest))) > order + 1:
            longest = {gram[1:] for gram in longest}
        grams = [gram[1:] for gram in longest & longer]
    counts = {gram: grams.count(gram) for gram in grams}
    once, twice = (sum(1 for count in counts.values() if count == n) for n in (1, 2))
    discount = once / (once + 2 * twice) if once and twice else 0.5
    of_context = {gram: count for gram, count in counts.items() if gram[:-1] == tuple(history)}
    total = sum(of_context.values())
    lower = by_the_formula(model, tokens, history[1:], token, False) if history else 1.0 / model.vocabulary
    if not total:
        return lower
    own = max(of_context.get((*history, token), 0) - discount, 0.0)
    return own / total + discount * len(of_context) / total * lower


def test_probabilities_are_those_of_the_formula() -> None:
    tokens = text(120)
    model = KneserNey(6, 3).fit(tokens)
    for history in ([0, 1], [4, 4], [5, 5], [2, 0]):
        found = [np.exp(model.log_probs(np.array([*history, token]))[-1]) for token in range(6)]
        naive = [by_the_formula(model, tokens.tolist(), history, token, True) for token in range(6)]
        np.testing.assert_allclose(found, naive, rtol=1e-9)
        assert abs(sum(found) - 1.0) < 1e-9


def test_a_saved_state_gives_the_same() -> None:
    model = KneserNey(5, 4).fit(text())
    again = KneserNey.from_state(model.state())
    asked = np.random.default_rng(1).integers(0, 5, 50)
    assert np.array_equal(model.log_probs(asked), again.log_probs(asked))


def test_the_order_is_less_where_keys_would_not_fit() -> None:
    model = KneserNey(300_000, 4).fit(np.array([1, 2, 3, 299_999, 1, 2]))
    assert model.order == 3 and np.isfinite(model.log_probs(np.array([7, 299_999, 1]))).all()


def test_context_helps() -> None:
    tokens = np.tile([0, 1, 2, 3, 1, 0], 50)
    assert KneserNey(4, 3).fit(tokens).log_probs(tokens).mean() > -0.2
    assert KneserNey(4, 1).fit(tokens).log_probs(tokens).mean() < -1.2


def test_the_next_token_has_the_same_probabilities() -> None:
    tokens = text(120)
    model = KneserNey(6, 3).fit(tokens)
    for context in ([], [2], [0, 1], [3, 0, 1], [5, 5]):
        found = model.next_probs(context)
        each = [np.exp(model.log_probs(np.array([*context, token]))[-1]) for token in range(6)]
        np.testing.assert_allclose(found, each, rtol=1e-9)
        assert np.array_equal(found, model.next_probs(context)), "from the cache"
