"""The command line of video: fit, predict, evaluate, report, and files that are no clip."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from longspan import cli

av = pytest.importorskip("av", reason="PyAV is not installed")

SMALL = [
    "--hidden-size",
    "8",
    "--feature-size",
    "8",
    "--filters",
    "4",
    "--epochs",
    "2",
    "--size",
    "16",
    "--quiet",
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(12):
        label = "light" if number % 2 else "dark"
        levels = np.arange(6) * 30 if number % 2 else 200 - np.arange(6) * 30
        path = Path("clips", label, f"{number}.mp4")
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
            for level in levels:
                picture = np.full((32, 32, 3), level, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))


def test_from_a_folder_to_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit", "video", "clips", "-o", "model", *SMALL]) == 0, capsys.readouterr().err
    assert cli.main(["predict", "model", "clips", "-o", "answers.csv"]) == 0
    answers = pl.read_csv("answers.csv")
    assert answers.columns == ["clip", "answer", "probability"]
    assert answers["clip"].to_list()[0] == "clips/dark/0.mp4"
    capsys.readouterr()
    assert cli.main(["evaluate", "model", "clips", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"top1", "log_loss", "calibration_error"}
    assert cli.main(["report", "model", "clips", "-o", "page.html", "--quiet"]) == 0
    page = Path("page.html").read_text()
    assert "Confusion matrix" in page
    assert "What spoke for" in page
    assert cli.main(["predict", "model", "clips/dark/2.mp4", "-o", "one.csv"]) == 0
    assert pl.read_csv("one.csv")["clip"].to_list() == ["clips/dark/2.mp4"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["clips/dark/0.mp4"], "label: expected one for every clip, received none for clips/dark/0.mp4"),
        (
            ["clips", "--architecture", "cnn"],
            "--architecture: expected one of 'lstm', 'convlstm', received 'cnn'",
        ),
        (["nowhere"], "source: expected a file or folder, received nowhere"),
        (["broken"], "file broken/a/x.mp4: expected a clip, received what cannot be decoded"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (Path("broken/a/x.mp4"), Path("broken/b/y.mp4")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no clip")
    assert cli.main(["fit", "video", *words, "-o", "model"]) == 2
    assert sentence in capsys.readouterr().err and not Path("model").exists()
