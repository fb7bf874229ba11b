"""The share of a naive forecast is found on validation windows."""

from __future__ import annotations

import numpy as np
import pytest

import longspan as ls
from longspan.tasks.forecast.blending import Blend, find_blend, transformed_naive
from longspan.tasks.forecast.panel import Origins
from longspan.tasks.forecast.window_encoder import WindowEncoder
from longspan.tasks.forecast.window_scaling import WindowConfig
from longspan.tasks.forecast.windows import every_origin, future, window_index


def fitted(center: str = "last", season: int = 4) -> tuple[WindowEncoder, Origins]:
    random = np.random.default_rng(0)
    series = [np.exp(0.1 * random.standard_normal(60).cumsum()) for _ in range(12)]
    panel = ls.Forecaster(horizon=6).panel(series)
    origins = Origins(panel, every_origin(panel, 20, 6))
    encoder = WindowEncoder(6, season=season).fit(origins)
    encoder.configure(WindowConfig(8, center, "series", "log"), origins)
    return encoder, origins


@pytest.mark.parametrize("center", ["last", "mean", "season", "none"])
def test_the_map_repeats_the_last_season(center: str) -> None:
    encoder, origins = fitted(center)
    index, statistics = window_index(origins), encoder.statistics.of_panel(origins.panel)
    scaled = encoder.scaled(origins.panel, index, statistics)
    for season in (1, 4):
        weights = encoder.naive_map(season)
        if center == "season" and season == 1:
            assert weights is None
            continue
        assert weights is not None
        found = scaled.values @ weights.T * scaled.scale + scaled.center
        np.testing.assert_allclose(found, transformed_naive(encoder, origins, season), rtol=1e-9)
    assert center == "season" or encoder.naive_map(9) is None, "the window has eight steps"


def test_the_better_mean_of_both_is_found() -> None:
    encoder, origins = fitted()
    truth = np.log(future(origins.panel, window_index(origins), 6))
    assert find_blend(encoder, truth, origins) == Blend(1, 0.0), "a forecast that is right stays as it is"
    naive = transformed_naive(encoder, origins, 4)
    opposite = (truth - 0.3 * naive) / 0.7  # right with 30 % of the naive forecast
    assert find_blend(encoder, opposite, origins) == Blend(4, 0.3)


@pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
def test_forecasts_of_random_walks_are_near_the_last_values() -> None:
    random = np.random.default_rng(0)
    series = [np.cumsum(random.standard_normal(48)) for _ in range(12)]
    f = ls.Forecaster(horizon=6, hidden_size=4, epochs=2, context_length=16, offset="mean", scaling="series")
    f.fit(series, verbose=0)
    found = f.forecasts(series, -6)
    assert np.abs(found.point - found.naive).mean() < 0.15 * np.abs(found.actual - found.naive).mean()
