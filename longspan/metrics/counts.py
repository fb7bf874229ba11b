"""Counts true and false predictions by threshold: precision, recall and the areas under ROC and PR curves."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from longspan import errors
from longspan.config import epsilon
from longspan.losses import match_ranks

from .base import Accumulator, Metric, safe_ratio, weights_like

CURVES = ("ROC", "PR")
SUMMATION_METHODS = ("interpolation", "minoring", "majoring")


def _threshold_list(thresholds: float | Sequence[float] | None, default: float) -> list[float]:
    if thresholds is None:
        return [default]
    values = [thresholds] if isinstance(thresholds, (int, float)) else thresholds
    for value in values:
        if not 0.0 <= value <= 1.0:
            raise errors.value_error("thresholds", "numbers in [0, 1]", value, "0.5 is usual")
    return [float(value) for value in values]


def _select(y_true: Tensor, y_pred: Tensor, top_k: int | None, class_id: int | None) -> tuple[Tensor, Tensor]:
    """Keeps each row's top_k most probable classes, and class class_id alone; others are never predicted."""
    y_true, y_pred = match_ranks(y_true, y_pred)
    if y_true.shape != y_pred.shape:
        expected = f"shape {tuple(y_pred.shape)} like the network's output"
        raise errors.value_error("y", expected, f"shape {tuple(y_true.shape)}", "give one truth an answer")
    if top_k is not None:
        is_top = torch.zeros_like(y_pred, dtype=torch.bool).scatter(-1, y_pred.topk(top_k).indices, True)
        y_pred = y_pred.masked_fill(~is_top, -torch.inf)
    if class_id is not None:
        y_true, y_pred = y_true[..., class_id], y_pred[..., class_id]
    return y_true, y_pred


def _confusion(
    y_true: Tensor, y_pred: Tensor, thresholds: Tensor, weight: Tensor | None
) -> dict[str, Tensor]:
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
    ) -> None:
        super().__init__(name, direction, *counts)
        default = 0.5 if top_k is None else -1e10
        self.thresholds, self.top_k, self.class_id = thresholds, top_k, class_id
        values = _threshold_list(thresholds, default)
        # counting needs them sorted, the result has the order in which they were given
        order = sorted(range(len(values)), key=values.__getitem__)
        self._ranks = [order.index(index) for index in range(len(values))]
        self._sorted = torch.tensor([values[index] for index in order], dtype=torch.float64)

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        y_true, y_pred = _select(y_true, y_pred, self.top_k, self.class_id)
        counts = _confusion(y_true, y_pred, self._sorted, sample_weight)
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
        self, thresholds: float | Sequence[float] | None = None, name: str = "true_positives"
    ) -> None:
        super().__init__(name, "up", ["true_positives"], thresholds)

    def result(self) -> Tensor:
        return self._by_threshold(self.sums["true_positives"])


class FalsePositives(_Counts):
    """The number of negatives predicted with a probability above the threshold."""

    def __init__(
        self, thresholds: float | Sequence[float] | None = None, name: str = "false_positives"
    ) -> None:
        super().__init__(name, "down", ["false_positives"], thresholds)

    def result(self) -> Tensor:
        return self._by_threshold(self.sums["false_positives"])


class TrueNegatives(_Counts):
    """The number of negatives predicted with a probability below the threshold."""

    def __init__(
        self, thresholds: float | Sequence[float] | None = None, name: str = "true_negatives"
    ) -> None:
        super().__init__(name, "up", ["true_negatives"], thresholds)

    def result(self) -> Tensor:
        return self._by_threshold(self.sums["true_negatives"])


class FalseNegatives(_Counts):
    """The number of positives predicted with a probability below the threshold."""

    def __init__(
        self, thresholds: float | Sequence[float] | None = None, name: str = "false_negatives"
    ) -> None:
        super().__init__(name, "down", ["false_negatives"], thresholds)

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
    ) -> None:
        super().__init__(name, "up", ["true_positives", "false_positives"], thresholds, top_k, class_id)

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
    ) -> None:
        super().__init__(name, "up", ["true_positives", "false_negatives"], thresholds, top_k, class_id)

    def result(self) -> Tensor:
        hits = self.sums["true_positives"]
        return self._by_threshold(safe_ratio(hits, hits + self.sums["false_negatives"]))


class AUC(Metric):
    """The area under the ROC curve (true by false positive rate) or the PR curve (precision by recall).

    Args:
        num_thresholds: points of the curve.
        curve: "ROC" or "PR".
        summation_method: "interpolation" (for PR that of Davis and Goadrich 2006), "minoring", "majoring".
        thresholds: the points between 0 and 1 themselves, instead of num_thresholds.
        from_logits: whether predictions are logits.
    """

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str = "auc",
        thresholds: Sequence[float] | None = None,
        from_logits: bool = False,
    ) -> None:
        super().__init__(name, "up", "true_positives", "false_positives", "false_negatives", "true_negatives")
        self.num_thresholds = errors.check_int("num_thresholds", num_thresholds, 2, "200 is usual")
        self.curve = errors.check_choice("curve", curve, CURVES)
        self.summation_method = errors.check_choice("summation_method", summation_method, SUMMATION_METHODS)
        self.thresholds, self.from_logits = thresholds, from_logits
        inner = sorted(_threshold_list(thresholds, 0.5)) if thresholds is not None else None
        if inner is None:
            inner = [(i + 1) / (num_thresholds - 1) for i in range(num_thresholds - 2)]
        self._points = torch.tensor([-epsilon(), *inner, 1.0 + epsilon()], dtype=torch.float64)

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        y_true, y_pred = _select(y_true, y_pred, None, None)
        probability = y_pred.sigmoid() if self.from_logits else y_pred
        self.add(**_confusion(y_true, probability, self._points, sample_weight))

    def result(self) -> Tensor:
        hits, false_alarms, misses, rejections = (torch.as_tensor(total) for total in self.sums.values())
        if hits.dim() == 0:
            return torch.tensor(0.0)  # nothing was added yet
        if self.curve == "PR" and self.summation_method == "interpolation":
            return _interpolated_area(hits, false_alarms, misses)
        recall = safe_ratio(hits, hits + misses)
        x, y = (safe_ratio(false_alarms, false_alarms + rejections), recall)
        if self.curve == "PR":
            x, y = recall, safe_ratio(hits, hits + false_alarms)
        heights = {
            "interpolation": (y[:-1] + y[1:]) / 2.0,
            "minoring": torch.minimum(y[:-1], y[1:]),
            "majoring": torch.maximum(y[:-1], y[1:]),
        }
        return ((x[:-1] - x[1:]) * heights[self.summation_method]).sum()


def _interpolated_area(hits: Tensor, false_alarms: Tensor, misses: Tensor) -> Tensor:
    """The PR curve's area, precision interpolated between points (Davis and Goadrich 2006, section 4)."""
    predicted = hits + false_alarms
    rise, run = hits[:-1] - hits[1:], predicted[:-1] - predicted[1:]
    slope = safe_ratio(rise, run.clamp_min(0.0))
    start = hits[1:] - slope * predicted[1:]
    both = (predicted[:-1] > 0) & (predicted[1:] > 0)
    growth = torch.where(both, safe_ratio(predicted[:-1], predicted[1:]), torch.ones_like(slope))
    return safe_ratio(slope * (rise + start * growth.log()), hits[1:] + misses[1:]).sum()
