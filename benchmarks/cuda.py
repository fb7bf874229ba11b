"""Benchmarks the cells on a GPU: parity there first, then ratios of medians of a training step.

A step is forward and backward to every weight and the input. Beside longspan's choice stand torch.nn (cuDNN:
the same cell where it has it, else its plain LSTM), an eager loop of PyTorch operations (the reference
backend), and a loop whose step torch.compile made; one compiled as a whole is unrolled, which at 512 steps
takes longer than all the rest. cuDNN multiplies float32 in TF32 only where the other sides do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from longspan import kernels, use_backend
from longspan.cells import CELLS
from longspan.kernels import reference
from longspan.kernels.job import Job, Weights
from longspan.kernels.launch import allow_tf32

from .measure import Column, Size, Table, interleaved

GRID = (1, 16, 64, 256), (64, 512), (64, 128, 256, 512, 1024)
SIZES = tuple(Size(B, T, H, H) for B, T, H in product(*GRID))
QUICK = (Size(16, 64, 64, 64), Size(64, 64, 256, 256))
# Over more steps a layer-normalised network with random weights is chaotic: rounding would part the sides.
PARITY = (Size(3, 20, 24, 24), Size(17, 20, 64, 64), Size(16, 20, 48, 300))
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LIMITS = {"float32": 1e-4, "bfloat16": 5e-2}  # of the largest number compared
LOOP_STEPS = 64  # the loops are timed over so many steps at most, and reckoned for T


class Variant(NamedTuple):
    """A cell with one option; layer: torch.nn's that it is measured against.

    most: how many times its time is to be reached, up to H = 256 and beyond; None where nothing is asked.
    """

    cell: str
    option: str = ""
    layer: str = "LSTM"
    most: tuple[float, float] | None = (1.5, 2.5)


VARIANTS = {
    "RNN": Variant("rnn", layer="RNN", most=(1.0, 1.0)),
    "LSTM": Variant("lstm", most=(1.0, 1.0)),
    "GRU": Variant("gru", layer="GRU", most=(1.0, 1.0)),
    "layer norm LSTM": Variant("lstm", "norm"),
    "peephole LSTM": Variant("peephole"),
    "recurrent dropout LSTM": Variant("lstm", "drop"),
    "sLSTM": Variant("slstm"),
    "ragged LSTM": Variant("lstm", "lengths", most=None),
}
PADDED = Variant("lstm", "whole lengths")
AT_LEAST = 10.0  # times as quick as an eager loop
NOISE = 1.05  # what counts as the same
COLUMNS = (
    Column("size", "BxTxIxH"),
    Column("by", "runs on"),
    Column("longspan", "longspan ms", "ms"),
    Column("cudnn", "torch.nn ms", "ms"),
    Column("cost", "of torch.nn", "times"),
    Column("compiled", "compiled loop / longspan", "times"),
    Column("eager", "eager loop / longspan", "times"),
)
RAGGED = (
    Column("size", "BxTxIxH"),
    Column("by", "runs on"),
    Column("ragged", "ragged ms", "ms"),
    Column("same", "of padded by the same kernels", "times"),
    Column("plain", "of padded without lengths", "times"),
)


def without() -> str | None:
    """Why nothing can be measured, in one sentence; None where there is a GPU."""
    if torch.cuda.is_available():
        return None
    return (
        "--device cuda: expected an NVIDIA GPU, received none (torch.cuda.is_available() is False); "
        "run it on a machine with one, under a CUDA build of PyTorch."
    )


def job(variant: Variant, size: Size, dtype: torch.dtype, device: str) -> Job:
    """A layer's job with random weights, the same at every call."""
    chance = torch.Generator().manual_seed(0)
    B, T, I, H = size
    cell = CELLS[variant.cell]
    GH, norm, scale = len(cell.gates) * H, variant.option == "norm", H**-0.5

    def leaf(*shape: int, by: float = scale) -> Tensor:
        return (torch.randn(shape, generator=chance) * by).to(device, dtype).requires_grad_()

    weights = Weights(
        x=leaf(GH, I), r=leaf(GH, H), bx=leaf(GH), br=leaf(GH),
        p=leaf(len(cell.params), H) if cell.params else None,
        norm_x=leaf(GH, by=1.0) if norm else None, norm_r=leaf(GH, by=1.0) if norm else None,
        norm_c=leaf(H, by=1.0) if norm else None, norm_c_bias=leaf(H) if norm else None,
    )  # fmt: skip
    start = [torch.full((1, B, H), cell.initial.get(s, 0.0)) for s in cell.states]
    lengths = {
        "lengths": torch.randint(1, T + 1, (B,), generator=chance),
        "whole lengths": torch.full((B,), T),
    }
    kept = torch.rand(1, B, H, generator=chance) < 0.75
    return Job(
        cell, leaf(T, B, I, by=1.0), tuple(s.to(device, dtype) for s in start), (weights,),
        lengths.get(variant.option),
        dropout_mask=(kept / 0.75).to(device, dtype) if variant.option == "drop" else None,
    )  # fmt: skip


def leaves(one: Job) -> list[Tensor]:
    """All that gradients are taken by."""
    return [one.x, *(t for t in vars(one.weights[0]).values() if t is not None)]


def gradients(run: Callable[[Job], Any], one: Job) -> list[Tensor]:
    """The output, and the gradients of a fixed weighting of it."""
    out = run(one).out
    top = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out)
    return [out.detach(), *torch.autograd.grad(out, leaves(one), top)]


def parity(device: str = "cuda", sizes: Sequence[Size] = PARITY) -> Iterator[str]:
    """A sentence for each comparison with the reference in float32 that fails."""
    for (name, variant), size, dtype in product(VARIANTS.items(), sizes, DTYPES):
        narrow = job(variant, size, DTYPES[dtype], device)
        wide = _widened(narrow)
        pairs = zip(gradients(kernels.run, narrow), gradients(reference.run, wide), strict=True)
        error = max(((a.float() - b).abs().max() / b.abs().max().clamp_min(1e-6)).item() for a, b in pairs)
        if not error <= LIMITS[dtype]:
            what = f"{name} {size} {dtype}"
            yield f"{what}: expected a difference of at most {LIMITS[dtype]:.0e}, received {error:.1e}."


def _widened(narrow: Job) -> Job:
    def wide(t: Tensor) -> Tensor:
        return t.detach().float().requires_grad_()

    fields = {k: wide(t) for k, t in vars(narrow.weights[0]).items() if t is not None}
    return replace(
        narrow, x=wide(narrow.x), state=tuple(s.float() for s in narrow.state), weights=(Weights(**fields),),
        dropout_mask=None if narrow.dropout_mask is None else narrow.dropout_mask.float(),
    )  # fmt: skip


def tables(sizes: Sequence[Size], seconds: float, device: str = "cuda") -> Iterator[Table]:
    """One table for each variant and dtype."""
    for (name, variant), dtype in product(VARIANTS.items(), DTYPES):
        against = f"torch.nn.{variant.layer}"
        table = Table(f"{name}, {dtype}, against {against}", COLUMNS)
        table.rows += [_row(variant, size, DTYPES[dtype], seconds, device) for size in sizes]
        table.title += reached(variant, table.rows, sizes)
        table.add_means()
        yield table
    for dtype in DTYPES:
        table = Table(f"ragged beside padded LSTM, {dtype}", RAGGED)
        table.rows += [_ragged(size, DTYPES[dtype], seconds, device) for size in sizes]
        table.add_means()
        yield table


def reached(variant: Variant, rows: Sequence[Mapping[str, float | str]], sizes: Sequence[Size]) -> str:
    """At how many of the sizes a variant is as quick as it should be, for the title of its table."""
    if variant.most is None:
        return ""
    near, far = variant.most
    limits = [near if size.H <= 256 else far for size in sizes]
    costs = [float(row["cost"]) <= NOISE * most for row, most in zip(rows, limits, strict=True)]
    eager = [float(row["eager"]) >= AT_LEAST for row in rows]
    words = f"{near:g}x" if near == far else f"{near:g}x to H = 256, {far:g}x beyond,"
    return (
        f"; at most {words} at {sum(costs)} of {len(costs)} sizes, "
        f"at least {AT_LEAST:g}x an eager loop at {sum(eager)}"
    )


def _ragged(size: Size, dtype: torch.dtype, seconds: float, device: str) -> dict[str, float | str]:
    """A batch of random lengths beside the same one padded: with all its lengths said, and with none."""
    jobs = {"ragged": VARIANTS["ragged LSTM"], "same": PADDED, "plain": VARIANTS["LSTM"]}
    made = {name: job(variant, size, dtype, device) for name, variant in jobs.items()}
    top = torch.randn_like(made["ragged"].x[..., :1].expand(-1, -1, size.H))
    calls = {name: partial(_train, one, top) for name, one in made.items()}
    timing = interleaved({name: _finished(call, device) for name, call in calls.items()}, seconds)
    ragged = timing.median("ragged")
    ratios = {name: ragged / timing.median(name) for name in ("same", "plain")}
    return {"size": str(size), "by": _by(made["ragged"]), "ragged": ragged, **ratios}


def _train(one: Job, top: Tensor) -> None:
    torch.autograd.grad(kernels.run(one).out, leaves(one), top)


def _row(
    variant: Variant, size: Size, dtype: torch.dtype, seconds: float, device: str
) -> dict[str, float | str]:
    one = job(variant, size, dtype, device)
    short = job(variant, size._replace(T=min(size.T, LOOP_STEPS)), dtype, device)
    layer = getattr(torch.nn, variant.layer)(size.I, size.H, device=device, dtype=dtype)
    x = one.x.detach().clone().requires_grad_()
    top = torch.randn_like(x[..., :1].expand(-1, -1, size.H))
    low = top[: short.x.shape[0]]

    def by_torch() -> None:
        torch.autograd.grad(layer(x)[0], [x, *layer.parameters()], top)

    calls = {
        "longspan": partial(_train, one, top),
        "cudnn": by_torch,
        "eager": lambda: torch.autograd.grad(reference.run(short).out, leaves(short), low),
        "compiled": lambda: torch.autograd.grad(loop(short, compiled), leaves(short), low),
    }
    timing = interleaved({name: _finished(call, device) for name, call in calls.items()}, seconds)
    ours, theirs, many = timing.median("longspan"), timing.median("cudnn"), size.T / short.x.shape[0]
    loops = {name: many * timing.median(name) / ours for name in ("compiled", "eager")}
    row: dict[str, float | str] = {"size": str(size), "by": _by(one)}
    return row | {"longspan": ours, "cudnn": theirs, "cost": ours / theirs} | loops


def _by(one: Job) -> str:
    """Which kernels run, as explain has it."""
    words = kernels.explain(one)
    form = next((form for form in ("cuDNN", "one launch", "CUDA graph") if f"{form}" in words), "reference")
    return {"one launch": "Triton, whole", "CUDA graph": "Triton, steps"}.get(form, form)


def _finished(call: Callable[[], object], device: str) -> Callable[[], None]:
    """The call, until the GPU has done all of it."""

    def until_done() -> None:
        call()
        if device == "cuda":
            torch.cuda.synchronize()

    return until_done


def loop(one: Job, step: Callable[..., tuple[Tensor, ...]]) -> Tensor:
    """The output of a job's loop over time, as a user would write it; padding is computed along."""
    w, h = one.weights[0], one.state[0][0]
    assert w.bx is not None
    x = _normed(F.linear(one.x, w.x), w.norm_x) + w.bx
    states, outs = [s[0] for s in one.state], list[Tensor]()
    mask = None if one.dropout_mask is None else one.dropout_mask[0]
    for t in range(one.x.shape[0]):
        states = step(one.cell.name, x[t], w, mask, *states)
        outs.append(states[0])
    return torch.stack(outs).to(h.dtype)


def _normed(v: Tensor, scale: Tensor | None) -> Tensor:
    return v if scale is None else F.layer_norm(v, v.shape[-1:], scale)


def one_step(cell: str, x: Tensor, w: Weights, drop: Tensor | None, *s: Tensor) -> tuple[Tensor, ...]:
    """One step of the cells of this benchmark, written out."""
    assert w.r is not None and w.br is not None
    r = _normed(F.linear(s[0] if drop is None else s[0] * drop, w.r), w.norm_r) + w.br
    if cell == "rnn":
        return (torch.tanh(x + r),)
    if cell == "gru":
        (k, z, n), (rk, rz, rn) = x.chunk(3, -1), r.chunk(3, -1)
        k, z = torch.sigmoid(k + rk), torch.sigmoid(z + rz)
        n = torch.tanh(n + k * rn)
        return (n + z * (s[0] - n),)
    i, f, g, o = (x + r).chunk(4, -1)
    if cell == "slstm":
        return _stabilised(i, f, torch.tanh(g), torch.sigmoid(o), *s[1:])
    if w.p is not None:
        i, f = i + w.p[0] * s[1], f + w.p[1] * s[1]
    c = torch.sigmoid(f) * s[1] + torch.sigmoid(i) * torch.tanh(g)
    o = torch.sigmoid(o if w.p is None else o + w.p[2] * c)
    if w.norm_c is not None:
        return o * torch.tanh(F.layer_norm(c, c.shape[-1:], w.norm_c, w.norm_c_bias)), c
    return o * torch.tanh(c), c


def _stabilised(i: Tensor, f: Tensor, g: Tensor, o: Tensor, *s: Tensor) -> tuple[Tensor, ...]:
    c, n, m = s
    log_f = F.logsigmoid(f)
    new = torch.maximum(log_f + m, i)
    i, f = torch.exp(i - new), torch.exp(log_f + m - new)
    c, n = f * c + i * g, f * n + i
    return o * c / n, c, n, new


def compiled(cell: str, x: Tensor, w: Weights, drop: Tensor | None, *s: Tensor) -> tuple[Tensor, ...]:
    """One step, compiled once for each shape."""
    return _compiler()(cell, x, w, drop, *s)


@lru_cache(maxsize=1)
def _compiler() -> Callable[..., tuple[Tensor, ...]]:
    torch._dynamo.config.recompile_limit = 1000  # sizes, dtypes and cells of the whole grid
    return torch.compile(one_step, dynamic=False)


def main(sizes: Sequence[Size] | None, quick: bool, file: Path | None, show: Callable[[Any], None]) -> int:
    """Check, measure, show and, where a file is named, write; 1 if a check failed, 2 without a GPU."""
    if reason := without():
        show(reason)
        return 2
    torch.backends.cudnn.allow_tf32 = allow_tf32()
    name = torch.cuda.get_device_name()
    show(f"{name}, CUDA {torch.version.cuda}, torch {torch.__version__}")
    with use_backend("gpu"):
        if failed := list(parity()):
            show("\n".join(["Parity failed, so nothing is measured.", *failed]))
            return 1
        found = list[str]()
        for table in tables(sizes or (QUICK if quick else SIZES), 0.2 if quick else 1.0):
            show(table.picture())
            found.append(table.markdown())
    if file is not None:
        words = f"# Cells on {name}\n\nCUDA {torch.version.cuda}, torch {torch.__version__}; medians.\n\n"
        file.write_text(words + "\n".join(found))
    return 0
