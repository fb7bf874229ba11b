"""Turns documents into tokens, the scores of tokens into answers, and holds the n-gram rival."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from typing_extensions import Self

from longspan import errors
from longspan.data.tokenizers import SPECIAL, UNKNOWN, Tokenizer, tokenizer
from longspan.tasks.codec import Codec, Metrics

from .batches import SegmentBatches, StreamBatches
from .network import SegmentScores
from .ngram import COUNTED, KneserNey
from .reading import Document, held, normalize
from .tokens import BOUNDARY, UNKNOWN_NUMBER, encode, find_token_level, fit_tokenizer, token_stream

_ORDERS = {"words": 3, "bpe": 3, "characters": 6, "bytes": 6}  # of the n-gram rival


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
_LARGE = Sizes(256, 256, 1, True, 0.2, 35, 3e-3)  # for thousands of tokens: words, byte pairs
DEFAULTS = {"words": _LARGE, "bpe": _LARGE, "characters": _SMALL, "bytes": _SMALL}


@dataclass(frozen=True)
class DocumentTruth:
    """What the metrics compare a document's scores with.

    tokens, characters, bytes: how many; unknown: how many tokens training has not seen; ngram: the
    log-probability that the n-gram model gives the document.
    """

    tokens: int
    characters: int
    bytes: int
    unknown: int
    ngram: float


class LanguageCodec(Codec[list[Document]]):
    """Documents to tokens and scores to answers.

    Args:
        token_level, max_tokens, lowercase: as in `LanguageModel`.
        sizes: those that the user gave, by name; the others are found at fit.

    Attributes after fit: token_level, tokenizer, sizes (`Sizes`), ngram (`KneserNey`); validation: metrics
    of the held-out part; ends: whether ends of documents are scored, since there was more than one.
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
        self.given = {name: value for name, value in (sizes or {}).items() if value is not None}
        self.ends = False
        self.tokenizer: Any = None
        self.validation: dict[str, float] = {}

    def start_from(self, learned: LanguageCodec) -> None:
        """Take the tokens and the sizes of a model from whose weights training starts."""
        self.token_level, self.tokenizer = learned.token_level, learned.tokenizer
        self.sizes = Sizes(**{**asdict(learned.sizes), **_training_sizes(self.given)})

    def fit(self, train: list[Document], valid: list[Document] | None = None) -> Self:
        if not any(document.characters for document in train):
            raise errors.value_error("source", "text to learn from", "none", "check what was read")
        if self.tokenizer is None:
            self._fit_tokenizer(train)
        self.ends = len(train) > 1
        stream = self.stream(train)
        if len(stream) - self.ends < 3:  # the boundary and one token
            way_out = "give a longer text"
            raise errors.value_error("source", "at least two tokens to learn from", "one", way_out)
        order = _ORDERS[self._level]
        self.ngram = KneserNey(self.tokenizer.size, order).fit(np.asarray(stream[:COUNTED]))
        return self

    def _fit_tokenizer(self, train: list[Document]) -> None:
        self.token_level = self.token_level or find_token_level(train)
        self.tokenizer = fit_tokenizer(train, self._level, self.max_tokens, lower=self.lowercase)
        self.sizes = Sizes(**{**asdict(DEFAULTS[self._level]), **self.given})

    @property
    def _level(self) -> str:
        return self.token_level or "characters"

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
        return token_stream(records, self.tokenizer, ends=self.ends)

    def stream_batches(self, records: list[Document], batch_size: int) -> StreamBatches:
        """Batches to train on."""
        return StreamBatches(self.stream(records), batch_size, self.sizes.chunk_length)

    def segment_batches(self, records: list[Document]) -> SegmentBatches:
        """Batches to score."""
        return SegmentBatches([encode(one, self.tokenizer) for one in records], ends=self.ends)

    def pieces(self, text: str) -> list[str]:
        """The tokens of a text, each as text."""
        numbers = encode(held(normalize(text)), self.tokenizer).tolist()
        return [UNKNOWN if n == UNKNOWN_NUMBER else self.tokenizer.decode([n]) for n in numbers]

    def decode(self, predictions: list[SegmentScores], records: list[Document]) -> list[np.ndarray]:
        """The log-probability of every token of each document, its end included where ends are scored."""
        parts: list[list[tuple[int, np.ndarray]]] = [[] for _ in records]
        for scores in predictions:
            numbers, begins = scores.document.tolist(), scores.begin.tolist()
            for number, begin, values in zip(numbers, begins, scores.log_probs, strict=True):
                parts[number].append((begin, values.numpy()))
        empty = np.zeros(0, np.float32)
        return [
            np.concatenate([values for _, values in sorted(part, key=lambda one: one[0])] or [empty])
            for part in parts
        ]

    def present(self, answers: list[np.ndarray]) -> pl.DataFrame:
        """A row a text: its tokens, their log-probability and the perplexity."""
        totals = [float(one.sum(dtype=np.float64)) for one in answers]
        counts = [len(one) for one in answers]
        perplexity = [
            math.exp(min(700.0, -total / count)) if count else None
            for total, count in zip(totals, counts, strict=True)
        ]
        return pl.DataFrame(
            {"row": range(len(answers)), "tokens": counts, "log_prob": totals, "perplexity": perplexity}
        )

    def truth(self, records: list[Document]) -> list[DocumentTruth]:
        return [self._truth(document) for document in records]

    def _truth(self, document: Document) -> DocumentTruth:
        tokens = encode(document, self.tokenizer)
        ends = [BOUNDARY] if self.ends else []
        whole = np.concatenate([[BOUNDARY], tokens, ends]).astype(np.int64)
        ngram = float(self.ngram.log_probs(whole)[1:].sum())
        unknown = int((tokens == UNKNOWN_NUMBER).sum())
        return DocumentTruth(len(whole) - 1, document.characters, document.bytes, unknown, ngram)

    def metrics(self) -> Metrics:
        return {
            "perplexity": lambda scores, truth: _exp(_nats(scores) / _sum(truth, "tokens")),
            "nats_per_token": lambda scores, truth: _nats(scores) / _sum(truth, "tokens"),
            "bits_per_character": lambda scores, truth: _bits(_nats(scores), truth, "characters"),
            "bits_per_byte": lambda scores, truth: _bits(_nats(scores), truth, "bytes"),
            "unknown_tokens": lambda scores, truth: _sum(truth, "unknown") / _sum(truth, "tokens"),
            "ngram_perplexity": lambda scores, truth: _exp(-_sum(truth, "ngram") / _sum(truth, "tokens")),
            "ngram_nats_per_token": lambda scores, truth: -_sum(truth, "ngram") / _sum(truth, "tokens"),
            "ngram_bits_per_character": lambda scores, truth: _bits(
                -_sum(truth, "ngram"), truth, "characters"
            ),
        }

    def state(self) -> Any:
        return {
            "token_level": self.token_level,
            "tokenizer": self.tokenizer.state(),
            "sizes": asdict(self.sizes),
            "ends": self.ends,
            "ngram": self.ngram.state(),
            "validation": self.validation,
        }

    def restore(self, state: Any) -> Self:
        self.token_level, self.ends = state["token_level"], state["ends"]
        self.tokenizer: Tokenizer = tokenizer(state["tokenizer"])
        self.sizes, self.validation = Sizes(**state["sizes"]), state["validation"]
        self.ngram = KneserNey.from_state(state["ngram"])
        return self


def _training_sizes(given: Mapping[str, Any]) -> dict[str, Any]:
    """Of the sizes that the user gave those that a network with weights may still change."""
    return {
        name: value for name, value in given.items() if name in ("dropout", "chunk_length", "learning_rate")
    }


def _nats(scores: Sequence[np.ndarray]) -> float:
    return -float(sum(one.sum(dtype=np.float64) for one in scores))


def _sum(truth: Sequence[DocumentTruth], name: str) -> float:
    """Of all documents; at least 1 for counts, so that texts without a token have numbers too."""
    total = sum(getattr(one, name) for one in truth)
    return max(1, total) if name in ("tokens", "characters", "bytes") else total


def _bits(nats: float, truth: Sequence[DocumentTruth], unit: str) -> float:
    return nats / math.log(2.0) / _sum(truth, unit)


def _exp(nats: float) -> float:
    return math.exp(min(700.0, nats))
