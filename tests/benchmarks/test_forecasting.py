"""The benchmark of forecasts: sets are cut as they say, trained on nothing of the test part, and scored."""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pytest

quiet = pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")


@pytest.fixture(scope="module")
def bench(benchmark_module: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark_module("forecasting")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder like the public one: airline passengers made up, and two series like M4's."""
    for name in ("airline-passengers", "M4_hourly"):
        (tmp_path / "forecasting" / name).mkdir(parents=True)
    steps = np.arange(144)
    months = [f"{1949 + step // 12}-{step % 12 + 1:02d}" for step in steps]
    table = pl.DataFrame(
        {"Month": months, "Passengers": (100 + steps) * (1 + 0.2 * np.sin(steps / 12 * 6.2832))}
    )
    table.write_csv(tmp_path / "forecasting/airline-passengers/airline-passengers.csv")
    folder = tmp_path / "forecasting/M4_hourly"
    rows = {
        "train": {"H1": range(1, 301), "H2": range(5, 200)},
        "test": {"H1": range(301, 349), "H2": range(200, 248)},
    }
    for part, series in rows.items():
        width = max(map(len, series.values()))
        lines = ["V1," + ",".join(f"V{place + 2}" for place in range(width))]
        lines += [",".join([name, *map(str, v), *[""] * (width - len(v))]) for name, v in series.items()]
        with gzip.open(folder / f"Hourly-{part}.csv.gz", "wt") as file:
            file.write("\n".join(lines))
    return tmp_path


def task(bench: ModuleType, name: str) -> Any:
    return next(one for one in bench.TASKS if one.name == name)


def test_m4_comes_as_one_long_table(bench: ModuleType, data: Path):
    frame = bench.m4_hourly(data)
    assert frame.columns == ["id", "time", "value", "test"]
    assert frame.group_by("id").len().sort("id")["len"].to_list() == [348, 243]
    test = frame.filter(pl.col("test"))
    assert test.height == 96 and test.filter(pl.col("id") == "H2")["value"].to_list() == list(range(200, 248))
    assert not frame.filter(~pl.col("test"))["value"].is_null().any()


def test_the_published_cuts(bench: ModuleType):
    assert task(bench, "etth1_ot").parts(17_420) == (8_640, 11_520, 14_400)
    assert task(bench, "exchange_96").parts(7_588) == (5_312, 6_070, 7_588)


@quiet
@pytest.mark.parametrize("development", [False, True])
def test_a_run_is_scored_on_rows_after_those_it_learnt_from(bench: ModuleType, data: Path, development: bool):
    one = task(bench, "airline")
    options = {**one.options, "hidden_size": 4, "epochs": 1}
    row = bench.run(dataclasses.replace(one, options=options), data, 0, development)
    assert row["set"] == "airline" and row["seconds"] > 0 and 0 <= row["coverage"] <= 1
    values = bench.read_table(data / "forecasting/airline-passengers/airline-passengers.csv")[
        "Passengers"
    ].to_numpy()
    begin, end = (98, 115) if development else (115, 144)
    gaps = [np.abs(values[at : at + 12] - values[at - 1]) for at in range(begin, end - 11)]
    assert row["naive"] == pytest.approx(np.mean(gaps))


@quiet
def test_the_table_has_a_line_a_set_and_the_json_a_row_a_run(
    bench: ModuleType,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    one = task(bench, "airline")
    small = dataclasses.replace(one, options={**one.options, "hidden_size": 4, "epochs": 1})
    monkeypatch.setattr(bench, "TASKS", (small,))
    monkeypatch.setattr(bench, "PANELS", {})
    words = [
        "--data",
        str(data),
        "--seeds",
        "0",
        "1",
        "--threads",
        "1",
        "--json",
        str(tmp_path / "rows.json"),
    ]
    assert bench.main(words) == 0
    shown = capsys.readouterr().out
    assert "seasonal naive" in shown and shown.count("set=airline") == 2
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["seed"] for row in rows] == [0, 1] and all(np.isfinite(row["model"]) for row in rows)


def test_without_the_data_one_sentence(bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("LONGSPAN_DATA", raising=False)
    with pytest.raises(
        SystemExit, match="data: expected the folder with the public data sets, received nothing"
    ):
        bench.data_folder(None)
    with pytest.raises(SystemExit, match="which has no folder forecasting"):
        bench.data_folder(str(tmp_path))
