"""Measures what a step of training costs beyond network and optimizer, and what optimizers cost.

python -m benchmarks.loop
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from statistics import median
from time import thread_time
from typing import Any

import torch
from torch import Tensor, nn

from longspan import optimizers
from longspan.data import Batch, Batches
from longspan.training import train

STEPS = 20_000
ROUNDS = 9
SHAPES = [(512, 1), (512, 128), (512,), (512,), (1, 128), (1,)]  # LSTM(128) over one feature, Dense(1)


class Null(nn.Module):
    """One multiplication."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, batch: Batch, state: Any) -> tuple[Tensor, Any]:
        return self.weight * 1.0, None


class Idle(torch.optim.SGD):
    """An optimizer that does nothing."""

    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        return None


def itself(output: Tensor, batch: Batch) -> Tensor:
    """The output as the loss."""
    return output


def bare(network: Null, batches: Batches, optimizer: Idle) -> None:
    """What every loop has to do, on one batch over and over."""
    batch = next(iter(batches))
    for _ in range(STEPS):
        output, _ = network(batch, None)
        itself(output, batch).backward()
        optimizer.step()
        network.weight.grad = None


def seconds(work: Callable[[], Any]) -> float:
    """Seconds of this thread that one call takes: others on the machine do not count."""
    start = thread_time()
    work()
    return thread_time() - start


def overhead() -> float:
    """Seconds a step that `train` takes beyond a bare loop, dealing the batches included."""
    network, x = Null(), torch.zeros(STEPS, 1)
    batches, optimizer = Batches(x, x, batch_size=1, shuffle=True), Idle(network.parameters(), lr=0.1)
    found = []
    for _ in range(ROUNDS):
        ours = seconds(lambda: train(network, batches, itself, optimizer, epochs=1, verbose=0))
        found.append(ours - seconds(lambda: bare(network, batches, optimizer)))
    return median(found) / STEPS


def optimizer_step(build: Callable[[list[nn.Parameter]], Any], calls: int = 300) -> float:
    """Seconds a step of an optimizer over 67,201 parameters, the best of some rounds."""
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(shape) * 0.1) for shape in SHAPES]
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    step = build(weights)

    def work() -> None:
        for _ in range(calls):
            step()

    work()
    return min(seconds(work) for _ in range(ROUNDS)) / calls


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "torch Adam": lambda w: torch.optim.Adam(w).step,
    "torch Adam(foreach=True)": lambda w: torch.optim.Adam(w, foreach=True).step,
    "torch Adam(fused=True)": lambda w: torch.optim.Adam(w, fused=True).step,
    "longspan Adam": lambda w: optimizers.Adam().build(w).fused_step,
    "torch SGD": lambda w: torch.optim.SGD(w, 0.01).step,
    "longspan SGD": lambda w: optimizers.SGD().build(w).fused_step,
    "torch RMSprop": lambda w: torch.optim.RMSprop(w).step,
    "longspan RMSprop": lambda w: optimizers.RMSprop().build(w).fused_step,
}


def main(arguments: Sequence[str]) -> int:
    """Print both tables; there are no options."""
    torch.set_num_threads(1)
    print(f"train beyond network, backward and optimizer: {overhead() * 1e6:.1f} us a step")
    for name, build in OPTIMIZERS.items():
        print(f"{name:<26}{optimizer_step(build) * 1e6:6.1f} us a step, 67,201 parameters")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
