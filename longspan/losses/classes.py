"""Losses as objects, with Keras' classes: weighted, masked and reduced to one number."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from longspan import errors
from longspan.ops.calling import dtype_name, dtype_named
from longspan.registry import Configured, snake_case

from .functional import (
    LossFunction,
    as_tensor,
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_generalized_cross_entropy,
    categorical_hinge,
    circle,
    cosine_similarity,
    ctc,
    dice,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    match_ranks,
    match_shapes,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
    tversky,
)

REDUCTIONS = ("sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none")


def _masked_weight(weight: Tensor | None, mask: Tensor, dtype: torch.dtype, reduction: str) -> Tensor:
    """The mask times the sample weights, scaled so that a mean counts the unmasked values alone."""
    scale = mask.to(dtype)
    if reduction in ("mean", "sum_over_batch_size"):
        valid = scale.sum()
        if valid.device.type == "cpu" and valid.item() == 0:
            expected = "a step that counts in every batch"
            raise errors.value_error("mask", expected, "a batch that it hides all of", "leave empty rows out")
        scale = scale * (scale.numel() / valid)
    if weight is None:
        return scale
    scale, weight = match_ranks(scale, weight.to(dtype))
    return _expand_weight(weight, scale) * scale


def _expand_weight(weight: Tensor, values: Tensor) -> Tensor:
    """The weights with as many dimensions as the values: a weight (B,) counts for all steps of its row."""
    if weight.dim() < values.dim() and weight.shape == values.shape[: weight.dim()]:
        return weight.reshape(*weight.shape, *(1,) * (values.dim() - weight.dim()))
    return weight


class Loss(Configured, abc.ABC):
    """One number for how far predictions are from truths. Abstract: subclasses define `call`.

    Args:
        reduction: "sum_over_batch_size" (or "mean": the sum over all values by their number),
            "mean_with_sample_weight" (by the sum of the weights), "sum", or "none" (no reduction).
        name: the loss's name in a saved model; None for the class's name in snake case.
        dtype: float predictions, truths and weights become this first, and so does the loss; None leaves
            them as they are.
    """

    def __init__(
        self, reduction: str = "sum_over_batch_size", name: str | None = None, dtype: Any = None
    ) -> None:
        self.reduction = (
            "none" if reduction is None else errors.check_choice("reduction", reduction, REDUCTIONS)
        )
        self.name = name or snake_case(type(self).__name__)
        self.dtype = None if dtype is None else dtype_name(dtype_named(dtype))
        self._is_mean = self.reduction in ("sum_over_batch_size", "mean", "mean_with_sample_weight")

    def __call__(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: Any = None,
        mask: Any = None,
    ) -> Tensor:
        """The loss of a batch.

        Args:
            y_true, y_pred: (B, ..., D), or as the loss's function takes them; tensors, arrays or lists.
            sample_weight: (B,) or (B, T), how much each row or step counts.
            mask: bool, shaped as the values a sample (B, ...): False where a step does not count; None for
                the mask that a layer attached to y_pred.

        Returns:
            A number (a tensor without dimensions); the weighted values with reduction "none".

        Raises:
            ValueError: shapes do not fit, a label is out of range, the mask hides everything.

        >>> MeanSquaredError()(torch.zeros(2, 1), torch.ones(2, 1)).item()
        1.0
        """
        y_true, y_pred = self._cast(as_tensor(y_true)), self._cast(as_tensor(y_pred))
        if not y_pred.is_floating_point():
            y_pred = y_pred.to(torch.get_default_dtype())
        sample_weight = None if sample_weight is None else as_tensor(sample_weight)
        mask = getattr(y_pred, "_keras_mask", None) if mask is None else as_tensor(mask)
        if sample_weight is None and mask is None and self._is_mean:
            return self._cast(self.mean(y_true, y_pred))
        values = self.call(y_true, y_pred)
        return self._cast(self._reduce(values, sample_weight, self.valid_mask(y_true, mask)))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, the dtype only where one was given."""
        config = super().get_config()
        return {key: value for key, value in config.items() if key != "dtype" or value is not None}

    def _cast(self, values: Tensor) -> Tensor:
        return (
            values
            if self.dtype is None or not values.is_floating_point()
            else values.to(dtype_named(self.dtype))
        )

    @abc.abstractmethod
    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """One value a sample."""

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The mean of `call`; a subclass may compute it more quickly."""
        return self.call(y_true, y_pred).mean()

    def valid_mask(self, y_true: Tensor, mask: Tensor | None) -> Tensor | None:
        """The mask of the values that count; a subclass may hide more of them."""
        return mask

    def row_factors(self, shape: Sequence[int], weight: Tensor | None, mask: Tensor | None) -> Tensor:
        """What each value of `call`, in a shape, is multiplied by: the mean of the products is the loss.

        weight, mask: as sample_weight and mask of a call; one of them at least.
        """
        factors, used = self._weighted(torch.ones(*shape), weight, mask)
        if self.reduction == "mean_with_sample_weight" and used is not None:
            return factors * (factors.numel() / used.sum())
        return factors

    def _reduce(self, values: Tensor, weight: Tensor | None, mask: Tensor | None) -> Tensor:
        values, used = self._weighted(values, weight, mask)
        if self.reduction == "none":
            return values
        if self.reduction == "mean_with_sample_weight" and used is not None:
            return values.sum() / used.sum()
        return values.sum() if self.reduction == "sum" else values.mean()

    def _weighted(
        self, values: Tensor, weight: Tensor | None, mask: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The values times weight and mask, and these two in one."""
        if mask is not None:
            weight = _masked_weight(weight, mask, values.dtype, self.reduction)
        if weight is not None:
            weight = weight.to(values.dtype)
            values, weight = match_ranks(values, weight)
            values = values * _expand_weight(weight, values)
        return values, weight


class MeanSquaredError(Loss):
    """`mean_squared_error` as an object."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return mean_squared_error(y_true, y_pred)

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = match_shapes(y_true, y_pred)
        return functional.mse_loss(y_pred, y_true)


class MeanAbsoluteError(Loss):
    """`mean_absolute_error` as an object."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return mean_absolute_error(y_true, y_pred)

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = match_shapes(y_true, y_pred)
        return functional.l1_loss(y_pred, y_true)


class MeanAbsolutePercentageError(Loss):
    """`mean_absolute_percentage_error` as an object."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return mean_absolute_percentage_error(y_true, y_pred)


class MeanSquaredLogarithmicError(Loss):
    """`mean_squared_logarithmic_error` as an object."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return mean_squared_logarithmic_error(y_true, y_pred)


class CosineSimilarity(Loss):
    """`cosine_similarity` as an object."""

    def __init__(
        self,
        axis: int = -1,
        reduction: str = "sum_over_batch_size",
        name: str = "cosine_similarity",
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction, name, dtype)
        self.axis = axis

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return cosine_similarity(y_true, y_pred, self.axis)


class Huber(Loss):
    """`huber` as an object."""

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str = "sum_over_batch_size",
        name: str = "huber_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction, name, dtype)
        self.delta = delta

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return huber(y_true, y_pred, self.delta)

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = match_shapes(y_true, y_pred)
        return functional.huber_loss(y_pred, y_true, delta=self.delta)


class LogCosh(Loss):
    """`log_cosh` as an object."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return log_cosh(y_true, y_pred)


class Hinge(Loss):
    """`hinge` as an object."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return hinge(y_true, y_pred)


class SquaredHinge(Loss):
    """`squared_hinge` as an object."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return squared_hinge(y_true, y_pred)


class CategoricalHinge(Loss):
    """`categorical_hinge` as an object."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return categorical_hinge(y_true, y_pred)


class KLDivergence(Loss):
    """`kl_divergence` as an object."""

    def __init__(
        self, reduction: str = "sum_over_batch_size", name: str = "kl_divergence", dtype: Any = None
    ) -> None:
        super().__init__(reduction, name, dtype)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return kl_divergence(y_true, y_pred)


class Poisson(Loss):
    """`poisson` as an object."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return poisson(y_true, y_pred)


class BinaryCrossentropy(Loss):
    """`binary_crossentropy` as an object."""

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str = "sum_over_batch_size",
        name: str = "binary_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction, name, dtype)
        self.from_logits = from_logits
        self.label_smoothing = errors.check_fraction("label_smoothing", label_smoothing)
        self.axis = axis

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return binary_crossentropy(y_true, y_pred, self.from_logits, self.label_smoothing, self.axis)

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        if not self.from_logits or self.label_smoothing:
            return super().mean(y_true, y_pred)
        y_true, y_pred = match_shapes(y_true, y_pred)
        return functional.binary_cross_entropy_with_logits(y_pred, y_true)


class BinaryFocalCrossentropy(Loss):
    """`binary_focal_crossentropy` as an object."""

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str = "sum_over_batch_size",
        name: str = "binary_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction, name, dtype)
        self.apply_class_balancing = apply_class_balancing
        self.alpha, self.gamma = alpha, gamma
        self.from_logits = from_logits
        self.label_smoothing = errors.check_fraction("label_smoothing", label_smoothing)
        self.axis = axis

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return binary_focal_crossentropy(
            y_true,
            y_pred,
            self.apply_class_balancing,
            self.alpha,
            self.gamma,
            self.from_logits,
            self.label_smoothing,
            self.axis,
        )


class CategoricalCrossentropy(Loss):
    """`categorical_crossentropy` as an object."""

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str = "sum_over_batch_size",
        name: str = "categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction, name, dtype)
        self.from_logits = from_logits
        self.label_smoothing = errors.check_fraction("label_smoothing", label_smoothing)
        self.axis = axis

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return categorical_crossentropy(y_true, y_pred, self.from_logits, self.label_smoothing, self.axis)


class CategoricalFocalCrossentropy(Loss):
    """`categorical_focal_crossentropy` as an object."""

    def __init__(
        self,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str = "sum_over_batch_size",
        name: str = "categorical_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction, name, dtype)
        self.alpha, self.gamma = alpha, gamma
        self.from_logits = from_logits
        self.label_smoothing = errors.check_fraction("label_smoothing", label_smoothing)
        self.axis = axis

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return categorical_focal_crossentropy(
            y_true, y_pred, self.alpha, self.gamma, self.from_logits, self.label_smoothing, self.axis
        )


class SparseCategoricalCrossentropy(Loss):
    """`sparse_categorical_crossentropy` as an object; labels of ignore_class do not count."""

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
        reduction: str = "sum_over_batch_size",
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction, name, dtype)
        self.from_logits, self.ignore_class, self.axis = from_logits, ignore_class, axis
        self._is_mean = self._is_mean and ignore_class is None

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return sparse_categorical_crossentropy(y_true, y_pred, self.from_logits, self.ignore_class, self.axis)

    def valid_mask(self, y_true: Tensor, mask: Tensor | None) -> Tensor | None:
        if self.ignore_class is None:
            return mask
        labels = y_true.squeeze(-1) if mask is not None and y_true.dim() > mask.dim() else y_true
        real = labels != self.ignore_class
        return real if mask is None else real & mask


class CTC(Loss):
    """`ctc` as an object."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return ctc(y_true, y_pred)


class Dice(Loss):
    """`dice` as an object."""

    def __init__(
        self,
        reduction: str = "sum_over_batch_size",
        name: str = "dice",
        axis: int | Sequence[int] | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction, name, dtype)
        self.axis = axis

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return dice(y_true, y_pred, _axes(self.axis))


class Tversky(Loss):
    """`tversky` as an object."""

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        reduction: str = "sum_over_batch_size",
        name: str = "tversky",
        axis: int | Sequence[int] | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction, name, dtype)
        self.alpha, self.beta, self.axis = alpha, beta, axis

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return tversky(y_true, y_pred, self.alpha, self.beta, _axes(self.axis))


def _axes(axis: int | Sequence[int] | None) -> int | tuple[int, ...] | None:
    return axis if axis is None or isinstance(axis, int) else tuple(axis)


class Circle(Loss):
    """`circle` as an object."""

    def __init__(
        self,
        gamma: float = 80.0,
        margin: float = 0.4,
        remove_diagonal: bool = True,
        reduction: str = "sum_over_batch_size",
        name: str = "circle",
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction, name, dtype)
        self.gamma, self.margin, self.remove_diagonal = gamma, margin, remove_diagonal

    def call(
        self, y_true: Tensor, y_pred: Tensor, ref_labels: Any = None, ref_embeddings: Any = None
    ) -> Tensor:
        options = (self.remove_diagonal, self.gamma, self.margin)
        return circle(y_true, y_pred, ref_labels, ref_embeddings, *options)

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return self._reduce(self.call(y_true, y_pred), None, None)

    def _reduce(self, values: Tensor, weight: Tensor | None, mask: Tensor | None) -> Tensor:
        """As in Keras, rows without a loss do not count."""
        positive = values.detach() > 0
        return super()._reduce(values, weight, positive if mask is None and positive.any() else mask)


class CategoricalGeneralizedCrossEntropy(Loss):
    """`categorical_generalized_cross_entropy` as an object; q is in (0, 1)."""

    def __init__(
        self,
        q: float = 0.5,
        reduction: str = "sum_over_batch_size",
        name: str = "categorical_generalized_cross_entropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction, name, dtype)
        if not 0.0 < q < 1.0:
            raise errors.value_error("q", "a number between 0 and 1", q, "0.5 is usual")
        self.q = q

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return categorical_generalized_cross_entropy(y_true, y_pred, self.q)


class FunctionLoss(Loss):
    """A loss of your own, any function (y_true, y_pred) -> values: weighted and masked like the others."""

    def __init__(
        self,
        function: LossFunction,
        reduction: str = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction, name or function.__name__, dtype)
        self.function = function

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return self.function(y_true, y_pred)
