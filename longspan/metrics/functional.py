"""Computes accuracies as functions of truths and predictions: one value a sample."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from torch import Tensor

from longspan.config import epsilon
from longspan.losses import as_tensor, match_ranks

P = ParamSpec("P")


def _taking_arrays(
    function: Callable[Concatenate[Tensor, Tensor, P], Tensor],
) -> Callable[Concatenate[Any, Any, P], Tensor]:
    """A function (y_true, y_pred, ...) of tensors, which takes arrays and lists too."""

    @wraps(function)
    def metric(y_true: Any, y_pred: Any, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        return function(as_tensor(y_true), as_tensor(y_pred), *args, **kwargs)

    return metric


@_taking_arrays
def accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """1 where the values are equal, else 0."""
    y_true, y_pred = match_ranks(y_true, y_pred)
    return (y_true == y_pred).float()


@_taking_arrays
def binary_accuracy(y_true: Tensor, y_pred: Tensor, threshold: float = 0.5) -> Tensor:
    """1 where y_pred is above the threshold and the label 1, or neither; else 0."""
    y_true, y_pred = match_ranks(y_true, y_pred)
    return ((y_pred > threshold) == y_true).float()


@_taking_arrays
def categorical_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """1 where the most probable class is the one-hot truth's, (..., V) -> (...)."""
    return (y_true.argmax(-1) == y_pred.argmax(-1)).float()


@_taking_arrays
def sparse_categorical_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """1 where the most probable class (..., V) is the class number (...) or (..., 1)."""
    return (_class_numbers(y_true, y_pred) == y_pred.argmax(-1)).float()


def _class_numbers(y_true: Tensor, y_pred: Tensor) -> Tensor:
    return y_true.squeeze(-1) if y_true.dim() == y_pred.dim() and y_true.shape[-1] == 1 else y_true


@_taking_arrays
def sparse_top_k_categorical_accuracy(
    y_true: Tensor, y_pred: Tensor, k: int = 5, from_sorted_ids: bool = False
) -> Tensor:
    """1 where fewer than k classes are more probable than the class number's, (..., V) -> (...).

    With from_sorted_ids y_pred has class numbers, the most probable one first.
    """
    if from_sorted_ids:
        return (_class_numbers(y_true, y_pred).unsqueeze(-1) == y_pred[..., :k]).any(-1).float()
    of_truth = y_pred.gather(-1, _class_numbers(y_true, y_pred).long().unsqueeze(-1))
    return ((y_pred > of_truth).sum(-1) < k).float()


@_taking_arrays
def top_k_categorical_accuracy(y_true: Tensor, y_pred: Tensor, k: int = 5) -> Tensor:
    """1 where fewer than k classes are more probable than the one-hot truth's, (..., V) -> (...)."""
    return sparse_top_k_categorical_accuracy(y_true.argmax(-1), y_pred, k)


@_taking_arrays
def pearson_correlation(y_true: Tensor, y_pred: Tensor, axis: int = -1) -> Tensor:
    """The correlation of truths and predictions along an axis, one number for each other place.

    >>> pearson_correlation(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[1.0, 3.0, 5.0]]))
    tensor([1.0000])
    """
    y_true, y_pred = match_ranks(y_true.to(y_pred.dtype), y_pred)
    parts = [v - v.mean(axis, keepdim=True) for v in (y_true, y_pred)]
    truth, predicted = (v / v.std(axis, correction=0, keepdim=True) for v in parts)
    return (truth * predicted).mean(axis)


@_taking_arrays
def concordance_correlation(y_true: Tensor, y_pred: Tensor, axis: int = -1) -> Tensor:
    """Keras' concordance of truths and predictions along an axis, one number for each other place.

    As in Keras, the truths are centred by the mean of the predictions too.
    """
    y_true, y_pred = match_ranks(y_true.to(y_pred.dtype), y_pred)
    mean, middle = y_true.mean(axis, keepdim=True), y_pred.mean(axis, keepdim=True)
    spread = y_true.var(axis, correction=0, keepdim=True) + y_pred.var(axis, correction=0, keepdim=True)
    together = (y_true - middle) * (y_pred - middle)
    return (2.0 * together / (spread + (mean - middle).square() + epsilon())).mean(axis)
