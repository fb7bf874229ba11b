"""Calls the compiled CPU kernels: lays the tensors of a call out in memory and passes their addresses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from longspan import _core
from longspan.cells import Cell

from . import native_cells
from .job import Job, Weights, Zoneout

WEIGHTS = (
    "x", "r", "bx", "br", "p", "proj", "norm_x", "norm_r", "norm_c", "norm_c_bias", "x_scale", "r_scale",
)  # fmt: skip
NORM_X, PROJ = WEIGHTS.index("norm_x"), WEIGHTS.index("proj")

LARGE = 1 << 16  # numbers; larger tensors are allocated from memory that earlier calls gave back
# The functions by which DLPack reads and makes tensors; None before PyTorch 2.10.
EXCHANGE: object = Tensor.__dict__.get("__dlpack_c_exchange_api__")


class CallSpec(NamedTuple):
    """All of a job that is not a tensor.

    rates: of zoneout for each state, -1 where it has none; empty without zoneout.
    time_major: whether the rows (b, t) of the tensors lie in memory as (T, B, ...), else as (B, T, ...).
    """

    cell: Cell
    isa: str
    rates: tuple[float, ...]
    gates: bool
    time_major: bool


class Inputs(NamedTuple):
    """The tensors of a job; weights: for each direction, in the order of WEIGHTS."""

    x: Tensor
    lengths: Tensor | None
    mask: Tensor | None
    reset: Tensor | None
    dropout_mask: Tensor | None
    state: tuple[Tensor, ...]
    zoneout_masks: tuple[Tensor | None, ...]
    weights: tuple[tuple[Tensor | None, ...], ...]

    def flat(self) -> tuple[Tensor | None, ...]:
        """All tensors in one tuple, as autograd takes them."""
        weights = (t for direction in self.weights for t in direction)
        return (*self[:5], *self.state, *self.zoneout_masks, *weights)


class Outputs(NamedTuple):
    """What a forward call returns, in the order of its rows: (T, B, ...), or (B, T, ...) unless time_major.

    out: (T, B, D*R). last: the final states (D, B, W). gates: (D, G+S-1, T, B, H) where wanted, without h.
    saved: (D, n) numbers for the backward call, where wanted. plans: for the backward call too, to be kept by
    the caller.
    """

    out: Tensor
    last: tuple[Tensor, ...]
    gates: Tensor | None
    saved: Tensor | None
    plans: tuple[Any, ...] | None = None


def first_weight_index(spec: CallSpec) -> int:
    """The index in Inputs.flat() at which the weights begin."""
    return 5 + len(spec.cell.states) * (2 if spec.rates else 1)


def unflatten(spec: CallSpec, flat: Sequence[Any]) -> Inputs:
    """The inverse of `Inputs.flat`."""
    z, s, n = first_weight_index(spec), 5 + len(spec.cell.states), len(WEIGHTS)
    weights = tuple(tuple(flat[i : i + n]) for i in range(z, len(flat), n))
    x, lengths, mask, reset, dropout_mask = flat[:5]
    return Inputs(x, lengths, mask, reset, dropout_mask, tuple(flat[5:s]), tuple(flat[s:z]), weights)


def job_of(spec: CallSpec, inputs: Inputs) -> Job:
    """The job that a call was made from."""
    pairs = zip(spec.rates, inputs.zoneout_masks, strict=True)
    zoneout = tuple(None if rate < 0 else Zoneout(rate, mask) for rate, mask in pairs)
    arguments: list[list[Any]] = [[direction[i] for i in _FIELDS] for direction in inputs.weights]
    return Job(
        spec.cell, inputs.x, inputs.state, tuple(Weights(*fields) for fields in arguments), inputs.lengths,
        inputs.mask, inputs.reset, inputs.dropout_mask, zoneout or None, spec.gates,
    )  # fmt: skip


_FIELDS = [WEIGHTS.index(name) for name in Weights.__dataclass_fields__]  # where WEIGHTS has each field


def is_time_major(x: Tensor) -> bool:
    """Whether a (T, B, ...) tensor should be read as it is, rather than as a transposed (B, T, ...) one."""
    return x.is_contiguous() or not x.transpose(0, 1).is_contiguous()


def allocate(like: Tensor, shape: Sequence[int], *, zero: bool) -> Tensor:
    """A tensor of the dtype of `like`; a large one reuses memory of earlier calls: fresh pages are slow."""
    if type(like) is not Tensor or math.prod(shape) < LARGE:
        return like.new_zeros(*shape) if zero else like.new_empty(*shape)  # faster than with a tuple
    buffer = _core.buffer(shape, like.dtype is torch.float64)
    return buffer.zero_() if zero else buffer


def bernoulli_mask(shape: Sequence[int], rate: float) -> Tensor:
    """A uint8 tensor: 1 with probability `rate`, else 0; seeded by PyTorch's CPU generator."""
    mask = torch.empty(shape, dtype=torch.uint8)
    seed = int(torch.empty((), dtype=torch.int64).random_())
    _core.draw(mask.data_ptr(), mask.numel(), rate, seed)
    return mask


class RowLayout(NamedTuple):
    """How the rows (b, t) of every tensor of a call follow each other."""

    T: int
    B: int
    time_major: bool

    @property
    def leading(self) -> tuple[int, int]:
        """The first two dimensions of the rows."""
        return (self.T, self.B) if self.time_major else (self.B, self.T)

    def to_rows(self, tensor: Tensor) -> Tensor:
        """(T, B, ...) -> contiguous, in the order of the rows; no copy where it already is."""
        return tensor.contiguous() if self.time_major else tensor.transpose(0, 1).contiguous()

    def from_rows(self, rows: Tensor) -> Tensor:
        """The inverse of `to_rows`, a view."""
        return rows if self.time_major else rows.transpose(0, 1)

    def new(self, like: Tensor, *tail: int, zero: bool) -> Tensor:
        """Rows of numbers like those of `like`, 0 or without a value."""
        return allocate(like, (*self.leading, *tail), zero=zero)


class PreparedCall(NamedTuple):
    """What the forward and the backward call of one layer have in common."""

    kernels: Any
    layout: RowLayout
    plans: tuple[Any, ...]
    sizes: tuple[int, ...]  # I, H, R, T * B
    zoneout_masks: Sequence[Tensor | None]

    @property
    def D(self) -> int:
        return len(self.plans)

    def tensors(
        self,
        inputs: Inputs,
        out: Tensor,
        gates: Tensor | None,
        saved: Tensor | None,
        last: Sequence[Tensor | None],
    ) -> list[Tensor | None]:
        """The tensors of both calls, in the order of csrc/bind.cpp."""
        x = self.layout.to_rows(inputs.x)
        tensors = [x, out, inputs.dropout_mask, gates, saved, *inputs.state, *last, *self.zoneout_masks]
        for weights in inputs.weights:
            tensors += weights
        return tensors

    def run(self, verb: Any, tensors: Sequence[Tensor | None], rates: tuple[float, ...]) -> None:
        verb(self.plans, tuple(tensors), *self.sizes, torch.get_num_threads(), rates)


@lru_cache(maxsize=256)
def _kernels(isa: str, f64: bool, address: int) -> Any:
    return _core.Kernels(EXCHANGE, isa, f64, address)


def plans_of(inputs: Inputs, layout: RowLayout) -> tuple[Any, ...]:
    """Which steps each row takes, for each direction."""
    T, B, time_major = layout
    D = len(inputs.weights)
    if inputs.lengths is None and inputs.mask is None and inputs.reset is None:
        return _full_plans(T, B, D, time_major)
    lengths = None if inputs.lengths is None else inputs.lengths.contiguous()
    address = 0 if lengths is None else lengths.data_ptr()
    flags = [*_address_and_strides(inputs.mask), *_address_and_strides(inputs.reset)]
    return tuple([_core.plan(T, B, address, *flags, d > 0, time_major) for d in range(D)])


def _address_and_strides(flags: Tensor | None) -> tuple[int, ...]:
    return (0, 0, 0) if flags is None else (flags.data_ptr(), *flags.stride())


@lru_cache(maxsize=32)
def _full_plans(T: int, B: int, D: int, time_major: bool) -> tuple[Any, ...]:
    return tuple([_core.plan(T, B, 0, 0, 0, 0, 0, 0, 0, d > 0, time_major) for d in range(D)])


def prepare(spec: CallSpec, inputs: Inputs, plans: tuple[Any, ...] | None = None) -> PreparedCall:
    """What a forward or backward call of these inputs needs; plans: of an earlier call, if they were kept."""
    x, masks, state = inputs.x, inputs.zoneout_masks, inputs.state
    T, B, I = x.shape
    layout = RowLayout(T, B, spec.time_major)
    if not spec.time_major:
        masks = [m if m is None else m.transpose(1, 2) for m in masks]
    H, R = hidden_size(spec, inputs), state[0].shape[2]
    kernels = _kernels(spec.isa, x.dtype is torch.float64, native_cells.address_of(spec.cell, spec.isa))
    plans = plans or plans_of(inputs, layout)
    return PreparedCall(kernels, layout, plans, (I, H, R, T * B), masks or (None,) * len(state))


def hidden_size(spec: CallSpec, inputs: Inputs) -> int:
    """H, from the rows of W."""
    weight = inputs.weights[0][0]
    assert weight is not None
    return weight.shape[0] // len(spec.cell.gates)


def saved_per_row(spec: CallSpec, inputs: Inputs, H: int) -> int:
    """How many numbers one direction saves for the backward call, for each of T*B rows at most."""
    w, x, R = inputs.weights[0], inputs.x, inputs.state[0].shape[2]
    norm, proj, zoneout = w[NORM_X] is not None, w[PROJ] is not None, bool(spec.rates)
    kernels = _kernels(spec.isa, x.dtype is torch.float64, native_cells.address_of(spec.cell, spec.isa))
    return kernels.saved_per_row(int(x.shape[2]), int(H), int(R), norm, proj, zoneout)


def forward(spec: CallSpec, inputs: Inputs, save: bool) -> Outputs:
    """Run the layer over its sequences."""
    c, x = prepare(spec, inputs), inputs.x
    layout, (_, H, R, rows), ragged = c.layout, c.sizes, inputs.lengths is not None
    out = layout.new(x, c.D * R, zero=ragged)
    last = [_empty(s) for s in inputs.state]
    saved = gates = None
    if save:
        saved = allocate(x, (c.D, rows * saved_per_row(spec, inputs, H)), zero=False)
    if spec.gates:
        shape = (c.D, returned_gates(spec.cell), *layout.leading, H)
        gates = allocate(x, shape, zero=ragged or inputs.mask is not None)
    c.run(c.kernels.forward, c.tensors(inputs, out, gates, saved, last), spec.rates)
    return Outputs(out, tuple(last), gates, saved, c.plans)


def returned_gates(cell: Cell) -> int:
    """How many gates and states a call returns where they are wanted, without h."""
    return len(cell.gates) + len(cell.states) - 1


def backward(
    spec: CallSpec,
    inputs: Inputs,
    out: Tensor,
    saved: Tensor,
    dout: Tensor | None,
    dlast: Sequence[Tensor | None],
    wanted: Sequence[bool],
    plans: tuple[Any, ...] | None = None,
) -> list[Tensor | None]:
    """The gradients of Inputs.flat(), in its order; None where not wanted or where there is no tensor.

    out, dout: in the order of the rows, as in Outputs. plans: those of the forward call, if they were kept.
    """
    c, x, state = prepare(spec, inputs, plans), inputs.x, inputs.state
    S, z = len(state), first_weight_index(spec)
    skips = inputs.lengths is not None or inputs.mask is not None
    dx = c.layout.new(x, x.shape[2], zero=skips) if wanted[0] else None
    dstate = [_empty(s) if w else None for s, w in zip(state, wanted[5 : 5 + S], strict=True)]
    flat = [w for direction in inputs.weights for w in direction]
    dweights = [None if w is None or not wanted[z + i] else _empty(w) for i, w in enumerate(flat)]
    tensors = c.tensors(inputs, out, None, saved, (None,) * S)
    c.run(c.kernels.backward, [*tensors, dout, dx, *dlast, *dstate, *dweights], spec.rates)
    grads: list[Tensor | None] = [None] * z + dweights
    grads[0] = None if dx is None else c.layout.from_rows(dx)
    grads[5 : 5 + S] = dstate
    return grads


def _empty(like: Tensor) -> Tensor:
    return torch.empty_like(like, memory_format=torch.contiguous_format)
