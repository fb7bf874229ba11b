"""Renders sections of elements as one HTML file that needs nothing else."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib.resources import files
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from longspan import __version__
from longspan.optional import require

from .elements import Section, Table
from .figures import render
from .pictures import picture_svg

_LONG = 40  # letters from which a cell keeps some width on a phone
SUMMARY = "Summary"  # a first section of this title stands at the top, beside the page's own title


class Cell(NamedTuple):
    """The text of a table's cell, and its CSS classes."""

    text: str
    kind: str


def page(title: str, sections: Sequence[Section], *, lead: str = "", foot: str = "") -> str:
    """One self-contained HTML page: no network, light and dark, for wide screens and phones.

    A small script in it shows values under the pointer; without it the page lacks nothing else.

    Args:
        title: the page's heading.
        sections: what it shows, in order; a first one called "Summary" goes to the top.
        lead: a sentence below the title.
        foot: a line at the end.

    Raises:
        ImportError: jinja2 or matplotlib is missing; the sentence names the command.

    >>> from .elements import Table
    >>> html = page("Rain", [Section("Data", [Table("Days", ["day", "mm"], [["Monday", 3.5]])])])
    >>> html.count("<td"), "http" in html.replace("http://www.w3.org", "")
    (2, False)
    """
    jinja = require("jinja2", "report", "report")
    summary, rest = _summary_and_rest(sections)
    environment = jinja.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja.StrictUndefined
    )
    template = environment.from_string(_text("page.html"))
    texts = {"title": title, "lead": lead, "foot": foot, "version": __version__, "css": _text("page.css")}
    texts["script"] = _text("page.js")
    html = template.render(**_helpers(), **texts, sections=rest, summary=summary)
    return re.sub(r"\n\s*\n+", "\n", html)


def _summary_and_rest(sections: Sequence[Section]) -> tuple[Sequence[Any], Sequence[Section]]:
    if sections and sections[0].title == SUMMARY:
        return sections[0].elements, sections[1:]
    return (), sections


def _text(name: str) -> str:
    return files("longspan.report").joinpath(name).read_text(encoding="utf-8")


def _helpers() -> dict[str, Any]:
    """What the template asks for while it is filled in."""
    number = count(1)
    return {
        "figure_of": lambda element: render(element, f"figure-{next(number)}"),
        "picture_of": picture_svg,
        "fresh": lambda word: f"{word}-{next(number)}",
        "kind_of": lambda element: type(element).__name__,
        "several": lambda shown: shown if isinstance(shown, (list, tuple)) else [shown],
        "strength": lambda weight: round(min(abs(weight), 1.0) * 70),
        "is_number": _is_number,
        "cells": _cells,
    }


def _is_number(table: Table, column: int) -> bool:
    """Whether a column holds numbers (and gaps) alone."""
    values = [row[column] for row in table.rows if row[column] is not None]
    return bool(values) and all(_numeric(value) for value in values)


def _numeric(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _cells(table: Table) -> Iterator[list[Cell]]:
    """The table row by row, as shown."""
    winners = {name: _winner(table, name, which) for name, which in table.best.items()}
    numeric = [_is_number(table, index) for index in range(len(table.columns))]
    for row in table.rows:
        yield [
            Cell(text := format_value(value), " ".join(_kinds(value, text, number, winners.get(name))))
            for value, number, name in zip(row, numeric, table.columns, strict=True)
        ]


def _kinds(value: Any, text: str, number: bool, winner: float | None) -> Iterator[str]:
    if number:
        yield "number"
    if len(text) > _LONG:
        yield "long"
    if winner is not None and value == winner:
        yield "best"


def _winner(table: Table, name: str, which: str) -> float | None:
    column = list(table.columns).index(name)
    finite = [row[column] for row in table.rows if _numeric(row[column]) and math.isfinite(row[column])]
    return (min if which == "low" else max)(finite) if len(finite) > 1 else None


def format_value(value: Any) -> str:
    """A cell's value in text: numbers to four digits that say something.

    >>> [format_value(value) for value in (None, 12345.678, 0.01236, 7, "x", float("nan"))]
    ['–', '12,346', '0.01236', '7', 'x', '–']
    """
    if value is None or (_numeric(value) and math.isnan(value)):
        return "–"
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, (float, np.floating)):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, datetime):
        return value.isoformat(" ", "minutes")
    return str(value)
