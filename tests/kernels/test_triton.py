"""Tests that the Triton kernels equal the reference, in Triton's interpreter, and compile for a GPU.

The comparisons themselves are in interpreted.py, which runs in a process of its own.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from longspan import nn, use_backend
from longspan.cells import CELLS, Cell
from longspan.kernels import (
    cpu,
    cudnn,
    emit_triton,
    gpu,
    gpu_routes,
    operators,
    probe_job,
    reference,
    triton_source,
)
from longspan.kernels.cpu_driver import CallSpec, Inputs
from longspan.kernels.emit_triton import Variant, source
from longspan.kernels.job import Job, Result, Zoneout
from longspan.kernels.launch import TILE_ROWS, allow_tf32
from longspan.kernels.program import program
from longspan.nn import autocast
from tests.kernels.test_parity import Case, answers, compare, job_of

ROOT = Path(__file__).parents[2]
TRITON = importlib.util.find_spec("triton") is not None
needs_triton = pytest.mark.skipif(not TRITON, reason="Triton is not installed: pip install 'longspan[gpu]'")
PLAIN = Variant(False, False, False, (), False, False, False, False, True)


@needs_triton
@pytest.mark.parametrize(
    ("scope", "count"),
    [
        (["--few"], 10),
        pytest.param(["--short"], 40, marks=pytest.mark.slow),
        pytest.param([], 160, marks=pytest.mark.slow),
    ],
    ids=["few", "short", "every"],
)
def test_equals_reference_in_the_interpreter(scope: list[str], count: int) -> None:
    env = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "tests/kernels/interpreted.py"), *scope]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, str | None] = json.loads(done.stdout)
    assert {name: error for name, error in found.items() if error} == {}
    assert len(found) > count


@needs_triton
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU to run them on")
def test_equals_reference_on_a_gpu() -> None:
    repeatable = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    env = {**os.environ, "TRITON_INTERPRET": "0", "PYTHONPATH": str(ROOT), **repeatable}
    command = [sys.executable, str(ROOT / "tests/kernels/interpreted.py"), "--all", "--cuda"]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {name: error for name, error in json.loads(done.stdout).items() if error} == {}


def variants(cell: Cell) -> list[Variant]:
    """Every switch on its own and together, as far as the cell has it."""
    zones = [(), ("mask",) * len(cell.states), ("rate",) * len(cell.states)]
    norm_c, proj = "c" in cell.states, cell.recurrent and not program(cell).reads_h
    switches = itertools.product([False, True], [False, True], zones, [False, True])
    r = cell.recurrent
    return [
        Variant(half, marks, r and marks, zone, r and norm, norm_c and norm, proj and norm, marks, norm)
        for half, marks, zone, norm in switches
    ]


@pytest.mark.parametrize("cell", CELLS.values(), ids=lambda c: c.name)
def test_what_is_printed_is_python_without_block_pointers(cell: Cell) -> None:
    for variant in variants(cell):
        text = source(cell, variant)
        compile(text, cell.name, "exec")
        assert "make_block_ptr" not in text and "tl.advance" not in text
        assert source(cell, variant) == text


AHEAD = [
    *(("plain", name, 90) for name in ("forward", "backward")),
    *(("full", name, 80) for name in ("forward_step", "backward_step", "finish_step", "enter_step")),
]


@needs_triton
@pytest.mark.parametrize(("options", "name", "architecture"), AHEAD)
def test_compiles_within_a_gpus_memory(
    options: str, name: str, architecture: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To machine code, which takes no GPU; tests/kernels/ahead.py does so with every kernel there is."""
    monkeypatch.setenv("LONGSPAN_CACHE", str(tmp_path))
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
    from . import ahead

    cell, half = CELLS["lstm"], options == "full"
    variant = ahead.full(cell, half) if half else ahead.plain(half)
    found = ahead.made(cell, variant, name, 64, 64, architecture)
    needed = (
        gpu_routes.bytes_on_chip(cell, variant, 64, 64) + TILE_ROWS * 64 * 4 if name in ahead.WHOLE else 1024
    )
    assert found.shared <= needed and 0 < found.registers <= 255 and not found.spilled


@needs_triton
def test_printed_once_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGSPAN_CACHE", str(tmp_path / "new"))
    triton_source.kernels.cache_clear()
    module = triton_source.kernels(CELLS["rnn"], PLAIN)
    (path,) = (tmp_path / "new").glob("*.py")
    assert path.name.startswith("rnn-triton-") and module.__file__ == str(path)
    before = path.stat().st_mtime_ns
    triton_source.kernels.cache_clear()
    triton_source.kernels(CELLS["rnn"], PLAIN)
    assert path.stat().st_mtime_ns == before
    triton_source.kernels.cache_clear()


@needs_triton
def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LONGSPAN_CACHE", str(tmp_path / "file" / "folder"))
    triton_source.kernels.cache_clear()
    with pytest.raises(RuntimeError, match=r"^gpu: expected a folder .* name another in \$LONGSPAN_CACHE\.$"):
        triton_source.kernels(CELLS["gru"], PLAIN)


def test_without_triton_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "triton", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    triton_source.kernels.cache_clear()
    with pytest.raises(RuntimeError, match=r"^gpu: Triton is not installed \(pip install 'longspan\[gpu\]'"):
        triton_source.kernels(CELLS["gru"], PLAIN)
    assert not triton_source.interpreted()


@pytest.mark.parametrize("name", ["gpu", "gpu:cudnn", "gpu:triton"])
def test_a_cpu_tensor_is_refused_in_one_sentence(name: str) -> None:
    words = (
        rf"^backend: '{name}' was forced by use_backend, but it refuses: the tensors are on cpu, not on an "
    )
    with (
        use_backend(name),
        pytest.raises(RuntimeError, match=words + r"NVIDIA GPU.*\.$"),
    ):
        nn.LSTM(3, 4)(torch.zeros(2, 1, 3))


def test_cudnn_takes_plain_jobs_only() -> None:
    job, some = probe_job(), torch.ones(1, 1, dtype=torch.bool)
    w = job.weights[0]
    normed = dataclasses.replace(w, norm_x=torch.ones(4))
    unlike: list[tuple[str, Job]] = [
        ("no cell 'peephole'", dataclasses.replace(job, cell=CELLS["peephole"])),
        ("lengths", dataclasses.replace(job, lengths=torch.ones(1).long())),
        ("a mask", dataclasses.replace(job, mask=some)),
        ("a reset", dataclasses.replace(job, reset=some)),
        ("recurrent dropout", dataclasses.replace(job, dropout_mask=torch.ones(1, 1, 1))),
        ("zoneout", dataclasses.replace(job, zoneout=(Zoneout(0.1), None))),
        ("layer norm", dataclasses.replace(job, weights=(normed,))),
        ("its gates", dataclasses.replace(job, gates=True)),
    ]
    for words, one in unlike:
        assert words in str(cudnn.refuses(one))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_cudnn_behind_the_operator(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch.compile traces of a plain layer, with the reference in cuDNN's place."""
    runs = list[Job]()

    def run(job: Job) -> Result:
        runs.append(job)
        return reference.run(job)

    monkeypatch.setattr(cudnn, "run", run)
    job = job_of(Case(cell, 5, D=2, dtype=torch.float32))

    def behind(job: Job) -> Result:
        given = Inputs(
            job.x, None, None, None, None, job.state, (), tuple(cpu.weights_in_order(w) for w in job.weights)
        )
        out, last, _ = operators.run_operator(CallSpec(job.cell, "gpu:cudnn", (), False, True), given)
        return Result(out, last)

    def of_x(x: torch.Tensor) -> torch.Tensor:
        return behind(dataclasses.replace(job, x=x)).out

    compare(answers(behind, job), answers(reference.run, job), 1e-6, cell)
    assert len(runs) == 2  # forward, and once more for the gradients
    whole = torch.compile(of_x, fullgraph=True, backend="aot_eager")
    (found,) = torch.autograd.grad(whole(job.x).sum(), [job.x])
    (want,) = torch.autograd.grad(reference.run(job).out.sum(), [job.x])
    torch.testing.assert_close(found, want)


def test_a_cell_of_ones_own_named_like_a_plain_one_is_none() -> None:
    job = probe_job()
    assert "no cell 'lstm'" in str(
        cudnn.refuses(dataclasses.replace(job, cell=dataclasses.replace(job.cell)))
    )


def forms(cell: str, sizes: Sequence[int], half: bool, plain: bool = False) -> list[str]:
    variant = PLAIN._replace(half=half)
    return [gpu_routes.route(CELLS[cell], variant, H, H, plain=plain).kernels for H in sizes]


def test_the_table_decides() -> None:
    assert forms("lstm", (1, 64, 1000), half=False, plain=True) == ["cudnn"] * 3
    assert forms("lstm", (1, 64, 65, 1000), half=False) == [
        "persistent",
        "persistent",
        "per_step",
        "per_step",
    ]
    assert forms("lstm", (1, 64, 128, 129), half=True) == [
        "persistent",
        "persistent",
        "persistent",
        "per_step",
    ]
    assert forms("indrnn", (1, 5000), half=False) == ["persistent", "persistent"]
    projected = PLAIN._replace(proj=True)
    assert gpu_routes.route(CELLS["lstm"], projected, 64, 65, plain=False).kernels == "per_step"


def test_smaller_gpus_hold_less() -> None:
    variant = PLAIN._replace(half=True)
    sizes = [n * 1024 for n in (227, 163, 99)]
    routes = [gpu_routes.route(CELLS["lstm"], variant, 128, 128, plain=False, memory=n) for n in sizes]
    assert [route.kernels for route in routes] == ["persistent", "persistent", "per_step"]


def test_bfloat16_is_widened_where_no_kernel_takes_it() -> None:
    assert not gpu.computes_in(torch.bfloat16, torch.device("cpu"))
    assert autocast.compute_dtype(torch.zeros(1, dtype=torch.bfloat16), None) is torch.float32
    assert autocast.compute_dtype(torch.zeros(1), torch.bfloat16) is torch.float32
    assert autocast.compute_dtype(torch.zeros(1, dtype=torch.float64), torch.bfloat16) is torch.float64


def test_products_round_as_pytorchs_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Newer versions have two interfaces, and the older one refuses to answer once both were used."""
    before = torch.get_float32_matmul_precision()
    try:
        for words, rounds in (("high", True), ("medium", True), ("highest", False)):
            torch.set_float32_matmul_precision(words)
            assert allow_tf32() is rounds
    finally:
        torch.set_float32_matmul_precision(before)
    if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        monkeypatch.setattr(torch, "get_float32_matmul_precision", None)
        assert not allow_tf32()


def test_explain_says_that_the_table_is_a_heuristic() -> None:
    assert all(route.reason.startswith("heuristic, not measured: ") for route in gpu_routes.ROUTES)
    assert gpu.detail(probe_job()).endswith(
        "by the route 'small, float32' (heuristic, not measured: R stays on chip beside the tiles of a step)"
    )


def test_the_last_route_takes_every_job() -> None:
    last = gpu_routes.ROUTES[-1]
    assert last == last._replace(jobs="any", half=None, max_columns=None, max_bytes=None)


def test_what_is_kept_is_what_the_backward_pass_reads() -> None:
    kept = emit_triton.saved_for_backward(CELLS["lstm"], PLAIN)
    assert kept == (4, "c", "")  # i, f, g, o, and c after each step; h is the output
    zoned = emit_triton.saved_for_backward(CELLS["lstm"], PLAIN._replace(zoneout=("mask", "mask")))
    assert (zoned.sequences, zoned.raw) == ("c", "c")
    assert emit_triton.saved_for_backward(CELLS["rnn"], PLAIN) == (0, "", "")
