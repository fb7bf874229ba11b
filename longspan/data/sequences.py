"""Knows how series are cut into windows, rows are padded, and data are split without looking ahead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longspan import errors

from .arrays import Tensors, as_tensors, pad_sequences

SIDES = ("right", "left")
ORDERS = ("time", "random")


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
        rows = [row[-size:] if cut == "left" else row[:size] for row in rows]
    return pad_sequences(rows, "rows", length=length, value=value, left=side == "left")


def train_test_split(
    *data: Any, test_size: float | int = 0.25, order: str = "time", gap: int = 0, seed: int | None = None
) -> list[Any]:
    """The first rows to train on and the last ones to test on, of everything given.

    Args:
        data: arrays, tensors, frames or lists with the same number of rows, in the order of time.
        test_size: rows to test on, or their share.
        order: "time", or "random" to draw the test rows anywhere, which for series lets a network see what
            comes after what it is tested on.
        gap: rows left out between the parts, so that windows do not overlap.
        seed: of the random order.

    Returns:
        For each of the data its training part and its test part: x_train, x_test, y_train, y_test.

    Raises:
        ValueError: the data differ in rows, or a part would be empty.

    >>> train_test_split([1, 2, 3, 4], ["a", "b", "c", "d"], test_size=1)
    [[1, 2, 3], [4], ['a', 'b', 'c'], ['d']]
    """
    errors.check_choice("order", order, ORDERS)
    if not data:
        raise errors.value_error("data", "at least one array", "none", "pass x, or x and y")
    counts = [len(one) for one in data]
    if len(set(counts)) > 1:
        raise errors.value_error("data", "the same number of rows in all", counts, "give one of each a row")
    rows = counts[0]
    test = _test_rows(test_size, rows)
    train = rows - test - errors.check_int("gap", gap, 0, "give the rows to leave out")
    if test < 1 or train < 1:
        parts = f"{max(train, 0)} to train and {test} to test of {rows} rows"
        raise errors.value_error(
            "test_size", "a share that leaves both parts a row", parts, "choose another one"
        )
    if order == "time":
        return [part for one in data for part in (_slice(one, 0, train), _slice(one, rows - test, rows))]
    places = np.random.default_rng(seed).permutation(rows)
    return [part for one in data for part in (_take(one, places[:train]), _take(one, places[rows - test :]))]


def _test_rows(test_size: float | int, rows: int) -> int:
    if isinstance(test_size, int) and not isinstance(test_size, bool):
        return errors.check_int("test_size", test_size, 1, "give the number of rows to test on")
    return round(rows * errors.check_fraction("test_size", test_size, below_one=True))


def _slice(data: Any, start: int, end: int) -> Any:
    if isinstance(data, (np.ndarray, Tensor, Sequence)):
        return data[start:end]
    return _frame(data)[start:end].to_native()


def _take(data: Any, places: np.ndarray) -> Any:
    if isinstance(data, np.ndarray):
        return data[places]
    if isinstance(data, Tensor):
        return data[torch.from_numpy(places)]
    if isinstance(data, Sequence):
        return [data[place] for place in places]
    return _frame(data)[places.tolist()].to_native()


def _frame(data: Any) -> Any:
    """A pandas or polars frame or series behind one face."""
    import narwhals  # only here: most data are arrays

    try:
        return narwhals.from_native(data, eager_only=True, allow_series=True)
    except TypeError as error:
        kinds = "an array, a tensor, a list, or a pandas or polars frame"
        raise errors.type_error("data", kinds, data, "convert it to one of these") from error
