"""Draws charts and heat maps as SVG, once for a wide page and once for a phone."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import singledispatch
from typing import Any, NamedTuple

import numpy as np

from longspan.optional import require

from . import readings
from .elements import Band, BarChart, HeatMap, Line, LineChart, Values
from .theme import HUES, cell_colors, role_color, with_page_colors

_WIDTHS = {"wide": 8.0, "narrow": 3.6}  # inches; a page shows one of the two, by its width
_MAX_POINTS = 1200  # points a line: more are thinned to the extremes of each stretch
_FINE_LINE_POINTS = 400  # points from which a line is drawn fine
_LETTER, _LINE = 5.4, 12.0  # width of a digit and height of a line of labels, in points
_BAND_OPACITY = 0.18  # of a band or a span; the page's legend has the same for one, two and three of them
_SPAN_ROLES = {"alarm": "alarm"}  # name of a span -> the role of its colour; others are marked as known
_STYLE = {
    "svg.fonttype": "none",  # text stays text: it can be read aloud, searched and copied
    "text.parse_math": False,  # a $ in a column's name is a $
    "axes.unicode_minus": True,
    "font.size": 8.5,
    "axes.edgecolor": role_color("rule"),
    "axes.labelcolor": role_color("quiet"),
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": role_color("ink"),
    "xtick.color": role_color("rule"),
    "ytick.color": role_color("rule"),
    "xtick.labelcolor": role_color("quiet"),
    "ytick.labelcolor": role_color("quiet"),
    "grid.color": role_color("rule"),
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.6,
    "lines.solid_joinstyle": "round",
}


class Key(NamedTuple):
    """A line of the legend: the name, its colour's role, how it looks (line, dash, points, band, bar)."""

    name: str
    role: str
    look: str


class Figure(NamedTuple):
    """A picture in two widths, its legend, a description for screen readers, and its values as JSON."""

    wide: str
    narrow: str
    legend: list[Key]
    description: str
    values: str


class Drawing(NamedTuple):
    """One picture as SVG, the plot's frame in it as shares of its sides, and the limits of x."""

    svg: str
    frame: readings.Frame
    limits: tuple[float, float]


@singledispatch
def render(element: Any, name: str) -> Figure:
    """The element as a figure; `name` is unlike that of any other figure on the page.

    Raises:
        ImportError: matplotlib is missing; the sentence names the command.
        TypeError: the element is none that can be drawn.
    """
    raise TypeError(f"nothing draws a {type(element).__name__}")


@render.register
def _(chart: LineChart, name: str) -> Figure:
    drawings = {width: _draw(chart, name, width, _plot_line_chart) for width in _WIDTHS}
    values = readings.curves(chart, drawings["wide"].limits, _points, _roles(chart))
    return _figure(drawings, _legend(chart), _describe_chart(chart), values)


@render.register
def _(bars: BarChart, name: str) -> Figure:
    drawings = {width: _draw(bars, name, width, _plot_bars) for width in _WIDTHS}
    legend = [Key(series, f"hue{i + 1}", "bar") for i, series in enumerate(bars.values)]
    return _figure(drawings, legend if len(legend) > 1 else [], _describe_bars(bars), readings.bars(bars))


@render.register
def _(heat_map: HeatMap, name: str) -> Figure:
    drawings = {width: _draw(heat_map, name, width, _plot_heat_map) for width in _WIDTHS}
    low, high = _color_range(heat_map)
    legend = [Key(f"{high:.3g}", "grid-high", "bar"), Key(f"{low:.3g}", "grid-low", "bar")]
    if not low < 0 < high:
        legend[1] = Key(f"{low:.3g}", "quiet", "clear")
    values = readings.grid(heat_map, _matrix(heat_map))
    return _figure(drawings, [] if heat_map.figures else legend, _describe_heat_map(heat_map), values)


def _figure(
    drawings: Mapping[str, Drawing], legend: list[Key], description: str, values: Mapping[str, Any]
) -> Figure:
    frames = {width: drawing.frame for width, drawing in drawings.items()}
    text = readings.as_json(values, frames)
    return Figure(drawings["wide"].svg, drawings["narrow"].svg, legend, description, text)


def _draw(element: Any, name: str, width: str, plot: Callable[[Any, Any, Any, bool], None]) -> Drawing:
    """One picture; its size is left to the page."""
    narrow = width == "narrow"
    with _matplotlib(f"{name}-{width}") as figures:
        size = (_WIDTHS[width], _height(element, narrow))
        lines = isinstance(element, LineChart)
        figure = figures.Figure(figsize=size, layout=None if lines else "constrained")
        axes = figure.add_subplot()
        plot(element, figure, axes, narrow)
        if lines:
            _set_margins(figure, axes, *size)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        box, limits = axes.get_position(), axes.get_xlim()
    text = file.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", svg))
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = svg.replace("<svg ", f'<svg class="{width}" aria-hidden="true" focusable="false" ', 1)
    return Drawing(with_page_colors(svg), (box.x0, 1 - box.y1, box.width, box.height), limits)


def _set_margins(figure: Any, axes: Any, width: float, height: float) -> None:
    """Leave room for labels by their number of letters; measuring them takes as long as drawing the picture.

    Args:
        width, height: of the figure in inches.
    """
    numbers = axes.yaxis.get_major_formatter().format_ticks(axes.get_yticks())
    left = max(map(len, numbers), default=1) * _LETTER + _LINE * bool(axes.get_ylabel()) + 8
    figure.subplots_adjust(
        left=left / (72 * width),
        right=1 - 12 / (72 * width),
        top=1 - 10 / (72 * height),
        bottom=(2 * _LINE + 12) / (72 * height),
    )


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


def _plot_line_chart(chart: LineChart, figure: Any, axes: Any, narrow: bool) -> None:
    roles = _roles(chart)
    for start, end, name in chart.spans:
        color = role_color(_span_role(name))
        axes.axvspan(_x(start), _x(end), color=color, alpha=_BAND_OPACITY, linewidth=0.6)
    for band in chart.bands:
        low, high = _numbers(band.low), _numbers(band.high)
        color = role_color(roles[band.name])
        axes.fill_between(_axis(band.x), low, high, color=color, alpha=_BAND_OPACITY, linewidth=0)
    for line in reversed(chart.lines):  # the first lies on top
        _plot_line(axes, line, role_color(roles[line.name]))
    for value, _ in chart.levels:
        axes.axhline(value, color=role_color("quiet"), linewidth=1, linestyle=(0, (4, 3)))
    for position, _ in chart.marks:
        axes.axvline(_x(position), color=role_color("quiet"), linewidth=1, linestyle=(0, (1, 2)))
    if chart.log:
        axes.set_yscale("log")
    axes.grid(axis="y")
    axes.margins(x=0.01)
    axes.set(xlabel=chart.x_label, ylabel=chart.y_label)
    every = [_axis(part.x) for part in (*chart.lines, *chart.bands)]
    _place_ticks(axes, every[0] if every else np.zeros(0), narrow)


def _plot_line(axes: Any, line: Line, colour: str) -> None:
    """Joined, except over gaps; a point alone between two gaps shows as a dot."""
    x, y = _points(line.x, line.y)
    if line.style == "points":
        axes.plot(x, y, ".", color=colour, markersize=4)
        return
    dashes = (0, (4, 2)) if line.style == "dash" else "-"
    axes.plot(x, y, color=colour, linestyle=dashes, linewidth=0.7 if len(y) > _FINE_LINE_POINTS else 1.6)
    finite = np.isfinite(np.concatenate(([np.nan], y, [np.nan])))
    alone = finite[1:-1] & ~finite[:-2] & ~finite[2:]
    if alone.any():
        axes.plot(x[alone], y[alone], ".", color=colour, markersize=3)


def _points(x: Values, y: Values) -> readings.Points:
    """The points of a curve as it is drawn."""
    return _thin(_axis(x), _numbers(y))


def _numbers(values: Values) -> np.ndarray:
    """As floats; None is NaN."""
    return np.array([np.nan if value is None else value for value in values], float)


def _axis(values: Values) -> np.ndarray:
    """Numbers, or times as datetime64; text is numbered from 0."""
    x = np.asarray(values)
    if x.dtype == object:
        x = np.array(values, "datetime64[us]")
    return np.arange(len(x)) if x.dtype.kind in "US" else x


def _x(position: Any) -> Any:
    """One position on the axis."""
    return _axis([position])[0]


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


def _roles(chart: LineChart) -> dict[str, str]:
    """A colour a line; a band has that of the line whose name its own starts with, else the first one's."""
    others = [line.name for line in chart.lines if line.name != "actual"]
    roles = {"actual": "ink", **{name: HUES[i % len(HUES)] for i, name in enumerate(others)}}
    for band in chart.bands:
        owner = next((name for name in others if band.name.startswith(name)), None)
        roles.setdefault(band.name, roles[owner] if owner else HUES[0])
    return roles


def _legend(chart: LineChart) -> list[Key]:
    roles = _roles(chart)
    keys = [Key(line.name, roles[line.name], line.style) for line in chart.lines]
    keys += [Key(band.name, roles[band.name], f"band{_depth(chart, band)}") for band in chart.bands]
    keys += [Key(name, _span_role(name), "band") for *_, name in chart.spans]
    keys += [Key(name, "quiet", "dash") for _, name in chart.levels]
    keys += [Key(name, "quiet", "dotted") for _, name in chart.marks]
    return [key for key in dict.fromkeys(keys) if key.name]


def _depth(chart: LineChart, band: Band) -> int:
    """How many bands lie on one another where this one lies: those of its colour so far, itself included."""
    roles = _roles(chart)
    before = chart.bands[: list(chart.bands).index(band) + 1]
    return min(sum(roles[other.name] == roles[band.name] for other in before), 3)


def _thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most about `_MAX_POINTS` points that look the same: the lowest and the highest of each stretch."""
    if len(y) <= _MAX_POINTS:
        return x, y
    stretch = math.ceil(len(y) / (_MAX_POINTS // 2))
    keep = []
    for start in range(0, len(y), stretch):
        part = y[start : start + stretch]
        if np.isnan(part).all():
            keep.append(start)
            continue
        keep += sorted({start + int(np.nanargmin(part)), start + int(np.nanargmax(part))})
    return x[keep], y[keep]


def _plot_bars(bars: BarChart, figure: Any, axes: Any, narrow: bool) -> None:
    positions, share = np.arange(len(bars.labels)), 0.8 / max(len(bars.values), 1)
    for i, heights in enumerate(bars.values.values()):
        middle = positions + (i - (len(bars.values) - 1) / 2) * share
        axes.bar(middle, _numbers(heights), share * 0.92, color=role_color(HUES[i % len(HUES)]))
    slanted = sum(len(str(label)) + 2 for label in bars.labels) > (40 if narrow else 100)
    axes.set_xticks(
        positions, bars.labels, rotation=40 if slanted else 0, ha="right" if slanted else "center"
    )
    axes.grid(axis="y")
    axes.set(ylabel=bars.y_label)


def _color_range(heat_map: HeatMap) -> tuple[float, float]:
    """The values of the two end colours."""
    values = _matrix(heat_map)
    finite = values[np.isfinite(values)]
    low = heat_map.low if heat_map.low is not None else float(finite.min()) if len(finite) else 0.0
    high = heat_map.high if heat_map.high is not None else float(finite.max()) if len(finite) else 1.0
    return (min(low, 0.0), high) if heat_map.figures else (low, high)


def _matrix(heat_map: HeatMap) -> np.ndarray:
    return np.asarray(heat_map.values, float)


def _plot_heat_map(heat_map: HeatMap, figure: Any, axes: Any, narrow: bool) -> None:
    values, (low, high) = _matrix(heat_map), _color_range(heat_map)
    axes.imshow(cell_colors(values, low, high), aspect="auto", interpolation="none")
    _label_axis(axes.xaxis, heat_map.x, values.shape[1], 4 if narrow else 9, heat_map.figures)
    _label_axis(axes.yaxis, heat_map.y, values.shape[0], 5, heat_map.figures)
    axes.set(xlabel=heat_map.x_label, ylabel=heat_map.y_label)
    if heat_map.figures:
        _write_numbers(axes, values, high)
        if sum(len(str(name)) + 2 for name in heat_map.x) > (36 if narrow else 95):
            axes.tick_params(axis="x", rotation=40)


def _label_axis(axis: Any, names: Values, count: int, most: int, every: bool) -> None:
    step = 1 if every else max(1, math.ceil(count / most))
    positions = list(range(0, count, step))
    axis.set_ticks(
        positions,
        [_short_label(names[position]) if len(names) else str(position + 1) for position in positions],
    )


def _short_label(name: Any) -> str:
    """A time as date, with the hour above it unless it is midnight; anything else as it is."""
    if isinstance(name, (np.datetime64, datetime)):
        day, _, hour = str(np.array(name, "datetime64[m]")).partition("T")
        return day if hour == "00:00" else f"{hour}\n{day}"
    return str(name)


def _span_role(name: str) -> str:
    return _SPAN_ROLES.get(name, "hue5")


def _write_numbers(axes: Any, values: np.ndarray, high: float) -> None:
    whole = bool(np.all(np.isnan(values) | (values == np.round(values))))
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "#ffffff" if high and abs(value) > 0.55 * high else role_color("ink")
            text = f"{value:.0f}" if whole else f"{value:.2f}"
            axes.text(column, row, text, ha="center", va="center", color=colour)


def _describe_chart(chart: LineChart) -> str:
    """What a listener should know of it: from where to where each line runs."""
    parts = []
    for line in chart.lines:
        finite = _numbers(line.y)
        finite = finite[np.isfinite(finite)]
        if len(finite):
            parts.append(
                f"{line.name} from {finite.min():.4g} to {finite.max():.4g}, at the end {finite[-1]:.4g}"
            )
    return f"{chart.title}. Lines: {'; '.join(parts)}."


def _describe_bars(bars: BarChart) -> str:
    parts = [
        f"{name}: "
        + ", ".join(
            f"{label} {value:.4g}" for label, value in zip(bars.labels, _numbers(values), strict=True)
        )
        for name, values in bars.values.items()
    ]
    return f"{bars.title}. {'; '.join(parts)}."


def _describe_heat_map(heat_map: HeatMap) -> str:
    rows, columns = _matrix(heat_map).shape
    low, high = _color_range(heat_map)
    return f"{heat_map.title}. {rows} rows and {columns} columns of values from {low:.4g} to {high:.4g}."
