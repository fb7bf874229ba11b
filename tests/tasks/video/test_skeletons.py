"""Skeletons: gaps are filled, bones are found, features depend on no place, size or later frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from longspan.data.padding import RaggedTensor
from longspan.tasks.video.clips import skeleton
from longspan.tasks.video.skeletons import SkeletonAugmentation, SkeletonFeatures, find_bones, smoothed


def walker(frames: int = 9) -> torch.Tensor:
    """A chain of four joints that bends, (T, 4, 3); neighbours are 1 apart."""
    angles = torch.linspace(0, 1.5, frames).unsqueeze(1) * torch.tensor([0.0, 1.0, -1.0])
    steps = torch.stack([angles.cos(), angles.sin(), 0 * angles], -1)
    return torch.cat([torch.zeros(frames, 1, 3), steps.cumsum(1)], 1) + torch.tensor([3.0, 1.0, 7.0])


def test_gaps_take_the_last_position_or_the_next() -> None:
    values = np.ones((4, 2, 3), np.float32)
    values[:, 1] = np.arange(1, 5)[:, None]
    values[0, 1], values[2, 1] = np.nan, np.nan
    values[3] = 0.0
    assert skeleton(values, "clip 0")[:, 1, 0].tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 2, 3)), "clip 4: expected at least one tracked frame, received none; leave it out."),
        (np.zeros((0, 2, 3)), "clip 4: expected at least one tracked frame"),
        (np.full((3, 2, 3), np.inf), "clip 4: expected finite positions"),
        (np.ones((3, 2, 4)), "clip 4: expected a skeleton"),
    ],
)
def test_what_is_no_skeleton(array: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        skeleton(array, "clip 4")


def test_bones_join_the_joints_that_keep_their_distance() -> None:
    clip = walker()[:, [2, 0, 3, 1]]  # the chain is 1, 3, 0, 2
    assert {frozenset(bone) for bone in find_bones([clip])} == {
        frozenset((1, 3)), frozenset((3, 0)), frozenset((0, 2))
    }  # fmt: skip


def test_features_do_not_depend_on_place_and_size() -> None:
    features = SkeletonFeatures(4, 3, find_bones([walker()]))
    x = walker().unsqueeze(0)
    out, _ = features(x)
    assert out.shape == (1, 9, features.output_size)
    torch.testing.assert_close(features(3 * x + torch.tensor([1.0, -4.0, 2.0]))[0], out, atol=1e-4, rtol=1e-4)


def test_features_frame_by_frame_are_those_of_the_clip() -> None:
    features = SkeletonFeatures(4, 3, find_bones([walker()]))
    x = walker().unsqueeze(0) + 0.1 * torch.randn(1, 9, 4, 3)
    state, parts = None, []
    for frame in x.split(1, dim=1):
        part, state = features(frame, state)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), features(x)[0])


def test_smoothing_keeps_a_parabola_and_removes_jitter() -> None:
    time = torch.arange(20.0).view(-1, 1, 1)
    clean = 0.1 * time.square().expand(-1, 2, 3)
    torch.testing.assert_close(smoothed(clean)[2:-2], clean[2:-2], atol=1e-4, rtol=1e-4)
    noise = 0.1 * torch.randn(2000, 2, 3)
    assert float(smoothed(noise).std()) < 0.08
    assert smoothed(clean[:1]).shape == (1, 2, 3)


def test_augmentation_turns_and_warps_without_losing_bones() -> None:
    torch.manual_seed(0)
    clips = RaggedTensor([walker(9), walker(5), walker(1)])
    bones = torch.tensor(find_bones([walker()]))
    rows = torch.tensor([0, 1, 2] * 20)
    x, lengths = SkeletonAugmentation(rotation=20, jitter=0.2)(clips, rows, bones)
    assert len(set(lengths[rows == 0].tolist())) > 2
    assert lengths[rows == 2].tolist() == [1] * 20
    assert int(lengths.min()) >= 1
    vectors = x[:, 0, bones[:, 1]] - x[:, 0, bones[:, 0]]
    torch.testing.assert_close(vectors.norm(dim=2), torch.ones(60, 3), atol=2e-2, rtol=0)
    assert float((x[0, 0] - x[3, 0]).abs().max()) > 0.01
    same, _ = SkeletonAugmentation()(clips, rows, bones)
    torch.testing.assert_close(same[0], walker(9))
    stretched, _ = SkeletonAugmentation(scale=0.2, noise=0.1)(clips, rows, bones)
    assert float((stretched[0] - same[0]).abs().max()) > 0.01
