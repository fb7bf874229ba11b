"""Clips out of folders, tables, files, arrays and lists, and the sentences about those that are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from longspan.tasks.video.clips import Segment
from longspan.tasks.video.label_tables import VideoColumns
from longspan.tasks.video.reading import read_clips

from .conftest import WriteClip, coloured, moving, swinging, with_boxes

CLIP = coloured(moving(5, True))


def write_pictures(folder: Path, clip: np.ndarray) -> Path:
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(clip):
        pillow.fromarray(frame).save(folder / f"{number}.png")
    return folder


def test_a_folder_a_class(tmp_path: Path, write_clip: WriteClip) -> None:
    for path in ("left/a.mp4", "left/b.avi", "right/c.mp4"):
        write_clip(tmp_path / path, CLIP)
    write_pictures(tmp_path / "right/d", CLIP)
    np.save(tmp_path / ".hidden.npy", np.zeros(3))
    clips = read_clips(tmp_path)
    assert [(Path(clip.file or "").name, clip.label) for clip in clips] == [
        ("a.mp4", "left"), ("b.avi", "left"), ("c.mp4", "right"), ("d", "right")
    ]  # fmt: skip


def test_clips_alone_have_no_label(tmp_path: Path, write_clip: WriteClip) -> None:
    write_clip(tmp_path / "a.mp4", CLIP)
    write_pictures(tmp_path / "b", CLIP)
    assert [clip.label for clip in read_clips(tmp_path, labelled=False)] == [None, None]
    assert len(read_clips(tmp_path / "b", labelled=False)) == 1
    with pytest.raises(ValueError, match=r"label: expected one for every clip, received none for .*a.mp4"):
        read_clips(tmp_path)


def test_a_table_of_labels(tmp_path: Path, write_clip: WriteClip) -> None:
    write_clip(tmp_path / "clips/a.mp4", CLIP)
    (tmp_path / "labels.csv").write_text("path,label\nclips/a.mp4,3\n")
    for source in (tmp_path, tmp_path / "labels.csv"):
        assert [clip.label for clip in read_clips(source)] == [3]
    frame = pl.DataFrame({"clip name": [str(tmp_path / "clips/a.mp4")], "kind": ["run"]})
    clips = read_clips(frame, columns=VideoColumns("clip name", "kind"))
    assert [clip.label for clip in clips] == ["run"]


def test_segments_and_parts(tmp_path: Path, write_clip: WriteClip) -> None:
    write_clip(tmp_path / "a.mp4", CLIP)
    (tmp_path / "labels.csv").write_text("path,label,start,end\na.mp4,run,0,0.2\na.mp4,jump,0.3,0.5\n")
    (clip,) = read_clips(tmp_path)
    assert clip.segments == (Segment(0.0, 0.2, "run"), Segment(0.3, 0.5, "jump"))
    parts = read_clips(tmp_path, columns=VideoColumns(answers="clip"))
    assert [(part.label, part.start, part.end) for part in parts] == [("run", 0, 0.2), ("jump", 0.3, 0.5)]
    (tmp_path / "labels.csv").write_text("path,label,start,end\na.mp4,run,0.4,0.2\n")
    with pytest.raises(
        ValueError, match=r"expected 0 <= start < end in seconds, received 0.4 and 0.2 in row 0"
    ):
        read_clips(tmp_path)


def test_a_table_of_boxes(tmp_path: Path, write_clip: WriteClip) -> None:
    write_clip(tmp_path / "a.mp4", CLIP)
    (tmp_path / "boxes.csv").write_text(
        "path,frame,class,x,y,w,h\na.mp4,0,ball,1,2,3,4\na.mp4,1,ball,2,2,3,4\n"
    )
    (clip,) = read_clips(tmp_path)
    assert clip.boxes is not None
    assert [tuple(box) for box in clip.boxes] == [(0, "ball", 1, 2, 3, 4), (1, "ball", 2, 2, 3, 4)]
    (tmp_path / "boxes.csv").write_text("path,frame,class,x,y,w,h\na.mp4,0,ball,1,,3,4\n")
    with pytest.raises(ValueError, match=r"boxes of .*a.mp4: expected every cell filled"):
        read_clips(tmp_path)


def test_skeletons_of_numpy_files(tmp_path: Path) -> None:
    clips, labels = swinging(4)
    for number, (clip, label) in enumerate(zip(clips, labels, strict=True)):
        (tmp_path / "single" / label).mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "single" / label / f"{number}.npy", clip)
    found = read_clips(tmp_path / "single")
    assert sorted(clip.label for clip in found) == ["circle", "circle", "wave", "wave"]
    arrays: dict[str, Any] = {f"clip{n}": clip for n, clip in enumerate(clips)}
    np.savez(tmp_path / "all.npz", labels=np.array(labels), **arrays)
    packed = read_clips(tmp_path / "all.npz")
    assert [clip.label for clip in packed] == labels
    np.testing.assert_array_equal(packed[2].values, clips[2])
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"bad.npy: expected arrays, received what NumPy cannot read"):
        read_clips(tmp_path / "bad.npy")


def test_skeletons_of_a_table_with_a_row_a_joint(tmp_path: Path) -> None:
    clips, labels = swinging(2)
    rows = [
        {"clip": f"c{n}", "frame": 3 * f, "joint": j, "x": x, "y": y, "z": z, "label": labels[n]}
        for n, clip in enumerate(clips)
        for f, frame in enumerate(clip.astype(float))
        for j, (x, y, z) in enumerate(frame)
    ]
    frame = pl.DataFrame(rows).sample(fraction=1.0, shuffle=True, seed=1)
    frame.write_csv(tmp_path / "joints.csv")
    for source in (frame, tmp_path / "joints.csv"):
        by_label = {clip.label: clip.values for clip in read_clips(source)}
        np.testing.assert_allclose(by_label["wave"], clips[0], atol=1e-5)
        np.testing.assert_allclose(by_label["circle"], clips[1], atol=1e-5)
    with pytest.raises(ValueError, match="expected one row a frame and joint, received two for one"):
        read_clips(pl.concat([frame, frame]))


def test_arrays_and_lists() -> None:
    assert [clip.values.shape for clip in read_clips(CLIP, ["a"])] == [(5, 32, 32, 3)]
    assert len(read_clips(np.zeros((3, 4, 8, 8, 1), np.uint8), [0, 1, 0])) == 3
    clips = read_clips([(moving(4, True), "left"), (moving(6, False), "right")])
    assert [(len(clip.values), clip.label) for clip in clips] == [(4, "left"), (6, "right")]
    assert read_clips([swinging(1)[0][0]], ["a"])[0].is_skeleton
    assert read_clips([moving(2, True)], [["a", "b"]])[0].steps == ("a", "b")
    arrays, tables = with_boxes(2)
    assert len(read_clips(arrays, tables)[1].boxes or ()) == 5
    assert len(read_clips(arrays, [table.to_dict(as_series=False) for table in tables])[1].boxes or ()) == 5


@pytest.mark.parametrize(
    ("source", "y", "message"),
    [
        ([], None, "source: expected at least one clip, received none"),
        ([moving(3, True)], ["a", "b"], "labels: expected one for every clip, received 2 for 1 clips"),
        ([moving(3, True)], "a", "labels: expected a list with one entry a clip, received str"),
        ([moving(3, True), swinging(1)[0][0]], [0, 1], "source: expected clips or skeletons, received both"),
        ([np.zeros((0, 8, 8), np.uint8)], ["a"], "clip 0: expected at least one frame"),
        ([[moving(3, True)[0], moving(3, True)[0][:5]]], ["a"], "clip 0: expected frames of one size"),
        (np.zeros((2, 5, 4, 3)), ["a", "b"], "source: expected a list of clips"),
        (3, None, "source: expected a path, a frame of paths and labels"),
    ],
)
def test_sources_that_cannot_be_read(source: Any, y: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        read_clips(source, y)


def test_a_label_without_a_clip_is_named(tmp_path: Path, write_clip: WriteClip) -> None:
    write_clip(tmp_path / "a.mp4", CLIP)
    (tmp_path / "labels.csv").write_text("path,label\na.mp4,run\nb.mp4,jump\n")
    with pytest.raises(FileNotFoundError, match=r"a clip for every label, received b.mp4, .* in row 1 of"):
        read_clips(tmp_path)
    (tmp_path / "labels.csv").write_text("path,label\na.mp4,run\n,jump\n")
    with pytest.raises(ValueError, match="a clip for every label, received none in row 1"):
        read_clips(tmp_path)
    (tmp_path / "labels.csv").write_text("path,label\na.mp4,run\na.mp4,\n")
    with pytest.raises(ValueError, match=r"label: expected one in every row, received none for .*a.mp4"):
        read_clips(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"expected a clip, received nowhere.mp4"):
        read_clips(["nowhere.mp4"], ["a"])
