"""Turns documents into tokens and scores into answers; mixes the network with an n-gram model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from torch import Tensor
from typing_extensions import Self

from longspan import errors
from longspan.data.ngram import COUNTED, KneserNey
from longspan.data.tokenizers import SPECIAL, UNKNOWN, tokenizer
from longspan.kernels.next_token import mixed_log_probs
from longspan.tasks.codec import Codec, Metrics

from .batches import SegmentBatches, StreamBatches
from .network import SegmentScores
from .reading import Document, document_of, normalize
from .tokens import BOUNDARY, UNKNOWN_NUMBER, encode, find_token_level, fit_tokenizer, token_stream

_EM_STEPS = 50  # of the n-gram model's weight
_LEAST_WEIGHT = 0.01  # of either part of the mixture; an n-gram model with less has none
_ORDERS = {"words": 4, "bpe": 4, "characters": 6, "bytes": 6}  # of the n-gram model


@dataclass(frozen=True)
class Sizes:
    """The sizes of a network and of what it is trained on.

    chunk_length: tokens that gradients flow through; dropout: between layers; learning_rate: the highest.
    """

    embedding_size: int
    hidden_size: int
    num_layers: int
    tied: bool
    dropout: float
    chunk_length: int
    learning_rate: float


_SMALL = Sizes(64, 512, 1, False, 0.1, 100, 5e-3)  # for tens of tokens: characters, bytes
_LARGE = Sizes(256, 400, 1, True, 0.2, 35, 3e-3)  # for thousands of tokens: words, byte pairs
DEFAULTS = {"words": _LARGE, "bpe": _LARGE, "characters": _SMALL, "bytes": _SMALL}


class TokenScores(NamedTuple):
    """Natural logarithms of the probabilities of a document's tokens, (T,) each.

    mixed: the model's; network, ngram: those of its two parts.
    """

    mixed: np.ndarray
    network: np.ndarray
    ngram: np.ndarray


class DocumentTruth(NamedTuple):
    """The number of a document's characters, bytes, and tokens that training has not seen."""

    characters: int
    bytes: int
    unknown: int


class LanguageCodec(Codec[list[Document]]):
    """Documents to tokens and scores to answers.

    Args:
        token_level, max_tokens, lowercase: as in `LanguageModel`.
        sizes: those that the user gave, by name; the others are found at fit.

    Attributes after fit: token_level, tokenizer, sizes (`Sizes`), ngram (`KneserNey`); ngram_weight: its
    share of the probabilities; ends: whether ends of documents are scored, since there was more than one;
    validation: metrics of the held-out part.
    """

    def __init__(
        self,
        token_level: str | None = None,
        max_tokens: int | None = None,
        *,
        lowercase: bool = False,
        sizes: Mapping[str, Any] | None = None,
    ) -> None:
        self.token_level, self.max_tokens, self.lowercase = token_level, max_tokens, lowercase
        self.chosen_sizes = {name: value for name, value in (sizes or {}).items() if value is not None}
        self.ends, self.ngram_weight = False, 0.0
        self.tokenizer: Any = None
        self.validation: dict[str, float] = {}
        self._fitted_stream: tuple[list[Document], np.ndarray] | None = None

    def start_from(self, learned: LanguageCodec) -> None:
        """Take the tokens and the sizes of a model from whose weights training starts."""
        self.token_level, self.tokenizer = learned.token_level, learned.tokenizer
        self.sizes = Sizes(**{**asdict(learned.sizes), **_training_sizes(self.chosen_sizes)})

    def fit(self, train: list[Document], valid: list[Document] | None = None) -> Self:
        if not any(document.characters for document in train):
            raise errors.value_error("source", "text to learn from", "none", "check what was read")
        if self.tokenizer is None:
            self.tokenizer = self._fitted_tokenizer(train)
        self.ends = len(train) > 1
        stream = self.stream(train)
        if len(stream) - self.ends < 3:  # the boundary and one token
            way_out = "give a longer text"
            raise errors.value_error("source", "at least two tokens to learn from", "one", way_out)
        order = _ORDERS[self._level]
        self.ngram = KneserNey(self.tokenizer.size, order).fit(np.asarray(stream[:COUNTED]))
        self._fitted_stream = train, stream
        return self

    def _fitted_tokenizer(self, train: list[Document]) -> Any:
        """A tokenizer of the text; the level of its tokens and the sizes that go with it are kept."""
        self.token_level = self.token_level or find_token_level(train)
        self.sizes = Sizes(**{**asdict(DEFAULTS[self._level]), **self.chosen_sizes})
        return fit_tokenizer(train, self._level, self.max_tokens, lower=self.lowercase)

    @property
    def _level(self) -> str:
        return self.token_level or "characters"

    @property
    def epochs(self) -> int:
        return 10

    @property
    def learning_rate(self) -> float:
        return self.sizes.learning_rate

    @property
    def forbidden(self) -> list[int]:
        """The tokens that are never generated."""
        special = range(len(SPECIAL))
        return [number for number in special if number != BOUNDARY or not self.ends]

    def stream(self, records: list[Document]) -> np.ndarray:
        """All tokens of the documents in one array, see `token_stream`."""
        if self._fitted_stream is not None and self._fitted_stream[0] is records:
            return self._fitted_stream[1]
        return token_stream(records, self.tokenizer, ends=self.ends)

    def forget_stream(self) -> None:
        """Let go of the tokens that it was fitted to."""
        self._fitted_stream = None

    def stream_batches(self, records: list[Document], batch_size: int) -> StreamBatches:
        """Batches to train on."""
        return StreamBatches(self.stream(records), batch_size, self.sizes.chunk_length)

    def segment_batches(self, records: list[Document]) -> SegmentBatches:
        """Batches to score."""
        return SegmentBatches([encode(document, self.tokenizer) for document in records], ends=self.ends)

    def pieces(self, text: str) -> list[str]:
        """The tokens of a text, each as text."""
        numbers = encode(document_of(normalize(text)), self.tokenizer).tolist()
        return [UNKNOWN if n == UNKNOWN_NUMBER else self.tokenizer.decode([n]) for n in numbers]

    def decode(self, predictions: list[SegmentScores], records: list[Document]) -> list[TokenScores]:
        """The scores of every token of each document, its end included where ends are scored."""
        network = self._joined(predictions, len(records))
        return [self._scores(document, scores) for document, scores in zip(records, network, strict=True)]

    def _joined(self, predictions: list[SegmentScores], documents: int) -> list[np.ndarray]:
        """The network's log-probabilities by document, from those of segments."""
        segments: list[list[tuple[int, np.ndarray]]] = [[] for _ in range(documents)]
        for scores in predictions:
            numbers, begins = scores.document.tolist(), scores.begin.tolist()
            for number, begin, values in zip(numbers, begins, scores.log_probs, strict=True):
                segments[number].append((begin, values.numpy()))
        empty = np.zeros(0, np.float32)
        return [
            np.concatenate([values for _, values in sorted(rows, key=lambda row: row[0])] or [empty])
            for rows in segments
        ]

    def _scores(self, document: Document, network: np.ndarray) -> TokenScores:
        ends = [BOUNDARY] if self.ends else []
        tokens = np.concatenate([[BOUNDARY], encode(document, self.tokenizer), ends]).astype(np.int64)
        ngram = self.ngram.log_probs(tokens)[1:]
        return TokenScores(_mixed(network, ngram, self.ngram_weight), network, ngram)

    def fit_weight(self, scores: Sequence[TokenScores]) -> list[TokenScores]:
        """Set the n-gram model's weight to that with the highest likelihood of held-out tokens.

        Returns:
            The scores mixed with this weight.
        """
        network = np.exp(np.concatenate([document.network for document in scores]).astype(np.float64))
        ngram = np.exp(np.concatenate([document.ngram for document in scores]))
        weight = 0.1
        for _ in range(_EM_STEPS):
            weight = float((weight * ngram / (weight * ngram + (1.0 - weight) * network)).mean())
        self.ngram_weight = min(weight, 1.0 - _LEAST_WEIGHT) if weight > _LEAST_WEIGHT else 0.0
        return [part._replace(mixed=_mixed(part.network, part.ngram, self.ngram_weight)) for part in scores]

    def mixed_logits(self, logits: Tensor, context: Sequence[int], bias: Tensor) -> Tensor:
        """Logarithms of the next token's probabilities (1, V), from the network's logits and the context.

        Args:
            logits: (1, V) of the network; context: the tokens so far; bias: (V,), added to the logarithms.
        """
        if not self.ngram_weight:
            return logits + bias
        return mixed_log_probs(logits, self.ngram.next_probs(context), self.ngram_weight, bias)

    def present(self, answers: list[TokenScores]) -> pl.DataFrame:
        """A row a text: its tokens, their log-probability and the perplexity."""
        totals = [float(scores.mixed.sum(dtype=np.float64)) for scores in answers]
        counts = [len(scores.mixed) for scores in answers]
        perplexity = [
            _exp(-total / count) if count else None for total, count in zip(totals, counts, strict=True)
        ]
        return pl.DataFrame(
            {"row": range(len(answers)), "tokens": counts, "log_prob": totals, "perplexity": perplexity}
        )

    def truth(self, records: list[Document]) -> list[DocumentTruth]:
        return [
            DocumentTruth(document.characters, document.bytes, self._unknown_tokens(document))
            for document in records
        ]

    def _unknown_tokens(self, document: Document) -> int:
        return int((encode(document, self.tokenizer) == UNKNOWN_NUMBER).sum())

    def metrics(self) -> Metrics:
        metrics: dict[str, Any] = {}
        for field, prefix in enumerate(("", "network_", "ngram_")):  # the fields of TokenScores
            metrics[f"{prefix}perplexity"] = partial(_perplexity, field)
            metrics[f"{prefix}nats_per_token"] = partial(_nats_per_token, field)
            metrics[f"{prefix}bits_per_character"] = partial(_bits_per, field, 0)
        metrics["bits_per_byte"] = partial(_bits_per, 0, 1)
        metrics["unknown_tokens"] = lambda scores, truth: (
            sum(document.unknown for document in truth) / _tokens(scores)
        )
        return metrics

    def state(self) -> Any:
        return {
            "token_level": self.token_level,
            "tokenizer": self.tokenizer.state(),
            "sizes": asdict(self.sizes),
            "ends": self.ends,
            "ngram": self.ngram.state(),
            "ngram_weight": self.ngram_weight,
            "validation": self.validation,
        }

    def restore(self, state: Any) -> Self:
        self.token_level, self.ends = state["token_level"], state["ends"]
        self.tokenizer = tokenizer(state["tokenizer"])
        self.sizes, self.validation = Sizes(**state["sizes"]), state["validation"]
        self.ngram, self.ngram_weight = KneserNey.from_state(state["ngram"]), state["ngram_weight"]
        return self


def _training_sizes(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Of the sizes that the user gave those that a network with weights may still change."""
    return {
        name: value for name, value in chosen.items() if name in ("dropout", "chunk_length", "learning_rate")
    }


def _mixed(network: np.ndarray, ngram: np.ndarray, weight: float) -> np.ndarray:
    if not weight:
        return network
    return np.logaddexp(network + math.log1p(-weight), ngram + math.log(weight)).astype(np.float32)


def _nats(field: int, scores: Sequence[TokenScores]) -> float:
    return -float(sum(document[field].sum(dtype=np.float64) for document in scores))


def _tokens(scores: Sequence[TokenScores]) -> int:
    """Of all documents; at least 1, so that texts without a token have numbers too."""
    return max(1, sum(len(document.mixed) for document in scores))


def _nats_per_token(field: int, scores: Sequence[TokenScores], truth: object) -> float:
    return _nats(field, scores) / _tokens(scores)


def _perplexity(field: int, scores: Sequence[TokenScores], truth: object) -> float:
    return _exp(_nats_per_token(field, scores, truth))


def _bits_per(field: int, unit: int, scores: Sequence[TokenScores], truth: Sequence[DocumentTruth]) -> float:
    return _nats(field, scores) / math.log(2.0) / max(1, sum(document[unit] for document in truth))


def _exp(nats: float) -> float:
    return math.exp(min(700.0, nats))
