"""Converts texts or series with labels into tensors, and scores into calibrated probabilities."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor
from typing_extensions import Self

from longspan import errors
from longspan.data.labels import Labels
from longspan.metrics import classification
from longspan.tasks.codec import Codec, Metrics
from longspan.tasks.pretrained import EncoderSizes, PretrainedEncoder
from longspan.tasks.schedule import TrainingOptions

from .answers import answer_table, beside_frequencies, classes_of, most_probable
from .convergence import until_converged
from .linear import NBSVM
from .normalization import fit_best_encoder
from .reading import Example, Examples
from .series_encoder import MixedInput, SeriesEncoder
from .series_head import SeriesHead
from .text_encoder import TextEncoder
from .text_head import TextHead
from .word_vectors import read_vectors

FEW_TEXTS = 8_000  # with fewer, training is repeated on all records and the ensemble is twice as large
_TEXT_RATE, _SERIES_RATE = 5e-3, 2e-3  # learning rates
_TEXT_EPOCHS = 10

_METRICS: Metrics = {
    "accuracy": classification.accuracy,
    "balanced_accuracy": classification.balanced_accuracy,
    "f1": classification.f1,
    "auc": classification.auc,
    "log_loss": classification.log_loss,
    "calibration_error": classification.calibration_error,
}


class ClassifierCodec(Codec[list[Example]]):
    """Encodes examples as tensors and decodes scores as probabilities.

    Beside the network stands a linear model (Wide & Deep, arXiv 1606.07792): of n-grams for texts, of random
    convolutions for series, there with nearest neighbours. Records that did not train decide on its share;
    then it is fitted to all.

    Args:
        text_encoder: not fitted; its `max_length` is that of series too.
        balanced: whether to weight classes so that each has the same influence.
        vectors: a file of word vectors to start from.
        refit: whether to train network and codec again on all records after validation; None: for few texts.
        normalization: of series, see `SeriesEncoder`; None: selected by leave-one-out errors.

    Attributes:
        text_encoder; series_encoder: None for texts; labels; head: the linear model, None for none.
        text_column, series_columns, static_columns: the columns of the table that was read.
        records: the number of training records.
        embedding: values of a word vector in the file, 0 without one.
        pretrained: the language model that the networks start from, until the model is saved; None for none.
        pretrained_sizes: its sizes.
    """

    def __init__(
        self,
        text_encoder: TextEncoder | None = None,
        *,
        balanced: bool = False,
        vectors: str | None = None,
        refit: bool | None = False,
        normalization: str | None = None,
    ) -> None:
        self.text_encoder = text_encoder or TextEncoder()
        self.balanced, self.vectors, self._refit = balanced, vectors, refit
        self.normalization = normalization
        self.series_encoder: SeriesEncoder | None = None
        self.labels = Labels()
        self.head: TextHead | SeriesHead | None = None
        self.records = self.embedding = 0
        self.text_column: str | None = None
        self.series_columns: tuple[str, ...] = ()
        self.static_columns: tuple[str, ...] = ()
        self.pretrained: PretrainedEncoder | None = None
        self.pretrained_sizes: EncoderSizes | None = None
        self._unfitted = copy.deepcopy(self.text_encoder)

    def start_from(self, pretrained: PretrainedEncoder) -> None:
        """Take the tokens of a language model from whose weights the networks start."""
        self.pretrained, self.pretrained_sizes = pretrained, pretrained.sizes
        self.text_encoder.start_from(pretrained)

    def fit(self, train: list[Example], valid: list[Example] | None = None) -> Self:
        """Learn labels, vocabulary or scale, and the linear model from the training part.

        Raises:
            ValueError: there is one class only, texts and series are mixed, a channel is NaN only, or no text
                has a word; one sentence.
        """
        self._fit_encoders(train)
        if not self.balanced:
            _note_imbalance(self.labels.counts)
        if valid is not None and isinstance(self.head, TextHead):
            self.head.fit_candidates(*self._head_arguments(train))
        else:
            self._fit_text_head(train)
        if self.vectors is not None and self.text_encoder.token_level == "words":
            self.embedding = _vector_size(self.vectors, self.text_encoder)
        return self

    def _fit_encoders(self, records: Sequence[Example]) -> None:
        self.labels.fit([record.label for record in records])
        inputs = [record.input for record in records]
        series = {isinstance(each, (np.ndarray, MixedInput)) for each in inputs}
        if len(series) > 1:
            raise errors.value_error("source", "texts or series", "both", "train on one kind")
        self.records = len(records)
        self._take_columns(records, is_series=series == {True})
        if series == {True}:
            if self.pretrained is not None:
                way_out = "leave pretrained out"
                raise errors.value_error("source", "texts for a language model", "series", way_out)
            self._fit_series(records)
            return
        self.text_encoder.fit(inputs, features=self.labels.kind != "token")
        if self.text_encoder.features is not None:
            self.head = TextHead(self.text_encoder, self.labels)

    def _take_columns(self, records: Sequence[Example], *, is_series: bool) -> None:
        if isinstance(records, Examples):
            fields = () if records.text is None else (records.text,)
            self.text_column = None if is_series else records.text
            self.series_columns = (records.series or fields) if is_series else ()
            self.static_columns = records.static

    def _fit_series(self, records: Sequence[Example]) -> None:
        """Fit the encoder and the linear model of series."""
        encoder = SeriesEncoder(self.text_encoder.max_length, self.normalization or "channel")
        if self.labels.kind == "token":
            inputs = [record.input for record in records]
            self.series_encoder = encoder.fit(inputs, with_length=False, static=self.static_columns)
            return
        self.head = fit_best_encoder(
            encoder,
            *self._head_arguments(records),
            labels=self.labels,
            static=self.static_columns,
            normalization=self.normalization,
        )
        self.series_encoder = self.head.encoder

    def _head_arguments(self, records: Sequence[Example]) -> tuple[list[Any], Tensor, Tensor | None]:
        """Inputs, targets and weights by which a linear model is fitted."""
        targets = torch.stack(self.targets(records))
        weight = self.labels.class_weights(targets, len(records)) if self.balanced else None
        return [record.input for record in records], targets, weight

    def _fit_text_head(self, records: Sequence[Example]) -> None:
        if isinstance(self.head, TextHead):
            self.head.fit(*self._head_arguments(records))

    def refit(self, records: list[Example]) -> ClassifierCodec:
        """Refit the linear model on all records; for few texts return a new codec fitted to all of them."""
        few = self.series_encoder is None and len(records) < FEW_TEXTS
        if few if self._refit is None else self._refit:
            return self._refitted(records)
        if self.text_encoder.features is not None:
            self.text_encoder.fit_features([record.input for record in records])
        if self.head is not None:
            self.head.fit(*self._head_arguments(records))
        return self

    def _refitted(self, records: list[Example]) -> ClassifierCodec:
        """A codec fitted to all records, with the token level and the calibration of this one."""
        codec = ClassifierCodec(copy.deepcopy(self._unfitted), balanced=self.balanced, vectors=self.vectors)
        codec.text_encoder.token_level, codec.embedding = self.text_encoder.token_level, self.embedding
        if self.pretrained is not None:
            codec.start_from(self.pretrained)
        codec.labels.temperature, codec.labels.calibration = self.labels.temperature, self.labels.calibration
        if self.series_encoder is not None:
            codec.normalization = self.series_encoder.normalization
        codec._fit_encoders(records)
        _adopt(codec.head, self.head)
        codec._fit_text_head(records)
        return codec

    @property
    def linear(self) -> NBSVM | None:
        """The linear model of n-grams, None where there is none."""
        return self.head.model if isinstance(self.head, TextHead) else None

    @property
    def learning_rate(self) -> float:
        return _TEXT_RATE if self.series_encoder is None else _SERIES_RATE

    @property
    def epochs(self) -> int:
        return _TEXT_EPOCHS

    def training(self, options: TrainingOptions, batch_size: int) -> TrainingOptions:
        return until_converged(options, self.records, batch_size) if self.series_encoder else options

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
            "readings": series.readings if series else 0,
            "length": self.inputs.max_length,
            "vocabulary": 0 if series else texts.tokenizer.size,
            "subwords": 0 if series else texts.subword_buckets,
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

    def scores(self, predictions: list[Tensor], records: list[Example]) -> Tensor:
        """Scores (N, C) of network and linear model together; not for labels per token."""
        scores = torch.cat([part.cpu() for part in predictions])
        if self.head is None:
            return scores
        return self.head.combine(scores, [record.input for record in records])

    def decode(self, predictions: list[Any], records: list[Example]) -> Any:
        """Probabilities (N, C), calibrated; a list of (T_i, C) for labels per token."""
        if self.labels.kind != "token":
            return self.labels.probabilities(self.scores(predictions, records))
        return [self.labels.probabilities(row) for row in _real_steps(predictions, self.rows(records))]

    def join(self, parts: Sequence[list[Example]]) -> list[Example] | None:
        named = any(isinstance(part, Examples) and part.ids is not None for part in parts)
        return None if named or self.labels.kind == "token" else [one for part in parts for one in part]

    @property
    def classes(self) -> np.ndarray:
        """The classes, in the order of the scores."""
        return classes_of(self.labels)

    def trial_records(self, stream: Any) -> list[Example]:
        """A text of one word, or a series of zeros of the longest length, with static values missing."""
        if self.series_encoder is not None:
            return [_trial_example(self.series_encoder, len(self.static_columns))]
        return [Example(["a"] if self.labels.kind == "token" else "a")]

    def present(self, answers: Any) -> Any:
        return most_probable(self.labels, answers)

    def as_table(self, answers: Any, records: list[Example]) -> pl.DataFrame:
        return answer_table(self.labels, answers, records)

    @property
    def feature_names(self) -> tuple[str, ...]:
        return (*self.series_columns, *self.static_columns)

    def metrics(self) -> Metrics:
        return _METRICS

    def calibrate(self, predictions: list[Tensor], records: list[Example]) -> None:
        """Choose the linear model's share and the temperature of all scores by validation labels."""
        targets = self.targets(records)
        if self.labels.kind == "token":
            scores = torch.cat(_real_steps(predictions, targets)).cpu()
            self.labels.fit_temperature(scores, torch.cat(targets), len(records))
        else:
            if self.head is not None:
                scores = torch.cat([part.cpu() for part in predictions])
                self.head.select(scores, [record.input for record in records], torch.stack(targets))
            scores = self.scores(predictions, records)
            self.labels.fit_temperature(scores, torch.stack(targets), len(records))
        self._store_metrics(self.decode(predictions, records), records)

    def cross_validate_texts(self, records: list[Example], folds: np.ndarray) -> None:
        """Store the metrics of the linear model on records (N) that it did not train; folds: (N,) numbers."""
        if not isinstance(self.head, TextHead):
            return
        inputs, targets, weight = self._head_arguments(records)
        scores = self.head.left_out(inputs, targets, torch.from_numpy(folds), weight)
        self.labels.calibration = {"rows": len(records), "part": "linear model"}
        self._store_metrics(self.labels.probabilities(scores), records)

    def calibrate_left_out(self, network_scores: Tensor, records: list[Example]) -> None:
        """Choose the same by scores (N, C) of the training records, each by members that it did not train."""
        targets = torch.stack(self.targets(records))
        scores = network_scores
        if isinstance(self.head, SeriesHead):
            scores = self.head.select_left_out(network_scores, targets)
        self.labels.fit_temperature(scores, targets, len(records))
        self._store_metrics(self.labels.probabilities(scores), records)

    def _store_metrics(self, answers: Any, records: list[Example]) -> None:
        beside = beside_frequencies(self.labels, self.records, answers, self.truth(records), _METRICS)
        self.labels.calibration.update(beside)

    def state(self) -> dict[str, Any]:
        return {
            **self.labels.state(),
            **self.text_encoder.state(),
            "series": None if self.series_encoder is None else self.series_encoder.state(),
            "records": self.records,
            "embedding": self.embedding,
            "pretrained": None if self.pretrained_sizes is None else asdict(self.pretrained_sizes),
            "text_column": self.text_column,
            "series_columns": self.series_columns,
            "static_columns": self.static_columns,
            "linear": None if self.head is None else self.head.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        self.labels.restore(state)
        self.text_encoder.restore(state)
        self.records, self.embedding = state["records"], state["embedding"]
        self.text_column, self.series_columns = state["text_column"], state["series_columns"]
        self.static_columns = tuple(state.get("static_columns", ()))
        sizes, linear = state.get("pretrained"), state["linear"]
        self.pretrained_sizes = None if sizes is None else EncoderSizes(**sizes)
        if state.get("series") is not None:
            self.series_encoder = SeriesEncoder().restore(state["series"])
            if linear is not None:
                self.head = SeriesHead.from_state(linear, self.series_encoder, self.labels)
        elif linear is not None:
            self.head = TextHead.from_state(linear, self.text_encoder, self.labels)
        return self


def _vector_size(path: str, encoder: TextEncoder) -> int:
    """The number of values of a word's vector in a file; how many words have one is noted."""
    words = encoder.tokenizer
    vectors = read_vectors(path, words.tokens)
    errors.notice(f"{len(vectors)} of {words.size - 4} words have a vector in {path}")
    return len(next(iter(vectors.values())))


def _adopt(head: TextHead | SeriesHead | None, other: TextHead | SeriesHead | None) -> None:
    """Take what validation selected for another linear model of the same kind."""
    if isinstance(head, TextHead) and isinstance(other, TextHead):
        head.selection.C, head.selection.weight = other.selection.C, other.selection.weight
    if isinstance(head, SeriesHead) and isinstance(other, SeriesHead):
        head.share, head.network_temperature = other.share, other.network_temperature


def _trial_example(encoder: SeriesEncoder, static: int) -> Example:
    """A series of zeros of the longest length, with so many static values that are missing."""
    shape = (encoder.max_length or 1, encoder.readings)
    series = np.zeros(shape, np.float32) if encoder.readings else None
    return Example(MixedInput(series, (None,) * static) if static else series)


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
