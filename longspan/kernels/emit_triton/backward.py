"""Prints the backward kernel, a tile of rows from the last step to the first; and the parts of one step.

Variables: `e_*` gradients of the states after a step, `d_*` their part through the cell, `k_*` their part
past the cell, `ds_*` gradients of the states before the step, `dm_*` gradients of the products R h.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from longspan.kernels.program import Node

from .forward import layer_norm_of_c, store_by_gate
from .kernel_spec import KernelSpec, names_in_backward
from .statements import (
    Target,
    assignments,
    function,
    indented,
    layer_norm_backward,
    load,
    load_matrix,
)
from .tiles import (
    before_the_loop,
    columns_of_h,
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


def backward_kernel(spec: KernelSpec) -> str:
    """The kernel `backward`: a tile of rows, all its steps from the last one processed to the first."""
    cell, lines, sums = spec.cell, before_the_loop(spec), sums_over_time(spec)
    if cell.recurrent:
        columns = columns_of_h(spec)
        rows = f"r + ((d * {len(cell.gates)} + {{i}}) * H + kh) * R + {columns}"
        mask = f"(kh < H) & ({columns} < R)"
        lines += [f"R_{g} = {load_matrix(rows.format(i=i), mask)}" for i, g in enumerate(cell.gates)]
    if spec.variant.proj:
        lines.append(f"Q = {load_matrix('proj + (d * R + k) * H + col', '(k < R) & inside')}")
    lines += [*vectors(spec, bias=False), *dropout_mask(spec)]
    lines += [f"e_{s} = {load(*edge(spec, s, f'de_{s}'))}" for s in cell.states]
    lines += [f"total_{name} = tl.zeros([BB, HP], tl.float32)" for name, _ in sums]
    lines += [*steps(spec), "for w in range(0, stop):", *indented(_loop_body(spec))]
    for s in cell.states:
        address, mask = edge(spec, s, f"de_{s}")
        lines.append(f"tl.store({address}, e_{s}, mask={mask})")
    lines += [f"tl.store({address}, total_{name}, mask=ok0)" for name, address in sums]
    return function("backward", _arguments(spec), size_arguments(True), lines)


def _loop_body(spec: KernelSpec) -> list[str]:
    cell, variant = spec.cell, spec.variant
    numbers, columns = width(spec, "h", True)
    mask = live(spec, in_bounds(spec, "h", True))
    lines = ["u = stop - 1 - w", *time(spec, True)]
    lines += [f"e_h += {load(f'dout + q * {numbers} + {columns}', mask)}"]
    lines += split_gradients(spec, cell.states, True)
    if variant.proj:
        lines += [f"tl.store(dproj + q * R + rol, d_h.to({spec.dtype}), mask=okr)"]
        lines += [f"d_h = tl.dot(d_h.to({spec.dtype}).to(OPERAND), Q, input_precision=PRECISION)"]
    lines += [*load_old_states(spec, old_states(spec), True), *load_new_states(spec), *load_values(spec)]
    lines += [*cell_gradients(spec), *store_gradients(spec), *store_read(spec, True)]
    lines += gradients_before(spec, cell.states, True)
    if cell.recurrent:
        products = [f"dm_{g}.to({spec.dtype}).to(OPERAND), R_{g}" for g in cell.gates]
        lines += ["back = tl.zeros_like(e_h)"]
        lines += [f"back += tl.dot({both}, input_precision=PRECISION)" for both in products]
        lines += [f"e_h += back{' * keep' if variant.dropout else ''}"]
    return lines + [f"e_{s} = tl.where(fresh, 0.0, e_{s})" for s in cell.states if variant.marks]


def _arguments(spec: KernelSpec) -> list[str]:
    names = [*backward_sequences(spec), *zoneout_rates(spec), *weight_arguments(spec, bias=False)]
    names += [f"s0_{s}" for s in spec.cell.states] + [f"de_{s}" for s in spec.cell.states]
    return names + sum_arguments(spec)


def backward_sequences(spec: KernelSpec) -> list[str]:
    """The arrays over time that a backward kernel reads and writes."""
    variant, cell = spec.variant, spec.cell
    names = ["out", "dout", *spec.gate_gradients]
    names += ["read"] * cell.recurrent + ["marks"] * variant.marks + zoneout_masks(spec)
    names += ["y"] * (spec.saved.values > 0)
    names += [f"seq_{s}" for s in spec.sequences] + [f"raw_{s}" for s in spec.raw]
    names += ["hats", "rstds", "dm"] if variant.norm_r else []
    return names + ["dproj"] * variant.proj


def sums_over_time(spec: KernelSpec) -> list[tuple[str, str]]:
    """The gradients of vectors over H, summed over the steps: name and address, (D, B, H) or (P, D, B, H)."""
    extras = enumerate(spec.cell.params)
    sums = [(f"p_{q}", f"sum_p + (({i} * D + d) * B + row) * H + col") for i, q in extras]
    norms = ["norm_c", "norm_c_bias"] if spec.variant.norm_c else []
    return sums + [(name, f"sum_{name} + (d * B + row) * H + col") for name in norms]


def sum_arguments(spec: KernelSpec) -> list[str]:
    """The arrays of `sums_over_time`."""
    norms = ["sum_norm_c", "sum_norm_c_bias"] if spec.variant.norm_c else []
    return (["sum_p"] if spec.cell.params else []) + norms


def split_gradients(spec: KernelSpec, states: Iterable[str], persistent: bool) -> list[str]:
    """Splits the gradient e_ of each state after the step: d_ goes through the cell, k_ past it."""
    lines = list[str]()
    for s in states:
        if spec.variant.marks:
            lines += [f"k_{s} = tl.where(active, 0.0, e_{s})", f"d_{s} = tl.where(active, e_{s}, 0.0)"]
        else:
            lines += [f"k_{s} = tl.zeros_like(e_{s})", f"d_{s} = e_{s}"]
        lines += _split_by_zoneout(spec, s, persistent)
    return lines


def _split_by_zoneout(spec: KernelSpec, state: str, persistent: bool) -> list[str]:
    kind = spec.zoneout.get(state)
    if kind == "mask":
        return [
            zoneout_mask(spec, state, persistent),
            f"k_{state} += tl.where(held_{state} != 0, d_{state}, 0.0)",
            f"d_{state} = tl.where(held_{state} != 0, 0.0, d_{state})",
        ]
    if kind == "rate":
        return [f"k_{state} += rate_{state} * d_{state}", f"d_{state} = (1.0 - rate_{state}) * d_{state}"]
    return []


def old_states(spec: KernelSpec) -> str:
    """The states before the step that the gradients read; R reads h."""
    return "".join(s for s in spec.cell.states if s in spec.old or (s == "h" and spec.cell.recurrent))


def load_old_states(spec: KernelSpec, states: str, persistent: bool) -> list[str]:
    """s_* as the step read them: the first states, or those that were saved after the step before."""
    first = "row * 0 + u == 0"
    if spec.variant.marks:
        first = "((way == 0) & (row * 0 + t == 0)) | ((way == 1) & ((code & 8) != 0))"
    lines = ["way = row * 0 + d", f"first = {first}"]  # tiles: scalars would not do for masks everywhere
    for s in states:
        numbers, columns = width(spec, s, persistent)
        mask, array = valid(spec, s, persistent), "out" if s == "h" else f"seq_{s}"
        start = load(f"s0_{s} + (d * B + row) * {numbers} + {columns}", f"{mask} & first")
        before = f"{array} + (q + (2 * d - 1) * (B * D)) * {numbers} + {columns}"
        lines.append(f"s_{s} = {start} + {load(before, f'{mask} & (first == 0)')}")
    return lines + reset_states(spec, states)


def load_new_states(spec: KernelSpec) -> list[str]:
    """n_* as the cell computed them."""
    arrays = {s: f"raw_{s}" if s in spec.raw else "out" if s == "h" else f"seq_{s}" for s in spec.new}
    return [f"n_{s} = {load(f'{array} + q * H + col', 'valid')}" for s, array in arrays.items()]


def load_values(spec: KernelSpec) -> list[str]:
    """y_*, the values that the forward kernel saved."""
    count = spec.saved.values
    return [f"y_{i} = {load(in_row('y', count, i), 'valid')}" for i in range(count)]


def cell_gradients(spec: KernelSpec) -> list[str]:
    """dx_*, dr_*, ds_* and dp_* from d_*, y_*, s_*, n_* and p_*; adds to the sums over time."""
    if spec.program.nc is None:
        targets = _targets(spec, spec.program.grads, "d")
        lines = assignments(targets, names_in_backward(spec.cell, spec.program), "a")
    else:
        lines = layer_norm_of_c() + _gradients_through_norm(spec, spec.program.nc)
    by_gate = [f"{array}_{g}" for g in spec.cell.gates for array in spec.gate_gradients]
    lines += [f"{name} = tl.where(valid, {name}, 0.0)" for name in by_gate]
    return lines + [f"total_p_{q} += tl.where(valid, dp_{q}, 0.0)" for q in spec.cell.params]


def _targets(spec: KernelSpec, grads: Mapping[Node, Node], prefix: str) -> list[Target]:
    code = spec.program
    groups = [("x", code.x), ("s", code.s), ("p", code.p)]
    groups += [] if spec.shared_gradient else [("r", code.r)]
    return [(f"{prefix}{role}_{k}", grads[n]) for role, group in groups for k, n in group.items()]


def _gradients_through_norm(spec: KernelSpec, nc: Node) -> list[str]:
    """The gradients in three parts: of h, through layer norm of c, and of the other states."""
    code, names = spec.program, names_in_backward(spec.cell, spec.program)
    through_h = {k: code.grads_h[node] for k, node in code.new.items()}
    from_h = _targets(spec, code.grads_h, "h") + [(f"hn_{k}", n) for k, n in through_h.items()]
    lines = assignments([*from_h, ("dnc", code.grads_h[nc])], names, "a")
    lines += [
        "dnc = tl.where(valid, dnc, 0.0)",
        "total_norm_c += dnc * hat_c",
        "total_norm_c_bias += dnc",
    ]
    lines += layer_norm_backward(["dnc * w_norm_c"], ["hat_c"], "rstd_c", ["through"], "H")
    lines += ["d_c = d_c + tl.where(valid, through, 0.0)"]
    lines += [f"d_{k} = d_{k} + hn_{k}" for k in through_h]
    from_others = _targets(spec, code.grads, "c")
    lines += assignments(from_others, names, "b")
    return lines + [f"d{name[1:]} = h{name[1:]} + {name}" for name, _ in from_others]


def store_gradients(spec: KernelSpec) -> list[str]:
    """Stores dx, dr where it differs, and with layer norm dm; sets dm_*."""
    gates, lines = spec.cell.gates, list[str]()
    for array in spec.gate_gradients:
        lines += store_by_gate(spec, array, array)
    last = spec.gate_gradients[-1]
    if not spec.variant.norm_r:
        return lines + [f"dm_{g} = {last}_{g}" for g in gates]
    lines += [f"hat_{g} = {load(in_row('hats', len(gates), i), 'valid')}" for i, g in enumerate(gates)]
    lines += ["rstd = tl.load(rstds + q, mask=rows, other=0.0)"]
    grads, hats = [f"{last}_{g} * w_{g}" for g in gates], [f"hat_{g}" for g in gates]
    lines += layer_norm_backward(grads, hats, "rstd", [f"dm_{g}" for g in gates], f"({len(gates)} * H)")
    lines += [f"dm_{g} = tl.where(valid, dm_{g}, 0.0)" for g in gates]
    return lines + store_by_gate(spec, "dm", "dm")


def store_read(spec: KernelSpec, persistent: bool) -> list[str]:
    """Stores the h that R read, for the gradient of R; 0 where the step does not count."""
    if not spec.cell.recurrent:
        return []
    numbers, columns = width(spec, "h", persistent)
    product = f"s_h{' * keep' if spec.variant.dropout else ''}"
    value = f"tl.where({valid(spec, 'h', persistent)}, {product}, 0.0).to({spec.dtype})"
    mask = in_bounds(spec, "h", persistent)
    return [f"tl.store(read + q * {numbers} + {columns}, {value}, mask={mask})"]


def gradients_before(spec: KernelSpec, states: str, persistent: bool) -> list[str]:
    """e_* of the states before the step, from ds_* and k_*."""
    lines = list[str]()
    for s in states:
        through_r_alone = s == "h" and spec.variant.proj  # cells with a projection read h through R alone
        through_cell = f"tl.where({valid(spec, s, persistent)}, ds_{s}, 0.0) + "
        lines.append(f"e_{s} = {'' if through_r_alone else through_cell}k_{s}")
    return lines
