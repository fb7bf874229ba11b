"""Keeps the numbers of every epoch, and shows them as a table and as curves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from longspan import errors
from longspan.optional import require
from longspan.text_table import text_table

_EPOCHS_SHOWN = 12  # epochs at the start and at the end of a long table; those between are left out


@dataclass
class History:
    """The numbers of a training, epoch by epoch; prints as a table.

    Args:
        history: name -> its numbers: "loss", the metrics, and the same of validation with "val_". There is
            one an epoch, fewer for what not every epoch has, such as a validation every other epoch.
        epoch: the epochs, counted from 0.
        params: epochs, steps and verbose as asked for.
        stopped: why training ended before its last epoch; None if it did not.
        epochs_of: name -> the epochs of its numbers, for those that not every epoch has.
        model: the model that was trained, where there is one around the network.

    >>> curve = History({"loss": [0.5, 0.25]}, [0, 1])
    >>> print(curve)
    epoch  loss
        1   0.5
        2  0.25
    """

    history: dict[str, list[float]] = field(default_factory=dict)
    epoch: list[int] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)
    stopped: str | None = None
    epochs_of: dict[str, list[int]] = field(default_factory=dict)
    model: Any = field(default=None, repr=False, compare=False)

    def add(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Add an epoch."""
        for name in {**self.history, **logs}:
            whole = name not in self.epochs_of and len(self.history.get(name, ())) == len(self.epoch)
            if not whole or name not in logs:
                self.epochs_of.setdefault(name, self.epoch[: len(self.history.get(name, ()))])
                self.epochs_of[name] += [epoch] if name in logs else []
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))
        self.epoch.append(epoch)

    def _epochs(self, name: str) -> list[int]:
        """The epochs that have a number of this name."""
        return self.epochs_of.get(name, self.epoch)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw the curves, each metric beside its validation; needs matplotlib.

        Args:
            path: a .png, .svg or .pdf to write; None to write nothing.

        Returns:
            The matplotlib figure.

        Raises:
            ImportError: matplotlib is missing; the sentence names the command.
            ValueError: nothing was trained.
        """
        if not self.epoch:
            raise errors.value_error("history", "at least one epoch", "none", "train first")
        figures = require("matplotlib.figure", "plot", "plot")
        names = [name for name in self.history if not name.startswith("val_")]
        figure = figures.Figure(figsize=(6.4, 3.2 * len(names)), layout="constrained")
        for index, name in enumerate(names):
            axes = figure.add_subplot(len(names), 1, index + 1)
            for key, label in ((name, "training"), (f"val_{name}", "validation")):
                if key in self.history:
                    axes.plot([epoch + 1 for epoch in self._epochs(key)], self.history[key], label=label)
            axes.set(xlabel="epoch", ylabel=name)
            axes.legend()
        if path is not None:
            figure.savefig(os.fspath(path), dpi=150)
        return figure

    def __repr__(self) -> str:
        heads = ["epoch", *self.history]
        columns = [
            dict(zip(self._epochs(name), values, strict=True)) for name, values in self.history.items()
        ]
        rows = [
            [str(epoch + 1), *(f"{column[epoch]:.4g}" if epoch in column else "" for column in columns)]
            for epoch in self.epoch
        ]
        if len(rows) >= 2 * _EPOCHS_SHOWN:
            rows = [*rows[:_EPOCHS_SHOWN], ["…"] * len(heads), *rows[-_EPOCHS_SHOWN:]]
        stopped = [f"stopped: {self.stopped}"] if self.stopped else []
        return "\n".join([text_table(heads, rows, left=0), *stopped])
