"""Measures the speed of a stream: one reading at a time, one row, beside torch.nn.LSTMCell and LSTM."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

import longspan as ls

from .measure import Column, Options, Size, Table, interleaved, threads
from .parity import Check, difference

SIZE = Size(1, 200, 32, 64)
MODES: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "torch.inference_mode": torch.inference_mode,
    "torch.no_grad": torch.no_grad,
}
OURS = "longspan.nn.LSTM.step"
COLUMNS = (
    Column("mode", "under"),
    Column("name", "what"),
    Column("step", "us a step", "us"),
    Column("speedup", f"{OURS} is faster", "times"),
)

Step = Callable[[Tensor, Any], tuple[Tensor, Any]]  # the state (h, c), each (1, B, H)


def rivals() -> dict[str, Step]:
    """Name -> (x (B, I), state) -> (out (B, H), state), all with the same weights."""
    torch.manual_seed(0)
    layer, cell, ours = torch.nn.LSTM(*SIZE[2:]), torch.nn.LSTMCell(*SIZE[2:]), ls.nn.LSTM(*SIZE[2:])
    weights = layer.state_dict()
    ours.load_state_dict(weights)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in weights.items()})
    return {OURS: ours.step, "torch.nn.LSTMCell": _by_cell(cell), "torch.nn.LSTM, T = 1": _by_layer(layer)}


def _by_cell(cell: Module) -> Step:
    def step(x: Tensor, state: Any) -> tuple[Tensor, Any]:
        new = cell(x, (state[0][0], state[1][0]))
        return new[0], (new[0][None], new[1][None])

    return step


def _by_layer(layer: Module) -> Step:
    def step(x: Tensor, state: Any) -> tuple[Tensor, Any]:
        out, new = layer(x[None], state)
        return out[0], new

    return step


def stream(step: Step, readings: Sequence[Tensor]) -> Iterator[Tensor]:
    """Every output (B, H) of a stream of readings (B, I)."""
    state = (torch.zeros(1, SIZE.B, SIZE.H), torch.zeros(1, SIZE.B, SIZE.H))
    for x in readings:
        out, state = step(x, state)
        yield out


def parity(options: Options) -> Iterator[Check]:
    """The whole stream against torch.nn.LSTMCell's."""
    readings, steps = _readings(), rivals()
    with threads(1), torch.no_grad():
        expected = torch.stack([*stream(steps["torch.nn.LSTMCell"], readings)])
        yield Check("stream", difference(torch.stack([*stream(steps[OURS], readings)]), expected))


def tables(options: Options) -> Iterator[Table]:
    """Microseconds a step, under inference_mode and no_grad."""
    readings = _readings()
    table = Table(f"Streaming, LSTM, B=1, I={SIZE.I}, H={SIZE.H}, 1 thread", COLUMNS)
    for mode, context in MODES.items():
        with threads(1), context():
            calls = {name: _bound(step, readings) for name, step in rivals().items()}
            timing = interleaved(calls, options.seconds)
        table.rows += [
            {
                "mode": mode,
                "name": name,
                "step": timing.median(name) / SIZE.T,
                "speedup": timing.ratio(name, OURS),
            }
            for name in calls
        ]
    yield table


def _readings() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(SIZE.B, SIZE.I, generator=generator) for _ in range(SIZE.T)]


def _bound(step: Step, readings: Sequence[Tensor]) -> Callable[[], Tensor]:
    return lambda: deque(stream(step, readings), maxlen=1).pop()
