"""Text comes back from its numbers; unknown tokens; padding."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest

from longspan.data import BPE, Bytes, Characters, Tokenizer, Words, tokenizer

TEXTS = ["The cat sat on the mat.", "The dog (a big one) didn't sit!", "Naïve café, 3.5 €."]


def pairs() -> Tokenizer:
    pytest.importorskip("tokenizers", reason="needs tokenizers, which the text extra installs")
    return BPE(size=300)


MAKERS: list[Callable[[], Tokenizer]] = [Words, lambda: Words(lower=False), Characters, pairs]


@pytest.mark.parametrize("make", MAKERS)
def test_there_and_back(make: Callable[[], Tokenizer]):
    found = make().fit(TEXTS)
    words_only = isinstance(found, Words)
    for text in TEXTS[:2] if words_only else TEXTS:
        back = found.decode([*found.encode(text, ends=True), 0, 0])
        assert back == (text.lower() if words_only and found.lower else text)
        assert found.encode(text, ends=True) == [2, *found.encode(text), 3]
    again = tokenizer(json.loads(json.dumps(found.state())))
    assert again.tokens == found.tokens and again.encode(TEXTS[2]) == found.encode(TEXTS[2])


@pytest.mark.parametrize("make", MAKERS)
def test_padded(make: Callable[[], Tokenizer]):
    found = make().fit(TEXTS)
    values, lengths = found(["the", "", TEXTS[0]])
    assert lengths is not None and lengths[1] == 0 and values.shape == (3, int(lengths.max()))
    assert (values[1] == 0).all() and found.decode(values[2]) == found.decode(found.encode(TEXTS[0]))
    short, lengths = found(TEXTS, 4, ends=True, side="left")
    assert short.shape == (3, 4) and lengths is not None and lengths.tolist() == [4, 4, 4]
    assert (short[:, 0] == 2).all()


def test_the_most_frequent_first_and_the_rest_unknown():
    words = Words(size=6).fit(["b a b c", "a b"])
    assert words.tokens == ["<pad>", "<unknown>", "<start>", "<end>", "b", "a"] and words.size == 6
    assert words.encode("c b a") == [1, 4, 5] and words.decode([1, 4]) == "<unknown> b"
    assert Words(least=2).fit(["b a b c"]).size == 5
    assert Characters().fit(["ab"]).decode([1, 4]) == "\N{REPLACEMENT CHARACTER}a"


def test_special_words_in_a_text_are_text():
    for found in (pairs().fit(TEXTS), Words().fit(["<pad> x"]), Characters().fit(["<pad>"])):
        assert not set(found.encode("<pad> <end>")) & {0, 2, 3}


def test_nothing_is_unknown_to_byte_pairs():
    found = pairs().fit(TEXTS)
    assert 260 < found.size <= 300 and found.decode(found.encode("日本 🙂\n")) == "日本 🙂\n"


def test_missing_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(
        ImportError,
        match=re.escape(
            "BPE: expected the package tokenizers, received none; run pip install 'longspan[text]'."
        ),
    ):
        BPE()


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "before fit": (lambda: Words().encode("a"), "tokenizer: expected a fitted one, received one before fit"),
    "no string": (
        lambda: Words().fit(["a"]).encode(3),  # pyright: ignore[reportArgumentType]
        "text: expected a string, received int; pass texts one by one.",
    ),
    "a string for texts": (
        lambda: Words().fit(["a"])("abc"),
        "texts: expected a list of strings, received str; put it in a list.",
    ),
    "no text": (lambda: Words().fit([""]), "texts: expected at least one token, received no text"),
    "no texts": (lambda: Characters().fit([]), "texts: expected at least one token, received no text"),
    "empty texts": (
        lambda: Words().fit(["a"])(["", ""]),
        "texts: expected at least one token in all, received empty texts only",
    ),
    "size": (lambda: Words(size=4), "size: expected a whole number of at least 5, received 4"),
    "number": (
        lambda: Words().fit(["a"]).decode([9]),
        "numbers: expected numbers from 0 to 4, received 9; decode with the tokenizer that encoded.",
    ),
    "kind": (
        lambda: tokenizer({"kind": "word"}),
        "kind: expected one of 'words', 'characters', 'bytes', 'bpe'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_sentence(case: str):
    wrong, words = WRONG[case]
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        wrong()


def test_words_with_line_ends_and_words_between_blanks() -> None:
    text = "It was (once) late.\nHe said: no!\n"
    lines = Words(lower=False, lines=True).fit([text])
    assert "\n" in lines.tokens and lines.decode(lines.encode(text)) == text
    blanks = Words(lower=False, blanks=True).fit([" mr. <unk> paid N \n the n't end \n"])
    assert {"mr.", "<unk>", "n't", "\n"} <= set(blanks.tokens)
    assert blanks.decode(blanks.encode("the mr. \n end ,")).startswith("the mr.\nend ")
    again = tokenizer(json.loads(json.dumps(blanks.state())))
    assert again.encode(" N \n") == blanks.encode(" N \n")


def test_bytes_know_every_text() -> None:
    found = Bytes()
    assert found.size == 260 and tokenizer(found.state()).encode("aé") == found.encode("aé")
    for text in (*TEXTS, "\x00\N{SNOWMAN}"):
        assert found.decode(found.encode(text)) == text
    assert found.decode(found.encode("é")[:1]) == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("make", [*MAKERS, Bytes])
def test_arrays_have_the_numbers_of_lists(make: Callable[[], Tokenizer]) -> None:
    found = make().fit(TEXTS)
    for text in (*TEXTS, "", "Ж\N{SNOWMAN} new 𝄞 words"):
        assert found.encode_array(text).tolist() == found.encode(text)
