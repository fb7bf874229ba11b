"""Turns the arguments of fit, evaluate and predict into batches that fit the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, count, islice
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from longspan import errors, losses
from longspan.data.arrays import Tensors, as_tensors
from longspan.data.batches import Batch, Batches, BPTTChunks, as_batch
from longspan.data.splits import split_for_validation
from longspan.layers.structure import map_structure
from longspan.training.epoch_batches import length_of

from .protocol import Model
from .structures import arranged, numbered


class LimitedBatches:
    """At most so many batches an epoch; the next epoch goes on from there.

    An epoch in which the data end is shorter, as in Keras, and a notice says so once. The epoch after it
    starts with the first batch again, unless the source is an iterator, which then has nothing more.
    """

    def __init__(self, source: Iterable[Any], steps: int) -> None:
        self._source, self._steps = source, steps
        self._running: Iterator[Any] = iter(())
        if isinstance(source, Iterator):
            self._running = source
        self._noted = False

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[Any]:
        for step in range(self._steps):
            batch = next(self._running, None)
            if batch is None and not step and not isinstance(self._source, Iterator):
                self._running = iter(self._source)
                batch = next(self._running, None)
            if batch is None:
                self._note(step)
                return
            yield batch

    def first(self) -> Any:
        """The first batch, None without any; iterating still gives it."""
        batch = next(iter(self), None)
        self._running = self._running if batch is None else chain([batch], self._running)
        return batch

    def _note(self, step: int) -> None:
        if step and not self._noted:
            self._noted = True
            errors.notice(
                f"steps={self._steps}: the data end after {step} batches of an epoch, which ends it."
            )


class Stream:
    """Batches of a generator or any other iterable of x, (x, y) or (x, y, weight).

    Args:
        model: which takes them; source: gives them.
        steps: batches an epoch; None: until the source ends.
        class_weight: class number -> the weight of its rows; None for 1 each.
    """

    def __init__(
        self,
        model: Model,
        source: Iterable[Any],
        steps: int | None,
        class_weight: Mapping[int, float] | None = None,
    ) -> None:
        self._model, self._class_weight = model, class_weight
        self._source: Iterable[Any] = source if steps is None else LimitedBatches(source, steps)

    def __iter__(self) -> Iterator[Batch]:
        for item in self._source:
            batch = as_batch(item)
            model, weight = self._model, batch.weight
            x = _tensors(batch.x, model.input_names, "x", model.input_structure)
            y = batch.y
            if y is not None:
                y = _tensors(y, model.output_names, "y", model.output_structure)
            if weight is not None:
                weight = _tensors(weight, model.output_names, "sample_weight", model.output_structure)
            if self._class_weight is not None:
                weight = weights_of(model, y, weight, self._class_weight)
            yield Batch(x, y, batch.lengths, batch.mask, weight, batch.continues)

    def first(self) -> Any:
        """The first item of the source, None without any; iterating still gives it."""
        if isinstance(self._source, LimitedBatches):
            return self._source.first()
        batch = next(iter(self._source), None)
        if isinstance(self._source, Iterator) and batch is not None:
            self._source = chain([batch], self._source)
        return batch


@runtime_checkable
class IndexedBatches(Protocol):
    """A data set that gives batches by their numbers, as Keras' PyDataset does."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...


class NumberedBatches:
    """The batches of an `IndexedBatches`, whose `on_epoch_end`, if it has one, is called after each epoch.

    Args:
        shuffle: whether the batches come in a new order every epoch, drawn by NumPy's generator; not those of
            a data set without a length, which are counted on.
    """

    def __init__(self, source: IndexedBatches, *, shuffle: bool) -> None:
        self._source, self._shuffle = source, shuffle

    def __len__(self) -> int:
        return len(self._source)

    def __iter__(self) -> Iterator[Any]:
        length = length_of(self._source)
        numbers: Iterable[int] = count() if length is None else range(length)
        for index in np.random.permutation(length) if self._shuffle and length else numbers:
            yield self._source[int(index)]
        ended = getattr(self._source, "on_epoch_end", None)
        if ended is not None:
            ended()


class FirstBatches:
    """The first batches of an iterable, the same ones at every iteration."""

    def __init__(self, batches: Batches, steps: int) -> None:
        self._batches = batches
        self._steps = errors.check_int("validation_steps", steps, 1, "give the number of batches")

    def __iter__(self) -> Iterator[Batch]:
        return islice(iter(self._batches), self._steps)


@runtime_checkable
class _Array(Protocol):
    """What NumPy can read: arrays, tensors, frames and series."""

    def __array__(self) -> Any: ...


def is_stream(x: Any) -> bool:
    """Whether x gives batches, one after another or by number, rather than data."""
    gives = isinstance(x, (Iterable, IndexedBatches))
    return gives and not isinstance(x, (Sequence, Mapping, _Array))


def _tensors(value: Any, names: Sequence[str] | None, argument: str, structure: Any = None) -> Any:
    """A tensor, or a tuple of tensors for several inputs or outputs, None for one that is not given."""
    if names is None:
        parts = list(value.values()) if isinstance(value, Mapping) else value
        if isinstance(parts, (list, tuple)):
            return tuple(as_tensors(part, argument).values for part in parts)
    if names is None or len(names) == 1:
        return as_tensors(_only(value, names), argument).values
    if argument == "sample_weight" and not isinstance(value, (list, tuple, Mapping)):
        return as_tensors(value, argument).values
    parts = arranged(argument, value, names, structure)
    return tuple(None if part is None else as_tensors(part, argument).values for part in parts)


def _only(value: Any, names: Sequence[str] | None) -> Any:
    """The array in a list of one array, or in a dict by the one name; any other value unchanged."""
    if isinstance(value, Mapping) and names is not None:
        return arranged("data", value, names)[0]
    if isinstance(value, (list, tuple)) and len(value) == 1 and isinstance(value[0], (np.ndarray, Tensor)):
        return value[0] if value[0].ndim > 1 else value
    return value


def inputs_of(model: Model, x: Any) -> Tensors:
    """x as the model's inputs take it, checked against their declared shapes."""
    names = model.input_names
    if names is None:
        return _inputs_of_own(model, x)
    if len(names) > 1:
        arrays = arranged("x", x, names, model.input_structure)
        parts = tuple(
            None if model.may_be_absent(index, array) else _one_input(model, array, index).values
            for index, array in enumerate(arrays)
        )
        return Tensors(parts, None)  # pyright: ignore[reportArgumentType]
    x = _only(x, names)
    if isinstance(x, tuple):
        way_out = "join the features into one array"
        raise errors.type_error("x", "one array, since the model has one input", x, way_out)
    return _one_input(model, x, None)


def _one_input(model: Model, x: Any, index: int | None) -> Tensors:
    """One input; `index`: which of several, None for the only one."""
    tensors = as_tensors(x, "x" if index is None else f"x[{index}]")
    if index is not None and tensors.lengths is not None:
        expected, way_out = "rows of one length in every one of several inputs", "pad them with pad_sequences"
        raise errors.value_error(f"x[{index}]", expected, "rows of several lengths", way_out)
    values = model.cast_input(tensors.values, index or 0)
    declared = model.declared_shapes[index or 0]
    if values.dim() == 1 and not model.takes_token_ids(index or 0):
        values = values.unsqueeze(-1)
    if declared is not None and values.dim() == len(declared) - 1 and declared[-1] == 1:
        values = values.unsqueeze(-1)
    if index is None:
        model.build_for(values, ragged=tensors.lengths is not None)
    _check_shape(values, model.declared_shapes[index or 0], tensors.lengths is not None)
    if index is None:
        check_mask(model, values)
    return Tensors(values, tensors.lengths)


def _inputs_of_own(model: Model, x: Any) -> Tensors:
    """The inputs of a model with a `call` of its own: an array, or a list, tuple or dict of arrays."""
    several = isinstance(x, Mapping) or (
        isinstance(x, (list, tuple)) and bool(x) and all(isinstance(part, (np.ndarray, Tensor)) for part in x)
    )
    if not several:
        tensors = as_tensors(x, "x")
        model.build_for(tensors.values)
        return tensors
    model.input_keys = list(x) if isinstance(x, Mapping) else type(x)
    values = _tensors(x, None, "x")
    model.build_for(values)
    return Tensors(values, None)


def _check_shape(values: Tensor, declared: Any, ragged: bool) -> None:
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
    first = model.first_layer
    mask = None if first is None else first.compute_mask(values, None)
    if first is not None and isinstance(mask, Tensor) and not bool(mask.any()):
        way_out = "check the padding value, or leave the masking out"
        raise errors.value_error(
            "x", f"a step that {first.name} shows", "a mask that hides everything", way_out
        )


def targets_of(model: Model, y: Any, rows: int, *, finite: bool = True) -> Any:
    """y as the losses take it: a tensor, or a tuple with one for each of several outputs.

    `finite`: refuse NaN and infinity.
    """
    names, targets = model.output_names or ["y"], model.targets
    if len(names) == 1:
        return _one_target(model, _only(y, names), targets[0].loss, rows, "y", finite)
    truths = _with_gaps(model, y) or arranged("y", y, names, model.output_structure)
    parts = [
        None if part is None else _one_target(model, part, target.loss, rows, f"y[{index}]", finite)
        for index, (part, target) in enumerate(zip(truths, targets, strict=True))
    ]
    for index, (part, target) in enumerate(zip(parts, targets, strict=True)):
        if part is None and target.loss is not None:
            way_out = "give a target for every output that has a loss"
            raise errors.value_error(f"y[{index}]", f"targets of {target.name}", None, way_out)
    return tuple(torch.zeros(rows, 1) if part is None else part for part in parts)


def _with_gaps(model: Model, y: Any) -> list[Any] | None:
    """The targets of every output, of a y for those with a loss alone; None if y is another."""
    trained = [target.loss is not None for target in model.targets]
    several = isinstance(y, (list, tuple))
    if isinstance(y, Mapping) or all(trained) or sum(trained) != (len(y) if several else 1):
        return None
    parts = iter(y if several else [y])
    return [next(parts) if has_loss else None for has_loss in trained]


def _one_target(model: Model, y: Any, loss: losses.Loss | None, rows: int, name: str, finite: bool) -> Tensor:
    """The targets of one output: int64 class numbers, else the output's dtype and rank."""
    values = as_tensors(y, name, finite=finite).values
    if values.shape[0] != rows:
        raise errors.value_error(
            name, f"{rows} rows like x", values.shape[0], "give one target for every row"
        )
    if isinstance(loss, losses.SparseCategoricalCrossentropy):
        return values if values.dtype == torch.int64 else values.long()
    values = values.to(model.dtype)
    if isinstance(loss, (losses.BinaryCrossentropy, losses.BinaryFocalCrossentropy)):
        _check_probabilities(values)
    return values.unsqueeze(-1) if values.dim() == 1 else values


def _check_probabilities(values: Tensor) -> None:
    least, most = (end.item() for end in values.aminmax())
    if least < 0.0 or most > 1.0:
        way_out = "for more than two classes use sparse_categorical_crossentropy"
        raise errors.value_error("y", "labels from 0 to 1", f"{least:g} to {most:g}", way_out)


def weights_of(model: Model, y: Any, sample_weight: Any, class_weight: Mapping[int, float] | None) -> Any:
    """(N,) or (N, T): sample weights times the weights of the rows' classes; None if all are 1.

    Of several outputs, a tuple with one each where they are given so.
    """
    names = model.output_names or ["y"]
    if len(names) > 1:
        if class_weight is not None:
            way_out = "give a sample_weight for each output"
            raise errors.value_error("class_weight", "None with several outputs", class_weight, way_out)
        structure = model.output_structure
        return None if sample_weight is None else _tensors(sample_weight, names, "sample_weight", structure)
    sample_weight = _only(sample_weight, names)
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
    finite: bool = True,
) -> Any:
    """The batches of one epoch; `steps`: so many of them, None for all; `finite`: refuse NaN in y."""
    if steps is not None:
        errors.check_int("steps", steps, 1, "give the number of batches, or None for all")
    if is_stream(x):
        if y is not None:
            way_out = "let it give (x, y)"
            raise errors.value_error("y", "None beside an x of batches", "a value", way_out)
        if sample_weight is not None:
            way_out = "let it give (x, y, weight)"
            raise errors.value_error("sample_weight", "None beside an x of batches", "a value", way_out)
        if not isinstance(x, Iterable):
            if steps is None:
                len(x)  # an error for a data set without a length
            x = NumberedBatches(x, shuffle=shuffle)
        return _stream(model, x, steps, class_weight)
    inputs = inputs_of(model, x)
    columns = inputs.values if isinstance(inputs.values, tuple) else (inputs.values,)
    first = next(column for column in columns if column is not None)
    targets = None if y is None else targets_of(model, y, first.shape[0], finite=finite)
    batches = Batches(
        inputs.values,
        targets,
        batch_size=32 if batch_size is None else batch_size,
        shuffle=shuffle,
        weight=weights_of(model, targets, sample_weight, class_weight),
        lengths=inputs.lengths,
        finite=finite,
    )
    return batches if steps is None else LimitedBatches(batches, steps)


def _stream(model: Model, x: Any, steps: int | None, class_weight: Mapping[int, float] | None) -> Any:
    """An iterable of batches as batches; builds the model for the first one."""
    single = len(model.input_names or ()) == len(model.output_names or ()) == 1
    plain = class_weight is None and steps is None
    if isinstance(x, BPTTChunks) and not plain:
        way_out = "leave it out, or give arrays"
        raise errors.value_error("steps or class_weight", "None beside BPTTChunks", "a value", way_out)
    has_batches = isinstance(x, (Batches, BPTTChunks)) or (isinstance(x, DataLoader) and plain and single)
    batches = x if has_batches and plain else Stream(model, x, steps, class_weight)
    if not model.built:
        first = batches.first() if isinstance(batches, Stream) else _peek(batches)
        if first is None:
            raise errors.value_error("x", "at least one batch", "none", "check that there are data")
        x = as_batch(first).x
        if model.input_names is None:
            _inputs_of_own(model, x)
        else:
            values = as_tensors(_only(x, model.input_names))
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


def split_validation(
    model: Model, fraction: float, x: Any, y: Any, sample_weight: Any
) -> tuple[tuple[Any, Any, Any], tuple[Any, Any, Any]]:
    """(x, y, sample_weight) to train on, and to validate on: the last rows of every array."""
    structures = (model.input_structure, model.output_structure, model.output_structure)
    named = (
        (x, model.input_names, "x"),
        (y, model.output_names, "y"),
        (sample_weight, model.output_names, "sample_weight"),
    )
    groups = [_group(*value, structure) for value, structure in zip(named, structures, strict=True)]
    flat = split_for_validation(fraction, *(part for group in groups for part in group))
    parts: list[tuple[Any, Any, Any]] = []
    for columns in flat:
        rest = iter(columns)
        taken = [[next(rest) for _ in group] for group in groups]
        x_part, y_part, weight_part = (
            _nested(part, structure) for part, structure in zip(taken, structures, strict=True)
        )
        parts.append((x_part, y_part, weight_part))
    return parts[0], parts[1]


def _nested(parts: list[Any], structure: Any) -> Any:
    """The arrays of an argument in the model's structure; one array without a list."""
    if len(parts) == 1:
        return parts[0]
    return parts if structure is None else map_structure(lambda index: parts[index], numbered(structure))


def _group(value: Any, names: Sequence[str] | None, argument: str, structure: Any) -> list[Any]:
    """The arrays of an argument of `fit` in a list."""
    if names is not None and len(names) > 1 and isinstance(value, (list, tuple, Mapping)):
        return arranged(argument, value, names, structure)
    if names is None and isinstance(value, Mapping):
        return list(value.values())
    if names is None and isinstance(value, (list, tuple)):
        arrays = all(isinstance(part, (np.ndarray, Tensor)) for part in value)
        return list(value) if arrays and value else [value]
    return [_only(value, names)]


def count_rows(x: Any) -> int:
    """The number of rows of an array, or of the first of several in a list of arrays or a dict."""
    if isinstance(x, Mapping):
        return count_rows(next(part for part in x.values() if part is not None))
    several = isinstance(x, (list, tuple)) and bool(x) and isinstance(x[0], (np.ndarray, Tensor))
    return len(x[0]) if several and x[0].ndim > 1 else len(x)
