"""Reads texts: files, folders, lines, columns of tables, JSON lines and lists of strings."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl

from longspan import errors
from longspan.data.readers.frames import is_frame
from longspan.data.readers.tables import TABLE_ENDINGS, ReadOptions, check_columns, is_path, read_source
from longspan.data.readers.text_files import ending_of, existing, text_pieces, visible_files

_TABLES = (*TABLE_ENDINGS, ".jsonl", ".ndjson", ".json")
_NAMES = ("text", "sentence", "content", "body", "review", "document")  # of the column with the text
_IN_MEMORY = 1 << 24  # bytes; a longer file is read piece by piece whenever it is needed
_PIECE = 1 << 20  # characters a piece
_LINE_ENDS = re.compile("\r\n?")


@dataclass(frozen=True)
class Document:
    """One text: held, or the part of a file between two characters.

    text: None for a part of a file; path, encoding: of the file; begin, end: the part's first character and
    the one after its last; characters, bytes: how long the text is, its bytes in UTF-8; digest: of the file.
    """

    text: str | None
    characters: int
    bytes: int
    path: str | None = None
    encoding: str = "utf-8"
    begin: int = 0
    end: int = 0
    digest: str = ""

    def pieces(self) -> Iterator[str]:
        """The text in pieces of about a million characters, cut before a blank where there is one."""
        if self.path is None:
            text = self.text or ""
            yield from _pieces([text]) if len(text) > _PIECE else ([text] if text else [])
            return
        start = 0
        for piece in normalized(text_pieces(self.path, self.encoding)):
            part = piece[max(0, self.begin - start) : max(0, self.end - start)]
            start += len(piece)
            if part:
                yield part
            if start >= self.end:
                return

    def split(self, at: int) -> tuple[Document, Document]:
        """The text before and after its character number `at`."""
        if self.path is None:
            text = self.text or ""
            return document_of(text[:at]), document_of(text[at:])
        middle = self.begin + at
        return _measured(replace(self, end=middle)), _measured(replace(self, begin=middle))


def document_of(text: str) -> Document:
    """A text as a document, as it is."""
    return Document(text, len(text), len(text.encode("utf-8", "surrogatepass")))


def normalize(text: str) -> str:
    """A text in Unicode's form NFC, with line ends as one character.

    >>> normalize("cafe\\N{COMBINING ACUTE ACCENT}\\r\\n")
    'café\\n'
    """
    return unicodedata.normalize("NFC", _LINE_ENDS.sub("\n", text))


def normalized(pieces: Iterable[str]) -> Iterator[str]:
    """Pieces of one text, normalized as the whole would be, and cut before a blank where there is one."""
    return map(normalize, _pieces(pieces))


def _pieces(pieces: Iterable[str]) -> Iterator[str]:
    """The same text in pieces of about _PIECE characters that begin with a blank where possible."""
    rest = ""
    for piece in pieces:
        rest += piece
        while len(rest) > _PIECE:
            cut = max(rest.rfind("\n", 1, _PIECE), rest.rfind(" ", 1, _PIECE))
            cut = cut if cut > 0 else _PIECE
            cut -= rest[cut - 1] == "\r"  # a line end of two characters stays whole
            yield rest[:cut]
            rest = rest[cut:]
    if rest:
        yield rest


def read_documents(
    source: Any, *, column: str | None = None, lines: bool = False, options: ReadOptions | None = None
) -> list[Document]:
    """Texts from whatever the user has.

    Args:
        source: a path: a table (.csv, .tsv, .parquet ...) or JSON lines, a text a row; a folder, a text a
            file; any other file is one text. Or a pandas or polars frame, or a list of strings.
        column: the column or field with the texts; None to find it.
        lines: whether every line of a text file is a text of its own.
        options: how files are read.

    Returns:
        The texts in the source's order, those of a folder by their names.

    Raises:
        FileNotFoundError, ValueError, TypeError: nothing is there, or a file is no text; one sentence.

    >>> [document.text for document in read_documents(["One text.", "Another."])]
    ['One text.', 'Another.']
    """
    options = options or ReadOptions()
    if is_path(source):
        return _from_path(existing(source), column, lines, options)
    if is_frame(source):
        return _from_table(source, column, options)
    if not isinstance(source, Iterable):
        raise errors.type_error("source", "a path, a frame or a list of texts", source, "pass one of these")
    rows = list(source)
    for row, text in enumerate(rows):
        if not isinstance(text, str):
            received = f"{type(text).__name__} in row {row}"
            raise errors.value_error("source", "a list of texts", received, "pass strings")
    return _checked([document_of(normalize(text)) for text in rows])


def _checked(documents: list[Document]) -> list[Document]:
    if not documents:
        raise errors.value_error("source", "at least one text", "none", "check what was read")
    return documents


def _from_path(path: Path, column: str | None, lines: bool, options: ReadOptions) -> list[Document]:
    if path.is_dir():
        files = visible_files(path)
        if not files:
            raise errors.value_error(
                "source", "a folder with text files", f"none in {path}", "check the path"
            )
        return [document for file in files for document in _from_path(file, column, lines, options)]
    if ending_of(path) in _TABLES:
        return _from_table(path, column, options)
    if lines:
        pieces = text_pieces(path, options.encoding)
        return _checked([document_of(normalize(line)) for line in _lines(pieces) if line.strip()])
    return [_from_text_file(path, options.encoding)]


def _lines(pieces: Iterable[str]) -> Iterator[str]:
    """The lines of a text without their ends."""
    rest = ""
    for piece in pieces:
        *whole, rest = (rest + piece).split("\n")
        yield from (line.rstrip("\r") for line in whole)
    yield rest


def _from_text_file(path: Path, encoding: str) -> Document:
    if path.stat().st_size <= _IN_MEMORY:
        text = "".join(text_pieces(path, encoding))
        if len(text) <= _IN_MEMORY:
            return document_of(normalize(text))
    document = Document(None, 0, 0, str(path), encoding, end=1 << 62)
    document = _measured(document)
    return replace(document, end=document.characters, digest=_digest(path))


def _measured(document: Document) -> Document:
    """The document with its characters and bytes counted."""
    characters = size = 0
    for piece in document.pieces():
        characters, size = characters + len(piece), size + len(piece.encode("utf-8", "surrogatepass"))
    return replace(document, characters=characters, bytes=size)


def _digest(path: str | os.PathLike[str]) -> str:
    content = sha256()
    with open(path, "rb") as file:
        while block := file.read(_PIECE):
            content.update(block)
    return content.hexdigest()


def _from_table(source: Any, column: str | None, options: ReadOptions) -> list[Document]:
    named = {column} if column else set(_NAMES)
    frame = read_source(source, options=options, text=named).frame
    column = column or _text_column(frame)
    check_columns(frame, [column], "text")
    texts = frame[column].cast(pl.String).fill_null("")
    return _checked([document_of(normalize(text)) for text in texts])


def _text_column(frame: pl.DataFrame) -> str:
    """The column with the texts: by its name, else the only one of text."""
    written: Sequence[str] = [name for name in frame.columns if frame.schema[name] == pl.String]
    named = [name for name in written if name.lower() in _NAMES]
    for names in (named, written):
        if len(names) == 1:
            return names[0]
    received = f"{len(written)} ({', '.join(written[:6])})" if written else "none"
    raise errors.value_error("text", "one column of text to find it by itself", received, "name it by text=")


def split_documents(documents: list[Document], fraction: float) -> tuple[list[Document], list[Document]]:
    """Training and validation documents: every so-manieth of many, else the end of the last ones.

    Args:
        fraction: of the characters that the validation part is to have, above 0.

    >>> train, valid = split_documents([document_of("abcdefghij")], 0.2)
    >>> train[0].text, valid[0].text
    ('abcdefgh', 'ij')
    """
    each = round(1 / fraction)
    if len(documents) >= 10 * each:
        train = [document for row, document in enumerate(documents) if row % each != each - 1]
        return train, documents[each - 1 :: each]
    left = round(fraction * sum(document.characters for document in documents))
    train, valid = list(documents), list[Document]()
    while left > 0 and train:
        last = train.pop()
        if last.characters > left:
            before, after = last.split(_break_near(last, last.characters - left))
            train.append(before)
            valid.insert(0, after)
            break
        valid.insert(0, last)
        left -= last.characters
    return train, valid


def _break_near(document: Document, at: int) -> int:
    """The character behind a line end, or else a blank, shortly before `at`; `at` where there is none."""
    if document.text is None:
        return at
    least = at - max(1, min(document.characters - at, at) // 10)
    for mark in ("\n", " "):
        cut = document.text.rfind(mark, max(0, least), at)
        if cut > 0:
            return cut + 1
    return at
