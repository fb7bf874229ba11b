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
FIT = ["fit", "anomaly", "events.csv", "--id", "machine", "--flag", "bad", "--epochs", "3"]


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
    assert "Threshold" in capsys.readouterr().out
    assert cli.main(["predict", "model", "new.csv", "-o", "found.csv"]) == 0
    found = pl.read_csv("found.csv")
    assert found.columns == ["id", "time", "score", "alarm", "cause"] and len(found) == ROWS
    assert found["alarm"][120] and found["cause"][120] == "heat" and not found["alarm"][:120].any()
    capsys.readouterr()
    assert cli.main(["evaluate", "model", "events.csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"precision": 1.0, "recall": 1.0, "f1": 1.0}
    assert cli.main(["report", "model", "events.csv", "-o", "page.html"]) == 0
    page = Path("page.html").read_text()
    assert all(word in page for word in ("Alarms", "severity", "heat", "Scores by entity"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([*FIT, "--target", "haet"], "target: expected"),
        ([*FIT, "--time", "when"], "when"),
        ([*FIT, "--false-alarms", "1.5"], "false_alarms: expected"),
        (["fit", "anomaly", "dead.csv"], "column heat: expected at least one number, received NaN only"),
    ],
)
def test_one_sentence_status_2_and_nothing_written(
    words: list[str], sentence: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pl.read_csv("events.csv").with_columns(heat=pl.lit(None, dtype=pl.Float64)).write_csv("dead.csv")
    assert cli.main([*words, "-o", "model"]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1 and not Path("model").exists()
