"""A cell's program printed as Triton: kernels that keep R on chip, and the pointwise kernels of one step.

Two families, from the same pieces:

`whole`: one program owns a tile of rows for the whole sequence, with the whole of H, so that no barrier
between programs is needed; R (and the projection) is read once and stays in registers or shared memory.
`steps`: one launch a step; R h is a matrix product outside (cuBLAS), and these kernels do all else. The rows
of their sequences are found through a table of addresses in memory, so that one CUDA graph serves every call.

Rows lie as (T, B, D, ...), row q = (t * B + b) * D + d, in both directions alike. What a kernel takes is in
its own list of arguments; names: `s0_h` first states, `e_h` gradients of states, `seq_c` a state after each
step, `raw_c` the same before zoneout, `m` products R h, `read` the h that R reads.

The source is Python's subset that Triton compiles; nothing here imports Triton.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from longspan.cells import Cell
from longspan.kernels.program import Node, depends, order, program

INFIX = "+-*/"
CALLS = {
    "max": "larger",
    "min": "smaller",
    "gt": "greater",
    "abs": "tl.abs",
    "exp": "tl.exp",
    "log": "tl.log",
}
LEAST = -3.38e38  # what both float32 and bfloat16 can hold, in place of an initial -inf

# exp2 overflows to inf and underflows to 0, and both are right below: nothing here makes NaN of a number.
HEAD = '''"""Printed by longspan from a cell's equations; do not edit."""

import triton
import triton.language as tl


@triton.jit
def sigmoid(v):
    return 1.0 / (1.0 + tl.exp2(-1.4426950408889634 * v))


@triton.jit
def tanh(v):
    e = tl.exp2(-2.8853900817779268 * tl.abs(v))
    far = (1.0 - e) / (1.0 + e)
    w = v * v
    near = v - v * w * (0.33333333333 - w * (0.13333333333 - w * 0.05396825397))
    return tl.where(tl.abs(v) < 0.2, near, tl.where(v < 0.0, -far, far))


@triton.jit
def softplus(v):
    e = tl.exp(-tl.abs(v))
    low = e * (1.0 - e * (0.5 - e * (0.33333333333 - e * 0.25)))
    return larger(v, 0.0 * v) + tl.where(e < 0.02, low, tl.log(1.0 + e))


@triton.jit
def relu(v):
    return tl.where(v <= 0.0, 0.0, v)


@triton.jit
def sqrt(v):
    return tl.sqrt(v)


@triton.jit
def larger(a, b):
    return tl.where(a > b, a, tl.where(b >= a, b, a + b))


@triton.jit
def smaller(a, b):
    return tl.where(a < b, a, tl.where(b <= a, b, a + b))


@triton.jit
def greater(a, b):
    return tl.where(a > b, 1.0, 0.0)

'''


class Variant(NamedTuple):
    """What a layer's kernels do beside the cell's step.

    half: bfloat16 in memory, else float32 (registers and sums are float32); marks: lengths, mask or reset;
    zone: by state, "" for none, "mask" or "rate"; gates: whether the gates are written; save: whether the
    forward kernel writes what the backward one reads.
    """

    half: bool
    marks: bool
    drop: bool
    zone: tuple[str, ...]
    norm_r: bool
    norm_c: bool
    proj: bool
    gates: bool
    save: bool


def source(cell: Cell, variant: Variant) -> str:
    """The module of one cell and variant: `forward` and `backward`, and their parts by steps.

    Example:
        >>> from longspan.cells import CELLS
        >>> plain = Variant(False, False, False, ("", ""), False, False, False, False, True)
        >>> "def forward(" in source(CELLS["lstm"], plain)
        True
    """
    p = _Printer(cell, variant)
    kernels = [p.forward(), p.forward_step()] + ([p.finish_step()] if variant.proj else [])
    if variant.save:
        kernels += [p.backward(), p.backward_step()] + ([p.enter_step()] if variant.proj else [])
    return HEAD + "\n\n".join(kernels)


class Kept(NamedTuple):
    """Which sequences the forward kernel keeps for the backward one.

    saved: how many values of H numbers a row; sequences: the states but h kept after each step; raw: the
    states kept as the cell made them, before zoneout and projection.
    """

    saved: int
    sequences: str
    raw: str


def kept(cell: Cell, variant: Variant) -> Kept:
    """What the kernels of a variant keep; the output itself is h after each step."""
    p = _Printer(cell, variant)
    return Kept(len(p.program.saved), "".join(p.sequences), "".join(p.raw))


class _Printer:
    """Prints the kernels of one cell and variant, statement by statement."""

    def __init__(self, cell: Cell, variant: Variant):
        self.cell, self.v = cell, variant
        self.program = program(cell, variant.norm_c)
        self.G, self.S, self.P = len(cell.gates), len(cell.states), len(cell.params)
        self.K, self.kind = len(self.program.saved), "tl.bfloat16" if variant.half else "tl.float32"
        read = self._read_by_backward()
        zoned = dict(zip(cell.states, variant.zone or ("",) * self.S, strict=True))
        self.zones = {s: z for s, z in zoned.items() if z}
        self.reads_old = [s for s in cell.states if f"s_{s}" in read]
        self.reads_new = [s for s in cell.states if f"n_{s}" in read or (s == "c" and variant.norm_c)]
        moved = [s for s in cell.states if s in self.zones or (s == "h" and variant.proj)]
        self.raw = [s for s in moved if s in self.reads_new or (s == "h" and variant.proj)]
        shown = [s for s in self.reads_new if s not in moved]
        self.sequences = [s for s in cell.states[1:] if s in self.reads_old or s in shown]

    def _read_by_backward(self) -> set[str]:
        """The names of the old and new states that the gradients are computed from."""
        names = self._names_after()
        roots = [*self.program.grads.values(), *self.program.grads_h.values()]
        below = {a for n in order(roots, known=names) for a in n.args} | set(roots)
        return {names[n] for n in below if n in names}

    # ---- statements of the cell ----

    def _names_before(self) -> dict[Node, str]:
        groups = (self.program.x, self.program.r, self.program.s, self.program.p)
        return {n: str(n.value) for group in groups for n in group.values()}

    def _names_after(self) -> dict[Node, str]:
        p = self.program
        letters = self.cell.states
        names = {n: f"n_{k}" for k, n in zip(letters, p.outs, strict=True) if n.op not in ("in", "const")}
        names |= {n: str(n.value) for group in (p.new, p.s, p.p) for n in group.values()}
        names |= {n: f"y_{i}" for i, n in enumerate(p.saved)}
        names |= {n: str(n.value) for n in p.douts}
        return names if p.nc is None else names | {p.nc: "nc"}

    def _set(self, targets: Sequence[tuple[str, Node]], names: Mapping[Node, str], tmp: str) -> list[str]:
        """Statements that set each target from what has a name."""
        names, lines = dict(names), list[str]()
        tiles = [n for n, name in names.items() if not name.startswith("p_")]
        full = depends([node for _, node in targets], tiles)
        for node in order([node for _, node in targets], known=names):
            if node.op == "const":
                names[node] = _number(float(node.value))
                continue
            names[node] = f"{tmp}{len(lines)}"
            lines.append(f"{names[node]} = {_expression(node, [names[a] for a in node.args])}")
        for name, node in targets:
            value = names[node]
            lines.append(f"{name} = {value if node in full else f'zero + {value}'}")
        return lines

    def _cell(self) -> list[str]:
        """n_*, y_* and v_* from x_*, r_*, s_* and p_*."""
        p, keep = self.program, list[tuple[str, Node]]()
        states = [(f"n_{k}", n) for k, n in zip(self.cell.states, p.outs, strict=True)]
        if self.v.save:
            keep += [(f"y_{i}", n) for i, n in enumerate(p.saved)]
        if self.v.gates:
            keep += [(f"v_{k}", n) for k, n in p.gate_values.items()]
        names = self._names_before()
        if p.nc is None:
            return self._set(states + keep, names, "a")
        late = depends([n for _, n in states + keep], [p.nc, *p.new.values()])
        early = states[1:] + [t for t in keep if t[1] not in late]
        then = states[:1] + [t for t in keep if t[1] in late]
        known = names | {n: name for name, n in early if n.op != "const"}
        known |= {n: str(n.value) for n in p.new.values()} | {p.nc: "nc"}
        return [*self._set(early, names, "a"), *self._norm_c(), *self._set(then, known, "b")]

    def _norm_c(self) -> list[str]:
        """Layer norm of the new c over the row's H numbers."""
        return [
            "mean = tl.sum(tl.where(valid, n_c, 0.0), 1)[:, None] / H",
            "dev = tl.where(valid, n_c - mean, 0.0)",
            "rstd_c = 1.0 / tl.sqrt(tl.sum(dev * dev, 1)[:, None] / H + 1e-5)",
            "hat_c = dev * rstd_c",
            "nc = hat_c * w_norm_c + w_norm_c_bias",
        ]

    def _cell_backward(self) -> list[str]:
        """dx_*, dr_*, ds_* and dp_* from d_*, y_*, s_*, n_* and p_*; adds to the sums over time."""
        if self.program.nc is None:
            lines = self._set(self._gradients(self.program.grads, "d"), self._names_after(), "a")
        else:
            lines = self._norm_c() + self._normed_backward()
        both = [f"{r}_{g}" for g in self.cell.gates for r in self._gate_gradients()]
        lines += [f"{name} = tl.where(valid, {name}, 0.0)" for name in both]
        return lines + [f"total_p_{q} += tl.where(valid, dp_{q}, 0.0)" for q in self.cell.params]

    def _normed_backward(self) -> list[str]:
        p, names = self.program, self._names_after()
        assert p.nc is not None
        extra = {k: p.grads_h[p.new[k]] for k in p.new}
        first = self._gradients(p.grads_h, "h") + [(f"hn_{k}", n) for k, n in extra.items()]
        lines = self._set([*first, ("dnc", p.grads_h[p.nc])], names, "a")
        lines += [
            "dnc = tl.where(valid, dnc, 0.0)",
            "total_norm_c += dnc * hat_c",
            "total_norm_c_bias += dnc",
        ]
        lines += _norm_backward(["dnc * w_norm_c"], ["hat_c"], "rstd_c", ["through"], "H")
        lines += ["d_c = d_c + tl.where(valid, through, 0.0)"]
        lines += [f"d_{k} = d_{k} + hn_{k}" for k in extra]
        second = self._gradients(p.grads, "c")
        lines += self._set(second, names, "b")
        names_of = [name[1:] for name, _ in second]
        return lines + [f"d{name} = h{name} + c{name}" for name in names_of]

    def _gradients(self, grads: Mapping[Node, Node], start: str) -> list[tuple[str, Node]]:
        p = self.program
        groups = [("x", p.x), ("s", p.s), ("p", p.p)] + ([] if self._shared else [("r", p.r)])
        return [(f"{start}{role}_{k}", grads[n]) for role, group in groups for k, n in group.items()]

    @property
    def _shared(self) -> bool:
        """Whether what comes back to W x comes back to R h too."""
        return self.program.shared or not self.cell.recurrent

    def _gate_gradients(self) -> list[str]:
        return ["dx"] if self._shared else ["dx", "dr"]

    # ---- tiles and what stays on chip ----

    def _places(self, whole: bool) -> list[str]:
        """Which rows and columns this program owns."""
        lines = [
            f"d = tl.program_id({1 if whole else 2}).to(tl.int64)",  # and so is all that it multiplies
            "row = (tl.program_id(0) * BB + tl.arange(0, BB)[:, None]).to(tl.int64)",
            f"col = tl.program_id({2 if whole else 1}) * HP + tl.arange(0, HP)[None, :]",
            "rows = row < B",
            "inside = col < H",
            "zero = tl.zeros([BB, HP], tl.float32)",
        ]
        if whole and self.v.proj:
            lines.append("rol = tl.arange(0, RP)[None, :]")
        return lines

    @property
    def _rol(self) -> str:
        return "rol" if self.v.proj else "col"

    def _constants(self, bias: bool) -> list[str]:
        """Vectors over H: biases of R h, extras, norms."""
        lines, c = list[str](), self.cell
        whole = "mask=inside, other=0.0).to(tl.float32)"
        if bias and c.recurrent:
            lines += [
                f"b_{g} = tl.load(br + (d * {self.G} + {i}) * H + col, {whole}" for i, g in _each(c.gates)
            ]
        if self.v.norm_r:
            lines += [
                f"w_{g} = tl.load(norm_r + (d * {self.G} + {i}) * H + col, {whole}" for i, g in _each(c.gates)
            ]
        if self.v.norm_c:
            lines += [f"w_norm_c = tl.load(norm_c + d * H + col, {whole}"]
            lines += [f"w_norm_c_bias = tl.load(norm_c_bias + d * H + col, {whole}"]
        return lines + [
            f"p_{q} = tl.load(p + (d * {self.P} + {i}) * H + col, {whole}" for i, q in _each(c.params)
        ]

    def _time(self, whole: bool) -> list[str]:
        """The row of this step, and which of its tiles are real."""
        wide = whole and self.v.proj
        lines = ["t = u + d * (stop - 1 - 2 * u)"] if whole else ["t = u + d * (T - 1 - 2 * u)"]
        lines += ["q = (t * B + row) * D + d", "ok = rows & inside"]
        if wide:
            lines.append("okr = rows & (rol < R)")
        if not self.v.marks:
            return [*lines, "valid = ok", *(["validr = okr"] if wide else [])]
        lines += [
            "code = tl.load(marks + t * B + row, mask=rows, other=0)",
            "live = (code & 1) != 0",
            "active = (code & 2) != 0",
            "fresh = (code & 4) != 0",
            "valid = ok & active",
        ]
        return [*lines, *(["validr = okr & active"] if wide else [])]

    def _ok(self, state: str, whole: bool) -> str:
        return "okr" if whole and self.v.proj and state == "h" else "ok"

    def _valid(self, state: str, whole: bool) -> str:
        return self._ok(state, whole).replace("ok", "valid")

    def _live(self, ok: str) -> str:
        return f"{ok} & live" if self.v.marks else ok

    def _width(self, state: str, whole: bool) -> tuple[str, str]:
        """How many numbers of a state a row has, and this program's columns of them."""
        return ("R", self._rol if whole else "col") if state == "h" else ("H", "col")

    def _initial(self, state: str) -> str:
        return _number(max(float(self.cell.initial.get(state, 0.0)), LEAST))

    # ---- forward ----

    def _read_gates(self) -> list[str]:
        valid = "mask=valid, other=0.0).to(tl.float32)"
        return [f"x_{g} = tl.load({self._at('xg', self.G, i)}, {valid}" for i, g in _each(self.cell.gates)]

    def _at(self, array: str, n: int, i: int) -> str:
        """Value i of n in this row of an array (T, B, D, n, H)."""
        return f"{array} + (q * {n} + {i}) * H + col"

    def _recurrent(self) -> list[str]:
        """r_* from the products m_*."""
        gates, lines = self.cell.gates, list[str]()
        if self.v.norm_r:
            total = " + ".join(f"tl.sum(m_{g}, 1)" for g in gates)
            lines += [f"mean = ({total})[:, None] / ({self.G} * H)"]
            lines += [f"dev_{g} = tl.where(inside, m_{g} - mean, 0.0)" for g in gates]
            total = " + ".join(f"tl.sum(dev_{g} * dev_{g}, 1)" for g in gates)
            lines += [f"rstd = 1.0 / tl.sqrt(({total})[:, None] / ({self.G} * H) + 1e-5)"]
            lines += [f"hat_{g} = dev_{g} * rstd" for g in gates]
            if self.v.save:
                store = [
                    f"tl.store({self._at('hats', self.G, i)}, hat_{g}.to({self.kind}), mask=ok)"
                    for i, g in _each(gates)
                ]
                lines += [*store, "tl.store(rstds + q, rstd, mask=rows)"]
            return lines + [f"r_{g} = hat_{g} * w_{g} + b_{g}" for g in gates]
        return [f"r_{g} = m_{g} + b_{g}" for g in gates]

    def _write_cell(self) -> list[str]:
        """The values kept and shown of this step, and the states as the cell made them."""
        lines = list[str]()
        if self.v.save:
            lines += [
                f"tl.store({self._at('y', self.K, i)}, y_{i}.to({self.kind}), mask=valid)"
                for i in range(self.K)
            ]
            lines += [self._put(f"raw_{s}", s) for s in self.raw]
        if self.v.gates:
            lines += [
                f"tl.store({self._shown(i)}, v_{g}.to({self.kind}), mask=valid)"
                for i, g in _each(self.cell.gates)
            ]
        return lines

    def _put(self, array: str, state: str) -> str:
        """Keep a state as the cell made it, 0 where it made none; all but h in float32."""
        kind = self.kind if state == "h" else "tl.float32"
        return f"tl.store({array} + q * H + col, tl.where(valid, n_{state}, 0.0).to({kind}), mask=ok)"

    def _shown(self, i: int) -> str:
        n = self.G + self.S - 1
        return f"shown + (((d * {n} + {i}) * T + t) * B + row) * H + col"

    def _zoned(self, state: str, whole: bool) -> list[str]:
        kind = self.zones.get(state)
        if kind is None:
            return []
        if kind == "rate":
            return [f"n_{state} = rate_{state} * s_{state} + (1.0 - rate_{state}) * n_{state}"]
        return [
            self._kept_units(state, whole),
            f"n_{state} = tl.where(held_{state} != 0, s_{state}, n_{state})",
        ]

    def _kept_units(self, state: str, whole: bool) -> str:
        width, col = self._width(state, whole)
        at = f"zone_{state} + ((d * T + t) * B + row) * {width} + {col}"
        return f"held_{state} = tl.load({at}, mask={self._valid(state, whole)}, other=0)"

    def _advance(self, states: Iterable[str], whole: bool) -> list[str]:
        """Zoneout, and the state as it was where nothing happens; then what is kept and shown of it."""
        lines = list[str]()
        for s in states:
            lines += [*self._zoned(s, whole), f"s_{s} = tl.where({self._valid(s, whole)}, n_{s}, s_{s})"]
            i, live = self.cell.states.index(s), self._live(self._ok(s, whole))
            if s == "h":
                width, col = self._width(s, whole)
                lines += [f"tl.store(out + q * {width} + {col}, s_h.to({self.kind}), mask={live})"]
                continue
            if self.v.save and s in self.sequences:
                lines += [f"tl.store(seq_{s} + q * H + col, s_{s}, mask={live})"]
            if self.v.gates:
                lines += [f"tl.store({self._shown(self.G + i - 1)}, s_{s}.to({self.kind}), mask={live})"]
        return lines

    def _refreshed(self, states: Iterable[str]) -> list[str]:
        if not self.v.marks:
            return []
        return [f"s_{s} = tl.where(fresh, {self._initial(s)}, s_{s})" for s in states]

    def _edge(self, state: str, array: str) -> tuple[str, str]:
        """The place of a state before or after the sequence, in an array (D, B, W), and its mask."""
        width, col = self._width(state, True)
        mask = "okr0" if state == "h" and self.v.proj else "ok0"
        return f"{array} + (d * B + row) * {width} + {col}", mask

    def _outside(self) -> list[str]:
        """Which tiles there are before any step is looked at, and what holds for all of them."""
        lines = [*self._places(True), "ok0 = rows & inside", "kh = tl.arange(0, HP)[:, None]"]
        lines += ["okr0 = rows & (rol < R)"] if self.v.proj else []
        return [*lines, "k = tl.arange(0, RP)[:, None]"]

    def _kept_h(self) -> list[str]:
        return [f"keep = {_load(*self._edge('h', 'drop'))}"] if self.v.drop else []

    def forward(self) -> str:
        """A tile of rows, all its steps."""
        c, v, lines = self.cell, self.v, self._outside()
        if c.recurrent:
            rows = f"r + ((d * {self.G} + {{i}}) * H + col) * R + k"
            lines += [f"R_{g} = {_on_chip(rows.format(i=i), '(k < R) & inside')}" for i, g in _each(c.gates)]
        if v.proj:
            lines.append(f"Q = {_on_chip('proj + (d * R + rol) * H + kh', '(kh < H) & (rol < R)')}")
        lines += [*self._constants(True), *self._kept_h()]
        lines += [f"s_{s} = {_load(*self._edge(s, f's0_{s}'))}" for s in c.states]
        lines += [*self._stop(), "for u in range(0, stop):", *_indented(self._forward_body())]
        for s in c.states:
            place, mask = self._edge(s, f"last_{s}")
            lines.append(f"tl.store({place}, s_{s}.to({self.kind}), mask={mask})")
        return _kernel("forward", self._forward_arguments(), self._sizes(True), lines)

    def _forward_body(self) -> list[str]:
        c, v = self.cell, self.v
        body = [*self._time(True), *self._read_gates(), *self._refreshed(c.states)]
        if c.recurrent:
            body += [f"read = (s_h{' * keep' if v.drop else ''}).to({self.kind}).to(OPERAND)"]
            body += [f"m_{g} = tl.dot(read, R_{g}, input_precision=PRECISION)" for g in c.gates]
            body += self._recurrent()
        body += [*self._cell(), *self._write_cell()]
        if v.proj:
            body += [f"inner = tl.where(valid, n_h, 0.0).to({self.kind}).to(OPERAND)"]
            body += ["n_h = tl.dot(inner, Q, input_precision=PRECISION)"]
        return body + self._advance(c.states, True)

    def _stop(self) -> list[str]:
        """How many steps the longest row of this tile has."""
        if not self.v.marks:
            return ["stop = T"]
        return ["stop = tl.max(tl.load(lengths + row, mask=rows, other=0)).to(tl.int32)"]

    def _sizes(self, whole: bool) -> list[str]:
        """The numbers that a kernel takes; most are known when it is compiled."""
        names = ["D", "H", "R", "HP", "BB"] + (["RP", "PRECISION", "OPERAND"] if whole else [])
        return [*(["T"] if whole else []), "B", *(f"{name}: tl.constexpr" for name in names)]

    def _forward_sequences(self) -> list[str]:
        v, names = self.v, ["xg", "out"]
        names += ["marks"] if v.marks else []
        names += [f"zone_{s}" for s, kind in self.zones.items() if kind == "mask"]
        if v.save:
            names += (
                ["y"] * (self.K > 0) + [f"seq_{s}" for s in self.sequences] + [f"raw_{s}" for s in self.raw]
            )
            names += ["hats", "rstds"] if v.norm_r else []
        return names + (["shown"] if v.gates else [])

    def _vectors(self, bias: bool) -> list[str]:
        v, c = self.v, self.cell
        names = ["br"] if bias and c.recurrent else []
        names += ["norm_r"] if v.norm_r else []
        names += ["norm_c", "norm_c_bias"] if v.norm_c else []
        return names + (["p"] if self.P else [])

    def _rates(self) -> list[str]:
        return [f"rate_{s}" for s, kind in self.zones.items() if kind == "rate"]

    def _forward_arguments(self) -> list[str]:
        v, c = self.v, self.cell
        names = [*self._forward_sequences(), *self._rates()]
        names += ["r"] if c.recurrent else []
        names += ["proj"] if v.proj else []
        names += self._vectors(True) + (["drop"] if v.drop else []) + (["lengths"] if v.marks else [])
        return names + [f"s0_{s}" for s in c.states] + [f"last_{s}" for s in c.states]

    # ---- backward ----

    def _split(self, states: Iterable[str], whole: bool) -> list[str]:
        """Of the gradient of a state after the step: d_ what the cell made, k_ what was carried by."""
        lines = list[str]()
        for s in states:
            kind = self.zones.get(s)
            if self.v.marks:
                lines += [f"k_{s} = tl.where(active, 0.0, e_{s})", f"d_{s} = tl.where(active, e_{s}, 0.0)"]
            else:
                lines += [f"k_{s} = tl.zeros_like(e_{s})", f"d_{s} = e_{s}"]
            if kind == "mask":
                lines += [
                    self._kept_units(s, whole),
                    f"k_{s} += tl.where(held_{s} != 0, d_{s}, 0.0)",
                    f"d_{s} = tl.where(held_{s} != 0, 0.0, d_{s})",
                ]
            elif kind == "rate":
                lines += [f"k_{s} += rate_{s} * d_{s}", f"d_{s} = (1.0 - rate_{s}) * d_{s}"]
        return lines

    def _needed_old(self) -> list[str]:
        """The previous states that the gradients read; R reads h."""
        c = self.cell
        return [s for s in c.states if s in self.reads_old or (s == "h" and c.recurrent)]

    def _old(self, states: Iterable[str], whole: bool) -> list[str]:
        """The states that the step read, as they are kept: the first, or those after the step before."""
        first = "row * 0 + u == 0"
        if self.v.marks:
            first = "((way == 0) & (row * 0 + t == 0)) | ((way == 1) & ((code & 8) != 0))"
        lines = ["way = row * 0 + d", f"first = {first}"]  # tiles: scalars would not do for masks everywhere
        for s in states:
            width, col = self._width(s, whole)
            valid, array = self._valid(s, whole), "out" if s == "h" else f"seq_{s}"
            start = f"tl.load(s0_{s} + (d * B + row) * {width} + {col}, mask={valid} & first, other=0.0)"
            before = f"(q + (2 * d - 1) * (B * D)) * {width} + {col}"
            then = f"tl.load({array} + {before}, mask={valid} & (first == 0), other=0.0)"
            lines.append(f"s_{s} = {start}.to(tl.float32) + {then}.to(tl.float32)")
        return lines + self._refreshed(states)

    def _new(self) -> list[str]:
        lines = list[str]()
        for s in self.reads_new:
            array = f"raw_{s}" if s in self.raw else "out" if s == "h" else f"seq_{s}"
            lines.append(f"n_{s} = tl.load({array} + q * H + col, mask=valid, other=0.0).to(tl.float32)")
        return lines

    def _values(self) -> list[str]:
        valid = "mask=valid, other=0.0).to(tl.float32)"
        return [f"y_{i} = tl.load({self._at('y', self.K, i)}, {valid}" for i in range(self.K)]

    def _store_gradients(self) -> list[str]:
        """dx, dr where it differs, and the gradients dm of the products R h."""
        lines, c = list[str](), self.cell
        for role in self._gate_gradients():
            lines += [
                f"tl.store({self._at(role, self.G, i)}, {role}_{g}.to({self.kind}), mask=ok)"
                for i, g in _each(c.gates)
            ]
        back = self._gate_gradients()[-1]
        if not self.v.norm_r:
            return lines + [f"dm_{g} = {back}_{g}" for g in c.gates]
        valid = "mask=valid, other=0.0).to(tl.float32)"
        lines += [f"hat_{g} = tl.load({self._at('hats', self.G, i)}, {valid}" for i, g in _each(c.gates)]
        lines += ["rstd = tl.load(rstds + q, mask=rows, other=0.0)"]
        lines += _norm_backward(
            [f"{back}_{g} * w_{g}" for g in c.gates], [f"hat_{g}" for g in c.gates], "rstd",
            [f"dm_{g}" for g in c.gates], f"({self.G} * H)",
        )  # fmt: skip
        lines += [f"dm_{g} = tl.where(valid, dm_{g}, 0.0)" for g in c.gates]
        return lines + [
            f"tl.store({self._at('dm', self.G, i)}, dm_{g}.to({self.kind}), mask=ok)"
            for i, g in _each(c.gates)
        ]

    def _store_read(self, whole: bool) -> list[str]:
        """The h that R read, for dR; 0 where nothing happened."""
        if not self.cell.recurrent:
            return []
        width, col = self._width("h", whole)
        value = f"tl.where({self._valid('h', whole)}, s_h{' * keep' if self.v.drop else ''}, 0.0)"
        return [f"tl.store(read + q * {width} + {col}, {value}.to({self.kind}), mask={self._ok('h', whole)})"]

    def _before(self, whole: bool) -> list[str]:
        """e_* of the states before the step, from ds_* and k_*."""
        lines = list[str]()
        for s in self.cell.states:
            inner = s == "h" and self.v.proj  # such cells read h through R alone
            value = f"k_{s}" if inner else f"tl.where({self._valid(s, whole)}, ds_{s}, 0.0) + k_{s}"
            lines.append(f"e_{s} = {value}")
        return lines

    def _sum_places(self) -> list[tuple[str, str]]:
        """Each sum over time and where it lies, (D, B, H) or (P, D, B, H)."""
        places = [
            (f"p_{q}", f"sum_p + (({i} * D + d) * B + row) * H + col") for i, q in _each(self.cell.params)
        ]
        more = ["norm_c", "norm_c_bias"] if self.v.norm_c else []
        return places + [(name, f"sum_{name} + (d * B + row) * H + col") for name in more]

    def backward(self) -> str:
        """A tile of rows, all its steps from the last one processed to the first."""
        c, lines, sums = self.cell, self._outside(), self._sum_places()
        if c.recurrent:
            rows = f"r + ((d * {self.G} + {{i}}) * H + kh) * R + {self._rol}"
            mask = f"(kh < H) & ({self._rol} < R)"
            lines += [f"R_{g} = {_on_chip(rows.format(i=i), mask)}" for i, g in _each(c.gates)]
        if self.v.proj:
            lines.append(f"Q = {_on_chip('proj + (d * R + k) * H + col', '(k < R) & inside')}")
        lines += [*self._constants(False), *self._kept_h()]
        lines += [f"e_{s} = {_load(*self._edge(s, f'de_{s}'))}" for s in c.states]
        lines += [f"total_{name} = tl.zeros([BB, HP], tl.float32)" for name, _ in sums]
        lines += [*self._stop(), "for w in range(0, stop):", *_indented(self._backward_body())]
        for s in c.states:
            place, mask = self._edge(s, f"de_{s}")
            lines.append(f"tl.store({place}, e_{s}, mask={mask})")
        lines += [f"tl.store({place}, total_{name}, mask=ok0)" for name, place in sums]
        return _kernel("backward", self._backward_arguments(), self._sizes(True), lines)

    def _backward_body(self) -> list[str]:
        c, v = self.cell, self.v
        width, col = self._width("h", True)
        body = ["u = stop - 1 - w", *self._time(True)]
        body += [f"e_h += {_load(f'dout + q * {width} + {col}', self._live(self._ok('h', True)))}"]
        body += self._split(c.states, True)
        if v.proj:
            body += [f"tl.store(dproj + q * R + rol, d_h.to({self.kind}), mask=okr)"]
            body += [f"d_h = tl.dot(d_h.to({self.kind}).to(OPERAND), Q, input_precision=PRECISION)"]
        body += [*self._old(self._needed_old(), True), *self._new(), *self._values(), *self._cell_backward()]
        body += [*self._store_gradients(), *self._store_read(True), *self._before(True)]
        if c.recurrent:
            sides = [f"dm_{g}.to({self.kind}).to(OPERAND), R_{g}" for g in c.gates]
            body += ["back = tl.zeros_like(e_h)"]
            body += [f"back += tl.dot({both}, input_precision=PRECISION)" for both in sides]
            body += [f"e_h += back{' * keep' if v.drop else ''}"]
        return body + ([f"e_{s} = tl.where(fresh, 0.0, e_{s})" for s in c.states] if v.marks else [])

    def _backward_sequences(self) -> list[str]:
        v, c = self.v, self.cell
        names = ["out", "dout", "dx"] + ([] if self._shared else ["dr"])
        names += ["read"] if c.recurrent else []
        names += ["marks"] if v.marks else []
        names += [f"zone_{s}" for s, kind in self.zones.items() if kind == "mask"]
        names += ["y"] * (self.K > 0) + [f"seq_{s}" for s in self.sequences] + [f"raw_{s}" for s in self.raw]
        names += ["hats", "rstds", "dm"] if v.norm_r else []
        return names + (["dproj"] if v.proj else [])

    def _backward_arguments(self) -> list[str]:
        v, c = self.v, self.cell
        names = [*self._backward_sequences(), *self._rates()]
        names += ["r"] if c.recurrent else []
        names += ["proj"] if v.proj else []
        names += self._vectors(False) + (["drop"] if v.drop else []) + (["lengths"] if v.marks else [])
        names += [f"s0_{s}" for s in c.states] + [f"de_{s}" for s in c.states] + (["sum_p"] if self.P else [])
        return names + (["sum_norm_c", "sum_norm_c_bias"] if v.norm_c else [])

    # ---- one step a launch ----

    def _table(self, sequences: Sequence[str]) -> list[str]:
        """The sequences' addresses: the table holds T, then one address each."""
        lines = ["T = tl.load(table)"]
        for i, name in enumerate(sequences):
            kind = self.kind if name == "raw_h" else _KINDS.get(name.partition("_")[0], self.kind)
            lines += [
                f"{name} = tl.load(table + {i + 1}).to(tl.pointer_type({kind}))",
                f"{name} = tl.multiple_of({name}, 16)",
            ]
        return lines

    def _now(self, table: Sequence[str], back: bool) -> list[str]:
        """Which step this launch takes; beyond the last it does nothing."""
        step = "u = T - 1 - (tl.load(base) + j)" if back else "u = tl.load(base) + j"
        real = "rows = rows & (row * 0 + u >= 0)" if back else "rows = rows & (row * 0 + u < T)"
        return [*self._places(False), *self._table(table), step, real, *self._time(False)]

    def _here(self, array: str, value: str = "", mask: str = "ok", width: str = "H") -> str:
        """Load from, or store to, an array (D, B, W) that is the same at every step."""
        at = f"{array} + (d * B + row) * {width} + col"
        return (
            f"tl.store({at}, {value}, mask={mask})"
            if value
            else f"tl.load({at}, mask={mask}, other=0.0).to(tl.float32)"
        )

    def _next_read(self, width: str) -> list[str]:
        """The h that R reads at the next step: fresh where that one is, and dropped."""
        if not self.cell.recurrent:
            return []
        lines, value = list[str](), "s_h"
        if self.v.marks:
            lines += ["after = row * 0 + t + 1 - 2 * d", "there = rows & (after >= 0) & (after < T)"]
            lines += ["coming = tl.load(marks + after * B + row, mask=there, other=0)"]
            lines += [f"start = tl.where((coming & 4) != 0, {self._initial('h')}, s_h)"]
            value = "start"
        if self.v.drop:
            lines.append(f"keep = {self._here('drop', width=width)}")
            value = f"{value} * keep"
        return [*lines, self._here("read_now", f"({value}).to({self.kind})", width=width)]

    def forward_step(self) -> str:
        """The cell at one step, and, without a projection, the step's end."""
        c, v, table = self.cell, self.v, self._forward_sequences()
        lines = [*self._now(table, False), *self._constants(True), *self._read_gates()]
        states = [s for s in c.states if not (s == "h" and v.proj)]
        lines += [f"s_{s} = {self._here(f'now_{s}')}" for s in states]
        lines += self._refreshed(states)
        if c.recurrent:
            at = f"m + ((d * B + row) * {self.G} + {{i}}) * H + col"
            lines += [
                f"m_{g} = tl.load({at.format(i=i)}, mask=ok, other=0.0).to(tl.float32)"
                for i, g in _each(c.gates)
            ]
            lines += self._recurrent()
        lines += [*self._cell(), *self._write_cell(), *self._advance(states, False)]
        lines += [self._here(f"now_{s}", f"s_{s}") for s in states]
        if v.proj:
            lines.append(self._here("inner", f"tl.where(valid, n_h, 0.0).to({self.kind})"))
        else:
            lines += self._next_read("H")
        names = ["table", "base", *self._rates(), *(["m"] if c.recurrent else []), *self._vectors(True)]
        names += [f"now_{s}" for s in states] + (["inner"] if v.proj else self._read_now())
        return _kernel("forward_step", [*names, "j"], self._sizes(False), lines)

    def _read_now(self) -> list[str]:
        return (["drop"] if self.v.drop and self.cell.recurrent else []) + (
            ["read_now"] if self.cell.recurrent else []
        )

    def finish_step(self) -> str:
        """The end of a step with a projection: its product becomes h. Its columns are those of R, named H."""
        lines = [*self._now(self._forward_sequences(), False), f"n_h = {self._here('projected')}"]
        lines += [f"s_h = {self._here('now_h')}", *self._refreshed("h")]
        lines += [*self._advance("h", False), self._here("now_h", "s_h"), *self._next_read("H")]
        rates = [name for name in self._rates() if name == "rate_h"]
        names = ["table", "base", *rates, "projected", "now_h", *self._read_now(), "j"]
        return _kernel("finish_step", names, self._sizes(False), lines)

    def _entering(self) -> list[str]:
        """The gradient of h after the step: carried, through R, and of the output."""
        back = f" + {self._here('back')}" if self.cell.recurrent else ""
        if back and self.v.drop:
            back += f" * {self._here('drop')}"
        dout = f"tl.load(dout + q * H + col, mask={self._live('ok')}, other=0.0).to(tl.float32)"
        return [f"e_h = {self._here('de_h')}{back} + {dout}"]

    def enter_step(self) -> str:
        """The beginning of a backward step with a projection; its columns are those of R, named H."""
        v = self.v
        lines = [*self._now(self._backward_sequences(), True), *self._entering(), *self._split("h", False)]
        lines += [
            f"tl.store(dproj + q * H + col, d_h.to({self.kind}), mask=ok)",
            self._here("dprojected", f"d_h.to({self.kind})"),
        ]
        lines += [*self._old(["h"] if self.cell.recurrent else [], False)]
        if v.drop and self.cell.recurrent:
            lines.append(f"keep = {self._here('drop')}")
        lines += self._store_read(False)
        lines += [self._here("de_h", "tl.where(fresh, 0.0, k_h)" if v.marks else "k_h")]
        rates = [name for name in self._rates() if name == "rate_h"]
        names = [
            "table",
            "base",
            *rates,
            *(["back"] if self.cell.recurrent else []),
            "de_h",
            "dprojected",
            "s0_h",
        ]
        names += ["drop"] if v.drop and self.cell.recurrent else []
        return _kernel("enter_step", [*names, "j"], self._sizes(False), lines)

    def backward_step(self) -> str:
        """The cell's gradients at one step; `dm_now` is what R^T is multiplied with next."""
        c, v = self.cell, self.v
        states = [s for s in c.states if not (s == "h" and v.proj)]
        lines = [*self._now(self._backward_sequences(), True), *self._constants(False)]
        lines += [f"e_{s} = {self._here(f'de_{s}')}" for s in states if s != "h"]
        lines += [f"d_h = {self._here('dinner')}"] if v.proj else self._entering()
        lines += self._split(states, False)
        old = [s for s in self._needed_old() if s in states]
        lines += [*self._old(old, False), *self._new(), *self._values()]
        sums = self._sum_places()
        lines += [f"total_{name} = tl.load({place}, mask=ok, other=0.0)" for name, place in sums]
        lines += self._cell_backward()
        lines += [f"tl.store({place}, total_{name}, mask=ok)" for name, place in sums]
        lines += self._store_gradients()
        if not v.proj:
            lines += [f"keep = {self._here('drop')}"] if v.drop and c.recurrent else []
            lines += self._store_read(False)
        lines += [line for line in self._before(False) if not (v.proj and line.startswith("e_h"))]
        fresh = "tl.where(fresh, 0.0, {})" if v.marks else "{}"
        lines += [self._here(f"de_{s}", fresh.format(f"e_{s}")) for s in states]
        if c.recurrent:
            at = f"dm_now + ((d * B + row) * {self.G} + {{i}}) * H + col"
            lines += [
                f"tl.store({at.format(i=i)}, {fresh.format(f'dm_{g}')}.to({self.kind}), mask=ok)"
                for i, g in _each(c.gates)
            ]
        names = ["table", "base", *self._rates(), *self._vectors(False), *(f"de_{s}" for s in states)]
        names += [f"s0_{s}" for s in old] + (["dinner"] if v.proj else [])
        names += ["back"] if c.recurrent and not v.proj else []
        names += ["drop"] if v.drop and c.recurrent and not v.proj else []
        names += ["dm_now"] if c.recurrent else []
        names += (["sum_p"] if self.P else []) + (["sum_norm_c", "sum_norm_c_bias"] if v.norm_c else [])
        return _kernel("backward_step", [*names, "j"], self._sizes(False), lines)

    def tables(self) -> tuple[list[str], list[str]]:
        """The sequences in the order of the forward and of the backward table."""
        return self._forward_sequences(), self._backward_sequences() if self.v.save else []


def tables(cell: Cell, variant: Variant) -> tuple[list[str], list[str]]:
    """The names of the sequences whose addresses the step kernels read, forward and backward."""
    return _Printer(cell, variant).tables()


# What lies in a sequence by the first part of its name, where it is not the job's own numbers.
_KINDS = {
    "marks": "tl.uint8",
    "zone": "tl.uint8",
    "seq": "tl.float32",
    "raw": "tl.float32",
    "rstds": "tl.float32",
}


def _each(letters: str) -> list[tuple[int, str]]:
    return list(enumerate(letters))


def _number(value: float) -> str:
    if value in (float("inf"), float("-inf")):
        return f'float("{value}")'
    return repr(value) if value >= 0 else f"({value!r})"


def _expression(node: Node, args: Sequence[str]) -> str:
    if node.op == "neg":
        return f"-{args[0]}"
    if node.op in INFIX:
        return f"{args[0]} {node.op} {args[1]}"
    return f"{CALLS.get(node.op, node.op)}({', '.join(args)})"


def _norm_backward(
    grads: Sequence[str], hats: Sequence[str], rstd: str, into: Sequence[str], count: str
) -> list[str]:
    """Through a layer norm of one row, given in parts: rstd (d - mean(d) - hat mean(d hat))."""
    lines = [f"part_{i} = {g}" for i, g in enumerate(grads)]
    mean = " + ".join(f"tl.sum(part_{i}, 1)" for i in range(len(grads)))
    along = " + ".join(f"tl.sum(part_{i} * {hat}, 1)" for i, hat in enumerate(hats))
    lines += [f"mean = ({mean})[:, None] / {count}", f"along = ({along})[:, None] / {count}"]
    return lines + [f"{to} = {rstd} * (part_{i} - mean - {hats[i]} * along)" for i, to in enumerate(into)]


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _load(at: str, mask: str) -> str:
    return f"tl.load({at}, mask={mask}, other=0.0).to(tl.float32)"


def _on_chip(at: str, mask: str) -> str:
    """A matrix that tl.dot takes, 0 beyond its sizes."""
    return f"tl.load({at}, mask={mask}, other=0.0).to(OPERAND)"


def _kernel(name: str, pointers: Sequence[str], sizes: Sequence[str], body: Sequence[str]) -> str:
    # j counts the steps of a graph: to compile again for each would help nobody
    decorator = '@triton.jit(do_not_specialize=["j"])' if "j" in pointers else "@triton.jit"
    head = f"def {name}({', '.join([*pointers, *sizes])}):"
    return "\n".join([decorator, head, *_indented(body), ""])
