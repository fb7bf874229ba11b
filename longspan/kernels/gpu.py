"""The GPU kernels as a backend: which jobs they refuse, and whether cuDNN or Triton runs one (route.py)."""

from __future__ import annotations

import torch

from . import cudnn, gpu_routes, operators, selection, triton_driver
from .cpu import named_gates, plain, row
from .cpu_driver import Given, Spec
from .emit_triton import Variant
from .job import Job, Result, impossible
from .launch import chip
from .selection import constant
from .tracing import transformed
from .triton_source import interpreted, missing

NAME = "gpu"
VARIANTS = ("cudnn", "triton")
DTYPES = (torch.float32, torch.bfloat16)
CAPABILITY = (8, 0)  # bfloat16 products begin here

operators.WAYS |= {f"{NAME}:cudnn": cudnn, f"{NAME}:triton": triton_driver}


def refuses(job: Job) -> str | None:
    """Why neither cuDNN nor Triton would run `job`, or None."""
    return _nowhere(job) or impossible(job) or _decided(job)[1]


def run(job: Job) -> Result:
    """Run `job`; differentiable, on Triton twice too (the second time through the reference)."""
    way = "cudnn" if _decided(job)[0].form == "cudnn" else "triton"
    zone = job.zone if job.zone and any(job.zone) else ()
    rates = tuple([-1.0 if z is None else z.rate for z in zone])
    masks = tuple([None if z is None else z.mask for z in zone])
    weights = tuple([row(w) for w in job.weights])
    given = Given(job.x, job.lengths, job.mask, job.reset, job.drop, job.state, masks, weights)
    spec = Spec(job.cell, f"{NAME}:{way}", rates, job.gates, True)
    straight = not torch.compiler.is_compiling() and plain(given)
    if straight and way == "cudnn":
        return cudnn.run(job)
    out, last, gates = (operators.straight if straight else operators.dispatched)(spec, given)
    return Result(out, last, None if gates is None else named_gates(job.cell, out, gates, len(weights)))


def keeps(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether calls in this dtype, smaller than float32, need not be widened: the kernels sum in float32."""
    here = device.type == "cuda" if torch.version.cuda else _interpreting(device)
    asked = (selection.forced() or NAME).partition(":")[0] == NAME
    return dtype is torch.bfloat16 and here and asked and not transformed() and _no_triton(device) is None


def detail(job: Job) -> str:
    """How these kernels would run `job`, for explain."""
    entry = _decided(job)[0]
    how = {
        "cudnn": "it runs on cuDNN",
        "whole": "it runs on Triton, one launch for the sequence with R on chip",
        "steps": "it runs on Triton, a product and a pointwise kernel a step, replayed as a CUDA graph",
    }
    return f"{how[entry.form]}, by the entry {entry.name!r} of its table ({entry.basis})"


def _nowhere(job: Job) -> str | None:
    """Why the job's tensors or the call are nothing for a GPU."""
    x = job.x
    if x.device.type != "cuda":
        if _interpreting(x.device):
            return None
        none = "" if _there() else ", and no GPU is to be had (torch.cuda.is_available() is False)"
        return f"the tensors are on {x.device}, not on an NVIDIA GPU{none}"
    if torch.version.cuda is None:
        return "its kernels are for NVIDIA GPUs, and this build of PyTorch is for others"
    if transformed():
        return "under torch.func, in forward-mode differentiation and in torch.jit.trace plain operations run"
    return None


def _interpreting(device: torch.device) -> bool:
    """Whether Triton interprets its kernels on this device, and is asked to."""
    return device.type == "cpu" and interpreted() and selection.variant(NAME) == "triton"


@constant
def _there() -> bool:
    return torch.cuda.is_available()


def _decided(job: Job) -> tuple[gpu_routes.Entry, str | None]:
    """The table's entry for a job, and why it cannot be followed."""
    wanted = selection.variant(NAME)
    no_cudnn = cudnn.refuses(job)
    if job.x.device.type != "cuda":
        no_cudnn = no_cudnn or "cuDNN runs on GPUs only"
    plain = no_cudnn is None and wanted != "triton"
    H = job.weights[0].x.shape[0] // len(job.cell.gates)
    variant = Variant(
        half=job.x.dtype is torch.bfloat16, marks=False, dropout=False, zoneout=(), gates=False, save=False,
        norm_r=job.weights[0].norm_r is not None, norm_c=job.weights[0].norm_c is not None,
        proj=job.weights[0].proj is not None,
    )  # fmt: skip
    entry = gpu_routes.entry(
        job.cell, variant, H, job.state[0].shape[2], plain=plain, chip=chip(job.x.device)
    )
    if entry.form == "cudnn":
        return entry, None
    return entry, no_cudnn if wanted == "cudnn" else _not_triton(job)


def _not_triton(job: Job) -> str | None:
    x = job.x
    if x.dtype not in DTYPES:
        dtype = str(x.dtype).removeprefix("torch.")
        return f"its Triton kernels compute in float32 and bfloat16, not in {dtype}"
    return _no_triton(x.device)


def _no_triton(device: torch.device) -> str | None:
    """Why no Triton kernel at all runs on a device."""
    if reason := missing():
        return reason
    if device.type == "cuda" and (found := _capability(device)) < CAPABILITY:
        return f"its Triton kernels want compute capability 8.0, and {device} has {found[0]}.{found[1]}"
    return None


@constant
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)
