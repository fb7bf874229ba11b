"""Builds the charts and tables of a forecaster's report: series, forecasts, errors, coverage, settings."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from longspan.report import charts
from longspan.report.elements import (
    Band,
    Element,
    Line,
    LineChart,
    Section,
    Stat,
    Stats,
    Table,
    Tabs,
    tabs,
)

from . import evaluation, windows
from .batches import Windows
from .codec import ForecastCodec
from .network import ForecastNetwork
from .panel import Origins, Panel
from .predictions import Forecasts
from .window_encoder import WindowEncoder

_MAX_SERIES = 6  # series shown
_MAX_FORECASTS = 6  # forecasts of a back-test shown
_MAX_POINTS = 2_000  # points of a curve
_WORST_SERIES, _WORST_FORECASTS = 10, 3  # with the highest errors, shown
_GOOD_COVERAGE = 5  # percentage points by which a coverage may miss its level and is marked as good
_FORECAST_NAMES = {"model": "model", "naive": "last value", "seasonal_naive": "last season"}
_TRANSFORM_WORDS = {"none": "as they are", "sqrt": "as square roots", "log": "as logarithms"}


def _shown_series(panel: Panel, among: np.ndarray) -> list[tuple[int, int, str]]:
    """A few series of a panel, among those of these numbers, as (series, channel, title)."""
    several, wide = len(panel.ids) > 1, len(panel.columns.target) > 1
    shown = []
    for number in windows.subsample(np.arange(len(among) * len(panel.columns.target)), _MAX_SERIES):
        place, channel = divmod(int(number), len(panel.columns.target))
        series = int(among[place])
        names = [panel.ids[series]] if several else []
        names += [panel.columns.target[channel]] if wide or not several else []
        shown.append((series, channel, " ".join(names)))
    return shown


def times_of(panel: Panel, rows: np.ndarray, series: int) -> np.ndarray:
    """The times of rows of one series, as the user writes them."""
    frequency = panel.frequency_of(panel.ids[series])
    return frequency.shown(frequency.times(panel.steps(rows, np.full(len(rows), series))))


def series_charts(panel: Panel) -> Element:
    """A few of a panel's series, one at a time."""
    line_charts = {}
    for series, channel, title in _shown_series(panel, np.arange(len(panel.ids))):
        rows = windows.subsample(np.arange(panel.starts[series], panel.starts[series + 1]), _MAX_POINTS)
        line = Line("actual", times_of(panel, rows, series), panel.values[rows, channel])
        line_charts[title] = LineChart(title, "time", title, [line])
    return tabs("Series", line_charts)


# ---- numbers


def headline(scores: Mapping[str, float], panel: Panel, horizon: int) -> Stats:
    """The model's error and coverages; scores: as `evaluate` gives them."""
    mae, baseline = scores["mae"], min(scores["naive_mae"], scores["seasonal_naive_mae"])
    gain = 100 * (1 - mae / baseline) if baseline > 0 else 0.0
    remark = f"{abs(gain):.0f} % {'below' if gain >= 0 else 'above'} the best plain forecast"
    stats = [Stat("Mean absolute error", f"{mae:.4g}", remark, "good" if gain > 0 else "bad")]
    for name, value in scores.items():
        if name.startswith("coverage_"):
            percent = int(name.removeprefix("coverage_"))
            verdict = "good" if abs(100 * value - percent) <= _GOOD_COVERAGE else "bad"
            stats.append(Stat(f"{percent} % intervals cover", f"{100 * value:.0f} %", "", verdict))
    count = len(panel.ids) * panel.values.shape[1]
    stats.append(Stat("Series", f"{count:,}", f"every {panel.frequency}, {horizon} steps ahead"))
    return Stats("At a glance", stats)


def evaluated_sections(
    codec: ForecastCodec, panel: Panel, forecasts: Forecasts, scores: Mapping[str, float], ahead: Element
) -> list[Section]:
    """What is shown of a source.

    Args:
        panel: of the source; forecasts: at many origins in it; scores: as `evaluate` gives them.
        ahead: the forecasts of what comes next.
    """
    mase = evaluation.mase_by_origin(forecasts, codec.mase_scales_of(forecasts))
    worst = [by_series(forecasts, mase)] if mase.shape[1] * len(panel.ids) > 1 else []
    return [
        Section("Summary", [headline(scores, panel, forecasts.point.shape[1])]),
        Section("Data", [series_charts(panel), settings(codec.encoder, panel)]),
        Section("Back-test", [score_table(scores)], note=evaluation.summary(scores)),
        Section("Error by horizon", [error_by_step(forecasts)]),
        Section("Coverage", [coverage_table(forecasts)]),
        Section("Forecasts", [past_forecasts(forecasts), ahead]),
        Section("Worst cases", [*worst, worst_forecasts(forecasts, mase)]),
    ]


def validation_sections(
    scores: Mapping[str, float], encoder: WindowEncoder, panel: Panel, horizon: int
) -> list[Section]:
    """What is shown without a source: the rows that the model keeps, and the scores on the validation part.

    Args:
        scores: as the codec keeps them, {} where nothing was held out.
        panel: the last rows of every series.
    """
    note = "The last rows of every series, which the model keeps, and what was selected by the data."
    data = Section("Data", [series_charts(panel), settings(encoder, panel)], note=note)
    if not scores:
        return [data]
    names = ("model", *evaluation.BASELINES)
    rows = [[_FORECAST_NAMES[name], scores[name]] for name in names]
    table = Table("Held-out part", ["forecast", "MAE"], rows, best={"MAE": "low"}, emphasis=0)
    by_metric = {
        evaluation.metric_name(name, "mae") if name in names else name: value
        for name, value in scores.items()
    }
    return [
        Section("Summary", [headline(by_metric, panel, horizon)]),
        data,
        Section("Back-test", [table], note=evaluation.summary(by_metric)),
    ]


def score_table(scores: Mapping[str, float]) -> Table:
    """Scores, by name as `evaluation.forecast_metrics` has them, beside those of the plain forecasts."""
    kinds = ("mae", "rmse", "smape", "mase")
    heads = [kind.upper() if kind != "smape" else "sMAPE" for kind in kinds]
    rows = [
        [title, *(scores[evaluation.metric_name(name, kind)] for kind in kinds)]
        for name, title in _FORECAST_NAMES.items()
    ]
    best = dict.fromkeys(heads, "low")
    return Table("Against plain forecasts", ["forecast", *heads], rows, best=best, emphasis=0)


def settings(encoder: WindowEncoder, panel: Panel) -> Table:
    """What was read, and the settings that were selected."""
    columns, config = panel.columns, encoder.config
    rows = [
        ["series", len(panel.ids) * panel.values.shape[1]],
        ["rows", len(panel.values)],
        ["step", str(panel.frequencies)],
        ["values missing", int(np.isnan(panel.values).sum())],
        ["season found", f"{encoder.season} steps" if encoder.season > 1 else "none"],
        ["context", f"{config.context} steps"],
        ["windows counted from", config.center],
        ["windows scaled by", config.scaling],
        ["values read", _TRANSFORM_WORDS[config.transform]],
        ["calendar read", ", ".join(encoder.calendar_features) or "none"],
        ["covariates", ", ".join([*columns.past, *columns.future, *columns.static]) or "none"],
    ]
    return Table("What was found", ["", "value"], rows)


def error_by_step(forecasts: Forecasts) -> LineChart:
    """The mean absolute error of every step ahead, beside those of the plain forecasts."""
    steps = list(range(1, forecasts.point.shape[1] + 1))
    lines = [
        Line(
            _FORECAST_NAMES[name],
            steps,
            [evaluation.mae(values[:, h], forecasts.actual[:, h]) for h in range(len(steps))],
            "line" if name == "model" else "dash",
        )
        for name, values in forecasts.baselines().items()
    ]
    return LineChart("Error by horizon", "steps ahead", "mean absolute error", lines)


def coverage_table(forecasts: Forecasts) -> Table:
    """The share of actual values inside each interval, and the interval's mean width."""
    rows = []
    for percent, low, high in evaluation.interval_pairs(forecasts.levels):
        width = float(np.nanmean(forecasts.quantiles[..., high] - forecasts.quantiles[..., low]))
        share = evaluation.coverage(forecasts, forecasts.actual, low, high)
        rows.append([f"{percent} %", f"{100 * share:.1f} %", width])
    note = "Intervals are calibrated on the held-out part of the training data and follow the last errors."
    return Table("What the intervals cover", ["interval", "truths inside", "mean width"], rows, note=note)


# ---- forecasts


def _fan(forecasts: Forecasts, n: int, channel: int, title: str, panel: Panel) -> LineChart:
    """Forecast n with its intervals, the rows before it, and the actual values where they are present."""
    row, horizon = int(forecasts.origins.rows[n]), forecasts.point.shape[1]
    series = int(forecasts.origins.series[n])
    begin = max(int(panel.starts[series]), row - 3 * horizon - 24)
    actual_rows = np.arange(begin, min(row + horizon, int(panel.starts[series + 1])))
    x = times_of(panel, np.arange(row, row + horizon), series)
    lines = [
        Line("actual", times_of(panel, actual_rows, series), panel.values[actual_rows, channel]),
        Line("model", x, forecasts.point[n, :, channel]),
        Line("last season", x, forecasts.seasonal[n, :, channel], "dash"),
    ]
    quantiles = forecasts.quantiles[n, :, channel]
    bands = [
        Band(f"model {percent} %", x, quantiles[:, low], quantiles[:, high])
        for percent, low, high in evaluation.interval_pairs(forecasts.levels)
    ]
    mark = times_of(panel, np.array([row - 1]), series)[0]
    return LineChart(title, "time", panel.columns.target[channel], lines, bands, marks=[(mark, "origin")])


def past_forecasts(forecasts: Forecasts) -> Tabs:
    """A few forecasts of a back-test with the actual values, one at a time."""
    panel, rows = forecasts.origins
    fans = {}
    for n in windows.subsample(np.arange(len(rows)), _MAX_FORECASTS):
        title = _origin_name(forecasts, int(n))
        fans[title] = _fan(forecasts, int(n), 0, f"After {title}", panel)
    return Tabs("Forecasts of the back-test", fans)


def by_series(forecasts: Forecasts, mase: np.ndarray) -> Table:
    """The series with the highest errors; mase: (n, C) of every forecast."""
    panel, series = forecasts.origins.panel, forecasts.origins.series
    absolute = np.abs(forecasts.point - forecasts.actual)
    rows = []
    for number, channel in np.ndindex(len(panel.ids), mase.shape[1]):
        own = series == number
        scores = mase[own, channel]
        if np.isfinite(scores).any():
            name = " ".join(filter(None, (panel.ids[number], panel.columns.target[channel])))
            mae = float(np.nanmean(absolute[own, :, channel]))
            rows.append([name, int(own.sum()), mae, float(np.nanmean(scores))])
    rows.sort(key=lambda row: -row[-1])
    note = f"The {_WORST_SERIES} of {len(rows):,} with the highest MASE." if len(rows) > _WORST_SERIES else ""
    columns = ["series", "forecasts", "MAE", "MASE"]
    return Table("Series by their error", columns, rows[:_WORST_SERIES], note=note)


def worst_forecasts(forecasts: Forecasts, mase: np.ndarray) -> Tabs:
    """The forecasts that missed most, one at a time; mase: (n, C) of every forecast."""
    panel, horizon = forecasts.origins.panel, forecasts.point.shape[1]
    fans: dict[str, LineChart] = {}
    taken: list[tuple[int, int]] = []  # series and row of those that are shown
    for flat in np.argsort(-np.nan_to_num(mase, nan=-1.0), axis=None, kind="stable"):
        n, channel = divmod(int(flat), mase.shape[1])
        place = int(forecasts.origins.series[n]), int(forecasts.origins.rows[n])
        if any(place[0] == series and abs(place[1] - row) < horizon for series, row in taken):
            continue  # it overlaps a shown one
        taken.append(place)
        title = _origin_name(forecasts, n)
        fans[title] = _fan(forecasts, n, channel, f"After {title}, MASE {mase[n, channel]:.3g}", panel)
        if len(fans) == _WORST_FORECASTS:
            break
    return Tabs("The forecasts that missed most", fans)


def _origin_name(forecasts: Forecasts, n: int) -> str:
    """The series of forecast n, where there are several, and the time of the last row before it."""
    panel, series = forecasts.origins.panel, int(forecasts.origins.series[n])
    time = str(times_of(panel, np.array([forecasts.origins.rows[n] - 1]), series)[0])[:16].replace("T", " ")
    return " ".join(part for part in (panel.ids[series], time.removesuffix(" 00:00")) if part)


def next_forecasts(forecasts: Forecasts) -> Element:
    """Forecasts with one origin at most for each series, one at a time."""
    panel, of_origins = forecasts.origins.panel, forecasts.origins.series
    fans = {
        title: _fan(
            forecasts, int(np.searchsorted(of_origins, series)), channel, f"{title} from here on", panel
        )
        for series, channel, title in _shown_series(panel, of_origins)
    }
    return tabs("What comes next", fans)


def gates(network: ForecastNetwork, encoder: WindowEncoder, origins: Origins) -> Section:
    """The values of each gate over the window before the first origin."""
    first = Origins(origins.panel, origins.rows[:1])
    layers = network.gates(next(iter(Windows(encoder, first, 1, shuffle=False, most=1))))
    steps, row = next(iter(layers[0].values())).shape[1], int(first.rows[0])
    rows, series = np.arange(row - steps, row), int(first.series[0])
    values = first.panel.values[np.maximum(rows, first.panel.starts[series]), 0]
    chart = charts.gates(layers, times_of(first.panel, rows, series), values, first.panel.columns.target[0])
    note = "Each picture has a row a unit and a column a step of the last window that the network read."
    return Section("Gates", [chart], note=note, folded=True)
