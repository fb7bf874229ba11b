"""Measures the output layer, linear and cross entropy in one operator, beside PyTorch's pair: parity first.

python -m benchmarks.output
python -m benchmarks.output --quick --threads 1
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F

from longspan.nn.output import linear_cross_entropy

from .measure import Column, Table, environment, interleaved, peak, threads
from .parity import difference
from .processes import EXACT, child, status_bytes

SIZES = ((1120, 256, 10000), (1120, 512, 10000), (2240, 256, 10000), (4096, 256, 10000), (4096, 512, 10000))
QUICK = ((96, 64, 1000),)
TOLERANCE = 1e-4  # largest difference in float32, relative to the largest number
COLUMNS = (
    Column("size", "tokens x hidden x words"),
    Column("pair", "pair: ms", "ms"),
    Column("chunked", "torch's chunked: ms", "ms"),
    Column("ours", "longspan: ms", "ms"),
    Column("faster", "than the pair", "times"),
    Column("faster_than_chunked", "than chunked", "times"),
    Column("of_peak", "of peak", "share"),
    Column("pair_memory", "pair: MiB", "MiB"),
    Column("our_memory", "longspan: MiB", "MiB"),
    Column("smaller", "less memory", "times"),
)
Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def pair(x: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    """The reference."""
    return F.cross_entropy(F.linear(x, weight, bias), target)


def ours(x: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    """The operator."""
    return linear_cross_entropy(x, weight, target, linear_bias=bias)


def chunked() -> Loss | None:
    """PyTorch's own operator by chunks of rows, where this PyTorch has one."""
    options: Any = getattr(nn, "LinearCrossEntropyOptions", None)
    function: Any = getattr(F, "linear_cross_entropy", None)
    if options is None or function is None:
        return None
    return lambda x, weight, bias, target: function(x, weight, target, linear_bias=bias, options=options())


def tensors(size: Sequence[int]) -> list[Tensor]:
    """x (N, K), weight (V, K), bias (V,) with gradients, target (N,)."""
    tokens, hidden, words = size
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(n, hidden, generator=generator) for n in (tokens, words))
    bias = torch.randn(words, generator=generator)
    leaves = [x.requires_grad_(), weight.mul_(0.05).requires_grad_(), bias.requires_grad_()]
    return [*leaves, torch.randint(words, (tokens,), generator=generator)]


def step(loss: Loss, size: Sequence[int]) -> Callable[[], None]:
    """A forward and a backward pass; gradients begin afresh, as after an optimizer's zero_grad."""
    given = tensors(size)

    def run() -> None:
        for leaf in given[:3]:
            leaf.grad = None
        loss(*given).backward()

    return run


def worst_difference(size: Sequence[int]) -> float:
    """The largest one of loss and gradients, relative to the largest number of each."""
    results = []
    for loss in (ours, pair):
        given = tensors(size)
        value = loss(*given)
        results.append([value.detach(), *torch.autograd.grad(value, given[:3])])
    return max(difference(found, expected) for found, expected in zip(*results, strict=True))


def memory(name: str, size: Sequence[int]) -> float:
    """Bytes of a step at its peak in a fresh process, beyond those before it and those of its gradients."""
    words = ",".join(map(str, size))
    return float(child("-m", "benchmarks.output", "--memory", name, words, **EXACT))


def _own_peak(name: str, size: Sequence[int]) -> float:
    torch.set_num_threads(1)
    loss = {"pair": pair, "ours": ours}[name]
    step(loss, (8, size[1], 16))()  # libraries are loaded
    given = tensors(size)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins afresh
    before = status_bytes("VmRSS")
    loss(*given).backward()
    gradients = sum(leaf.grad.nbytes for leaf in given[:3] if leaf.grad is not None)
    return status_bytes("VmHWM") - before - gradients


def table(sizes: Sequence[Sequence[int]], count: int, seconds: float) -> Table:
    """One row a size on `count` threads; "of peak" sets three products beside what the machine can do."""
    rivals: dict[str, Loss] = {"pair": pair, "ours": ours}
    if (other := chunked()) is not None:
        rivals["chunked"] = other
    with threads(count):
        best = peak(count)
        result = Table(f"Output layer, {count} thread(s), peak {best / 1e9:.0f} GFLOP/s", COLUMNS)
        for size in sizes:
            timing = interleaved({name: step(loss, size) for name, loss in rivals.items()}, seconds)
            work = 6.0 * size[0] * size[1] * size[2]
            used = {name: memory(name, size) for name in ("pair", "ours")}
            row: dict[str, float | str] = {
                "size": "x".join(map(str, size)),
                "pair": timing.median("pair"),
                "ours": timing.median("ours"),
                "faster": timing.median("pair") / timing.median("ours"),
                "of_peak": work / timing.best("ours") / best,
                "pair_memory": used["pair"],
                "our_memory": used["ours"],
                "smaller": used["pair"] / used["ours"],
            }
            if "chunked" in rivals:
                row["chunked"] = timing.median("chunked")
                row["faster_than_chunked"] = timing.median("chunked") / timing.median("ours")
            result.rows.append(row)
    result.add_means()
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, then measure; 1 where the numbers differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.output", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small size")
    parser.add_argument("--threads", default="1,2", metavar="1,2")
    parser.add_argument("--memory", nargs=2, metavar=("NAME", "SIZE"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.memory:
        print(_own_peak(given.memory[0], [int(n) for n in given.memory[1].split(",")]))
        return 0
    console, sizes = Console(soft_wrap=True), QUICK if given.quick else SIZES
    console.print(", ".join(f"{name}: {value}" for name, value in environment().items()))
    worst = max(worst_difference(size) for size in sizes)
    if not worst < TOLERANCE:
        console.print(
            f"Parity failed, so nothing is measured: the largest relative difference is {worst:.1e}."
        )
        return 1
    console.print(f"Parity: the largest relative difference of loss and gradients is {worst:.1e}.")
    for count in map(int, given.threads.split(",")):
        console.print(table(sizes, count, 0.1 if given.quick else 3.0).picture())
    return 0


if __name__ == "__main__":
    sys.exit(main())
