"""Encodes columns that describe events or items: text as numbers of categories, numbers by their scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from longspan.data.readers.tables import is_number, numbers, words

_MOST_CATEGORIES = 10_000  # categories of a column, the most frequent ones


@dataclass
class ColumnCode:
    """How one column is encoded.

    name: of the column; categories: text -> number from 1 on, None for a column of numbers.
    mean, scale: of the numbers.
    """

    name: str
    categories: dict[str, int] | None
    mean: float = 0.0
    scale: float = 1.0

    @property
    def size(self) -> int:
        """The number of categories with 0 for an unknown one; 0 for a column of numbers."""
        return 0 if self.categories is None else 1 + len(self.categories)


class ColumnEncoder:
    """Columns to float32 (N, C): a column of text as numbers of categories, a column of numbers standardized.

    Missing and unknown values are 0.
    """

    def __init__(self, codes: Sequence[ColumnCode] = ()) -> None:
        self.codes = list(codes)

    def fit(self, table: pl.DataFrame) -> ColumnEncoder:
        """Find the categories, means and scales of all columns."""
        self.codes = [_code(table, name) for name in table.columns]
        return self

    def encode(self, table: pl.DataFrame | None, rows: int) -> np.ndarray:
        """(rows, C) float32; zeros where there is no table."""
        values = np.zeros((rows, len(self.codes)), np.float32)
        if table is not None and table.height:
            for place, code in enumerate(self.codes):
                values[:, place] = _encoded(table, code)
        return values

    def encode_row(self, row: Mapping[str, Any]) -> np.ndarray:
        """(C,) float32 of one event."""
        table = pl.DataFrame({code.name: [row.get(code.name)] for code in self.codes}, strict=False)
        return self.encode(table, 1)[0]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of each column: see `ColumnCode.size`."""
        return tuple(code.size for code in self.codes)

    def state(self) -> Any:
        """Plain values."""
        return [asdict(code) for code in self.codes]

    @classmethod
    def restore(cls, state: Any) -> ColumnEncoder:
        """The encoder whose `state` this is."""
        return cls([ColumnCode(**code) for code in state])


def _code(table: pl.DataFrame, name: str) -> ColumnCode:
    if is_number(table[name]):
        values = numbers(table, [name], "column")[:, 0]
        there = values[np.isfinite(values)]
        scale = float(there.std()) if len(there) else 1.0
        return ColumnCode(name, None, float(there.mean()) if len(there) else 0.0, scale or 1.0)
    counts = pl.Series(words(table, name).tolist(), dtype=pl.String).value_counts(sort=True)
    names = sorted(text for text in counts[counts.columns[0]].to_list()[:_MOST_CATEGORIES] if text)
    return ColumnCode(name, {text: number for number, text in enumerate(names, 1)})


def _encoded(table: pl.DataFrame, code: ColumnCode) -> np.ndarray:
    if code.categories is None:
        values = (numbers(table, [code.name], "column")[:, 0] - code.mean) / code.scale
        return np.nan_to_num(values, nan=0.0)
    text = pl.Series(words(table, code.name).tolist(), dtype=pl.String)
    return text.replace_strict(code.categories, default=0, return_dtype=pl.Int32).to_numpy()
