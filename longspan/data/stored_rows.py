"""Finds tables that are larger than the memory, and stores arrays that are in temporary files."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from typing_extensions import Self

from .readers.tables import is_path

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of containers
_TEXT = 32  # bytes that a cell of text takes, about
_AT_ONCE = 1 << 20  # rows of an array that are computed at once


class LargeTable(NamedTuple):
    """scan: a Parquet file; rows: their number; width: bytes that a row takes in memory, about."""

    scan: pl.LazyFrame
    rows: int
    width: int


def large_table(source: Any, least: float) -> LargeTable | None:
    """The table of a Parquet file that takes at least so many bytes in memory; None for any other source."""
    path = Path(source) if is_path(source) else Path()
    if path.suffix.lower() not in (".parquet", ".pq") or not path.is_file():
        return None
    scan = pl.scan_parquet(path, glob=False)
    try:
        kinds = scan.collect_schema().dtypes()
        rows = scan.select(pl.len()).collect().item()
    except (pl.exceptions.PolarsError, OSError):  # a damaged file, which the readers of all kinds describe
        return None
    width = sum(_TEXT if kind == pl.String or kind.is_nested() else 8 for kind in kinds)
    return LargeTable(scan, rows, width) if rows * width > least else None


def counted_from(error: ValueError, begin: int) -> str:
    """The sentence of an error about a part of a file, which says where the part begins.

    Args:
        begin: the number of rows before the part.
    """
    return f"{str(error).rstrip('.')} (row 1 is row {begin + 1:,} of the file)."


def usable_memory() -> int:
    """Bytes that this process may use: those of the machine, or fewer by a limit of its own."""
    if sys.platform == "win32":
        return 1 << 33
    import resource

    sizes = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    sizes += [int(text) for path in _LIMITS if (text := _first_line(Path(path))).isdigit()]
    soft = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    return min([*sizes, *(size for size in soft if size != resource.RLIM_INFINITY)])


def _first_line(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


class StoredRows:
    """Rows of an array that are written one part after the other into a temporary file.

    The file lies where `tempfile` puts files (TMPDIR). It has no name, and goes with the last array of it.
    As a context manager the object closes the file; arrays that it has given stay.

    Args:
        width: columns; dtype: of the values.
    """

    def __init__(self, width: int, dtype: Any) -> None:
        self.width, self.dtype, self.rows = width, np.dtype(dtype), 0
        self._file = tempfile.TemporaryFile()  # noqa: SIM115, `__exit__` closes it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def append(self, rows: np.ndarray) -> None:
        """Write more rows (N, C)."""
        self.rows += len(rows)
        self._file.write(np.ascontiguousarray(rows, self.dtype).data)

    def array(self) -> np.ndarray:
        """All rows (N, C), mapped from the file, so that the system can take back their memory."""
        if not self.rows or not self.width:
            return np.empty((self.rows, self.width), self.dtype)
        self._file.flush()
        mapped = np.memmap(self._file, self.dtype, "r", shape=(self.rows, self.width))
        return mapped.view(np.ndarray)


def blocks(rows: int, size: int | None = None) -> Iterator[slice]:
    """The rows of an array in parts of so many; None for as many as are computed at once."""
    size = size or _AT_ONCE
    return (slice(begin, min(begin + size, rows)) for begin in range(0, rows, size))


def computed(change: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
    """`change(*arrays)`, a part of the rows at a time into a temporary file if the first array is in one.

    Args:
        change: parts of arrays (N,) to an array of one dimension.

    >>> computed(lambda rows, keep: rows[keep], np.arange(3), np.array([True, False, True]))
    array([0, 2])
    """
    if not is_stored(arrays[0]):
        return change(*arrays)
    parts = (change(*(array[rows] for array in arrays)) for rows in blocks(len(arrays[0])))
    first = next(parts)
    with StoredRows(1, first.dtype) as store:
        store.append(first)
        for part in parts:
            store.append(part)
        return store.array()[:, 0]


def is_stored(array: np.ndarray | None) -> bool:
    """Whether an array lies in a file."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return False
