"""Labels are commands, words, byte pairs or characters, found from the transcripts; texts come back whole."""

from __future__ import annotations

import numpy as np
import pytest

from longspan.tasks.speech.tokens import SpeechTokens, find_level

TEXTS = ["turn left", "turn right now", "stop"]


@pytest.mark.parametrize("level", ["commands", "words", "bpe", "characters"])
def test_texts_come_back(level: str) -> None:
    if level == "bpe":
        pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    tokens = SpeechTokens(level, 300 if level == "bpe" else None).fit(TEXTS)
    for text in TEXTS:
        numbers = tokens.encode(text)
        assert tokens.decode(numbers) == text and min(numbers) >= 4
        assert len(numbers) == 1 or level != "commands"
    restored = SpeechTokens.from_state(tokens.state())
    assert restored.encode(TEXTS[1]) == tokens.encode(TEXTS[1]) and restored.size == tokens.size
    assert len(tokens.names()) == tokens.size and tokens.names()[0] == "·"


def test_unheard_parts_have_no_label() -> None:
    spelled = SpeechTokens("characters").fit(["abc"])
    assert spelled.decode(spelled.encode("axb")) == "ab" and spelled.unheard("axxb") == ["x"]
    words = SpeechTokens("words").fit(TEXTS)
    assert words.unheard("turn back") == ["back"] and words.decode(words.encode("turn back")) == "turn"
    commands = SpeechTokens("commands").fit(TEXTS)
    assert commands.encode("turn") == [] and commands.unheard("turn") == ["turn"]
    assert commands.unheard("stop") == []


def test_tokens_belong_to_words() -> None:
    spelled = SpeechTokens("characters").fit(["a bc"])
    assert spelled.word_numbers(spelled.encode("a bc a")) == [0, -1, 1, 1, -1, 2]
    assert spelled.word_numbers(spelled.encode("bc")) == [0, 0]
    words = SpeechTokens("words").fit(TEXTS)
    assert words.word_numbers(words.encode("turn left")) == [0, 1]


def test_byte_pairs_belong_to_words() -> None:
    pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    tokens = SpeechTokens("bpe", 275).fit(["turn left turn right"] * 4)
    numbers = tokens.word_numbers(tokens.encode("turn left turn"))
    assert max(numbers) == 2 and sorted(numbers) == numbers


def test_the_level_is_found() -> None:
    draw = np.random.default_rng(0)
    digits = ["one", "two", "three", "four"]
    strings = [" ".join(draw.choice(digits, 6)) for _ in range(100)]
    assert find_level(strings) == "words"
    assert find_level(digits * 5) == "commands"
    assert find_level(digits * 4) == "characters"
    sentences = [f"{a} saw {b} in {c}" for a, b, c in zip("abcdefgh", "hgfedcba", "ijklmnop", strict=True)]
    assert find_level(sentences) == "characters"
