"""Standard input and output stand for files, and a long fit on a pipe gives signs of life."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from longspan import cli, tasks
from longspan.cli import heartbeat

HERE = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder to work in, with a small file, where the only task is the smallest one."""
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setattr(tasks, "TASKS", {"level": ("level_task", "Level")})
    monkeypatch.chdir(tmp_path)
    Path("data.csv").write_text("value\n" + "\n".join(str(i % 3) for i in range(30)))
    return tmp_path


def give(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_a_source_from_standard_input_and_answers_to_standard_output(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    content = Path("data.csv").read_bytes()
    give(monkeypatch, content)
    assert cli.main(["fit", "level", "-", "-o", "model", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    give(monkeypatch, content)
    assert cli.main(["predict", "model", "-", "-o", "-"]) == 0
    printed = capsys.readouterr()
    assert pl.read_csv(io.StringIO(printed.out)).equals(tasks.load("model").predict("data.csv"))
    assert printed.err == "" and not Path("-").exists()
    give(monkeypatch, content)
    assert cli.main(["evaluate", "model", "-", "--json"]) == 0
    assert "mae" in capsys.readouterr().out


def test_quiet_leaves_out_notes_and_results_but_not_errors(capsys: pytest.CaptureFixture[str]):
    words = ["fit", "level", "data.csv", "--loud", "true", "-o", "model", "--quiet"]
    assert cli.main(words) == 0
    assert capsys.readouterr() == ("", "")
    assert cli.main(["predict", "model", "data.csv", "-o", "out.csv", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert cli.main([*words, "--target", "other"]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("longspan: target: expected one of 'value'")
    assert cli.main(words[:-1]) == 0, "the command after a quiet one"
    assert "note: the file was read" in capsys.readouterr().err


def test_quiet_holds_for_a_search_too(capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("optuna", reason="optuna is not installed")
    assert cli.main(["fit", "level", "data.csv", "-o", "model", "--tune", "2", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_threads_are_those_asked_for_while_the_command_runs(monkeypatch: pytest.MonkeyPatch):
    seen, before = list[int](), torch.get_num_threads()
    kind = tasks.task("level")
    read = kind.read

    def reading(self: Any, *arguments: object, **options: object) -> object:
        seen.append(torch.get_num_threads())
        return read(self, *arguments, **options)

    monkeypatch.setattr(kind, "read", reading)
    assert cli.main(["fit", "level", "data.csv", "-o", "model", "--threads", str(before + 1)]) == 0
    assert seen == [before + 1] and torch.get_num_threads() == before


def test_a_long_fit_on_a_pipe_gives_signs_of_life(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    words = ["fit", "level", "data.csv", "-o", "model", "--epochs", "600"]
    assert cli.main(words) == 0
    assert "fitting, " not in capsys.readouterr().err, "less than the interval"
    monkeypatch.setattr(heartbeat, "INTERVAL", 0.05)
    assert cli.main(words) == 0
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("longspan: fitting, ") for line in lines)
    assert " of 600 (loss " in lines[-1]
    assert cli.main([*words, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


@pytest.fixture
def texts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The level task as one of texts."""
    monkeypatch.setattr(tasks.task("level"), "reads_texts", True)


@pytest.mark.parametrize(
    ("content", "words", "ending"),
    [
        (b"one, two\n", [], ".txt"),
        (b"one\n", ["--format", "csv"], ".csv"),
        (b'{"a": 1}\n', [], ".jsonl"),
        (b"{one}\n", [], ".txt"),
        (b"\x1f\x8b..", [], ".txt.gz"),
        (b"PAR1", ["--format", "txt"], ".txt"),
    ],
)
def test_standard_input_of_a_task_of_texts_is_lines(
    content: bytes, words: list[str], ending: str, texts: None, monkeypatch: pytest.MonkeyPatch
):
    seen: list[str] = []
    monkeypatch.setattr(
        tasks.task("level"), "read", lambda self, path, *_, **__: seen.append(path) or [1.0] * 9
    )
    give(monkeypatch, content)
    assert cli.main(["fit", "level", "-", "-o", "model", "--quiet", *words]) == 0
    give(monkeypatch, content)
    assert cli.main(["predict", "model", "-", "-o", "out.csv", "--quiet", *words]) == 0
    assert [path.partition("standard-input")[2] for path in seen] == [ending, ending]


def test_a_format_is_of_standard_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    assert cli.main(["fit", "level", "data.csv", "-o", "model", "--format", "csv"]) == 2
    assert "--format: expected standard input, received data.csv" in capsys.readouterr().err
    assert cli.main(["fit", "level", "-", "-o", "model", "--format", "csw"]) == 2
    assert "the nearest is 'csv'" in capsys.readouterr().err
