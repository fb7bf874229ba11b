"""Knows how the tensors of one call are laid out for the compiled drivers and handed to them as addresses."""

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
from .job import Job, Weights, Zone

WEIGHTS = ("x", "r", "bx", "br", "p", "proj", "norm_x", "norm_r", "norm_c", "norm_c_bias")
NORM_X, PROJ = WEIGHTS.index("norm_x"), WEIGHTS.index("proj")

Maybe = Tensor | None
LARGE = 1 << 16  # numbers
# How DLPack's protocol lets others look at tensors and make them; None before PyTorch 2.10.
EXCHANGE: object = Tensor.__dict__.get("__dlpack_c_exchange_api__")


class Spec(NamedTuple):
    """All of a job that is not a tensor.

    rates: of zoneout by state, -1 where there is none; empty without zoneout. time_major: whether the rows
    (b, t) of the call's tensors lie as (T, B, ...), else as (B, T, ...).
    """

    cell: Cell
    isa: str
    rates: tuple[float, ...]
    gates: bool
    time_major: bool


class Given(NamedTuple):
    """The tensors of a job; weights: for each direction, in the order of WEIGHTS."""

    x: Tensor
    lengths: Maybe
    mask: Maybe
    reset: Maybe
    drop: Maybe
    state: tuple[Tensor, ...]
    zone: tuple[Maybe, ...]
    weights: tuple[tuple[Maybe, ...], ...]

    def flat(self) -> tuple[Maybe, ...]:
        """All of them in one row, as autograd takes them."""
        return (*self[:5], *self.state, *self.zone, *(t for one in self.weights for t in one))


class Found(NamedTuple):
    """What a forward call gives, in the order of its rows: (T, B, ...), or (B, T, ...) unless time_major.

    out: (T, B, D*R); last: the final states (D, B, W); gates: (D, G+S-1, T, B, H) where wanted, h left out;
    saved: (D, n) numbers for the backward call where wanted; plans: for it too, where the caller keeps them.
    """

    out: Tensor
    last: tuple[Tensor, ...]
    gates: Maybe
    saved: Maybe
    plans: tuple[Any, ...] | None = None


def first_weight(spec: Spec) -> int:
    """The place in Given.flat() at which the weights begin."""
    return 5 + len(spec.cell.states) * (2 if spec.rates else 1)


def apart(spec: Spec, flat: Sequence[Any]) -> Given:
    """Given, from what `flat` made of it."""
    z, s, n = first_weight(spec), 5 + len(spec.cell.states), len(WEIGHTS)
    weights = tuple(tuple(flat[i : i + n]) for i in range(z, len(flat), n))
    x, lengths, mask, reset, drop = flat[:5]
    return Given(x, lengths, mask, reset, drop, tuple(flat[5:s]), tuple(flat[s:z]), weights)


def job_of(spec: Spec, given: Given) -> Job:
    """The job that a call was made from."""
    zone = [None if rate < 0 else Zone(rate, mask) for rate, mask in zip(spec.rates, given.zone, strict=True)]
    fields: list[list[Any]] = [[one[at] for at in _FIELDS] for one in given.weights]
    weights = tuple(Weights(*one) for one in fields)
    return Job(
        spec.cell, given.x, given.state, weights, given.lengths, given.mask, given.reset, given.drop,
        tuple(zone) if zone else None, spec.gates,
    )  # fmt: skip


_FIELDS = [WEIGHTS.index(name) for name in Weights.__dataclass_fields__]


def in_time_order(x: Tensor) -> bool:
    """Whether a (T, B, ...) tensor should be read as it is, rather than as a transposed (B, T, ...) one."""
    return x.is_contiguous() or not x.transpose(0, 1).is_contiguous()


def new(like: Tensor, shape: Sequence[int], *, zero: bool) -> Tensor:
    """A tensor like `like`; a large one in memory that an earlier call gave back, as fresh pages are slow."""
    if type(like) is not Tensor or math.prod(shape) < LARGE:
        return like.new_zeros(*shape) if zero else like.new_empty(*shape)  # quicker so than as a tuple
    found = _core.buffer(shape, like.dtype is torch.float64)
    return found.zero_() if zero else found


def draw(shape: Sequence[int], rate: float) -> Tensor:
    """A uint8 tensor, 1 with probability `rate`, else 0; its seed comes from PyTorch's CPU generator."""
    mask = torch.empty(shape, dtype=torch.uint8)
    seed = int(torch.empty((), dtype=torch.int64).random_())
    _core.draw(mask.data_ptr(), mask.numel(), rate, seed)
    return mask


class Layout(NamedTuple):
    """How the rows (b, t) of every tensor of a call follow each other."""

    T: int
    B: int
    time_major: bool

    def rows(self, tensor: Tensor) -> Tensor:
        """(T, B, ...) -> contiguous, in the order of the rows; no copy where it already is."""
        return tensor.contiguous() if self.time_major else tensor.transpose(0, 1).contiguous()

    def back(self, rows: Tensor) -> Tensor:
        """The inverse of `rows`, a view."""
        return rows if self.time_major else rows.transpose(0, 1)

    def new(self, like: Tensor, *tail: int, zero: bool) -> Tensor:
        """Rows of numbers like those of `like`, 0 or without a value."""
        shape = (self.T, self.B, *tail) if self.time_major else (self.B, self.T, *tail)
        return new(like, shape, zero=zero)


class _Call(NamedTuple):
    """What the two calls of one layer have in common."""

    kernels: Any
    layout: Layout
    plans: tuple[Any, ...]
    sizes: tuple[int, ...]  # I, H, R, T * B
    zone: Sequence[Maybe]

    @property
    def D(self) -> int:
        return len(self.plans)

    def tensors(
        self, given: Given, out: Tensor, gates: Maybe, saved: Maybe, last: Sequence[Maybe]
    ) -> list[Maybe]:
        """What both calls read and what the forward call writes, in the order of csrc/bind.cpp."""
        x = self.layout.rows(given.x)
        found = [x, out, given.drop, gates, saved, *given.state, *last, *self.zone]
        for one in given.weights:
            found += one
        return found

    def run(self, verb: Any, tensors: Sequence[Maybe], rates: tuple[float, ...]) -> None:
        verb(self.plans, tuple(tensors), *self.sizes, torch.get_num_threads(), rates)


@lru_cache(maxsize=256)
def _kernels(isa: str, f64: bool, entry: int) -> Any:
    return _core.Kernels(EXCHANGE, isa, f64, entry)


def _plans(g: Given, layout: Layout) -> tuple[Any, ...]:
    """Which steps each row takes, for each direction."""
    T, B, time_major = layout
    D = len(g.weights)
    if g.lengths is None and g.mask is None and g.reset is None:
        return _whole_plans(T, B, D, time_major)
    lengths = None if g.lengths is None else g.lengths.contiguous()
    flags = [a for f in (g.mask, g.reset) for a in ((0, 0, 0) if f is None else (f.data_ptr(), *f.stride()))]
    at = 0 if lengths is None else lengths.data_ptr()
    return tuple([_core.plan(T, B, at, *flags, d > 0, time_major) for d in range(D)])


@lru_cache(maxsize=32)
def _whole_plans(T: int, B: int, D: int, time_major: bool) -> tuple[Any, ...]:
    return tuple([_core.plan(T, B, 0, 0, 0, 0, 0, 0, 0, d > 0, time_major) for d in range(D)])


def _call(spec: Spec, g: Given, plans: tuple[Any, ...] | None = None) -> _Call:
    x, zone = g.x, g.zone
    T, B, I = x.shape
    layout = Layout(T, B, spec.time_major)
    if not spec.time_major:
        zone = [z if z is None else z.transpose(1, 2) for z in zone]
    wide = g.weights[0][0]
    assert wide is not None
    H, R = wide.shape[0] // len(spec.cell.gates), g.state[0].shape[2]
    kernels = _kernels(spec.isa, x.dtype is torch.float64, native_cells.entry(spec.cell, spec.isa))
    return _Call(
        kernels, layout, plans or _plans(g, layout), (I, H, R, T * B), zone or (None,) * len(g.state)
    )


def saved_per_row(spec: Spec, given: Given, H: int) -> int:
    """How many numbers one direction keeps for its backward call, for each of T*B rows at most."""
    w, x, R = given.weights[0], given.x, given.state[0].shape[2]
    norm, proj, zoned = w[NORM_X] is not None, w[PROJ] is not None, bool(spec.rates)
    kernels = _kernels(spec.isa, x.dtype is torch.float64, native_cells.entry(spec.cell, spec.isa))
    return kernels.saved_per_row(int(x.shape[2]), int(H), int(R), norm, proj, zoned)


def forward(spec: Spec, given: Given, save: bool) -> Found:
    """Run the layer over its sequences."""
    c, x = _call(spec, given), given.x
    layout, (_, H, R, rows), ragged = c.layout, c.sizes, given.lengths is not None
    out = layout.new(x, c.D * R, zero=ragged)
    last = [_empty(s) for s in given.state]
    saved = gates = None
    if save:
        n = rows * saved_per_row(spec, given, H)
        saved = new(x, (c.D, n), zero=False)
    if spec.gates:
        shape = (c.D, shown(spec.cell), *_first_two(layout), H)
        gates = new(x, shape, zero=ragged or given.mask is not None)
    c.run(c.kernels.forward, c.tensors(given, out, gates, saved, last), spec.rates)
    return Found(out, tuple(last), gates, saved, c.plans)


def _first_two(layout: Layout) -> tuple[int, int]:
    T, B, time_major = layout
    return (T, B) if time_major else (B, T)


def shown(cell: Cell) -> int:
    """How many gates and states a call shows, h left out."""
    return len(cell.gates) + len(cell.states) - 1


def backward(
    spec: Spec,
    given: Given,
    out: Tensor,
    saved: Tensor,
    dout: Maybe,
    dlast: Sequence[Maybe],
    wanted: Sequence[bool],
    plans: tuple[Any, ...] | None = None,
) -> list[Maybe]:
    """The gradients of Given.flat(), in its order; None where not wanted or where there is no tensor.

    out and dout are in the order of the rows, as in Found; plans: as Found has them.
    """
    c, x, state = _call(spec, given, plans), given.x, given.state
    S, z = len(state), first_weight(spec)
    holes = given.lengths is not None or given.mask is not None
    dx = c.layout.new(x, x.shape[2], zero=holes) if wanted[0] else None
    dstate = [_empty(s) if w else None for s, w in zip(state, wanted[5 : 5 + S], strict=True)]
    flat = [w for one in given.weights for w in one]
    dweights = [None if w is None or not wanted[z + i] else _empty(w) for i, w in enumerate(flat)]
    tensors = c.tensors(given, out, None, saved, (None,) * S)
    c.run(c.kernels.backward, [*tensors, dout, dx, *dlast, *dstate, *dweights], spec.rates)
    grads: list[Maybe] = [None] * z + dweights
    grads[0] = None if dx is None else c.layout.back(dx)
    grads[5 : 5 + S] = dstate
    return grads


def _empty(like: Tensor) -> Tensor:
    return torch.empty_like(like, memory_format=torch.contiguous_format)
