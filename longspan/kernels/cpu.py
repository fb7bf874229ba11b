"""The CPU kernels: turns a job into addresses for the compiled drivers, and their gradients back into autograd's.

One operator a layer, `longspan::recur`, with its backward; registered through `torch.library`, so that
`torch.compile` and `torch.export` see one opaque call. Outside them a plain autograd function does the same with less
to pay for each call.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from longspan import _core
from longspan.cells import CELLS, Cell

from . import choice, compiled, reference
from .job import Job, Result, Weights, Zone, impossible
from .program import program

NAME = "cpu"
WEIGHTS = ("x", "r", "bx", "br", "p", "proj", "norm_x", "norm_r", "norm_c", "norm_c_bias")
DTYPES = (torch.float32, torch.float64)
INSTRUCTION_SETS: tuple[str, ...] = tuple(_core.instruction_sets())


class Spec(NamedTuple):
    """All of a job that is not a tensor."""

    cell: Cell
    isa: str
    rates: tuple[float, ...]  # of zoneout by state, -1 where there is none; empty without zoneout
    gates: bool


def instruction_set() -> str:
    """The one that is forced, else the one LONGSPAN_ISA names, else the widest this machine has."""
    return choice.variant("cpu") or os.environ.get("LONGSPAN_ISA") or INSTRUCTION_SETS[0]


def entry(cell: Cell, isa: str) -> int:
    """The address of the cell's compiled functions, 0 where there are none."""
    return _built_in(cell.name, isa) if CELLS.get(cell.name) is cell else compiled.entry(cell, isa)


@lru_cache(maxsize=None)
def _built_in(name: str, isa: str) -> int:
    return _core.cell(isa, name)


def refuses(job: Job) -> str | None:
    """Why these kernels cannot run `job`, or None."""
    x, isa = job.x, instruction_set()
    if isa not in INSTRUCTION_SETS:
        return f"this machine does not run {isa} (it runs {', '.join(INSTRUCTION_SETS)})"
    if x.device.type != "cpu":
        return f"the tensors are on {x.device}, not on the CPU"
    if x.dtype not in DTYPES:
        return f"it computes in float32 and float64, not in {str(x.dtype).removeprefix('torch.')}"
    if job.cell.name not in CELLS and not entry(job.cell, isa):
        return compiled.why_not(job.cell)
    if _transformed():
        return "inside a torch.func transform or forward-mode differentiation plain PyTorch operations run"
    return impossible(job)


def _transformed() -> bool:
    interpreter = torch._C._functorch.peek_interpreter_stack  # pyright: ignore[reportAttributeAccessIssue]
    return interpreter() is not None or torch.autograd.forward_ad._current_level >= 0


def run(job: Job) -> Result:
    """Run `job`; differentiable, twice too (the second time through the reference)."""
    zone = job.zone or ()
    rates = tuple(-1.0 if z is None else z.rate for z in zone) if any(zone) else ()
    spec = Spec(job.cell, instruction_set(), rates, job.gates)
    masks = [None if z is None else z.mask for z in zone] if rates else []
    weights = [getattr(w, name) for w in job.weights for name in WEIGHTS]
    given = (job.x, job.lengths, job.mask, job.reset, job.drop, *job.state, *masks, *weights)
    out, last, gates = _eager(spec, given)
    return Result(out, last, _named_gates(spec.cell, out, gates, len(job.weights)) if job.gates else None)


def _named_gates(cell: Cell, out: Tensor, gates: Tensor, D: int) -> dict[str, Tensor]:
    named = {letter: gates[:, i] for i, letter in enumerate(cell.gates)}
    h = out.detach().unflatten(-1, (D, -1)).movedim(-2, 0)
    return named | {"h": h} | {s: gates[:, len(cell.gates) + i] for i, s in enumerate(cell.states[1:])}


class Given(NamedTuple):
    """The tensors of a job, taken apart again."""

    x: Tensor
    lengths: Tensor | None
    mask: Tensor | None
    reset: Tensor | None
    drop: Tensor | None
    state: tuple[Tensor, ...]
    zone: tuple[Tensor | None, ...]
    weights: tuple[tuple[Tensor | None, ...], ...]

    @property
    def ragged(self) -> bool:
        return self.lengths is not None


def _take_apart(spec: Spec, given: Sequence[Any]) -> Given:
    S, n = len(spec.cell.states), len(WEIGHTS)
    z = 5 + S + (S if spec.rates else 0)
    weights = tuple(tuple(given[i : i + n]) for i in range(z, len(given), n))
    return Given(*given[:5], tuple(given[5 : 5 + S]), tuple(given[5 + S : z]), weights)


# ---- the compiled calls ----------------------------------------------------------------------------------------------


class Layout(NamedTuple):
    """How the rows (b, t) of every tensor of a call follow each other."""

    T: int
    B: int
    time_major: bool

    def rows(self, tensor: Tensor) -> Tensor:
        """(T, B, ...) -> contiguous, in the order of the rows; no copy where it already is."""
        return tensor.contiguous() if self.time_major else tensor.transpose(0, 1).contiguous()

    def back(self, rows: Tensor) -> Tensor:
        return rows if self.time_major else rows.transpose(0, 1)

    def new(self, like: Tensor, *tail: int, zero: bool) -> Tensor:
        shape = (self.T, self.B, *tail) if self.time_major else (self.B, self.T, *tail)
        return like.new_zeros(shape) if zero else like.new_empty(shape)


def _layout(x: Tensor) -> Layout:
    T, B = x.shape[0], x.shape[1]
    return Layout(T, B, x.is_contiguous() or not x.transpose(0, 1).is_contiguous())


@lru_cache(maxsize=256)
def _whole_plan(T: int, B: int, backwards: bool, time_major: bool) -> Any:
    return _core.plan(T, B, 0, 0, 0, 0, 0, 0, 0, backwards, time_major)


def _plan(g: Given, layout: Layout, backwards: bool) -> Any:
    if g.lengths is None and g.mask is None and g.reset is None:
        return _whole_plan(layout.T, layout.B, backwards, layout.time_major)
    lengths = None if g.lengths is None else g.lengths.contiguous()
    flags = [a for f in (g.mask, g.reset) for a in ((0, 0, 0) if f is None else (f.data_ptr(), *f.stride()))]
    address = 0 if lengths is None else lengths.data_ptr()
    return _core.plan(layout.T, layout.B, address, *flags, backwards, layout.time_major)


def _at(tensor: Tensor | None, d: int = 0) -> int:
    """The address of a contiguous tensor's part d along its first dimension."""
    if tensor is None:
        return 0
    return tensor.data_ptr() + (d * tensor.stride(0) * tensor.element_size() if d else 0)


def _whole(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


class Prepared(NamedTuple):
    """One call's contiguous tensors; they must outlive the addresses taken of them."""

    layout: Layout
    x: Tensor
    drop: Tensor | None
    state: tuple[Tensor, ...]
    zone: tuple[Tensor | None, ...]
    weights: tuple[tuple[Tensor | None, ...], ...]
    I: int
    H: int
    R: int

    def sizes(self, spec: Spec, add: bool) -> list[int]:
        D, rows = len(self.weights), self.layout.T * self.layout.B
        return [self.I, self.H, self.R, D * self.R, rows, torch.get_num_threads(), int(add)]

    def addresses(
        self, d: int, out: Tensor, gates: Tensor | None, saved: Tensor | None, last: Sequence[Tensor]
    ) -> list[int]:
        w = self.weights[d]
        first = [_at(self.x), *map(_at, w), _at(self.drop, d)]
        first += [out.data_ptr() + d * self.R * out.element_size(), _at(gates, d), _at(saved, d)]
        zone = self.zone or (None,) * len(self.state)
        return first + [_at(t, d) for t in (*self.state, *last, *zone)]


def _prepare(spec: Spec, g: Given) -> Prepared:
    layout = _layout(g.x)
    weights = tuple(tuple(map(_whole, w)) for w in g.weights)
    state = tuple(s.contiguous() for s in g.state)
    zone = tuple(
        None if z is None else (z if layout.time_major else z.transpose(1, 2)).contiguous() for z in g.zone
    )
    H = g.weights[0][0].shape[0] // len(spec.cell.gates)  # pyright: ignore[reportOptionalMemberAccess]
    return Prepared(
        layout, layout.rows(g.x), _whole(g.drop), state, zone, weights, g.x.shape[2], H, g.state[0].shape[-1]
    )


def _saved_per_row(spec: Spec, p: Prepared | Any, f64: bool, address: int) -> int:
    w = p.weights[0]
    norm, proj = w[WEIGHTS.index("norm_x")] is not None, w[WEIGHTS.index("proj")] is not None
    return _core.saved_per_row(spec.isa, f64, address, p.I, p.H, p.R, norm, proj, bool(spec.rates))


def _forward(
    spec: Spec, g: Given, save: bool
) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None, Tensor | None]:
    """out (T, B, D*R), final states, gates (D, G+S-1, T, B, H) or None, saved numbers (D, n) or None."""
    p = _prepare(spec, g)
    x, layout, D = p.x, p.layout, len(p.weights)
    f64, address = x.dtype == torch.float64, entry(spec.cell, spec.isa)
    out = layout.new(x, D * p.R, zero=g.ragged)
    last = tuple(torch.empty_like(s) for s in p.state)
    saved = gates = None
    if save:
        n = layout.T * layout.B * _saved_per_row(spec, p, f64, address)
        saved = _core.buffer(D * n, f64).view(D, n)
    if spec.gates:
        many = len(spec.cell.gates) + len(spec.cell.states) - 1
        shape = (D, many, *layout.new(x, p.H, zero=False).shape)
        gates = x.new_zeros(shape) if g.ragged or g.mask is not None else x.new_empty(shape)
    for d in range(D):
        _core.forward(
            spec.isa, f64, address, _plan(g, layout, d == 1), p.sizes(spec, False),
            p.addresses(d, out, gates, saved, last), spec.rates,
        )  # fmt: skip
    if gates is not None and not layout.time_major:
        gates = gates.transpose(2, 3)
    return layout.back(out), last, gates, saved


Wanted = tuple[bool, ...]


def _backward(
    spec: Spec,
    g: Given,
    out: Tensor,
    saved: Tensor,
    dout: Tensor | None,
    dlast: Sequence[Tensor | None],
    wanted: Wanted,
) -> list[Tensor | None]:
    """Gradients of the given tensors, in their order; None where not wanted or where there is none."""
    p = _prepare(spec, g)
    layout, D, S, n = p.layout, len(p.weights), len(p.state), len(WEIGHTS)
    z = 5 + S + (S if spec.rates else 0)
    dx = layout.new(p.x, p.I, zero=g.ragged or g.mask is not None) if wanted[0] else None
    dstate = [torch.empty_like(s) if w else None for s, w in zip(p.state, wanted[5 : 5 + S], strict=True)]
    dweights = [
        torch.empty_like(w) if w is not None and wanted[z + i] else None
        for i, w in enumerate(w for weights in p.weights for w in weights)
    ]
    out_rows = layout.rows(out)
    dout_rows = None if dout is None else layout.rows(dout)
    dlast = [_whole(d) for d in dlast]
    f64, address = p.x.dtype == torch.float64, entry(spec.cell, spec.isa)
    for d in range(D):
        own = dweights[d * n : (d + 1) * n]
        addresses = p.addresses(d, out_rows, None, saved, (None,) * S)
        addresses += [
            _at(dout_rows) and _at(dout_rows) + d * p.R * p.x.element_size(),
            _at(dx),
            *map(_at, own),
        ]
        addresses += [_at(t, d) for t in (*dlast, *dstate)]
        _core.backward(
            spec.isa, f64, address, _plan(g, layout, d == 1), p.sizes(spec, d > 0), addresses, spec.rates
        )
    grads: list[Tensor | None] = [None] * z + dweights
    grads[0] = None if dx is None else layout.back(dx)
    grads[5 : 5 + S] = dstate
    return grads


# ---- autograd --------------------------------------------------------------------------------------------------------


def _again(spec: Spec, given: Sequence[Any]) -> Job:
    """The job a call was made from, for the reference."""
    g = _take_apart(spec, given)
    zone = [None if rate < 0 else Zone(rate, mask) for rate, mask in zip(spec.rates, g.zone, strict=True)]
    weights = tuple(Weights(**dict(zip(WEIGHTS, w, strict=True))) for w in g.weights)
    return Job(
        spec.cell, g.x, g.state, weights, g.lengths, g.mask, g.reset, g.drop, tuple(zone) if zone else None
    )


def _differentiable(
    spec: Spec, given: Sequence[Any], grads: Sequence[Tensor | None], wanted: Wanted
) -> list[Tensor | None]:
    """The gradients as plain PyTorch operations, to be differentiated again."""
    result = reference.run(_again(spec, given))
    outputs = [(o, d) for o, d in zip((result.out, *result.state), grads, strict=True) if d is not None]
    places = [i for i, w in enumerate(wanted) if w]
    inputs = [given[i] for i in places]
    values = torch.autograd.grad(
        [o for o, _ in outputs], inputs, [d for _, d in outputs], create_graph=True, allow_unused=True
    )
    found = dict(zip(places, values, strict=True))
    return [found.get(i) for i in range(len(given))]


class _Recur(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, spec: Spec, *given: Any) -> Any:
        out, last, gates, saved = _forward(spec, _take_apart(spec, given), save=True)
        ctx.spec, ctx.places = spec, [i for i, t in enumerate(given) if t is not None]
        ctx.many = len(given)
        ctx.save_for_backward(*(given[i] for i in ctx.places), out, saved)
        ctx.set_materialize_grads(False)
        if gates is not None:
            ctx.mark_non_differentiable(gates)
        return out, *last, gates

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        *tensors, out, saved = ctx.saved_tensors
        given: list[Any] = [None] * ctx.many
        for i, t in zip(ctx.places, tensors, strict=True):
            given[i] = t
        wanted, grads = ctx.needs_input_grad[1:], grads[:-1]
        if all(g is None for g in grads):
            return (None,) * (ctx.many + 1)
        if torch.is_grad_enabled():
            return None, *_differentiable(ctx.spec, given, grads, wanted)
        return None, *_backward(
            ctx.spec, _take_apart(ctx.spec, given), out, saved, grads[0], grads[1:], wanted
        )


def _eager(spec: Spec, given: Sequence[Any]) -> tuple[Tensor, tuple[Tensor, ...], Any]:
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in given):
        out, *last, gates = _Recur.apply(spec, *given)
        return out, tuple(last), gates
    out, last, gates, _ = _forward(spec, _take_apart(spec, given), save=False)
    return out, last, gates
