"""The demonstration of speech goes from sounds to every file it promises, spoken or dialled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from longspan import cli
from longspan.demos import speech

for package in ("soundfile", "soxr", "kaldi_native_fbank", "jiwer", "matplotlib", "jinja2"):
    pytest.importorskip(package, reason=f"{package} is not installed")


def test_tones_are_those_of_the_keys() -> None:
    ((sound, rate),) = speech.dialled(["nine"])
    spectrum = np.abs(np.fft.rfft(sound[:500]))
    peaks = np.sort(np.argsort(spectrum)[::-1][:2]) * rate / 500
    assert np.abs(peaks - np.array([852.0, 1477.0])).max() < 20


@pytest.mark.parametrize("program", [*speech.SYNTHESISERS[:1], None])
def test_the_demo_ends_with_a_report(
    program: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if program is not None and speech.synthesiser() is None:
        pytest.skip("this system has no synthesiser")
    if program is None:
        monkeypatch.setattr(speech, "SYNTHESISERS", ())
    monkeypatch.setattr(speech, "SEEN", 24)
    monkeypatch.setattr(speech, "UNSEEN", 3)
    monkeypatch.setattr(speech, "OPTIONS", {**speech.OPTIONS, "epochs": 1, "hidden_size": 8, "filters": 8})
    assert cli.main(["demo", "speech", "-o", str(tmp_path)]) == 0, capsys.readouterr().err
    shown = capsys.readouterr().out
    assert ("a synthesiser" in shown) == (program is not None) and "word error rate" in shown
    assert pl.read_csv(tmp_path / "texts.csv").columns == ["file", "text", "confidence"]
    assert "Log-mel spectrogram" in (tmp_path / "report.html").read_text()
    assert {path.name for path in (tmp_path / "sounds").iterdir()} == {
        "000.wav", "001.wav", "002.wav", "transcripts.csv",
    }  # fmt: skip
