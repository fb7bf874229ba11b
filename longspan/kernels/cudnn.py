"""Knows how a plain job runs on cuDNN, through PyTorch: differentiable once, as torch.nn's layers are."""

from __future__ import annotations

import torch
from torch import Tensor

from longspan.cells import CELLS

from .job import Job, Result, Weights

# cuDNN's numbers for its cells.
MODES = {"rnn_relu": 0, "rnn": 1, "lstm": 2, "gru": 3}
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def refuses(job: Job) -> str | None:
    """Why cuDNN cannot run a job on a GPU, in one sentence; None when it can."""
    cell, w = job.cell, job.weights[0]
    if cell.name not in MODES or CELLS[cell.name] is not cell:
        return f"cuDNN has no cell {cell.name!r} (it has {', '.join(MODES)})"
    options = {
        "lengths": job.lengths,
        "a mask": job.mask,
        "a reset": job.reset,
        "recurrent dropout": job.drop,
        "zoneout": job.zone if job.zone and any(job.zone) else None,
        "layer norm": w.norm_x if w.norm_x is not None else w.norm_r if w.norm_r is not None else w.norm_c,
    }
    if given := [name for name, value in options.items() if value is not None]:
        return f"cuDNN does not know {given[0]}"
    if job.gates:
        return "cuDNN does not show its gates"
    if w.proj is not None and cell.name != "lstm":
        return "cuDNN projects the LSTM only"
    if not torch.backends.cudnn.enabled or not torch.backends.cudnn.is_available():
        return "cuDNN is switched off or not in this build of PyTorch (torch.backends.cudnn)"
    if not (job.x.shape[0] and job.x.shape[1]):
        return "cuDNN takes no empty batch"
    return None


def run(job: Job) -> Result:
    """Run a job that is not refused."""
    w, D = job.weights[0], len(job.weights)
    flat = [t for one in job.weights for t in _row(one)]
    h, *c = [s.contiguous() for s in job.state]
    train = torch.is_grad_enabled() and any(t.requires_grad for t in (job.x, *job.state, *flat))
    H, P = w.x.shape[0] // len(job.cell.gates), 0 if w.proj is None else h.shape[2]
    # torch.nn's own way warns of weights that do not lie in one piece; this one puts them there in silence
    out, last_h, last_c, *_ = torch.ops.aten._cudnn_rnn(
        job.x.contiguous(), flat, len(flat) // D, None, h, c[0] if c else None,
        MODES[job.cell.name], H, P, 1, False, 0.0, train, D == 2, [], None,
    )  # fmt: skip
    return Result(out, (last_h, last_c) if c else (last_h,))


def _row(w: Weights) -> list[Tensor]:
    """In cuDNN's order; it has both biases or none."""
    assert w.r is not None
    biases = [w.bx, w.br]
    if w.bx is not None or w.br is not None:
        biases = [w.x.new_zeros(w.x.shape[0]) if b is None else b for b in biases]
    return [t for t in (w.x, w.r, *biases, w.proj) if t is not None]
