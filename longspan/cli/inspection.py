"""Describes a file before anyone trains on it: as a table, or as running text where it is none."""

from __future__ import annotations

import warnings
from pathlib import Path

from longspan import errors
from longspan.data.inspect import Inspection, inspect_table
from longspan.data.readers.text_files import decoded, ending_of, visible_files
from longspan.data.time_table import TimeOptions

_TEXT_ENDINGS = (".txt", ".md", ".text", ".log", "")  # of files that hold running text or a table
_SHOWN = 3  # first and last lines
_WIDTH = 100  # characters shown of a line


def inspect_file(path: Path, *, time: tuple[str, ...], id: str | None, options: TimeOptions) -> Inspection:
    """What a file or a folder holds.

    A folder is running text. So is a file with an ending such as .txt that is no table, or a table of text
    alone, unless columns are named.

    Raises:
        FileNotFoundError, ValueError: it cannot be read at all; one sentence.
    """
    if path.is_dir():
        return inspect_text(path, encoding=options.encoding)
    if time or id is not None or ending_of(path) not in _TEXT_ENDINGS or not path.exists():
        return inspect_table(path, time=time, id=id, options=options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.LongspanWarning)  # of a table that is none
        try:
            table = inspect_table(path, options=options)
        except ValueError as error:
            return inspect_text(path, encoding=options.encoding, no_table=str(error))
    if not table.has_numbers:
        return inspect_text(path, encoding=options.encoding, no_table="no column holds numbers or times")
    for note in table.notes:
        errors.notice(note)
    return table


def inspect_text(path: Path, *, encoding: str = "utf-8", no_table: str | None = None) -> Inspection:
    """What a text file, or a folder of them, holds, read as the tasks of texts read it.

    Args:
        no_table: why the file is not read as a table, which is told.

    Raises:
        ValueError: there is no word, or a byte cannot be decoded; one sentence.
    """
    files = visible_files(path) if path.is_dir() else [path]
    words = characters = 0
    lines: list[str] = []
    alphabet: set[str] = set()
    for file in files:
        text = decoded(file, encoding)
        lines += [line for line in text.splitlines() if line.strip()]
        words, characters, alphabet = words + len(text.split()), characters + len(text), alphabet | set(text)
    if not words:
        raise errors.value_error("source", "text with at least one word", f"none in {path}", "check the path")
    facts = (
        {"read as": "running text"} if no_table is None else {"read as": "running text", "no table": no_table}
    )
    facts |= {
        "files": f"{len(files):,}",
        "lines that are not blank": f"{len(lines):,}",
        "words": f"{words:,}",
        "characters": f"{characters:,}, {len(alphabet):,} different ones",
        "longest line": f"{max(map(len, lines)):,} characters",
    }
    shown = [[line[:_WIDTH]] for line in lines]
    return Inspection(["line"], facts, first=shown[:_SHOWN], last=shown[_SHOWN:][-_SHOWN:])
