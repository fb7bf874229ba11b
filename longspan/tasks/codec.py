"""The base class of the tasks' codecs, which encode records as tensors and decode predictions."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import polars as pl
from typing_extensions import Self

from longspan.data.readers.frames import from_frame, is_frame_like

from .joining import split_rows
from .schedule import TrainingOptions

Tree = Any  # None, booleans, numbers, text, tensors, and dicts, lists and tuples of them
RecordsT = TypeVar("RecordsT")
Metrics = Mapping[str, Callable[[Any, Any], float]]


class Codec(abc.ABC, Generic[RecordsT]):
    """Encodes records for a network, and decodes its predictions to the user's units. Abstract.

    A codec holds everything that is learnt except the network's weights: vocabularies, scales, settings
    selected by validation error, calibration. A saved model is a codec's state, weights and options.
    """

    @abc.abstractmethod
    def fit(self, train: RecordsT, valid: RecordsT | None = None) -> Self:
        """Fit to records; returns itself.

        Args:
            train: the training part.
            valid: the validation part, to select settings by; None without one.
        """

    def refit(self, records: RecordsT) -> Self:
        """A codec refitted on all records, including validation, once calibration is done.

        Returns:
            Itself to keep the first fit. If it is another codec, the network is trained again from scratch.
        """
        return self

    def count_rows(self, records: RecordsT) -> int:
        """The number of rows that were read, such as texts, readings or events."""
        rows: Any = records
        return len(rows)

    @property
    def learning_rate(self) -> float:
        """The learning rate if the task's option is None."""
        return 1e-3

    @property
    def epochs(self) -> int:
        """The largest number of epochs if the task's option is None."""
        return 20

    def training(self, options: TrainingOptions, batch_size: int) -> TrainingOptions:
        """How the network is trained if the task's `epochs` is None; by default as `options` say."""
        return options

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The feature columns of a table, in their order; () for sources whose features have no names."""
        return ()

    @abc.abstractmethod
    def decode(self, predictions: list[Any], records: RecordsT) -> Any:
        """The answers in the user's units, as the metrics take them; predictions: one entry per batch."""

    def trial_records(self, stream: Any) -> RecordsT | None:
        """A few records that a loaded model must answer before it is handed out; None for none.

        Args:
            stream: of the task, None where it has none.
        """
        return None

    def present(self, answers: Any) -> Any:
        """Decoded answers in the form that `predict` returns to the user."""
        return answers

    def as_table(self, answers: Any, records: RecordsT) -> pl.DataFrame:
        """Decoded answers as a table: the frame that `present` returns, else a row for every answer."""
        presented = self.present(answers)
        if is_frame_like(presented):
            table, index = from_frame(presented)
            return table.drop(index) if index else table
        return pl.DataFrame({"row": range(len(presented)), "answer": list(presented)})

    def join(self, parts: Sequence[RecordsT]) -> RecordsT | None:
        """The records of several sources as those of one; None where their answers cannot be told apart."""
        return None

    def split(self, table: pl.DataFrame, parts: Sequence[RecordsT]) -> list[pl.DataFrame]:
        """The table of joined records by its rows, so many for each source as `as_table` gives it alone."""
        return split_rows(table, [self.count_rows(part) for part in parts])

    @abc.abstractmethod
    def truth(self, records: RecordsT) -> Any:
        """The targets of the records, as the metrics take them."""

    @abc.abstractmethod
    def metrics(self) -> Metrics:
        """Name -> function (answers, truths) -> number, in the order in which they are shown."""

    @abc.abstractmethod
    def state(self) -> Tree:
        """Everything learnt, as plain values and tensors."""

    @abc.abstractmethod
    def restore(self, state: Tree) -> Self:
        """Take what `state` returned; returns itself."""
