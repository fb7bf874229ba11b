"""The command line classifies texts and series: fit, predict, evaluate, report."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import longspan
from longspan import cli

SMALL = ["--hidden-size", "4", "--embedding-size", "4", "--subword-buckets", "0", "--ensemble-size", "1"]
TEXTS = ["a good film", "a bad film", "good", "so bad", ""]
LABELS = ["pos", "neg", "pos", "neg", "pos"]


def fit(source: str, *words: str) -> int:
    return cli.main(["fit", "classify", source, "-o", "model", *SMALL, *words])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(labels: list[str]) -> str:
    rows = [f'"{text}","{label}"' for text, label in zip(TEXTS, labels, strict=True)] * 6
    return "\n".join(["text,label", *rows])


def test_fit_predict_evaluate_and_report(capsys: pytest.CaptureFixture[str]):
    Path("data.csv").write_text(table(LABELS))
    assert fit("data.csv", "--epochs", "3", "--learning-rate", "0.03") == 0, capsys.readouterr().err
    shown = capsys.readouterr()
    assert "classes" in shown.out and "Saved to model" in shown.out
    assert "note: 30 records are too few to hold some out" in shown.err
    assert cli.main(["predict", "model", "data.csv", "-o", "out.csv"]) == 0
    rows = Path("out.csv").read_text().splitlines()
    assert rows[0] == "row,answer,probability,text" and len(rows) == 31
    answers = pl.read_csv("out.csv").fill_null("")
    assert answers["answer"][:4].to_list() == LABELS[:4] and answers["text"][:5].to_list() == TEXTS
    model: Any = longspan.load("model")
    best = model.predict_proba("data.csv").max(axis=1)
    np.testing.assert_allclose(answers["probability"], best, rtol=1e-12)
    capsys.readouterr()
    assert cli.main(["evaluate", "model", "data.csv", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["accuracy", "balanced_accuracy", "f1", "auc", "log_loss", "calibration_error"]
    assert found["accuracy"] >= 0.8
    assert cli.main(["report", "model", "data.csv"]) == 0
    page = Path("report.html").read_text()
    for part in ("Confusion matrix", "Per class", "Reliability", "Which words mattered", "f1"):
        assert part in page, part


def test_a_fit_with_a_held_out_part_ends_with_its_quality_beside_the_class_shares(
    capsys: pytest.CaptureFixture[str],
):
    rows = [f"{('good' if n % 3 else 'bad')} film {n % 7},{('pos' if n % 3 else 'neg')}" for n in range(510)]
    Path("data.csv").write_text("\n".join(["text,label", *rows]))
    assert fit("data.csv", "--epochs", "2") == 0
    printed = capsys.readouterr().out
    assert "Held-out part" in printed and "51 records, each judged by parts that it did not train" in printed
    (model,), (shares,) = (
        [line.split() for line in printed.splitlines() if line.strip().startswith(name)]
        for name in ("classifier", "class shares")
    )
    assert float(model[1]) > 0.99 and float(shares[2]) == pytest.approx(2 / 3, abs=1e-3)


def test_a_file_without_the_columns_of_fit_is_refused(capsys: pytest.CaptureFixture[str]):
    Path("data.csv").write_text(table(LABELS).replace("text,label", "review,label"))
    assert fit("data.csv", "--epochs", "1") == 0
    Path("cities.csv").write_text("city\nRome\nBari\n")
    Path("cities.jsonl").write_text('{"text": "Rome"}\n')
    Path("lines.txt").write_text("so good\n")
    capsys.readouterr()
    for source, there in (("cities.csv", "city"), ("cities.jsonl", "text")):
        assert cli.main(["predict", "model", source, "-o", "out.csv"]) == 2
        said = capsys.readouterr().err
        assert said.startswith("longspan: text: expected a ") and said.count("\n") == 1
        assert f"({there}), received 'review'" in said and not Path("out.csv").exists()
    for source in ("data.csv", "lines.txt"):
        assert cli.main(["predict", "model", source, "-o", "out.csv"]) == 0


def test_a_file_without_the_series_of_fit_is_refused(capsys: pytest.CaptureFixture[str]):
    rows = [f"{n},{t},{t % (2 + n % 2)},{t},{'ab'[n % 2]}" for n in range(12) for t in range(6)]
    Path("series.csv").write_text("\n".join(["id,time,u,v,label", *rows]))
    words = ["--time", "time", "--filters", "4", "--kernel-sizes", "3", "--epochs", "1"]
    assert fit("series.csv", *words) == 0, capsys.readouterr().err
    for columns in ("id,time,w,v,label", "id,time,v,u,label"):
        Path("other.csv").write_text("\n".join([columns, *rows]))
        status = cli.main(["predict", "model", "other.csv", "-o", "out.csv"])
        if "u" in columns:  # the same columns in another order are found by their names
            assert status == 0
            answers = pl.read_csv("out.csv")
            assert answers.columns == ["row", "answer", "probability", "id"]
            assert answers["id"].to_list() == list(range(12))
            continue
        said = capsys.readouterr().err
        assert status == 2 and "series: expected a column of" in said and "received 'u'" in said


def test_multilabel_and_token_answers_are_written_into_one_cell():
    Path("many.csv").write_text(table(["x|y", "y", "x", "y|z", "z"]))
    assert fit("many.csv", "--labels", "multilabel", "--epochs", "6", "--learning-rate", "0.03") == 0
    assert cli.main(["predict", "model", "many.csv", "-o", "out.csv"]) == 0
    assert Path("out.csv").read_text().splitlines()[1].startswith("0,x|y,0.")
    Path("steps.csv").write_text("text,label\n" + "a good film,A B C\nbad film,B C\nso,D\n" * 10)
    assert fit("steps.csv", "--labels", "token", "--epochs", "6", "--learning-rate", "0.03") == 0
    assert cli.main(["predict", "model", "steps.csv", "-o", "out.csv"]) == 0
    assert Path("out.csv").read_text().splitlines()[1].startswith("0,A|B|C,0.")


def test_series_of_a_table_with_a_row_a_reading(capsys: pytest.CaptureFixture[str]):
    rows = [f"{n},{t},{(t + n) % (2 + n % 2)},{'ab'[n % 2]}" for n in range(12) for t in range(6 + n % 3)]
    Path("series.csv").write_text("\n".join(["id,time,reading,label", *rows]))
    words = ["--time", "time", "--filters", "4", "--kernel-sizes", "3", "--epochs", "4"]
    assert fit("series.csv", *words, "--learning-rate", "0.02") == 0, capsys.readouterr().err
    assert cli.main(["report", "model", "series.csv"]) == 0
    assert "Which steps mattered" in Path("report.html").read_text()


CASES = {
    "one class": (table(["x"] * 5).encode(), "label: expected at least two classes, received 'x' alone"),
    "no label column": (b"text\na b\nc d\n", "label: expected"),
    "a label missing": (
        b"text,label\na,x\nb,\n",
        "label: expected a label in every row, received none in row 1",
    ),
    "a byte": (
        b"text,label\na,x\ncaf\xe9,y\n",
        "encoding: expected a table in utf-8, received the byte 0xe9 in line 3",
    ),
    "a channel of NaN": (
        b"id,u,v,label\n0,1,,x\n0,2,,x\n1,1,,y\n1,3,,y\n",
        "x: expected a number in every column, received NaN only in column 1",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_sentence_and_nothing_written(case: str, folder: Path, capsys: pytest.CaptureFixture[str]):
    content, sentence = CASES[case]
    Path("data.csv").write_bytes(content)
    assert fit("data.csv", "--epochs", "1") == 2
    said = [line for line in capsys.readouterr().err.splitlines() if "note:" not in line]
    assert len(said) == 1 and said[0].startswith(f"longspan: {sentence}"), said
    assert os.listdir(folder) == ["data.csv"]


def test_a_class_that_training_has_not_seen(capsys: pytest.CaptureFixture[str]):
    Path("data.csv").write_text(table(LABELS))
    assert fit("data.csv", "--epochs", "1") == 0
    Path("new.csv").write_text("text,label\na film,new\n")
    capsys.readouterr()
    assert cli.main(["evaluate", "model", "new.csv"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "a class of training ('neg', 'pos'), received 'new' in row 0" in said


def test_a_later_source_is_read_by_options_of_its_own(capsys: pytest.CaptureFixture[str]):
    Path("data.csv").write_text(table(LABELS))
    assert fit("data.csv", "--epochs", "1", "--quiet") == 0
    rows = "".join(f"caf\xe9 {row};so and so {row};{'pos' if row % 2 else 'neg'}\n" for row in range(6))
    Path("later.csv").write_bytes(f"body;remark;verdict\n{rows}".encode("latin-1"))
    words = ["model", "later.csv", "--encoding", "latin-1"]
    assert cli.main(["predict", *words, "--text", "body", "-o", "out.csv"]) == 0
    assert cli.main(["evaluate", *words, "--text", "body", "--label", "verdict", "--json"]) == 0
    capsys.readouterr()
    assert cli.main(["predict", *words, "--lines", "true", "-o", "out.csv"]) == 2
    assert "expected an option of a Classifier, received --lines" in capsys.readouterr().err
    assert fit(*words[1:], "--label", "verdict") == 2
    assert "name it by --text." in capsys.readouterr().err
