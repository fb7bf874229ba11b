"""Context length, scaling and transform are chosen by the held-out error of a linear forecast."""

from __future__ import annotations

import numpy as np
import pytest

from longspan.tasks.forecast import windows
from longspan.tasks.forecast.linear_forecast import fit_linear
from longspan.tasks.forecast.origins import hold_out
from longspan.tasks.forecast.panel import Columns, Origins
from longspan.tasks.forecast.reading import read_panel
from longspan.tasks.forecast.selection import _Risk, candidate_contexts, select
from longspan.tasks.forecast.window_encoder import WindowEncoder
from longspan.tasks.forecast.window_scaling import WindowConfig

LEVELS = (0.1, 0.5, 0.9)
OPEN = {"context": None, "center": None, "scaling": None, "transform": None}


def parts(values: np.ndarray, horizon: int = 4) -> tuple[Origins, Origins]:
    panel = read_panel(values, Columns())
    train, held = hold_out(Origins(panel, windows.every_origin(panel, 1, horizon)), 0.2, horizon, 1000)
    assert held is not None
    return train, held


def fitted(train: Origins, season: int | None = None) -> WindowEncoder:
    return WindowEncoder(4, season=season).fit(train)


def test_candidate_contexts_fit_the_series() -> None:
    assert candidate_contexts(24, 24, 4000) == [48, 96, 168, 336]
    assert candidate_contexts(1, 24, 4000) == [24, 25, 48, 96, 168, 336]
    assert candidate_contexts(12, 12, 30) == [24, 30]
    assert candidate_contexts(3, 1, 2) == [2]


def test_exponential_growth_chooses_the_logarithm() -> None:
    train, held = parts(np.exp(0.02 * np.arange(300) + 0.3 * np.sin(np.arange(300) / 2)))
    encoder = fitted(train)
    line, residual_quantiles, _ = select(encoder, LEVELS, train, held, **OPEN)
    assert encoder.config.transform == "log" and encoder.config.center == "last"
    assert line.shape == (encoder.config.context + 1, 4) and residual_quantiles.shape == (4, 3)
    assert (np.diff(residual_quantiles, axis=1) >= 0).all() and not residual_quantiles[:, 1].any()


@pytest.mark.parametrize("seed", [0, 1, 4, 11])
def test_noise_that_grows_with_the_level_chooses_the_logarithm_even_with_few_windows(seed: int) -> None:
    steps, draw = np.arange(150), np.random.default_rng(seed)
    noise = 0.2 * np.sin(2 * np.pi * steps / 7) + 0.1 * draw.standard_normal(150)
    train, held = parts((1 + steps / 40) ** 2 * (1 + noise))
    encoder = fitted(train)
    select(encoder, LEVELS, train, held, **OPEN)
    assert encoder.config.transform == "log"


def test_settings_chosen_by_chance_are_worse_on_splits_that_did_not_choose_them() -> None:
    train, held = parts(5 + np.sin(np.arange(200) / 3))
    risk = _Risk(fitted(train), train, held)
    assert risk.optimism() == 1.0
    one, two = (WindowConfig(12, center, "series", "none") for center in ("last", "mean"))
    risk.errors = {one: np.log([1.0, 2.0, 2.0]), two: np.log([4.0, 2.0, 2.0])}
    assert risk.optimism() == 1.0  # the first is never worse
    risk.errors = {one: np.log([1.0, 4.0, 2.0]), two: np.log([4.0, 1.0, 2.0])}
    assert risk.optimism() == pytest.approx(4 ** (1 / 3))  # where both others decide, the wrong one is taken
    risk.errors = {one: np.log([1.0, 4.0]), two: np.log([4.0, 1.0])}
    assert risk.optimism() == 1.0


def test_intervals_are_widened_where_a_few_windows_flatter_the_chosen_settings() -> None:
    steps, widening = np.arange(150), []
    for growth in (0.0, 1 / 40):
        draw = np.random.default_rng(5)
        noise = 0.2 * np.sin(2 * np.pi * steps / 7) + 0.1 * draw.standard_normal(150)
        train, held = parts((1 + growth * steps) ** 2 * (1 + noise))
        widening.append(select(fitted(train), LEVELS, train, held, **OPEN).widening)
    assert widening[0] < 1.05 < 1.15 < widening[1] < 3.0


@pytest.mark.parametrize("held_out", [True, False])
def test_options_given_by_the_user_are_kept(held_out: bool) -> None:
    train, held = parts(5 + np.sin(np.arange(200) / 3))
    asked = {"context": 13, "center": "season", "scaling": "window", "transform": "sqrt"}
    encoder = fitted(train, season=1)
    select(encoder, LEVELS, train, held if held_out else None, **asked)
    assert encoder.config._asdict() == asked


def test_a_transform_outside_its_domain_is_refused() -> None:
    train, held = parts(np.sin(np.arange(200) / 3))
    with pytest.raises(ValueError, match="transform: expected one of none for these values, received 'log'"):
        select(fitted(train), LEVELS, train, held, **{**OPEN, "transform": "log"})


def test_the_linear_forecast_of_a_wave_is_exact() -> None:
    train, held = parts(np.sin(np.arange(400) / 3))
    encoder = fitted(train)
    encoder.configure(WindowConfig(12, "last", "series", "none"), train)
    forecast = fit_linear(encoder, train, held, 500)
    assert forecast.weight.shape == (12, 4) and forecast.error < 0.01 and forecast.residuals.shape[1] == 4
