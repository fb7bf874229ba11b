"""Prints a cell's program as C++ over any vector class; as a script, all built-in cells for the build.

`python emit_cpp.py OUT.inc` needs no package but Python's own.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

if not __package__:  # run by the build: the packages' own __init__ may need what is not installed yet
    for depth, package in ((1, "longspan"), (0, "longspan.kernels")):
        sys.modules[package] = ModuleType(package)
        sys.modules[package].__path__ = [str(Path(__file__).parents[depth])]

from longspan.cells import CELLS, Cell
from longspan.kernels.program import Node, Program, depends, operation, order

CALLS = {"max": "maximum", "min": "minimum"}
ALWAYS = "static inline __attribute__((always_inline))"  # or the compiler passes vectors through memory
Target = tuple[str, Node]


def struct_source(cell: Cell) -> str:
    """The C++ struct of a cell: its counts, its step and its adjoint.

    Example:
        >>> print(struct_source(CELLS["rnn"]).splitlines()[0])
        struct rnn {
    """
    program = Program(cell)
    return _struct(program, [_forward(program), _backward(program)])


def norm_struct_source(cell: Cell) -> str:
    """The same with the step cut in two around layer norm of the state c; the name gets the suffix _norm.

    Raises:
        ValueError: when the cell has no state c.
    """
    program = Program(cell, normed=True)
    return _struct(program, [*_norm_forward(program), *_norm_backward(program)])


def source(cells: Iterable[Cell]) -> str:
    """All structs of some cells, and the lists of their names as X macros."""
    cells = list(cells)
    normed = [c for c in cells if "c" in c.states]
    parts = ["// Generated from cells.py by kernels/emit_cpp.py."]
    parts += [struct_source(c) for c in cells] + [norm_struct_source(c) for c in normed]
    parts += ["#define LONGSPAN_CELLS(X) " + " ".join(f"X({c.name})" for c in cells)]
    parts += ["#define LONGSPAN_NORM_CELLS(X) " + " ".join(f"X({c.name}, {c.name}_norm)" for c in normed)]
    return "\n".join(parts) + "\n"


def _struct(program: Program, functions: Sequence[str]) -> str:
    cell, saved = program.cell, len(program.saved)
    counts = f"G = {len(cell.gates)}, S = {len(cell.states)}, P = {len(cell.params)}, K = {saved}"
    constants = [(i, float(cell.initial[k])) for i, k in enumerate(cell.states) if k in cell.initial]
    start = "".join(f"i == {i} ? {value!r} : " for i, value in constants)
    lines = [
        f"struct {cell.name}{'_norm' if program.normed else ''} {{",
        f'  static constexpr const char* name = "{cell.name}";',
        f"  static constexpr int {counts}, C = {cell.states.find('c')};",
        f"  static constexpr bool shared = {_flag(program.shared)}, reads_h = {_flag(program.reads_h)};",
        f"  static constexpr bool recurrent = {_flag(cell.recurrent)}, normed = {_flag(program.normed)};",
        f"  static constexpr unsigned uses_s = {_mask(program, 's')}, uses_n = {_mask(program, 'n')};"
        "  // bit i: backward reads s[i], n[i]",
        f"  static constexpr double initial(int{' i' if start else ''}) {{ return {start}0.0; }}",
    ]
    return "\n".join([*lines, *functions, "};"]) + "\n"


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _named(array: str, nodes: Iterable[Node]) -> dict[Node, str]:
    return {node: f"{array}[{i}]" for i, node in enumerate(nodes)}


def _targets(array: str, nodes: Iterable[Node]) -> list[Target]:
    return [(f"{array}[{i}]", node) for i, node in enumerate(nodes)]


def _before(program: Program) -> dict[Node, str]:
    """Names of the inputs of a forward pass."""
    names = _named("s", program.s.values()) | _named("p", program.p.values())
    return names | _named("x", program.x.values()) | _named("r", program.r.values())


def _new(program: Program) -> dict[Node, str]:
    """Names of the new states, as values and as inputs of h; a state that is an input keeps its name."""
    letters = list(program.cell.states)
    computed = {node: f"n[{i}]" for i, node in enumerate(program.outs) if node.op not in ("in", "const")}
    return computed | {node: f"n[{letters.index(k)}]" for k, node in program.new.items()}


def _after(program: Program) -> dict[Node, str]:
    """Names of the inputs of a backward pass."""
    names = _new(program) | _named("s", program.s.values()) | _named("p", program.p.values())
    return names | _named("y", program.saved) | _named("d", program.douts)


def _mask(program: Program, array: str) -> str:
    """Which states the backward pass reads, as bits."""
    names = _after(program)
    read = {names[n] for g in (program.grads, program.grads_h) for n in _read(g.values(), names)}
    return hex(sum(1 << i for i in range(len(program.outs)) if f"{array}[{i}]" in read))


def _read(roots: Iterable[Node], names: Mapping[Node, str]) -> set[Node]:
    roots = list(roots)
    below = {a for n in order(roots, known=names) for a in n.args}
    return {n for n in (*roots, *below) if n in names}


def _body(targets: Sequence[Target], names: Mapping[Node, str], add: bool = False) -> list[str]:
    """Statements that set (or add to) each target, all at the end, since targets may alias inputs."""
    names, lines = dict(names), list[str]()
    for node in order([node for _, node in targets], known=names):
        if node.op == "const":
            names[node] = f"V({node.value!r})"
            continue
        a = [names[v] for v in node.args]
        names[node] = f"t{len(lines)}"
        lines.append(f"const V {names[node]} = {operation(node.op, a, CALLS)};")
    zero = [node for _, node in targets if add and node.op == "const" and node.value == 0]
    return lines + [
        f"{name} = {name} + {names[node]};" if add else f"{name} = {names[node]};"
        for name, node in targets
        if node not in zero
    ]


def _function(name: str, inputs: str, outputs: str, body: Sequence[str]) -> str:
    """A static member; arguments that its body does not use have no name, so that no compiler warns."""
    text = "\n".join(f"    {line}" for line in body)

    def argument(kind: str, arg: str) -> str:
        return f"{kind} {arg}" if re.search(rf"\b{arg}\b", text) else kind

    by_value = ("nc", "d0")
    args = [argument("const V&" if a in by_value else "const V*", a) for a in inputs.split()]
    args += [argument("V&" if a == "dnc" else "V*", a) for a in outputs.split()]
    head = f"  template <class V>\n  {ALWAYS} void {name}({', '.join(args)}) {{"
    return f"{head}\n{text}\n  }}" if text else f"{head}}}"


def _forward(program: Program) -> str:
    targets = _targets("n", program.outs) + _targets("y", program.saved)
    targets += _targets("g", program.gate_values.values())
    return _function("forward", "x r s p", "n y g", _body(targets, _before(program)))


def _gradients(program: Program, grads: Mapping[Node, Node]) -> list[Target]:
    """dx, dr, ds, dp; a cell without R has dr = dx, as cells where the two are shared."""
    r = program.r if program.cell.recurrent else program.x
    groups = (("dx", program.x), ("dr", r), ("ds", program.s), ("dp", program.p))
    return [t for array, group in groups for t in _targets(array, [grads[n] for n in group.values()])]


def _backward(program: Program) -> str:
    body = _body(_gradients(program, program.grads), _after(program))
    return _function("backward", "y s p n d", "dx dr ds dp", body)


def _norm_forward(program: Program) -> list[str]:
    """forward_c: everything that needs neither nc nor the new states; forward_h: h and the rest."""
    assert program.nc is not None
    saved = _targets("y", program.saved) + _targets("g", program.gate_values.values())
    states = _targets("n", program.outs)
    late = depends([node for _, node in states + saved], [program.nc, *program.new.values()])
    before_norm = states[1:] + [t for t in saved if t[1] not in late]
    after_norm = states[:1] + [t for t in saved if t[1] in late]
    names = _before(program)
    computed = {node: name for name, node in before_norm if name[0] == "y"} | names
    computed |= {**_new(program), program.nc: "nc"}
    computed.pop(program.outs[0], None)
    return [
        _function("forward_c", "x r s p", "n y g", _body(before_norm, names)),
        _function("forward_h", "x r s p nc", "n y g", _body(after_norm, computed)),
    ]


def _norm_backward(program: Program) -> list[str]:
    """backward_h sets the gradients from h's; backward_c adds those from the other states."""
    assert program.nc is not None
    names, h = _after(program), program.grads_h
    new = [h[program.new[k]] if k in program.new else program.graph.constant(0) for k in program.cell.states]
    targets = [*_gradients(program, h), *_targets("dn", new), ("dnc", h[program.nc])]
    body_h = _body(targets, names | {program.nc: "nc", program.douts[0]: "d0"})
    body_c = _body(_gradients(program, program.grads), names, add=True)
    return [
        _function("backward_h", "y s p n nc d0", "dx dr ds dp dn dnc", body_h),
        _function("backward_c", "y s p n d", "dx dr ds dp", body_c),
    ]


def main(arguments: Sequence[str]) -> int:
    """Write the built-in cells to the file named."""
    if len(arguments) != 1:
        print("usage: emit_cpp.py OUT.inc", file=sys.stderr)
        return 2
    Path(arguments[0]).write_text(source(CELLS.values()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
