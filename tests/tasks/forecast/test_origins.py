"""Forecast origins have enough rows, and none of training reaches into the held-out part."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from longspan import errors
from longspan.tasks.forecast.origins import (
    check_future,
    check_length,
    earlier_splits,
    end_times,
    evaluation_origins,
    hold_out,
    independent_windows,
    known_ends,
    last_origins,
    note_unknown_targets,
    rolling,
    with_full_context,
)
from longspan.tasks.forecast.panel import Columns, Origins, Panel
from longspan.tasks.forecast.reading import read_panel
from longspan.tasks.forecast.windows import every_origin


def panel(*lengths: int) -> Panel:
    return read_panel([np.arange(float(rows)) for rows in lengths], Columns())


def dated(rows: int, known: int, begin: int = 0) -> Panel:
    """Hours of series a, of whose target the last are not known."""
    frame = pl.DataFrame(
        {
            "name": ["a"] * rows,
            "time": [datetime(2024, 1, 1) + timedelta(hours=begin + at) for at in range(rows)],
            "y": [float(at) if at < known else None for at in range(rows)],
            "push": [1.0] * rows,
        }
    )
    return read_panel(frame, Columns(("y",), ("time",), "name", future=("push",)))


def every(one: Panel, horizon: int) -> Origins:
    return Origins(one, every_origin(one, 1, horizon))


@pytest.mark.parametrize(("share", "first"), [(0.25, 75), (0.01, 88)])  # three horizons at least
def test_horizons_of_training_end_before_the_held_out_part(share: float, first: int) -> None:
    both = panel(100, 50)
    train, held = hold_out(every(both, 4), share, 4, 1000)
    assert held is not None
    of_first = held.rows[held.series == 0]
    assert of_first.min() == first and of_first.max() == 96
    for series in (0, 1):
        last, begin = train.rows[train.series == series].max(), held.rows[held.series == series].min()
        assert last + 4 == begin
    assert end_times(held)["0"] == first
    few = hold_out(every(both, 4), share, 4, 10)[1]
    assert few is not None and len(few.rows) == 10


def test_too_few_rows_hold_nothing_out() -> None:
    assert hold_out(every(panel(100), 4), 0.0, 4, 1000)[1] is None
    with pytest.warns(errors.LongspanWarning, match="nothing calibrates the intervals"):
        assert hold_out(every(panel(9), 4), 0.5, 4, 1000)[1] is None


def test_windows_that_begin_before_their_series_are_left_out_where_others_do() -> None:
    origins = every(panel(100), 4)
    assert with_full_context(origins, 20).rows.min() == 20
    assert with_full_context(origins, 90) is origins


def test_windows_that_do_not_overlap_are_counted() -> None:
    one = panel(100)
    steps = np.arange(1, 6)
    counts = independent_windows(Origins(one, np.arange(10, 50)), 5)
    np.testing.assert_allclose(counts, (39 + steps) / steps)
    two = panel(50, 50)
    rows = np.concatenate([np.arange(10, 20), np.arange(60, 70)])
    np.testing.assert_allclose(independent_windows(Origins(two, rows), 5), (9 + steps) / steps * 2**0.5)


def test_earlier_splits_go_back_one_validation_part_at_a_time() -> None:
    train, valid = hold_out(every(panel(100, 70), 4), 0.2, 4, 1000)
    assert valid is not None
    splits = earlier_splits(train, valid, 4, 3)
    lengths = {100: 20, 70: 14}
    assert len(splits) == 2, "a third split would leave less than a third of the training origins"
    for back, (earlier, later) in enumerate(splits, 1):
        for series, (begin, rows) in enumerate([(0, 100), (100, 70)]):
            border = begin + rows - (back + 1) * lengths[rows]
            assert later.rows[later.series == series].tolist() == list(
                range(border, border + lengths[rows] - 3)
            )
            assert earlier.rows[earlier.series == series].max() == border - 4


def test_the_largest_horizon_that_works_is_named() -> None:
    with pytest.raises(ValueError, match=r"at least 41 rows for a horizon of 20, received 30; .* is 14"):
        check_length(panel(30, 9), 20, None)
    with pytest.raises(ValueError, match=r"and a context of 20, received 30; .* is 9"):
        check_length(panel(30), 10, 20)
    with pytest.warns(errors.LongspanWarning, match="1 series is too short to learn a horizon of 8 from"):
        check_length(panel(30, 9), 8, None)


def test_future_covariates_must_reach_the_horizon() -> None:
    ends = dated(20, 17)
    check_future(Origins(ends, ends.last_seen()), 3)
    with pytest.raises(
        ValueError,
        match="future_covariates: expected push for the 4 steps to forecast of series 'a', received 3",
    ):
        check_future(Origins(ends, ends.last_seen()), 4)
    assert last_origins(ends, 3).rows.tolist() == [17] and last_origins(ends, 4).rows.tolist() == [13]


def test_origins_roll_from_a_row_or_a_time() -> None:
    two = panel(20, 10)
    assert rolling(two, 15, 2, 3).rows.tolist() == [15, 17]
    assert rolling(two, -5, 2, 3).rows.tolist() == [15, 17, 25, 27]
    hours = dated(20, 20)
    assert rolling(hours, "2024-01-01 15:00", 1, 3).rows.tolist() == [15, 16, 17]
    assert rolling(hours, datetime(2024, 1, 1, 15, 30), 1, 3).rows.tolist() == [16, 17]
    with pytest.raises(ValueError, match="start: expected a row or time with 3 rows from it on, received 18"):
        rolling(hours, 18, 1, 3)
    with pytest.raises(ValueError, match="start: expected a row number or a time, received 'soon'"):
        rolling(hours, "soon", 1, 3)
    with pytest.raises(TypeError, match="start: expected a row number, since the data have no dates"):
        rolling(two, "2024-01-01", 1, 3)


def test_rows_of_fit_are_evaluated_only_where_there_are_no_others() -> None:
    hours = dated(20, 20, begin=10)
    step = int(hours.first[0])
    how = {"begins": None, "most": 1000}
    assert evaluation_origins(hours, 4, 3, seen={"a": step + 9}, **how).rows.min() == 9
    assert evaluation_origins(hours, 4, 3, seen={"b": step + 9}, **how).rows.tolist() == list(range(4, 18))
    with pytest.warns(errors.LongspanWarning, match="All rows were there in fit"):
        assert evaluation_origins(hours, 4, 3, seen={"a": step + 20}, **how).rows.min() == 4
    assert evaluation_origins(hours, 4, 3, begins=np.array([12]), seen=None, most=1000).rows.min() == 12
    assert evaluation_origins(hours, 90, 3, seen=None, **how).rows.min() == 1, "no whole context anywhere"
    assert len(evaluation_origins(hours, 4, 3, begins=None, seen=None, most=5).rows) == 5
    with pytest.raises(ValueError, match="at least 31 rows of a series, one and the horizon, received 20"):
        evaluation_origins(hours, 4, 30, seen=None, **how)


def test_series_without_a_known_target_have_no_origin() -> None:
    some = read_panel([np.full(6, np.nan), np.arange(4.0), np.full(3, np.nan)], Columns(), need_target=False)
    with pytest.warns(
        errors.LongspanWarning, match="Series '0' and 1 more have no known value of the target"
    ):
        assert known_ends(some).tolist() == [10]
    assert last_origins(some, 2).rows.tolist() == [10]
    assert known_ends(panel(4, 3)).tolist() == [4, 7]
    none = some.only(("0", "2"))
    with pytest.raises(ValueError, match="expected a known value of the target, received none in 2 series"):
        known_ends(none)


def test_a_target_without_a_known_value_is_told() -> None:
    both = [np.ones((5, 2)), np.ones((4, 2))]
    both[1][:, 1] = np.nan
    two = read_panel(both, Columns())
    with pytest.warns(errors.LongspanWarning, match="Target 1 has no known value in series '1'; forecasts"):
        note_unknown_targets(last_origins(two, 2))
    two.values[5, 1] = 1.0  # a gap since then
    note_unknown_targets(last_origins(two, 2))
