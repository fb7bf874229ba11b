"""Knows the codec of a classifier: texts or series with labels as batches, scores as probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from longspan import errors
from longspan.data.batches import Batch
from longspan.data.labels import IGNORED, Labels
from longspan.data.padding import Ragged, by_length
from longspan.tasks.codec import Codec

from .reading import Example
from .series_encoder import Channels
from .text_encoder import Units

_SHAPES = 16  # lengths of batches are multiples of it: a convolution is prepared for each anew
_STEPS = 32  # optimizer steps an epoch at least
_AHEAD = 16  # batches made at once: twice as quick as one between two steps, which empty the caches


class Coding(Codec):
    """Examples to tensors and scores to probabilities.

    Args:
        units: how texts are cut, not fitted; its length holds for series too.

    Attributes:
        units; channels: those of series, None for texts; labels; records: how many were trained on;
        embedding: values of a unit's vector that comes from a file, 0 for none.
    """

    def __init__(self, units: Units | None = None) -> None:
        self.units = units or Units()
        self.channels: Channels | None = None
        self.labels = Labels()
        self.records = self.embedding = 0

    def fit(self, records: Sequence[Example]) -> Self:
        """Labels, vocabulary or scale, out of the training part.

        Raises:
            ValueError: there is one class only, texts and series are mixed, a channel is NaN only, or no text
                has a word; one sentence.
        """
        self.labels.fit([record.label for record in records])
        inputs = [record.input for record in records]
        series = {isinstance(one, np.ndarray) for one in inputs}
        if len(series) > 1:
            raise errors.value_error("source", "texts or series", "both", "train on one kind")
        whole = self.labels.kind != "steps"
        if series == {True}:
            self.channels = Channels(self.units.length).fit(inputs, sized=whole)
        else:
            self.units.fit(inputs, featured=whole)
        return self

    def follow(self, other: Coding, records: Sequence[Example]) -> Self:
        """Fit it to more records than another one, with its units, and keep the calibration that that one
        learnt from those then held out."""
        self.units.kind, self.embedding, self.records = other.units.kind, other.embedding, len(records)
        self.labels.temperature, self.labels.calibration = other.labels.temperature, other.labels.calibration
        return self.fit(records)

    @property
    def inputs(self) -> Units | Channels:
        """What the inputs are made of."""
        return self.channels or self.units

    @property
    def sizes(self) -> dict[str, Any]:
        units, channels = self.units, self.channels
        return {
            "inputs": channels.width if channels else 0,
            "vocabulary": 0 if channels else units.words.size,
            "subwords": 0 if channels else units.subwords,
            "features": 0 if units.features is None else units.features.size,
            "runs": () if units.features is None else units.features.runs,
            "embedding": self.embedding,
            "classes": len(self.labels.classes),
            "records": self.records,
            "steps": self.labels.kind == "steps",
            "many": self.labels.kind == "many",
        }

    # ---- to tensors

    def rows(self, records: Sequence[Example]) -> list[Tensor]:
        """The inputs in code: numbers (T_i,) of units or scaled readings (T_i, D), cut to the length read."""
        return self.inputs.rows([record.input for record in records])

    def targets(self, records: Sequence[Example]) -> list[Tensor]:
        """The labels in code, one tensor a record: a number, C zeros and ones, or a number a step."""
        return self.labels.numbers([record.label for record in records], self.inputs.length)

    def truth(self, records: Sequence[Example]) -> Any:
        """(N,) class numbers, (N, C) zeros and ones, or for "steps" a list of (T_i,) class numbers."""
        found = self.targets(records)
        return [one.numpy() for one in found] if self.labels.kind == "steps" else torch.stack(found).numpy()

    def featured(self, records: Sequence[Example]) -> tuple[Ragged, Ragged] | None:
        """The n-grams of every text, numbers (T_i, n) and weights (T_i, n); None where there are none."""
        return self.units.featured([record.input for record in records])

    def joined(self, records: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor]:
        """The n-grams of all texts end to end: numbers, weights, and where each record's begin."""
        found = self.featured(records)
        assert found is not None
        numbers, weights = found
        return numbers.values.flatten(), weights.values.flatten(), numbers.starts * numbers.values.shape[1]

    # ---- back

    def decode(self, coded: list[Any], records: Sequence[Example]) -> Any:
        """Probabilities (N, C), calibrated; for "steps" a list of (T_i, C)."""
        if self.labels.kind != "steps":
            return self.labels.shares(torch.cat(coded))
        return [self.labels.shares(row) for row in _real(coded, self.rows(records))]

    def learn_temperature(self, coded: list[Tensor], records: Sequence[Example]) -> None:
        """By what the scores of held-out records are divided, see `Labels.cool`."""
        truth = self.targets(records)
        if self.labels.kind == "steps":
            self.labels.cool(torch.cat(_real(coded, truth)).cpu(), torch.cat(truth), len(records))
        else:
            self.labels.cool(torch.cat(coded).cpu(), torch.stack(truth), len(records))

    # ---- kept

    def state(self) -> dict[str, Any]:
        channels = {"scaler": None, "span": None} if self.channels is None else self.channels.state()
        counts = {"records": self.records, "embedding": self.embedding}
        return {**self.labels.state(), **self.units.state(), **channels, **counts}

    def restore(self, state: Mapping[str, Any]) -> Self:
        self.labels.restore(state)
        self.units.restore(state)
        if state["scaler"] is not None:
            self.channels = Channels().restore(state)
        self.records, self.embedding = state.get("records", 0), state.get("embedding", 0)
        return self


def _real(coded: list[Tensor], rows: list[Tensor]) -> list[Tensor]:
    """Scores (T_i, C) of real steps alone, out of batches (B, T, C); rows: as long as each record is."""
    scores = (row for part in coded for row in part)
    return [one[: len(row)] for one, row in zip(scores, rows, strict=True)]


class Dealt:
    """Examples in batches, dealt out anew every time it is iterated.

    In training texts of about one length come together; series do not, since length may tell the class and
    batch normalisation needs batches that are like the whole. Few records are gone through several times an
    epoch, and few make small batches: an eighth of them, at least 16.

    Args:
        balanced: whether a row (a step, each of many labels) counts the more, the fewer its class has.
    """

    def __init__(
        self,
        codec: Coding,
        records: Sequence[Example],
        batch_size: int,
        *,
        train: bool,
        balanced: bool = False,
    ) -> None:
        self.codec, self.train, self.balanced = codec, train, train and balanced
        self.batch_size = min(batch_size, max(16, len(records) // 8)) if train else batch_size
        self.rows = Ragged(codec.rows(records))
        self.multiple = 1 if codec.channels is None else _SHAPES
        labelled = all(record.label is not None for record in records)
        targets = codec.targets(records) if labelled else None
        self.steps = Ragged(targets) if targets is not None and codec.labels.kind == "steps" else None
        self.y = torch.stack(targets) if targets is not None and codec.labels.kind != "steps" else None
        self._take_words(records)
        self.features = None if train else codec.featured(records)  # they are for answers alone
        self._batches = -(-len(records) // self.batch_size)
        self._passes = -(-_STEPS // self._batches) if train else 1

    def _take_words(self, records: Sequence[Example]) -> None:
        """Every different word's number among them all, and its n-grams."""
        self.places: Ragged | None = None
        units = self.codec.units
        if not units.subwords or self.codec.channels is not None:
            return
        index: dict[str, int] = {}
        rows = [
            torch.tensor([index.setdefault(word, len(index)) for word in units.pieces(record.input)])
            for record in records
        ]
        self.places = Ragged([row.long() for row in rows])
        self.grams = Ragged([torch.tensor(units.grams(word)) for word in index] or [torch.zeros(1).long()])

    def __len__(self) -> int:
        return self._batches * self._passes

    def __iter__(self) -> Iterator[Batch]:
        if not self.train:
            yield from map(self._batch, torch.arange(len(self.rows)).split(self.batch_size))
            return
        for _ in range(self._passes):
            order = self._order()
            while some := [self._batch(rows) for rows in islice(order, _AHEAD)]:
                yield from some

    def _order(self) -> Iterator[Tensor]:
        if self.codec.channels is None:
            return by_length(self.rows.lengths, self.batch_size)
        return iter(torch.randperm(len(self.rows)).split(self.batch_size))

    def _batch(self, rows: Tensor) -> Batch:
        x, lengths = self.rows.padded(rows, multiple=self.multiple)
        y = self.y[rows] if self.y is not None else None
        if self.steps is not None:
            y = self.steps.padded(rows, IGNORED, multiple=self.multiple)[0]
        weight = None
        if self.balanced and y is not None:
            weight = self.codec.labels.importance(y, len(self.rows))
        if self.places is not None:
            words, inverse = self.places.padded(rows)[0].unique(return_inverse=True)
            x = (x, inverse, *self.grams.joined(words))
        elif x.dtype == torch.float64:
            x = x.float()
        if self.features is not None:
            x = (*(x if isinstance(x, tuple) else (x,)), *(part.padded(rows)[0] for part in self.features))
        return Batch(x, y, lengths=lengths, weight=weight)
