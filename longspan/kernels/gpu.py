"""The GPU kernels as a backend: refuses jobs that they cannot run, and runs the others on cuDNN or Triton."""

from __future__ import annotations

import torch

from . import cudnn, gpu_routes, operators, selection, triton_driver
from .cpu import are_plain, named_gates, weights_in_order
from .cpu_driver import CallSpec, Inputs
from .emit_triton import Variant
from .job import Job, Result, contradiction, is_int8
from .launch import shared_memory
from .selection import constant
from .tracing import in_transform
from .triton_source import interpreted, missing

NAME = "gpu"
VARIANTS = ("cudnn", "triton")
DTYPES = (torch.float32, torch.bfloat16)
CAPABILITY = (8, 0)  # the first compute capability with bfloat16 products

operators.DRIVERS |= {f"{NAME}:cudnn": cudnn, f"{NAME}:triton": triton_driver}


def refuses(job: Job) -> str | None:
    """Why neither cuDNN nor Triton would run `job`, or None."""
    if is_int8(job):
        return "the weights are int8, which its kernels do not read"
    return _why_no_gpu(job) or contradiction(job) or _route(job)[1]


def run(job: Job) -> Result:
    """Run `job`; differentiable, on Triton twice too (the second time through the reference)."""
    library = "cudnn" if _route(job)[0].kernels == "cudnn" else "triton"
    zoneout = job.zoneout if job.zoneout and any(job.zoneout) else ()
    rates = tuple([-1.0 if z is None else z.rate for z in zoneout])
    masks = tuple([None if z is None else z.mask for z in zoneout])
    weights = tuple([weights_in_order(w) for w in job.weights])
    inputs = Inputs(job.x, job.lengths, job.mask, job.reset, job.dropout_mask, job.state, masks, weights)
    spec = CallSpec(job.cell, f"{NAME}:{library}", rates, job.gates, True)
    eager = not torch.compiler.is_compiling() and are_plain(inputs)
    if eager and library == "cudnn":
        return cudnn.run(job)
    out, last, gates = (operators.run_eager if eager else operators.run_operator)(spec, inputs)
    return Result(out, last, None if gates is None else named_gates(job.cell, out, gates, len(weights)))


def computes_in(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the kernels take a dtype below float32 as it is, since they sum in float32 themselves."""
    runs_here = device.type == "cuda" if torch.version.cuda else _interpreting(device)
    may_run = (selection.forced() or NAME).partition(":")[0] == NAME
    return (
        dtype is torch.bfloat16
        and runs_here
        and may_run
        and not in_transform()
        and _why_no_triton(device) is None
    )


def detail(job: Job) -> str:
    """How these kernels would run `job`, for explain."""
    route = _route(job)[0]
    descriptions = {
        "cudnn": "it runs on cuDNN",
        "persistent": "it runs on Triton, one launch for the sequence with R on chip",
        "per_step": "it runs on Triton, a product and a pointwise kernel a step, replayed as a CUDA graph",
    }
    return f"{descriptions[route.kernels]}, by the route {route.name!r} ({route.reason})"


def _why_no_gpu(job: Job) -> str | None:
    """Why no GPU runs a job, for its device or the way it is called."""
    x = job.x
    if x.device.type != "cuda":
        if _interpreting(x.device):
            return None
        none = "" if _has_gpu() else ", and there is no GPU (torch.cuda.is_available() is False)"
        return f"the tensors are on {x.device}, not on an NVIDIA GPU{none}"
    if torch.version.cuda is None:
        return "its kernels are for NVIDIA GPUs, and this build of PyTorch is for others"
    if in_transform():
        return "under torch.func, in forward-mode differentiation and in torch.jit.trace plain operations run"
    return None


def _interpreting(device: torch.device) -> bool:
    """Whether Triton interprets its kernels on this device, and is asked to."""
    return device.type == "cpu" and interpreted() and selection.variant(NAME) == "triton"


@constant
def _has_gpu() -> bool:
    return torch.cuda.is_available()


def _route(job: Job) -> tuple[gpu_routes.Route, str | None]:
    """The table's route for a job, and why its kernels cannot run the job, or None."""
    forced = selection.variant(NAME)
    why_no_cudnn = cudnn.refuses(job)
    if job.x.device.type != "cuda":
        why_no_cudnn = why_no_cudnn or "cuDNN runs on GPUs only"
    plain = why_no_cudnn is None and forced != "triton"
    H = job.weights[0].x.shape[0] // len(job.cell.gates)
    variant = Variant(
        half=job.x.dtype is torch.bfloat16, marks=False, dropout=False, zoneout=(), gates=False, save=False,
        norm_r=job.weights[0].norm_r is not None, norm_c=job.weights[0].norm_c is not None,
        proj=job.weights[0].proj is not None,
    )  # fmt: skip
    memory = shared_memory(job.x.device)
    route = gpu_routes.route(job.cell, variant, H, job.state[0].shape[2], plain=plain, memory=memory)
    if route.kernels == "cudnn":
        return route, None
    return route, why_no_cudnn if forced == "cudnn" else _why_not_triton(job)


def _why_not_triton(job: Job) -> str | None:
    if job.x.dtype not in DTYPES:
        dtype = str(job.x.dtype).removeprefix("torch.")
        return f"its Triton kernels compute in float32 and bfloat16, not in {dtype}"
    return _why_no_triton(job.x.device)


def _why_no_triton(device: torch.device) -> str | None:
    """Why no Triton kernel runs on a device."""
    if reason := missing():
        return reason
    if device.type == "cuda" and (capability := _capability(device)) < CAPABILITY:
        major, minor = capability
        return f"its Triton kernels need compute capability 8.0, and {device} has {major}.{minor}"
    return None


@constant
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)
