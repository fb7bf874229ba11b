"""Traces a cell's step as straight-line code, differentiates it, and finds what backward needs saved."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from longspan import errors
from longspan.cells import Cell, Symbol, Values, maximum, minimum, softplus


class Node(Symbol):
    """One value of a program: an input, a constant or an operation on earlier values.

    `op` is "in", "const", one of + - * / neg max min gt, or the name of a function; `value` is an input's
    name or a constant's number; `index` counts the nodes of a graph in the order of their making.
    """

    __slots__ = ("args", "graph", "index", "op", "value")

    def __init__(self, graph: Graph, op: str, args: tuple[Node, ...], value: Any, index: int):
        self.graph, self.op, self.args, self.value, self.index = graph, op, args, value, index

    def _with(self, op: str, other: Any, swap: bool = False) -> Any:
        if isinstance(other, (int, float)):
            other = self.graph.constant(other)
        if not isinstance(other, Node):
            return NotImplemented
        return self.graph.make(op, other, self) if swap else self.graph.make(op, self, other)

    def __add__(self, other: Any) -> Node:
        return self._with("+", other)

    def __radd__(self, other: Any) -> Node:
        return self._with("+", other, swap=True)

    def __sub__(self, other: Any) -> Node:
        return self._with("-", other)

    def __rsub__(self, other: Any) -> Node:
        return self._with("-", other, swap=True)

    def __mul__(self, other: Any) -> Node:
        return self._with("*", other)

    def __rmul__(self, other: Any) -> Node:
        return self._with("*", other, swap=True)

    def __truediv__(self, other: Any) -> Node:
        return self._with("/", other)

    def __rtruediv__(self, other: Any) -> Node:
        return self._with("/", other, swap=True)

    def __neg__(self) -> Node:
        return self.graph.make("neg", self)

    def __bool__(self) -> bool:
        way_out = "use maximum, minimum or relu"
        raise TypeError(errors.message("step", "no branch on a value", "one (if, and, or, not)", way_out))

    def __getattr__(self, name: str) -> Any:
        allowed = "+ - * /, sigmoid, tanh, exp, log, relu, abs, sqrt, maximum, minimum and cells.softplus"
        raise AttributeError(errors.message("step", f"only {allowed}", f".{name}", "write it with these"))

    def sigmoid(self) -> Node:
        return self.graph.make("sigmoid", self)

    def tanh(self) -> Node:
        return self.graph.make("tanh", self)

    def exp(self) -> Node:
        return self.graph.make("exp", self)

    def log(self) -> Node:
        return self.graph.make("log", self)

    def relu(self) -> Node:
        return self.graph.make("relu", self)

    def abs(self) -> Node:
        return self.graph.make("abs", self)

    def sqrt(self) -> Node:
        return self.graph.make("sqrt", self)

    def softplus(self) -> Node:
        return self.graph.make("softplus", self)

    def maximum(self, other: Node) -> Node:
        return self.graph.make("max", self, _value("maximum", other))

    def minimum(self, other: Node) -> Node:
        return self.graph.make("min", self, _value("minimum", other))

    def greater(self, other: Node) -> Node:
        """1 where self > other, else 0; derivatives use it, steps do not."""
        return self.graph.make("gt", self, other)

    def new_full(self, size: tuple[()], value: float) -> Node:
        """A constant, by the name under which tensors offer it."""
        return self.graph.constant(value)


def _value(method: str, other: Any) -> Node:
    if isinstance(other, Node):
        return other
    way_out = f"write cells.{method}(v, number)"  # tensors refuse a number here too; a step must run on both
    raise errors.type_error(method, "a value", other, way_out)


def _is(node: Node, number: float) -> bool:
    return node.op == "const" and node.value == number


def _sum(a: Node, b: Node) -> Node | None:
    if _is(a, 0):
        return b
    if _is(b, 0):
        return a
    if b.op == "neg":
        return a - b.args[0]
    return b - a.args[0] if a.op == "neg" else None


def _difference(a: Node, b: Node) -> Node | None:
    if _is(b, 0):
        return a
    if _is(a, 0):
        return -b
    return a + b.args[0] if b.op == "neg" else None


def _product(a: Node, b: Node) -> Node | None:
    for one, other in ((a, b), (b, a)):
        if _is(one, 0):
            return one
        if _is(one, 1):
            return other
        if _is(one, -1):
            return -other
        if one.op == "neg":
            return -(one.args[0] * other)
    return None


def _quotient(a: Node, b: Node) -> Node | None:
    if _is(a, 0) or _is(b, 1):
        return a
    return -(a.args[0] / b) if a.op == "neg" else None


def _as_is(a: Node, b: Node) -> None:
    return None


def _ratio(a: float, b: float) -> float:
    return a / b


def _share(a: Node, b: Node) -> Node:
    """1 where a is the larger, 0 where b is, and a half where they are equal, as torch.maximum has it."""
    return 0.5 + 0.5 * (a.greater(b) - b.greater(a))


def _divided(d: Node, y: Node, b: Node) -> tuple[Node, Node]:
    da = d / b
    return da, -(da * y)


def _sign(a: Node) -> Node:
    zero = a.graph.constant(0)
    return a.greater(zero) - zero.greater(a)


@dataclass(frozen=True)
class Unary:
    """y = op(a): on a number, its gradient d -> da given (d, y, a), and what recomputing it costs."""

    number: Callable[[float], float]
    gradient: Callable[[Node, Node, Node], Node]
    cost: int


@dataclass(frozen=True)
class Binary:
    """y = op(a, b): on numbers, its gradients (da, db) given (d, y, a, b), its cost, a simpler equal."""

    number: Callable[[float, float], float]
    gradient: Callable[[Node, Node, Node, Node], tuple[Node, Node]]
    cost: int = 1
    simpler: Callable[[Node, Node], Node | None] = _as_is


# Beside saving a value, which is written once and read once, recomputing arithmetic costs next to nothing and
# a transcendental function more than half: one (tanh of a state) is worth a value less to save, two are not.
SAVE, TRANSCENDENTAL, DIVISION, NEVER = 100, 60, 5, 10**9

UNARY: dict[str, Unary] = {
    "neg": Unary(operator.neg, lambda d, y, a: -d, 1),
    "sigmoid": Unary(lambda a: 1 / (1 + math.exp(-a)), lambda d, y, a: d * (y * (1 - y)), TRANSCENDENTAL),
    "tanh": Unary(math.tanh, lambda d, y, a: d * (1 - y * y), TRANSCENDENTAL),
    "exp": Unary(math.exp, lambda d, y, a: d * y, TRANSCENDENTAL),
    "log": Unary(math.log, lambda d, y, a: d / a, TRANSCENDENTAL),
    "softplus": Unary(
        lambda a: max(a, 0.0) + math.log1p(math.exp(-abs(a))), lambda d, y, a: d * a.sigmoid(), TRANSCENDENTAL
    ),
    "relu": Unary(lambda a: max(a, 0.0), lambda d, y, a: d * y.greater(y.graph.constant(0)), 1),
    "abs": Unary(abs, lambda d, y, a: d * _sign(a), 1),
    "sqrt": Unary(math.sqrt, lambda d, y, a: d * 0.5 / y, DIVISION),
}

BINARY: dict[str, Binary] = {
    "+": Binary(operator.add, lambda d, y, a, b: (d, d), simpler=_sum),
    "-": Binary(operator.sub, lambda d, y, a, b: (d, -d), simpler=_difference),
    "*": Binary(operator.mul, lambda d, y, a, b: (d * b, d * a), simpler=_product),
    "/": Binary(_ratio, lambda d, y, a, b: _divided(d, y, b), DIVISION, simpler=_quotient),
    "max": Binary(max, lambda d, y, a, b: (d * _share(a, b), d * (1 - _share(a, b)))),
    "min": Binary(min, lambda d, y, a, b: (d * (1 - _share(a, b)), d * _share(a, b))),
}


def _folded(graph: Graph, op: str, args: tuple[Node, ...]) -> Node | None:
    a, b = args[0], args[-1]
    constant = a.op == "const" and b.op == "const"
    if op in UNARY:
        if op == "neg" and a.op == "neg":
            return a.args[0]
        return graph.constant(UNARY[op].number(a.value)) if constant else None
    if op in BINARY:
        rule = BINARY[op]
        return graph.constant(rule.number(a.value, b.value)) if constant else rule.simpler(a, b)
    return None


class Graph:
    """The nodes of one trace; equal expressions are one node, constants are folded."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[Any, ...], Node] = {}

    def input(self, name: str) -> Node:
        return self._node("in", (), name)

    def constant(self, number: float) -> Node:
        return self._node("const", (), float(number))

    def make(self, op: str, *args: Node) -> Node:
        """The node of `op` on `args`, or a simpler one of the same value."""
        simpler = _folded(self, op, args)
        if simpler is not None:
            return simpler
        if op in ("+", "*", "max", "min"):
            args = tuple(sorted(args, key=lambda a: a.index))
        return self._node(op, args, None)

    def _node(self, op: str, args: tuple[Node, ...], value: Any) -> Node:
        key = (op, value, *[a.index for a in args])
        if key not in self.nodes:
            self.nodes[key] = Node(self, op, args, value, len(self.nodes))
        return self.nodes[key]


def order(roots: Iterable[Node], known: Iterable[Node] = ()) -> list[Node]:
    """Everything that the roots need, arguments before their users, stopping at what is known."""
    seen, out = set(known), list[Node]()

    def visit(node: Node) -> None:
        if node not in seen:
            seen.add(node)
            for a in node.args:
                visit(a)
            out.append(node)

    for root in roots:
        visit(root)
    return out


def depends(roots: Iterable[Node], on: Iterable[Node]) -> set[Node]:
    """The nodes below the roots whose value changes with one of `on`."""
    hot = set(on)
    for node in order(roots):
        if any(a in hot for a in node.args):
            hot.add(node)
    return hot


def substitute(root: Node, new: Mapping[Node, Node]) -> Node:
    """The same expression with some of its nodes replaced."""
    done = dict(new)
    for node in order([root], known=new):
        args = [done[a] for a in node.args]
        done[node] = node.graph.make(node.op, *args) if args else node
    return done[root]


def adjoints(outs: Sequence[Node], douts: Sequence[Node]) -> dict[Node, Node]:
    """The gradient by every node below `outs`, given the gradients by `outs`."""
    grad: dict[Node, Node] = {}

    def add(node: Node, d: Node) -> None:
        grad[node] = grad[node] + d if node in grad else d

    for out, d in zip(outs, douts, strict=True):
        add(out, d)
    for node in reversed([n for n in order(outs) if n.args]):
        if node not in grad:
            continue
        d, a, b = grad[node], node.args[0], node.args[-1]
        if node.op in UNARY:
            add(a, UNARY[node.op].gradient(d, node, a))
        else:
            da, db = BINARY[node.op].gradient(d, node, a, b)
            add(a, da)
            add(b, db)
    return grad


def _cost(node: Node) -> int:
    if node.op in UNARY:
        return UNARY[node.op].cost
    if node.op in BINARY:
        return BINARY[node.op].cost
    return NEVER if node.op == "in" else 1


def cheapest(needed: Iterable[Node], free: set[Node]) -> list[Node]:
    """The values to save so that `needed` can be had again at least cost: a minimum cut.

    Each node is two vertices: the edge between them is cut when its value is saved, the edge from "source" to
    the first when it is recomputed, which wants its arguments.
    """
    capacity: dict[Any, dict[Any, int]] = {"source": {}, "sink": {}}

    def edge(a: Any, b: Any, weight: int) -> None:
        capacity.setdefault(a, {})[b] = weight
        capacity.setdefault(b, {}).setdefault(a, 0)

    needed = [n for n in needed if n not in free]
    nodes = order(needed, known=free)
    for n in nodes:
        edge((n, "in"), (n, "out"), 0 if n.op == "const" else SAVE)
        edge("source", (n, "in"), _cost(n))
        for a in n.args:
            if a not in free:
                edge((a, "out"), (n, "in"), NEVER)
    for n in needed:
        edge((n, "out"), "sink", NEVER)
    near = _near_side(capacity)
    saved = [n for n in nodes if (n, "in") in near and (n, "out") not in near and n.op != "const"]
    return sorted(saved, key=lambda n: n.index)


def _near_side(capacity: dict[Any, dict[Any, int]]) -> set[Any]:
    """The source's side of a minimum cut, by augmenting shortest paths (Edmonds and Karp 1972)."""
    while True:
        came: dict[Any, Any] = {"source": "source"}
        queue: list[Any] = ["source"]
        for a in queue:
            for b, left in capacity[a].items():
                if left and b not in came:
                    came[b] = a
                    queue.append(b)
        if "sink" not in came:
            return set(came)
        path: list[tuple[Any, Any]] = []
        b: Any = "sink"
        while b != "source":
            path.append((came[b], b))
            b = came[b]
        flow = min(capacity[a][b] for a, b in path)
        for a, b in path:
            capacity[a][b] -= flow
            capacity[b][a] += flow


ACTIVATIONS = ("sigmoid", "tanh", "exp", "relu")


def nearest_activation(start: Node, roots: Iterable[Node]) -> Node | None:
    """The first activation that reads `start`: the fewest operations away, then the first written."""
    nodes, level, seen = order(roots), {start}, {start}
    while level:
        level = {n for n in nodes if n not in seen and any(a in level for a in n.args)}
        if found := [n for n in level if n.op in ACTIVATIONS]:
            return min(found, key=lambda n: n.index)
        seen |= level
    return None


class Program:
    """Forward and backward of one cell; the saved values are found, not written.

    With `normed`, the step is cut in two for layer norm on the state c: the new states but h come first, then
    h from `nc` (the normalised new c, wherever c stood) and the other new states, which are inputs then.

    Attributes:
        x, r, s, p: letter to input node (`r` is empty for a cell without R).
        new: letter to input node, the new states that h reads when normed; else empty.
        nc: input node, when normed; else None.
        outs, douts: the new states and their gradients, in order.
        grads: input node to its gradient, from the gradients of all new states; when normed, of all but h.
        grads_h: when normed, input node to its gradient from the gradient of h; else empty.
        saved: the nodes that the forward pass keeps for the backward pass, which also has the previous
            states, the extras, the new states and `nc`.
        gate_values: letter to the node shown as this gate's value.
        shared: whether the gradients by x and by r are the same for every gate.
        reads_h: whether the step reads the previous h other than through R.
    """

    def __init__(self, cell: Cell, normed: bool = False):
        if normed and "c" not in cell.states:
            expected, received = "a cell with a state c", f"{cell.name!r} with states {cell.states!r}"
            raise errors.value_error("layer norm of c", expected, received, "normalise x and r only")
        self.cell, self.normed, self.graph = cell, normed, Graph()
        self.x = self._inputs("x", cell.gates)
        self.r = self._inputs("r", cell.gates if cell.recurrent else "")
        self.s, self.p = self._inputs("s", cell.states), self._inputs("p", cell.params)
        self.outs = self._trace()
        self.reads_h = self.s["h"] in order(self.outs)
        self.new: dict[str, Node] = self._inputs("n", cell.states[1:].replace("c", "")) if normed else {}
        self.nc = self.graph.input("nc") if normed else None
        self._cut()
        self.douts = list(self._inputs("d", cell.states).values())
        self.grads_h = self._gradients(slice(0, 1)) if normed else {}
        self.grads = self._gradients(slice(1, None) if normed else slice(None))
        self.shared = all(
            g[self.x[k]] is g[self.r[k]] for g in (self.grads, self.grads_h) if g for k in self.r
        )
        self.saved = self._saved()
        self.gate_values = {k: self._gate_value(k) for k in cell.gates}

    def _inputs(self, role: str, letters: str) -> dict[str, Node]:
        return {k: self.graph.input(f"{role}_{k}") for k in letters}

    def _trace(self) -> list[Node]:
        roles = {"x": self.x, "r": self.r, "s": self.s, "p": self.p}
        outs = self.cell.step(*[Values(role, letters) for role, letters in roles.items()])
        name, count = self.cell.name, len(self.cell.states)
        wanted = f"the step to return a tuple of {count}, the new states {self.cell.states!r} in order"
        if type(outs) is not tuple:
            raise errors.type_error(name, wanted, outs, "return a tuple, (h,) where h is the only state")
        if len(outs) != count:
            raise errors.value_error(name, wanted, len(outs), "return one value a state or correct states=")
        if wrong := [o for o in outs if not isinstance(o, Node)]:
            raise errors.type_error(name, wanted, wrong[0], "return values computed from x, r, s and p")
        return list(outs)

    def _cut(self) -> None:
        """Let h read `nc` and the new states as inputs."""
        if self.nc is not None:
            raw = dict(zip(self.cell.states, self.outs, strict=True))
            new = {raw[k]: node for k, node in self.new.items()} | {raw["c"]: self.nc}
            self.outs[0] = substitute(self.outs[0], new)

    @property
    def inputs(self) -> list[Node]:
        """What gradients are taken by: x, r, s, p and, when normed, the new states and nc."""
        groups = (self.x, self.r, self.s, self.p, self.new)
        return [n for group in groups for n in group.values()] + ([] if self.nc is None else [self.nc])

    def _gradients(self, part: slice) -> dict[Node, Node]:
        grad = adjoints(self.outs[part], self.douts[part])
        return {n: grad.get(n, self.graph.constant(0)) for n in self.inputs}

    def _saved(self) -> list[Node]:
        roots = [*self.grads.values(), *self.grads_h.values()]
        hot = depends(roots, self.douts)
        needed = [a for n in order(roots) if n in hot for a in n.args if a not in hot]
        free = {*self.s.values(), *self.p.values(), *self.new.values(), *self.outs}
        return cheapest(needed, free if self.nc is None else free | {self.nc})

    def _gate_value(self, letter: str) -> Node:
        plain = self.x[letter] + self.r[letter] if letter in self.r else self.x[letter]
        found = nearest_activation(self.x[letter], self.outs)
        return plain if found is None else found


@lru_cache(maxsize=256)
def program(cell: Cell, normed: bool = False) -> Program:
    """The program of a cell, made once."""
    return Program(cell, normed)


COMPUTE: dict[str, Callable[..., Any]] = {
    **{op: operator.methodcaller(op) for op in UNARY if op not in ("neg", "softplus")},
    **{
        op: rule.number for op, rule in BINARY.items()
    },  # the arithmetic of numbers is the arithmetic of tensors
    "neg": operator.neg,
    "max": maximum,
    "min": minimum,
    "softplus": softplus,
}


def evaluate(roots: Sequence[Node], values: Mapping[Node, Any]) -> list[Any]:
    """The values of forward nodes on tensors.

    Args:
        roots: nodes of a program's forward pass (new states, gate values).
        values: input node to tensor, all shaped (..., H); any node given here is not computed.

    Returns:
        One tensor a root; autograd differentiates through it.
    """
    have = dict(values)
    for node in order(roots, known=values):
        if node.op == "const":
            have[node] = node.value
        else:
            have[node] = COMPUTE[node.op](*[have[a] for a in node.args])
    return [have[root] for root in roots]


def operation(op: str, args: Sequence[str], calls: Mapping[str, str]) -> str:
    """An operation on named values as source text, in the notation that C++ and Python share.

    Args:
        op: as `Node.op`.
        args: the operands' names.
        calls: what functions are called in the language, where it is not `op`.

    >>> operation("max", ["a", "b"], {"max": "maximum"}), operation("*", ["a", "b"], {})
    ('maximum(a, b)', 'a * b')
    """
    if op == "neg":
        return f"-{args[0]}"
    return f"{args[0]} {op} {args[1]}" if op in "+-*/" else f"{calls.get(op, op)}({', '.join(args)})"
