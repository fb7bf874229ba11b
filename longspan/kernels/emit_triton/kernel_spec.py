"""Describes the Triton kernels of one cell and variant: their options, the arrays they save and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from longspan.cells import Cell
from longspan.kernels.program import Node, Program, order, program


class Variant(NamedTuple):
    """What a layer's kernels do beside the cell's step.

    half: bfloat16 in memory, else float32; registers and sums are float32 in both.
    marks: whether lengths, a mask or a reset mark the steps.
    dropout: whether the h that R reads is multiplied by a dropout mask.
    zoneout: for each state "" (none), "mask" (training) or "rate" (inference); () where no state has it.
    norm_r, norm_c: layer norm of the products R h, and of the new state c.
    proj: whether h is projected.
    gates: whether the values of the gates are written.
    save: whether the forward kernel writes what the backward kernel reads.
    """

    half: bool
    marks: bool
    dropout: bool
    zoneout: tuple[str, ...]
    norm_r: bool
    norm_c: bool
    proj: bool
    gates: bool
    save: bool


class Saved(NamedTuple):
    """What the forward kernel saves for the backward kernel, beside the output, which is h after each step.

    values: how many values of H numbers a row. sequences: the states but h that are saved after each step.
    raw: the states that are saved as the cell computed them, before zoneout and projection.
    """

    values: int
    sequences: str
    raw: str


@dataclass(frozen=True)
class KernelSpec:
    """The kernels of one cell and variant.

    program: the cell's step and its gradients as straight-line code.
    zoneout: state -> "mask" or "rate", for the states that have zoneout.
    old, new: the states before and after a step that the gradients read.
    sequences, raw: as in `Saved`.
    """

    cell: Cell
    variant: Variant
    program: Program
    zoneout: Mapping[str, str]
    old: str
    new: str
    sequences: str
    raw: str

    @property
    def dtype(self) -> str:
        """The type of the numbers in memory."""
        return "tl.bfloat16" if self.variant.half else "tl.float32"

    @property
    def saved(self) -> Saved:
        return Saved(len(self.program.saved), self.sequences, self.raw)

    @property
    def shared_gradient(self) -> bool:
        """Whether the gradient of W x is that of R h too."""
        return self.program.shared or not self.cell.recurrent

    @property
    def gate_gradients(self) -> list[str]:
        """The arrays of gradients that a step writes: dx of W x and, where it differs, dr of R h."""
        return ["dx"] if self.shared_gradient else ["dx", "dr"]


def kernel_spec(cell: Cell, variant: Variant) -> KernelSpec:
    """Which states the kernels of a cell and variant save and read."""
    code = program(cell, variant.norm_c)
    read = _states_read_by_gradients(cell, code)
    kinds = zip(cell.states, variant.zoneout or ("",) * len(cell.states), strict=True)
    zoneout = {s: kind for s, kind in kinds if kind}
    old = [s for s in cell.states if f"s_{s}" in read]
    new = [s for s in cell.states if f"n_{s}" in read or (s == "c" and variant.norm_c)]
    changed = [s for s in cell.states if s in zoneout or (s == "h" and variant.proj)]
    raw = [s for s in changed if s in new or (s == "h" and variant.proj)]
    unchanged = [s for s in new if s not in changed]
    sequences = [s for s in cell.states[1:] if s in old or s in unchanged]
    texts = ["".join(states) for states in (old, new, sequences, raw)]
    return KernelSpec(cell, variant, code, zoneout, *texts)


def _states_read_by_gradients(cell: Cell, code: Program) -> set[str]:
    """The names of the old states (s_) and new states (n_) that the gradients are computed from."""
    names = names_in_backward(cell, code)
    roots = [*code.grads.values(), *code.grads_h.values()]
    operands = {a for n in order(roots, known=names) for a in n.args} | set(roots)
    return {names[n] for n in operands if n in names}


def names_in_forward(code: Program) -> dict[Node, str]:
    """The variables that a step starts from: x_ and r_ by gate, s_ by state, p_ by extra."""
    return {n: str(n.value) for group in (code.x, code.r, code.s, code.p) for n in group.values()}


def names_in_backward(cell: Cell, code: Program) -> dict[Node, str]:
    """The variables that the gradients start from: n_, s_ and d_ by state, p_ by extra, saved values y_."""
    new = zip(cell.states, code.outs, strict=True)
    names = {n: f"n_{k}" for k, n in new if n.op not in ("in", "const")}
    names |= {n: str(n.value) for group in (code.new, code.s, code.p) for n in group.values()}
    names |= {n: f"y_{i}" for i, n in enumerate(code.saved)}
    names |= {n: str(n.value) for n in code.douts}
    return names if code.nc is None else names | {code.nc: "nc"}
