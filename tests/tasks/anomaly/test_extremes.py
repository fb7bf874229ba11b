"""Running maxima over a window are exact, and scores are relative to them."""

from __future__ import annotations

import numpy as np

from longspan.tasks.anomaly.extremes import START, ExtremeTracker, SlidingMax


def test_the_running_maximum_of_a_window() -> None:
    values = np.random.default_rng(0).normal(size=300)
    peak, window = SlidingMax(7), 7
    for now, value in enumerate(values, start=1):
        if now > 1:
            assert peak.items[0][1] == values[max(0, now - 1 - window) : now - 1].max()
        peak.add(now, float(value))


def test_scores_begin_after_the_start_and_only_outside_the_range() -> None:
    watch = ExtremeTracker(1000, 1.0)
    scores = [watch.add(float(place % 10), 0.1) for place in range(START)]
    assert not any(scores)
    assert watch.add(9.0, 0.1) <= 1.0
    assert watch.add(18.0, 0.1) == 2.0  # a whole range beyond
    assert ExtremeTracker.from_state(watch.state()).add(4.0, 5.0) == watch.add(4.0, 5.0) > 2.0


def test_the_first_error_of_a_new_series_is_not_compared_with_means_of_many() -> None:
    watch, errors = ExtremeTracker(1000, 1.0), np.random.default_rng(0).normal(size=2 * START)
    for error in errors.tolist():
        watch.add(None, error)
    usual = float(np.abs(errors).max())
    watch.restart()
    assert watch.add(None, usual, learn=False) < 1.0 < watch.add(None, usual, learn=False)
    watch.restart()
    assert watch.add(None, 20 * usual) > 2.0, "what is far beyond all that is seen at once"
