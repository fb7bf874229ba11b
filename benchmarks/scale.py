"""Measures what a row, a window, a token and an event cost, and calculates what many machines would take.

    python -m benchmarks.scale [--machines 16] [--cores 8] [--gigabits 10] [--hidden 256]

The costs are processor time of one thread, each the median over the steps of a fit, so that others on the
machine change them little. What machines would take is calculated from them, as `seconds_of_epoch` says, and
was not run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch

from longspan import Forecaster, LanguageModel, Recommender, errors
from longspan.training import Callback

from .large_files import panel_part
from .measure import environment
from .memory import write_text

BATCH = 128  # rows of a step in one process
_STEPS = 14  # of a fit
_SKIPPED = 3  # first steps, which fill caches
_LANGUAGE_MEGABYTES = 4.0
_USERS, _EVENTS, _ITEMS = 20_000, 25, 5_000


def events() -> pl.DataFrame:
    """20,000 users, each with 25 events that walk among neighbouring items."""
    draw = np.random.default_rng(0)
    steps = draw.integers(1, 4, (_USERS, _EVENTS)).cumsum(1) + draw.integers(0, _ITEMS, (_USERS, 1))
    users = np.repeat(np.arange(_USERS), _EVENTS)
    time = np.tile(np.arange(_EVENTS), _USERS)
    return pl.DataFrame({"user": users, "item": (steps % _ITEMS).ravel(), "time": time})


class Unit(NamedTuple):
    """What a task's step costs.

    name: of what is counted; number: how many a step has in a process; seconds: of a step; weights: bytes.
    """

    name: str
    number: int
    seconds: float
    weights: int


class StepTimes(Callback):
    """Takes the processor time of steps, and ends training after a few."""

    def __init__(self) -> None:
        self._ends: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._ends.append(time.process_time())
        self.model.stop_training = len(self._ends) >= _STEPS

    @property
    def seconds(self) -> float:
        """The median time of a step."""
        return statistics.median(np.diff(self._ends[_SKIPPED:]).tolist())


def weights_of(task: Any) -> int:
    """Bytes of a task's weights that learn, whose gradients are exchanged."""
    return sum(w.numel() * w.element_size() for w in task.network_.parameters() if w.requires_grad)


def forecast(hidden: int) -> Unit:
    """Windows of 96 steps, 24 steps ahead, of hourly series with a covariate."""
    times, table = StepTimes(), panel_part(0).head(40_000).collect()
    task = Forecaster(
        horizon=24, id="series", time="time", target="y", past_covariates=("x",), context_length=96,
        hidden_size=hidden, batch_size=BATCH, epochs=1, validation_fraction=0.0, season_length=24,
    ).fit(table, verbose=0, callbacks=[times])  # fmt: skip
    return Unit("windows", BATCH, times.seconds, weights_of(task))


def language(hidden: int) -> Unit:
    """Words of a vocabulary found in the text, in chunks as the model finds them."""
    times = StepTimes()
    with tempfile.TemporaryDirectory() as folder:
        write_text(Path(folder, "text.txt"), round(_LANGUAGE_MEGABYTES * 1e6))
        task = LanguageModel(
            token_level="words", hidden_size=hidden, embedding_size=hidden, batch_size=BATCH,
            max_steps=_STEPS, max_tokens=10_000, softmax="full", validation_fraction=1e-3, ngram=False,
        ).fit(Path(folder, "text.txt"), verbose=0, callbacks=[times])  # fmt: skip
    chunk = task.codec_.sizes.chunk_length
    return Unit("tokens", BATCH * chunk, times.seconds, weights_of(task))


def recommend(hidden: int) -> Unit:
    """Events of users that walk among 5,000 items."""
    times, table = StepTimes(), events()
    task = Recommender(
        user="user", item="item", time="time", hidden_size=hidden, embedding_size=hidden, batch_size=BATCH,
        epochs=1, validation_fraction=0.0,
    ).fit(table, verbose=0, callbacks=[times])  # fmt: skip
    return Unit("events", BATCH * task.chunk_length, times.seconds, weights_of(task))


def seconds_a_row() -> float:
    """Processor seconds of reading a row of a panel from Parquet."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "panel.parquet")
        pl.concat([panel_part(number) for number in range(4)]).sink_parquet(path)
        began = time.process_time()
        panel = Forecaster(horizon=24, id="series", time="time", target="y", past_covariates=("x",)).panel(
            path
        )
        return (time.process_time() - began) / len(panel.values)


def seconds_of_epoch(unit: Unit, count: float, *, machines: int, cores: int, gigabits: float) -> float:
    """Seconds of an epoch over so many units, calculated.

    Each core runs a process with its own rows, as many as were measured. All processes add their gradients up
    once a step in a ring, in which 2 (M - 1) / M of their bytes leave each of M machines.
    """
    exchange = 2 * (machines - 1) / machines * 8 * unit.weights / (gigabits * 1e9)
    steps = count / (unit.number * machines * cores)
    return steps * (unit.seconds + exchange)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--machines", type=int, default=16)
    parser.add_argument("--cores", type=int, default=8, help="of a machine, each with one process")
    parser.add_argument("--gigabits", type=float, default=10.0, help="a second, of the network")
    parser.add_argument("--hidden", type=int, default=256)
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", errors.LongspanWarning)
    print(", ".join(f"{name}: {value}" for name, value in environment().items()))
    print(f"reading a panel: {seconds_a_row() * 1e6:.2f} us a row")
    sizes = {"forecast": 1e6 * 100, "language": 1e9, "recommend": 1e9}
    for name, measured in (("forecast", forecast), ("language", language), ("recommend", recommend)):
        unit = measured(given.hidden)
        one = unit.seconds * sizes[name] / unit.number
        many = seconds_of_epoch(
            unit, sizes[name], machines=given.machines, cores=given.cores, gigabits=given.gigabits
        )
        print(
            f"{name}: a step of {unit.number:,} {unit.name} {unit.seconds * 1e3:.1f} ms, "
            f"{unit.seconds / unit.number * 1e6:.1f} us each; weights {unit.weights / 1e6:.1f} MB; "
            f"{sizes[name]:,.0f} {unit.name}: one core {one / 3600:,.1f} h measured alone, {given.machines} "
            f"machines of {given.cores} cores {many / 60:,.1f} min calculated"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
