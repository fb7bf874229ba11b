"""Tail probabilities: counted below the tail, exponential in it, rising with the score."""

from __future__ import annotations

import numpy as np

from longspan.tasks.anomaly.injection import point_f1_threshold
from longspan.tasks.anomaly.tail import TailCalibration


def test_surprises_are_shares_of_normal_scores() -> None:
    scores = np.random.default_rng(0).exponential(size=20_000)
    calibration = TailCalibration.fit(scores)
    for share in (0.5, 0.2, 0.01, 0.001):
        threshold = np.quantile(scores, 1 - share)
        surprise = calibration.surprise(np.array([threshold]))[0]
        assert abs(surprise + np.log10(share)) < 0.15
    again = TailCalibration.from_state(calibration.state())
    grid = np.linspace(-1, 30, 100)
    assert np.array_equal(again.surprise(grid), calibration.surprise(grid))
    assert (np.diff(calibration.surprise(grid)) >= 0).all()


def test_constant_scores_have_no_surprise_and_what_is_above_them_has() -> None:
    calibration = TailCalibration.fit(np.zeros(50))
    assert (
        calibration.surprise(np.array([0.0]))[0] <= 1.0 and calibration.surprise(np.array([1.0]))[0] == 30.0
    )


def test_the_threshold_with_the_best_f1() -> None:
    scores = np.array([0.1, 0.9, 0.2, 0.8, 0.3])
    assert 0.3 < point_f1_threshold(scores, scores > 0.5, 0.0) < 0.8
    assert point_f1_threshold(scores, scores > 0.5, 2.0) == 2.0
