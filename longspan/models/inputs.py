"""Turns the arguments of fit, evaluate and predict into batches that fit the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from longspan import errors, losses
from longspan.data.arrays import Tensors, as_tensors
from longspan.data.batches import Batch, Batches, BPTTChunks, as_batch

from .protocol import Model


class Stream:
    """Batches of a generator or any other iterable of x, (x, y) or (x, y, weight)."""

    def __init__(self, source: Iterable[Any], steps: int | None) -> None:
        """`steps`: batches an epoch; None: until the source ends."""
        self._source, self._steps = source, steps
        self._running = iter(source) if steps is not None or isinstance(source, Iterator) else None

    def __iter__(self) -> Iterator[Batch]:
        items = iter(self._source) if self._running is None else islice(self._running, self._steps)
        for item in items:
            batch = as_batch(item)
            x, y = (None if part is None else as_tensors(part).values for part in (batch.x, batch.y))
            yield Batch(x, y, batch.lengths, batch.mask, batch.weight, batch.continues)

    def first(self) -> Any:
        """The first item of the source; iterating still gives it."""
        if self._running is None:
            return next(iter(self._source), None)
        batch = next(self._running, None)
        self._running = self._running if batch is None else chain([batch], self._running)
        return batch


@runtime_checkable
class _Array(Protocol):
    """What NumPy can read: arrays, tensors, frames and series."""

    def __array__(self) -> Any: ...


def is_stream(x: Any) -> bool:
    """Whether x is an iterable of batches rather than data."""
    return isinstance(x, Iterable) and not isinstance(x, (Sequence, Mapping, _Array))


def inputs_of(model: Model, x: Any) -> Tensors:
    """x as the model's first layer takes it, checked against the declared input shape."""
    if isinstance(x, (tuple, Mapping)):
        way_out = "join the features into one array"
        raise errors.type_error("x", "one array, since a Sequential has one input", x, way_out)
    tensors = as_tensors(x, "x")
    values = model.cast_inputs(tensors.values)
    if values.dim() == 1 and not model.takes_token_ids():
        values = values.unsqueeze(-1)
    model.build_for(values, ragged=tensors.lengths is not None)
    _check_shape(model, values, tensors.lengths is not None)
    check_mask(model, values)
    return Tensors(values, tensors.lengths)


def _check_shape(model: Model, values: Tensor, ragged: bool) -> None:
    declared = model.declared_input_shape
    if declared is None:
        return
    sizes = list(zip(declared[1:], values.shape[1:], strict=False))
    wrong = [axis for axis, (a, b) in enumerate(sizes) if a not in (None, b) and not (ragged and axis == 0)]
    if len(declared) != values.dim() or wrong:
        expected = "(N, " + ", ".join("any" if size is None else str(size) for size in declared[1:]) + ")"
        way_out = "reshape x, or change the model's input_shape"
        raise errors.value_error("x", f"shape {expected}", tuple(values.shape), way_out)


def check_mask(model: Model, values: Tensor) -> None:
    """An error where the model's first layer hides every step of every row."""
    if not model.layers:
        return
    mask = model.layers[0].compute_mask(values, None)
    if mask is not None and not bool(mask.any()):
        way_out = "check the padding value, or leave the masking out"
        raise errors.value_error(
            "x", f"a step that {model.layers[0].name} shows", "a mask that hides everything", way_out
        )


def targets_of(model: Model, y: Any, rows: int) -> Tensor:
    """y as the loss takes it: int64 class numbers, else the output's dtype and rank."""
    values = as_tensors(y, "y").values
    if values.shape[0] != rows:
        raise errors.value_error("y", f"{rows} rows like x", values.shape[0], "give one target for every row")
    if isinstance(model.loss, losses.SparseCategoricalCrossentropy):
        return values if values.dtype == torch.int64 else values.long()
    values = values.to(model.dtype)
    if isinstance(model.loss, (losses.BinaryCrossentropy, losses.BinaryFocalCrossentropy)):
        _check_probabilities(values)
    return values.unsqueeze(-1) if values.dim() == 1 else values


def _check_probabilities(values: Tensor) -> None:
    least, most = (end.item() for end in values.aminmax())
    if least < 0.0 or most > 1.0:
        way_out = "for more than two classes use sparse_categorical_crossentropy"
        raise errors.value_error("y", "labels from 0 to 1", f"{least:g} to {most:g}", way_out)


def weights_of(
    y: Tensor | None, sample_weight: Any, class_weight: Mapping[int, float] | None
) -> Tensor | None:
    """(N,) or (N, T): sample weights times the weights of the rows' classes; None if all are 1."""
    weight = None if sample_weight is None else as_tensors(sample_weight, "sample_weight").values
    if weight is not None and y is not None and weight.shape[0] != y.shape[0]:
        way_out = "give one for every row"
        raise errors.value_error("sample_weight", f"{y.shape[0]} rows like y", weight.shape[0], way_out)
    if class_weight is None:
        return weight
    if y is None:
        raise errors.value_error("class_weight", "y beside it", None, "pass y as an array")
    by_class = _by_class(y, class_weight)
    return by_class if weight is None else weight * by_class


def _by_class(y: Tensor, class_weight: Mapping[int, float]) -> Tensor:
    labels = y.argmax(-1) if y.dim() > 1 and y.shape[-1] > 1 else y.reshape(y.shape[0], -1)[:, 0].long()
    classes = sorted(class_weight)
    missing = [int(label) for label in labels.unique() if int(label) not in class_weight]
    if missing:
        way_out = "give every class a weight"
        raise errors.value_error(
            "class_weight", f"a weight for class {missing[0]}", f"classes {classes}", way_out
        )
    table = torch.zeros(max(classes) + 1)
    table[classes] = torch.tensor([float(class_weight[label]) for label in classes])
    return table[labels]


def batches_of(
    model: Model,
    x: Any,
    y: Any = None,
    *,
    batch_size: int | None = None,
    shuffle: bool = False,
    sample_weight: Any = None,
    class_weight: Mapping[int, float] | None = None,
    steps: int | None = None,
) -> Any:
    """The batches of one epoch."""
    if is_stream(x):
        if y is not None:
            way_out = "let it give (x, y)"
            raise errors.value_error("y", "None beside an x of batches", "a value", way_out)
        for name, value in (("sample_weight", sample_weight), ("class_weight", class_weight)):
            if value is not None:
                way_out = "let it give (x, y, weight)"
                raise errors.value_error(name, "None beside an x of batches", "a value", way_out)
        return _stream(model, x, steps)
    inputs = inputs_of(model, x)
    targets = None if y is None else targets_of(model, y, inputs.values.shape[0])
    return Batches(
        inputs.values,
        targets,
        batch_size=32 if batch_size is None else batch_size,
        shuffle=shuffle,
        weight=weights_of(targets, sample_weight, class_weight),
        lengths=inputs.lengths,
    )


def _stream(model: Model, x: Any, steps: int | None) -> Any:
    """An iterable of batches as batches; builds the model for the first one."""
    has_batches = isinstance(x, (Batches, BPTTChunks)) or (isinstance(x, DataLoader) and steps is None)
    batches = x if has_batches else Stream(x, steps)
    if not model.built:
        first = batches.first() if isinstance(batches, Stream) else _peek(batches)
        if first is None:
            raise errors.value_error("x", "at least one batch", "none", "check that there are data")
        values = as_tensors(as_batch(first).x)
        model.build_for(values.values, ragged=values.lengths is not None)
    return batches


def _peek(batches: Any) -> Any:
    """The first batch, or None. Random states are restored, so that peeking changes no training."""
    generator = getattr(batches, "generator", None)
    before = None if generator is None else generator.get_state()
    with torch.random.fork_rng(devices=[]):
        first = next(iter(batches), None)
    if generator is not None:
        generator.set_state(before)
    return first
