"""Converts texts or series with labels into batches, and scores into calibrated probabilities."""

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
from longspan.data.padding import RaggedTensor, bucket_by_length
from longspan.data.readers.word_vectors import read_vectors
from longspan.metrics import classification
from longspan.tasks.codec import Codec, Metrics

from .linear import INVERSE_PENALTIES, NBSVM, LinearHeadSelection, fit_path
from .network import Subwords, TextInputs
from .reading import Example, Examples
from .series_encoder import SeriesEncoder
from .text_encoder import TextEncoder

FEW_TEXTS = 8_000  # with fewer, training is repeated on all records and the ensemble is twice as large
_TEXT_RATE, _SERIES_RATE = 5e-3, 2e-3  # learning rates
_LENGTH_MULTIPLE = 16  # of the lengths of batches of series: a convolution is prepared for each length
_STEPS = 32  # optimizer steps of an epoch at least
_AHEAD = 16  # batches made at once: twice as fast as one by one, as training steps empty the caches

_METRICS: Metrics = {
    "accuracy": classification.accuracy,
    "f1": classification.f1,
    "auc": classification.auc,
    "log_loss": classification.log_loss,
    "calibration_error": classification.calibration_error,
}


class ClassifierCodec(Codec[list[Example]]):
    """Encodes examples as tensors and decodes scores as probabilities.

    The scores of a linear model of n-grams are added to those of the network (Wide & Deep, arXiv
    1606.07792). Validation labels select its penalty and its weight; then it is fitted to all records.

    Args:
        text_encoder: not fitted; its `max_length` is that of series too.
        balanced: whether to weight classes so that each has the same influence.
        vectors: a file of word vectors to start from.
        refit: whether to train network and codec again on all records after validation; None: for few texts.

    Attributes:
        text_encoder; series_encoder: None for texts; labels; linear: the linear model, None for none.
        text_column, series_columns: the columns of the table that was read.
        records: the number of training records.
        embedding: values of a word vector in the file, 0 without one.
    """

    def __init__(
        self,
        text_encoder: TextEncoder | None = None,
        *,
        balanced: bool = False,
        vectors: str | None = None,
        refit: bool | None = False,
    ) -> None:
        self.text_encoder = text_encoder or TextEncoder()
        self.balanced, self.vectors, self._refit = balanced, vectors, refit
        self.series_encoder: SeriesEncoder | None = None
        self.labels, self.linear, self._choice = Labels(), None, LinearHeadSelection()
        self.linear: NBSVM | None
        self.records = self.embedding = 0
        self.text_column: str | None = None
        self.series_columns: tuple[str, ...] = ()
        self._unfitted = copy.deepcopy(self.text_encoder)

    def fit(self, train: list[Example], valid: list[Example] | None = None) -> Self:
        """Learn labels, vocabulary or scale, and the linear model from the training part.

        Raises:
            ValueError: there is one class only, texts and series are mixed, a channel is NaN only, or no text
                has a word; one sentence.
        """
        self._fit_encoders(train)
        if not self.balanced:
            _note_imbalance(self.labels.counts)
        if valid is not None and self.text_encoder.features is not None:
            self._choice = LinearHeadSelection(self._fitted_linear(train, INVERSE_PENALTIES))
        else:
            self._fit_linear(train)
        self._find_vectors()
        return self

    def _fit_encoders(self, records: Sequence[Example]) -> None:
        self.labels.fit([record.label for record in records])
        inputs = [record.input for record in records]
        series = {isinstance(each, np.ndarray) for each in inputs}
        if len(series) > 1:
            raise errors.value_error("source", "texts or series", "both", "train on one kind")
        per_record = self.labels.kind != "token"
        if series == {True}:
            self.series_encoder = SeriesEncoder(self.text_encoder.max_length).fit(
                inputs, with_length=per_record
            )
        else:
            self.text_encoder.fit(inputs, features=per_record)
        self.records = len(records)
        if isinstance(records, Examples):
            fields = () if records.text is None else (records.text,)
            self.text_column = None if self.series_encoder else records.text
            self.series_columns = (records.series or fields) if self.series_encoder else ()

    def _find_vectors(self) -> None:
        if self.vectors is None or self.text_encoder.token_level != "words":
            return
        words = self.text_encoder.tokenizer
        vectors = read_vectors(self.vectors, words.tokens)
        self.embedding = len(next(iter(vectors.values())))
        errors.notice(f"{len(vectors)} of {words.size - 4} words have a vector in {self.vectors}")

    def _fitted_linear(self, records: Sequence[Example], Cs: Sequence[float]) -> dict[float, NBSVM]:
        """C -> the linear model fitted to the records with it."""
        y, sizes = torch.stack(self.targets(records)), self.sizes
        sample_weight = self.labels.class_weights(y, len(records)) if self.balanced else None
        unfitted = NBSVM(sizes["features"], sizes["classes"], sizes["orders"])
        return fit_path(unfitted, self.concatenated(records), y, Cs, sample_weight)

    def _fit_linear(self, records: Sequence[Example]) -> None:
        """Fit the linear model to records with the selected penalty and weight."""
        if self.text_encoder.features is not None:
            self.linear = self._fitted_linear(records, self._choice.path)[self._choice.C]
            self.linear.weight.fill_(self._choice.weight)

    def refit(self, records: list[Example]) -> ClassifierCodec:
        """Refit the linear model on all records; for few texts return a new codec fitted to all of them."""
        few = self.series_encoder is None and len(records) < FEW_TEXTS
        if few if self._refit is None else self._refit:
            return self._refitted(records)
        if self.text_encoder.features is not None:
            self.text_encoder.fit_features([record.input for record in records])
            self._fit_linear(records)
        return self

    def _refitted(self, records: list[Example]) -> ClassifierCodec:
        """A codec fitted to all records, with the token level and the calibration of this one."""
        codec = ClassifierCodec(copy.deepcopy(self._unfitted), balanced=self.balanced, vectors=self.vectors)
        codec.text_encoder.token_level, codec.embedding = self.text_encoder.token_level, self.embedding
        codec.labels.temperature, codec.labels.calibration = self.labels.temperature, self.labels.calibration
        codec._choice.C, codec._choice.weight = self._choice.C, self._choice.weight
        codec._fit_encoders(records)
        codec._fit_linear(records)
        return codec

    @property
    def learning_rate(self) -> float:
        return _TEXT_RATE if self.series_encoder is None else _SERIES_RATE

    @property
    def inputs(self) -> TextEncoder | SeriesEncoder:
        """The encoder of the inputs."""
        return self.series_encoder or self.text_encoder

    @property
    def sizes(self) -> dict[str, Any]:
        """The sizes that the network depends on, by name."""
        texts, series = self.text_encoder, self.series_encoder
        return {
            "inputs": series.width if series else 0,
            "vocabulary": 0 if series else texts.tokenizer.size,
            "subwords": 0 if series else texts.subword_buckets,
            "features": 0 if texts.features is None else texts.features.size,
            "orders": () if texts.features is None else texts.features.orders,
            "embedding": self.embedding,
            "classes": len(self.labels.classes),
            "records": self.records,
            "per_step": self.labels.kind == "token",
            "multilabel": self.labels.kind == "multilabel",
        }

    def rows(self, records: Sequence[Example]) -> list[Tensor]:
        """The encoded inputs: token numbers (T_i,) or scaled readings (T_i, D), cut to `max_length`."""
        return self.inputs.rows([record.input for record in records])

    def targets(self, records: Sequence[Example]) -> list[Tensor]:
        """The encoded labels, a tensor for each record, see `Labels.encode`."""
        return self.labels.encode([record.label for record in records], self.inputs.max_length)

    def truth(self, records: Sequence[Example]) -> Any:
        """(N,) class numbers, (N, C) zeros and ones, or for labels per token a list of (T_i,) numbers."""
        targets = self.targets(records)
        if self.labels.kind == "token":
            return [target.numpy() for target in targets]
        return torch.stack(targets).numpy()

    def sparse_features(self, records: Sequence[Example]) -> tuple[RaggedTensor, RaggedTensor] | None:
        """Numbers and weights (T_i, R) of every text's n-grams; None without n-grams."""
        return self.text_encoder.sparse_features([record.input for record in records])

    def concatenated(self, records: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor]:
        """The n-grams of all texts end to end: numbers and weights (S,), and each record's start (N,)."""
        features = self.sparse_features(records)
        assert features is not None
        numbers, weights = features
        return numbers.values.flatten(), weights.values.flatten(), numbers.starts * numbers.values.shape[1]

    def scores(self, predictions: list[Tensor], records: list[Example]) -> Tensor:
        """Scores (N, C) of network and linear model together; not for labels per token."""
        scores = torch.cat([part.cpu() for part in predictions])
        if self.linear is None:
            return scores
        return scores + self.linear.weight * self.linear.scores(*self.concatenated(records))

    def linear_attribution(self, records: list[Example], classes: Tensor) -> Tensor:
        """The score (N, T) that each token adds to its record's class in the linear model; 0 without one."""
        features = self.sparse_features(records)
        if self.linear is None or features is None:
            return torch.zeros(())
        numbers, weights = (part.pad(torch.arange(len(records)))[0] for part in features)
        return self.linear.weight * self.linear.attribution(numbers, weights, classes)

    def decode(self, predictions: list[Any], records: list[Example]) -> Any:
        """Probabilities (N, C), calibrated; a list of (T_i, C) for labels per token."""
        if self.labels.kind != "token":
            return self.labels.probabilities(self.scores(predictions, records))
        return [self.labels.probabilities(row) for row in _real_steps(predictions, self.rows(records))]

    def positions(self, record: Example) -> list[Any]:
        """What stands at each step that is read: the tokens of a text, the step numbers of a series."""
        if self.series_encoder is None:
            return self.text_encoder.tokens(record.input)
        return self.series_encoder.steps(record.input)

    @property
    def classes(self) -> np.ndarray:
        """The classes, in the order of the scores."""
        classes = self.labels.classes
        return np.array(classes, dtype=None if len({type(name) for name in classes}) == 1 else object)

    def present(self, answers: Any) -> Any:
        """The most probable classes: (N,), for multilabel a list of tuples, for labels per token of lists."""
        classes, kind = self.classes, self.labels.kind
        if kind == "token":
            return [classes[row.argmax(-1)].tolist() for row in answers]
        if kind == "multilabel":
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
        if self.labels.kind == "multilabel":
            return [row[row >= 0.5].tolist() for row in answers]
        return [row.max(-1).tolist() for row in answers]

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(self.series_columns)

    def metrics(self) -> Metrics:
        return _METRICS

    def calibrate(self, predictions: list[Tensor], records: list[Example]) -> None:
        """Choose the linear model, and the temperature that scores are divided by, by validation labels."""
        targets = self.targets(records)
        if self.labels.kind == "token":
            scores = torch.cat(_real_steps(predictions, targets)).cpu()
            self.labels.fit_temperature(scores, torch.cat(targets), len(records))
        else:
            self._calibrate_whole(predictions, torch.stack(targets), records)
        self._compare_with_frequencies(predictions, records)

    def _calibrate_whole(self, predictions: list[Tensor], truth: Tensor, records: list[Example]) -> None:
        """Calibrate answers for whole records; truth: (N,) or (N, C)."""
        if self._choice.models:
            scores = torch.cat([part.cpu() for part in predictions])
            self.linear = self._choice.select(
                self.concatenated(records), scores, lambda each: self.labels.best_temperature(each, truth)[0]
            )
            self._choice.models = {}
        self.labels.fit_temperature(self.scores(predictions, records), truth, len(records))

    def _compare_with_frequencies(self, predictions: list[Tensor], records: list[Example]) -> None:
        """Store the validation metrics beside those of predicting the class frequencies for every record."""
        answers, truth = self.decode(predictions, records), self.truth(records)
        counts = np.array(self.labels.counts, dtype=float)
        frequencies = counts / (self.records if self.labels.kind == "multilabel" else counts.sum())
        rows = answers if isinstance(answers, list) else [answers]
        constant: Any = [np.broadcast_to(frequencies, row.shape) for row in rows]
        constant = constant if isinstance(answers, list) else constant[0]
        for name, probabilities in (("scores", answers), ("scores_of_frequencies", constant)):
            metrics = {key: float(metric(probabilities, truth)) for key, metric in self.metrics().items()}
            self.labels.calibration[name] = metrics

    def state(self) -> dict[str, Any]:
        series = {"scaler": None} if self.series_encoder is None else self.series_encoder.state()
        counts = {"records": self.records, "embedding": self.embedding}
        columns = {"text_column": self.text_column, "series_columns": self.series_columns}
        linear = None
        if self.linear is not None:
            linear = {"weights": self.linear.state_dict(), "orders": self.linear.orders}
        return {
            **self.labels.state(),
            **self.text_encoder.state(),
            **series,
            **counts,
            **columns,
            "linear": linear,
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        self.labels.restore(state)
        self.text_encoder.restore(state)
        if state["scaler"] is not None:
            self.series_encoder = SeriesEncoder().restore(state)
        self.records, self.embedding = state["records"], state["embedding"]
        self.text_column, self.series_columns = state["text_column"], state["series_columns"]
        if state["linear"] is not None:
            weights = state["linear"]["weights"]
            ngrams, classes = weights["table"].shape
            self.linear = NBSVM(ngrams, classes, tuple(state["linear"]["orders"]))
            self.linear.load_state_dict(weights)
        return self


def _note_imbalance(counts: Sequence[int]) -> None:
    """Note where a class has more than ten times the labels of another; counts: labels of each class."""
    low, high = min(counts), max(counts)
    if high > 10 * low:
        errors.notice(
            f"the largest class has {high} labels, the smallest {low}; "
            "class_weight='balanced' weighs them alike"
        )


def _real_steps(scores: list[Tensor], rows: list[Tensor]) -> list[Tensor]:
    """Scores (T_i, C) without padding, from batches (B, T, C); rows: N tensors of the lengths T_i."""
    padded = (row for batch in scores for row in batch)
    return [values[: len(row)] for values, row in zip(padded, rows, strict=True)]


class ExampleBatches:
    """Batches of examples; in training, each iteration draws a new order.

    In training, texts of similar length share a batch. Series do not: their length may tell the class, and
    batch normalisation needs batches that represent all records. An epoch repeats few records until it has
    32 steps; the batches of few records are small: an eighth of them, at least 16.

    Args:
        balanced: weight each row, step or label so that classes have the same influence.
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
        self.rows = RaggedTensor(codec.rows(records))
        self.multiple = 1 if codec.series_encoder is None else _LENGTH_MULTIPLE
        labelled = all(record.label is not None for record in records)
        targets = codec.targets(records) if labelled else None
        self.steps = RaggedTensor(targets) if targets is not None and codec.labels.kind == "token" else None
        self.y = torch.stack(targets) if targets is not None and codec.labels.kind != "token" else None
        self._index_words(records)
        self._batches = -(-len(records) // self.batch_size)
        self._passes = -(-_STEPS // self._batches) if train else 1

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
        if self.words is not None:
            words, inverse = self.words.pad(rows)[0].unique(return_inverse=True)
            texts = TextInputs(x, Subwords(inverse, *self.subwords.concat(words)))
            return Batch(texts, y, lengths=lengths, weight=weight)
        inputs = TextInputs(x) if self.codec.series_encoder is None else x.float()
        return Batch(inputs, y, lengths=lengths, weight=weight)
