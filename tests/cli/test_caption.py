"""The command line of captions: fit, predict, evaluate, report, and files that are no pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from longspan import cli

pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
SMALL = ["--hidden-size", "8", "--embedding-size", "8", "--filters", "4,8", "--epochs", "2", "--quiet"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    rows = []
    for number in range(20):
        picture = np.zeros((12, 12, 3), np.uint8)
        picture[3:9, 3:9, number % 2] = 220
        pillow.fromarray(picture).save(f"photos/{number:02}.png")
        rows += [
            {"image": f"{number:02}.png", "caption": f"{word} {number % 2}"} for word in ("square", "box")
        ]
    pl.DataFrame(rows).write_csv("photos/captions.csv")
    Path("broken.png").write_text("text")


def test_from_a_folder_to_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit", "caption", "photos", "-o", "model", *SMALL]) == 0, capsys.readouterr().err
    assert cli.main(["predict", "model", "photos", "-o", "texts.csv", "--beam-size", "2"]) == 0
    texts = pl.read_csv("texts.csv")
    assert texts.columns == ["row", "image", "caption", "score"] and texts.height == 20
    capsys.readouterr()
    assert cli.main(["evaluate", "model", "photos/captions.csv", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert {"bleu1", "bleu2", "bleu3", "bleu4", "rougeL", "cider", "distinct", "vocabulary"} < set(scores)
    assert cli.main(["report", "model", "photos", "-o", "page.html", "--quiet"]) == 0
    assert "data:image/png;base64," in Path("page.html").read_text()
    assert cli.main(["predict", "model", "photos/03.png", "-o", "one.csv"]) == 0
    assert pl.read_csv("one.csv")["image"].to_list() == ["photos/03.png"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["broken.png"], "captions: expected a caption for every picture, received none for broken.png"),
        (["bad.csv"], "file broken.png: expected a picture, received what cannot be read as one"),
        (["photos", "--caption-column", "said"], "--caption-column: expected one of the columns"),
        (["photos", "--image-size", "3"], "--image-size: expected height,width, received"),
        (["nowhere"], "source: expected a file or folder, received nowhere"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad.csv").write_text("image,caption\nbroken.png,one\n")
    assert cli.main(["fit", "caption", *words, "-o", "model", *SMALL]) == 2
    shown = capsys.readouterr().err
    assert sentence in shown and "Traceback" not in shown and shown.count("\n") == 1
