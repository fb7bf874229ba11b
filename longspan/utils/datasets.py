"""Makes data sets for `fit`: batches by number, windows of a series, two parts of a data set."""

from __future__ import annotations

import abc
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Subset

from longspan import errors
from longspan.data import Batches
from longspan.data.batches import as_batch
from longspan.layers.structure import flatten, map_structure


class PyDataset(abc.ABC):
    """A data set that gives batches by number, for `fit`, `evaluate` and `predict`. Abstract.

    A subclass defines `__len__`, the number of batches, and `__getitem__`, which gives a batch as x, (x, y)
    or (x, y, sample_weight). Where it defines `on_epoch_end`, that is called after every epoch.
    `fit(shuffle=True)` takes the batches in a new order every epoch.

    Args:
        workers, use_multiprocessing, max_queue_size: of Keras; batches are read by the process that trains,
            so that other values are refused.
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10) -> None:
        if workers > 1 or use_multiprocessing:
            received = f"workers={workers}, use_multiprocessing={use_multiprocessing}"
            way_out = "read in several processes with torch.utils.data.DataLoader(num_workers=)"
            raise errors.value_error(type(self).__name__, "one worker in this process", received, way_out)

    def __len__(self) -> int:
        """The number of batches of an epoch, `num_batches` where a subclass defines that instead."""
        count = self.num_batches if type(self).num_batches is not PyDataset.num_batches else None
        if count is None:
            expected, way_out = "a data set with a length", "define __len__, or give fit steps_per_epoch"
            raise errors.type_error(type(self).__name__, expected, count, way_out)
        return count

    @abc.abstractmethod
    def __getitem__(self, index: int) -> Any:
        """The batch of a number, from 0."""

    @property
    def num_batches(self) -> int | None:
        """The number of batches of an epoch."""
        return len(self)


Sequence = PyDataset  # the name in tf.keras


def pack_x_y_sample_weight(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """x, (x, y) or (x, y, sample_weight), as far as they are there."""
    if y is None and sample_weight is None:
        return (x,) if isinstance(x, (tuple, list)) else x
    return (x, y) if sample_weight is None else (x, y, sample_weight)


def unpack_x_y_sample_weight(data: Any) -> tuple[Any, Any, Any]:
    """(x, y, sample_weight) of what `pack_x_y_sample_weight` gave, None for those that are not there."""
    batch = as_batch(tuple(data) if isinstance(data, list) else data)
    return batch.x, batch.y, batch.weight


def timeseries_dataset_from_array(
    data: Any,
    targets: Any,
    sequence_length: int,
    sequence_stride: int = 1,
    sampling_rate: int = 1,
    batch_size: int = 128,
    shuffle: bool = False,
    seed: int | None = None,
    start_index: int | None = None,
    end_index: int | None = None,
    format: None = None,
) -> Batches:
    """Windows of a series, each with the target that has its start's number, as batches for `fit`.

    Args:
        data: (T, …) numbers.
        targets: (T', …), the answer to the window that starts at step t stands at t; None for windows alone.
        sequence_length: steps a window takes.
        sequence_stride: steps from a window's start to the next one's.
        sampling_rate: steps between two that a window takes.
        batch_size, shuffle, seed: see `longspan.data.Batches`.
        start_index, end_index: use the steps from the first to before the second.
        format: None. Keras' "tf" and "grain" name data sets of other libraries.

    Raises:
        ValueError: there is no room for a window, or an index, stride or rate does not fit.

    >>> data = np.arange(6.0)
    >>> (batch,) = timeseries_dataset_from_array(data[:-3], data[3:], sequence_length=2)
    >>> batch.x.tolist(), batch.y.tolist()
    ([[0.0, 1.0], [1.0, 2.0]], [3.0, 4.0])
    """
    if format is not None:
        way_out = "the batches here go into fit as they are"
        raise errors.value_error("format", "None", repr(format), way_out)
    _check_windows(len(data), start_index, end_index, sequence_stride, sampling_rate)
    part = slice(start_index, end_index)
    values, answers = np.asarray(data)[part], None if targets is None else np.asarray(targets)[part]
    count = len(values) - (sequence_length - 1) * sampling_rate
    count = count if answers is None else min(count, len(answers))
    if count < 1:
        expected = f"at least {(sequence_length - 1) * sampling_rate + 1} steps, and a target"
        raise errors.value_error("data", expected, len(values), "shorten sequence_length")
    starts = np.arange(0, count, sequence_stride)
    x = values[starts[:, None] + sampling_rate * np.arange(sequence_length)]
    y = None if answers is None else answers[starts]
    return Batches(x, y, batch_size=batch_size, shuffle=shuffle, seed=seed)


def _check_windows(steps: int, start: int | None, end: int | None, stride: int, rate: int) -> None:
    for name, index in (("start_index", start), ("end_index", end)):
        if index is not None and not 0 <= index < steps:
            raise errors.value_error(name, f"a step from 0 to {steps - 1}", index, "or leave it out")
    errors.check_int("sequence_stride", stride, 1, "1 starts a window at every step")
    errors.check_int("sampling_rate", rate, 1, "1 takes every step")


class _RowsOf(Dataset[Any]):
    """The rows of arrays in a structure; a row is the same structure of tensors."""

    def __init__(self, arrays: Any) -> None:
        self._arrays = map_structure(torch.as_tensor, arrays)
        lengths = [len(array) for array in flatten(self._arrays)]
        if len(set(lengths)) != 1:
            raise errors.value_error("dataset", "arrays of one length", lengths, "cut them to the same rows")
        self._length = lengths[0]

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Any:
        return map_structure(lambda array: array[index], self._arrays)


def split_dataset(
    dataset: Any,
    left_size: float | int | None = None,
    right_size: float | int | None = None,
    shuffle: bool = False,
    seed: int | None = None,
    preferred_backend: str | None = None,
) -> tuple[Any, Any]:
    """Two parts of a data set, such as one to train on and one to test on.

    Args:
        dataset: an array, a list or tuple of arrays with as many rows, or a torch.utils.data.Dataset.
        left_size, right_size: the number of rows of a part, or a fraction of all; None for the other rows.
        shuffle: draw the rows of the parts; False takes the first and the last ones.
        seed: of the draw; None draws one from torch's generator.
        preferred_backend: None or "torch".

    Returns:
        Two torch.utils.data.Dataset objects; a row of a tuple of arrays is a tuple of tensors.

    Raises:
        ValueError: both sizes are None, or they take more rows than there are.

    >>> left, right = split_dataset(np.arange(10.0), left_size=0.8)
    >>> len(left), len(right), right[0]
    (8, 2, tensor(8., dtype=torch.float64))
    """
    if preferred_backend not in (None, "torch"):
        expected = 'None or "torch"'
        raise errors.value_error("preferred_backend", expected, repr(preferred_backend), "leave it out")
    rows = dataset if isinstance(dataset, Dataset) else _RowsOf(_arrays_of(dataset))
    total = len(rows)  # pyright: ignore[reportArgumentType]
    left, right = _sizes(total, left_size, right_size)
    order = torch.arange(total)
    if shuffle:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        order = torch.randperm(total, generator=generator)
    indices = order.tolist()
    return Subset(rows, indices[:left]), Subset(rows, indices[total - right :])


def _arrays_of(dataset: Any) -> Any:
    if isinstance(dataset, (list, tuple)) and dataset:
        return tuple(dataset)
    if isinstance(dataset, (np.ndarray, torch.Tensor)):
        return dataset
    expected = "an array, a list or tuple of arrays, or a torch.utils.data.Dataset"
    raise errors.type_error("dataset", expected, dataset, "pass the arrays in a tuple")


def _sizes(total: int, left: float | int | None, right: float | int | None) -> tuple[int, int]:
    """The rows of the left and of the right part."""
    if left is None and right is None:
        raise errors.value_error("left_size", "a size, or one of right_size", None, "give such as 0.8")
    counts = [_count(name, size, total) for name, size in (("left_size", left), ("right_size", right))]
    rows = (
        total - (counts[1] or 0) if counts[0] is None else counts[0],
        total - (counts[0] or 0) if counts[1] is None else counts[1],
    )
    if sum(rows) > total:
        received = f"{rows[0]} and {rows[1]}"
        raise errors.value_error(
            "left_size and right_size", f"at most {total} rows", received, "leave one out"
        )
    return rows


def _count(name: str, size: float | int | None, total: int) -> int | None:
    if size is None:
        return None
    fits = 0 <= size <= 1 if isinstance(size, float) else 0 < size < total
    if isinstance(size, bool) or not fits:
        expected = f"a fraction from 0.0 to 1.0, or a number of rows from 1 to {total - 1}"
        raise errors.value_error(name, expected, size, "or leave it out for the other rows")
    return round(size * total) if isinstance(size, float) else size
