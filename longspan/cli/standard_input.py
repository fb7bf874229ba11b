"""Reads a source from standard input, where the command line says `-`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# The first bytes of a file -> the ending by which it is read; anything else is CSV.
_SIGNATURES = {b"PAR1": ".parquet", b"\x1f\x8b": ".csv.gz", b"{": ".jsonl"}


@contextmanager
def source_file(source: str) -> Iterator[str]:
    """The path of a source; standard input is a temporary file while the block runs.

    Args:
        source: a path, or `-` for standard input: a table as CSV (gzipped or not), Parquet or JSON lines.
    """
    if source != "-":
        yield source
        return
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="longspan-") as folder:
        stream = sys.stdin.buffer
        start = stream.read(4)
        suffix = next((end for sign, end in _SIGNATURES.items() if start.startswith(sign)), ".csv")
        path = Path(folder, f"standard-input{suffix}")
        with path.open("wb") as file:
            file.write(start)
            shutil.copyfileobj(stream, file)
        yield str(path)
