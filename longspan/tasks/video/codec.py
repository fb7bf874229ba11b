"""Decodes clips into what the network reads, and turns its scores into classes, segments and boxes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor
from typing_extensions import Self

from longspan import errors
from longspan.data.frame_features import FeatureModel, FrameFeatures
from longspan.data.frames import FrameFormat, FrameNormalizer, even_rows
from longspan.data.labels import Labels
from longspan.metrics import classification
from longspan.tasks.codec import Codec, Metrics, Tree
from longspan.tasks.schedule import TrainingOptions

from . import scores
from .clips import Clip
from .loading import ClipLoader, source_size
from .network import Sizes
from .skeletons import find_bones
from .targets import (
    BoxAnswer,
    FrameAnswer,
    answers_of,
    box_targets,
    boxes_of,
    fit_labels,
    frame_targets,
    segment_rows,
)

_FOUND_SIDE = 64  # pixels a side of frames of files, where no size is given
_LARGEST_SIDE = 96  # of frames of one size that are left as they are
_NORMALIZED = 200  # clips that the mean and the deviation of pixels are found by, at most
_STEPS = {"skeleton": 2400, "features": 1000, "frames": 1000}  # of a training whose epochs are found
_EPOCHS = (5, 100)  # that are found, at least and at most
_RATES = {"skeleton": 2e-3, "features": 1e-3, "frames": 2e-3}
_CLASSES_OF_TOP_5 = 6  # classes from which on the top five are a score
_REFIT = 1000  # clips up to which the network is trained again on all of them after calibration


class VideoCodec(Codec[list[Clip]]):
    """Clips as tensors, and a network's scores as answers.

    Args:
        answers: "clip", "frames" or "boxes"; None for what the targets ask for.
        size: pixels a side of the frames; None to find it. frame_rate, max_frames: see `ClipLoader`.
        features, features_cache: in place of a frame net, see `FrameFeatures`; None for none.
        smooth: whether skeletons are smoothed, which looks two frames ahead.
        refit: whether the network is trained again on all clips; None: for fewer than 1,000.

    Attributes after fit: kind ("frames", "skeleton" or "features"), labels, loader, normalizer, joints, axes,
        bones, width (of features), records; held_out: scores on the validation part.
    """

    def __init__(
        self,
        *,
        answers: str | None = None,
        size: int | None = None,
        frame_rate: float | None = None,
        max_frames: int | None = None,
        features: FeatureModel | str | None = None,
        features_cache: str | None = None,
        smooth: bool = True,
        refit: bool | None = None,
    ) -> None:
        self.chosen_answers, self.size, self._refit = answers, size, refit
        self.answers, self.kind = answers or "clip", "frames"
        self.labels, self.normalizer = Labels(), FrameNormalizer()
        self.features, self.features_cache = features, features_cache
        self.loader = ClipLoader(FrameFormat(_FOUND_SIDE, _FOUND_SIDE), frame_rate, max_frames, smooth)
        self.joints = self.axes = self.width = self.records = 0
        self.bones: tuple[tuple[int, int], ...] = ()
        self.held_out: dict[str, Any] = {}

    # ---- learning

    def fit(self, train: list[Clip], valid: list[Clip] | None = None) -> Self:
        self.answers = self.chosen_answers or answers_of(train)
        self._check_targets(train)
        self.labels, self.records = fit_labels(train, self.answers), len(train)
        self.loader.whole = self.answers != "clip"
        for clip in train:
            self.loader.check_targets(clip)
        if self.features is not None:
            self.loader.features = FrameFeatures(self.features, self.features_cache)
        if train[0].is_skeleton:
            self._fit_skeletons(train)
            return self
        self.loader.form = self._found_format(train)
        self.kind = "frames" if self.loader.features is None else "features"
        rows = even_rows(len(train), _NORMALIZED)
        if self.kind == "features":
            self.width = self.loader(train[0]).shape[1]
        else:
            self.normalizer.fit(self.loader(train[row]) for row in rows)
        return self

    def _check_targets(self, clips: Sequence[Clip]) -> None:
        found = answers_of(clips)
        if found != self.answers:
            received = f"targets for {found!r}"
            raise errors.value_error(
                "answers", f"targets for {self.answers!r}", received, "leave answers out"
            )
        if self.answers == "boxes" and self.loader.frame_rate is not None:
            received, way_out = self.loader.frame_rate, "boxes are counted by the frames of the file"
            raise errors.value_error("frame_rate", "none for boxes", received, way_out)
        if self.answers == "boxes" and clips[0].is_skeleton:
            raise errors.value_error("source", "frames for boxes", "skeletons", "label them clip by clip")

    def _fit_skeletons(self, clips: Sequence[Clip]) -> None:
        if self.loader.features is not None:
            raise errors.value_error("features", "none for skeletons", "some", "leave them out")
        self.kind, self.loader.joints = "skeleton", (clips[0].values.shape[1], clips[0].values.shape[2])
        self.joints, self.axes = self.loader.joints
        self.bones = tuple(find_bones([self.loader(clip) for clip in clips]))

    def _found_format(self, clips: Sequence[Clip]) -> FrameFormat:
        """The size of all clips where it is one and small, else a square; grey where all clips are."""
        facts = [source_size(clip) for clip in clips]
        channels = 1 if all(count == 1 for *_, count in facts) else 3
        if self.size is not None:
            return FrameFormat(self.size, self.size, channels)
        (height, width), count = Counter((height, width) for height, width, _ in facts).most_common(1)[0]
        if count == len(facts) and min(height, width) >= 2 and max(height, width) <= _LARGEST_SIDE:
            return FrameFormat(height, width, channels)
        return FrameFormat(_FOUND_SIDE, _FOUND_SIDE, channels)

    def refit(self, records: list[Clip]) -> VideoCodec:
        """For few clips a codec that is fitted to all of them, with the calibration of this one."""
        if not (len(records) < _REFIT if self._refit is None else self._refit):
            return self
        codec = VideoCodec(answers=self.answers, size=self.size, refit=False)
        codec.loader = self.loader
        codec.fit(records)
        codec.labels.temperature, codec.labels.calibration = self.labels.temperature, self.labels.calibration
        codec.held_out = self.held_out
        return codec

    @property
    def learning_rate(self) -> float:
        return _RATES[self.kind]

    def training(self, options: TrainingOptions, batch_size: int) -> TrainingOptions:
        """So many epochs that there are about 2,400 steps with skeletons, and 1,000 with frames."""
        fewest, most = _EPOCHS
        steps = -(-self.records // batch_size)
        return options._replace(epochs=min(most, max(fewest, round(_STEPS[self.kind] / steps))))

    @property
    def sizes(self) -> Sizes:
        """The sizes that the network depends on."""
        form = self.loader.form
        return Sizes(
            self.kind, self.answers, len(self.labels.classes), form.channels, (form.height, form.width),
            self.joints, self.axes, self.bones, self.width,
        )  # fmt: skip

    # ---- clips and targets to tensors

    def has_target(self, clip: Clip) -> bool:
        """Whether what is asked of the clip is known."""
        if self.answers == "clip":
            return clip.label is not None
        return (clip.boxes if self.answers == "boxes" else clip.segments or clip.steps) is not None

    def is_known(self, clip: Clip) -> bool:
        """Whether what is asked of the clip is known, and of classes that training has seen."""
        if not self.has_target(clip):
            return False
        labels = {
            "clip": [clip.label],
            "frames": [*(segment.label for segment in clip.segments or ()), *(clip.steps or ())],
            "boxes": [box.label for box in clip.boxes or ()],
        }[self.answers]
        return all(label in self.labels.classes for label in labels)

    def check(self, clips: Sequence[Clip], *, labelled: bool) -> None:
        """Refuse clips of another kind than those of training, and targets that cannot be right."""
        if clips[0].is_skeleton != (self.kind == "skeleton"):
            kinds = ("frames", "skeletons") if clips[0].is_skeleton else ("skeletons", "frames")
            raise errors.value_error("source", f"{kinds[0]}, as in training", kinds[1], "pass these")
        for clip in clips:
            if labelled and not self.has_target(clip):
                received = f"none for {clip.place}"
                raise errors.value_error("labels", f"targets for {self.answers!r}", received, "add them")
            self.loader.check_targets(clip)

    def targets(self, clip: Clip, span: tuple[int, int] | None = None) -> Tensor:
        """A class number (), or of the frames in a span class numbers (T,) or boxes (T, K, 5)."""
        if self.answers == "clip":
            return self.labels.encode([clip.label])[0]
        frames = slice(None) if span is None else slice(*span)
        if self.answers == "frames":
            return frame_targets(clip, self.labels, self.loader.times(clip)[frames])
        return box_targets(clip, self.labels, self.loader.frames(clip), source_size(clip)[:2])[frames]

    def network_input(self, frames: Tensor) -> Tensor:
        """Loaded frames as the network reads them: pixels are normalized."""
        return self.normalizer(frames) if self.kind == "frames" else frames

    def truth(self, records: list[Clip]) -> Any:
        if self.answers == "clip":
            return np.array(self.labels.encode([clip.label for clip in records]))
        return [self.targets(clip).numpy() for clip in records]

    # ---- answers

    def decode(self, predictions: list[Any], records: list[Clip]) -> Any:
        """Probabilities (N, K), or for each clip a `FrameAnswer` or a `BoxAnswer`."""
        if self.answers == "clip":
            return self.labels.probabilities(torch.cat(predictions))
        rows = [row for part in predictions for row in part]
        if self.answers == "boxes":
            pairs = zip(rows, records, strict=True)
            return [BoxAnswer(row.numpy(), source_size(clip)[:2]) for row, clip in pairs]
        return [
            FrameAnswer(self.labels.probabilities(row), self.loader.rate(clip))
            for row, clip in zip(rows, records, strict=True)
        ]

    @property
    def classes(self) -> np.ndarray:
        """The classes, in the order of the scores."""
        names = self.labels.classes
        return np.array(names, dtype=None if len({type(name) for name in names}) == 1 else object)

    def present(self, answers: Any) -> Any:
        """Classes (N,); a frame of segments; or a frame of boxes."""
        if self.answers == "clip":
            return self.classes[answers.argmax(1)]
        return self._table(answers, range(len(answers)))

    def as_table(self, answers: Any, records: list[Clip]) -> pl.DataFrame:
        """A row for every clip, segment or box; clips are named by their files."""
        names = [record.place for record in records]
        if self.answers != "clip":
            return self._table(answers, names)
        shares = answers.max(1).tolist()
        return pl.DataFrame({"clip": names, "answer": self.present(answers).tolist(), "probability": shares})

    def _table(self, answers: Any, names: Sequence[Any]) -> pl.DataFrame:
        if self.answers == "frames":
            return pl.DataFrame(segment_rows(answers, self.labels, list(names)), strict=False)
        columns: dict[str, list[Any]] = {
            name: [] for name in ("clip", "frame", "class", "x", "y", "w", "h", "probability")
        }
        for answer, name in zip(answers, names, strict=True):
            for box, presence in boxes_of(answer, self.labels.classes):
                for column, value in zip(columns.values(), (name, *box, presence), strict=True):
                    column.append(value)
        return pl.DataFrame(columns, strict=False)

    def metrics(self) -> Metrics:
        classes = self.labels.classes
        if self.answers == "boxes":
            return {
                "iou": scores.mean_iou,
                "center_error": scores.center_error,
                "presence_f1": scores.presence_f1,
            }
        if self.answers == "frames":
            f1: dict[str, Callable[[Any, Any], float]] = {
                f"f1@{percent}": partial(scores.segment_f1, classes=classes, least=percent / 100)
                for percent in (10, 25, 50)
            }
            return {"accuracy": scores.frame_accuracy, **f1}
        top5 = {"top5": partial(scores.top_k, k=5)} if len(classes) >= _CLASSES_OF_TOP_5 else {}
        return {
            "top1": partial(scores.top_k, k=1),
            **top5,
            "log_loss": classification.log_loss,
            "calibration_error": classification.calibration_error,
        }

    def calibrate(self, predictions: list[Any], records: list[Clip]) -> None:
        """Choose the temperature by validation clips, and keep the scores there."""
        truth = self.truth(records)
        if self.answers == "clip":
            self.labels.fit_temperature(torch.cat(predictions), torch.from_numpy(truth), len(records))
        elif self.answers == "frames":
            rows = torch.cat([row for part in predictions for row in part])
            self.labels.fit_temperature(rows, torch.from_numpy(np.concatenate(truth)), len(records))
        answers = self.decode(predictions, records)
        values = {name: float(metric(answers, truth)) for name, metric in self.metrics().items()}
        self.held_out = {"rows": len(records), "scores": values}
        if self.answers == "clip":
            self.held_out["rival_scores"] = self._scores_of_frequencies(truth)

    def _scores_of_frequencies(self, truth: np.ndarray) -> dict[str, float]:
        """The metrics of the class shares as the probabilities of every clip; truth: (N,) class numbers."""
        counts = np.array(self.labels.counts, dtype=float)
        shares = np.broadcast_to(counts / counts.sum(), (len(truth), len(counts)))
        return {name: float(metric(shares, truth)) for name, metric in self.metrics().items()}

    def trial_records(self, stream: Any) -> list[Clip] | None:
        """Two frames of nothing."""
        if self.kind == "skeleton":
            return [Clip("clip 0", array=np.ones((2, self.joints, self.axes), np.float32))]
        form = self.loader.form
        return [Clip("clip 0", array=np.zeros((2, form.height, form.width, form.channels), np.uint8))]

    def state(self) -> Tree:
        return {
            "answers": self.answers,
            "kind": self.kind,
            "labels": self.labels.state(),
            "normalizer": self.normalizer.state(),
            "loader": self.loader.state(),
            "skeleton": [self.joints, self.axes, [list(bone) for bone in self.bones]],
            "width": self.width,
            "records": self.records,
            "held_out": self.held_out,
        }

    def restore(self, state: Tree) -> Self:
        self.answers, self.kind, self.width = state["answers"], state["kind"], state["width"]
        self.labels = Labels().restore(state["labels"])
        self.normalizer = FrameNormalizer().restore(state["normalizer"])
        self.loader.restore(state["loader"], self.features_cache)
        self.joints, self.axes, bones = state["skeleton"]
        self.bones = tuple((int(a), int(b)) for a, b in bones)
        self.records, self.held_out = state["records"], state["held_out"]
        return self
