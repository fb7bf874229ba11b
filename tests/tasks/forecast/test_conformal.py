"""Calibrated intervals have their nominal coverage, also after the data have changed."""

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
    """Quantiles (n, H, Q) of normal distributions of deviation 1, and truths (n, H) of another deviation."""
    random = np.random.default_rng(seed)
    z = np.array([-1.645, -0.674, 0.0, 0.674, 1.645])
    middle = random.standard_normal((n, horizon, 1))
    return middle + z, middle[..., 0] + spread * random.standard_normal((n, horizon))


@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_calibration_corrects_intervals_that_are_too_narrow_or_wide(spread: float):
    answers, truths = made(2000, 4, spread)
    widths = ConformalQuantiles.fit(LEVELS, answers, truths, np.ones(2000), independent=500)
    later, what_came = made(4000, 4, spread, seed=1)
    found = ConformalQuantiles.from_state(widths.state()).apply(later, np.ones(4000))
    assert share_inside(found[..., 0], found[..., 4], what_came) == pytest.approx(0.9, abs=0.02)
    assert share_inside(found[..., 1], found[..., 3], what_came) == pytest.approx(0.5, abs=0.02)
    assert (np.diff(found, axis=-1) >= 0).all()
    if spread >= 1:
        assert np.array_equal(found[..., 2], later[..., 2]), "quantiles moved outwards leave the median alone"
    else:  # moved inwards, a quantile may pass the median: sorted, the middle one lies between the two
        moved = np.abs(found[..., 2] - later[..., 2])
        assert (moved <= np.abs(widths.shifts).max()).all()


def test_few_independent_windows_widen_the_intervals():
    answers, truths = made(30, 1, 1.0)
    many = ConformalQuantiles.fit(LEVELS, answers, truths, np.ones(30), independent=1000)
    few = ConformalQuantiles.fit(LEVELS, answers, truths, np.ones(30), independent=3)
    wide = (few.apply(answers, np.ones(30)) - answers[..., 2:3])[..., 4]
    assert (wide > 1.3 * (many.apply(answers, np.ones(30)) - answers[..., 2:3])[..., 4]).all()


def test_missing_truths_are_left_out():
    answers, truths = made(400, 2, 2.0)
    windows = np.arange(400)
    holes = np.where((windows < 150)[:, None], np.nan, truths)
    with_holes = ConformalQuantiles.fit(LEVELS, answers, holes, np.ones(400), independent=100).shifts
    upper = np.quantile((truths[150:, :, None] - answers[150:])[..., 4], 0.95 * 401 / 400, axis=0)
    lower = np.quantile((truths[150:, :, None] - answers[150:])[..., 0], 1 - 0.95 * 401 / 400, axis=0)
    np.testing.assert_allclose(with_holes[:, 4], upper)
    np.testing.assert_allclose(with_holes[:, 0], lower)
    none = ConformalQuantiles.fit(
        LEVELS, answers, np.full_like(truths, np.nan), np.ones(400), independent=100
    )
    assert not none.shifts.any()
    assert np.isnan(share_inside(answers[..., 0], answers[..., 4], np.full_like(truths, np.nan)))


@pytest.mark.parametrize("spread", [0.4, 2.5])
def test_intervals_adapt_to_data_that_have_changed(spread: float):
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


def test_no_truth_after_an_origin_is_used():
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


def test_symmetric_quantiles_make_intervals():
    assert level_pairs(LEVELS) == [(0, 4), (1, 3)]
    assert level_pairs((0.1, 0.5, 0.8)) == []
