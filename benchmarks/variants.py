"""Measures what the LSTM's variants and gates cost, beside the plain LSTM and plain PyTorch loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import Module

import longspan as ls

from .measure import Column, Options, Size, Table, interleaved, threads
from .parity import Check, compare
from .plain import loop
from .speed import first, sequences, training

STEPS = 20  # compared at most, see parity


class Rates(NamedTuple):
    """Of the two variants with chance."""

    recurrent_dropout: float = 0.0
    zoneout: float = 0.0


RATES = {"recurrent dropout": Rates(recurrent_dropout=0.25), "zoneout": Rates(zoneout=0.1)}
COLUMNS = (
    Column("size", "BxTxIxH"),
    Column("plain", "plain LSTM ms", "ms"),
    Column("longspan", "longspan ms", "ms"),
    Column("cost", "of the plain LSTM", "times"),
    Column("loop", "PyTorch loop ms", "ms"),
    Column("speedup", "faster than the loop", "times"),
)
GATE_COLUMNS = (
    Column("size", "BxTxIxH"),
    Column("inference", "without ms", "ms"),
    Column("inference_cost", "inference with gates", "times"),
    Column("training", "without ms", "ms"),
    Column("training_cost", "training with gates", "times"),
)


LAYERS: dict[str, Callable[[int, int], Module]] = {
    "plain": ls.nn.LSTM,
    "layer norm": partial(ls.nn.LSTM, layer_norm=True),
    "peephole": partial(ls.nn.Recurrent, "peephole"),
    **{name: partial(ls.nn.LSTM, **rates._asdict()) for name, rates in RATES.items()},
}


def made(name: str, size: Size) -> tuple[Module, Callable[[Tensor], Tensor]]:
    """The plain LSTM or a variant, with parameters that no special value hides, and the same as a loop."""
    torch.manual_seed(0)
    layer = LAYERS[name](size.I, size.H)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return layer, partial(loop, layer, **RATES.get(name, Rates())._asdict())


def parity(options: Options) -> Iterator[Check]:
    """The loops' equations without chance, then masks against the reference backend, drawn from one seed."""
    # With random weights the layer-normalised LSTM is chaotic: in float32 any two orders of summation part
    # over a hundred steps, so 20 are compared.
    with threads(1):
        for name, size in product(LAYERS, options.sizes):
            x = sequences(size._replace(T=min(size.T, STEPS)))
            layer, plain = made(name, size)
            layer.eval()
            yield compare(f"{name} LSTM {size}", x, _alone(first(layer), layer), _alone(plain, layer))
            layer.train()
            if name in RATES:
                sides = _alone(first(layer), layer), _alone(_reference(layer), layer)
                yield compare(f"{name} LSTM {size} with its masks", x, *sides)


def _alone(
    forward: Callable[[Tensor], Tensor], layer: Module
) -> tuple[Callable[[Tensor], list[Tensor]], Module]:
    return (lambda x: [forward(x)]), layer


def _reference(layer: Module) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        with ls.use_backend("reference"):
            return layer(x)[0]

    return forward


def tables(options: Options) -> Iterator[Table]:
    """What each variant's training step costs, then what the gates cost."""
    for count in options.threads:
        with threads(count):
            for name in LAYERS:
                table = Table(f"LSTM, {name}, training, {count} thread(s)", COLUMNS)
                table.rows += [_variant(name, size, options.seconds) for size in options.sizes]
                table.add_means()
                yield table
            table = Table(f"Gates and states on request, LSTM, {count} thread(s)", GATE_COLUMNS)
            table.rows += [_gates(size, options.seconds) for size in options.sizes]
            table.add_means()
            yield table


def _variant(name: str, size: Size, seconds: float) -> dict[str, float | str]:
    (layer, rival), (plain, _), x = made(name, size), made("plain", size), sequences(size)
    steps = {
        "plain": training(first(plain), plain, x),
        "longspan": training(first(layer), layer, x),
        "loop": training(rival, layer, x),
    }
    timing = interleaved(steps, seconds)
    return {
        "size": str(size),
        **{name: timing.median(name) for name in steps},
        "cost": timing.ratio("longspan", "plain"),
        "speedup": timing.ratio("loop", "longspan"),
    }


def _gates(size: Size, seconds: float) -> dict[str, float | str]:
    layer, x = ls.nn.LSTM(size.I, size.H), sequences(size)
    shown: Callable[[Tensor], Tensor] = lambda x: layer(x, return_gates=True)[0]  # noqa: E731
    kinds = {
        "inference": (_inference(first(layer), x), _inference(shown, x)),
        "training": (training(first(layer), layer, x), training(shown, layer, x)),
    }
    row: dict[str, float | str] = {"size": str(size)}
    for kind, (without, asked) in kinds.items():
        timing = interleaved({"without": without, "with": asked}, seconds)
        row |= {kind: timing.median("without"), f"{kind}_cost": timing.ratio("with", "without")}
    return row


def _inference(forward: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], None]:
    def step() -> None:
        with torch.inference_mode():
            forward(x)

    return step
