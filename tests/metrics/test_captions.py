"""Scores of captions beside the numbers that pycocoevalcap 1.2 gives for the same captions."""

from __future__ import annotations

import pytest

from longspan.metrics import captions

REFERENCES = [
    ["a small dog runs over the green grass", "a dog is running on grass"],
    ["two red boats lie in a harbour", "some boats are in the water", "boats near a quay"],
    ["a river between two forests"],
    ["many houses and many trees stand along the road", "houses with trees"],
]
ANSWERS = [
    "a dog runs on the grass",
    "two boats are in a harbour",
    "a road between two houses with a river",
    "many many houses",
]
TRUTHS = [[caption.split() for caption in row] for row in REFERENCES]
WRITTEN = [answer.split() for answer in ANSWERS]


def test_bleu_is_that_of_the_coco_evaluation() -> None:
    scores = [0.8260869564858223, 0.625543242141164, 0.3736667631270214, 4.666756931366404e-05]
    assert captions.bleu_scores(WRITTEN, TRUTHS) == pytest.approx(scores, rel=1e-9)


def test_rouge_l_is_that_of_the_coco_evaluation() -> None:
    assert captions.rouge_l(WRITTEN, TRUTHS) == pytest.approx(0.5964299693687211, rel=1e-9)


def test_cider_is_that_of_the_coco_evaluation() -> None:
    assert captions.cider(WRITTEN, TRUTHS) == pytest.approx(1.863997302167697, rel=1e-9)
    scorer = captions.CiderScorer(TRUTHS)
    each = [scorer.score(answer, truths) for answer, truths in zip(WRITTEN, TRUTHS, strict=True)]
    expected = [2.0195821470755804, 2.3580499664875356, 2.031115845304633, 1.0472412498030388]
    assert each == pytest.approx(expected, rel=1e-9)


def test_equal_captions_have_the_highest_scores() -> None:
    truths = [[row[0]] for row in TRUTHS]
    answers = [row[0] for row in TRUTHS]
    assert captions.bleu_scores(answers, truths) == pytest.approx([1.0] * 4)
    assert captions.rouge_l(answers, truths) == pytest.approx(1.0)
    assert captions.cider(answers, truths) == pytest.approx(10.0)


def test_an_empty_caption_scores_nothing() -> None:
    assert captions.bleu_scores([[]], [[["a"]]])[0] == pytest.approx(0.0, abs=1e-6)
    assert captions.rouge_l([[]], [[["a"]]]) == 0.0
    assert captions.cider([[], ["b"]], [[["a"]], [["b"]]]) == pytest.approx(1.25)
    assert captions.bleu_scores([], []) == pytest.approx([0.0] * 4)


def test_one_sentence_for_all_is_seen() -> None:
    assert captions.distinct_share([["a", "dog"]] * 4) == 0.25
    assert captions.vocabulary_used([["a", "dog"]] * 4) == 2
