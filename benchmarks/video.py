"""Measures VideoClassifier with its defaults: actions of skeletons, moving digits, boxes, next frames, speed.

    python -m benchmarks.video --data FOLDER [--sections msr,digit,direction,boxes,next_frame,smoke,speed]
        [--seeds 0,1,2] [--models FOLDER] [--results FILE] [--threads 1]

FOLDER is that of the data sets, with video/msr_action3d_skeleton, video/moving_mnist_source and
video/clips_smoke. MSR-Action3D is split by subject: odd ones train, even ones test, all 20 actions at once.
Moving digits are made of MNIST's digits by a seed: 20 frames of 64 x 64, one digit that keeps its direction.
The digits of the training clips are others than those of the test clips. The test parts are touched once a
fit.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import longspan
from longspan import optimizers
from longspan.callbacks import LearningRateScheduler
from longspan.data.batches import Batch
from longspan.layers import Conv3D, ConvLSTM2D, Input
from longspan.tasks.video import VideoClassifier
from longspan.tasks.video.network import Member
from longspan.utils import set_random_seed

from .pairs import remember, seconds_of, show

SECTIONS = ("msr", "digit", "direction", "boxes", "next_frame", "smoke", "speed")
_SIDE, _FRAMES, _DIGIT = 64, 20, 28  # pixels of a frame, frames of a clip, pixels of a digit
_TRAIN_DIGITS = 8000  # of the 10,000; the others are those of the test clips
_TRAIN, _TEST = 3000, 500  # clips
_DIRECTIONS = ("left", "right", "up", "down")
_PEAK = 4e-3  # learning rate of the network of next frames
_TIMED_CLIPS = 128
_ROUNDS = 3  # epochs of each side that are timed


class Skeletons(NamedTuple):
    """clips: (T, J, 3) each; actions, subjects: (N,)."""

    clips: list[np.ndarray]
    actions: np.ndarray
    subjects: np.ndarray

    def of(self, rows: np.ndarray) -> tuple[list[np.ndarray], list[int]]:
        """The clips and actions of the rows where this is True."""
        where = np.flatnonzero(rows)
        return [self.clips[row] for row in where], self.actions[where].tolist()


def skeletons(data: Path) -> Skeletons:
    """MSR-Action3D without the one clip in which nothing was tracked."""
    content = np.load(data / "video/msr_action3d_skeleton/msr_action3d.npz")
    ends = content["lengths"].cumsum()
    clips = [content["X"][end - n : end, :, :3] for n, end in zip(content["lengths"], ends, strict=True)]
    tracked = np.array([bool(clip.any()) for clip in clips])
    kept = [clip for clip, there in zip(clips, tracked, strict=True) if there]
    return Skeletons(kept, content["action"][tracked], content["subject"][tracked])


def fitted(task: VideoClassifier, source: Any, y: Any, model: Path | None) -> tuple[VideoClassifier, float]:
    """The fitted task and the seconds that it took; model: where to save it, or where it has been saved."""
    if model is not None and model.exists():
        saved = longspan.load(model)
        assert isinstance(saved, VideoClassifier)
        return saved, float("nan")
    began = process_time()
    task.fit(source, y, resume=None if model is None else model.with_suffix(".checkpoint"), verbose=2)
    spent = process_time() - began
    if model is not None:
        task.save(model)
    return task, spent


def msr(data: Path, seed: int, models: Path | None, results: Path | None) -> None:
    """Twenty actions of skeletons, cross-subject."""
    every = skeletons(data)
    train, test = every.of(every.subjects % 2 == 1), every.of(every.subjects % 2 == 0)
    model = None if models is None else models / f"video-msr-{seed}"
    task, spent = fitted(VideoClassifier(seed=seed), *train, model)
    rows: dict[str, dict[str, Any]] = {
        "longspan": {**task.evaluate(*test), "seconds": spent},
        "1-NN, dynamic time warping": {"top1": nearest(train, test)} if seed == 0 else {},
    }
    remember(results, {"section": "msr", "seed": seed, **rows["longspan"]})
    show(f"MSR-Action3D, cross-subject; goal: top1 at least 86 %, aim 92 %; seed {seed}", rows)


def nearest(train: tuple[list[np.ndarray], list[int]], test: tuple[list[np.ndarray], list[int]]) -> float:
    """The accuracy of the nearest clip by dynamic time warping of the joints about the body's centre."""
    known, asked = ([_about_centre(clip) for clip in clips] for clips in (train[0], test[0]))
    right = 0
    for clip, action in zip(asked, test[1], strict=True):
        distances = [warped_distance(clip, other) for other in known]
        right += train[1][int(np.argmin(distances))] == action
    return right / len(asked)


def _about_centre(clip: np.ndarray, frames: int = 32) -> np.ndarray:
    """Every joint's place about the mean of all, in so many frames at most, as (T, 3 * J)."""
    clip = clip[np.abs(clip).sum((1, 2)) > 0]
    clip = clip[np.linspace(0, len(clip) - 1, min(frames, len(clip))).round().astype(int)]
    about = clip - clip.mean(1, keepdims=True)
    return (about / np.linalg.norm(about, axis=2).mean()).reshape(len(clip), -1)


def warped_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The dynamic time warping distance of two sequences (T, D), over the sum of their lengths."""
    costs = np.linalg.norm(a[:, None] - b[None], axis=2)
    total = np.full((len(a) + 1, len(b) + 1), np.inf)
    total[0, 0] = 0.0
    for diagonal in range(len(a) + len(b) - 1):  # all cells of a diagonal at once
        i = np.arange(max(0, diagonal - len(b) + 1), min(len(a), diagonal + 1))
        j = diagonal - i
        before = np.minimum(np.minimum(total[i, j + 1], total[i + 1, j]), total[i, j])
        total[i + 1, j + 1] = costs[i, j] + before
    return float(total[-1, -1]) / (len(a) + len(b))


# ---- moving digits


def mnist(data: Path) -> tuple[np.ndarray, np.ndarray]:
    """The digits (10000, 28, 28) uint8 of MNIST's test part, and what they are (10000,)."""
    folder = data / "video/moving_mnist_source"
    pictures = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    return np.frombuffer(pictures, np.uint8).reshape(-1, _DIGIT, _DIGIT), np.frombuffer(labels, np.uint8)


class MovingDigit(NamedTuple):
    """frames: (20, 64, 64) uint8; digit; direction; boxes: a row a frame, x, y, w and h of the ink."""

    frames: np.ndarray
    digit: int
    direction: str
    boxes: np.ndarray


def moving_digits(pictures: np.ndarray, labels: np.ndarray, count: int, seed: int) -> list[MovingDigit]:
    """Clips of one digit that moves in one of four directions by 1 to 1.8 pixels a frame."""
    draw = np.random.default_rng(seed)
    clips = []
    for _ in range(count):
        row, way = int(draw.integers(len(pictures))), int(draw.integers(4))
        travel = draw.uniform(1.0, 1.8) * np.arange(_FRAMES)
        along = draw.uniform(0, _SIDE - _DIGIT - travel[-1]) + travel
        along = (_SIDE - _DIGIT - along) if way in (0, 2) else along
        across = np.full(_FRAMES, draw.uniform(0, _SIDE - _DIGIT))
        x, y = (along, across) if way < 2 else (across, along)
        frames, boxes = _drawn(pictures[row], x.round().astype(int), y.round().astype(int))
        clips.append(MovingDigit(frames, int(labels[row]), _DIRECTIONS[way], boxes))
    return clips


def _drawn(picture: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The frames of a digit at places (T,), and the boxes (T, 4) of its ink."""
    frames = np.zeros((len(x), _SIDE, _SIDE), np.uint8)
    rows, columns = np.flatnonzero(picture.max(1) > 50), np.flatnonzero(picture.max(0) > 50)
    left, top = columns[0], rows[0]
    width, height = columns[-1] + 1 - left, rows[-1] + 1 - top
    boxes = np.stack([x + left, y + top, np.full(len(x), width), np.full(len(x), height)], 1)
    for frame, across, down in zip(frames, x, y, strict=True):
        frame[down : down + _DIGIT, across : across + _DIGIT] = picture
    return frames, boxes


def _parts(data: Path, count: int = _TRAIN) -> tuple[list[MovingDigit], list[MovingDigit]]:
    pictures, labels = mnist(data)
    train = moving_digits(pictures[:_TRAIN_DIGITS], labels[:_TRAIN_DIGITS], count, 1)
    return train, moving_digits(pictures[_TRAIN_DIGITS:], labels[_TRAIN_DIGITS:], _TEST, 2)


def digits(asked: str, data: Path, seed: int, models: Path | None, results: Path | None) -> None:
    """What the digit of a clip is, or in which direction it moves."""
    train, test = _parts(data)
    clips, held_out = ([clip.frames for clip in part] for part in (train, test))
    y, truth = ([getattr(clip, asked) for clip in part] for part in (train, test))
    model = None if models is None else models / f"video-{asked}-{seed}"
    task, spent = fitted(VideoClassifier(seed=seed), clips, y, model)
    row = {**task.evaluate(held_out, truth), "seconds": spent}
    remember(results, {"section": asked, "seed": seed, **row})
    goal = {"digit": 97, "direction": 99}[asked]
    show(f"The {asked} of moving digits, {len(train)} clips; goal: {goal} %; seed {seed}", {"longspan": row})


def _box_tables(clips: Sequence[MovingDigit]) -> list[pl.DataFrame]:
    """The boxes of each clip as a table frame, class, x, y, w, h."""
    return [
        pl.DataFrame(clip.boxes, schema=["x", "y", "w", "h"]).with_columns(
            pl.Series("frame", range(len(clip.boxes))), pl.lit("digit").alias("class")
        )
        for clip in clips
    ]


def boxes(data: Path, seed: int, models: Path | None, results: Path | None) -> None:
    """Where the digit is in every frame."""
    train, test = _parts(data)
    model = None if models is None else models / f"video-boxes-{seed}"
    clips, asked = ([clip.frames for clip in part] for part in (train, test))
    task, spent = fitted(VideoClassifier(seed=seed), clips, _box_tables(train), model)
    row = {**task.evaluate(asked, _box_tables(test)), "seconds": spent}
    remember(results, {"section": "boxes", "seed": seed, **row})
    show(f"Boxes of moving digits; goal: mean IoU at least 0.85; seed {seed}", {"longspan": row})


# ---- the next frame


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """The mean structural similarity of frames (N, H, W) from 0 to 1 (Wang et al. 2004): Gaussian windows."""
    x, y = (torch.tensor(frames, dtype=torch.float32).unsqueeze(1) for frames in (a, b))
    line = torch.exp(-((torch.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    window = (line[:, None] * line / line.sum() ** 2)[None, None]

    def mean(frames: Tensor) -> Tensor:
        return F.conv2d(frames, window)

    mx, my = mean(x), mean(y)
    vx, vy, both = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return float((((2 * mx * my + c1) * (2 * both + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean())


def next_frame(data: Path, seed: int, results: Path | None, clips: int = 120, epochs: int = 4) -> None:
    """ConvLSTM2D and Conv3D in a Sequential, as Keras' example of next-frame prediction has them."""
    train, test = (
        np.stack([clip.frames for clip in part[:count]])[..., None].astype(np.float32) / 255
        for part, count in zip(_parts(data, clips), (clips, 60), strict=True)
    )
    set_random_seed(seed)
    model = next_frame_model()
    began = process_time()
    rate = LearningRateScheduler(lambda epoch: _PEAK * (0.2 if epoch == epochs - 1 else 1.0))
    model.fit(train[:, :-1], train[:, 1:], batch_size=2, epochs=epochs, callbacks=[rate], verbose=2)
    spent = process_time() - began
    answers = model.predict(test[:, :-1], batch_size=4, verbose=0)[:, 9:, ..., 0].reshape(-1, _SIDE, _SIDE)
    truth, last = (part[..., 0].reshape(-1, _SIDE, _SIDE) for part in (test[:, 10:], test[:, 9:-1]))
    rows: dict[str, dict[str, Any]] = {
        "ConvLSTM2D, Conv3D": {"SSIM": ssim(answers, truth), "seconds": spent},
        "the last frame again": {"SSIM": ssim(last, truth)},
    }
    remember(results, {"section": "next_frame", "seed": seed, **rows["ConvLSTM2D, Conv3D"]})
    show(f"Frames 11 to 20 of moving digits, each by those before it; goal: SSIM 0.85; seed {seed}", rows)


def next_frame_model() -> longspan.Sequential:
    """Two convolutional LSTMs and a convolution over time and place."""
    model = longspan.Sequential(
        [
            Input((None, _SIDE, _SIDE, 1)),
            ConvLSTM2D(16, 3, padding="same", return_sequences=True),
            ConvLSTM2D(16, 3, padding="same", return_sequences=True),
            Conv3D(1, (1, 3, 3), activation="sigmoid", padding="same"),
        ]
    )
    model.compile(optimizers.Adam(_PEAK), loss="binary_crossentropy")
    return model


# ---- real clips


def smoke(data: Path, seed: int, results: Path | None) -> None:
    """Parts of the real clips as classes: whether they are decoded, learned from and answered."""
    files = sorted(path for path in (data / "video/clips_smoke").iterdir() if path.suffix in (".avi", ".mp4"))
    with tempfile.TemporaryDirectory() as folder:
        table = _table_of_parts(files, [start / 2 for start in range(6)], Path(folder) / "few.csv")
        task = VideoClassifier(seed=seed, answers="clip", frame_rate=8.0, epochs=8, validation_fraction=0.0)
        began = process_time()
        task.fit(table, verbose=2)
        scores: dict[str, Any] = {"seconds": process_time() - began, **task.evaluate(table)}
        scores["whole clips answered"] = ", ".join(map(str, task.predict(files)))
        many = _table_of_parts(files, [start / 20 for start in range(50)], Path(folder) / "many.csv")
        task = VideoClassifier(seed=seed, answers="clip", frame_rate=8.0, epochs=4, validation_fraction=0.0)
        began, clock = process_time(), perf_counter()
        task.fit(many, verbose=2)
        use = 100 * (process_time() - began) / (perf_counter() - clock)
        scores["processor use, %"] = f"{use:.0f} ({torch.get_num_threads()} threads; goal 170 of two cores)"
    remember(results, {"section": "smoke", "seed": seed, **scores})
    show(f"{len(files)} real clips, parts of 1.5 s told apart; seed {seed}", {"longspan": scores})


def _table_of_parts(files: Sequence[Path], starts: Sequence[float], table: Path) -> Path:
    """A table of parts of clips, 1.5 s long, whose labels are their files."""
    rows = [
        {"path": str(path), "label": path.stem, "start": start, "end": start + 1.5}
        for path in files
        for start in starts
    ]
    pl.DataFrame(rows).write_csv(table)
    return table


# ---- speed


class Rival(nn.Module):
    """The network of a classifier as one writes it with PyTorch: nn.LSTM over packed batches."""

    def __init__(self, member: Member, features: nn.Module, inputs: int, hidden_size: int) -> None:
        super().__init__()
        self.features, self.skip = features, bool(member.steps.skip)
        self.lstm = nn.LSTM(inputs, hidden_size, batch_first=True, bidirectional=True)
        self.pool, self.drop, self.output = member.pool, nn.Dropout(0.3), member.output

    def loss(self, batch: Batch) -> Tensor:
        """The cross entropy."""
        assert batch.lengths is not None and self.pool is not None
        x = self.features(batch.x)
        packed = pack_padded_sequence(x, batch.lengths, batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])
        vectors = self.pool(torch.cat([out, x], 2) if self.skip else out, batch.lengths)
        return F.cross_entropy(self.output(self.drop(vectors)), batch.y, label_smoothing=0.1)


class _Features(nn.Module):
    """The features of a member's frames, as they come before its recurrent layer."""

    def __init__(self, member: Member, *, frames: bool) -> None:
        super().__init__()
        self.inner: Any = member.steps.features
        self.frames = frames

    def forward(self, x: Tensor) -> Tensor:
        if not self.frames:
            return self.inner(x, None, None)[0]
        return self.inner.network(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def speed(data: Path, results: Path | None) -> None:
    """Epochs over the same batches, ours and the same network written with PyTorch; frames of a stream."""
    every = skeletons(data)
    train, _ = _parts(data, _TIMED_CLIPS)
    sides: dict[str, tuple[Any, Any, float]] = {
        "skeletons": (*every.of(every.subjects % 2 == 1), 2.0),
        "clips": ([clip.frames for clip in train], [clip.direction for clip in train], 1.0),
    }
    rows: dict[str, dict[str, Any]] = {}
    for name, (clips, y, goal) in sides.items():
        task = VideoClassifier(ensemble_size=1, validation_fraction=0.0)
        records = task.read(clips, y)
        codec = task.codec().fit(records)
        torch.manual_seed(0)
        batches = list(task.batches(codec, records, train=True))
        ours, copied = task.network(codec, records), task.network(codec, records)
        features = _Features(copied.networks[0], frames=name == "clips")
        rival = Rival(copied.networks[0], features, task.feature_size, task.hidden_size)
        taken = _epochs(batches, ours, rival)
        ratio = median(a / b for a, b in zip(taken["PyTorch"], taken["longspan"], strict=True))
        rows[name] = {
            **{side: median(values) for side, values in taken.items()},
            "ratio": ratio,
            "goal": goal,
        }
    frames = [frame for clip in train[:20] for frame in clip.frames]
    rows["stream"] = {"frames a second": _streamed(frames, train), "goal": 200}
    remember(results, {"section": "speed", **rows})
    show("Seconds an epoch on one thread, same batches and weights", rows)


def _epochs(batches: Sequence[Batch], ours: Any, rival: Rival) -> dict[str, list[float]]:
    """Seconds of each timed epoch of both sides in turn."""
    weights = [sum(weight.numel() for weight in network.parameters()) for network in (ours, rival)]
    assert abs(weights[0] - weights[1]) <= 0.001 * weights[0], weights
    sides: dict[str, tuple[nn.Module, Any, Any]] = {
        "longspan": (
            ours, lambda b: ours.loss(ours(b)[0], b), optimizers.Adam(2e-3).build(ours.parameters())
        ),
        "PyTorch": (rival, rival.loss, torch.optim.Adam(rival.parameters(), 2e-3, fused=True)),
    }  # fmt: skip
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for epoch in range(_ROUNDS + 1):
        for name, (network, loss, optimizer) in sides.items():
            taken = seconds_of(lambda n=network, f=loss, o=optimizer: _epoch(n, f, o, batches))
            spent[name] += [taken] if epoch else []
    return spent


def _epoch(network: nn.Module, loss: Any, optimizer: Any, batches: Sequence[Batch]) -> None:
    network.train()
    for batch in batches:
        loss(batch).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _streamed(frames: Sequence[np.ndarray], train: Sequence[MovingDigit]) -> float:
    """Frames a second of a stream on one thread."""
    task = VideoClassifier(bidirectional=False, epochs=1, validation_fraction=0.0)
    task.fit([clip.frames for clip in train], [clip.direction for clip in train], verbose=0)
    stream = task.stream()
    stream.step(frames[0])
    return len(frames) / seconds_of(lambda: [stream.step(frame) for frame in frames])


def main(arguments: Sequence[str]) -> int:
    """Run the sections that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.video", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sections", default=",".join(SECTIONS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--models", type=Path)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch; clips are decoded in others")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    data, results = options.data, options.results
    saved = {
        "msr": msr,
        "digit": partial(digits, "digit"),
        "direction": partial(digits, "direction"),
        "boxes": boxes,
    }
    for section in options.sections.split(","):
        if section == "speed":
            speed(data, results)
            continue
        for seed in map(int, options.seeds.split(",")):
            if section in saved:
                saved[section](data, seed, options.models, results)
            elif section == "smoke":
                smoke(data, seed, results)
            else:
                next_frame(data, seed, results)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
