"""Computes digests of data from its values, equal for equal data in every process and version of NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any

import numpy as np
import polars as pl
from torch import Tensor

from longspan import errors

_HEX_DIGITS = 32  # of a digest: 128 bits
_AT_ONCE = 1 << 20  # values of an array that are hashed at once
_PLAIN = (bool, int, float, complex, Decimal, date, time, timedelta, range, slice)


def digest(value: Any) -> str:
    """A digest of values: arrays and tensors by type, shape and bytes, containers by what they hold.

    Args:
        value: None, numbers, text, bytes, dates, arrays, tensors, polars columns and frames, and containers,
            dataclasses and objects with attributes that hold such values.

    Returns:
        32 hexadecimal digits.

    Raises:
        TypeError: a value of another kind; one sentence.

    >>> digest([("good", 1)]) == digest([("go" + "od", 1)]) != digest([("good", 0)])
    True
    """
    content = sha256()
    _add(content.update, value)
    return content.hexdigest()[:_HEX_DIGITS]


def _add(update: Callable[[bytes], None], value: Any) -> None:
    """Hash one value: its kind, its size and its content, so that no two values have the same bytes."""
    if value is None or isinstance(value, _PLAIN):
        update(f"{type(value).__name__} {value!r}\n".encode())
    elif isinstance(value, (str, bytes)):
        content = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
        update(f"{type(value).__name__} {len(content)}\n".encode() + content)
    elif isinstance(value, (np.ndarray, np.generic)):
        _add_array(update, np.asarray(value))
    elif isinstance(value, Tensor):
        _add_tensor(update, value.detach().cpu())
    elif isinstance(value, (pl.Series, pl.DataFrame)):
        columns = value.get_columns() if isinstance(value, pl.DataFrame) else [value]
        _add(update, [(column.name, str(column.dtype), column.to_list()) for column in columns])
    elif isinstance(value, Mapping):
        _add(update, ["mapping", list(value), list(value.values())])
    elif isinstance(value, (set, frozenset)):
        _add(update, ["set", sorted(digest(item) for item in value)])
    elif isinstance(value, (list, tuple)):
        _add_sequence(update, value)
    else:
        _add_object(update, value)


def _add_array(update: Callable[[bytes], None], array: np.ndarray) -> None:
    update(f"array {array.dtype.newbyteorder('<').str} {array.shape}\n".encode())
    if array.dtype.names is not None:
        _add(update, [(name, array[name]) for name in array.dtype.names])
    elif array.dtype == object:
        _add_sequence(update, array.ravel().tolist())
    else:
        flat = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).reshape(-1)
        for begin in range(0, len(flat), _AT_ONCE):  # the array may lie in a file
            update(flat[begin : begin + _AT_ONCE].tobytes())


def _add_tensor(update: Callable[[bytes], None], tensor: Tensor) -> None:
    import torch  # only here: most data holds no tensors

    update(f"tensor {tensor.dtype} {tuple(tensor.shape)}\n".encode())
    update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


def _add_sequence(update: Callable[[bytes], None], items: Sequence[Any]) -> None:
    """Hash the items of one type at once, rows of one width column by column, and others one by one."""
    update(f"sequence {len(items)}\n".encode())
    kinds = {type(item) for item in items}
    kind = next(iter(kinds)) if len(kinds) == 1 else None
    if kind is str:
        content = [item.encode("utf-8", "surrogatepass") for item in items]
        _add_array(update, np.array([len(part) for part in content], np.int64))
        update(b"".join(content))
    elif kind is float:
        _add_array(update, np.array(items, np.float64))
    elif kind is not None and issubclass(kind, tuple) and len({len(item) for item in items}) == 1:
        update(b"rows\n")
        for column in zip(*items, strict=True):
            _add_sequence(update, column)
    else:
        for item in items:
            _add(update, item)


def _add_object(update: Callable[[bytes], None], value: Any) -> None:
    """Hash an object by its type's name and its attributes."""
    if is_dataclass(value) and not isinstance(value, type):
        attributes = {field.name: getattr(value, field.name) for field in fields(value)}
    else:
        attributes = getattr(value, "__dict__", None)
        if attributes is None or callable(value):
            raise errors.type_error("data", "values, arrays and containers of them", value, "convert it")
    _add(update, [type(value).__name__, attributes])
