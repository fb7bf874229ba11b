"""The options and parts of tasks that read a text and write another: translations and summaries."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from longspan import errors
from longspan.data.splits import rows_of_fraction
from longspan.nn.memory_attention import ATTENTIONS

from .estimator import Estimator
from .fitting import Run
from .options import option
from .pair_codec import Answers, AttentionMap, PairBatches, PairCodec, train_batch_size
from .pair_network import PairNetwork
from .pair_reading import Pair, PairColumns, read_pairs
from .pair_report import SHOWN, Evaluated
from .pair_tokens import TOKEN_LEVELS
from .parts import Fitted, Use
from .schedule import Schedule

_ANSWERED = 64  # sources that are answered at once, unless training batches are larger
_SCORED = 500  # pairs of the validation part at most that are answered after training

FittedPairs = Fitted[PairCodec, PairNetwork, Any]


@dataclass(eq=False, repr=False, kw_only=True)
class PairTask(Estimator[list[Pair], PairCodec, PairNetwork, Any]):
    """What tasks that read a text and write another share. Abstract; they give `codec` and `network`."""

    source_column: str | None = option(
        None, "column or JSON field of the texts to read, or the ending of their file; none to find it",
        group="data", per_source=True,
    )  # fmt: skip
    target_column: str | None = option(
        None, "column or JSON field of the texts to write, or the ending of their file; none to find it",
        group="data", per_source=True,
    )  # fmt: skip
    encoding: str = option(
        "utf-8", "encoding of text files that have no byte order mark, such as latin-1", group="data",
        advanced=True, per_source=True,
    )  # fmt: skip
    token_level: str | None = option(
        None, "how texts are cut into tokens; none to find it for each side", choices=TOKEN_LEVELS,
        group="data",
    )  # fmt: skip
    max_tokens: int | None = option(
        None, "tokens of a vocabulary at most; none to find it", group="data", minimum=5, advanced=True
    )
    max_source_length: int | None = option(
        None, "tokens read of a text at most; none for all", group="data", minimum=1, advanced=True
    )
    shared_vocabulary: bool = option(
        False, "whether both sides have one vocabulary; they do where tokens are copied", group="data",
        advanced=True,
    )  # fmt: skip
    embedding_size: int = option(
        192, "values of a token's vector", group="network", minimum=1, maximum=65_536, search=[128, 192, 256],
        advanced=True,
    )  # fmt: skip
    hidden_size: int = option(
        192, "units of every recurrent layer and direction", group="network", search=[128, 192, 256]
    )
    num_layers: int = option(2, "recurrent layers of the decoder", group="network", search=[2, 3])
    encoder_layers: int = option(
        1, "recurrent layers of the encoder, each in both directions", group="network", minimum=1,
        maximum=1000, search=[1, 2], advanced=True,
    )  # fmt: skip
    attention: str = option(
        "additive", "how the decoder's attention scores the source's tokens", choices=ATTENTIONS,
        group="network", advanced=True,
    )  # fmt: skip
    copy: bool = option(False, "whether tokens of the source may be copied", group="network")
    coverage: bool = option(
        False, "whether attention sees what it has read before", group="network", advanced=True
    )
    coverage_weight: float = option(
        1.0, "weight of the loss for reading a token twice, where coverage is on", group="network",
        advanced=True,
    )  # fmt: skip
    dropout: float = option(
        0.2, "share of values dropped in training", group="network", search=[0.1, 0.2, 0.3, 0.4]
    )
    recurrent_dropout: float = option(
        0.0, "share of h dropped, the same at all steps", group="network", fraction=True, advanced=True
    )
    label_smoothing: float = option(
        0.1, "share of a target's probability that is spread over all tokens", group="training",
        fraction=True, advanced=True,
    )  # fmt: skip
    scheduled_sampling: float = option(
        0.0, "share of the decoder's inputs that are its own answers at the end of training",
        group="training", fraction=True, advanced=True,
    )  # fmt: skip
    epochs: int | None = option(8, "times the training part is gone through at most", group="training")
    batch_size: int = option(32, "pairs a step at most", group="training")
    learning_rate: float | None = option(None, "of Adam, at its highest; none for found", group="training")
    patience: int | None = option(
        None, "epochs without improvement on the held-out part before training stops; none for never",
        group="training",
    )  # fmt: skip
    validation_fraction: float = option(0.05, "share of the training data held out", group="training")
    beam_size: int = option(
        5, "beginnings of an answer that are kept at every step; 1 takes the likeliest token",
        group="predict", minimum=1, maximum=1000,
    )  # fmt: skip
    n_best: int = option(
        1, "answers for each text, at most beam_size", group="predict", minimum=1, maximum=1000, advanced=True
    )
    length_penalty: float = option(
        0.6, "0 favours short answers, 1 nearly compares the mean log-probability of a token",
        group="predict", advanced=True,
    )  # fmt: skip

    takes_targets: ClassVar[bool] = True
    schedule: ClassVar[Schedule] = Schedule(warmup=0.1, final=0.02)
    reads_texts: ClassVar[bool] = True

    def _conflict(self) -> Exception | None:
        if self.n_best <= self.beam_size:
            return None
        return errors.value_error(
            "n_best", f"at most beam_size, {self.beam_size}", self.n_best, "raise beam_size"
        )

    def read(
        self, source: Any, y: Any = None, *, use: Use = "fit", fitted: FittedPairs | None = None
    ) -> list[Pair]:
        columns = PairColumns(self.source_column, self.target_column, self.encoding)
        pairs = read_pairs(source, y, columns=columns, targets=use != "predict")
        if fitted is not None:
            fitted.codec.note_unknown(pairs)
        return pairs

    def split(self, records: list[Pair]) -> tuple[list[Pair], list[Pair] | None]:
        """A fraction drawn by the seed."""
        held_out = rows_of_fraction(len(records), self.validation_fraction)
        if not held_out:
            return records, None
        generator = torch.Generator().manual_seed(self.seed)
        rows = torch.randperm(len(records), generator=generator).tolist()
        return [records[row] for row in sorted(rows[held_out:])], [
            records[row] for row in sorted(rows[:held_out])
        ]

    @abc.abstractmethod
    def codec(self) -> PairCodec: ...

    def _codec_options(self) -> Mapping[str, Any]:
        """The arguments of a `PairCodec`."""
        return {
            "token_level": self.token_level,
            "max_tokens": self.max_tokens,
            "shared": self.shared_vocabulary,
            "copied": self.copy,
            "max_source_length": self.max_source_length,
        }

    def batches(self, codec: PairCodec, records: list[Pair], *, train: bool) -> PairBatches:
        size = self.batch_size if train else max(_ANSWERED, self.batch_size)
        return PairBatches(codec, records, size, train=train)

    @abc.abstractmethod
    def network(self, codec: PairCodec, train: list[Pair] | None) -> PairNetwork: ...

    def _network_options(self, codec: PairCodec, train: list[Pair] | None) -> Mapping[str, Any]:
        """The arguments of a `PairNetwork`."""
        records = len(train or ())
        epochs = codec.epochs if self.epochs is None else self.epochs
        steps = epochs * -(-records // train_batch_size(records, self.batch_size))
        return {
            "source_tokens": codec.source.size,
            "target_tokens": None if codec.shared else codec.target.size,
            "embedding_size": self.embedding_size,
            "hidden_size": self.hidden_size,
            "encoder_layers": self.encoder_layers,
            "decoder_layers": self.num_layers,
            "cell": self.cell,
            "attention": self.attention,
            "copy": self.copy,
            "coverage": self.coverage,
            "coverage_weight": self.coverage_weight,
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "label_smoothing": self.label_smoothing,
            "scheduled_sampling": self.scheduled_sampling,
            "steps": max(1, steps),
        }

    def calibrate(self, fitted: FittedPairs, valid: list[Pair], run: Run) -> None:
        """Keep the scores of a part of the validation pairs, for the report."""
        part = valid[:_SCORED]
        answers: Answers = self._answers(fitted, part, {"n_best": 1})
        fitted.codec.held_out = fitted.codec.scores(answers, fitted.codec.truth(part))

    def attention_maps(self, source: Any) -> list[AttentionMap]:
        """The attention of the best answer to each text, over the tokens that are read.

        Args:
            source: as for `predict`.
        """
        fitted = self._check_fitted()
        pairs = self.read(source, use="predict", fitted=fitted)
        answers: Answers = self._answers(fitted, pairs, {"n_best": 1})
        return [
            fitted.codec.attention_map(row[0], pair) for row, pair in zip(answers.rows, pairs, strict=True)
        ]

    def _evaluated(self, fitted: FittedPairs, source: Any) -> Evaluated | None:
        """Answers to a source with their scores; only the first ones where it has no targets."""
        if source is None:
            return None
        pairs = self.read(source, use="predict", fitted=fitted)
        known = all(pair.target is not None for pair in pairs)
        pairs = pairs if known else pairs[:SHOWN]
        answers: Answers = self._answers(fitted, pairs, {"n_best": 1})
        scored = fitted.codec.scores(answers, fitted.codec.truth(pairs)) if known else {}
        return Evaluated(pairs, answers, scored)
