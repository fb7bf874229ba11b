"""Knows how good answers are: Keras' metrics by its names, with its numbers, summed up over batches.

The definitions are those of Keras 3 (keras/src/metrics); sums are kept in float64.
"""

from __future__ import annotations

import abc
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor

from longspan import errors as checks
from longspan import losses
from longspan.losses import EPSILON, same_rank

Sum_ = float | Tensor  # an accumulator: 0.0 until the first tensor decides its device


def _total(values: Tensor, *dims: int) -> Tensor:
    wide = values.dtype if values.device.type == "mps" else torch.float64
    return values.sum(dims or None, dtype=wide)


def _ratio(above: Sum_, below: Sum_) -> Tensor:
    """above / below, 0 where below is 0."""
    above, below = torch.as_tensor(above), torch.as_tensor(below)
    return torch.where(below == 0, 0.0, above / torch.where(below == 0, 1.0, below))


class Metric(abc.ABC):
    """A number summed up over batches. Abstract: subclasses say `update_state` and `result`.

    Attributes:
        name: its key in logs and History.
        direction: "up" where more is better, "down" where less is; None where nobody has said.
        sums: what has been added up so far; subclasses name their sums once, in `__init__`.
    """

    def __init__(self, name: str, direction: str | None, *sums: str) -> None:
        self.name, self.direction = name, direction
        self.sums: dict[str, Sum_] = dict.fromkeys(sums, 0.0)

    @abc.abstractmethod
    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        """Add a batch: truths, answers, and how much each row (B,) or step (B, T) counts."""

    @abc.abstractmethod
    def result(self) -> Tensor:
        """The metric of everything added since the last reset, without dimensions for a single number."""

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Add a batch and give the result so far."""
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()

    def reset_state(self) -> None:
        """Start afresh."""
        self.sums = dict.fromkeys(self.sums, 0.0)

    def add(self, **amounts: Sum_) -> None:
        """Add to the sums by name."""
        for name, amount in amounts.items():
            self.sums[name] = self.sums[name] + amount

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}


class Mean(Metric):
    """The weighted mean of values.

    >>> mean = Mean()
    >>> mean.update_state(torch.tensor([1.0, 3.0]))
    >>> mean.result().item()
    2.0
    """

    def __init__(self, name: str = "mean") -> None:
        super().__init__(name, None, "total", "count")

    def update_state(self, values: Tensor, sample_weight: Tensor | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Add values (B, ...), each row's mean counting once, times its weight (B,) or (B, T)."""
        self.add(**_mean_parts(values, sample_weight))

    def __call__(self, values: Tensor, sample_weight: Tensor | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.update_state(values, sample_weight)
        return self.result()

    def result(self) -> Tensor:
        return _ratio(self.sums["total"], self.sums["count"])


def _mean_parts(values: Tensor, weight: Tensor | None) -> dict[str, Sum_]:
    """What a batch adds to a mean: every row once, as Keras counts."""
    if weight is None:
        rows = values.shape[0] if values.dim() else 1
        return {"total": _total(values) * (rows / max(values.numel(), 1)), "count": float(rows)}
    values, weight = same_rank(values, weight.to(values.dtype))
    if values.dim() > weight.dim():
        values = values.mean(tuple(range(weight.dim(), values.dim())))
    weight = weight.expand_as(values)
    rest = max(values[0].numel(), 1) if values.dim() else 1
    return {"total": _total(values * weight) / rest, "count": _total(weight) / rest}


class Sum(Metric):
    """The weighted sum of values."""

    def __init__(self, name: str = "sum") -> None:
        super().__init__(name, None, "total")

    def update_state(self, values: Tensor, sample_weight: Tensor | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Add values (B, ...), each times its weight."""
        if sample_weight is not None:
            values, sample_weight = same_rank(values, sample_weight.to(values.dtype))
            while sample_weight.dim() < values.dim():
                sample_weight = sample_weight.unsqueeze(-1)
            values = values * sample_weight
        self.add(total=_total(values))

    def __call__(self, values: Tensor, sample_weight: Tensor | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.update_state(values, sample_weight)
        return self.result()

    def result(self) -> Tensor:
        return torch.as_tensor(self.sums["total"])


class _OfFunction(Metric):
    """The mean of a function (y_true, y_pred) -> one value a sample. Abstract: subclasses say which."""

    def __init__(
        self,
        fn: Callable[..., Tensor],
        name: str,
        direction: str | None,
        keywords: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(name, direction, "total", "count")
        self.fn, self.keywords = fn, dict(keywords or {})

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        self.add(**_mean_parts(self.fn(y_true, y_pred, **self.keywords), sample_weight))

    def result(self) -> Tensor:
        return _ratio(self.sums["total"], self.sums["count"])


class MeanMetricWrapper(_OfFunction):
    """The mean of a function of your own, (y_true, y_pred) -> one value a sample.

    Args:
        fn: the function; what `keywords` holds is handed on to it.
        direction: "up" where more is better, "down" where less is; None leaves monitors to be told.
    """

    def __init__(
        self,
        fn: Callable[..., Tensor],
        name: str | None = None,
        direction: str | None = None,
        keywords: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(fn, name or fn.__name__, direction, keywords)


def accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """1 where the values are equal, else 0."""
    y_true, y_pred = same_rank(y_true, y_pred)
    return (y_true == y_pred).float()


def binary_accuracy(y_true: Tensor, y_pred: Tensor, threshold: float = 0.5) -> Tensor:
    """1 where y_pred is above the threshold and the label 1, or neither; else 0."""
    y_true, y_pred = same_rank(y_true, y_pred)
    return ((y_pred > threshold) == y_true).float()


def categorical_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """1 where the likeliest class is the one-hot truth's, (..., V) -> (...)."""
    return (y_true.argmax(-1) == y_pred.argmax(-1)).float()


def sparse_categorical_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """1 where the likeliest class (..., V) is the class number (...) or (..., 1)."""
    return (_class_numbers(y_true, y_pred) == y_pred.argmax(-1)).float()


def _class_numbers(y_true: Tensor, y_pred: Tensor) -> Tensor:
    return y_true.squeeze(-1) if y_true.dim() == y_pred.dim() and y_true.shape[-1] == 1 else y_true


def sparse_top_k_categorical_accuracy(y_true: Tensor, y_pred: Tensor, k: int = 5) -> Tensor:
    """1 where fewer than k classes are likelier than the class number's, (..., V) -> (...)."""
    right = y_pred.gather(-1, _class_numbers(y_true, y_pred).long().unsqueeze(-1))
    return ((y_pred > right).sum(-1) < k).float()


def top_k_categorical_accuracy(y_true: Tensor, y_pred: Tensor, k: int = 5) -> Tensor:
    """1 where fewer than k classes are likelier than the one-hot truth's, (..., V) -> (...)."""
    return sparse_top_k_categorical_accuracy(y_true.argmax(-1), y_pred, k)


class Accuracy(_OfFunction):
    """How often values are equal."""

    def __init__(self, name: str = "accuracy") -> None:
        super().__init__(accuracy, name, "up")


class BinaryAccuracy(_OfFunction):
    """How often a chance above the threshold meets a 1 and one below a 0."""

    def __init__(self, name: str = "binary_accuracy", threshold: float = 0.5) -> None:
        super().__init__(binary_accuracy, name, "up", {"threshold": threshold})
        self.threshold = threshold


class CategoricalAccuracy(_OfFunction):
    """How often the likeliest class is the one-hot truth's."""

    def __init__(self, name: str = "categorical_accuracy") -> None:
        super().__init__(categorical_accuracy, name, "up")


class SparseCategoricalAccuracy(_OfFunction):
    """How often the likeliest class is the class number."""

    def __init__(self, name: str = "sparse_categorical_accuracy") -> None:
        super().__init__(sparse_categorical_accuracy, name, "up")


class TopKCategoricalAccuracy(_OfFunction):
    """How often the one-hot truth is among the k likeliest classes."""

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy") -> None:
        super().__init__(top_k_categorical_accuracy, name, "up", {"k": k})
        self.k = k


class SparseTopKCategoricalAccuracy(_OfFunction):
    """How often the class number is among the k likeliest classes."""

    def __init__(self, k: int = 5, name: str = "sparse_top_k_categorical_accuracy") -> None:
        super().__init__(sparse_top_k_categorical_accuracy, name, "up", {"k": k})
        self.k = k


class MeanSquaredError(_OfFunction):
    """The mean of `losses.mean_squared_error`."""

    def __init__(self, name: str = "mean_squared_error") -> None:
        super().__init__(losses.mean_squared_error, name, "down")


class RootMeanSquaredError(_OfFunction):
    """The square root of the mean squared error."""

    def __init__(self, name: str = "root_mean_squared_error") -> None:
        super().__init__(losses.mean_squared_error, name, "down")

    def result(self) -> Tensor:
        return super().result().sqrt()


class MeanAbsoluteError(_OfFunction):
    """The mean of `losses.mean_absolute_error`."""

    def __init__(self, name: str = "mean_absolute_error") -> None:
        super().__init__(losses.mean_absolute_error, name, "down")


class MeanAbsolutePercentageError(_OfFunction):
    """The mean of `losses.mean_absolute_percentage_error`."""

    def __init__(self, name: str = "mean_absolute_percentage_error") -> None:
        super().__init__(losses.mean_absolute_percentage_error, name, "down")


class MeanSquaredLogarithmicError(_OfFunction):
    """The mean of `losses.mean_squared_logarithmic_error`."""

    def __init__(self, name: str = "mean_squared_logarithmic_error") -> None:
        super().__init__(losses.mean_squared_logarithmic_error, name, "down")


def _cosine(y_true: Tensor, y_pred: Tensor, axis: int) -> Tensor:
    return -losses.cosine_similarity(y_true, y_pred, axis)


class CosineSimilarity(_OfFunction):
    """The mean cosine of the angle between truth and answer, 1 at best: minus the loss of this name."""

    def __init__(self, name: str = "cosine_similarity", axis: int = -1) -> None:
        super().__init__(_cosine, name, "up", {"axis": axis})
        self.axis = axis


class LogCoshError(_OfFunction):
    """The mean of `losses.log_cosh`."""

    def __init__(self, name: str = "logcosh") -> None:
        super().__init__(losses.log_cosh, name, "down")


class Hinge(_OfFunction):
    """The mean of `losses.hinge`."""

    def __init__(self, name: str = "hinge") -> None:
        super().__init__(losses.hinge, name, "down")


class SquaredHinge(_OfFunction):
    """The mean of `losses.squared_hinge`."""

    def __init__(self, name: str = "squared_hinge") -> None:
        super().__init__(losses.squared_hinge, name, "down")


class CategoricalHinge(_OfFunction):
    """The mean of `losses.categorical_hinge`."""

    def __init__(self, name: str = "categorical_hinge") -> None:
        super().__init__(losses.categorical_hinge, name, "down")


class KLDivergence(_OfFunction):
    """The mean of `losses.kl_divergence`."""

    def __init__(self, name: str = "kl_divergence") -> None:
        super().__init__(losses.kl_divergence, name, "down")


class Poisson(_OfFunction):
    """The mean of `losses.poisson`."""

    def __init__(self, name: str = "poisson") -> None:
        super().__init__(losses.poisson, name, "down")


class BinaryCrossentropy(_OfFunction):
    """The mean of `losses.binary_crossentropy`."""

    def __init__(
        self, name: str = "binary_crossentropy", from_logits: bool = False, label_smoothing: float = 0.0
    ) -> None:
        keywords = {"from_logits": from_logits, "label_smoothing": label_smoothing}
        super().__init__(losses.binary_crossentropy, name, "down", keywords)
        self.from_logits, self.label_smoothing = from_logits, label_smoothing


class CategoricalCrossentropy(_OfFunction):
    """The mean of `losses.categorical_crossentropy`."""

    def __init__(
        self,
        name: str = "categorical_crossentropy",
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
    ) -> None:
        keywords = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        super().__init__(losses.categorical_crossentropy, name, "down", keywords)
        self.from_logits, self.label_smoothing, self.axis = from_logits, label_smoothing, axis


class SparseCategoricalCrossentropy(_OfFunction):
    """The mean of `losses.sparse_categorical_crossentropy`."""

    def __init__(
        self, name: str = "sparse_categorical_crossentropy", from_logits: bool = False, axis: int = -1
    ) -> None:
        keywords = {"from_logits": from_logits, "axis": axis}
        super().__init__(losses.sparse_categorical_crossentropy, name, "down", keywords)
        self.from_logits, self.axis = from_logits, axis


_CURVES = ("ROC", "PR")
_RULES = ("interpolation", "minoring", "majoring")


def _thresholds(given: float | Sequence[float] | None, usual: float) -> list[float]:
    found = [usual] if given is None else [given] if isinstance(given, (int, float)) else given
    for value in found:
        if given is not None and not 0.0 <= value <= 1.0:
            raise checks.value_error("thresholds", "numbers in [0, 1]", value, "give chances such as 0.5")
    return [float(value) for value in found]


def _chosen(y_true: Tensor, y_pred: Tensor, top_k: int | None, class_id: int | None) -> tuple[Tensor, Tensor]:
    """Only the k likeliest of each row left, the others never above a threshold; only one class left."""
    y_true, y_pred = same_rank(y_true, y_pred)
    if y_true.shape != y_pred.shape:
        expected = f"shape {tuple(y_pred.shape)} like the network's output"
        raise checks.value_error("y", expected, f"shape {tuple(y_true.shape)}", "give one truth an answer")
    if top_k is not None:
        kept = torch.zeros_like(y_pred, dtype=torch.bool).scatter(-1, y_pred.topk(top_k).indices, True)
        y_pred = y_pred.masked_fill(~kept, -torch.inf)
    if class_id is not None:
        y_true, y_pred = y_true[..., class_id], y_pred[..., class_id]
    return y_true, y_pred


def _above(y_true: Tensor, y_pred: Tensor, thresholds: Tensor, weight: Tensor | None) -> dict[str, Tensor]:
    """For each of the thresholds (K,) the weighted number of true and false answers above and below it."""
    scale = torch.ones_like(y_pred) if weight is None else _weights_like(y_pred, weight)
    label, chance, scale = (v.flatten().double() for v in (y_true.bool(), y_pred, scale))
    places = torch.bucketize(chance, thresholds.to(chance.device))  # how many thresholds are below the chance
    size = len(thresholds) + 1
    yes = torch.bincount(places, scale * label, minlength=size).flip(0).cumsum(0).flip(0)
    no = torch.bincount(places, scale * (1.0 - label), minlength=size).flip(0).cumsum(0).flip(0)
    return {
        "true_positives": yes[1:],
        "false_positives": no[1:],
        "false_negatives": yes[0] - yes[1:],
        "true_negatives": no[0] - no[1:],
    }


def _weights_like(y_pred: Tensor, weight: Tensor) -> Tensor:
    y_pred, weight = same_rank(y_pred, weight)
    while weight.dim() < y_pred.dim():
        weight = weight.unsqueeze(-1)
    return weight.expand_as(y_pred)


class _Counts(Metric):
    """Counts by threshold that a subclass turns into its number. Abstract."""

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
        usual = 0.5 if top_k is None else -1e10
        self.thresholds, self.top_k, self.class_id = thresholds, top_k, class_id
        found = _thresholds(thresholds, usual)
        # the counts want them in order, the answer in the order given
        order = sorted(range(len(found)), key=found.__getitem__)
        self._places = [order.index(place) for place in range(len(found))]
        self._sorted = torch.tensor([found[place] for place in order], dtype=torch.float64)

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        y_true, y_pred = _chosen(y_true, y_pred, self.top_k, self.class_id)
        found = _above(y_true, y_pred, self._sorted, sample_weight)
        self.add(**{name: found[name] for name in self.sums})

    def _answer(self, values: Sum_) -> Tensor:
        """By threshold in the order given; a number for a single one."""
        values = torch.as_tensor(values)
        if values.dim() == 0 or len(self._places) == 1:
            return values.reshape(())
        return values[self._places]


class TruePositives(_Counts):
    """How many 1s were answered with a chance above the threshold."""

    def __init__(
        self, thresholds: float | Sequence[float] | None = None, name: str = "true_positives"
    ) -> None:
        super().__init__(name, "up", ["true_positives"], thresholds)

    def result(self) -> Tensor:
        return self._answer(self.sums["true_positives"])


class FalsePositives(_Counts):
    """How many 0s were answered with a chance above the threshold."""

    def __init__(
        self, thresholds: float | Sequence[float] | None = None, name: str = "false_positives"
    ) -> None:
        super().__init__(name, "down", ["false_positives"], thresholds)

    def result(self) -> Tensor:
        return self._answer(self.sums["false_positives"])


class TrueNegatives(_Counts):
    """How many 0s were answered with a chance below the threshold."""

    def __init__(
        self, thresholds: float | Sequence[float] | None = None, name: str = "true_negatives"
    ) -> None:
        super().__init__(name, "up", ["true_negatives"], thresholds)

    def result(self) -> Tensor:
        return self._answer(self.sums["true_negatives"])


class FalseNegatives(_Counts):
    """How many 1s were answered with a chance below the threshold."""

    def __init__(
        self, thresholds: float | Sequence[float] | None = None, name: str = "false_negatives"
    ) -> None:
        super().__init__(name, "down", ["false_negatives"], thresholds)

    def result(self) -> Tensor:
        return self._answer(self.sums["false_negatives"])


class Precision(_Counts):
    """The share of 1s among the answers above the threshold, or among the k likeliest with top_k."""

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str = "precision",
    ) -> None:
        super().__init__(name, "up", ["true_positives", "false_positives"], thresholds, top_k, class_id)

    def result(self) -> Tensor:
        right = self.sums["true_positives"]
        return self._answer(_ratio(right, right + self.sums["false_positives"]))


class Recall(_Counts):
    """The share of 1s that are answered above the threshold, or are among the k likeliest with top_k."""

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str = "recall",
    ) -> None:
        super().__init__(name, "up", ["true_positives", "false_negatives"], thresholds, top_k, class_id)

    def result(self) -> Tensor:
        right = self.sums["true_positives"]
        return self._answer(_ratio(right, right + self.sums["false_negatives"]))


class AUC(Metric):
    """The area under the ROC curve (hits by false alarms) or the PR curve (precision by recall).

    Args:
        num_thresholds: points of the curve.
        curve: "ROC" or "PR".
        summation_method: "interpolation" (for PR that of Davis and Goadrich 2006), "minoring", "majoring".
        thresholds: the points between 0 and 1 themselves, instead of num_thresholds.
        from_logits: whether answers are logits.
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
        self.num_thresholds = checks.check_int("num_thresholds", num_thresholds, 2, "200 is usual")
        self.curve = checks.check_choice("curve", curve, _CURVES)
        self.summation_method = checks.check_choice("summation_method", summation_method, _RULES)
        self.thresholds, self.from_logits = thresholds, from_logits
        inner = sorted(_thresholds(thresholds, 0.5)) if thresholds is not None else None
        if inner is None:
            inner = [(i + 1) / (num_thresholds - 1) for i in range(num_thresholds - 2)]
        self._points = torch.tensor([-EPSILON, *inner, 1.0 + EPSILON], dtype=torch.float64)

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        y_true, y_pred = _chosen(y_true, y_pred, None, None)
        chance = y_pred.sigmoid() if self.from_logits else y_pred
        self.add(**_above(y_true, chance, self._points, sample_weight))

    def result(self) -> Tensor:
        right, alarms, missed, quiet = (torch.as_tensor(total) for total in self.sums.values())
        if right.dim() == 0:
            return torch.tensor(0.0)  # nothing was added yet
        if self.curve == "PR" and self.summation_method == "interpolation":
            return _area_between(right, alarms, missed)
        recall = _ratio(right, right + missed)
        x, y = (_ratio(alarms, alarms + quiet), recall)
        if self.curve == "PR":
            x, y = recall, _ratio(right, right + alarms)
        heights = {
            "interpolation": (y[:-1] + y[1:]) / 2.0,
            "minoring": torch.minimum(y[:-1], y[1:]),
            "majoring": torch.maximum(y[:-1], y[1:]),
        }
        return ((x[:-1] - x[1:]) * heights[self.summation_method]).sum()


def _area_between(right: Tensor, alarms: Tensor, missed: Tensor) -> Tensor:
    """The PR curve's area, precision interpolated between points (Davis and Goadrich 2006, section 4)."""
    above = right + alarms
    rise, run = right[:-1] - right[1:], above[:-1] - above[1:]
    slope = _ratio(rise, run.clamp_min(0.0))
    start = right[1:] - slope * above[1:]
    both = (above[:-1] > 0) & (above[1:] > 0)
    growth = torch.where(both, _ratio(above[:-1], above[1:]), torch.ones_like(slope))
    return _ratio(slope * (rise + start * growth.log()), right[1:] + missed[1:]).sum()


class _FBeta(Metric):
    """The weighted harmonic mean of precision and recall. Abstract: see FBetaScore."""

    def __init__(self, average: str | None, beta: float, threshold: float | None, name: str) -> None:
        super().__init__(name, "up", "right", "alarms", "missed", "truths")
        if average is not None:
            checks.check_choice("average", average, ("micro", "macro", "weighted"))
        if beta <= 0.0:
            raise checks.value_error("beta", "a number above 0", beta, "1 makes it the F1 score")
        self.average, self.beta, self.threshold = average, beta, threshold

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        if y_true.dim() != 2 or y_true.shape != y_pred.shape:
            received = f"y {tuple(y_true.shape)} and outputs {tuple(y_pred.shape)}"
            raise checks.value_error(self.name, "y and outputs of shape (B, V)", received, "one-hot encode y")
        if self.threshold is None:
            answer = (y_pred >= y_pred.amax(-1, keepdim=True)) & (y_pred.abs() > 1e-9)
        else:
            answer = y_pred > self.threshold
        scale = 1.0 if sample_weight is None else sample_weight.double().unsqueeze(1)
        truth, answered = y_true.double(), answer.double()
        dims = () if self.average == "micro" else (0,)
        self.add(
            right=_total(answered * truth * scale, *dims),
            alarms=_total(answered * (1.0 - truth) * scale, *dims),
            missed=_total((1.0 - answered) * truth * scale, *dims),
            truths=_total(truth * scale, *dims),
        )

    def result(self) -> Tensor:
        right, alarms, missed, truths = (torch.as_tensor(total) for total in self.sums.values())
        precision, recall = right / (right + alarms + EPSILON), right / (right + missed + EPSILON)
        square = self.beta**2
        score = precision * recall / (square * precision + recall + EPSILON) * (1.0 + square)
        if self.average == "weighted":
            return (score * truths / (truths.sum() + EPSILON)).sum()
        return score if self.average is None else score.mean()


class FBetaScore(_FBeta):
    """The weighted harmonic mean of precision and recall, a number a class or averaged.

    Args:
        average: None for one number a class, "micro", "macro" or "weighted" (by how often classes occur).
        beta: how many times recall counts more than precision.
        threshold: chances above it are answers; None takes the likeliest class.
    """

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str = "fbeta_score",
    ) -> None:
        super().__init__(average, beta, threshold, name)


class F1Score(_FBeta):
    """The harmonic mean of precision and recall: `FBetaScore` with beta 1."""

    def __init__(
        self, average: str | None = None, threshold: float | None = None, name: str = "f1_score"
    ) -> None:
        super().__init__(average, 1.0, threshold, name)


class R2Score(Metric):
    """The share of the truth's variance that answers explain, 1 at best.

    Args:
        class_aggregation: None for one number a column, "uniform_average" or "variance_weighted_average".
    """

    def __init__(self, class_aggregation: str | None = "uniform_average", name: str = "r2_score") -> None:
        super().__init__(name, "up", "total", "squares", "errors", "count")
        if class_aggregation is not None:
            ways = ("uniform_average", "variance_weighted_average")
            checks.check_choice("class_aggregation", class_aggregation, ways)
        self.class_aggregation = class_aggregation

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        y_true, y_pred = same_rank(y_true, y_pred)
        if y_true.dim() != 2 or y_true.shape != y_pred.shape:
            received = f"y {tuple(y_true.shape)} and outputs {tuple(y_pred.shape)}"
            raise checks.value_error(self.name, "y and outputs of shape (B, D)", received, "reshape them")
        truth, answer = y_true.double(), y_pred.double()
        scale = torch.ones_like(truth) if sample_weight is None else _weights_like(truth, sample_weight)
        self.add(
            total=_total(truth * scale, 0),
            squares=_total(truth.square() * scale, 0),
            errors=_total((truth - answer).square() * scale, 0),
            count=_total(scale, 0),
        )

    def result(self) -> Tensor:
        total, squares, errors, count = (torch.as_tensor(value) for value in self.sums.values())
        spread = squares - total * (total / count)
        score = 1.0 - errors / spread
        score = torch.where(score.isinf(), 0.0, score)
        if self.class_aggregation == "variance_weighted_average":
            return (score * spread).sum() / spread.sum()
        return score if self.class_aggregation is None else score.mean()


class ByShape(Metric):
    """Accuracy whose kind the shapes decide at the first batch, as Keras does for the name "accuracy"."""

    def __init__(self, name: str = "accuracy") -> None:
        super().__init__(name, "up", "total", "count")
        self._kind: Callable[[Tensor, Tensor], Tensor] | None = None

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        if self._kind is None:
            self._kind = _kind_of_accuracy(y_true, y_pred)
        self.add(**_mean_parts(self._kind(y_true, y_pred), sample_weight))

    def result(self) -> Tensor:
        return _ratio(self.sums["total"], self.sums["count"])


def _kind_of_accuracy(y_true: Tensor, y_pred: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    if y_pred.shape[-1] == 1:
        return binary_accuracy
    if y_true.dim() < y_pred.dim() or (y_true.shape[-1] == 1 and y_pred.shape[-1] > 1):
        return sparse_categorical_accuracy
    return categorical_accuracy


CLASSES: dict[str, Callable[..., Metric]] = {
    kind.__name__: kind
    for kind in (
        Mean,
        Sum,
        ByShape,
        Accuracy,
        BinaryAccuracy,
        CategoricalAccuracy,
        SparseCategoricalAccuracy,
        TopKCategoricalAccuracy,
        SparseTopKCategoricalAccuracy,
        MeanSquaredError,
        RootMeanSquaredError,
        MeanAbsoluteError,
        MeanAbsolutePercentageError,
        MeanSquaredLogarithmicError,
        CosineSimilarity,
        LogCoshError,
        Hinge,
        SquaredHinge,
        CategoricalHinge,
        KLDivergence,
        Poisson,
        BinaryCrossentropy,
        CategoricalCrossentropy,
        SparseCategoricalCrossentropy,
        TruePositives,
        FalsePositives,
        TrueNegatives,
        FalseNegatives,
        Precision,
        Recall,
        AUC,
        FBetaScore,
        F1Score,
        R2Score,
    )
}
_SHORT = {
    "acc": "ByShape",
    "accuracy": "ByShape",
    "mse": "MeanSquaredError",
    "rmse": "RootMeanSquaredError",
    "mae": "MeanAbsoluteError",
    "mape": "MeanAbsolutePercentageError",
    "msle": "MeanSquaredLogarithmicError",
    "bce": "BinaryCrossentropy",
    "log_cosh": "LogCoshError",
}
# every name a metric goes by: its class's, its own usual one, the short one in either case
NAMES: dict[str, str] = {
    **{name: name for name in CLASSES if name != "ByShape"},
    **{inspect.signature(kind).parameters["name"].default: name for name, kind in CLASSES.items()},
    **_SHORT,
    **{short.upper(): name for short, name in _SHORT.items() if len(short) <= 4},
}


def _known(name: object, names: Collection[str]) -> str:
    if isinstance(name, str) and name in names:
        return name
    near = get_close_matches(str(name), names, n=1)
    way_out = f"the nearest is {near[0]!r}" if near else "longspan.metrics.NAMES has them all"
    raise checks.value_error("metric", "the name of a metric, such as 'mae'", repr(name), way_out)


def get(identifier: str | Metric | Callable[[Tensor, Tensor], Tensor] | Mapping[str, Any]) -> Metric:
    """The metric that is meant: by name (its key in logs), as an object, a function, or as saved.

    Raises:
        ValueError, TypeError: there is no such metric; the sentence has the nearest name.

    >>> get("mae").name, get("accuracy").direction
    ('mae', 'up')
    """
    if isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, str):
        metric = CLASSES[NAMES[_known(identifier, NAMES)]]()
        metric.name = identifier
        return metric
    if isinstance(identifier, Mapping):
        kind = CLASSES[_known(identifier.get("class_name"), CLASSES)]
        return kind(**identifier.get("config", {}))
    if callable(identifier):
        return MeanMetricWrapper(identifier)
    raise checks.type_error("metric", "a name, a metric or a function", identifier, 'pass one such as "mae"')


def serialize(metric: Metric) -> dict[str, Any]:
    """What `get` makes the same metric from again.

    Raises:
        ValueError: it is one of your own, which cannot be saved.
    """
    if type(metric).__name__ not in CLASSES:
        expected = "a metric of this library, since functions and classes of your own are not saved"
        raise checks.value_error("metric", expected, metric.name, "pass it again after loading")
    return {"class_name": type(metric).__name__, "config": metric.get_config()}
