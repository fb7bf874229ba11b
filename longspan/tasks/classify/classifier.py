"""Knows how texts and series are classified: the options, the network, the answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from longspan import errors
from longspan.data.batches import Batch
from longspan.data.labels import held_out
from longspan.data.readers.word_vectors import read_vectors
from longspan.metrics import classification
from longspan.report.elements import Exhibit, Number, Numbers, Section, Table
from longspan.tasks.estimator import Estimator, Metrics
from longspan.tasks.options import option

from . import report
from .codec import Coding, Dealt
from .linear import STRENGTHS, Choice, Wide, fitted
from .network import POOLS, Reader, Readers, Tokens, cross_entropy
from .reading import KINDS, Example, Layout, read_examples
from .text_encoder import UNITS, Units

_SHOWN = 8  # records of which a report tells what mattered
_SPARE = 500  # records from which on some are held out
_FEW = 8_000  # texts below which twice as many readers are averaged
_TEXT_RATE, _SERIES_RATE = 5e-3, 2e-3  # learning rates
_WARM = 0.1  # share of the steps in which the learning rate rises


@dataclass(eq=False, repr=False, kw_only=True)
class Classifier(Estimator):
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
        token_level: see `longspan.tasks.classify.text_encoder.Units`.
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
    separator: str = option("|", "between the labels of one cell, where there are many", group="data")
    encoding: str = option("utf-8", "of text files", group="data")
    token_level: str | None = option(
        None, "what a text is cut into; none for found", choices=UNITS, group="data"
    )
    max_tokens: int | None = option(None, "different units at most; none for all, 8000 for bpe", group="data")
    lowercase: bool | None = option(
        None,
        "whether the case of words is dropped; none for where a file gives their vectors",
        group="data",
    )
    max_length: int | None = option(
        None, "steps read of a record at most; none for the longest in training", group="data"
    )
    class_weight: str | None = option(
        None,
        "balanced: classes weigh alike in training, however few rows they have",
        choices=("balanced",),
    )

    pretrained_vectors: str | None = option(None, "file of word vectors to start from", group="network")
    embedding_size: int = option(64, "values of a word's vector, where no file gives them", group="network")
    subword_buckets: int = option(
        10000, "vectors that the n-grams of words share, 0 for none", group="network"
    )
    max_ngram: int | None = option(
        None, "units of the longest n-gram a linear model sees, 0 for none; none for found", group="network"
    )
    hidden_size: int = option(64, "units of every recurrent layer", group="network")
    bidirectional: bool = option(True, "whether it is read from both ends", group="network")
    pooling: str = option("max", "how steps become one answer", choices=POOLS, group="network")
    convolution: bool | None = option(
        None, "whether convolutions stand beside; none for found", group="network"
    )
    filters: tuple[int, ...] = option((64, 128, 64), "of the convolutions", group="network")
    kernel_sizes: tuple[int, ...] = option((7, 5, 3), "steps that each convolution sees", group="network")
    ensemble_size: int | None = option(None, "readers that are averaged; none for found", group="network")
    dropout: float = option(0.5, "share of pooled values dropped in training", group="network")
    word_dropout: float = option(0.3, "share of words hidden in training", group="network")
    embedding_dropout: float = option(
        0.5, "share of vector values dropped, the same at all steps", group="network"
    )
    recurrent_dropout: float = option(0.0, "share of h dropped, the same at all steps", group="network")
    epochs: int = option(10, "times the training part is gone through at most", group="training")
    batch_size: int = option(32, "rows a step at most", group="training")
    learning_rate: float | None = option(  # pyright: ignore[reportIncompatibleVariableOverride]
        None, "of Adam, at its highest; none for found", group="training"
    )
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
    )

    name: ClassVar[str] = "classify"

    # ---- parts

    def check(self) -> None:
        super().check()
        for name in ("word_dropout", "embedding_dropout", "recurrent_dropout"):
            errors.check_fraction(name, getattr(self, name), below_one=True)
        for name, least in (("embedding_size", 1), ("subword_buckets", 0)):
            errors.check_int(name, getattr(self, name), least, "look at its help")
        for name, least in (("max_tokens", 5), ("max_length", 1), ("ensemble_size", 1), ("max_ngram", 0)):
            if getattr(self, name) is not None:
                errors.check_int(name, getattr(self, name), least, "look at its help")
        if len(self.filters) != len(self.kernel_sizes) or not self.filters:
            received = f"{len(self.kernel_sizes)} for {len(self.filters)} filters"
            raise errors.value_error(
                "kernel_sizes", "one a convolution", received, "give as many kernel_sizes as filters"
            )

    def read(self, source: Any, y: Any = None, *, use: str = "fit") -> list[Example]:
        layout = Layout(
            self.text, self.series, self.label, self.id, self.time, self.labels, self.separator, self.encoding
        )
        return read_examples(source, y, layout=layout, labelled=use != "predict")

    def split(self, records: list[Example]) -> tuple[list[Example], list[Example] | None]:
        """By class, in a random order that the seed decides; every class stays in training."""
        if len(records) < _SPARE or not self.validation_fraction:
            if self.validation_fraction:
                errors.notice(f"{len(records)} records are too few to hold some out: all are trained on")
            return records, None
        held = held_out([record.label for record in records], self.validation_fraction, self.seed)
        train = [records[place] for place in sorted({*range(len(records))}.difference(held))]
        return train, [records[place] for place in held] or None

    def codec(self) -> Coding:
        units = Units(
            self.token_level,
            self.max_tokens,
            lower=self.lowercase,
            subwords=self.subword_buckets,
            ngrams=self.max_ngram,
            length=self.max_length,
            known=self.pretrained_vectors is not None,
        )
        return Coding(units)

    def select(self, codec: Any, train: Any, held: Any) -> None:
        low, high = min(codec.labels.counts), max(codec.labels.counts)
        if high > 10 * low and not self.class_weight:
            errors.notice(
                f"the largest class has {high} labels, the smallest {low}; "
                "class_weight='balanced' weighs them alike"
            )
        codec.records = len(train)
        tried = held is not None and codec.units.features is not None
        self._linear = Choice(self._fitted(codec, train, STRENGTHS) if tried else {})
        if self.pretrained_vectors is not None and codec.units.kind == "words":
            words = codec.units.words
            found = read_vectors(self.pretrained_vectors, words.tokens)
            codec.embedding = len(next(iter(found.values())))
            errors.notice(
                f"{len(found)} of {words.size - 4} words have a vector in {self.pretrained_vectors}"
            )

    def _fitted(self, codec: Coding, records: Any, strengths: Sequence[float]) -> dict[float, Wide]:
        """The linear model by its strength, learnt from records."""
        y, sizes = torch.stack(codec.targets(records)), codec.sizes
        importance = codec.labels.importance(y, len(records)) if self.class_weight else None
        plain = Wide(sizes["features"], sizes["classes"], sizes["runs"])
        return fitted(plain, codec.joined(records), y, strengths, importance)

    def batches(self, codec: Any, records: Any, *, train: bool) -> Dealt:
        size = self.batch_size if train else 4 * self.batch_size
        return Dealt(codec, records, size, train=train, balanced=self.class_weight is not None)

    def network(self, sizes: Mapping[str, Any]) -> nn.Module:
        series = bool(sizes["inputs"])
        members = self.ensemble_size or _members(series, sizes["records"])
        width = sizes["inputs"] if series else sizes["embedding"] or self.embedding_size
        tokens = [
            Tokens(
                sizes["vocabulary"],
                width,
                buckets=sizes["subwords"],
                word_dropout=self.word_dropout,
                dropout=self.embedding_dropout,
            )
            for _ in range(0 if series else members)
        ]
        convolution = series if self.convolution is None else self.convolution
        recurrent = {
            "hidden_size": self.hidden_size,
            "cell": self.cell,
            "num_layers": self.num_layers,
            "bidirectional": self.bidirectional,
            "dropout": self.dropout if self.num_layers > 1 else 0.0,
            "recurrent_dropout": self.recurrent_dropout,
        }
        readers = [
            Reader(
                width,
                sizes["classes"],
                recurrent=recurrent,
                pool=self.pooling,
                channels=self.filters if convolution else (),
                kernels=self.kernel_sizes if convolution else (),
                dropout=self.dropout,
                steps=sizes["steps"],
            )
            for _ in range(members)
        ]
        wide = Wide(sizes["features"], sizes["classes"], sizes["runs"]) if sizes["features"] else None
        return Readers(readers, tokens, wide=wide, many=sizes["many"])

    def prepare(self, codec: Any, network: nn.Module) -> None:
        """Word vectors from the file into the network, brought to a deviation of 0.1."""
        if self.pretrained_vectors is None or not isinstance(network, Readers):
            return
        words = codec.units.words.tokens
        found = read_vectors(self.pretrained_vectors, words)
        spread = float(np.std(np.stack(list(found.values())))) or 1.0
        known = [number for number, word in enumerate(words) if word in found]
        values = np.stack([found[words[number]] for number in known]) * (0.1 / spread)
        with torch.no_grad():
            for tokens in network.tokens:
                assert isinstance(tokens, Tokens)
                tokens.own.weight[known] = torch.from_numpy(values).to(tokens.own.weight)

    def again(self, codec: Any, records: Any) -> Coding | None:
        few = codec.channels is None and len(records) < _FEW and self.patience is None
        if not (few if self.refit is None else self.refit):
            return None
        return self.codec().follow(codec, records)

    def rate(self, codec: Any) -> float:
        return self.learning_rate or (_TEXT_RATE if codec.channels is None else _SERIES_RATE)

    def schedule(self, steps: int, rate: float) -> Callable[[int], float]:
        warm = max(1, round(_WARM * steps))

        def at(step: int) -> float:
            if step < warm:
                return rate * (step + 1) / warm
            return rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

        return at

    def batch_loss(self, output: Tensor, batch: Batch) -> Tensor:
        return cross_entropy(output, batch)

    def answer(self, network: nn.Module, batch: Batch) -> Tensor:
        """Scores (B, C), or (B, T, C) step by step, of all members together."""
        assert isinstance(network, Readers)
        return network.answer(batch)

    def metrics(self) -> Metrics:
        return {
            "accuracy": classification.accuracy,
            "f1": classification.f1,
            "auc": classification.auc,
            "log_loss": classification.log_loss,
            "calibration_error": classification.calibration_error,
        }

    def calibrate(self, codec: Any, network: nn.Module, held: Any) -> None:
        assert isinstance(network, Readers)
        if self._linear.wides:
            network.wide = None
            device = next(network.parameters()).device
            scores = torch.cat([part.cpu() for part in self.coded(codec, network, held)])
            truth = torch.from_numpy(codec.truth(held))
            network.wide = self._linear.decide(
                codec.joined(held), scores, lambda one: codec.labels.coolest(one, truth)[0]
            ).to(device)
        codec.learn_temperature(self.coded(codec, network, held), held)

    def settle(self, records: Any) -> None:
        """The linear model learns from all records, the held-out ones too."""
        codec, network = self.codec_of(), self.network_
        assert isinstance(network, Readers)
        self._linear.wides = {}
        if network.wide is None:
            return
        codec.units.fit_features([record.input for record in records])
        wide = self._fitted(codec, records, self._linear.path)[self._linear.strength]
        wide.share.fill_(self._linear.share)
        network.wide = wide.to(network.wide.share.device)

    # ---- verbs of its own

    @property
    def classes_(self) -> np.ndarray:
        """The classes, in the order of the columns of `predict_proba`."""
        classes = self.codec_of().labels.classes
        return np.array(classes, dtype=None if len({type(one) for one in classes}) == 1 else object)

    def predict_proba(self, source: Any) -> Any:
        """Calibrated probabilities (N, C), columns as `classes_`; a list of (T_i, C) for labels a step."""
        return super().predict(source)

    def predict(self, source: Any) -> Any:
        """The likeliest class of each record (N,); a list of tuples for many labels, of lists for steps."""
        found, classes, kind = self.predict_proba(source), self.classes_, self.codec_of().labels.kind
        if kind == "steps":
            return [classes[row.argmax(-1)].tolist() for row in found]
        if kind == "many":
            return [tuple(classes[row >= 0.5].tolist()) for row in found]
        return classes[found.argmax(-1)]

    def explain(self, source: Any) -> list[list[tuple[Any, float]]]:
        """Which words or steps mattered: for each record its units (steps: their number) and weights.

        A weight is the gradient of the answer's score times the input, 1 for the strongest of the record;
        below 0 it spoke against the answer. Not for labels a step.
        """
        codec, network = self.codec_of(), self.network_
        if codec.labels.kind == "steps":
            way_out = "look at its answers themselves"
            raise errors.value_error("labels", "one answer a record", "one a step", way_out)
        records = self.read(source, use="predict")
        assert isinstance(network, Readers)
        found: list[list[tuple[Any, float]]] = []
        for batch in self.batches(codec, records, train=False):
            classes = self.answer(network, batch).detach().argmax(-1)
            for row in network.matter(batch, classes):
                pieces = codec.inputs.pieces(records[len(found)].input)
                own = row[: len(pieces)]
                scaled = own / own.abs().max().clamp_min(1e-12) if pieces else own
                found.append(list(zip(pieces, scaled.tolist(), strict=True)))
        return found

    def exhibits(self, source: Any = None) -> list[Section]:
        """Scores, confusion, calibration where the source has labels; what mattered in its first records."""
        codec = self.codec_of()
        shown = _learnt(codec)
        if source is not None:
            records = self.read(source, use="predict")
            answers = codec.decode(self.coded(codec, self.network_, records), records)
            if all(record.label is not None for record in records):
                truths = codec.truth(records)
                scores = {name: metric(answers, truths) for name, metric in self.metrics().items()}
                shown = [*_found(codec.labels.classes, answers, truths, scores), *shown[1:]]
            if codec.labels.kind != "steps":
                weights = self.explain([record.input for record in records[:_SHOWN]])
                names = [str(codec.labels.classes[int(row.argmax())]) for row in answers[:_SHOWN]]
                picture = report.mattered(names, weights, words=codec.channels is None)
                shown.append(Section("What mattered", [picture]))
        return [*shown, *super().exhibits(source)]


def _learnt(codec: Coding) -> list[Section]:
    """What the model itself remembers: its classes and its calibration."""
    labels, unit = codec.labels, codec.units.kind if codec.channels is None else "readings"
    total, kept = sum(labels.counts), labels.calibration
    numbers = [
        Number("classes", str(len(labels.classes))),
        Number("labels", f"{total:,}", f"trained on; {unit}"),
    ]
    rows = [[one, count, count / total] for one, count in zip(labels.classes, labels.counts, strict=True)]
    shown: list[Exhibit] = [Table("Classes in training", ["class", "labels", "share"], rows)]
    if kept:
        row = [labels.temperature, kept["before"], kept["after"], kept["rows"]]
        columns = ["temperature", "error before", "error after", "held-out records"]
        note = "Expected calibration error over ten bins."
        shown.append(Table("Calibration", columns, [row], note=note))
    return [Section("Summary", [Numbers("Classifier", numbers)]), Section("Classes", shown)]


def _found(classes: list[Any], answers: Any, truths: Any, scores: Mapping[str, float]) -> list[Section]:
    """How it did on labelled records; answers, truths: as the metrics take them; scores: metric -> number."""
    headline = [Number(name.replace("_", " "), f"{value:.4g}") for name, value in scores.items()]
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
        Section("Summary", [Numbers("Scores", headline), table]),
        middle,
        Section(
            "Calibration of the answers",
            [report.reliability(classification.calibration_curve(answers, truths))],
        ),
    ]


def _members(series: bool, records: int) -> int:
    if series:
        return 2 if records < _SPARE else 1
    return 4 if records < _FEW else 2
