"""Cuts tensors into batches: in order, shuffled, or in chunks of time that carry the state on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import repeat
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from longspan import errors

from .arrays import Tensors, as_tensors
from .padding import sequence_mask

_BLOCK = 1 << 24  # bytes gathered in shuffled order at once; batches are views into them
_VIEWS = 1024  # batches cut at once; limits the views that exist together


@dataclass(frozen=True)
class Batch:
    """The rows of one training step.

    Args:
        x: (B, ...), as the network takes it; a tensor or a tuple of tensors, None for one that is not given.
        y: (B, ...), as the loss takes it; a tensor or a tuple of tensors.
        lengths: (B,) int64, the real steps of each row where rows are padded.
        mask: (B, T) bool, False where a step does not count.
        weight: (B,) or (B, T), how much a row or step counts in the loss; a tuple with one for each output.
        continues: whether row b is the continuation of row b of the previous batch; the network then starts
            from the state after that batch.
    """

    x: Any
    y: Any = None
    lengths: Tensor | None = None
    mask: Tensor | None = None
    weight: Any = None
    continues: bool = False

    def __iter__(self) -> Iterator[Any]:
        """x, y and weight as far as they are there, so that `for x, y in batches` works."""
        return iter([part for part in (self.x, self.y, self.weight) if part is not None])


def rows_of(batch: Batch) -> int:
    """B, the number of rows."""
    return _leaves(batch.x)[0].shape[0]


def input_mask(batch: Batch) -> Tensor | None:
    """(B, T) bool, False at padding and at hidden steps of the input; None where every step counts."""
    if batch.lengths is None:
        return batch.mask
    return sequence_mask(batch.lengths, batch.x.shape[1], batch.mask, batch.x.device)


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """`function` applied to a tensor or to all tensors of a (named) tuple; any other value unchanged."""
    if isinstance(value, tuple):
        parts = [map_tensors(function, part) for part in value]
        return tuple(parts) if type(value) is tuple else type(value)(*parts)
    return function(value) if isinstance(value, Tensor) else value


def take_rows(batch: Batch, rows: Tensor) -> Batch:
    """Some rows of a batch, whose tensors are all by row.

    Args:
        rows: (R,) int64, row numbers.

    >>> take_rows(Batch(torch.arange(3.0), torch.arange(3)), torch.tensor([2, 0])).y
    tensor([2, 0])
    """

    def take(value: Tensor) -> Tensor:
        return value.index_select(0, rows.to(value.device)) if value.dim() else value

    parts = {field.name: map_tensors(take, getattr(batch, field.name)) for field in fields(batch)}
    return replace(batch, **parts)


def rows_of_process(count: int, rank: int, world: int) -> Tensor:
    """The rows rank, rank + world, … of `count` that a process reads; the first where there is none for it.

    >>> rows_of_process(5, 1, 2)
    tensor([1, 3])
    """
    return torch.arange(count)[rank::world] if rank < count else torch.zeros(1, dtype=torch.int64)


def as_batch(item: Any) -> Batch:
    """A Batch out of what a DataLoader gives: a Batch, x, (x,), (x, y) or (x, y, weight)."""
    if isinstance(item, Batch):
        return item
    if not isinstance(item, (tuple, list)):
        return Batch(item)
    if not 1 <= len(item) <= 3:
        expected = "x, (x, y) or (x, y, weight)"
        raise errors.value_error(
            "batch", expected, f"{len(item)} values", "give longspan.data.Batch objects instead"
        )
    x, y, weight = (*item, None, None)[:3]
    return Batch(x, y, weight=weight)


class Batches:
    """Rows in batches, in order or in a new random order at every iteration.

    Args:
        x: (N, ...) numbers as `as_tensors` takes them, a ragged list (padded, with lengths) among them; a
            tuple of such for a network with several inputs; or a DataLoader that makes the batches itself.
        y: like x, or None.
        batch_size: B, rows a batch; the last one may be smaller.
        shuffle: a new order every epoch.
        weight: (N,) or (N, T), how much each row or step counts in the loss; a tuple of such for a network
            with several outputs.
        lengths: (N,) whole numbers, the real steps of each row of x; None: taken from x where it is ragged.
        mask: (N, T) bool, False where a step does not count.
        seed: of the random order; None draws one from torch's global generator.
        finite: refuse NaN and infinity in x and y.

    Attributes:
        columns: x, y, lengths, mask and weight as tensors, tuples of tensors or None; empty for a DataLoader.

    Raises:
        ValueError, TypeError: data are empty, not numeric, not finite, or differ in rows; one sentence.

    >>> batches = Batches([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [0, 1, 0], batch_size=2)
    >>> [batch.y.tolist() for batch in batches], len(batches)
    ([[0, 1], [0]], 2)
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        *,
        batch_size: int = 32,
        shuffle: bool = False,
        weight: Any = None,
        lengths: Any = None,
        mask: Any = None,
        seed: int | None = None,
        finite: bool = True,
    ) -> None:
        self.batch_size = errors.check_int("batch_size", batch_size, 1, "give the number of rows a step")
        self.shuffle = errors.check_bool("shuffle", shuffle)
        self._loader: DataLoader[Any] | None = None
        self.columns: list[Any] = []
        self._generator = torch.Generator()
        if isinstance(x, DataLoader):
            self._take_loader(x, y=y, weight=weight, lengths=lengths, mask=mask)
            return
        if shuffle:
            self._generator.manual_seed(int(torch.randint(2**31, ())) if seed is None else seed)
        self._x, ragged_lengths = _column(x, "x", finite)
        self._y = None if y is None else _column(y, "y", finite)[0]
        self._lengths = ragged_lengths if lengths is None else as_tensors(lengths, "lengths").values
        self._mask = None if mask is None else _checked_mask(mask)
        self._weight = None if weight is None else _column(weight, "weight")[0]
        self.columns = [self._x, self._y, self._lengths, self._mask, self._weight]
        self.rows = _leaves(self._x)[0].shape[0]
        _check_rows(self.rows, self.columns)

    def _take_loader(self, loader: DataLoader[Any], **others: object) -> None:
        names = [name for name, value in others.items() if value is not None]
        if names:
            expected = "None beside a DataLoader, which gives everything itself"
            raise errors.value_error(names[0], expected, "a value", "let its data set give (x, y, weight)")
        self._loader = loader

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self._loader) if self._loader is not None else -(-self.rows // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        if self._loader is not None:
            yield from map(as_batch, self._loader)
            return
        order = torch.randperm(self.rows, generator=self._generator) if self.shuffle else None
        columns, size = self.columns, self._block()
        for start in range(0, self.rows, size):
            take = _taker(order, start, min(start + size, self.rows))
            for parts in zip(*(_cut(column, take, self.batch_size) for column in columns), strict=False):
                yield Batch(*parts)

    def _block(self) -> int:
        """Rows gathered at once: as many whole batches as _BLOCK and _VIEWS allow."""
        width = sum(leaf.nbytes for column in self.columns for leaf in _leaves(column)) // self.rows or 1
        return self.batch_size * max(1, min(_VIEWS, _BLOCK // (width * self.batch_size)))

    def state(self) -> Tensor:
        """The random state that decides the next epoch's order; `restore` takes it back."""
        generator = self._generator if self._loader is None else self._loader.generator
        return (generator or self._generator).get_state()

    def restore(self, state: Tensor) -> None:
        """Take back what `state` returned."""
        generator = self._generator if self._loader is None else self._loader.generator
        (generator or self._generator).set_state(state)


class BPTTChunks:
    """Long sequences in chunks of time for truncated back-propagation; each chunk starts from the last state.

    Args:
        x: (B, T, ...), every row one long sequence.
        y: (B, T, ...), a target for every step; None for none.
        chunk_length: steps a chunk, through which gradients flow; the last chunk may be shorter.

    >>> chunks = BPTTChunks(torch.zeros(2, 5, 1), chunk_length=2)
    >>> [(batch.x.shape[1], batch.continues) for batch in chunks]
    [(2, False), (2, True), (1, True)]
    """

    def __init__(self, x: Any, y: Any = None, *, chunk_length: int) -> None:
        way_out = "give the number of steps that gradients flow through"
        self.chunk_length = errors.check_int("chunk_length", chunk_length, 1, way_out)
        self.x = as_tensors(x, "x").values
        self.y = None if y is None else as_tensors(y, "y").values
        if self.x.dim() < 2:
            raise errors.value_error(
                "x", "shape (B, T, ...)", tuple(self.x.shape), "add a dimension for the rows"
            )
        if self.y is not None and self.y.shape[:2] != self.x.shape[:2]:
            expected = f"a target for each of {tuple(self.x.shape[:2])} (B, T) steps"
            raise errors.value_error("y", expected, f"shape {tuple(self.y.shape)}", "give one for every step")

    def __len__(self) -> int:
        """Chunks an epoch."""
        return -(-self.x.shape[1] // self.chunk_length)

    def __iter__(self) -> Iterator[Batch]:
        xs = self.x.split(self.chunk_length, 1)
        ys: Iterable[Tensor | None] = repeat(None) if self.y is None else self.y.split(self.chunk_length, 1)
        for index, (x, y) in enumerate(zip(xs, ys, strict=False)):
            yield Batch(x, y, continues=index > 0)


def _column(data: Any, name: str, finite: bool = True) -> tuple[Any, Tensor | None]:
    """Tensors of one input or of a tuple of them, and the lengths of the first that was ragged."""
    if not isinstance(data, tuple):
        return as_tensors(data, name, finite=finite)
    if not data:
        raise errors.value_error(name, "at least one input", "an empty tuple", "leave the tuple out")
    parts = [
        Tensors(None) if part is None else as_tensors(part, f"{name}[{index}]", finite=finite)  # pyright: ignore[reportArgumentType]
        for index, part in enumerate(data)
    ]
    lengths = [part.lengths for part in parts if part.lengths is not None]
    return tuple(part.values for part in parts), lengths[0] if lengths else None


def _checked_mask(mask: Any) -> Tensor:
    values = as_tensors(mask, "mask").values.bool()
    if not values.any():
        raise errors.value_error(
            "mask", "at least one step that counts", "False everywhere", "True marks real steps"
        )
    return values


def _leaves(column: Any) -> tuple[Tensor, ...]:
    """The tensors of a column; None in a tuple, which stands for an input that is not given, has none."""
    if column is None:
        return ()
    return tuple(part for part in column if part is not None) if isinstance(column, tuple) else (column,)


def _check_rows(rows: int, columns: list[Any]) -> None:
    for name, column in zip(("x", "y", "lengths", "mask", "weight"), columns, strict=True):
        for leaf in _leaves(column):
            if leaf.shape[0] != rows:
                raise errors.value_error(name, f"{rows} rows like x", leaf.shape[0], "give one for every row")


def _taker(order: Tensor | None, start: int, end: int) -> Callable[[Tensor], Tensor]:
    """A function that takes rows start to end of a column, in the random order if there is one."""
    if order is None:
        return lambda column: column[start:end]
    indices = order[start:end]
    return lambda column: column.index_select(0, indices)


def _cut(column: Any, take: Callable[[Tensor], Tensor], size: int) -> Iterable[Any]:
    """One block of a column in batches: views, since one gather a block costs less than one a batch."""
    if column is None:
        return repeat(None)
    if isinstance(column, tuple):
        parts = (repeat(None) if leaf is None else take(leaf).split(size) for leaf in column)
        return zip(*parts, strict=False)
    return take(column).split(size)
