"""Runs the Triton kernels in Triton's interpreter beside the reference, and prints what was found as JSON.

For tests/kernels/test_triton.py, in a process of its own: TRITON_INTERPRET=1 counts when Triton is imported,
and must not reach other tests.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from longspan import cells, use_backend
from longspan.cells import CELLS
from longspan.kernels import choose, explain, gpu, reference, route, steps
from longspan.kernels.job import Job
from tests.kernels.test_parity import (
    OPTIONS,
    PROJECTABLE,
    PROJECTED,
    Answers,
    Case,
    answers,
    compare,
    job_of,
    label,
    leaves,
    rounding,
    with_leaves,
)

FORMS = ("whole", "steps")
Check = Callable[[], None]


@contextmanager
def forced(form: str) -> Iterator[None]:
    """The table led to one form, whatever the sizes."""
    table = route.TABLE
    route.TABLE = (table[-1]._replace(form=form),)
    try:
        with use_backend("gpu:triton"):
            yield
    finally:
        route.TABLE = table


def on_gpu(job: Job, form: str) -> Answers:
    with forced(form):
        assert (reason := gpu.refuses(job)) is None, reason
        return answers(gpu.run, job)


def equal(case: Case, form: str) -> Check:
    def check() -> None:
        job = job_of(dataclasses.replace(case, dtype=torch.float32))
        tolerance = 1e-5 * rounding(case)
        compare(on_gpu(job, form), answers(reference.run, job), tolerance, f"{form}: {case}")

    return check


def parity() -> Iterator[tuple[str, Check]]:
    """Every cell with every option, the forms in turn: every option meets both."""
    for i, cell in enumerate(CELLS):
        projected: list[dict[str, Any]] = [
            o | {"proj": max(1, int(7 * o["proj"]))} for o in PROJECTED if cell in PROJECTABLE
        ]
        for j, options in enumerate([*OPTIONS, *projected]):
            case = Case(cell, 7, T=3, **options)
            form = FORMS[(i + j) % 2]
            yield f"{form}-{cell}-{label(options)}", equal(case, form)
    every = {"lengths": True, "mask": True, "reset": True, "D": 2}
    for form in FORMS:
        yield f"{form}-many rows", equal(Case("gru", 20, B=18, T=3, input=5, **every), form)
        yield f"{form}-no rows", equal(Case("lstm", 7, B=0, **every), form)
        yield f"{form}-no real step", no_real_step(form)
    yield "whole-columns apart", equal(Case("indrnn", 200, B=2, T=3, lengths=True), "whole")


def no_real_step(form: str) -> Check:
    def check() -> None:
        job = dataclasses.replace(
            job_of(Case("lstm", 7, lengths=True, D=2, dtype=torch.float32)), lengths=torch.zeros(3).long()
        )
        compare(on_gpu(job, form), answers(reference.run, job), 1e-6, form)

    return check


def halves() -> Iterator[tuple[str, Check]]:
    """bfloat16 against the reference in float32 on the same numbers: sums are wide, what is kept is not."""
    every = {"lengths": True, "mask": True, "reset": True, "drop": True, "zone": "mask", "D": 2}
    cases = [
        Case("lstm", 20, T=4),
        Case("slstm", 20, T=4, **every),
        Case("gru", 20, T=4, norm=True, gates=True),
    ]
    cases.append(Case("lstm", 20, T=4, proj=9, norm=True))
    for case in cases:
        for form in FORMS:
            yield f"bfloat16-{form}-{case.cell}-{case.norm}", half(case, form)


def half(case: Case, form: str) -> Check:
    def check() -> None:
        job = job_of(dataclasses.replace(case, dtype=torch.bfloat16))
        wide = widened(job)
        got = on_gpu(job, form)
        assert all(t.dtype is torch.bfloat16 for t in got.values())
        want = answers(reference.run, wide)
        compare({k: v.float() for k, v in got.items()}, want, 0.04, f"{form}: {case}")

    return check


def widened(job: Job) -> Job:
    wide = with_leaves(job, {k: v.detach().float().requires_grad_() for k, v in leaves(job).items()})
    return wide if job.drop is None else dataclasses.replace(wide, drop=job.drop.float())


def far_out() -> None:
    """sigmoid, tanh, softplus and exp at +-60 and far beyond: what torch has, and no NaN."""

    @cells.cell(gates="abcd", states="h")
    def all_four(x: Any, r: Any, s: Any, p: Any) -> tuple[Any, ...]:
        new = x.a.sigmoid() + x.b.tanh() + cells.softplus(x.c) + (-x.d.abs()).exp() + 0 * r.a
        return (new + 0 * (r.b + r.c + r.d),)

    plain = job_of(Case("lstm", 4, B=1, T=1, dtype=torch.float32))
    values = torch.tensor([0.0, 1e-4, 0.19, 0.21, 1.0, 9.0, 60.0, 89.0, 104.0, 1e4, 1e30])
    values = torch.cat([values, -values])
    for form in FORMS:
        eye = torch.ones(16, 1)
        w = dataclasses.replace(plain.weights[0], x=eye, bx=None, br=None, r=torch.zeros(16, 4))
        x = values.view(-1, 1, 1).clone().requires_grad_()
        job = dataclasses.replace(plain, cell=all_four, x=x, state=(torch.zeros(1, 1, 4),), weights=(w,))
        found = []
        for run in (gpu.run, reference.run):
            with forced(form):
                out = run(job).out
            found.append((out, *torch.autograd.grad(out.sum(), [x])))
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, rtol=3e-6, atol=1e-6)


def nan_stays_in_its_row() -> None:
    for form in FORMS:
        job = job_of(Case("lstm", 9, B=17, T=4, norm=True, dtype=torch.float32))
        x = job.x.detach().clone()
        x[2, 1, 0] = torch.nan
        with forced(form), torch.no_grad():
            found, whole = gpu.run(dataclasses.replace(job, x=x)).out, gpu.run(job).out
        others = [b for b in range(17) if b != 1]
        assert torch.equal(found[:, others], whole[:, others]) and torch.equal(found[:2], whole[:2])
        assert found[2:, 1].isnan().all()


def nan_at_steps_that_do_not_happen() -> None:
    for form in FORMS:
        job = job_of(Case("lstm", 7, D=2, norm=True, lengths=True, mask=True, dtype=torch.float32))
        assert job.lengths is not None and job.mask is not None
        real = (torch.arange(5)[:, None] < job.lengths) & job.mask
        x = job.x.detach().masked_fill(~real.unsqueeze(-1), torch.nan).requires_grad_()
        job = dataclasses.replace(job, x=x)
        compare(on_gpu(job, form), answers(reference.run, job), 1e-5, form)


def second_derivatives() -> None:
    """Those of the reference, through which they are taken."""
    job = job_of(Case("lstm", 5, T=3, mask=True, dtype=torch.float32))
    found = []
    for run in (gpu.run, reference.run):
        with forced("whole"):
            (first,) = torch.autograd.grad(run(job).out.square().sum(), [job.x], create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), [job.x, *job.state]))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def replayed() -> None:
    """As a graph of CHUNK steps would be: the same memory for calls of every T, and steps beyond the last."""

    def emulated(step: Callable[[int], None], base: Tensor) -> Callable[[], None]:
        step(0)

        def replay() -> None:
            for j in range(steps.CHUNK):
                step(j)
            base.add_(steps.CHUNK)

        return replay

    before = steps._captured, steps._stream, steps.CHUNK
    steps._captured, steps._stream, steps.CHUNK = emulated, lambda like: ("none",), 4
    options = {"lengths": True, "reset": True, "drop": True, "D": 2, "norm": True, "zone": "mask"}
    try:
        for case in (Case("peephole", 7, B=2, **options), Case("lstm", 7, B=2, proj=3, **options)):
            for T in (6, 5, 2):
                equal(dataclasses.replace(case, T=T), "steps")()
        assert len(steps._graphs) == 4
    finally:
        steps._captured, steps._stream, steps.CHUNK = before


def compiled() -> None:
    """One operator under torch.compile, with the shapes that its fake says."""
    job = job_of(Case("gru", 5, T=3, D=2, lengths=True, gates=True, dtype=torch.float32))
    found = []
    for wrap in (lambda f: f, torch.compile(fullgraph=True, backend="aot_eager")):

        def run(x: Tensor) -> tuple[Tensor, ...]:
            result = gpu.run(dataclasses.replace(job, x=x))
            assert result.gates is not None
            return result.out, result.gates["z"]

        with forced("whole"):
            out, gate = wrap(run)(job.x)
        found.append((out, gate, *torch.autograd.grad(out.sum(), [job.x, *job.state])))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def told() -> None:
    """Explain names the entry that decided; without being forced a CPU's tensors stay with the CPU."""
    small, large = (job_of(Case("lstm", H, B=1, T=1, dtype=torch.float32)) for H in (64, 65))
    with use_backend("gpu:triton"):
        assert choose(small)[0] == "gpu:triton"
        assert "the entry 'small, float32' of its table (not measured: " in explain(small)
        assert "the entry 'large' of its table (not measured: " in explain(large)
    assert choose(small)[0] == "cpu" and "gpu does not: the tensors are on cpu" in explain(small)
    with use_backend("gpu:cudnn"):
        assert gpu.refuses(small) is not None


def everything() -> Iterator[tuple[str, Check]]:
    yield from parity()
    yield from halves()
    for check in (far_out, nan_stays_in_its_row, nan_at_steps_that_do_not_happen, second_derivatives):
        yield check.__name__, check
    for check in (replayed, compiled, told):
        yield check.__name__, check


def main() -> None:
    """Every check's name and its failure, None where it passed."""
    warnings.simplefilter("ignore")  # NumPy's, of numbers beyond float32 in the interpreter
    torch.use_deterministic_algorithms(True)  # memory without a value is NaN
    found: dict[str, str | None] = {}
    for name, check in everything():
        try:
            check()
            found[name] = None
        except Exception as error:  # whatever it is, it is what the test shows
            found[name] = f"{type(error).__name__}: {error}"
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
