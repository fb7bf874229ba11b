"""Readings unlike training are told by value, jump, level, spread and pause, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest

from longspan.tasks.anomaly.novelty import Limits, Novelty

WAVE = np.sin(np.arange(1000) / 9)


def novel(training: np.ndarray, values: np.ndarray) -> np.ndarray:
    limits = Limits.fit([training])
    assert limits is not None
    one = Novelty(limits)
    return np.array([one.add(value) for value in values.tolist()]) > 0


def changed(rows: slice, values: np.ndarray | float) -> np.ndarray:
    out = WAVE.copy()
    out[rows] = values
    return out


@pytest.mark.parametrize(
    ("values", "first"),
    [
        (changed(slice(500, 501), 1.3), 500),
        (changed(slice(500, 501), -1.0 * WAVE[500]), 500),
        (changed(slice(500, 600), float(WAVE[499])), 518),
    ],
    ids=["a value outside", "a jump", "a pause"],
)
def test_what_training_never_had_is_new_where_it_begins(values: np.ndarray, first: int) -> None:
    found = novel(WAVE, values)
    assert np.flatnonzero(found)[0] == first and not found[:first].any()
    assert not novel(WAVE, WAVE).any()


def test_a_level_and_a_spread_are_new_once_a_window_has_them() -> None:
    training = np.where(np.arange(1000) % 40 < 20, 0.0, 1.0)
    level = training.copy()
    level[500:] = np.where(np.arange(500) % 10 < 9, 1.0, 0.0)
    found = novel(training, level)
    assert found[620:].any() and not found[:540].any()
    calm = np.where(np.arange(2000) % 400 == 0, 1.0, 0.05 * WAVE[np.arange(2000) % 1000])
    burst = calm.copy()
    burst[1000:1200:10] = 1.0
    assert novel(calm, burst)[1010:1200].any() and not novel(calm, burst)[:1000].any()


def test_limits_of_several_series_and_of_hardly_any() -> None:
    limits = Limits.fit([np.array([0.0, np.nan, 0.1]), np.array([5.0, 5.1])])
    assert limits is not None and limits.change == pytest.approx(1.5 * 0.1, rel=0.1)
    assert limits.high == pytest.approx(5.1 + 0.51) and limits.spread == limits.high_mean == np.inf
    assert Limits.fit([np.full(3, np.nan)]) is None
    constant = Limits.fit([np.zeros(50)])
    assert constant is not None and constant.run == np.inf
    assert (
        novel(np.zeros(50), np.array([0.0] * 60 + [0.1]))[-1] and not novel(np.zeros(50), np.zeros(90)).any()
    )


def test_a_saved_state_continues() -> None:
    limits = Limits.fit([WAVE])
    assert limits is not None
    one, values = Novelty(limits), changed(slice(450, 700), 0.5)
    found = []
    for place, value in enumerate(values.tolist()):
        if place == 460:
            one = Novelty.from_state(one.state())
        found.append(one.add(value) > 0)
    assert np.array_equal(found, novel(WAVE, values)) and any(found)
    one.restart()
    assert one.add(0.5) == 0 and one.add(None) == 0
