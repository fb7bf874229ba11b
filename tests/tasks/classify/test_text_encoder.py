"""The text encoder chooses the token level, pads, truncates, and keeps unknown words distinct."""

from __future__ import annotations

import numpy as np
import pytest

from longspan.tasks.classify.text_encoder import TextEncoder

TEXTS = {
    "words": ["the cat sat on the mat", "the dog ran to the cat"] * 8,
    "characters": ["Smith", "van Dyk", "Kowalski", "Li"] * 4,
    "bpe": ["这部电影非常好看我非常喜欢它因为演员表演得很出色音乐也很动听所以我推荐给所有的朋友们都去看看"]
    * 8,
}


@pytest.mark.parametrize("units", TEXTS)
def test_the_token_level_is_chosen_from_the_texts(units: str):
    if units == "bpe":
        pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    texts = TEXTS[units]
    found = TextEncoder(subword_buckets=10).fit(texts)
    assert found.token_level == units
    assert TextEncoder().restore(found.state()).rows(texts[:1])[0].equal(found.rows(texts[:1])[0])
    assert found.subword_buckets == (10 if units == "words" else 0)


def test_texts_in_tokens_keep_their_tokens():
    given = [["New York", "is", "big"], ["is"]]
    units = TextEncoder(lowercase=True).fit(given)
    again = TextEncoder().restore(units.state())
    assert units.token_level == "words" and units.tokens(given[0]) == ["new york", "is", "big"]
    assert again.rows([["NEW YORK", "huge"]])[0].tolist() == [units.tokenizer.tokens.index("new york"), 1]


def test_texts_are_truncated_at_the_longest_or_at_max_length():
    assert TextEncoder("words").fit(["a b c", "a"]).max_length == 3
    short = TextEncoder("words", max_length=2, max_ngram=2).fit(["a b c", "a"])
    found = short.sparse_features(["a b c"])
    assert short.tokens("a b c") == ["a", "b"] and short.rows(["a b c"])[0].shape == (2,)
    assert found is not None and found[0].values.shape == (2, 2)


def test_byte_pairs_are_chosen_where_words_are_rare():
    pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    texts = [f"the same w{n}" for n in range(1000)]
    assert TextEncoder(max_tokens=300).fit(texts).token_level == "bpe"
    assert TextEncoder().fit(texts[:990]).token_level == "words", "few texts have rare words"
    assert TextEncoder().fit([f"the very same w{n}" for n in range(1000)]).token_level == "words", (
        "a quarter is few"
    )


def test_a_word_seen_once_is_represented_by_its_subwords():
    texts = ["the cat sat", "the dog sat"]
    assert "cat" not in TextEncoder(subword_buckets=10).fit(texts).tokenizer.tokens
    assert "cat" in TextEncoder().fit(texts).tokenizer.tokens
    assert "cat" in TextEncoder(subword_buckets=10, has_vectors=True).fit(texts).tokenizer.tokens, (
        "a file may have its vector"
    )


def test_capitalisation_is_a_feature_where_case_is_kept():
    texts = ["so Anna ran", "so we ran"]
    runs = [TextEncoder(max_ngram=2, lowercase=lower).fit(texts).features for lower in (False, True)]
    assert [one and one.orders for one in runs] == [(1, 2, 1, 2, 3), (1, 2)]


def test_words_have_character_n_grams():
    units = TextEncoder(subword_buckets=1000)
    assert len(units.subwords("cat")) == 3 + 2 + 1, "<ca cat at>, <cat cat>, <cat>"
    assert set(units.subwords("cat")) & set(units.subwords("cats")) and len(units.subwords("")) == 1


def test_a_series_is_refused():
    with pytest.raises(ValueError, match="texts as in training, received a series in row 1"):
        TextEncoder().fit(["a b c"]).rows(["a", np.zeros((2, 1))])
