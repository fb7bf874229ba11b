"""Knows how series, forecasts, classes and gates are pictured, whichever task they are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from longspan.data import gather, skill
from longspan.data.forecasts import Forecasts
from longspan.data.panel import Panel

from .exhibits import Band, Choice, Curves, Exhibit, HeatMap, Line, Marked, Table, choice

_SERIES = 6  # that can be looked at
_FORECASTS = 6
_POINTS = 2_000  # of a curve
_UNITS = 24  # rows of a heat map of a gate
_GATES = {"i": "input gate", "f": "forget gate", "g": "candidate", "o": "output gate", "r": "reset gate",
          "z": "update gate", "n": "candidate", "c": "cell state", "h": "output"}  # fmt: skip
_RIVALS = {"model": "model", "naive": "last value", "seasonal_naive": "last season"}


def _shown(panel: Panel) -> list[tuple[int, int, str]]:
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


def series(panel: Panel) -> Exhibit:
    """A few of a panel's series, one at a time."""
    found = {}
    for s, c, name in _shown(panel):
        rows = gather.thinned(np.arange(panel.starts[s], panel.starts[s + 1]), _POINTS)
        line = Line("actual", _times(panel, rows, s), panel.values[rows, c])
        found[name] = Curves(name, "time", name, [line])
    return choice("Series", found)


def against(scores: Mapping[str, float]) -> Table:
    """Scores, by name as `longspan.data.skill.skills` has them, beside those of the plain forecasts."""
    kinds = ("mae", "rmse", "smape", "mase")
    heads = [kind.upper() if kind != "smape" else "sMAPE" for kind in kinds]
    rows = [[shown, *(scores[skill.named(name, kind)] for kind in kinds)] for name, shown in _RIVALS.items()]
    best = dict.fromkeys(heads, "low")
    return Table("Against plain forecasts", ["forecast", *heads], rows, best=best, emphasis=0)


def by_step(found: Forecasts) -> Curves:
    """The mean absolute error of every step ahead, beside those of the plain forecasts."""
    steps = list(range(1, found.point.shape[1] + 1))
    lines = [
        Line(
            _RIVALS[name],
            steps,
            [skill.mae(values[:, h], found.actual[:, h]) for h in range(len(steps))],
            "line" if name == "model" else "dash",
        )
        for name, values in found.rivals().items()
    ]
    return Curves("Error by horizon", "steps ahead", "mean absolute error", lines)


def covered(found: Forecasts) -> Table:
    """What share of the truths each interval holds, and how wide it is."""
    rows = []
    for percent, low, high in skill.pairs(found.levels):
        width = float(np.nanmean(found.quantiles[..., high] - found.quantiles[..., low]))
        rows.append([f"{percent} %", f"{100 * skill.covered(found, found.actual, low, high):.1f} %", width])
    note = "Intervals are calibrated on the held-out part of the training data and follow the last errors."
    return Table("What the intervals cover", ["interval", "truths inside", "mean width"], rows, note=note)


def _fan(found: Forecasts, n: int, c: int, title: str, panel: Panel) -> Curves:
    """One forecast with its intervals after what was known, and what came where that is known."""
    row, horizon = int(found.origins.rows[n]), found.point.shape[1]
    s = int(found.origins.series[n])
    begin = max(int(panel.starts[s]), row - 3 * horizon - 24)
    known = np.arange(begin, min(row + horizon, int(panel.starts[s + 1])))
    x = _times(panel, np.arange(row, row + horizon), s)
    lines = [
        Line("actual", _times(panel, known, s), panel.values[known, c]),
        Line("model", x, found.point[n, :, c]),
        Line("last season", x, found.seasonal[n, :, c], "dash"),
    ]
    bands = [
        Band(f"model {percent} %", x, found.quantiles[n, :, c, low], found.quantiles[n, :, c, high])
        for percent, low, high in skill.pairs(found.levels)
    ]
    mark = _times(panel, np.array([row - 1]), s)[0]
    return Curves(title, "time", panel.columns.target[c], lines, bands, marks=[(mark, "origin")])


def past_forecasts(found: Forecasts) -> Choice:
    """A few forecasts with what came, one at a time."""
    panel, rows = found.origins
    pictures = {}
    for n in gather.thinned(np.arange(len(rows)), _FORECASTS):
        s = int(found.origins.series[n])
        at = str(_times(panel, np.array([rows[n] - 1]), s)[0])[:16].replace("T", " ")
        title = " ".join(part for part in (panel.ids[s], at) if part)
        pictures[title] = _fan(found, int(n), 0, f"After {title}", panel)
    return Choice("Forecasts of the back-test", pictures)


def next_forecasts(found: Forecasts) -> Exhibit:
    """Forecasts of one origin a series, one at a time."""
    panel = found.origins.panel
    pictures = {name: _fan(found, s, c, f"{name} from here on", panel) for s, c, name in _shown(panel)}
    return choice("What comes next", pictures)


def confusion(classes: Sequence[Any], answers: np.ndarray, truths: np.ndarray) -> HeatMap:
    """How often each class was answered where each was true; answers, truths: (N,) class numbers."""
    matrix = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(matrix, (truths, answers), 1)
    names = [str(one) for one in classes]
    return HeatMap("Confusion matrix", "answered", "true", names, matrix.tolist(), y=names, figures=True)


def by_class(classes: Sequence[Any], answers: np.ndarray, truths: np.ndarray) -> Table:
    """Precision, recall and F1 of each class; answers, truths: (N, C) bool."""
    rows = []
    for number, name in enumerate(classes):
        said, there = answers[:, number], truths[:, number]
        right, both = int((said & there).sum()), int(said.sum() + there.sum())
        precision, recall = (right / int(one.sum()) if one.any() else None for one in (said, there))
        rows.append([name, int(there.sum()), precision, recall, 2 * right / both if both else None])
    return Table("Per class", ["class", "records", "precision", "recall", "f1"], rows)


def reliability(bins: Sequence[tuple[float, float, int]]) -> Curves:
    """How often answers are right beside how sure they are; bins: as `longspan.data.verdicts.bins` gives."""
    sure, right = [one[0] for one in bins], [one[1] for one in bins]
    lines = [Line("answers", sure, right), Line("perfect", [0.0, 1.0], [0.0, 1.0], "dash")]
    return Curves("Reliability", "confidence", "share right", lines, note="Ten bins by confidence.")


def mattered(
    names: Sequence[str], weights: Sequence[Sequence[tuple[Any, float]]], *, words: bool
) -> Marked | Curves:
    """Which words or steps of some records mattered.

    Args:
        names: the record's answers; weights: their units (steps: the number) with their weights.
        words: whether the units are words.
    """
    note = "Gradient of the answer's score times the input, by record 1 at its strongest; below 0 against it."
    records = list(zip(names, weights, strict=True))
    if words:
        texts = [(name, [(str(word), weight) for word, weight in one]) for name, one in records]
        return Marked("Which words mattered", texts, note=note)
    lines = [
        Line(f"record {place}: {name}", [step for step, _ in one], [weight for _, weight in one])
        for place, (name, one) in enumerate(records)
    ]
    return Curves("Which steps mattered", "step", "weight", lines, note=note)


def gates(layers: Sequence[Mapping[str, Any]], panel: Panel, last: int) -> Choice:
    """What each gate did over the rows of the first series before row `last`, a layer at a time.

    Args:
        layers: per layer, letter -> (B, R, H), of which the first row of the batch is shown.
    """
    read = next(iter(layers[0].values())).shape[1]
    rows = np.arange(last - read, last)
    x = _times(panel, rows, 0)
    values = panel.values[np.clip(rows, 0, None), 0]
    seen = Curves("The input", "time", panel.columns.target[0], [Line("actual", x, values)])
    shown = {f"layer {place + 1}": [seen, *_maps(layer, x)] for place, layer in enumerate(layers)}
    return Choice("What the gates did", shown)


def _maps(layer: Mapping[str, Any], x: np.ndarray) -> list[Curves | HeatMap]:
    maps: list[Curves | HeatMap] = []
    for letter, value in layer.items():
        values = value[0, :, :_UNITS].T.cpu().numpy()
        low, high = (0.0, 1.0) if letter in "ifozr" and values.min() >= 0 else (None, None)
        name = f"{_GATES.get(letter, letter)} ({letter})"
        maps.append(HeatMap(name, "time", "unit", x, values, low=low, high=high))
    return maps
