"""Times the training of many small networks of one shape: one after another, and all at once.

First by a loop written by hand, which torch.vmap takes all models through; then by `longspan.training.train`
and `train_many`.

    python -m benchmarks.many
    python -m benchmarks.many --models 16 --sizes 16x20x8x32 --threads 1,2

Every network is an LSTM and a linear layer with weights and batches of its own. Losses and
gradients of the first step and the weights after five are compared first; no time is printed where they
differ.
Beside the clock stands the processor's time, which others on the machine do not stretch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import mse_loss

from longspan import optimizers
from longspan.data import Batch, Batches
from longspan.nn import LSTM
from longspan.training import train, train_many

from .measure import Column, Size, Table, environment, threads

LIMIT = 1e-4  # relative to the largest number of a tensor; the recurrent layers themselves agree to the bit
STEPS = 5  # of the comparison
SIZES = "16x20x8x32,32x20x8x32,32x50x8x32"
BATCHES = 4  # of an epoch of `train`
COLUMNS = (
    Column("by", "by"),
    Column("size", "BxTxIxH"),
    Column("threads", "threads"),
    Column("alone", "one after another ms", "ms"),
    Column("together", "at once ms", "ms"),
    Column("ratio", "", "times"),
    Column("processor", "of the processor's time", "times"),
)


class Network(torch.nn.Module):
    """Sequences (B, T, I) -> a number a row."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.rnn, self.head = LSTM(inputs, hidden, batch_first=True), torch.nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[1][0][-1])


class Alone:
    """A network and its optimizer after the other."""

    def __init__(self, networks: Sequence[Network], x: Tensor, y: Tensor) -> None:
        self.networks, self.x, self.y = networks, x, y
        self.optimizers = [torch.optim.Adam(n.parameters(), 1e-3, fused=True) for n in networks]
        self.losses: list[Tensor] = []

    def step(self) -> None:
        self.losses = []
        for network, optimizer, x, y in zip(self.networks, self.optimizers, self.x, self.y, strict=True):
            loss = mse_loss(network(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            self.losses.append(loss.detach())

    def numbers(self) -> list[Tensor]:
        """The losses, then every weight and its gradient, those of all models together."""
        columns = zip(*(n.parameters() for n in self.networks), strict=True)
        return [torch.stack(self.losses), *(t for c in columns for t in _with_gradients(c))]


def _with_gradients(weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    return torch.stack([w.detach() for w in weights]), torch.stack([_gradient(w) for w in weights])


def _gradient(weight: Tensor) -> Tensor:
    assert weight.grad is not None
    return weight.grad


class Together:
    """All networks at once, their weights side by side."""

    def __init__(self, networks: Sequence[Network], x: Tensor, y: Tensor) -> None:
        self.x, self.y, network = x, y, networks[0]
        weights, _ = stack_module_state(list(networks))
        self.weights: dict[str, Any] = {k: w.detach().clone().requires_grad_() for k, w in weights.items()}
        self.optimizer = torch.optim.Adam(list(self.weights.values()), 1e-3, fused=True)
        self.losses: Any = vmap(lambda w, x, y: mse_loss(functional_call(network, w, (x,)), y))
        self.found = torch.empty(0)

    def step(self) -> None:
        losses = self.losses(self.weights, self.x, self.y)
        self.optimizer.zero_grad()
        losses.sum().backward()
        self.optimizer.step()
        self.found = losses.detach()

    def numbers(self) -> list[Tensor]:
        """As those of `Alone`."""
        return [self.found, *(t for w in self.weights.values() for t in (w.detach(), _gradient(w)))]


class Adapter(torch.nn.Module):
    """A network as `train` calls it."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch, state: object) -> tuple[Tensor, object]:
        return self.network(batch.x), None


class ByTrain:
    """An epoch of `train` for each network, or of `train_many` for all."""

    def __init__(self, size: Size, models: int, at_once: bool) -> None:
        torch.manual_seed(0)
        self.networks = [Adapter(Network(size.I, size.H)) for _ in range(models)]
        rows = size.B * BATCHES
        x, y = torch.randn(models, rows, size.T, size.I), torch.randn(models, rows, 1)
        self.sources = [Batches(*pair, batch_size=size.B) for pair in zip(x, y, strict=True)]
        self.at_once, self.losses = at_once, []

    def step(self) -> None:
        if self.at_once:
            histories = train_many(self.networks, self.sources, "mse", epochs=1).histories
        else:
            histories = [
                train(n, s, "mse", optimizers.Adam(1e-3).build(n.parameters()), epochs=1, verbose=0)
                for n, s in zip(self.networks, self.sources, strict=True)
            ]
        self.losses = [history.history["loss"][-1] for history in histories]

    def numbers(self) -> list[Tensor]:
        """The losses, then every weight, those of all networks together."""
        columns = zip(*(n.parameters() for n in self.networks), strict=True)
        return [torch.tensor(self.losses), *(torch.stack([w.detach() for w in c]) for c in columns)]


WAYS = {
    "a loop by hand": lambda size, models: rivals(size, models),
    "train": lambda size, models: (ByTrain(size, models, False), ByTrain(size, models, True)),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, time, print; 1 if numbers differ, or the ratio is below --goal."""
    given = _parser().parse_args(arguments)
    console, facts = Console(), environment()
    console.print(", ".join(f"{name}: {value}" for name, value in facts.items()), soft_wrap=True)
    table = Table(f"A step of {given.models} networks; of train {BATCHES}", COLUMNS)
    for by, size in product(given.by or WAYS, given.sizes):
        if (worst := difference(by, size, given.models)) > LIMIT:
            console.print(f"Parity failed at {size}, so nothing is published: {worst:.1e}", markup=False)
            return 1
        console.print(f"{by}, {size}: losses, gradients and weights after {STEPS} steps agree to {worst:.0e}")
        table.rows += [measured(by, size, given.models, count, given.rounds) for count in given.threads]
    table.add_means()
    console.print(table.picture())
    if given.json:
        given.json.write_text(json.dumps({"environment": facts, "rows": table.rows}, indent=1) + "\n")
    return 1 if float(table.rows[-1]["ratio"]) < given.goal else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many", description="Many models at once.")
    parser.add_argument("--models", type=int, default=64)
    parser.add_argument("--sizes", type=_sizes, default=_sizes(SIZES), metavar="BxTxIxH,…")
    parser.add_argument("--threads", type=_counts, default=(1, 2), metavar="1,2,…")
    parser.add_argument("--by", choices=WAYS, action="append", help="one of the two; given twice for both")
    parser.add_argument("--rounds", type=int, default=15, help="steps of each; the median is printed")
    parser.add_argument("--goal", type=float, default=0.0, help="exit with 1 below this mean ratio")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers")
    return parser


def _sizes(words: str) -> tuple[Size, ...]:
    return tuple(Size(*map(int, word.split("x"))) for word in words.split(","))


def _counts(words: str) -> tuple[int, ...]:
    return tuple(map(int, words.split(",")))


def rivals(size: Size, models: int) -> tuple[Alone, Together]:
    """Both ways, from the same weights, over the same batches."""
    torch.manual_seed(0)
    networks = [Network(size.I, size.H) for _ in range(models)]
    x, y = torch.randn(models, size.B, size.T, size.I), torch.randn(models, size.B, 1)
    return Alone(networks, x, y), Together(networks, x, y)


def difference(by: str, size: Size, models: int) -> float:
    """The largest relative difference of losses, gradients and weights, after one step and after several."""
    ways, worst = WAYS[by](size, models), 0.0
    for step in range(STEPS):
        for way in ways:
            way.step()
        if step in (0, STEPS - 1):
            pairs = zip(*(way.numbers() for way in ways), strict=True)
            worst = max(worst, *(float((a - b).abs().max() / a.abs().max()) for a, b in pairs))
    return worst


def measured(by: str, size: Size, models: int, count: int, rounds: int) -> dict[str, float | str]:
    """The medians of a step, or an epoch of `train`, of both ways, taken in turns."""
    with threads(count):
        ways = dict(zip(("alone", "together"), WAYS[by](size, models), strict=True))
        samples: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for way in ways.values():
            way.step()
        for _ in range(rounds):
            for name, way in ways.items():
                samples[name].append(_sample(way.step))
    clock, processor = (
        {name: statistics.median(s[i] for s in of) for name, of in samples.items()} for i in (0, 1)
    )
    ratios = [seconds["alone"] / seconds["together"] for seconds in (clock, processor)]
    return {
        "by": by, "size": str(size), "threads": str(count),
        **clock, "ratio": ratios[0], "processor": ratios[1],
    }  # fmt: skip


def _sample(step: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    clock, processor = perf_counter(), process_time()
    step()
    return perf_counter() - clock, process_time() - processor


if __name__ == "__main__":
    sys.exit(main())
