"""Segments and boxes as tensors and back, and the scores of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from longspan.tasks.video import scores
from longspan.tasks.video.box_loss import box_loss, overlap
from longspan.tasks.video.clips import Box, Clip, Segment, check_boxes
from longspan.tasks.video.targets import (
    BoxAnswer,
    FrameAnswer,
    answers_of,
    box_targets,
    boxes_of,
    fit_labels,
    frame_targets,
    segments_of,
)

CLIP = Clip("clip 0", file="a.mp4", segments=(Segment(0.5, 1.0, "jump"), Segment(1.5, 2.0, "run")))


def one_hot(numbers: list[int], classes: int, rate: float = 1.0) -> FrameAnswer:
    return FrameAnswer(np.eye(classes)[numbers], rate)


def test_segments_become_classes_of_frames_and_back() -> None:
    labels = fit_labels([CLIP], "frames")
    assert labels.classes == ["background", "jump", "run"]
    numbers = frame_targets(CLIP, labels, torch.arange(8) / 4)
    assert numbers.tolist() == [0, 0, 1, 1, 0, 0, 2, 2]
    assert tuple(segments_of(numbers.numpy(), labels.classes, 4.0)) == CLIP.segments


def test_labels_a_frame_are_taken_at_their_frames() -> None:
    clip = Clip("clip 0", array=np.zeros((3, 2, 2, 1), np.uint8), steps=("a", "b", "a"))
    labels = fit_labels([clip], "frames")
    assert frame_targets(clip, labels, torch.arange(3) / 1.0).tolist() == [0, 1, 0]


def test_boxes_become_shares_and_back() -> None:
    boxes = (Box(0, "ball", 2, 4, 6, 8), Box(2, "cup", 0, 0, 16, 10))
    clip = Clip("clip 0", boxes=boxes)
    labels = fit_labels([clip], "boxes")
    targets = box_targets(clip, labels, 3, (20, 40))
    assert targets[0, 0].tolist() == pytest.approx([1.0, 5 / 40, 8 / 20, 6 / 40, 8 / 20])
    assert targets[1].abs().sum() == 0
    found = boxes_of(BoxAnswer(targets.numpy(), (20, 40)), labels.classes)
    for (box, share), true in zip(found, boxes, strict=True):
        assert share == 1.0 and box.label == true.label and box.frame == true.frame
        assert box[2:] == pytest.approx(true[2:], abs=1e-4)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (Box(0, "a", -1, 0, 5, 5), "expected a box inside the frame, 20 pixels wide and 10 high, received x"),
        (Box(0, "a", 16, 0, 5, 5), "expected a box inside the frame"),
        (Box(0, "a", 0, 6, 5, 5), "expected a box inside the frame"),
        (Box(0, "a", 0, 6, 0, 2), "expected a box inside the frame"),
        (Box(4, "a", 0, 0, 5, 5), "expected a frame from 0 to 3, received 4"),
    ],
)
def test_a_box_outside_the_frame_is_refused(box: Box, message: str) -> None:
    with pytest.raises(ValueError, match=f"box of 'a' in frame . of clip 3: {message}"):
        check_boxes((box,), 10, 20, 4, "clip 3")


def test_two_boxes_of_a_class_in_a_frame_are_refused() -> None:
    box = Box(0, "a", 0, 0, 5, 5)
    check_boxes((box, box._replace(label="b"), box._replace(frame=1)), 10, 20, 4, "clip 3")
    with pytest.raises(ValueError, match="expected one box of a class in a frame, received two"):
        check_boxes((box, box), 10, 20, 4, "clip 3")


def test_targets_of_several_kinds_are_refused() -> None:
    assert answers_of([CLIP]) == "frames"
    with pytest.raises(ValueError, match="labels: expected targets of one kind"):
        answers_of([CLIP, Clip("clip 1", label="jump")])


def test_top_k() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.4, 0.35, 0.25]])
    truth = np.array([0, 1, 2])
    assert [scores.top_k(probabilities, truth, k) for k in (1, 2, 3)] == pytest.approx([1 / 3, 2 / 3, 1])


def test_segments_are_found_once() -> None:
    classes = ["background", "run"]
    truth = [np.array([0, 1, 1, 1, 1, 0, 0, 0])]
    assert scores.segment_f1([one_hot([0, 1, 1, 1, 1, 0, 0, 0], 2)], truth, classes, 0.5) == 1.0
    split = one_hot([0, 1, 1, 1, 0, 1, 0, 0], 2)  # 3 of 4 frames, and one frame beside
    assert scores.segment_f1([split], truth, classes, 0.5) == pytest.approx(2 / 3)
    assert scores.segment_f1([split], truth, classes, 0.9) == 0.0
    assert scores.frame_accuracy([split], truth) == pytest.approx(6 / 8)


def test_overlap_of_boxes() -> None:
    a = torch.tensor([[0.5, 0.5, 0.2, 0.2]])
    iou, general = overlap(a, torch.tensor([[0.6, 0.5, 0.2, 0.2]]))
    assert float(iou) == pytest.approx(1 / 3)
    assert float(general) == pytest.approx(1 / 3)
    iou, general = overlap(a, torch.tensor([[0.9, 0.5, 0.2, 0.2]]))
    assert float(iou) == 0.0
    assert float(general) == pytest.approx(-1 / 3)


def test_scores_of_boxes() -> None:
    truth = np.zeros((2, 1, 5), np.float32)
    truth[:, 0] = [1, 0.5, 0.5, 0.2, 0.2]
    answer = truth.copy()
    answer[0, 0, 1] = 0.6
    answer[1, 0, 0] = 0.1  # not found
    answers = [BoxAnswer(answer, (10, 10))]
    assert scores.mean_iou(answers, [truth]) == pytest.approx(1 / 6)
    assert scores.center_error(answers, [truth]) == pytest.approx(0.1 / np.sqrt(2))
    assert scores.presence_f1(answers, [truth]) == pytest.approx(2 / 3)


def test_the_loss_of_boxes_is_least_at_the_truth() -> None:
    truth = torch.tensor([[[1.0, 0.5, 0.4, 0.2, 0.3]], [[0.0, 0.0, 0.0, 0.0, 0.0]]])
    right = torch.cat([torch.tensor([[[9.0]], [[-9.0]]]), truth[..., 1:].logit(1e-4)], -1)
    assert float(box_loss(right, truth)) == pytest.approx(0.0, abs=1e-3)
    moved = right + torch.tensor([0.0, 0.5, 0.0, 0.0, 0.0])
    assert float(box_loss(moved, truth)) > 0.3
    elsewhere = right.clone()
    elsewhere[1, 0, 1:] = 3.0  # where nothing is, places do not count
    assert float(box_loss(elsewhere, truth)) == pytest.approx(float(box_loss(right, truth)))
