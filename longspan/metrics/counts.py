"""Counts true and false predictions by threshold: precision and recall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from longspan import errors
from longspan.losses import match_ranks

from .base import Accumulator, Metric, safe_ratio, weights_like


def threshold_list(thresholds: float | Sequence[float] | None, default: float) -> list[float]:
    if thresholds is None:
        return [default]
    values = [thresholds] if isinstance(thresholds, (int, float)) else thresholds
    for value in values:
        if not isinstance(value, (int, float)) or not 0.0 <= value <= 1.0:
            raise errors.value_error("thresholds", "numbers in [0, 1]", value, "0.5 is usual")
    return [float(value) for value in values]


def select_classes(
    y_true: Tensor, y_pred: Tensor, top_k: int | None, class_id: int | None
) -> tuple[Tensor, Tensor]:
    """Keeps each row's top_k most probable classes, and class class_id alone; others are never predicted."""
    y_true, y_pred = match_ranks(y_true, y_pred)
    if y_true.shape != y_pred.shape:
        expected = f"shape {tuple(y_pred.shape)} like the network's output"
        raise errors.value_error("y", expected, f"shape {tuple(y_true.shape)}", "give one truth an answer")
    if top_k is not None:
        is_top = torch.zeros_like(y_pred, dtype=torch.bool).scatter(-1, y_pred.topk(top_k).indices, True)
        y_pred = y_pred.masked_fill(~is_top, -torch.inf)
    if class_id is not None:
        if y_pred.dim() < 2:
            expected = "outputs of shape (B, classes) for class_id"
            raise errors.value_error("y_pred", expected, f"shape {tuple(y_pred.shape)}", "leave class_id out")
        y_true, y_pred = y_true[..., class_id], y_pred[..., class_id]
    return y_true, y_pred


def confusion(y_true: Tensor, y_pred: Tensor, thresholds: Tensor, weight: Tensor | None) -> dict[str, Tensor]:
    """Weighted confusion counts (K,) by name, one for each of the K sorted thresholds."""
    scale = torch.ones_like(y_pred) if weight is None else weights_like(y_pred, weight)
    label, probability, scale = (v.flatten().double() for v in (y_true.bool(), y_pred, scale))
    below = torch.bucketize(probability, thresholds.to(probability.device))  # number of thresholds below
    size = len(thresholds) + 1
    positives = torch.bincount(below, scale * label, minlength=size).flip(0).cumsum(0).flip(0)
    negatives = torch.bincount(below, scale * (1.0 - label), minlength=size).flip(0).cumsum(0).flip(0)
    return {
        "true_positives": positives[1:],
        "false_positives": negatives[1:],
        "false_negatives": positives[0] - positives[1:],
        "true_negatives": negatives[0] - negatives[1:],
    }


class _Counts(Metric):
    """Confusion counts by threshold. Abstract: subclasses make their number from the counts."""

    def __init__(
        self,
        name: str,
        direction: str | None,
        counts: Sequence[str],
        thresholds: float | Sequence[float] | None,
        top_k: int | None = None,
        class_id: int | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name, direction, *counts, dtype=dtype)
        default = 0.5 if top_k is None else -1e10
        self.thresholds, self.top_k, self.class_id = thresholds, top_k, class_id
        values = threshold_list(thresholds, default)
        # counting needs them sorted, the result has the order in which they were given
        order = sorted(range(len(values)), key=values.__getitem__)
        self._ranks = [order.index(index) for index in range(len(values))]
        self._sorted = torch.tensor([values[index] for index in order], dtype=torch.float64)

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        y_true, y_pred = select_classes(y_true, y_pred, self.top_k, self.class_id)
        counts = confusion(y_true, y_pred, self._sorted, sample_weight)
        self.add(**{name: counts[name] for name in self.sums})

    def _by_threshold(self, values: Accumulator) -> Tensor:
        """One value a threshold, in the order given; a number for a single threshold."""
        values = torch.as_tensor(values)
        if values.dim() == 0 or len(self._ranks) == 1:
            return values.reshape(())
        return values[self._ranks]


class TruePositives(_Counts):
    """The number of positives predicted with a probability above the threshold."""

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        name: str = "true_positives",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, "up", ["true_positives"], thresholds, dtype=dtype)

    def result(self) -> Tensor:
        return self._by_threshold(self.sums["true_positives"])


class FalsePositives(_Counts):
    """The number of negatives predicted with a probability above the threshold."""

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        name: str = "false_positives",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, "down", ["false_positives"], thresholds, dtype=dtype)

    def result(self) -> Tensor:
        return self._by_threshold(self.sums["false_positives"])


class TrueNegatives(_Counts):
    """The number of negatives predicted with a probability below the threshold."""

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        name: str = "true_negatives",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, "up", ["true_negatives"], thresholds, dtype=dtype)

    def result(self) -> Tensor:
        return self._by_threshold(self.sums["true_negatives"])


class FalseNegatives(_Counts):
    """The number of positives predicted with a probability below the threshold."""

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        name: str = "false_negatives",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, "down", ["false_negatives"], thresholds, dtype=dtype)

    def result(self) -> Tensor:
        return self._by_threshold(self.sums["false_negatives"])


class Precision(_Counts):
    """The share of positives among the predictions above the threshold, or among the top_k most probable."""

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str = "precision",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            name, "up", ["true_positives", "false_positives"], thresholds, top_k, class_id, dtype=dtype
        )

    def result(self) -> Tensor:
        hits = self.sums["true_positives"]
        return self._by_threshold(safe_ratio(hits, hits + self.sums["false_positives"]))


class Recall(_Counts):
    """The share of positives that are predicted above the threshold, or are among the top_k most probable."""

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str = "recall",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            name, "up", ["true_positives", "false_negatives"], thresholds, top_k, class_id, dtype=dtype
        )

    def result(self) -> Tensor:
        hits = self.sums["true_positives"]
        return self._by_threshold(safe_ratio(hits, hits + self.sums["false_negatives"]))
