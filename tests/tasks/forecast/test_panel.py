"""A panel holds several series on one regular grid; it is cut, continued and gathered into windows."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from longspan import errors
from longspan.tasks.forecast import windows
from longspan.tasks.forecast.panel import Columns, Origins, Panel
from longspan.tasks.forecast.reading import note_constant, read_panel

BEGIN = datetime(2024, 1, 1)


def hours(rows: int, begin: int = 0) -> list[datetime]:
    return [BEGIN + timedelta(hours=begin + step) for step in range(rows)]


def long(*lengths: int) -> pl.DataFrame:
    """Series a, b, ... with the values 0, 1, ..., 100, 101, ..., and a covariate of each kind."""
    parts = [
        pl.DataFrame(
            {
                "name": ["abc"[s]] * rows,
                "time": hours(rows, s),
                "y": 100.0 * s + np.arange(rows),
                "push": np.arange(rows) % 3,
                "kind": ["xyz"[s]] * rows,
            }
        )
        for s, rows in enumerate(lengths)
    ]
    return pl.concat(parts)


COLUMNS = Columns(target=("y",), time=("time",), id="name", future=("push",), static=("kind",))


def panel(*lengths: int) -> Panel:
    return read_panel(long(*lengths), COLUMNS)


def test_series_are_stored_one_after_another():
    found = panel(4, 3)
    assert found.ids == ("a", "b") and found.starts.tolist() == [0, 4, 7]
    assert found.values[:, 0].tolist() == [0, 1, 2, 3, 100, 101, 102]
    assert str(found.frequency) == "1 h" and (found.first[1] - found.first[0]) == 1
    assert found.static.labels["kind"].tolist() == ["x", "y"]
    assert found.future.numbers[:, 0].tolist() == [0, 1, 2, 0, 0, 1, 2]
    assert found.series_of(np.array([0, 3, 4, 6])).tolist() == [0, 0, 1, 1]


def test_missing_rows_become_nan_with_a_note():
    holes = long(10).with_row_index().filter(~pl.col("index").is_in([3, 4, 7])).drop("index")
    with pytest.warns(errors.LongspanWarning, match="3 rows are missing in the 1 h grid of the data"):
        found = read_panel(holes, COLUMNS)
    assert np.flatnonzero(np.isnan(found.values[:, 0])).tolist() == [3, 4, 7]
    assert np.isnan(found.future.numbers[3, 0]) and len(found.values) == 10


def test_the_order_of_rows_does_not_matter():
    with pytest.warns(errors.LongspanWarning, match="not in order"):
        found = read_panel(long(6, 5).sample(fraction=1.0, shuffle=True, seed=2), COLUMNS)
    assert found.ids in (("a", "b"), ("b", "a"))
    assert np.array_equal(found.only(("a", "b")).values, panel(6, 5).values)


def test_parts_of_a_panel_are_cut():
    whole = panel(6, 4, 5)
    tail = whole.tail(2)
    assert tail.values[:, 0].tolist() == [4, 5, 102, 103, 203, 204] and tail.starts.tolist() == [0, 2, 4, 6]
    assert (tail.first - whole.first).tolist() == [4, 2, 3]
    one = whole.only(("c", "a"))
    assert one.ids == ("c", "a") and one.values[:, 0].tolist() == [200, 201, 202, 203, 204, *range(6)]
    assert one.static.labels["kind"].tolist() == ["z", "x"]
    assert one.first.tolist() == [whole.first[2], whole.first[0]]


def test_the_saved_state_gives_the_same_panel():
    whole = panel(6, 4)
    again = Panel.from_state(whole.state())
    assert again.columns == whole.columns and again.ids == whole.ids and again.frequency == whole.frequency
    for name in ("values", "starts", "first"):
        assert np.array_equal(getattr(again, name), getattr(whole, name))
    assert again.static.labels["kind"].tolist() == ["x", "y"]


def test_new_rows_continue_their_series_over_a_gap():
    later = long(9, 8).filter(pl.col("time") >= hours(1, 6)[0])
    joined = panel(5, 4).joined(read_panel(later, COLUMNS))
    assert joined.values[: joined.starts[1], 0].tolist()[:5] == [0, 1, 2, 3, 4]
    assert np.isnan(joined.values[5, 0]) and joined.values[6:9, 0].tolist() == [6, 7, 8]
    with pytest.raises(
        ValueError, match="source: expected rows after the last of series 'a', received one at"
    ):
        panel(5, 4).joined(panel(5, 4))


def test_the_last_row_with_a_target_is_found():
    frame = long(6).with_columns(pl.when(pl.int_range(pl.len()) < 4).then("y").otherwise(None).alias("y"))
    assert read_panel(frame, COLUMNS).last_seen().tolist() == [4]


def test_windows_are_gathered_with_nan_outside():
    whole = panel(5, 4)
    at = windows.window_index(Origins(whole, np.array([2, 5, 6])))
    assert at.series.tolist() == [0, 0, 1], "the row after a series' last belongs to it"
    past, ahead = windows.history(whole, at, 3), windows.future(whole, at, 2)
    assert np.array_equal(past[0], [np.nan, 0, 1], equal_nan=True) and past[1].tolist() == [2, 3, 4]
    assert np.array_equal(past[2], [np.nan, np.nan, 100], equal_nan=True)
    assert ahead[0].tolist() == [2, 3] and np.isnan(ahead[1]).all() and ahead[2].tolist() == [101, 102]
    assert windows.every_origin(whole, 2, 2).tolist() == [2, 3, 7]


def test_a_constant_target_gives_a_note():
    one = read_panel(np.stack([np.full(9, 7.0), np.arange(9.0)], 1), Columns())
    with pytest.warns(errors.LongspanWarning, match="^0 is always 7; it is answered with that") as notes:
        note_constant(one)
    assert len(notes) == 1
    assert one.ends.tolist() == [9] and Origins(one, np.array([0, 9])).series.tolist() == [0, 0]
