"""Selects which kernels run a GPU job, by a table: the first route whose conditions hold is taken.

The table is a heuristic: none of its routes has been timed, and `longspan.explain` says so. cuDNN takes plain
cells because its kernels are made for each GPU and size. Persistent kernels take what fits into the shared
memory of one program (see launch.py), beside the tiles of a step. `python -m benchmarks.cells --device cuda`
prints the timings that should replace these reasons.
"""

from __future__ import annotations

from typing import NamedTuple

from longspan.cells import Cell

from .emit_triton import Variant
from .launch import SHARED_MEMORY, TILE_ROWS, padded
from .program import program
from .selection import constant

KB = 1024


class Route(NamedTuple):
    """One line of the table: its conditions, the kernels that it leads to, and why.

    kernels: "cudnn"; "persistent", one launch a sequence with R on chip; "per_step", a matrix product and a
    launch a step.
    jobs: "plain" for jobs that cuDNN can run, "elementwise" for units that do not read each other within a
    step, "any" for all.
    half: bfloat16 only (True), float32 only (False) or both (None).
    max_columns: the largest H or R, padded to a power of two; None for no bound.
    max_bytes: the most bytes that R and the projection may take on chip; None for no bound.
    reason: what the route rests on.
    """

    name: str
    kernels: str
    jobs: str
    half: bool | None
    max_columns: int | None
    max_bytes: int | None
    reason: str


CUDNN = "heuristic, not measured: cuDNN's kernels are made for these cells"
ELEMENTWISE = "heuristic, not measured: without R h there is no matrix product"
FITS = "heuristic, not measured: R stays on chip beside the tiles of a step"
LARGE = "heuristic, not measured: R does not fit on chip, cuBLAS multiplies it"
ROUTES = (
    Route("plain", "cudnn", "plain", None, None, None, CUDNN),
    Route("elementwise", "persistent", "elementwise", None, None, None, ELEMENTWISE),
    Route("small, float32", "persistent", "any", False, 64, 80 * KB, FITS),
    Route("small, bfloat16", "persistent", "any", True, 128, 160 * KB, FITS),
    Route("large", "per_step", "any", None, None, None, LARGE),
)


def independent_columns(cell: Cell, variant: Variant) -> bool:
    """Whether no unit reads another within a step, so that several programs may share a row's columns."""
    return not (cell.recurrent or variant.norm_c or variant.proj)


@constant
def shared_gradient(cell: Cell, variant: Variant) -> bool:
    """Whether the gradients of W x are those of R h too."""
    return program(cell, variant.norm_c).shared


def bytes_on_chip(cell: Cell, variant: Variant, H: int, R: int) -> int:
    """Bytes that R and the projection take on chip, padded."""
    matrices = len(cell.gates) * int(cell.recurrent) + int(variant.proj)
    return matrices * padded(H) * padded(R) * (2 if variant.half else 4)


def route(cell: Cell, variant: Variant, H: int, R: int, *, plain: bool, memory: int = SHARED_MEMORY) -> Route:
    """The first route whose conditions hold.

    Args:
        plain: whether cuDNN may run the job.
        memory: the bytes of shared memory that one program may hold.
    """
    columns, matrices = max(padded(H), padded(R)), bytes_on_chip(cell, variant, H, R)
    tile = TILE_ROWS * columns * 4  # of h, which R is multiplied with
    jobs = {"any", *["plain"] * plain, *["elementwise"] * independent_columns(cell, variant)}
    return next(
        r
        for r in ROUTES
        if r.jobs in jobs
        and r.half in (None, variant.half)
        and (r.max_columns is None or columns <= r.max_columns)
        and (r.max_bytes is None or (matrices <= r.max_bytes and matrices + tile <= memory))
    )


def is_persistent(cell: Cell, variant: Variant, H: int, R: int, memory: int) -> bool:
    """Which of the two families of Triton kernels runs."""
    return route(cell, variant, H, R, plain=False, memory=memory).kernels == "persistent"
