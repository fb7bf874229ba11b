"""Computes Keras' losses as functions of truths and predictions: one value a sample.

The definitions are those of Keras 3 (keras/src/losses); where a paper is behind one, its docstring names it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import torch
from torch import Tensor
from torch.nn import functional

from longspan import errors
from longspan.config import epsilon

# No label has this number; by default nll_loss ignores -100, which would hide a wrong label.
_NO_CLASS = torch.iinfo(torch.int64).min

LossFunction = Callable[[Tensor, Tensor], Tensor]
P = ParamSpec("P")


def as_tensor(value: Any) -> Tensor:
    """A tensor itself; an array or a list as a tensor, with float32 for numbers that are not whole."""
    if isinstance(value, Tensor):
        return value
    tensor = torch.as_tensor(value)
    return tensor.float() if tensor.dtype == torch.float64 else tensor


def taking_arrays(
    function: Callable[Concatenate[Tensor, Tensor, P], Tensor],
) -> Callable[Concatenate[Any, Any, P], Tensor]:
    """A loss of tensors (y_true, y_pred, ...), which takes arrays and lists too, and makes floats."""

    @wraps(function)
    def loss(y_true: Any, y_pred: Any, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        y_true, y_pred = as_tensor(y_true), as_tensor(y_pred)
        if not y_pred.is_floating_point():
            y_pred = y_pred.to(torch.get_default_dtype())
        return function(y_true, y_pred, *args, **kwargs)

    return loss


def match_ranks(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Gives both the same rank: a last dimension of 1 is added to one or taken from the other."""
    if first.dim() == second.dim() + 1 and first.shape[-1] == 1:
        return (first, second.unsqueeze(-1)) if second.dim() == 1 else (first.squeeze(-1), second)
    if second.dim() == first.dim() + 1 and second.shape[-1] == 1:
        return (first.unsqueeze(-1), second) if first.dim() == 1 else (first, second.squeeze(-1))
    return first, second


def match_shapes(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """The truths in the predictions' dtype, and both in one shape; an error where the shapes do not fit."""
    if y_true.shape != y_pred.shape:
        y_true, y_pred = match_ranks(y_true, y_pred)
        if y_true.shape != y_pred.shape:
            raise _shape_error(y_true, y_pred)
    if y_true.dtype != y_pred.dtype:
        y_true = y_true.to(y_pred.dtype)
    return y_true, y_pred


def _shape_error(y_true: Tensor, y_pred: Tensor) -> ValueError:
    way_out = "give the last layer as many units as y has values a row"
    if y_pred.dim() > y_true.dim() or (y_pred.dim() == y_true.dim() and y_true.shape[-1] == 1):
        way_out += ", and set return_sequences only where y has a target for every step"
    return errors.value_error(
        "y", f"shape {tuple(y_pred.shape)} like the network's output", f"shape {tuple(y_true.shape)}", way_out
    )


@taking_arrays
def mean_squared_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Mean of (y_true - y_pred)^2 over the last dimension, (..., D) -> (...).

    >>> mean_squared_error(torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 0.0]]))
    tensor([2.5000])
    """
    y_true, y_pred = match_shapes(y_true, y_pred)
    return (y_true - y_pred).square().mean(-1)


@taking_arrays
def mean_absolute_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Mean of |y_true - y_pred| over the last dimension, (..., D) -> (...)."""
    y_true, y_pred = match_shapes(y_true, y_pred)
    return (y_true - y_pred).abs().mean(-1)


@taking_arrays
def mean_absolute_percentage_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """100 times the mean of |y_true - y_pred| / max(|y_true|, 1e-7), (..., D) -> (...)."""
    y_true, y_pred = match_shapes(y_true, y_pred)
    return 100.0 * ((y_true - y_pred) / y_true.abs().clamp_min(epsilon())).abs().mean(-1)


@taking_arrays
def mean_squared_logarithmic_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Mean of (log(y_true + 1) - log(y_pred + 1))^2, both at least 1e-7, (..., D) -> (...)."""
    y_true, y_pred = match_shapes(y_true, y_pred)
    first = (y_pred.clamp_min(epsilon()) + 1.0).log()
    second = (y_true.clamp_min(epsilon()) + 1.0).log()
    return (first - second).square().mean(-1)


@taking_arrays
def cosine_similarity(y_true: Tensor, y_pred: Tensor, axis: int = -1) -> Tensor:
    """Minus the cosine of the angle between them along `axis`, so that -1 is the best."""
    y_true, y_pred = match_shapes(y_true, y_pred)
    return -(functional.normalize(y_true, dim=axis) * functional.normalize(y_pred, dim=axis)).sum(axis)


@taking_arrays
def huber(y_true: Tensor, y_pred: Tensor, delta: float = 1.0) -> Tensor:
    """Squared where the error is at most delta, linear beyond (Huber 1964), (..., D) -> (...)."""
    y_true, y_pred = match_shapes(y_true, y_pred)
    return functional.huber_loss(y_pred, y_true, reduction="none", delta=delta).mean(-1)


@taking_arrays
def log_cosh(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Mean of log(cosh(y_pred - y_true)), computed label_shape overflow, (..., D) -> (...)."""
    y_true, y_pred = match_shapes(y_true, y_pred)
    error = y_pred - y_true
    return (error + functional.softplus(-2.0 * error) - 0.6931471805599453).mean(-1)


def _signs(y_true: Tensor) -> Tensor:
    """Labels 0 and 1 as -1 and 1; others as they are."""
    return 2.0 * y_true - 1.0 if bool(((y_true == 0) | (y_true == 1)).all()) else y_true


@taking_arrays
def hinge(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Mean of max(1 - y_true * y_pred, 0) for labels -1 and 1 (or 0 and 1), (..., D) -> (...)."""
    y_true, y_pred = match_shapes(y_true, y_pred)
    return (1.0 - _signs(y_true) * y_pred).clamp_min(0.0).mean(-1)


@taking_arrays
def squared_hinge(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Mean of max(1 - y_true * y_pred, 0)^2 for labels -1 and 1 (or 0 and 1), (..., D) -> (...)."""
    y_true, y_pred = match_shapes(y_true, y_pred)
    return (1.0 - _signs(y_true) * y_pred).clamp_min(0.0).square().mean(-1)


@taking_arrays
def categorical_hinge(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """max(best wrong - right + 1, 0) for one-hot truths, (..., V) -> (...)."""
    y_true, y_pred = match_shapes(y_true, y_pred)
    right, wrong = (y_true * y_pred).sum(-1), ((1.0 - y_true) * y_pred).amax(-1)
    return (wrong - right + 1.0).clamp_min(0.0)


@taking_arrays
def kl_divergence(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Sum of y_true * log(y_true / y_pred), both between 1e-7 and 1, (..., V) -> (...)."""
    y_true, y_pred = match_shapes(y_true, y_pred)
    y_true, y_pred = y_true.clamp(epsilon(), 1.0), y_pred.clamp(epsilon(), 1.0)
    return (y_true * (y_true / y_pred).log()).sum(-1)


@taking_arrays
def poisson(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Mean of y_pred - y_true * log(y_pred + 1e-7), (..., D) -> (...)."""
    y_true, y_pred = match_shapes(y_true, y_pred)
    return (y_pred - y_true * (y_pred + epsilon()).log()).mean(-1)


def _binary_terms(y_true: Tensor, y_pred: Tensor, from_logits: bool) -> Tensor:
    if from_logits:
        return functional.binary_cross_entropy_with_logits(y_pred, y_true, reduction="none")
    probability = y_pred.clamp(epsilon(), 1.0 - epsilon())
    return -(y_true * probability.log() + (1.0 - y_true) * (1.0 - probability).log())


@taking_arrays
def binary_crossentropy(
    y_true: Tensor,
    y_pred: Tensor,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """Cross entropy of binary labels, averaged over `axis`: probabilities, or logits with from_logits.

    label_smoothing moves the labels towards one half (Szegedy et al. 2016, section 7).
    """
    y_true, y_pred = match_shapes(y_true, y_pred)
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    return _binary_terms(y_true, y_pred, from_logits).mean(axis)


@taking_arrays
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
    """Cross entropy times (1 - p)^gamma, p the probability of the truth (Lin et al. 2017, equation 5)."""
    y_true, y_pred = match_shapes(y_true, y_pred)
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    probability = y_pred.sigmoid() if from_logits else y_pred
    right = y_true * probability + (1.0 - y_true) * (1.0 - probability)
    terms = (1.0 - right) ** gamma * _binary_terms(y_true, probability, False)
    if apply_class_balancing:
        terms = (y_true * alpha + (1.0 - y_true) * (1.0 - alpha)) * terms
    return terms.mean(axis)


def _probabilities(y_pred: Tensor, axis: int) -> Tensor:
    return (y_pred / y_pred.sum(axis, keepdim=True)).clamp(epsilon(), 1.0 - epsilon())


def _smoothed(y_true: Tensor, label_smoothing: float) -> Tensor:
    if not label_smoothing:
        return y_true
    return y_true * (1.0 - label_smoothing) + label_smoothing / y_true.shape[-1]


@taking_arrays
def categorical_crossentropy(
    y_true: Tensor,
    y_pred: Tensor,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """Cross entropy of one-hot truths (..., V) and probabilities, or logits with from_logits -> (...)."""
    if y_true.shape != y_pred.shape:
        raise _one_hot_error(y_true, y_pred)
    y_true = _smoothed(y_true.to(y_pred.dtype), label_smoothing)
    log_probabilities = y_pred.log_softmax(axis) if from_logits else _probabilities(y_pred, axis).log()
    return -(y_true * log_probabilities).sum(axis)


def _one_hot_error(y_true: Tensor, y_pred: Tensor) -> ValueError:
    expected = f"one-hot rows of shape {tuple(y_pred.shape)} like the network's output"
    way_out = "for class numbers use sparse_categorical_crossentropy"
    return errors.value_error("y", expected, f"shape {tuple(y_true.shape)}", way_out)


@taking_arrays
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
        raise _one_hot_error(y_true, y_pred)
    y_true = _smoothed(y_true.to(y_pred.dtype), label_smoothing)
    probability = _probabilities(y_pred.softmax(axis) if from_logits else y_pred, axis)
    return -(alpha * (1.0 - probability) ** gamma * y_true * probability.log()).sum(axis)


@taking_arrays
def sparse_categorical_crossentropy(
    y_true: Tensor,
    y_pred: Tensor,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
) -> Tensor:
    """Cross entropy of class numbers (...) or (..., 1) and probabilities (..., V), or logits -> (...).

    Positions whose label is ignore_class give 0; `SparseCategoricalCrossentropy` leaves them out of its mean.
    """
    labels = _labels(y_true, y_pred, axis)
    log_probabilities = y_pred.log_softmax(axis) if from_logits else _probabilities(y_pred, axis).log()
    log_probabilities = (
        log_probabilities.movedim(axis, 1) if log_probabilities.dim() > 1 else log_probabilities
    )
    ignore_index = _NO_CLASS if ignore_class is None else ignore_class
    try:
        return functional.nll_loss(log_probabilities, labels, ignore_index=ignore_index, reduction="none")
    except IndexError as error:
        raise _label_error(labels, y_pred.shape[axis], ignore_class) from error


def _labels(y_true: Tensor, y_pred: Tensor, axis: int) -> Tensor:
    """Class numbers as int64 without the class dimension."""
    if y_true.dim() == y_pred.dim() and y_true.shape[axis] == 1:
        y_true = y_true.squeeze(axis)
    label_shape = list(y_pred.shape)
    del label_shape[axis]
    if list(y_true.shape) != label_shape:
        expected = f"class numbers of shape {tuple(label_shape)}"
        way_out = "for one-hot rows use categorical_crossentropy"
        raise errors.value_error("y", expected, f"shape {tuple(y_true.shape)}", way_out)
    return y_true if y_true.dtype == torch.int64 else y_true.long()


def _label_error(labels: Tensor, classes: int, ignore_class: int | None) -> ValueError:
    invalid = (labels < 0) | (labels >= classes)
    if ignore_class is not None:
        invalid &= labels != ignore_class
    received = labels[invalid][0].item() if invalid.any() else "others"
    way_out = "give the last layer one unit a class, and count classes from 0"
    return errors.value_error("y", f"class numbers from 0 to {classes - 1}", received, way_out)


@taking_arrays
def ctc(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """How improbable labels without given times are, (B, L) and logits (B, T, V) -> (B,).

    Connectionist temporal classification (Graves et al. 2006). Class 0 is the blank, and fills rows of labels
    that are shorter.

    Raises:
        ValueError: the shapes are others.
    """
    if y_true.dim() != 2 or y_pred.dim() != 3:
        received = f"y {tuple(y_true.shape)} and outputs {tuple(y_pred.shape)}"
        raise errors.value_error("ctc", "y (B, L) and outputs (B, T, V)", received, "fill labels up with 0")
    steps = torch.full((len(y_pred),), y_pred.shape[1])
    labels = (y_true != 0).sum(-1)
    return functional.ctc_loss(
        y_pred.float().log_softmax(-1).transpose(0, 1),
        y_true.long(),
        steps,
        labels,
        blank=0,
        reduction="none",
    )


Axes = int | tuple[int, ...] | None


@taking_arrays
def dice(y_true: Tensor, y_pred: Tensor, axis: Axes = None) -> Tensor:
    """1 - 2 sum(y_true * y_pred) / (sum(y_true) + sum(y_pred)) over the axes, None for all (Dice 1945)."""
    y_true = y_true.to(y_pred.dtype)
    total = y_true.sum(axis) + y_pred.sum(axis) + epsilon()
    return 1.0 - 2.0 * (y_true * y_pred).sum(axis) / total


@taking_arrays
def tversky(
    y_true: Tensor, y_pred: Tensor, alpha: float = 0.5, beta: float = 0.5, axis: Axes = None
) -> Tensor:
    """`dice` with weights of what is missed (alpha) and what is too much (beta): Salehi et al. 2017."""
    y_true = y_true.to(y_pred.dtype)
    both = (y_true * y_pred).sum(axis)
    missed, extra = ((1.0 - y_pred) * y_true).sum(axis), (y_pred * (1.0 - y_true)).sum(axis)
    return 1.0 - both / (both + alpha * missed + beta * extra + epsilon())


@taking_arrays
def circle(
    y_true: Tensor,
    y_pred: Tensor,
    ref_labels: Any = None,
    ref_embeddings: Any = None,
    remove_diagonal: bool = True,
    gamma: float = 80.0,
    margin: float = 0.4,
) -> Tensor:
    """How much nearer other classes lie than the own one, embeddings (B, D) -> (B,): Sun et al. 2020.

    Args:
        y_true: (B,) class numbers; y_pred: embeddings of norm 1.
        ref_labels, ref_embeddings: what is compared with; None for the batch itself.
        remove_diagonal: whether a row is not compared with itself.
        gamma: scale; margin: what a distance may differ without a loss.
    """
    others = y_pred if ref_embeddings is None else as_tensor(ref_embeddings)
    labels = y_true.reshape(-1, 1)
    of_others = labels if ref_labels is None else as_tensor(ref_labels).reshape(-1, 1)
    distances = (1.0 - y_pred @ others.T).clamp_min(0.0)
    alike = labels == of_others.T
    apart = ~alike
    if remove_diagonal and alike.shape[0] == alike.shape[1]:
        alike = alike & ~torch.eye(len(alike), dtype=torch.bool, device=alike.device)
    near = -gamma * (margin + distances).clamp_min(0.0) * (margin - distances)
    far = gamma * (1.0 + margin - distances).clamp_min(0.0) * (1.0 - margin - distances)
    sums = (v.masked_fill(~kept, -torch.inf).logsumexp(1) for v, kept in ((near, alike), (far, apart)))
    return functional.softplus(sum(sums))  # pyright: ignore[reportArgumentType]


@taking_arrays
def categorical_generalized_cross_entropy(y_true: Tensor, y_pred: Tensor, q: float) -> Tensor:
    """(1 - p^q) / q of the true class's probability p, (B, V) -> (B,): Zhang and Sabuncu 2018."""
    numbers = y_true.squeeze(-1) if y_true.dim() == y_pred.dim() else y_true
    probability = y_pred.gather(-1, numbers.long().unsqueeze(-1)).squeeze(-1)
    return (1.0 - probability**q) / q
