"""Every compiled kernel equals the reference: outputs, states, gates and all gradients, over every cell and option."""

from __future__ import annotations

import dataclasses
import itertools
import random

import pytest
import torch

from longspan.cells import CELLS, Cell
from longspan.kernels import cpu, reference, use_backend
from longspan.kernels.job import Job, Weights, Zone
from longspan.kernels.program import program

ISAS = cpu.INSTRUCTION_SETS
# Relative to the largest number of a tensor, as sums of different order must be measured.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


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
    scale: float = 1.0
    gates: bool = False
    dtype: torch.dtype = torch.float64
    threads: int = 1


def leaf(*shape: int, dtype: torch.dtype, scale: float = 1.0) -> torch.Tensor:
    return (torch.randn(*shape, dtype=torch.float64) * scale).to(dtype).requires_grad_()


def job_of(case: Case) -> Job:
    """A job with random tensors of every kind the case asks for; the same for the same case."""
    torch.manual_seed(hash(dataclasses.replace(case, dtype=torch.float64, threads=1)) % 2**31)
    cell, D, B, T, H = CELLS[case.cell], case.D, case.B, case.T, case.H
    R, GH, f = case.proj or H, len(cell.gates) * H, case.dtype
    shape = (B, T, case.input) if case.batch_first else (T, B, case.input)
    x = (torch.randn(*shape, dtype=torch.float64) * case.scale).to(f).requires_grad_()
    state = tuple(leaf(D, B, R if i == 0 else H, dtype=f, scale=0.5) for i in range(len(cell.states)))
    if case.cell == "slstm":  # n is a sum of exponentials, and m their logarithm
        state = (*state[:2], (state[2].detach().abs() + 1).requires_grad_(), state[3])
    lengths = torch.randint(0, T + 1, (B,)) if case.lengths else None
    return Job(
        cell=cell,
        x=x.transpose(0, 1) if case.batch_first else x,
        state=state,
        weights=tuple(weights_of(case, cell, R, GH) for _ in range(D)),
        lengths=lengths,
        mask=torch.rand(T, B) < 0.7 if case.mask else None,
        reset=torch.rand(T, B) < 0.3 if case.reset else None,
        drop=(torch.rand(D, B, R) < 0.8).to(f) / 0.8 if case.drop else None,
        zone=zone_of(case, cell, R) if case.zone else None,
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


def zone_of(case: Case, cell: Cell, R: int) -> tuple[Zone | None, ...]:
    widths = [R if i == 0 else case.H for i in range(len(cell.states))]
    rates = [0.3, 0.2, 0.0, 0.0][: len(widths)]
    if case.zone == "rate":
        return tuple(Zone(r) if r else None for r in rates)
    masks = [
        (torch.rand(case.D, case.T, case.B, w) < r).to(torch.uint8)
        for w, r in zip(widths, rates, strict=True)
    ]
    return tuple(Zone(r, m) if r else None for r, m in zip(rates, masks, strict=True))


def leaves(job: Job) -> dict[str, torch.Tensor]:
    named = {"x": job.x} | {f"state {i}": s for i, s in enumerate(job.state)}
    for d, w in enumerate(job.weights):
        named |= {f"{k} {d}": v for k, v in vars(w).items() if v is not None}
    return named


def answers(backend, job: Job, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Every output, and the gradient of every leaf under fixed random gradients of the outputs."""
    result = backend.run(job)
    given = torch.Generator().manual_seed(7)
    tops = [
        torch.randn(t.shape, generator=given, dtype=torch.float64).to(dtype)
        for t in (result.out, *result.state)
    ]
    of = leaves(job)
    grads = torch.autograd.grad((result.out, *result.state), list(of.values()), tops, allow_unused=True)
    found = {f"d {k}": g for k, g in zip(of, grads, strict=True)}
    found |= {"out": result.out} | {f"last {i}": s for i, s in enumerate(result.state)}
    return found | {f"gate {k}": v for k, v in (result.gates or {}).items()}


def compare(case: Case, isa: str) -> None:
    job = job_of(case)
    want = answers(reference, job, case.dtype)
    threads = torch.get_num_threads()
    torch.set_num_threads(case.threads)
    try:
        with use_backend(f"cpu:{isa}"):
            assert cpu.refuses(job) is None
            got = answers(cpu, job, case.dtype)
    finally:
        torch.set_num_threads(threads)
    # a gradient that the reference finds unused is zero
    pairs = {k: (got[k], want[k]) for k in want if got[k] is not None or want[k] is not None}
    for name, (a, b) in pairs.items():
        a = torch.zeros_like(b) if a is None else a
        b = torch.zeros_like(a) if b is None else b
        assert a.shape == b.shape and a.dtype == b.dtype, name
        scale = max(float(b.detach().abs().max()) if b.numel() else 0.0, 1e-2)
        error = float((a - b).detach().abs().max()) / scale if b.numel() else 0.0
        assert error <= TOLERANCE[case.dtype], f"{name}: {error:.1e} of {scale:.1e} in {case}"


PLAIN = [Case(cell, H) for cell in CELLS for H in (1, 7, 63, 100)]
OPTIONS: list[dict] = [
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
    {"gates": True, "lengths": True, "mask": True, "reset": True, "D": 2, "norm": True},
    {"D": 2, "lengths": True, "mask": True, "reset": True, "drop": True, "zone": "mask", "batch_first": True},
    {"norm": True, "zone": "mask", "lengths": True, "reset": True, "drop": True, "D": 2},
    {"gates": True, "mask": True, "lengths": True, "zone": "mask", "D": 2},
]
PROJECTED: list[dict] = [
    {"proj": 3},
    {
        "proj": 5,
        "D": 2,
        "lengths": True,
        "mask": True,
        "reset": True,
        "drop": True,
        "zone": "mask",
        "norm": True,
    },
    {"proj": 4, "zone": "rate", "batch_first": True, "gates": True},
]
OPTIONED = [Case(cell, 7, **o) for cell in CELLS for o in OPTIONS]
OPTIONED += [
    Case(cell, 7, **o)
    for cell in CELLS
    if not program(CELLS[cell]).reads_h and CELLS[cell].recurrent
    for o in PROJECTED
]


def ids(case: Case) -> str:
    default = Case("", 0)
    changed = [f"{k}={v}" for k, v in vars(case).items() if v != getattr(default, k) and k != "cell"]
    return f"{case.cell}-{'-'.join(changed)}"


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", PLAIN + OPTIONED, ids=ids)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
def test_equals_reference(case: Case, isa: str, dtype: torch.dtype) -> None:
    compare(dataclasses.replace(case, dtype=dtype), isa)
