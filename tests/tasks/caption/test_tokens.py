"""Captions are cut into words, symbols or characters, found from the captions, and scored as COCO does."""

from __future__ import annotations

import pytest

from longspan.tasks.caption.tokens import CaptionTokens, find_level

FORMULAS = [r"\frac { a } { b }", r"x ^ { 2 }", r"\sqrt { x }"]


def test_the_level_is_found() -> None:
    assert find_level(FORMULAS) == "symbols"
    assert find_level(["XK12", "B7"]) == "characters"
    assert find_level(["a dog", "two cats sit on a mat"]) == "words"


@pytest.mark.parametrize(
    ("level", "captions"),
    [("words", ["a dog, two cats.", "a cat"]), ("symbols", FORMULAS), ("characters", ["XK 12", "b7"])],
)
def test_captions_come_back(level: str, captions: list[str]) -> None:
    tokens = CaptionTokens(level).fit(captions)
    assert [tokens.decode(tokens.encode(text)) for text in captions] == captions
    again = CaptionTokens.from_state(tokens.state())
    assert again.size == tokens.size and again.encode(captions[0]) == tokens.encode(captions[0])


def test_scores_count_no_punctuation_of_sentences_but_all_symbols() -> None:
    assert CaptionTokens("words").scored("A man's dog, well-fed!") == ["a", "man's", "dog", "well-fed"]
    assert CaptionTokens("symbols").scored(r"\frac { A }") == ["\\frac", "{", "A", "}"]
    assert CaptionTokens("characters").scored("a B") == ["a", " ", "B"]


def test_rare_words_of_many_captions_are_no_tokens() -> None:
    captions = ["a dog runs"] * 999 + ["a yak runs"]
    assert "yak" not in CaptionTokens("words").fit(captions).tokenizer.tokens
    assert "yak" in CaptionTokens("words").fit(captions[-10:]).tokenizer.tokens
    assert CaptionTokens("words", 6).fit(captions).size == 6


def test_a_blank_has_a_name() -> None:
    tokens = CaptionTokens("characters").fit(["a b"])
    assert tokens.names(tokens.encode("a b")) == ["a", "␣", "b"]
