"""Batches pictures with their captions as tokens; augments and draws captions in training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from longspan.data.batches import Batch
from longspan.data.padding import RaggedTensor
from longspan.data.tokenizers import END, SPECIAL, START, UNKNOWN

IGNORED = -100  # the target of steps that do not count
_STEPS, _SMALLEST = 32, 4  # steps of an epoch at least, unless their batches were smaller than this
_DRAWN = 2  # captions of a picture that an epoch trains on, drawn anew in every epoch
_START, _END, _UNKNOWN = (SPECIAL.index(token) for token in (START, END, UNKNOWN))

View = Callable[[Tensor], Tensor]  # frames (N, C, H, W) uint8 as they are -> as the network takes them


class CaptionInputs(NamedTuple):
    """What the network reads of B pictures and of their C captions.

    frames: (B, C, H, W) float32, or the features (B, cells, F) of the user's model.
    previous: (C, T), the captions' tokens, each before the one to be written; steps: (C,) their numbers;
    owner: (C,) the picture of each caption; words: (B, V), the share of a picture's captions with each token.
    All four are None where there are no captions. seeds: (B,) int64, by the pictures' own content, from which
    captions are drawn; None in training.
    """

    frames: Tensor
    previous: Tensor | None = None
    steps: Tensor | None = None
    owner: Tensor | None = None
    words: Tensor | None = None
    seeds: Tensor | None = None


def train_batch_size(records: int, batch_size: int) -> int:
    """Pictures of a training batch: few records make smaller ones, so that an epoch has steps enough."""
    return min(batch_size, max(_SMALLEST, records // _STEPS))


class CaptionBatches:
    """Batches of pictures; in training in a new order, augmented, with captions drawn anew every epoch.

    Args:
        frames: (N, ...) of all pictures.
        view: brings frames to the form that the network takes; in training it augments.
        captions: the token numbers of each picture's captions; None where they are not known.
        vocabulary: V.
        batch_size: B; train: whether to train on them.
        seeds: (N,) int64, one for each picture, by which its captions are drawn.
    """

    def __init__(
        self,
        frames: Tensor,
        view: View,
        captions: Sequence[Sequence[Sequence[int]]] | None,
        vocabulary: int,
        batch_size: int,
        *,
        train: bool,
        seeds: Tensor | None = None,
    ) -> None:
        self.seeds = seeds
        self.frames, self.view, self.vocabulary, self.train = frames, view, vocabulary, train
        self.batch_size = train_batch_size(len(frames), batch_size) if train else batch_size
        self.texts: RaggedTensor | None = None
        if captions is not None:
            texts = [[torch.tensor(row, dtype=torch.int64) for row in rows] for rows in captions]
            self.texts = RaggedTensor([text for some in texts for text in some])
            self.counts = torch.tensor([len(some) for some in texts])
            self.first = self.counts.cumsum(0) - self.counts
            shares = [_shares(some) for some in texts]
            self.words, self.shares = (RaggedTensor(part) for part in zip(*shares, strict=True))

    def __len__(self) -> int:
        return -(-len(self.frames) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        order = torch.randperm(len(self.frames)) if self.train else torch.arange(len(self.frames))
        for rows in order.split(self.batch_size):
            yield self._batch(rows)

    def _batch(self, rows: Tensor) -> Batch:
        seeds = None if self.seeds is None else self.seeds[rows]
        inputs = CaptionInputs(self.view(self.frames[rows]), seeds=seeds)
        if self.texts is None:
            return Batch(inputs)
        numbers, owner = self._drawn(rows)
        steps = self.texts.lengths[numbers] + 1
        width = int(steps.max()) - 1
        previous, target = (self.texts.pad(numbers, value)[0][:, :width] for value in (0, IGNORED))
        previous, target = F.pad(previous, (1, 0), value=_START), F.pad(target, (0, 1), value=IGNORED)
        target[target == _UNKNOWN] = IGNORED
        target[torch.arange(len(numbers)), steps - 1] = _END
        words = self._words(rows)
        return Batch(inputs._replace(previous=previous, steps=steps, owner=owner, words=words), target)

    def _drawn(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The captions (C,) that a step trains on, all where it does not train, and their pictures (C,)."""
        counts = self.counts[rows]
        taken = counts.clamp_max(_DRAWN) if self.train else counts
        owner = torch.arange(len(rows)).repeat_interleave(taken)
        place = torch.arange(len(owner)) - (taken.cumsum(0) - taken)[owner]
        if self.train:
            place = (torch.rand(len(owner), dtype=torch.float64) * counts[owner]).long()
        return self.first[rows][owner] + place, owner

    def _words(self, rows: Tensor) -> Tensor:
        words = torch.zeros(len(rows), self.vocabulary)
        owner = torch.arange(len(rows)).repeat_interleave(self.words.lengths[rows])
        words[owner, self.words.concat(rows)[0]] = self.shares.concat(rows)[0]
        return words


def _shares(texts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The words of a picture's captions, and the share of the captions in which each stands."""
    words, counts = torch.cat([text.unique() for text in texts]).unique(return_counts=True)
    return words[words >= len(SPECIAL)], counts[words >= len(SPECIAL)] / len(texts)
