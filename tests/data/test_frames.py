from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from longspan.data import frames
from longspan.data.frames import DrawnAugmentation, FrameAugmentation, FrameFormat, Sampling

av = pytest.importorskip("av")
pillow = pytest.importorskip("PIL.Image")
FORMAT = FrameFormat(16, 16, 1)


def clip_of(levels: list[int], size: int = 32) -> np.ndarray:
    """One grey level a frame."""
    return np.stack([np.full((size, size, 3), level, np.uint8) for level in levels])


def write_clip(path: Path, clip: np.ndarray, rate: int = 10, codec: str = "mpeg4") -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for picture in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def levels_of(clip: torch.Tensor) -> list[int]:
    return [round(float(frame.float().mean())) for frame in clip]


@pytest.mark.parametrize("ending", ["mp4", "avi", "webm"])
def test_clips_are_decoded_frame_by_frame(tmp_path: Path, ending: str) -> None:
    codec = "libvpx" if ending == "webm" else "mpeg4"
    path = write_clip(tmp_path / f"a.{ending}", clip_of([20, 60, 100, 140, 180]), codec=codec)
    clip = frames.read_clip(path, Sampling(), FORMAT)
    assert clip.shape == (5, 1, 16, 16)
    assert clip.dtype == torch.uint8
    np.testing.assert_allclose(levels_of(clip), [20, 60, 100, 140, 180], atol=4)


def test_gifs_are_clips(tmp_path: Path) -> None:
    pictures = [pillow.fromarray(frame) for frame in clip_of([0, 100, 200])]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=100)
    assert levels_of(frames.read_clip(tmp_path / "a.gif", Sampling(), FORMAT)) == [0, 100, 200]


def test_frames_are_taken_at_a_rate_and_in_a_part(tmp_path: Path) -> None:
    levels = list(range(0, 200, 10))
    path = write_clip(tmp_path / "a.mp4", clip_of(levels), rate=10)
    taken = frames.read_clip(path, Sampling(rate=5), FORMAT)
    np.testing.assert_allclose(levels_of(taken), levels[::2], atol=4)
    repeated = frames.read_clip(path, Sampling(rate=20, end=0.2), FORMAT)
    np.testing.assert_allclose(levels_of(repeated), [0, 10, 10], atol=4)
    part = frames.read_clip(path, Sampling(start=0.5, end=0.8), FORMAT)
    np.testing.assert_allclose(levels_of(part), levels[5:8], atol=4)
    with pytest.raises(ValueError, match=r"a.mp4: expected frames in the part asked for, received none"):
        frames.read_clip(path, Sampling(start=5.0), FORMAT)


def test_a_long_clip_is_thinned_evenly(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", clip_of(list(range(0, 250, 5))), rate=10)
    levels = levels_of(frames.read_clip(path, Sampling(most=5), FORMAT))
    assert len(levels) == 5
    steps = np.diff(levels)
    assert steps.min() > 40
    assert levels[0] < 5
    assert levels[-1] > 220


def test_the_header_of_a_clip(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", clip_of([1, 2, 3]), rate=10)
    assert frames.clip_info(path) == (32, 32, 10.0, 3)


@pytest.mark.parametrize("content", [b"", b"this is no clip", b"\x00\x00\x00\x18ftypmp42" + b"\xff" * 200])
def test_a_broken_clip_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(ValueError, match=r"file .*a.mp4: expected a clip, received .*; .*\.$"):
        frames.read_clip(tmp_path / "a.mp4", Sampling(), FORMAT)


def test_a_missing_clip_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"file: expected a clip, received .*a.mp4, where nothing is"):
        frames.read_clip(tmp_path / "a.mp4", Sampling(), FORMAT)


def test_folders_of_frames_are_read_by_their_numbers(tmp_path: Path) -> None:
    for number, frame in enumerate(clip_of([0, 20, 40, 60, 80, 100, 120, 140, 160, 180, 200])):
        pillow.fromarray(frame).save(tmp_path / f"frame{number}.png")
    assert levels_of(frames.read_frame_folder(tmp_path, Sampling(most=3), FORMAT)) == [0, 100, 200]


def test_pictures_are_read_in_colour(tmp_path: Path) -> None:
    for name in ("a.png", "a.webp"):
        pillow.fromarray(np.full((4, 6), 50, np.uint8)).save(tmp_path / name)
        assert frames.read_picture(tmp_path / name).shape == (4, 6, 3)
    (tmp_path / "b.png").write_text("not a picture")
    with pytest.raises(ValueError, match=r"b.png: expected a picture, received what cannot be read as one"):
        frames.read_picture(tmp_path / "b.png")


def test_arrays_become_bytes() -> None:
    assert frames.array_frames(np.array([[[0.0, 1.0]]]), "clip 0").tolist() == [[[[0], [255]]]]
    assert frames.array_frames(np.full((2, 3, 3, 3), 200), "clip 0").dtype == np.uint8
    assert frames.array_frames(np.ones((2, 3, 3), bool), "clip 0").max() == 255


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((0, 4, 4, 3)), "clip 1: expected at least one frame, received shape"),
        (np.zeros((4, 4)), "clip 1: expected an array"),
        ([np.zeros((4, 4)), np.zeros((5, 4))], "clip 1: expected frames of one size, received frames of dif"),
        (np.full((1, 2, 2), 300), "clip 1: expected values from 0 to 255"),
        (np.full((1, 2, 2), np.nan), "clip 1: expected values from 0 to 1"),
    ],
)
def test_arrays_that_are_no_frames(array: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frames.array_frames(array, "clip 1")


def test_a_format_resizes_and_changes_channels() -> None:
    clip = np.zeros((2, 8, 8, 3), np.uint8)
    clip[..., 4:, 0] = 200
    grey = FrameFormat(4, 4, 1)(clip)
    assert grey.shape == (2, 1, 4, 4)
    assert grey[0, 0, 0, 0] == 0
    assert grey[0, 0, 0, 3] == 60
    assert FrameFormat(8, 8, 3)(clip[..., :1]).shape == (2, 3, 8, 8)


def test_an_augmentation_moves_frames_and_boxes_alike() -> None:
    frame = torch.zeros(1, 1, 20, 20, dtype=torch.uint8)
    frame[..., 4:8, 2:6] = 100
    box = torch.tensor([4 / 20, 6 / 20, 4 / 20, 4 / 20])
    drawn = DrawnAugmentation(True, 3, -2, 2.0)
    moved, (x, y, w, h) = drawn(frame), (20 * drawn.boxes(box, 20, 20)).tolist()
    rows, columns = moved[0, 0].nonzero(as_tuple=True)
    assert (int(columns.min()), int(columns.max()) + 1) == (round(x - w / 2), round(x + w / 2))
    assert (int(rows.min()), int(rows.max()) + 1) == (round(y - h / 2), round(y + h / 2))
    assert int(moved.max()) == 200


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_turned_frames_have_turned_boxes(quarters: int) -> None:
    frame = torch.zeros(1, 1, 20, 20, dtype=torch.uint8)
    frame[..., 4:8, 2:12] = 100
    drawn = DrawnAugmentation(True, 0, 0, 1.0, quarters)
    turned, (x, y, w, h) = (
        drawn(frame),
        (20 * drawn.boxes(torch.tensor([7, 6, 10, 4]) / 20, 20, 20)).tolist(),
    )
    rows, columns = turned[0, 0].nonzero(as_tuple=True)
    assert (int(columns.min()), int(columns.max()) + 1) == (round(x - w / 2), round(x + w / 2))
    assert (int(rows.min()), int(rows.max()) + 1) == (round(y - h / 2), round(y + h / 2))


def test_turns_are_drawn_by_the_shape_of_frames() -> None:
    torch.manual_seed(0)
    turned = FrameAugmentation(turns=True)
    assert {turned.draw(8, 8).quarters for _ in range(60)} == {0, 1, 2, 3}
    assert {turned.draw(8, 6).quarters for _ in range(60)} == {0, 2}


def test_an_augmentation_is_drawn_within_its_limits() -> None:
    torch.manual_seed(0)
    drawn = [FrameAugmentation(0.5, 0.1, 0.2).draw(40, 20) for _ in range(200)]
    assert {one.flipped for one in drawn} == {True, False}
    assert max(abs(one.down) for one in drawn) == 4
    assert max(abs(one.right) for one in drawn) == 2
    assert all(0.8 <= one.gain <= 1.2 for one in drawn)
    assert all(FrameAugmentation().draw(40, 20) == (False, 0, 0, 1.0, 0) for _ in range(5))


def test_channels_are_scaled_apart() -> None:
    clips = [torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8) for _ in range(3)]
    normalizer = frames.FrameNormalizer().fit(clips)
    x = normalizer(torch.cat(clips))
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3), unbiased=False), torch.ones(3), atol=1e-4, rtol=0)
    again = frames.FrameNormalizer().restore(normalizer.state())
    torch.testing.assert_close(again(clips[0]), normalizer(clips[0]))
