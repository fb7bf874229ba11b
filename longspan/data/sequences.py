"""Cuts series into windows, and pads rows of unequal length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from longspan import errors

from .arrays import Tensors, as_tensors, pad_sequences
from .padding import cut_rows

SIDES = ("right", "left")


def windows(
    series: Any,
    length: int,
    horizon: int = 1,
    stride: int = 1,
    *,
    target: int | Sequence[int] | None = None,
) -> tuple[Any, Any]:
    """Every stretch of a series and what follows it, as views into the series.

    Args:
        series: (T,) or (T, C) numbers as `as_tensors` takes them.
        length: steps of a window.
        horizon: steps after it that are to be foretold.
        stride: steps from a window's start to the next one's.
        target: the columns of y in a series (T, C), one number or several; None for all.

    Returns:
        x (N, length) or (N, length, C), and y (N, horizon) or (N, horizon, C), with
        N = (T - length - horizon) // stride + 1; tensors for a tensor, else NumPy arrays. Rows overlap in
        memory: copy them before changing one.

    Raises:
        ValueError: the series is shorter than one window and its horizon, or holds NaN.

    >>> x, y = windows([1, 2, 3, 4, 5], length=3)
    >>> x.tolist(), y.tolist()
    ([[1, 2, 3], [2, 3, 4]], [[4], [5]])
    """
    values = as_tensors(series, "series").values
    if values.dim() not in (1, 2):
        way_out = "cut the series of a batch one by one"
        raise errors.value_error("series", "shape (T,) or (T, C)", tuple(values.shape), way_out)
    length = errors.check_int("length", length, 1, "give the steps of a window")
    horizon = errors.check_int("horizon", horizon, 1, "give the steps to foretell")
    stride = errors.check_int("stride", stride, 1, "1 takes every window")
    if len(values) < length + horizon:
        received = f"{len(values)} steps"
        way_out = "shorten length or horizon, or take a longer series"
        raise errors.value_error(
            "series", f"at least length + horizon = {length + horizon} steps", received, way_out
        )
    after = values if target is None else _columns(values, target)
    x = _unfolded(values[: len(values) - horizon], length, stride)
    y = _unfolded(after[length:], horizon, stride)[: len(x)]
    return (x, y) if isinstance(series, Tensor) else (x.numpy(), y.numpy())


def _unfolded(values: Tensor, length: int, stride: int) -> Tensor:
    cut = values.unfold(0, length, stride)  # (N, length) or (N, C, length)
    return cut.movedim(-1, 1)


def _columns(values: Tensor, target: int | Sequence[int]) -> Tensor:
    if values.dim() == 1:
        raise errors.value_error("target", "None for a series (T,)", target, "leave it out")
    chosen = [target] if isinstance(target, int) else list(target)
    count = values.shape[1]
    for column in chosen:
        if not -count <= column < count:
            raise errors.value_error("target", f"columns from 0 to {count - 1}", column, "count from 0")
    return values[:, chosen[0], None] if len(chosen) == 1 else values[:, chosen]


def pad(
    rows: Sequence[Any],
    length: int | None = None,
    *,
    value: float = 0,
    side: str = "right",
    cut: str = "right",
) -> Tensors:
    """Rows of different length side by side.

    Args:
        rows: (T_i,) or (T_i, D) numbers each.
        length: T, None for the longest row; longer rows are cut.
        value: what fills up.
        side: where the filling goes, "right" (the layers' lengths say where rows end) or "left".
        cut: the side from which rows that are too long lose steps.

    Returns:
        values (N, T) or (N, T, D), and lengths (N,), the real steps of each row.

    >>> pad([[1, 2, 3], [4]], length=2)
    Tensors(values=tensor([[1, 2],
            [4, 0]]), lengths=tensor([2, 1]))
    """
    errors.check_choice("side", side, SIDES)
    errors.check_choice("cut", cut, SIDES)
    if isinstance(rows, str) or not isinstance(rows, Sequence):
        raise errors.type_error("rows", "a list of rows", rows, "pass one sequence a row")
    if not rows:
        raise errors.value_error("rows", "at least one row", "no data", "check what was read")
    if length is not None:
        size = errors.check_int("length", length, 1, "give the steps of every row")
        rows = cut_rows(rows, size, left=cut == "left")
    return pad_sequences(rows, "rows", length=length, value=value, left=side == "left")
