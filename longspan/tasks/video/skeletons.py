"""Turns joints into what a network of skeletons reads: bones, positions about the body's centre, speeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from longspan.data.padding import RaggedTensor

_LAG = 4  # frames between the two ends of the slow speed
_SPEED = 5.0  # factor that brings speeds of a frame to the size of positions
_KERNEL = (-3 / 35, 12 / 35, 17 / 35, 12 / 35, -3 / 35)  # Savitzky and Golay 1964, 5 points, degree 2
_MOST_FRAMES = 20_000  # frames that the bones are found by


def find_bones(clips: Sequence[Tensor]) -> list[tuple[int, int]]:
    """The pairs of joints that keep their distance: a tree over all joints, by the training part.

    The minimum spanning tree of the standard deviations of the distances between joints, where every clip is
    divided by the mean size of its body.

    Args:
        clips: (T, J, D) each.

    Returns:
        J - 1 pairs of joint numbers, each of a joint in the tree and one that it adds.
    """
    frames = torch.cat([clip / _size(clip) for clip in clips])
    frames = frames[:: -(-len(frames) // _MOST_FRAMES)]
    distances = torch.cdist(frames, frames)
    cost = distances.std(0, unbiased=False)
    inside, bones = [0], list[tuple[int, int]]()
    outside = list(range(1, frames.shape[1]))
    while outside:
        least = cost[inside][:, outside]
        row, column = divmod(int(least.argmin()), len(outside))
        bones.append((inside[row], outside[column]))
        inside.append(outside.pop(column))
    return bones


def _size(clip: Tensor) -> Tensor:
    """The mean distance of the joints of a clip (T, J, D) from their centre."""
    return (clip - clip.mean(1, keepdim=True)).norm(dim=2).mean().clamp_min(1e-6)


def smoothed(clip: Tensor) -> Tensor:
    """A clip (T, J, D) without the jitter of tracking: five frames' parabola at each frame."""
    padded = torch.cat([clip[:1], clip[:1], clip, clip[-1:], clip[-1:]])
    parts = [weight * padded[place : place + len(clip)] for place, weight in enumerate(_KERNEL)]
    return torch.stack(parts).sum(0)


class SkeletonState(NamedTuple):
    """recent: (B, L, J, D) the last positions about the centre; centre: (B, 1, D) the last one.

    size, frames: (B,) the sum of the sizes of the body so far, and the number of frames in it.
    """

    recent: Tensor
    centre: Tensor
    size: Tensor
    frames: Tensor


class SkeletonFeatures(nn.Module):
    """Joints (B, T, J, D) as features (B, T, I) that do not depend on where a body stands and how tall it is.

    For each frame: the joints' positions about their centre, the directions of the bones, the speed of each
    joint over one frame and over four, and the speed of the centre. Lengths are divided by the mean length of
    the bones in the frames so far. A frame's features depend on no later one.

    Args:
        joints: J; axes: D; bones: as from `find_bones`.

    Attributes:
        output_size: I.
    """

    bones: Tensor

    def __init__(self, joints: int, axes: int, bones: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.register_buffer("bones", torch.tensor(list(bones), dtype=torch.int64).view(-1, 2))
        self.output_size = axes * (3 * joints + len(bones) + 1)

    def forward(self, x: Tensor, state: SkeletonState | None = None) -> tuple[Tensor, SkeletonState]:
        """Features, and the state after the last frame."""
        centre = x.mean(2, keepdim=True)
        rows, frames = x.shape[:2]
        vectors = x[:, :, self.bones[:, 1]] - x[:, :, self.bones[:, 0]]
        sizes = vectors.norm(dim=3).mean(2)
        total = sizes.cumsum(1) + (0.0 if state is None else state.size.unsqueeze(1))
        seen = torch.arange(1, frames + 1, device=x.device).expand(rows, -1)
        seen = seen + (0 if state is None else state.frames.unsqueeze(1))
        scale = (total / seen).clamp_min(1e-6).view(rows, frames, 1, 1)
        about = x - centre
        recent = about[:, :1].expand(-1, _LAG, -1, -1) if state is None else state.recent
        last = centre[:, :1] if state is None else state.centre.unsqueeze(1)
        with_past = torch.cat([recent, about], 1)
        moved = centre - torch.cat([last, centre[:, :-1]], 1)
        fast = about - with_past[:, _LAG - 1 : -1]
        slow = (about - with_past[:, :-_LAG]) / _LAG
        lengths = torch.cat([about, _SPEED * fast, _SPEED * slow, _SPEED * moved], 2) / scale
        features = torch.cat([lengths, F.normalize(vectors, dim=3)], 2)
        after = SkeletonState(with_past[:, -_LAG:], centre[:, -1], total[:, -1], seen[:, -1])
        return features.flatten(2), after


class SkeletonAugmentation(NamedTuple):
    """What is done to training skeletons, drawn for every clip and epoch.

    rotation: standard deviation in degrees of a turn about a random axis; scale: of the factor of each axis.
    noise: of the shift of a joint in all frames of a clip, as a share of the mean length of a bone; half of
        it is the noise of each frame.
    jitter: share of the frames that is cut at each end at most; also the share by which a clip is made faster
        or slower at most.
    """

    rotation: float = 0.0
    scale: float = 0.0
    noise: float = 0.0
    jitter: float = 0.0

    def __call__(self, clips: RaggedTensor, rows: Tensor, bones: Tensor) -> tuple[Tensor, Tensor]:
        """The clips of these rows, changed: (B, T, J, D) and their lengths (B,)."""
        x, lengths = clips.pad(rows)
        if self.jitter:
            x, lengths = _warped(x, lengths, self.jitter)
        first = x[:, 0]
        size = (first[:, bones[:, 1]] - first[:, bones[:, 0]]).norm(dim=2).mean(1).view(-1, 1, 1, 1)
        if self.rotation:
            centre = first.mean(1).view(len(x), 1, 1, -1)
            x = torch.einsum("btjd,bde->btje", x - centre, _turns(len(x), x.shape[3], self.rotation)) + centre
        if self.scale:
            x = x * (1 + self.scale * torch.randn(len(x), 1, 1, x.shape[3]))
        if self.noise:
            shifts = torch.randn(len(x), 1, *x.shape[2:]) + 0.5 * torch.randn(x.shape)
            x = x + self.noise * size * shifts
        return x, lengths


def _turns(rows: int, axes: int, degrees: float) -> Tensor:
    """Random rotations (B, D, D)."""
    angles = torch.randn(rows, axes, axes) * (degrees * torch.pi / 180)
    upper = angles.triu(1)
    return torch.matrix_exp(upper - upper.transpose(1, 2))


def _warped(x: Tensor, lengths: Tensor, jitter: float) -> tuple[Tensor, Tensor]:
    """Clips (B, T, J, D) with their ends cut and their speed changed, by linear interpolation."""
    start, end, speed = torch.rand(3, len(x))
    first = start * jitter * lengths
    last = (lengths - 1 - end * jitter * lengths).clamp_min(first)
    spans = (last - first) * (1 + jitter * (2 * speed - 1))
    counts = (spans.round().long() + 1).clamp_min(1)
    steps = torch.arange(int(counts.max()))
    share = (steps / (counts - 1).clamp_min(1).unsqueeze(1)).clamp_max(1.0)
    places = first.unsqueeze(1) + share * (last - first).unsqueeze(1)
    low = places.floor().long()
    high = (low + 1).minimum((lengths - 1).unsqueeze(1))
    weight = (places - low).view(*places.shape, 1, 1)
    rows = torch.arange(len(x)).unsqueeze(1)
    return torch.lerp(x[rows, low], x[rows, high], weight), counts
