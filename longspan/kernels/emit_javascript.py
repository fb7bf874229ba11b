"""Prints a cell's step as a JavaScript function of numbers, for pages that run a cell in the browser."""

from __future__ import annotations

from longspan.cells import Cell
from longspan.kernels.program import Node, Program, operation, order, program

# Functions of a program under their names in JavaScript, or in the prelude.
CALLS = {
    "max": "Math.max",
    "min": "Math.min",
    "tanh": "Math.tanh",
    "exp": "Math.exp",
    "log": "Math.log",
    "abs": "Math.abs",
    "sqrt": "Math.sqrt",
}
# The functions that JavaScript lacks, as text.
PRELUDE = """\
const sigmoid = (v) => 1 / (1 + Math.exp(-v));
const relu = (v) => Math.max(v, 0);
const softplus = (v) => Math.max(v, 0) + Math.log1p(Math.exp(-Math.abs(v)));
"""


def step_source(cell: Cell) -> str:
    """A function `NAME(x, r, s, p, set)` of one unit's step, which returns `{states, gates}`.

    `x`, `r`, `s` and `p` are objects of numbers by letter, as the cell's step takes them. `set` has the
    values of gates that are set by hand, by letter; every other gate has the value of its equation.

    Args:
        cell: any cell, a user's own too. A page needs `PRELUDE` before its functions.

    >>> from longspan.cells import CELLS
    >>> print(step_source(CELLS["rnn"]))
    function rnn(x, r, s, p, set = {}) {
      const t0 = x.n + r.n;
      const t1 = set.n ?? Math.tanh(t0);
      return { states: { h: t1 }, gates: { n: t1 } };
    }
    """
    traced = program(cell)
    names, lines = _inputs(traced), list[str]()
    by_hand = {node: letter for letter, node in traced.gate_values.items()}
    states = dict(zip(cell.states, traced.outs, strict=True))
    for node in order([*states.values(), *traced.gate_values.values()], known=names):
        if node.op == "const":
            names[node] = f"({node.value!r})"
            continue
        value = operation(node.op, [names[a] for a in node.args], CALLS)
        names[node] = f"t{len(lines)}"
        if node in by_hand:
            value = f"set.{by_hand[node]} ?? {value if value.endswith(')') else f'({value})'}"
        lines.append(f"  const {names[node]} = {value};")
    returned = (
        f"  return {{ states: {_object(states, names)}, gates: {_object(traced.gate_values, names)} }};"
    )
    return "\n".join([f"function {cell.name}(x, r, s, p, set = {{}}) {{", *lines, returned, "}"])


def _inputs(traced: Program) -> dict[Node, str]:
    groups = (("x", traced.x), ("r", traced.r), ("s", traced.s), ("p", traced.p))
    return {node: f"{role}.{letter}" for role, nodes in groups for letter, node in nodes.items()}


def _object(nodes: dict[str, Node], names: dict[Node, str]) -> str:
    return "{ " + ", ".join(f"{letter}: {names[node]}" for letter, node in nodes.items()) + " }"
