"""Context length, scaling and transform are chosen by the held-out error of a linear forecast."""

from __future__ import annotations

import numpy as np
import pytest

from longspan.tasks.forecast import windows
from longspan.tasks.forecast.codec import ForecastCodec
from longspan.tasks.forecast.origins import hold_out
from longspan.tasks.forecast.panel import Columns, Origins
from longspan.tasks.forecast.reading import read_panel
from longspan.tasks.forecast.selection import contexts, fit_linear, select

OPEN = {"context": None, "center": None, "scaling": None, "transform": None}


def parts(values: np.ndarray, horizon: int = 4) -> tuple[Origins, Origins]:
    panel = read_panel(values, Columns())
    train, held = hold_out(Origins(panel, windows.every_origin(panel, 1, horizon)), 0.2, horizon, 1000)
    assert held is not None
    return train, held


def codec(train: Origins, season: int | None = None) -> ForecastCodec:
    return ForecastCodec(4, (0.1, 0.5, 0.9), season=season).fit(train)


def test_candidate_contexts_fit_the_series() -> None:
    assert contexts(24, 24, 4000) == [48, 96, 168, 336]
    assert contexts(1, 24, 4000) == [24, 25, 48, 96, 168, 336]
    assert contexts(12, 12, 30) == [24, 30]
    assert contexts(3, 1, 2) == [2]


def test_exponential_growth_chooses_the_logarithm() -> None:
    train, held = parts(np.exp(0.02 * np.arange(300) + 0.3 * np.sin(np.arange(300) / 2)))
    chosen = codec(train)
    select(chosen, train, held, **OPEN)
    assert chosen.transform == "log" and chosen.center == "last"
    assert chosen.skip is not None and chosen.skip.shape == (chosen.context + 1, 4)
    assert chosen.residuals is not None and chosen.residuals.shape == (4, 3)
    assert (np.diff(chosen.residuals, axis=1) >= 0).all() and not chosen.residuals[:, 1].any()


@pytest.mark.parametrize("held_out", [True, False])
def test_options_given_by_the_user_are_kept(held_out: bool) -> None:
    train, held = parts(5 + np.sin(np.arange(200) / 3))
    asked = {"context": 13, "center": "season", "scaling": "window", "transform": "sqrt"}
    chosen = codec(train, season=1)
    select(chosen, train, held if held_out else None, **asked)
    assert {name: getattr(chosen, name) for name in asked} == asked


def test_a_transform_outside_its_domain_is_refused() -> None:
    train, held = parts(np.sin(np.arange(200) / 3))
    with pytest.raises(ValueError, match="transform: expected one of none for these values, received 'log'"):
        select(codec(train), train, held, **{**OPEN, "transform": "log"})


def test_the_linear_forecast_of_a_wave_is_exact() -> None:
    train, held = parts(np.sin(np.arange(400) / 3))
    one = codec(train)
    one.context = 12
    found = fit_linear(one, train, held, 500)
    assert found.weight.shape == (12, 4) and found.error < 0.01 and found.residuals.shape[1] == 4
