"""Knows Keras' small helpers: one-hot rows, padded lists, seeds."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from longspan import checks


def to_categorical(x: Any, num_classes: int | None = None) -> np.ndarray:
    """Class numbers as one-hot rows, (…) -> (…, V) float32; a last dimension of 1 is dropped.

    Args:
        x: whole numbers from 0.
        num_classes: V; None: the largest number and one.

    Raises:
        ValueError: a number is below 0, or not below num_classes.

    >>> to_categorical([0, 2])
    array([[1., 0., 0.],
           [0., 0., 1.]], dtype=float32)
    """
    labels = np.asarray(x).astype(np.int64)
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    count = (int(labels.max()) + 1 if labels.size else 0) if num_classes is None else num_classes
    if labels.size and (labels.min() < 0 or labels.max() >= count):
        received = f"{labels.min()} to {labels.max()}"
        raise checks.wrong("x", f"class numbers from 0 to {count - 1}", received, "raise num_classes")
    return np.eye(count, dtype=np.float32)[labels]


def pad_sequences(
    sequences: Sequence[Any],
    maxlen: int | None = None,
    dtype: str = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: float = 0.0,
) -> np.ndarray:
    """Lists of different lengths as one array (N, maxlen, …), filled up with `value`.

    Args:
        sequences: one list or array a row.
        maxlen: the length; None: that of the longest.
        padding: "pre" or "post": where the filling goes.
        truncating: "pre" or "post": where rows that are too long are cut.

    >>> pad_sequences([[1, 2], [3]])
    array([[1, 2],
           [0, 3]], dtype=int32)
    """
    checks.one_of("padding", padding, ("pre", "post"))
    checks.one_of("truncating", truncating, ("pre", "post"))
    longest = max((len(row) for row in sequences), default=0)
    steps = longest if maxlen is None else checks.whole("maxlen", maxlen, 1, "give the number of steps")
    inner = next((np.asarray(row).shape[1:] for row in sequences if len(row)), ())
    made = np.full((len(sequences), steps, *inner), value, dtype)
    for target, row in zip(made, sequences, strict=True):
        kept = np.asarray(row[-steps:] if truncating == "pre" else row[:steps], dtype)
        if len(kept):
            where = slice(steps - len(kept), None) if padding == "pre" else slice(len(kept))
            target[where] = kept
    return made


def set_random_seed(seed: int) -> None:
    """Seed Python, NumPy and PyTorch."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
