"""Classifies videos: the parts and the verbs of `VideoClassifier`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from longspan import errors
from longspan.data.frames import FrameAugmentation
from longspan.data.splits import stratified
from longspan.networks.encoder import Encoder
from longspan.networks.frames import FrameNet
from longspan.report.elements import Section
from longspan.tasks.estimator import Estimator
from longspan.tasks.fitting import Run
from longspan.tasks.parts import Fitted, Use
from longspan.tasks.schedule import Schedule

from .batches import Augmentation, TrainingBatches, VideoBatches
from .clips import Clip
from .codec import VideoCodec
from .label_tables import VideoColumns
from .loading import without_broken
from .network import (
    ConvLSTMSteps,
    EncodedSteps,
    FeatureSteps,
    FrameSteps,
    Member,
    Sizes,
    SkeletonSteps,
    Steps,
    VideoNetwork,
)
from .options import VideoClassifierOptions
from .reading import read_clips
from .report import Evaluated, video_sections
from .skeletons import SkeletonAugmentation, SkeletonFeatures
from .streaming import VideoStream

_WINDOW = 128  # frames of a training window where each frame has an answer
_FEWEST_TO_VALIDATE = 40  # clips from which on some are held out
_MEMBERS = 3  # networks of skeletons

FittedVideo = Fitted[VideoCodec, VideoNetwork, Any]


@dataclass(eq=False, repr=False, kw_only=True)
class VideoClassifier(  # pyright: ignore[reportIncompatibleVariableOverride], None is "found from the data"
    VideoClassifierOptions, Estimator[list[Clip], VideoCodec, VideoNetwork, Any]
):
    """Classifies clips, says what happens when in them, or where objects are.

    Clips are decoded when they are needed (PyAV, Pillow), resized and normalized. A convolutional net turns
    each frame into a vector, a bidirectional recurrent layer reads the vectors, and its outputs are pooled
    (LRCN, Donahue et al. 2015, arXiv 1411.4389); or a convolutional LSTM reads maps of the frames (Shi et al.
    2015, arXiv 1506.04214). Skeletons become positions about the body's centre, divided by the length of its
    bones, the directions of the bones, and speeds. Features of your own, a function or an ONNX file, may
    stand in place of the frame net.

    The targets say what is asked:
        A label a clip: `predict` gives classes (N,), `predict_proba` calibrated probabilities (N, K).
        Segments (label, start, end in seconds) or a label a frame: `predict` gives a frame clip, label,
        start, end, probability; `predict_proba` a list of (T, K).
        Boxes (frame, class, x, y, w, h in pixels, x and y of the upper left corner), one a class and frame:
        `predict` gives a frame clip, frame, class, x, y, w, h, probability; `predict_proba` a list of
        (T, K, 5) with presence, centre x and y, width and height as shares of the frame.

    What is found from the data where an option is None:
        size: that of all clips, if they have one, with at most 96 pixels a side, else 64. Frames are grey
            where all clips are.
        epochs: so many that there are about 1,000 steps, 2,400 with skeletons; from 5 to 100.
        learning_rate: 0.002, with features of your own 0.001.
        ensemble_size: 3 networks of skeletons, else 1.
        refit: for fewer than 1,000 clips. A part is held out first; its clips set the temperature of the
            probabilities (arXiv 1706.04599). With fewer than 40 clips all are trained on.

    Sources: see `.reading.read_clips`. `stream()` gives a session for a camera, with `.step(frame)`. Raises
    ValueError or TypeError in one sentence: a broken clip (left out with `skip_broken`), a clip without
    frames, a label without a clip, a box outside its frame.

    >>> rising = [np.linspace(0, 1, 6)[:, None, None] * np.ones((6, 8, 8)) for _ in range(20)]
    >>> clips = [clip[::-1] if row % 2 else clip for row, clip in enumerate(rising)]
    >>> v = VideoClassifier(hidden_size=8, filters=(4,), epochs=12, batch_size=4, validation_fraction=0.0)
    >>> v.fit(clips, ["lighter", "darker"] * 10, verbose=0).predict(clips[:2]).tolist()
    ['lighter', 'darker']

    Options:
        cell ('LSTM'): recurrent cell of the network (one of RNN, LSTM, GRU, rnn_relu, peephole,
            cifg, slstm, indrnn).
        hidden_size (96): units of every recurrent layer and direction; channels of the
            convolutional LSTM.
        num_layers (1): recurrent layers stacked.
        dropout (0.3): share of values dropped in training.
        epochs (None): times the training part is gone through at most; none to find it.
        batch_size (16): clips of a training step.
        learning_rate (None): highest learning rate of Adam; none to find it.
        patience (None): epochs without a lower validation loss before training stops; none for
            never.
        validation_fraction (0.15): share of the training data held out for validation.
        seed (0): seed of the random generators: the same seed gives the same model.
        device (None): device such as cpu or cuda; none for a GPU if there is one.
        answers (None): what is asked: one class a clip, a class a frame (segments), or a box a
            class and frame; none for what the targets say (one of clip, frames, boxes).
        path_column (None): column of the clips' paths; none to find it.
        label_column (None): column of the labels; none to find it.
        encoding ('utf-8'): encoding of text files that have no byte order mark, such as latin-1.
        skip_broken (False): whether clips that cannot be decoded are left out, with a notice.
        frame_rate (None): frames a second that are taken from a clip file; none for every frame.
        max_frames (None): frames of a clip at most, taken evenly; none for 64. Where each frame has
            an answer: frames of a training window, none for 128.
        size (None): pixels a side that frames are resized to; none for 64, or the size that all
            clips have, if it is at most 96.
        features (None): in place of the frame net: a function of frames (N, C, H, W) from 0 to 1,
            an ONNX file, or module:function.
        features_cache (None): folder in which these features are kept; none for no cache.
        architecture ('lstm'): network of frames: a frame net and a recurrent layer, or a
            convolutional LSTM (one of lstm, convlstm).
        filters (()): channels of the stages of the frame net, each of which halves the frame; empty
            to find them.
        feature_size (128): values of the vector that a frame becomes.
        bidirectional (True): whether the network reads a clip in both directions; false for
            streams.
        pooling ('attention'): how the frames of a clip become one vector (one of attention, max,
            mean, last).
        ensemble_size (None): networks whose probabilities are averaged; none for 3 of skeletons,
            else 1.
        recurrent_dropout (0.0): share of h dropped, the same at all steps.
        flip (0.0): share of the training clips in which left and right are exchanged.
        shift (0.05): share of the frame by which training clips are moved at most.
        brightness (0.1): share by which training clips are made lighter or darker at most.
        time_jitter (0.1): share of a training clip that is cut at each end, and by which it is made
            faster or slower, at most.
        skeleton_rotation (20.0): standard deviation of the angle in degrees by which training
            skeletons are turned.
        skeleton_scale (0.15): standard deviation of the factor by which each axis of training
            skeletons is stretched.
        skeleton_noise (0.1): standard deviation of the shift of joints in training, as a share of
            the mean bone.
        label_smoothing (0.1): share of the probability that the loss gives to the other classes.
        refit (None): whether all clips are trained on after a part was held out for calibration;
            none for fewer than 1,000.
    """

    name: ClassVar[str] = "video"
    score_metric: ClassVar[str] = "top1"
    _estimator_type: ClassVar[str | None] = "classifier"
    schedule: ClassVar[Schedule] = Schedule(warmup=0.1, final=0.02)

    # ---- verbs

    @property
    def classes_(self) -> np.ndarray:
        """The classes, in the order of the columns of `predict_proba`."""
        return self._check_fitted().codec.classes

    def predict_proba(self, source: Any) -> Any:
        """Probabilities (N, K), columns as `classes_`; or a list with an array a clip, see the class."""
        fitted = self._check_fitted()
        answers = self._answers(fitted, self.read(source, use="predict", fitted=fitted))
        if fitted.codec.answers == "clip":
            return answers
        return [answer[0] for answer in answers]

    def stream(self) -> VideoStream:
        """A session for one clip that comes frame by frame: `.step(frame)` gives the answer so far.

        Raises:
            ValueError: the network reads clips in both directions; one sentence.
        """
        fitted = self._check_fitted()
        if self.bidirectional and not self._is_convolutional(fitted.codec.sizes):
            received = "one that reads a clip in both directions"
            way_out = "fit with bidirectional=False"
            raise errors.value_error("stream", "a network of one direction", received, way_out)
        return VideoStream(fitted.codec, fitted.network)

    # ---- parts

    def read(
        self, source: Any, y: Any = None, *, use: Use = "fit", fitted: FittedVideo | None = None
    ) -> list[Clip]:
        answers = self.answers if fitted is None else fitted.codec.answers
        columns = VideoColumns(self.path_column, self.label_column, answers, self.encoding)
        clips = read_clips(source, y, columns=columns, labelled=use != "predict")
        clips = without_broken(clips) if self.skip_broken else clips
        if fitted is not None:
            fitted.codec.check(clips, labelled=use == "evaluate")
        return clips

    def split(self, records: list[Clip]) -> tuple[list[Clip], list[Clip] | None]:
        """The same fraction of each class at random, by the seed."""
        if len(records) < _FEWEST_TO_VALIDATE or not self.validation_fraction:
            if self.validation_fraction:
                few = f"{len(records)} clips are too few to hold some out"
                errors.notice(f"{few}: all are trained on, and probabilities are not calibrated")
            return records, None
        labels = [clip.label if clip.label is not None else [] for clip in records]
        held_out = set(stratified(labels, self.validation_fraction, self.seed))
        train = [clip for row, clip in enumerate(records) if row not in held_out]
        return train, [records[row] for row in sorted(held_out)] or None

    def codec(self) -> VideoCodec:
        return VideoCodec(
            answers=self.answers,
            size=self.size,
            frame_rate=self.frame_rate,
            max_frames=self.max_frames,
            features=self.features,
            features_cache=self.features_cache,
            smooth=self.bidirectional,
            refit=self.refit,
        )

    def network(self, codec: VideoCodec, train: list[Clip] | None) -> VideoNetwork:
        sizes = codec.sizes
        count = self.ensemble_size or (_MEMBERS if sizes.kind == "skeleton" else 1)
        members = [
            Member(self._steps(sizes), sizes.answers, sizes.classes, self.pooling, self.dropout)
            for _ in range(count)
        ]
        return VideoNetwork(members, self.label_smoothing)

    def _is_convolutional(self, sizes: Sizes) -> bool:
        """Whether a convolutional LSTM reads the frames."""
        return self.architecture == "convlstm" and sizes.kind == "frames"

    def _steps(self, sizes: Sizes) -> Steps:
        """A new network that gives a vector a frame."""
        width, filters = self.feature_size, self.filters or None
        if self._is_convolutional(sizes):
            return ConvLSTMSteps(sizes.channels, sizes.size, self.hidden_size, self.dropout)
        if sizes.kind == "frames":
            net = FrameNet(sizes.channels, sizes.size, width, filters=filters, dropout=self.dropout)
            return EncodedSteps(FrameSteps(net), width, self._encoder, skip=True)
        if sizes.kind == "features":
            features = FeatureSteps(sizes.features, width, self.dropout)
            return EncodedSteps(features, width, self._encoder, skip=True)
        joints = SkeletonFeatures(sizes.joints, sizes.axes, sizes.bones)
        return EncodedSteps(SkeletonSteps(joints, width, self.dropout), width, self._encoder)

    def _encoder(self, inputs: int) -> Encoder:
        return Encoder(
            inputs, self.hidden_size, cell=self.cell, num_layers=self.num_layers,
            bidirectional=self.bidirectional, pool="steps",
            dropout=self.dropout if self.num_layers > 1 else 0.0, recurrent_dropout=self.recurrent_dropout,
        )  # fmt: skip

    def batches(
        self, codec: VideoCodec, records: list[Clip], *, train: bool
    ) -> VideoBatches | TrainingBatches:
        if not train:
            return VideoBatches(codec, records, self.batch_size)
        skeletons = SkeletonAugmentation(
            self.skeleton_rotation, self.skeleton_scale, self.skeleton_noise, self.time_jitter
        )
        frames = FrameAugmentation(self.flip, self.shift, self.brightness)
        augmentation = Augmentation(frames, skeletons, self.time_jitter)
        window = self.max_frames or _WINDOW
        return TrainingBatches(codec, records, self.batch_size, augmentation, window)

    def calibrate(self, fitted: FittedVideo, valid: list[Clip], run: Run) -> None:
        fitted.codec.calibrate(self._predictions(fitted, valid), valid)

    def report(self, fitted: FittedVideo, source: Any) -> list[Section]:
        """Scores, confusion, and frames with what mattered in them, or segments and boxes."""
        if source is None:
            return video_sections(fitted.codec, None)
        records = self.read(source, use="predict", fitted=fitted)
        answers = self._answers(fitted, records)
        known = all(fitted.codec.is_known(record) for record in records)
        scores = self._scores(fitted, answers, fitted.codec.truth(records)) if known else {}
        return video_sections(fitted.codec, Evaluated(fitted.network, records, answers, scores))
