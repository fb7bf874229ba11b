"""Knows what a report shows of a forecaster, as plain data."""

from __future__ import annotations

from typing import Any

import numpy as np

from longspan.data import gather
from longspan.data.panel import Origins, Panel

from . import forecast_score as score
from .exhibits import Band, Choice, Curves, Exhibit, HeatMap, Line, Number, Numbers, Section, Table
from .forecast_codec import Forecasts, Windows

_SERIES = 6  # that can be looked at
_FORECASTS = 6
_POINTS = 2_000  # of a curve
_UNITS = 24  # rows of a heat map of a gate
_GATES = {"i": "input gate", "f": "forget gate", "g": "candidate", "o": "output gate", "r": "reset gate",
          "z": "update gate", "n": "candidate", "c": "cell state", "h": "output"}  # fmt: skip


def sections(task: Any, source: Any) -> list[Section]:
    """Summary, data, back-test, error by horizon, coverage, forecasts, gates; fewer without a source."""
    panel = task.stream_ if source is None else task.panel(source, task.codec_.like)
    ahead = task.forecasts(task.codec_, task.network_, task.latest(panel))
    if source is None:
        return [*_remembered(task), Section("Forecasts", [_ahead(ahead, panel)]), _gates(task, panel)]
    found, _ = task.exam(source)
    scores = {name: metric(found, found.actual) for name, metric in task.metrics().items()}
    return [
        Section("Summary", [_headline(task, scores, panel)]),
        Section("Data", [_series(panel), _facts(task, panel)]),
        Section("Back-test", [_against(scores)], note=_verdict(scores)),
        Section("Error by horizon", [_by_step(found)]),
        Section("Coverage", [_coverage(found)]),
        Section("Forecasts", [_past_forecasts(found), _ahead(ahead, panel)]),
        _gates(task, panel),
    ]


def _remembered(task: Any) -> list[Section]:
    """What is known without a source: how it did on the part that was held out in training."""
    held = task.codec_.beaten
    if not held:
        return []
    rows = [[name.replace("_", " "), held[name]] for name in ("model", "naive", "seasonal_naive")]
    table = Table("Held-out part", ["forecast", "MAE"], rows, best={"MAE": "low"}, emphasis=0)
    plain = {
        f"{name}_mae".removeprefix("model_"): held[name] for name in ("model", "naive", "seasonal_naive")
    }
    covered = {name: value for name, value in held.items() if name.startswith("coverage")}
    headline = _headline(task, {**plain, **covered}, task.stream_)
    return [Section("Summary", [headline]), Section("Back-test", [table], note=_verdict(plain))]


def _headline(task: Any, scores: dict[str, float], panel: Panel) -> Numbers:
    mae, rival = scores["mae"], min(scores["naive_mae"], scores["seasonal_naive_mae"])
    gain = 100 * (1 - mae / rival) if rival > 0 else 0.0
    word = "below" if gain >= 0 else "above"
    numbers = [
        Number(
            "Mean absolute error",
            f"{mae:.4g}",
            f"{abs(gain):.0f} % {word} the best plain forecast",
            "good" if gain > 0 else "bad",
        )
    ]
    for name, value in scores.items():
        if name.startswith("coverage_"):
            percent = int(name.removeprefix("coverage_"))
            mood = "good" if abs(100 * value - percent) <= 5 else "bad"
            numbers.append(Number(f"{percent} % intervals cover", f"{100 * value:.0f} %", "", mood))
    count = len(panel.ids) * panel.values.shape[1]
    numbers.append(Number("Series", f"{count:,}", f"every {panel.frequency}, {task.horizon} steps ahead"))
    return Numbers("At a glance", numbers)


def _verdict(scores: dict[str, float]) -> str:
    names = {"naive_mae": "repeating the last value", "seasonal_naive_mae": "repeating the last season"}
    lost = [words for name, words in names.items() if scores[name] <= scores["mae"]]
    if lost:
        return f"The model does not beat {' and '.join(lost)} here: prefer the plain forecast."
    return "The model beats repeating the last value and repeating the last season."


def _names(panel: Panel) -> list[tuple[int, int, str]]:
    """Series, channel and what they are called, for those that can be looked at."""
    several, wide = len(panel.ids) > 1, len(panel.columns.target) > 1
    found = []
    for place in gather.thinned(np.arange(len(panel.ids) * len(panel.columns.target)), _SERIES):
        s, c = divmod(int(place), len(panel.columns.target))
        name = [panel.ids[s]] if several else []
        name += [panel.columns.target[c]] if wide or not several else []
        found.append((s, c, " ".join(name)))
    return found


def _times(panel: Panel, rows: np.ndarray, series: int) -> np.ndarray:
    return panel.frequency.shown(panel.frequency.times(panel.steps(rows, np.full(len(rows), series))))


def _series(panel: Panel) -> Exhibit:
    found = {}
    for s, c, name in _names(panel):
        rows = gather.thinned(np.arange(panel.starts[s], panel.starts[s + 1]), _POINTS)
        line = Line("actual", _times(panel, rows, s), panel.values[rows, c])
        found[name] = Curves(name, "time", name, [line])
    return Choice("Series", found) if len(found) > 1 else next(iter(found.values()))


def _facts(task: Any, panel: Panel) -> Table:
    codec = task.codec_
    rows = [
        ["series", len(panel.ids) * panel.values.shape[1]],
        ["rows", len(panel.values)],
        ["step", str(panel.frequency)],
        ["values missing", int(np.isnan(panel.values).sum())],
        ["season found", f"{codec.season} steps" if codec.season > 1 else "none"],
        ["context", f"{codec.context} steps"],
        ["windows counted from", codec.center],
        ["windows scaled by", codec.scaling],
        [
            "values read",
            {"none": "as they are", "sqrt": "as square roots", "log": "as logarithms"}[codec.transform],
        ],
        ["calendar read", ", ".join(codec.names) or "none"],
        [
            "covariates",
            ", ".join([*panel.columns.past, *panel.columns.future, *panel.columns.static]) or "none",
        ],
    ]
    return Table("What was found", ["", "value"], rows)


def _against(scores: dict[str, float]) -> Table:
    kinds = ("mae", "rmse", "smape", "mase")
    heads = [kind.upper() if kind != "smape" else "sMAPE" for kind in kinds]
    rows: list[list[Any]] = []
    for name, prefix in (("model", ""), ("last value", "naive_"), ("last season", "seasonal_naive_")):
        rows.append([name, *(scores[prefix + kind] for kind in kinds)])
    return Table(
        "Against plain forecasts", ["forecast", *heads], rows, best=dict.fromkeys(heads, "low"), emphasis=0
    )


def _by_step(found: Forecasts) -> Curves:
    steps = list(range(1, found.point.shape[1] + 1))
    forecasts = {"model": found.point, "last value": found.naive, "last season": found.seasonal}
    lines = [
        Line(
            name,
            steps,
            [score.mae(values[:, h], found.actual[:, h]) for h in range(len(steps))],
            "line" if name == "model" else "dash",
        )
        for name, values in forecasts.items()
    ]
    return Curves("Error by horizon", "steps ahead", "mean absolute error", lines)


def _coverage(found: Forecasts) -> Exhibit:
    rows = []
    for percent, low, high in score.pairs(found.levels):
        width = float(np.nanmean(found.quantiles[..., high] - found.quantiles[..., low]))
        rows.append([f"{percent} %", f"{100 * score.covered(found, found.actual, low, high):.1f} %", width])
    note = "Intervals are calibrated on the held-out part of the training data and follow the last errors."
    return Table("What the intervals cover", ["interval", "truths inside", "mean width"], rows, note=note)


def _bands(found: Forecasts, n: int, c: int, x: np.ndarray) -> list[Band]:
    return [
        Band(f"model {percent} %", x, found.quantiles[n, :, c, low], found.quantiles[n, :, c, high])
        for percent, low, high in score.pairs(found.levels)
    ]


def _picture(found: Forecasts, n: int, c: int, title: str, panel: Panel) -> Curves:
    """One forecast after what was known, with what came where that is known."""
    row, horizon = int(found.origins.rows[n]), found.point.shape[1]
    series = int(np.searchsorted(panel.starts, row - 1, side="right") - 1)
    begin = max(int(panel.starts[series]), row - 3 * horizon - 24)
    known = np.arange(begin, min(row + horizon, int(panel.starts[series + 1])))
    x = _times(panel, np.arange(row, row + horizon), series)
    lines = [
        Line("actual", _times(panel, known, series), panel.values[known, c]),
        Line("model", x, found.point[n, :, c]),
        Line("last season", x, found.seasonal[n, :, c], "dash"),
    ]
    mark = _times(panel, np.array([row - 1]), series)[0]
    return Curves(
        title, "time", panel.columns.target[c], lines, _bands(found, n, c, x), marks=[(mark, "origin")]
    )


def _past_forecasts(found: Forecasts) -> Exhibit:
    panel, rows = found.origins
    pictures = {}
    for n in gather.thinned(np.arange(len(rows)), _FORECASTS):
        series = int(np.searchsorted(panel.starts, rows[n] - 1, side="right") - 1)
        at = str(_times(panel, np.array([rows[n] - 1]), series)[0])[:16].replace("T", " ")
        title = " ".join(part for part in (panel.ids[series], at) if part)
        pictures[title] = _picture(found, int(n), 0, f"After {title}", panel)
    return Choice("Forecasts of the back-test", pictures)


def _ahead(found: Forecasts, panel: Panel) -> Exhibit:
    pictures = {name: _picture(found, s, c, f"{name} from here on", panel) for s, c, name in _names(panel)}
    return Choice("What comes next", pictures) if len(pictures) > 1 else next(iter(pictures.values()))


def _gates(task: Any, panel: Panel) -> Section:
    """What each gate did over the last window of the first series."""
    origins = Origins(panel, task.latest(panel).rows[:1])
    batch = next(iter(Windows(task.codec_, origins, 1, shuffle=False, most=1)))
    network = task.network_
    found = network.gates(batch)
    last = int(origins.rows[0])
    read = next(iter(found[0].values())).shape[1]
    rows = np.arange(last - read, last)
    x = panel.frequency.shown(panel.frequency.times(panel.steps(rows, np.zeros(read, np.int64))))
    inside = np.clip(rows, 0, None)
    seen = Curves("The input", "time", panel.columns.target[0], [Line("actual", x, panel.values[inside, 0])])
    layers = {f"layer {place + 1}": [seen, *_maps(layer, x)] for place, layer in enumerate(found)}
    note = "Each picture has a row a unit and a column a step of the last window that the network read."
    return Section("Gates", [Choice("What the gates did", layers)], note=note)


def _maps(layer: dict[str, Any], x: np.ndarray) -> list[Curves | HeatMap]:
    maps: list[Curves | HeatMap] = []
    for letter, value in layer.items():
        values = value[0, :, :_UNITS].T.cpu().numpy()
        closed = letter in "ifozr" and values.min() >= 0
        name = f"{_GATES.get(letter, letter)} ({letter})"
        maps.append(
            HeatMap(
                name, "time", "unit", x, values, low=0.0 if closed else None, high=1.0 if closed else None
            )
        )
    return maps
