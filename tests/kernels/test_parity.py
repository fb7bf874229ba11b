"""Tests that every compiled kernel equals the reference: outputs, states, gates and all gradients."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from longspan.cells import CELLS, Cell
from longspan.kernels import cpu, reference, use_backend
from longspan.kernels.job import Job, Result, Weights, Zoneout
from longspan.kernels.program import program

ISAS = cpu.INSTRUCTION_SETS
# Relative to the largest number of a tensor, as sums of different order must be measured.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
PROJECTABLE = [name for name, cell in CELLS.items() if cell.recurrent and not program(cell).reads_h]

every_isa = pytest.mark.parametrize("isa", ISAS)
every_cell = pytest.mark.parametrize("cell", CELLS)
both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])


@dataclasses.dataclass(frozen=True)
class Case:
    cell: str
    H: int
    B: int = 3
    T: int = 5
    input: int = 4
    D: int = 1
    bias: bool = True
    lengths: bool = False
    mask: bool = False
    reset: bool = False
    drop: bool = False
    zone: str = ""  # "", "mask", "rate"
    norm: bool = False
    proj: int = 0
    batch_first: bool = False
    gates: bool = False
    saturated: bool = False
    dtype: torch.dtype = torch.float64


def leaf(*shape: int, dtype: torch.dtype, scale: float = 1.0) -> Tensor:
    return (torch.randn(*shape, dtype=torch.float64) * scale).to(dtype).requires_grad_()


def job_of(case: Case) -> Job:
    """A job with random tensors of every kind the case asks for; the same for the same case."""
    torch.manual_seed(zlib.crc32(repr(dataclasses.replace(case, dtype=torch.float64)).encode()))
    cell, D, B, T, H = CELLS[case.cell], case.D, case.B, case.T, case.H
    R, GH, f = case.proj or H, len(cell.gates) * H, case.dtype
    x = torch.randn(*((B, T) if case.batch_first else (T, B)), case.input, dtype=torch.float64)
    state = [torch.randn(D, B, R if i == 0 else H, dtype=torch.float64) / 2 for i in range(len(cell.states))]
    if case.saturated:
        x, state = x.sign() * 60, [s.sign() * 60 for s in state]
    if case.cell == "slstm":  # n is a sum of exponentials, and m their logarithm
        state[2] = state[2].abs() + 1
    x = x.to(f).requires_grad_()
    return Job(
        cell=cell,
        x=x.transpose(0, 1) if case.batch_first else x,
        state=tuple(s.to(f).requires_grad_() for s in state),
        weights=tuple(weights_of(case, cell, R, GH) for _ in range(D)),
        lengths=torch.randint(0, T + 1, (B,)) if case.lengths else None,
        mask=torch.rand(T, B) < 0.7 if case.mask else None,
        reset=torch.rand(T, B) < 0.3 if case.reset else None,
        dropout_mask=(torch.rand(D, B, R) < 0.8).to(f) / 0.8 if case.drop else None,
        zoneout=zone_of(case, cell, R) if case.zone else None,
        gates=case.gates,
    )


def weights_of(case: Case, cell: Cell, R: int, GH: int) -> Weights:
    H, f = case.H, case.dtype
    norm_c = case.norm and "c" in cell.states
    return Weights(
        x=leaf(GH, case.input, dtype=f, scale=0.5),
        r=leaf(GH, R, dtype=f, scale=R**-0.5) if cell.recurrent else None,
        bx=leaf(GH, dtype=f) if case.bias else None,
        br=leaf(GH, dtype=f) if case.bias and cell.recurrent else None,
        p=leaf(len(cell.params), H, dtype=f, scale=0.5) if cell.params else None,
        proj=leaf(R, H, dtype=f, scale=H**-0.5) if case.proj else None,
        norm_x=leaf(GH, dtype=f) if case.norm else None,
        norm_r=leaf(GH, dtype=f) if case.norm and cell.recurrent else None,
        norm_c=leaf(H, dtype=f) if norm_c else None,
        norm_c_bias=leaf(H, dtype=f) if norm_c else None,
    )


def zone_of(case: Case, cell: Cell, R: int) -> tuple[Zoneout | None, ...]:
    widths = [R if i == 0 else case.H for i in range(len(cell.states))]
    rates = [0.3, 0.2, 0.0, 0.0][: len(widths)]
    if case.zone == "rate":
        return tuple(Zoneout(r) if r else None for r in rates)
    masks = [
        (torch.rand(case.D, case.T, case.B, w) < r).to(torch.uint8)
        for w, r in zip(widths, rates, strict=True)
    ]
    return tuple(Zoneout(r, m) if r else None for r, m in zip(rates, masks, strict=True))


def leaves(job: Job) -> dict[str, Tensor]:
    named = {"x": job.x} | {f"state {i}": s for i, s in enumerate(job.state)}
    for d, w in enumerate(job.weights):
        named |= {f"{k} {d}": v for k, v in vars(w).items() if v is not None}
    return named


Answers = dict[str, Tensor]


def answers(run: Callable[[Job], Result], job: Job) -> Answers:
    """Every output, and the gradient of every leaf under fixed random gradients of the outputs."""
    result = run(job)
    given = torch.Generator().manual_seed(7)
    tops = [
        torch.randn(t.shape, generator=given, dtype=torch.float64).to(t) for t in (result.out, *result.state)
    ]
    of = leaves(job)
    grads = torch.autograd.grad((result.out, *result.state), list(of.values()), tops, allow_unused=True)
    found = {f"d {k}": torch.zeros_like(of[k]) if g is None else g for k, g in zip(of, grads, strict=True)}
    found |= {"out": result.out} | {f"last {i}": s for i, s in enumerate(result.state)}
    found |= {f"gate {k} {d}": v for d, one in enumerate(result.gates or ()) for k, v in one.items()}
    return {k: v.detach() for k, v in found.items()}


def on(isa: str, job: Job) -> Answers:
    """The kernels' answers with one instruction set."""
    with use_backend(f"cpu:{isa}"):
        assert cpu.refuses(job) is None
        return answers(cpu.run, job)


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def greatest(t: Tensor) -> float:
    return float(t.abs().max()) if t.numel() else 0.0


def rounding(case: Case) -> float:
    """By how much a case's own numbers make rounding errors larger."""
    # numbers of size 60 round 60 times as coarsely; a norm over one number divides by sqrt(1e-5)
    return (60.0 if case.saturated else 1.0) * (316.0 if case.norm and case.H == 1 else 1.0)


def compare(got: Answers, want: Answers, tolerance: float, what: object) -> None:
    """All answers equal; a gradient that cancels out to little is measured against the others."""
    assert list(got) == list(want)
    steep = max((greatest(v) for k, v in want.items() if k.startswith("d ")), default=0.0)
    for name, b in want.items():
        a = got[name]
        assert a.shape == b.shape and a.dtype == b.dtype, name
        assert torch.equal(a.isnan(), b.isnan()), f"{name}: NaN in {what}"
        scale = max(greatest(b), steep / 20 if name.startswith("d ") else 1e-2, 1e-2)
        error = greatest(a - b) / scale
        assert error <= tolerance, f"{name}: {error:.1e} of {scale:.1e} in {what}"


OPTIONS: list[dict[str, Any]] = [
    {},
    {"lengths": True},
    {"mask": True},
    {"reset": True},
    {"D": 2},
    {"norm": True},
    {"drop": True},
    {"zone": "mask"},
    {"zone": "rate"},
    {"bias": False},
    {"batch_first": True},
    {"saturated": True},
    {"gates": True, "lengths": True, "mask": True, "reset": True, "D": 2, "norm": True},
    {"D": 2, "lengths": True, "mask": True, "reset": True, "drop": True, "zone": "mask", "batch_first": True},
    {"norm": True, "zone": "mask", "lengths": True, "reset": True, "drop": True, "D": 2},
    {"gates": True, "mask": True, "lengths": True, "zone": "mask", "D": 2},
    {"D": 2, "lengths": True, "norm": True, "saturated": True},
]
# proj is a part of H
PROJECTED: list[dict[str, Any]] = [
    {"proj": 0.4},
    {"proj": 0.8, "D": 2, "lengths": True, "mask": True, "reset": True, "drop": True, "norm": True},
    {"proj": 0.6, "zone": "mask", "batch_first": True, "gates": True},
    {"proj": 0.6, "zone": "rate", "lengths": True},
]


def label(options: dict[str, Any]) -> str:
    return "-".join(k if v is True else f"{k}={v}" for k, v in options.items()) or "plain"


def equal_on_all(case: Case) -> None:
    job = job_of(case)
    want = answers(reference.run, job)
    for isa in ISAS:
        compare(on(isa, job), want, TOLERANCE[case.dtype] * rounding(case), f"{isa}: {case}")


@both_dtypes
@pytest.mark.parametrize("H", [1, 7, 63, 100])
@pytest.mark.parametrize("options", OPTIONS, ids=label)
@every_cell
def test_equals_reference(cell: str, options: dict[str, Any], H: int, dtype: torch.dtype) -> None:
    equal_on_all(Case(cell, H, dtype=dtype, **options))


@both_dtypes
@pytest.mark.parametrize("H", [7, 63, 100])
@pytest.mark.parametrize("options", PROJECTED, ids=label)
@pytest.mark.parametrize("cell", PROJECTABLE)
def test_equals_reference_projected(cell: str, options: dict[str, Any], H: int, dtype: torch.dtype) -> None:
    case = Case(cell, H, dtype=dtype, **options)
    equal_on_all(dataclasses.replace(case, proj=max(1, int(H * case.proj))))


@both_dtypes
@pytest.mark.parametrize("B", [1, 2, 16, 17, 40, 101])
@every_cell
def test_any_number_of_rows(cell: str, B: int, dtype: torch.dtype) -> None:
    """The kernels take other ways by the number of rows."""
    equal_on_all(Case(cell, 20, B=B, T=3, input=19, lengths=B > 1, mask=True, reset=True, dtype=dtype))


@pytest.mark.parametrize("T", range(1, 14))
@pytest.mark.parametrize("cell", ["rnn", "gru", "peephole"])
def test_any_number_of_steps(cell: str, T: int) -> None:
    """The backward pass goes over runs of steps, of which the last may not be of one step alone."""
    equal_on_all(Case(cell, 9, B=40, T=T, lengths=T % 2 == 0))


@pytest.mark.parametrize("options", [{"norm": True}, {"gates": True}], ids=label)
@pytest.mark.parametrize("D", [1, 2])
def test_more_than_the_caches_hold(options: dict[str, Any], D: int) -> None:
    """What is stored past them arrives all the same, and where it does not stand at whole registers too."""
    equal_on_all(Case("lstm", 64, B=33, T=31, D=D, **options))


@every_cell
def test_saturated_stays_finite(cell: str) -> None:
    for norm in (False, True):
        job = job_of(Case(cell, 7, saturated=True, norm=norm, lengths=True, D=2, dtype=torch.float32))
        for isa in ISAS:
            assert all(v.isfinite().all() for v in on(isa, job).values())


@every_cell
def test_gradients_are_those_of_finite_differences(cell: str) -> None:
    job = job_of(
        Case(cell, 2, B=2, T=3, input=2, D=2, lengths=True, mask=True, reset=True, norm=cell == "lstm")
    )
    of = leaves(job)

    def run(*values: Tensor) -> tuple[Tensor, ...]:
        result = cpu.run(with_leaves(job, dict(zip(of, values, strict=True))))
        return (result.out, *result.state)

    assert torch.autograd.gradcheck(run, tuple(of.values()))


@pytest.mark.parametrize("cell", ["lstm", "gru", "slstm"])
def test_second_gradients_are_those_of_finite_differences(cell: str) -> None:
    job = job_of(Case(cell, 2, B=2, T=2, input=1, mask=True))
    of = leaves(job)

    def run(*values: Tensor) -> tuple[Tensor, ...]:
        result = cpu.run(with_leaves(job, dict(zip(of, values, strict=True))))
        return (result.out, *result.state)

    assert torch.autograd.gradgradcheck(run, tuple(of.values()))


def with_leaves(job: Job, values: dict[str, Tensor]) -> Job:
    """The same job on other tensors, named as `leaves` names them."""
    weights = []
    for d, w in enumerate(job.weights):
        own = {k: values[f"{k} {d}"] for k, v in vars(w).items() if v is not None}
        weights.append(dataclasses.replace(w, **own))
    state = tuple(values[f"state {i}"] for i in range(len(job.state)))
    return dataclasses.replace(job, x=values["x"], state=state, weights=tuple(weights))


SHARED: list[dict[str, Any]] = [
    {"cell": "lstm", "H": 40, "B": 80, "T": 6},  # rows are shared
    {"cell": "gru", "H": 40, "B": 77, "T": 6, "lengths": True, "D": 2},
    {"cell": "lstm", "H": 40, "B": 61, "T": 6, "norm": True, "lengths": True},
    {"cell": "lstm", "H": 200, "B": 5, "T": 6},  # units are
    {"cell": "gru", "H": 200, "B": 7, "T": 6, "lengths": True, "mask": True, "reset": True, "D": 2},
    {"cell": "rnn", "H": 330, "B": 1, "T": 9},
    {"cell": "indrnn", "H": 330, "B": 9, "T": 30, "input": 40},
    {"cell": "lstm", "H": 80, "B": 40, "T": 6, "proj": 30, "zone": "mask", "lengths": True},
]


@both_dtypes
@pytest.mark.parametrize("options", SHARED, ids=label)
def test_threads_do_not_change_a_bit(options: dict[str, Any], dtype: torch.dtype) -> None:
    job = job_of(Case(**options, dtype=dtype))
    for isa in ISAS:
        found: list[Answers] = []
        for count in (1, 2, 3):
            with threads(count):
                found.append(on(isa, job))
        for other in found[1:]:
            assert all(torch.equal(a, b) for a, b in zip(found[0].values(), other.values(), strict=True))


@both_dtypes
@pytest.mark.parametrize("H", [24, 72, 130])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_rows_beside_it_do_not_change_a_bit_of_a_row(cell: str, H: int, dtype: torch.dtype) -> None:
    """Few rows are multiplied by several groups of columns at once, in the same order."""
    job = job_of(Case(cell, H, B=8, T=4, input=11, dtype=dtype))
    for isa in ISAS:
        for count in (1, 2, 3):
            few = dataclasses.replace(
                job, x=job.x.detach()[:, :count], state=tuple(s.detach()[:, :count] for s in job.state)
            )
            with torch.no_grad(), use_backend(f"cpu:{isa}"):
                one, all_rows = cpu.run(few), cpu.run(job)
            assert torch.equal(one.out, all_rows.out[:, :count])


@every_cell
@pytest.mark.parametrize("B", [3, 20])
def test_nan_stays_in_its_row(cell: str, B: int) -> None:
    job = job_of(Case(cell, 9, B=B, dtype=torch.float32))
    with torch.no_grad():
        whole = cpu.run(job)
        x = job.x.clone()
        x[2, 1, 0] = torch.nan
        for isa in ISAS:
            with use_backend(f"cpu:{isa}"):
                found = cpu.run(dataclasses.replace(job, x=x))
                whole = cpu.run(job)
            others = [b for b in range(B) if b != 1]
            assert torch.equal(found.out[:, others], whole.out[:, others])
            assert torch.equal(found.out[:2], whole.out[:2])
            assert found.out[2:, 1].isnan().all() or cell in ("rnn_relu", "indrnn")
            want = reference.run(dataclasses.replace(job, x=x))
            assert torch.equal(found.out.isnan(), want.out.isnan())
            for s, w in zip(found.state, want.state, strict=True):
                assert torch.equal(s.isnan(), w.isnan())


def strided(t: Tensor) -> Tensor:
    """The same numbers, spread out in memory, the last dimension first."""
    wide = torch.empty(*t.shape[::-1], 2, dtype=t.dtype).select(-1, 1).permute(*reversed(range(t.dim())))
    with torch.no_grad():
        wide.copy_(t)
    return wide.requires_grad_(t.requires_grad)


@every_cell
def test_strides_do_not_matter(cell: str) -> None:
    job = job_of(
        Case(
            cell, 7, D=2, lengths=True, mask=True, reset=True, drop=cell != "indrnn", zone="mask", gates=True
        )
    )
    spread = with_leaves(job, {k: strided(v) for k, v in leaves(job).items()})
    assert (
        job.mask is not None and job.reset is not None and job.lengths is not None and job.zoneout is not None
    )
    spread = dataclasses.replace(
        spread,
        mask=strided(job.mask),
        reset=strided(job.reset),
        lengths=strided(job.lengths),
        dropout_mask=None if job.dropout_mask is None else strided(job.dropout_mask),
        zoneout=tuple(
            z and Zoneout(z.rate, None if z.mask is None else strided(z.mask)) for z in job.zoneout
        ),
    )
    for isa in ISAS:
        want, found = on(isa, job), on(isa, spread)
        assert all(torch.equal(want[k], found[k]) for k in want)


def test_expanded_inputs_and_gradients() -> None:
    job = job_of(Case("lstm", 7, B=1, D=2))
    rows = 4
    x = job.x.detach().expand(5, rows, 4)
    state = tuple(s.detach().expand(2, rows, 7) for s in job.state)
    wide = dataclasses.replace(job, x=x, state=state)
    whole = dataclasses.replace(job, x=x.contiguous(), state=tuple(s.contiguous() for s in state))
    of = [v for k, v in leaves(job).items() if k[:2] in ("x ", "r ")]
    found = [torch.autograd.grad(cpu.run(one).out.sum(), of) for one in (wide, whole)]
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@every_cell
def test_rows_without_a_step(cell: str) -> None:
    job = job_of(Case(cell, 7, lengths=True, D=2))
    job = dataclasses.replace(job, lengths=torch.tensor([0, 0, 0]))
    want = answers(reference.run, job)
    for isa in ISAS:
        found = on(isa, job)
        compare(found, want, 1e-12, isa)
        assert not found["out"].any() and torch.equal(found["last 0"], job.state[0])


@every_cell
def test_no_rows(cell: str) -> None:
    for lengths in (False, True):
        job = job_of(Case(cell, 7, B=0, D=2, lengths=lengths, mask=True, norm=True, gates=True))
        want = answers(reference.run, job)
        for isa in ISAS:
            compare(on(isa, job), want, 1e-12, isa)


def test_one_tensor_given_twice() -> None:
    """Each of its places adds to its gradient, in the second gradients as well."""
    job = job_of(Case("lstm", 7))
    job = dataclasses.replace(job, state=(job.state[0], job.state[0]))
    found = []
    for run in (cpu.run, reference.run):
        out = run(job).out
        (first,) = torch.autograd.grad(out.square().sum(), [job.state[0]], create_graph=True)
        found.append((first, *torch.autograd.grad(first.square().sum(), [job.state[0], job.x])))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_gradients_flow_through_gates() -> None:
    job = job_of(Case("lstm", 7, D=2, lengths=True, gates=True))
    of = list(leaves(job).values())
    found = []
    for run in (cpu.run, reference.run):
        gates = run(job).gates
        assert gates is not None
        total = sum((one[k] * (i + 1.0)).square().sum() for one in gates for i, k in enumerate("ifgohc"))
        assert isinstance(total, Tensor)
        found.append(torch.autograd.grad(total, of))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_scratch_memory_is_nan() -> None:
    from longspan import _core

    assert _core.buffer((8, 8), True).isnan().all()
