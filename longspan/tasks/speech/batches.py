"""Batches features and targets of recordings by length; augments them in training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from longspan.data.batches import Batch
from longspan.data.padding import RaggedTensor, bucket_by_length

from .features import SpecAugment

_STEPS, _SMALLEST = 32, 4  # steps of an epoch at least, unless their batches were smaller than this
_NOISE_RATIOS = (5.0, 30.0)  # decibels of the sound above the noise, drawn evenly


class Augmentation(NamedTuple):
    """What is done to training sounds.

    masks: of SpecAugment; speeds: factors of which one is drawn for every sound and epoch, 1 for as it is;
    noise: the share of sounds to which white noise is added.
    """

    masks: SpecAugment
    speeds: tuple[float, ...] = (1.0,)
    noise: float = 0.0


def train_batch_size(records: int, batch_size: int) -> int:
    """Sounds of a training batch: few records make smaller ones, so that an epoch has steps enough."""
    return min(batch_size, max(_SMALLEST, records // _STEPS))


class SpeechBatches:
    """Batches of recordings: x (B, T, M) features, lengths (B,), y: targets (B, U) and their lengths (B,).

    Args:
        features: (T_i, M) of each recording, normalized; one list for every speed of the augmentation.
        targets: the token numbers of each recording; None where they are not known.
        batch_size: B.
        augmentation: of training; None for batches in the order of the recordings.
        noisy: the number of a recording and of a speed -> its features with noise; needed where the
            augmentation has some.
    """

    def __init__(
        self,
        features: Sequence[Sequence[Tensor]],
        targets: Sequence[Sequence[int]] | None,
        batch_size: int,
        augmentation: Augmentation | None = None,
        noisy: Callable[[int, int], Tensor] | None = None,
    ) -> None:
        self.features = [RaggedTensor(rows) for rows in features]
        self.targets = None
        if targets is not None:
            self.targets = RaggedTensor([torch.tensor(row, dtype=torch.int64) for row in targets])
        self.batch_size, self.augmentation, self.noisy = batch_size, augmentation, noisy

    def __len__(self) -> int:
        return -(-len(self.features[0]) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        if self.augmentation is None:
            for rows in torch.arange(len(self.features[0])).split(self.batch_size):
                yield self._batch(rows, *self.features[0].pad(rows))
            return
        for rows in list(bucket_by_length(self.features[0].lengths, self.batch_size)):
            x, lengths = self._drawn(rows, self.augmentation)
            yield self._batch(rows, self.augmentation.masks(x, lengths), lengths)

    def _drawn(self, rows: Tensor, augmentation: Augmentation) -> tuple[Tensor, Tensor]:
        """The features (B, T, M) of rows at one drawn speed, with noise in a share of them."""
        speed = int(torch.randint(len(self.features), ()))
        x, lengths = self.features[speed].pad(rows)
        if self.noisy is not None and augmentation.noise:
            for place in (torch.rand(len(rows)) < augmentation.noise).nonzero().squeeze(1).tolist():
                x[place, : lengths[place]] = self.noisy(int(rows[place]), speed)
        return x, lengths

    def _batch(self, rows: Tensor, x: Tensor, lengths: Tensor) -> Batch:
        y = None if self.targets is None else self.targets.pad(rows)
        return Batch(x, y, lengths=lengths)


def with_noise(sound: np.ndarray) -> np.ndarray:
    """The sound (N,) with white noise 5 to 30 decibels below its power, from torch's global generator."""
    low, high = _NOISE_RATIOS
    decibels = low + (high - low) * float(torch.rand(()))
    scale = np.sqrt(float(np.mean(np.square(sound, dtype=np.float64))) / 10 ** (decibels / 10))
    return sound + np.float32(scale) * torch.randn(len(sound)).numpy()
