"""Reads Parquet files that are larger than memory as panels whose rows lie in temporary files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from longspan import errors
from longspan.data.stored_rows import StoredRows, counted_from, large_table, usable_memory
from longspan.data.time_table import TimeOptions, canonical_ids

from .covariates import Covariates
from .panel import Columns, Panel, together
from .reading import AS_UNKNOWN, note_missing, read_panel

_SHARE = 8  # a file counts as large if its values take more than this part of the memory
_PART = 64  # part of the memory that the values of rows take that are read at once
_LEAST_ROWS = 1 << 16  # that are read at once


def read_large_panel(source: Any, columns: Columns, options: TimeOptions | None) -> Panel | None:
    """The panel of a large Parquet file of many series, read a part at a time.

    The rows of a series stand together in the file. The values lie in temporary files, from which windows are
    read as they are needed.

    Args:
        source, columns, options: as for `read_panel`.

    Returns:
        None for any other source, which `read_panel` reads.

    Raises:
        ValueError: rows of one series stand apart, or a covariate holds text; else as `read_panel`.
    """
    memory = usable_memory()
    table = large_table(source, memory // _SHARE)
    if table is None:
        return None
    scan, rows, width = table
    at_once = max(_LEAST_ROWS, memory // (_PART * width))
    with errors.collect_notices(quiet=True, apart=True):
        columns = read_panel(
            scan.head(at_once).collect(), columns, need_target=False, options=options
        ).columns
    if columns.id is None:
        return None
    named = (columns.id, *columns.time, *columns.target, *columns.past, *columns.future, *columns.static)
    parts = _whole_series(scan.select(list(dict.fromkeys(named))), rows, at_once, columns.id)
    errors.notice(
        f"The file's {rows:,} rows are read a part at a time, since they are large beside the memory."
    )
    return _stored(parts, columns, options)


def _whole_series(scan: pl.LazyFrame, rows: int, at_once: int, id: str) -> Iterator[pl.DataFrame]:
    """The rows in parts that end where a series ends."""
    rest: pl.DataFrame | None = None
    for begin in range(0, rows, at_once):
        part = scan.slice(begin, at_once).collect()
        part = part if rest is None else pl.concat([rest, part])
        if begin + at_once < rows:
            runs = part[id].rle_id()
            cut = int(runs.search_sorted(runs[-1]))
            part, rest = part[:cut], part[cut:]
        if part.height:
            yield part


def _stored(parts: Iterator[pl.DataFrame], columns: Columns, options: TimeOptions | None) -> Panel:
    """The panel of parts of whole series."""
    first: Panel | None = None
    stores: list[StoredRows] = []
    small: list[Panel] = []  # the parts without their rows
    lengths, ids, notes, rows = list[np.ndarray](), dict[str, None](), dict[str, None](), 0
    with ExitStack() as files:
        for part in parts:
            names = canonical_ids(part[columns.id or ""].unique(maintain_order=True)).drop_nulls()
            _check_new(names, ids, columns)
            with errors.collect_notices(quiet=True, apart=True) as of_part, _rows_of_file(rows):
                panel = read_panel(part, columns, template=first, need_target=False, options=options)
            _check_numbers(panel)
            arrays = panel.values, panel.past.numbers, panel.future.numbers
            if not stores:
                stores = [files.enter_context(StoredRows(array.shape[1], array.dtype)) for array in arrays]
            for store, array in zip(stores, arrays, strict=True):
                store.append(array)
            small.append(panel.tail(0))
            first = small[0]
            lengths.append(np.diff(panel.starts))
            ids.update(dict.fromkeys(panel.ids))
            notes.update(dict.fromkeys(of_part))
            rows += part.height
        whole = _joined(small, lengths, [store.array() for store in stores])
    for note in [note for note in notes if not note.endswith(AS_UNKNOWN)]:
        errors.notice(note)
    if len(whole.values) > rows:
        note_missing(len(whole.values) - rows, whole.frequency)
    return whole


def _joined(small: Sequence[Panel], lengths: Sequence[np.ndarray], rows: Sequence[np.ndarray]) -> Panel:
    """The panel of all parts.

    Args:
        small: the parts without their rows; lengths: the rows of each series of each part.
        rows: values, past and future covariates of all series.
    """
    values, past, future = rows
    every = np.concatenate(lengths)
    return replace(
        small[0],
        values=values,
        starts=np.concatenate([[0], np.cumsum(every)]).astype(np.int64),
        # a panel without rows begins where its series ended
        first=np.concatenate([part.first for part in small]) - every,
        ids=tuple(name for part in small for name in part.ids),
        past=Covariates(past, {}),
        future=Covariates(future, {}),
        static=together([part.static for part in small]),
        own_frequencies={name: own for part in small for name, own in part.own_frequencies.items()},
    )


def _check_numbers(panel: Panel) -> None:
    """Refuse covariates of text, which would be kept in memory."""
    for option, covariates in (("past_covariates", panel.past), ("future_covariates", panel.future)):
        for name in covariates.labels:
            expected = "numbers in a file that is larger than memory"
            raise errors.value_error(option, expected, f"text in {name}", "number its words, or leave it out")


@contextmanager
def _rows_of_file(begin: int) -> Iterator[None]:
    """Adds to errors that count a row where rows lie in the file; begin: the number of rows before them."""
    try:
        yield
    except ValueError as error:
        if not begin or re.search(r"\brow \d", str(error)) is None:
            raise
        raise ValueError(counted_from(error, begin)) from error


def _check_new(names: Iterable[str], ids: dict[str, None], columns: Columns) -> None:
    """Refuse a series whose rows stand in several places of the file."""
    again = next((name for name in names if name in ids), None)
    if again is not None:
        received = f"those of {again!r} in several places"
        way_out = f"sort it by {columns.id} and time"
        raise errors.value_error("source", "the rows of a series together in a large file", received, way_out)
