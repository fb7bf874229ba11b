"""The CPU kernels as a backend: which jobs they refuse, and how a job becomes a call of theirs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Parameter

from longspan.cells import Cell

from . import native_cells, operators, selection
from .cpu_driver import Given, Spec, in_time_order
from .job import Job, Result, Weights, impossible
from .program import program
from .tracing import modes, transformed

NAME = "cpu"
DTYPES = (torch.float32, torch.float64)
INSTRUCTION_SETS = native_cells.INSTRUCTION_SETS

# Before PyTorch 2.7 nobody can tell an export from a compilation, which is the same but for where it runs.
is_exporting = torch.compiler.__dict__.get("is_exporting", bool)
_PLAIN = frozenset((Tensor, Parameter, type(None)))


def instruction_set() -> str:
    """The one that is forced, else the one LONGSPAN_ISA names, else the widest this machine has."""
    return selection.variant(NAME) or native_cells.WIDEST


def refuses(job: Job) -> str | None:
    """Why these kernels cannot run `job`, or None."""
    x, isa, cell = job.x, instruction_set(), job.cell
    if isa not in INSTRUCTION_SETS:
        return f"this machine does not run {isa} (it runs {', '.join(INSTRUCTION_SETS)})"
    if x.device.type != "cpu":
        return f"the tensors are on {x.device}, not on the CPU"
    if x.dtype not in DTYPES:
        return f"it computes in float32 and float64, not in {str(x.dtype).removeprefix('torch.')}"
    if not native_cells.entry(cell, isa):
        return native_cells.why_not(cell, isa)
    if transformed():
        return "under torch.func, in forward-mode differentiation and in torch.jit.trace plain operations run"
    for w in job.weights:
        misfit = (w.r is None) == cell.recurrent or (w.norm_c is not None and "c" not in cell.states)
        if misfit or (w.proj is not None and _reads_h(cell)):
            return impossible(job)
    return None


@selection.constant
def _reads_h(cell: Cell) -> bool:
    return program(cell).reads_h


def detail(job: Job) -> str:
    """How these kernels would run `job`, for explain."""
    isa = instruction_set()
    own = native_cells.where(job.cell, isa)
    made = f", compiled from your cell in {own}" if own else ""
    return (
        f"{NAME} uses {isa}{made}; under torch.func, in forward-mode differentiation, in torch.jit.trace "
        "and for second derivatives plain operations run instead"
    )


def run(job: Job) -> Result:
    """Run `job`; differentiable, twice too (the second time through the reference)."""
    zone = job.zone or ()
    rates = masks = ()
    if zone and any(zone):
        rates = tuple([-1.0 if z is None else z.rate for z in zone])
        masks = tuple([None if z is None else z.mask for z in zone])
    weights = tuple([row(w) for w in job.weights])
    given = Given(job.x, job.lengths, job.mask, job.reset, job.drop, job.state, masks, weights)
    if torch.compiler.is_compiling() or not plain(given):
        # A program that is saved may run on another machine, which then chooses for itself.
        isa = selection.variant(NAME) or "" if is_exporting() else instruction_set()
        spec = Spec(job.cell, isa, rates, job.gates, _longer_in_time(job.x))
        out, last, gates = operators.dispatched(spec, given)
    else:
        spec = Spec(job.cell, instruction_set(), rates, job.gates, in_time_order(job.x))
        out, last, gates = operators.straight(spec, given)
    return Result(out, last, None if gates is None else named_gates(job.cell, out, gates, len(weights)))


def row(w: Weights) -> tuple[Tensor | None, ...]:
    """The weights of one direction in the order of driver.WEIGHTS."""
    return w.x, w.r, w.bx, w.br, w.p, w.proj, w.norm_x, w.norm_r, w.norm_c, w.norm_c_bias


def plain(given: Given) -> bool:
    """Whether every tensor is nothing but numbers, and nobody is following what is done to them."""
    return not modes() and _PLAIN.issuperset(map(type, given.flat()))


def _longer_in_time(x: Tensor) -> bool:
    """As in_time_order, without asking for more than a tracer knows of sizes."""
    return x.stride(0) >= x.stride(1)


def named_gates(cell: Cell, out: Tensor, gates: Tensor, D: int) -> list[dict[str, Tensor]]:
    """Out (T, B, D*R) and gates (D, G+S-1, T, B, H) as Result has them, by as few views as can be."""
    letters, first, h = (*cell.gates, *cell.states), len(cell.gates), out.transpose(0, 1)
    hs, sides = ((h,), (gates.squeeze(0),)) if D == 1 else (h.chunk(D, -1), gates.unbind(0))
    planes = [side.transpose(1, 2).unbind(0) for side in sides]
    return [
        dict(zip(letters, (*p[:first], h, *p[first:]), strict=True)) for p, h in zip(planes, hs, strict=True)
    ]
