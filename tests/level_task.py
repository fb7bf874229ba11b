"""Knows the smallest task there can be: it learns the level of a column and answers it for every row.

The tests of the command line and of the report run on it, so that they say nothing about any real task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import polars as pl
import torch
from torch import Tensor, nn
from typing_extensions import Self

from longspan import errors
from longspan.data import Batch
from longspan.report.elements import Curves, Line, Number, Numbers, Section, Table
from longspan.tasks.estimator import Codec, Estimator
from longspan.tasks.options import option


class Nothing(Codec):
    """A codec with nothing to learn."""

    sizes: Mapping[str, Any] = {"outputs": 1}  # pyright: ignore[reportIncompatibleMethodOverride]

    def fit(self, records: Any) -> Self:
        return self

    def decode(self, coded: list[Any], records: Any) -> Any:
        return pl.DataFrame({"row": range(len(records)), "point": torch.cat(coded).tolist()})

    def truth(self, records: Any) -> Any:
        return pl.Series(records)

    def state(self) -> Any:
        return None

    def restore(self, state: Any) -> Self:
        return self


class Constant(nn.Module):
    """One weight, whatever the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(1))

    def forward(self, batch: Batch, state: Any) -> tuple[Tensor, Any]:
        return self.level.expand(len(batch.x)), state


@dataclass(eq=False, repr=False, kw_only=True)
class Level(Estimator):
    """The level of a column, learnt by gradient descent.

    Not a second paragraph of help.
    """

    target: str = option("value", "column to learn", group="data")
    shift: tuple[float, ...] = option((), "numbers to add to what is read")
    loud: bool = option(False, "warn while reading")
    epochs: int = option(3, "times the data are gone through", group="training")

    name: ClassVar[str] = "level"

    def read(self, source: Any, y: Any = None, *, use: str = "fit") -> list[float]:
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

    def network(self, sizes: Mapping[str, Any]) -> nn.Module:
        return Constant()

    def batch_loss(self, output: Any, batch: Batch) -> Tensor:
        return (output - batch.y).square().mean()

    def metrics(self) -> Mapping[str, Any]:
        return {"mae": lambda answers, truths: (answers["point"] - truths).abs().mean()}

    def exhibits(self, source: Any = None) -> list[Section]:
        self.codec_of()
        level = self.network_.get_parameter("level").item()
        table = Table("Back-test", ["answer", "MAE"], [["level", 1.5], ["zero", 2.5]], "Of two.", emphasis=0)
        curve = Curves("Level", "row", "value", [Line("level", [0, 1], [level, level])])
        summary = Section("Summary", [Numbers("", [Number("Level", f"{level:.3f}", "just learnt", "good")])])
        return [summary, Section("Back-test", [table, curve]), *super().exhibits(source)]
