"""Encodes the numbers and categories of a record as values of one scale."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from longspan import errors

MAX_CATEGORIES = 100  # categories of a column that have a value of their own, the most frequent ones
_KNOTS = 65  # quantiles of a column of numbers between which ranks are interpolated
_EDGE = 10.0  # largest absolute value of a standardised logarithm


class StaticEncoder:
    """Encodes static columns: a column of numbers as two values, one of categories as zeros and ones.

    A number becomes its rank among the training values, between -1 and 1, and the standardised logarithm of
    its size, so that neither heavy tails nor fine differences are lost. A missing number becomes 0, and a
    column with missing numbers has a third value that says so. A category that training has not seen, or
    has seen once, shares one value with all others of its kind.

    Args:
        names: of the columns.

    Attributes after fit: columns, what was learnt of each one.

    >>> encoder = StaticEncoder(["size", "kind"]).fit([(1.0, "a"), (3.0, "b"), (2.0, "a"), (9.0, "b")])
    >>> encoder.rows([(2.0, "b")]).round(decimals=2).tolist()
    [[-0.33, -0.58, 0.0, 1.0, 0.0]]
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.columns: list[dict[str, Any]] = []

    def fit(self, records: Sequence[tuple[Any, ...]]) -> Self:
        """Learn from records (N), a value a column each; returns itself.

        Raises:
            ValueError: a column is empty; one sentence that names it.
        """
        for name, values in zip(self.names, zip(*records, strict=True), strict=True):
            present = [value for value in values if value is not None]
            if not present:
                raise errors.value_error(name, "at least one value", "none", "leave the column out")
            is_text = any(isinstance(value, str) for value in present)
            self.columns.append(_categories(present) if is_text else _numbers(values))
        return self

    @property
    def width(self) -> int:
        """Values of a record."""
        return sum(_width(column) for column in self.columns)

    @property
    def widths(self) -> list[int]:
        """Values of each column."""
        return [_width(column) for column in self.columns]

    def rows(self, records: Sequence[tuple[Any, ...]]) -> Tensor:
        """Encoded records (N, width) float64.

        Raises:
            ValueError: text stands where training had numbers; one sentence that names the column.
        """
        parts = []
        for name, column, values in zip(self.names, self.columns, zip(*records, strict=True), strict=True):
            if "categories" in column:
                parts.append(_one_hot(column, values))
            else:
                parts.append(_scaled(column, _as_numbers(name, values)))
        return torch.from_numpy(np.concatenate(parts, 1))

    def state(self) -> dict[str, Any]:
        """Plain values that `from_state` takes."""
        return {"names": list(self.names), "columns": self.columns}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> StaticEncoder:
        """The encoder that gave this state."""
        encoder = cls(state["names"])
        encoder.columns = list(state["columns"])
        return encoder


def _width(column: Mapping[str, Any]) -> int:
    return len(column["categories"]) + 1 if "categories" in column else 2 + column["missing"]


def _categories(values: Sequence[Any]) -> dict[str, Any]:
    counts = Counter(map(str, values)).most_common(MAX_CATEGORIES)
    return {"categories": sorted(name for name, count in counts if count > 1)}


def _one_hot(column: Mapping[str, Any], values: Sequence[Any]) -> np.ndarray:
    """(N, categories + 1); the last one for every other category, and missing values nowhere."""
    number = {name: index for index, name in enumerate(column["categories"])}
    encoded = np.zeros((len(values), len(number) + 1))
    for row, value in enumerate(values):
        if value is not None:
            encoded[row, number.get(str(value), len(number))] = 1.0
    return encoded


def _as_numbers(name: str, values: Sequence[Any]) -> np.ndarray:
    try:
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    except (TypeError, ValueError) as error:
        text = next(value for value in values if isinstance(value, str))
        raise errors.value_error(name, "numbers, as in training", repr(text), "correct the column") from error


def _numbers(values: Sequence[Any]) -> dict[str, Any]:
    numbers = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    real = numbers[np.isfinite(numbers)]
    center = float(np.median(real)) if len(real) else 0.0
    unit = float(np.median(np.abs(real - center))) if len(real) else 1.0
    unit = unit or float(np.abs(real - center).mean()) or 1.0
    logs = np.arcsinh((real - center) / unit)
    return {
        "knots": np.unique(np.quantile(real, np.linspace(0, 1, _KNOTS))).tolist(),
        "center": center,
        "unit": unit,
        "mean": float(logs.mean()),
        "deviation": float(logs.std()) or 1.0,
        "missing": bool(len(real) < len(numbers)),
    }


def _scaled(column: Mapping[str, Any], values: np.ndarray) -> np.ndarray:
    """(N, 2), or (N, 3) where training had missing values."""
    real = np.isfinite(values)
    numbers = np.where(real, values, column["center"])
    knots = column["knots"]
    ranks = np.interp(numbers, knots, np.linspace(-1, 1, len(knots))) if len(knots) > 1 else 0 * numbers
    logs = np.arcsinh((numbers - column["center"]) / column["unit"])
    logs = ((logs - column["mean"]) / column["deviation"]).clip(-_EDGE, _EDGE)
    parts = [np.where(real, ranks, 0.0), np.where(real, logs, 0.0)]
    return np.stack([*parts, (~real).astype(float)] if column["missing"] else parts, 1)
