"""Knows that the Triton kernels equal the reference, in Triton's interpreter, and compile for a GPU.

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
from typing import Any

import pytest
import torch

from longspan import nn, use_backend
from longspan.cells import CELLS, Cell
from longspan.kernels import cudnn, emit_triton, route, trial, triton_source
from longspan.kernels.emit_triton import Variant, source
from longspan.kernels.job import Job, Zone
from longspan.kernels.program import program

ROOT = Path(__file__).parents[2]
TRITON = importlib.util.find_spec("triton") is not None
needs_triton = pytest.mark.skipif(not TRITON, reason="Triton is not installed: pip install 'longspan[gpu]'")
PLAIN = Variant(False, False, False, (), False, False, False, False, True)
H100 = 227 * 1024  # bytes of shared memory that one program may hold


@needs_triton
def test_equals_reference_in_the_interpreter() -> None:
    env = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "tests/kernels/interpreted.py")]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, str | None] = json.loads(done.stdout)
    assert {name: error for name, error in found.items() if error} == {}
    assert len(found) > 170


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


def signature(kernel: Any) -> dict[str, str]:
    """The types of a plain float32 kernel's arguments."""
    known = {"table": "*i64", "base": "*i32", "T": "i32", "B": "i32", "j": "i32"}
    constants = ("D", "H", "R", "HP", "BB", "RP", "PRECISION", "OPERAND")
    known |= dict.fromkeys(constants, "constexpr")
    return {name: known.get(name, "*fp32") for name in kernel.arg_names}


@needs_triton
@pytest.mark.parametrize("name", ["forward", "backward", "forward_step", "backward_step"])
def test_compiles_for_hopper_within_its_memory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To machine code, which takes no GPU."""
    monkeypatch.setenv("LONGSPAN_CACHE", str(tmp_path))
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
    import triton
    import triton.language as tl
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = getattr(triton_source.kernels(CELLS["lstm"], PLAIN), name)
    sizes = {
        "D": 1,
        "H": 64,
        "R": 64,
        "HP": 64,
        "BB": 16,
        "RP": 64,
        "PRECISION": "ieee",
        "OPERAND": tl.float32,
    }
    constants = {k: v for k, v in sizes.items() if k in kernel.arg_names}
    made = triton.compile(
        ASTSource(kernel, signature=signature(kernel), constexprs=constants),
        target=GPUTarget("cuda", 90, 32),
        options={"num_warps": 8, "num_stages": 1, "enable_fp_fusion": True},
    )
    assert made.asm["cubin"] and made.metadata.shared <= H100  # pyright: ignore[reportAttributeAccessIssue]


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
    job, some = trial(), torch.ones(1, 1, dtype=torch.bool)
    w = job.weights[0]
    normed = dataclasses.replace(w, norm_x=torch.ones(4))
    unlike: list[tuple[str, Job]] = [
        ("no cell 'peephole'", dataclasses.replace(job, cell=CELLS["peephole"])),
        ("lengths", dataclasses.replace(job, lengths=torch.ones(1).long())),
        ("a mask", dataclasses.replace(job, mask=some)),
        ("a reset", dataclasses.replace(job, reset=some)),
        ("recurrent dropout", dataclasses.replace(job, drop=torch.ones(1, 1, 1))),
        ("zoneout", dataclasses.replace(job, zone=(Zone(0.1), None))),
        ("layer norm", dataclasses.replace(job, weights=(normed,))),
        ("its gates", dataclasses.replace(job, gates=True)),
    ]
    for words, one in unlike:
        assert words in str(cudnn.refuses(one))


def test_a_cell_of_ones_own_named_like_a_plain_one_is_none() -> None:
    job = trial()
    assert "no cell 'lstm'" in str(
        cudnn.refuses(dataclasses.replace(job, cell=dataclasses.replace(job.cell)))
    )


def forms(cell: str, sizes: Sequence[int], half: bool, plain: bool = False) -> list[str]:
    variant = PLAIN._replace(half=half)
    return [route.entry(CELLS[cell], variant, H, H, plain=plain).form for H in sizes]


def test_the_table_decides() -> None:
    assert forms("lstm", (1, 64, 1000), half=False, plain=True) == ["cudnn"] * 3
    assert forms("lstm", (1, 64, 65, 1000), half=False) == ["whole", "whole", "steps", "steps"]
    assert forms("lstm", (1, 64, 128, 129), half=True) == ["whole", "whole", "whole", "steps"]
    assert forms("indrnn", (1, 5000), half=False) == ["whole", "whole"]
    projected = PLAIN._replace(proj=True)
    assert route.entry(CELLS["lstm"], projected, 64, 65, plain=False).form == "steps"


def test_every_entry_says_what_it_rests_on() -> None:
    assert all(entry.basis for entry in route.TABLE)
    assert route.TABLE[-1] == route.TABLE[-1]._replace(kind="any", half=None, columns=None, room=None)


def test_what_is_kept_is_what_the_backward_pass_reads() -> None:
    kept = emit_triton.kept(CELLS["lstm"], PLAIN)
    assert kept == (4, "c", "")  # i, f, g, o, and c after each step; h is the output
    zoned = emit_triton.kept(CELLS["lstm"], PLAIN._replace(zone=("mask", "mask")))
    assert (zoned.sequences, zoned.raw) == ("c", "c")
    assert emit_triton.kept(CELLS["rnn"], PLAIN) == (0, "", "")
