"""Knows how a call becomes launches of the Triton kernels: its memory, its matrix products, its gradients.

The input's part (W x, its bias and norm) is one product over the whole sequence; the recurrence runs in the
form that the route names, "whole" or "steps"; the weights' gradients are products over the whole sequence.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from . import cuda_graphs, gpu_routes
from .cpu_driver import WEIGHTS, Found, Given, Maybe, Spec, first_weight, shown
from .emit_triton import Saved, Variant, saved_for_backward
from .launch import TILE, Launch, cdiv, chip, padded, precision, warps
from .reference import EPS
from .triton_source import kernels

ALIGNED = 256  # bytes; vector loads want 16

Tensors = dict[str, Tensor]


class Sizes(NamedTuple):
    """T steps, B rows, D directions, I inputs, H units, R width of h."""

    T: int
    B: int
    D: int
    I: int
    H: int
    R: int


class _Call(NamedTuple):
    """One call: what is known of it before any kernel runs."""

    spec: Spec
    given: Given
    variant: Variant
    sizes: Sizes
    weights: Mapping[str, Sequence[Maybe]]  # by name, one for each direction

    @property
    def ragged(self) -> bool:
        """Whether steps beyond a row's length are left alone by the kernels."""
        return self.given.lengths is not None

    def zeros(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return self.given.x.new_zeros(shape, dtype=dtype)

    def rows(self, *tail: int, zero: bool) -> Tensor:
        """(T, B, D, *tail) in the job's dtype."""
        shape = (*self.sizes[:3], *tail)
        return self.given.x.new_zeros(shape) if zero else self.given.x.new_empty(shape)

    def stacked(self, name: str) -> Maybe:
        """A weight of all directions, (D, ...)."""
        found = self.weights[name]
        if found[0] is None:
            return None
        return (
            found[0].unsqueeze(0).contiguous()
            if len(found) == 1
            else torch.stack([w for w in found if w is not None])
        )


def variant_of(spec: Spec, given: Given, save: bool) -> Variant:
    """What the kernels of a call must do."""
    w = dict(zip(WEIGHTS, given.weights[0], strict=True))
    masks = given.zone or (None,) * len(spec.rates)
    zone = tuple(
        "" if rate < 0 else "rate" if m is None else "mask" for rate, m in zip(spec.rates, masks, strict=True)
    )
    marks = given.lengths is not None or given.mask is not None or given.reset is not None
    return Variant(
        half=given.x.dtype is torch.bfloat16,
        marks=marks,
        dropout=given.drop is not None and spec.cell.recurrent,
        zoneout=zone,
        norm_r=w["norm_r"] is not None,
        norm_c=w["norm_c"] is not None,
        proj=w["proj"] is not None,
        gates=spec.gates,
        save=save,
    )


def _call(spec: Spec, given: Given, save: bool) -> _Call:
    T, B, I = given.x.shape
    by_name = {name: [one[i] for one in given.weights] for i, name in enumerate(WEIGHTS)}
    wide = given.weights[0][0]
    assert wide is not None
    H, R = wide.shape[0] // len(spec.cell.gates), given.state[0].shape[2]
    return _Call(
        spec, given, variant_of(spec, given, save), Sizes(T, B, len(given.weights), I, H, R), by_name
    )


# ---- what is kept from forward to backward, in one piece of memory ----


class _Piece(NamedTuple):
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def room(self) -> int:
        size = math.prod(self.shape) * self.dtype.itemsize
        return -(-size // ALIGNED) * ALIGNED


def _pieces(c: _Call) -> list[_Piece]:
    T, B, D, _, H, _ = c.sizes
    G, f, rows = len(c.spec.cell.gates), c.given.x.dtype, (T, B, D)
    keep: Saved = saved_for_backward(c.spec.cell, c.variant)
    found = [_Piece("y", (*rows, keep.values, H), f)] if keep.values else []
    found += [_Piece(f"seq_{s}", (*rows, H), torch.float32) for s in keep.sequences]
    found += [_Piece(f"raw_{s}", (*rows, H), f if s == "h" else torch.float32) for s in keep.raw]
    if c.variant.norm_r:
        found += [_Piece("hats", (*rows, G, H), f), _Piece("rstds", rows, torch.float32)]
    if c.weights["norm_x"][0] is not None:
        found.append(_Piece("product_x", (*rows, G * H), f))
    if c.variant.marks:
        found += [_Piece("lengths", (B,), torch.int64), _Piece("marks", (T, B), torch.uint8)]
    return found


def saved_size(spec: Spec, given: Given) -> int:
    """How many bytes a call keeps for its backward call."""
    return sum(piece.room for piece in _pieces(_call(spec, given, True)))


def _views(memory: Tensor, pieces: Iterable[_Piece]) -> Tensors:
    found, at = Tensors(), 0
    for piece in pieces:
        size = math.prod(piece.shape) * piece.dtype.itemsize
        found[piece.name] = memory[at : at + size].view(piece.dtype).view(piece.shape)
        at += piece.room
    return found


# ---- forward ----


def forward(spec: Spec, given: Given, save: bool) -> Found:
    """Run the layer over its sequences."""
    with torch.cuda.device_of(given.x):
        return _forward(_call(spec, given, save), save)


def _forward(c: _Call, save: bool) -> Found:
    spec, given = c.spec, c.given
    T, B, D, _, H, R = c.sizes
    memory, have = None, Tensors()
    if save:
        pieces = _pieces(c)
        memory = given.x.new_empty(sum(p.room for p in pieces), dtype=torch.uint8)
        have = _views(memory, pieces)
    if c.variant.marks:
        _mark(c, have)
    have["xg"] = _of_input(c, have)
    have["out"] = c.rows(R, zero=c.ragged)
    if c.ragged:
        for name in have.keys() & {"hats", "raw_h", "raw_c"}:
            have[name].zero_()
    if spec.gates:
        shape = (D, shown(spec.cell), T, B, H)
        have["shown"] = given.x.new_zeros(shape) if c.variant.marks else given.x.new_empty(shape)
    last = _recur(c, have)
    return Found(have["out"].view(T, B, D * R), last, have.get("shown"), memory)


def _mark(c: _Call, have: Tensors) -> None:
    """marks: bit 0 the step is the row's, 1 it changes the state, 2 it begins afresh, 3 it is the last."""
    g, (T, B) = c.given, c.sizes[:2]
    lengths = _kept(have, "lengths", _lengths(g.lengths, T, B, g.x.device))
    step = torch.arange(T, device=g.x.device)[:, None]
    live = step < lengths
    active = live if g.mask is None else live & g.mask
    fresh = torch.zeros_like(live) if g.reset is None else live & g.reset
    code = live.to(torch.uint8) + active * 2 + fresh * 4 + (step == lengths - 1) * 8
    _kept(have, "marks", code.to(torch.uint8))


def _lengths(lengths: Maybe, T: int, B: int, device: torch.device) -> Tensor:
    """On the device; a graph that the caller captures keeps them as they are now."""
    if lengths is None:
        return torch.full((B,), T, device=device)
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        # copies from the host cannot be captured, numbers of kernels can
        return torch.stack([torch.full((), n, device=device) for n in lengths.tolist()])
    return lengths.to(device, non_blocking=True)


def _kept(have: Tensors, name: str, value: Tensor) -> Tensor:
    """The value, in the memory that is kept for the backward call where there is some."""
    have[name] = have[name].copy_(value) if name in have else value
    return have[name]


def _of_input(c: _Call, have: Tensors) -> Tensor:
    """W x + b, normalised where the layer does: (T, B, D*G*H)."""
    wide, bias, norm = _joined(c.weights["x"]), _joined(c.weights["bx"]), c.weights["norm_x"]
    assert wide is not None
    x = _real(c, have)
    if norm[0] is None:
        return F.linear(x, wide, bias)
    product = F.linear(x, wide)
    if "product_x" in have:
        have["product_x"].view_as(product).copy_(product)
    parts = product.unflatten(-1, (c.sizes.D, -1)).unbind(2)
    found = [
        F.layer_norm(v, v.shape[-1:], w, b, EPS) for v, w, b in zip(parts, norm, c.weights["bx"], strict=True)
    ]
    return torch.cat(found, -1) if len(found) > 1 else found[0]


def _real(c: _Call, have: Mapping[str, Tensor]) -> Tensor:
    """x as it counts: a step that does not happen may hold anything, NaN too."""
    x = c.given.x.contiguous()
    return x.masked_fill((have["marks"] & 2).unsqueeze(-1) == 0, 0) if c.variant.marks else x


def _joined(found: Sequence[Maybe]) -> Maybe:
    """The directions below each other."""
    there = [w for w in found if w is not None]
    return None if not there else there[0] if len(there) == 1 else torch.cat(there)


def _whole(c: _Call) -> bool:
    return gpu_routes.form(c.spec.cell, c.variant, c.sizes.H, c.sizes.R, chip(c.given.x.device)) == "whole"


def _inputs(c: _Call) -> dict[str, Any]:
    """What the kernels read besides sequences: weights, rates, the zoneout masks, the first states."""
    g, (_, _, D, _, H, _) = c.given, c.sizes
    have: dict[str, Any] = {
        name: c.stacked(name) for name in ("r", "br", "p", "proj", "norm_r", "norm_c", "norm_c_bias")
    }
    shapes = {"br": (D, len(c.spec.cell.gates) * H), "norm_c_bias": (D, H)}
    have |= {name: c.zeros(*shape, dtype=g.x.dtype) for name, shape in shapes.items() if have[name] is None}
    have["drop"] = None if g.drop is None else g.drop.contiguous()
    letters = c.spec.cell.states
    have |= {f"s0_{s}": t.contiguous() for s, t in zip(letters, g.state, strict=True)}
    have |= {f"rate_{s}": rate for s, rate in zip(letters, c.spec.rates, strict=False)}
    have |= {f"zone_{s}": _aligned(z) for s, z in zip(letters, g.zone, strict=False) if z is not None}
    return have


def _aligned(t: Tensor) -> Tensor:
    """Contiguous, from an address that vector loads can take."""
    t = t.contiguous()
    return t.clone() if t.data_ptr() % 16 else t


def _recur(c: _Call, have: Tensors) -> tuple[Tensor, ...]:
    """Run the recurrence; the final states."""
    module = kernels(c.spec.cell, c.variant)
    everything: dict[str, Any] = {**_inputs(c), **have}
    if not (c.sizes.T and c.sizes.B):
        return tuple(s.clone() for s in c.given.state)
    if not _whole(c):
        return cuda_graphs.forward(module, c.spec.cell, c.variant, c.sizes, everything)
    last = [torch.empty_like(s, memory_format=torch.contiguous_format) for s in c.given.state]
    everything |= {f"last_{s}": t for s, t in zip(c.spec.cell.states, last, strict=True)}
    _launch(c, module.forward, everything)
    return tuple(last)


def _launch(c: _Call, kernel: Any, have: dict[str, Any]) -> None:
    """One launch for the whole sequence: programs by rows, direction and, where they are free, columns."""
    T, B, D, _, H, R = c.sizes
    alone = gpu_routes.columns_alone(c.spec.cell, c.variant)
    HP = min(padded(H), 128) if alone else padded(H)
    numbers = {"T": T, "B": B, "D": D, "H": H, "R": R, "HP": HP, "RP": padded(R), "BB": TILE}
    half = c.variant.half
    grid = (cdiv(B, TILE), D, cdiv(H, HP))
    Launch(kernel, grid, warps(HP, half))({**have, **numbers, **precision(half, c.given.x.device)})


# ---- backward ----


def backward(
    spec: Spec,
    given: Given,
    out: Tensor,
    saved: Tensor,
    dout: Maybe,
    dlast: Sequence[Maybe],
    wanted: Sequence[bool],
    plans: None = None,
) -> list[Maybe]:
    """The gradients of Given.flat(), in its order; None where not wanted or where there is no tensor."""
    with torch.cuda.device_of(given.x):
        found = _backward(_call(spec, given, True), out, saved, dout, dlast, wanted[0])
    return [g if w and t is not None else None for g, w, t in zip(found, wanted, given.flat(), strict=True)]


def _backward(
    c: _Call, out: Tensor, saved: Tensor, dout: Maybe, dlast: Sequence[Maybe], with_x: bool
) -> list[Maybe]:
    spec, given = c.spec, c.given
    have = _views(saved, _pieces(c))
    have |= {"out": _aligned(out), "dout": torch.zeros_like(out) if dout is None else _aligned(dout)}
    _make_room(c, have)
    dstate = [
        c.zeros(*s.shape) if g is None else g.to(torch.float32, copy=True)
        for s, g in zip(given.state, dlast, strict=True)
    ]
    dstate = [s.contiguous() for s in dstate]
    have |= {f"de_{s}": t for s, t in zip(spec.cell.states, dstate, strict=True)}
    _recur_back(c, have)
    z, S = first_weight(spec), len(given.state)
    found: list[Maybe] = [None] * len(given.flat())
    found[5 : 5 + S] = [g.to(s.dtype) for g, s in zip(dstate, given.state, strict=True)]
    found[0], by_direction = _of_weights(c, have, with_x)
    found[z:] = [one.get(name) for one in by_direction for name in WEIGHTS]
    return found


def _make_room(c: _Call, have: Tensors) -> None:
    """For the sequences and sums that the backward kernels write."""
    _, B, D, _, H, R = c.sizes
    G, P = len(c.spec.cell.gates), len(c.spec.cell.params)
    shapes = {"dx": (G, H), "dr": (G, H), "dm": (G, H), "read": (R,), "dproj": (R,)}
    written = {
        "dr": _apart(c),
        "dm": c.variant.norm_r,
        "read": c.spec.cell.recurrent,
        "dproj": c.variant.proj,
    }
    needed = ["dx", *(name for name, there in written.items() if there)]
    have |= {name: c.rows(*shapes[name], zero=c.ragged) for name in needed}
    have["sum_p"] = c.zeros(P, D, B, H)
    have |= {name: c.zeros(D, B, H) for name in ("sum_norm_c", "sum_norm_c_bias")}


def _recur_back(c: _Call, have: Tensors) -> None:
    module = kernels(c.spec.cell, c.variant)
    everything: dict[str, Any] = {**_inputs(c), **have}
    if not (c.sizes.T and c.sizes.B):
        return
    if _whole(c):
        _launch(c, module.backward, everything)
    else:
        cuda_graphs.backward(module, c.spec.cell, c.variant, c.sizes, everything)


def _of_weights(c: _Call, have: Tensors, with_x: bool) -> tuple[Maybe, list[dict[str, Tensor]]]:
    """dx, and the gradients by name of each direction's weights: products and sums over all rows."""
    T, B, D, I, H, R = c.sizes
    rows, GH = T * B, len(c.spec.cell.gates) * H
    found: list[dict[str, Tensor]] = [{} for _ in range(D)]
    dx = have["dx"].view(rows, D, GH)
    # a program that shares the two writes dx alone
    dr = have["dr"].view(rows, D, GH) if _apart(c) else dx
    dm = have["dm"].view(rows, D, GH) if c.variant.norm_r else dr
    x = _real(c, have).view(rows, I)
    products = _through_norm_x(c, have, dx, found)
    wide = products.t() @ x
    for d, one in enumerate(found):
        one["x"] = wide.view(D, GH, I)[d]
        if c.spec.cell.recurrent:
            one["r"] = dm[:, d].t() @ have["read"].view(rows, D, R)[:, d]
            one["br"] = dr[:, d].sum(0) if _apart(c) else one["bx"].clone()
        if c.variant.norm_r:
            one["norm_r"] = (dr[:, d].float() * have["hats"].view(rows, D, GH)[:, d]).sum(0).to(x.dtype)
        if c.variant.proj:
            one["proj"] = have["dproj"].view(rows, D, R)[:, d].t() @ have["raw_h"].view(rows, D, H)[:, d]
        if c.variant.norm_c:
            one |= {name: have[f"sum_{name}"][d].sum(0).to(x.dtype) for name in ("norm_c", "norm_c_bias")}
        if c.spec.cell.params:
            one["p"] = have["sum_p"][:, d].sum(1).to(x.dtype)
    if not with_x:
        return None, found
    joined = _joined(c.weights["x"])
    assert joined is not None
    return (products @ joined).view(T, B, I), found


def _apart(c: _Call) -> bool:
    """Whether R h has gradients of its own."""
    return c.spec.cell.recurrent and not gpu_routes.shared(c.spec.cell, c.variant)


def _through_norm_x(c: _Call, have: Tensors, dx: Tensor, found: list[dict[str, Tensor]]) -> Tensor:
    """The gradients of the products W x, (T*B, D*G*H); adds those of the bias and of the norm."""
    if "product_x" not in have:
        for d, one in enumerate(found):
            one["bx"] = dx[:, d].sum(0)
        return dx.flatten(1)
    parts, product = list[Tensor](), have["product_x"].view_as(dx)
    for d, one in enumerate(found):
        norm, bias = c.weights["norm_x"][d], c.weights["bx"][d]
        assert norm is not None
        leaves = [t.detach().requires_grad_() for t in (product[:, d], norm, norm if bias is None else bias)]
        with torch.enable_grad():
            out = F.layer_norm(leaves[0], leaves[0].shape[-1:], leaves[1], leaves[2], EPS)
        part, one["norm_x"], one["bx"] = torch.autograd.grad(out, leaves, dx[:, d])
        parts.append(part)
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)
