"""The command line of recommendations: fit, predict, evaluate, report, resume, and bad files."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from longspan import cli, load

SMALL = ["--hidden-size", "8", "--embedding-size", "8", "--epochs", "2", "--quiet"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        (f"{user:04d}", (user + step) % 9, f"2024-01-0{1 + step} 10:00:00")
        for user in range(30)
        for step in range(5)
    ]
    events = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    events.filter(pl.col("time") < "2024-01-05").write_csv("train.csv")
    events.filter(pl.col("time") >= "2024-01-05").write_csv("later.csv")


def test_from_a_table_to_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit", "recommend", "train.csv", "-o", "model", *SMALL]) == 0, capsys.readouterr().err
    assert cli.main(["predict", "model", "-o", "all.csv", "--k", "3"]) == 0
    found = pl.read_csv("all.csv", schema_overrides={"user": pl.String})
    assert found.columns == ["user", "rank", "item", "score"] and found.height == 90
    assert found["user"][0] == "0000"
    assert cli.main(["predict", "model", "later.csv", "-o", "after.csv", "--exclude-seen", "false"]) == 0
    after = pl.read_csv("after.csv", schema_overrides={"user": pl.String})
    assert after.height == 270 and sorted(after["item"][:9].to_list()) == list(range(9))
    capsys.readouterr()
    assert cli.main(["evaluate", "model", "later.csv", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert {"hr@10", "ndcg@10", "recall@20", "coverage@10", "knn_mrr@10"} <= set(scores)
    assert scores == load("model").evaluate("later.csv")
    assert cli.main(["report", "model", "later.csv", "-o", "page.html", "--quiet"]) == 0
    page = Path("page.html").read_text()
    assert ">Rankings</h2>" in page and "Beside baselines" in page and "longspan fit recommend" in page


def test_a_fit_is_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", "recommend", "train.csv", "-o", "model", "--resume", "checkpoint", *SMALL]
    assert cli.main(words) == 0, capsys.readouterr().err
    first = load("model").predict()
    assert cli.main(words) == 0, capsys.readouterr().err
    assert load("model").predict().equals(first)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--time", "when"], "time: expected a column of source (user, item, time), received 'when'"),
        (
            ["--user", "usr"],
            "user: expected a column of source (user, item, time), received 'usr'; the nearest",
        ),
        (
            ["--loss", "bpr"],
            "--loss: expected one of 'cross_entropy', 'sampled_softmax', 'bpr_max', received",
        ),
        (["--k", "0"], "k: expected a whole number of at least 1, received 0"),
        (["--item-table", "items.csv", "--attributes", "kind"], "file items.csv: expected a table, received"),
    ],
)
def test_bad_words_are_told(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit", "recommend", "train.csv", "-o", "model", *SMALL, *words]) == 2
    assert sentence in capsys.readouterr().err


def test_the_help_has_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit", "recommend", "--help"]) == 0
    out = capsys.readouterr().out
    assert out.index("--user") < out.index("--exclude-seen") < out.index("Advanced")
