"""The command line finds anomalies in a file of events with entities, categories and known anomalies."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from longspan import cli

ROWS = 300
FIT = ["fit", "anomaly", "events.csv", "--id", "machine", "--label", "bad", "--epochs", "3"]


def machine(name: str, bad: slice | None) -> pl.DataFrame:
    draw = np.random.default_rng(len(name))
    heat, flags = np.sin(np.arange(ROWS) / 5) + 0.05 * draw.normal(size=ROWS), np.zeros(ROWS, dtype=int)
    if bad is not None:
        heat[bad], flags[bad] = 3.0, 1
    times = [datetime(2024, 1, 1) + timedelta(minutes=5 * place) for place in range(ROWS)]
    mode = ["on" if place % 7 else "off" for place in range(ROWS)]
    return pl.DataFrame({"time": times, "machine": name, "heat": heat, "mode": mode, "bad": flags})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the events of two machines one after the other in time, and a model."""
    monkeypatch.chdir(tmp_path)
    both = pl.concat([machine("a", None), machine("bb", slice(200, 215))])
    both.sort("time", maintain_order=True).write_csv("events.csv")
    machine("c", slice(120, 130)).drop("bad").write_csv("new.csv")
    return tmp_path


def test_fit_predict_evaluate_and_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*FIT, "--hidden-size", "8", "-o", "model"]) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert "Threshold" in printed and "Held-out part" in printed
    assert "90 readings, the last of every series." in printed and "allowed at most" in printed
    assert cli.main(["predict", "model", "new.csv", "-o", "found.csv"]) == 0
    found = pl.read_csv("found.csv")
    assert found.columns == ["id", "time", "score", "alarm", "cause"] and len(found) == ROWS
    assert found["alarm"][120] and found["cause"][120] == "heat" and not found["alarm"][:120].any()
    capsys.readouterr()
    assert cli.main(["evaluate", "model", "events.csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"precision": 1.0, "recall": 1.0, "f1": 1.0}
    assert cli.main(["report", "model", "events.csv", "-o", "page.html"]) == 0
    page = Path("page.html").read_text()
    assert all(word in page for word in ("Alarms", "severity", "heat", "Readings by entity"))


def test_a_forecaster_with_options_of_its_own_is_held_and_saved(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--forecaster", "context_length=12 past_covariates=mode", "--target", "heat", "-o", "model"]
    assert cli.main([*FIT[:-2], *words]) == 0, capsys.readouterr().err
    assert cli.main(["predict", "model", "new.csv", "-o", "found.csv"]) == 0
    assert pl.read_csv("found.csv").filter("alarm")["cause"].unique().to_list() == ["heat"]
    assert cli.main(["report", "model", "-o", "page.html"]) == 0
    assert "--forecaster &#39;context_length=12 past_covariates=mode&#39;" in Path("page.html").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([*FIT, "--forecaster", "contxt=3"], "option: expected one of the options of Forecaster"),
        ([*FIT, "--forecaster", "horizon=3"], "forecaster: expected one with a horizon of 1, received 3"),
        ([*FIT, "--forecaster", "context_length='3"], "options: expected options such as"),
        ([*FIT, "--target", "haet"], "target: expected"),
        ([*FIT, "--time", "when"], "when"),
        ([*FIT, "--false-positive-rate", "1.5"], "--false-positive-rate: expected"),
        (["fit", "anomaly", "dead.csv"], "column heat: expected at least one number, received NaN only"),
        (
            ["fit", "anomaly", "bytes.csv"],
            "encoding: expected a table in utf-8, received the byte 0xff in line 3",
        ),
        (["fit", "anomaly", "times.csv"], "time time: expected times in one form, received 'noon' in row 3"),
        (
            ["fit", "anomaly", "all.csv", "--label", "bad"],
            "flags: expected readings that are no known anomaly",
        ),
        (["fit", "anomaly", "new.csv", "--label", "bad"], "label: expected a column of file new.csv"),
    ],
)
def test_one_sentence_status_2_and_nothing_written(
    words: list[str], sentence: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pl.read_csv("events.csv").with_columns(heat=pl.lit(None, dtype=pl.Float64)).write_csv("dead.csv")
    lines = Path("new.csv").read_bytes().splitlines(keepends=True)
    Path("bytes.csv").write_bytes(b"".join([*lines[:2], lines[2].replace(b"on", b"\xff"), *lines[3:]]))
    Path("times.csv").write_bytes(b"".join([*lines[:3], b"noon,c,1.0,on\n", *lines[4:]]))
    pl.read_csv("events.csv").with_columns(bad=pl.lit(1)).write_csv("all.csv")
    assert cli.main([*words, "-o", "model"]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1 and not Path("model").exists()
