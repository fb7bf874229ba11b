"""Knows how far an answer is from the truth: Keras' losses by its names, with its numbers.

The functions give one value a sample, reduced over the last dimension; the classes give one number. The
definitions are those of Keras 3 (keras/src/losses); where a paper is behind one, its docstring names it.
"""

from __future__ import annotations

import abc
import inspect
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from longspan import errors

EPSILON = 1e-7  # Keras' backend.epsilon()
_NO_CLASS = torch.iinfo(
    torch.int64
).min  # nll_loss ignores -100 unless told otherwise, which hides a wrong label
REDUCTIONS = ("sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none")

LossFunction = Callable[[Tensor, Tensor], Tensor]


def same_rank(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the same number of dimensions, where one has a last dimension of 1 that the other lacks."""
    if first.dim() == second.dim() + 1 and first.shape[-1] == 1:
        return (first, second.unsqueeze(-1)) if second.dim() == 1 else (first.squeeze(-1), second)
    if second.dim() == first.dim() + 1 and second.shape[-1] == 1:
        return (first.unsqueeze(-1), second) if first.dim() == 1 else (first, second.squeeze(-1))
    return first, second


def _paired(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """The truth in the answer's dtype and both in one shape, or an error."""
    if y_true.shape != y_pred.shape:
        y_true, y_pred = same_rank(y_true, y_pred)
        if y_true.shape != y_pred.shape:
            raise _unlike(y_true, y_pred)
    if y_true.dtype != y_pred.dtype:
        y_true = y_true.to(y_pred.dtype)
    return y_true, y_pred


def _unlike(y_true: Tensor, y_pred: Tensor) -> ValueError:
    way_out = "give the last layer as many units as y has values a row"
    if y_pred.dim() > y_true.dim() or (y_pred.dim() == y_true.dim() and y_true.shape[-1] == 1):
        way_out += ", and set return_sequences only where y has an answer for every step"
    return errors.value_error(
        "y", f"shape {tuple(y_pred.shape)} like the network's output", f"shape {tuple(y_true.shape)}", way_out
    )


def mean_squared_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Mean of (y_true - y_pred)^2 over the last dimension, (..., D) -> (...).

    >>> mean_squared_error(torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 0.0]]))
    tensor([2.5000])
    """
    y_true, y_pred = _paired(y_true, y_pred)
    return (y_true - y_pred).square().mean(-1)


def mean_absolute_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Mean of |y_true - y_pred| over the last dimension, (..., D) -> (...)."""
    y_true, y_pred = _paired(y_true, y_pred)
    return (y_true - y_pred).abs().mean(-1)


def mean_absolute_percentage_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """100 times the mean of |y_true - y_pred| / max(|y_true|, 1e-7), (..., D) -> (...)."""
    y_true, y_pred = _paired(y_true, y_pred)
    return 100.0 * ((y_true - y_pred) / y_true.abs().clamp_min(EPSILON)).abs().mean(-1)


def mean_squared_logarithmic_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Mean of (log(y_true + 1) - log(y_pred + 1))^2, both at least 1e-7, (..., D) -> (...)."""
    y_true, y_pred = _paired(y_true, y_pred)
    first = (y_pred.clamp_min(EPSILON) + 1.0).log()
    second = (y_true.clamp_min(EPSILON) + 1.0).log()
    return (first - second).square().mean(-1)


def cosine_similarity(y_true: Tensor, y_pred: Tensor, axis: int = -1) -> Tensor:
    """Minus the cosine of the angle between them along `axis`, so that -1 is the best."""
    y_true, y_pred = _paired(y_true, y_pred)
    return -(functional.normalize(y_true, dim=axis) * functional.normalize(y_pred, dim=axis)).sum(axis)


def huber(y_true: Tensor, y_pred: Tensor, delta: float = 1.0) -> Tensor:
    """Squared where the error is at most delta, linear beyond (Huber 1964), (..., D) -> (...)."""
    y_true, y_pred = _paired(y_true, y_pred)
    return functional.huber_loss(y_pred, y_true, reduction="none", delta=delta).mean(-1)


def log_cosh(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Mean of log(cosh(y_pred - y_true)), computed without overflow, (..., D) -> (...)."""
    y_true, y_pred = _paired(y_true, y_pred)
    error = y_pred - y_true
    return (error + functional.softplus(-2.0 * error) - 0.6931471805599453).mean(-1)


def _signs(y_true: Tensor) -> Tensor:
    """Labels 0 and 1 as -1 and 1; others as they are."""
    return 2.0 * y_true - 1.0 if bool(((y_true == 0) | (y_true == 1)).all()) else y_true


def hinge(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Mean of max(1 - y_true * y_pred, 0) for labels -1 and 1 (or 0 and 1), (..., D) -> (...)."""
    y_true, y_pred = _paired(y_true, y_pred)
    return (1.0 - _signs(y_true) * y_pred).clamp_min(0.0).mean(-1)


def squared_hinge(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Mean of max(1 - y_true * y_pred, 0)^2 for labels -1 and 1 (or 0 and 1), (..., D) -> (...)."""
    y_true, y_pred = _paired(y_true, y_pred)
    return (1.0 - _signs(y_true) * y_pred).clamp_min(0.0).square().mean(-1)


def categorical_hinge(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """max(best wrong - right + 1, 0) for one-hot truths, (..., V) -> (...)."""
    y_true, y_pred = _paired(y_true, y_pred)
    right, wrong = (y_true * y_pred).sum(-1), ((1.0 - y_true) * y_pred).amax(-1)
    return (wrong - right + 1.0).clamp_min(0.0)


def kl_divergence(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Sum of y_true * log(y_true / y_pred), both between 1e-7 and 1, (..., V) -> (...)."""
    y_true, y_pred = _paired(y_true, y_pred)
    y_true, y_pred = y_true.clamp(EPSILON, 1.0), y_pred.clamp(EPSILON, 1.0)
    return (y_true * (y_true / y_pred).log()).sum(-1)


def poisson(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Mean of y_pred - y_true * log(y_pred + 1e-7), (..., D) -> (...)."""
    y_true, y_pred = _paired(y_true, y_pred)
    return (y_pred - y_true * (y_pred + EPSILON).log()).mean(-1)


def _binary_terms(y_true: Tensor, y_pred: Tensor, from_logits: bool) -> Tensor:
    if from_logits:
        return functional.binary_cross_entropy_with_logits(y_pred, y_true, reduction="none")
    chance = y_pred.clamp(EPSILON, 1.0 - EPSILON)
    return -(y_true * chance.log() + (1.0 - y_true) * (1.0 - chance).log())


def binary_crossentropy(
    y_true: Tensor,
    y_pred: Tensor,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """Cross entropy of yes-or-no answers, averaged over `axis`: probabilities, or logits with from_logits.

    label_smoothing moves the labels towards one half (Szegedy et al. 2016, section 7).
    """
    y_true, y_pred = _paired(y_true, y_pred)
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    return _binary_terms(y_true, y_pred, from_logits).mean(axis)


def binary_focal_crossentropy(
    y_true: Tensor,
    y_pred: Tensor,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """Cross entropy times (1 - p)^gamma, p the chance of the truth (Lin et al. 2017, equation 5)."""
    y_true, y_pred = _paired(y_true, y_pred)
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    chance = y_pred.sigmoid() if from_logits else y_pred
    right = y_true * chance + (1.0 - y_true) * (1.0 - chance)
    terms = (1.0 - right) ** gamma * _binary_terms(y_true, chance, False)
    if apply_class_balancing:
        terms = (y_true * alpha + (1.0 - y_true) * (1.0 - alpha)) * terms
    return terms.mean(axis)


def _chances(y_pred: Tensor, axis: int) -> Tensor:
    return (y_pred / y_pred.sum(axis, keepdim=True)).clamp(EPSILON, 1.0 - EPSILON)


def _smoothed(y_true: Tensor, label_smoothing: float) -> Tensor:
    if not label_smoothing:
        return y_true
    return y_true * (1.0 - label_smoothing) + label_smoothing / y_true.shape[-1]


def categorical_crossentropy(
    y_true: Tensor,
    y_pred: Tensor,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """Cross entropy of one-hot truths (..., V) and probabilities, or logits with from_logits -> (...)."""
    if y_true.shape != y_pred.shape:
        raise _not_one_hot(y_true, y_pred)
    y_true = _smoothed(y_true.to(y_pred.dtype), label_smoothing)
    logs = y_pred.log_softmax(axis) if from_logits else _chances(y_pred, axis).log()
    return -(y_true * logs).sum(axis)


def _not_one_hot(y_true: Tensor, y_pred: Tensor) -> ValueError:
    expected = f"one-hot rows of shape {tuple(y_pred.shape)} like the network's output"
    way_out = "for class numbers use sparse_categorical_crossentropy"
    return errors.value_error("y", expected, f"shape {tuple(y_true.shape)}", way_out)


def categorical_focal_crossentropy(
    y_true: Tensor,
    y_pred: Tensor,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """Categorical cross entropy, each class times alpha * (1 - p)^gamma (Lin et al. 2017, equation 5)."""
    if y_true.shape != y_pred.shape:
        raise _not_one_hot(y_true, y_pred)
    y_true = _smoothed(y_true.to(y_pred.dtype), label_smoothing)
    chance = _chances(y_pred.softmax(axis) if from_logits else y_pred, axis)
    return -(alpha * (1.0 - chance) ** gamma * y_true * chance.log()).sum(axis)


def sparse_categorical_crossentropy(
    y_true: Tensor,
    y_pred: Tensor,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
) -> Tensor:
    """Cross entropy of class numbers (...) or (..., 1) and probabilities (..., V), or logits -> (...).

    Positions whose label is ignore_class give 0; the loss object leaves them out of its mean.
    """
    labels = _labels(y_true, y_pred, axis)
    logs = y_pred.log_softmax(axis) if from_logits else _chances(y_pred, axis).log()
    logs = logs.movedim(axis, 1) if logs.dim() > 1 else logs
    ignored = _NO_CLASS if ignore_class is None else ignore_class
    try:
        return functional.nll_loss(logs, labels, ignore_index=ignored, reduction="none")
    except IndexError as error:
        raise _out_of_range(labels, y_pred.shape[axis], ignore_class) from error


def _labels(y_true: Tensor, y_pred: Tensor, axis: int) -> Tensor:
    """Class numbers as int64 without the class dimension."""
    if y_true.dim() == y_pred.dim() and y_true.shape[axis] == 1:
        y_true = y_true.squeeze(axis)
    without = list(y_pred.shape)
    del without[axis]
    if list(y_true.shape) != without:
        expected = f"class numbers of shape {tuple(without)}"
        way_out = "for one-hot rows use categorical_crossentropy"
        raise errors.value_error("y", expected, f"shape {tuple(y_true.shape)}", way_out)
    return y_true if y_true.dtype == torch.int64 else y_true.long()


def _out_of_range(labels: Tensor, classes: int, ignore_class: int | None) -> ValueError:
    odd = (labels < 0) | (labels >= classes)
    if ignore_class is not None:
        odd &= labels != ignore_class
    received = labels[odd][0].item() if odd.any() else "others"
    way_out = "give the last layer one unit a class, and count classes from 0"
    return errors.value_error("y", f"class numbers from 0 to {classes - 1}", received, way_out)


def _masked_weight(weight: Tensor | None, mask: Tensor, dtype: torch.dtype, reduction: str) -> Tensor:
    """The mask as weights, merged with the sample weights; the mean is then over the real values."""
    real = mask.to(dtype)
    if reduction in ("mean", "sum_over_batch_size"):
        valid = real.sum()
        if valid.device.type == "cpu" and valid.item() == 0:
            expected = "a step that counts in every batch"
            raise errors.value_error("mask", expected, "a batch that it hides all of", "leave empty rows out")
        real = real * (real.numel() / valid)
    if weight is None:
        return real
    real, weight = same_rank(real, weight.to(dtype))
    return _spread(weight, real) * real


def _spread(weight: Tensor, values: Tensor) -> Tensor:
    """The weights with as many dimensions as the values: (B,) counts for all steps of a row."""
    if weight.dim() < values.dim() and weight.shape == values.shape[: weight.dim()]:
        return weight.reshape(*weight.shape, *(1,) * (values.dim() - weight.dim()))
    return weight


class Loss(abc.ABC):
    """One number for how far answers are from truths; abstract: subclasses say `call`.

    Args:
        reduction: "sum_over_batch_size" (or "mean": the sum over all values by their number),
            "mean_with_sample_weight" (by the sum of the weights), "sum", or "none" (no reduction).
        name: what the loss is called in a saved model; None for the class's own.
    """

    def __init__(self, reduction: str = "sum_over_batch_size", name: str | None = None) -> None:
        self.reduction = (
            "none" if reduction is None else errors.check_choice("reduction", reduction, REDUCTIONS)
        )
        self.name = name or _snake(type(self).__name__)
        self._plain = self.reduction in ("sum_over_batch_size", "mean", "mean_with_sample_weight")

    def __call__(
        self,
        y_true: Tensor,
        y_pred: Tensor,
        sample_weight: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The loss of a batch.

        Args:
            y_true, y_pred: (B, ..., D), or as the loss's function takes them.
            sample_weight: (B,) or (B, T), how much each row or step counts.
            mask: bool, shaped as the values a sample (B, ...): False where a step does not count.

        Returns:
            A number (a tensor without dimensions); the weighted values with reduction "none".

        Raises:
            ValueError: shapes do not fit, a label is out of range, the mask hides everything.

        >>> MeanSquaredError()(torch.zeros(2, 1), torch.ones(2, 1)).item()
        1.0
        """
        if sample_weight is None and mask is None and self._plain:
            return self.mean(y_true, y_pred)
        values = self.call(y_true, y_pred)
        return self._reduced(values, sample_weight, self.counted(y_true, mask))

    @abc.abstractmethod
    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """One value a sample."""

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The mean of `call`; a subclass may know a quicker way."""
        return self.call(y_true, y_pred).mean()

    def counted(self, y_true: Tensor, mask: Tensor | None) -> Tensor | None:
        """The mask of the values that count; a subclass may leave out more of them."""
        return mask

    def _reduced(self, values: Tensor, weight: Tensor | None, mask: Tensor | None) -> Tensor:
        if mask is not None:
            weight = _masked_weight(weight, mask, values.dtype, self.reduction)
        if weight is not None:
            weight = weight.to(values.dtype)
            values, weight = same_rank(values, weight)
            values = values * _spread(weight, values)
        if self.reduction == "none":
            return values
        if self.reduction == "mean_with_sample_weight" and weight is not None:
            return values.sum() / weight.sum()
        return values.sum() if self.reduction == "sum" else values.mean()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}


def _snake(name: str) -> str:
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name).lstrip("_")


class MeanSquaredError(Loss):
    """`mean_squared_error` as an object."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return mean_squared_error(y_true, y_pred)

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = _paired(y_true, y_pred)
        return functional.mse_loss(y_pred, y_true)


class MeanAbsoluteError(Loss):
    """`mean_absolute_error` as an object."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return mean_absolute_error(y_true, y_pred)

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = _paired(y_true, y_pred)
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
        self, axis: int = -1, reduction: str = "sum_over_batch_size", name: str = "cosine_similarity"
    ) -> None:
        super().__init__(reduction, name)
        self.axis = axis

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return cosine_similarity(y_true, y_pred, self.axis)


class Huber(Loss):
    """`huber` as an object."""

    def __init__(
        self, delta: float = 1.0, reduction: str = "sum_over_batch_size", name: str = "huber_loss"
    ) -> None:
        super().__init__(reduction, name)
        self.delta = delta

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return huber(y_true, y_pred, self.delta)

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = _paired(y_true, y_pred)
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

    def __init__(self, reduction: str = "sum_over_batch_size", name: str = "kl_divergence") -> None:
        super().__init__(reduction, name)

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
    ) -> None:
        super().__init__(reduction, name)
        self.from_logits = from_logits
        self.label_smoothing = errors.check_fraction("label_smoothing", label_smoothing)
        self.axis = axis

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return binary_crossentropy(y_true, y_pred, self.from_logits, self.label_smoothing, self.axis)

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        if not self.from_logits or self.label_smoothing:
            return super().mean(y_true, y_pred)
        y_true, y_pred = _paired(y_true, y_pred)
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
    ) -> None:
        super().__init__(reduction, name)
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
    ) -> None:
        super().__init__(reduction, name)
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
    ) -> None:
        super().__init__(reduction, name)
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
    ) -> None:
        super().__init__(reduction, name)
        self.from_logits, self.ignore_class, self.axis = from_logits, ignore_class, axis
        self._plain = self._plain and ignore_class is None

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return sparse_categorical_crossentropy(y_true, y_pred, self.from_logits, self.ignore_class, self.axis)

    def counted(self, y_true: Tensor, mask: Tensor | None) -> Tensor | None:
        if self.ignore_class is None:
            return mask
        labels = y_true.squeeze(-1) if mask is not None and y_true.dim() > mask.dim() else y_true
        real = labels != self.ignore_class
        return real if mask is None else real & mask


class FunctionLoss(Loss):
    """A loss of your own, any function (y_true, y_pred) -> values: weighted and masked like the others."""

    def __init__(
        self, function: LossFunction, reduction: str = "sum_over_batch_size", name: str | None = None
    ) -> None:
        super().__init__(reduction, name or function.__name__)
        self.function = function

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return self.function(y_true, y_pred)


CLASSES: dict[str, type[Loss]] = {
    kind.__name__: kind
    for kind in (
        MeanSquaredError,
        MeanAbsoluteError,
        MeanAbsolutePercentageError,
        MeanSquaredLogarithmicError,
        CosineSimilarity,
        Huber,
        LogCosh,
        Hinge,
        SquaredHinge,
        CategoricalHinge,
        KLDivergence,
        Poisson,
        BinaryCrossentropy,
        BinaryFocalCrossentropy,
        CategoricalCrossentropy,
        CategoricalFocalCrossentropy,
        SparseCategoricalCrossentropy,
    )
}
_SHORT = {
    "mse": "MeanSquaredError",
    "mae": "MeanAbsoluteError",
    "mape": "MeanAbsolutePercentageError",
    "msle": "MeanSquaredLogarithmicError",
    "bce": "BinaryCrossentropy",
    "cce": "CategoricalCrossentropy",
    "kld": "KLDivergence",
    "kl_divergence": "KLDivergence",
    "kullback_leibler_divergence": "KLDivergence",
    "logcosh": "LogCosh",
}
# every name a loss goes by: its class's, its function's, the short one in either case
NAMES: dict[str, str] = {
    **{name: name for name in CLASSES},
    **{_snake(name): name for name in CLASSES if name != "KLDivergence"},
    **_SHORT,
    **{short.upper(): name for short, name in _SHORT.items() if len(short) <= 4},
}


def _known(name: object, names: Collection[str]) -> str:
    if isinstance(name, str) and name in names:
        return name
    near = get_close_matches(str(name), names, n=1)
    way_out = f"the nearest is {near[0]!r}" if near else "longspan.losses.NAMES has them all"
    raise errors.value_error("loss", "the name of a loss, such as 'mse'", repr(name), way_out)


def get(identifier: str | Loss | LossFunction | Mapping[str, Any]) -> Loss:
    """The loss that is meant: by name, as an object, a function (y_true, y_pred) -> values, or as saved.

    Raises:
        ValueError, TypeError: there is no such loss; the sentence has the nearest name.

    >>> get("mse").name, get({"class_name": "Huber", "config": {"delta": 2.0}}).get_config()["delta"]
    ('mean_squared_error', 2.0)
    """
    if isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, str):
        return CLASSES[NAMES[_known(identifier, NAMES)]]()
    if isinstance(identifier, Mapping):
        kind = CLASSES[_known(identifier.get("class_name"), CLASSES)]
        return kind(**identifier.get("config", {}))
    if callable(identifier):
        return FunctionLoss(identifier)
    raise errors.type_error("loss", "a name, a loss or a function", identifier, 'pass one such as "mse"')


def serialize(loss: Loss) -> dict[str, Any]:
    """What `get` makes the same loss from again.

    Raises:
        ValueError: it is a function of your own, which cannot be saved.
    """
    if isinstance(loss, FunctionLoss):
        expected = "a loss of this library, since functions are not saved"
        raise errors.value_error("loss", expected, f"the function {loss.name}", "pass it again after loading")
    return {"class_name": type(loss).__name__, "config": loss.get_config()}
