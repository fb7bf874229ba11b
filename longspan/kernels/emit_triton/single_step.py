"""Prints the kernels of one step a launch; matrix products with R and the projection run between them.

A table in memory holds T, then the address of each array over time, so that one CUDA graph serves every call.
"""

from __future__ import annotations

from collections.abc import Sequence

from .backward import (
    backward_sequences,
    cell_gradients,
    gradients_before,
    load_new_states,
    load_old_states,
    load_values,
    old_states,
    split_gradients,
    store_gradients,
    store_read,
    sum_arguments,
    sums_over_time,
)
from .forward import advance, cell_step, forward_sequences, load_gates, recurrent_part, store_cell
from .kernel_spec import KernelSpec
from .statements import function, load
from .tiles import (
    initial,
    live,
    place,
    reset_states,
    size_arguments,
    time,
    vector_arguments,
    vectors,
    zoneout_rates,
)

# The type of an array's numbers by the first part of its name, where it is not the job's own.
_TYPES = {
    "marks": "tl.uint8",
    "zone": "tl.uint8",
    "seq": "tl.float32",
    "raw": "tl.float32",
    "rstds": "tl.float32",
}


def forward_step(spec: KernelSpec) -> str:
    """The kernel of the cell at one step; without a projection, of the step's end too."""
    cell, proj = spec.cell, spec.variant.proj
    lines = [*_start(spec, forward_sequences(spec), False), *vectors(spec, bias=True), *load_gates(spec)]
    states = _states_of_cell(spec)
    lines += [f"s_{s} = {_load(f'now_{s}')}" for s in states]
    lines += reset_states(spec, states)
    if cell.recurrent:
        lines += [f"m_{g} = {load(_by_gate(spec, 'm', i), 'ok')}" for i, g in enumerate(cell.gates)]
        lines += recurrent_part(spec)
    lines += [*cell_step(spec), *store_cell(spec), *advance(spec, states, False)]
    lines += [_store(f"now_{s}", f"s_{s}") for s in states]
    if proj:
        lines.append(_store("inner", f"tl.where(valid, n_h, 0.0).to({spec.dtype})"))
    else:
        lines += _next_read(spec)
    names = ["table", "base", *zoneout_rates(spec), *["m"] * cell.recurrent]
    names += [*vector_arguments(spec, bias=True), *(f"now_{s}" for s in states)]
    names += ["inner"] if proj else _next_read_arguments(spec)
    return function("forward_step", [*names, "j"], size_arguments(False), lines)


def finish_step(spec: KernelSpec) -> str:
    """The kernel of a step's end with a projection: the product becomes h. R columns, under the name H."""
    lines = [*_start(spec, forward_sequences(spec), False), f"n_h = {_load('projected')}"]
    lines += [f"s_h = {_load('now_h')}", *reset_states(spec, "h")]
    lines += [*advance(spec, "h", False), _store("now_h", "s_h"), *_next_read(spec)]
    names = ["table", "base", *_rate_of_h(spec), "projected", "now_h", *_next_read_arguments(spec), "j"]
    return function("finish_step", names, size_arguments(False), lines)


def enter_step(spec: KernelSpec) -> str:
    """The kernel of a backward step's beginning with a projection. R columns, under the name H."""
    recurrent, dropout = spec.cell.recurrent, spec.variant.dropout
    lines = [*_start(spec, backward_sequences(spec), True), *_gradient_of_h(spec)]
    lines += split_gradients(spec, "h", False)
    lines += [
        f"tl.store(dproj + q * H + col, d_h.to({spec.dtype}), mask=ok)",
        _store("dprojected", f"d_h.to({spec.dtype})"),
    ]
    lines += load_old_states(spec, "h" if recurrent else "", False)
    if dropout and recurrent:
        lines.append(f"keep = {_load('drop')}")
    lines += store_read(spec, False)
    lines += [_store("de_h", _zero_at_reset(spec, "k_h"))]
    names = ["table", "base", *_rate_of_h(spec), *["back"] * recurrent, "de_h", "dprojected", "s0_h"]
    names += ["drop"] if dropout and recurrent else []
    return function("enter_step", [*names, "j"], size_arguments(False), lines)


def backward_step(spec: KernelSpec) -> str:
    """The kernel of the cell's gradients at one step; `dm_now` is what R^T is multiplied with next."""
    cell, proj, states = spec.cell, spec.variant.proj, _states_of_cell(spec)
    lines = [*_start(spec, backward_sequences(spec), True), *vectors(spec, bias=False)]
    lines += [f"e_{s} = {_load(f'de_{s}')}" for s in states if s != "h"]
    lines += [f"d_h = {_load('dinner')}"] if proj else _gradient_of_h(spec)
    lines += split_gradients(spec, states, False)
    lines += load_old_states(spec, _old_states_of_cell(spec), False)
    lines += [*load_new_states(spec), *load_values(spec)]
    sums = sums_over_time(spec)
    lines += [f"total_{name} = tl.load({address}, mask=ok, other=0.0)" for name, address in sums]
    lines += cell_gradients(spec)
    lines += [f"tl.store({address}, total_{name}, mask=ok)" for name, address in sums]
    lines += store_gradients(spec)
    if not proj:
        lines += [f"keep = {_load('drop')}"] if spec.variant.dropout and cell.recurrent else []
        lines += store_read(spec, False)
    lines += gradients_before(spec, states, False)
    lines += [_store(f"de_{s}", _zero_at_reset(spec, f"e_{s}")) for s in states]
    if cell.recurrent:
        grads = [f"{_zero_at_reset(spec, f'dm_{g}')}.to({spec.dtype})" for g in cell.gates]
        lines += [f"tl.store({_by_gate(spec, 'dm_now', i)}, {grad}, mask=ok)" for i, grad in enumerate(grads)]
    return function("backward_step", _backward_arguments(spec), size_arguments(False), lines)


def _backward_arguments(spec: KernelSpec) -> list[str]:
    recurrent, proj = spec.cell.recurrent, spec.variant.proj
    names = ["table", "base", *zoneout_rates(spec), *vector_arguments(spec, bias=False)]
    names += [f"de_{s}" for s in _states_of_cell(spec)] + [f"s0_{s}" for s in _old_states_of_cell(spec)]
    names += ["dinner"] if proj else ["back"] * recurrent
    names += ["drop"] if spec.variant.dropout and recurrent and not proj else []
    return [*names, *["dm_now"] * recurrent, *sum_arguments(spec), "j"]


def _states_of_cell(spec: KernelSpec) -> str:
    """The states that the cell's kernel advances; a projected h has a kernel of its own."""
    return spec.cell.states.replace("h", "") if spec.variant.proj else spec.cell.states


def _old_states_of_cell(spec: KernelSpec) -> str:
    return "".join(s for s in old_states(spec) if s in _states_of_cell(spec))


def _start(spec: KernelSpec, sequences: Sequence[str], backward: bool) -> list[str]:
    """Which step this launch computes; beyond the last it has no rows."""
    step = "u = T - 1 - (tl.load(base) + j)" if backward else "u = tl.load(base) + j"
    exists = "rows = rows & (row * 0 + u >= 0)" if backward else "rows = rows & (row * 0 + u < T)"
    return [*place(spec, False), *_addresses(spec, sequences), step, exists, *time(spec, False)]


def _addresses(spec: KernelSpec, sequences: Sequence[str]) -> list[str]:
    """Loads T and the arrays' addresses from the table."""
    lines = ["T = tl.load(table)"]
    for i, name in enumerate(sequences):
        kind = spec.dtype if name == "raw_h" else _TYPES.get(name.partition("_")[0], spec.dtype)
        lines += [
            f"{name} = tl.load(table + {i + 1}).to(tl.pointer_type({kind}))",
            f"{name} = tl.multiple_of({name}, 16)",
        ]
    return lines


def _load(array: str) -> str:
    """This program's tile of an array (D, B, H) that is the same at every step."""
    return load(f"{array} + (d * B + row) * H + col", "ok")


def _store(array: str, value: str) -> str:
    return f"tl.store({array} + (d * B + row) * H + col, {value}, mask=ok)"


def _by_gate(spec: KernelSpec, array: str, index: int) -> str:
    """The address of gate `index` in an array (D, B, G, H)."""
    return f"{array} + ((d * B + row) * {len(spec.cell.gates)} + {index}) * H + col"


def _zero_at_reset(spec: KernelSpec, gradient: str) -> str:
    """A gradient that does not pass a reset."""
    return f"tl.where(fresh, 0.0, {gradient})" if spec.variant.marks else gradient


def _next_read(spec: KernelSpec) -> list[str]:
    """Stores the h that R reads at the next step: initial where that one is a reset, with dropout applied."""
    if not spec.cell.recurrent:
        return []
    lines, value = list[str](), "s_h"
    if spec.variant.marks:
        lines += ["after = row * 0 + t + 1 - 2 * d", "there = rows & (after >= 0) & (after < T)"]
        lines += ["coming = tl.load(marks + after * B + row, mask=there, other=0)"]
        lines += [f"start = tl.where((coming & 4) != 0, {initial(spec, 'h')}, s_h)"]
        value = "start"
    if spec.variant.dropout:
        lines.append(f"keep = {_load('drop')}")
        value = f"{value} * keep"
    return [*lines, _store("read_now", f"({value}).to({spec.dtype})")]


def _next_read_arguments(spec: KernelSpec) -> list[str]:
    if not spec.cell.recurrent:
        return []
    return ["drop", "read_now"] if spec.variant.dropout else ["read_now"]


def _rate_of_h(spec: KernelSpec) -> list[str]:
    return [name for name in zoneout_rates(spec) if name == "rate_h"]


def _gradient_of_h(spec: KernelSpec) -> list[str]:
    """The gradient of h after the step: carried, through R, and of the output."""
    through_r = f" + {_load('back')}" if spec.cell.recurrent else ""
    if through_r and spec.variant.dropout:
        through_r += f" * {_load('drop')}"
    return [f"e_h = {_load('de_h')}{through_r} + {load('dout + q * H + col', live(spec, 'ok'))}"]
