"""Runs a recurrent layer's jobs on the first backend that does not refuse, or on the one that is forced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch

from longspan import cells, errors

from . import cpu, gpu, reference
from .job import Job, Result, Weights, is_int8, no_training
from .native_cells import compile_cell
from .selection import FORCED, forced

__all__ = [
    "BACKENDS",
    "choose",
    "compile_cell",
    "explain",
    "names",
    "probe_job",
    "run",
    "use_backend",
    "why_not",
]


class Backend(Protocol):
    """The interface of a backend: a module that can run a job."""

    def refuses(self, job: Job, /) -> str | None: ...

    def run(self, job: Job, /) -> Result: ...


# Asked in this order; the first that does not refuse runs the job.
BACKENDS: list[tuple[str, Backend]] = [("cpu", cpu), ("gpu", gpu), ("reference", reference)]

# How a backend would run a job, in one clause, for explain.
DETAILS: dict[str, Callable[[Job], str]] = {"cpu": cpu.detail, "gpu": gpu.detail}

# What may be forced by name: the instruction sets, widest first; the libraries.
VARIANTS: dict[str, tuple[str, ...]] = {"cpu": ("avx512", "avx2", "neon", "baseline"), "gpu": gpu.VARIANTS}


def names() -> tuple[str, ...]:
    """Every name that `use_backend` takes, without None."""
    return tuple(
        full for name, _ in BACKENDS for full in (name, *(f"{name}:{v}" for v in VARIANTS.get(name, ())))
    )


def use_backend(name: str | None) -> AbstractContextManager[None]:
    """Force the backend that runs every recurrent layer inside a `with` block.

    Args:
        name: "cpu", "gpu" or "reference"; "cpu:avx512", "cpu:avx2", "cpu:neon" or "cpu:baseline" for one
            instruction set, "gpu:cudnn" or "gpu:triton" for one library; None lets longspan choose again.
            Blocks nest; the innermost counts, in this thread or task only. A layer under torch.compile keeps
            the backend that it was compiled with.

    Raises:
        ValueError: the name is unknown.
        RuntimeError: on the first layer called inside, if that backend refuses it; the reason is given.

    >>> import torch
    >>> from longspan.nn import LSTM
    >>> with use_backend("reference"):
    ...     out, (h, c) = LSTM(3, 4)(torch.randn(5, 2, 3))
    """
    return _forcing(name if name is None else errors.check_choice("backend", name, names()))


@contextmanager
def _forcing(name: str | None) -> Iterator[None]:
    token = FORCED.set(name)
    try:
        yield
    finally:
        FORCED.reset(token)


def why_not(name: str, job: Job) -> str | None:
    """Why the backend `name` (as for `use_backend`) would not run `job`, or None if it would."""
    with use_backend(name):
        return dict(BACKENDS)[name.partition(":")[0]].refuses(job)


def choose(job: Job) -> tuple[str, Backend]:
    """The name and the module of the backend that runs `job`.

    Raises:
        RuntimeError: the forced backend refuses, or every backend does; the reasons are given.
    """
    name = forced()
    if name is not None:
        return name, _forced_backend(name, job)
    for name, backend in BACKENDS:
        if backend.refuses(job) is None:
            return name, backend
    reasons = "; ".join(f"{name}: {backend.refuses(job)}" for name, backend in BACKENDS)
    raise RuntimeError(f"no backend runs this {job.cell.name} layer: {reasons}.")


def _forced_backend(name: str, job: Job) -> Backend:
    """The forced backend, or an error with its reason when it refuses."""
    backend = dict(BACKENDS)[name.partition(":")[0]]
    reason = backend.refuses(job)
    if reason is None:
        return backend
    raise RuntimeError(f"backend: {name!r} was forced by use_backend, but it refuses: {reason}.")


def run(job: Job) -> Result:
    """Run `job` on the backend that is chosen for it.

    Raises:
        ValueError: the weights are int8, and a gradient is wanted.
        RuntimeError: as `choose`.
    """
    if is_int8(job) and torch.is_grad_enabled() and any(t.requires_grad for t in (job.x, *job.state)):
        raise no_training()
    return choose(job)[1].run(job)


def explain(job: Job) -> str:
    """Which backend would run `job`, and why the others would not, one sentence a line."""
    forced_name = forced()
    asked = [forced_name] if forced_name else list(dict(BACKENDS))
    reasons = {name: why_not(name, job) for name in asked}
    chosen = next((name for name, reason in reasons.items() if reason is None), "no backend")
    by = " (forced by use_backend)" if forced_name else ""
    detail = DETAILS.get(chosen.partition(":")[0])
    details = [f"  {detail(job)}."] if detail else []
    refusals = [f"  {name} does not: {reason}." for name, reason in reasons.items() if reason is not None]
    return "\n".join([f"{_description(job)}: {chosen} runs it{by}.", *details, *refusals])


def _description(job: Job) -> str:
    steps, rows, inputs = job.x.shape
    hidden = job.weights[0].x.shape[0] // len(job.cell.gates)
    directions = "one direction" if len(job.weights) == 1 else "two directions"
    dtype = str(job.x.dtype).removeprefix("torch.")
    sizes = f"T={steps}, B={rows}, I={inputs}, H={hidden}"
    return f"{job.cell.name}, {sizes}, {directions}, {dtype} on {job.x.device}"


def probe_job() -> Job:
    """The smallest plain job, a float32 LSTM step of one row: to ask whether a backend runs here at all."""
    cell, scalar = cells.CELLS["lstm"], torch.ones(1, 1, 1)
    matrix = torch.ones(len(cell.gates), 1)
    return Job(cell=cell, x=scalar, state=(scalar, scalar), weights=(Weights(x=matrix, r=matrix),))
