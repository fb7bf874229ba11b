"""What a fitted language model lends to other tasks: its tokens, its layers, and probabilities of tokens."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from longspan import errors
from longspan.data.tokenizers import Tokenizer

from . import load
from .options import Configurable


@dataclass(frozen=True)
class EncoderSizes:
    """The sizes of an embedding with recurrent layers above it; `start`: the token before every text."""

    cell: str
    embedding_size: int
    hidden_size: int
    num_layers: int
    start: int


class PretrainedEncoder(NamedTuple):
    """The part of a language model that reads.

    weights: "embedding.weight", and "layers.0.weight_ih_l0" and so on, as the layers name them.
    """

    token_level: str
    tokenizer: Tokenizer
    sizes: EncoderSizes
    weights: Mapping[str, Tensor]


class TokenScorer(NamedTuple):
    """The probabilities of the next token, as a language model gives them step by step.

    tokens: each by its number; step: (tokens (R,), state) -> logits (R, V), state; state: of one row before
    its first token; start: the token before every text.
    """

    token_level: str
    tokens: Sequence[str]
    step: Callable[[Tensor, Any], tuple[Tensor, Any]]
    state: Any
    start: int


class PretrainedText(Configurable):
    """A task whose fitted network reads texts, so that other tasks may start from it. Abstract."""

    @abc.abstractmethod
    def token_scorer(self) -> TokenScorer:
        """The network's probabilities of tokens.

        Raises:
            ValueError: the task is not fitted; one sentence.
        """

    @abc.abstractmethod
    def pretrained_encoder(self) -> PretrainedEncoder:
        """The part that reads.

        Raises:
            ValueError: the task is not fitted; one sentence.
        """


def fitted_text(model: PretrainedText | str) -> Configurable:
    """A fitted task, or the one that a file has; what follows draws the same random numbers with either."""
    if not isinstance(model, str):
        return model
    with torch.random.fork_rng([]):
        return load(model)


def pretrained_encoder(model: PretrainedText | str) -> PretrainedEncoder:
    """The reading part of a fitted language model, or of the one that a file has.

    Raises:
        FileNotFoundError, ValueError: there is no such file, or the model is another one or not fitted.
    """
    return _language_model(model, "pretrained").pretrained_encoder()


def token_scorer(model: PretrainedText | str) -> TokenScorer:
    """The probabilities of tokens of a fitted language model, or of the one that a file has.

    Raises:
        FileNotFoundError, ValueError: as for `pretrained_encoder`.
    """
    return _language_model(model, "language_model").token_scorer()


def _language_model(model: PretrainedText | str, option: str) -> PretrainedText:
    fitted = fitted_text(model)
    if not isinstance(fitted, PretrainedText):
        received = f"a {type(fitted).__name__} in {model}"
        raise errors.value_error(option, "a saved language model", received, "name another file")
    return fitted
