"""The command line of language models: fit, generate, predict, evaluate, report, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import click
import polars as pl
import pytest

from longspan import cli, load
from longspan.tasks.language import LanguageModel

SMALL = ["--hidden-size", "8", "--embedding-size", "8", "--epochs", "2", "--quiet"]
TEXT = (
    "".join(f"the {a} {b} the {c}.\n" for a in ("cat", "dog") for b in ("sees", "bites") for c in "abc") * 8
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("language")
    (folder / "text.txt").write_text(TEXT)
    assert cli.main(["fit", "language", str(folder / "text.txt"), "-o", str(folder / "model"), *SMALL]) == 0
    return str(folder / "model")


def test_generate_writes_what_python_writes(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--prompt", "the ", "--length", "30", "--temperature", "0.7", "--top-k", "6", "--top-p", "0.9"]
    assert cli.main(["generate", model, *words, "--seed", "3"]) == 0
    loaded = load(model)
    assert isinstance(loaded, LanguageModel)
    text = loaded.generate("the ", 30, temperature=0.7, top_k=6, top_p=0.9, seed=3)
    assert capsys.readouterr().out == text + "\n" and len(text) == 30


def test_generate_writes_each_piece_as_it_comes(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[str] = []
    monkeypatch.setattr(click, "echo", lambda piece="", nl=True: pieces.append(piece))
    assert cli.main(["generate", model, "--length", "12"]) == 0
    assert len(pieces) == 13 and all(len(piece) == 1 for piece in pieces[:-1])


def test_every_argument_of_generate_is_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", "--help"]) == 0
    shown = capsys.readouterr().out
    for name in ("prompt", "length", "temperature", "top-k", "top-p", "seed"):
        assert f"--{name} " in shown
    assert "Tokens at most" in shown and "[200]" in shown


def test_predict_evaluate_and_report(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "few.txt").write_text("the cat sees the a.\n")
    source, table = str(tmp_path / "few.txt"), tmp_path / "scores.csv"
    assert cli.main(["predict", model, source, "-o", str(table)]) == 0
    assert pl.read_csv(table).columns == ["row", "tokens", "log_prob", "perplexity"]
    capsys.readouterr()
    assert cli.main(["evaluate", model, source, "--json"]) == 0
    assert {"perplexity", "bits_per_character", "bits_per_byte"} <= set(json.loads(capsys.readouterr().out))
    assert cli.main(["report", model, source, "-o", str(tmp_path / "page.html"), "--quiet"]) == 0
    assert ">Samples</h2>" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--length", "0"], "length: expected a whole number of at least 1, received 0"),
        (["--temperature", "-1"], "temperature: expected a number of at least 0, received -1.0"),
        (["--temperature", "warm"], "--temperature: expected a number, received 'warm'"),
        (["--top-k", "0"], "top_k: expected a whole number of at least 1, received 0"),
        (["--top-p", "0"], "--top-p: expected a number in (0, 1], received 0.0"),
        (["--beam-size", "3"], "option: expected one of the options of longspan generate"),
    ],
)
def test_generate_refuses(
    words: list[str], sentence: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["generate", model, *words]) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err and printed.out == ""


def test_generate_needs_a_language_model_and_predict_has_no_search_for_one(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pairs.tsv").write_text("source\ttarget\none\tuno\ntwo\tdue\n")
    (tmp_path / "few.txt").write_text("the cat\n")
    monkeypatch.chdir(tmp_path)
    words = ["--hidden-size", "4", "--embedding-size", "4", "--epochs", "1", "--quiet"]
    assert cli.main(["fit", "translate", "pairs.tsv", "-o", "pairs", *words]) == 0
    assert cli.main(["generate", "pairs"]) == 2
    assert "MODEL: expected a language model, received a Translator in pairs" in capsys.readouterr().err
    assert cli.main(["predict", model, "few.txt", "-o", "a.csv", "--beam-size", "3"]) == 2
    assert "option of predict: expected none" in capsys.readouterr().err


def test_greedy_and_unknown_characters_are_answered(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", model, "--prompt", "the Ж", "--length", "5", "--temperature", "0"]) == 0
    printed = capsys.readouterr()
    assert "note: Training has not seen 'Ж' of the prompt" in printed.err and len(printed.out) == 6


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "source: expected text to learn from, received none"),
        (b"a", "source: expected at least two tokens to learn from, received one"),
        (
            b"one\ntwo\xff\n",
            "encoding: expected a file in utf-8, received the byte 0xff in line 2 of text.txt",
        ),
    ],
)
def test_fit_refuses(
    content: bytes, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_bytes(content)
    assert cli.main(["fit", "language", "text.txt", "-o", "model", *SMALL]) == 2
    assert sentence in capsys.readouterr().err and not Path("model").exists()
