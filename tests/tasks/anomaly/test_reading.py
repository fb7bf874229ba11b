"""Readings come in as numbers, sequences and dicts, in the order of time; ends of series are held out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from longspan.data.timestamps import TimeForm, next_timestamp
from longspan.tasks.anomaly.reading import Series, held_out, read_reading

COLUMNS = (["load", "heat"], ["mode"])


def series(rows: int, name: Any = None, times: Any = None) -> Series:
    words = np.array([["on"]] * rows, dtype=object)
    return Series(name, times, ("load",), np.arange(rows, dtype=float)[:, None], ("mode",), words, None)


def test_a_reading_in_each_of_its_forms() -> None:
    named = read_reading(
        {"who": 3, "when": 9, "heat": None, "mode": 7, "load": 1}, None, COLUMNS, ("when", "who")
    )
    assert named.numbers[0] == 1.0 and np.isnan(named.numbers[1]) and named[1:] == (["7"], 3, 9)
    assert read_reading([1, 2.0, None], 4, COLUMNS, (None, None)) == ([1.0, 2.0], [""], None, 4)
    for given in (5, np.float32(5), [5]):
        assert read_reading(given, None, (["load"], []), (None, None)).numbers == [5.0]
    assert read_reading({"Time": 6, "load": 5}, None, (["load"], []), (None, None)).time == 6


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([1.0], "reading: expected 3 values, received 1"),
        (
            {"load": 1.0, "mode": "on"},
            "reading: expected every column that fit had, received none called heat",
        ),
        (["on", 1.0, "on"], "reading: expected numbers, received could not convert"),
        ([np.inf, 1.0, "on"], "reading: expected finite numbers, received inf"),
        ({"load": 1, "heat": 2, "mode": "on"}, "the entity it belongs to, received none called who"),
    ],
)
def test_what_is_no_reading_is_one_sentence(given: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        read_reading(given, None, COLUMNS, (None, "who"))
    assert str(error.value).endswith(".") and str(error.value).count(". ") == 0


def test_times_rise() -> None:
    assert next_timestamp(None, "2024-05-01") == "2024-05-01 00:00:00"
    assert next_timestamp(3, 3) == 3 and next_timestamp(3, 3.5) == 3.5
    with pytest.raises(ValueError, match=r"not before the last reading's \(3\), received 2"):
        next_timestamp(3, 2)
    with pytest.raises(ValueError, match="one like the last reading's"):
        next_timestamp(3, "2024-05-01")


def test_the_last_share_of_every_series_is_held_out() -> None:
    first, last = held_out([series(10), series(4)], 0.25)
    assert [len(one) for one in first] == [8, 3]
    assert last is not None and [one.numbers[:, 0].tolist() for one in last] == [[8.0, 9.0]], (
        "one is no series"
    )
    assert held_out([series(10)], 0.0)[1] is None
    with pytest.raises(ValueError, match="at least 5 readings, received 4 in the longest"):
        held_out([series(4)], 0.25)


def test_a_series_as_a_table_and_what_is_known_of_it() -> None:
    plain, named = series(3), series(2, "a", ["2024-01-01", "no time"])
    assert plain.table("t", "who").columns == ["load", "mode"] and plain.last is None
    assert named.table("t", "who").rows() == [("2024-01-01", "a", 0.0, "on"), ("no time", "a", 1.0, "on")]
    assert named.last is None and not named.known.any()
    dated = replace(named, form=TimeForm("dates"), moments=np.array([0, 60_000_000]))
    assert dated.last == "1970-01-01 00:01:00" and dated.cut(0, 1).last == "1970-01-01 00:00:00"
    zoned = replace(dated, form=TimeForm("dates", zone="Europe/Berlin"))
    assert zoned.last == "1970-01-01 00:01:00+00:00" and replace(dated, name=1.0).key == "1"
