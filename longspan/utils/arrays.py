"""Makes arrays: one-hot rows, rows of norm 1, padded lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longspan import errors
from longspan.data.padding import cut_rows, fill_rows


def normalize(x: Any, axis: int = -1, order: int = 2) -> Any:
    """The array divided by its norms of an order along an axis; rows of zeros stay.

    A tensor gives a tensor, anything else an array.

    >>> normalize([[3.0, 4.0]])
    array([[0.6, 0.8]])
    """
    if isinstance(x, Tensor):
        norms = torch.linalg.vector_norm(x, order, axis, keepdim=True)
        return x / torch.where(norms == 0, 1.0, norms)
    values = np.asarray(x, dtype=np.float64) if not isinstance(x, np.ndarray) else x
    norms = np.atleast_1d(np.linalg.norm(values, order, axis))
    norms[norms == 0] = 1.0
    return values / np.expand_dims(norms, axis)


def to_categorical(x: Any, num_classes: int | None = None) -> Any:
    """Class numbers as one-hot rows, (…) -> (…, V) float32; a last dimension of 1 is dropped.

    A tensor gives a tensor, anything else an array.

    Args:
        x: whole numbers from 0.
        num_classes: V; None: the largest number and one.

    Raises:
        ValueError: a number is below 0, or not below num_classes.

    >>> to_categorical([0, 2])
    array([[1., 0., 0.],
           [0., 0., 1.]], dtype=float32)
    """
    labels = np.asarray(x.cpu() if isinstance(x, Tensor) else x).astype(np.int64)
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    count = (int(labels.max()) + 1 if labels.size else 0) if num_classes is None else num_classes
    if labels.size and (labels.min() < 0 or labels.max() >= count):
        received = f"{labels.min()} to {labels.max()}"
        raise errors.value_error("x", f"class numbers from 0 to {count - 1}", received, "raise num_classes")
    rows = np.eye(count, dtype=np.float32)[labels]
    return torch.from_numpy(rows).to(x.device) if isinstance(x, Tensor) else rows


def pad_sequences(
    sequences: Sequence[Any],
    maxlen: int | None = None,
    dtype: str = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: float | str = 0.0,
) -> np.ndarray:
    """Lists of different lengths as one array (N, maxlen, …), filled up with `value`.

    Args:
        sequences: one list or array a row.
        maxlen: the length; None: that of the longest.
        padding: "pre" or "post": part the filling goes.
        dtype: of the array; object or a text dtype for rows of text.
        truncating: "pre" or "post": part rows that are too long are cut.
        value: of the filling; a text for rows of text.

    Raises:
        ValueError: the rows' values or `value` do not fit the dtype.

    >>> pad_sequences([[1, 2], [3]])
    array([[1, 2],
           [0, 3]], dtype=int32)
    """
    errors.check_choice("padding", padding, ("pre", "post"))
    errors.check_choice("truncating", truncating, ("pre", "post"))
    longest = max((len(row) for row in sequences), default=0)
    steps = longest if maxlen is None else errors.check_int("maxlen", maxlen, 1, "give the number of steps")
    inner = next((np.asarray(row).shape[1:] for row in sequences if len(row)), ())
    if isinstance(value, str) and not (np.issubdtype(dtype, np.str_) or np.dtype(dtype) == object):
        raise errors.value_error("value", f"a number of dtype {dtype}", repr(value), "give dtype=object")
    padded = np.full((len(sequences), steps, *inner), value, dtype)
    rows = (np.asarray(row, dtype) for row in cut_rows(sequences, steps, left=truncating == "pre"))
    return fill_rows(padded, rows, left=padding == "pre")
