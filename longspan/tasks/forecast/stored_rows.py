"""Finds how much memory this process may use, and stores arrays that are larger in temporary files."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Self

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of containers


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
