"""Cuts examples into batches: texts by length, series at random, few records several times an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from longspan.data.batches import Batch
from longspan.data.labels import IGNORED
from longspan.data.padding import RaggedTensor, bucket_by_length

from .convergence import STEPS
from .network import Subwords, TextInputs
from .reading import Example

if TYPE_CHECKING:
    from .codec import ClassifierCodec

_LENGTH_MULTIPLE = 16  # of the lengths of batches of series: a convolution is prepared for each length
_AHEAD = 16  # batches made at once: twice as fast as one by one, as training steps empty the caches


class ExampleBatches:
    """Batches of examples; in training, each iteration draws a new order.

    In training, texts of similar length share a batch. Series do not: their length may tell the class, and
    batch normalisation needs batches that represent all records. An epoch repeats few records until it has
    32 steps; the batches of few records are small: an eighth of them, at least 16.

    Args:
        balanced: weight each row, step or label so that classes have the same influence.
        folds: (N,), the number of the ensemble's member that a row does not train; None: all train all.
        members: of the ensemble, where there are folds.
    """

    def __init__(
        self,
        codec: ClassifierCodec,
        records: Sequence[Example],
        batch_size: int,
        *,
        train: bool,
        balanced: bool = False,
        folds: Tensor | None = None,
        members: int = 1,
    ) -> None:
        self.folds, self.members = folds, members
        self.codec, self.train, self.balanced = codec, train, train and balanced
        self.batch_size = min(batch_size, max(16, len(records) // 8)) if train else batch_size
        self.rows = RaggedTensor(codec.rows(records))
        self.multiple = 1 if codec.series_encoder is None else _LENGTH_MULTIPLE
        labelled = all(record.label is not None for record in records)
        targets = codec.targets(records) if labelled else None
        self.steps = RaggedTensor(targets) if targets is not None and codec.labels.kind == "token" else None
        self.y = torch.stack(targets) if targets is not None and codec.labels.kind != "token" else None
        self._index_words(records)
        self._batches = -(-len(records) // self.batch_size)
        self._passes = -(-STEPS // self._batches) if train else 1

    def _index_words(self, records: Sequence[Example]) -> None:
        """Number the distinct words of all records, and find the subwords of each."""
        self.words: RaggedTensor | None = None
        encoder = self.codec.text_encoder
        if not encoder.subword_buckets or self.codec.series_encoder is not None:
            return
        index: dict[str, int] = {}
        rows = [
            torch.tensor([index.setdefault(word, len(index)) for word in encoder.tokens(record.input)])
            for record in records
        ]
        self.words = RaggedTensor([row.long() for row in rows])
        subwords = [torch.tensor(encoder.subwords(word)) for word in index]
        self.subwords = RaggedTensor(subwords or [torch.zeros(1).long()])

    def __len__(self) -> int:
        return self._batches * self._passes

    def __iter__(self) -> Iterator[Batch]:
        if not self.train:
            yield from map(self._batch, torch.arange(len(self.rows)).split(self.batch_size))
            return
        # All orders of an epoch are drawn before its first batch: dropout draws from the same generator, and
        # training that was killed in the second pass would else draw another order for it.
        orders = [self._order() for _ in range(self._passes)]
        rows_of_batches = chain.from_iterable(orders)
        while batches := [self._batch(rows) for rows in islice(rows_of_batches, _AHEAD)]:
            yield from batches

    def _order(self) -> Sequence[Tensor]:
        if self.codec.series_encoder is None:
            return list(bucket_by_length(self.rows.lengths, self.batch_size))
        return torch.randperm(len(self.rows)).split(self.batch_size)

    def _batch(self, rows: Tensor) -> Batch:
        x, lengths = self.rows.pad(rows, multiple=self.multiple)
        y = self.y[rows] if self.y is not None else None
        if self.steps is not None:
            y = self.steps.pad(rows, IGNORED, multiple=self.multiple)[0]
        weight = None
        if self.balanced and y is not None:
            weight = self.codec.labels.class_weights(y, len(self.rows))
        if self.train and self.folds is not None and y is not None:
            weight = self._by_member(rows, y, weight)
        if self.words is not None:
            words, inverse = self.words.pad(rows)[0].unique(return_inverse=True)
            texts = TextInputs(x, Subwords(inverse, *self.subwords.concat(words)))
            return Batch(texts, y, lengths=lengths, weight=weight)
        inputs = TextInputs(x) if self.codec.series_encoder is None else x.float()
        return Batch(inputs, y, lengths=lengths, weight=weight)

    def _by_member(self, rows: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """Factors (B, M) or (B, M, C): 0 for the member that a row does not train, the others' mean is 1."""
        assert self.folds is not None
        trained = self.folds[rows].unsqueeze(1) != torch.arange(self.members)
        factor = trained.float() * (self.members / (self.members - 1))
        if y.dim() == 1:
            return factor if weight is None else factor * weight.unsqueeze(1)
        factor = factor.unsqueeze(2).expand(-1, -1, y.shape[1])
        return factor if weight is None else factor * weight.unsqueeze(1)
