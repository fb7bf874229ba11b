"""The demonstration of captions goes from drawn scenes to every file it promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from longspan import cli
from longspan.demos import caption

for package in ("PIL", "matplotlib", "jinja2"):
    pytest.importorskip(package, reason=f"{package} is not installed")


def test_scenes_are_what_their_sentences_say() -> None:
    pictures, sentences = caption.scenes(40)
    assert pictures.shape == (40, caption.SIDE, caption.SIDE, 3) and pictures.dtype == np.uint8
    for picture, (first, second) in zip(pictures, sentences, strict=True):
        words = first.split()
        color = np.array(caption._COLORS[words[1]])
        rows, columns = (abs(picture - color).sum(-1) == 0).nonzero()
        high, left = rows.mean() < caption.SIDE / 2, columns.mean() < caption.SIDE / 2
        assert {"left": left, "right": not left, "above": high, "below": not high}[words[3]]
        assert second.split()[:2] != words[:2] and second.split()[-1] == words[-1]


def test_the_demo_ends_with_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(caption, "SEEN", 40)
    monkeypatch.setattr(caption, "UNSEEN", 3)
    small = {"epochs": 1, "hidden_size": 8, "filters": (4, 8)}
    monkeypatch.setattr(caption, "OPTIONS", {**caption.OPTIONS, **small})
    assert cli.main(["demo", "caption", "-o", str(tmp_path)]) == 0, capsys.readouterr().err
    assert "3 scenes that it never saw" in capsys.readouterr().out
    assert pl.read_csv(tmp_path / "captions.csv").columns == ["row", "image", "caption", "score"]
    assert "What was read for each token" in (tmp_path / "report.html").read_text()
    assert len(list((tmp_path / "scenes").iterdir())) == 4
