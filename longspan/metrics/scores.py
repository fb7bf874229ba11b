"""Scores of whole label tables: F-beta of classes and R2 of columns."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from longspan import errors
from longspan.config import epsilon
from longspan.losses import match_ranks

from .base import Metric, total_of, weights_like


class _FBeta(Metric):
    """The weighted harmonic mean of precision and recall. Abstract: see FBetaScore."""

    def __init__(
        self, average: str | None, beta: float, threshold: float | None, name: str, dtype: Any
    ) -> None:
        super().__init__(name, "up", "hits", "false_alarms", "misses", "positives", dtype=dtype)
        if average is not None:
            errors.check_choice("average", average, ("micro", "macro", "weighted"))
        if not isinstance(beta, float) or not beta > 0.0:
            raise errors.value_error("beta", "a float above 0", repr(beta), "1 makes it the F1 score")
        if threshold is not None and not isinstance(threshold, float):
            raise errors.value_error("threshold", "a float, or None", repr(threshold), "0.5 is usual")
        if threshold is not None and not 0.0 < threshold <= 1.0:
            raise errors.value_error("threshold", "a number in (0, 1], or None", threshold, "0.5 is usual")
        self.average, self.beta, self.threshold = average, beta, threshold

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        if y_true.dim() != 2 or y_true.shape != y_pred.shape:
            received = f"y {tuple(y_true.shape)} and outputs {tuple(y_pred.shape)}"
            raise errors.value_error(self.name, "y and outputs of shape (B, V)", received, "one-hot encode y")
        if self.threshold is None:
            predicted = (y_pred >= y_pred.amax(-1, keepdim=True)) & (y_pred.abs() > 1e-9)
        else:
            predicted = y_pred > self.threshold
        scale = 1.0 if sample_weight is None else sample_weight.double().unsqueeze(1)
        truth, predicted = y_true.double(), predicted.double()
        dims = () if self.average == "micro" else (0,)
        self.add(
            hits=total_of(predicted * truth * scale, *dims),
            false_alarms=total_of(predicted * (1.0 - truth) * scale, *dims),
            misses=total_of((1.0 - predicted) * truth * scale, *dims),
            positives=total_of(truth * scale, *dims),
        )

    def result(self) -> Tensor:
        hits, false_alarms, misses, positives = (torch.as_tensor(total) for total in self.sums.values())
        precision, recall = hits / (hits + false_alarms + epsilon()), hits / (hits + misses + epsilon())
        square = self.beta**2
        score = precision * recall / (square * precision + recall + epsilon()) * (1.0 + square)
        if self.average == "weighted":
            return (score * positives / (positives.sum() + epsilon())).sum()
        return score if self.average is None else score.mean()


class FBetaScore(_FBeta):
    """The weighted harmonic mean of precision and recall, a number a class or averaged.

    Args:
        average: None for one number a class, or "micro", "macro", "weighted" (by how often classes occur).
        beta: how many times as much recall counts as precision.
        threshold: classes with a higher probability are predicted; None predicts the most probable class.
    """

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str = "fbeta_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(average, beta, threshold, name, dtype=dtype)


class F1Score(_FBeta):
    """The harmonic mean of precision and recall: `FBetaScore` with beta 1."""

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str = "f1_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(average, 1.0, threshold, name, dtype=dtype)


class R2Score(Metric):
    """The share of the truths' variance that the predictions explain, 1 at best (R squared).

    Args:
        class_aggregation: None for one number a column, "uniform_average" or "variance_weighted_average".
        num_regressors: the number p of independent variables, for the adjusted score of n values,
            1 - (1 - R2) (n - 1) / (n - p - 1); 0 for R2 itself.
    """

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str = "r2_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, "up", "total", "squares", "errors", "count", "rows", dtype=dtype)
        if class_aggregation is not None:
            options = ("uniform_average", "variance_weighted_average")
            errors.check_choice("class_aggregation", class_aggregation, options)
        self.class_aggregation = class_aggregation
        self.num_regressors = errors.check_int("num_regressors", num_regressors, 0, "0 is R2 itself")

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        y_true, y_pred = match_ranks(y_true, y_pred)
        if y_true.dim() != 2 or y_true.shape != y_pred.shape:
            received = f"y {tuple(y_true.shape)} and outputs {tuple(y_pred.shape)}"
            raise errors.value_error(self.name, "y and outputs of shape (B, D)", received, "reshape them")
        truth, predicted = y_true.double(), y_pred.double()
        scale = torch.ones_like(truth) if sample_weight is None else weights_like(truth, sample_weight)
        self.add(
            total=total_of(truth * scale, 0),
            squares=total_of(truth.square() * scale, 0),
            errors=total_of((truth - predicted).square() * scale, 0),
            count=total_of(scale, 0),
            rows=float(truth.numel()),
        )

    def result(self) -> Tensor:
        total, squares, residuals, count, rows = (torch.as_tensor(value) for value in self.sums.values())
        variation = squares - total * (total / count)
        score = 1.0 - residuals / variation
        score = torch.where(score.isinf(), 0.0, score)
        if self.class_aggregation == "variance_weighted_average":
            score = (score * variation).sum() / variation.sum()
        elif self.class_aggregation is not None:
            score = score.mean()
        return self._adjusted(score, float(rows))

    def _adjusted(self, score: Tensor, rows: float) -> Tensor:
        free = rows - self.num_regressors - 1.0
        if self.num_regressors == 0:
            return score
        if free <= 0:
            warnings.warn(
                "R2Score: too few values for num_regressors, so that it is not adjusted.", stacklevel=2
            )
            return score
        return 1.0 - (1.0 - score) * (rows - 1.0) / free
