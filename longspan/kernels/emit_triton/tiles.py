"""Prints how a program finds its tile of rows and columns, and lists the arguments that kernels share.

`persistent` says for which of the two families (see `emit_triton`) something is printed.
"""

from __future__ import annotations

from .kernel_spec import KernelSpec
from .statements import load, number

LOWEST = -3.38e38  # what both float32 and bfloat16 can hold, in place of an initial -inf


def place(spec: KernelSpec, persistent: bool) -> list[str]:
    """Which rows and columns this program computes."""
    lines = [
        f"d = tl.program_id({1 if persistent else 2}).to(tl.int64)",  # and so is all that it multiplies
        "row = (tl.program_id(0) * BB + tl.arange(0, BB)[:, None]).to(tl.int64)",
        f"col = tl.program_id({2 if persistent else 1}) * HP + tl.arange(0, HP)[None, :]",
        "rows = row < B",
        "inside = col < H",
        "zero = tl.zeros([BB, HP], tl.float32)",
    ]
    if persistent and spec.variant.proj:
        lines.append("rol = tl.arange(0, RP)[None, :]")
    return lines


def columns_of_h(spec: KernelSpec) -> str:
    """The variable with a persistent kernel's columns of h, which a projection makes narrower."""
    return "rol" if spec.variant.proj else "col"


def width(spec: KernelSpec, state: str, persistent: bool) -> tuple[str, str]:
    """How many numbers of a state a row has, and the variable with this program's columns of them."""
    return ("R", columns_of_h(spec) if persistent else "col") if state == "h" else ("H", "col")


def vectors(spec: KernelSpec, bias: bool) -> list[str]:
    """Loads the vectors over H: biases of R h (with `bias`), scales of layer norms, extras."""
    lines, cell, G, P = list[str](), spec.cell, len(spec.cell.gates), len(spec.cell.params)
    if bias and cell.recurrent:
        lines += [_vector(f"b_{g}", f"br + (d * {G} + {i}) * H") for i, g in enumerate(cell.gates)]
    if spec.variant.norm_r:
        lines += [_vector(f"w_{g}", f"norm_r + (d * {G} + {i}) * H") for i, g in enumerate(cell.gates)]
    if spec.variant.norm_c:
        lines += [_vector(f"w_{name}", f"{name} + d * H") for name in ("norm_c", "norm_c_bias")]
    return lines + [_vector(f"p_{q}", f"p + (d * {P} + {i}) * H") for i, q in enumerate(cell.params)]


def _vector(name: str, address: str) -> str:
    return f"{name} = {load(f'{address} + col', 'inside')}"


def time(spec: KernelSpec, persistent: bool) -> list[str]:
    """The rows of step `u`, and which numbers of the tile are valid in it."""
    narrow_h = persistent and spec.variant.proj
    lines = ["t = u + d * (stop - 1 - 2 * u)"] if persistent else ["t = u + d * (T - 1 - 2 * u)"]
    lines += ["q = (t * B + row) * D + d", "ok = rows & inside"]
    if narrow_h:
        lines.append("okr = rows & (rol < R)")
    if not spec.variant.marks:
        return [*lines, "valid = ok", *(["validr = okr"] if narrow_h else [])]
    lines += [
        "code = tl.load(marks + t * B + row, mask=rows, other=0)",
        "live = (code & 1) != 0",
        "active = (code & 2) != 0",
        "fresh = (code & 4) != 0",
        "valid = ok & active",
    ]
    return [*lines, *(["validr = okr & active"] if narrow_h else [])]


def in_bounds(spec: KernelSpec, state: str, persistent: bool) -> str:
    """The mask of a state's numbers that exist."""
    return "okr" if persistent and spec.variant.proj and state == "h" else "ok"


def valid(spec: KernelSpec, state: str, persistent: bool) -> str:
    """The mask of a state's numbers that this step changes."""
    return in_bounds(spec, state, persistent).replace("ok", "valid")


def live(spec: KernelSpec, mask: str) -> str:
    """The part of a mask at steps within the row's length."""
    return f"{mask} & live" if spec.variant.marks else mask


def in_row(array: str, count: int, index: int) -> str:
    """The address of value `index` of `count` in this row of an array (T, B, D, count, H)."""
    return f"{array} + (q * {count} + {index}) * H + col"


def edge(spec: KernelSpec, state: str, array: str) -> tuple[str, str]:
    """The address of a state before or after the sequence, in an array (D, B, W), and its mask."""
    numbers, columns = width(spec, state, True)
    mask = "okr0" if state == "h" and spec.variant.proj else "ok0"
    return f"{array} + (d * B + row) * {numbers} + {columns}", mask


def before_the_loop(spec: KernelSpec) -> list[str]:
    """What a persistent kernel computes once, before its first step."""
    lines = [*place(spec, True), "ok0 = rows & inside", "kh = tl.arange(0, HP)[:, None]"]
    lines += ["okr0 = rows & (rol < R)"] if spec.variant.proj else []
    return [*lines, "k = tl.arange(0, RP)[:, None]"]


def dropout_mask(spec: KernelSpec) -> list[str]:
    return [f"keep = {load(*edge(spec, 'h', 'drop'))}"] if spec.variant.dropout else []


def zoneout_mask(spec: KernelSpec, state: str, persistent: bool) -> str:
    """Loads which units keep their previous value, 1 where they do."""
    numbers, columns = width(spec, state, persistent)
    address = f"zone_{state} + ((d * T + t) * B + row) * {numbers} + {columns}"
    return f"held_{state} = tl.load({address}, mask={valid(spec, state, persistent)}, other=0)"


def steps(spec: KernelSpec) -> list[str]:
    """How many steps the longest row of this tile has."""
    if not spec.variant.marks:
        return ["stop = T"]
    return ["stop = tl.max(tl.load(lengths + row, mask=rows, other=0)).to(tl.int32)"]


def reset_states(spec: KernelSpec, states: str) -> list[str]:
    """The initial constants in place of the states, where the step is marked as a reset."""
    if not spec.variant.marks:
        return []
    return [f"s_{s} = tl.where(fresh, {initial(spec, s)}, s_{s})" for s in states]


def initial(spec: KernelSpec, state: str) -> str:
    """The constant in which a state starts."""
    return number(max(float(spec.cell.initial.get(state, 0.0)), LOWEST))


def size_arguments(persistent: bool) -> list[str]:
    """The sizes that a kernel takes; most are constants when it is compiled."""
    names = ["D", "H", "R", "HP", "BB"] + (["RP", "PRECISION", "OPERAND"] if persistent else [])
    return [*(["T"] if persistent else []), "B", *(f"{name}: tl.constexpr" for name in names)]


def vector_arguments(spec: KernelSpec, bias: bool) -> list[str]:
    """The arrays that `vectors` loads from."""
    names = ["br"] if bias and spec.cell.recurrent else []
    names += ["norm_r"] if spec.variant.norm_r else []
    names += ["norm_c", "norm_c_bias"] if spec.variant.norm_c else []
    return names + (["p"] if spec.cell.params else [])


def zoneout_rates(spec: KernelSpec) -> list[str]:
    return [f"rate_{s}" for s, kind in spec.zoneout.items() if kind == "rate"]


def zoneout_masks(spec: KernelSpec) -> list[str]:
    return [f"zone_{s}" for s, kind in spec.zoneout.items() if kind == "mask"]


def weight_arguments(spec: KernelSpec, bias: bool) -> list[str]:
    """What a persistent kernel reads that is the same at every step, but the states."""
    names = ["r"] if spec.cell.recurrent else []
    names += ["proj"] if spec.variant.proj else []
    names += vector_arguments(spec, bias)
    return names + ["drop"] * spec.variant.dropout + ["lengths"] * spec.variant.marks
