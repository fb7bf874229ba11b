"""Scores of captions beside several references each: BLEU-1 to BLEU-4, ROUGE-L, CIDEr-D, and variety.

The numbers are those of the COCO caption evaluation (Chen et al. 2015, arXiv 1504.00325), whose reference
implementation is pycocoevalcap. All functions take captions that are cut into tokens.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

Tokens = Sequence[str]
References = Sequence[Sequence[Tokens]]  # for each answer its references

_ORDERS = 4  # n-grams are counted up to this length
_BETA = 1.2  # of ROUGE-L: how much recall counts beside precision
_SIGMA = 6.0  # of CIDEr-D: the difference in length, in tokens, that lowers a score to 0.61
_SCALE = 10.0  # of CIDEr-D: equal captions have this score
_TINY, _SMALL = 1e-15, 1e-9  # keep BLEU's fractions finite, as in pycocoevalcap


def ngrams(tokens: Tokens, longest: int = _ORDERS) -> Counter[tuple[str, ...]]:
    """How often each n-gram of 1 to `longest` tokens occurs.

    >>> sorted(ngrams(["a", "b", "a"], 2).items())
    [(('a',), 2), (('a', 'b'), 1), (('b',), 1), (('b', 'a'), 1)]
    """
    return Counter(
        tuple(tokens[start : start + n])
        for n in range(1, longest + 1)
        for start in range(len(tokens) - n + 1)
    )


def bleu_scores(answers: Sequence[Tokens], references: References) -> list[float]:
    """BLEU-1 to BLEU-4 of a corpus, 0 to 1 (Papineni et al. 2002), without smoothing.

    The brevity penalty takes the reference of the closest length, and of two equally close ones the shorter.

    >>> [round(score, 3) for score in bleu_scores([["a", "b", "c"]], [[["a", "b", "d"], ["c"]]])]
    [1.0, 0.707, 0.0, 0.0]
    """
    matched, written = np.zeros(_ORDERS), np.zeros(_ORDERS)
    length = reference_length = 0
    for answer, truths in zip(answers, references, strict=True):
        allowed: Counter[tuple[str, ...]] = Counter()
        for truth in truths:
            allowed |= ngrams(truth)
        for ngram, count in ngrams(answer).items():
            matched[len(ngram) - 1] += min(count, allowed[ngram])
            written[len(ngram) - 1] += count
        length += len(answer)
        reference_length += min((abs(len(truth) - len(answer)), len(truth)) for truth in truths)[1]
    precision = np.cumprod((matched + _TINY) / (written + _SMALL)) ** (1.0 / np.arange(1, _ORDERS + 1))
    ratio = (length + _TINY) / (reference_length + _SMALL)
    return (precision * (math.exp(1.0 - 1.0 / ratio) if ratio < 1.0 else 1.0)).tolist()


def rouge_l(answers: Sequence[Tokens], references: References) -> float:
    """Mean F-score of the longest common subsequence with the best reference, 0 to 1 (Lin 2004).

    >>> round(rouge_l([["a", "b", "c"]], [[["a", "c"], ["d"]]]), 3)
    0.83
    """
    scores = [_rouge_l(answer, truths) for answer, truths in zip(answers, references, strict=True)]
    return float(np.mean(scores)) if scores else 0.0


def _rouge_l(answer: Tokens, truths: Sequence[Tokens]) -> float:
    common = [_common_subsequence(answer, truth) for truth in truths]
    precision = max(common) / max(1, len(answer))
    recall = max(count / max(1, len(truth)) for count, truth in zip(common, truths, strict=True))
    if not precision or not recall:
        return 0.0
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


def _common_subsequence(a: Tokens, b: Tokens) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for token in a:
        diagonal = 0
        for place, other in enumerate(b, 1):
            diagonal, row[place] = (
                row[place],
                diagonal + 1 if token == other else max(row[place], row[place - 1]),
            )
    return row[-1]


class CiderScorer:
    """CIDEr-D: the similarity of tf-idf weighted n-grams (Vedantam et al. 2015, arXiv 1411.5726).

    Args:
        references: for each image its captions, by which the n-grams' document frequencies are counted.

    >>> scorer = CiderScorer([[["a", "dog"]], [["two", "cats"]]])
    >>> round(scorer.score(["a", "dog"], [["a", "dog"]]), 3)
    5.0
    """

    def __init__(self, references: References) -> None:
        self.documents: Counter[tuple[str, ...]] = Counter()
        for truths in references:
            self.documents.update(set().union(*map(ngrams, truths)))
        self.log_images = math.log(max(1, len(references)))

    def score(self, answer: Tokens, truths: Sequence[Tokens]) -> float:
        """The mean score of an answer beside each of its references, 0 to 10."""
        vectors, norms = self._weighted(answer)
        total = 0.0
        for truth in truths:
            others, other_norms = self._weighted(truth)
            products = np.zeros(_ORDERS)
            for ngram, weight in vectors.items():
                other = others.get(ngram, 0.0)
                products[len(ngram) - 1] += min(weight, other) * other
            scale = norms * other_norms
            similar = np.divide(products, scale, out=products, where=scale > 0)
            total += float(similar.mean()) * math.exp(-(_difference(answer, truth) ** 2) / (2 * _SIGMA**2))
        return _SCALE * total / len(truths)

    def _weighted(self, tokens: Tokens) -> tuple[dict[tuple[str, ...], float], np.ndarray]:
        """Each n-gram's count times its inverse document frequency, and the norms by the n-grams' length."""
        vectors, squares = {}, np.zeros(_ORDERS)
        for ngram, count in ngrams(tokens).items():
            weight = count * (self.log_images - math.log(max(1, self.documents[ngram])))
            vectors[ngram] = weight
            squares[len(ngram) - 1] += weight**2
        return vectors, np.sqrt(squares)


def _difference(a: Tokens, b: Tokens) -> int:
    """Difference in length as the reference implementation has it, which counts pairs of tokens."""
    return max(0, len(a) - 1) - max(0, len(b) - 1)


def cider(answers: Sequence[Tokens], references: References) -> float:
    """Mean CIDEr-D of a corpus, 0 to 10; document frequencies are those of its references.

    >>> round(cider([["a", "dog"], ["a", "cat"]], [[["a", "dog"]], [["two", "cats"]]]), 3)
    2.5
    """
    scorer = CiderScorer(references)
    scores = [scorer.score(answer, truths) for answer, truths in zip(answers, references, strict=True)]
    return float(np.mean(scores)) if scores else 0.0


def distinct_share(answers: Sequence[Tokens]) -> float:
    """The number of different captions for one caption, 1 where all differ.

    >>> distinct_share([["a"], ["a"], ["b"], ["c"]])
    0.75
    """
    return len({tuple(answer) for answer in answers}) / max(1, len(answers))


def vocabulary_used(answers: Sequence[Tokens]) -> int:
    """The number of different tokens in all captions.

    >>> vocabulary_used([["a", "dog"], ["a", "cat"]])
    3
    """
    return len(set().union(*answers)) if answers else 0
