"""Encodes series as the channels that a network reads: scaled, cut, with length and static values beside."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from longspan import errors
from longspan.data.scaling import Scaler

from .static_encoder import StaticEncoder

NORMALIZATIONS = ("channel", "series")
_ALIKE = 0.01  # standard deviation of log lengths up to which the length is no channel
_STANDARDISED = 0.05  # deviation of the series' own moments from 0 and 1 up to which they are standardised
_LEAST = 1e-3  # of a channel's deviation: the least by which the readings of one series are divided


class MixedInput(NamedTuple):
    """A record of several kinds of values.

    series: (T, D) float32, None for a record without a series; static: a value for each static column, a
    number, a text or None.
    """

    series: np.ndarray | None
    static: tuple[Any, ...]


class SeriesEncoder:
    """Encodes series (T_i, D) as scaled channels; a missing reading becomes its channel's mean.

    Args:
        max_length: steps read of a series at most; None: the longest series in training.
        normalization: "channel": each channel has mean 0 and deviation 1 over all training series; "series":
            over the steps of each series.

    Attributes after fit: scaler, None without series; log_length, the mean and standard deviation of the
    logarithms of the lengths where the length is a channel, else None; static, None without static columns.

    >>> encoder = SeriesEncoder().fit([np.array([[1.0], [3.0]]), np.array([[2.0]])], with_length=False)
    >>> encoder.rows([np.array([[3.0]])])
    [tensor([[1.2247]], dtype=torch.float64)]
    """

    def __init__(self, max_length: int | None = None, normalization: str = "channel") -> None:
        self.max_length, self.normalization = max_length, normalization
        self.scaler: Scaler | None = None
        self.log_length: list[float] | None = None
        self.static: StaticEncoder | None = None

    def fit(self, inputs: Sequence[Any], *, with_length: bool, static: Sequence[str] = ()) -> Self:
        """Learn scale, length and the static columns' encoding.

        Args:
            inputs: (T_i, D) arrays, or `MixedInput` of them.
            with_length: add the length as a channel where lengths differ: it may tell the class, and
                pooling loses it.
            static: the names of the static columns.

        Raises:
            ValueError: their channels are not as many, or one is NaN only; one sentence.
        """
        series = [_series(each) for each in inputs]
        if any(values is not None for values in series):
            self._fit_series(series, with_length)
        else:
            self.max_length = 1
        if static:
            self.static = StaticEncoder(static).fit([each.static for each in inputs])
        return self

    def _fit_series(self, series: Sequence[Any], with_length: bool) -> None:
        first = next(values for values in series if values is not None)
        _check_width(series, first.shape[1])
        self.scaler = Scaler().fit(np.concatenate(series))
        missing = sum(int(np.isnan(values).sum()) for values in series)
        if missing:
            errors.notice(f"{missing} missing readings are taken as their channel's mean")
        self.max_length = self.max_length or max(map(len, series))
        logs = np.log([min(len(values), self.max_length) for values in series])
        if with_length and logs.std() > _ALIKE:
            self.log_length = [float(logs.mean()), float(logs.std())]

    @property
    def width(self) -> int:
        """Channels of a row, length and static values among them."""
        return self.readings + self.extras

    @property
    def readings(self) -> int:
        """D, the channels of the series themselves; 0 for records without series."""
        return 0 if self.scaler is None or self.scaler.center_ is None else len(self.scaler.center_)

    @property
    def extras(self) -> int:
        """The channels with one value a record: the length and the static values."""
        return (self.log_length is not None) + (0 if self.static is None else self.static.width)

    def rows(self, inputs: Sequence[Any]) -> list[Tensor]:
        """Scaled readings and the values that are the same at all steps, (T_i, width) each."""
        series = [_series(each) for each in inputs]
        if self.readings:
            _check_width(series, self.readings)
            rows = [torch.from_numpy(self._scaled(values)[: self.max_length]) for values in series]
        else:
            rows = [torch.zeros(1, 0, dtype=torch.float64) for _ in inputs]
        if not self.extras:
            return rows
        extras = self.constants(inputs)
        return [
            torch.cat([row, extra.expand(len(row), -1)], 1) for row, extra in zip(rows, extras, strict=True)
        ]

    def constants(self, inputs: Sequence[Any]) -> Tensor:
        """The length and the static values of every record, (N, extras) float64."""
        parts = []
        if self.log_length is not None:
            mean, deviation = self.log_length
            lengths = [min(len(_series(each)), self.max_length or 1) for each in inputs]
            parts.append(torch.tensor([[(math.log(n) - mean) / deviation] for n in lengths]).double())
        if self.static is not None:
            parts.append(self.static.rows([_static(each, row) for row, each in enumerate(inputs)]))
        return torch.cat(parts, 1) if parts else torch.zeros(len(inputs), 0, dtype=torch.float64)

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        assert self.scaler is not None and self.scaler.scale_ is not None
        if self.normalization == "series":
            mean = _nan_mean(values)
            spread = np.sqrt(_nan_mean((values - mean) ** 2))
            values = (values - mean) / np.maximum(spread, _LEAST * self.scaler.scale_)
        else:
            values = self.scaler.transform(values)
        return np.nan_to_num(values, nan=0.0).astype(np.float64)

    def steps(self, record: Any) -> list[int]:
        """The numbers of the steps that are read."""
        series = _series(record)
        return list(range(1 if series is None else len(series)))[: self.max_length]

    def state(self) -> dict[str, Any]:
        """Plain values that `restore` takes."""
        return {
            "scaler": None if self.scaler is None else self.scaler.state(),
            "log_length": self.log_length,
            "max_length": self.max_length,
            "normalization": self.normalization,
            "static": None if self.static is None else self.static.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        """Take what `state` gave; other keys are passed over."""
        self.scaler = None if state["scaler"] is None else Scaler.from_state(state["scaler"])
        self.log_length, self.max_length = state["log_length"], state["max_length"]
        self.normalization = state["normalization"]
        self.static = None if state["static"] is None else StaticEncoder.from_state(state["static"])
        return self


def are_standardised(inputs: Sequence[Any]) -> bool:
    """Whether every series by itself has mean 0 and deviation 1, so that both normalizations are the same."""
    moments = [(_nan_mean(values), np.sqrt(_nan_mean(values**2))) for values in map(_series, inputs)]
    mean, spread = (np.abs(np.stack(part)) for part in zip(*moments, strict=True))
    return bool(mean.max() < _STANDARDISED and np.abs(spread - 1).max() < _STANDARDISED)


def _nan_mean(values: np.ndarray) -> np.ndarray:
    """The mean (D,) of the readings (T, D) that are there; 0 where none is."""
    real = ~np.isnan(values)
    return np.where(real, values, 0.0).sum(0) / real.sum(0).clip(1)


def _series(record: Any) -> Any:
    return record.series if isinstance(record, MixedInput) else record


def _static(record: Any, row: int) -> tuple[Any, ...]:
    if not isinstance(record, MixedInput):
        received = f"a series alone in row {row}"
        raise errors.value_error("source", "records with the static values of training", received, "add them")
    return record.static


def _check_width(series: Sequence[Any], width: int) -> None:
    for row, values in enumerate(series):
        if not isinstance(values, np.ndarray):
            received = f"{'no series' if values is None else 'a text'} in row {row}"
            raise errors.value_error("source", "series as in training", received, "pass series")
        if values.shape[1] != width:
            received = f"{values.shape[1]} in row {row}"
            raise errors.value_error(
                "source", f"{width} channels in every series", received, "pass as many as in training"
            )
