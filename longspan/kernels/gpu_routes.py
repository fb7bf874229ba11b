"""Knows which kernels a GPU job takes: one small table, read from the top; the first entry that fits decides.

None of its entries has been timed yet. Each names what it is derived from instead, and `longspan.explain`
says so: cuDNN takes plain cells because its kernels are made for each GPU and size; what keeps R on chip is
bounded by what a program of an H100 or H200 holds (see launch.py), of which the step's own tiles need a part,
and on smaller GPUs by what theirs hold. `python -m benchmarks.cells --device cuda` prints the figures that
should replace this.
"""

from __future__ import annotations

from typing import NamedTuple

from longspan.cells import Cell

from .emit_triton import Variant
from .launch import CHIP, TILE, padded
from .program import program
from .selection import constant

KB = 1024


class Entry(NamedTuple):
    """One line: the form it leads to, what it takes, and what that rests on.

    form: "cudnn"; "whole", one launch a sequence with R on chip; "steps", a product and a launch a step.
    kind: "plain" for a job that cuDNN knows, "alone" for units that nothing joins within a step, else "any".
    half: for bfloat16 only (True), float32 only (False) or both (None); columns: the most, H or R padded to a
    power of two; room: the most bytes that R and the projection may take on chip.
    """

    name: str
    form: str
    kind: str
    half: bool | None
    columns: int | None
    room: int | None
    basis: str


MADE = "not measured: cuDNN's kernels are made for these cells"
ALONE = "not measured: without R h there is no product to take"
FITS = "not measured: R stays on chip beside its tiles"
LARGE = "not measured: R does not fit on chip, cuBLAS multiplies it"
TABLE = (
    Entry("plain", "cudnn", "plain", None, None, None, MADE),
    Entry("alone", "whole", "alone", None, None, None, ALONE),
    Entry("small, float32", "whole", "any", False, 64, 80 * KB, FITS),
    Entry("small, bfloat16", "whole", "any", True, 128, 160 * KB, FITS),
    Entry("large", "steps", "any", None, None, None, LARGE),
)


def columns_alone(cell: Cell, variant: Variant) -> bool:
    """Whether no unit reads another within a step, so that programs may share the columns too."""
    return not (cell.recurrent or variant.norm_c or variant.proj)


@constant
def shared(cell: Cell, variant: Variant) -> bool:
    """Whether what comes back to W x comes back to R h as well."""
    return program(cell, variant.norm_c).shared


def room(cell: Cell, variant: Variant, H: int, R: int) -> int:
    """Bytes that R and the projection take on chip, padded."""
    matrices = len(cell.gates) * int(cell.recurrent) + int(variant.proj)
    return matrices * padded(H) * padded(R) * (2 if variant.half else 4)


def entry(cell: Cell, variant: Variant, H: int, R: int, *, plain: bool, chip: int = CHIP) -> Entry:
    """The first entry that fits; plain: whether cuDNN may run the job; chip: the bytes a program may hold."""
    columns, needed = max(padded(H), padded(R)), room(cell, variant, H, R)
    beside = TILE * columns * 4  # the tile of h that is multiplied
    kinds = {"any"} | ({"plain"} if plain else set()) | ({"alone"} if columns_alone(cell, variant) else set())
    return next(
        e
        for e in TABLE
        if e.kind in kinds
        and e.half in (None, variant.half)
        and (e.columns is None or columns <= e.columns)
        and (e.room is None or (needed <= e.room and needed + beside <= chip))
    )


def form(cell: Cell, variant: Variant, H: int, R: int, chip: int) -> str:
    """Which Triton kernels run: "whole" or "steps"."""
    return entry(cell, variant, H, R, plain=False, chip=chip).form
