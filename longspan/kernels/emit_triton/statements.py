"""Prints expressions of a program as Triton statements, and the text that all kernels share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from longspan.kernels.program import Node, depends, operation, order

# Functions of a program under their names in Triton or in the prelude.
CALLS = {
    "max": "larger",
    "min": "smaller",
    "gt": "greater",
    "abs": "tl.abs",
    "exp": "tl.exp",
    "log": "tl.log",
}
Target = tuple[str, Node]  # a variable, and the value that it is set to


def assignments(targets: Sequence[Target], names: Mapping[Node, str], temporary: str) -> list[str]:
    """Statements that set each target.

    Args:
        targets: the variables to set, all at the end.
        names: the values that have a variable already.
        temporary: what the names of intermediate variables begin with.
    """
    names, lines = dict(names), list[str]()
    roots = [node for _, node in targets]
    tiles = depends(roots, [n for n, name in names.items() if not name.startswith("p_")])
    for node in order(roots, known=names):
        if node.op == "const":
            names[node] = number(float(node.value))
            continue
        names[node] = f"{temporary}{len(lines)}"
        lines.append(f"{names[node]} = {operation(node.op, [names[a] for a in node.args], CALLS)}")
    for name, node in targets:
        value = names[node]
        lines.append(f"{name} = {value if node in tiles else f'zero + {value}'}")
    return lines


def number(value: float) -> str:
    """A constant."""
    if value in (float("inf"), float("-inf")):
        return f'float("{value}")'
    return repr(value) if value >= 0 else f"({value!r})"


def layer_norm_backward(
    grads: Sequence[str], normalised: Sequence[str], rstd: str, targets: Sequence[str], count: str
) -> list[str]:
    """The gradients by the inputs of a row's layer norm: rstd (d - mean(d) - hat mean(d hat)).

    Args:
        grads: the gradients d of the row, in parts.
        normalised: the normalised values hat of the same parts.
        rstd: one over the row's standard deviation.
        targets: the variables to set, one a part.
        count: how many numbers the row has.
    """
    lines = [f"part_{i} = {d}" for i, d in enumerate(grads)]
    mean = " + ".join(f"tl.sum(part_{i}, 1)" for i in range(len(grads)))
    along = " + ".join(f"tl.sum(part_{i} * {hat}, 1)" for i, hat in enumerate(normalised))
    lines += [f"mean = ({mean})[:, None] / {count}", f"along = ({along})[:, None] / {count}"]
    return lines + [
        f"{target} = {rstd} * (part_{i} - mean - {normalised[i]} * along)" for i, target in enumerate(targets)
    ]


def indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def load(address: str, mask: str) -> str:
    """A tile in float32, 0 where the mask is False."""
    return f"tl.load({address}, mask={mask}, other=0.0).to(tl.float32)"


def load_matrix(address: str, mask: str) -> str:
    """A matrix as tl.dot takes it, 0 beyond its sizes."""
    return f"tl.load({address}, mask={mask}, other=0.0).to(OPERAND)"


def function(name: str, pointers: Sequence[str], sizes: Sequence[str], body: Sequence[str]) -> str:
    """A kernel of this name, arguments and statements."""
    # j counts the steps of a graph: to compile again for each would help nobody
    decorator = '@triton.jit(do_not_specialize=["j"])' if "j" in pointers else "@triton.jit"
    head = f"def {name}({', '.join([*pointers, *sizes])}):"
    return "\n".join([decorator, head, *indented(body), ""])
