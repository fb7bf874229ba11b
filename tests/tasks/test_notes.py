"""Checks that ordinary sources are read without a note, and that guesses that could be wrong give one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import longspan as ls
from longspan import cli, errors

ROWS = 40
DAYS: Any = pd.date_range("2021-01-01", periods=ROWS, freq="D")
HOURS: Any = pd.date_range("2021-01-01", periods=ROWS, freq="h")
WAVE = np.round(20 + 5 * np.sin(np.arange(ROWS) * 2 * np.pi / 7), 2)
TEXTS = [f"the room was {'great' if place % 2 else 'awful'} on day {place % 9}" for place in range(ROWS)]
CLASSES = ["good" if place % 2 else "bad" for place in range(ROWS)]


def lines(head: str, row: Callable[[int], str]) -> str:
    return head + "\n" + "".join(row(place) + "\n" for place in range(ROWS))


SHOPS = pd.DataFrame({"store": [1, 2] * 20, "date": DAYS.repeat(2)[:ROWS], "v": WAVE})
ORDINARY: dict[str, Any] = {
    "ISO days": lines("date,v", lambda i: f"{DAYS[i].date()},{WAVE[i]}"),
    "German days and commas": lines(
        "Datum;Wert", lambda i: f"{DAYS[i]:%d.%m.%Y};{WAVE[i]}".replace(".", ",", 0)
    ),
    "hours with an offset": lines("timestamp,load", lambda i: f"{HOURS[i]:%Y-%m-%dT%H:%M:%SZ},{WAVE[i]}"),
    "months": lines("month,v", lambda i: f"{2018 + i // 12}-{i % 12 + 1:02d},{WAVE[i]}"),
    "business days": pd.DataFrame({"Date": pd.bdate_range("2021-01-04", periods=ROWS), "Close": WAVE}),
    "missing cells": lines("date,v", lambda i: f"{DAYS[i].date()},{'NA' if i == 9 else WAVE[i]}"),
    "an index of times": pd.Series(WAVE, index=DAYS, name="v"),
    "polars": pl.DataFrame({"time": HOURS.to_pydatetime().tolist(), "v": WAVE}),
    "several series": lines("unique_id,ds,y", lambda i: f"{'ab'[i % 2]},{DAYS[i // 2].date()},{WAVE[i]}"),
    "numbers alone": WAVE,
}
LABELLED: dict[str, Any] = {
    "texts": lines("text,label", lambda i: f"{TEXTS[i]},{CLASSES[i]}"),
    "texts with an id": lines("id,text,label", lambda i: f"{i},{TEXTS[i]},{CLASSES[i]}"),
    "quoted texts": lines("label;review", lambda i: f'{CLASSES[i]};"{TEXTS[i]}; indeed"'),
    "JSON lines": "".join(f'{{"text": "{text}", "label": {at % 2}}}\n' for at, text in enumerate(TEXTS)),
    "a frame": pd.DataFrame({"text": TEXTS, "label": CLASSES}),
    "series": lines("id,time,x,z,label", lambda i: f"{i // 4},{i % 4},{WAVE[i]},{i % 3},{'ab'[i // 4 % 2]}"),
    "polars": pl.DataFrame({"text": TEXTS, "label": CLASSES}),
    "whole numbers as classes": lines("sentence,label", lambda i: f"{TEXTS[i]},{i % 3}"),
    "words of a list": pl.DataFrame({"content": TEXTS, "label": CLASSES}),
    "a folded index": pd.DataFrame({"text": TEXTS, "label": CLASSES}).sample(frac=1.0, random_state=0),
}


def put(folder: Path, source: Any) -> Any:
    """The source, text as a file."""
    if not isinstance(source, str):
        return source
    path = folder / ("a.jsonl" if source.startswith("{") else "a.csv")
    path.write_text(source)
    return path


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_series_give_no_note(name: str, tmp_path: Path):
    source = put(tmp_path, ORDINARY[name])
    assert len(ls.Forecaster(horizon=2).read(source).rows) > 10
    if name != "several series":
        assert len(ls.AnomalyDetector().read(source)[0]) == ROWS


@pytest.mark.parametrize("name", LABELLED)
def test_ordinary_records_give_no_note(name: str, tmp_path: Path):
    assert len(ls.Classifier().read(put(tmp_path, LABELLED[name]))) in (ROWS, ROWS // 4)


GUESSES: dict[str, tuple[Any, str]] = {
    "rows out of order": (pd.DataFrame({"date": DAYS[::-1], "v": WAVE}), "not in order; the rows have been"),
    "rows missing": (pd.DataFrame({"date": DAYS, "v": WAVE}).drop(range(7, 10)), "3 rows are missing"),
    "no header": (lines("2020-12-31,5.5", lambda i: f"{DAYS[i].date()},{WAVE[i]}"), "has no header line"),
    "titles": ("Station 7\n\n" + ORDINARY["ISO days"], "lines before the header are left out"),
    "names twice": (lines("date,v,v", lambda i: f"{DAYS[i].date()},{i},{i}"), "read as 'v_2'"),
    "unix times": ({"time": [1_600_000_000 + 60 * at for at in range(ROWS)], "v": WAVE}, "read as unix time"),
    "two times": (pd.DataFrame({"date": DAYS, "end": DAYS, "v": WAVE}), "looks like times too"),
    "thousands": ({"date": DAYS, "v": [f"1,{100 + at}" for at in range(ROWS)]}, "'1,100' is read as 1100"),
    "ids by a name": (SHOPS, "told apart by store"),
    "a constant": (np.ones(ROWS), "is always 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", GUESSES)
def test_a_guess_gives_a_note(name: str, tmp_path: Path):
    source, note = GUESSES[name]
    options: dict[str, Any] = {"target": "v"} if name == "names twice" else {}
    with pytest.warns(errors.LongspanWarning, match=note):
        ls.Forecaster(horizon=2, **options).read(put(tmp_path, source))


@pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
def test_notes_are_printed_by_fit_and_stand_in_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path, model = put(tmp_path, GUESSES["no header"][0]), tmp_path / "model"
    options = ["--horizon", "2", "--epochs", "1", "--hidden-size", "4"]
    assert cli.main(["fit", "forecast", str(path), "-o", str(model), *options]) == 0
    printed = capsys.readouterr()
    assert "has no header line" in printed.out + printed.err
    assert any("has no header line" in note for note in ls.load(model).notes_)
    ls.load(model).write_report(tmp_path / "a.html")
    assert "has no header line" in (tmp_path / "a.html").read_text()
