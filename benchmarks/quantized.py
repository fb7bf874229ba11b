"""Measures `longspan.quantize`: parity with plain PyTorch, speed beside float32, scores of two trained tasks.

    python -m benchmarks.quantized [--quick] [--threads 1,2]

Parity comes first: each step of the int8 kernels against the same step in plain PyTorch, by the weights that
the int8 numbers stand for and activations that are rounded in the same way. Nothing is measured where they
differ.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor

import longspan as ls

from .measure import Column, Table, environment, interleaved, threads

HIDDEN = (128, 256, 512, 1024)
TOLERANCE = 1e-5  # of h, whose largest magnitude is 1
STEPS = 64
COLUMNS = (
    Column("hidden", "I = H"),
    Column("float32", "float32 us", "us"),
    Column("int8", "int8 us", "us"),
    Column("faster", "faster", "times"),
)
SCORES = (
    Column("task", "task"),
    Column("metric", "metric"),
    Column("float32", "float32"),
    Column("int8", "int8"),
    Column("bytes", "file, float32", "MiB"),
    Column("int8_bytes", "int8", "MiB"),
)


def pair(cell: str, hidden: int) -> tuple[Any, Any]:
    """A layer with I = H in float32 and its quantized copy."""
    torch.manual_seed(0)
    layer = getattr(ls.nn, cell)(hidden, hidden).eval()
    return layer, ls.quantize(layer)


def rounded(v: Tensor) -> Tensor:
    """Values (B, K) at whole multiples of the largest magnitude of their row / 127."""
    largest = v.abs().amax(1, keepdim=True)
    return (v * (torch.full_like(largest, 127.0) / largest)).round() * (largest / 127.0)


def plain_lstm_step(layer: Any, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """One step of an LSTM in plain PyTorch: the equations of torch.nn.LSTM on rounded activations."""
    w, r, bx, br = layer.all_weights[0]
    i, f, g, o = (F.linear(rounded(x), w, bx) + F.linear(rounded(h), r, br)).chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def largest_difference(hidden: int) -> float:
    """The largest difference of h over a sequence, each step from the states that the kernels gave before."""
    _, layer = pair("LSTM", hidden)
    x, worst = torch.randn(20, 3, hidden), 0.0
    with torch.inference_mode():
        _, state = layer.step(x[0])
        for t in range(1, 20):
            h, c = (values[0] for values in state)
            expected, _ = plain_lstm_step(layer, x[t], h, c)
            together, _ = layer(x[t : t + 1], state)
            out, state = layer.step(x[t], state)
            worst = max(worst, *((value - expected).abs().max().item() for value in (out, together[0])))
    return worst


def stepping(layer: Any, x: Tensor) -> Callable[[], None]:
    """One row, one step after another; x (T, 1, I)."""
    state = layer.step(x[0])[1]

    def run() -> None:
        last = state
        for row in x.unbind():
            last = layer.step(row, last)[1]

    return run


def speed(cell: str, hidden: Sequence[int], seconds: float) -> Iterator[Table]:
    """Microseconds a step: streaming, sequences of one row, and of 16 rows."""
    kinds: dict[str, tuple[int, Callable[[Any, Tensor], Callable[[], object]]]] = {
        "step, B=1": (1, stepping),
        "sequence, B=1": (1, lambda layer, x: lambda: layer(x)),
        "sequence, B=16": (16, lambda layer, x: lambda: layer(x)),
    }
    for name, (rows, call) in kinds.items():
        table = Table(f"{cell}, {name}, {torch.get_num_threads()} thread(s)", COLUMNS)
        for size in hidden:
            x = torch.randn(STEPS, rows, size)
            layers = dict(zip(("float32", "int8"), pair(cell, size), strict=True))
            timing = interleaved({key: call(layer, x) for key, layer in layers.items()}, seconds)
            medians = {key: timing.median(key) / STEPS for key in layers}
            table.rows.append({"hidden": str(size), **medians, "faster": timing.ratio("float32", "int8")})
        yield table


def waves(rows: int, start: int) -> pl.DataFrame:
    """Two series of one hourly shape with noise."""
    random, steps = np.random.default_rng(start), np.arange(start, start + rows)
    parts = []
    for place in range(2):
        wave = np.sin(2 * np.pi * steps / 12 + place) + 0.5 * np.sin(2 * np.pi * steps / 5)
        time = np.datetime64("2024-01-01", "us") + steps * np.timedelta64(1, "h")
        values = 10.0 * place + wave + 0.1 * random.standard_normal(rows)
        parts.append(pl.DataFrame({"name": [f"s{place}"] * rows, "time": time, "y": values}))
    return pl.concat(parts)


def labelled(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy series (N, 60, 1) of three classes: slow, fast and rising waves."""
    random = np.random.default_rng(seed)
    labels, time = random.integers(0, 3, count), np.arange(60)
    period = np.array([20.0, 12.0, 15.0])[labels]
    phase = 2 * np.pi * random.random(count)
    wave = np.sin(2 * np.pi * time / period[:, None] + phase[:, None]) + 0.02 * (labels == 2)[:, None] * time
    return (wave + 0.8 * random.standard_normal(wave.shape))[..., None], labels


def accuracy(folder: str, quick: bool) -> Table:
    """Scores of a forecaster and a classifier before and after, on data that neither has seen."""
    table = Table("Scores on new data", SCORES)
    rows, epochs, size = (400, 2, 16) if quick else (800, 15, 64)
    forecaster = ls.Forecaster(horizon=6, target="y", id="name", hidden_size=size, epochs=epochs, seed=0)
    _add(table, forecaster.fit(waves(rows, 0), verbose=0), (waves(400, rows), None), folder)
    classifier = ls.Classifier(hidden_size=size, epochs=epochs, seed=0)
    _add(table, classifier.fit(*labelled(rows, 0), verbose=0), labelled(1000, 1), folder)
    return table


def _add(table: Table, task: Any, test: tuple[Any, Any], folder: str) -> None:
    small, sizes = ls.quantize(task), []
    for number, each in enumerate((task, small)):
        path = Path(folder) / f"{type(task).__name__}{number}"
        each.save(path)
        sizes.append(path.stat().st_size)
    before, after = task.evaluate(*test), small.evaluate(*test)
    for metric, value in before.items():
        scores: dict[str, float | str] = {"float32": f"{value:.4f}", "int8": f"{after[metric]:.4f}"}
        row = {"task": type(task).__name__, "metric": metric, **scores}
        table.rows.append(row | {"bytes": sizes[0], "int8_bytes": sizes[1]})


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, then measure; 1 where the numbers differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quantized", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small size")
    parser.add_argument("--threads", default="1", metavar="1,2")
    parser.add_argument("--cells", default="LSTM,GRU,RNN", metavar="LSTM,GRU")
    given = parser.parse_args(arguments)
    console, hidden = Console(soft_wrap=True), (32,) if given.quick else HIDDEN
    console.print(", ".join(f"{name}: {value}" for name, value in environment().items()))
    worst = max(largest_difference(size) for size in hidden)
    if not worst < TOLERANCE:
        console.print(f"Parity failed, so nothing is measured: the largest difference of h is {worst:.1e}.")
        return 1
    console.print(f"Parity: the largest difference of h from plain PyTorch is {worst:.1e}.")
    for count in map(int, given.threads.split(",")):
        with threads(count), torch.inference_mode():
            for cell in given.cells.split(","):
                for table in speed(cell, hidden, 0.05 if given.quick else 2.0):
                    console.print(table.picture())
    with TemporaryDirectory() as folder:
        console.print(accuracy(folder, given.quick).picture())
    return 0


if __name__ == "__main__":
    sys.exit(main())
