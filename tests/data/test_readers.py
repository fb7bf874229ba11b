"""Checks that files and frames of every kind give one table, and that what is none is one sentence."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zipfile
from datetime import date, time, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from longspan import artifact, errors
from longspan.data.readers.delimited import find_form
from longspan.data.readers.frames import is_frame_like, to_pandas
from longspan.data.readers.number_arrays import number_arrays
from longspan.data.readers.numeric import MISSING, read_numbers
from longspan.data.readers.tables import (
    ReadOptions,
    check_columns,
    number_share,
    numbers,
    read_source,
    read_table,
    words,
    write_head,
)
from longspan.data.time_table import TimeOptions, canonical_ids
from longspan.tasks.forecast.panel import Columns
from longspan.tasks.forecast.reading import read_panel

PLAIN = "day,v,w\n2024-01-01,1.5,a\n2024-01-02,-2.25,b\n2024-01-03,,a\n"
TABLE = {"day": ["2024-01-01", "2024-01-02", "2024-01-03"], "v": [1.5, -2.25, None], "w": ["a", "b", "a"]}


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


FORMS = {
    "semicolons and decimal commas": "day;v;w\n2024-01-01;1,5;a\n2024-01-02;-2,25;b\n2024-01-03;;a\n",
    "tabulators": PLAIN.replace(",", "\t"),
    "bars": PLAIN.replace(",", "|"),
    "blanks after separators": PLAIN.replace(",", ", "),
    "comments": "# made by hand\n# twice\n" + PLAIN,
    "a line for a spreadsheet": "sep=,\n" + PLAIN,
    "titles": "Station 7\nfrom,2024\n\n" + PLAIN,
    "a comma at every end": PLAIN.replace("\n", ",\n"),
    "a comma at the end of rows": PLAIN.replace("\n", ",\n").replace("w,\n", "w\n"),
    "lines of old Macs": PLAIN.replace("\n", "\r"),
    "quotes": PLAIN.replace("1.5", '"1.5"').replace("day", '"day"'),
    "an index beside the rows": ",day,v,w\n0,2024-01-01,1.5,a\n1,2024-01-02,-2.25,b\n2,2024-01-03,,a\n",
    "a dash for a missing value": PLAIN.replace("03,,", "03,-,"),
    "a line of units": PLAIN.replace("w\n", "w\n(date),mm,(name)\n", 1),
    "single quotes": "'day','v','w'\n'2024-01-01','1.5','a'\n'2024-01-02','-2.25','b'\n'2024-01-03','','a'\n",
    "blank lines": PLAIN.replace("\n2024-01-02", "\n\n2024-01-02") + "\n\n",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
def test_one_table_in_every_form(form: str, tmp_path: Path):
    assert read_table(put(tmp_path, "a.csv", FORMS[form])).to_dict(as_series=False) == TABLE


@pytest.mark.parametrize(
    "ending, pack", [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
def test_compressed_and_encoded_files(ending: str, pack: Any, tmp_path: Path):
    assert read_table(put(tmp_path, "a.csv" + ending, pack(PLAIN.encode()))).to_dict(as_series=False) == TABLE
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le"):
        text = put(tmp_path, "b.csv", PLAIN.replace("w", "Größe").encode(encoding))
        assert read_table(text).columns == ["day", "v", "Größe"]
    latin = put(tmp_path, "c.csv" + ending, pack(PLAIN.replace("w", "Größe").encode("latin-1")))
    assert read_table(latin, options=ReadOptions(encoding="latin-1")).columns == ["day", "v", "Größe"]
    with pytest.raises(ValueError, match="expected a table in utf-8, received the byte 0xf6 in line 1"):
        read_table(latin)
    with pytest.raises(ValueError, match="a damaged one"):
        read_table(put(tmp_path, "d.csv" + ending, pack(PLAIN.encode() * 9)[:40]))


def test_binary_files_and_json(tmp_path: Path):
    frame = pl.DataFrame(TABLE)
    frame.write_parquet(tmp_path / "a.parquet")
    frame.write_ipc(tmp_path / "a.feather")
    frame.write_ndjson(tmp_path / "a.jsonl")
    (tmp_path / "a.json").write_text(frame.write_json())
    for name in ("a.parquet", "a.feather", "a.jsonl", "a.json"):
        assert read_table(tmp_path / name).to_dict(as_series=False) == TABLE, name
    for name in ("b.parquet", "b.feather", "b.jsonl", "b.zip"):
        with pytest.raises(ValueError, match=r": expected .*; .*\.$"):
            read_table(put(tmp_path, name, b"PK\x03\x04 no such file" * 9))


def test_an_excel_file_is_read_by_its_sheet(tmp_path: Path):
    pytest.importorskip("fastexcel", reason="fastexcel is not installed")
    writer = pytest.importorskip("xlsxwriter", reason="xlsxwriter is not installed")
    with writer.Workbook(str(tmp_path / "a.xlsx")) as book:
        for name in ("one", "two"):
            sheet = book.add_worksheet(name)
            for row, cells in enumerate([("v", "w"), (1.5, name), (2.5, "b")]):
                sheet.write_row(row, 0, cells)
    with pytest.warns(errors.LongspanWarning, match="2 sheets; 'one' is read"):
        assert read_table(tmp_path / "a.xlsx")["w"].to_list() == ["one", "b"]
    assert read_table(tmp_path / "a.xlsx", options=ReadOptions(sheet="two"))["w"].to_list() == ["two", "b"]
    with pytest.raises(ValueError, match="sheet: expected one of one, two, received 'tow'; the nearest"):
        read_table(tmp_path / "a.xlsx", options=ReadOptions(sheet="tow"))


SHEET_DAYS = [date(2021, 1, 1) + timedelta(days=at) for at in range(30)]
SHEETS: dict[str, list[list[Any]]] = {
    "a title": [
        ["Report of sales"],
        [],
        ["date", "v"],
        *[[day, at + 0.5] for at, day in enumerate(SHEET_DAYS)],
    ],
    "an empty column": [[None, "date", "v"], *[[None, day, at + 0.5] for at, day in enumerate(SHEET_DAYS)]],
    "a line of units": [["date", "v"], [None, "mm"], *[[day, at + 0.5] for at, day in enumerate(SHEET_DAYS)]],
    "empty rows": [["date", "v"], *[[day, at + 0.5] for at, day in enumerate(SHEET_DAYS)], [None, " "], []],
}


def put_sheet(folder: Path, rows: list[list[Any]]) -> Path:
    pytest.importorskip("fastexcel", reason="fastexcel is not installed")
    writer = pytest.importorskip("xlsxwriter", reason="xlsxwriter is not installed")
    with writer.Workbook(str(folder / "b.xlsx"), {"default_date_format": "yyyy-mm-dd"}) as book:
        sheet = book.add_worksheet()
        for place, cells in enumerate(rows):
            for column, cell in enumerate(cells):
                if cell is not None:
                    sheet.write(place, column, cell)
    return folder / "b.xlsx"


@pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
@pytest.mark.parametrize("form", SHEETS)
def test_titles_units_and_empty_cells_of_a_sheet_are_no_data(form: str, tmp_path: Path):
    table = read_table(put_sheet(tmp_path, SHEETS[form]))
    assert table.head(30).to_dict(as_series=False) == {
        "date": SHEET_DAYS,
        "v": [at + 0.5 for at in range(30)],
    }


def test_a_column_of_a_sheet_without_a_name_is_called_by_its_place(tmp_path: Path):
    rows = [["date", None], *[[day, "a"] for day in SHEET_DAYS]]
    assert read_table(put_sheet(tmp_path, rows)).columns == ["date", "column_2"]
    with pytest.raises(ValueError, match="at least one row, received a header only"):
        read_table(put_sheet(tmp_path, [["date", "v"]]))


def test_times_of_day_in_a_sheet_are_joined_with_their_dates(tmp_path: Path):
    rows = [[SHEET_DAYS[at // 24], time(at % 24), 1.5] for at in range(72)]
    panel = read_panel(put_sheet(tmp_path, [["date", "time", "v"], *rows]), Columns())
    assert str(panel.frequency) == "1 h" and len(panel.values) == 72


def test_a_header_that_is_missing_or_has_several_lines_is_told(tmp_path: Path):
    with pytest.warns(errors.LongspanWarning, match="no header line"):
        assert read_table(put(tmp_path, "a.csv", "2024-01-01,5\n2024-01-02,6\n")).shape == (2, 2)
    prices = "Price,Close,High\nTicker,ABC,ABC\nDate,,\n" + "".join(
        f"2024-01-0{d},5.5,6\n" for d in range(1, 6)
    )
    with pytest.warns(errors.LongspanWarning, match="header has 3 lines"):
        assert read_table(put(tmp_path, "b.csv", prices)).columns == ["Date", "Close", "High"]
    with pytest.warns(errors.LongspanWarning, match="second is read as 'a_2'"):
        assert read_table(put(tmp_path, "c.csv", "a,a\n1,2\n")).columns == ["a", "a_2"]
    assert find_form("year;2020;2021\nx;1;2\ny;3;4\n", "file").names == ("year", "2020", "2021")


@pytest.mark.parametrize(
    "content, said",
    [
        ("", "an empty file"),
        ("a,b\n", "a header only"),
        ("a,b\n1,2\n3,4,5\n", "expected 2 cells in every line, received 3 in line 3"),
    ],
)
def test_what_is_no_table_is_one_sentence(content: str, said: str, tmp_path: Path):
    with pytest.raises(ValueError, match=said) as error:
        read_table(put(tmp_path, "a.csv", content))
    assert str(error.value).count("\n") == 0 and str(error.value).endswith(".")


NUMBERS = {
    "decimal commas": (["20,04", "1.234,5", "-3"], [20.04, 1234.5, -3]),
    "thousands": (["1,234.5", "20.25", "-1,000,000"], [1234.5, 20.25, -1e6]),
    "blanks between thousands": (["1 234,5", "20", "7 000,25"], [1234.5, 20, 7000.25]),
    "signs of typography": (["\N{MINUS SIGN}5.5", "+6", " 7 "], [-5.5, 6, 7]),
    "markers": (["1.5", "-", "#N/A"], [1.5, None, None]),
    "exponents": (["1e3", "2E-1", "5."], [1000, 0.2, 5]),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_numbers_as_people_write_them(case: str):
    text, values = NUMBERS[case]
    read = read_numbers(pl.Series(text))
    assert read.values.to_list() == values and not read.odd.any()


def test_one_odd_cell_is_named_and_changes_nothing(tmp_path: Path):
    cells = [f"{place / 8}" for place in range(40)]
    ways = {"x": "missing=.'x'", "5.5%": "without the sign", "$5.50": "the currency", "20,037": "correct it"}
    for odd, way_out in ways.items():
        frame = read_table({"v": [*cells, odd]})
        assert number_share(frame["v"]) > 0.9
        said = f"received {odd!r}".replace("$", "[$]") + f" in row 41; .*{way_out}"
        with pytest.raises(ValueError, match=said):
            numbers(frame, ["v"], "column")
    table = put(tmp_path, "a.csv", "v\n" + "\n".join([*cells, "closed", "7.5"]) + "\n")
    closed = read_table(table, options=ReadOptions(missing=("closed",)))["v"]
    assert closed.dtype == pl.Float64 and closed.null_count() == 1
    thousands = {"v": ["1,234", "2,345"]}
    with pytest.warns(errors.LongspanWarning, match="'1,234' is read as 1234"):
        assert read_table(thousands)["v"].to_list() == [1234, 2345]


def test_ids_and_labels_stay_as_they_are_written(tmp_path: Path):
    table = put(tmp_path, "a.csv", "sku,label,v\n0007,None,1\n0042,NA,2\n")
    assert read_table(table, text=("sku", "label")).rows() == [("0007", "None", 1), ("0042", "NA", 2)]
    assert words(read_table({"c": [1.0, 2.0, None]}), "c").tolist() == ["1", "2", ""]


# ---- what programs hold

DAYS = pd.date_range("2024-01-01", periods=3, name="day")


def test_pandas_of_every_kind():
    plain = {"v": [1.5, -2.25, None], "w": ["a", "b", "a"]}
    frame = pd.DataFrame(
        {"v": pd.array(plain["v"], dtype="Float64"), "w": pd.array(plain["w"], dtype="string")}
    )
    assert read_table(frame).to_dict(as_series=False) == plain
    whole = pd.DataFrame({"v": pd.array([1, None, 3], dtype="Int64"), "w": pd.Categorical(["a", None, "b"])})
    assert read_table(whole).rows() == [(1.0, "a"), (None, None), (3.0, "b")]
    mixed = pd.DataFrame({0: [True, False, True], "k": pd.Series([pd.NA, "x", 5], dtype=object)})
    assert read_table(mixed).rows() == [(True, None), (False, "x"), (True, "5")]
    for index in (DAYS, pd.PeriodIndex(DAYS, freq="D", name="day")):
        read = read_source(pd.Series([1.0, 2.0, 3.0], index=index, name="v"))
        assert read.index_columns == ("day",) and read.frame["day"].to_list() == DAYS.to_pydatetime().tolist()
    both = pd.MultiIndex.from_product([["a", "b"], DAYS.rename(None)])
    assert read_source(pd.DataFrame({"v": range(6)}, index=both)).index_columns == ("id", "time")
    assert read_source(pd.DataFrame({"v": [1, 2]}, index=[7, 3])).index_columns == (), "rows that were chosen"
    levels = pd.DataFrame([[1.0, 2.0]], columns=pd.MultiIndex.from_tuples([("Close", "A"), ("Close", "B")]))
    assert read_table(levels).columns == ["Close_A", "Close_B"]
    with pytest.raises(ValueError, match="different names, received 'v' twice"):
        read_table(pd.DataFrame([[1, 2]], columns=["v", "v"]))


def test_other_holders_of_tables():
    frame = pl.DataFrame(TABLE)
    records = frame.to_dicts()
    structured = np.array([(1.5, b"a"), (2.5, b"b")], dtype=[("v", float), ("w", "S1")])
    assert read_table(frame.lazy()).equals(frame) and read_table(records).rows() == frame.rows()
    assert read_table(TABLE).rows() == frame.rows()
    assert read_table(structured).rows() == [(1.5, "a"), (2.5, "b")]
    assert read_table(pl.Series("v", [1, 2])).columns == ["v"]
    with pytest.raises(ValueError, match="columns of one length, received 2 in a, 3 in b"):
        read_table({"a": [1, 2], "b": [1, 2, 3]})
    with pytest.raises(ValueError, match="column v: expected numbers, received a DataFrame in row 1"):
        numbers(read_table({"v": [pd.DataFrame({"a": [1]})]}), ["v"], "column")


def test_arrays_of_every_kind():
    masked = np.ma.masked_array([1.0, 2.0], mask=[False, True])
    wanted = [[1.0], [np.nan]]
    for source in (masked, [1.0, None], [1, pd.NA], torch.tensor([1.0, float("nan")], requires_grad=True)):
        assert np.array_equal(number_arrays(source)[0], wanted, equal_nan=True)
    for source, said in (
        (["a"], "received 'a'"),
        ([[1, 2], [[1, 2]]], "one width"),
        (np.zeros((2, 2, 2)), "shape"),
        ([], "no data"),
        ([pd.DataFrame({"v": [1]})], "no list of frames"),
        (5, "a path to a table"),
    ):
        with pytest.raises((ValueError, TypeError), match=said):
            number_arrays(source)


def test_answers_go_back_to_pandas_without_another_package():
    zoned = pl.DataFrame(
        {"t": pl.Series([0, 10**6]).cast(pl.Datetime("us", "UTC")), "v": [1.0, 2.0], "w": ["a", None]}
    )
    back = to_pandas(zoned, "t")
    assert str(back["t"].dtype) == "datetime64[us, UTC]" and back["v"].tolist() == [1.0, 2.0]
    assert isinstance(back.index, pd.DatetimeIndex) and back.index.name is None


def test_xarray_is_read_by_its_coordinates():
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    series = xarray.DataArray([1.0, 2.0, 3.0], dims="day", coords={"day": DAYS})
    read = read_source(series)
    assert read.index_columns == ("day",) and read.frame["value"].to_list() == [1.0, 2.0, 3.0]
    grid = xarray.Dataset(
        {"v": (("city", "day"), np.arange(6.0).reshape(2, 3))}, {"city": ["a", "b"], "day": DAYS}
    )
    panel = read_panel(grid, Columns())
    assert panel.ids == ("a", "b") and panel.values[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    for source, said in (
        (xarray.DataArray([1.0]), "coordinates of every dimension, received a dimension without"),
        (grid.expand_dims(level=[1, 2]), "at most one of series, received "),
    ):
        with pytest.raises(ValueError, match=said):
            read_source(source)


def test_frames_are_told_from_single_columns_and_arrays():
    frames = [pd.DataFrame({"v": [1]}), pl.DataFrame({"v": [1]}), pl.LazyFrame({"v": [1]})]
    columns = [pd.Series([1]), pl.Series([1]), np.zeros(1), [1], {"v": [1]}, pd.Index([1])]
    assert all(map(is_frame_like, frames)) and not any(map(is_frame_like, columns))
    assert (
        read_table({"v": pd.Index([1, 2]), "t": pd.period_range("2024-01", periods=2, freq="M")}).height == 2
    )
    with pytest.raises(TypeError, match="received Index"):
        read_table(pd.Index([1]))


def test_the_docs_list_every_marker_of_missing_values():
    docs = (Path(__file__).parents[2] / "docs" / "reading.md").read_text()
    assert not [marker for marker in MISSING if marker and f"`{marker}`" not in docs]


def test_dots_that_may_stand_between_thousands_are_told(tmp_path: Path):
    rows = "".join(f"2024-01-{day:02d};{day + 9}.250\n" for day in range(1, 20))
    with pytest.warns(
        errors.LongspanWarning, match=r"v: '10.250' is read as 10.25, the dot as a decimal point"
    ):
        read_table(put(tmp_path, "a.csv", "day;v\n" + rows))
    assert read_table(put(tmp_path, "b.csv", "day;v\n" + rows.replace(";10.250", ";0.250"))).height == 19


def test_large_files_with_iso_dates_are_read_as_dates(tmp_path: Path):
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 12, 31), eager=True).cast(pl.Datetime("us"))
    table = pl.DataFrame({"day": days, "v": range(len(days))})
    for form in ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S"):
        path = tmp_path / "a.csv"
        table.with_columns(pl.col("day").dt.strftime(form)).write_csv(path)
        assert read_source(path, dates=True).frame.equals(table)
        assert read_source(path, dates=True, text=("day",)).frame["day"].dtype == pl.String
        path.write_text(path.read_text() + "Total,5\n")
        assert read_source(path, dates=True).frame["day"][-1] == "Total", "a later cell that is no date"


def test_a_sentence_is_one_line_whatever_the_names_of_columns():
    with pytest.raises(ValueError, match=r"source \(day, v \(mm\)\), received 'w'"):
        check_columns(pl.DataFrame({"day": [1], "v\n(mm)": [1]}), ["w"], "target")
    for cell in ([1], {"a": 1}):
        with pytest.raises(ValueError, match="column v: expected text, received a"):
            words(read_table({"v": [cell]}), "v")


def dated_file(folder: Path, *, odd: str = "1.5") -> Path:
    """A file of 400 days with two columns of fractions, one odd cell far down, and ids written as 7.0."""
    days = np.datetime64("2024-01-01") + np.arange(400)
    rows = [f"{day},{at}.25,{odd if at == 350 else '1.5'},7.0" for at, day in enumerate(days)]
    return put(folder, "dated.csv", "\n".join(["day,v,w,id", *rows]) + "\n")


@pytest.mark.parametrize("name", ["sales [1].csv", "sales [1].parquet", "sales [1].arrow"])
def test_brackets_in_the_name_of_a_file_are_no_pattern(tmp_path: Path, name: str) -> None:
    frame, path = pl.DataFrame({"a": [1, 2], "b": ["x", "y"]}), tmp_path / name
    write = {"csv": frame.write_csv, "parquet": frame.write_parquet, "arrow": frame.write_ipc}
    write[name.rpartition(".")[2]](path)
    assert read_table(path).equals(frame)
    head = tmp_path / f"head{path.suffix}"
    assert write_head(path, head, 1000, "utf-8") and read_table(head).equals(frame)


def test_columns_that_are_not_named_are_left_out_of_large_files(tmp_path: Path) -> None:
    whole = read_source(dated_file(tmp_path), dates=True).frame
    part = read_source(dated_file(tmp_path), dates=True, needed={"v"}).frame
    assert part.columns == ["day", "v", "id"] and part.equals(whole.select("day", "v", "id"))
    assert read_source(dated_file(tmp_path, odd="x"), dates=True, needed={"v"}).frame.equals(part)


def test_a_column_that_is_not_there_is_told_beside_all_that_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"past_covariates.*\(day, v, w, id\), received 'ww'"):
        read_panel(dated_file(tmp_path), Columns(target=("v",), past=("ww",)))


def test_a_number_that_stands_for_missing_values_is_told_and_left_out_on_request(tmp_path: Path):
    rows = "".join(f"2024-01-{day:02d},{-999 if day % 7 == 3 else day}\n" for day in range(1, 31))
    path = put(tmp_path, "a.csv", "date,v\n" + rows)
    with pytest.warns(errors.LongspanWarning, match=r"v is -999 in 4 rows.*missing=\('-999',\)"):
        read_panel(path, Columns())
    options = TimeOptions(missing=("-999",))
    assert np.isnan(read_panel(path, Columns(), options=options).values).sum() == 4
    for ordinary in ([-999.0, -998.0, -1001.0] * 9, [1.0, -999.0, 2.0, 3.0], [0.0, 99.0] * 9):
        with errors.collect_notices() as notes:
            numbers(pl.DataFrame({"v": ordinary}), ["v"], "target")
        assert not notes


def test_categories_of_polars_are_ids_like_any_other_text():
    frame = pl.DataFrame({"id": ["a", "b"]}, schema={"id": pl.Categorical})
    assert read_source(frame, text={"id"}).frame["id"].to_list() == ["a", "b"]


def test_a_dict_of_pandas_series_keeps_their_index():
    days = pd.date_range("2024-01-01", periods=30)
    series = pd.Series(np.arange(30.0), index=days).drop(days[7])
    with pytest.warns(errors.LongspanWarning, match="1 row is missing"):
        panel = read_panel({"v": series}, Columns())
    assert str(panel.frequency) == "1 day" and len(panel.values) == 30


def test_zones_of_other_packages_are_kept_or_told():
    days = pd.date_range("2021-02-01", periods=99, tz="dateutil/Europe/Berlin")
    assert read_panel(pd.DataFrame({"d": days, "v": 1.5}), Columns()).frequency.zone == "Europe/Berlin"
    odd = days.tz_convert(timezone(timedelta(hours=5, minutes=30)))
    with pytest.warns(errors.LongspanWarning, match=r"UTC\+05:30 has no usual name; .* in UTC"):
        read_panel(pd.DataFrame({"d": odd.normalize(), "v": 1.5}), Columns())


def test_frames_as_pandas_writes_them_to_json_and_archives_of_macos(tmp_path: Path):
    frame = pd.DataFrame({"date": ["2021-01-01", "2021-01-02"], "v": [1.5, 2.5]})
    for orient in ("columns", "records", "split", "list"):
        text = json.dumps(frame.to_dict("list")) if orient == "list" else str(frame.to_json(orient=orient))
        path = tmp_path / f"{orient}.json"
        path.write_text(text)
        assert read_table(path)["v"].to_list() == [1.5, 2.5], orient
    (tmp_path / "odd.json").write_text('{"columns": ["a"], "index": [0], "data": [1, 2]}')
    assert read_table(tmp_path / "odd.json").width == 3, "columns of these names"
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csv", frame.to_csv(index=False))
        archive.writestr("__MACOSX/._a.csv", b"\x00\x05")
    assert read_table(tmp_path / "a.zip")["v"].to_list() == [1.5, 2.5]


def test_a_subclass_of_a_pandas_frame_is_one():
    class Frame(pd.DataFrame):
        """One of another library, such as a GeoDataFrame."""

    days = pd.date_range("2021-01-01", periods=2)
    assert read_table(Frame({"v": [1.5, 2.5]}, index=days)).columns == ["time", "v"]


def test_a_guess_names_a_cell_that_could_be_read_in_two_ways() -> None:
    numbers = read_numbers(pl.Series(["2021-01-01", "1,234"]))
    assert numbers.values.to_list() == [None, 1234.0] and numbers.odd.to_list() == [True, False]
    assert numbers.guess == "'1,234' is read as 1234"


def test_lists_in_cells_are_named() -> None:
    cases = (([None, [1.0]], "received a list in row 2"), ([None, None], "received a column of List"))
    for cells, said in cases:
        column = pl.Series("y", cells, pl.List(pl.Float64))
        for read in (lambda found: numbers(found.to_frame(), ["y"], "target"), canonical_ids):
            with pytest.raises(ValueError, match=said):
                read(column)


def test_a_saved_model_is_no_table(tmp_path: Path) -> None:
    artifact.save(tmp_path / "model.csv", {}, {})
    with pytest.raises(
        ValueError, match=r"model.csv: expected data, received a saved model; longspan report"
    ):
        read_source(tmp_path / "model.csv")
