"""Knows what the command line says to files that no forecast can be learnt from."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from longspan import cli

TIMES = [datetime(2024, 1, 1) + timedelta(hours=i) for i in range(200)]
UNEVEN = [datetime(2024, 1, 1) + timedelta(seconds=37 * i * i + i**3) for i in range(100)]


def table(times: Iterable[datetime], odd: object = 3) -> str:
    """Rows of a time and a number, the sixth number given."""
    rows = [f"{time},{odd if i == 5 else i % 24}" for i, time in enumerate(times)]
    return "\n".join(["time,y", *rows])


CASES = {
    "empty": ("", "file data.csv: expected a table with a header, received an empty file"),
    "header only": ("time,y\n", "file data.csv: expected at least one row, received a header only"),
    "text among numbers": (table(TIMES, "x"), "target y: expected numbers, received 'x' in row 6"),
    "infinity": (table(TIMES, "inf"), "target y: expected finite numbers, received inf in row 6"),
    "all NaN": ("time,y\n" + "\n".join(f"{time}," for time in TIMES), "target y: expected at least one num"),
    "a time twice": (table([*TIMES, TIMES[-1]]), "time time: expected each time once, received 2024-01-09"),
    "no frequency": (table(UNEVEN), "time: expected times on a regular step, received "),
    "too few rows": (table(TIMES[:20]), "source: expected at least 49 rows for a horizon of 24, received 20"),
    "wrong column": (
        table(TIMES).replace(",y", ",yield"),
        "target: expected a column of file data.csv (time",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_sentence_status_2_and_nothing_written(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    content, sentence = CASES[case]
    monkeypatch.chdir(tmp_path)
    Path("data.csv").write_text(content)
    words = ["fit", "forecast", "data.csv", "--target", "y", "--horizon", "24", "-o", "model"]
    assert cli.main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith(f"longspan: {sentence}")
    assert os.listdir(tmp_path) == ["data.csv"]


def test_a_missing_file_is_answered_with_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    Path("data.csv").write_text(table(TIMES))
    assert cli.main(["fit", "forecast", "date.csv", "-o", "model"]) == 2
    assert "the nearest is 'data.csv'" in capsys.readouterr().err


def test_the_horizon_that_works_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    Path("data.csv").write_text(table(TIMES[:20]))
    words = ["fit", "forecast", "data.csv", "--target", "y", "-o", "model", "--epochs", "1", "--horizon"]
    assert cli.main([*words, "24"]) == 2
    assert "the largest horizon that works is 9" in capsys.readouterr().err
    assert cli.main([*words, "9"]) == 0, capsys.readouterr().err
    assert cli.main(["predict", "model", "-o", "out.csv"]) == 0
    assert len(Path("out.csv").read_text().splitlines()) == 10
