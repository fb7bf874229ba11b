"""Readings are read from numbers, sequences, dicts and tables in the order of time; the ends are held out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from longspan import errors
from longspan.data.time_table import TimeOptions
from longspan.data.timestamps import TimeForm, next_timestamp
from longspan.tasks.anomaly.reading import Columns, Series, held_out, key_of, read_reading, read_series

COLUMNS = (["load", "heat"], ["mode"])


def series(rows: int, name: Any = None, times: Any = None) -> Series:
    words = np.array([["on"]] * rows, dtype=object)
    return Series(name, times, ("load",), np.arange(rows, dtype=float)[:, None], ("mode",), words, None)


def test_a_number_a_sequence_and_a_dict_are_readings() -> None:
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
def test_other_readings_are_refused_in_one_sentence(given: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        read_reading(given, None, COLUMNS, (None, "who"))
    assert str(error.value).endswith(".") and str(error.value).count(". ") == 0


def test_times_that_go_back_are_refused() -> None:
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


def test_a_table_gives_values_times_and_flags() -> None:
    plain, named = series(3), series(2, "a", ["2024-01-01", "no time"])
    assert plain.table("t", "who").columns == ["load", "mode"] and plain.last is None
    assert named.table("t", "who").rows() == [("2024-01-01", "a", 0.0, "on"), ("no time", "a", 1.0, "on")]
    assert named.last is None and not named.known.any()
    dated = replace(named, form=TimeForm("dates"), moments=np.array([0, 60_000_000]))
    assert dated.last == "1970-01-01 00:01:00" and dated.cut(0, 1).last == "1970-01-01 00:00:00"
    zoned = replace(dated, form=TimeForm("dates", zone="Europe/Berlin"))
    assert zoned.last == "1970-01-01 00:01:00+00:00" and replace(dated, name=1.0).key == "1"


# ---- tables


def table(folder: Path, cells: list[str], head: str = "timestamp,load") -> Path:
    hours = [f"2021-01-{1 + place // 24:02d} {place % 24:02d}:00" for place in range(len(cells))]
    path = folder / "a.csv"
    path.write_text(
        "\n".join([head, *(f"{hour},{cell}" for hour, cell in zip(hours, cells, strict=True)), ""])
    )
    return path


CELLS = [f"{20 + place % 24}.{place % 10}" for place in range(60)]


def test_one_text_cell_does_not_make_a_column_categorical(tmp_path: Path) -> None:
    dash = read_series(table(tmp_path, [*CELLS, "-"]), Columns())[0]
    assert dash.names == ("load",) and np.isnan(dash.numbers[60, 0]) and not np.isnan(dash.numbers[:60]).any()
    for cell in ("oops", '"20,037"'):
        with pytest.raises(ValueError, match=r"column load: expected numbers, received .* in row 61"):
            read_series(table(tmp_path, [*CELLS, cell]), Columns())
    commas = tmp_path / "b.csv"
    commas.write_text("load;mode\n" + "".join(f"{cell.replace('.', ',')};on\n" for cell in CELLS))
    read = read_series(commas, Columns())[0]
    assert read.names == ("load",) and read.numbers[1, 0] == 21.1 and read.categories == ("mode",)
    chosen = Columns(categories=("load",))
    assert read_series(table(tmp_path, [*CELLS, "oops"]), chosen)[0].categories == ("load",)


def test_flags_are_read_from_numbers_and_booleans() -> None:
    rows = np.zeros(6)
    for flags in ([0, 0, 1, 0, 0, 0], [False, False, True, False, False, False]):
        assert read_series(rows, Columns(), flags)[0].known.tolist() == [
            False,
            False,
            True,
            False,
            False,
            False,
        ]
    with pytest.warns(errors.LongspanWarning, match="-1 is read as an anomaly"):
        assert read_series(rows, Columns(), [1, 1, -1, 1, 1, 1])[0].known.sum() == 1
    with pytest.warns(errors.LongspanWarning, match="Most readings are flagged"):
        assert read_series(rows, Columns(), [1, 1, 0, 1, 1, 1])[0].known.sum() == 5
    for odd in (2, 0.5, -3):
        with pytest.raises(ValueError, match=f"y: expected flags, 1 or 0, received {odd}"):
            read_series(rows, Columns(), [0, 0, odd, 0, 0, 1])


def test_labels_and_further_time_columns_are_not_targets() -> None:
    days = pd.date_range("2021-01-01", periods=9)
    frame = pd.DataFrame({"v": np.arange(9.0), "is_anomaly": [0] * 8 + [1], "made": days}, index=days)
    with pytest.warns(errors.LongspanWarning) as notes:
        read = read_series(frame, Columns())[0]
    assert read.names == ("v",) and read.categories == () and read.answers == "pandas by time"
    assert any("is_anomaly looks like labels" in str(note.message) for note in notes)
    assert any("made looks like times too" in str(note.message) for note in notes)
    assert read_series(frame[["is_anomaly"]], Columns(target=("is_anomaly",)))[0].names == ("is_anomaly",)
    both = frame[["v"]].set_index(pd.Index(["a"] * 5 + ["b"] * 4, name="who"), append=True)
    assert [(one.name, len(one)) for one in read_series(both, Columns())] == [("a", 5), ("b", 4)]


def test_a_time_zone_is_kept_over_a_clock_change() -> None:
    hours = pd.date_range("2021-10-31", periods=200, freq="h", tz="America/New_York")
    read = read_series(pd.DataFrame({"when": hours, "v": np.arange(200.0)}), Columns())[0]
    assert isinstance(read.times, pl.Series) and read.times.to_list() == hours.to_pydatetime().tolist()
    assert read.last == "2021-11-08 11:00:00+00:00"
    dates = [f"{day:02d}/02/2021" for day in range(1, 29)]
    european = read_series(
        {"when": dates, "v": range(28)}, Columns(), options=TimeOptions(time_format="%d/%m/%Y")
    )
    kept: Any = european[0].times
    assert kept == dates and european[0].last == "2021-02-28 00:00:00"
    reading = read_reading(
        {"when": "01/03/2021", "v": 1}, None, (["v"], []), ("when", None), european[0].form
    )
    assert reading.time == "2021-03-01 00:00:00"


def test_ids_of_one_kind() -> None:
    frame = pl.DataFrame({"who": [1.0, 1.0, 2.0, 2.0], "v": range(4)})
    assert [one.name for one in read_series(frame, Columns(id="who"))] == [1, 2]
    assert key_of(1) == key_of(1.0) == key_of("1") and key_of("0007") == "0007"


def test_ids_stay_of_their_type() -> None:
    for ids, names in ((["7", "7", "42", "42"], ["7", "42"]), ([7, 7, 42, 42], [7, 42])):
        frame = pl.DataFrame({"who": ids, "v": range(4)})
        assert [one.name for one in read_series(frame, Columns(id="who"))] == names


@pytest.mark.parametrize("cell", ["{}.5%", "${}", "{} kWh", "({})", "0x{}f", "1,2{},345"])
def test_numbers_with_a_sign_or_a_unit_are_no_categories(cell: str) -> None:
    cells = [cell.format(place % 10 if "," in cell else place) for place in range(30)]
    cells = [f"{text}.{place}" for place, text in enumerate(cells)] if "," in cell else cells
    with pytest.raises(
        ValueError, match=r"column v: expected numbers, received .* in row 1; .* by categorical="
    ):
        read_series({"v": cells}, Columns())
    with pytest.warns(errors.LongspanWarning, match="v holds text and numbers; it is read as categories"):
        assert read_series({"v": cells[:3] * 9, "w": range(27)}, Columns())[0].categories == ("v",)


def test_what_is_watched_by_accident_is_told(tmp_path: Path) -> None:
    days = pd.date_range("2021-01-01", periods=10)
    counted = pd.DataFrame({"day": days, "row": range(10), "v": np.sin(np.arange(10.0))})
    with pytest.warns(errors.LongspanWarning, match="row only counts the rows and is not watched"):
        assert read_series(counted, Columns())[0].names == ("v",)
    panel = pd.DataFrame({"store": [1, 2] * 10, "day": days.repeat(2), "v": np.arange(20.0)})
    with pytest.warns(
        errors.LongspanWarning, match="several times; if store tells entities apart, name it by id"
    ):
        read_series(panel, Columns())
    assert len(read_series(panel[["day", "v"]], Columns())[0]) == 20, "several events at one time"
    unread = pd.DataFrame({"when": [f"{day}th of the month" for day in range(10)], "v": np.arange(10.0)})
    with pytest.warns(errors.LongspanWarning, match="when differs in every row and is not used"):
        read_series(unread, Columns())
    for cell in ([1.0], {"a": 1.0}, 1j):
        with pytest.raises(ValueError, match=r"column v: expected (text|numbers), received a \w+ in row 1"):
            read_series(pd.DataFrame({"day": days, "v": [cell] * 10}), Columns())


def test_an_id_that_is_nan_or_no_text_is_one_sentence() -> None:
    rows = {"time": list(range(6)), "v": [1.0] * 6}
    for ids, words in (
        ([1.0, 1.0, 1.0, np.nan, np.nan, np.nan], "an entity in every row, received none in row 4"),
        ([("a", 1)] * 6, "ids of text or numbers, received a tuple in row 1"),
    ):
        with pytest.raises(ValueError, match=words):
            read_series(pd.DataFrame({"id": pd.Series(ids), **rows}), Columns(id="id"))
