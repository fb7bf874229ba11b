"""Measures how much quicker two processes train than one, for every task; no figure without equal weights.

    python -m benchmarks.workers [--tasks forecast,language] [--hidden 256] [--batch 256] [--length 4]

Each task is fitted to its small generated data (tests/tasks/toys.py) by one process and by two, all with one
thread and without random masks, in turn. The texts, sounds and clips of these data are a few steps long, so
several are joined. First weights and losses are compared. Then the efficiency is the time of one process over
twice that of two. "Processor" is by the processor time of the first process, which others on the machine
change little; waiting for the other process is not in it. "Clock" is by the clock, of a machine that is to be
idle. The first epoch of a fit is not measured; of the others the quickest one is.
"""

from __future__ import annotations

import argparse
import os
import runpy
import statistics
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from rich.console import Console

from longspan import errors, tasks
from longspan.tasks.estimator import Estimator
from longspan.tasks.options import options_of
from longspan.training import Callback

from .measure import Column, Table, environment

LIMIT = 2e-3  # difference of weights, of the largest one of a tensor, that rounding may make
_RATE = 1e-4  # low, so that the differences of rounding do not grow from step to step
_EVENTS = 16  # of a user, which a row of a batch needs
_STEPS = 32  # batches of the enlarged data of a toy, where its records are batched
_COPIES = 8  # of each series
_CLASSES = 20  # different answers at most that are classes, not texts
COLUMNS = (
    Column("task", "task"),
    Column("difference", "difference"),
    Column("alone", "one, ms an epoch", "ms"),
    Column("shared", "two, ms an epoch", "ms"),
    Column("processor", "processor", "share"),
    Column("clock", "clock", "share"),
)


class EpochTimes(Callback):
    """Takes the processor time and the time by the clock of every epoch but the first."""

    def __init__(self) -> None:
        self.times: list[tuple[float, float]] = []
        self._began = 0.0, 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._began = time.process_time(), time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch:
            now = time.process_time(), time.perf_counter()
            self.times.append((now[0] - self._began[0], now[1] - self._began[1]))


class Fit(NamedTuple):
    """A fitted task, and the seconds of its quickest epoch by the processor and by the clock."""

    task: Estimator[Any, Any, Any, Any]
    processor: float
    clock: float


def lengthened(toy: Any, times: int) -> Any:
    """A toy whose texts, sounds, clips or captions are joined to those that follow."""
    if isinstance(toy.source, pl.DataFrame) or times == 1:
        return toy
    y = toy.y
    if y is not None and not (isinstance(y[0], str) and len(set(y)) <= _CLASSES):
        y = _joined(y, times)
    source = toy.source if isinstance(y, list) and isinstance(y[0], list) else _joined(toy.source, times)
    return replace(toy, source=source, y=y)


def _joined(records: Any, times: int) -> Any:
    """Each record with those that follow it, in a circle."""
    runs = [[records[(at + i) % len(records)] for i in range(times)] for at in range(len(records))]
    first = records[0]
    if isinstance(first, str):
        return [" ".join(run) for run in runs]
    if isinstance(first, list):  # sentences about a picture
        return [[" ".join(run * times) for run in zip(own, strict=True)] for own in records]
    if isinstance(first, tuple):  # a sound and its rate
        return [(np.concatenate([sound for sound, _ in run]), run[0][1]) for run in runs]
    return [np.concatenate(run) for run in runs]


def enlarged(toy: Any, rows: int) -> Any:
    """A toy with its records several times, so that there are at least so many: few make small batches."""
    events = _EVENTS if isinstance(toy.source, pl.DataFrame) else 1
    times = max(1, -(-rows * events // len(toy.source)))
    if isinstance(toy.source, pl.DataFrame):
        if "user" not in toy.source.columns:
            series = pl.col(toy.options["id"])
            parts = [toy.source.with_columns(series + str(number)) for number in range(_COPIES)]
            return replace(toy, source=pl.concat(parts))
        users = int(toy.source["user"].max()) + 1  # pyright: ignore[reportArgumentType]
        parts = [toy.source.with_columns(pl.col("user") + number * users) for number in range(times)]
        return replace(toy, source=pl.concat(parts))
    y = None if toy.y is None else [label for _ in range(times) for label in toy.y]
    return replace(toy, source=[record for _ in range(times) for record in toy.source], y=y)


def fit(name: str, toy: Any, changes: Mapping[str, Any], processes: int | None) -> Fit:
    """Fit a task to its generated data."""
    kind, times = tasks.task(name), EpochTimes()
    known = options_of(kind)
    options = {**toy.options, **{option: 0 for option in known if "dropout" in option or "masks" in option}}
    options |= {option: value for option, value in changes.items() if option in known}
    if "validation_fraction" in known:
        options["validation_fraction"] = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.LongspanWarning)
        task = kind(**options).fit(toy.source, toy.y, callbacks=[times], verbose=0, processes=processes)
    processor, clock = (min(column) for column in zip(*times.times, strict=True))
    return Fit(task, processor, clock)


def difference(one: Fit, other: Fit) -> float:
    """The largest difference of two networks' weights, each over the largest weight of its tensor."""
    ours, theirs = (part.task.network_.state_dict() for part in (one, other))
    parts = [(value.double(), theirs[name].double()) for name, value in ours.items() if value.numel()]
    return max(float((a - b).abs().max() / a.abs().max().clamp_min(1e-3)) for a, b in parts)


def row(name: str, toy: Any, changes: Mapping[str, Any], rounds_wanted: int) -> dict[str, float | str]:
    """The figures of a task; an AssertionError where the weights differ."""
    alone, shared = fit(name, toy, changes, None), fit(name, toy, changes, 2)
    worst = difference(alone, shared)
    if not worst < LIMIT:
        raise AssertionError(f"{name}: weights differ by {worst:.1e}, so nothing is published")
    rounds = [(alone, shared)]
    for _ in range(rounds_wanted - 1):
        rounds.append((fit(name, toy, changes, None), fit(name, toy, changes, 2)))
    ratios = {
        clock: statistics.median(getattr(a, clock) / (2 * getattr(b, clock)) for a, b in rounds)
        for clock in ("processor", "clock")
    }
    alone, shared = (min(side, key=lambda one: one.processor) for side in zip(*rounds, strict=True))
    return {
        "task": name, "difference": f"{worst:.0e}", "alone": alone.processor, "shared": shared.processor,
        **ratios,
    }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tasks", default=",".join(tasks.TASKS))
    parser.add_argument("--hidden", type=int, default=256, help="hidden_size")
    parser.add_argument("--batch", type=int, default=256, help="batch_size")
    parser.add_argument("--length", type=int, default=4, help="how many of a toy's texts or clips are joined")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1, help="fits of each side")
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    toys = runpy.run_path(str(Path(__file__).parents[1] / "tests/tasks/toys.py"))["TOYS"]
    changes = {
        "hidden_size": given.hidden, "batch_size": given.batch, "epochs": given.epochs,
        "learning_rate": _RATE,
    }  # fmt: skip
    console = Console()
    console.print(", ".join(f"{name}: {value}" for name, value in environment().items()), soft_wrap=True)
    console.print(f"load: {os.getloadavg()[0]:.1f} processes that want a core")
    table = Table(f"Two processes against one, hidden {given.hidden}, batches of {given.batch}", COLUMNS)
    for name in given.tasks.split(","):
        toy = enlarged(lengthened(toys[name](), given.length), _STEPS * given.batch)
        table.rows.append(row(name, toy, changes, given.rounds))
        console.print(table.markdown().splitlines()[-1], markup=False)
    console.print(table.picture())
    return 0


if __name__ == "__main__":
    sys.exit(main())
