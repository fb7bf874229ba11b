"""Describes where a source of a classifier has its texts, series and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from longspan.data.time_table import TimeOptions

KINDS = ("multiclass", "multilabel", "token")


@dataclass(frozen=True)
class Layout:
    """The columns and fields of a source.

    text: the column or field with the text; series: those with values; static: those with one value a record,
    a number or a category; label: that with the label; id: the
    column that says which series a row belongs to; time: the column by which its rows are put in order;
    labels: "multiclass" (one a record), "multilabel" (any number of them), "token" (one a step), None for
    found; separator: between the labels of one cell; options: how files are read; classes: those of fit,
    None before it; fitted_text, fitted_series, fitted_static: the columns that fit read,
    which a later table must have.
    """

    text: str | None = None
    series: str | Sequence[str] | None = None
    static: str | Sequence[str] | None = None
    label: str = "label"
    id: str | None = None
    time: str | None = None
    labels: str | None = None
    separator: str = "|"
    options: TimeOptions = field(default_factory=TimeOptions)
    classes: tuple[Any, ...] | None = None
    fitted_text: str | None = None
    fitted_series: tuple[str, ...] = ()
    fitted_static: tuple[str, ...] = ()

    @property
    def encoding(self) -> str:
        """The encoding of text files."""
        return self.options.encoding

    @property
    def static_columns(self) -> tuple[str, ...]:
        """The static columns that were named, or that fit read; () where they are still to be found."""
        named = (self.static,) if isinstance(self.static, str) else tuple(self.static or ())
        return named or self.fitted_static


class SourceParts(NamedTuple):
    """The parts of a source: inputs, their labels or None, and the columns that both came from."""

    inputs: list[Any]
    labels: list[Any] | None
    text: str | None = None
    series: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    ids: list[Any] | None = None
