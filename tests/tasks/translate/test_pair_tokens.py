"""Levels are found from the data, and unknown tokens of a source can be copied and written."""

from __future__ import annotations

import pytest

from longspan.tasks.pair_tokens import SideTokens, find_level


def test_levels_are_found() -> None:
    assert find_level(["abandon", "zebra", "new york"]) == "characters"
    assert find_level(["Z IY B R AH", "AH N D", "B AE"] * 10) == "words", "few kinds of words"
    assert find_level([f"number {n} is new here" for n in range(400)]) == "bpe", "words that come once"
    assert find_level(["x/y z", "x/y z w"] * 9) == "bpe", "words do not give these texts back"
    assert find_level(["Zebra in town"], copied=True) == "words", "unknown words are copied"


@pytest.mark.parametrize("level", ["words", "characters"])
def test_unknown_tokens_are_copied(level: str) -> None:
    side = SideTokens(level, copied=True).fit(["to be or not to be", "or not"])
    text = "be Ximen or Yx, Ximen" if level == "words" else "be XYX"
    numbers, unknown = side.encode_to_copy(text)
    assert unknown == (["Ximen", "Yx", ","] if level == "words" else ["X", "Y"])
    assert max(numbers) == side.size + len(unknown) - 1
    assert side.decode(numbers, unknown) == text
    again = SideTokens.from_state(side.state())
    assert again.encode_to_copy(text) == (numbers, unknown) and again.decode(numbers, unknown) == text


def test_byte_pairs_know_every_text() -> None:
    side = SideTokens("bpe").fit(["a small text", "a small test"] * 9)
    assert side.size <= 500 and side.decode(side.encode("ß 漢")) == "ß 漢"
    assert side.encode_to_copy("ß") == (side.encode("ß"), [])
