"""The forecaster's charts show the series, the forecasts and the scores."""

from __future__ import annotations

import numpy as np

from longspan.report.elements import LineChart, Tabs
from longspan.tasks.forecast import report
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
