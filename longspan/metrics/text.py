"""Scores of written texts beside the true ones: BLEU, chrF, ROUGE, exact match, edits, WER and CER."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from longspan.optional import require

Texts = Sequence[str]


def exact_match(answers: Texts, truths: Texts) -> float:
    """Share of the answers that equal their truth, up to blanks.

    >>> exact_match(["a  b", "c"], ["a b", "d"])
    0.5
    """
    same = (answer.split() == truth.split() for answer, truth in zip(answers, truths, strict=True))
    return sum(same) / max(1, len(answers))


def edit_distance(answer: Sequence[Any], truth: Sequence[Any]) -> int:
    """Insertions, deletions and substitutions that make one sequence the other (Levenshtein 1966).

    Args:
        answer, truth: strings, or lists of tokens.

    >>> edit_distance("kitten", "sitting"), edit_distance(["a", "b"], ["b"])
    (3, 1)
    """
    numbers: dict[Any, int] = {}
    a, b = (
        np.array([numbers.setdefault(token, len(numbers)) for token in tokens], dtype=np.int64)
        for tokens in (answer, truth)
    )
    steps = np.arange(len(b) + 1)
    row = steps
    for number, token in enumerate(a, 1):
        # from above or from the upper left; then insertions, which go on to the right
        best = np.concatenate([[number], np.minimum(row[1:] + 1, row[:-1] + (b != token))])
        row = np.minimum.accumulate(best - steps) + steps
    return int(row[-1])


def edit_rate(answers: Texts, truths: Texts) -> float:
    """Edits of characters for each character of the truths, over all texts.

    >>> edit_rate(["abc", "x"], ["abd", "x"])
    0.25
    """
    edits = sum(map(edit_distance, answers, truths))
    return edits / max(1, sum(map(len, truths)))


def bleu(answers: Texts, truths: Texts) -> float:
    """BLEU of a corpus by sacrebleu's standard tokenizer, 0 to 100 (Papineni et al. 2002; Post 2018).

    Args:
        answers, truths: whole texts as people write them, not cut into tokens.

    Raises:
        ImportError: sacrebleu is missing; the sentence names the command.
    """
    return float(_sacrebleu().corpus_bleu(list(answers), [list(truths)]).score)


def chrf(answers: Texts, truths: Texts) -> float:
    """chrF2 of a corpus by sacrebleu, 0 to 100 (Popović 2015): F-score of character n-grams.

    Raises:
        ImportError: sacrebleu is missing; the sentence names the command.
    """
    return float(_sacrebleu().corpus_chrf(list(answers), [list(truths)]).score)


def _sacrebleu() -> Any:
    return require("sacrebleu", "translate", "BLEU and chrF")


def rouge(kind: str, answers: Texts, truths: Texts) -> float:
    """Mean F1 of ROUGE with stems by rouge-score, 0 to 100 (Lin 2004).

    Args:
        kind: "rouge1" or "rouge2" (words, pairs of words), "rougeL" (longest common subsequence).

    Raises:
        ImportError: rouge-score is missing; the sentence names the command.
    """
    scorer = require("rouge_score.rouge_scorer", "summarize", "ROUGE").RougeScorer([kind], use_stemmer=True)
    scores = [
        scorer.score(truth, answer)[kind].fmeasure for answer, truth in zip(answers, truths, strict=True)
    ]
    return 100.0 * float(np.mean(scores)) if scores else 0.0


def word_error_rate(answers: Texts, truths: Texts) -> float:
    """Edits of words for each word of the truths, over all texts, by jiwer.

    Raises:
        ImportError: jiwer is missing; the sentence names the command.
    """
    return float(_jiwer().wer(list(truths), list(answers)))


def character_error_rate(answers: Texts, truths: Texts) -> float:
    """Edits of characters for each character of the truths, over all texts, by jiwer.

    Raises:
        ImportError: jiwer is missing; the sentence names the command.
    """
    return float(_jiwer().cer(list(truths), list(answers)))


def _jiwer() -> Any:
    return require("jiwer", "speech", "WER and CER")
