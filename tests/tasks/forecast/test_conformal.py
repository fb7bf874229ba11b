"""Knows that calibrated intervals cover what they promise, also where the data have changed since."""

from __future__ import annotations

import numpy as np
import pytest

from longspan.tasks.forecast.conformal import (
    ConformalQuantiles,
    adapt,
    level_pairs,
    recent_origins,
    share_inside,
)

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def made(n: int, horizon: int, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Answers (n, H, Q) of a forecaster that thinks the spread is 1, and truths (n, H) with another."""
    random = np.random.default_rng(seed)
    z = np.array([-1.645, -0.674, 0.0, 0.674, 1.645])
    middle = random.standard_normal((n, horizon, 1))
    return middle + z, middle[..., 0] + spread * random.standard_normal((n, horizon))


@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_widths_make_up_for_a_forecaster_that_errs_on_its_spread(spread: float):
    answers, truths = made(2000, 4, spread)
    widths = ConformalQuantiles.learn(LEVELS, answers, truths, np.ones(2000), apart=500)
    later, what_came = made(4000, 4, spread, seed=1)
    found = ConformalQuantiles.from_state(widths.state()).apply(later, np.ones(4000))
    assert share_inside(found[..., 0], found[..., 4], what_came) == pytest.approx(0.9, abs=0.02)
    assert share_inside(found[..., 1], found[..., 3], what_came) == pytest.approx(0.5, abs=0.02)
    assert np.allclose(found[..., 2], later[..., 2]) or spread < 1, "the median stays"
    assert (np.diff(found, axis=-1) >= 0).all()


def test_few_windows_make_wide_intervals():
    answers, truths = made(30, 1, 1.0)
    many = ConformalQuantiles.learn(LEVELS, answers, truths, np.ones(30), apart=1000)
    few = ConformalQuantiles.learn(LEVELS, answers, truths, np.ones(30), apart=3)
    wide = (few.apply(answers, np.ones(30)) - answers[..., 2:3])[..., 4]
    assert (wide > 1.3 * (many.apply(answers, np.ones(30)) - answers[..., 2:3])[..., 4]).all()


def test_unknown_truths_are_left_out():
    answers, truths = made(400, 2, 2.0)
    holes = np.where(np.random.default_rng(0).random(truths.shape) < 0.3, np.nan, truths)
    one, other = (
        ConformalQuantiles.learn(LEVELS, answers, t, np.ones(400), apart=100).moved for t in (truths, holes)
    )
    assert np.isfinite(other).all() and np.allclose(one, other, atol=0.8)
    assert np.isnan(share_inside(answers[..., 0], answers[..., 4], np.full_like(truths, np.nan)))


@pytest.mark.parametrize("spread", [0.4, 2.5])
def test_intervals_follow_data_that_have_changed(spread: float):
    horizon, n = 3, 900
    answers, truths = made(n, horizon, spread)
    values, known = answers[:, None], truths[:, None]
    rows = np.arange(n)
    recent = recent_origins(rows, np.zeros(n), horizon)
    found = adapt(LEVELS, values, known, rows, recent)[500:, 0]
    before = share_inside(answers[500:, :, 0], answers[500:, :, 4], truths[500:])
    after = share_inside(found[..., 0], found[..., 4], truths[500:])
    assert abs(after - 0.9) < 0.045 < abs(before - 0.9)
    assert np.allclose(found[..., 2], answers[500:, :, 2])


def test_nothing_that_came_after_an_origin_is_looked_at():
    horizon, n = 3, 600
    answers, truths = made(n, horizon, 2.0)
    rows = np.arange(n)
    recent = recent_origins(rows, np.zeros(n), horizon)
    assert (recent[recent >= 0] <= np.broadcast_to(rows[:, None] - horizon, recent.shape)[recent >= 0]).all()
    changed = truths.copy()
    changed[501 - horizon :] = 99.0  # truths of the horizons that had not ended at 500
    one, other = (
        adapt(LEVELS, answers[:, None], t[:, None], rows[:501], recent[:501]) for t in (truths, changed)
    )
    assert np.array_equal(one, other)


def test_without_recent_forecasts_only_the_margin_is_added():
    answers, truths = made(10, 3, 2.0)
    recent = recent_origins(np.arange(10), np.full(10, 10), 3)
    assert (recent == -1).all()
    found = adapt(LEVELS, answers[:, None], truths[:, None], np.arange(10), recent)[:, 0]
    assert np.allclose(found - answers[..., 2:3], 1.05 * (answers - answers[..., 2:3]))


def test_levels_that_make_intervals():
    assert level_pairs(LEVELS) == [(0, 4), (1, 3)]
    assert level_pairs((0.1, 0.5, 0.8)) == []
