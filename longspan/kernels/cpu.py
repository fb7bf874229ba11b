"""The CPU kernels as a backend: refuses jobs that they cannot run, and turns the others into calls."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Parameter

from longspan.cells import Cell

from . import many, native_cells, operators, selection
from .cpu_driver import CallSpec, Inputs, is_time_major
from .job import Job, Result, Weights, contradiction, is_int8
from .program import program
from .tracing import dispatch_modes, in_transform, maps_only

NAME = "cpu"
DTYPES = (torch.float32, torch.float64)
INSTRUCTION_SETS = native_cells.INSTRUCTION_SETS

# Before PyTorch 2.7 an export cannot be told from a compilation, which runs on this machine.
is_exporting = torch.compiler.__dict__.get("is_exporting", bool)
_PLAIN = frozenset((Tensor, Parameter, type(None)))


def instruction_set() -> str:
    """The instruction set that is forced, else that of LONGSPAN_ISA, else the widest of this machine."""
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
    if is_int8(job) and x.dtype is not torch.float32:
        return "its int8 kernels compute in float32"
    if not native_cells.address_of(cell, isa):
        return native_cells.why_not(cell, isa)
    if in_transform() and is_int8(job):
        return "its int8 kernels run outside of torch.func, forward-mode differentiation and torch.jit.trace"
    if in_transform() and (reason := _refuses_transform(job)):
        return reason
    for w in job.weights:
        misfit = (w.r is None) == cell.recurrent or (w.norm_c is not None and "c" not in cell.states)
        misfit = misfit or (w.x_scale is not None and (w.proj is not None or w.norm_x is not None))
        if misfit or (w.proj is not None and _reads_h(cell)):
            return contradiction(job)
    return None


def _refuses_transform(job: Job) -> str | None:
    """Why these kernels cannot run `job` under the transforms that are under way, or None."""
    if torch.compiler.is_compiling() or not maps_only() or type(job.x) is not Tensor:
        return (
            "under torch.func but for torch.vmap and one grad, in forward-mode differentiation and in "
            "torch.jit.trace plain operations run"
        )
    return "under torch.func with return_gates plain operations run" if job.gates else None


@selection.constant
def _reads_h(cell: Cell) -> bool:
    return program(cell).reads_h


def detail(job: Job) -> str:
    """How these kernels would run `job`, for explain."""
    isa = instruction_set()
    path = native_cells.path_of(job.cell, isa)
    compiled = f", compiled from your cell in {path}" if path else ""
    if is_int8(job):
        return (
            f"{NAME} uses {isa}'s int8 kernels{compiled}: weights are int8, activations are rounded to int8"
        )
    return (
        f"{NAME} uses {isa}{compiled}; under torch.vmap all models run in one call; in other transforms of "
        "torch.func but one grad, in forward-mode differentiation, in torch.jit.trace and for second "
        "derivatives plain operations run instead"
    )


def run(job: Job) -> Result:
    """Run `job`; differentiable, twice too (the second time through the reference)."""
    zoneout = job.zoneout or ()
    rates = masks = ()
    if zoneout and any(zoneout):
        rates = tuple([-1.0 if z is None else z.rate for z in zoneout])
        masks = tuple([None if z is None else z.mask for z in zoneout])
    weights = tuple([weights_in_order(w) for w in job.weights])
    inputs = Inputs(job.x, job.lengths, job.mask, job.reset, job.dropout_mask, job.state, masks, weights)
    if in_transform() and not torch.compiler.is_compiling():
        spec = CallSpec(job.cell, instruction_set(), rates, False, _is_time_major(job.x))
        return Result(*many.run(spec, inputs)[:2])
    if torch.compiler.is_compiling() or not are_plain(inputs):
        # A program that is saved may run on another machine, which then chooses for itself.
        isa = selection.variant(NAME) or "" if is_exporting() else instruction_set()
        spec = CallSpec(job.cell, isa, rates, job.gates, _is_time_major(job.x))
        out, last, gates = operators.run_operator(spec, inputs)
    else:
        spec = CallSpec(job.cell, instruction_set(), rates, job.gates, is_time_major(job.x))
        out, last, gates = operators.run_eager(spec, inputs)
    return Result(out, last, None if gates is None else named_gates(job.cell, out, gates, len(weights)))


def weights_in_order(w: Weights) -> tuple[Tensor | None, ...]:
    """The weights of one direction in the order of cpu_driver.WEIGHTS."""
    norms = w.norm_x, w.norm_r, w.norm_c, w.norm_c_bias
    return w.x, w.r, w.bx, w.br, w.p, w.proj, *norms, w.x_scale, w.r_scale


def are_plain(inputs: Inputs) -> bool:
    """Whether all tensors are of no subclass of torch.Tensor, and no dispatch mode is on."""
    return not dispatch_modes() and _PLAIN.issuperset(map(type, inputs.flat()))


def _is_time_major(x: Tensor) -> bool:
    """As `is_time_major`, by strides alone, which a tracer knows."""
    return x.stride(0) >= x.stride(1)


def named_gates(cell: Cell, out: Tensor, gates: Tensor, D: int) -> list[dict[str, Tensor]]:
    """The gates of a Result, views of out (T, B, D*R) and gates (D, G+S-1, T, B, H)."""
    letters, first, h = (*cell.gates, *cell.states), len(cell.gates), out.transpose(0, 1)
    hs, sides = ((h,), (gates.squeeze(0),)) if D == 1 else (h.chunk(D, -1), gates.unbind(0))
    planes = [side.transpose(1, 2).unbind(0) for side in sides]
    return [
        dict(zip(letters, (*p[:first], h, *p[first:]), strict=True)) for p, h in zip(planes, hs, strict=True)
    ]
