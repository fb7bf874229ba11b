"""Knows which backends there are, in which order they are asked, and what the caller has forced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch

from longspan import cells, errors

from . import cpu, gpu, reference
from .job import Job, Result, Weights
from .native_cells import compile_cell
from .selection import FORCED, forced

__all__ = ["BACKENDS", "choose", "compile_cell", "explain", "names", "run", "trial", "use_backend", "why_not"]


class Backend(Protocol):
    """A module that can run a job: the whole interface of a backend."""

    def refuses(self, job: Job, /) -> str | None: ...

    def run(self, job: Job, /) -> Result: ...


# Asked in this order; the first that does not refuse runs the job.
BACKENDS: list[tuple[str, Backend]] = [("cpu", cpu), ("gpu", gpu), ("reference", reference)]

# What explain adds, in one clause, about how a backend would run a job.
DETAILS: dict[str, Callable[[Job], str]] = {"cpu": cpu.detail, "gpu": gpu.detail}

# What may be forced by name: the instruction sets, widest first; the libraries.
VARIANTS: dict[str, tuple[str, ...]] = {"cpu": ("avx512", "avx2", "neon", "baseline"), "gpu": gpu.VARIANTS}


def names() -> tuple[str, ...]:
    """Every name that `use_backend` takes, without None."""
    known = [name for name, _ in BACKENDS]
    return tuple(full for name in known for full in (name, *(f"{name}:{v}" for v in VARIANTS.get(name, ()))))


def use_backend(name: str | None) -> AbstractContextManager[None]:
    """Force the backend that runs every recurrent layer inside a `with` block.

    Args:
        name: "cpu", "gpu" or "reference"; "cpu:avx512", "cpu:avx2", "cpu:neon" or "cpu:baseline" for one
            instruction set, "gpu:cudnn" or "gpu:triton" for one way; None gives the choice back to longspan.
            Blocks nest; the innermost counts, in this thread or task only. A layer under torch.compile keeps
            the choice it was compiled with.

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
        return name, _refusing_none(name, job)
    for name, backend in BACKENDS:
        if backend.refuses(job) is None:
            return name, backend
    reasons = "; ".join(f"{name}: {backend.refuses(job)}" for name, backend in BACKENDS)
    raise RuntimeError(f"no backend runs this {job.cell.name} layer: {reasons}.")


def _refusing_none(name: str, job: Job) -> Backend:
    """The forced backend, or an error with its reason when it refuses."""
    backend = dict(BACKENDS)[name.partition(":")[0]]
    reason = backend.refuses(job)
    if reason is None:
        return backend
    raise RuntimeError(f"backend: {name!r} was forced by use_backend, but it refuses: {reason}.")


def run(job: Job) -> Result:
    """Run `job` on the backend that is chosen for it."""
    return choose(job)[1].run(job)


def explain(job: Job) -> str:
    """Which backend would run `job`, and why the others would not, one sentence a line."""
    what = _described(job)
    name = forced()
    asked = [name] if name else list(dict(BACKENDS))
    reasons = {one: why_not(one, job) for one in asked}
    chosen = next((one for one, reason in reasons.items() if reason is None), "no backend")
    by = " (forced by use_backend)" if name else ""
    more = DETAILS.get(chosen.partition(":")[0])
    details = [f"  {more(job)}."] if more else []
    refusals = [f"  {one} does not: {reason}." for one, reason in reasons.items() if reason is not None]
    return "\n".join([f"{what}: {chosen} runs it{by}.", *details, *refusals])


def _described(job: Job) -> str:
    steps, rows, inputs = job.x.shape
    hidden = job.weights[0].x.shape[0] // len(job.cell.gates)
    ways = "one direction" if len(job.weights) == 1 else "two directions"
    dtype = str(job.x.dtype).removeprefix("torch.")
    return f"{job.cell.name}, T={steps}, B={rows}, I={inputs}, H={hidden}, {ways}, {dtype} on {job.x.device}"


def trial() -> Job:
    """The smallest plain job, a float32 LSTM step of one row: to ask whether a backend runs here at all."""
    cell, one = cells.CELLS["lstm"], torch.ones(1, 1, 1)
    wide = torch.ones(len(cell.gates), 1)
    weights = Weights(x=wide, r=wide)
    return Job(cell=cell, x=one, state=(one, one), weights=(weights,))
