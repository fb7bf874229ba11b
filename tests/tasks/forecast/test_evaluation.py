"""Metrics of forecasts equal their definitions, over the known values alone."""

from __future__ import annotations

import numpy as np
import pytest

from longspan import errors
from longspan.tasks.forecast import evaluation
from longspan.tasks.forecast.panel import Columns, Origins
from longspan.tasks.forecast.predictions import Forecasts
from longspan.tasks.forecast.reading import read_panel

TRUTH = np.array([[[2.0], [4.0], [np.nan]]])


def found() -> Forecasts:
    points = np.array([[[1.0], [6.0], [0.0]]])
    spread = points[..., None] + np.array([-1.5, 0.0, 1.5])
    origins = Origins(read_panel(np.arange(5.0), Columns()), np.array([2]))
    return Forecasts(points, spread, TRUTH, points - 1, points * 2, np.ones((1, 1)), origins, (0.1, 0.5, 0.9))


def test_metrics_equal_those_by_hand() -> None:
    scores = {
        name: score(found(), TRUTH)
        for name, score in evaluation.forecast_metrics((0.1, 0.5, 0.9), lambda f: np.array(2.0)).items()
    }
    assert list(scores)[:3] == ["mae", "naive_mae", "seasonal_naive_mae"]
    assert scores["mae"] == 1.5 and scores["rmse"] == pytest.approx(2.5**0.5) and scores["mase"] == 0.75
    assert scores["smape"] == pytest.approx(200 * (1 / 3 + 2 / 10) / 2)
    assert scores["naive_mae"] == 1.5 and scores["seasonal_naive_mae"] == 4.0
    assert scores["coverage_80"] == 0.5
    losses = [0.1 * 2.5, 0.5 * 1, 0.1 * 0.5, 0.9 * 0.5, 0.5 * 2, 0.1 * 3.5]
    assert scores["crps"] == pytest.approx(2 * np.mean(losses))


def test_metrics_without_known_values_are_nan() -> None:
    none = np.full((1, 3, 1), np.nan)
    assert np.isnan(evaluation.mae(none, none)) and np.isnan(evaluation.coverage(found(), none, 0, 2))
    assert evaluation.smape(np.zeros(3), np.zeros(3)) == 0.0


def test_the_better_baseline_is_named() -> None:
    with pytest.warns(
        errors.LongspanWarning, match="does not beat repeating the last season on paper: .* 2 against 1;"
    ):
        evaluation.warn_if_baseline_wins({"model": 2.0, "naive": 1.5, "seasonal_naive": 1.0}, "paper")
    with errors.collect_notices() as notes:
        evaluation.warn_if_baseline_wins(
            {"model": 2.0, "naive": 3.0, "seasonal_naive": float("nan")}, "paper"
        )
        evaluation.warn_if_baseline_wins({"model": 0.0, "naive": 0.0}, "paper")
        evaluation.warn_if_baseline_wins({}, "paper")
    assert notes == []
    scores = {"mae": 2.0, "naive_mae": 2.0, "seasonal_naive_mae": 3.0}
    assert evaluation.summary(scores).startswith("The model does not beat repeating the last value here")
    assert evaluation.summary({**scores, "mae": 1.0}).startswith(
        "The model beats repeating the last value and"
    )
