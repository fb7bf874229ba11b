"""Declares the options of `VideoClassifier`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from longspan.networks.pooling import POOLS
from longspan.tasks.options import option

from .network import ANSWERS, NETWORKS


@dataclass(eq=False, repr=False, kw_only=True)
class VideoClassifierOptions:
    """The options of `VideoClassifier`, by group: data, network and training. Abstract."""

    answers: str | None = option(
        None, "what is asked: one class a clip, a class a frame (segments), or a box a class and frame; none "
        "for what the targets say", choices=ANSWERS,
    )  # fmt: skip
    path_column: str | None = option(None, "column of the clips' paths; none to find it", group="data")
    label_column: str | None = option(None, "column of the labels; none to find it", group="data")
    encoding: str = option(
        "utf-8", "encoding of text files that have no byte order mark, such as latin-1", group="data",
        advanced=True,
    )  # fmt: skip
    skip_broken: bool = option(
        False, "whether clips that cannot be decoded are left out, with a notice", group="data",
        per_source=True,
    )  # fmt: skip
    frame_rate: float | None = option(
        None, "frames a second that are taken from a clip file; none for every frame", group="data",
        positive=True,
    )  # fmt: skip
    max_frames: int | None = option(
        None, "frames of a clip at most, taken evenly; none for 64. Where each frame has an answer: frames "
        "of a training window, none for 128", group="data", minimum=2,
    )  # fmt: skip
    size: int | None = option(
        None, "pixels a side that frames are resized to; none for 64, or the size that all clips have, if it "
        "is at most 96", group="data", minimum=8, maximum=1024,
    )  # fmt: skip
    features: Callable[[Tensor], Any] | str | None = option(  # noqa: RUF009 it makes a field
        None, "in place of the frame net: a function of frames (N, C, H, W) from 0 to 1, an ONNX file, or "
        "module:function", group="network",
    )  # fmt: skip
    features_cache: str | None = option(
        None, "folder in which these features are kept; none for no cache", group="data", advanced=True
    )
    architecture: str = option(
        "lstm", "network of frames: a frame net and a recurrent layer, or a convolutional LSTM",
        choices=NETWORKS, group="network",
    )  # fmt: skip
    filters: tuple[int, ...] = option(
        (), "channels of the stages of the frame net, each of which halves the frame; empty to find them",
        group="network", minimum=1, maximum=4096, advanced=True,
    )  # fmt: skip
    feature_size: int = option(
        128, "values of the vector that a frame becomes", group="network", minimum=1, maximum=65_536,
        advanced=True,
    )  # fmt: skip
    hidden_size: int = option(
        96, "units of every recurrent layer and direction; channels of the convolutional LSTM",
        group="network", search=[48, 96, 192],
    )  # fmt: skip
    bidirectional: bool = option(
        True, "whether the network reads a clip in both directions; false for streams", group="network"
    )
    pooling: str = option(
        "attention",
        "how the frames of a clip become one vector",
        choices=POOLS,
        group="network",
        advanced=True,
    )
    ensemble_size: int | None = option(
        None, "networks whose probabilities are averaged; none for 3 of skeletons, else 1", group="network",
        minimum=1, maximum=100, advanced=True,
    )  # fmt: skip
    dropout: float = option(
        0.3, "share of values dropped in training", group="network", search=[0.1, 0.3, 0.5]
    )
    recurrent_dropout: float = option(
        0.0, "share of h dropped, the same at all steps", group="network", fraction=True, advanced=True
    )
    flip: float = option(
        0.0, "share of the training clips in which left and right are exchanged", group="training",
        fraction=True, advanced=True,
    )  # fmt: skip
    shift: float = option(
        0.05, "share of the frame by which training clips are moved at most", group="training",
        fraction=True, advanced=True,
    )  # fmt: skip
    brightness: float = option(
        0.1, "share by which training clips are made lighter or darker at most", group="training",
        fraction=True, advanced=True,
    )  # fmt: skip
    time_jitter: float = option(
        0.1, "share of a training clip that is cut at each end, and by which it is made faster or slower, at "
        "most", group="training", fraction=True, advanced=True,
    )  # fmt: skip
    skeleton_rotation: float = option(
        20.0, "standard deviation of the angle in degrees by which training skeletons are turned",
        group="training", advanced=True,
    )  # fmt: skip
    skeleton_scale: float = option(
        0.15, "standard deviation of the factor by which each axis of training skeletons is stretched",
        group="training", fraction=True, advanced=True,
    )  # fmt: skip
    skeleton_noise: float = option(
        0.1, "standard deviation of the shift of joints in training, as a share of the mean bone",
        group="training", fraction=True, advanced=True,
    )  # fmt: skip
    label_smoothing: float = option(
        0.1, "share of the probability that the loss gives to the other classes", group="training",
        fraction=True, advanced=True,
    )  # fmt: skip
    epochs: int | None = option(
        None, "times the training part is gone through at most; none to find it", group="training"
    )
    batch_size: int = option(16, "clips of a training step", group="training")
    learning_rate: float | None = option(
        None, "highest learning rate of Adam; none to find it", group="training"
    )
    patience: int | None = option(
        None, "epochs without a lower validation loss before training stops; none for never",
        group="training",
    )  # fmt: skip
    refit: bool | None = option(
        None, "whether all clips are trained on after a part was held out for calibration; none for fewer "
        "than 1,000", group="training", advanced=True,
    )  # fmt: skip
