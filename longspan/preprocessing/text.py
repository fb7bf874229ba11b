"""Turns texts into numbers with Keras 2's names; longspan.data.Words is the newer way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from longspan import errors

FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
MODES = ("binary", "count", "freq")


def text_to_word_sequence(
    input_text: str, filters: str = FILTERS, lower: bool = True, split: str = " "
) -> list[str]:
    """The words of a text.

    >>> text_to_word_sequence("The cat, the hat!")
    ['the', 'cat', 'the', 'hat']
    """
    text = input_text.lower() if lower else input_text
    text = text.translate(str.maketrans(dict.fromkeys(filters, split)))
    return [word for word in text.split(split) if word]


class Tokenizer:
    """Words as numbers from 1, the most frequent first: Keras 2's class of this name.

    Args:
        num_words: keep the num_words - 1 most frequent words; None keeps all.
        filters: characters that count as `split`.
        lower: whether texts are put in lower case.
        split: what stands between words.
        char_level: every character is a word.
        oov_token: the word that stands for unknown ones, number 1; None leaves them out.

    Attributes:
        word_index, index_word: word -> number and back, whatever num_words is.
        word_counts: word -> how often it came.

    >>> tokenizer = Tokenizer(oov_token="?")
    >>> tokenizer.fit_on_texts(["the cat sat", "the dog"])
    >>> tokenizer.texts_to_sequences(["The cat barks"])
    [[2, 3, 1]]
    """

    def __init__(
        self,
        num_words: int | None = None,
        filters: str = FILTERS,
        lower: bool = True,
        split: str = " ",
        char_level: bool = False,
        oov_token: str | None = None,
    ) -> None:
        self.num_words, self.filters, self.lower, self.split = num_words, filters, lower, split
        self.char_level, self.oov_token = char_level, oov_token
        self.word_counts: Counter[str] = Counter()
        self.document_count = 0
        self.word_index: dict[str, int] = {}
        self.index_word: dict[int, str] = {}

    def _words(self, text: str | Sequence[str]) -> list[str]:
        if not isinstance(text, str):
            return [word.lower() for word in text] if self.lower else list(text)
        if self.char_level:
            return list(text.lower() if self.lower else text)
        return text_to_word_sequence(text, self.filters, self.lower, self.split)

    def fit_on_texts(self, texts: Iterable[str | Sequence[str]]) -> None:
        """Count the words of texts, beside those of earlier calls, and number them."""
        for text in texts:
            self.document_count += 1
            self.word_counts.update(self._words(text))
        words = [word for word, _ in self.word_counts.most_common()]
        ordered = words if self.oov_token is None else [self.oov_token, *words]
        self.word_index = {word: number for number, word in enumerate(dict.fromkeys(ordered), 1)}
        self.index_word = {number: word for word, number in self.word_index.items()}

    def texts_to_sequences(self, texts: Iterable[str | Sequence[str]]) -> list[list[int]]:
        """The numbers of every text's words; unknown ones are oov_token's number or left out."""
        unknown = None if self.oov_token is None else self.word_index.get(self.oov_token)
        sequences = []
        for text in texts:
            codes = [self.word_index.get(word) for word in self._words(text)]
            replaced = [unknown if code is None or self._rare(code) else code for code in codes]
            sequences.append([code for code in replaced if code is not None])
        return sequences

    def _rare(self, code: int) -> bool:
        return self.num_words is not None and code >= self.num_words

    def sequences_to_texts(self, sequences: Iterable[Sequence[int]]) -> list[str]:
        """The words of every row of numbers, with a space between."""
        return [
            " ".join(self.index_word[code] for code in row if code in self.index_word) for row in sequences
        ]

    def texts_to_matrix(self, texts: Iterable[str | Sequence[str]], mode: str = "binary") -> np.ndarray:
        """(N, num_words) float64: whether, how often ("count") or in what share ("freq") each word comes."""
        errors.check_choice("mode", mode, MODES)
        rows = self.texts_to_sequences(texts)
        matrix = np.zeros((len(rows), self.num_words or len(self.word_index) + 1))
        for target, row in zip(matrix, rows, strict=True):
            np.add.at(target, row, 1.0 / max(len(row), 1) if mode == "freq" else 1.0)
        return np.minimum(matrix, 1.0) if mode == "binary" else matrix
