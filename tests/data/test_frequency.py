"""Checks which steps are found in times, and that steps and times undo each other."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from longspan.data.frequency import ROWS, Frequency, find_frequency

START = datetime(2024, 1, 31)


def micro(times: list[datetime]) -> np.ndarray:
    return np.array(times, "datetime64[us]").astype(np.int64)


def every(step: timedelta, rows: int = 20, start: datetime = START) -> list[datetime]:
    return [start + place * step for place in range(rows)]


def found(times: list[datetime]) -> Frequency:
    return find_frequency(micro(times), np.array([0, len(times)]), True)


MONTHS = [datetime(2023 + place // 12, place % 12 + 1, 1) for place in range(30)]
ENDS = [one - timedelta(days=1) for one in MONTHS[1:]]
WEEKDAYS = [one for one in every(timedelta(days=1), 40) if one.weekday() < 5]
CASES = {
    "15 min": every(timedelta(minutes=15)),
    "1 h": every(timedelta(hours=1)),
    "1 day": every(timedelta(days=1)),
    "1 week": every(timedelta(days=7)),
    "1 month": MONTHS,
    "1 quarter": MONTHS[2::3],
    "1 year": MONTHS[::12],
    "1 business day": WEEKDAYS,
}


@pytest.mark.parametrize("name", CASES)
def test_steps_are_found_and_undone(name: str):
    times = CASES[name]
    frequency = found(times)
    assert str(frequency) == name
    steps = frequency.steps(micro(times))
    assert (np.diff(steps) == 1).all() and np.array_equal(frequency.times(steps), micro(times))
    assert Frequency.from_state(frequency.state()) == frequency


def test_months_by_their_last_day():
    frequency = found(ENDS)
    assert str(frequency) == "1 month" and frequency.end
    later = frequency.times(frequency.steps(micro(ENDS[-1:])) + 1)
    assert frequency.shown(later)[0] == np.datetime64("2025-06-30")


BUSINESS = [pd.offsets.BMonthBegin, pd.offsets.BMonthEnd, pd.offsets.BQuarterBegin, pd.offsets.BQuarterEnd]


@pytest.mark.parametrize("offset", BUSINESS)
def test_the_first_or_last_business_day_of_a_month_or_quarter(offset: Callable[[], pd.DateOffset]):
    times = pd.date_range("2020-01-01", periods=24, freq=offset())
    frequency = found(times[:20].to_pydatetime().tolist())
    step = frequency.steps(micro(times[19:20].to_pydatetime().tolist()))
    later = frequency.times(step + np.arange(1, 5)).astype("datetime64[us]")
    assert later.tolist() == times[20:].to_pydatetime().tolist()
    aside = timedelta(days=-1 if frequency.end else 1)
    holiday = [*times[:19].to_pydatetime(), times[19].to_pydatetime() + aside]
    assert found(holiday) == frequency, "one of them is a holiday"


@pytest.mark.parametrize(
    ("days", "name"),
    [((1, 16), "day 1 and 16"), ((15, None), "day 15 and last"), ((1, 11, 21), "day 1, 11 and 21")],
)
def test_the_same_days_of_every_month(days: tuple[int | None, ...], name: str):
    starts = [datetime(2023 + place // 12, place % 12 + 1, 1) for place in range(25)]
    times = [
        later - timedelta(days=1) if day is None else month.replace(day=day)
        for month, later in pairwise(starts)
        for day in days
    ]
    frequency = found(times[:-4])
    assert str(frequency) == f"{name} of a month" and frequency.seasons() == (len(days), 12 * len(days))
    steps = frequency.steps(micro(times))
    assert (np.diff(steps) == 1).all() and np.array_equal(frequency.times(steps), micro(times))
    assert not frequency.fits(micro([datetime(2024, 1, 2)]))[0]
    assert found(times[:7] + times[8:-4]) == frequency, "a row is missing"
    assert Frequency.from_state(frequency.state()) == frequency


@pytest.mark.parametrize("open_days", [(0, 2, 4), (1, 3), (5, 6), (0, 3, 6), (0, 1, 2, 3)])
def test_few_days_of_a_week(open_days: tuple[int, ...]):
    times = [day for day in every(timedelta(days=1), 200) if day.weekday() in open_days]
    frequency = found(times[:-4])
    step = frequency.steps(micro(times[-5:-4]))
    later = frequency.times(step + np.arange(1, 5)).astype("datetime64[us]")
    assert later.tolist() == times[-4:], str(frequency)
    assert found([day for day in times if day != times[9]]) == frequency, "a row is missing"


def test_gaps_are_no_other_step():
    times = every(timedelta(hours=1), 30)
    assert str(found(times[:7] + times[9:20] + times[26:])) == "1 h"


def test_series_that_start_apart_share_a_grid():
    one, other = every(timedelta(hours=2), 10), every(timedelta(hours=2), 10, START + timedelta(hours=1))
    frequency = find_frequency(micro(one + other), np.array([0, 10, 20]), True)
    assert str(frequency) == "1 h"


def test_weekly_series_on_different_days_are_refused():
    mondays, fridays = (every(timedelta(days=7), 10, datetime(2024, 1, day)) for day in (1, 5))
    with pytest.raises(ValueError, match="weekly series on one day of the week"):
        find_frequency(micro(mondays + fridays), np.array([0, 10, 20]), True)


def test_numbers_are_rows():
    assert str(find_frequency(np.arange(0, 50, 5), np.array([0, 10]), False)) == "5 rows"


def test_no_step_at_all_is_one_sentence():
    uneven = [START + timedelta(seconds=37 * i * i + i**3) for i in range(50)]
    with pytest.raises(
        ValueError, match=r"^time: expected times on a regular step, received .* the most usual"
    ):
        found(uneven)


@pytest.mark.parametrize(
    ("name", "seasons"),
    [("1 h", (24, 168, 8766)), ("1 day", (7, 365)), ("1 month", (12,)), ("1 quarter", (4,))],
)
def test_seasons_by_the_calendar(name: str, seasons: tuple[int, ...]):
    assert found(CASES[name]).seasons() == seasons


def test_a_zone_that_is_no_text_is_refused():
    with pytest.raises(ValueError, match="the zone of its times is no text"):
        Frequency.from_state({**ROWS.state(), "zone": 5})
