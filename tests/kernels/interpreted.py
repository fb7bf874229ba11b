"""Runs the Triton kernels in Triton's interpreter beside the reference, and prints what was found as JSON.

For tests/kernels/test_triton.py, in a process of its own: TRITON_INTERPRET=1 counts when Triton is imported,
and must not reach other tests. --short: an LSTM with every option, other cells with few, fewer of them at
once; --few: some of the checks; --all: every cell and option in both forms; --cuda: on a GPU.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from longspan import cells, nn, use_backend
from longspan import explain as explain_layer
from longspan.cells import CELLS
from longspan.kernels import choose, cuda_graphs, explain, gpu, gpu_routes, reference
from longspan.kernels.job import Job, Result, Zoneout
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

DEVICE = "cuda" if "--cuda" in sys.argv else "cpu"
FORMS = ("persistent", "per_step")
MAIN = ("lstm", "gru", "indrnn")
SHORT = "--short" in sys.argv or "--few" in sys.argv
FEW = 5  # of how many of the checks --few takes one
EASY = ({"bias"}, {"batch_first"}, {"lengths"}, {"mask"}, {"drop"})  # others have them too
Check = Callable[[], None]


@contextmanager
def forced(form: str) -> Iterator[None]:
    """The table led to one form, whatever the sizes."""
    table = gpu_routes.ROUTES
    gpu_routes.ROUTES = (table[-1]._replace(kernels=form),)
    try:
        with use_backend("gpu:triton"):
            yield
    finally:
        gpu_routes.ROUTES = table


def on_gpu(job: Job, form: str) -> Answers:
    job = moved(job)
    with forced(form):
        assert (reason := gpu.refuses(job)) is None, reason
        return {name: t.cpu() for name, t in answers(gpu.run, job).items()}


def moved(job: Job) -> Job:
    """The job where the kernels run; lengths stay on the CPU."""
    if DEVICE == "cpu":
        return job
    job = with_leaves(job, {k: v.detach().to(DEVICE).requires_grad_() for k, v in leaves(job).items()})
    named = {"mask": job.mask, "reset": job.reset, "dropout_mask": job.dropout_mask}
    there = {name: t.to(DEVICE) for name, t in named.items() if t is not None}
    zone = job.zoneout and tuple(
        z if z is None or z.mask is None else Zoneout(z.rate, z.mask.to(DEVICE)) for z in job.zoneout
    )
    return dataclasses.replace(job, **there, zoneout=zone)


def equal(case: Case, form: str) -> Check:
    def check() -> None:
        with mock.patch.dict(CELLS, own=own):
            job = job_of(dataclasses.replace(case, dtype=torch.float32))
        tolerance = 1e-5 * rounding(case)
        compare(on_gpu(job, form), answers(reference.run, job), tolerance, f"{form}: {case}")
        if case.reset and case.lengths:
            want = without_gradients(reference.run, job)
            compare(inferred(job, form), want, tolerance, f"inference, {form}: {case}")

    return check


def inferred(job: Job, form: str) -> Answers:
    """What the kernels give that keep nothing for a backward pass."""
    with forced(form):
        return {name: t.cpu() for name, t in without_gradients(gpu.run, moved(job)).items()}


def without_gradients(run: Callable[[Job], Result], job: Job) -> Answers:
    with torch.no_grad():
        found = run(job)
    named = {"out": found.out} | {f"last {i}": s for i, s in enumerate(found.state)}
    return named | {f"gate {k} {d}": v for d, one in enumerate(found.gates or ()) for k, v in one.items()}


@cells.cell(gates="fzu", states="hcm", params="p", initial={"m": -1.0})
def own(x: Any, r: Any, s: Any, p: Any) -> tuple[Any, ...]:
    """A user's cell: every operation and an initial constant; no built-in one is made like it."""
    f = (x.f + r.f * s.c + p.p).sigmoid()
    m = cells.maximum(s.m * 0.9, (x.u - r.u).abs().sqrt() - cells.softplus(x.z))
    c = f * s.c + (1 - f) * cells.minimum((x.z + r.z).relu(), 3.0) / (1 + m.exp())
    return (c.tanh() + (1 + s.h.abs()).log() * f, c, m)


def parity(all_forms: bool = False) -> Iterator[tuple[str, Check]]:
    """Every cell with every option, the forms in turn, so that every option meets both; or in all of them."""
    for i, cell in enumerate(CELLS):
        projected: list[dict[str, Any]] = [
            o | {"proj": max(1, int(7 * o["proj"]))} for o in PROJECTED if cell in PROJECTABLE
        ]
        for j, options in enumerate([*OPTIONS, *projected]):
            if not all_forms and cell not in MAIN and set(options) in EASY:
                continue  # none reaches the cell's own lines
            if SHORT and cell != "lstm" and options not in (OPTIONS[0], OPTIONS[-5]):
                continue
            if SHORT and len(options) > 1:
                options = {name: value for name, value in options.items() if name != "D"}  # tried alone
            for form in FORMS if all_forms else (FORMS[(i + j) % 2],):
                case = Case(cell, 7, T=3 if all_forms or (cell in MAIN and not SHORT) else 2, **options)
                yield f"{form}-{cell}-{label(options)}", equal(case, form)
    every = {"lengths": True, "mask": True, "reset": True, "D": 2}
    for form in FORMS:
        yield f"{form}-many rows", equal(Case("gru", 20, B=18, T=2 if SHORT else 3, input=5, **every), form)
        yield f"{form}-no rows", equal(Case("lstm", 7, B=0, **every), form)
        yield f"{form}-no real step", no_real_step(form)
    yield "persistent-independent columns", equal(Case("indrnn", 200, B=2, T=3, lengths=True), "persistent")


def users_cell() -> Iterator[tuple[str, Check]]:
    """The same equations as no built-in cell, with the options that touch a cell's lines."""
    mixed: dict[str, Any] = {"lengths": True, "mask": True, "reset": True} | ({} if SHORT else {"D": 2})
    more: dict[str, Any] = {"drop": True, "zone": "mask", "norm": True}
    chosen: list[dict[str, Any]] = [{}, mixed | {"gates": True}, mixed | more]
    for i, options in enumerate(chosen):
        for form in (FORMS[i % 2],) if SHORT else FORMS:
            yield f"{form}-own-{label(options)}", equal(Case("own", 7, T=2 if SHORT else 3, **options), form)


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
    return (
        wide if job.dropout_mask is None else dataclasses.replace(wide, dropout_mask=job.dropout_mask.float())
    )


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
        with forced("persistent"):
            (first,) = torch.autograd.grad(run(job).out.square().sum(), [job.x], create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), [job.x, *job.state]))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def replayed() -> None:
    """As a graph of CHUNK steps would be: the same memory for calls of every T, and steps beyond the last."""

    def emulated(step: Callable[[int], None], base: Tensor) -> Callable[[], None]:
        step(0)

        def replay() -> None:
            for j in range(cuda_graphs.CHUNK):
                step(j)
            base.add_(cuda_graphs.CHUNK)

        return replay

    before = cuda_graphs._captured, cuda_graphs._stream, cuda_graphs.CHUNK
    cuda_graphs._captured, cuda_graphs._stream, cuda_graphs.CHUNK = emulated, lambda like: ("none",), 4
    options = {"lengths": True, "reset": True, "drop": True, "D": 2, "norm": True, "zone": "mask"}
    try:
        for T in (6, 2):
            equal(Case("lstm", 7, B=2, proj=3, T=T, **options), "per_step")()
        assert len(cuda_graphs._graphs) == 3  # forward for training, forward for inference, backward
    finally:
        cuda_graphs._captured, cuda_graphs._stream, cuda_graphs.CHUNK = before


def compiled() -> None:
    """One operator under torch.compile, with the shapes that its fake says."""
    job = job_of(Case("gru", 5, T=3, D=2, lengths=True, gates=True, dtype=torch.float32))
    found = []
    for wrap in (lambda f: f, torch.compile(fullgraph=True, backend="aot_eager")):

        def run(x: Tensor) -> tuple[Tensor, ...]:
            result = gpu.run(dataclasses.replace(job, x=x))
            assert result.gates is not None
            return result.out, result.gates[0]["z"]

        with forced("persistent"):
            out, gate = wrap(run)(job.x)
        found.append((out, gate, *torch.autograd.grad(out.sum(), [job.x, *job.state])))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def told() -> None:
    """Explain names the entry that decided; without being forced a CPU's tensors stay with the CPU."""
    small, large = (job_of(Case("lstm", H, B=1, T=1, dtype=torch.float32)) for H in (64, 65))
    with use_backend("gpu:triton"):
        assert choose(small)[0] == "gpu:triton"
        assert "the route 'small, float32' (heuristic, not measured: " in explain(small)
        assert "the route 'large' (heuristic, not measured: " in explain(large)
    assert choose(small)[0] == "cpu" and "gpu does not: the tensors are on cpu" in explain(small)
    with use_backend("gpu:cudnn"):
        assert gpu.refuses(small) is not None


def layers_in_halves() -> None:
    """A layer in bfloat16 and one under autocast compute in it, and explain says so; a CPU's are widened."""
    torch.manual_seed(0)
    layer, x = nn.LSTM(5, 6, num_layers=2, layer_norm=True), torch.randn(4, 3, 5)
    want, _ = layer(x)
    small = copy.deepcopy(layer).bfloat16()
    assert "float32" in explain_layer(small, x.bfloat16())
    with forced("persistent"):
        assert "bfloat16" in explain_layer(small, x.bfloat16())
        out, (_, c) = small(x.bfloat16())
        out.float().square().sum().backward()
        with torch.autocast("cpu", torch.bfloat16):
            assert "bfloat16" in explain_layer(layer, x)
            cast, _ = layer(x)
    assert out.dtype is c.dtype is torch.bfloat16 and cast.dtype is torch.bfloat16
    assert all(p.grad is not None and p.grad.dtype is torch.bfloat16 for p in small.parameters())
    for found in (out, cast):
        torch.testing.assert_close(found.float(), want, atol=0.03, rtol=0.03)


def long() -> Iterator[tuple[str, Check]]:
    """More steps than a graph holds, twice with the same graph, and at widths of several programs."""
    for T in (40, 33, 40):
        every = {"lengths": True, "mask": True, "reset": True, "drop": True, "D": 2}
        for form, H in (("persistent", 48), ("per_step", 48), ("per_step", 300)):
            yield f"{form}-{H}-{T} steps", equal(Case("lstm", H, B=19, T=T, input=9, **every), form)


def everything(all_forms: bool) -> Iterator[tuple[str, Check]]:
    yield from parity(all_forms)
    yield from users_cell()
    yield from halves()
    if DEVICE != "cpu":
        yield from long()
        return
    for check in (far_out, nan_stays_in_its_row, nan_at_steps_that_do_not_happen, second_derivatives):
        yield check.__name__, check
    for check in (told, layers_in_halves) if SHORT else (replayed, compiled, told, layers_in_halves):
        yield check.__name__, check


def main() -> None:
    """Every check's name and its failure, None where it passed."""
    warnings.simplefilter("ignore")  # NumPy's, of numbers beyond float32 in the interpreter
    torch.use_deterministic_algorithms(True)  # memory without a value is NaN
    found: dict[str, str | None] = {}
    for number, (name, check) in enumerate(everything("--all" in sys.argv)):
        if "--few" in sys.argv and number % FEW:
            continue
        try:
            check()
            found[name] = None
        except Exception as error:  # whatever it is, it is what the test shows
            found[name] = f"{type(error).__name__}: {error}"
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
