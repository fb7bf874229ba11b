"""Declares the options of `LanguageModel`."""

from __future__ import annotations

from dataclasses import dataclass

from longspan.tasks.options import option
from longspan.tasks.pretrained import PretrainedText
from longspan.tasks.reading_options import ReadingOptions

from .tokens import TOKEN_LEVELS


@dataclass(eq=False, repr=False, kw_only=True)
class LanguageModelOptions(ReadingOptions):
    """The options of `LanguageModel`, by group: data, network and training. Abstract."""

    token_level: str | None = option(
        None, "what a text is cut into; none for found", choices=TOKEN_LEVELS, group="data"
    )
    text: str | None = option(None, "column or field with the text", group="data", per_source=True)
    lines: bool = option(
        False,
        "whether every line of a text file is a text of its own",
        group="data",
        advanced=True,
        per_source=True,
    )
    max_tokens: int | None = option(
        None, "different tokens at most; none for all, 8000 for bpe", group="data", minimum=5, advanced=True
    )
    lowercase: bool = option(False, "whether the case of words is dropped", group="data", advanced=True)
    pretrained: PretrainedText | str | None = option(  # noqa: RUF009 it makes a field
        None,
        "a fitted or saved language model whose tokens, sizes and weights training starts from",
        group="network",
    )

    ngram: bool = option(
        True,
        "whether an n-gram model's probabilities are mixed in, by what helps on the held-out part",
        group="network",
        advanced=True,
    )
    hidden_size: int | None = option(
        None, "units of every recurrent layer; none for found", group="network", search=[256, 512]
    )
    num_layers: int | None = option(None, "recurrent layers; none for found", group="network")
    embedding_size: int | None = option(
        None, "values of a token's vector; none for found", group="network", minimum=1, advanced=True
    )
    tied: bool | None = option(
        None,
        "whether the output layer has the weights of the vectors; none for found",
        group="network",
        advanced=True,
    )
    dropout: float | None = option(
        None,
        "share of values dropped between layers in training, the same at all steps; none for found",
        group="network",
        search=[0.1, 0.2, 0.4],
    )
    embedding_dropout: float = option(
        0.0,
        "share of tokens whose vector is dropped, in training",
        group="network",
        fraction=True,
        advanced=True,
    )
    recurrent_dropout: float = option(
        0.0, "share of h dropped, the same at all steps", group="network", fraction=True, advanced=True
    )
    weight_dropout: float = option(
        0.0, "share of recurrent weights dropped a step", group="network", fraction=True, advanced=True
    )

    softmax: str | None = option(
        None,
        "what the training loss compares a token with: all tokens (full), or a few drawn by their frequency "
        "(sampled); none for sampled from 40000 tokens on; scores are by all tokens",
        choices=("full", "sampled"),
        group="training",
        advanced=True,
    )
    epochs: int | None = option(
        None, "times the training part is gone through at most; none for 10", group="training"
    )
    max_minutes: float | None = option(
        None, "minutes of training at most; none for no limit", group="training", positive=True
    )
    max_steps: int | None = option(
        None, "steps of training at most; none for no limit", group="training", minimum=1, advanced=True
    )
    batch_size: int = option(16, "places of the text that are read side by side", group="training")
    chunk_length: int | None = option(
        None,
        "tokens that gradients flow through; none for found",
        group="training",
        minimum=1,
        advanced=True,
    )
    learning_rate: float | None = option(None, "of Adam, at its highest; none for found", group="training")
    averaging: float = option(
        0.2,
        "share of the training at its end over which weights are averaged, earlier if it stops improving",
        group="training",
        fraction=True,
        advanced=True,
    )
    validation_fraction: float = option(0.05, "share of the training text held out", group="training")
