"""Predicts the batches of several sources in as few calls of the network as their shapes allow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from longspan import errors
from longspan.data.batches import Batch, map_tensors, rows_of

MOST_ROWS = 256  # of a joined batch


def predict_joined(
    predict: Callable[[Sequence[Batch]], list[Any]], sources: Sequence[Sequence[Batch]]
) -> list[list[Any]]:
    """The prediction of every batch of every source, in the same order.

    Args:
        predict: a prediction a batch, each a tensor or a tuple of tensors whose first dimension is the rows.
        sources: the batches of each. Those of one form are joined, and padded to one length where they have
            lengths.
    """
    flat = [(number, batch) for number, batches in enumerate(sources) for batch in batches]
    groups: dict[Any, list[int]] = {}
    for place, (_, batch) in enumerate(flat):
        groups.setdefault(_form(batch), []).append(place)
    answers: dict[int, Any] = {}
    for places in groups.values():
        for part in _parts(places, [rows_of(flat[place][1]) for place in places]):
            joined = [flat[place][1] for place in part]
            counts = [rows_of(batch) for batch in joined]
            (prediction,) = predict([join(joined)])
            answers |= dict(zip(part, _split(prediction, counts), strict=True))
    results: list[list[Any]] = [[] for _ in sources]
    for place, (number, _) in enumerate(flat):
        results[number].append(answers[place])
    return results


def join(batches: Sequence[Batch]) -> Batch:
    """One batch with the rows of several of one form.

    >>> join([Batch(torch.ones(1, 2, 1), lengths=torch.tensor([2])),
    ...       Batch(torch.ones(1, 3, 1), lengths=torch.tensor([3]))]).x[..., 0]
    tensor([[1., 1., 0.],
            [1., 1., 1.]])
    """
    if len(batches) == 1:
        return batches[0]
    longest = None if batches[0].lengths is None else max(_steps(batch) for batch in batches)
    parts = [_padded(batch, longest) for batch in batches]
    first = batches[0]
    return Batch(
        _cat([batch.x for batch in parts]),
        lengths=None if first.lengths is None else _cat([batch.lengths for batch in parts]),
        mask=None if first.mask is None else _cat([batch.mask for batch in parts]),
    )


def split_rows(table: pl.DataFrame, counts: Sequence[int]) -> list[pl.DataFrame]:
    """A table by its rows, so many for each source; the column row counts from 0 in each.

    >>> split_rows(pl.DataFrame({"row": [0, 1, 2]}), [1, 2])[1]["row"].to_list()
    [0, 1]
    """
    starts = np.repeat(np.cumsum([0, *counts[:-1]]), counts)
    # each frame is made of its columns: polars' own verbs hand over to its threads, which costs more
    row = pl.Series("row", table["row"].to_numpy() - starts)
    return slices(pl.DataFrame([row if one.name == "row" else one for one in table]), counts)


def slices(table: pl.DataFrame, counts: Sequence[int]) -> list[pl.DataFrame]:
    """A table by its rows, so many in each part."""
    begins = accumulate(counts, initial=0)
    return [table.slice(begin, count) for begin, count in zip(begins, counts, strict=False)]


def _form(batch: Batch) -> Any:
    """What batches that can be joined have in common: types, and sizes without rows and padding."""
    padded = None if batch.lengths is None else _steps(batch)

    def form(tensor: Tensor) -> Any:
        sizes = tuple(tensor.shape[1:])
        if padded is not None and sizes[:1] == (padded,):
            sizes = ("steps", *sizes[1:])
        return tensor.dtype, sizes

    others = (batch.lengths is None, batch.mask is None)
    return tuple(form(part) if isinstance(part, Tensor) else part for part in _leaves(batch.x)), others


def _steps(batch: Batch) -> int:
    """T of a padded batch: the size after the rows of its first tensor."""
    return next(part for part in _leaves(batch.x) if isinstance(part, Tensor)).shape[1]


def _padded(batch: Batch, longest: int | None) -> Batch:
    """The batch with zeros up to so many steps, None for no padding."""
    if longest is None or _steps(batch) == longest:
        return batch
    steps = _steps(batch)

    def pad(tensor: Tensor) -> Tensor:
        if tensor.dim() < 2 or tensor.shape[1] != steps:
            return tensor
        return F.pad(tensor, (0, 0) * (tensor.dim() - 2) + (0, longest - steps))

    mask = None if batch.mask is None else pad(batch.mask)
    return Batch(map_tensors(pad, batch.x), lengths=batch.lengths, mask=mask)


def _parts(places: Sequence[int], rows: Sequence[int]) -> list[list[int]]:
    """The places in order, cut where a joined batch would have too many rows."""
    parts: list[list[int]] = []
    total = MOST_ROWS
    for place, count in zip(places, rows, strict=True):
        if total + count > MOST_ROWS:
            parts.append([])
            total = 0
        parts[-1].append(place)
        total += count
    return parts


def _leaves(value: Any) -> list[Any]:
    return [leaf for part in value for leaf in _leaves(part)] if isinstance(value, tuple) else [value]


def _cat(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, Tensor):
        return torch.cat(list(values))
    if isinstance(first, tuple):
        parts = [_cat(column) for column in zip(*values, strict=True)]
        return tuple(parts) if type(first) is tuple else type(first)(*parts)
    return first


def _split(prediction: Any, counts: Sequence[int]) -> list[Any]:
    """A prediction by its rows, as many as each batch has."""
    if isinstance(prediction, Tensor):
        return list(prediction.split(list(counts)))
    columns = [_split(part, counts) for part in prediction]
    rows = list(zip(*columns, strict=True))
    return rows if type(prediction) is tuple else [type(prediction)(*row) for row in rows]


def each_noted(function: Callable[[Any], Any], parts: Sequence[Any], notes: Sequence[list[str]]) -> list[Any]:
    """A function's results for several parts; the library's notes about a part are added to its own."""
    results = []
    for part, own in zip(parts, notes, strict=True):
        with errors.collect_notices() as new:
            results.append(function(part))
        own += [note for note in new if note not in own]
    return results
