"""The demonstration of video goes from drawn clips to every file it promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from longspan import cli
from longspan.demos import video

for package in ("av", "matplotlib", "jinja2"):
    pytest.importorskip(package, reason=f"{package} is not installed")


def test_shapes_move_as_they_are_called() -> None:
    draw = np.random.default_rng(0)
    centres = {
        motion: [float((np.arange(48) * (frame > frame.mean())).sum() / (frame > frame.mean()).sum())
                 for frame in video.drawn("square", motion, draw).mean((1, 3))]
        for motion in video.MOTIONS
    }  # fmt: skip
    assert centres["left"][0] - centres["left"][-1] > 8
    assert centres["right"][-1] - centres["right"][0] > 8
    assert abs(centres["grows"][-1] - centres["grows"][0]) < 4


@pytest.mark.slow
def test_the_demo_ends_with_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(video, "SEEN", 2)
    monkeypatch.setattr(video, "UNSEEN", 1)
    monkeypatch.setattr(video, "OPTIONS", {**video.OPTIONS, "epochs": 1, "hidden_size": 8, "filters": (4,)})
    assert cli.main(["demo", "video", "-o", str(tmp_path)]) == 0, capsys.readouterr().err
    shown = capsys.readouterr().out
    assert "9 clips that it never saw" in shown and "frame 20" in shown
    assert pl.read_csv(tmp_path / "answers.csv").columns == ["clip", "answer", "probability"]
    assert "What spoke for" in (tmp_path / "report.html").read_text()
