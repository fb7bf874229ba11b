"""Checks that series of one table keep the days and hours on which each of them falls."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from longspan.data.series_frequencies import SeriesFrequencies, find_frequencies, fitting_frequency
from longspan.data.time_table import canonical_ids

START = datetime(2024, 1, 1)  # a Monday


def every(step: timedelta, rows: int, start: datetime = START) -> list[datetime]:
    return [start + place * step for place in range(rows)]


DAYS = every(timedelta(days=1), 70)
WEEKDAYS = [day for day in DAYS if day.weekday() < 5]
NO_SUNDAYS = [day for day in DAYS if day.weekday() < 6]
WEEK, TWO_HOURS = timedelta(days=7), timedelta(hours=2)


def found(*series: list[datetime]) -> SeriesFrequencies:
    times = np.array([time for one in series for time in one], "datetime64[us]").astype(np.int64)
    return find_frequencies(times, np.cumsum([0, *map(len, series)]), True)


def after(frequencies: SeriesFrequencies, series: int, last: datetime, rows: int = 7) -> list[datetime]:
    """The times that follow the last one of a series."""
    times = np.array([last], "datetime64[us]").astype(np.int64)
    steps = frequencies.steps(times, np.array([series])) + np.arange(1, rows + 1)
    return frequencies.times(steps, np.full(rows, series)).astype("datetime64[us]").tolist()


@pytest.mark.parametrize(
    ("one", "other", "step"),
    [
        (every(WEEK, 20), every(WEEK, 30, datetime(2024, 1, 3)), "1 week"),
        (every(TWO_HOURS, 20), every(TWO_HOURS, 30, datetime(2024, 1, 1, 1)), "2 h"),
        (every(timedelta(days=1), 20), every(timedelta(days=1), 30, datetime(2024, 1, 1, 6)), "1 day"),
    ],
)
def test_series_keep_their_own_day_or_hour(one: list[datetime], other: list[datetime], step: str):
    frequencies = found(one, other[:9] + other[10:])
    for series, times in enumerate((one, other)):
        assert str(frequencies.of(series)) == step
        assert after(frequencies, series, times[0], len(times) - 1) == times[1:]


def test_shops_that_close_on_other_days():
    frequencies = found(DAYS, WEEKDAYS, NO_SUNDAYS, DAYS[:2])
    assert [str(frequencies.of(series)) for series in range(4)] == [
        "1 day", "1 business day", "1 day (Mon, Tue, Wed, Thu, Fri, Sat)", "1 day",
    ]  # fmt: skip
    friday = datetime(2024, 3, 8)
    assert [day.weekday() for day in after(frequencies, 1, friday, 3)] == [0, 1, 2]
    assert [day.weekday() for day in after(frequencies, 2, friday, 3)] == [5, 0, 1]
    assert [day.weekday() for day in after(frequencies, 0, friday, 3)] == [5, 6, 0]


def test_rows_that_are_missing_are_no_other_frequency():
    random = np.random.default_rng(0)
    series = [[day for day in DAYS if random.random() < 0.6] for _ in range(40)]
    frequencies = found(*series)
    assert str(frequencies.common) == "1 day" and not frequencies.own
    hours = every(timedelta(hours=1), 50)
    assert not found(hours, hours[::24]).own, "a series with few rows is on the grid of the others"


def test_new_series_take_a_frequency_that_fits_or_a_day_of_their_own():
    frequencies = found(every(WEEK, 20), every(WEEK, 20, datetime(2024, 1, 3)))
    for day in (3, 5):
        times = np.array(every(WEEK, 4, datetime(2024, 1, day)), "datetime64[us]").astype(np.int64)
        frequency = fitting_frequency(times, frequencies)
        assert frequency is not None and frequency.times(frequency.steps(times)).tolist() == times.tolist()
    uneven = np.array([datetime(2024, 1, 5), datetime(2024, 1, 13)], "datetime64[us]").astype(np.int64)
    assert fitting_frequency(uneven, frequencies) is None


def test_no_step_at_all_is_one_sentence():
    uneven = [START + timedelta(seconds=37 * i * i + i**3) for i in range(50)]
    with pytest.raises(
        ValueError, match=r"^time: expected times on a regular step, received .* the most usual"
    ):
        found(uneven, uneven)


def test_ids_that_are_no_whole_numbers_of_the_machine_stay_as_they_are():
    for odd in (float("inf"), 1e39, -1e300):
        names = canonical_ids(pl.Series([7.0, odd]))
        assert names.dtype == pl.String and names.n_unique() == 2
