"""Dates, indexes, time zones, ids, missing ends and closed days are read as they are meant."""

from __future__ import annotations

import warnings
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import longspan as ls
from longspan import errors
from longspan.data.time_table import TimeOptions
from longspan.tasks.forecast.panel import Columns, Panel
from longspan.tasks.forecast.reading import read_panel

ROWS = 60
DAYS = pd.date_range("2021-01-01", periods=ROWS)
VALUES = np.round(20 + 5 * np.sin(np.arange(ROWS) * 2 * np.pi / 7), 2)


def small(**options: Any) -> ls.Forecaster:
    return ls.Forecaster(**{"horizon": 4, "epochs": 1, "hidden_size": 4, "context_length": 14, **options})


def put(folder: Path, head: str, rows: list[str], encoding: str = "utf-8") -> Path:
    path = folder / "a.csv"
    path.write_text("\n".join([head, *rows, ""]), encoding=encoding)
    return path


def times(panel: Panel, more: int = 0) -> list[Any]:
    """The times of the first series, with the steps after them."""
    steps = panel.first[0] + np.arange(int(panel.starts[1]) + more)
    return panel.frequency.column(panel.frequency.times(steps), "time").to_list()


@pytest.mark.parametrize("form", ["%d/%m/%y", "%d-%b-%y", "%Y%m%d", "%m/%d/%Y", "%d.%m.%y 10:00"])
def test_dates_are_read_from_text_and_digits(form: str, tmp_path: Path):
    path = put(tmp_path, "date,v", [f"{day:{form}},{value}" for day, value in zip(DAYS, VALUES, strict=True)])
    panel = read_panel(path, Columns())
    assert str(panel.frequency) == "1 day" and len(panel.values) == ROWS
    assert times(panel, 1)[-1].date() == datetime(2021, 3, 2).date()


def test_months_of_day_first_dates(tmp_path: Path):
    months = pd.date_range("2010-01-01", periods=24, freq="MS")
    panel = read_panel(put(tmp_path, "date,v", [f"{day:%d/%m/%Y},{day.month}" for day in months]), Columns())
    assert str(panel.frequency) == "1 month" and times(panel, 1)[-1] == datetime(2012, 1, 1)
    with pytest.raises(ValueError, match="day and month are told apart"):
        read_panel(put(tmp_path, "date,v", [f"{day:02d}/02/2021,{day}" for day in range(1, 9)]), Columns())
    told = TimeOptions(time_format="%d/%m/%Y")
    assert str(read_panel(tmp_path / "a.csv", Columns(), options=told).frequency) == "1 day"


def test_utc_offsets_and_gaps_are_read(tmp_path: Path):
    hours = pd.date_range("2021-01-01", periods=ROWS, freq="h")
    rows = [
        f"{hour:%Y-%m-%dT%H:%M:%SZ},1.{place}" for place, hour in enumerate(hours) if not 20 <= place < 30
    ]
    with pytest.warns(errors.LongspanWarning, match="10 rows are missing in the 1 h grid"):
        panel = read_panel(put(tmp_path, "timestamp,v", rows), Columns())
    assert np.isnan(panel.values).sum() == 10 and str(times(panel)[0]) == "2021-01-01 00:00:00+00:00"


def test_a_time_column_that_cannot_be_read_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"column date: expected dates.*received 'soon'.*time_format"):
        read_panel(put(tmp_path, "date,v", ["soon,1", "later,2"]), Columns())
    for day in ("0021-01-01", "2021-02-30"):
        with pytest.raises(ValueError, match=r"date.*expected .*\.$"):
            read_panel(put(tmp_path, "date,v", [f"{day},1", f"{day},2"]), Columns())
    parts = {"year": [2021] * 3, "month": [1] * 3, "day": [1, 2, 3], "v": [1.0, 2.0, 3.0]}
    with pytest.warns(errors.LongspanWarning, match="year, month, day look like times and are not used"):
        read_panel(parts, Columns(target=("v",)))


@pytest.mark.filterwarnings("ignore:The model does not beat")
def test_the_index_of_a_pandas_frame_is_read_and_comes_back():
    frame = pd.DataFrame({"v": VALUES}, index=DAYS).drop(DAYS[20:30])
    with pytest.warns(errors.LongspanWarning, match="10 rows are missing"):
        model = small().fit(frame, verbose=0)
    answer = model.predict()
    assert answer.index.equals(pd.date_range("2021-03-02", periods=4)) and answer["time"].iloc[0] == DAYS[
        -1
    ] + pd.Timedelta("1D")
    series = read_panel(pd.Series(VALUES, index=DAYS.to_period("D")), Columns())
    assert str(series.frequency) == "1 day" and series.answers == "pandas by time"
    both = pd.MultiIndex.from_product([["a", "b"], DAYS], names=["name", "date"])
    panel = read_panel(pd.DataFrame({"v": np.r_[VALUES, VALUES]}, index=both), Columns())
    assert panel.ids == ("a", "b") and panel.columns.id == "name" and panel.columns.time == ("date",)
    plain = read_panel(pd.DataFrame({0: VALUES}), Columns())
    assert plain.columns == Columns(target=("0",)) and plain.answers == "pandas"


def test_time_zones_are_kept_and_days_are_calendar_days():
    days = pd.bdate_range("2021-01-04", periods=100, tz="America/New_York")
    panel = read_panel(pd.DataFrame({"Date": days, "v": np.arange(100.0)}), Columns())
    assert str(panel.frequency) == "1 business day"
    following = pd.bdate_range("2021-01-04", periods=101, tz="America/New_York")[-1]
    assert times(panel, 1)[-1] == following.to_pydatetime()
    hours = pd.date_range("2021-10-31", periods=200, freq="h", tz="America/New_York")
    panel = read_panel(
        pl.DataFrame(
            {
                "t": pl.Series(hours.tz_convert("UTC").tz_localize(None).to_numpy())
                .dt.replace_time_zone("UTC")
                .dt.convert_time_zone("America/New_York"),
                "v": np.arange(200.0),
            }
        ),
        Columns(),
    )
    assert str(panel.frequency) == "1 h" and len(panel.values) == 200, "the clocks went back inside"
    assert times(panel)[-1] == hours[-1].to_pydatetime()
    again = Panel.from_state(panel.state())
    assert again.frequency == panel.frequency and again.form == panel.form
    with pytest.raises(ValueError, match=r"times in a zone, as in fit \(America/New_York\)"):
        read_panel({"t": ["2021-11-09 00:00", "2021-11-09 01:00"], "v": [1, 2]}, Columns(), template=panel)


def test_the_date_format_and_id_found_in_fit_are_saved(tmp_path: Path):
    rows = [
        f"{sku:04d},{day:%d/%m/%Y},{value}"
        for sku in (7, 42)
        for day, value in zip(DAYS, VALUES, strict=True)
    ]
    known = read_panel(put(tmp_path, "sku,date,v", rows), Columns(target=("v",), id="sku"))
    assert known.ids == ("0007", "0042")
    later = pd.DataFrame({"sku": ["0007"] * 2, "date": ["03/02/2021", "04/02/2021"], "v": [1.0, 2.0]})
    panel = read_panel(later, Columns(), template=known)
    assert panel.ids == ("0007",) and times(panel)[0] == datetime(2021, 2, 3), "day first, as in fit"
    with pytest.raises(ValueError, match="ids as in fit, such as '0007', received '7'"):
        read_panel(later.assign(sku=[7, 7]), Columns(), template=known)
    with pytest.raises(ValueError, match="order of fit"):
        read_panel(later.assign(date=["01/30/2021", "01/31/2021"]), Columns(), template=known)
    whole = read_panel(
        {"sku": [1.0, 1.0, 2.0, 2.0], "ds": [1, 2, 1, 2], "v": range(4)}, Columns(target=("v",), id="sku")
    )
    assert whole.ids == ("1", "2")


def test_the_id_column_is_found_where_times_repeat():
    table = {"unique_id": ["a", "b"] * 5, "ds": np.repeat(np.arange(5), 2), "y": range(10)}
    assert read_panel(table, Columns()).ids == ("a", "b")
    with pytest.warns(errors.LongspanWarning, match="told apart by store"):
        panel = read_panel(
            {**{k: v for k, v in table.items() if k != "unique_id"}, "store": [1, 2] * 5},
            Columns(target=("y",)),
        )
    assert panel.ids == ("1", "2")


@pytest.mark.filterwarnings("ignore:The model does not beat")
@pytest.mark.parametrize("extra", [4, 30])
def test_rows_without_a_target_at_the_end_are_not_held_out(extra: int):
    known = 20 + np.sin(np.arange(120)) + 0.3 * np.random.default_rng(1).standard_normal(120)
    frame = pd.DataFrame(
        {"date": pd.date_range("2020-06-15", periods=120 + extra), "v": np.r_[known, [np.nan] * extra]}
    )
    frame["promo"] = np.arange(len(frame)) % 7 == 0
    options = {"target": "v", "future_covariates": "promo"}
    usual = small(**options).fit(frame[:124], verbose=0).predict()
    answer = small(**options).fit(frame, verbose=0).predict()
    assert answer.equals(usual) and answer["date"].iloc[0] == pd.Timestamp("2020-10-13")
    plain = small().fit(np.r_[known, [np.nan] * extra], verbose=0).predict()
    assert plain.equals(small().fit(known, verbose=0).predict())


@pytest.mark.filterwarnings("ignore:The model does not beat")
def test_rows_at_prediction_are_joined_by_time():
    frame = pd.DataFrame(
        {"date": pd.date_range("2021-01-01", periods=80), "v": 20 + 5 * np.sin(np.arange(80) * 2 * np.pi / 7)}
    )
    model = small(epochs=2).fit(frame[:60], verbose=0)
    usual = model.predict(frame[:66])["point"].to_numpy()
    for begin in (40, 59, 60):
        assert np.allclose(model.predict(frame[begin:66])["point"].to_numpy(), usual), begin
    assert np.isfinite(model.predict(frame[61:66])["point"]).all(), "a row between them is unknown"


def test_date_and_time_columns_are_joined(tmp_path: Path):
    hours = pd.date_range("2021-01-01", periods=ROWS, freq="h")
    path = put(
        tmp_path,
        "Date;Time;v",
        [f"{hour:%d/%m/%Y};{hour:%H:%M:%S};{place},5" for place, hour in enumerate(hours)],
    )
    for columns in (Columns(time=("Date", "Time")), Columns(time=("Date,Time",)), Columns()):
        panel = read_panel(path, columns)
        assert times(panel, 1)[-1] == datetime(2021, 1, 3, 12) and panel.values[1, 0] == 1.5


def test_names_of_output_columns_are_refused_for_ids_and_times():
    table = {"date": list(range(4)) * 2, "v": range(8)}
    for name in ("point", "origin", "target", "actual", "q0.05"):
        with pytest.raises(
            ValueError, match=f"id: expected a column whose name .* received '{name}'; rename"
        ):
            read_panel({name: ["a"] * 4 + ["b"] * 4, **table}, Columns(target=("v",), id=name))


def test_forecasts_skip_closed_days_and_hours():
    days = [day for day in pd.date_range("2021-01-04", periods=140) if day.weekday() < 6][:80]
    panel = read_panel(pd.DataFrame({"date": days, "v": np.arange(80.0)}), Columns())
    assert str(panel.frequency) == "1 day (Mon, Tue, Wed, Thu, Fri, Sat)" and len(panel.values) == 80
    assert 6 not in {day.weekday() for day in times(panel, 14)}
    bars = pd.date_range("2021-01-04 09:30", periods=1000, freq="30min")
    bars = [bar for bar in bars if bar.weekday() < 5 and "09:30" <= f"{bar:%H:%M}" <= "16:00"][:120]
    panel = read_panel(pd.DataFrame({"time": bars, "v": np.arange(120.0)}), Columns())
    assert len(panel.values) == 120 and panel.frequency.seasons() == (14, 70)
    assert all(9 <= bar.hour <= 16 and bar.weekday() < 5 for bar in times(panel, 40))
    ends = pd.date_range("2018-01-01", periods=40, freq="BME")
    assert str(read_panel(pd.DataFrame({"d": ends, "v": np.arange(40.0)}), Columns()).frequency) == "1 month"


def test_jittered_times_are_rounded_to_the_step():
    rng = np.random.default_rng(0)
    stamps = [
        datetime(2021, 1, 1) + timedelta(minutes=10 * place, seconds=int(rng.integers(-20, 21)))
        for place in range(50)
    ]
    table = {"time": stamps, "v": np.arange(50.0)}
    with pytest.raises(ValueError, match=r"regular step, .* frequency="):
        read_panel(table, Columns())
    panel = read_panel(table, Columns(), options=TimeOptions(frequency="10min"))
    assert str(panel.frequency) == "10 min" and panel.values[:, 0].tolist() == list(range(50))
    with pytest.raises(ValueError, match="take a shorter step"):
        read_panel(table, Columns(), options=TimeOptions(frequency="1h"))


def test_unused_columns_may_hold_anything():
    names = pd.array([None] + ["x"] * (ROWS - 1), dtype="string")
    panel = read_panel(pd.DataFrame({"date": DAYS, "v": VALUES, "k": names}), Columns(target=("v",)))
    assert len(panel.values) == ROWS


def test_unix_times_become_dates_with_a_note():
    seconds = [1_600_000_000 + 3600 * place for place in range(ROWS)]
    for unit in (1, 1000, 10**6, 10**9):
        with pytest.warns(errors.LongspanWarning, match="unix time in"):
            panel = read_panel({"timestamp": [unit * second for second in seconds], "v": VALUES}, Columns())
        assert times(panel)[0] == datetime(2020, 9, 13, 12, 26, 40) and str(panel.frequency) == "1 h"
    elapsed = read_panel({"time": np.arange(ROWS) * 0.5, "v": VALUES}, Columns())
    assert elapsed.frequency.shown(elapsed.frequency.times(np.array([3])))[0] == 1.5


@pytest.mark.filterwarnings("ignore:The model does not beat")
def test_weekly_series_and_shops_keep_their_own_days(tmp_path: Path):
    noise = np.random.default_rng(0).standard_normal(80)
    mondays, wednesdays = (pd.date_range(f"2024-01-0{day}", periods=40, freq="7D") for day in (1, 3))
    table = pd.DataFrame({"id": ["a"] * 40 + ["b"] * 40, "date": mondays.append(wednesdays), "v": noise})
    model = small(id="id", horizon=2).fit(table, verbose=0)
    model.save(tmp_path / "model")
    ahead = [last + pd.Timedelta(weeks, "W") for last in (mondays[-1], wednesdays[-1]) for weeks in (1, 2)]
    for one in (model, ls.load(tmp_path / "model")):
        assert one.predict()["date"].tolist() == ahead
    fridays = pd.date_range("2024-01-05", periods=3, freq="7D")
    new = pd.DataFrame({"id": ["b", "c", "c", "c"], "date": [ahead[2], *fridays], "v": [1.0, 2.0, 5.0, 3.0]})
    answers = model.update(new).predict().groupby("id")["date"].min()
    assert answers.to_dict() == {"a": ahead[0], "b": ahead[3], "c": fridays[-1] + pd.Timedelta("7D")}
    with pytest.raises(ValueError, match="1 week apart, on the grid of the data in fit, received 2024-10-29"):
        model.predict(pd.DataFrame({"id": "a", "date": [ahead[0] + pd.Timedelta("22D")], "v": [1.0]}))
    start = model.backtest(table, "2024-09-17", 99).groupby("id")["date"].min()
    assert start.tolist() == [pd.Timestamp("2024-09-23"), pd.Timestamp("2024-09-18")]
    assert model.step({"id": "b", "date": str(ahead[3])[:10], "v": 3.0})[0] is None
    with pytest.raises(ValueError, match="on fit's grid of 1 week"):
        model.step({"id": "a", "date": str(ahead[3])[:10], "v": 3.0})


@pytest.mark.filterwarnings("ignore:The model does not beat")
@pytest.mark.parametrize(
    ("ids", "answered"),
    [
        ([7, 42], [7, 42]),
        ([7.0, 42.0], [7, 42]),
        (["0007", "0042"], ["0007", "0042"]),
        (["7", "42"], ["7", "42"]),
        (pd.Categorical(["7", "42"]), ["7", "42"]),
        ([1.5, 2.5], [1.5, 2.5]),
    ],
)
def test_ids_go_back_in_their_type(ids: Any, answered: list[Any], tmp_path: Path):
    table = pd.DataFrame({"id": np.repeat(ids, ROWS), "date": [*DAYS] * 2, "v": np.r_[VALUES, VALUES]})
    frames = [table, pl.DataFrame({name: table[name].tolist() for name in table})]
    for frame in frames:
        model = small(id="id").fit(frame, verbose=0)
        model.save(tmp_path / "model")
        for one in (model, ls.load(tmp_path / "model")):
            got = list(dict.fromkeys(one.predict()["id"].to_list()))
            assert sorted(got) == sorted(answered) and {type(name) for name in got} == {type(answered[0])}
    table.to_csv(tmp_path / "a.csv", index=False)
    model = small(id="id").fit(tmp_path / "a.csv", verbose=0)
    first = {"7": 7, 1.5: "1.5"}.get(
        answered[0], answered[0]
    )  # what is no whole number stays as it is written
    assert sorted(model.predict()["id"].unique().to_list())[0] == first
    later = table[table["id"] == table["id"][0]]
    later.to_csv(tmp_path / "b.csv", index=False)
    assert model.predict(tmp_path / "b.csv")["id"].unique().to_list() == [first]


@pytest.mark.filterwarnings("ignore:The model does not beat")
def test_a_context_that_is_too_short_is_told():
    table = pd.DataFrame({"date": DAYS, "v": VALUES})
    model = small().fit(table[:50], verbose=0)
    for begin in (0, 30, 49, 50, 51):  # rows are joined to those of fit by time
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.predict(table[begin:])
    far = table[:5].assign(date=DAYS[:5] + pd.Timedelta("400D"))
    said = "5 rows are given; a forecast looks back on 14, so pass earlier rows too"
    with pytest.warns(errors.LongspanWarning, match=said):
        model.predict(far)
    with pytest.warns(errors.LongspanWarning, match="7 rows are given; a forecast looks back on 14"):
        small().fit(VALUES, verbose=0).predict(VALUES[-7:])


@pytest.mark.filterwarnings("ignore:The model does not beat")
@pytest.mark.parametrize(("transform", "value"), [("log", 0.0), ("sqrt", -3.0)])
def test_values_without_a_logarithm_or_root_are_told(transform: str, value: float):
    model = small(transform=transform).fit(VALUES, verbose=0)
    said = f"value is {value:g}, but the model reads .* which such a value does not have"
    for use in (
        lambda: model.predict(np.r_[VALUES, value]),
        lambda: model.update(np.array([value, 20.0])),
        lambda: model.step(value),
        lambda: model.backtest(np.r_[value, VALUES], -8),
    ):
        with pytest.warns(errors.LongspanWarning, match=said):
            use()
    plain = small(transform="none").fit(VALUES, verbose=0)
    plain.update(np.array([value]))


def test_one_odd_cell_never_makes_a_column_of_dates_vanish() -> None:
    cells = [str(date(2024, 1, 1) + timedelta(days=at)) for at in range(60)]
    for row in (9, 55):
        odd = [*cells[:row], "# a note", *cells[row:]]
        with pytest.raises(
            ValueError, match=rf"time d: expected times in one form, received '# a note' in row {row + 1}"
        ):
            read_panel({"d": odd, "v": np.arange(61.0)}, Columns())
    sizes = ["10-12", "12-14", "XL", "1-2"] * 15  # of which some read as months
    assert read_panel({"size": sizes, "v": np.arange(60.0)}, Columns()).columns.time == ()


def test_a_column_that_is_called_as_times_and_holds_none_is_told() -> None:
    with pytest.warns(errors.LongspanWarning, match="day holds no dates .'Fri'. and is not used as time"):
        read_panel({"day": ["Fri", "Sat"] * 30, "v": np.arange(60.0)}, Columns())


def test_rows_that_were_drawn_are_told():
    frame = pd.DataFrame({"v": np.arange(60.0)})
    with pytest.warns(errors.LongspanWarning, match="index is not in order; the rows are read"):
        read_panel(frame[::-1], Columns())
    assert read_panel(frame[10:], Columns()).values[0, 0] == 10, "a note would be a warning"
    with pytest.warns(errors.LongspanWarning, match="month looks like times and is not used"):
        read_panel({"month": [2010.01, 2010.02] * 9, "v": np.arange(18.0)}, Columns(target=("v",)))


@pytest.mark.parametrize("name", ["unique_id", "store"])
def test_series_whose_times_never_meet_are_told_apart(name: str):
    mondays = pd.date_range("2021-01-04", periods=40, freq="7D")
    one, other = pd.DataFrame({name: "a", "date": mondays}), pd.DataFrame({name: "b", "date": mondays})
    other["date"] += pd.Timedelta("2D")
    frame = pd.concat([one, other]).assign(v=1.0).reset_index(drop=True)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        panel = read_panel(frame, Columns(target=("v",)))
    assert panel.ids == ("a", "b") and len(panel.values) == 80
    assert [str(note.message) for note in said] == (
        [] if name == "unique_id" else ["The table holds several series, which are told apart by store."]
    )
    plain = read_panel(frame[:40].assign(**{name: range(40)}), Columns(target=("v",)))
    assert plain.ids == ("",), "a number for each row names no series"
