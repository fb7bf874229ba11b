"""Splits data into parts to train on and to validate or test on: the last rows, random ones, or by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longspan import errors

from .arrays import as_tensors

ORDERS = ("time", "random")


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
    counts = [len(column) for column in data]
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
        ends = ((0, train), (rows - test, rows))
        return [_slice(column, start, end) for column in data for start, end in ends]
    shuffled = np.random.default_rng(seed).permutation(rows)
    return [_take(column, part) for column in data for part in (shuffled[:train], shuffled[rows - test :])]


def _test_rows(test_size: float | int, rows: int) -> int:
    if isinstance(test_size, int) and not isinstance(test_size, bool):
        return errors.check_int("test_size", test_size, 1, "give the number of rows to test on")
    return rows_of_fraction(rows, errors.check_fraction("test_size", test_size, below_one=True))


def _slice(data: Any, start: int, end: int) -> Any:
    if isinstance(data, (np.ndarray, Tensor, Sequence)):
        return data[start:end]
    return _frame(data)[start:end].to_native()


def _take(data: Any, rows: np.ndarray) -> Any:
    if isinstance(data, np.ndarray):
        return data[rows]
    if isinstance(data, Tensor):
        return data[torch.from_numpy(rows)]
    if isinstance(data, Sequence):
        return [data[row] for row in rows]
    return _frame(data)[rows.tolist()].to_native()


def _frame(data: Any) -> Any:
    """A pandas or polars frame or series as a narwhals one."""
    import narwhals  # only here: most data are arrays

    try:
        return narwhals.from_native(data, eager_only=True, allow_series=True)
    except TypeError as error:
        kinds = "an array, a tensor, a list, or a pandas or polars frame"
        raise errors.type_error("data", kinds, data, "convert it to one of these") from error


def rows_of_fraction(rows: int, fraction: float) -> int:
    """The number of rows to hold out: a fraction of them, rounded to the nearest, halves to even.

    >>> rows_of_fraction(10, 0.25)
    2
    """
    return round(rows * fraction)


def stratified(labels: Sequence[Any], fraction: float, seed: int) -> list[int]:
    """Row numbers to hold out, in ascending order: the same fraction of each class, drawn at random.

    Args:
        labels: one for each row; rows with a label a step (lists) count as one class.
        fraction: of each class, in [0, 1).
        seed: of the drawing.

    >>> stratified(["a", "b", "a", "a"], 0.4, seed=0) in ([0], [2], [3])
    True
    """
    by_class: dict[str, list[int]] = {}
    for row in np.random.default_rng(seed).permutation(len(labels)).tolist():
        label = labels[row]
        by_class.setdefault("" if isinstance(label, list) else repr(label), []).append(row)
    return sorted(row for rows in by_class.values() for row in rows[: rows_of_fraction(len(rows), fraction)])


def stratified_folds(labels: Sequence[Any], folds: int, seed: int) -> np.ndarray:
    """The fold (N,) of each row, 0 to folds - 1: the rows of a class are dealt out evenly, at random.

    Args:
        labels: as in `stratified`; folds: at least 2; seed: of the drawing.

    >>> sorted(stratified_folds(["a", "b", "a", "b"], 2, seed=0).tolist())
    [0, 0, 1, 1]
    """
    order = np.random.default_rng(seed).permutation(len(labels)).tolist()
    names = ["" if isinstance(label, list) else repr(label) for label in labels]
    fold = np.empty(len(labels), dtype=np.int64)
    fold[sorted(order, key=lambda row: names[row])] = np.arange(len(labels)) % folds
    return fold


def validation_boundary(rows: int, validation_split: float, way_out: str = "change it") -> int:
    """The row at which the validation part begins, by Keras' rule: int(rows * (1 - validation_split)).

    Raises:
        ValueError: a part would be empty; one sentence that ends with `way_out`.

    >>> validation_boundary(10, 0.25)
    7
    """
    boundary = int(rows * (1.0 - errors.check_fraction("validation_split", validation_split, below_one=True)))
    if not 0 < boundary < rows:
        expected = f"a fraction that leaves rows on both sides of {rows}"
        raise errors.value_error("validation_split", expected, validation_split, way_out)
    return boundary


def split_for_validation(validation_split: float, *columns: Any) -> tuple[list[Any], list[Any]]:
    """The training rows of each column and the validation rows after them, by Keras' rule; None stays None.

    Args:
        validation_split: the fraction of rows at the end to hold out.
        columns: arrays, tensors, frames or lists with the same number of rows, or None.
    """
    errors.check_fraction("validation_split", validation_split, below_one=True)
    parts = [None if column is None else _sliceable(column) for column in columns]
    boundary = validation_boundary(0 if parts[0] is None else len(parts[0]), validation_split)
    return (
        [None if part is None else part[:boundary] for part in parts],
        [None if part is None else part[boundary:] for part in parts],
    )


def _sliceable(column: Any) -> Any:
    """The column as something that slices by row: frames and arrays become tensors."""
    return column if isinstance(column, (list, Tensor)) else as_tensors(column).values
