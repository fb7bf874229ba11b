"""Declares the options for reading tables: encoding, markers of missing values, sheet, form of times."""

from __future__ import annotations

from dataclasses import dataclass

from longspan.data.time_table import TimeOptions

from .options import option


@dataclass(eq=False, repr=False, kw_only=True)
class ReadingOptions:
    """Options that say how files and times are read. Abstract; tasks that read tables inherit from it."""

    encoding: str = option(
        "utf-8",
        "encoding of text files that have no byte order mark, such as latin-1",
        group="data",
        advanced=True,
        per_source=True,
    )
    missing: tuple[str, ...] = option(
        (),
        "cells that mean a missing value, in addition to NA, n/a, -, null and the like",
        group="data",
        advanced=True,
        per_source=True,
    )
    sheet: str | None = option(
        None, "sheet of an Excel file; none for the first", group="data", advanced=True, per_source=True
    )
    time_format: str | None = option(
        None,
        "form of times that are text, such as %d/%m/%Y %H:%M; none to find it",
        group="data",
        advanced=True,
        per_source=True,
    )

    def _reading(self, frequency: str | None = None) -> TimeOptions:
        """The options as one value; frequency: the step to which times are rounded, None for none."""
        return TimeOptions(self.encoding, self.missing, self.sheet, self.time_format, frequency)
