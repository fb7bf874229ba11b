"""Calibrated intervals have their nominal coverage, also after the data have changed."""

from __future__ import annotations

import numpy as np
import pytest

from longspan.tasks.forecast.conformal import (
    ConformalQuantiles,
    NaiveErrors,
    adapt,
    level_pairs,
    recent_origins,
    share_inside,
    step_groups,
)

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def made(n: int, horizon: int, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles (n, H, Q) of normal distributions of deviation 1, and truths (n, H) of another deviation."""
    random = np.random.default_rng(seed)
    z = np.array([-1.645, -0.674, 0.0, 0.674, 1.645])
    middle = random.standard_normal((n, horizon, 1))
    return middle + z, middle[..., 0] + spread * random.standard_normal((n, horizon))


def fitted(
    answers: np.ndarray, truths: np.ndarray, independent: float, naive: NaiveErrors | None = None
) -> ConformalQuantiles:
    counts = np.full(answers.shape[1], independent)
    return ConformalQuantiles.fit(
        LEVELS, answers, truths, np.ones(len(answers)), independent=counts, naive=naive
    )


@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_calibration_corrects_intervals_that_are_too_narrow_or_wide(spread: float):
    answers, truths = made(2000, 4, spread)
    later, what_came = made(4000, 4, spread, seed=1)
    found = ConformalQuantiles.from_state(fitted(answers, truths, 500).state()).apply(later, np.ones(4000))
    assert share_inside(found[..., 0], found[..., 4], what_came) == pytest.approx(0.9, abs=0.02)
    assert share_inside(found[..., 1], found[..., 3], what_came) == pytest.approx(0.5, abs=0.02)
    assert (np.diff(found, axis=-1) >= 0).all() and np.array_equal(found[..., 2], later[..., 2])


def test_errors_to_one_side_move_that_side_alone_where_windows_are_many():
    answers, truths = made(3000, 2, 1.0)
    above = np.where(truths > answers[..., 2], answers[..., 2] + 3 * (truths - answers[..., 2]), truths)
    distances = np.abs(fitted(answers, above, 2000).apply(answers, np.ones(3000)) - answers[..., 2:3])
    assert distances[..., 4].mean() > 2.5 * 1.645 and distances[..., 0].mean() < 1.2 * 1.645
    few = np.abs(fitted(answers, above, 3).apply(answers, np.ones(3000)) - answers[..., 2:3])
    assert few[..., 0].mean() > 0.7 * few[..., 4].mean()


def test_few_independent_windows_widen_the_intervals():
    answers, truths = made(30, 1, 1.0)
    many, few = (fitted(answers, truths, count).apply(answers, np.ones(30)) for count in (1000, 3))
    assert (few - answers[..., 2:3])[..., 4].mean() > 1.3 * (many - answers[..., 2:3])[..., 4].mean()


def test_intervals_of_identical_quantiles_are_not_nan():
    answers = np.zeros((20, 2, 5))
    truths = np.zeros((20, 2))
    assert not fitted(answers, truths, 5).apply(answers, np.ones(20)).any()
    assert np.isfinite(fitted(answers, truths + 1, 5).apply(answers, np.ones(20))).all()


def test_missing_truths_are_left_out():
    answers, truths = made(400, 2, 2.0)
    holes = np.where((np.arange(400) < 150)[:, None], np.nan, truths)
    with_holes, without = fitted(answers, holes, 100), fitted(answers[150:], truths[150:], 100)
    np.testing.assert_allclose(with_holes.factors, without.factors)
    none = fitted(answers, np.full_like(truths, np.nan), 1e9)
    np.testing.assert_allclose(none.factors, 1.0)
    assert np.isnan(share_inside(answers[..., 0], answers[..., 4], np.full_like(truths, np.nan)))


def test_a_quiet_validation_part_is_corrected_by_the_history_of_naive_errors():
    answers, truths = made(60, 2, 0.5)
    draw = np.random.default_rng(3)
    quiet = np.abs(draw.normal(0, 1, (60, 2)))
    wild = np.concatenate([quiet, np.abs(draw.normal(0, 2, (400, 2)))])
    counts = np.full(2, 60.0)
    plain, same = fitted(answers, truths, 5), fitted(answers, truths, 5, NaiveErrors(quiet, quiet, counts))
    assert same.factors[:, 4] == pytest.approx(plain.factors[:, 4], rel=0.25)
    few, many = (fitted(answers, truths, n, NaiveErrors(quiet, wild, counts)) for n in (5, 1e6))
    assert (few.factors[:, 4] > 1.3 * same.factors[:, 4]).all()
    np.testing.assert_allclose(many.factors, fitted(answers, truths, 1e6).factors, rtol=1e-3)
    nothing = NaiveErrors(np.full((60, 2), np.nan), wild, counts)
    np.testing.assert_allclose(fitted(answers, truths, 5, nothing).factors, plain.factors)


@pytest.mark.parametrize("spread", [0.4, 2.5])
def test_intervals_adapt_to_data_that_have_changed(spread: float):
    horizon, n = 3, 900
    answers, truths = made(n, horizon, spread)
    rows = np.arange(n)
    recent = recent_origins(rows, np.zeros(n), horizon)
    found = adapt(LEVELS, answers[:, None], truths[:, None], rows, recent, rows[:, None] - recent)[500:, 0]
    before = share_inside(answers[500:, :, 0], answers[500:, :, 4], truths[500:])
    after = share_inside(found[..., 0], found[..., 4], truths[500:])
    assert abs(after - 0.9) < 0.045 < abs(before - 0.9)
    assert np.allclose(found[..., 2], answers[500:, :, 2])


def test_intervals_are_widened_by_what_validation_windows_cannot_tell() -> None:
    answers, truths = made(50, 2, 1.0)
    counts = np.full(2, 10.0)
    plain, wider = (
        ConformalQuantiles.fit(LEVELS, answers, truths, np.ones(50), independent=counts, widening=widening)
        for widening in (1.0, 1.4)
    )
    np.testing.assert_allclose(wider.factors, plain.factors * 1.4)


def test_steps_far_ahead_adapt_by_themselves():
    horizon, n = 16, 900
    answers, _ = made(n, horizon, 1.0)
    growth = np.linspace(0.5, 3.0, horizon)
    truths = answers[..., 2] + growth * np.random.default_rng(1).standard_normal((n, horizon))
    rows = np.arange(n)
    recent = recent_origins(rows, np.zeros(n), horizon)
    found = adapt(LEVELS, answers[:, None], truths[:, None], rows, recent, rows[:, None] - recent)[500:, 0]
    for quarter in np.array_split(np.arange(horizon), 4):
        inside = share_inside(found[:, quarter, 0], found[:, quarter, 4], truths[500:, quarter])
        assert inside == pytest.approx(0.9, abs=0.06)
    assert [list(group) for group in step_groups(3)] == [[0], [1], [2]] and step_groups(1) == [range(1)]


def test_no_truth_after_an_origin_is_used():
    horizon, n = 3, 600
    answers, truths = made(n, horizon, 2.0)
    rows = np.arange(501)
    recent = recent_origins(rows, np.zeros(501), horizon)
    assert (recent < rows[:, None]).all()
    changed = truths.copy()
    for step in range(horizon):
        changed[500 - step :, step] = 99.0  # truths of rows from 500 on
    one, other = (
        adapt(LEVELS, answers[:, None], t[:, None], rows, recent, rows[:, None] - recent)
        for t in (truths, changed)
    )
    assert np.array_equal(one, other)


def test_without_recent_forecasts_only_the_margin_is_added():
    answers, truths = made(10, 3, 2.0)
    rows = np.arange(10)
    recent = recent_origins(rows, np.full(10, 10), 3)
    assert (recent == -1).all()
    found = adapt(LEVELS, answers[:, None], truths[:, None], rows, recent, rows[:, None] - recent)[:, 0]
    assert np.allclose(found - answers[..., 2:3], 1.05 * (answers - answers[..., 2:3]))


def test_errors_on_rows_of_the_training_are_raised_to_those_on_others():
    answers, truths = made(200, 3, 1.0)
    rows, median = np.arange(200), answers[..., 2]
    recent = recent_origins(rows, np.zeros(200), 3)
    parts = rows, recent, rows[:, None] - recent
    small = median + (truths - median) / [2.0, 3.0, 4.0]
    optimism = np.tile([2.0, 3.0, 4.0], (200, 1))
    found = adapt(LEVELS, answers[:, None], small[:, None], *parts, optimism)
    np.testing.assert_allclose(found, adapt(LEVELS, answers[:, None], truths[:, None], *parts))


def test_symmetric_quantiles_make_intervals():
    assert level_pairs(LEVELS) == [(0, 4), (1, 3)]
    assert level_pairs((0.1, 0.5, 0.8)) == []


def test_errors_of_forecasts_that_were_right_all_the_time_overflow_nowhere():
    answers = np.zeros((200, 4, 5)) + 1e-310 * np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    truths = np.zeros((200, 4))
    truths[150] = 5.0
    with np.errstate(all="raise", under="ignore"):
        calibrated = fitted(answers, truths, 50.0).apply(answers, np.ones(200))
        own, recent = np.arange(100, 200), np.arange(100)[:, None] + np.arange(90, 100)
        age = own[:, None] - recent
        found = adapt(LEVELS, answers[:, None], truths[:, None], own, recent, age)
    assert np.isfinite(calibrated).all() and np.isfinite(found).all()
