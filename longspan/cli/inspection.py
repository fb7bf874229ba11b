"""Describes a file before anyone trains on it: as a table, or as running text where it is none."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from longspan import errors
from longspan.data.inspect import Inspection, inspect_table
from longspan.data.readers.tables import write_head
from longspan.data.readers.text_files import decoded, ending_of, name_of, visible_files
from longspan.data.time_table import TimeOptions

from .messages import with_flags
from .standard_input import NAME

_TEXT_ENDINGS = (".txt", ".md", ".text", ".log", "")  # of files that hold running text or a table
_SHOWN = 3  # first and last lines
_HEAD = 4 << 20  # bytes of a larger file that the tasks read
_WIDTH = 100  # characters shown of a line


def inspect_file(
    path: Path, *, time: tuple[str, ...], id: str | None, options: TimeOptions, may_be_text: bool = False
) -> Inspection:
    """What a file or a folder holds.

    A folder is running text. So is a file with an ending such as .txt that is no table, or a table of text
    alone, unless columns are named.

    Args:
        may_be_text: whether the file may be running text whatever its ending.

    Raises:
        FileNotFoundError, ValueError: it cannot be read at all; one sentence.
    """
    if path.is_dir():
        return inspect_text(path, encoding=options.encoding)
    may_be_text = may_be_text or ending_of(path) in _TEXT_ENDINGS
    if time or id is not None or not may_be_text or not path.exists():
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


def task_readings(
    path: Path, found: Inspection, *, time: tuple[str, ...], id: str | None, options: TimeOptions
) -> list[list[str]]:
    """What every task says of a file that it reads as `fit` does: its name, whether it reads it, and why not.

    Tasks of texts are left out where the file holds no text. A task that reads the file may have notices,
    which stand in the third column.

    Args:
        found: what `inspect_file` found; time, id, options: as for it.
    """
    from longspan.tasks import TASKS, task
    from longspan.tasks.options import options_of

    values = {
        "time": time,
        "id": id,
        "encoding": options.encoding,
        "missing": options.missing,
        "sheet": options.sheet,
        "time_format": options.time_format,
    }
    readings: list[list[str]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.LongspanWarning)  # they stand in the table
        for name in TASKS:
            kind = task(name)
            if kind.reads_texts and not found.has_text:
                continue
            declared = options_of(kind)
            given = {
                option: _as_given(value, declared[option].many)
                for option, value in values.items()
                if value and option in declared
            }
            with _head_of(path, options, texts=kind.reads_texts) as head:
                readings.append([name, *_reading(kind(**given), head, path)])
    return readings


def readings_title(path: Path) -> str:
    """The heading of `task_readings`."""
    of_head = path.is_file() and path.stat().st_size > _HEAD
    return "What each task says" + (" of the first rows" if of_head else "")


def _as_given(value: Any, many: bool) -> Any:
    """An option's value as a task takes it: columns that together are one time as `year,month`."""
    return ",".join(value) if isinstance(value, tuple) and not many else value


def _reading(model: Any, head: Path, path: Path) -> tuple[str, str]:
    """Whether a task reads a file, with its notices or its refusal; head: the part of it that is read."""
    try:
        notes = model.check_source(str(head))
    except (ValueError, TypeError, OSError, ImportError) as error:
        return "refuses it", with_flags(str(error).replace(str(head), str(path)))
    return "reads it", with_flags(" ".join(notes).replace(str(head), str(path)))


@contextmanager
def _head_of(path: Path, options: TimeOptions, *, texts: bool) -> Iterator[Path]:
    """The file itself, or a temporary one with the first rows of a large one.

    Args:
        texts: whether standard input is to be read as lines of text.
    """
    ending = ".txt" if texts and path.name == f"{NAME}.csv" else ""
    if path.is_dir() or (path.stat().st_size <= _HEAD and not ending):
        yield path
        return
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="longspan-") as folder:
        head = Path(folder, name_of(path) + (ending or ending_of(path)))
        if path.stat().st_size <= _HEAD:
            shutil.copy(path, head)
        else:
            head = head if write_head(path, head, _HEAD, options.encoding) else path
        yield head
