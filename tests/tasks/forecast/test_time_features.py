"""Time features are used where the data are long enough, and depend on the time alone."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from longspan.data.frequency import Frequency
from longspan.tasks.forecast.time_features import Calendar, calendar_codes, calendar_names, calendar_waves

HOURLY = Frequency("step", 3600 * 10**6)
NAMES = ("hour", "weekday", "day", "month")


def step(time: datetime) -> int:
    return int(HOURLY.steps(np.array([time], "datetime64[us]").astype(np.int64))[0])


def test_a_feature_needs_enough_data() -> None:
    assert calendar_names(HOURLY, 24 * 7) == ("hour",)
    assert calendar_names(HOURLY, 24 * 366 * 2) == NAMES
    assert calendar_names(Frequency("month", 1), 30) == ("month",)
    assert calendar_names(Frequency("number", 1), 10_000) == ()


def test_features_are_codes_and_sine_waves() -> None:
    first = step(datetime(2024, 2, 29, 23))
    codes = calendar_codes(HOURLY, first, first + 2, NAMES)
    assert codes.tolist() == [[23, 3, 28, 1], [0, 4, 0, 2]]  # a Thursday, then a Friday
    waves = calendar_waves(("hour",))
    assert np.allclose(waves[0, 6], [0, 1], atol=1e-6)
    assert np.allclose(np.linalg.norm(waves[0, :24], axis=1), 1)


def test_a_cached_table_that_grew_equals_a_new_one() -> None:
    first = step(datetime(2024, 2, 29))
    grown = Calendar(NAMES)
    for shift in (0, 5, -700, 3000):
        steps = first + shift + np.array([[0, 1, 2], [24, 25, 26]])
        found = grown.at(HOURLY, steps, first - 3, first + 40)
        assert found.shape == (2, 3, 8) and found.dtype == np.float32
        assert np.array_equal(found, Calendar(NAMES).at(HOURLY, steps, int(steps.min()), int(steps.max())))
        assert np.array_equal(found[0, :, :2], found[1, :, :2]), "a day later, the same hours"
