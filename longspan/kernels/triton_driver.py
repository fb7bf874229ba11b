"""Runs a call on the Triton kernels: its memory, its matrix products, its gradients.

The input's part (W x, its bias and norm) is one product over the whole sequence. The recurrence runs on
persistent or per-step kernels, as the route says. The gradients of weights are products over all steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from . import cuda_graphs, gpu_routes
from .cpu_driver import WEIGHTS, CallSpec, Inputs, Outputs, first_weight_index, hidden_size, returned_gates
from .emit_triton import Saved, Variant, saved_for_backward
from .launch import TILE_ROWS, Launch, cdiv, dot_precision, padded, shared_memory, warps
from .reference import EPS
from .triton_source import kernels

ALIGNMENT = 256  # bytes between the starts of saved arrays; vector loads need 16

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
    """One call, before any kernel runs."""

    spec: CallSpec
    inputs: Inputs
    variant: Variant
    sizes: Sizes
    weights: Mapping[str, Sequence[Tensor | None]]  # by name, one for each direction

    @property
    def ragged(self) -> bool:
        """Whether kernels skip the steps beyond a row's length."""
        return self.inputs.lengths is not None

    def zeros(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return self.inputs.x.new_zeros(shape, dtype=dtype)

    def rows(self, *tail: int, zero: bool) -> Tensor:
        """(T, B, D, *tail) in the job's dtype."""
        shape = (*self.sizes[:3], *tail)
        return self.inputs.x.new_zeros(shape) if zero else self.inputs.x.new_empty(shape)

    def stacked(self, name: str) -> Tensor | None:
        """A weight of all directions, (D, ...)."""
        weights = [w for w in self.weights[name] if w is not None]
        if not weights:
            return None
        return weights[0].unsqueeze(0).contiguous() if len(weights) == 1 else torch.stack(weights)


def variant_of(spec: CallSpec, inputs: Inputs, save: bool) -> Variant:
    """What the kernels of a call must do."""
    w = dict(zip(WEIGHTS, inputs.weights[0], strict=True))
    masks = inputs.zoneout_masks or (None,) * len(spec.rates)
    zoneout = tuple(
        "" if rate < 0 else "rate" if m is None else "mask" for rate, m in zip(spec.rates, masks, strict=True)
    )
    marks = inputs.lengths is not None or inputs.mask is not None or inputs.reset is not None
    return Variant(
        half=inputs.x.dtype is torch.bfloat16,
        marks=marks,
        dropout=inputs.dropout_mask is not None and spec.cell.recurrent,
        zoneout=zoneout,
        norm_r=w["norm_r"] is not None,
        norm_c=w["norm_c"] is not None,
        proj=w["proj"] is not None,
        gates=spec.gates,
        save=save,
    )


def _call(spec: CallSpec, inputs: Inputs, save: bool) -> _Call:
    T, B, I = inputs.x.shape
    by_name = {name: [direction[i] for direction in inputs.weights] for i, name in enumerate(WEIGHTS)}
    H, R = hidden_size(spec, inputs), inputs.state[0].shape[2]
    return _Call(
        spec, inputs, variant_of(spec, inputs, save), Sizes(T, B, len(inputs.weights), I, H, R), by_name
    )


class _SavedArray(NamedTuple):
    """An array that the forward call saves for the backward call, in one block of memory with others."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        size = math.prod(self.shape) * self.dtype.itemsize
        return -(-size // ALIGNMENT) * ALIGNMENT


def _saved_arrays(c: _Call) -> list[_SavedArray]:
    T, B, D, _, H, _ = c.sizes
    G, f, rows = len(c.spec.cell.gates), c.inputs.x.dtype, (T, B, D)
    saved: Saved = saved_for_backward(c.spec.cell, c.variant)
    found = [_SavedArray("y", (*rows, saved.values, H), f)] if saved.values else []
    found += [_SavedArray(f"seq_{s}", (*rows, H), torch.float32) for s in saved.sequences]
    found += [_SavedArray(f"raw_{s}", (*rows, H), f if s == "h" else torch.float32) for s in saved.raw]
    if c.variant.norm_r:
        found += [_SavedArray("hats", (*rows, G, H), f), _SavedArray("rstds", rows, torch.float32)]
    if c.weights["norm_x"][0] is not None:
        found.append(_SavedArray("product_x", (*rows, G * H), f))
    if c.variant.marks:
        found += [_SavedArray("lengths", (B,), torch.int64), _SavedArray("marks", (T, B), torch.uint8)]
    return found


def saved_size(spec: CallSpec, inputs: Inputs) -> int:
    """How many bytes a call saves for its backward call."""
    return sum(array.bytes for array in _saved_arrays(_call(spec, inputs, True)))


def _views(memory: Tensor, arrays: Iterable[_SavedArray]) -> Tensors:
    """The arrays in a block of memory, by name."""
    views, start = Tensors(), 0
    for array in arrays:
        size = math.prod(array.shape) * array.dtype.itemsize
        views[array.name] = memory[start : start + size].view(array.dtype).view(array.shape)
        start += array.bytes
    return views


def forward(spec: CallSpec, inputs: Inputs, save: bool) -> Outputs:
    """Run the layer over its sequences."""
    with torch.cuda.device_of(inputs.x):
        return _forward(_call(spec, inputs, save), save)


def _forward(c: _Call, save: bool) -> Outputs:
    spec, inputs = c.spec, c.inputs
    T, B, D, _, H, R = c.sizes
    memory, have = None, Tensors()
    if save:
        arrays = _saved_arrays(c)
        memory = inputs.x.new_empty(sum(array.bytes for array in arrays), dtype=torch.uint8)
        have = _views(memory, arrays)
    if c.variant.marks:
        _mark(c, have)
    have["xg"] = _input_part(c, have)
    have["out"] = c.rows(R, zero=c.ragged)
    if c.ragged:
        for name in have.keys() & {"hats", "raw_h", "raw_c"}:
            have[name].zero_()
    if spec.gates:
        shape = (D, returned_gates(spec.cell), T, B, H)
        have["shown"] = inputs.x.new_zeros(shape) if c.variant.marks else inputs.x.new_empty(shape)
    last = _recur(c, have)
    return Outputs(have["out"].view(T, B, D * R), last, have.get("shown"), memory)


def _mark(c: _Call, have: Tensors) -> None:
    """Sets marks (T, B), bits: 0 within the length, 1 changes the state, 2 reset, 3 the row's last step."""
    g, (T, B) = c.inputs, c.sizes[:2]
    lengths = _save(have, "lengths", _lengths(g.lengths, T, B, g.x.device))
    step = torch.arange(T, device=g.x.device)[:, None]
    live = step < lengths
    active = live if g.mask is None else live & g.mask
    fresh = torch.zeros_like(live) if g.reset is None else live & g.reset
    code = live.to(torch.uint8) + active * 2 + fresh * 4 + (step == lengths - 1) * 8
    _save(have, "marks", code.to(torch.uint8))


def _lengths(lengths: Tensor | None, T: int, B: int, device: torch.device) -> Tensor:
    """The lengths on the device; a graph that the caller captures keeps their present values."""
    if lengths is None:
        return torch.full((B,), T, device=device)
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        # copies from the host cannot be captured, numbers of kernels can
        return torch.stack([torch.full((), n, device=device) for n in lengths.tolist()])
    return lengths.to(device, non_blocking=True)


def _save(have: Tensors, name: str, value: Tensor) -> Tensor:
    """The value, copied into the memory for the backward call where there is some."""
    have[name] = have[name].copy_(value) if name in have else value
    return have[name]


def _input_part(c: _Call, have: Tensors) -> Tensor:
    """W x + b, normalised where the layer does: (T, B, D*G*H)."""
    matrix, bias, norm = _concatenated(c.weights["x"]), _concatenated(c.weights["bx"]), c.weights["norm_x"]
    assert matrix is not None
    x = _valid_x(c, have)
    if norm[0] is None:
        return F.linear(x, matrix, bias)
    product = F.linear(x, matrix)
    if "product_x" in have:
        have["product_x"].view_as(product).copy_(product)
    parts = product.unflatten(-1, (c.sizes.D, -1)).unbind(2)
    normalised = [
        F.layer_norm(v, v.shape[-1:], w, b, EPS) for v, w, b in zip(parts, norm, c.weights["bx"], strict=True)
    ]
    return torch.cat(normalised, -1) if len(normalised) > 1 else normalised[0]


def _valid_x(c: _Call, have: Mapping[str, Tensor]) -> Tensor:
    """x, 0 at masked and padded steps, where it may hold anything, NaN too."""
    x = c.inputs.x.contiguous()
    return x.masked_fill((have["marks"] & 2).unsqueeze(-1) == 0, 0) if c.variant.marks else x


def _concatenated(by_direction: Sequence[Tensor | None]) -> Tensor | None:
    """A weight of both directions below each other; None where the layer has none."""
    weights = [w for w in by_direction if w is not None]
    return None if not weights else weights[0] if len(weights) == 1 else torch.cat(weights)


def _is_persistent(c: _Call) -> bool:
    memory = shared_memory(c.inputs.x.device)
    return gpu_routes.is_persistent(c.spec.cell, c.variant, c.sizes.H, c.sizes.R, memory)


def _kernel_inputs(c: _Call) -> dict[str, Any]:
    """What the kernels read besides sequences: weights, rates, the zoneout masks, the first states."""
    g, (_, _, D, _, H, _) = c.inputs, c.sizes
    have: dict[str, Any] = {
        name: c.stacked(name) for name in ("r", "br", "p", "proj", "norm_r", "norm_c", "norm_c_bias")
    }
    shapes = {"br": (D, len(c.spec.cell.gates) * H), "norm_c_bias": (D, H)}
    have |= {name: c.zeros(*shape, dtype=g.x.dtype) for name, shape in shapes.items() if have[name] is None}
    have["drop"] = None if g.dropout_mask is None else g.dropout_mask.contiguous()
    letters = c.spec.cell.states
    have |= {f"s0_{s}": t.contiguous() for s, t in zip(letters, g.state, strict=True)}
    have |= {f"rate_{s}": rate for s, rate in zip(letters, c.spec.rates, strict=False)}
    have |= {
        f"zone_{s}": _aligned(z) for s, z in zip(letters, g.zoneout_masks, strict=False) if z is not None
    }
    return have


def _aligned(t: Tensor) -> Tensor:
    """Contiguous, at an address that vector loads can take."""
    t = t.contiguous()
    return t.clone() if t.data_ptr() % 16 else t


def _recur(c: _Call, have: Tensors) -> tuple[Tensor, ...]:
    """Run the recurrence; the final states."""
    module = kernels(c.spec.cell, c.variant)
    arguments: dict[str, Any] = {**_kernel_inputs(c), **have}
    if not (c.sizes.T and c.sizes.B):
        return tuple(s.clone() for s in c.inputs.state)
    if not _is_persistent(c):
        return cuda_graphs.forward(module, c.spec.cell, c.variant, c.sizes, arguments)
    last = [torch.empty_like(s, memory_format=torch.contiguous_format) for s in c.inputs.state]
    arguments |= {f"last_{s}": t for s, t in zip(c.spec.cell.states, last, strict=True)}
    _launch(c, module.forward, arguments)
    return tuple(last)


def _launch(c: _Call, kernel: Any, have: dict[str, Any]) -> None:
    """One launch for the whole sequence: programs by rows, direction and, where independent, columns."""
    T, B, D, _, H, R = c.sizes
    independent = gpu_routes.independent_columns(c.spec.cell, c.variant)
    HP = min(padded(H), 128) if independent else padded(H)
    numbers = {"T": T, "B": B, "D": D, "H": H, "R": R, "HP": HP, "RP": padded(R), "BB": TILE_ROWS}
    half = c.variant.half
    grid = (cdiv(B, TILE_ROWS), D, cdiv(H, HP))
    Launch(kernel, grid, warps(HP, half))({**have, **numbers, **dot_precision(half, c.inputs.x.device)})


def backward(
    spec: CallSpec,
    inputs: Inputs,
    out: Tensor,
    saved: Tensor,
    dout: Tensor | None,
    dlast: Sequence[Tensor | None],
    wanted: Sequence[bool],
    plans: None = None,
) -> list[Tensor | None]:
    """The gradients of Inputs.flat(), in its order; None where not wanted or where there is no tensor."""
    with torch.cuda.device_of(inputs.x):
        grads = _backward(_call(spec, inputs, True), out, saved, dout, dlast, wanted[0])
    return [g if w and t is not None else None for g, w, t in zip(grads, wanted, inputs.flat(), strict=True)]


def _backward(
    c: _Call, out: Tensor, saved: Tensor, dout: Tensor | None, dlast: Sequence[Tensor | None], with_x: bool
) -> list[Tensor | None]:
    spec, inputs = c.spec, c.inputs
    have = _views(saved, _saved_arrays(c))
    have |= {"out": _aligned(out), "dout": torch.zeros_like(out) if dout is None else _aligned(dout)}
    have |= _backward_outputs(c)
    dstate = [
        c.zeros(*s.shape) if g is None else g.to(torch.float32, copy=True)
        for s, g in zip(inputs.state, dlast, strict=True)
    ]
    dstate = [s.contiguous() for s in dstate]
    have |= {f"de_{s}": t for s, t in zip(spec.cell.states, dstate, strict=True)}
    _recur_backward(c, have)
    z, S = first_weight_index(spec), len(inputs.state)
    grads: list[Tensor | None] = [None] * len(inputs.flat())
    grads[5 : 5 + S] = [g.to(s.dtype) for g, s in zip(dstate, inputs.state, strict=True)]
    grads[0], by_direction = _weight_gradients(c, have, with_x)
    grads[z:] = [by_name.get(name) for by_name in by_direction for name in WEIGHTS]
    return grads


def _backward_outputs(c: _Call) -> Tensors:
    """Memory for the arrays over time and the sums that the backward kernels write."""
    _, B, D, _, H, R = c.sizes
    G, P = len(c.spec.cell.gates), len(c.spec.cell.params)
    shapes = {"dx": (G, H), "dr": (G, H), "dm": (G, H), "read": (R,), "dproj": (R,)}
    written = {
        "dr": _separate_dr(c),
        "dm": c.variant.norm_r,
        "read": c.spec.cell.recurrent,
        "dproj": c.variant.proj,
    }
    names = ["dx", *(name for name, needed in written.items() if needed)]
    outputs = {name: c.rows(*shapes[name], zero=c.ragged) for name in names}
    sums = {name: c.zeros(D, B, H) for name in ("sum_norm_c", "sum_norm_c_bias")}
    return outputs | sums | {"sum_p": c.zeros(P, D, B, H)}


def _recur_backward(c: _Call, have: Tensors) -> None:
    module = kernels(c.spec.cell, c.variant)
    arguments: dict[str, Any] = {**_kernel_inputs(c), **have}
    if not (c.sizes.T and c.sizes.B):
        return
    if _is_persistent(c):
        _launch(c, module.backward, arguments)
    else:
        cuda_graphs.backward(module, c.spec.cell, c.variant, c.sizes, arguments)


def _weight_gradients(c: _Call, have: Tensors, with_x: bool) -> tuple[Tensor | None, list[dict[str, Tensor]]]:
    """dx, and the gradients by name of each direction's weights: products and sums over all rows."""
    T, B, D, I, H, R = c.sizes
    rows, GH = T * B, len(c.spec.cell.gates) * H
    grads: list[dict[str, Tensor]] = [{} for _ in range(D)]
    dx = have["dx"].view(rows, D, GH)
    # where the two are equal, the kernels write dx alone
    dr = have["dr"].view(rows, D, GH) if _separate_dr(c) else dx
    dm = have["dm"].view(rows, D, GH) if c.variant.norm_r else dr
    x = _valid_x(c, have).view(rows, I)
    products = _through_norm_x(c, have, dx, grads)
    dmatrix = products.t() @ x
    for d, by_name in enumerate(grads):
        by_name["x"] = dmatrix.view(D, GH, I)[d]
        if c.spec.cell.recurrent:
            by_name["r"] = dm[:, d].t() @ have["read"].view(rows, D, R)[:, d]
            by_name["br"] = dr[:, d].sum(0) if _separate_dr(c) else by_name["bx"].clone()
        if c.variant.norm_r:
            by_name["norm_r"] = (dr[:, d].float() * have["hats"].view(rows, D, GH)[:, d]).sum(0).to(x.dtype)
        if c.variant.proj:
            by_name["proj"] = have["dproj"].view(rows, D, R)[:, d].t() @ have["raw_h"].view(rows, D, H)[:, d]
        if c.variant.norm_c:
            by_name |= {name: have[f"sum_{name}"][d].sum(0).to(x.dtype) for name in ("norm_c", "norm_c_bias")}
        if c.spec.cell.params:
            by_name["p"] = have["sum_p"][:, d].sum(1).to(x.dtype)
    if not with_x:
        return None, grads
    matrix = _concatenated(c.weights["x"])
    assert matrix is not None
    return (products @ matrix).view(T, B, I), grads


def _separate_dr(c: _Call) -> bool:
    """Whether the gradients dr of R h differ from those of W x."""
    return c.spec.cell.recurrent and not gpu_routes.shared_gradient(c.spec.cell, c.variant)


def _through_norm_x(c: _Call, have: Tensors, dx: Tensor, grads: list[dict[str, Tensor]]) -> Tensor:
    """The gradients of the products W x, (T*B, D*G*H); adds those of bias and norm to `grads`."""
    if "product_x" not in have:
        for d, by_name in enumerate(grads):
            by_name["bx"] = dx[:, d].sum(0)
        return dx.flatten(1)
    parts, product = list[Tensor](), have["product_x"].view_as(dx)
    for d, by_name in enumerate(grads):
        norm, bias = c.weights["norm_x"][d], c.weights["bx"][d]
        assert norm is not None
        leaves = [t.detach().requires_grad_() for t in (product[:, d], norm, norm if bias is None else bias)]
        with torch.enable_grad():
            out = F.layer_norm(leaves[0], leaves[0].shape[-1:], leaves[1], leaves[2], EPS)
        part, by_name["norm_x"], by_name["bx"] = torch.autograd.grad(out, leaves, dx[:, d])
        parts.append(part)
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)
