"""Numbers of a curve over thresholds: areas under ROC and PR curves, and the best point under a condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from longspan import errors
from longspan.config import epsilon

from .base import Metric, safe_ratio
from .counts import confusion, select_classes, threshold_list

CURVES = ("ROC", "PR", "PRGAIN")
SUMMATION_METHODS = ("interpolation", "minoring", "majoring")
_COUNTS = ("true_positives", "false_positives", "false_negatives", "true_negatives")


def _inner_points(count: int) -> list[float]:
    """`count` even thresholds without their first, 0, and their last, 1."""
    return [(index + 1) / (count - 1) for index in range(count - 2)]


class AUC(Metric):
    """The area under the ROC curve (true by false positive rate) or the PR curve (precision by recall).

    Args:
        num_thresholds: points of the curve; None with thresholds.
        curve: "ROC", "PR", or "PRGAIN" (Flach and Kull 2015).
        summation_method: "interpolation" (for PR that of Davis and Goadrich 2006), "minoring", "majoring".
        thresholds: the points between 0 and 1 themselves, instead of num_thresholds.
        multi_label: an area for each of the labels in the last dimension, and the mean of these; else all
            labels are taken together.
        num_labels: the number of labels, for multi_label; None for that of the first batch.
        label_weights: how much each label counts: in the mean of the areas for multi_label, else its values.
        from_logits: whether predictions are logits.
    """

    def __init__(
        self,
        num_thresholds: int | None = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str = "auc",
        dtype: Any = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Sequence[float] | None = None,
        from_logits: bool = False,
    ) -> None:
        super().__init__(name, "up", *_COUNTS, dtype=dtype)
        self.curve = errors.check_choice("curve", curve.upper(), CURVES)
        self.summation_method = errors.check_choice("summation_method", summation_method, SUMMATION_METHODS)
        self._given, self.from_logits = thresholds, from_logits
        self.multi_label = errors.check_bool("multi_label", multi_label)
        if num_labels is not None and not multi_label:
            raise errors.value_error(
                "num_labels", "None without multi_label", num_labels, "set multi_label=True"
            )
        self.num_labels, self.label_weights = num_labels, label_weights
        if thresholds is not None:
            inner = sorted(threshold_list(thresholds, 0.5))
        else:
            inner = _inner_points(errors.check_int("num_thresholds", num_thresholds, 2, "200 is usual"))
        self.num_thresholds = len(inner) + 2
        self.thresholds = [0.0, *inner, 1.0]
        self._points = torch.tensor([-epsilon(), *inner, 1.0 + epsilon()], dtype=torch.float64)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "thresholds": self._given}

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        y_true, y_pred = select_classes(y_true, y_pred, None, None)
        probability = y_pred.sigmoid() if self.from_logits else y_pred
        if not self.multi_label:
            weight = self._weighted_by_label(y_pred, sample_weight)
            self.add(**confusion(y_true, probability, self._points, weight))
            return
        if y_pred.dim() != 2 or y_pred.shape[1] != (self.num_labels or y_pred.shape[1]):
            expected, way_out = (
                f"predictions of shape (B, {self.num_labels or 'labels'})",
                "set multi_label=False",
            )
            raise errors.value_error(self.name, expected, tuple(y_pred.shape), way_out)
        weight = sample_weight if sample_weight is None or sample_weight.dim() < 2 else sample_weight.T
        every = [
            confusion(
                truth, label, self._points, weight if weight is None or weight.dim() < 2 else weight[index]
            )
            for index, (truth, label) in enumerate(zip(y_true.T, probability.T, strict=True))
        ]
        self.add(**{name: torch.stack([counts[name] for counts in every], -1) for name in _COUNTS})

    def _weighted_by_label(self, y_pred: Tensor, weight: Tensor | None) -> Tensor | None:
        if self.label_weights is None:
            return weight
        labels = torch.as_tensor(self.label_weights, dtype=torch.float64).expand_as(y_pred)
        if weight is None:
            return labels
        return labels * weight.double().reshape(*weight.shape, *(1,) * (y_pred.dim() - weight.dim()))

    def result(self) -> Tensor:
        hits, false_alarms, misses, rejections = (torch.as_tensor(total) for total in self.sums.values())
        if hits.dim() == 0:
            return torch.tensor(0.0)  # nothing was added yet
        if self.curve == "PR" and self.summation_method == "interpolation":
            terms = _interpolated_terms(hits, false_alarms, misses)
        else:
            x, y = self._axes(hits, false_alarms, misses, rejections)
            heights = {
                "interpolation": (y[:-1] + y[1:]) / 2.0,
                "minoring": torch.minimum(y[:-1], y[1:]),
                "majoring": torch.maximum(y[:-1], y[1:]),
            }
            terms = (x[:-1] - x[1:]) * heights[self.summation_method]
        areas = terms.sum(0)
        if not self.multi_label:
            return areas
        if self.label_weights is None:
            return areas.mean()
        weights = torch.as_tensor(self.label_weights, dtype=areas.dtype)
        return safe_ratio((areas * weights).sum(), weights.sum())

    def _axes(
        self, hits: Tensor, false_alarms: Tensor, misses: Tensor, rejections: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The curve's x and y, for every threshold."""
        recall = safe_ratio(hits, hits + misses)
        if self.curve == "ROC":
            return safe_ratio(false_alarms, false_alarms + rejections), recall
        if self.curve == "PR":
            return recall, safe_ratio(hits, hits + false_alarms)
        odds = safe_ratio(hits + misses, rejections + false_alarms)  # Flach and Kull 2015, equation 4
        recall_gain = torch.where(hits == 0, 0.0, 1.0 - odds * safe_ratio(misses, hits))
        precision_gain = torch.where(hits == 0, 1.0, 1.0 - odds * safe_ratio(false_alarms, hits))
        return recall_gain.clamp_min(0.0), precision_gain


def _interpolated_terms(hits: Tensor, false_alarms: Tensor, misses: Tensor) -> Tensor:
    """The PR curve's area by interval, precision interpolated (Davis and Goadrich 2006, section 4)."""
    predicted = hits + false_alarms
    rise, run = hits[:-1] - hits[1:], predicted[:-1] - predicted[1:]
    slope = safe_ratio(rise, run.clamp_min(0.0))
    start = hits[1:] - slope * predicted[1:]
    both = (predicted[:-1] > 0) & (predicted[1:] > 0)
    growth = torch.where(both, safe_ratio(predicted[:-1], predicted[1:]), torch.ones_like(slope))
    return safe_ratio(slope * (rise + start * growth.log()), hits[1:] + misses[1:])


class _BestPoint(Metric):
    """The largest value of one rate where another one is large enough. Abstract: subclasses name the two."""

    def __init__(
        self, condition: str, least: float, num_thresholds: int, class_id: int | None, name: str, dtype: Any
    ) -> None:
        super().__init__(name, "up", *_COUNTS, dtype=dtype)
        if not isinstance(least, (int, float)) or not 0.0 <= least <= 1.0:
            raise errors.value_error(condition, "a number in [0, 1]", repr(least), "0.5 is usual")
        self.num_thresholds = errors.check_int("num_thresholds", num_thresholds, 1, "200 is usual")
        self.class_id, self._least = class_id, least
        self.thresholds = [0.5] if num_thresholds == 1 else [0.0, *_inner_points(num_thresholds), 1.0]
        self._points = torch.tensor(self.thresholds, dtype=torch.float64)

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        y_true, y_pred = select_classes(y_true, y_pred, None, self.class_id)
        self.add(**confusion(y_true, y_pred, self._points, sample_weight))

    def _best(self, wanted: Tensor, condition: Tensor) -> Tensor:
        return torch.where(condition >= self._least, wanted, 0.0).amax().clamp_min(0.0)

    def _rate(self, right: str, wrong: str) -> Tensor:
        """The share of the right ones among both."""
        return safe_ratio(self.sums[right], torch.as_tensor(self.sums[right]) + self.sums[wrong])


class SensitivityAtSpecificity(_BestPoint):
    """The largest sensitivity, TP / (TP + FN), of the thresholds with a specificity that is large enough.

    Args:
        specificity: the least TN / (TN + FP).
        num_thresholds: how many thresholds between 0 and 1 are tried.
        class_id: of predictions (B, V), the class to look at; None for all.
    """

    def __init__(
        self,
        specificity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str = "sensitivity_at_specificity",
        dtype: Any = None,
    ) -> None:
        super().__init__("specificity", specificity, num_thresholds, class_id, name, dtype)
        self.specificity = specificity

    def result(self) -> Tensor:
        specificity = self._rate("true_negatives", "false_positives")
        return self._best(self._rate("true_positives", "false_negatives"), specificity)


class SpecificityAtSensitivity(_BestPoint):
    """The largest specificity, TN / (TN + FP), of the thresholds with a sensitivity that is large enough.

    Args:
        sensitivity: the least TP / (TP + FN).
        num_thresholds, class_id: as for `SensitivityAtSpecificity`.
    """

    def __init__(
        self,
        sensitivity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str = "specificity_at_sensitivity",
        dtype: Any = None,
    ) -> None:
        super().__init__("sensitivity", sensitivity, num_thresholds, class_id, name, dtype)
        self.sensitivity = sensitivity

    def result(self) -> Tensor:
        sensitivity = self._rate("true_positives", "false_negatives")
        return self._best(self._rate("true_negatives", "false_positives"), sensitivity)


class PrecisionAtRecall(_BestPoint):
    """The largest precision, TP / (TP + FP), of the thresholds with a recall that is large enough.

    Args:
        recall: the least TP / (TP + FN).
        num_thresholds, class_id: as for `SensitivityAtSpecificity`.
    """

    def __init__(
        self,
        recall: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str = "precision_at_recall",
        dtype: Any = None,
    ) -> None:
        super().__init__("recall", recall, num_thresholds, class_id, name, dtype)
        self.recall = recall

    def result(self) -> Tensor:
        recall = self._rate("true_positives", "false_negatives")
        return self._best(self._rate("true_positives", "false_positives"), recall)


class RecallAtPrecision(_BestPoint):
    """The largest recall, TP / (TP + FN), of the thresholds with a precision that is large enough.

    Args:
        precision: the least TP / (TP + FP).
        num_thresholds, class_id: as for `SensitivityAtSpecificity`.
    """

    def __init__(
        self,
        precision: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str = "recall_at_precision",
        dtype: Any = None,
    ) -> None:
        super().__init__("precision", precision, num_thresholds, class_id, name, dtype)
        self.precision = precision

    def result(self) -> Tensor:
        precision = self._rate("true_positives", "false_positives")
        return self._best(self._rate("true_positives", "false_negatives"), precision)
