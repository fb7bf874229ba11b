"""Draws charts and heat maps as SVG, once for a wide page and once for a phone."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import singledispatch
from typing import Any, NamedTuple

import numpy as np

from longspan.optional import require

from .elements import BarChart, HeatMap, Line, LineChart, Values
from .theme import HUES, ink, themed, tint

_WIDTHS = {"wide": 8.0, "narrow": 3.6}  # inches; a page shows one of the two, by its width
_MOST = 1200  # points a line: more are thinned to the extremes of each stretch
_DENSE = 400  # points from which a line is drawn fine
_STYLE = {
    "svg.fonttype": "none",  # text stays text: it can be read aloud, searched and copied
    "text.parse_math": False,  # a $ in a column's name is a $
    "axes.unicode_minus": True,
    "font.size": 8.5,
    "axes.edgecolor": ink("rule"),
    "axes.labelcolor": ink("quiet"),
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": ink("ink"),
    "xtick.color": ink("rule"),
    "ytick.color": ink("rule"),
    "xtick.labelcolor": ink("quiet"),
    "ytick.labelcolor": ink("quiet"),
    "grid.color": ink("rule"),
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.6,
    "lines.solid_joinstyle": "round",
}


class Key(NamedTuple):
    """A line of the legend: the name, its colour's role, how it looks (line, dash, points, band, bar)."""

    name: str
    role: str
    look: str


class Drawing(NamedTuple):
    """A picture in two widths, its legend and its content in words."""

    wide: str
    narrow: str
    legend: list[Key]
    words: str


@singledispatch
def draw(element: Any, name: str) -> Drawing:
    """The element as a drawing; `name` is unlike any other drawing's on the page.

    Raises:
        ImportError: matplotlib is missing; the sentence names the command.
        TypeError: it is nothing that can be drawn.
    """
    raise TypeError(f"nothing draws a {type(element).__name__}")


@draw.register
def _(curves: LineChart, name: str) -> Drawing:
    wide, narrow = (_svg(curves, name, width, _plot_curves) for width in _WIDTHS)
    return Drawing(wide, narrow, _keys(curves), _words_of_curves(curves))


@draw.register
def _(bars: BarChart, name: str) -> Drawing:
    wide, narrow = (_svg(bars, name, width, _plot_bars) for width in _WIDTHS)
    legend = [Key(series, f"hue{i + 1}", "bar") for i, series in enumerate(bars.values)]
    return Drawing(wide, narrow, legend if len(legend) > 1 else [], _words_of_bars(bars))


@draw.register
def _(grid: HeatMap, name: str) -> Drawing:
    wide, narrow = (_svg(grid, name, width, _plot_grid) for width in _WIDTHS)
    low, high = _ends(grid)
    legend = [Key(f"{high:.3g}", "grid-high", "bar"), Key(f"{low:.3g}", "grid-low", "bar")]
    if not low < 0 < high:
        legend[1] = Key(f"{low:.3g}", "quiet", "clear")
    return Drawing(wide, narrow, [] if grid.figures else legend, _words_of_grid(grid))


def _svg(element: Any, name: str, width: str, plot: Callable[[Any, Any, Any, bool], None]) -> str:
    """One picture; its size is left to the page."""
    narrow = width == "narrow"
    with _matplotlib(f"{name}-{width}") as figures:
        figure = figures.Figure(figsize=(_WIDTHS[width], _height(element, narrow)), layout="constrained")
        axes = figure.add_subplot()
        plot(element, figure, axes, narrow)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", svg))
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    return themed(svg.replace("<svg ", f'<svg class="{width}" aria-hidden="true" focusable="false" ', 1))


@contextmanager
def _matplotlib(salt: str) -> Iterator[Any]:
    """Its figures in the report's style; the salt keeps two pictures' ids apart, and always the same."""
    matplotlib = require("matplotlib", "report", "report")
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": salt}):
        yield require("matplotlib.figure", "report", "report")


def _height(element: Any, narrow: bool) -> float:
    if isinstance(element, HeatMap):
        rows, _ = _matrix(element).shape
        if element.figures:
            return min(max(1.4, 0.9 + 0.34 * rows), 9.0)
        return 2.0 if narrow else 2.3
    return 2.2 if narrow else 2.7


def _plot_curves(curves: LineChart, figure: Any, axes: Any, narrow: bool) -> None:
    roles = _roles(curves)
    for start, end, _ in curves.spans:
        axes.axvspan(_x(start), _x(end), color=ink("alarm"), alpha=0.18, linewidth=0)
    for band in curves.bands:
        low, high = _numbers(band.low), _numbers(band.high)
        axes.fill_between(_axis(band.x), low, high, color=ink(roles[band.name]), alpha=0.18, linewidth=0)
    for line in reversed(curves.lines):  # the first lies on top
        _plot_line(axes, line, ink(roles[line.name]))
    for value, _ in curves.levels:
        axes.axhline(value, color=ink("quiet"), linewidth=1, linestyle=(0, (4, 3)))
    for place, _ in curves.marks:
        axes.axvline(_x(place), color=ink("quiet"), linewidth=1, linestyle=(0, (1, 2)))
    if curves.log:
        axes.set_yscale("log")
    axes.grid(axis="y")
    axes.margins(x=0.01)
    axes.set(xlabel=curves.x_label, ylabel=curves.y_label)
    every = [_axis(part.x) for part in (*curves.lines, *curves.bands)]
    _place_ticks(axes, every[0] if every else np.zeros(0), narrow)


def _plot_line(axes: Any, line: Line, colour: str) -> None:
    """Joined, except over gaps; a point alone between two gaps shows as a dot."""
    x, y = _thin(_axis(line.x), _numbers(line.y))
    if line.style == "points":
        axes.plot(x, y, ".", color=colour, markersize=4)
        return
    dashes = (0, (4, 2)) if line.style == "dash" else "-"
    axes.plot(x, y, color=colour, linestyle=dashes, linewidth=0.7 if len(y) > _DENSE else 1.6)
    known = np.isfinite(np.concatenate(([np.nan], y, [np.nan])))
    alone = known[1:-1] & ~known[:-2] & ~known[2:]
    if alone.any():
        axes.plot(x[alone], y[alone], ".", color=colour, markersize=3)


def _numbers(values: Values) -> np.ndarray:
    """As floats; None is NaN."""
    return np.array([np.nan if value is None else value for value in values], float)


def _axis(values: Values) -> np.ndarray:
    """Numbers, or times as datetime64; text is numbered from 0."""
    x = np.asarray(values)
    if x.dtype == object:
        x = np.array(values, "datetime64[us]")
    return np.arange(len(x)) if x.dtype.kind in "US" else x


def _x(place: Any) -> Any:
    """One place on the axis."""
    return _axis([place])[0]


def _place_ticks(axes: Any, x: np.ndarray, narrow: bool) -> None:
    most = 5 if narrow else 9
    if np.issubdtype(x.dtype, np.datetime64):
        dates = require("matplotlib.dates", "report", "report")
        locator = dates.AutoDateLocator(minticks=3, maxticks=most)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    else:
        ticker = require("matplotlib.ticker", "report", "report")
        whole = np.issubdtype(x.dtype, np.integer)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(most, integer=whole))


def _roles(curves: LineChart) -> dict[str, str]:
    """A colour a line; a band has that of the line whose name its own starts with, else the first one's."""
    others = [line.name for line in curves.lines if line.name != "actual"]
    roles = {"actual": "ink", **{name: HUES[i % len(HUES)] for i, name in enumerate(others)}}
    for band in curves.bands:
        owner = next((name for name in others if band.name.startswith(name)), None)
        roles.setdefault(band.name, roles[owner] if owner else HUES[0])
    return roles


def _keys(curves: LineChart) -> list[Key]:
    roles = _roles(curves)
    keys = [Key(line.name, roles[line.name], line.style) for line in curves.lines]
    keys += [Key(band.name, roles[band.name], "band") for band in curves.bands]
    keys += [Key(name, "alarm", "band") for *_, name in curves.spans]
    keys += [Key(name, "quiet", "dash") for _, name in curves.levels]
    keys += [Key(name, "quiet", "dotted") for _, name in curves.marks]
    return [key for key in dict.fromkeys(keys) if key.name]


def _thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most about `_MOST` points that look the same: the lowest and the highest of each stretch."""
    if len(y) <= _MOST:
        return x, y
    stretch = math.ceil(len(y) / (_MOST // 2))
    keep = []
    for start in range(0, len(y), stretch):
        part = y[start : start + stretch]
        if np.isnan(part).all():
            keep.append(start)
            continue
        keep += sorted({start + int(np.nanargmin(part)), start + int(np.nanargmax(part))})
    return x[keep], y[keep]


def _plot_bars(bars: BarChart, figure: Any, axes: Any, narrow: bool) -> None:
    places, share = np.arange(len(bars.labels)), 0.8 / max(len(bars.values), 1)
    for i, heights in enumerate(bars.values.values()):
        middle = places + (i - (len(bars.values) - 1) / 2) * share
        axes.bar(middle, _numbers(heights), share * 0.92, color=ink(HUES[i % len(HUES)]))
    slanted = sum(len(str(label)) + 2 for label in bars.labels) > (40 if narrow else 100)
    axes.set_xticks(places, bars.labels, rotation=40 if slanted else 0, ha="right" if slanted else "center")
    axes.grid(axis="y")
    axes.set(ylabel=bars.y_label)


def _ends(grid: HeatMap) -> tuple[float, float]:
    """The values of the two end colours."""
    values = _matrix(grid)
    known = values[np.isfinite(values)]
    low = grid.low if grid.low is not None else float(known.min()) if len(known) else 0.0
    high = grid.high if grid.high is not None else float(known.max()) if len(known) else 1.0
    return (min(low, 0.0), high) if grid.figures else (low, high)


def _matrix(grid: HeatMap) -> np.ndarray:
    return np.asarray(grid.values, float)


def _plot_grid(grid: HeatMap, figure: Any, axes: Any, narrow: bool) -> None:
    values, (low, high) = _matrix(grid), _ends(grid)
    axes.imshow(tint(values, low, high), aspect="auto", interpolation="none")
    _name_places(axes.xaxis, grid.x, values.shape[1], 4 if narrow else 9, grid.figures)
    _name_places(axes.yaxis, grid.y, values.shape[0], 5, grid.figures)
    axes.set(xlabel=grid.x_label, ylabel=grid.y_label)
    if grid.figures:
        _print_figures(axes, values, high)
        if sum(len(str(name)) + 2 for name in grid.x) > (36 if narrow else 95):
            axes.tick_params(axis="x", rotation=40)


def _name_places(axis: Any, names: Values, count: int, most: int, every: bool) -> None:
    step = 1 if every else max(1, math.ceil(count / most))
    places = list(range(0, count, step))
    axis.set_ticks(places, [_short(names[place]) if len(names) else str(place + 1) for place in places])


def _short(name: Any) -> str:
    """A time as day and hour; anything else as it is."""
    if isinstance(name, (np.datetime64, datetime)):
        return str(np.array(name, "datetime64[m]"))[5:].replace("T", "\n")
    return str(name)


def _print_figures(axes: Any, values: np.ndarray, high: float) -> None:
    whole = bool(np.all(np.isnan(values) | (values == np.round(values))))
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "#ffffff" if high and abs(value) > 0.55 * high else ink("ink")
            text = f"{value:.0f}" if whole else f"{value:.2f}"
            axes.text(column, row, text, ha="center", va="center", color=colour)


def _words_of_curves(curves: LineChart) -> str:
    """What a listener should know of it: from where to where each line runs."""
    parts = []
    for line in curves.lines:
        known = _numbers(line.y)
        known = known[np.isfinite(known)]
        if len(known):
            parts.append(
                f"{line.name} from {known.min():.4g} to {known.max():.4g}, at the end {known[-1]:.4g}"
            )
    return f"{curves.title}. Lines: {'; '.join(parts)}."


def _words_of_bars(bars: BarChart) -> str:
    parts = [
        f"{name}: "
        + ", ".join(
            f"{label} {value:.4g}" for label, value in zip(bars.labels, _numbers(values), strict=True)
        )
        for name, values in bars.values.items()
    ]
    return f"{bars.title}. {'; '.join(parts)}."


def _words_of_grid(grid: HeatMap) -> str:
    rows, columns = _matrix(grid).shape
    low, high = _ends(grid)
    return f"{grid.title}. {rows} rows and {columns} columns of values from {low:.4g} to {high:.4g}."
