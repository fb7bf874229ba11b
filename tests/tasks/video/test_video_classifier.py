"""VideoClassifier: classes, segments and boxes are learned, features of the user's too; errors name clips."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

import longspan as ls
from longspan import VideoClassifier

from .conftest import WriteClip, coloured, moving, moving_clips, swinging, with_boxes

pytestmark = pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "filters": (8,),
    "feature_size": 16,
    "batch_size": 8,
    "epochs": 10,
    "learning_rate": 0.01,
    "dropout": 0.0,
    "shift": 0.0,
    "refit": False,
}


def pooled(frames: Tensor) -> Tensor:
    """The brightest place of every row and column, in place of a frame net."""
    return torch.cat([frames.amax((1, 2)), frames.amax((1, 3))], 1)


def test_skeletons_are_told_apart(tmp_path: Path) -> None:
    clips, labels = swinging(60)
    task = VideoClassifier(hidden_size=16, epochs=10, batch_size=8, learning_rate=0.01, refit=False)
    task.fit(clips, labels, verbose=0)
    test, truth = swinging(20, 1)
    scores = task.evaluate(test, truth)
    assert scores["top1"] >= 0.9
    assert list(scores) == ["top1", "log_loss", "calibration_error"]
    assert len(task.network_.members) == 3
    task.save(tmp_path / "model")
    again = ls.load(tmp_path / "model")
    np.testing.assert_allclose(again.predict_proba(test), task.predict_proba(test), atol=1e-6)  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValueError, match="clip 0: expected 5 joints with 3 numbers each, received 4 with 3"):
        task.predict([test[0][:, :4]])
    with pytest.raises(ValueError, match="source: expected skeletons, as in training, received frames"):
        task.predict([moving(4, True)])


def test_a_convolutional_lstm_reads_frames() -> None:
    clips, labels = moving_clips(48)
    task = VideoClassifier(**SMALL, architecture="convlstm").fit(clips, labels, verbose=0)
    assert task.evaluate(*moving_clips(20, 100))["top1"] >= 0.9


def test_few_clips_are_trained_on_as_a_whole_after_calibration() -> None:
    clips, labels = moving_clips(48)
    task = VideoClassifier(**{**SMALL, "refit": None, "epochs": 2}).fit(clips, labels, verbose=0)
    assert task.codec_.records == 48
    assert task.codec_.held_out["rows"] in (6, 8)
    assert task.codec_.labels.calibration["rows"] == task.codec_.held_out["rows"]
    with pytest.warns(UserWarning, match="12 clips are too few to hold some out"):
        VideoClassifier(**{**SMALL, "epochs": 1}).fit(clips[:12], labels[:12], verbose=0)


def test_unknown_labels_hinder_no_prediction() -> None:
    clips, labels = moving_clips(16)
    task = VideoClassifier(**{**SMALL, "epochs": 1}).fit(clips, labels, verbose=0)
    pairs = [(clips[0], "left"), (clips[1], "upwards")]
    assert len(task.predict(pairs)) == 2
    assert [section.title for section in task.sections(pairs)][:2] == ["Summary", "Clips"]
    with pytest.raises(
        ValueError, match=r"label: expected a class of training .* received 'upwards' in row 1"
    ):
        task.evaluate(pairs)


def test_five_best_of_many_classes() -> None:
    clips, _ = moving_clips(48)
    task = VideoClassifier(**{**SMALL, "epochs": 1}).fit(clips, [n % 6 for n in range(48)], verbose=0)
    scores = task.evaluate(clips, [n % 6 for n in range(48)])
    assert 0 <= scores["top1"] <= scores["top5"] <= 1


def test_labels_a_frame_become_segments(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)

    def example(frames: int) -> tuple[np.ndarray, list[str]]:
        dark = int(draw.integers(2, frames - 2))
        levels = np.where(np.arange(frames) < dark, 40, 200)
        clip = draw.integers(0, 20, (frames, 8, 8)) + levels[:, None, None]
        return clip.astype(np.uint8), ["night" if level == 40 else "day" for level in levels]

    clips, labels = (list(part) for part in zip(*(example(8 + n % 5) for n in range(48)), strict=True))
    task = VideoClassifier(**{**SMALL, "epochs": 5}, max_frames=6).fit(clips, labels, verbose=0)
    scores = task.evaluate(clips, labels)
    assert scores["accuracy"] > 0.95
    assert scores["f1@50"] > 0.9
    found = task.predict(clips[:1])
    assert found.columns == ["clip", "label", "start", "end", "probability"]
    edge = labels[0].index("day")
    assert found.select("label", "start", "end").rows() == [("night", 0, edge), ("day", edge, len(clips[0]))]
    assert [row.shape for row in task.predict_proba(clips[:2])] == [(len(clip), 2) for clip in clips[:2]]
    with pytest.raises(
        ValueError, match="labels: expected one for every frame, received 3 for 8 frames of clip 0"
    ):
        task.evaluate(clips[:1], [["day"] * 3])


def test_segments_of_a_file_are_in_seconds(tmp_path: Path, write_clip: WriteClip) -> None:
    levels = np.array([30] * 10 + [220] * 10, np.uint8)
    rows = []
    for number in range(6):
        rolled = np.roll(levels, number)
        write_clip(tmp_path / f"{number}.mp4", np.tile(rolled[:, None, None, None], (1, 32, 32, 3)))
        start = (10 + number) / 10
        rows.append((f"{number}.mp4", "light", start, min(2.0, start + 1.0)))
        if number:
            rows.append((f"{number}.mp4", "light", 0.0, number / 10))
    table = pl.DataFrame(rows, schema=["path", "label", "start", "end"], orient="row")
    table.write_csv(tmp_path / "labels.csv")
    task = VideoClassifier(**{**SMALL, "epochs": 15, "time_jitter": 0.0}, size=8).fit(tmp_path, verbose=0)
    assert task.classes_.tolist() == ["background", "light"]
    assert task.evaluate(tmp_path)["accuracy"] > 0.95
    (segment,) = task.predict([tmp_path / "0.mp4"]).rows()
    assert segment[1] == "light"
    assert segment[2] == pytest.approx(1.0, abs=0.11)
    assert segment[3] == pytest.approx(2.0)


def test_boxes_follow_an_object(tmp_path: Path) -> None:
    clips, tables = with_boxes(64)
    task = VideoClassifier(**{**SMALL, "epochs": 25, "hidden_size": 32}, brightness=0.0)
    task.fit(clips, tables, verbose=0)
    scores = task.evaluate(*with_boxes(16, 500))
    assert list(scores) == ["iou", "center_error", "presence_f1"]
    assert scores["iou"] > 0.5
    assert scores["presence_f1"] > 0.95
    found = task.predict(clips[:1])
    assert found.columns == ["clip", "frame", "class", "x", "y", "w", "h", "probability"]
    assert found["frame"].to_list() == [1, 2, 3, 4, 5]
    assert bool((found["x"] + found["w"] <= 16.001).all())
    wrong = [table.with_columns(x=pl.lit(14)) for table in tables]
    with pytest.raises(ValueError, match=r"box of 'square' in frame 1 of clip 0: expected a box inside the"):
        task.fit(clips, wrong, verbose=0)


def test_features_of_a_function_are_kept_and_saved_by_its_name(tmp_path: Path) -> None:
    clips, labels = moving_clips(48)
    task = VideoClassifier(**SMALL, features=pooled, features_cache=str(tmp_path / "cache"))
    task.fit(clips, labels, verbose=0)
    assert task.evaluate(clips, labels)["top1"] > 0.9
    assert len(list((tmp_path / "cache").iterdir())) >= 48
    task.save(tmp_path / "model")
    again = ls.load(tmp_path / "model")
    assert again.predict(clips).tolist() == task.predict(clips).tolist()
    unnamed = VideoClassifier(**{**SMALL, "epochs": 1}, features=lambda frames: pooled(frames))
    unnamed.fit(clips, labels, verbose=0)
    with pytest.raises(ValueError, match="features: expected a function that can be imported by its name"):
        unnamed.save(tmp_path / "model")


def test_an_onnx_file_stands_in_place_of_the_frame_net(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("ReduceMax", ["x"], ["y"], axes=[1, 2], keepdims=0)],
        "columns",
        [helper.make_tensor_value_info("x", kind, ["n", 1, 12, 12])],
        [helper.make_tensor_value_info("y", kind, ["n", 12])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path / "columns.onnx"
    path.write_bytes(model.SerializeToString())
    clips, labels = moving_clips(48)
    task = VideoClassifier(**SMALL, features=str(path)).fit(clips, labels, verbose=0)
    assert task.evaluate(clips, labels)["top1"] > 0.9
    task.save(tmp_path / "model")
    path.unlink()
    again = ls.load(tmp_path / "model")
    assert again.predict(clips).tolist() == task.predict(clips).tolist()


def test_a_broken_clip_is_named_and_left_out_if_asked(tmp_path: Path, write_clip: WriteClip) -> None:
    for number in range(6):
        label = "left" if number % 2 else "right"
        write_clip(tmp_path / label / f"{number}.mp4", coloured(moving(6, bool(number % 2), number)))
    (tmp_path / "left/broken.mp4").write_bytes(b"no clip")
    small = {**SMALL, "epochs": 1, "size": 16}
    with pytest.raises(
        ValueError, match=r"file .*broken.mp4: expected a clip, received what cannot be decoded"
    ):
        VideoClassifier(**small).fit(tmp_path, verbose=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        task = VideoClassifier(**small, skip_broken=True).fit(tmp_path, verbose=0)
    assert any("1 of 7 clips cannot be decoded" in str(entry.message) for entry in caught)
    table = task.predict_table(tmp_path)
    assert len(table) == 6
    assert table.columns == ["clip", "answer", "probability"]


def test_long_clips_are_thinned_and_sampled(tmp_path: Path, write_clip: WriteClip) -> None:
    path = write_clip(tmp_path / "a.mp4", coloured(moving(40, True)))
    task = VideoClassifier(max_frames=8, size=16, frame_rate=5.0)
    loader = task.codec().loader
    (clip,) = task.read([path], use="predict")
    assert loader(clip).shape[0] == loader.frames(clip) == 8
    assert VideoClassifier(frame_rate=5.0).codec().loader(clip).shape[0] == 20
    assert VideoClassifier().codec().loader(clip).shape[0] == 40


@pytest.mark.parametrize(
    ("options", "y", "message"),
    [
        (
            {"answers": "boxes"},
            ["a", "b"],
            "answers: expected targets for 'boxes', received targets for 'clip'",
        ),
        ({"features": 3}, ["a", "b"], "features: expected a function, or text, or none, received int"),
        ({"size": 4}, ["a", "b"], "size: expected a whole number of at least 8"),
        ({}, ["a", "a"], "label: expected at least two classes, received 'a' alone"),
    ],
)
def test_options_and_labels_that_cannot_be(options: dict[str, Any], y: list[str], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        VideoClassifier(**options).fit([moving(4, True), moving(4, False)], y, verbose=0)


def test_tuning_searches_the_declared_options() -> None:
    pytest.importorskip("optuna", reason="optuna is not installed")
    clips, labels = moving_clips(44)
    task = VideoClassifier(**{**SMALL, "epochs": 1}).tune(clips, labels, trials=2, verbose=0)
    assert len(task.tuned_) == 2
    assert {"hidden_size", "dropout"} <= set(task.tuned_[0][1])
