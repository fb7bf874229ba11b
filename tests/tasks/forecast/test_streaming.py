"""Rows that arrive one at a time get the steps that a whole table gives them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from longspan.tasks.forecast.panel import Columns, Panel
from longspan.tasks.forecast.reading import read_panel
from longspan.tasks.forecast.streaming import align, extended, read_row

COLUMNS = Columns(target=("y",), time=("time",), id="name", past=("mode",), future=("push",))


def table(rows: int, *, without: int | None = None) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "name": ["a"] * rows,
            "time": [datetime(2024, 1, 1) + timedelta(hours=at) for at in range(rows)],
            "y": [None if at == 2 else float(at) for at in range(rows)],
            "mode": ["on" if at % 2 else None for at in range(rows)],
            "push": list(range(rows)),
        }
    )
    return frame if without is None else frame.filter(pl.int_range(pl.len()) != without)


def same(one: Panel, other: Panel) -> bool:
    parts = [(one.values, other.values), (one.first, other.first), (one.past.numbers, other.past.numbers)]
    parts += [(one.future.numbers, other.future.numbers)]
    words = [found.past.labels["mode"].tolist() for found in (one, other)]
    return all(np.array_equal(*part, equal_nan=True) for part in parts) and words[0] == words[1]


@pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
def test_rows_get_the_steps_of_the_table() -> None:
    source = table(9, without=4)
    whole = read_panel(source, COLUMNS)
    assert align(whole, source).tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
    after: int | None = None
    for at, row in zip(align(whole, source), source.to_dicts(), strict=True):
        found, name = read_row(whole, row, after)
        after = found.step + 1
        assert name == "a" and found.step == whole.first[0] + at
        assert (found.values, found.future) == ([row["y"]], [row["push"]])
        assert (found.past, found.past_words) == ([], [row["mode"]])


@pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"time": None}, "when the reading was, a time as in fit, received None"),
        ({"time": "now"}, "when the reading was, a time as in fit, received 'now'"),
        ({"time": 7}, "when the reading was"),
        ({"time": datetime(2024, 1, 3, 10, 30)}, "on fit's grid of 1 h"),
        ({"time": datetime(2024, 1, 1, 8)}, "one after the last reading's"),
        ({"push": ...}, "row: expected the column push that fit had, received name, time, y, mode"),
    ],
)
def test_a_row_that_cannot_be_next_is_refused_in_one_sentence(change: dict[str, Any], said: str) -> None:
    whole = read_panel(table(9), COLUMNS)
    row: dict[str, Any] = {**table(9).row(8, named=True), "time": "2024-01-01T09:00", **change}
    row = {name: value for name, value in row.items() if value is not ...}
    after = None if row.get("time") is None else int(whole.ends[0])
    with pytest.raises(ValueError, match=said) as error:
        read_row(whole, row, after)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


def test_times_in_two_columns_and_none_at_all() -> None:
    days = pl.DataFrame({"year": [2024] * 9, "month": [1] * 9, "day": range(1, 10), "y": range(9)})
    parts = read_panel(days, Columns(target=("y",), time=("year", "month", "day")))
    end = int(parts.ends[0])
    assert read_row(parts, {"year": 2024, "month": 1, "day": 10, "y": 5}, end)[0].step == end
    plain = read_panel(np.arange(9.0), Columns())
    for row in (4.0, [4.0], {"value": 4.0}):
        assert read_row(plain, row, 9)[0] == (9, [4.0], [], [], [], [])
    assert align(plain, np.arange(9.0)).tolist() == list(range(9))


def test_a_panel_continues_from_the_rows_before_it() -> None:
    whole = read_panel(table(9), COLUMNS)
    kept, new = read_panel(table(6), COLUMNS).tail(4), read_panel(table(9)[6:], COLUMNS)
    joined, begins = extended(new, kept)
    assert begins is not None and begins.tolist() == [4] and same(joined, whole.tail(7))
    joined, begins = extended(read_panel(table(9)[7:], COLUMNS), read_panel(table(5), COLUMNS))
    assert begins is not None and begins.tolist() == [7] and np.isnan(joined.values[5:7]).all()
    joined, begins = extended(read_panel(table(9)[4:], COLUMNS), kept)
    assert begins is not None and begins.tolist() == [2] and same(joined, whole.tail(7)), "rows overlap"
    assert extended(read_panel(table(9)[7:], COLUMNS), kept, over_gaps=False)[1] is None
    for other in (None, kept.tail(0)):
        found, begins = extended(whole.cut(np.array([7]), np.array([9])), other)
        assert begins is None and len(found.values) == 2
