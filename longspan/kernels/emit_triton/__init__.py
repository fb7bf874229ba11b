"""Prints a cell's program as Triton: kernels that keep R on chip, and the pointwise kernels of one step.

Two families, from the same pieces:

persistent: one program computes a tile of rows over the whole sequence, with the whole of H, so that programs
need no barrier. R (and the projection) is read once and stays in registers or shared memory.
per step: one launch a step. R h is a matrix product outside (cuBLAS), and these kernels do all else.

Rows lie as (T, B, D, ...), row q = (t * B + b) * D + d, in both directions alike. Names of arguments: `s0_h`
first states, `e_h` gradients of states, `seq_c` a state after each step, `raw_c` the same before zoneout, `m`
products R h, `read` the h that R reads.

The source is Python's subset that Triton compiles; nothing here imports Triton.
"""

from __future__ import annotations

from longspan.cells import Cell

from .backward import backward_kernel, backward_sequences
from .forward import forward_kernel, forward_sequences
from .kernel_spec import Saved, Variant, kernel_spec
from .prelude import PRELUDE
from .single_step import backward_step, enter_step, finish_step, forward_step

__all__ = ["Saved", "Variant", "saved_for_backward", "source", "tables"]


def source(cell: Cell, variant: Variant) -> str:
    """The module of one cell and variant: the kernels `forward` and `backward`, and those of one step.

    Example:
        >>> from longspan.cells import CELLS
        >>> plain = Variant(False, False, False, ("", ""), False, False, False, False, True)
        >>> "def forward(" in source(CELLS["lstm"], plain)
        True
    """
    spec = kernel_spec(cell, variant)
    kernels = [forward_kernel(spec), forward_step(spec)]
    kernels += [finish_step(spec)] if variant.proj else []
    if variant.save:
        kernels += [backward_kernel(spec), backward_step(spec)]
        kernels += [enter_step(spec)] if variant.proj else []
    return PRELUDE + "\n\n".join(kernels)


def saved_for_backward(cell: Cell, variant: Variant) -> Saved:
    """What the forward kernel of a cell and variant saves for the backward kernel."""
    return kernel_spec(cell, variant).saved


def tables(cell: Cell, variant: Variant) -> tuple[list[str], list[str]]:
    """The arrays over time whose addresses the kernels of one step read: forward's, then backward's."""
    spec = kernel_spec(cell, variant)
    return forward_sequences(spec), backward_sequences(spec) if variant.save else []
