"""Knows covariates, numbers and text: cut, kept, and as a network reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

Vocabularies = Mapping[str, Mapping[str, int]]  # column -> word -> its place, from 1


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
        """Places of the rows' words in their vocabularies, (..., K) int64; 0 for one missing or unknown.

        Args:
            rows: (...); inside: (...), False at rows of which nothing is known.
        """
        found = np.zeros((*rows.shape, len(self.labels)), np.int64)
        for place, (name, labels) in enumerate(self.labels.items()):
            known = vocabularies[name]
            codes = np.vectorize(lambda word, known=known: known.get(word, 0), otypes=[np.int64])
            found[..., place] = codes(labels[rows])
        if inside is not None:
            found[~inside] = 0
        return found

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
    """The words of every column of text, in the order of the alphabet."""
    return {
        name: {word: place + 1 for place, word in enumerate(sorted({*values.tolist()} - {""}))}
        for part in parts
        for name, values in part.labels.items()
    }


def standard(
    numbers: np.ndarray, moments: tuple[np.ndarray, np.ndarray], inside: np.ndarray | None = None
) -> np.ndarray:
    """Numbers (..., K) with mean 0 and deviation 1, 0 where they are missing.

    Args:
        moments: mean and deviation (K,), as `scaling.moments` gives them; inside: as for `words`.
    """
    if numbers.shape[-1] == 0:
        return numbers
    found = np.nan_to_num((numbers - moments[0]) / moments[1])
    return found if inside is None else np.where(inside[..., None], found, 0.0)
