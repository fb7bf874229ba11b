"""Describes where a source of a classifier has its texts, series and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from longspan.data.time_table import TimeOptions

KINDS = ("multiclass", "multilabel", "token")


@dataclass(frozen=True)
class Layout:
    """The columns and fields of a source.

    text: the column or field with the text; series: those with values; label: that with the label; id: the
    column that says which series a row belongs to; time: the column by which its rows are put in order;
    labels: "multiclass" (one a record), "multilabel" (any number of them), "token" (one a step), None for
    found; separator: between the labels of one cell; options: how files are read; classes: those of fit,
    None before it; fitted_text, fitted_series: the columns that fit read, which a later table must have.
    """

    text: str | None = None
    series: str | Sequence[str] | None = None
    label: str = "label"
    id: str | None = None
    time: str | None = None
    labels: str | None = None
    separator: str = "|"
    options: TimeOptions = field(default_factory=TimeOptions)
    classes: tuple[Any, ...] | None = None
    fitted_text: str | None = None
    fitted_series: tuple[str, ...] = ()

    @property
    def encoding(self) -> str:
        """The encoding of text files."""
        return self.options.encoding
