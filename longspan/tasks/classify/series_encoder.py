"""Encodes series as the channels that a network reads: scaled, cut, with the length as one of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from longspan import errors
from longspan.data.scaling import Scaler

_ALIKE = 0.01  # standard deviation of log lengths up to which the length is no channel


class SeriesEncoder:
    """Encodes series (T_i, D) as scaled channels; a missing reading becomes its channel's mean.

    Args:
        max_length: steps read of a series at most; None: the longest series in training.

    Attributes after fit: scaler; log_length, the mean and standard deviation of the logarithms of the
    lengths where the length is a channel, else None.

    >>> encoder = SeriesEncoder().fit([np.array([[1.0], [3.0]]), np.array([[2.0]])], with_length=False)
    >>> encoder.rows([np.array([[3.0]])])
    [tensor([[1.2247]], dtype=torch.float64)]
    """

    def __init__(self, max_length: int | None = None) -> None:
        self.max_length = max_length
        self.scaler = Scaler()
        self.log_length: list[float] | None = None

    def fit(self, series: Sequence[np.ndarray], *, with_length: bool) -> Self:
        """Learn scale and length.

        Args:
            with_length: add the length as a channel where lengths differ: it may tell the class, and
                pooling loses it.

        Raises:
            ValueError: their channels are not as many, or one is NaN only; one sentence.
        """
        _same_width(series, series[0].shape[1])
        self.scaler.fit(np.concatenate(series))
        missing = sum(int(np.isnan(values).sum()) for values in series)
        if missing:
            errors.notice(f"{missing} missing readings are taken as their channel's mean")
        self.max_length = self.max_length or max(map(len, series))
        logs = np.log([min(len(values), self.max_length) for values in series])
        if with_length and logs.std() > _ALIKE:
            self.log_length = [float(logs.mean()), float(logs.std())]
        return self

    @property
    def width(self) -> int:
        """Channels of a row, the length among them."""
        return self._readings + (self.log_length is not None)

    @property
    def _readings(self) -> int:
        return 0 if self.scaler.center_ is None else len(self.scaler.center_)

    def rows(self, series: Sequence[Any]) -> list[Tensor]:
        """Scaled readings (T_i, width), cut to `max_length`."""
        _same_width(series, self._readings)
        scaled = (np.nan_to_num(self.scaler.transform(values), nan=0.0) for values in series)
        return [self._with_length(torch.from_numpy(values[: self.max_length])) for values in scaled]

    def _with_length(self, row: Tensor) -> Tensor:
        if self.log_length is None:
            return row
        mean, deviation = self.log_length
        return torch.cat([row, row.new_full((len(row), 1), (math.log(len(row)) - mean) / deviation)], 1)

    def steps(self, series: np.ndarray) -> list[int]:
        """The numbers of the steps that are read."""
        return list(range(len(series)))[: self.max_length]

    def state(self) -> dict[str, Any]:
        """Plain values that `restore` takes."""
        return {"scaler": self.scaler.state(), "log_length": self.log_length, "max_length": self.max_length}

    def restore(self, state: Mapping[str, Any]) -> Self:
        """Take what `state` gave; other keys are passed over."""
        self.scaler = Scaler.from_state(state["scaler"])
        self.log_length, self.max_length = state["log_length"], state["max_length"]
        return self


def _same_width(series: Sequence[Any], width: int) -> None:
    for row, values in enumerate(series):
        if not isinstance(values, np.ndarray):
            raise errors.value_error("source", "series as in training", f"a text in row {row}", "pass series")
        if values.shape[1] != width:
            received = f"{values.shape[1]} in row {row}"
            raise errors.value_error(
                "source", f"{width} channels in every series", received, "pass as many as in training"
            )
