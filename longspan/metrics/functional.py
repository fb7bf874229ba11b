"""Computes accuracies as functions of truths and predictions: one value a sample."""

from __future__ import annotations

from torch import Tensor

from longspan.losses import match_ranks


def accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """1 where the values are equal, else 0."""
    y_true, y_pred = match_ranks(y_true, y_pred)
    return (y_true == y_pred).float()


def binary_accuracy(y_true: Tensor, y_pred: Tensor, threshold: float = 0.5) -> Tensor:
    """1 where y_pred is above the threshold and the label 1, or neither; else 0."""
    y_true, y_pred = match_ranks(y_true, y_pred)
    return ((y_pred > threshold) == y_true).float()


def categorical_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """1 where the most probable class is the one-hot truth's, (..., V) -> (...)."""
    return (y_true.argmax(-1) == y_pred.argmax(-1)).float()


def sparse_categorical_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """1 where the most probable class (..., V) is the class number (...) or (..., 1)."""
    return (_class_numbers(y_true, y_pred) == y_pred.argmax(-1)).float()


def _class_numbers(y_true: Tensor, y_pred: Tensor) -> Tensor:
    return y_true.squeeze(-1) if y_true.dim() == y_pred.dim() and y_true.shape[-1] == 1 else y_true


def sparse_top_k_categorical_accuracy(y_true: Tensor, y_pred: Tensor, k: int = 5) -> Tensor:
    """1 where fewer than k classes are more probable than the class number's, (..., V) -> (...)."""
    of_truth = y_pred.gather(-1, _class_numbers(y_true, y_pred).long().unsqueeze(-1))
    return ((y_pred > of_truth).sum(-1) < k).float()


def top_k_categorical_accuracy(y_true: Tensor, y_pred: Tensor, k: int = 5) -> Tensor:
    """1 where fewer than k classes are more probable than the one-hot truth's, (..., V) -> (...)."""
    return sparse_top_k_categorical_accuracy(y_true.argmax(-1), y_pred, k)
