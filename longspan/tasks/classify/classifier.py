"""Classifies texts and series: the options, the parts and the verbs of `Classifier`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from longspan import errors
from longspan.data.batches import rows_of
from longspan.data.splits import stratified, stratified_folds
from longspan.report.elements import Section
from longspan.tasks.estimator import Estimator
from longspan.tasks.fitting import Run
from longspan.tasks.parts import Fitted, Use
from longspan.tasks.pretrained import EncoderSizes, pretrained_encoder
from longspan.tasks.schedule import Schedule
from longspan.training.evaluation import to_device

from . import explaining, report
from .codec import FEW_TEXTS, ClassifierCodec
from .example_batches import ExampleBatches
from .layout import Layout
from .network import Ensemble, SequenceClassifier, TokenEmbedding
from .options import ClassifierOptions
from .pretrained_network import FineTunedClassifier
from .reading import Example, Examples, read_examples
from .series_head import SeriesHead
from .text_encoder import TextEncoder
from .word_vectors import read_vectors

_EXPLAINED, _EXPLAINED_SERIES = 8, 4  # texts and series that a report explains
_ENOUGH_TO_VALIDATE = 500  # records from which on a part is held out
_FRAMES = 100  # frames up to which the steps of long series are stacked
_TEXT_FOLDS = 5  # of the cross-validation of few texts
_FEW_SERIES = 200  # series up to which each network leaves out a fourth, not a third of them
_VECTOR_DEVIATION = 0.1  # standard deviation to which vectors from a file are scaled

FittedClassifier = Fitted[ClassifierCodec, Ensemble, Any]


@dataclass(eq=False, repr=False, kw_only=True)
class Classifier(ClassifierOptions, Estimator[list[Example], ClassifierCodec, Ensemble, Any]):
    """Classifies texts, series or records: one class, any number of them, or one for each token or step.

    Texts are tokens (words, byte pairs or characters, see `token_level`), embedded by vectors that are
    trained here or read from a file, plus those of character n-grams (arXiv 1607.04606). A bidirectional
    recurrent network reads them, with dropout of words, vectors and states (arXiv 1512.05287), and its
    outputs are pooled over time. Series are scaled; their length is a channel where lengths differ; a
    convolutional branch is added to the recurrent one (LSTM-FCN, arXiv 1709.05206). Several such networks
    are trained side by side, and their probabilities are averaged. For texts, the scores of a linear model
    of n-grams weighted by tf-idf are added (Wide & Deep, arXiv 1606.07792; NBSVM, Wang and Manning 2012,
    "Baselines and bigrams"). Its penalty and its weight are selected by the likelihood of validation labels;
    then it is fitted to all records.

    With `pretrained`, the networks of texts start from a fitted `LanguageModel` (ULMFiT, arXiv 1801.06146):
    its tokens, embedding and recurrent layers, whose outputs are pooled in three ways. The layers start to
    learn one after the other, an epoch each, from the last to the first, and the lower ones more slowly. The
    sizes are then those of the language model.

    Beside the networks of series stand linear models of random convolutions (MiniRocket, arXiv 2012.08791,
    with a feature of MultiRocket, arXiv 2102.00457; Hydra, arXiv 2203.13652) and, for at most 300 series, the
    nearest neighbour by dynamic time warping. Their weights and their share of the scores are selected by
    records that did not train them. Each network of fewer than 500 series leaves out another fold for that,
    and the other models leave out each row. The learning rate of series goes through cycles of 320 steps
    until the training loss has converged, at most four. Steps of long series are read in frames, at most 100
    of them.

    Records may have numbers and categories with one value each, `static_covariates`, beside a series or
    alone: a table with neither texts nor series is one of single records.

    What is found from the data where an option is None:
        token_level: see `longspan.tasks.classify.text_encoder.TextEncoder`.
        max_ngram: 2 for words and byte pairs, 4 for characters.
        convolution: for series, not for texts.
        lowercase: only where a file gives the vectors of words. Otherwise, if some words have capitals, the
            linear model reads n-grams of lowercased words, and those of their shapes ("Xx" for a name, see
            `longspan.tasks.classify.ngrams.NGrams`).
        ensemble_size: 1 with `pretrained`; 4 for fewer than 8,000 texts, 2 for more; 4 for fewer than 200
            series, 3 for fewer than 500, else 1.
        normalization: of series, the one by which the models beside the networks err less on rows left out.
        epochs: 10 for texts.
        learning_rate: 0.005 for texts, 0.002 for series.
        refit: for fewer than 8,000 texts, unless validation data stop the training (`patience`).
    From 500 records on, `validation_fraction` of each class is held out. With fewer, all records are trained
    on, to the last epoch; the probabilities of texts are then not calibrated. The learning rate rises over a
    tenth of the steps and then falls along half a cosine to zero.

    `class_weight="balanced"` weighs classes alike in networks and linear models; `evaluate` gives the
    balanced accuracy too.

    `fit(x, y)` or `fit(source)`: see `.reading.read_examples` for the sources. Raises ValueError or
    TypeError in one sentence: only one class, a missing label, a class that training has not seen, a byte
    that is not text (with file and line), a channel of NaN only. An empty text gets an answer.

    >>> x = [[[0.0], [0.1], [0.0]], [[1.0], [0.9], [1.0]]] * 20
    >>> y = ["low", "high"] * 20
    >>> c = Classifier(epochs=2, hidden_size=4, filters=(4,), kernel_sizes=(3,), validation_fraction=0.0)
    >>> c = c.fit(x, y, verbose=0)
    >>> c.predict_proba(x).shape, c.classes_.tolist()
    ((40, 2), ['high', 'low'])

    Options:
        cell ('LSTM'): recurrent cell of the network (one of RNN, LSTM, GRU, rnn_relu, peephole,
            cifg, slstm, indrnn).
        hidden_size (64): units of every recurrent layer.
        num_layers (1): recurrent layers stacked.
        dropout (0.5): share of pooled values dropped in training.
        epochs (None): times the training part is gone through at most; none for 10 (texts) or until
            convergence (series).
        batch_size (32): rows a step at most.
        learning_rate (None): of Adam, at its highest; none for 0.005 (texts) or 0.002 (series).
        patience (None): epochs without improvement on the held-out part before training stops; none
            for never.
        validation_fraction (0.1): share of the training data held out.
        seed (0): seed of the random generators: the same seed gives the same model.
        device (None): device such as cpu or cuda; none for a GPU if there is one.
        encoding ('utf-8'): encoding of text files that have no byte order mark, such as latin-1.
        missing (()): cells that mean a missing value, in addition to NA, n/a, -, null and the like.
        sheet (None): sheet of an Excel file; none for the first.
        time_format (None): form of times that are text, such as %d/%m/%Y %H:%M; none to find it.
        text (None): column or field with the text.
        series (None): columns with readings, or field with a series.
        static_covariates (None): columns or fields with one value a record, numbers or categories;
            none for all columns of a table that has neither texts nor series.
        label ('label'): column or field with the label.
        id (None): column that says which series a row belongs to.
        time (None): column by which the rows of a series are put in order.
        labels (None): labels of a record: one (multiclass), any number (multilabel), one a step
            (token); none to find out (one of multiclass, multilabel, token).
        separator ('|'): between the labels of one cell, where there are many.
        token_level (None): what a text is cut into; none to choose by the data (one of words, bpe,
            characters).
        max_tokens (None): size of the vocabulary at most; none for all tokens, 8000 for bpe.
        lowercase (None): whether words are lowercased; none for where a file gives their vectors.
        max_length (None): steps read of a record at most; none for the longest in training.
        class_weight (None): balanced: classes weigh alike in training, however few rows they have
            (one of balanced).
        normalization (None): scale of series: of each channel over all series (channel), or over
            each series by itself (series); none to choose by cross-validation (one of channel,
            series).
        pretrained_vectors (None): file of word vectors to start from.
        pretrained (None): a fitted or saved language model whose tokens, embedding and recurrent
            layers are the beginning; none to begin from random weights.
        embedding_size (64): values of a word's vector, where no file gives them.
        subword_buckets (10000): buckets that the character n-grams of words are hashed to, 0 for
            none.
        max_ngram (None): tokens of the longest n-gram a linear model sees, 0 for none; none to
            choose by the data.
        bidirectional (True): whether a sequence is read from both ends.
        pooling ('max'): how the steps of a sequence become one vector (one of attention, max, mean,
            last).
        convolution (None): whether a convolutional branch stands beside the recurrent one; none to
            choose by the data.
        filters ((64, 128, 64)): channels of each convolution.
        kernel_sizes ((7, 5, 3)): steps that each convolution covers.
        whole_series (False): whether a third branch reads a whole series as one step.
        ensemble_size (None): networks that are averaged; none to choose by the data.
        word_dropout (None): share of words hidden in training; none for 0.3, with a pretrained
            model 0.
        embedding_dropout (None): share of vector values dropped, the same at all steps; none for
            0.5, with a pretrained model 0.2.
        recurrent_dropout (0.0): share of h dropped, the same at all steps.
        refit (None): whether training is repeated on all records after validation; none to choose
            by the data.
    """

    name: ClassVar[str] = "classify"
    score_metric: ClassVar[str] = "accuracy"
    _estimator_type: ClassVar[str | None] = "classifier"
    schedule: ClassVar[Schedule] = Schedule(warmup=0.1, final=0.0)

    def read(
        self, source: Any, y: Any = None, *, use: Use = "fit", fitted: FittedClassifier | None = None
    ) -> list[Example]:
        codec = None if fitted is None else fitted.codec
        layout = Layout(
            text=self.text,
            series=self.series,
            static=self.static_covariates,
            label=self.label,
            id=self.id,
            time=self.time,
            labels=self.labels,
            separator=self.separator,
            options=self._reading(),
            classes=None if codec is None else tuple(codec.labels.classes),
            fitted_text=None if codec is None else codec.text_column,
            fitted_series=() if codec is None else codec.series_columns,
            fitted_static=() if codec is None else codec.static_columns,
        )
        return read_examples(source, y, layout=layout, labelled=use != "predict")

    def split(self, records: list[Example]) -> tuple[list[Example], list[Example] | None]:
        """The same fraction of each class at random, by the seed; every class stays in training."""
        if len(records) < _ENOUGH_TO_VALIDATE or not self.validation_fraction:
            if self.validation_fraction:
                series = not isinstance(records[0].input, (str, list)) and not isinstance(
                    records[0].label, list
                )
                instead = "they are cross-validated" if series else "all are trained on"
                errors.notice(f"{len(records)} records are too few to hold some out: {instead}")
            return records, None
        valid = stratified([record.label for record in records], self.validation_fraction, self.seed)
        train = Examples(records[row] for row in sorted({*range(len(records))}.difference(valid)))
        if isinstance(records, Examples):
            train.text, train.series, train.static = records.text, records.series, records.static
        return train, [records[row] for row in valid] or None

    def learn(
        self, codec: ClassifierCodec, train: list[Example], valid: list[Example] | None, run: Run
    ) -> FittedClassifier:
        """Fit codec and networks; few series are also cross-validated by networks trained without them."""
        if self.pretrained is not None:
            codec.start_from(pretrained_encoder(self.pretrained))
        codec.fit(train, valid)
        fitted = self._fit_network(codec, train, valid, run)
        folds = self._folds(codec, train)
        if valid is None and len(train) < _ENOUGH_TO_VALIDATE:
            labels = [record.label for record in train]
            codec.cross_validate_texts(train, stratified_folds(labels, _TEXT_FOLDS, self.seed))
        if folds is not None and valid is None:
            batches = map(to_device(fitted.network), self.batches(codec, train, train=False))
            parts = folds.split(4 * self.batch_size)
            with torch.no_grad():
                scores = [fitted.network.left_out(*pair).cpu() for pair in zip(batches, parts, strict=True)]
            codec.calibrate_left_out(torch.cat(scores), train)
        return fitted

    def _folds(self, codec: ClassifierCodec, records: list[Example]) -> Tensor | None:
        """The member (N,) that each record does not train; None where every member is trained on all."""
        members = self._members(codec)
        few = len(records) < _ENOUGH_TO_VALIDATE
        if not few or members == 1 or not isinstance(codec.head, SeriesHead):
            return None
        return torch.from_numpy(stratified_folds([record.label for record in records], members, self.seed))

    def codec(self) -> ClassifierCodec:
        if len(self.filters) != len(self.kernel_sizes) or not self.filters:
            received = f"{len(self.kernel_sizes)} for {len(self.filters)} filters"
            raise errors.value_error(
                "kernel_sizes", "one a convolution", received, "give as many kernel_sizes as filters"
            )
        if self.pretrained is not None and self.pretrained_vectors is not None:
            received = "a language model and a file of vectors"
            raise errors.value_error("pretrained", "one beginning", received, "leave one of them out")
        text_encoder = TextEncoder(
            self.token_level,
            self.max_tokens,
            lowercase=self.lowercase,
            subword_buckets=self.subword_buckets,
            max_ngram=self.max_ngram,
            max_length=self.max_length,
            has_vectors=self.pretrained_vectors is not None,
        )
        return ClassifierCodec(
            text_encoder,
            balanced=self.class_weight is not None,
            vectors=self.pretrained_vectors,
            refit=False if self.refit is None and self.patience is not None else self.refit,
            normalization=self.normalization,
        )

    def batches(self, codec: ClassifierCodec, records: list[Example], *, train: bool) -> ExampleBatches:
        size = self.batch_size if train else 4 * self.batch_size
        folds = self._folds(codec, records) if train else None
        members = self._members(codec)
        return ExampleBatches(
            codec, records, size, train=train, balanced=codec.balanced, folds=folds, members=members
        )

    def _members(self, codec: ClassifierCodec) -> int:
        """The number of networks in the ensemble."""
        if codec.pretrained_sizes is not None:
            return self.ensemble_size or 1
        sizes = codec.sizes
        return self.ensemble_size or _ensemble_size(bool(sizes["inputs"]), sizes["records"])

    def network(self, codec: ClassifierCodec, train: list[Example] | None) -> Ensemble:
        sizes, pretrained = codec.sizes, codec.pretrained_sizes
        series = bool(sizes["inputs"])
        count = self._members(codec)
        width = sizes["inputs"] if series else sizes["embedding"] or self.embedding_size
        width = width if pretrained is None else pretrained.embedding_size
        embeddings = [self._embedding(width, sizes, pretrained) for _ in range(0 if series else count)]
        members = [
            self._member(width, sizes) if pretrained is None else self._fine_tuned(pretrained, sizes)
            for _ in range(count)
        ]
        network = Ensemble(members, embeddings, multilabel=sizes["multilabel"])
        if train is not None and codec.pretrained is not None:
            network.take(codec.pretrained.weights)
        if train is not None and self.pretrained_vectors is not None and not series:
            _load_vectors(network, self.pretrained_vectors, codec.text_encoder.tokenizer.tokens)
        return network

    def _embedding(self, width: int, sizes: Mapping[str, Any], pretrained: Any) -> TokenEmbedding:
        words, values = (0.3, 0.5) if pretrained is None else (0.0, 0.2)
        return TokenEmbedding(
            sizes["vocabulary"],
            width,
            buckets=sizes["subwords"],
            word_dropout=words if self.word_dropout is None else self.word_dropout,
            dropout=values if self.embedding_dropout is None else self.embedding_dropout,
        )

    def _fine_tuned(self, pretrained: EncoderSizes, sizes: Mapping[str, Any]) -> FineTunedClassifier:
        return FineTunedClassifier(
            pretrained, sizes["classes"], dropout=self.dropout, recurrent_dropout=self.recurrent_dropout
        )

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
            filters=self.filters if convolution else (),
            kernel_sizes=self.kernel_sizes if convolution else (),
            dropout=self.dropout,
            per_step=sizes["per_step"],
            whole=sizes["length"] if self.whole_series and sizes["readings"] and not sizes["per_step"] else 0,
            frame=1 if sizes["per_step"] or not sizes["inputs"] else -(-sizes["length"] // _FRAMES),
        )

    def calibrate(self, fitted: FittedClassifier, valid: list[Example], run: Run) -> None:
        fitted.codec.calibrate(self._predictions(fitted, valid), valid)

    @property
    def classes_(self) -> np.ndarray:
        """The classes, in the order of the columns of `predict_proba`."""
        return self._check_fitted().codec.classes

    def predict(self, source: Any = None, **search: Any) -> np.ndarray | list[Any]:
        """The classes of records.

        Args:
            source: in any of the forms of `fit`; search: none, a classifier has no search.

        Returns:
            (N,) classes; a list of tuples where a record may have several labels, a list of lists where each
            step has one.
        """
        return super().predict(source, **search)

    def predict_proba(self, source: Any) -> Any:
        """Calibrated probabilities (N, C), columns as `classes_`; a list of (T_i, C) for labels per token."""
        fitted = self._check_fitted()
        return self._answers(fitted, self.read(source, use="predict", fitted=fitted))

    def explain(self, source: Any) -> list[list[tuple[Any, float]]]:
        """The attribution of each answer to the tokens or steps of its record: lists of (token, weight).

        A weight is the gradient of the predicted class's score times the input, scaled so that the largest
        of a record is 1 or -1; below 0 the token is evidence against the class. Steps of series are given by
        their number, records without a series are explained by their columns. The parts of linear models are
        exact; the nearest neighbour is left out. Not for labels per token.

        Raises:
            ValueError: the classifier has labels per token.
        """
        fitted = self._check_fitted()
        if fitted.codec.labels.kind == "token":
            way_out = "look at its answers themselves"
            raise errors.value_error("labels", "one answer a record", "one a step", way_out)
        return self._explained(fitted, self.read(source, use="predict", fitted=fitted))

    def _explained(self, fitted: FittedClassifier, records: list[Example]) -> list[list[tuple[Any, float]]]:
        codec, network = fitted.codec, fitted.network
        classes = codec.scores(self._predictions(fitted, records), records).argmax(-1)
        weights: list[Tensor] = []
        for batch in map(to_device(network), self.batches(codec, records, train=False)):
            rows = torch.arange(len(weights), len(weights) + rows_of(batch))
            predicted = classes[rows]
            attribution = network.attribution(batch, predicted.to(network.device)).cpu()
            part = [records[row] for row in rows.tolist()]
            weights += [*explaining.attribution(codec, attribution, part, predicted)]
        return [
            _scaled(explaining.positions(codec, record), row)
            for record, row in zip(records, weights, strict=True)
        ]

    def report(self, fitted: FittedClassifier, source: Any) -> list[Section]:
        """Scores, errors and calibration of a source with labels, and what mattered in some records."""
        codec = fitted.codec
        if source is None:
            return report.model_sections(codec)
        records = self.read(source, use="predict", fitted=fitted)
        answers = self._answers(fitted, records)
        sections = report.model_sections(codec)
        if all(record.label is not None for record in records):
            truths = codec.truth(records)
            scores = self._scores(fitted, answers, truths)
            sections = [*report.score_sections(codec, records, answers, truths, scores), *sections[1:]]
        if codec.labels.kind != "token":
            shown = records[: _EXPLAINED_SERIES if codec.sizes["readings"] else _EXPLAINED]
            weights = self.explain([record.input for record in shown])
            sections.append(Section("What mattered", [report.attributions(codec, shown, answers, weights)]))
        return sections


def _scaled(tokens: list[Any], weights: Tensor) -> list[tuple[Any, float]]:
    """Tokens (T) with their weights out of (at least T,), divided by the largest absolute one."""
    real = weights[: len(tokens)]
    scaled = real / real.abs().max().clamp_min(1e-12) if tokens else real
    return list(zip(tokens, scaled.tolist(), strict=True))


@torch.no_grad()
def _load_vectors(network: Ensemble, path: str, words: list[str]) -> None:
    """Set the vectors of the words that a file has."""
    vectors = read_vectors(path, words)
    deviation = float(np.std(np.stack(list(vectors.values())))) or 1.0
    in_file = [number for number, word in enumerate(words) if word in vectors]
    values = np.stack([vectors[words[number]] for number in in_file]) * (_VECTOR_DEVIATION / deviation)
    for weight in network.word_vectors:
        weight[in_file] = torch.from_numpy(values).to(weight)


def _ensemble_size(series: bool, records: int) -> int:
    if series:
        return 1 if records >= _ENOUGH_TO_VALIDATE else 4 if records < _FEW_SERIES else 3
    return 4 if records < FEW_TEXTS else 2
