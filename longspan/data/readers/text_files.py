"""Knows how a text file is decoded, and which line of it cannot be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from longspan import errors


def existing(path: str | os.PathLike[str]) -> Path:
    """The path, or an error where nothing lies there."""
    found = Path(path)
    if not found.exists():
        raise FileNotFoundError(
            errors.message("source", "a file or folder", f"{path}, where nothing is", "check the path")
        )
    return found


def decoded(path: str | os.PathLike[str], encoding: str = "utf-8") -> str:
    """The whole text of a file, a byte order mark left out.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a byte is none of the encoding's; the sentence has the file and the line.
    """
    raw = existing(path).read_bytes()
    try:
        return raw.decode(encoding).removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
    except UnicodeDecodeError as error:
        received = f"{fault(error)} of {path}"
        raise errors.value_error(
            "encoding", f"a file in {encoding}", received, "give the file's own encoding"
        ) from error
    except LookupError as error:
        raise errors.value_error(
            "encoding", "the name of an encoding", repr(encoding), "such as latin-1"
        ) from error


def fault(error: UnicodeDecodeError) -> str:
    """Which byte cannot be decoded, and in which line.

    >>> try:
    ...     b"a\\nb\\xff".decode()
    ... except UnicodeDecodeError as error:
    ...     fault(error)
    'the byte 0xff in line 2'
    """
    line = error.object.count(b"\n", 0, error.start) + 1
    return f"the byte 0x{error.object[error.start]:02x} in line {line}"


def lines(path: str | os.PathLike[str], encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """The lines that are not blank, each with its number counted from 1."""
    for number, line in enumerate(decoded(path, encoding).split("\n"), 1):
        if line.strip():
            yield number, line.rstrip("\r")
