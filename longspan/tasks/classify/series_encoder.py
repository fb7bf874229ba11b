"""Knows series as the channels that a network reads: scaled, cut, with their length where it differs."""

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

_ALIKE = 0.01  # deviation of the logarithms of lengths up to which these say nothing


class SeriesEncoder:
    """Series (T_i, D) of readings as rows of a network, missing ones as their channel's mean.

    Args:
        length: steps read at most, None for the longest in training.

    Attributes after fit: scaler; span, the mean and deviation of the logarithms of the series' lengths where
    their length is a channel, else None.

    >>> encoder = SeriesEncoder().fit([np.array([[1.0], [3.0]]), np.array([[2.0]])], sized=False)
    >>> encoder.rows([np.array([[3.0]])])
    [tensor([[1.2247]], dtype=torch.float64)]
    """

    def __init__(self, length: int | None = None) -> None:
        self.length = length
        self.scaler = Scaler()
        self.span: list[float] | None = None

    def fit(self, series: Sequence[np.ndarray], *, sized: bool) -> Self:
        """Learn scale and length.

        Args:
            sized: whether the length is a channel where it differs: it may tell a series' class, and pooling
                forgets it.

        Raises:
            ValueError: their channels are not as many, or one is NaN only; one sentence.
        """
        _same_width(series, series[0].shape[1])
        self.scaler.fit(np.concatenate(series))
        holes = sum(int(np.isnan(one).sum()) for one in series)
        if holes:
            errors.notice(f"{holes} missing readings are taken as their channel's mean")
        self.length = self.length or max(map(len, series))
        logs = np.log([min(len(one), self.length) for one in series])
        if sized and logs.std() > _ALIKE:
            self.span = [float(logs.mean()), float(logs.std())]
        return self

    @property
    def width(self) -> int:
        """Channels of a row, the length among them."""
        return self._readings + (self.span is not None)

    @property
    def _readings(self) -> int:
        return 0 if self.scaler.center_ is None else len(self.scaler.center_)

    def rows(self, series: Sequence[Any]) -> list[Tensor]:
        """Scaled readings (T_i, width), cut to the length read."""
        _same_width(series, self._readings)
        scaled = (np.nan_to_num(self.scaler.transform(one), nan=0.0) for one in series)
        return [self._with_length(torch.from_numpy(one[: self.length])) for one in scaled]

    def _with_length(self, row: Tensor) -> Tensor:
        if self.span is None:
            return row
        mean, deviation = self.span
        return torch.cat([row, row.new_full((len(row), 1), (math.log(len(row)) - mean) / deviation)], 1)

    def pieces(self, series: np.ndarray) -> list[int]:
        """The numbers of the steps that are read."""
        return list(range(len(series)))[: self.length]

    def state(self) -> dict[str, Any]:
        """Plain values that `restore` takes."""
        return {"scaler": self.scaler.state(), "span": self.span, "length": self.length}

    def restore(self, state: Mapping[str, Any]) -> Self:
        """Take what `state` gave; other keys are passed over."""
        self.scaler = Scaler.from_state(state["scaler"])
        self.span, self.length = state["span"], state["length"]
        return self


def _same_width(series: Sequence[Any], width: int) -> None:
    for row, one in enumerate(series):
        if not isinstance(one, np.ndarray):
            raise errors.value_error("source", "series as in training", f"a text in row {row}", "pass series")
        if one.shape[1] != width:
            received = f"{one.shape[1]} in row {row}"
            raise errors.value_error(
                "source", f"{width} channels in every series", received, "pass as many as in training"
            )
