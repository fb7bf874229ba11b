"""Pads lists to one array and cuts series into windows, with Keras' names."""

from __future__ import annotations

from typing import Any

import numpy as np

from longspan import errors
from longspan.data import Batches
from longspan.utils import pad_sequences

__all__ = ["TimeseriesGenerator", "pad_sequences"]


class TimeseriesGenerator(Batches):
    """Windows of a series and the target after each, in batches: Keras 2's class of this name.

    Args:
        data: (T, …) numbers.
        targets: (T, …), the answer of the window that ends just before step t stands at t.
        length: how many steps back a window reaches.
        sampling_rate: steps between two that a window takes.
        stride: steps from a window's start to the next one's.
        start_index, end_index: the first and the last step that windows may use; None for the last of all.
        shuffle: a new order every epoch.
        reverse: windows run backwards.
        batch_size: windows a batch.

    Raises:
        ValueError: there is no room for a window, or targets differ in length.

    >>> pairs = TimeseriesGenerator([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], length=3, batch_size=8)
    >>> x, y = pairs[0]
    >>> x.tolist(), y.tolist()
    ([[1, 2, 3], [2, 3, 4]], [4, 5])
    """

    def __init__(
        self,
        data: Any,
        targets: Any,
        length: int,
        sampling_rate: int = 1,
        stride: int = 1,
        start_index: int = 0,
        end_index: int | None = None,
        shuffle: bool = False,
        reverse: bool = False,
        batch_size: int = 128,
    ) -> None:
        values, answers = np.asarray(data), np.asarray(targets)
        if len(values) != len(answers):
            raise errors.value_error(
                "targets", f"{len(values)} like data", len(answers), "give one for every step"
            )
        end = len(values) - 1 if end_index is None else end_index
        ends = np.arange(start_index + length, end + 1, stride)
        if not len(ends):
            received = f"steps {start_index} to {end}"
            raise errors.value_error("data", f"more than length = {length} steps", received, "shorten length")
        steps = np.arange(-length, 0, sampling_rate)
        x = values[ends[:, None] + (steps[::-1] if reverse else steps)]
        super().__init__(x, answers[ends], batch_size=batch_size, shuffle=shuffle)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Batch number `index`, without shuffling: x and y."""
        if not 0 <= index < len(self):
            raise IndexError(index)  # which ends a for loop
        rows = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return self._x[rows].numpy(), self._y[rows].numpy()  # pyright: ignore[reportOptionalSubscript]
