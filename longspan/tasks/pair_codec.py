"""The codec of tasks that read a text and write another: tokens, answers, scores, trivial rivals."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor
from typing_extensions import Self

from longspan import errors
from longspan.data.batches import Batch
from longspan.data.padding import RaggedTensor, bucket_by_length
from longspan.data.tokenizers import END, SPECIAL, START, UNKNOWN
from longspan.search import Hypothesis

from .codec import Codec, Metrics, Tree
from .pair_reading import Pair
from .pair_tokens import SideTokens, find_level

IGNORED = -100  # the target of steps that do not count
_STEPS, _SMALLEST = 32, 4  # steps of an epoch at least, unless their batches were smaller than this
_SPARE = 10  # tokens that an answer may have beyond what lengths in training let expect
_START, _END, _UNKNOWN = (SPECIAL.index(token) for token in (START, END, UNKNOWN))

TextMetric = Callable[[Sequence[str], Sequence[str]], float]


class Written(NamedTuple):
    """An answer: text; score: what the search ranks by, nearly a log-probability; numbers: its tokens'.

    attention: (tokens, S) over the tokens of the source, of which the last is its end; None for no tokens.
    """

    text: str
    score: float
    numbers: tuple[int, ...] = ()
    attention: Tensor | None = None


class AttentionMap(NamedTuple):
    """Tokens that were read, the last being the end, those that were written, and weights (written, read)."""

    read: list[str]
    written: list[str]
    weights: np.ndarray


@dataclass
class Answers:
    """What was written for each source, the best first; n_best: answers asked for each."""

    rows: list[list[Written]]
    n_best: int = 1

    @property
    def best(self) -> list[str]:
        """The best text for each source."""
        return [row[0].text for row in self.rows]


class Truth(NamedTuple):
    """The true texts, and the sources for trivial answers."""

    targets: list[str]
    sources: list[str]


class PairInputs(NamedTuple):
    """What the network reads of B pairs.

    source: (B, S) and lengths: (B,); limit: (B,) the longest answer; previous: (B, T) the target's tokens,
    each before the one to be written, and steps: (B,); both None where there is no target; copied: (B, S)
    source tokens numbered to be copied, or None; extra: () how many unknown ones there are.
    """

    source: Tensor
    lengths: Tensor
    limit: Tensor
    previous: Tensor | None = None
    steps: Tensor | None = None
    copied: Tensor | None = None
    extra: Tensor | None = None


class PairCodec(Codec[list[Pair]]):
    """Pairs of texts as tokens, and what is written as text. Abstract: tasks name metrics and rivals.

    Args:
        token_level: of both sides; None: found for each, see `pair_tokens.find_level`.
        max_tokens: size of a vocabulary at most; None: see `pair_tokens.SideTokens`.
        shared: whether both sides have one vocabulary.
        copied: whether tokens of the source may be copied; both sides then have one vocabulary.
        max_source_length: tokens read of a source at most; None for all.
    """

    def __init__(
        self,
        token_level: str | None = None,
        max_tokens: int | None = None,
        *,
        shared: bool = False,
        copied: bool = False,
        max_source_length: int | None = None,
    ) -> None:
        self.token_level, self.max_tokens = token_level, max_tokens
        self.shared, self.copied = shared or copied, copied
        self.max_source_length = max_source_length
        self.source = self.target = SideTokens("characters")
        self.characters = ""  # of the sources in training
        self.longest, self.ratio = 0, 1.0  # tokens of the longest target; target's tokens for one of a source
        self.held_out: dict[str, Any] = {}  # scores on the validation part

    @abc.abstractmethod
    def text_metrics(self) -> dict[str, TextMetric]:
        """Name -> function (answers, truths) -> number; every rival has these too."""

    @abc.abstractmethod
    def rivals(self, sources: list[str]) -> dict[str, list[str]]:
        """Answers that need no network, by the names under which `evaluate` gives their metrics."""

    # ---- learning

    def fit(self, train: list[Pair], valid: list[Pair] | None = None) -> Self:
        sources, targets = [pair.source for pair in train], [pair.target or "" for pair in train]
        self.characters = "".join(sorted(set().union(*sources)))
        if self.shared:
            self.source = self.target = self._side([*sources, *targets])
        else:
            self.source, self.target = self._side(sources), self._side(targets)
        lengths = [len(self.target.encode(text)) for text in targets]
        self.longest = max(lengths)
        self.ratio = sum(lengths) / sum(len(self._read(text)[0]) for text in sources)
        return self

    def _side(self, texts: Sequence[str]) -> SideTokens:
        level = self.token_level or find_level(texts, copied=self.copied)
        return SideTokens(level, self.max_tokens, copied=self.copied).fit(texts)

    @property
    def learning_rate(self) -> float:
        return 3e-3

    # ---- texts to tensors

    def _read(self, text: str) -> tuple[list[int], list[str]]:
        """The numbers of a source with its end, unknown tokens numbered to be copied, and these tokens."""
        numbers, unknown = self.source.encode_to_copy(text) if self.copied else (self.source.encode(text), [])
        if self.max_source_length is not None:
            numbers = numbers[: self.max_source_length]
        return [*numbers, _END], unknown

    def encode_source(self, text: str) -> tuple[list[int], list[int], list[str]]:
        """Numbers as the encoder reads them, as they are copied, and the unknown tokens."""
        numbers, unknown = self._read(text)
        return [_UNKNOWN if n >= self.source.size else n for n in numbers], numbers, unknown

    def encode_target(self, text: str, unknown: Sequence[str]) -> tuple[list[int], list[int]]:
        """Numbers that the decoder reads, from the start, and those that it is to write, up to the end.

        Tokens that can neither be written nor be copied are IGNORED.
        """
        numbers = self.target.encode(text)
        if unknown and _UNKNOWN in numbers:
            numbers = self.target.with_unknown(numbers, self.target.pieces(text), unknown)
        to_write = [IGNORED if n == _UNKNOWN else n for n in numbers]
        return [_START, *numbers], [*to_write, _END]

    def limit(self, length: int) -> int:
        """Tokens that an answer may have to a source of so many: more than any in training has."""
        return max(self.longest, round(2 * self.ratio * length)) + _SPARE

    def note_unknown(self, records: Sequence[Pair]) -> None:
        """Notices what no source in training had: words where they are the tokens, else characters."""
        by_words = self.source.level == "words" and not self.copied
        known = set(self.source.tokenizer.tokens if by_words else self.characters)
        read = [self.source.pieces(pair.source) if by_words else pair.source for pair in records]
        rows = [row for row, parts in enumerate(read) if not known.issuperset(parts)]
        if rows:
            new = sorted(set().union(*(set(read[row]) - known for row in rows)))
            listed = ", ".join(map(repr, new[:5])) + (" and others" if len(new) > 5 else "")
            errors.notice(
                f"{len(rows)} of {len(records)} sources have {'words' if by_words else 'characters'} that no "
                f"source in training had ({listed}), first in row {rows[0]}; they are answered all the same."
            )

    # ---- predictions to texts

    def decode(self, predictions: list[Any], records: list[Pair]) -> Answers:
        rows = [row for part in predictions for row in part.rows]
        written = [self._written(found, pair) for found, pair in zip(rows, records, strict=True)]
        return Answers(written, predictions[0].n_best if predictions else 1)

    def _written(self, found: list[Hypothesis], pair: Pair) -> list[Written]:
        if not pair.source.strip():
            return [Written("", 0.0)]
        unknown = self._read(pair.source)[1] if self.copied else []
        length = len(self._read(pair.source)[0])
        return [
            Written(
                self.target.decode(one.tokens, unknown),
                one.score,
                tuple(one.tokens),
                None if one.attention is None else one.attention[:, :length].cpu(),
            )
            for one in found
        ]

    def attention_map(self, written: Written, pair: Pair) -> AttentionMap:
        """The attention of an answer to a text; of no tokens where nothing was written."""
        if written.attention is None or not written.numbers:
            return AttentionMap([], [], np.zeros((0, 0), np.float32))
        read, names = self.token_names(pair.source, written.numbers)
        return AttentionMap(read, names, written.attention.numpy())

    def token_names(self, source: str, numbers: Sequence[int]) -> tuple[list[str], list[str]]:
        """The tokens of a source with its end, as they are read, and those of an answer to it, as strings."""
        _, read, unknown = self.encode_source(source)
        pieces = self.source.pieces(source)[: len(read) - 1]
        return [*pieces, END], self.target.names(numbers, unknown)

    def present(self, answers: Answers) -> list[Any]:
        """A text for each source, or a list of them where several were asked for."""
        if answers.n_best == 1:
            return answers.best
        return [[written.text for written in row] for row in answers.rows]

    def as_table(self, answers: Answers, records: list[Pair]) -> pl.DataFrame:
        """Columns row, source, answer and score; with several answers a row rank too, 1 for the best."""
        rows = [
            {"row": row, "source": records[row].source, "rank": rank, "answer": one.text, "score": one.score}
            for row, written in enumerate(answers.rows)
            for rank, one in enumerate(written, 1)
        ]
        frame = pl.DataFrame(rows)
        return frame if answers.n_best > 1 else frame.drop("rank")

    # ---- how good they are

    def truth(self, records: list[Pair]) -> Truth:
        return Truth([pair.target or "" for pair in records], [pair.source for pair in records])

    def metrics(self) -> Metrics:
        metrics: dict[str, Callable[[Any, Any], float]] = {
            name: partial(_score, metric) for name, metric in self.text_metrics().items()
        }
        for rival in self.rivals([]):
            for name, metric in self.text_metrics().items():
                metrics[f"{rival}_{name}"] = partial(_score_rival, metric, self, rival)
        return metrics

    def scores(self, answers: Answers, truth: Truth) -> dict[str, Any]:
        """Metrics of the answers and of every rival, as far as the packages are there; rows: pairs."""
        written = {"model": answers.best, **self.rivals(truth.sources)}
        scores = {
            name: {key: metric(texts, truth.targets) for key, metric in _there(self.text_metrics()).items()}
            for name, texts in written.items()
        }
        return {"rows": len(truth.targets), "scores": scores}

    def state(self) -> dict[str, Any]:
        return {
            "source": self.source.state(),
            "target": None if self.shared else self.target.state(),
            "characters": self.characters,
            "longest": self.longest,
            "ratio": self.ratio,
            "held_out": self.held_out,
        }

    def restore(self, state: Tree) -> Self:
        self.source = self.target = SideTokens.from_state(state["source"])
        if state["target"] is not None:
            self.target = SideTokens.from_state(state["target"])
        self.characters, self.longest, self.ratio = state["characters"], state["longest"], state["ratio"]
        self.held_out = state["held_out"]
        return self


def _score(metric: TextMetric, answers: Answers, truth: Truth) -> float:
    return metric(answers.best, truth.targets)


def _score_rival(metric: TextMetric, codec: PairCodec, rival: str, answers: Answers, truth: Truth) -> float:
    return metric(codec.rivals(truth.sources)[rival], truth.targets)


def _there(metrics: Mapping[str, TextMetric]) -> dict[str, TextMetric]:
    """The metrics whose packages are installed."""
    packages = {"bleu": "sacrebleu", "chrf": "sacrebleu", "rouge": "rouge_score"}
    needed = {name: packages.get(name.rstrip("12L")) for name in metrics}
    return {name: metric for name, metric in metrics.items() if (p := needed[name]) is None or find_spec(p)}


def train_batch_size(records: int, batch_size: int) -> int:
    """Pairs of a training batch: few records make smaller ones, so that an epoch has steps enough."""
    return min(batch_size, max(_SMALLEST, records // _STEPS))


class PairBatches:
    """Batches of pairs; in training pairs of similar length share one, in a new order at every iteration.

    The batches of few pairs are small: a 32nd of them, at least 4.
    """

    def __init__(self, codec: PairCodec, records: Sequence[Pair], batch_size: int, *, train: bool) -> None:
        self.codec, self.train = codec, train
        self.batch_size = train_batch_size(len(records), batch_size) if train else batch_size
        read = [codec.encode_source(pair.source) for pair in records]
        self.sources = _ragged([numbers for numbers, _, _ in read])
        self.copied = _ragged([numbers for _, numbers, _ in read]) if codec.copied else None
        self.extra = torch.tensor([len(unknown) for _, _, unknown in read])
        self.limits = torch.tensor([codec.limit(len(numbers)) for numbers, _, _ in read])
        self.previous = self.written = None
        if all(pair.target is not None for pair in records):
            targets = [
                codec.encode_target(pair.target or "", unknown)
                for pair, (_, _, unknown) in zip(records, read, strict=True)
            ]
            self.previous, self.written = (_ragged([one[side] for one in targets]) for side in (0, 1))

    def __len__(self) -> int:
        return -(-len(self.sources) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        if not self.train or self.previous is None:
            yield from map(self._batch, torch.arange(len(self.sources)).split(self.batch_size))
            return
        lengths = self.sources.lengths + self.previous.lengths
        for rows in list(bucket_by_length(lengths, self.batch_size)):
            yield self._batch(rows)

    def _batch(self, rows: Tensor) -> Batch:
        source, lengths = self.sources.pad(rows)
        inputs = PairInputs(source, lengths, self.limits[rows])
        if self.copied is not None:
            inputs = inputs._replace(copied=self.copied.pad(rows)[0], extra=self.extra[rows].max())
        if self.previous is None or self.written is None:
            return Batch(inputs)
        previous, steps = self.previous.pad(rows)
        return Batch(inputs._replace(previous=previous, steps=steps), self.written.pad(rows, IGNORED)[0])


def _ragged(rows: Sequence[Sequence[int]]) -> RaggedTensor:
    return RaggedTensor([torch.tensor(row, dtype=torch.int64) for row in rows])
