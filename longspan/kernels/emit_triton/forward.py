"""Prints the forward kernel, a tile of rows over the whole sequence; and the parts of one step."""

from __future__ import annotations

from longspan.kernels.program import depends

from .kernel_spec import KernelSpec, names_in_forward
from .statements import Target, assignments, function, indented, load, load_matrix
from .tiles import (
    before_the_loop,
    dropout_mask,
    edge,
    in_bounds,
    in_row,
    live,
    reset_states,
    size_arguments,
    steps,
    time,
    valid,
    vectors,
    weight_arguments,
    width,
    zoneout_mask,
    zoneout_masks,
    zoneout_rates,
)


def forward_kernel(spec: KernelSpec) -> str:
    """The kernel `forward`: a tile of rows, all its steps."""
    cell, lines = spec.cell, before_the_loop(spec)
    if cell.recurrent:
        rows = f"r + ((d * {len(cell.gates)} + {{i}}) * H + col) * R + k"
        matrices = [load_matrix(rows.format(i=i), "(k < R) & inside") for i in range(len(cell.gates))]
        lines += [f"R_{g} = {matrix}" for g, matrix in zip(cell.gates, matrices, strict=True)]
    if spec.variant.proj:
        lines.append(f"Q = {load_matrix('proj + (d * R + rol) * H + kh', '(kh < H) & (rol < R)')}")
    lines += [*vectors(spec, bias=True), *dropout_mask(spec)]
    lines += [f"s_{s} = {load(*edge(spec, s, f's0_{s}'))}" for s in cell.states]
    lines += [*steps(spec), "for u in range(0, stop):", *indented(_loop_body(spec))]
    for s in cell.states:
        address, mask = edge(spec, s, f"last_{s}")
        lines.append(f"tl.store({address}, s_{s}.to({spec.dtype}), mask={mask})")
    return function("forward", _arguments(spec), size_arguments(True), lines)


def _loop_body(spec: KernelSpec) -> list[str]:
    cell, variant = spec.cell, spec.variant
    lines = [*time(spec, True), *load_gates(spec), *reset_states(spec, cell.states)]
    if cell.recurrent:
        lines += [f"read = (s_h{' * keep' if variant.dropout else ''}).to({spec.dtype}).to(OPERAND)"]
        lines += [f"m_{g} = tl.dot(read, R_{g}, input_precision=PRECISION)" for g in cell.gates]
        lines += recurrent_part(spec)
    lines += [*cell_step(spec), *store_cell(spec)]
    if variant.proj:
        lines += [f"inner = tl.where(valid, n_h, 0.0).to({spec.dtype}).to(OPERAND)"]
        lines += ["n_h = tl.dot(inner, Q, input_precision=PRECISION)"]
    return lines + advance(spec, cell.states, True)


def _arguments(spec: KernelSpec) -> list[str]:
    names = [*forward_sequences(spec), *zoneout_rates(spec), *weight_arguments(spec, bias=True)]
    return names + [f"s0_{s}" for s in spec.cell.states] + [f"last_{s}" for s in spec.cell.states]


def forward_sequences(spec: KernelSpec) -> list[str]:
    """The arrays over time that a forward kernel reads and writes."""
    variant = spec.variant
    names = ["xg", "out", *["marks"] * variant.marks, *zoneout_masks(spec)]
    if variant.save:
        names += ["y"] * (spec.saved.values > 0)
        names += [f"seq_{s}" for s in spec.sequences] + [f"raw_{s}" for s in spec.raw]
        names += ["hats", "rstds"] if variant.norm_r else []
    return names + ["shown"] * variant.gates


def load_gates(spec: KernelSpec) -> list[str]:
    """x_* from W x."""
    gates = spec.cell.gates
    return [f"x_{g} = {load(in_row('xg', len(gates), i), 'valid')}" for i, g in enumerate(gates)]


def recurrent_part(spec: KernelSpec) -> list[str]:
    """r_* from the products m_* = R h."""
    gates = spec.cell.gates
    if not spec.variant.norm_r:
        return [f"r_{g} = m_{g} + b_{g}" for g in gates]
    count = f"({len(gates)} * H)"
    total = " + ".join(f"tl.sum(m_{g}, 1)" for g in gates)
    lines = [f"mean = ({total})[:, None] / {count}"]
    lines += [f"dev_{g} = tl.where(inside, m_{g} - mean, 0.0)" for g in gates]
    total = " + ".join(f"tl.sum(dev_{g} * dev_{g}, 1)" for g in gates)
    lines += [f"rstd = 1.0 / tl.sqrt(({total})[:, None] / {count} + 1e-5)"]
    lines += [f"hat_{g} = dev_{g} * rstd" for g in gates]
    if spec.variant.save:
        lines += store_by_gate(spec, "hats", "hat")
        lines += ["tl.store(rstds + q, rstd, mask=rows)"]
    return lines + [f"r_{g} = hat_{g} * w_{g} + b_{g}" for g in gates]


def store_by_gate(spec: KernelSpec, array: str, variable: str) -> list[str]:
    """Stores one variable a gate in an array (T, B, D, G, H)."""
    gates = spec.cell.gates
    return [
        f"tl.store({in_row(array, len(gates), i)}, {variable}_{g}.to({spec.dtype}), mask=ok)"
        for i, g in enumerate(gates)
    ]


def cell_step(spec: KernelSpec) -> list[str]:
    """The cell's equations: new states n_*, saved values y_* and gates v_* from x_*, r_*, s_* and p_*."""
    code, saved = spec.program, list[Target]()
    states = [(f"n_{k}", n) for k, n in zip(spec.cell.states, code.outs, strict=True)]
    if spec.variant.save:
        saved += [(f"y_{i}", n) for i, n in enumerate(code.saved)]
    if spec.variant.gates:
        saved += [(f"v_{k}", n) for k, n in code.gate_values.items()]
    names = names_in_forward(code)
    if code.nc is None:
        return assignments(states + saved, names, "a")
    late = depends([n for _, n in states + saved], [code.nc, *code.new.values()])
    before_norm = states[1:] + [t for t in saved if t[1] not in late]
    after_norm = states[:1] + [t for t in saved if t[1] in late]
    computed = names | {n: name for name, n in before_norm if n.op != "const"}
    computed |= {n: str(n.value) for n in code.new.values()} | {code.nc: "nc"}
    return [
        *assignments(before_norm, names, "a"),
        *layer_norm_of_c(),
        *assignments(after_norm, computed, "b"),
    ]


def layer_norm_of_c() -> list[str]:
    """The new c normalised over the row's H numbers."""
    return [
        "mean = tl.sum(tl.where(valid, n_c, 0.0), 1)[:, None] / H",
        "dev = tl.where(valid, n_c - mean, 0.0)",
        "rstd_c = 1.0 / tl.sqrt(tl.sum(dev * dev, 1)[:, None] / H + 1e-5)",
        "hat_c = dev * rstd_c",
        "nc = hat_c * w_norm_c + w_norm_c_bias",
    ]


def store_cell(spec: KernelSpec) -> list[str]:
    """Stores the values saved for the backward kernel, the raw states, and the gates to return."""
    lines, count = list[str](), spec.saved.values
    if spec.variant.save:
        lines += [
            f"tl.store({in_row('y', count, i)}, y_{i}.to({spec.dtype}), mask=valid)" for i in range(count)
        ]
        lines += [_store_raw(spec, s) for s in spec.raw]
    if spec.variant.gates:
        lines += [
            f"tl.store({_in_gates(spec, i)}, v_{g}.to({spec.dtype}), mask=valid)"
            for i, g in enumerate(spec.cell.gates)
        ]
    return lines


def _store_raw(spec: KernelSpec, state: str) -> str:
    """Stores a state as the cell computed it, 0 where it did not; all but h in float32."""
    kind = spec.dtype if state == "h" else "tl.float32"
    value = f"tl.where(valid, n_{state}, 0.0).to({kind})"
    return f"tl.store(raw_{state} + q * H + col, {value}, mask=ok)"


def _in_gates(spec: KernelSpec, index: int) -> str:
    """The address of gate or state `index` in the gates that are returned, (D, G+S-1, T, B, H)."""
    count = len(spec.cell.gates) + len(spec.cell.states) - 1
    return f"shown + (((d * {count} + {index}) * T + t) * B + row) * H + col"


def advance(spec: KernelSpec, states: str, persistent: bool) -> list[str]:
    """Zoneout; states carried unchanged where the step does not count; then the output and what is saved."""
    lines = list[str]()
    for s in states:
        mask = live(spec, in_bounds(spec, s, persistent))
        lines += _zoneout(spec, s, persistent)
        lines += [f"s_{s} = tl.where({valid(spec, s, persistent)}, n_{s}, s_{s})"]
        if s == "h":
            numbers, columns = width(spec, s, persistent)
            lines += [f"tl.store(out + q * {numbers} + {columns}, s_h.to({spec.dtype}), mask={mask})"]
            continue
        if spec.variant.save and s in spec.sequences:
            lines += [f"tl.store(seq_{s} + q * H + col, s_{s}, mask={mask})"]
        if spec.variant.gates:
            address = _in_gates(spec, len(spec.cell.gates) + spec.cell.states.index(s) - 1)
            lines += [f"tl.store({address}, s_{s}.to({spec.dtype}), mask={mask})"]
    return lines


def _zoneout(spec: KernelSpec, state: str, persistent: bool) -> list[str]:
    kind = spec.zoneout.get(state)
    if kind is None:
        return []
    if kind == "rate":
        return [f"n_{state} = rate_{state} * s_{state} + (1.0 - rate_{state}) * n_{state}"]
    return [
        zoneout_mask(spec, state, persistent),
        f"n_{state} = tl.where(held_{state} != 0, s_{state}, n_{state})",
    ]
