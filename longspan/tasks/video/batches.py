"""Batches clips by length; loads the next batches in threads while the network trains on this one."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from torch import Tensor

from longspan.data.batches import Batch, rows_of_process, take_rows
from longspan.data.frames import FrameAugmentation
from longspan.data.labels import IGNORED
from longspan.data.padding import RaggedTensor, bucket_by_length, fill_rows

from .clips import Clip
from .codec import VideoCodec
from .skeletons import SkeletonAugmentation

_AHEAD = 3  # batches that are loaded before they are needed
_THREADS = min(4, os.cpu_count() or 1)  # that load them
_SEED = 2**62  # seeds lie below it


class Augmentation(NamedTuple):
    """What is done to training clips: to their frames, to skeletons, and to the course of time.

    jitter: share of the frames that is cut at each end at most; also the share by which a clip is made faster
        or slower at most.
    """

    frames: FrameAugmentation
    skeletons: SkeletonAugmentation
    jitter: float = 0.0


class VideoBatches:
    """Batches to predict from, in the order of the clips: x (B, T, ...), lengths, and y where it is known.

    Args:
        codec: fitted; clips; batch_size: B.
    """

    def __init__(self, codec: VideoCodec, clips: Sequence[Clip], batch_size: int) -> None:
        self.codec, self.clips, self.batch_size = codec, clips, batch_size
        self.known = all(codec.is_known(clip) for clip in clips)

    def __len__(self) -> int:
        return -(-len(self.clips) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        parts = torch.arange(len(self.clips)).split(self.batch_size)
        yield from ahead(self._batch, (part.tolist() for part in parts))

    def _batch(self, rows: Sequence[int]) -> Batch:
        clips = [self.codec.loader(self.clips[row]) for row in rows]
        y = None
        if self.known:
            y = _stacked([self.codec.targets(self.clips[row]) for row in rows], self.codec.answers)
        x, lengths = padded(clips)
        return Batch(self.codec.network_input(x), y, lengths=lengths)


class TrainingBatches:
    """Batches to train on, in random order by length, augmented; long clips give one window an epoch.

    Args:
        codec, clips, batch_size: as for `VideoBatches`.
        augmentation: what is done to clips.
        window: frames of a clip at most, where each frame has an answer.
    """

    def __init__(
        self,
        codec: VideoCodec,
        clips: Sequence[Clip],
        batch_size: int,
        augmentation: Augmentation,
        window: int,
    ) -> None:
        self.codec, self.clips, self.batch_size = codec, clips, batch_size
        self.augmentation, self.window = augmentation, window
        self.lengths = torch.tensor([codec.loader.frames(clip) for clip in clips])
        self.skeletons: RaggedTensor | None = None
        if codec.kind == "skeleton" and codec.answers == "clip":
            self.skeletons = RaggedTensor([codec.loader(clip) for clip in clips])

    def __len__(self) -> int:
        return -(-len(self.clips) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for batch, _ in self.parts(0, 1):
            yield batch

    def parts(self, rank: int, world: int) -> Iterator[tuple[Batch, int]]:
        """A process's rows of every batch, and the number of all; see `longspan.training.SharesBatches`."""
        groups = list(bucket_by_length(self.lengths, self.batch_size))
        counts = [len(rows) for rows in groups]
        own = [rows_of_process(count, rank, world) for count in counts]
        if self.skeletons is not None:
            bones = torch.tensor(self.codec.bones)
            for rows, places in zip(groups, own, strict=True):
                x, lengths = self.augmentation.skeletons(self.skeletons, rows, bones)
                y = torch.stack([self.codec.targets(self.clips[row]) for row in rows.tolist()])
                yield take_rows(Batch(x, y, lengths=lengths), places), len(rows)
            return
        seeds = torch.randint(_SEED, (len(groups),)).tolist()
        tasks = [
            list(zip(rows[places].tolist(), (places + seed).tolist(), strict=True))
            for rows, places, seed in zip(groups, own, seeds, strict=True)
        ]
        yield from zip(ahead(self._batch, tasks), counts, strict=True)

    def _batch(self, task: Sequence[tuple[int, int]]) -> Batch:
        """The batch of rows, each with the seed of what is drawn for it."""
        pairs = [self._example(self.clips[row], torch.Generator().manual_seed(seed)) for row, seed in task]
        x, lengths = padded([clip for clip, _ in pairs])
        y = _stacked([target for _, target in pairs], self.codec.answers)
        return Batch(self.codec.network_input(x), y, lengths=lengths)

    def _example(self, clip: Clip, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A clip and its target, with a part of its frames and the augmentation drawn."""
        span, count = None, self.codec.loader.frames(clip)
        if self.codec.loader.whole and count > self.window:
            start = int(torch.randint(count - self.window + 1, (), generator=generator))
            span = (start, start + self.window)
        x, target = self.codec.loader(clip, span), self.codec.targets(clip, span)
        if self.augmentation.jitter:
            places = jittered(len(x), self.augmentation.jitter, generator)
            x, target = x[places], target[places] if self.codec.loader.whole else target
        if self.codec.kind != "frames":
            return x, target
        height, width = x.shape[-2:]
        drawn = self.augmentation.frames.draw(height, width, generator)
        if self.codec.answers == "boxes":
            target = torch.cat([target[..., :1], drawn.boxes(target[..., 1:], height, width)], -1)
        return drawn(x), target


def jittered(frames: int, jitter: float, generator: torch.Generator) -> Tensor:
    """Frame numbers of a clip whose ends are cut and whose speed is changed by up to the share `jitter`."""
    start, end, speed = torch.rand(3, generator=generator).tolist()
    first = start * jitter * (frames - 1)
    last = max(first, (frames - 1) * (1 - end * jitter))
    count = max(1, round((last - first) * (1 + jitter * (2 * speed - 1))) + 1)
    return torch.linspace(first, last, count).round().long()


def padded(clips: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Clips (T_i, ...) as (B, T, ...), zeros behind them, and their lengths (B,)."""
    lengths = torch.tensor([len(clip) for clip in clips])
    x = clips[0].new_zeros(len(clips), int(lengths.max()), *clips[0].shape[1:])
    return fill_rows(x, clips), lengths


def _stacked(targets: Sequence[Tensor], answers: str) -> Tensor:
    """The targets of a batch; those of frames behind a clip's last one do not count."""
    if answers == "clip":
        return torch.stack(list(targets))
    shape = (len(targets), max(len(target) for target in targets), *targets[0].shape[1:])
    value = IGNORED if answers == "frames" else 0
    return fill_rows(torch.full(shape, value, dtype=targets[0].dtype), targets)


def ahead(load: Callable[[Any], Batch], tasks: Iterable[Any]) -> Iterator[Batch]:
    """The batches of tasks in their order; the next ones are loaded in threads meanwhile."""
    pool = ThreadPoolExecutor(_THREADS, "longspan-video")
    try:
        waiting: deque[Future[Batch]] = deque()
        for task in tasks:
            waiting.append(pool.submit(load, task))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
