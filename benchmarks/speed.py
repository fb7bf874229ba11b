"""Measures the speed of whole sequences: RNN, LSTM and GRU beside torch.nn, inference and training.

"train" is the step of a layer that reads data; "inner" that of a layer above another, which owes that one the
gradient of its input too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import Module

import longspan as ls

from .measure import Column, Options, Size, Table, interleaved, peak, threads
from .parity import Check, compare

GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
COLUMNS = (
    Column("size", "BxTxIxH"),
    Column("torch_inference", "infer: torch ms", "ms"),
    Column("longspan_inference", "longspan ms", "ms"),
    Column("inference_speedup", "faster", "times"),
    Column("inference_of_peak", "of peak", "share"),
    Column("torch_training", "train: torch ms", "ms"),
    Column("longspan_training", "longspan ms", "ms"),
    Column("training_speedup", "faster", "times"),
    Column("training_of_peak", "of peak", "share"),
    Column("longspan_inner", "inner: ms", "ms"),
    Column("inner_speedup", "faster", "times"),
    Column("inner_of_peak", "of peak", "share"),
)


def pair(cell: str, size: Size) -> tuple[Module, Module]:
    """torch.nn's layer and longspan's with the same weights."""
    torch.manual_seed(0)
    theirs: Module = getattr(torch.nn, cell)(size.I, size.H)
    ours: Module = getattr(ls.nn, cell)(size.I, size.H)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def sequences(size: Size) -> Tensor:
    """(T, B, I), the same at every call."""
    return torch.randn(size.T, size.B, size.I, generator=torch.Generator().manual_seed(1))


def outputs(layer: Module, **marks: Tensor) -> Callable[[Tensor], list[Tensor]]:
    """x -> the output and the final states, in one list."""

    def forward(x: Tensor) -> list[Tensor]:
        out, state = layer(x, **marks)
        return [out, *(state if isinstance(state, tuple) else (state,))]

    return forward


def training(
    forward: Callable[[Tensor], Tensor], module: Module, x: Tensor, *, inner: bool = False
) -> Callable[[], None]:
    """A training step without the optimiser: forward, and backward to every parameter and, if inner, x."""
    x = x.clone().requires_grad_(inner)
    gradient = torch.randn_like(forward(x))

    def step() -> None:
        module.zero_grad(set_to_none=True)
        x.grad = None
        forward(x).backward(gradient)

    return step


def inference(layer: Module, x: Tensor) -> Callable[[], None]:
    """One forward pass without a graph."""

    def step() -> None:
        with torch.inference_mode():
            layer(x)

    return step


def first(layer: Module) -> Callable[[Tensor], Tensor]:
    """x -> the layer's output alone."""
    return lambda x: layer(x)[0]


def parity(options: Options) -> Iterator[Check]:
    """Every cell at every size and number of threads that will be timed."""
    for count in options.threads:
        with threads(count):
            for cell in options.cells:
                for size in options.sizes:
                    theirs, ours = pair(cell, size)
                    yield compare(
                        f"{cell} {size}, {count} threads",
                        sequences(size),
                        (outputs(ours), ours),
                        (outputs(theirs), theirs),
                    )


def tables(options: Options) -> Iterator[Table]:
    """A table for each cell and number of threads; "of peak" sets the best sample against the best peak."""
    for count in options.threads:
        with threads(count):
            best = peak(count, options.isa)
            for cell in options.cells:
                title = f"{cell}, {count} thread(s), peak {best / 1e9:.0f} GFLOP/s"
                table = Table(title, COLUMNS)
                table.rows += [_row(cell, size, best, options.seconds) for size in options.sizes]
                table.add_means()
                yield table


def _row(cell: str, size: Size, best: float, seconds: float) -> dict[str, float | str]:
    theirs, ours = pair(cell, size)
    x = sequences(size)
    each = 2 * size.T * size.B * GATES[cell] * size.H
    forward, to_h = each * (size.I + size.H), each * size.H
    row: dict[str, float | str] = {"size": str(size)}
    steps = {
        "inference": (forward, inference(theirs, x), inference(ours, x)),
        "training": (2 * forward + to_h, training(first(theirs), theirs, x), training(first(ours), ours, x)),
        "inner": (
            3 * forward,
            training(first(theirs), theirs, x, inner=True),
            training(first(ours), ours, x, inner=True),
        ),
    }
    for kind, (work, torch_step, our_step) in steps.items():
        timing = interleaved({"torch": torch_step, "longspan": our_step}, seconds)
        row[f"torch_{kind}"] = timing.median("torch")
        row[f"longspan_{kind}"] = timing.median("longspan")
        row[f"{kind}_speedup"] = timing.ratio("torch", "longspan")
        row[f"{kind}_of_peak"] = work / timing.best("longspan") / best
    return row
