"""Defines what a metric is: sums over batches, kept in float64, and a result made from them."""

from __future__ import annotations

import abc
from typing import Any

import torch
from torch import Tensor

from longspan.losses import match_ranks
from longspan.registry import constructor_arguments

Accumulator = float | Tensor  # 0.0 until the first tensor decides the device


def total_of(values: Tensor, *dims: int) -> Tensor:
    """The sum over the dimensions, in float64."""
    wide = values.dtype if values.device.type == "mps" else torch.float64  # MPS has no float64
    return values.sum(dims or None, dtype=wide)


def safe_ratio(numerator: Accumulator, denominator: Accumulator) -> Tensor:
    """numerator / denominator, 0 where the denominator is 0."""
    numerator, denominator = torch.as_tensor(numerator), torch.as_tensor(denominator)
    return torch.where(denominator == 0, 0.0, numerator / torch.where(denominator == 0, 1.0, denominator))


class Metric(abc.ABC):
    """A number made from sums over batches. Abstract: subclasses define `update_state` and `result`.

    Attributes:
        name: its key in logs and History.
        direction: "up" where more is better, "down" where less is, None where it is unknown.
        sums: the sums so far by name; subclasses name their sums in `__init__`.
    """

    def __init__(self, name: str, direction: str | None, *sums: str) -> None:
        self.name, self.direction = name, direction
        self.sums: dict[str, Accumulator] = dict.fromkeys(sums, 0.0)

    @abc.abstractmethod
    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        """Add a batch: truths, predictions, and how much each row (B,) or step (B, T) counts."""

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

    def add(self, **amounts: Accumulator) -> None:
        """Add to the sums by name."""
        for name, amount in amounts.items():
            self.sums[name] = self.sums[name] + amount

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return constructor_arguments(self)


def mean_parts(values: Tensor, weight: Tensor | None) -> dict[str, Accumulator]:
    """What a batch adds to a mean's total and count; every row counts once, as in Keras."""
    if weight is None:
        rows = values.shape[0] if values.dim() else 1
        return {"total": total_of(values) * (rows / max(values.numel(), 1)), "count": float(rows)}
    values, weight = match_ranks(values, weight.to(values.dtype))
    if values.dim() > weight.dim():
        values = values.mean(tuple(range(weight.dim(), values.dim())))
    weight = weight.expand_as(values)
    per_row = max(values[0].numel(), 1) if values.dim() else 1
    return {"total": total_of(values * weight) / per_row, "count": total_of(weight) / per_row}


def weights_like(y_pred: Tensor, weight: Tensor) -> Tensor:
    y_pred, weight = match_ranks(y_pred, weight)
    while weight.dim() < y_pred.dim():
        weight = weight.unsqueeze(-1)
    return weight.expand_as(y_pred)
