"""Fits the linear model of n-grams beside the networks of texts, and selects its penalty and weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from longspan.data.labels import Labels
from longspan.data.padding import RaggedTensor

from .linear import INVERSE_PENALTIES, NBSVM, LinearHeadSelection, Rows, fit_path
from .text_encoder import TextEncoder


class TextHead:
    """The linear model of n-grams, whose scores are added to those of the networks.

    Validation labels select its penalty and its weight; then it is fitted to all records.

    Args:
        encoder: of the texts, with n-grams as features; labels: fitted.

    Attributes:
        model: the fitted linear model, None before.
        selection: the inverse penalty and the weight, and the models among which is selected.
    """

    def __init__(
        self, encoder: TextEncoder, labels: Labels, selection: LinearHeadSelection | None = None
    ) -> None:
        self.encoder, self.labels = encoder, labels
        self.model: NBSVM | None = None
        self.selection = selection or LinearHeadSelection()

    def fit(self, texts: Sequence[Any], targets: Tensor, sample_weight: Tensor | None = None) -> TextHead:
        """Fit the model with the selected penalty and weight; returns itself.

        Args:
            texts: N; targets: (N,) class numbers or (N, C) zeros and ones.
            sample_weight: (N,) or (N, C), the factor of each loss; None for 1.
        """
        self.model = self._path(texts, targets, self.selection.path, sample_weight)[self.selection.C]
        self.model.weight.fill_(self.selection.weight)
        return self

    def fit_candidates(
        self, texts: Sequence[Any], targets: Tensor, sample_weight: Tensor | None = None
    ) -> TextHead:
        """Fit a model with every penalty, for `select`; the arguments are those of `fit`."""
        self.selection = LinearHeadSelection(self._path(texts, targets, INVERSE_PENALTIES, sample_weight))
        return self

    def _path(
        self, texts: Sequence[Any], targets: Tensor, Cs: Sequence[float], sample_weight: Tensor | None
    ) -> dict[float, NBSVM]:
        """C -> the model fitted with it."""
        ngrams = self.encoder.features
        assert ngrams is not None
        unfitted = NBSVM(ngrams.size, len(self.labels.classes), ngrams.orders)
        return fit_path(unfitted, self.concatenated(texts), targets, Cs, sample_weight)

    def select(self, network_scores: Tensor, texts: Sequence[Any], targets: Tensor) -> None:
        """Select penalty and weight by the likelihood of validation labels; network_scores: (N, C)."""
        if self.selection.models:
            self.model = self.selection.select(
                self.concatenated(texts),
                network_scores,
                lambda scores: self.labels.best_temperature(scores, targets)[0],
            )
            self.selection.models = {}

    def left_out(
        self, texts: Sequence[Any], targets: Tensor, folds: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        """Scores (N, C) of every text by a model fitted to the other folds; folds: (N,) numbers."""
        scores = torch.zeros(len(texts), len(self.labels.classes))
        for fold in folds.unique().tolist():
            train, valid = (rows.nonzero().flatten() for rows in (folds != fold, folds == fold))
            weight = None if sample_weight is None else sample_weight[train]
            part = TextHead(self.encoder, self.labels, self.selection)
            part.fit([texts[row] for row in train.tolist()], targets[train], weight)
            assert part.model is not None
            scores[valid] = part.model.scores(*self.concatenated([texts[row] for row in valid.tolist()]))
        return scores

    def combine(self, network_scores: Tensor, texts: Sequence[Any]) -> Tensor:
        """The scores (N, C) of the networks plus those of the linear model."""
        if self.model is None:
            return network_scores
        return network_scores + self.model.weight * self.model.scores(*self.concatenated(texts))

    def concatenated(self, texts: Sequence[Any]) -> Rows:
        """The n-grams of all texts end to end: numbers and weights (S,), and each text's start (N,)."""
        numbers, weights = self._features(texts)
        return numbers.values.flatten(), weights.values.flatten(), numbers.starts * numbers.values.shape[1]

    def attribution(self, texts: Sequence[Any], classes: Tensor) -> Tensor:
        """The score (N, T) that each token adds to its text's class (N,)."""
        if self.model is None:
            return torch.zeros(())
        numbers, weights = (part.pad(torch.arange(len(texts)))[0] for part in self._features(texts))
        return self.model.weight * self.model.attribution(numbers, weights, classes)

    def _features(self, texts: Sequence[Any]) -> tuple[RaggedTensor, RaggedTensor]:
        features = self.encoder.sparse_features(texts)
        assert features is not None
        return features

    def state(self) -> dict[str, Any] | None:
        """Plain values and tensors that `from_state` takes; None for a model that is not fitted."""
        return (
            None if self.model is None else {"weights": self.model.state_dict(), "orders": self.model.orders}
        )

    @classmethod
    def from_state(cls, state: Mapping[str, Any], encoder: TextEncoder, labels: Labels) -> TextHead:
        """The head that gave this state."""
        head, weights = cls(encoder, labels), state["weights"]
        ngrams, classes = weights["table"].shape
        head.model = NBSVM(ngrams, classes, tuple(state["orders"]))
        head.model.load_state_dict(weights)
        return head
