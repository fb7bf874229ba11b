"""Means over samples: of values, accuracies and losses, under Keras' names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from longspan import losses
from longspan.losses import match_ranks

from .base import Metric, mean_parts, safe_ratio, total_of, weights_like
from .functional import (
    accuracy,
    binary_accuracy,
    categorical_accuracy,
    concordance_correlation,
    pearson_correlation,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)


class Mean(Metric):
    """The weighted mean of values.

    >>> mean = Mean()
    >>> mean.update_state(torch.tensor([1.0, 3.0]))
    >>> mean.result().item()
    2.0
    """

    def __init__(self, name: str = "mean", dtype: Any = None) -> None:
        super().__init__(name, None, "total", "count", dtype=dtype)

    def update_state(self, values: Tensor, sample_weight: Tensor | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Add values (B, ...), each row's mean counting once, times its weight (B,) or (B, T)."""
        self.add(**mean_parts(values, sample_weight))

    def __call__(self, values: Tensor, sample_weight: Tensor | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.update_state(values, sample_weight)
        return self.result()

    def result(self) -> Tensor:
        return safe_ratio(self.sums["total"], self.sums["count"])


class Sum(Metric):
    """The weighted sum of values."""

    def __init__(self, name: str = "sum", dtype: Any = None) -> None:
        super().__init__(name, None, "total", dtype=dtype)

    def update_state(self, values: Tensor, sample_weight: Tensor | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Add values (B, ...), each times its weight."""
        if sample_weight is not None:
            values, sample_weight = match_ranks(values, sample_weight.to(values.dtype))
            while sample_weight.dim() < values.dim():
                sample_weight = sample_weight.unsqueeze(-1)
            values = values * sample_weight
        self.add(total=total_of(values))

    def __call__(self, values: Tensor, sample_weight: Tensor | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.update_state(values, sample_weight)
        return self.result()

    def result(self) -> Tensor:
        return torch.as_tensor(self.sums["total"])


class FunctionMean(Metric):
    """The mean of a function (y_true, y_pred) -> one value a sample. Abstract: subclasses name it."""

    def __init__(
        self,
        fn: Callable[..., Tensor],
        name: str,
        direction: str | None,
        keywords: Mapping[str, Any] | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name, direction, "total", "count", dtype=dtype)
        self.fn, self.keywords = fn, dict(keywords or {})

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        self.add(**mean_parts(self.fn(y_true, y_pred, **self.keywords), sample_weight))

    def result(self) -> Tensor:
        return safe_ratio(self.sums["total"], self.sums["count"])


class MeanMetricWrapper(FunctionMean):
    """The mean of a function of your own, (y_true, y_pred) -> one value a sample.

    Args:
        fn: the function; `keywords` and further options are passed to it.
        direction: "up" where more is better, "down" where less is; with None, callbacks that monitor it need
            a mode.
    """

    def __init__(
        self,
        fn: Callable[..., Tensor],
        name: str | None = None,
        dtype: Any = None,
        direction: str | None = None,
        keywords: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(fn, name or fn.__name__, direction, {**(keywords or {}), **options}, dtype=dtype)


class Accuracy(FunctionMean):
    """How often values are equal."""

    def __init__(self, name: str = "accuracy", dtype: Any = None) -> None:
        super().__init__(accuracy, name, "up", dtype=dtype)


class BinaryAccuracy(FunctionMean):
    """How often the label is 1 where the probability is above the threshold, and 0 where it is not."""

    def __init__(self, name: str = "binary_accuracy", dtype: Any = None, threshold: float = 0.5) -> None:
        super().__init__(binary_accuracy, name, "up", {"threshold": threshold}, dtype=dtype)
        self.threshold = threshold


class CategoricalAccuracy(FunctionMean):
    """How often the most probable class is the one-hot truth's."""

    def __init__(self, name: str = "categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(categorical_accuracy, name, "up", dtype=dtype)


class SparseCategoricalAccuracy(FunctionMean):
    """How often the most probable class is the class number."""

    def __init__(self, name: str = "sparse_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(sparse_categorical_accuracy, name, "up", dtype=dtype)


class TopKCategoricalAccuracy(FunctionMean):
    """How often the one-hot truth is among the k most probable classes."""

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(top_k_categorical_accuracy, name, "up", {"k": k}, dtype=dtype)
        self.k = k


class SparseTopKCategoricalAccuracy(FunctionMean):
    """How often the class number is among the k most probable classes.

    Args:
        k: how many classes.
        from_sorted_ids: whether predictions are class numbers, the most probable one first.
    """

    def __init__(
        self,
        k: int = 5,
        name: str = "sparse_top_k_categorical_accuracy",
        dtype: Any = None,
        from_sorted_ids: bool = False,
    ) -> None:
        keywords = {"k": k, "from_sorted_ids": from_sorted_ids}
        super().__init__(sparse_top_k_categorical_accuracy, name, "up", keywords, dtype=dtype)
        self.k, self.from_sorted_ids = k, from_sorted_ids


class MeanSquaredError(FunctionMean):
    """The mean of `losses.mean_squared_error`."""

    def __init__(self, name: str = "mean_squared_error", dtype: Any = None) -> None:
        super().__init__(losses.mean_squared_error, name, "down", dtype=dtype)


class RootMeanSquaredError(FunctionMean):
    """The square root of the mean squared error."""

    def __init__(self, name: str = "root_mean_squared_error", dtype: Any = None) -> None:
        super().__init__(losses.mean_squared_error, name, "down", dtype=dtype)

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        """Add a batch; values without a last dimension count by themselves, each with its weight."""
        y_true, y_pred = losses.match_ranks(y_true, y_pred)
        if y_pred.dim() == 1:
            y_true, y_pred = y_true.unsqueeze(1), y_pred.unsqueeze(1)
        super().update_state(y_true, y_pred, sample_weight)

    def result(self) -> Tensor:
        return super().result().sqrt()


class MeanAbsoluteError(FunctionMean):
    """The mean of `losses.mean_absolute_error`."""

    def __init__(self, name: str = "mean_absolute_error", dtype: Any = None) -> None:
        super().__init__(losses.mean_absolute_error, name, "down", dtype=dtype)


class MeanAbsolutePercentageError(FunctionMean):
    """The mean of `losses.mean_absolute_percentage_error`."""

    def __init__(self, name: str = "mean_absolute_percentage_error", dtype: Any = None) -> None:
        super().__init__(losses.mean_absolute_percentage_error, name, "down", dtype=dtype)


class MeanSquaredLogarithmicError(FunctionMean):
    """The mean of `losses.mean_squared_logarithmic_error`."""

    def __init__(self, name: str = "mean_squared_logarithmic_error", dtype: Any = None) -> None:
        super().__init__(losses.mean_squared_logarithmic_error, name, "down", dtype=dtype)


def _cosine(y_true: Tensor, y_pred: Tensor, axis: int) -> Tensor:
    return -losses.cosine_similarity(y_true, y_pred, axis)


class CosineSimilarity(FunctionMean):
    """The mean cosine of the angle between truth and prediction, 1 at best: minus the loss of this name."""

    def __init__(self, name: str = "cosine_similarity", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(_cosine, name, "up", {"axis": axis}, dtype=dtype)
        self.axis = axis


class LogCoshError(FunctionMean):
    """The mean of `losses.log_cosh`."""

    def __init__(self, name: str = "logcosh", dtype: Any = None) -> None:
        super().__init__(losses.log_cosh, name, "down", dtype=dtype)


class Hinge(FunctionMean):
    """The mean of `losses.hinge`."""

    def __init__(self, name: str = "hinge", dtype: Any = None) -> None:
        super().__init__(losses.hinge, name, "down", dtype=dtype)


class SquaredHinge(FunctionMean):
    """The mean of `losses.squared_hinge`."""

    def __init__(self, name: str = "squared_hinge", dtype: Any = None) -> None:
        super().__init__(losses.squared_hinge, name, "down", dtype=dtype)


class CategoricalHinge(FunctionMean):
    """The mean of `losses.categorical_hinge`."""

    def __init__(self, name: str = "categorical_hinge", dtype: Any = None) -> None:
        super().__init__(losses.categorical_hinge, name, "down", dtype=dtype)


class KLDivergence(FunctionMean):
    """The mean of `losses.kl_divergence`."""

    def __init__(self, name: str = "kl_divergence", dtype: Any = None) -> None:
        super().__init__(losses.kl_divergence, name, "down", dtype=dtype)


class Poisson(FunctionMean):
    """The mean of `losses.poisson`."""

    def __init__(self, name: str = "poisson", dtype: Any = None) -> None:
        super().__init__(losses.poisson, name, "down", dtype=dtype)


class BinaryCrossentropy(FunctionMean):
    """The mean of `losses.binary_crossentropy`."""

    def __init__(
        self,
        name: str = "binary_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        keywords = {"from_logits": from_logits, "label_smoothing": label_smoothing}
        super().__init__(losses.binary_crossentropy, name, "down", keywords, dtype=dtype)
        self.from_logits, self.label_smoothing = from_logits, label_smoothing


class CategoricalCrossentropy(FunctionMean):
    """The mean of `losses.categorical_crossentropy`."""

    def __init__(
        self,
        name: str = "categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
    ) -> None:
        keywords = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        super().__init__(losses.categorical_crossentropy, name, "down", keywords, dtype=dtype)
        self.from_logits, self.label_smoothing, self.axis = from_logits, label_smoothing, axis


class SparseCategoricalCrossentropy(FunctionMean):
    """The mean of `losses.sparse_categorical_crossentropy`.

    Args:
        from_logits: whether predictions are logits.
        ignore_class: a class whose true places do not count; None for none.
        axis: of the classes.
    """

    def __init__(
        self,
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ) -> None:
        keywords = {"from_logits": from_logits, "ignore_class": ignore_class, "axis": axis}
        super().__init__(losses.sparse_categorical_crossentropy, name, "down", keywords, dtype=dtype)
        self.from_logits, self.ignore_class, self.axis = from_logits, ignore_class, axis

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        if self.ignore_class is not None:
            counts = (y_true != self.ignore_class).to(y_pred.dtype)
            counts = counts.squeeze(-1) if counts.dim() == y_pred.dim() else counts
            sample_weight = counts if sample_weight is None else weights_like(counts, sample_weight) * counts
        super().update_state(y_true, y_pred, sample_weight)


class PearsonCorrelation(FunctionMean):
    """The correlation of truths and predictions along an axis (Pearson)."""

    def __init__(self, name: str = "pearson_correlation", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(pearson_correlation, name, "up", {"axis": axis}, dtype=dtype)
        self.axis = axis


class ConcordanceCorrelation(FunctionMean):
    """How well truths and predictions lie on the diagonal (Lin 1989), by Keras' equation."""

    def __init__(self, name: str = "concordance_correlation", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(concordance_correlation, name, "up", {"axis": axis}, dtype=dtype)
        self.axis = axis


class AutoAccuracy(Metric):
    """The accuracy that fits the shapes of the first batch, as Keras chooses for the name "accuracy"."""

    def __init__(self, name: str = "accuracy", dtype: Any = None) -> None:
        super().__init__(name, "up", "total", "count", dtype=dtype)
        self._kind: Callable[[Tensor, Tensor], Tensor] | None = None

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        if self._kind is None:
            self._kind = _kind_of_accuracy(y_true, y_pred)
        self.add(**mean_parts(self._kind(y_true, y_pred), sample_weight))

    def result(self) -> Tensor:
        return safe_ratio(self.sums["total"], self.sums["count"])


def _kind_of_accuracy(y_true: Tensor, y_pred: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    if y_pred.shape[-1] == 1:
        return binary_accuracy
    if y_true.dim() < y_pred.dim() or (y_true.shape[-1] == 1 and y_pred.shape[-1] > 1):
        return sparse_categorical_accuracy
    return categorical_accuracy
