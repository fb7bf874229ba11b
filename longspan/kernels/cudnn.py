"""Runs plain jobs on cuDNN through PyTorch: differentiable once, as torch.nn's layers are.

`run` calls PyTorch's own operator. That cannot be traced for training, since its backward call has no fake
implementation; `forward` and `backward` are the driver behind this library's operator, which can.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from longspan.cells import CELLS

from .cpu_driver import CallSpec, Inputs, Outputs, job_of, unflatten
from .job import Job, Result, Weights
from .selection import constant

# cuDNN's numbers for its cells.
MODES = {"rnn_relu": 0, "rnn": 1, "lstm": 2, "gru": 3}


def refuses(job: Job) -> str | None:
    """Why cuDNN cannot run a job on a GPU, in one sentence; None when it can."""
    cell, w = job.cell, job.weights[0]
    if cell.name not in MODES or CELLS[cell.name] is not cell:
        return f"cuDNN has no cell {cell.name!r} (it has {', '.join(MODES)})"
    options = {
        "lengths": job.lengths,
        "a mask": job.mask,
        "a reset": job.reset,
        "recurrent dropout": job.dropout_mask,
        "zoneout": job.zoneout if job.zoneout and any(job.zoneout) else None,
        "layer norm": w.norm_x if w.norm_x is not None else w.norm_r if w.norm_r is not None else w.norm_c,
    }
    if used := [name for name, value in options.items() if value is not None]:
        return f"cuDNN does not support {used[0]}"
    if job.gates:
        return "cuDNN does not return its gates"
    if w.proj is not None and cell.name != "lstm":
        return "cuDNN projects the LSTM only"
    if not _available():
        return "cuDNN is switched off or not in this build of PyTorch (torch.backends.cudnn)"
    if not (job.x.shape[0] and job.x.shape[1]):
        return "cuDNN takes no empty batch"
    return None


@constant
def _available() -> bool:
    return torch.backends.cudnn.enabled and torch.backends.cudnn.is_available()


def run(job: Job) -> Result:
    """Run a job that is not refused."""
    w, D = job.weights[0], len(job.weights)
    flat = [t for weights in job.weights for t in _in_order(weights)]
    h, *c = [s.contiguous() for s in job.state]
    train = torch.is_grad_enabled() and any(t.requires_grad for t in (job.x, *job.state, *flat))
    H, P = w.x.shape[0] // len(job.cell.gates), 0 if w.proj is None else h.shape[2]
    # torch.nn warns of weights that are not one block of memory; this operator copies them into one
    out, last_h, last_c, *_ = torch.ops.aten._cudnn_rnn(
        job.x.contiguous(), flat, len(flat) // D, None, h, c[0] if c else None,
        MODES[job.cell.name], H, P, 1, False, 0.0, train, D == 2, [], None,
    )  # fmt: skip
    return Result(out, (last_h, last_c) if c else (last_h,))


def _in_order(w: Weights) -> list[Tensor]:
    """The weights in cuDNN's order, with both biases or none."""
    assert w.r is not None
    biases = [w.bx, w.br]
    if w.bx is not None or w.br is not None:
        biases = [w.x.new_zeros(w.x.shape[0]) if b is None else b for b in biases]
    return [t for t in (w.x, w.r, *biases, w.proj) if t is not None]


def saved_size(spec: CallSpec, inputs: Inputs) -> int:
    """Nothing is saved: its size is known to cuDNN alone."""
    return 0


def forward(spec: CallSpec, inputs: Inputs, save: bool) -> Outputs:
    """Run a call that is not refused."""
    with torch.no_grad():
        result = run(job_of(spec, inputs))
    return Outputs(result.out, result.state, None, inputs.x.new_empty(0, dtype=torch.uint8) if save else None)


def backward(
    spec: CallSpec,
    inputs: Inputs,
    out: Tensor,
    saved: Tensor,
    dout: Tensor | None,
    dlast: Sequence[Tensor | None],
    wanted: Sequence[bool],
    plans: None = None,
) -> list[Tensor | None]:
    """The gradients of Inputs.flat(), in its order; the forward pass runs once more."""
    flat: list[Tensor | None] = [
        t.detach().requires_grad_() if w and t is not None else t
        for w, t in zip(wanted, inputs.flat(), strict=True)
    ]
    indices = [i for i, w in enumerate(wanted) if w and flat[i] is not None]
    with torch.enable_grad():
        result = run(job_of(spec, unflatten(spec, flat)))
    outputs = zip((result.out, *result.state), (dout, *dlast), strict=True)
    pairs = [(o, g) for o, g in outputs if g is not None]
    leaves = [t for i in indices if (t := flat[i]) is not None]
    values = torch.autograd.grad([o for o, _ in pairs], leaves, [g for _, g in pairs])
    grads: list[Tensor | None] = [None] * len(flat)
    for i, value in zip(indices, values, strict=True):
        grads[i] = value.contiguous()
    return grads
