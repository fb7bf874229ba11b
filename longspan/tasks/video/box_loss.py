"""The loss of boxes, and the overlap of boxes by which they are judged."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_DISTANCE = 5.0  # weight of the absolute error of a box beside its overlap, as in DETR (arXiv 2005.12872)


def corners(boxes: Tensor) -> Tensor:
    """Boxes (..., 4) of centre x, centre y, width, height as left, top, right, bottom."""
    x, y, w, h = boxes.unbind(-1)
    return torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1)


def overlap(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """The area that two boxes (..., 4) share over the area of both (IoU), and its generalized form.

    The generalized form (Rezatofighi et al. 2019, arXiv 1902.09630) also tells how far apart two boxes are.
    """
    a, b = corners(boxes), corners(others)
    shared = _area(torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:]))
    both = _area(a[..., :2], a[..., 2:]) + _area(b[..., :2], b[..., 2:]) - shared
    around = _area(torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:]))
    iou = shared / both.clamp_min(1e-9)
    return iou, iou - (around - both) / around.clamp_min(1e-9)


def _area(low: Tensor, high: Tensor) -> Tensor:
    return (high - low).clamp_min(0).prod(-1)


def box_loss(scores: Tensor, truth: Tensor) -> Tensor:
    """The loss of presences, and of the places of the boxes that are there.

    Args:
        scores: (N, K, 5) logits of presence, centre x and y, width and height.
        truth: (N, K, 5) presence 0 or 1, and the box as shares of the frame.
    """
    presence = presence_loss(scores, truth)
    return presence + place_loss(scores, truth) if bool((truth[..., 0] > 0).any()) else presence


def presence_loss(scores: Tensor, truth: Tensor) -> Tensor:
    """The mean over all boxes of the loss of their presences."""
    return F.binary_cross_entropy_with_logits(scores[..., 0], truth[..., 0])


def place_loss(scores: Tensor, truth: Tensor) -> Tensor:
    """The mean over the boxes that are there of the loss of their places; NaN where none is."""
    there = truth[..., 0] > 0
    boxes, true = scores[there][:, 1:].sigmoid(), truth[there][:, 1:]
    distance = (boxes - true).abs().mean()
    return _DISTANCE * distance + (1 - overlap(boxes, true)[1]).mean()
