"""Scores of answers about clips: top-1 and top-5, F1 of segments, overlap and distance of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .box_loss import overlap
from .targets import BoxAnswer, FrameAnswer, segments_of


def top_k(probabilities: np.ndarray, truth: np.ndarray, k: int) -> float:
    """The share of clips whose class is among the k most probable ones; probabilities (N, K), truth (N,)."""
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((best == truth[:, None]).any(1).mean())


def frame_accuracy(answers: Sequence[FrameAnswer], truth: Sequence[np.ndarray]) -> float:
    """The share of frames whose most probable class is theirs; truth: (T_i,) class numbers."""
    right = [answer.probabilities.argmax(1) == true for answer, true in zip(answers, truth, strict=True)]
    return float(np.concatenate(right).mean())


def segment_f1(
    answers: Sequence[FrameAnswer], truth: Sequence[np.ndarray], classes: Sequence[Any], least: float
) -> float:
    """F1 of segments (Lea et al. 2017, arXiv 1611.05267): each true one is found at most once.

    A segment is right if its overlap (IoU) with a true one of its class is at least `least`.
    """
    right = found = true = 0
    for answer, numbers in zip(answers, truth, strict=True):
        predicted = segments_of(answer.probabilities.argmax(1), classes, 1.0)
        actual = segments_of(numbers, classes, 1.0)
        found, true = found + len(predicted), true + len(actual)
        free = set(range(len(actual)))
        for segment in predicted:
            shares = {
                row: _span_iou(segment, actual[row]) for row in free if actual[row].label == segment.label
            }
            best = max(shares, key=lambda row: shares[row], default=None)
            if best is not None and shares[best] >= least:
                free.remove(best)
                right += 1
    return 2 * right / (found + true) if found + true else 1.0


def _span_iou(a: Any, b: Any) -> float:
    shared = max(0.0, min(a.end, b.end) - max(a.start, b.start))
    return shared / (max(a.end, b.end) - min(a.start, b.start))


def mean_iou(answers: Sequence[BoxAnswer], truth: Sequence[np.ndarray]) -> float:
    """The mean overlap (IoU) of the boxes that are there; 0 for one that is not found."""
    found, boxes, true = _at_true_boxes(answers, truth)
    if not len(true):
        return float("nan")
    iou, _ = overlap(torch.from_numpy(boxes), torch.from_numpy(true))
    return float((iou.numpy() * found).mean())


def center_error(answers: Sequence[BoxAnswer], truth: Sequence[np.ndarray]) -> float:
    """The mean distance of the centres of the boxes that are there and found, as a share of the diagonal."""
    found, boxes, true = _at_true_boxes(answers, truth)
    if not found.any():
        return float("nan")
    distance = np.linalg.norm((boxes - true)[:, :2], axis=1) / np.sqrt(2)
    return float(distance[found].mean())


def presence_f1(answers: Sequence[BoxAnswer], truth: Sequence[np.ndarray]) -> float:
    """F1 of the objects' presences in all frames."""
    found = np.concatenate([answer.boxes[..., 0].ravel() >= 0.5 for answer in answers])
    there = np.concatenate([true[..., 0].ravel() > 0 for true in truth])
    total = int(found.sum()) + int(there.sum())
    return 2 * int((found & there).sum()) / total if total else 1.0


def _at_true_boxes(
    answers: Sequence[BoxAnswer], truth: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For the N objects that are there: whether they are found (N,), their boxes and the true ones (N, 4)."""
    answered = np.concatenate([answer.boxes.reshape(-1, 5) for answer in answers])
    true = np.concatenate([boxes.reshape(-1, 5) for boxes in truth])
    there = true[:, 0] > 0
    return answered[there, 0] >= 0.5, answered[there, 1:], true[there, 1:]
