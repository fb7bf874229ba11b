"""Streams: after its last frame a stream's answer is that of the whole clip."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from longspan import VideoClassifier
from longspan.tasks.video.streaming import StreamAnswer

from .conftest import moving, moving_clips, swinging, with_boxes

pytestmark = pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
SMALL: dict[str, Any] = {
    "hidden_size": 8,
    "filters": (4,),
    "feature_size": 8,
    "epochs": 1,
    "batch_size": 8,
    "bidirectional": False,
}


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": "attention"},
        {"pooling": "mean"},
        {"pooling": "max"},
        {"pooling": "last", "num_layers": 2},
        {"architecture": "convlstm", "bidirectional": True},
        {"features": lambda frames: frames.amax(2).flatten(1)},
    ],
)
def test_a_stream_of_frames_ends_with_the_answer_of_the_clip(options: dict[str, Any]) -> None:
    clips, labels = moving_clips(16)
    task = VideoClassifier(**{**SMALL, **options}).fit(clips, labels, verbose=0)
    for clip in clips[:3]:
        stream = task.stream()
        answers = [stream.step(frame) for frame in clip]
        last = answers[-1]
        assert isinstance(last, StreamAnswer)
        np.testing.assert_allclose(last.probabilities, task.predict_proba([clip])[0], atol=1e-5)
        assert last.label == task.predict([clip])[0]
        assert last.probability == last.probabilities.max()


def test_a_stream_of_skeletons() -> None:
    clips, labels = swinging(16)
    task = VideoClassifier(**SMALL, ensemble_size=2).fit(clips, labels, verbose=0)
    stream = task.stream()
    answer = [stream.step(frame) for frame in clips[0]][-1]
    assert isinstance(answer, StreamAnswer)
    np.testing.assert_allclose(answer.probabilities, task.predict_proba(clips[:1])[0], atol=1e-5)
    with pytest.raises(ValueError, match=r"frame: expected finite joints of shape \(5, 3\), received shape"):
        stream.step(clips[0][0, :3])


def test_a_stream_of_labels_a_frame_and_of_boxes() -> None:
    clips, _ = moving_clips(8)
    steps = [["even" if step % 2 == 0 else "odd" for step in range(len(clip))] for clip in clips]
    task = VideoClassifier(**SMALL).fit(clips, steps, verbose=0)
    stream = task.stream()
    rows = [stream.step(frame) for frame in clips[0]]
    probabilities = np.stack([row.probabilities for row in rows if isinstance(row, StreamAnswer)])
    np.testing.assert_allclose(probabilities, task.predict_proba(clips[:1])[0], atol=1e-5)
    clips, tables = with_boxes(24)
    boxes = VideoClassifier(**{**SMALL, "epochs": 12, "learning_rate": 0.01}).fit(clips, tables, verbose=0)
    stream = boxes.stream()
    found: list[Any] = [box for frame in clips[0] for box in stream.step(frame)]  # pyright: ignore[reportGeneralTypeIssues]
    table = boxes.predict(clips[:1])
    assert [box.frame for box, _ in found] == table["frame"].to_list()
    np.testing.assert_allclose([box.x for box, _ in found], table["x"], atol=1e-3)


def test_a_network_of_two_directions_has_no_stream() -> None:
    clips, labels = moving_clips(8)
    task = VideoClassifier(**{**SMALL, "bidirectional": True}).fit(clips, labels, verbose=0)
    with pytest.raises(ValueError, match="stream: expected a network of one direction"):
        task.stream()


def test_a_frame_that_is_none() -> None:
    clips, labels = moving_clips(8)
    stream = VideoClassifier(**SMALL).fit(clips, labels, verbose=0).stream()
    with pytest.raises(ValueError, match="frame: expected"):
        stream.step(np.zeros((3,)))
    with pytest.raises(ValueError, match="frame: expected values from 0 to 1"):
        stream.step(np.full((4, 4), 7.0))
    stream.step(moving(1, True)[0])
