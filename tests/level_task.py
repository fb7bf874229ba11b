"""Defines the smallest task there can be: it learns the mean of a column and predicts it for every row.

The tests of the command line and of the report run on it, so that they say nothing about any real task.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import polars as pl
import torch
from torch import Tensor, nn
from typing_extensions import Self

from longspan import errors
from longspan.data import Batch
from longspan.report.elements import Line, LineChart, Section, Stat, Stats, Table
from longspan.tasks.codec import Codec, Metrics
from longspan.tasks.estimator import Estimator
from longspan.tasks.network import TaskNetwork
from longspan.tasks.options import option
from longspan.tasks.parts import Fitted, Use


class Nothing(Codec[list[float]]):
    """A codec with nothing to learn."""

    def fit(self, train: list[float], valid: list[float] | None = None) -> Self:
        return self

    def decode(self, predictions: list[Tensor], records: list[float]) -> pl.DataFrame:
        return pl.DataFrame({"row": range(len(records)), "point": torch.cat(predictions).tolist()})

    def truth(self, records: list[float]) -> pl.Series:
        return pl.Series(records)

    def metrics(self) -> Metrics:
        return {"mae": lambda answers, truths: (answers["point"] - truths).abs().mean()}

    def state(self) -> None:
        return None

    def restore(self, state: None) -> Self:
        return self


class Constant(TaskNetwork):
    """One weight, whatever the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(1))

    def forward(self, batch: Batch, state: Any = None) -> tuple[Tensor, Any]:
        return self.level.expand(len(batch.x)), state

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return (output - batch.y).square().mean()

    def predict(self, batch: Batch) -> Tensor:
        return self(batch)[0]


@dataclass(eq=False, repr=False, kw_only=True)
class Level(Estimator[list[float], Nothing, Constant, Any]):
    """The level of a column, learnt by gradient descent.

    Not a second paragraph of help.
    """

    target: str = option("value", "column to learn", group="data")
    shift: tuple[float, ...] = option((), "numbers to add to what is read")
    loud: bool = option(False, "warn while reading")
    epochs: int | None = option(3, "times the data are gone through", group="training")

    name: ClassVar[str] = "level"

    def read(
        self,
        source: Any,
        y: Any = None,
        *,
        use: Use = "fit",
        fitted: Fitted[Nothing, Constant, Any] | None = None,
    ) -> list[float]:
        frame = pl.read_csv(source)
        errors.check_choice("target", self.target, frame.columns)
        if self.loud:
            errors.notice("the file was read")
        return [value + sum(self.shift) for value in frame[self.target].to_list()]

    def codec(self) -> Nothing:
        return Nothing()

    def batches(self, codec: Any, records: Any, *, train: bool) -> list[Batch]:
        if records and records[0] == 666:
            raise RuntimeError("a bug\nof two lines")
        x = torch.tensor(records)
        return [Batch(x, x)]

    def network(self, codec: Nothing, train: list[float] | None) -> Constant:
        return Constant()

    def report(self, fitted: Fitted[Nothing, Constant, Any], source: Any) -> list[Section]:
        level = fitted.network.level.item()
        table = Table("Back-test", ["answer", "MAE"], [["level", 1.5], ["zero", 2.5]], "Of two.", emphasis=0)
        curve = LineChart("Level", "row", "value", [Line("level", [0, 1], [level, level])])
        summary = Section("Summary", [Stats("", [Stat("Level", f"{level:.3f}", "just learnt", "good")])])
        return [summary, Section("Back-test", [table, curve])]
