"""Shows the progress of training: nothing, a progress bar, or a line per epoch."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

from longspan import config, errors

_REDRAW_SECONDS = 0.25  # time between two drawings of the bar, each of which takes a millisecond

Logs = Mapping[str, float]


class NoProgress:
    """Shows nothing; the base of the other displays."""

    def begin(self, epochs: int, done: int, steps: int | None) -> None:
        """Training starts after `done` of `epochs`; an epoch has `steps`, None if unknown."""

    def step(self, epoch: int, step: int, logs: Callable[[], Logs]) -> None:
        """A step has ended (numbers start at 1); `logs` is called only when the numbers are shown."""

    def end_epoch(self, epoch: int, steps: int, logs: Logs, seconds: float) -> None:
        """An epoch has ended (numbers start at 0)."""

    def log(self, text: str) -> None:
        """Print a line for the user, or send it to the logger (see `longspan.config`)."""
        if config.is_interactive_logging_enabled():
            print(text)
        else:
            logging.getLogger("longspan").info(text)

    def close(self) -> None:
        """Training has ended, with or without an error."""


class EpochLines(NoProgress):
    """One line per epoch."""

    def begin(self, epochs: int, done: int, steps: int | None) -> None:
        self._epochs = epochs

    def end_epoch(self, epoch: int, steps: int, logs: Logs, seconds: float) -> None:
        print(epoch_line(epoch, self._epochs, steps, logs, seconds), flush=True)


class ProgressBar(NoProgress):
    """A bar over all epochs with loss, metrics and the time left, and a line per epoch above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(compact=True),
            console=Console(highlight=False),
            auto_refresh=False,  # a drawing thread would compete with training
            transient=True,
        )
        self._lines: list[str] = []
        self._next = 0.0

    def begin(self, epochs: int, done: int, steps: int | None) -> None:
        self._epochs, self._steps = epochs, steps
        total = None if steps is None else epochs * steps
        at = done * (steps or 0)
        self._task = self._progress.add_task("", total=total, completed=at, numbers="")
        self._progress.start()

    def step(self, epoch: int, step: int, logs: Callable[[], Logs]) -> None:
        if perf_counter() >= self._next:
            self._draw(epoch, step, logs())

    def _draw(self, epoch: int, step: int, logs: Logs) -> None:
        total = "" if self._steps is None else f"/{self._steps}"
        done = step if self._steps is None else epoch * self._steps + step
        self._print_lines()
        self._progress.update(
            self._task,
            completed=done,
            description=f"epoch {epoch + 1}/{self._epochs}, step {step}{total}",
            numbers=format_logs(logs),
            refresh=True,
        )
        self._next = perf_counter() + _REDRAW_SECONDS

    def _print_lines(self) -> None:
        """Print all lines since the last drawing at once: an epoch may be shorter than printing its line."""
        if self._lines:
            self._progress.console.print("\n".join(self._lines), markup=False)
            self._lines = []

    def end_epoch(self, epoch: int, steps: int, logs: Logs, seconds: float) -> None:
        self._steps = steps
        self._lines.append(epoch_line(epoch, self._epochs, steps, logs, seconds))
        if perf_counter() >= self._next:
            self._progress.update(self._task, total=self._epochs * steps)
            self._draw(epoch, steps, logs)

    def log(self, text: str) -> None:
        if config.is_interactive_logging_enabled():
            self._lines.append(text)
        else:
            super().log(text)

    def close(self) -> None:
        self._print_lines()
        self._progress.stop()


def format_logs(logs: Logs) -> str:
    """`loss 0.1234  val_loss 0.2345`"""
    return "  ".join(f"{name} {value:.4g}" for name, value in logs.items())


def epoch_line(epoch: int, epochs: int, steps: int, logs: Logs, seconds: float) -> str:
    """An epoch in one line."""
    return f"Epoch {epoch + 1}/{epochs} - {steps} steps - {seconds:.2f} s - {format_logs(logs)}"


def progress_display(verbose: Any) -> NoProgress:
    """The display of training's progress.

    Args:
        verbose: 0 for no output, 1 or "auto" for a progress bar in a terminal or notebook and no output
            elsewhere, 2 for a line per epoch.
    """
    if verbose not in (0, 1, 2, "auto"):
        raise errors.value_error(
            "verbose", '0, 1, 2 or "auto"', repr(verbose), "1 shows a bar, 2 a line an epoch"
        )
    if verbose == 2:
        return EpochLines()
    if verbose == 0 or not (sys.stdout.isatty() or "ipykernel" in sys.modules):
        return NoProgress()
    return ProgressBar()
