"""Reads a source from standard input, where the command line says `-`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from longspan import errors

NAME = "standard-input"  # of the file, without its ending
FORMATS = ("csv", "tsv", "txt", "jsonl", "json", "parquet", "feather", "xlsx")
# click's keywords of the option that says which of them standard input has
FORMAT: dict[str, Any] = {
    "metavar": "FORMAT",
    "help": f"Of standard input ({', '.join(FORMATS)}); by the task and the first bytes if left out.",
}
# The first bytes of a file -> the ending by which it is read.
_SIGNATURES = {b"PAR1": ".parquet", b"ARRO": ".feather", b"\x1f\x8b": ".gz", b'{"': ".jsonl", b'[{"': ".json"}


@contextmanager
def source_file(source: str, format: str | None = None, *, texts: bool = False) -> Iterator[str]:
    """The path of a source; standard input is a temporary file while the block runs.

    Args:
        source: a path, or `-` for standard input.
        format: of standard input, one of `FORMATS`; None to tell it by the first bytes: Parquet, Feather,
            JSON or gzip, else lines of text or CSV.
        texts: whether it is lines of text where neither says it.

    Raises:
        ValueError: the format is none of `FORMATS`, or the source is a path; one sentence.
    """
    if format is not None:
        errors.check_choice("--format", format, FORMATS)
    if source != "-":
        if format is not None:
            way_out = "leave it out, or pass - as SOURCE"
            raise errors.value_error("--format", "standard input", source, way_out)
        yield source
        return
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="longspan-") as folder:
        stream = sys.stdin.buffer
        start = stream.read(4)
        path = Path(folder, f"{NAME}{_ending(start, format, texts)}")
        with path.open("wb") as file:
            file.write(start)
            shutil.copyfileobj(stream, file)
        yield str(path)


def _ending(start: bytes, format: str | None, texts: bool) -> str:
    """The ending by which standard input is read; start: its first bytes."""
    plain = ".txt" if texts else ".csv"
    if format is not None:
        return f".{format}"
    ending = next((end for sign, end in _SIGNATURES.items() if start.startswith(sign)), plain)
    return plain + ending if ending == ".gz" else ending
