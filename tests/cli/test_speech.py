"""The command line of speech: fit, predict, evaluate, report, and files that are no sound."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from longspan import cli

soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed")
pytest.importorskip("kaldi_native_fbank", reason="kaldi-native-fbank is not installed")
pytest.importorskip("jiwer", reason="jiwer is not installed")

SMALL = [
    "--hidden-size",
    "8",
    "--filters",
    "8",
    "--mel-bins",
    "16",
    "--num-layers",
    "1",
    "--epochs",
    "3",
    "--quiet",
]
STEPS = {"low": 0.15, "high": 0.9}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draw, rows = np.random.default_rng(0), []
    Path("calls").mkdir()
    for number in range(24):
        names = [str(name) for name in draw.choice(list(STEPS), draw.integers(1, 4))]
        tones = [0.3 * np.sin(np.arange(draw.integers(700, 900)) * STEPS[name]) for name in names]
        sound = np.concatenate([np.concatenate([tone, np.zeros(300)]) for tone in tones])
        soundfile.write(f"calls/{number:02}.wav", sound + 0.01 * draw.standard_normal(len(sound)), 8000)
        rows.append({"file": f"{number:02}.wav", "text": " ".join(names)})
    pl.DataFrame(rows).write_csv("calls/transcripts.csv")


def test_from_a_folder_to_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--token-level", "words", "--speed-perturbation", "0.9", "--ngram", "2"]
    assert cli.main(["fit", "speech", "calls", "-o", "model", *words, *SMALL]) == 0, capsys.readouterr().err
    for name in ("texts.csv", "texts.jsonl", "texts.parquet"):
        assert cli.main(["predict", "model", "calls", "-o", name, "--beam-size", "4"]) == 0
    texts = pl.read_csv("texts.csv")
    assert texts.columns == ["file", "text", "confidence", "words"] and texts.height == 24
    table = pl.read_parquet("texts.parquet")
    assert [json.loads(cell) for cell in texts["words"]] == table["words"].to_list()
    capsys.readouterr()
    assert cli.main(["evaluate", "model", "calls", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"wer", "cer", "accuracy"}
    assert cli.main(["report", "model", "calls", "-o", "page.html", "--quiet"]) == 0
    assert "Log-mel spectrogram" in Path("page.html").read_text()
    assert cli.main(["predict", "model", "calls/03.wav", "-o", "one.csv"]) == 0
    assert pl.read_csv("one.csv")["file"].to_list() == ["calls/03.wav"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["broken.wav"],
            "file broken.wav: expected wav, flac or ogg sound, received a file without a header",
        ),
        (["calls/00.wav"], "text: expected a transcript for every sound, received none for calls/00.wav"),
        (["calls", "--stride", "3"], "stride: expected one of 1, 2, 4, 8, received 3"),
        (["calls", "--text-column", "said"], "--text-column: expected one of the columns"),
        (["nowhere"], "source: expected a file or folder, received nowhere"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("broken.wav").write_bytes(b"no sound")
    assert cli.main(["fit", "speech", *words, "-o", "model"]) == 2
    assert sentence in capsys.readouterr().err and not Path("model").exists()
