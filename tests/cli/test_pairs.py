"""The command line of translations and summaries: fit, predict, evaluate, report, and bad files."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from longspan import cli, load

SMALL = ["--hidden-size", "8", "--embedding-size", "8", "--epochs", "2", "--beam-size", "2", "--quiet"]
WORDS = {"one": "uno", "two": "due", "three": "tre"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [[a, b, c] for a in WORDS for b in WORDS for c in WORDS]
    Path("all.de").write_text("".join(f"{' '.join(row)}\n" for row in rows))
    Path("all.en").write_text("".join(f"{' '.join(WORDS[word] for word in row)}\n" for row in rows))
    lines = zip(Path("all.de").read_text().split("\n"), Path("all.en").read_text().split("\n"), strict=True)
    Path("all.tsv").write_text("source\ttarget\n" + "\n".join("\t".join(line) for line in lines if line[0]))
    Path("few.txt").write_text("one two three\n\nthree one two\n")


@pytest.mark.parametrize("task", ["translate", "summarize"])
def test_from_a_table_to_a_report(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit", task, "all.tsv", "-o", "model", *SMALL]) == 0, capsys.readouterr().err
    assert cli.main(["predict", "model", "few.txt", "-o", "answers.csv"]) == 0
    answers = pl.read_csv("answers.csv")
    assert answers.columns == ["row", "source", "answer", "score"] and answers.height == 3
    capsys.readouterr()
    assert cli.main(["evaluate", "model", "all.tsv", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert {"exact_match", "bleu" if task == "translate" else "rougeL"} <= set(scores)
    assert cli.main(["report", "model", "all.tsv", "-o", "page.html", "--quiet"]) == 0
    assert ">Attention</h2>" in Path("page.html").read_text()


def test_the_search_is_chosen_for_one_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit", "translate", "all.tsv", "-o", "model", *SMALL]) == 0
    words = ["--beam-size", "3", "--n-best", "2", "--length-penalty", "0.0"]
    assert cli.main(["predict", "model", "few.txt", "-o", "answers.csv", *words]) == 0
    answers = pl.read_csv("answers.csv")
    assert answers["rank"].to_list() == [1, 2, 1, 1, 2]  # the blank line has one answer, the empty one
    loaded = load("model").predict_table("few.txt", beam_size=3, n_best=2, length_penalty=0.0)
    assert answers["score"].to_list() == pytest.approx(loaded["score"].to_list())
    capsys.readouterr()
    assert cli.main(["evaluate", "model", "all.tsv", "--json", "--beam-size", "1"]) == 0
    assert json.loads(capsys.readouterr().out) == load("model").evaluate("all.tsv", beam_size=1)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--beam-size", "0"], "--beam-size: expected a whole number of at least 1, received 0"),
        (["--beam-size", "2", "--n-best", "3"], "--n-best: expected at most --beam-size, 2, received 3"),
        (["--beam-size", "two"], "--beam-size: expected a whole number, received 'two'"),
    ],
)
def test_a_search_that_cannot_be_made(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["fit", "translate", "all.tsv", "-o", "model", *SMALL]) == 0
    assert cli.main(["predict", "model", "few.txt", "-o", "answers.csv", *words]) == 2
    assert sentence in capsys.readouterr().err and not Path("answers.csv").exists()


def test_targets_in_a_file_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit", "translate", "all.de", "all.en", "-o", "model", *SMALL]) == 0
    assert cli.main(["evaluate", "model", "all.de", "all.en", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores == load("model").evaluate("all.tsv")
    assert cli.main(["fit", "translate", "all.de", "all.en", "-o", "all.en", *SMALL]) == 2
    assert "-o: expected a file that is not read, received all.en" in capsys.readouterr().err
    assert cli.main(["fit", "translate", "all.de", "few.txt", "-o", "other", *SMALL]) == 2
    assert "received 27 sources and 3 targets" in capsys.readouterr().err and not Path("other").exists()


def test_answers_alone_as_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit", "translate", "all.tsv", "-o", "model", *SMALL]) == 0
    assert cli.main(["predict", "model", "few.txt", "-o", "answers.txt"]) == 0
    assert Path("answers.txt").read_text() == "".join(
        f"{text}\n" for text in load("model").predict("few.txt")
    )
    capsys.readouterr()
    assert cli.main(["predict", "model", "few.txt", "-o", "best.txt", "--n-best", "2"]) == 2
    assert (
        "-o: expected one text for each row in a .txt file, received several answers"
        in capsys.readouterr().err
    )


def test_more_answers_than_beams_are_refused_before_training(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit", "translate", "all.tsv", "-o", "model", *SMALL, "--n-best", "3"]) == 2
    assert (
        "--n-best: expected at most --beam-size, 2, received 3; raise --beam-size" in capsys.readouterr().err
    )


def test_two_aligned_files(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--source-column", "de", "--target-column", "en"]
    assert cli.main(["fit", "translate", "all", "-o", "model", *words, *SMALL]) == 0, capsys.readouterr().err
    assert cli.main(["evaluate", "model", "all", "--json"]) == 0
    assert cli.main(["predict", "model", "all.de", "-o", "answers.jsonl"]) == 0
    Path("all.en").write_text("uno\n")
    assert cli.main(["fit", "translate", "all", "-o", "model", *words, *SMALL]) == 2
    assert (
        "targets: expected one for every source, received 27 sources and 1 targets" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["gap.tsv"], "target: expected a text in every row, received none in line 3 of gap.tsv"),
        (["all.tsv", "--beam-size", "0"], "--beam-size: expected a whole number of at least 1, received 0"),
        (["few.txt"], "source: expected two texts on every line, received one in line 1 of few.txt"),
        (["nothing.tsv"], "source: expected a file or folder, received nothing.tsv"),
        (
            ["all.tsv", "--token-level", "letters"],
            "--token-level: expected one of 'words', 'bpe', 'characters'",
        ),
    ],
)
def test_what_cannot_be_used_is_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("gap.tsv").write_text("source\ttarget\none\tuno\ntwo\t\n")
    assert cli.main(["fit", "translate", *words, "-o", "model"]) == 2
    assert sentence in capsys.readouterr().err and not Path("model").exists()
