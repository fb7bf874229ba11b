"""Checks in which forms times are read, and which are refused."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from longspan import errors
from longspan.data.layouts import DAY, Layout
from longspan.data.timestamps import TimeForm, from_wall, parse_times, to_wall


def micro(times: list[datetime]) -> np.ndarray:
    return np.array(times, "datetime64[us]").astype(np.int64)


TEXTS = {
    "2024-01-31 18:00": datetime(2024, 1, 31, 18),
    "2024-01-31T18:00:30": datetime(2024, 1, 31, 18, 0, 30),
    "2024-01-31": datetime(2024, 1, 31),
    "31.01.2024 18:00": datetime(2024, 1, 31, 18),
    "01/31/2024": datetime(2024, 1, 31),
    "2024-01": datetime(2024, 1, 1),
    "2024": datetime(2024, 1, 1),
    "Jan 31 2024": datetime(2024, 1, 31),
    "2024/Q2": datetime(2024, 4, 1),
    "2Q24": datetime(2024, 4, 1),
    "Q3'99": datetime(1999, 7, 1),
    "2024-H2": datetime(2024, 7, 1),
    "H1 2024": datetime(2024, 1, 1),
    "FY2024": datetime(2024, 1, 1),
    "31. Januar 2024": datetime(2024, 1, 31),
    "5. März 2024": datetime(2024, 3, 5),
    "31 janvier 2024": datetime(2024, 1, 31),
    "1 févr. 2024": datetime(2024, 2, 1),
    "31-ene-2024": datetime(2024, 1, 31),
    "31 de diciembre de 2024": datetime(2024, 12, 31),
    "5 maggio 2024": datetime(2024, 5, 5),
    "31-dez-2024": datetime(2024, 12, 31),
}


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_read_in_its_form(text: str):
    read = parse_times(pl.DataFrame({"t": [text] * 3}), ("t",))
    assert read is not None
    assert read.form.dated and read.values.tolist() == micro([TEXTS[text]] * 3).tolist()


def test_columns_of_parts_and_zones():
    frame = pl.DataFrame({"y": [2024, 2024], "m": [2, 3], "d": [29, 1], "h": [23, 0]})
    read = parse_times(frame, ("y", "m", "d", "h"))
    assert read is not None
    assert read.values.tolist() == micro([datetime(2024, 2, 29, 23), datetime(2024, 3, 1)]).tolist()
    zoned = pl.DataFrame({"t": [datetime(2024, 7, 1, 12)]}).select(
        pl.col("t").dt.replace_time_zone("Europe/Berlin")
    )
    read = parse_times(zoned, ("t",))
    assert read is not None and read.values.tolist() == micro([datetime(2024, 7, 1, 10)]).tolist()
    dates = parse_times(pl.DataFrame({"t": [date(2024, 7, 1)]}), ("t",))
    assert dates is not None and dates.values.tolist() == micro([datetime(2024, 7, 1)]).tolist()
    assert parse_times(pl.DataFrame({"t": ["one", "two"]}), ("t",)) is None
    elapsed = parse_times(pl.DataFrame({"t": [0.5, 1.5]}), ("t",))
    assert (
        elapsed is not None
        and elapsed.form.kind == "elapsed"
        and elapsed.values.tolist() == [500000, 1500000]
    )


def test_a_row_without_a_time_is_refused():
    with pytest.raises(ValueError, match="time t: expected a time in every row, received none in row 2"):
        parse_times(pl.DataFrame({"t": ["2024-01-01", None]}), ("t",))


def test_clocks_that_skip_or_repeat_an_hour():
    zone = "America/Sao_Paulo"  # in 2018 the clocks went forward at midnight
    days = np.array([f"2018-11-{day:02d}" for day in range(2, 7)], "datetime64[us]").astype(np.int64)
    there = from_wall(days, zone)
    assert (np.diff(there) // 3_600_000_000).tolist() == [24, 24, 23, 24] or there[2] == there[
        1
    ] + 24 * 3_600_000_000
    assert to_wall(there, zone)[[0, 1, 3]].tolist() == days[[0, 1, 3]].tolist()
    assert to_wall(there, zone)[2] == days[2] + 3_600_000_000, "midnight did not exist"


def test_whole_numbers_that_stand_for_days_of_the_year():
    read = parse_times(pl.DataFrame({"date": [2024001, 2024366]}), ("date",))
    assert (
        read is not None
        and read.values.tolist() == micro([datetime(2024, 1, 1), datetime(2024, 12, 31)]).tolist()
    )
    with pytest.warns(
        errors.LongspanWarning, match="date holds whole numbers such as 45292, which are read as num"
    ):
        parse_times(pl.DataFrame({"date": [45292, 45293]}), ("date",))


def test_two_digit_years_are_of_one_century_in_every_form_and_doubtful_ones_are_told():
    for cells, words in (
        (["Q1 69", "Q2 69"], "'Q2 69' is read as in 2069"),
        (["01/02/69", "13/02/69"], "'13/02/69' is read as in 2069"),
    ):
        with pytest.warns(errors.LongspanWarning, match=words):
            read = parse_times(pl.DataFrame({"t": cells}), ("t",))
        assert read is not None and str(read.values.astype("datetime64[us]")[0]).startswith("2069")
    read = parse_times(pl.DataFrame({"t": ["2069Q1", "2069Q2"]}), ("t",))  # four digits: no notice
    assert read is not None
    read = parse_times(pl.DataFrame({"t": ["Q1 70", "Q2 70"]}), ("t",))
    assert read is not None and str(read.values.astype("datetime64[us]")[0]).startswith("1970")


@pytest.mark.parametrize(
    ("part", "cells", "second"),
    [
        ("quarter", ["Q1", "Q2"], "2021-04-01"),
        ("quarter", [1, 2], "2021-04-01"),
        ("week", [1, 9], "2021-03-01"),
        ("doy", [1, 60], "2021-03-01"),
        ("month", ["Jan", "Feb"], "2021-02-01"),
        ("month", [1, 2], "2021-02-01"),
    ],
)
def test_a_year_and_a_part_of_it_are_one_time(part: str, cells: list[Any], second: str):
    read = parse_times(pl.DataFrame({"year": [2021, 2021], part: cells}), ("year", part))
    assert read is not None and str(read.values.astype("datetime64[us]")[1])[:10] == second


def zoned_texts(zone: str, form: str = "%Y-%m-%d %H:%M:%S %Z") -> tuple[list[str], list[int]]:
    """The local times of a year in a zone as text, and the same in microseconds."""
    times = pd.date_range("2021-01-01 10:00", periods=365, tz=zone)
    return [time.strftime(form) for time in times], times.tz_convert(None).as_unit("us").asi8.tolist()


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "Europe/London", "America/New_York", "America/Chicago", "Australia/Sydney"]
)
def test_abbreviations_of_zones_that_change_with_the_clocks(zone: str):
    texts, times = zoned_texts(zone)
    with pytest.warns(errors.LongspanWarning, match=f"change as the clocks of {zone}"):
        read = parse_times(pl.DataFrame({"t": texts}), ("t",))
    assert read is not None and read.values.tolist() == times and read.form.zone == zone


@pytest.mark.parametrize(
    ("word", "zone"),
    [("CET", "Etc/GMT-1"), ("EST", "Etc/GMT+5"), ("PST", "Etc/GMT+8"), ("CEST", "Etc/GMT-2")],
)
@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M {}", "%m/%d/%Y %I:%M %p {}", "%a %b %d %H:%M:%S {} %Y"])
def test_an_abbreviation_that_never_changes_is_one_offset(word: str, zone: str, form: str):
    texts, times = zoned_texts(zone, form.format(word))
    with pytest.warns(errors.LongspanWarning, match=f"{word} is read as UTC.* in summer and winter"):
        read = parse_times(pl.DataFrame({"t": texts}), ("t",))
    assert read is not None and read.values.tolist() == times and read.form.zone == zone
    assert parse_times(pl.DataFrame({"t": texts[:90]}), ("t",)) is not None, "a note would be a warning"


@pytest.mark.parametrize("word", ["IST", "CST", "BST"])
def test_an_abbreviation_of_several_zones_is_refused(word: str):
    texts, _ = zoned_texts("UTC", f"%Y-%m-%d %H:%M {word}")
    with pytest.raises(ValueError, match=f"received '{word}', which several have; write the offset"):
        parse_times(pl.DataFrame({"t": texts}), ("t",))


@pytest.mark.parametrize("name", ["date", "ds", "month"])
def test_years_with_a_fraction_are_no_seconds(name: str):
    months = [2010 + place // 12 + (place % 12 + 1) / 100 for place in range(36)]
    with pytest.raises(ValueError, match=f"time {name}: expected dates such as 2024-01-31, received 2010.01"):
        parse_times(pl.DataFrame({name: months}), (name,))
    with pytest.raises(ValueError, match="or call the column time if they are seconds"):
        parse_times(pl.DataFrame({"date": [44197.5, 44198.5]}), ("date",))
    assert parse_times(pl.DataFrame({"time": [2010.5, 2011.5]}), ("time",)) is not None


def test_a_week_that_its_year_does_not_have_is_no_time():
    read = parse_times(pl.DataFrame({"t": ["2020-W52", "2020-W53", "2021-W01"]}), ("t",))
    assert read is not None and set(np.diff(read.values)) == {7 * DAY}
    with pytest.raises(ValueError, match="received '2021-W53' in row 3"):
        parse_times(pl.DataFrame({"t": ["2021-W51", "2021-W52", "2021-W53"]}), ("t",))


@pytest.mark.parametrize("offset", ["UTC+01:00", "GMT+1", "+1:00", "UTC+0100", " UTC +01"])
def test_offsets_behind_utc(offset: str):
    read = parse_times(pl.DataFrame({"t": [f"2024-01-31 18:00{offset}"] * 2}), ("t",))
    assert read is not None and read.form.zone == "Etc/GMT-1"
    assert read.values.tolist() == micro([datetime(2024, 1, 31, 17)] * 2).tolist()


def test_a_form_with_layouts_that_are_no_text_is_refused():
    form = TimeForm("text", (Layout("%Y-%m-%d", "dmy", True),))
    assert TimeForm.from_state(form.state()) == form
    with pytest.raises(ValueError, match="a layout of its times is no text"):
        TimeForm.from_state(["text", [[["%Y-%m-%d"], "dmy", True]], None, ""])
