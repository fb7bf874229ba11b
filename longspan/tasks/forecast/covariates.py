"""Stores covariates of numbers and text, and encodes them as standardized numbers and vocabulary indices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

Vocabularies = Mapping[
    str, Mapping[str, int]
]  # column -> word -> index from 1; 0 stands for missing and unknown words


class Covariates(NamedTuple):
    """numbers: (N, K) float32, NaN where missing; labels: name -> (N,) text, "" where missing."""

    numbers: np.ndarray
    labels: dict[str, np.ndarray]

    def take(self, rows: np.ndarray) -> Covariates:
        """The covariates of some rows, as copies."""
        return Covariates(self.numbers[rows], {name: values[rows] for name, values in self.labels.items()})

    def words(
        self, rows: np.ndarray, vocabularies: Vocabularies, inside: np.ndarray | None = None
    ) -> np.ndarray:
        """Vocabulary indices of the rows' words, (..., K) int64; 0 for a missing or unknown word.

        Args:
            rows: (...); inside: (...), False where a row lies outside its series, which gives 0.
        """
        indices = np.zeros((*rows.shape, len(self.labels)), np.int64)
        for column, (name, labels) in enumerate(self.labels.items()):
            vocabulary = vocabularies[name]
            lookup = np.vectorize(lambda word, words=vocabulary: words.get(word, 0), otypes=[np.int64])
            indices[..., column] = lookup(labels[rows])
        if inside is not None:
            indices[~inside] = 0
        return indices

    def state(self) -> dict[str, Any]:
        """Plain values and tensors that `from_state` makes the same covariates from."""
        import torch  # only here: reading tables needs none of it

        labels = {name: values.tolist() for name, values in self.labels.items()}
        return {"numbers": torch.from_numpy(self.numbers.copy()), "labels": labels}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Covariates:
        """The covariates that gave this state."""
        labels = {name: np.array(values, dtype=object) for name, values in state["labels"].items()}
        return cls(state["numbers"].numpy(), labels)


def vocabularies(parts: Iterable[Covariates]) -> dict[str, dict[str, int]]:
    """For every column of text, word -> index from 1 in alphabetical order."""
    return {
        name: {word: index for index, word in enumerate(sorted({*values.tolist()} - {""}), start=1)}
        for part in parts
        for name, values in part.labels.items()
    }


def standard(
    numbers: np.ndarray, moments: tuple[np.ndarray, np.ndarray], inside: np.ndarray | None = None
) -> np.ndarray:
    """Numbers (..., K) standardized to mean 0 and deviation 1; 0 where missing or outside the series.

    Args:
        moments: mean and deviation (K,), as `scaling.moments` gives them; inside: as for `words`.
    """
    if numbers.shape[-1] == 0:
        return numbers
    scaled = np.nan_to_num((numbers - moments[0]) / moments[1])
    return scaled if inside is None else np.where(inside[..., None], scaled, 0.0)
