"""The forecaster's charts show the series, the forecasts and the scores."""

from __future__ import annotations

from typing import Any

import numpy as np

from longspan import Forecaster
from longspan.report.elements import LineChart, Table, Tabs
from longspan.tasks.forecast import evaluation, report
from longspan.tasks.forecast.panel import Columns, Origins, Panel
from longspan.tasks.forecast.predictions import Forecasts
from longspan.tasks.forecast.reading import read_panel


def panel(series: int = 1, rows: int = 30) -> Panel:
    return read_panel([np.arange(float(rows)) + 100 * place for place in range(series)], Columns())


def found(of: Panel, rows: list[int]) -> Forecasts:
    points = np.zeros((len(rows), 4, 1))
    spread = points[..., None] + np.array([-1.0, 0.0, 1.0])
    scale, origins = np.ones((len(rows), 1)), Origins(of, np.array(rows))
    return Forecasts(points, spread, points + 1, points + 2, points + 3, scale, origins, (0.1, 0.5, 0.9))


def test_a_single_series_has_no_tabs() -> None:
    one = report.series_charts(panel())
    assert isinstance(one, LineChart) and list(one.lines[0].y) == list(range(30))
    many = report.series_charts(panel(9))
    assert isinstance(many, Tabs) and len(many.options) == 6 and next(iter(many.options)) == "0"


def test_forecasts_are_drawn_after_the_known_values() -> None:
    ahead = report.next_forecasts(found(panel(), [28]))
    assert isinstance(ahead, LineChart) and ahead.title == "value from here on"
    known, model, season = ahead.lines
    assert list(known.x)[-1] == 29 and list(model.x) == [28, 29, 30, 31] and list(season.y) == [3] * 4
    assert ahead.marks[0][0] == 27 and [band.name for band in ahead.bands] == ["model 80 %"]
    past = report.past_forecasts(found(panel(2), [10, 20, 40]))
    assert list(past.options) == ["0 9", "0 19", "1 9"]


def test_forecasts_are_drawn_for_the_series_that_have_one() -> None:
    ahead = report.next_forecasts(found(panel(3), [60, 90]))  # none of the first series
    assert isinstance(ahead, Tabs) and list(ahead.options) == ["1", "2"]
    for name, chart in ahead.options.items():
        assert isinstance(chart, LineChart) and chart.lines[0].y[0] // 100 == int(name)


def test_scores_are_shown_beside_the_baselines() -> None:
    names = [
        f"{rival}{kind}"
        for rival in ("", "naive_", "seasonal_naive_")
        for kind in ("mae", "rmse", "smape", "mase")
    ]
    table = report.score_table(dict(zip(names, range(12), strict=True)))
    assert [list(row) for row in table.rows] == [
        ["model", 0, 1, 2, 3], ["last value", 4, 5, 6, 7], ["last season", 8, 9, 10, 11]
    ]  # fmt: skip
    curves = report.error_by_step(found(panel(), [10]))
    assert [(line.name, list(line.y)) for line in curves.lines] == [
        ("model", [1.0] * 4), ("last value", [1.0] * 4), ("last season", [2.0] * 4)
    ]  # fmt: skip
    assert report.coverage_table(found(panel(), [10])).rows == [["80 %", "100.0 %", 2.0]]


def test_the_worst_forecasts_and_series_come_first() -> None:
    of = panel(2, rows=60)
    forecasts = found(of, [10, 12, 30, 75, 100])
    forecasts.point[2] += 50.0
    mase = evaluation.mase_by_origin(forecasts, np.full((5, 1, 1), 2.0))
    assert mase[:, 0].tolist() == [0.5, 0.5, 24.5, 0.5, 0.5]
    shown = report.worst_forecasts(forecasts, mase)
    assert list(shown.options) == ["0 29", "0 9", "1 14"]  # the one at 11 overlaps that at 9
    rows = report.by_series(forecasts, mase).rows
    assert [row[0] for row in rows] == ["0 value", "1 value"] and rows[0][1:] == [3, 17.0, 8.5]


def test_without_a_source_the_kept_rows_and_the_held_out_scores_are_shown() -> None:
    series = np.sin(np.arange(160) / 4)
    model = Forecaster(horizon=4, context_length=16, epochs=1).fit(series, verbose=0)
    sections = {section.title: section for section in model.sections()}
    assert list(sections)[-1] == "Gates" and sections["Gates"].folded
    chart, found_settings = sections["Data"].elements
    assert isinstance(chart, LineChart) and np.allclose(list(chart.lines[0].y)[-20:], series[-20:], atol=1e-6)
    assert isinstance(found_settings, Table) and ["context", "16 steps"] in found_settings.rows
    scores, gates = sections["Back-test"].elements[0], sections["Gates"].elements[0]
    assert isinstance(scores, Table) and isinstance(gates, Tabs)
    assert [row[0] for row in scores.rows] == ["model", "last value", "last season"]
    maps: Any = gates.options["layer 1"]
    assert len(maps) == 7 and all(part.note for part in maps[1:])
