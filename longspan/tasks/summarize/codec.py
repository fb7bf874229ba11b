"""The codec of a summarizer: ROUGE, and the trivial answers: the first sentence, the best words by tf-idf."""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import partial
from typing import Any

from typing_extensions import Self

from longspan.metrics import text
from longspan.tasks.codec import Tree
from longspan.tasks.pair_codec import PairCodec, TextMetric
from longspan.tasks.pair_reading import Pair

_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_SENTENCE = re.compile(r"\s*(.+?[.!?…](?=\s)|[^\n]+)", re.DOTALL)
_LEAST = 2  # texts of training in which a word must occur for its frequency to be kept


class SummaryCodec(PairCodec):
    """Pairs as tokens; scores by ROUGE; how many texts of training have each word, for tf-idf."""

    texts = 0  # of training
    words = 1  # of a mean summary
    frequencies: dict[str, int]  # word -> texts of training that have it, those of a single one left out

    def fit(self, train: list[Pair], valid: list[Pair] | None = None) -> Self:
        self.texts = len(train)
        counts = Counter(word for pair in train for word in set(_words(pair.source)))
        self.frequencies = {word: count for word, count in counts.items() if count >= _LEAST}
        self.words = max(1, round(sum(len(_words(pair.target or "")) for pair in train) / len(train)))
        return super().fit(train, valid)

    def text_metrics(self) -> dict[str, TextMetric]:
        kinds: dict[str, TextMetric] = {
            kind: partial(text.rouge, kind) for kind in ("rouge1", "rouge2", "rougeL")
        }
        return {**kinds, "exact_match": text.exact_match, "edit_distance": text.edit_rate}

    def rivals(self, sources: list[str]) -> dict[str, list[str]]:
        return {"lead": [first_sentence(s) for s in sources], "tfidf": [self._best_words(s) for s in sources]}

    def _best_words(self, source: str) -> str:
        """As many words as a mean summary has: those with the highest tf-idf, in the text's order."""
        counts = Counter(_words(source))
        weights = {
            word: count * math.log((1 + self.texts) / (1 + self.frequencies.get(word, 1)))
            for word, count in counts.items()
        }
        best = set(sorted(weights, key=lambda word: -weights[word])[: self.words])
        return " ".join(word for word in counts if word in best)

    def state(self) -> dict[str, Any]:
        own = {"texts": self.texts, "words": self.words, "frequencies": self.frequencies}
        return {**super().state(), **own}

    def restore(self, state: Tree) -> Self:
        self.texts, self.words, self.frequencies = state["texts"], state["words"], state["frequencies"]
        return super().restore(state)


def _words(source: str) -> list[str]:
    return _WORD.findall(source.lower())


def first_sentence(source: str) -> str:
    """The text up to the first end of a sentence or of a line.

    >>> first_sentence("Hello Anna. The report is late!"), first_sentence("no end")
    ('Hello Anna.', 'no end')
    """
    found = _SENTENCE.match(source.strip())
    return found.group(1).strip() if found else ""
