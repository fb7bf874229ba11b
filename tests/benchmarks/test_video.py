"""The benchmark of video draws digits that move, knows equal frames, and compares equal networks."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture
def video(benchmark_module: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark_module("video")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Fifty digits of which each is a rectangle, and skeletons of two subjects."""
    folder = tmp_path / "video/moving_mnist_source"
    folder.mkdir(parents=True)
    pictures = np.zeros((50, 28, 28), np.uint8)
    for number, picture in enumerate(pictures):
        picture[4 : 10 + number % 10, 6:20] = 200
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16) + pictures.tobytes()))
    labels = np.arange(50, dtype=np.uint8) % 10
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(8) + labels.tobytes()))
    (tmp_path / "video/msr_action3d_skeleton").mkdir()
    draw = np.random.default_rng(0)
    lengths, action, subject = np.full(16, 6), np.arange(16) % 2, np.arange(16) // 2 % 2 + 1
    joints = draw.normal(0, 0.1, (96, 20, 4)) + np.repeat(action, 6)[:, None, None] * np.arange(20)[:, None]
    joints[:6] = 0.0
    content = {"X": joints.astype(np.float32), "lengths": lengths, "action": action, "subject": subject}
    np.savez(tmp_path / "video/msr_action3d_skeleton/msr_action3d.npz", **content)  # pyright: ignore[reportArgumentType]
    return tmp_path


def test_digits_move_in_one_direction_and_boxes_hold_their_ink(video: ModuleType, data: Path) -> None:
    clips = video.moving_digits(*video.mnist(data), 40, 1)
    assert {clip.direction for clip in clips} == {"left", "right", "up", "down"}
    for clip in clips:
        assert clip.frames.shape == (20, 64, 64)
        for frame, (x, y, w, h) in zip(clip.frames, clip.boxes, strict=True):
            rows, columns = np.nonzero(frame)
            assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (y, y + h, x, x + w)
        moved = clip.boxes[-1, :2] - clip.boxes[0, :2]
        axis = 0 if clip.direction in ("left", "right") else 1
        assert abs(moved[axis]) >= 18 and moved[1 - axis] == 0
        assert (moved[axis] > 0) == (clip.direction in ("right", "down"))


def test_skeletons_that_nothing_was_tracked_in_are_left_out(video: ModuleType, data: Path) -> None:
    every = video.skeletons(data)
    assert len(every.clips) == 15
    train, test = every.of(every.subjects % 2 == 1), every.of(every.subjects % 2 == 0)
    assert video.nearest(train, test) == 1.0


def test_warping_forgives_another_speed(video: ModuleType) -> None:
    clip = np.linspace(0, 1, 10)[:, None] * np.ones(3)
    assert video.warped_distance(clip, clip.repeat(2, axis=0)) == pytest.approx(0.0)
    assert video.warped_distance(clip, clip[::-1]) > 0.1


def test_similarity_is_one_for_equal_frames(video: ModuleType) -> None:
    frames = np.random.default_rng(0).uniform(size=(2, 32, 32)).astype(np.float32)
    assert video.ssim(frames, frames) == pytest.approx(1.0, abs=1e-5)
    assert video.ssim(frames, frames[::-1].copy()) < 0.2


@pytest.mark.slow
def test_the_rival_has_the_same_sizes(
    video: ModuleType, data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(video, "_ROUNDS", 1)
    monkeypatch.setattr(video, "_TRAIN_DIGITS", 40)
    monkeypatch.setattr(video, "_TIMED_CLIPS", 8)
    video.speed(data, tmp_path / "results")
    results = json.loads((tmp_path / "results").read_text())
    assert results["skeletons"]["ratio"] > 0 and results["clips"]["ratio"] > 0
    assert results["stream"]["frames a second"] > 0


def test_the_network_of_next_frames_learns(video: ModuleType) -> None:
    model = video.next_frame_model()
    frames = np.zeros((2, 4, 64, 64, 1), np.float32)
    frames[:, :, 20:40, 20:40] = 1.0
    losses = model.fit(frames[:, :-1], frames[:, 1:], batch_size=2, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < 0.95 * losses[0]
    assert model.predict(frames, verbose=0).shape == frames.shape
