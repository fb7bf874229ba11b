"""Describes running text before anyone trains on it: files, lines, words, characters, encoding."""

from __future__ import annotations

import os
from pathlib import Path

from longspan import errors
from longspan.data.inspect import Inspection
from longspan.data.readers.text_files import PACKED_ENDINGS, existing, text_pieces

_ENDINGS = (".txt", ".md", ".text", ".log", "")  # of files that may hold running text
_SHOWN = 3  # first and last lines
_WIDTH = 100  # characters shown of a line


def may_be_text(path: Path) -> bool:
    """Whether a path may hold running text: a folder, or a file whose ending is none of a table."""
    inner = path.with_suffix("") if path.suffix.lower() in PACKED_ENDINGS else path
    return path.is_dir() or inner.suffix.lower() in _ENDINGS


def inspect_text(source: str | os.PathLike[str], *, encoding: str = "utf-8") -> Inspection:
    """What a text file, or a folder of them, holds, read as the tasks of texts read it.

    Raises:
        FileNotFoundError, ValueError: there is no file or no text, or a byte cannot be decoded; one sentence.
    """
    path = existing(source)
    files = (
        sorted(file for file in path.rglob("*") if file.is_file() and file.name[0] != ".")
        if path.is_dir()
        else [path]
    )
    lines = words = characters = longest = 0
    alphabet: set[str] = set()
    shown: list[str] = []
    for file in files:
        text = "".join(text_pieces(file, encoding))
        parts = [line for line in text.splitlines() if line.strip()]
        lines, words, characters = lines + len(parts), words + len(text.split()), characters + len(text)
        alphabet |= set(text)
        longest = max(longest, *map(len, parts), 0)
        shown = [*shown, *parts] if len(shown) + len(parts) <= 2 * _SHOWN else _ends([*shown, *parts])
    if not words:
        raise errors.value_error("source", "text with at least one word", f"none in {path}", "check the path")
    facts = {
        "read as": "running text",
        "files": f"{len(files):,}",
        "lines that are not blank": f"{lines:,}",
        "words": f"{words:,}",
        "characters": f"{characters:,}, {len(alphabet):,} different ones",
        "longest line": f"{longest:,} characters",
    }
    rows = [[line[:_WIDTH]] for line in shown]
    return Inspection(["line"], facts, first=rows[:_SHOWN], last=rows[_SHOWN:])


def _ends(lines: list[str]) -> list[str]:
    return [*lines[:_SHOWN], *lines[-_SHOWN:]]
