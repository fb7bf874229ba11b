"""Edit distance against a plain recursion, BLEU, chrF and ROUGE against their packages' examples."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from longspan.metrics import text


def plain_distance(a: str, b: str) -> int:
    @cache
    def rest(i: int, j: int) -> int:
        if i == len(a) or j == len(b):
            return len(a) - i + len(b) - j
        return min(rest(i + 1, j) + 1, rest(i, j + 1) + 1, rest(i + 1, j + 1) + (a[i] != b[j]))

    return rest(0, 0)


def test_edit_distance_is_that_of_the_recursion() -> None:
    draw = np.random.default_rng(0)
    for _ in range(60):
        a, b = ("".join(draw.choice(list("abc"), draw.integers(0, 9))) for _ in range(2))
        assert text.edit_distance(a, b) == plain_distance(a, b), (a, b)


def test_rates_are_over_all_texts() -> None:
    assert text.edit_rate(["ab", ""], ["ab", "abcd"]) == pytest.approx(4 / 6)
    assert text.edit_rate([], []) == 0.0 and text.exact_match([], []) == 0.0
    assert text.exact_match(["a b ", "c"], ["a b", "d"]) == 0.5


def test_bleu_and_chrf_are_of_whole_texts() -> None:
    pytest.importorskip("sacrebleu", reason="sacrebleu is not installed")
    truths = ["The cat sat on the mat, quietly.", "A dog runs in the park."]
    assert text.bleu(truths, truths) == pytest.approx(100.0) == pytest.approx(text.chrf(truths, truths))
    other = ["The cat sat on a mat, quietly.", "A dog runs."]
    assert 20 < text.bleu(other, truths) < 80 and 40 < text.chrf(other, truths) < 90


def test_rouge_has_stems() -> None:
    pytest.importorskip("rouge_score", reason="rouge-score is not installed")
    assert text.rouge("rouge1", ["meeting notes"], ["meetings note"]) == pytest.approx(100.0)
    assert text.rouge("rouge2", ["b a"], ["a b"]) == 0.0
    assert text.rouge("rougeL", ["a x b"], ["a b"]) == pytest.approx(80.0)
    assert text.rouge("rouge1", [], []) == 0.0


def test_error_rates_of_words_and_characters_are_edits_over_all_texts() -> None:
    pytest.importorskip("jiwer", reason="jiwer is not installed")
    truths, answers = ["one two three", "four"], ["one three", "five four"]
    assert text.word_error_rate(answers, truths) == pytest.approx(2 / 4)
    edits = sum(text.edit_distance(a, b) for a, b in zip(answers, truths, strict=True))
    assert text.character_error_rate(answers, truths) == pytest.approx(edits / sum(map(len, truths)))
    assert text.word_error_rate([""], ["one"]) == 1.0
