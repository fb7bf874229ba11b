"""Runs functions as Keras' control flow does: conditions, loops, scans, maps; in plain Python over torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as tree

from longspan import errors

from .calling import operation, to_tensor


@operation
def cond(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
    """true_fn() where the one truth value is true, else false_fn()."""
    return true_fn() if bool(to_tensor(pred)) else false_fn()


@operation
def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """The result of the branch of this index, called with the operands; an index outside is the nearest."""
    return branches[min(max(int(to_tensor(index)), 0), len(branches) - 1)](*operands)


def while_loop(
    cond: Callable[..., Any],
    body: Callable[..., Any],
    loop_vars: Any,
    maximum_iterations: int | None = None,
) -> Any:
    """The loop variables once cond(*loop_vars) is false: body(*loop_vars) gives the next ones."""
    single = not isinstance(loop_vars, (list, tuple))
    values = tuple(tree.tree_map(to_tensor, (loop_vars,) if single else tuple(loop_vars)))
    count = 0
    while (maximum_iterations is None or count < maximum_iterations) and bool(cond(*values)):
        result = body(*values)
        values = tuple(result) if isinstance(result, (list, tuple)) else (result,)
        count += 1
    return values[0] if single else values


def fori_loop(lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], init_val: Any) -> Any:
    """The value after body_fun(i, value) for i from lower to before upper."""
    value = init_val
    for index in range(int(lower), int(upper)):
        value = body_fun(index, value)
    return value


def map(f: Callable[[Any], Any], xs: Any) -> Any:
    """f of each row of the tensors, in one tensor for each output."""
    rows = tree.tree_leaves(xs)[0].shape[0] if tree.tree_leaves(xs) else 0
    xs = tree.tree_map(to_tensor, xs)
    results = [f(tree.tree_map(lambda x, row=row: x[row], xs)) for row in range(rows)]
    return tree.tree_map(lambda *parts: torch.stack(parts), *results)


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
) -> tuple[Any, Any]:
    """The last state, and the outputs in one tensor: f(state, row) gives the next state and an output.

    Args:
        f: called with the state and a row of xs, or None without xs.
        init: the first state.
        xs: a tensor, or a structure of tensors, with the rows in the first dimension.
        length: the number of rows, needed without xs.
        reverse: whether the last row comes first.
        unroll: accepted; the loop is one of Python either way.
    """
    if xs is None and length is None:
        raise errors.value_error("length", "a whole number without xs", None, "give the number of steps")
    rows = None if xs is None else tree.tree_map(to_tensor, xs)
    count = int(length or 0) if rows is None else len(tree.tree_leaves(rows)[0])
    state, outputs = init, []
    for number in reversed(range(count)) if reverse else range(count):
        row = None if rows is None else tree.tree_map(lambda x, number=number: x[number], rows)
        state, output = f(state, row)
        outputs.append(output)
    if reverse:
        outputs.reverse()
    stacked = None if not outputs or outputs[0] is None else tree.tree_map(_stacked, *outputs)
    return state, stacked


def _stacked(*parts: Any) -> Tensor:
    return torch.stack([to_tensor(part) for part in parts])


def vectorized_map(function: Callable[[Any], Any], elements: Any) -> Any:
    """The function of each row of the tensors, by torch.vmap."""
    return torch.vmap(function)(tree.tree_map(to_tensor, elements))
