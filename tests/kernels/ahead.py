"""Compiles printed kernels to machine code, which takes no GPU, and says what each holds of a GPU's program.

python -m tests.kernels.ahead [CELL ...]: every kernel of the cells, plain, with layer norm and with every
option, at the largest sizes that keep R on chip and, for the kernels of one step, at H = 1024.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from longspan.cells import CELLS, Cell
from longspan.kernels import gpu_routes, launch, triton_source
from longspan.kernels.emit_triton import Variant
from longspan.kernels.program import program

ARCHITECTURES = (80, 90)  # A100; H100 and H200
WHOLE = ("forward", "backward")
NUMBERS = {
    "table": "*i64",
    "lengths": "*i64",
    "base": "*i32",
    "marks": "*u8",
    "T": "i32",
    "B": "i32",
    "j": "i32",
}
WIDE = ("seq_", "raw_", "rstds", "de_", "sum_", "now_")  # in float32 always; raw_h is not
ALIGNED = [["tt.divisibility", 16]]


class Made(NamedTuple):
    """Bytes of shared memory a program, registers a thread, and bytes of them that are spilled."""

    shared: int
    registers: int
    spilled: int


def plain(half: bool) -> Variant:
    return Variant(half, False, False, (), False, False, False, False, True)


def normed(cell: Cell, half: bool) -> Variant:
    return plain(half)._replace(norm_r=cell.recurrent, norm_c="c" in cell.states)


def full(cell: Cell, half: bool) -> Variant:
    """Every option that a cell has."""
    proj = cell.recurrent and not program(cell).reads_h
    options = normed(cell, half)._replace(marks=True, gates=True, dropout=cell.recurrent, proj=proj)
    return options._replace(zoneout=("mask",) * len(cell.states))


def kind(name: str, half: bool) -> str:
    """The type of a kernel's argument."""
    if name in NUMBERS or name.startswith(("zone_", "rate_")):
        return NUMBERS.get(name) or ("*u8" if name.startswith("zone_") else "fp32")
    return "*fp32" if not half or (name.startswith(WIDE) and name != "raw_h") else "*bf16"


def shapes(cell: Cell, variant: Variant, name: str, H: int, R: int) -> tuple[dict[str, object], int]:
    """The numbers that a launch fixes, and its warps, as the drivers choose them."""
    width = R if name in ("finish_step", "enter_step") else H
    HP, rows = launch.padded(width), launch.TILE_ROWS
    if name in WHOLE:
        HP = min(HP, 128) if gpu_routes.independent_columns(cell, variant) else HP
        warps = launch.warps(HP, variant.half)
    else:
        normed = (variant.norm_r or variant.norm_c) and name in ("forward_step", "backward_step")
        HP = HP if normed else min(HP, 128)
        rows, warps = max(1, launch.TILE_NUMBERS // HP), 8 if HP >= 1024 else 4
    operand = tl.bfloat16 if variant.half else tl.float32
    found: dict[str, object] = {"D": 1, "H": width, "R": R, "HP": HP, "BB": rows, "RP": launch.padded(R)}
    return found | {"PRECISION": "ieee", "OPERAND": operand}, warps


def made(cell: Cell, variant: Variant, name: str, H: int, R: int, architecture: int) -> Made:
    """Compile one kernel."""
    kernel = getattr(triton_source.kernels(cell, variant), name)
    numbers, warps = shapes(cell, variant, name, H, R)
    numbers = {k: v for k, v in numbers.items() if k in kernel.arg_names}
    signature = {k: "constexpr" if k in numbers else kind(k, variant.half) for k in kernel.arg_names}
    aligned = {(i,): ALIGNED for i, k in enumerate(kernel.arg_names) if signature[k].startswith("*")}
    found = triton.compile(
        ASTSource(kernel, signature=signature, constexprs=numbers, attrs=aligned),  # pyright: ignore[reportArgumentType]
        target=GPUTarget("cuda", architecture, 32),
        options={"num_warps": warps, "num_stages": 1, "enable_fp_fusion": True},
    )
    used = _usage(found.asm["cubin"])
    return Made(found.metadata.shared, used["REG"], used["STACK"])  # pyright: ignore[reportAttributeAccessIssue]


def _usage(code: bytes) -> dict[str, int]:
    """What the tool that comes with Triton reads in machine code."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(code)
        file.flush()
        done = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True)
    return {name: int(number) for name, number in re.findall(r"(REG|STACK):(\d+)", done.stdout)}


def every(names: Sequence[str]) -> Iterator[tuple[str, Cell, Variant, str, int, int]]:
    """What to compile: words, cell, variant, kernel, H, R."""
    for cell in (CELLS[name] for name in names):
        for half in (False, True):
            small, dtype = (128, "bfloat16") if half else (64, "float32")
            options = {"plain": plain(half), "layer norm": normed(cell, half)}
            for words, variant in (options | {"every option": full(cell, half)}).items():
                label = f"{cell.name}, {words}, {dtype}"
                for name in WHOLE:
                    yield label, cell, variant, name, small, small
                ends = ("finish_step", "enter_step") if variant.proj else ()
                R = 512 if variant.proj else 1024
                for name in ("forward_step", "backward_step", *ends):
                    yield label, cell, variant, name, 1024, R


def main() -> None:
    for words, cell, variant, name, H, R in every(sys.argv[1:] or list(CELLS)):
        for architecture in ARCHITECTURES:
            found = made(cell, variant, name, H, R, architecture)
            print(f"{words}, {name}, H={H}, sm_{architecture}: {found}", flush=True)


if __name__ == "__main__":
    main()
