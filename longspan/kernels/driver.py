"""Knows how the tensors of one call are laid out for the compiled drivers and handed to them as addresses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from longspan import _core
from longspan.cells import Cell

from . import compiled
from .job import Job, Weights, Zone

WEIGHTS = ("x", "r", "bx", "br", "p", "proj", "norm_x", "norm_r", "norm_c", "norm_c_bias")
NORM_X, PROJ = WEIGHTS.index("norm_x"), WEIGHTS.index("proj")

Maybe = Tensor | None
LARGE = 1 << 16  # numbers
OUT = 1 + len(WEIGHTS) + 1  # the place of out among the addresses: after x, the weights and drop


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
    saved: (D, n) numbers for the backward call where wanted.
    """

    out: Tensor
    last: tuple[Tensor, ...]
    gates: Maybe
    saved: Maybe


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
    if type(like) is not Tensor or (n := math.prod(shape)) < LARGE:
        return like.new_zeros(*shape) if zero else like.new_empty(*shape)  # quicker so than as a tuple
    # .data, since autograd lets nobody change the outputs of a function in place that are views
    found = _core.buffer(n, like.dtype is torch.float64).view(shape).data
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
    """One call's contiguous tensors; they must outlive the addresses taken of them."""

    spec: Spec
    given: Given
    layout: Layout
    x: Tensor
    drop: Maybe
    state: Sequence[Tensor]
    zone: Sequence[Maybe]
    weights: Sequence[Sequence[Maybe]]
    entry: int
    H: int
    R: int

    def plan(self, backwards: bool) -> Any:
        """Which steps each row takes."""
        g, (T, B, time_major) = self.given, self.layout
        if g.lengths is None and g.mask is None and g.reset is None:
            return _whole_plan(T, B, backwards, time_major)
        lengths = None if g.lengths is None else g.lengths.contiguous()
        flags = [
            a for f in (g.mask, g.reset) for a in ((0, 0, 0) if f is None else (f.data_ptr(), *f.stride()))
        ]
        return _core.plan(T, B, 0 if lengths is None else lengths.data_ptr(), *flags, backwards, time_major)

    def run(self, verb: Any, d: int, addresses: list[int]) -> None:
        """Run direction d of the forward or the backward call."""
        D, x = len(self.weights), self.x
        sizes = [x.shape[2], self.H, self.R, D * self.R, self.layout.T * self.layout.B]
        sizes += [torch.get_num_threads(), int(d > 0)]
        spec = self.spec
        verb(spec.isa, x.dtype is torch.float64, self.entry, self.plan(d == 1), sizes, addresses, spec.rates)

    def addresses(self, d: int, out: Tensor, gates: Maybe, saved: Maybe, last: Sequence[Maybe]) -> list[int]:
        """Of what both calls read and of what the forward call writes, in the drivers' order."""
        zone = self.zone or (None,) * len(self.state)
        by_direction = self.drop, gates, saved, *self.state, *last, *zone
        found = [*_at(0, (self.x, *self.weights[d])), *_at(d, by_direction)]
        found.insert(OUT, out.data_ptr() + d * self.R * out.element_size())
        return found


@lru_cache(maxsize=32)
def _whole_plan(T: int, B: int, backwards: bool, time_major: bool) -> Any:
    return _core.plan(T, B, 0, 0, 0, 0, 0, 0, 0, backwards, time_major)


def _at(d: int, tensors: Iterable[Maybe]) -> list[int]:
    """The addresses of contiguous tensors' parts d along their first dimension."""
    if d == 0:
        return [0 if t is None else t.data_ptr() for t in tensors]
    return [0 if t is None else t.data_ptr() + d * t.stride(0) * t.element_size() for t in tensors]


def _whole(tensors: Iterable[Maybe]) -> list[Any]:
    return [t if t is None or t.is_contiguous() else t.contiguous() for t in tensors]


def _call(spec: Spec, g: Given) -> _Call:
    x, weights = g.x, [_whole(one) for one in g.weights]
    layout = Layout(x.shape[0], x.shape[1], spec.time_major)
    by_row = [z if z is None or spec.time_major else z.transpose(1, 2) for z in g.zone]
    H = weights[0][0].shape[0] // len(spec.cell.gates)
    drop, *state = _whole((g.drop, *g.state))
    entry, R = compiled.entry(spec.cell, spec.isa), state[0].shape[2]
    return _Call(spec, g, layout, layout.rows(x), drop, state, _whole(by_row), weights, entry, H, R)


def saved_per_row(spec: Spec, given: Given, H: int) -> int:
    """How many numbers one direction keeps for its backward call, for each of T*B rows at most."""
    w, x, R = given.weights[0], given.x, given.state[0].shape[2]
    norm, proj, zoned = w[NORM_X] is not None, w[PROJ] is not None, bool(spec.rates)
    entry, f64 = compiled.entry(spec.cell, spec.isa), x.dtype is torch.float64
    return _core.saved_per_row(spec.isa, f64, entry, int(x.shape[2]), int(H), int(R), norm, proj, zoned)


def forward(spec: Spec, given: Given, save: bool) -> Found:
    """Run the layer over its sequences."""
    c = _call(spec, given)
    layout, D, ragged = c.layout, len(c.weights), given.lengths is not None
    out = layout.new(c.x, D * c.R, zero=ragged)
    last = [torch.empty_like(s) for s in c.state]
    saved = gates = None
    if save:
        n = layout.T * layout.B * saved_per_row(spec, given, c.H)
        saved = _core.buffer(D * n, c.x.dtype is torch.float64).view(D, n)
    if spec.gates:
        gates = _new_gates(c, zero=ragged or given.mask is not None)
    for d in range(D):
        c.run(_core.forward, d, c.addresses(d, out, gates, saved, last))
    return Found(out, tuple(last), gates, saved)


def _new_gates(c: _Call, *, zero: bool) -> Tensor:
    return new(c.x, (len(c.weights), shown(c.spec.cell), *c.x.shape[:2], c.H), zero=zero)


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
) -> list[Maybe]:
    """The gradients of Given.flat(), in its order; None where not wanted or where there is no tensor.

    out and dout are in the order of the rows, as in Found.
    """
    c = _call(spec, given)
    layout, D, S, n, z = c.layout, len(c.weights), len(c.state), len(WEIGHTS), first_weight(spec)
    holes = given.lengths is not None or given.mask is not None
    dx = layout.new(c.x, c.x.shape[2], zero=holes) if wanted[0] else None
    dstate = [torch.empty_like(s) if w else None for s, w in zip(c.state, wanted[5 : 5 + S], strict=True)]
    flat = [w for one in c.weights for w in one]
    dweights = [None if w is None or not wanted[z + i] else torch.empty_like(w) for i, w in enumerate(flat)]
    out, dout, *dlast = _whole((out, dout, *dlast))
    for d in range(D):
        column = 0 if dout is None else dout.data_ptr() + d * c.R * c.x.element_size()
        addresses = c.addresses(d, out, None, saved, (None,) * S)
        addresses += [column, *_at(0, (dx, *dweights[d * n : (d + 1) * n])), *_at(d, (*dlast, *dstate))]
        c.run(_core.backward, d, addresses)
    grads: list[Maybe] = [None] * z + dweights
    grads[0] = None if dx is None else layout.back(dx)
    grads[5 : 5 + S] = dstate
    return grads
