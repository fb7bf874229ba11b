"""The shares of simple forecasts are found on validation windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import longspan as ls
from longspan.data.transforms import invert
from longspan.tasks.forecast import baselines
from longspan.tasks.forecast.blending import find_shares, simple_forecasts
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


def members(encoder: WindowEncoder, origins: Origins) -> dict[str, np.ndarray]:
    return simple_forecasts(encoder, origins, np.arange(len(origins.rows)))


@pytest.mark.parametrize("center", ["last", "mean", "season", "none"])
def test_the_last_value_and_season_are_repeated(center: str) -> None:
    encoder, origins = fitted(center)
    found = members(encoder, origins)
    for name, season in (("last", 1), ("season", 4)):
        naive = baselines.seasonal_naive(origins.panel, window_index(origins), 6, season)
        np.testing.assert_allclose(invert(found[name], "log"), naive, rtol=1e-6)


def test_the_best_mean_is_found() -> None:
    encoder, origins = fitted()
    truth = np.log(future(origins.panel, window_index(origins), 6))
    assert find_shares(encoder, truth, origins, 100.0) == {}, "a forecast that is right stays as it is"
    season = members(encoder, origins)["season"]
    opposite = (truth - 0.25 * season) / 0.75  # right with a quarter of the last season
    assert find_shares(encoder, opposite, origins, 100.0) == {"season": 0.25}
    noise = 0.001 * np.random.default_rng(1).standard_normal(truth.shape)
    assert find_shares(encoder, truth + noise, origins, 100.0) == {}, (
        "what lowers the error by chance has no share"
    )


def test_the_windows_of_one_series_count_as_far_as_they_are_independent() -> None:
    random = np.random.default_rng(0)
    panel = ls.Forecaster(horizon=4).panel(10 + np.cumsum(random.standard_normal(200)))
    origins = Origins(panel, every_origin(panel, 20, 4))
    encoder = WindowEncoder(4, season=1).fit(origins)
    encoder.configure(WindowConfig(8, "last", "series", "none"), origins)
    last, truth = members(encoder, origins)["last"], future(origins.panel, window_index(origins), 4)
    right = (
        np.arange(len(truth))[:, None] % 5 < 3
    )  # in the other windows the last value is as far off as the network
    points = np.where(right, 3 * truth - 2 * last, 2 * last - truth)
    assert find_shares(encoder, points, origins, 100.0).get("last", 0) > 0
    assert find_shares(encoder, points, origins, 1e-3) == find_shares(encoder, points, origins, 1.0)
    better = find_shares(encoder, last + 0.5 * (truth - last), origins, 100.0)
    assert better == {}, "the network is better in every window"


@pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
def test_forecasts_of_random_walks_are_near_the_last_values() -> None:
    random = np.random.default_rng(0)
    series = [np.cumsum(random.standard_normal(48)) for _ in range(12)]
    f = ls.Forecaster(horizon=6, hidden_size=4, epochs=2, context_length=16, offset="mean", scaling="series")
    f.fit(series, verbose=0)
    found = f.forecasts(series, -6)
    assert np.abs(found.point - found.naive).mean() < 0.4 * np.abs(found.actual - found.naive).mean()


@pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
@pytest.mark.parametrize("count", [1, 12])
def test_every_way_to_predict_has_the_simple_forecasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    shares = {"last": 0.3, "theta": 0.3, "long_trend": 0.4}
    monkeypatch.setattr("longspan.tasks.forecast.codec.find_shares", lambda *_: shares)
    random = np.random.default_rng(0)
    series = [10 + random.standard_normal(60).cumsum() for _ in range(count)]
    f = ls.Forecaster(horizon=2, hidden_size=4, epochs=1, context_length=16, offset="last", scaling="series")
    f.fit(series, verbose=0)
    new = 5 + random.standard_normal(40).cumsum()
    own, encoder = f.predict(new), f.codec_.encoder
    panel = f.panel(new, encoder.template)
    parts = members(encoder, Origins(panel, np.array([40])))
    wanted = sum(share * invert(parts[name], encoder.config.transform) for name, share in shares.items())
    assert own["point"].to_numpy() == pytest.approx(np.ravel(wanted), rel=1e-5), "the network has no share"
    assert np.ravel(f.forecasts(np.append(new, [0.0, 0.0]), 40).point) == pytest.approx(own["point"])
    quantiles, state = f.predict_stream(new)
    ahead, _ = f.step(0.0, state)
    middle = f.codec_.levels.index(0.5)
    assert ahead is not None and ahead[0, middle] == pytest.approx(own["point"][0])
    before = Origins(panel, np.array([39]))
    assert quantiles[39, 0, middle] == pytest.approx(f.forecasts_at(before).point[0, 0, 0])
    rows, state = [], None
    for value in new:
        row, state = f.step(value, state)
        rows.append(np.full(quantiles.shape[1:], np.nan) if row is None else row)
    np.testing.assert_allclose(rows, quantiles, rtol=1e-5, atol=1e-5)
    f.save(tmp_path / "f.model")
    loaded = ls.load(tmp_path / "f.model")
    assert loaded.predict(new).equals(own) and loaded.codec_.encoder.shares == shares
