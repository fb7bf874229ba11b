"""Defines what every backend receives and returns: one layer's recurrence, its tensors and their shapes.

Letters: B batch, T time, I input, H hidden, G gates, S states, P per-unit extras, D directions (1 or 2),
R width of the recurring state h (the projection's, else H).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from longspan import errors
from longspan.cells import Cell

from .program import program


@dataclass(frozen=True)
class Weights:
    """One direction of one layer, in torch's layout: gates follow each other by rows.

    Args:
        x: (G*H, I), read by the input.
        r: (G*H, R), read by the previous h; None for a cell without R.
        bx, br: (G*H,), added to W x and to R h.
        p: (P, H), the per-unit extras in the order of the cell's letters; None where P is 0.
        proj: (R, H), projects the cell's h to the h that recurs and is returned.
        norm_x, norm_r: (G*H,), layer norm of W x and of R h, each over all its gates together (Ba et al.
            2016, arXiv 1607.06450, equations 20 to 22); the biases `bx` and `br` follow the norm.
        norm_c, norm_c_bias: (H,), layer norm of the new c where it enters h; the c carried on stays raw.
        x_scale, r_scale: (G*H,) float32, the scale of each row of x and r, which are int8 then; their
            products are with activations that are rounded to int8 (`reference.rounded_linear`).
    """

    x: Tensor
    r: Tensor | None = None
    bx: Tensor | None = None
    br: Tensor | None = None
    p: Tensor | None = None
    proj: Tensor | None = None
    norm_x: Tensor | None = None
    norm_r: Tensor | None = None
    norm_c: Tensor | None = None
    norm_c_bias: Tensor | None = None
    x_scale: Tensor | None = None
    r_scale: Tensor | None = None

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the values that the weights are multiplied with."""
        return (self.x if self.x_scale is None else self.x_scale).dtype


@dataclass(frozen=True)
class Zoneout:
    """Zoneout of one state (Krueger et al. 2017, arXiv 1606.01305): units that keep their previous value.

    Args:
        rate: the probability of keeping, 0 to 1.
        mask: (D, T, B, W) uint8, 1 keeps, W as the state's width; None blends previous and new by the rate,
            as in inference.
    """

    rate: float
    mask: Tensor | None = None


@dataclass(frozen=True)
class Job:
    """One layer over a batch of sequences.

    Args:
        cell: the equations.
        x: (T, B, I), any strides.
        state: S tensors in the order of the cell's states, (D, B, R) for h and (D, B, H) for the others.
        weights: one for each direction; the second runs every row from its last step to its first.
        lengths: (B,) int64 on the CPU, 0 to T; at and beyond a row's length nothing happens and out is 0.
        mask: (T, B) bool; where False the state is carried unchanged and the output is the carried h.
        reset: (T, B) bool; where True the row's states become the cell's initial constants before the step,
            in the order of the direction, whether or not the step is masked.
        dropout_mask: (D, B, R), multiplies h wherever R reads it; already scaled by 1 / (1 - rate).
        zoneout: one for each state, or None.
        gates: whether the gates and states of every step are wanted.
    """

    cell: Cell
    x: Tensor
    state: tuple[Tensor, ...]
    weights: tuple[Weights, ...]
    lengths: Tensor | None = None
    mask: Tensor | None = None
    reset: Tensor | None = None
    dropout_mask: Tensor | None = None
    zoneout: tuple[Zoneout | None, ...] | None = None
    gates: bool = False


@dataclass(frozen=True)
class Result:
    """What a backend returns for a job.

    Args:
        out: (T, B, D*R), h of every step, the directions side by side.
        state: the states after each row's last step, shaped as the job's.
        gates: when wanted, for each direction, gate letter -> (B, T, H), 0 at masked and padded steps; and
            state name -> (B, T, H) or for h (B, T, R), as carried at masked and 0 at padded steps. Else None.
    """

    out: Tensor
    state: tuple[Tensor, ...]
    gates: list[dict[str, Tensor]] | None = None


def contradiction(job: Job) -> str | None:
    """Why the weights of a job contradict its cell, in one sentence; None when they do not."""
    return next((reason for w in job.weights if (reason := _contradiction(job.cell, w))), None)


def _contradiction(cell: Cell, weights: Weights) -> str | None:
    if weights.x_scale is not None and (weights.proj is not None or weights.norm_x is not None):
        return (
            "x_scale: expected float weights beside a projection or layer norm, received int8 ones; leave "
            "the layer in float"
        )
    if weights.proj is not None and program(cell).reads_h:
        return (
            f"proj_size: expected a cell that reads h only through R, received {cell.name!r}, whose step "
            "reads h itself; leave the projection out or choose another cell, such as lstm"
        )
    if weights.norm_c is not None and "c" not in cell.states:
        return (
            f"norm_c: expected a cell with a state c, received {cell.name!r} with states {cell.states!r}; "
            "normalise x and r only"
        )
    if (weights.r is None) == cell.recurrent:
        expected, received = ("a matrix", "none") if cell.recurrent else ("no matrix", "one")
        return (
            f"r: expected {expected} R for the cell {cell.name!r}, received {received}; correct the weights"
        )
    return None


def is_int8(job: Job) -> bool:
    """Whether the weights of a job are int8."""
    return job.weights[0].x_scale is not None


def no_training() -> ValueError:
    """The error of a layer with int8 weights that is to be trained."""
    way_out = "train the model before longspan.quantize, and call eval() on the quantized one"
    return errors.value_error("model", "float weights to train", "int8 weights", way_out)
