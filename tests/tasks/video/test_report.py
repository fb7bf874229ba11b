"""Reports: scores, confusion, frames with what mattered, classes over time, boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from longspan import VideoClassifier
from longspan.report.elements import HeatMap, Picture, Pictures, Section, Table, Tabs
from longspan.tasks.video.batches import VideoBatches
from longspan.tasks.video.network import attribution
from longspan.tasks.video.report import Evaluated, video_sections

from .conftest import moving_clips, swinging, with_boxes

pytestmark = pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
SMALL: dict[str, Any] = {"hidden_size": 12, "filters": (8,), "feature_size": 16, "batch_size": 8, "epochs": 8}


def clips_of(sections: list[Section]) -> list[Any]:
    """The elements about each clip of a report."""
    section = next(section for section in sections if section.title == "Clips")
    tabs = section.elements[0]
    assert isinstance(tabs, Tabs)
    return list(tabs.options.values())


def test_what_mattered_is_where_something_moves() -> None:
    clips, labels = moving_clips(48)
    task = VideoClassifier(**SMALL, learning_rate=0.01, dropout=0.0, refit=False).fit(
        clips, labels, verbose=0
    )
    sections = task.sections(list(zip(clips, labels, strict=True)))
    assert [section.title for section in sections[:4]] == ["Summary", "Confusion", "Clips", "Worst cases"]
    table = sections[3].elements[0]
    assert isinstance(table, Table)
    scores = [row[-1] for row in table.rows]
    wrong = np.flatnonzero(task.predict(clips) != np.array(labels))
    assert scores == sorted(scores) and table.note == f"{len(wrong)} of 48 answers have an error."
    assert len(scores) == min(10, len(wrong))
    for name, true, answered, _ in table.rows:
        row = int(name.removeprefix("clip "))
        assert row in wrong and true == labels[row] != answered
    (pictures,) = clips_of(sections)[0]
    assert isinstance(pictures, Pictures)
    picture = pictures.pictures[0]
    assert picture.pixels.shape == (12, 12, 3)
    assert picture.weights is not None and picture.weights.shape == (8, 8)
    records = task.read(clips[:1], use="predict")
    batch = next(iter(VideoBatches(task.codec_, records, 1)))
    weights = attribution(task.network_, batch, torch.tensor([0]))
    assert weights.shape == batch.x.shape
    bright = torch.from_numpy(clips[0] > 100)
    assert float(weights[0, :, 0].abs()[bright].mean()) > 2 * float(weights[0, :, 0].abs()[~bright].mean())


@pytest.mark.parametrize("kind", ["skeleton", "frames", "boxes", "features"])
def test_a_report_of_every_kind_is_written(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    pytest.importorskip("jinja2", reason="jinja2 is not installed")
    clips, y = swinging(8) if kind == "skeleton" else with_boxes(8) if kind == "boxes" else moving_clips(8)
    options = {**SMALL, "epochs": 1}
    if kind == "frames":
        y = [["even" if step % 2 == 0 else "odd" for step in range(len(clip))] for clip in clips]
    if kind == "features":
        options["features"] = lambda frames: frames.amax(2).flatten(1)
    task = VideoClassifier(**options, ensemble_size=1).fit(clips, y, verbose=0)
    first = clips_of(task.sections(clips[:2]))[0]
    kinds = {type(element) for element in first}
    if kind in ("skeleton", "frames"):
        assert HeatMap in kinds
    if kind == "boxes":
        (pictures,) = first
        assert all(isinstance(picture, Picture) for picture in pictures.pictures)
    page = task.write_report(tmp_path / "report.html", clips[:1]).read_text()
    assert "Answers" in page and "Worst cases" not in page
    records = task.read(clips, y, use="evaluate", fitted=task.fitted_)
    answers = task._answers(task.fitted_, records)
    sections = video_sections(
        task.codec_, Evaluated(task.network_, records, answers, task.evaluate(clips, y))
    )
    table = next(section for section in sections if section.title == "Worst cases").elements[0]
    assert isinstance(table, Table) and table.rows, "after one epoch"
    assert table.columns[-1] == {"boxes": "iou", "frames": "accuracy"}.get(kind, "probability of the truth")
    assert [section.title for section in task.sections()] == ["Summary", "Training", "How to reproduce"]
