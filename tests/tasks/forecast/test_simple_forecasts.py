"""Simple forecasts of windows are those of their equations, with the parameters that fit each window."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from longspan.tasks.forecast.simple_forecasts import (
    SMOOTHING,
    HistoryShape,
    Parameters,
    SimpleForecasts,
    Smoothing,
    season_maps,
    smoothing_maps,
)

HORIZON = 5


def smoothed(values: np.ndarray, parameters: Parameters) -> tuple[np.ndarray, list[float]]:
    """Forecasts, and errors one step ahead, of one window by the recursion itself."""
    level, trend, damping, drift = parameters
    slope = drift * np.polyfit(np.arange(len(values)), values, 1)[0]
    height, rise, errors = values[0], 0.0, list[float]()
    for value in values[1:]:
        errors.append(value - (height + damping * rise + slope))
        height, rise = value - (1 - level) * errors[-1], damping * rise + level * trend * errors[-1]
    steps = np.arange(1, HORIZON + 1)
    return height + np.array(
        [rise * (damping ** np.arange(1, s + 1)).sum() for s in steps]
    ) + slope * steps, errors


@pytest.mark.parametrize(
    "parameters", [Parameters(0.3), Parameters(0.2, drift=0.5), Parameters(0.5, 0.4, 0.8)]
)
def test_maps_are_those_of_the_recursion(parameters: Parameters) -> None:
    values = np.random.default_rng(0).standard_normal(20).cumsum()
    ahead, errors = smoothing_maps([Parameters(0.9), parameters], 20, HORIZON)
    forecasts, wanted = smoothed(values, parameters)
    np.testing.assert_allclose(ahead[1] @ values, forecasts)
    np.testing.assert_allclose(errors[1] @ values, wanted, atol=1e-12)


@pytest.mark.parametrize(("season", "late"), [(3, 2), (3, 9), (4, 1), (4, 9)])
def test_a_season_on_a_line_is_continued(season: int, late: int) -> None:
    shape = np.array([1.0, -2.0, 3.0, -2.0])[:season] - np.array([1.0, -2.0, 3.0, -2.0])[:season].mean()
    steps = np.arange(4 * season + HORIZON)
    values = 2 + 0.5 * steps + shape[steps % season]
    window = values[: 4 * season]
    inside, after = season_maps(len(window), HORIZON, season, late)
    np.testing.assert_allclose(inside @ window, shape[steps[: len(window)] % season], atol=1e-12)
    np.testing.assert_allclose(after @ window, shape[steps[len(window) :] % season], atol=1e-12)


@pytest.mark.parametrize("name", SMOOTHING)
def test_each_window_has_the_parameters_that_fit_it(name: str) -> None:
    random = np.random.default_rng(0)
    steps, noise = np.arange(40 + HORIZON), random.standard_normal(40 + HORIZON)
    rows = [noise.cumsum(), 0.3 * noise + 5 * (steps % 4 == 0), 0.3 * noise]
    values = torch.from_numpy(np.stack(rows))
    found = Smoothing(SMOOTHING[name], 40, HORIZON, 4, 40)(values[:, :40], torch.full((3,), 40)).numpy()
    moved = Smoothing(SMOOTHING[name], 40, HORIZON, 4, 40)(
        3 * values[:, :40] + 7, torch.full((3,), 40)
    ).numpy()
    np.testing.assert_allclose(moved, 3 * found + 7, rtol=1e-4)
    assert np.abs(found[0] - rows[0][39]).mean() < 1.5, "a walk goes on near its last value"
    assert np.abs(found[1] - rows[1][40:]).mean() < 0.6, "a season is continued"
    assert np.abs(found[2]).mean() < 0.3, "noise goes on near its mean"


def test_names_fit_the_history() -> None:
    assert HistoryShape(3, 0, 2, 4).forecasts() == ("last",)
    assert HistoryShape(8, 8, 2, 4).forecasts() == ("last", "season", "theta", "trend")
    assert HistoryShape(8, 8, 2, 9).forecasts() == ("last", "theta", "trend")
    assert HistoryShape(8, 20, 2, 9).forecasts()[-2:] == ("long_theta", "long_trend")
    assert HistoryShape(8, 20, 2).steps == 20 and HistoryShape(500, 20, 2).steps == 256


def test_long_forecasts_read_the_long_history() -> None:
    steps = torch.arange(70.0, dtype=torch.float64)
    rows = torch.stack([steps, steps + 9 * (steps < 45)])[:, :65]
    shape, known = HistoryShape(20, 60, HORIZON), torch.tensor([65, 65])
    short, long = (SimpleForecasts({name: 1.0}, shape)(rows, known) for name in ("theta", "long_theta"))
    assert torch.equal(short[0], short[1]) and not torch.allclose(long[0], long[1])


def test_shares_weigh_the_sum() -> None:
    values = torch.arange(8.0)[None]
    module = SimpleForecasts({"last": 0.25, "season": 0.5}, HistoryShape(8, 0, HORIZON, 4))
    assert module.total == 0.75 and not module.state_dict()
    found = module(values, torch.tensor([8]))[0]
    assert found.tolist() == [0.25 * 7 + 0.5 * (4 + step % 4) for step in range(HORIZON)]
