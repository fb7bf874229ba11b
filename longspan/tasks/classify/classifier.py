"""Knows how texts and series are classified: the options, the network, the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from longspan import errors
from longspan.data.batches import rows_of
from longspan.data.readers.word_vectors import read_vectors
from longspan.data.splits import stratified
from longspan.metrics import classification
from longspan.networks.pooling import POOLS
from longspan.report.elements import Element, Section, Stat, Stats, Table
from longspan.tasks.estimator import Estimator
from longspan.tasks.fitting import Schedule
from longspan.tasks.options import option
from longspan.tasks.parts import Fitted, Use
from longspan.tasks.reading_options import ReadingOptions
from longspan.training.evaluation import to_device

from . import report
from .codec import FEW_TEXTS, ClassifierCodec, ExampleBatches
from .network import Ensemble, SequenceClassifier, TokenEmbedding
from .reading import KINDS, Example, Examples, Layout, read_examples
from .text_encoder import TOKEN_LEVELS, TextEncoder

_SHOWN = 8  # records of which a report tells what mattered
_SPARE = 500  # records from which on some are held out
_VECTOR_DEVIATION = 0.1  # standard deviation to which vectors from a file are scaled

FittedClassifier = Fitted[ClassifierCodec, Ensemble, Any]


@dataclass(eq=False, repr=False, kw_only=True)
class Classifier(ReadingOptions, Estimator[list[Example], ClassifierCodec, Ensemble, Any]):
    """Classes of texts or series: one a record, any number of them, or one a step (tagging).

    Texts: words, byte pairs or characters (see `token_level`) as vectors trained here, or read from a
    file, each word with the vectors of its character n-grams (arXiv 1607.04606); a bidirectional
    recurrent network with dropout of words, of vectors and on h (arXiv 1512.05287); pooling over time.
    Series: every channel scaled, the length as a further channel where lengths differ, a convolutional
    branch beside the recurrent one (LSTM-FCN, arXiv 1709.05206). Several readers of the same records, each
    with vectors of its own, are trained side by side and their probabilities averaged. Beside the readers
    of texts stands a linear model of n-grams weighted by tf-idf, fitted by itself (Wide & Deep, arXiv
    1606.07792; NBSVM, Wang and Manning 2012, "Baselines and bigrams"). How strongly it is held down, and
    its share in the scores, make the held-out labels likeliest; then it learns from all records.

    What is found from the data where an option is None:
        token_level: see `longspan.tasks.classify.text_encoder.TextEncoder`.
        max_ngram: 2 for words and byte pairs, 4 for characters.
        convolution: for series, not for texts.
        lowercase: case is kept, but dropped where a file gives the vectors of words. Where it is kept and
            some words have capitals, the linear model sees the n-grams of words without case, and those of
            their outlines ("Xx" for a name, see `longspan.tasks.classify.ngrams.NGrams`).
        ensemble_size: 4 for fewer than 8,000 texts, 2 for more, and for series of fewer than 500 records,
            else 1.
        learning_rate: 0.005 for texts, 0.002 for series.
        refit: for fewer than 8,000 texts, unless the held-out part decides when training stops (`patience`).
        held-out part: `validation_fraction` of the records, by class, where there are 500 or more; with fewer
            all are trained on, to the last epoch, and probabilities are not calibrated.
    The learning rate rises over a tenth of the steps and then falls along half a cosine to zero.

    `fit(x, y)` or `fit(source)`: see `.reading.read_examples` for what may come in. Raises
    ValueError or TypeError in one sentence: one class only, a label missing, a class that training has not
    seen, a byte that is no text (with file and line), a channel of NaN alone. An empty text is answered.

    >>> x = [[[0.0], [0.1], [0.0]], [[1.0], [0.9], [1.0]]] * 20
    >>> y = ["low", "high"] * 20
    >>> c = Classifier(epochs=2, hidden_size=4, filters=(4,), kernel_sizes=(3,), validation_fraction=0.0)
    >>> c = c.fit(x, y, verbose=0)
    >>> c.predict_proba(x).shape, c.classes_.tolist()
    ((40, 2), ['high', 'low'])
    """

    text: str | None = option(None, "column or field with the text", group="data")
    series: str | tuple[str, ...] | None = option(
        None, "columns with readings, or field with a series", group="data"
    )
    label: str = option("label", "column or field with the label", group="data")
    id: str | None = option(None, "column that says which series a row belongs to", group="data")
    time: str | None = option(None, "column by which the rows of a series are put in order", group="data")
    labels: str | None = option(
        None,
        "one label a record, many, or one of each of its steps; none for found",
        choices=KINDS,
        group="data",
    )
    separator: str = option(
        "|",
        "between the labels of one cell, where there are many",
        group="data",
        advanced=True,
    )
    token_level: str | None = option(
        None, "what a text is cut into; none for found", choices=TOKEN_LEVELS, group="data"
    )
    max_tokens: int | None = option(
        None,
        "different units at most; none for all, 8000 for bpe",
        group="data",
        minimum=5,
        advanced=True,
    )
    lowercase: bool | None = option(
        None,
        "whether the case of words is dropped; none for where a file gives their vectors",
        group="data",
        advanced=True,
    )
    max_length: int | None = option(
        None,
        "steps read of a record at most; none for the longest in training",
        group="data",
        minimum=1,
        advanced=True,
    )
    class_weight: str | None = option(
        None,
        "balanced: classes weigh alike in training, however few rows they have",
        choices=("balanced",),
    )

    pretrained_vectors: str | None = option(None, "file of word vectors to start from", group="network")
    embedding_size: int = option(
        64,
        "values of a word's vector, where no file gives them",
        group="network",
        minimum=1,
        advanced=True,
    )
    subword_buckets: int = option(
        10000,
        "vectors that the n-grams of words share, 0 for none",
        group="network",
        minimum=0,
        advanced=True,
    )
    max_ngram: int | None = option(
        None,
        "units of the longest n-gram a linear model sees, 0 for none; none for found",
        group="network",
        minimum=0,
        advanced=True,
    )
    hidden_size: int = option(64, "units of every recurrent layer", group="network")
    bidirectional: bool = option(
        True,
        "whether it is read from both ends",
        group="network",
        advanced=True,
    )
    pooling: str = option(
        "max",
        "how steps become one answer",
        choices=POOLS,
        group="network",
        advanced=True,
    )
    convolution: bool | None = option(
        None,
        "whether convolutions stand beside; none for found",
        group="network",
        advanced=True,
    )
    filters: tuple[int, ...] = option(
        (64, 128, 64),
        "of the convolutions",
        group="network",
        advanced=True,
    )
    kernel_sizes: tuple[int, ...] = option(
        (7, 5, 3),
        "steps that each convolution sees",
        group="network",
        advanced=True,
    )
    ensemble_size: int | None = option(
        None,
        "readers that are averaged; none for found",
        group="network",
        minimum=1,
        advanced=True,
    )
    dropout: float = option(0.5, "share of pooled values dropped in training", group="network")
    word_dropout: float = option(
        0.3,
        "share of words hidden in training",
        group="network",
        fraction=True,
        advanced=True,
    )
    embedding_dropout: float = option(
        0.5,
        "share of vector values dropped, the same at all steps",
        group="network",
        fraction=True,
        advanced=True,
    )
    recurrent_dropout: float = option(
        0.0,
        "share of h dropped, the same at all steps",
        group="network",
        fraction=True,
        advanced=True,
    )
    epochs: int = option(10, "times the training part is gone through at most", group="training")
    batch_size: int = option(32, "rows a step at most", group="training")
    learning_rate: float | None = option(None, "of Adam, at its highest; none for found", group="training")
    patience: int | None = option(
        None,
        "epochs without improvement on the held-out part before training stops; none for never",
        group="training",
    )
    validation_fraction: float = option(0.1, "share of the training data held out", group="training")
    refit: bool | None = option(
        None,
        "whether all is learnt from once more, when the held-out part has told what it can; none for found",
        group="training",
        advanced=True,
    )

    name: ClassVar[str] = "classify"
    schedule: ClassVar[Schedule] = Schedule(warmup=0.1, final=0.0)

    # ---- parts

    def read(
        self, source: Any, y: Any = None, *, use: Use = "fit", fitted: FittedClassifier | None = None
    ) -> list[Example]:
        codec = None if fitted is None else fitted.codec
        layout = Layout(
            self.text,
            self.series,
            self.label,
            self.id,
            self.time,
            self.labels,
            self.separator,
            self._reading(),
            None if codec is None else tuple(codec.labels.classes),
            None if codec is None else codec.text_column,
            () if codec is None else codec.series_columns,
        )
        return read_examples(source, y, layout=layout, labelled=use != "predict")

    def split(self, records: list[Example]) -> tuple[list[Example], list[Example] | None]:
        """By class, in a random order that the seed decides; every class stays in training."""
        if len(records) < _SPARE or not self.validation_fraction:
            if self.validation_fraction:
                errors.notice(f"{len(records)} records are too few to hold some out: all are trained on")
            return records, None
        held = stratified([record.label for record in records], self.validation_fraction, self.seed)
        train = Examples(records[place] for place in sorted({*range(len(records))}.difference(held)))
        if isinstance(records, Examples):
            train.text, train.series = records.text, records.series
        return train, [records[place] for place in held] or None

    def codec(self) -> ClassifierCodec:
        if len(self.filters) != len(self.kernel_sizes) or not self.filters:
            received = f"{len(self.kernel_sizes)} for {len(self.filters)} filters"
            raise errors.value_error(
                "kernel_sizes", "one a convolution", received, "give as many kernel_sizes as filters"
            )
        units = TextEncoder(
            self.token_level,
            self.max_tokens,
            lower=self.lowercase,
            subwords=self.subword_buckets,
            ngrams=self.max_ngram,
            length=self.max_length,
            known=self.pretrained_vectors is not None,
        )
        return ClassifierCodec(
            units,
            balanced=self.class_weight is not None,
            vectors=self.pretrained_vectors,
            refit=False if self.refit is None and self.patience is not None else self.refit,
        )

    def batches(self, codec: ClassifierCodec, records: list[Example], *, train: bool) -> ExampleBatches:
        size = self.batch_size if train else 4 * self.batch_size
        return ExampleBatches(codec, records, size, train=train, balanced=codec.balanced)

    def network(self, codec: ClassifierCodec, train: list[Example] | None) -> Ensemble:
        sizes = codec.sizes
        series = bool(sizes["inputs"])
        count = self.ensemble_size or _ensemble_size(series, sizes["records"])
        width = sizes["inputs"] if series else sizes["embedding"] or self.embedding_size
        embeddings = [
            TokenEmbedding(
                sizes["vocabulary"],
                width,
                buckets=sizes["subwords"],
                word_dropout=self.word_dropout,
                dropout=self.embedding_dropout,
            )
            for _ in range(0 if series else count)
        ]
        members = [self._member(width, sizes) for _ in range(count)]
        network = Ensemble(members, embeddings, multilabel=sizes["multilabel"])
        if train is not None and self.pretrained_vectors is not None and not series:
            _load_vectors(network, self.pretrained_vectors, codec.units.words.tokens)
        return network

    def _member(self, width: int, sizes: Mapping[str, Any]) -> SequenceClassifier:
        convolution = bool(sizes["inputs"]) if self.convolution is None else self.convolution
        recurrent = {
            "hidden_size": self.hidden_size,
            "cell": self.cell,
            "num_layers": self.num_layers,
            "bidirectional": self.bidirectional,
            "dropout": self.dropout if self.num_layers > 1 else 0.0,
            "recurrent_dropout": self.recurrent_dropout,
        }
        return SequenceClassifier(
            width,
            sizes["classes"],
            recurrent=recurrent,
            pool=self.pooling,
            channels=self.filters if convolution else (),
            kernels=self.kernel_sizes if convolution else (),
            dropout=self.dropout,
            steps=sizes["steps"],
        )

    def calibrate(self, fitted: FittedClassifier, valid: list[Example]) -> None:
        fitted.codec.calibrate(self._predictions(fitted, valid), valid)

    # ---- verbs of its own

    @property
    def classes_(self) -> np.ndarray:
        """The classes, in the order of the columns of `predict_proba`."""
        return self._check_fitted().codec.classes

    def predict_proba(self, source: Any) -> Any:
        """Calibrated probabilities (N, C), columns as `classes_`; a list of (T_i, C) for labels a step."""
        fitted = self._check_fitted()
        return self._answers(fitted, self.read(source, use="predict", fitted=fitted))

    def explain(self, source: Any) -> list[list[tuple[Any, float]]]:
        """Which words or steps mattered: for each record its units (steps: their number) and weights.

        A weight is the gradient of the answer's score times the input, 1 for the strongest of the record;
        below 0 it spoke against the answer. Not for labels a step.
        """
        fitted = self._check_fitted()
        if fitted.codec.labels.kind == "steps":
            way_out = "look at its answers themselves"
            raise errors.value_error("labels", "one answer a record", "one a step", way_out)
        return self._explained(fitted, self.read(source, use="predict", fitted=fitted))

    def _explained(self, fitted: FittedClassifier, records: list[Example]) -> list[list[tuple[Any, float]]]:
        codec, network = fitted.codec, fitted.network
        classes = codec.scores(self._predictions(fitted, records), records).argmax(-1)
        weights: list[Tensor] = []
        for batch in map(to_device(network), self.batches(codec, records, train=False)):
            rows = torch.arange(len(weights), len(weights) + rows_of(batch))
            asked = classes[rows]
            spoke = network.attribution(batch, asked.to(network.device)).cpu()
            weights += [*(spoke + codec.linear_attribution([records[at] for at in rows.tolist()], asked))]
        return [
            _by_strength(codec.inputs.pieces(record.input), row)
            for record, row in zip(records, weights, strict=True)
        ]

    def report(self, fitted: FittedClassifier, source: Any) -> list[Section]:
        """Scores, confusion, calibration where the source has labels; what mattered in its first records."""
        codec = fitted.codec
        shown = _learnt(codec)
        if source is not None:
            records = self.read(source, use="predict", fitted=fitted)
            answers = self._answers(fitted, records)
            if all(record.label is not None for record in records):
                truths = codec.truth(records)
                scores = self._scores(fitted, answers, truths)
                shown = [*_found(codec.labels.classes, answers, truths, scores), *shown[1:]]
            if codec.labels.kind != "steps":
                weights = self.explain([record.input for record in records[:_SHOWN]])
                names = [str(codec.labels.classes[int(row.argmax())]) for row in answers[:_SHOWN]]
                picture = report.mattered(names, weights, words=codec.channels is None)
                shown.append(Section("What mattered", [picture]))
        return shown


def _by_strength(pieces: list[Any], weights: Tensor) -> list[tuple[Any, float]]:
    """Units with their weights, 1 for the strongest."""
    own = weights[: len(pieces)]
    scaled = own / own.abs().max().clamp_min(1e-12) if pieces else own
    return list(zip(pieces, scaled.tolist(), strict=True))


@torch.no_grad()
def _load_vectors(network: Ensemble, path: str, words: list[str]) -> None:
    """Word vectors from a file into a network."""
    vectors = read_vectors(path, words)
    deviation = float(np.std(np.stack(list(vectors.values())))) or 1.0
    known = [number for number, word in enumerate(words) if word in vectors]
    values = np.stack([vectors[words[number]] for number in known]) * (_VECTOR_DEVIATION / deviation)
    for weight in network.word_vectors:
        weight[known] = torch.from_numpy(values).to(weight)


def _learnt(codec: ClassifierCodec) -> list[Section]:
    """What the model itself remembers: its classes and its calibration."""
    labels, unit = codec.labels, codec.units.kind if codec.channels is None else "readings"
    total, kept = sum(labels.counts), labels.calibration
    numbers = [
        Stat("classes", str(len(labels.classes))),
        Stat("labels", f"{total:,}", f"trained on; {unit}"),
    ]
    rows = [[one, count, count / total] for one, count in zip(labels.classes, labels.counts, strict=True)]
    shown: list[Element] = [Table("Classes in training", ["class", "labels", "share"], rows)]
    if kept:
        row = [labels.temperature, kept["before"], kept["after"], kept["rows"]]
        columns = ["temperature", "error before", "error after", "held-out records"]
        note = "Expected calibration error over ten bins."
        shown.append(Table("Calibration", columns, [row], note=note))
    sections = [Section("Summary", [Stats("Classifier", numbers)]), Section("Classes", shown)]
    if "scores" in kept:
        sections.insert(1, Section("Held-out part", [report.against_shares(kept)]))
    return sections


def _found(classes: list[Any], answers: Any, truths: Any, scores: Mapping[str, float]) -> list[Section]:
    """How it did on labelled records; answers, truths: as the metrics take them; scores: metric -> number."""
    headline = [Stat(name.replace("_", " "), f"{value:.4g}") for name, value in scores.items()]
    table = Table("Scores", list(scores), [list(scores.values())])
    flat, true = classification.flatten(answers, truths)
    if true.ndim == 1:
        chosen = classification.argmax(flat)
        said, there = (np.eye(len(classes), dtype=bool)[one] for one in (chosen, true))
        shown = [report.confusion(classes, chosen, true), report.by_class(classes, said, there)]
        middle = Section("Confusion", shown)
    else:
        middle = Section("Per class", [report.by_class(classes, flat >= 0.5, true > 0)])
    return [
        Section("Summary", [Stats("Scores", headline), table]),
        middle,
        Section(
            "Calibration of the answers",
            [report.reliability(classification.calibration_curve(answers, truths))],
        ),
    ]


def _ensemble_size(series: bool, records: int) -> int:
    if series:
        return 2 if records < _SPARE else 1
    return 4 if records < FEW_TEXTS else 2
