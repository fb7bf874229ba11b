"""Prints the progress of a loop of one's own: steps, time left, and the means of numbers."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from longspan import errors

_PLAIN_FROM = 1e-3  # smaller numbers are printed with an exponent


class Progbar:
    """A progress bar in one line of a terminal, for a loop of one's own; `fit` has a bar by itself.

    Args:
        target: the number of steps; None if it is unknown.
        width: characters of the bar.
        verbose: 0 for no output, 1 for the bar, 2 for a line at the end.
        interval: seconds between two drawings at least.
        stateful_metrics: names of numbers that are printed as they are; the others are averaged over steps.
        stateless_metrics: the other way round: only these are averaged. Beside stateful_metrics an error.
        unit_name: what a step is called.

    >>> bar = Progbar(2, verbose=0)
    >>> bar.update(1, values=[("loss", 0.5)])
    """

    def __init__(
        self,
        target: int | None,
        width: int = 20,
        verbose: int = 1,
        interval: float = 0.05,
        stateful_metrics: Iterable[str] | None = None,
        stateless_metrics: Iterable[str] | None = None,
        unit_name: str = "step",
    ) -> None:
        if stateful_metrics is not None and stateless_metrics is not None:
            way_out = "leave one out: all other numbers are of the other kind"
            expected = "one of stateful_metrics and stateless_metrics"
            raise errors.value_error("Progbar", expected, "both", way_out)
        self.target, self.width, self.interval, self.unit_name = target, width, interval, unit_name
        if verbose not in (0, 1, 2):
            raise errors.value_error("verbose", "0, 1 or 2", verbose, "1 shows a bar, 2 a line at the end")
        self.verbose = verbose
        self._averaged = None if stateless_metrics is None else set(stateless_metrics)
        self._shown = set(stateful_metrics or ())
        self._sums: dict[str, tuple[float, int]] = {}  # name -> sum over steps, number of steps
        self._step, self._start, self._drawn, self._width = 0, perf_counter(), -math.inf, 0

    def update(
        self, current: int, values: Sequence[tuple[str, Any]] | None = None, finalize: bool | None = None
    ) -> None:
        """Show a step.

        Args:
            current: the steps that are done.
            values: (name, number of the last step) each; of an array its mean.
            finalize: whether this is the last step, after which the line ends. None: at the target.
        """
        final = self.target is not None and current >= self.target if finalize is None else finalize
        steps = max(current - self._step, 1)
        for name, value in values or ():
            self._note(name, float(np.mean(np.asarray(value))), steps, final)
        self._step, now = current, perf_counter()
        if self.verbose == 1 and (final or now - self._drawn >= self.interval):
            self._drawn = now
            self._draw(final)
        elif self.verbose == 2 and final:
            print(f"{self._count()} - {self._text(final)}")

    def add(self, n: int, values: Sequence[tuple[str, Any]] | None = None) -> None:
        """Show `n` more steps."""
        self.update(self._step + n, values)

    def _note(self, name: str, value: float, steps: int, final: bool) -> None:
        averaged = name not in self._shown if self._averaged is None else name in self._averaged
        if not averaged or final:  # the numbers of the last step are those of all steps
            self._sums[name] = (value, 1)
        else:
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + value * steps, count + steps)

    def _count(self) -> str:
        return f"{self._step}/{self.target}" if self.target else f"{self._step}/unknown"

    def _draw(self, final: bool) -> None:
        line = f"{self._count()} {self._bar()}{self._text(final)}"
        sys.stdout.write("\r" + line.ljust(self._width) + ("\n" if final else ""))
        sys.stdout.flush()
        self._width = len(line)

    def _bar(self) -> str:
        if not self.target:
            return ""
        done = int(self.width * min(self._step / self.target, 1.0))
        return "━" * done + "─" * (self.width - done) + " "

    def _text(self, final: bool) -> str:
        """The time left, at the end the time taken, then the numbers."""
        seconds = perf_counter() - self._start
        each = seconds / max(self._step, 1)
        left = seconds if final or not self.target else each * (self.target - self._step)
        numbers = (f" - {name}: {_number(total / count)}" for name, (total, count) in self._sums.items())
        return f"{_clock(left)} {_short(each)}/{self.unit_name}{''.join(numbers)}"


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) > _PLAIN_FROM or value == 0 else f"{value:.4e}"


def _clock(seconds: float) -> str:
    """Seconds as such as 5s, 2:05 or 1:02:05.

    >>> _clock(125)
    '2:05'
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}" if minutes else f"{rest}s"


def _short(seconds: float) -> str:
    if seconds >= 1.0:
        return f"{seconds:.0f}s"
    return f"{seconds * 1e3:.0f}ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f}us"
