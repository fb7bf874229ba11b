"""Measures `longspan.quantize`: parity with plain PyTorch, speed beside float32, scores of two models.

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
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor

import longspan as ls
from longspan import layers
from longspan.models import Sequential

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
    Column("float32", "float32"),
    Column("int8", "int8"),
    Column("float32_file", "weights' file, float32"),
    Column("int8_file", "int8"),
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


def waves(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A forecast: 48 noisy steps (N, 48, 1) of two waves of unknown phase, and the next 6 steps (N, 6)."""
    random, time = np.random.default_rng(seed), np.arange(54)
    phase = 2 * np.pi * random.random((2, count, 1))
    values = np.sin(2 * np.pi * time / 12 + phase[0]) + 0.5 * np.sin(2 * np.pi * time / 5 + phase[1])
    noisy = values + 0.1 * random.standard_normal(values.shape)
    return noisy[:, :48, None].astype(np.float32), values[:, 48:].astype(np.float32)


def pulses(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A classification: 40 noisy steps (N, 40, 1) with two pulses; 1 where the first is the higher (N,)."""
    random = np.random.default_rng(seed)
    x = 0.1 * random.standard_normal((count, 40))
    heights, rows = 0.5 + random.random((2, count)), np.arange(count)
    x[rows, random.integers(0, 18, count)] += heights[0]
    x[rows, random.integers(20, 38, count)] += heights[1]
    return x[..., None].astype(np.float32), (heights[0] > heights[1]).astype(np.int64)


def accuracy(folder: str, quick: bool) -> Table:
    """The scores of a forecast and a classification by an LSTM before and after, on data neither has seen."""
    table = Table("Scores on new data, of LSTM and Dense", SCORES)
    count, epochs, units = (200, 2, 16) if quick else (3000, 30, 64)
    tasks: dict[str, tuple[Callable[[int, int], tuple[np.ndarray, np.ndarray]], Any, str, str]] = {
        "forecast": (waves, layers.Dense(6), "mse", "mae"),
        "classify": (
            pulses,
            layers.Dense(2, activation="softmax"),
            "sparse_categorical_crossentropy",
            "accuracy",
        ),
    }
    for name, (data, head, loss, metric) in tasks.items():
        ls.utils.set_random_seed(0)
        model = Sequential([layers.Input((None, 1)), layers.LSTM(units), head])
        model.compile("adam", loss, metrics=[metric])
        model.fit(*data(count, 0), epochs=epochs, verbose=0)
        row: dict[str, float | str] = {"task": name}
        for kind, each in {"float32": model, "int8": ls.quantize(model)}.items():
            scores = each.evaluate(*data(2000, 1), verbose=0, return_dict=True)
            path = Path(folder) / f"{name}-{kind}"
            each.save_weights(path)
            row |= {kind: f"{metric} {scores[metric]:.4f}, loss {scores['loss']:.5f}"}
            row |= {f"{kind}_file": f"{path.stat().st_size / 1024:.1f} KiB"}
        table.rows.append(row)
    return table


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
