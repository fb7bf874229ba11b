"""The table of forecasts has a row for each origin, target and step, in this order."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl

from longspan.tasks.forecast.panel import Columns, Origins
from longspan.tasks.forecast.predictions import Forecasts
from longspan.tasks.forecast.reading import read_panel


def found(several: bool = True) -> Forecasts:
    times = [datetime(2024, 1, day) for day in range(1, 7)]
    frame = pl.DataFrame({"day": times * 2, "name": ["a"] * 6 + ["b"] * 6, "u": 1.0, "v": range(12)})
    frame = frame if several else frame[:6].drop("name")
    panel = read_panel(frame, Columns(("u", "v"), ("day",), "name" if several else None))
    rows = np.array([4, 9]) if several else np.array([4])
    points = np.arange(len(rows) * 6.0).reshape(-1, 3, 2)
    spread = points[..., None] + np.array([-1.0, 0.0, 1.0])
    naive, actual, scale = points + 5, points + 2, np.ones((len(rows), 2))
    return Forecasts(points, spread, actual, naive, naive + 1, scale, Origins(panel, rows), (0.1, 0.5, 0.9))


def test_the_table_of_predict() -> None:
    table = found().frame((0.1, 0.9), past=False)
    assert table.columns == ["name", "day", "target", "point", "q0.1", "q0.9"] and table.height == 12
    assert table["name"].to_list() == ["a"] * 6 + ["b"] * 6
    assert table["target"].to_list() == (["u"] * 3 + ["v"] * 3) * 2
    assert table["day"].to_list()[:4] == [datetime(2024, 1, day) for day in (5, 6, 7, 5)]
    assert table["point"].to_list()[:6] == [0, 2, 4, 1, 3, 5]
    assert (table["q0.9"] - table["q0.1"] == 2).all()


def test_the_table_of_backtest() -> None:
    table = found(several=False).frame((0.1,), past=True)
    assert table.columns == ["origin", "day", "target", "point", "q0.1", "actual"]
    assert table["origin"].unique().to_list() == [datetime(2024, 1, 4)]
    assert (table["actual"] - table["point"] == 2).all()


def test_no_origins_give_an_empty_table() -> None:
    some = found()
    none = some._replace(
        **{name: getattr(some, name)[:0] for name in ("point", "quantiles", "actual", "naive", "seasonal")},
        origins=Origins(some.origins.panel, some.origins.rows[:0]),
    )
    assert none.frame((0.1,), past=True).height == 0
    assert list(some.baselines()) == ["model", "naive", "seasonal_naive"]
