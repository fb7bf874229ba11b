"""Runs the recurrence in plain torch operations, step by step: the reference that all kernels must equal.

Runs on any device and dtype; autograd, torch.func and second derivatives work through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from longspan.cells import Cell, Values

from .job import Job, Result, Weights, Zoneout, contradiction
from .program import Node, Program, evaluate, program

EPS = 1e-5  # of layer norm, torch's default
INT8_TINY = 1e-30  # activations whose largest magnitude is below it are rounded to zeros, as in csrc/int8.h

States = list[Tensor]


def refuses(job: Job) -> str | None:
    """Why this backend cannot run a job, in one sentence; None when it can."""
    return contradiction(job)


def run(job: Job) -> Result:
    """Run a job.

    Raises:
        ValueError: when the job is refused.
    """
    if reason := refuses(job):
        raise ValueError(f"{reason}.")
    live, active = _step_masks(job)
    directions = [_run_direction(job, d, live, active) for d in range(len(job.weights))]
    out = torch.cat([run.states[0] for run in directions], dim=-1)
    final = tuple(torch.stack(states) for states in zip(*(run.final for run in directions), strict=True))
    if not job.gates:
        return Result(out, final)
    gates = [run.gates | dict(zip(job.cell.states, run.states, strict=True)) for run in directions]
    return Result(out, final, [{k: v.transpose(0, 1) for k, v in by_name.items()} for by_name in gates])


@dataclass
class _Direction:
    """One direction's result: final states (B, W); sequences of states (T, B, W) and of gates (T, B, H)."""

    final: States
    states: States
    gates: dict[str, Tensor]


def _step_masks(job: Job) -> tuple[Tensor | None, Tensor | None]:
    """Which steps are within the lengths, and which change the state: (T, B, 1) bool, None for all."""
    live = active = None
    if job.lengths is not None:
        steps = torch.arange(job.x.shape[0])
        live = active = (steps[:, None] < job.lengths).unsqueeze(-1).to(job.x.device)
    if job.mask is not None:
        mask = job.mask.unsqueeze(-1)
        active = mask if live is None else live & mask
    return live, active


def _run_direction(job: Job, d: int, live: Tensor | None, active: Tensor | None) -> _Direction:
    # x may hold anything at a masked or padded step, NaN too: none of it may reach a value or a gradient.
    x = job.x if active is None else job.x.masked_fill(~active, 0)
    w = job.weights[d]
    step = _Step(job, d, _by_gate(x, w.x, w.x_scale, w.bx, w.norm_x, len(job.cell.gates)))
    state, initial = [s[d] for s in job.state], _initial(job, d)
    steps: list[tuple[States, dict[str, Tensor]]] = []
    backwards, length = d == 1, job.x.shape[0]
    for t in reversed(range(length)) if backwards else range(length):
        if job.reset is not None:
            reset = job.reset[t].unsqueeze(-1) if live is None else job.reset[t].unsqueeze(-1) & live[t]
            state = _where(reset, initial, state)
        new, gates = step(t, state)
        state = new if active is None else _where(active[t], new, state)
        returned = state if live is None else [s.where(live[t], 0) for s in state]
        if active is not None:
            gates = {k: g.where(active[t], 0) for k, g in gates.items()}
        steps.append((returned, gates))
    return _collect(job, d, state, steps[::-1] if backwards else steps)


def _where(condition: Tensor, yes: Sequence[Tensor], no: Sequence[Tensor]) -> States:
    return [torch.where(condition, a, b) for a, b in zip(yes, no, strict=True)]


def _initial(job: Job, d: int) -> States:
    """The constants in which states start, not below what the dtype can hold."""
    lowest = torch.finfo(job.x.dtype).min
    constants = [max(job.cell.initial.get(k, 0.0), lowest) for k in job.cell.states]
    return [torch.full_like(s[d], value) for s, value in zip(job.state, constants, strict=True)]


def _layer_norm(v: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    return F.layer_norm(v, v.shape[-1:], scale, bias, EPS)


def rounded_linear(v: Tensor, w: Tensor, scale: Tensor) -> Tensor:
    """W v of int8 weights, with the values of each row rounded to int8: (..., I) -> (..., G*H), float32.

    The values of a row are rounded to whole multiples of its largest magnitude / 127, ties to even. A row
    with a value that is not finite gives NaN.

    Args:
        v: (..., I); w: (G*H, I) int8; scale: (G*H,), the values of a row of W are scale * w.
    """
    largest = v.abs().amax(-1, keepdim=True)
    # a tensor over it, since PyTorch multiplies a number by the reciprocal, whose last bit may be another
    inverse = torch.where(largest >= INT8_TINY, torch.full_like(largest, 127.0) / largest, 0.0)
    whole = (v * inverse).round().double() @ w.double().T  # exact, as sums of int32 are
    steps = torch.where(largest.isfinite(), largest / 127.0, torch.nan)
    return whole.to(v.dtype) * (scale * steps)


def _by_gate(
    v: Tensor, w: Tensor, scale: Tensor | None, bias: Tensor | None, norm: Tensor | None, gates: int
) -> Tensor:
    """W v + b split by gate, normalised before the bias where there is a norm: (..., I) -> (..., G, H)."""
    if scale is not None:
        product = rounded_linear(v, w, scale) if bias is None else rounded_linear(v, w, scale) + bias
    else:
        product = F.linear(v, w, bias) if norm is None else _layer_norm(F.linear(v, w), norm, bias)
    return product.unflatten(-1, (gates, w.shape[0] // gates))


@dataclass(frozen=True)
class _Step:
    """One step of one direction, as a function of the time and the state."""

    job: Job
    d: int
    x: Tensor  # (T, B, G, H), W x + b

    def __call__(self, t: int, state: Sequence[Tensor]) -> tuple[States, dict[str, Tensor]]:
        """The new states (B, W) and, where wanted, the values of the gates (B, H)."""
        cell, weights = self.job.cell, self.job.weights[self.d]
        letters = {
            "x": dict(zip(cell.gates, self.x[t].unbind(-2), strict=True)),
            "r": self._recurrent(state[0]),
            "s": dict(zip(cell.states, state, strict=True)),
            "p": {} if weights.p is None else dict(zip(cell.params, weights.p, strict=True)),
        }
        new, gates = _equations(cell, letters, weights, self.job.gates)
        if weights.proj is not None:
            new[0] = F.linear(new[0], weights.proj)
        return self._with_zoneout(t, state, new), gates

    def _recurrent(self, h: Tensor) -> dict[str, Tensor]:
        weights, gates = self.job.weights[self.d], self.job.cell.gates
        if weights.r is None:
            return {}
        read = h if self.job.dropout_mask is None else h * self.job.dropout_mask[self.d]
        r = _by_gate(read, weights.r, weights.r_scale, weights.br, weights.norm_r, len(gates))
        return dict(zip(gates, r.unbind(-2), strict=True))

    def _with_zoneout(self, t: int, state: Sequence[Tensor], new: States) -> States:
        by_state = self.job.zoneout or (None,) * len(new)
        return [self._keep(t, z, old, n) for z, old, n in zip(by_state, state, new, strict=True)]

    def _keep(self, t: int, zoneout: Zoneout | None, old: Tensor, new: Tensor) -> Tensor:
        if zoneout is None:
            return new
        if zoneout.mask is None:
            return zoneout.rate * old + (1 - zoneout.rate) * new
        return torch.where(zoneout.mask[self.d, t].bool(), old, new)


def _equations(
    cell: Cell, letters: dict[str, dict[str, Tensor]], weights: Weights, wanted: bool
) -> tuple[States, dict[str, Tensor]]:
    """The cell's new states and, where wanted, its gates; layer norm of c cuts the step in two."""
    if weights.norm_c is None and not wanted:
        return _plain(cell, letters), {}
    code = program(cell, weights.norm_c is not None)
    values = _inputs(code, letters)
    if weights.norm_c is None:
        new = _plain(cell, letters)
    else:
        new = _normed(code, values, weights.norm_c, weights.norm_c_bias)
    if not wanted:
        return new, {}
    gates = evaluate(list(code.gate_values.values()), values)
    return new, dict(zip(code.gate_values, gates, strict=True))


def _plain(cell: Cell, letters: dict[str, dict[str, Tensor]]) -> States:
    return list(cell(*[Values(role, of) for role, of in letters.items()]))


def _inputs(code: Program, letters: dict[str, dict[str, Tensor]]) -> dict[Node, Tensor]:
    nodes = {"x": code.x, "r": code.r, "s": code.s, "p": code.p}
    return {nodes[role][k]: value for role, of in letters.items() for k, value in of.items()}


def _normed(code: Program, values: dict[Node, Tensor], scale: Tensor, bias: Tensor | None) -> States:
    """The new states, h from the normalised c; adds what h is computed from to `values`."""
    assert code.nc is not None
    rest = evaluate(code.outs[1:], values)
    raw = dict(zip(code.cell.states[1:], rest, strict=True))
    values[code.nc] = _layer_norm(raw["c"], scale, bias)
    values.update({node: raw[k] for k, node in code.new.items()})
    return [*evaluate(code.outs[:1], values), *rest]


def _collect(
    job: Job, d: int, final: States, steps: Sequence[tuple[States, dict[str, Tensor]]]
) -> _Direction:
    """The states and gates of all steps, stacked along time; all states only where gates are wanted."""
    count = len(final) if job.gates else 1
    states = [_stack([s[i] for s, _ in steps], final[i]) for i in range(count)]
    shape = job.x.new_zeros(job.x.shape[1], job.weights[d].x.shape[0] // len(job.cell.gates))
    gates = {k: _stack([g[k] for _, g in steps], shape) for k in job.cell.gates} if job.gates else {}
    return _Direction(final, states, gates)


def _stack(values: Sequence[Tensor], like: Tensor) -> Tensor:
    return torch.stack(list(values)) if values else like.new_zeros(0, *like.shape)
