"""Trains an LSTM and an RNN on the adding problem, and shows the gradients that explain who learns it.

Every step brings a number drawn from [0, 1] and a mark, 1 at two of the steps and 0 elsewhere; the answer
asked for after the last step is the sum of the two marked numbers. Always answering 1 has the variance of
that sum, 1/6, as its mean squared error. Source: Hochreiter and Schmidhuber, Long Short-Term Memory, 1997,
experiment 4, in the form with one mark in each half of the sequence. Both networks get the same optimiser,
batches and number of steps. The LSTM's gate biases start so that its cells forget over 1 to T steps
(Tallec and Ollivier, Can Recurrent Neural Networks Warp Time?, 2018).

    python examples/adding_problem.py            # T = 400
    python examples/adding_problem.py --quick    # T = 100
"""

from __future__ import annotations

import argparse
import importlib
import math
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

import torch
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch import Tensor, nn

import longspan as ls

GOAL = 0.01
VARIANCE = 1 / 6  # the error of always answering 1
LAGS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 400, 800, 1600)


def adding(batch: int, length: int, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sequences (B, T, 2) of numbers and marks, and the sums (B,) of the marked numbers."""
    numbers = torch.rand(batch, length, generator=chance)
    marks = torch.zeros(batch, length)
    rows, half = torch.arange(batch), length // 2
    first = torch.randint(half, (batch,), generator=chance)
    second = torch.randint(half, length, (batch,), generator=chance)
    marks[rows, first] = marks[rows, second] = 1.0
    return torch.stack((numbers, marks), -1), numbers[rows, first] + numbers[rows, second]


class Adder(nn.Module):
    """A recurrent layer and one number read off its last hidden state."""

    def __init__(self, core: nn.Module, hidden: int) -> None:
        super().__init__()
        self.core, self.answer = core, nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, 2) -> (B,)"""
        out, _ = self.core(x)
        return self.answer(out[:, -1]).squeeze(-1)


def chrono(layer: ls.nn.LSTM, length: int) -> ls.nn.LSTM:
    """Spread the cells' time scales over 1 .. T: b_f = log U(1, T - 1), b_i = -b_f (their equation 16)."""
    first, second = layer.get_parameter("bias_ih_l0"), layer.get_parameter("bias_hh_l0")
    with torch.no_grad():
        forget = torch.empty(layer.hidden_size).uniform_(1, length - 1).log()
        for bias in (first, second):
            bias.zero_()
        first[: 2 * layer.hidden_size] = torch.cat((-forget, forget))  # the gates are in the order i, f, g, o
    return layer


def build(name: str, hidden: int, length: int, seed: int) -> Adder:
    """The network called `name`, its weights drawn from the seed."""
    torch.manual_seed(seed)
    if name == "LSTM":
        return Adder(chrono(ls.nn.LSTM(2, hidden, batch_first=True), length), hidden)
    return Adder(ls.nn.RNN(2, hidden, batch_first=True), hidden)


def error(net: Adder, length: int) -> float:
    """Mean squared error on 1,000 sequences that training never shows."""
    x, y = adding(1000, length, torch.Generator().manual_seed(2**31))
    with torch.no_grad():
        return nn.functional.mse_loss(net(x), y).item()


def gradients(net: Adder, length: int) -> dict[int, float]:
    """Time lag k -> norm of dLoss/dState after step T - k, a mean over 32 sequences.

    The state is h and, in the LSTM, c.
    """
    x, y = adding(32, length, torch.Generator().manual_seed(2**31 + 1))
    lags = [lag for lag in LAGS if lag < length - 1] + [length - 1]
    states, state, start = {}, None, 0
    for lag in reversed(lags):
        _, state = net.core(x[:, start : length - lag], state)
        states[lag], start = (state if isinstance(state, tuple) else (state,)), length - lag
    loss = (net.answer(states[0][0][0]).squeeze(-1) - y).square().sum()
    return {lag: norm(loss, states[lag]) for lag in lags}


def norm(loss: Tensor, parts: tuple[Tensor, ...]) -> float:
    """The norm of a loss's gradient by a state's parts, each (1, B, H): a number for each row, averaged."""
    found = torch.autograd.grad(loss, parts, retain_graph=True, materialize_grads=True)
    return torch.cat(found, -1)[0].norm(dim=-1).mean().item()


class Run(NamedTuple):
    """What training one network came to."""

    error: float
    steps: int
    seconds: float
    before: dict[int, float]
    after: dict[int, float]

    @property
    def reached(self) -> bool:
        """Whether the error on unseen sequences is under the goal."""
        return self.error < GOAL


def train(net: Adder, options: argparse.Namespace, report: Callable[[int, float], None]) -> Run:
    """Adam, clipped, its rate falling to 0, until unseen sequences reach the goal or the steps run out."""
    before, start = gradients(net, options.length), time.perf_counter()
    optimiser = torch.optim.Adam(net.parameters(), lr=options.rate)
    slower = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, total_iters=options.steps)
    chance = torch.Generator().manual_seed(options.seed)
    unseen, step = error(net, options.length), 0
    while unseen >= GOAL and step < options.steps:
        x, y = adding(options.batch, options.length, chance)
        optimiser.zero_grad()
        nn.functional.mse_loss(net(x), y).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        slower.step()
        step += 1
        if step % 20 == 0 or step == options.steps:
            unseen = error(net, options.length)
            report(step, unseen)
    seconds = time.perf_counter() - start
    return Run(unseen, step, seconds, before, gradients(net, options.length))


def train_both(options: argparse.Namespace, console: Console) -> dict[str, Run]:
    """LSTM and RNN from the same seed on the same batches, with their progress."""
    look = ("{task.description:4}", "{task.completed:5d} steps", "error {task.fields[error]:.4f}")
    columns = [TextColumn(look[0]), BarColumn(), *map(TextColumn, look[1:]), TimeElapsedColumn()]
    runs: dict[str, Run] = {}
    with Progress(*columns, console=console) as progress:
        for name in ("LSTM", "RNN"):
            bar = progress.add_task(name, total=options.steps, error=math.nan)

            def report(step: int, unseen: float, bar: TaskID = bar) -> None:
                progress.update(bar, completed=step, error=unseen)

            runs[name] = train(build(name, options.hidden, options.length, options.seed), options, report)
            progress.stop_task(bar)
    return runs


def bar(value: float) -> str:
    """A number with a bar for its logarithm, from 1e-8 to 1."""
    blocks = round(min(max(math.log10(value) + 8, 0), 8)) if value > 0 else 0
    return f"{value:.0e} {'▇' * blocks}"


def table(runs: dict[str, Run]) -> Table:
    """The gradient norms, a row a lag, before and after training."""
    title = "How much of the loss's gradient reaches the state, by steps before the end"
    picture = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    picture.add_column("lag", justify="right", no_wrap=True)
    for name in runs:
        picture.add_column(f"{name}, untrained", no_wrap=True)
        picture.add_column(f"{name}, trained", no_wrap=True)
    for lag in runs["LSTM"].before:
        cells = (bar(norms[lag]) for run in runs.values() for norms in (run.before, run.after))
        picture.add_row(str(lag), *cells)
    return picture


def plot(runs: dict[str, Run], path: str) -> None:
    """Draw the gradient norms over the lag into a PNG file; matplotlib has been checked for."""
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(7, 4))
    for name, run in runs.items():
        for label, norms, line in (("untrained", run.before, "--"), ("trained", run.after, "-")):
            heights = [value or math.nan for value in norms.values()]
            axes.plot(list(norms), heights, line, label=f"{name}, {label}")
    axes.set(yscale="log", xlabel="time lag (steps before the end)", ylabel="norm of dLoss/dState")
    axes.legend()
    figure.savefig(path, dpi=150, bbox_inches="tight")


def options_of(arguments: list[str]) -> argparse.Namespace:
    """The command line's options; --quick only changes the defaults."""
    parser = argparse.ArgumentParser(description="The adding problem: an LSTM learns it, an RNN does not.")
    parser.add_argument("--quick", action="store_true", help="short sequences: T = 100")
    quick = "--quick" in arguments
    parser.add_argument("--length", type=int, default=100 if quick else 400, help="steps of a sequence, T")
    parser.add_argument("--steps", type=int, default=1000 if quick else 1500, help="optimiser steps at most")
    parser.add_argument("--hidden", type=int, default=32, help="units of each network, H")
    parser.add_argument("--batch", type=int, default=32, help="sequences in a step, B")
    parser.add_argument("--rate", type=float, default=0.01, help="learning rate of Adam")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", metavar="PNG", help="draw the gradients into this file (needs matplotlib)")
    options = parser.parse_args(arguments)
    if options.length < 3 or min(options.steps, options.hidden, options.batch) < 1:
        parser.error("expected a --length of at least 3 and the others of at least 1; raise what is lower.")
    if options.plot and find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib, found none; run pip install matplotlib or leave --plot out.")
    return options


def main(arguments: list[str]) -> int:
    """Train both, show both; 0 if the LSTM reached the goal, 1 if not."""
    options, console = options_of(arguments), Console()
    console.print(
        f"Adding problem, T = {options.length}: the goal is {GOAL}, always answering 1 has {VARIANCE:.3f}."
    )
    runs = train_both(options, console)
    console.print(table(runs))
    for name, run in runs.items():
        verdict = "learned it" if run.reached else "did not learn it"
        answer = f"mean squared error {run.error:.4f} after {run.steps} steps, {run.seconds:.1f} s"
        console.print(f"{name:4} {verdict}: {answer}")
    if options.plot:
        plot(runs, options.plot)
    return 0 if runs["LSTM"].reached else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
