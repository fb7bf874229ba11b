"""Reads text files: unpacks compressed ones, finds the encoding, names the line that cannot be decoded."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from longspan import errors
from longspan.artifact import is_artifact

_BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_COMPRESSIONS = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x28\xb5\x2f\xfd", "zstandard"),
)
PACKED_ENDINGS = (".gz", ".bz2", ".xz", ".zip")
_DAMAGED = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError)


def existing(path: str | os.PathLike[str]) -> Path:
    """The path, or an error where nothing lies there."""
    target = Path(path)
    try:
        exists = target.exists()
    except (OSError, ValueError):  # a name too long, or with a zero byte
        exists = False
    if not exists:
        raise FileNotFoundError(
            errors.message("source", "a file or folder", f"{path}, where nothing is", "check the path")
        )
    return target


def ending_of(path: Path) -> str:
    """The ending of a file's name in small letters, of the file inside where it is packed.

    >>> ending_of(Path("a.CSV")), ending_of(Path("a.csv.gz"))
    ('.csv', '.csv')
    """
    return _unpacked(path).suffix.lower()


def name_of(path: Path) -> str:
    """The name of a file without its ending, nor that of its compression.

    >>> name_of(Path("good.txt")), name_of(Path("good.txt.gz"))
    ('good', 'good')
    """
    return _unpacked(path).stem


def _unpacked(path: Path) -> Path:
    return path.with_suffix("") if path.suffix.lower() in PACKED_ENDINGS else path


def visible_files(folder: Path) -> list[Path]:
    """The files in a folder and in those below it, sorted, without what is hidden by a leading dot."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(file for file in files if not any(p[0] == "." for p in file.relative_to(folder).parts))


def compression(path: Path) -> str | None:
    """The compression of a file by its first bytes: gzip, bzip2, xz, zip, zstandard; None for none."""
    with path.open("rb") as file:
        head = file.read(8)
    return next((name for mark, name in _COMPRESSIONS if head.startswith(mark)), None)


def read_bytes(path: Path, count: int = -1) -> bytes:
    """The first `count` bytes of a file, all for -1, unpacked where they are compressed.

    Raises:
        ValueError: the compression is unknown or damaged, or an archive holds several files; one sentence.
    """
    kind = compression(path)
    try:
        with _opened(path, kind) as file:
            return file.read(count)
    except _DAMAGED as error:
        if kind is None or str(error).startswith("file "):
            raise
        way_out = "unpack it yourself to see whether it is whole"
        raise errors.value_error(f"file {path}", f"a whole {kind} file", "a damaged one", way_out) from error


def _opened(path: Path, kind: str | None) -> IO[bytes]:
    if kind == "gzip":
        return io.BufferedReader(gzip.open(path))  # pyright: ignore[reportArgumentType]
    if kind == "bzip2":
        return bz2.open(path)
    if kind == "xz":
        return lzma.open(path)
    if kind == "zip":
        archive = zipfile.ZipFile(path)
        names = [name for name in archive.namelist() if not name.endswith("/") and not _is_hidden(name)]
        if is_artifact(path):
            way_out = "longspan report describes it"
            raise errors.value_error(f"file {path}", "data", "a saved model", way_out)
        if len(names) != 1:
            received = f"{len(names)} files in it"
            raise errors.value_error(f"file {path}", "an archive of one file", received, "unpack it first")
        return archive.open(names[0])
    if kind is not None:
        raise errors.value_error(f"file {path}", "gzip, bzip2, xz or zip", kind, "unpack it first")
    return path.open("rb")


def _is_hidden(name: str) -> bool:
    """Whether a file in an archive is hidden by a dot, or one that macOS adds."""
    return any(part == "__MACOSX" or part.startswith(".") for part in name.split("/"))


def decode(raw: bytes, encoding: str, path: object, what: str = "file") -> str:
    """Bytes of a file as text, by the byte order mark where there is one, else by `encoding`.

    Raises:
        ValueError: a byte is none of the encoding's; the sentence has the file and the line.
    """
    encoding = encoding_of(raw, encoding)
    try:
        return raw.decode(encoding).removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
    except UnicodeDecodeError as error:
        raise _undecodable(error, 0, encoding, path, what) from error
    except (LookupError, ValueError) as error:
        raise _unknown_encoding(encoding) from error


def encoding_of(raw: bytes, encoding: str) -> str:
    """The encoding that the first bytes of a file show, else `encoding`.

    >>> encoding_of(b"\\xff\\xfea\\x00", "utf-8"), encoding_of(b"a", "latin-1")
    ('utf-16', 'latin-1')
    """
    marked = next((name for mark, name in _BYTE_ORDER_MARKS if raw.startswith(mark)), None)
    if marked is not None:
        return marked
    head = raw[:64]
    if len(head) >= 8 and encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        if not any(head[::2]) and all(head[1::2]):
            return "utf-16-be"
        if not any(head[1::2]) and all(head[::2]):
            return "utf-16-le"
    return encoding


def decoded(path: str | os.PathLike[str], encoding: str = "utf-8") -> str:
    """The whole text of a file, unpacked, a byte order mark left out.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a byte is none of the encoding's; the sentence has the file and the line.
    """
    return decode(read_bytes(existing(path)), encoding, path)


def text_pieces(path: str | os.PathLike[str], encoding: str = "utf-8", size: int = 1 << 20) -> Iterator[str]:
    """The text of a file in pieces, unpacked, a byte order mark left out; the whole is never held.

    Args:
        size: bytes that are read at once.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is damaged, or a byte is none of the encoding's; the sentence has file and line.
    """
    target = existing(path)
    kind = compression(target)
    try:
        with _opened(target, kind) as file:
            yield from _decoded_blocks(file, encoding, path, size)
    except _DAMAGED as error:
        if kind is None or ": expected " in str(error):
            raise
        way_out = "unpack it yourself to see whether it is whole"
        raise errors.value_error(f"file {path}", f"a whole {kind} file", "a damaged one", way_out) from error


def _decoded_blocks(file: IO[bytes], encoding: str, path: object, size: int) -> Iterator[str]:
    block = file.read(size)
    encoding, lines_before = encoding_of(block, encoding), 0
    try:
        decoder = codecs.getincrementaldecoder(encoding)()
        while block:
            if text := decoder.decode(block):
                yield text
            lines_before += block.count(b"\n")
            block = file.read(size)
        if text := decoder.decode(b"", True):
            yield text
    except UnicodeDecodeError as error:
        raise _undecodable(error, lines_before, encoding, path, "file") from error
    except LookupError as error:
        raise _unknown_encoding(encoding) from error


def _undecodable(
    error: UnicodeDecodeError, lines_before: int, encoding: str, path: object, what: str
) -> ValueError:
    received = f"{fault(error, lines_before)} of {path}"
    way_out = "give the file's own encoding, such as encoding='latin-1'"
    return errors.value_error("encoding", f"a {what} in {encoding}", received, way_out)


def _unknown_encoding(encoding: str) -> ValueError:
    return errors.value_error("encoding", "the name of an encoding", repr(encoding), "such as latin-1")


def fault(error: UnicodeDecodeError, lines_before: int = 0) -> str:
    """Which byte cannot be decoded, and in which line; lines_before: those of the file before the bytes.

    >>> try:
    ...     b"a\\nb\\xff".decode()
    ... except UnicodeDecodeError as error:
    ...     fault(error)
    'the byte 0xff in line 2'
    """
    line = lines_before + error.object.count(b"\n", 0, error.start) + 1
    return f"the byte 0x{error.object[error.start]:02x} in line {line}"


def lines(path: str | os.PathLike[str], encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """The lines that are not blank, each with its number counted from 1."""
    for number, line in enumerate(decoded(path, encoding).split("\n"), 1):
        if line.strip():
            yield number, line.rstrip("\r")
