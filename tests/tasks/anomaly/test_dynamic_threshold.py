"""The dynamic threshold finds bursts and unusually small errors, in batches as in a whole series."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from longspan.tasks.anomaly import dynamic_threshold
from longspan.tasks.anomaly.dynamic_threshold import BATCH, HISTORY, DynamicThreshold, dilate, smoothed
from longspan.tasks.anomaly.novelty import Limits


def noise(rows: int, seed: int = 0) -> np.ndarray:
    return 0.1 * np.abs(np.random.default_rng(seed).normal(size=rows))


def run(errors: np.ndarray, least: float = 0.0, reload_at: int | None = None) -> np.ndarray:
    one, found = DynamicThreshold(least), []
    values = np.sin(np.arange(len(errors)) / 9)
    for place, (value, error) in enumerate(zip(values.tolist(), errors.tolist(), strict=True)):
        if place == reload_at:
            one = DynamicThreshold.from_state(one.state())
        found.append(one.add(value, error))
    return np.concatenate([*(part for part in found if part is not None), one.finish()])


def test_a_burst_is_found_with_its_surroundings_and_nothing_else() -> None:
    errors = noise(5000)
    errors[4000:4060] = 1.5
    found = run(errors) > 0
    assert len(found) == 5000 and found[4000:4060].all()
    assert not found[: 4000 - 2 * BATCH].any() and not found[4060 + 4 * dynamic_threshold.BUFFER :].any()


def test_large_errors_of_the_first_readings_hide_no_later_burst() -> None:
    errors = noise(5000)
    errors[:3], errors[1500:1560] = 3.0, 0.6
    found = run(errors) > 0
    assert found[1500:1560].all() and not found[:1300].any()


def test_errors_that_are_unusually_small_are_found_too() -> None:
    errors = noise(5000) + 1.0
    errors[4000:4200] = 0.0
    assert (run(errors)[4000:4300] > 0).any() and not (run(errors)[:3800] > 0).any()


@pytest.mark.parametrize(
    "errors",
    [noise(5000), np.zeros(5000), np.ones(5000), np.where(np.arange(5000) == 4000, 1.0, 0.001)],
    ids=["noise", "none", "the same", "below least"],
)
def test_errors_without_a_burst_raise_no_alarm(errors: np.ndarray) -> None:
    assert not run(errors, least=0.05).any()


def test_a_series_shorter_than_a_batch_is_thresholded_at_its_end() -> None:
    errors = noise(800)
    errors[500:540] = 2.0
    one = DynamicThreshold(0.0)
    assert all(one.add(0.0, error) is None for error in errors.tolist())
    found = one.finish()
    assert len(found) == 800 and found[520] > 0 and len(one.finish()) == 0


@pytest.mark.parametrize("rows", [400, 900])
def test_the_first_errors_of_a_short_series_are_no_burst(rows: int) -> None:
    for seed in range(12):
        assert not run(noise(rows, seed), least=0.1).any()
    errors = noise(rows)
    errors[20:40] += 0.6
    assert run(errors, least=0.1)[20:60].any()


def test_full_batches_are_thresholded_and_a_saved_state_continues() -> None:
    errors = noise(4000)
    errors[3000:3050] = 1.0
    one, sizes = DynamicThreshold(0.0), {}
    for place, error in enumerate(errors.tolist()):
        found = one.add(0.0, error)
        if found is not None:
            sizes[place] = len(found)
    assert list(sizes)[:3] == [HISTORY - 1, HISTORY - 1 + BATCH, HISTORY - 1 + 2 * BATCH]
    assert sizes[HISTORY - 1] == HISTORY and set(list(sizes.values())[1:]) == {BATCH}
    assert np.array_equal(run(errors), run(errors, reload_at=3010)) and (run(errors)[3000:3050] > 0).any()


def test_a_missing_error_changes_nothing() -> None:
    one, other = DynamicThreshold(0.0), DynamicThreshold(0.0)
    for error in noise(200).tolist():
        one.add(1.0, error)
        other.add(1.0, error)
    other.add(None, None)
    assert other.levels[-1] == one.levels[-1] and other.values[-1] == 1.0


@pytest.mark.parametrize(("usual", "kept"), [(0.95, []), (0.8, [2100]), (0.4, [2100])])
def test_a_burst_little_above_the_next_is_pruned(usual: float, kept: list[int]) -> None:
    levels = np.full(3000, 0.1)
    levels[2100], levels[500] = 1.0, usual
    found = np.arange(3000) == 2100
    pruned = dynamic_threshold._pruned(levels, found, np.zeros(3000, dtype=bool))
    assert [start for start, _ in pruned] == kept


def test_smoothing_equals_that_of_pandas() -> None:
    errors = np.array([1.0, -2.0, 0.5, 4.0])
    weights = ((dynamic_threshold.SMOOTHING_SPAN - 1) / (dynamic_threshold.SMOOTHING_SPAN + 1)) ** np.arange(
        4
    )[::-1]
    assert smoothed(errors)[-1] == pytest.approx((np.abs(errors) * weights).sum() / weights.sum())
    assert dilate(np.zeros(3, dtype=bool), 2).sum() == 0


# ---- values unlike training

Judge = Callable[[np.ndarray, slice, float], np.ndarray]
LIMITS = Limits.fit([np.sin(np.arange(1000) / 9)])


def values(rows: int, new: slice) -> np.ndarray:
    """A sine, but 1.5 in the rows `new`."""
    values = np.sin(np.arange(rows) / 9)
    values[new] = 1.5
    return values


def run_whole(errors: np.ndarray, new: slice, floor: float) -> np.ndarray:
    one = DynamicThreshold(floor, LIMITS)
    return one.run(values(len(errors), new).tolist(), errors.tolist())


def run_with_limits(errors: np.ndarray, new: slice, floor: float, reload_at: int | None = None) -> np.ndarray:
    one, found = DynamicThreshold(floor, LIMITS), []
    rows = zip(values(len(errors), new).tolist(), errors.tolist(), strict=True)
    for place, (value, error) in enumerate(rows):
        if place == reload_at:
            one = DynamicThreshold.from_state(one.state())
        found.append(one.add(value, error))
    return np.concatenate([*(part for part in found if part is not None), one.finish()])


JUDGES = pytest.mark.parametrize("judge", [run_with_limits, run_whole], ids=["a stream", "a whole series"])


@JUDGES
def test_errors_little_above_the_floor_need_values_unlike_training(judge: Judge) -> None:
    errors = noise(5000)
    errors[4000:4060] = 0.6
    floor = float(smoothed(errors).max()) / 1.2
    assert (run(errors, floor)[4000:4060] > 0).any(), "by errors alone"
    assert not judge(errors, slice(0), floor).any()
    assert (judge(errors, slice(4010, 4015), floor)[4010:4060] > 0).any()
    assert (judge(errors, slice(0), floor / 2)[4010:4060] > 0).any(), "well above the floor"


@JUDGES
def test_a_small_burst_is_found_at_values_unlike_training_alone(judge: Judge) -> None:
    errors = noise(5000)
    errors[4000:4030] = 0.4
    assert not (run(errors, 0.3) > 0).any(), "below the noise floor"
    found = judge(errors, slice(4005, 4010), 0.3) > 0
    assert found[4010:4030].all() and not found[4300:].any() and not found[:3800].any()
    assert not (judge(noise(5000), slice(4005, 4010), 0.3) > 0).any(), "usual errors"


@JUDGES
def test_values_that_stay_unlike_training_become_usual(judge: Judge) -> None:
    errors = noise(6000)
    errors[5500:5530] = 0.4
    assert not (judge(errors, slice(2500, 6000), 0.3) > 0)[3000:].any()


def test_a_whole_series_is_judged_with_later_errors_in_view() -> None:
    errors, new = noise(5000), slice(4000, 4005)
    errors[4060:4090] = 0.4
    assert (run_whole(errors, new, 0.3)[3990:4010] > 0).all()
    assert len(run_whole(errors[:1], new, 0.3)) == 1 and len(run_whole(errors[:0], new, 0.3)) == 0
    by_errors = DynamicThreshold(0.0).run(values(5000, slice(0)).tolist(), errors.tolist())
    assert np.array_equal(by_errors, run(errors))


def test_a_saved_state_with_limits_continues() -> None:
    errors = noise(5000)
    errors[4000:4030] = 0.4
    whole = run_with_limits(errors, slice(4005, 4010), 0.3)
    assert np.array_equal(whole, run_with_limits(errors, slice(4005, 4010), 0.3, reload_at=4007))
    assert (whole > 0).any()
