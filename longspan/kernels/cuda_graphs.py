"""Runs a sequence step by step, a matrix product and a pointwise kernel each, replayed as a CUDA graph.

A graph holds CHUNK steps over memory of its own: weights, states, products, and two small tensors by which it
serves every call of its sizes. `base` is the step that it begins with, which its last node advances. `table`
holds T and the addresses of the call's arrays over time. A call copies its weights and states in, fills the
table and replays; steps beyond T do nothing. Each stream has its own graphs, so that their memory is used in
one order. The MAX_GRAPHS used last stay. Without a GPU the steps run one by one.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from longspan.cells import Cell

from .emit_triton import Variant, tables
from .launch import TILE_NUMBERS, Launch, allow_tf32, cdiv, padded

CHUNK = 16  # steps in a graph: few run beyond T, and the GPU does not wait for the next replay
MAX_GRAPHS = 16  # that stay, each with memory for R and a few (B, H)

WEIGHTS = ("r", "br", "p", "proj", "norm_r", "norm_c", "norm_c_bias", "drop")


class _Steps(NamedTuple):
    """One step over memory that is the same at every call, and, on a GPU, the graph of CHUNK steps."""

    memory: dict[str, Any]
    step: Callable[[int], None]
    replay: Callable[[], None] | None


_graphs: OrderedDict[Any, _Steps] = OrderedDict()
_lock = threading.Lock()


def forward(
    module: ModuleType, cell: Cell, variant: Variant, sizes: Any, have: dict[str, Any]
) -> tuple[Tensor, ...]:
    """Run every step; the final states, in the dtype of the first."""
    B, D, H, R = sizes.B, sizes.D, sizes.H, sizes.R
    like, letters = have["xg"], cell.states
    states = [have[f"s0_{s}"] for s in letters]
    copied = {name: have[name] for name in WEIGHTS if have.get(name) is not None}
    copied |= {f"now_{s}": t for s, t in zip(letters, states, strict=True)}
    shapes = {name: (tuple(t.shape), t.dtype) for name, t in copied.items()}
    shapes |= {f"now_{s}": (tuple(t.shape), torch.float32) for s, t in zip(letters, states, strict=True)}
    shapes |= {"m": ((D, B, len(cell.gates) * H), like.dtype), "read_now": ((D, B, R), like.dtype)}
    shapes |= {"inner": ((D, B, H), like.dtype), "projected": ((D, B, R), like.dtype)}
    if cell.recurrent:
        copied["read_now"] = _first_read(cell, variant, have)
    names, _ = tables(cell, variant)
    make = lambda memory: _forward_step(module, cell, variant, sizes, memory)  # noqa: E731
    with _lock:
        steps = _steps("forward", module, variant, sizes, like, shapes, _rates(have), len(names), make)
        _copy(steps.memory, copied)
        _run(steps, sizes.T, [have[name] for name in names])
        return tuple(
            steps.memory[f"now_{s}"].to(t.dtype, copy=True) for s, t in zip(letters, states, strict=True)
        )


def backward(module: ModuleType, cell: Cell, variant: Variant, sizes: Any, have: dict[str, Any]) -> None:
    """Run every step from the last; `de_*` become the gradients of the first states, `sum_*` are added to."""
    B, D, H, R = sizes.B, sizes.D, sizes.H, sizes.R
    like, letters = have["out"], cell.states
    names = [name for name in (*WEIGHTS, *(f"s0_{s}" for s in letters)) if have.get(name) is not None]
    copied = {name: have[name] for name in names}
    sums = ["sum_p"] * bool(cell.params) + ["sum_norm_c", "sum_norm_c_bias"] * variant.norm_c
    copied |= {name: have[name] for name in (*(f"de_{s}" for s in letters), *sums)}
    shapes = {name: (tuple(t.shape), t.dtype) for name, t in copied.items()}
    shapes |= {"back": ((D, B, R), like.dtype), "dm_now": ((D, B, len(cell.gates) * H), like.dtype)}
    shapes |= {"dinner": ((D, B, H), like.dtype), "dprojected": ((D, B, R), like.dtype)}
    copied["back"] = torch.zeros((D, B, R), dtype=like.dtype, device=like.device)
    _, table = tables(cell, variant)
    make = lambda memory: _backward_step(module, cell, variant, sizes, memory)  # noqa: E731
    with _lock:
        steps = _steps("backward", module, variant, sizes, like, shapes, _rates(have), len(table), make)
        _copy(steps.memory, copied)
        if cell.recurrent:
            steps.memory["dm_now"].zero_()
        _run(steps, sizes.T, [have[name] for name in table])
        memory = steps.memory
        for name in (*(f"de_{s}" for s in letters), *sums):
            have[name].copy_(memory[name])
        if cell.recurrent:
            back = memory["back"].float()
            have["de_h"] += back * memory["drop"].float() if variant.dropout else back


def _first_read(cell: Cell, variant: Variant, have: dict[str, Any]) -> Tensor:
    """The h that R reads at the first step of each direction."""
    h = have["s0_h"]
    if variant.marks:
        fresh = torch.stack([have["marks"][0], have["marks"][-1]])[: h.shape[0], :, None] & 4
        h = torch.where(fresh != 0, cell.initial.get("h", 0.0), h)
    return h * have["drop"] if variant.dropout else h


def _rates(have: dict[str, Any]) -> dict[str, float]:
    return {name: rate for name, rate in have.items() if name.startswith("rate_")}


def _forward_step(
    module: ModuleType, cell: Cell, variant: Variant, sizes: Any, memory: dict[str, Any]
) -> Callable[[int], None]:
    cell_kernel = _pointwise(module.forward_step, variant, sizes, memory, sizes.H)
    finish_kernel = _pointwise(module.finish_step, variant, sizes, memory, sizes.R) if variant.proj else None

    def step(j: int) -> None:
        if cell.recurrent:
            _product(memory["read_now"], memory["r"].view(sizes.D, -1, sizes.R).transpose(1, 2), memory["m"])
        cell_kernel(j)
        if finish_kernel is not None:
            _product(memory["inner"], memory["proj"].transpose(1, 2), memory["projected"])
            finish_kernel(j)

    return step


def _backward_step(
    module: ModuleType, cell: Cell, variant: Variant, sizes: Any, memory: dict[str, Any]
) -> Callable[[int], None]:
    cell_kernel = _pointwise(module.backward_step, variant, sizes, memory, sizes.H)
    enter_kernel = _pointwise(module.enter_step, variant, sizes, memory, sizes.R) if variant.proj else None

    def step(j: int) -> None:
        if enter_kernel is not None:
            enter_kernel(j)
            _product(memory["dprojected"], memory["proj"], memory["dinner"])
        cell_kernel(j)
        if cell.recurrent:
            _product(memory["dm_now"], memory["r"].view(sizes.D, -1, sizes.R), memory["back"])

    return step


def _product(a: Tensor, b: Tensor, out: Tensor) -> None:
    """(D, B, n) by (D, n, m)."""
    if a.shape[0] == 1:
        torch.mm(a[0], b[0], out=out[0])
    else:
        torch.bmm(a, b, out=out)


def _pointwise(
    kernel: Any, variant: Variant, sizes: Any, memory: dict[str, Any], width: int
) -> Callable[[int], None]:
    """A pointwise kernel over (B, width); with a norm, one program has the whole row."""
    normed = (variant.norm_r or variant.norm_c) and width == sizes.H
    columns = padded(width) if normed else min(padded(width), 128)
    rows = max(1, TILE_NUMBERS // columns)
    grid = (cdiv(sizes.B, rows), cdiv(width, columns), sizes.D)
    launch = Launch(kernel, grid, 8 if columns >= 1024 else 4)
    numbers = {"B": sizes.B, "D": sizes.D, "H": width, "R": sizes.R, "HP": columns, "BB": rows}
    return lambda j: launch({**memory, **numbers, "j": j})


def _steps(
    verb: str,
    module: ModuleType,
    variant: Variant,
    sizes: Any,
    like: Tensor,
    shapes: dict[str, Any],
    rates: dict[str, float],
    sequences: int,
    make: Callable[[dict[str, Any]], Callable[[int], None]],
) -> _Steps:
    """The step and its memory for these sizes, new or from an earlier call."""

    def build(graph: bool) -> _Steps:
        memory: dict[str, Any] = {
            name: torch.zeros(shape, dtype=dtype, device=like.device)
            for name, (shape, dtype) in shapes.items()
        }
        memory["base"] = torch.zeros(1, dtype=torch.int32, device=like.device)
        memory["table"] = torch.zeros(1 + sequences, dtype=torch.int64, device=like.device)
        step = make(memory | rates)
        return _Steps(memory, step, _captured(step, memory["base"]) if graph else None)

    if (stream := _stream(like)) is None or sizes.T < CHUNK // 2:
        return build(graph=False)
    key = (verb, module, sizes[1:], like.dtype, stream, tuple(rates.items()), allow_tf32())
    if key not in _graphs:
        _graphs[key] = build(graph=True)
        while len(_graphs) > MAX_GRAPHS:
            _graphs.popitem(last=False)
    _graphs.move_to_end(key)
    return _graphs[key]


def _stream(like: Tensor) -> tuple[Any, ...] | None:
    """The stream that a graph may be captured for; None on a CPU, or where the caller is capturing one."""
    if not like.is_cuda or torch.cuda.is_current_stream_capturing():
        return None
    stream = torch.cuda.current_stream(like.device)
    return stream.device, stream.cuda_stream


def _captured(step: Callable[[int], None], base: Tensor) -> Callable[[], None]:
    """CHUNK steps as a CUDA graph. One step before, with T = 0 in the table, compiles the kernels."""
    step(0)
    torch.cuda.current_stream(base.device).synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(base.device), torch.cuda.graph(graph, capture_error_mode="thread_local"):
        for j in range(CHUNK):
            step(j)
        base.add_(CHUNK)
    return graph.replay


def _copy(memory: dict[str, Any], copied: dict[str, Tensor]) -> None:
    names = list(copied)
    torch.ops.aten._foreach_copy_([memory[name] for name in names], [copied[name] for name in names])


def _run(steps: _Steps, T: int, sequences: Sequence[Tensor]) -> None:
    """All steps of a call."""
    numbers, table = [T, *(t.data_ptr() for t in sequences)], steps.memory["table"]
    if table.is_cuda and torch.cuda.is_current_stream_capturing():
        for i, number in enumerate(numbers):
            table[i].fill_(number)  # copies from the host cannot be captured, numbers of kernels can
    else:
        table.copy_(torch.tensor(numbers, pin_memory=table.is_cuda), non_blocking=True)
    steps.memory["base"].zero_()
    if steps.replay is None:
        for j in range(T):
            steps.step(j)
    else:
        for _ in range(cdiv(T, CHUNK)):
            steps.replay()
