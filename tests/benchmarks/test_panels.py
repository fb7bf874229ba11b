"""The panels of the benchmark of forecasts, and the theta method beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import longspan as ls


@pytest.fixture(scope="module")
def panels(benchmark_module: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark_module("panels")


def test_generated_panels_are_the_same_every_time(panels: ModuleType):
    for name, part in panels.PANELS.items():
        if part.draw is None:
            continue
        one, again = (panels.panel_series(name, None, False) for _ in range(2))
        assert len(one) >= 100 and all(np.array_equal(*pair) for pair in zip(one, again, strict=True))
        assert min(map(len, one)) > 3 * part.horizon and all(np.isfinite(values).all() for values in one)
        earlier = panels.panel_series(name, None, True)
        assert np.array_equal(earlier[0], one[0][: -part.horizon])


def test_theta_forecasts_half_of_a_trend_and_a_season(panels: ModuleType):
    steps = np.arange(60.0)
    ahead = panels.theta(10 + steps, 3, 1)
    assert ahead == pytest.approx(69 + 0.5 * np.arange(1, 4), abs=0.6)  # the last value, and half the slope
    season = np.array([5.0, 9.0, 7.0, 3.0])
    assert panels.theta(np.tile(season, 15), 4, 4) == pytest.approx(season, rel=0.01)
    signed = np.tile(season - 6, 15)
    assert panels.theta(signed, 4, 4) == pytest.approx(season - 6, abs=0.05)


def test_errors_are_those_of_the_metrics(panels: ModuleType, monkeypatch: pytest.MonkeyPatch):
    part = panels.PanelSet(2, 1)
    monkeypatch.setattr(panels, "PANELS", {"a": part, "b": panels.PanelSet(2, 1, metric="mase")})
    series, forecasts = [np.array([1.0, 2.0, 4.0, 3.0, 6.0])], [np.array([3.0, 2.0])]
    assert panels.panel_error("a", series, forecasts) == pytest.approx(50)  # 0 and 200 * 4 / 8
    assert panels.panel_error("b", series, forecasts) == pytest.approx(2 / 1.5)


def test_mean_ranks_share_ties_and_leave_out_what_is_not_everywhere(panels: ModuleType):
    ranks = panels.mean_ranks(
        {"x": {"a": 1.0, "b": 2.0, "c": 2.0, "d": 0.0}, "y": {"a": 3.0, "b": 2.0, "c": 4.0}}
    )
    assert ranks == {"a": 1.5, "b": 1.75, "c": 2.75}


@pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
def test_a_panel_is_forecast_beside_the_baselines(
    panels: ModuleType,
    benchmark_module: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    bench = benchmark_module("forecasting")

    def small(**options: Any) -> Any:
        return ls.Forecaster(**options, hidden_size=4, epochs=1, context_length=12)

    monkeypatch.setattr(bench, "ls", type("longspan", (), {"Forecaster": staticmethod(small)}))
    monkeypatch.setattr(
        bench, "panel_series", lambda *_: panels.panel_series("panel_quarterly", None, False)[:12]
    )
    row = bench.run_panel("panel_quarterly", tmp_path, 0, False)
    assert all(0 < row[method] < 100 for method in bench.OWN_METHODS) and 0.5 < row["coverage"] <= 1
    table = bench.panel_table([row], {"panel_quarterly": {"NHITS": {"error": 5.0, "seconds": 1.0}}})
    cells = [list(column.cells) for column in table.columns]
    assert cells[0] == ["panel_quarterly", "mean rank"] and cells[6][0] == "5"
