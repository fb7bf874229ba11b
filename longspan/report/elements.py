"""Defines what a report can show, as plain data: statistics, tables, charts, heat maps, pictures, text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Values = Sequence[Any] | np.ndarray  # numbers; for x also times (datetime) or text


@dataclass(frozen=True)
class Stat:
    """A headline: name, value as shown, a short remark, and the mood: "good", "bad" or "" for neither.

    >>> Stat("MAE", "1.42 °F", "38 % below repeating the last day", "good").value
    '1.42 °F'
    """

    name: str
    value: str
    remark: str = ""
    mood: str = ""


@dataclass(frozen=True)
class Stats:
    """The few numbers that matter most, in a row."""

    title: str
    stats: Sequence[Stat]
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under headings; note: a sentence to read below it; cells are text, numbers or None.

    best: headings of columns in which the "low" or the "high" number wins and is marked;
    emphasis: the row the reader looks for, counted from 0, such as the model's among its rivals.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""
    best: Mapping[str, str] = field(default_factory=dict)
    emphasis: int | None = None


@dataclass(frozen=True)
class Line:
    """A curve: y over x, both of one length; NaN or None leaves a gap. style: "line", "dash" or "points".

    A line called "actual" is the truth and is drawn in the colour of the text.
    """

    name: str
    x: Values
    y: Values
    style: str = "line"


@dataclass(frozen=True)
class Band:
    """A filled stretch between two curves over x, such as an interval."""

    name: str
    x: Values
    low: Values
    high: Values


@dataclass(frozen=True)
class LineChart:
    """LineChart and bands in one picture.

    spans: (start, end, name) stretches of x to shade, such as alarms; marks: (place on x, name), such as
    where a forecast begins; levels: (value of y, name), such as a threshold; log: a logarithmic y axis.
    """

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    bands: Sequence[Band] = ()
    note: str = ""
    spans: Sequence[tuple[Any, Any, str]] = ()
    marks: Sequence[tuple[Any, str]] = ()
    levels: Sequence[tuple[float, str]] = ()
    log: bool = False


@dataclass(frozen=True)
class BarChart:
    """Groups of bars: for each name in `values` one bar over each label."""

    title: str
    labels: Sequence[str]
    values: dict[str, Values]
    y_label: str = ""
    note: str = ""


@dataclass(frozen=True)
class HeatMap:
    """A matrix in colours, such as what a gate did: values (rows, columns), x names the columns, y the rows.

    low, high: the values of the two end colours, None for those found (low below and high above zero: two
    colours that meet at zero); figures: write the number into each cell, as in a confusion matrix.
    """

    title: str
    x_label: str
    y_label: str
    x: Values
    values: Any
    low: float | None = None
    high: float | None = None
    note: str = ""
    y: Values = ()
    figures: bool = False


@dataclass(frozen=True)
class Text:
    """A paragraph, or lines to be read as they are (code=True: commands, code)."""

    title: str
    text: str
    code: bool = False


@dataclass(frozen=True)
class HighlightedText:
    """Texts whose words carry weights from -1 (spoke against the answer) to 1 (spoke for it).

    texts: for each its heading and its (word, weight) pairs; keys: what weights above and below 0 mean, for
    a key of their colours, () for none.
    """

    title: str
    texts: Sequence[tuple[str, Sequence[tuple[str, float]]]]
    note: str = ""
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A picture with what a network saw in it.

    pixels: (H, W, 3) or (H, W) uint8; heading: text below it, such as a word.
    weights: (rows, columns) of cells that are laid over it; a cell is the darker, the further its weight is
    below the largest one. None for no cells.
    boxes: (name, x, y, width, height) each, shares of the picture's sides, x and y of the upper left corner.
    """

    pixels: np.ndarray
    heading: str = ""
    weights: np.ndarray | None = None
    boxes: Sequence[tuple[str, float, float, float, float]] = ()


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side, such as one for each word of a caption or for frames of a clip."""

    title: str
    pictures: Sequence[Picture]
    note: str = ""


@dataclass(frozen=True)
class Tabs:
    """Elements of which the reader looks at one at a time, by name, such as a series or a layer each."""

    title: str
    options: Mapping[
        str,
        LineChart
        | BarChart
        | HeatMap
        | Table
        | HighlightedText
        | Pictures
        | Sequence[LineChart | BarChart | HeatMap | Table | Pictures],
    ]
    note: str = ""


Element = Stats | Table | LineChart | BarChart | HeatMap | Text | HighlightedText | Pictures | Tabs


def tabs(title: str, options: Mapping[str, Any]) -> Any:
    """`Tabs` of elements by name, or the element itself where there is only one.

    >>> tabs("Series", {"a": Text("", "alone")})
    Text(title='', text='alone', code=False)
    """
    return Tabs(title, options) if len(options) > 1 else next(iter(options.values()))


def table_of(title: str, frame: Any, note: str = "") -> Table:
    """A polars frame as a `Table`."""
    return Table(title, frame.columns, [list(row) for row in frame.rows()], note)


@dataclass(frozen=True)
class Section:
    """Elements that belong together under one heading.

    note: what it says, in a sentence or two; folded: whether the reader must open it.
    """

    title: str
    elements: Sequence[Element] = field(default_factory=tuple)
    note: str = ""
    folded: bool = False
