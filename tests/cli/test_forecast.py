"""The command line of forecasts: files that nothing can be learnt from, the search, resuming."""

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
    "too large": (
        table(TIMES, "-1e200"),
        "target y: expected numbers from -1e+100 to 1e+100, received -1e+200",
    ),
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


SMALL = [
    "--horizon",
    "3",
    "--context-length",
    "12",
    "--hidden-size",
    "4",
    "--epochs",
    "2",
    "--calendar",
    "false",
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with 200 hours in a file."""
    monkeypatch.chdir(tmp_path)
    Path("data.csv").write_text(table(TIMES))
    return tmp_path


def rows_with(push: int, y: int) -> str:
    """A table whose covariate is known for the first `push` rows and whose target for the first `y`."""
    rows = [f"{t},{i % 24 if i < y else ''},{i % 5}" for i, t in enumerate(TIMES[:push])]
    return "\n".join(["time,y,push", *rows])


@pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
def test_covariates_that_end_too_soon(folder: Path, capsys: pytest.CaptureFixture[str]):
    Path("data.csv").write_text(rows_with(190, 190))
    words = ["--target", "y", "--time", "time", "--future-covariates", "push", "-o", "model"]
    assert cli.main(["fit", "forecast", "data.csv", *words, *SMALL]) == 0, capsys.readouterr().err
    Path("short.csv").write_text(rows_with(192, 190))
    Path("long.csv").write_text(rows_with(193, 190))
    capsys.readouterr()
    assert cli.main(["predict", "model", "short.csv", "-o", "out.csv"]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err == (
        "longspan: --future-covariates: expected push for the 3 steps to forecast, received 2 steps; "
        "append rows with these columns, the target left empty.\n"
    )
    assert not Path("out.csv").exists()
    assert cli.main(["predict", "model", "long.csv", "-o", "out.csv"]) == 0
    assert len(Path("out.csv").read_text().splitlines()) == 4


def test_a_model_cut_short_or_from_a_newer_version(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    words = ["fit", "forecast", "data.csv", "--target", "y", *SMALL, "-o"]
    assert cli.main([*words, "model"]) == 0
    whole = Path("model").read_bytes()
    Path("short").write_bytes(whole[: len(whole) // 2])
    with monkeypatch.context() as newer:
        newer.setattr("longspan.artifact.VERSION", 99)
        assert cli.main([*words, "newer"]) == 0
    capsys.readouterr()
    for name, sentence in {"short": "received a truncated", "newer": "received format 99"}.items():
        assert cli.main(["predict", name, "data.csv", "-o", "out.csv"]) == 2
        told = capsys.readouterr()
        assert sentence in told.err and told.err.count("\n") == 1 and told.out == ""
    assert not Path("out.csv").exists()


def test_unsorted_times_and_a_constant_are_answered_with_a_note(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    lines = "\n".join(f"{t},7" for t in [*TIMES[100:], *TIMES[:100]])
    Path("data.csv").write_text(f"time,y\n{lines}")
    assert cli.main(["fit", "forecast", "data.csv", "--target", "y", *SMALL, "-o", "model"]) == 0
    told = capsys.readouterr().err
    assert "longspan: note: The times were not in order; the rows have been sorted." in told
    assert "longspan: note: y is always 7; it is answered with that." in told
    assert cli.main(["predict", "model", "-o", "out.csv"]) == 0
    rows = [line.split(",") for line in Path("out.csv").read_text().splitlines()[1:]]
    assert [row[0][:19] for row in rows] == [(TIMES[-1] + timedelta(hours=h)).isoformat() for h in (1, 2, 3)]
    assert all(float(number) == pytest.approx(7.0) for row in rows for number in row[2:])


def test_options_found_by_the_search_are_saved(folder: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("optuna", reason="optuna is not installed")
    words = ["fit", "forecast", "data.csv", "--target", "y", *SMALL, "--tune", "2", "-o", "model"]
    assert cli.main(words) == 0, capsys.readouterr().err
    assert "Saved to model." in capsys.readouterr().out
    assert cli.main(["evaluate", "model", "data.csv"]) == 0


def test_a_fit_goes_on_where_it_stopped(folder: Path, capsys: pytest.CaptureFixture[str]):
    words = ["fit", "forecast", "data.csv", "--target", "y", *SMALL]
    assert cli.main([*words, "-o", "whole"]) == 0
    assert cli.main([*words, "--resume", "kept", "-o", "first"]) == 0
    assert Path("kept").exists()
    began = capsys.readouterr()
    assert cli.main([*words, "--resume", "kept", "-o", "again"]) == 0, began.err
    capsys.readouterr()
    for name in ("whole", "first", "again"):
        assert cli.main(["predict", name, "-o", f"{name}.csv"]) == 0
    assert Path("whole.csv").read_text() == Path("first.csv").read_text() == Path("again.csv").read_text()
