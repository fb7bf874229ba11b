"""Seasonal naive forecasts repeat the last season, and the season's length is found in the data."""

from __future__ import annotations

import numpy as np
import pytest

from longspan.tasks.forecast import baselines, windows
from longspan.tasks.forecast.panel import Columns, Origins
from longspan.tasks.forecast.reading import read_panel


def test_the_last_season_is_repeated():
    whole = read_panel(np.arange(8.0), Columns())
    index = windows.window_index(Origins(whole, np.array([6])))
    assert baselines.seasonal_naive(whole, index, 3, 1).tolist() == [[5, 5, 5]]
    assert baselines.seasonal_naive(whole, index, 5, 3).tolist() == [[3, 4, 5, 3, 4]]


@pytest.mark.parametrize(("period", "rows"), [(7, 400), (24, 2000)])
def test_a_season_is_found_in_rows_without_times(period: int, rows: int):
    shape = np.random.default_rng(0).standard_normal(period)
    values = np.tile(shape, rows // period + 1)[:rows] + 0.1 * np.random.default_rng(1).standard_normal(rows)
    seasonal = read_panel(values, Columns())
    assert baselines.find_season(seasonal, np.arange(rows), rows // 2) == period
    walk = read_panel(np.cumsum(np.random.default_rng(2).standard_normal(rows)), Columns())
    assert baselines.find_season(walk, np.arange(rows), rows // 2) == 1


def test_mean_differences_leave_out_what_is_missing():
    values = np.array([1.0, 3.0, np.nan, 9.0, 8.0])
    panel = read_panel(values, Columns())
    assert baselines.mean_difference(panel, np.arange(5), 1).tolist() == [1.5], "of 3 - 1 and 8 - 9"
    assert baselines.mean_difference(panel, np.arange(5), 3).tolist() == [6.5], "of 9 - 1 and 8 - 3"
    assert np.isnan(baselines.mean_difference(panel, np.arange(5), 7)).all()


def test_a_season_of_rows_that_are_never_close_is_none(monkeypatch: pytest.MonkeyPatch):
    values = np.full(640, np.nan)
    values[::14] = np.random.default_rng(0).standard_normal(46)
    panel = read_panel(values, Columns())
    monkeypatch.setattr(baselines, "_autocorrelation_peaks", lambda *_: [14])
    assert baselines.find_season(panel, np.arange(640), 320) == 1, "a warning of NumPy would be an error"


def test_the_season_of_short_series_with_trends_is_found():
    random, steps = np.random.default_rng(0), np.arange(44)
    series = [
        10.0**place * (steps * random.normal(1, 0.3) + random.standard_normal(4)[steps % 4] + 0.3 * noise)
        for place, noise in zip(np.arange(12) % 4, random.standard_normal((12, 44)), strict=True)
    ]
    panel = read_panel(series, Columns())
    assert baselines.find_season(panel, np.arange(len(panel.values)), 22) == 4


def test_the_season_is_no_multiple_of_itself():
    random = np.random.default_rng(1)
    for _ in range(5):
        values = np.tile(random.standard_normal(12), 30) + 0.5 * random.standard_normal(360)
        panel = read_panel(values, Columns())
        assert baselines.find_season(panel, np.arange(360), 180) == 12


def test_noise_has_no_season():
    random = np.random.default_rng(3)
    for _ in range(10):
        panel = read_panel(random.standard_normal(100), Columns())
        assert baselines.find_season(panel, np.arange(100), 50) == 1
