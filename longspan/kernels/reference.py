"""The recurrence in plain torch operations, one step at a time: the law that every kernel is held to.

Runs on any device and dtype; autograd, torch.func and second derivatives work through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from longspan.cells import Cell, Values

from .job import Job, Result, Weights, Zone, impossible
from .program import Node, Program, evaluate, program

EPS = 1e-5  # of layer norm, torch's default

States = list[Tensor]


def refuses(job: Job) -> str | None:
    """Why this backend cannot run a job, in one sentence; None when it can."""
    return impossible(job)


def run(job: Job) -> Result:
    """Run a job.

    Raises:
        ValueError: when the job is refused.
    """
    if reason := refuses(job):
        raise ValueError(f"{reason}.")
    live, active = _when(job)
    ways = [_run_direction(job, d, live, active) for d in range(len(job.weights))]
    out = torch.cat([way.states[0] for way in ways], dim=-1)
    final = tuple(torch.stack(states) for states in zip(*(way.final for way in ways), strict=True))
    if not job.gates:
        return Result(out, final)
    shown = [way.gates | dict(zip(job.cell.states, way.states, strict=True)) for way in ways]
    return Result(out, final, [{k: v.transpose(0, 1) for k, v in one.items()} for one in shown])


@dataclass
class _Way:
    """One direction's result: final states (B, W); sequences of states (T, B, W) and of gates (T, B, H)."""

    final: States
    states: States
    gates: dict[str, Tensor]


def _when(job: Job) -> tuple[Tensor | None, Tensor | None]:
    """Which steps exist and which of them change the state: (T, B, 1) bool each, None for all."""
    live = active = None
    if job.lengths is not None:
        steps = torch.arange(job.x.shape[0])
        live = active = (steps[:, None] < job.lengths).unsqueeze(-1).to(job.x.device)
    if job.mask is not None:
        mask = job.mask.unsqueeze(-1)
        active = mask if live is None else live & mask
    return live, active


def _run_direction(job: Job, d: int, live: Tensor | None, active: Tensor | None) -> _Way:
    # A step that does not happen may hold anything, NaN too: none of it may reach a value or a gradient.
    x = job.x if active is None else job.x.masked_fill(~active, 0)
    w = job.weights[d]
    step = _Step(job, d, _by_gate(x, w.x, w.bx, w.norm_x, len(job.cell.gates)))
    state, initial = [s[d] for s in job.state], _initial(job, d)
    steps: list[tuple[States, dict[str, Tensor]]] = []
    backwards, length = d == 1, job.x.shape[0]
    for t in reversed(range(length)) if backwards else range(length):
        if job.reset is not None:
            now = job.reset[t].unsqueeze(-1) if live is None else job.reset[t].unsqueeze(-1) & live[t]
            state = _where(now, initial, state)
        new, gates = step(t, state)
        state = new if active is None else _where(active[t], new, state)
        shown = state if live is None else [s.where(live[t], 0) for s in state]
        steps.append(
            (shown, gates if active is None else {k: g.where(active[t], 0) for k, g in gates.items()})
        )
    return _collect(job, d, state, steps[::-1] if backwards else steps)


def _where(condition: Tensor, yes: Sequence[Tensor], no: Sequence[Tensor]) -> States:
    return [torch.where(condition, a, b) for a, b in zip(yes, no, strict=True)]


def _initial(job: Job, d: int) -> States:
    """The constants in which states start, as near as the dtype can hold them."""
    least = torch.finfo(job.x.dtype).min
    constants = [max(job.cell.initial.get(k, 0.0), least) for k in job.cell.states]
    return [torch.full_like(s[d], value) for s, value in zip(job.state, constants, strict=True)]


def _layer_norm(v: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    return F.layer_norm(v, v.shape[-1:], scale, bias, EPS)


def _by_gate(v: Tensor, w: Tensor, bias: Tensor | None, norm: Tensor | None, gates: int) -> Tensor:
    """W v + b split by gate, normalised before the bias where there is a norm: (..., I) -> (..., G, H)."""
    product = F.linear(v, w, bias) if norm is None else _layer_norm(F.linear(v, w), norm, bias)
    return product.unflatten(-1, (gates, w.shape[0] // gates))


@dataclass(frozen=True)
class _Step:
    """One step of one direction: all that it reads but the time and the state."""

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
        return self._zoned(t, state, new), gates

    def _recurrent(self, h: Tensor) -> dict[str, Tensor]:
        weights, gates = self.job.weights[self.d], self.job.cell.gates
        if weights.r is None:
            return {}
        read = h if self.job.drop is None else h * self.job.drop[self.d]
        r = _by_gate(read, weights.r, weights.br, weights.norm_r, len(gates))
        return dict(zip(gates, r.unbind(-2), strict=True))

    def _zoned(self, t: int, state: Sequence[Tensor], new: States) -> States:
        zones = self.job.zone or (None,) * len(new)
        return [self._keep(t, zone, s, n) for zone, s, n in zip(zones, state, new, strict=True)]

    def _keep(self, t: int, zone: Zone | None, old: Tensor, new: Tensor) -> Tensor:
        if zone is None:
            return new
        if zone.mask is None:
            return zone.rate * old + (1 - zone.rate) * new
        return torch.where(zone.mask[self.d, t].bool(), old, new)


def _equations(
    cell: Cell, letters: dict[str, dict[str, Tensor]], weights: Weights, wanted: bool
) -> tuple[States, dict[str, Tensor]]:
    """The cell's new states and, where wanted, its gates; with layer norm of c, from the step cut in two."""
    if weights.norm_c is None and not wanted:
        return _plain(cell, letters), {}
    split = program(cell, weights.norm_c is not None)
    values = _inputs(split, letters)
    if weights.norm_c is None:
        new = _plain(cell, letters)
    else:
        new = _normed(split, values, weights.norm_c, weights.norm_c_bias)
    if not wanted:
        return new, {}
    shown = evaluate(list(split.gate_values.values()), values)
    return new, dict(zip(split.gate_values, shown, strict=True))


def _plain(cell: Cell, letters: dict[str, dict[str, Tensor]]) -> States:
    return list(cell(*[Values(role, of) for role, of in letters.items()]))


def _inputs(split: Program, letters: dict[str, dict[str, Tensor]]) -> dict[Node, Tensor]:
    nodes = {"x": split.x, "r": split.r, "s": split.s, "p": split.p}
    return {nodes[role][k]: value for role, of in letters.items() for k, value in of.items()}


def _normed(split: Program, values: dict[Node, Tensor], scale: Tensor, bias: Tensor | None) -> States:
    """The new states, h from the normalised c; adds to the values what h was computed from."""
    assert split.nc is not None
    rest = evaluate(split.outs[1:], values)
    raw = dict(zip(split.cell.states[1:], rest, strict=True))
    values[split.nc] = _layer_norm(raw["c"], scale, bias)
    values.update({node: raw[k] for k, node in split.new.items()})
    return [*evaluate(split.outs[:1], values), *rest]


def _collect(job: Job, d: int, final: States, steps: Sequence[tuple[States, dict[str, Tensor]]]) -> _Way:
    """The steps' states and gates, piled along time; only what is asked for."""
    count = len(final) if job.gates else 1
    states = [_pile([s[i] for s, _ in steps], final[i]) for i in range(count)]
    shape = job.x.new_zeros(job.x.shape[1], job.weights[d].x.shape[0] // len(job.cell.gates))
    gates = {k: _pile([g[k] for _, g in steps], shape) for k in job.cell.gates} if job.gates else {}
    return _Way(final, states, gates)


def _pile(values: Sequence[Tensor], like: Tensor) -> Tensor:
    return torch.stack(list(values)) if values else like.new_zeros(0, *like.shape)
