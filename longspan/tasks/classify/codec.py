"""Knows the codec of a classifier: texts or series with labels as batches, scores as probabilities."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor
from typing_extensions import Self

from longspan import errors
from longspan.data.batches import Batch
from longspan.data.labels import IGNORED, Labels
from longspan.data.padding import Ragged, by_length
from longspan.data.readers.word_vectors import read_vectors
from longspan.metrics import classification
from longspan.tasks.codec import Codec, Metrics

from .linear import NBSVM, PENALTIES, LinearHeadSelection, fit_path
from .network import Subwords, TextInputs
from .reading import Example, Examples
from .series_encoder import SeriesEncoder
from .text_encoder import TextEncoder

FEW_TEXTS = 8_000  # below which all is learnt from once more and twice as many members are averaged
_TEXT_RATE, _SERIES_RATE = 5e-3, 2e-3  # learning rates
_SHAPES = 16  # lengths of batches are multiples of it: a convolution is prepared for each anew
_STEPS = 32  # optimizer steps an epoch at least
_AHEAD = 16  # batches made at once: twice as quick as one between two steps, which empty the caches


class ClassifierCodec(Codec[list[Example]]):
    """Examples to tensors, and scores to probabilities.

    Beside the network's scores stand those of a linear model of n-grams (Wide & Deep, arXiv 1606.07792). Its
    strength and its share in the scores are chosen by the validation labels; then it is fitted to all
    records.

    Args:
        units: how texts are cut, not fitted; its length holds for series too.
        balanced: whether rare classes count more, so that all classes weigh alike.
        vectors: a file of word vectors to start from.
        refit: whether network and codec learn from all records once more after validation; None for few
            texts.

    Attributes:
        units; channels: those of series, None for texts; labels; linear: the model of n-grams, None for none;
        text_column, series_columns: the columns of the table that was read; records: how many were trained
        on; embedding: values of a word's vector from the file, 0 for none.
    """

    def __init__(
        self,
        units: TextEncoder | None = None,
        *,
        balanced: bool = False,
        vectors: str | None = None,
        refit: bool | None = False,
    ) -> None:
        self.units = units or TextEncoder()
        self.balanced, self.vectors, self._refit = balanced, vectors, refit
        self.channels: SeriesEncoder | None = None
        self.labels, self.linear, self._choice = Labels(), None, LinearHeadSelection()
        self.linear: NBSVM | None
        self.records = self.embedding = 0
        self.text_column: str | None = None
        self.series_columns: tuple[str, ...] = ()
        self._unfitted = copy.deepcopy(self.units)

    def fit(self, train: list[Example], valid: list[Example] | None = None) -> Self:
        """Labels, vocabulary or scale, and the linear model, from the training part.

        Raises:
            ValueError: there is one class only, texts and series are mixed, a channel is NaN only, or no text
                has a word; one sentence.
        """
        self._fit_encoders(train)
        self._note_imbalance()
        if valid is not None and self.units.features is not None:
            self._choice = LinearHeadSelection(self._fitted_linear(train, PENALTIES))
        else:
            self._fit_linear(train)
        self._find_vectors()
        return self

    def _fit_encoders(self, records: Sequence[Example]) -> None:
        self.labels.fit([record.label for record in records])
        inputs = [record.input for record in records]
        series = {isinstance(one, np.ndarray) for one in inputs}
        if len(series) > 1:
            raise errors.value_error("source", "texts or series", "both", "train on one kind")
        whole = self.labels.kind != "steps"
        if series == {True}:
            self.channels = SeriesEncoder(self.units.length).fit(inputs, sized=whole)
        else:
            self.units.fit(inputs, featured=whole)
        self.records = len(records)
        if isinstance(records, Examples):
            fields = () if records.text is None else (records.text,)
            self.text_column = None if self.channels else records.text
            self.series_columns = (records.series or fields) if self.channels else ()

    def _note_imbalance(self) -> None:
        low, high = min(self.labels.counts), max(self.labels.counts)
        if high > 10 * low and not self.balanced:
            errors.notice(
                f"the largest class has {high} labels, the smallest {low}; "
                "class_weight='balanced' weighs them alike"
            )

    def _find_vectors(self) -> None:
        if self.vectors is None or self.units.kind != "words":
            return
        words = self.units.words
        vectors = read_vectors(self.vectors, words.tokens)
        self.embedding = len(next(iter(vectors.values())))
        errors.notice(f"{len(vectors)} of {words.size - 4} words have a vector in {self.vectors}")

    def _fitted_linear(self, records: Sequence[Example], strengths: Sequence[float]) -> dict[float, NBSVM]:
        """The linear model by its strength, fitted to records."""
        y, sizes = torch.stack(self.targets(records)), self.sizes
        importance = self.labels.importance(y, len(records)) if self.balanced else None
        plain = NBSVM(sizes["features"], sizes["classes"], sizes["runs"])
        return fit_path(plain, self.joined(records), y, strengths, importance)

    def _fit_linear(self, records: Sequence[Example]) -> None:
        """Fit the linear model to records with the strength and the share that were chosen."""
        if self.units.features is not None:
            self.linear = self._fitted_linear(records, self._choice.path)[self._choice.strength]
            self.linear.share.fill_(self._choice.share)

    def refit(self, records: list[Example]) -> ClassifierCodec:
        """The linear model learns from all records; for few texts vocabulary and network do, too."""
        few = self.channels is None and len(records) < FEW_TEXTS
        if few if self._refit is None else self._refit:
            return self._refitted(records)
        if self.units.features is not None:
            self.units.fit_features([record.input for record in records])
            self._fit_linear(records)
        return self

    def _refitted(self, records: list[Example]) -> ClassifierCodec:
        """A codec fitted to all records, with the token level and the calibration of this one."""
        codec = ClassifierCodec(copy.deepcopy(self._unfitted), balanced=self.balanced, vectors=self.vectors)
        codec.units.kind, codec.embedding = self.units.kind, self.embedding
        codec.labels.temperature, codec.labels.calibration = self.labels.temperature, self.labels.calibration
        codec._choice.strength, codec._choice.share = self._choice.strength, self._choice.share
        codec._fit_encoders(records)
        codec._fit_linear(records)
        return codec

    @property
    def learning_rate(self) -> float:
        return _TEXT_RATE if self.channels is None else _SERIES_RATE

    @property
    def inputs(self) -> TextEncoder | SeriesEncoder:
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
            "multilabel": self.labels.kind == "many",
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

    def scores(self, predictions: list[Tensor], records: list[Example]) -> Tensor:
        """Scores (N, C) of network and linear model together; for one label a record or many."""
        scores = torch.cat([part.cpu() for part in predictions])
        if self.linear is None:
            return scores
        return scores + self.linear.share * self.linear.scores(*self.joined(records))

    def linear_attribution(self, records: list[Example], classes: Tensor) -> Tensor:
        """How much each unit spoke for its record's class in the linear model, (N, T); 0 without one."""
        features = self.featured(records)
        if self.linear is None or features is None:
            return torch.zeros(())
        numbers, weights = (part.padded(torch.arange(len(records)))[0] for part in features)
        return self.linear.share * self.linear.attribution(numbers, weights, classes)

    def decode(self, predictions: list[Any], records: list[Example]) -> Any:
        """Probabilities (N, C), calibrated; for "steps" a list of (T_i, C)."""
        if self.labels.kind != "steps":
            return self.labels.shares(self.scores(predictions, records))
        return [self.labels.shares(row) for row in _real(predictions, self.rows(records))]

    @property
    def classes(self) -> np.ndarray:
        """The classes, in the order of the scores."""
        classes = self.labels.classes
        return np.array(classes, dtype=None if len({type(one) for one in classes}) == 1 else object)

    def present(self, answers: Any) -> Any:
        """The likeliest class of each record (N,); a list of tuples for many labels, of lists for steps."""
        classes, kind = self.classes, self.labels.kind
        if kind == "steps":
            return [classes[row.argmax(-1)].tolist() for row in answers]
        if kind == "many":
            return [tuple(classes[row >= 0.5].tolist()) for row in answers]
        return classes[answers.argmax(-1)]

    def as_table(self, answers: Any, records: list[Example]) -> pl.DataFrame:
        """Row, answer, its probability (several where there are several labels), and the text or id."""
        columns: dict[str, Any] = {
            "row": range(len(records)),
            "answer": list(self.present(answers)),
            "probability": self._probabilities_of_answers(answers),
        }
        if records and all(isinstance(record.input, str) for record in records):
            columns["text"] = [record.input for record in records]
        if isinstance(records, Examples) and records.ids is not None:
            columns["id"] = records.ids
        return pl.DataFrame(columns)

    def _probabilities_of_answers(self, answers: Any) -> list[Any]:
        if self.labels.kind == "many":
            return [row[row >= 0.5].tolist() for row in answers]
        return [row.max(-1).tolist() for row in answers]

    def metrics(self) -> Metrics:
        return {
            "accuracy": classification.accuracy,
            "f1": classification.f1,
            "auc": classification.auc,
            "log_loss": classification.log_loss,
            "calibration_error": classification.calibration_error,
        }

    def calibrate(self, predictions: list[Tensor], records: list[Example]) -> None:
        """Choose the linear model, and the temperature that scores are divided by, by validation labels."""
        targets = self.targets(records)
        if self.labels.kind == "steps":
            scores = torch.cat(_real(predictions, targets)).cpu()
            self.labels.cool(scores, torch.cat(targets), len(records))
        else:
            self._calibrate_whole(predictions, torch.stack(targets), records)
        self._compare_with_shares(predictions, records)

    def _calibrate_whole(self, predictions: list[Tensor], truth: Tensor, records: list[Example]) -> None:
        """Calibrate answers for whole records; truth: (N,) or (N, C)."""
        if self._choice.wides:
            scores = torch.cat([part.cpu() for part in predictions])
            self.linear = self._choice.decide(
                self.joined(records), scores, lambda one: self.labels.coolest(one, truth)[0]
            )
            self._choice.wides = {}
        self.labels.cool(self.scores(predictions, records), truth, len(records))

    def _compare_with_shares(self, predictions: list[Tensor], records: list[Example]) -> None:
        """Keep the validation metrics beside those of answering every record with the classes' shares."""
        answers, truth = self.decode(predictions, records), self.truth(records)
        counts = np.array(self.labels.counts, dtype=float)
        shares = counts / (self.records if self.labels.kind == "many" else counts.sum())
        rows = answers if isinstance(answers, list) else [answers]
        constant: Any = [np.broadcast_to(shares, row.shape) for row in rows]
        constant = constant if isinstance(answers, list) else constant[0]
        for name, given in (("scores", answers), ("scores_of_shares", constant)):
            metrics = {key: float(metric(given, truth)) for key, metric in self.metrics().items()}
            self.labels.calibration[name] = metrics

    # ---- kept

    def state(self) -> dict[str, Any]:
        channels = {"scaler": None, "span": None} if self.channels is None else self.channels.state()
        counts = {"records": self.records, "embedding": self.embedding}
        columns = {"text_column": self.text_column, "series_columns": self.series_columns}
        linear = None
        if self.linear is not None:
            linear = {"weights": self.linear.state_dict(), "runs": self.linear.runs}
        return {
            **self.labels.state(),
            **self.units.state(),
            **channels,
            **counts,
            **columns,
            "linear": linear,
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        self.labels.restore(state)
        self.units.restore(state)
        if state["scaler"] is not None:
            self.channels = SeriesEncoder().restore(state)
        self.records, self.embedding = state["records"], state["embedding"]
        self.text_column, self.series_columns = state["text_column"], state["series_columns"]
        if state["linear"] is not None:
            weights = state["linear"]["weights"]
            ngrams, classes = weights["table"].shape
            self.linear = NBSVM(ngrams, classes, tuple(state["linear"]["runs"]))
            self.linear.load_state_dict(weights)
        return self


def _real(coded: list[Tensor], rows: list[Tensor]) -> list[Tensor]:
    """Scores (T_i, C) of real steps alone, out of batches (B, T, C); rows: as long as each record is."""
    scores = (row for part in coded for row in part)
    return [one[: len(row)] for one, row in zip(scores, rows, strict=True)]


class ExampleBatches:
    """Examples in batches, dealt out anew every time it is iterated.

    In training texts of about one length come together; series do not, since length may tell the class and
    batch normalisation needs batches that are like the whole. Few records are gone through several times an
    epoch, and few make small batches: an eighth of them, at least 16.

    Args:
        balanced: whether a row (a step, each of many labels) counts the more, the fewer its class has.
    """

    def __init__(
        self,
        codec: ClassifierCodec,
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
        # All orders of an epoch are drawn before its first batch: dropout draws from the same generator, and
        # training that was killed in the second pass would else draw another order for it.
        orders = [self._order() for _ in range(self._passes)]
        rows_of_batches = chain.from_iterable(orders)
        while some := [self._batch(rows) for rows in islice(rows_of_batches, _AHEAD)]:
            yield from some

    def _order(self) -> Sequence[Tensor]:
        if self.codec.channels is None:
            return list(by_length(self.rows.lengths, self.batch_size))
        return torch.randperm(len(self.rows)).split(self.batch_size)

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
            return Batch(
                TextInputs(x, Subwords(inverse, *self.grams.joined(words))), y, lengths=lengths, weight=weight
            )
        inputs = TextInputs(x) if self.codec.channels is None else x.float()
        return Batch(inputs, y, lengths=lengths, weight=weight)
