"""N-grams: TF-IDF weights equal scikit-learn's; rare ones are left out; the state is restored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from longspan.tasks.classify import ngrams
from longspan.tasks.classify.ngrams import NGrams, word_shapes

TEXTS = [text.split() for text in ("a b a b c", "b c", "d a b", "c c c c a")]


def totals(grams: NGrams, text: Sequence[str]) -> dict[int, float]:
    """A text's weights, summed by number."""
    found: dict[int, float] = {}
    for number, weight in zip(*(part.flatten().tolist() for part in grams([text])[:2]), strict=True):
        found[number] = found.get(number, 0.0) + weight
    return found


def test_weights_equal_scikit_learns():
    text = pytest.importorskip("sklearn.feature_extraction.text", reason="scikit-learn is not installed")
    plain = text.TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+")
    rows = plain.fit_transform(" ".join(one) for one in TEXTS).toarray()
    grams = NGrams(2).fit(TEXTS)
    assert grams.size == rows.shape[1] + 1
    for one, row in zip(TEXTS, rows, strict=True):
        found = sorted(weight for number, weight in totals(grams, one).items() if number)
        np.testing.assert_allclose(found, sorted(row[row > 0]), rtol=1e-5)


def test_an_n_gram_is_at_its_last_token_and_has_one_code():
    grams = NGrams(3).fit(TEXTS)
    numbers, weights, _ = grams([["a", "b", "new", "b"]])
    assert numbers.shape == weights.shape == (4, 3)
    assert ((numbers > 0) == [[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0]]).all()
    assert numbers[1, 0] == numbers[3, 0] and len({*numbers[:2, 0], numbers[1, 1]}) == 3
    assert (weights[numbers == 0] == 0).all() and (weights[numbers > 0] > 0).all()
    assert grams([["b", "a"]])[0][1, 1] not in (0, numbers[1, 1]), "the order of units counts"


def test_unknown_n_grams_have_no_weight():
    grams = NGrams(2).fit(TEXTS)
    assert grams([[]])[0].shape == (0, 2)
    assert grams([["new", "newer"], []])[1].sum() == 0.0
    empty = NGrams(2).fit([[], []])
    assert empty.size == 1 and empty(TEXTS)[1].sum() == 0.0


def test_concatenated_texts_have_the_n_grams_of_each():
    grams = NGrams(3).fit(TEXTS)
    *together, lengths = grams([*TEXTS, [], ["c"]])
    assert lengths.tolist() == [5, 2, 3, 5, 0, 1]
    for part, column in enumerate(together):
        alone = np.concatenate([grams([one])[part] for one in [*TEXTS, [], ["c"]]])
        np.testing.assert_allclose(column, alone, rtol=1e-6)


def test_rare_n_grams_and_those_over_the_limit_are_left_out(monkeypatch: pytest.MonkeyPatch):
    assert NGrams(1, min_df=2).fit(TEXTS).size == 3 + 1
    monkeypatch.setattr(ngrams, "MAX_NGRAMS", 2)
    kept = NGrams(2).fit(TEXTS)
    assert kept.size == 2 + 1 and kept([["b", "d"]])[0].tolist()[1] == [0, 0]


@pytest.mark.parametrize("shape_max_n", [0, 3])
def test_the_saved_state_gives_the_same_n_grams(shape_max_n: int):
    grams = NGrams(2, shape_max_n=shape_max_n).fit(TEXTS)
    other = NGrams.from_state(grams.state())
    assert grams.orders == other.orders == (1, 2, 1, 2, 3)[: 2 + shape_max_n]
    for mine, its in zip(grams(TEXTS), other(TEXTS), strict=True):
        np.testing.assert_array_equal(mine, its)


def test_shapes_of_words_show_capitals_and_digits():
    text = ["When", "did", "McGee-Orr", "'s", "U2", "play", "É", "in", "1984", "?"]
    assert word_shapes(text) == ["when", "did", "XxXx-Xx", "'s", "Xd", "play", "X", "in", "d", "?"]
    assert word_shapes([]) == []


def test_n_grams_of_word_shapes_are_beside_those_of_words():
    grams = NGrams(2, shape_max_n=2).fit([["Who", "led", "France", "?"], ["name", "it"]])
    known, weights, _ = grams([["who", "led", "Spain", "?"], ["Who", "LED"]])
    assert ((known > 0) == (weights > 0)).all()
    assert (known[:4] > 0).astype(int).tolist() == [[1, 0, 1, 0], [1, 1, 1, 1], [0, 0, 1, 1], [1, 0, 1, 1]]
    assert (known[4:] > 0).astype(int).tolist() == [[1, 0, 1, 0], [1, 1, 0, 0]], "words lose their case"
    assert known[0, 0] != known[0, 2], "the same word seen both ways has two numbers"
