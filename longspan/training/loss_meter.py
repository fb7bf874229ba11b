"""Averages the loss of an epoch, and stops training at a loss that is NaN or infinite."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from longspan import errors
from longspan.data.batches import Batch

_FLUSH_STEPS = 32  # steps between two reads of losses on a device, since every read waits for the device

Rows = Callable[[Batch], int]


class NotFinite(FloatingPointError, RuntimeError):
    """A loss is NaN or infinite; the sentence names epoch and step.

    Attributes:
        loss: the loss.
    """

    loss: float = math.nan


def not_finite(number: float, epoch: int, step: int, batch: Batch | None) -> NotFinite:
    """The error for a NaN or infinite loss; epoch and step count from 0."""
    cause = "" if batch is None or not _holds_nan(batch) else ", whose batch holds NaN or infinity"
    received = f"{number} at epoch {epoch + 1}, step {step + 1}{cause}"
    way_out = "lower the learning rate, clip the gradients (clip_norm=1.0) or look at the data"
    error = NotFinite(errors.message("loss", "a finite number", received, way_out))
    error.loss = number
    return error


def _holds_nan(batch: Batch) -> bool:
    return any(_is_bad(part) for part in (batch.x, batch.y))


def _is_bad(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(_is_bad(part) for part in value)
    return isinstance(value, Tensor) and value.is_floating_point() and not bool(value.isfinite().all())


def check_loss(value: Any) -> None:
    """Refuse a loss that is not one number."""
    if not isinstance(value, Tensor) or value.dim():
        received = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise errors.value_error("loss", "one number, a tensor without dimensions", received, "take its mean")


class LossMeter:
    """The mean loss over rows; every loss is checked before its step, which takes 0.1 us on a CPU."""

    def __init__(self, rows: Rows) -> None:
        self.total, self.count, self._rows = 0.0, 0, rows

    def add(self, value: Tensor, batch: Batch, epoch: int, step: int) -> None:
        """Add the loss of a step; the step is not taken if this raises `NotFinite`."""
        if self.count == 0:
            check_loss(value)
        self.add_number(value.item(), batch, epoch, step)

    def add_number(self, number: float, batch: Batch, epoch: int, step: int) -> None:
        """`add` for a loss that is a number already."""
        if not math.isfinite(number):
            raise not_finite(number, epoch, step, batch)
        rows = self._rows(batch)
        self.total += number * rows
        self.count += rows

    def flush(self) -> None:
        """Check the losses that have not been checked."""

    def result(self) -> float:
        """The mean so far."""
        return self.total / self.count if self.count else math.nan


class AsyncLossMeter(LossMeter):
    """The same on a device: losses are checked every 32 steps, since a check waits for the device.

    Steps after a NaN or infinite loss may have been taken before the check; the error names the right step.
    """

    def __init__(self, rows: Rows) -> None:
        super().__init__(rows)
        self._losses: list[Tensor] = []
        self._positions: list[tuple[int, int, int]] = []

    def add(self, value: Tensor, batch: Batch, epoch: int, step: int) -> None:
        if not self._losses:
            check_loss(value)
        self._losses.append(value.detach())
        self._positions.append((self._rows(batch), epoch, step))
        if len(self._losses) >= _FLUSH_STEPS:
            self.flush()

    def flush(self) -> None:
        numbers = torch.stack(self._losses).tolist() if self._losses else []
        for number, (rows, epoch, step) in zip(numbers, self._positions, strict=True):
            if not math.isfinite(number):
                raise not_finite(number, epoch, step, None)
            self.total += number * rows
            self.count += rows
        self._losses, self._positions = [], []

    def result(self) -> float:
        self.flush()
        return super().result()
