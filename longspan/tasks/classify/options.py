"""Declares the options of `Classifier`."""

from __future__ import annotations

from dataclasses import dataclass

from longspan.networks.pooling import POOLS
from longspan.tasks.options import option
from longspan.tasks.pretrained import PretrainedText
from longspan.tasks.reading_options import ReadingOptions

from .layout import KINDS
from .series_encoder import NORMALIZATIONS
from .text_encoder import TOKEN_LEVELS


@dataclass(eq=False, repr=False, kw_only=True)
class ClassifierOptions(ReadingOptions):
    """The options of `Classifier`, by group: data, task, network and training. Abstract."""

    text: str | None = option(None, "column or field with the text", group="data", per_source=True)
    series: str | tuple[str, ...] | None = option(
        None, "columns with readings, or field with a series", group="data"
    )
    static_covariates: str | tuple[str, ...] | None = option(
        None,
        "columns or fields with one value a record, numbers or categories; none for all columns of a table "
        "that has neither texts nor series",
        group="data",
    )
    label: str = option("label", "column or field with the label", group="data", per_source=True)
    id: str | None = option(None, "column that says which series a row belongs to", group="data")
    time: str | None = option(None, "column by which the rows of a series are put in order", group="data")
    labels: str | None = option(
        None,
        "labels of a record: one (multiclass), any number (multilabel), one a step (token); none to find out",
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
        None, "what a text is cut into; none to choose by the data", choices=TOKEN_LEVELS, group="data"
    )
    max_tokens: int | None = option(
        None,
        "size of the vocabulary at most; none for all tokens, 8000 for bpe",
        group="data",
        minimum=5,
        advanced=True,
    )
    lowercase: bool | None = option(
        None,
        "whether words are lowercased; none for where a file gives their vectors",
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

    normalization: str | None = option(
        None,
        "scale of series: of each channel over all series (channel), or over each series by itself (series); "
        "none to choose by cross-validation",
        choices=NORMALIZATIONS,
        group="data",
        advanced=True,
    )
    pretrained_vectors: str | None = option(None, "file of word vectors to start from", group="network")
    pretrained: PretrainedText | str | None = option(  # noqa: RUF009 it makes a field
        None,
        "a fitted or saved language model whose tokens, embedding and recurrent layers are the beginning; "
        "none to begin from random weights",
        group="network",
    )
    embedding_size: int = option(
        64,
        "values of a word's vector, where no file gives them",
        group="network",
        minimum=1,
        advanced=True,
    )
    subword_buckets: int = option(
        10000,
        "buckets that the character n-grams of words are hashed to, 0 for none",
        group="network",
        minimum=0,
        advanced=True,
    )
    max_ngram: int | None = option(
        None,
        "tokens of the longest n-gram a linear model sees, 0 for none; none to choose by the data",
        group="network",
        minimum=0,
        advanced=True,
    )
    hidden_size: int = option(64, "units of every recurrent layer", group="network")
    bidirectional: bool = option(
        True,
        "whether a sequence is read from both ends",
        group="network",
        advanced=True,
    )
    pooling: str = option(
        "max",
        "how the steps of a sequence become one vector",
        choices=POOLS,
        group="network",
        advanced=True,
    )
    convolution: bool | None = option(
        None,
        "whether a convolutional branch stands beside the recurrent one; none to choose by the data",
        group="network",
        advanced=True,
    )
    filters: tuple[int, ...] = option(
        (64, 128, 64),
        "channels of each convolution",
        group="network",
        advanced=True,
    )
    kernel_sizes: tuple[int, ...] = option(
        (7, 5, 3),
        "steps that each convolution covers",
        group="network",
        advanced=True,
    )
    whole_series: bool = option(
        False,
        "whether a third branch reads a whole series as one step",
        group="network",
        advanced=True,
    )
    ensemble_size: int | None = option(
        None,
        "networks that are averaged; none to choose by the data",
        group="network",
        minimum=1,
        advanced=True,
    )
    dropout: float = option(0.5, "share of pooled values dropped in training", group="network")
    word_dropout: float | None = option(
        None,
        "share of words hidden in training; none for 0.3, with a pretrained model 0",
        group="network",
        fraction=True,
        advanced=True,
    )
    embedding_dropout: float | None = option(
        None,
        "share of vector values dropped, the same at all steps; none for 0.5, with a pretrained model 0.2",
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
    epochs: int | None = option(
        None,
        "times the training part is gone through at most; none for 10 (texts) or until convergence (series)",
        group="training",
    )
    batch_size: int = option(32, "rows a step at most", group="training")
    learning_rate: float | None = option(
        None, "of Adam, at its highest; none for 0.005 (texts) or 0.002 (series)", group="training"
    )
    patience: int | None = option(
        None,
        "epochs without improvement on the held-out part before training stops; none for never",
        group="training",
    )
    validation_fraction: float = option(0.1, "share of the training data held out", group="training")
    refit: bool | None = option(
        None,
        "whether training is repeated on all records after validation; none to choose by the data",
        group="training",
        advanced=True,
    )
