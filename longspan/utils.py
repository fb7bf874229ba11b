"""Keras' helpers: one-hot rows, padded lists, windows of a series, seeds."""

from __future__ import annotations

import abc
import random
from collections.abc import Sequence as Rows
from typing import Any

import numpy as np
import torch

from longspan import errors
from longspan.data import Batches
from longspan.data.batches import as_batch
from longspan.data.padding import cut_rows, fill_rows
from longspan.layers.base import reset_names
from longspan.models.plotting import plot_model
from longspan.registry import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)

__all__ = [
    "CustomObjectScope",
    "PyDataset",
    "Sequence",
    "clear_session",
    "custom_object_scope",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "normalize",
    "pack_x_y_sample_weight",
    "pad_sequences",
    "plot_model",
    "register_keras_serializable",
    "set_random_seed",
    "timeseries_dataset_from_array",
    "to_categorical",
    "unpack_x_y_sample_weight",
]


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


def normalize(x: Any, axis: int = -1, order: int = 2) -> np.ndarray:
    """The array divided by its norms of an order along an axis; rows of zeros stay.

    >>> normalize([[3.0, 4.0]])
    array([[0.6, 0.8]])
    """
    values = np.asarray(x, dtype=np.float64) if not isinstance(x, np.ndarray) else x
    norms = np.atleast_1d(np.linalg.norm(values, order, axis))
    norms[norms == 0] = 1.0
    return values / np.expand_dims(norms, axis)


def clear_session(free_memory: bool = True) -> None:
    """Count the names of layers from the start again; nothing else is kept between models.

    Args:
        free_memory: accepted without effect.
    """
    reset_names()


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
        raise errors.value_error("x", f"class numbers from 0 to {count - 1}", received, "raise num_classes")
    return np.eye(count, dtype=np.float32)[labels]


def pad_sequences(
    sequences: Rows[Any],
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
        padding: "pre" or "post": part the filling goes.
        truncating: "pre" or "post": part rows that are too long are cut.

    >>> pad_sequences([[1, 2], [3]])
    array([[1, 2],
           [0, 3]], dtype=int32)
    """
    errors.check_choice("padding", padding, ("pre", "post"))
    errors.check_choice("truncating", truncating, ("pre", "post"))
    longest = max((len(row) for row in sequences), default=0)
    steps = longest if maxlen is None else errors.check_int("maxlen", maxlen, 1, "give the number of steps")
    inner = next((np.asarray(row).shape[1:] for row in sequences if len(row)), ())
    padded = np.full((len(sequences), steps, *inner), value, dtype)
    rows = (np.asarray(row, dtype) for row in cut_rows(sequences, steps, left=truncating == "pre"))
    return fill_rows(padded, rows, left=padding == "pre")


def set_random_seed(seed: int) -> None:
    """Seed Python, NumPy and PyTorch."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


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

    Raises:
        ValueError: there is no room for a window.

    >>> data = np.arange(6.0)
    >>> (batch,) = timeseries_dataset_from_array(data[:-3], data[3:], sequence_length=2)
    >>> batch.x.tolist(), batch.y.tolist()
    ([[0.0, 1.0], [1.0, 2.0]], [3.0, 4.0])
    """
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


# A name of Keras that is not here -> what to use instead.
_INSTEAD = {
    "get_file": "urllib.request, since this library downloads nothing",
    "Progbar": "fit(verbose=1), or rich.progress",
    "model_to_dot": "plot_model, which writes an SVG without Graphviz",
    "split_dataset": "longspan.data.train_test_split",
    "image_dataset_from_directory": "torchvision.datasets.ImageFolder in a DataLoader",
    "text_dataset_from_directory": "polars, and lists of texts",
    "audio_dataset_from_directory": "torchaudio.datasets in a DataLoader",
    "load_img": "PIL.Image.open",
    "img_to_array": "numpy.asarray",
    "array_to_img": "PIL.Image.fromarray",
    "FeatureSpace": "polars before the model",
}


def __getattr__(name: str) -> Any:
    """A sentence for a name of Keras that is not here, or the nearest name that is."""
    if name.startswith("__"):
        raise AttributeError(name)
    received, way_out = repr(name), errors.did_you_mean(name, __all__)
    if name in _INSTEAD:
        received, way_out = f"Keras' {name}, which is not there", f"use {_INSTEAD[name]}"
    raise AttributeError(errors.message("longspan.utils", "one of its functions", received, way_out))
