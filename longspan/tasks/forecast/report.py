"""Charts of a forecaster's report: series, forecasts, errors by horizon, coverage."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from longspan.report.elements import Band, Element, Line, LineChart, Table, Tabs, tabs

from . import evaluation, windows
from .panel import Panel
from .predictions import Forecasts

_SERIES = 6  # series shown at most
_FORECASTS = 6  # forecasts of a back-test shown at most
_POINTS = 2_000  # points of a curve at most
_RIVALS = {"model": "model", "naive": "last value", "seasonal_naive": "last season"}


def _shown(panel: Panel) -> list[tuple[int, int, str]]:
    """Series, channel and what they are called, for those that can be looked at."""
    several, wide = len(panel.ids) > 1, len(panel.columns.target) > 1
    found = []
    for place in windows.subsample(np.arange(len(panel.ids) * len(panel.columns.target)), _SERIES):
        s, c = divmod(int(place), len(panel.columns.target))
        name = [panel.ids[s]] if several else []
        name += [panel.columns.target[c]] if wide or not several else []
        found.append((s, c, " ".join(name)))
    return found


def times_of(panel: Panel, rows: np.ndarray, series: int) -> np.ndarray:
    return panel.frequency.shown(panel.frequency.times(panel.steps(rows, np.full(len(rows), series))))


def series_charts(panel: Panel) -> Element:
    """A few of a panel's series, one at a time."""
    found = {}
    for s, c, name in _shown(panel):
        rows = windows.subsample(np.arange(panel.starts[s], panel.starts[s + 1]), _POINTS)
        line = Line("actual", times_of(panel, rows, s), panel.values[rows, c])
        found[name] = LineChart(name, "time", name, [line])
    return tabs("Series", found)


def score_table(scores: Mapping[str, float]) -> Table:
    """Scores, by name as `evaluation.forecast_metrics` has them, beside those of the plain forecasts."""
    kinds = ("mae", "rmse", "smape", "mase")
    heads = [kind.upper() if kind != "smape" else "sMAPE" for kind in kinds]
    rows = [
        [shown, *(scores[evaluation.metric_name(name, kind)] for kind in kinds)]
        for name, shown in _RIVALS.items()
    ]
    best = dict.fromkeys(heads, "low")
    return Table("Against plain forecasts", ["forecast", *heads], rows, best=best, emphasis=0)


def error_by_step(found: Forecasts) -> LineChart:
    """The mean absolute error of every step ahead, beside those of the plain forecasts."""
    steps = list(range(1, found.point.shape[1] + 1))
    lines = [
        Line(
            _RIVALS[name],
            steps,
            [evaluation.mae(values[:, h], found.actual[:, h]) for h in range(len(steps))],
            "line" if name == "model" else "dash",
        )
        for name, values in found.baselines().items()
    ]
    return LineChart("Error by horizon", "steps ahead", "mean absolute error", lines)


def coverage_table(found: Forecasts) -> Table:
    """What share of the truths each interval holds, and how wide it is."""
    rows = []
    for percent, low, high in evaluation.interval_pairs(found.levels):
        width = float(np.nanmean(found.quantiles[..., high] - found.quantiles[..., low]))
        rows.append(
            [f"{percent} %", f"{100 * evaluation.coverage(found, found.actual, low, high):.1f} %", width]
        )
    note = "Intervals are calibrated on the held-out part of the training data and follow the last errors."
    return Table("What the intervals cover", ["interval", "truths inside", "mean width"], rows, note=note)


def _fan(found: Forecasts, n: int, c: int, title: str, panel: Panel) -> LineChart:
    """One forecast with its intervals after what was known, and what came where that is known."""
    row, horizon = int(found.origins.rows[n]), found.point.shape[1]
    s = int(found.origins.series[n])
    begin = max(int(panel.starts[s]), row - 3 * horizon - 24)
    known = np.arange(begin, min(row + horizon, int(panel.starts[s + 1])))
    x = times_of(panel, np.arange(row, row + horizon), s)
    lines = [
        Line("actual", times_of(panel, known, s), panel.values[known, c]),
        Line("model", x, found.point[n, :, c]),
        Line("last season", x, found.seasonal[n, :, c], "dash"),
    ]
    bands = [
        Band(f"model {percent} %", x, found.quantiles[n, :, c, low], found.quantiles[n, :, c, high])
        for percent, low, high in evaluation.interval_pairs(found.levels)
    ]
    mark = times_of(panel, np.array([row - 1]), s)[0]
    return LineChart(title, "time", panel.columns.target[c], lines, bands, marks=[(mark, "origin")])


def past_forecasts(found: Forecasts) -> Tabs:
    """A few forecasts with what came, one at a time."""
    panel, rows = found.origins
    pictures = {}
    for n in windows.subsample(np.arange(len(rows)), _FORECASTS):
        s = int(found.origins.series[n])
        at = str(times_of(panel, np.array([rows[n] - 1]), s)[0])[:16].replace("T", " ")
        title = " ".join(part for part in (panel.ids[s], at) if part)
        pictures[title] = _fan(found, int(n), 0, f"After {title}", panel)
    return Tabs("Forecasts of the back-test", pictures)


def next_forecasts(found: Forecasts) -> Element:
    """Forecasts of one origin a series, one at a time."""
    panel = found.origins.panel
    pictures = {name: _fan(found, s, c, f"{name} from here on", panel) for s, c, name in _shown(panel)}
    return tabs("What comes next", pictures)
