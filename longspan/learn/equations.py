"""Writes a cell's equations as HTML beside the lines of code that they are read from."""

from __future__ import annotations

import ast
import inspect
import textwrap
from html import escape
from typing import NamedTuple

from longspan import errors
from longspan.cells import Cell

_FUNCTIONS = {"sigmoid": "σ", "tanh": "tanh", "relu": "relu"}
_OPERATORS: dict[type[ast.operator], tuple[str, int]] = {
    ast.Add: (" + ", 1),
    ast.Sub: (" − ", 1),
    ast.Mult: (" ⊙ ", 2),
    ast.Div: (" / ", 2),
}
_ATOM = 3  # binds tighter than every operator
_NOW, _BEFORE = "<sub>t</sub>", "<sub>t−1</sub>"


class Line(NamedTuple):
    """One statement of a step: what it sets, its equation as HTML, and its source."""

    target: str
    equation: str
    code: str


def lines(cell: Cell) -> list[Line]:
    """Every statement of a cell's step; the returned states come last, those computed before left out.

    >>> from longspan.cells import CELLS
    >>> lines(CELLS["rnn"])[0].code
    'return ((x.n + r.n).tanh(),)'
    """
    source = textwrap.dedent(inspect.getsource(cell.step))
    tree = ast.parse(source)
    (step,) = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    written = list[Line]()
    for statement in step.body:
        code = ast.get_source_segment(source, statement) or ""
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
            written.append(Line(name, f"{_named(name, cell)} = {_text(statement.value, cell)[0]}", code))
        elif isinstance(statement, ast.Return) and isinstance(statement.value, ast.Tuple):
            returned = zip(cell.states, statement.value.elts, strict=True)
            new = [(k, value) for k, value in returned if not isinstance(value, ast.Name)]
            equations = [f"{_named(k, cell)} = {_text(value, cell)[0]}" for k, value in new]
            written.append(Line(new[0][0], "; ".join(equations), code))
    return written


def _named(name: str, cell: Cell) -> str:
    """A value of this step; states have their time."""
    return f"<var>{escape(name)}</var>{_NOW if name in cell.states else ''}"


def _text(node: ast.expr, cell: Cell) -> tuple[str, int]:
    """An expression as HTML, and how tightly its last operation binds."""
    if isinstance(node, ast.BinOp):
        sign, level = _OPERATORS[type(node.op)]
        left, right = _text(node.left, cell), _text(node.right, cell)
        strict = isinstance(node.op, (ast.Sub, ast.Div))
        return _inside(left, level) + sign + _inside(right, level + strict), level
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return f"{_FUNCTIONS[node.func.attr]}({_text(node.func.value, cell)[0]})", _ATOM
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        role, letter = node.value.id, escape(node.attr)
        if role == "s":
            return f"<var>{letter}</var>{_BEFORE}", _ATOM
        return f"<var>{role}</var><sub>{letter}</sub>", _ATOM
    if isinstance(node, ast.Constant):
        return escape(str(node.value)), _ATOM
    if isinstance(node, ast.Name):
        return _named(node.id, cell), _ATOM
    raise errors.type_error(
        "equation", "arithmetic of values", ast.unparse(node), "write it with signs and methods"
    )


def _inside(part: tuple[str, int], level: int) -> str:
    text, own = part
    return f"({text})" if own < level else text


def table(cell: Cell, meanings: dict[str, str]) -> str:
    """An HTML table: each equation, its line of code, and its meaning in words by the name that it sets."""
    rows = "".join(
        f"<tr><td>{line.equation}</td><td><code>{escape(line.code)}</code></td>"
        f"<td>{escape(meanings[line.target])}</td></tr>"
        for line in lines(cell)
    )
    head = "<thead><tr><th>equation</th><th>line of <code>cells.py</code></th><th>in words</th></tr></thead>"
    return f"<div class='wide'><table class='equations'>{head}<tbody>{rows}</tbody></table></div>"
