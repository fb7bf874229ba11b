"""Describes the data of a fit, so that a report can say which they were: name, digest, rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from longspan.data.readers.tables import is_path

from .digests import digest

_HEX_DIGITS = 16  # of a digest that is shown
_CHUNK = 1 << 20  # bytes of a file that are hashed at once
_VALUES = 1_000_000  # values of an array or frame up to which it is hashed


class DataSource(NamedTuple):
    """The data of a fit.

    paths: as they were given, () for an object; kind: of the object, such as "numpy.ndarray", or "file".
    digest: 16 hexadecimal digits: of a file's bytes, of the names and sizes of a folder's files, or of an
    object's values; "" for an object that is too large or of another kind.
    rows: records that were read.
    """

    paths: tuple[str, ...]
    kind: str
    digest: str
    rows: int

    def __str__(self) -> str:
        of_digest = f", SHA-256 {self.digest} …" if self.digest else ""
        return f"{' and '.join(self.paths) or self.kind}: {self.rows:,} rows{of_digest}"


def describe_source(source: Any, y: Any, rows: int) -> DataSource:
    """The data of a fit; source, y: as they were given to `fit`.

    >>> describe_source(np.zeros(3), None, 3).kind
    'numpy.ndarray'
    """
    if is_path(source) and Path(source).exists():
        paths = [os.fspath(path) for path in (source, y) if path is not None and is_path(path)]
        return DataSource(tuple(paths), "file", _digest_of_paths(map(Path, paths)), rows)
    module = type(source).__module__.partition(".")[0]
    kind = type(source).__name__ if module == "builtins" else f"{module}.{type(source).__name__}"
    return DataSource((), kind, _digest_of_values(source, y), rows)


def _digest_of_values(source: Any, y: Any) -> str:
    values = source.size if isinstance(source, np.ndarray) else 0
    if isinstance(source, pl.DataFrame):
        values = source.height * source.width
    return digest([source, y])[:_HEX_DIGITS] if 0 < values <= _VALUES and _has_digest(y) else ""


def _has_digest(y: Any) -> bool:
    return y is None or isinstance(y, (np.ndarray, list, pl.Series))


def _digest_of_paths(paths: Iterable[Path]) -> str:
    content = sha256()
    for path in paths:
        for part in _folder_bytes(path) if path.is_dir() else _file_bytes(path):
            content.update(part)
    return content.hexdigest()[:_HEX_DIGITS]


def _file_bytes(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(_CHUNK):
            yield part


def _folder_bytes(folder: Path) -> Iterator[bytes]:
    """The names and sizes of a folder's files; their contents may be hours of sound or video."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield f"{path.relative_to(folder)} {path.stat().st_size}\n".encode()
