"""Batches pictures with their captions as tokens; augments and draws captions in training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from longspan.data.batches import Batch
from longspan.data.padding import fill_rows
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
        self.captions = None
        if captions is not None:
            self.captions = [[torch.tensor(row, dtype=torch.int64) for row in rows] for rows in captions]

    def __len__(self) -> int:
        return -(-len(self.frames) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        order = torch.randperm(len(self.frames)) if self.train else torch.arange(len(self.frames))
        for rows in order.split(self.batch_size):
            yield self._batch(rows)

    def _batch(self, rows: Tensor) -> Batch:
        seeds = None if self.seeds is None else self.seeds[rows]
        inputs = CaptionInputs(self.view(self.frames[rows]), seeds=seeds)
        if self.captions is None:
            return Batch(inputs)
        known = [self.captions[row] for row in rows.tolist()]
        drawn = [self._drawn(texts) for texts in known]
        texts = [text for some in drawn for text in some]
        steps = torch.tensor([len(text) + 1 for text in texts])
        shape = (len(texts), int(steps.max()))
        previous = torch.zeros(shape, dtype=torch.int64)
        previous[:, 0] = _START
        fill_rows(previous[:, 1:], texts)
        target = fill_rows(torch.full(shape, IGNORED), texts)
        target[target == _UNKNOWN] = IGNORED
        target[torch.arange(len(texts)), steps - 1] = _END
        owner = torch.arange(len(rows)).repeat_interleave(torch.tensor([len(some) for some in drawn]))
        words = self._words(known)
        return Batch(inputs._replace(previous=previous, steps=steps, owner=owner, words=words), target)

    def _drawn(self, texts: Sequence[Tensor]) -> Sequence[Tensor]:
        """The captions of a picture that a step trains on; all of them where it does not train."""
        if not self.train or len(texts) <= 1:
            return texts
        return [texts[place] for place in torch.randint(len(texts), (_DRAWN,)).tolist()]

    def _words(self, known: Sequence[Sequence[Tensor]]) -> Tensor:
        words = torch.zeros(len(known), self.vocabulary)
        for row, texts in zip(words, known, strict=True):
            for text in texts:
                row[text.unique()] += 1 / len(texts)
        words[:, : len(SPECIAL)] = 0.0
        return words
