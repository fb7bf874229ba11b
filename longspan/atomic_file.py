"""Replaces a file at once: readers see the old content or the new, whoever else writes to the same path."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from longspan import errors

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
}
_STEM = 64  # bytes of the target's name that its part file repeats, so that no name grows too long


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file beside `path` that takes its place when the block ends without an error.

    A link is followed; the mode of the file that is replaced is kept. Any number of threads, processes and
    containers may write to one path: each has a part file of its own, and the last to end wins. The part file
    of a process that was killed is removed by the next one that writes to the same path: a writer holds a
    lock (flock) on its part, which the system releases with the process.

    Args:
        path: where to; its folder is made where it is missing.

    Raises:
        ValueError: the path is a folder, a device, a named pipe or a socket.
        OSError: it cannot be written; the old file, if there is one, is as it was.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "new" / "file"
    >>> with atomic_write(target) as file:
    ...     _ = file.write(b"content")
    >>> target.read_bytes()
    b'content'
    """
    check_output(path, f"file {os.fspath(path)}")
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned_parts(target)
    part, handle = _open_part(target)
    lock = os.dup(handle)  # the lock is of both handles: it holds until the part has its place
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
        os.close(lock)
    _sync_folder(target.parent)


def check_output(path: str | os.PathLike[str], argument: str) -> None:
    """Refuse a path that `atomic_write` cannot write to.

    Args:
        path: of the output; nothing is made or changed there.
        argument: what the sentence calls it, such as "-o".

    Raises:
        ValueError: the path is empty, a folder, a device, a pipe or a socket, or may not be written to.
    """
    if not os.fspath(path):
        raise errors.value_error(argument, "a file or a new name", "an empty one", "name a file")
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = None
    if mode is not None and not stat.S_ISREG(mode):
        received = f"{_KINDS.get(stat.S_IFMT(mode), 'something else')}, {os.fspath(path)}"
        raise errors.value_error(argument, "a file or a new name", received, "name a file")
    if mode is not None and not os.access(path, os.W_OK):
        received = f"{os.fspath(path)}, which may not be written to"
        raise errors.value_error(argument, "a file that can be replaced", received, "name another")
    folder = next(parent for parent in Path(os.path.realpath(path)).parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        received = f"{os.fspath(path)}, and {folder} cannot be written to"
        raise errors.value_error(argument, "a place that can be written to", received, "name another")


def _open_part(target: Path) -> tuple[Path, int]:
    """A locked part file that no one else has, with the mode of the file it is to replace; its handle."""
    while True:
        part = target.with_name(f".{_stem(target)}.{secrets.token_hex(8)}.part")
        handle = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
        with suppress(OSError):  # a file system without locks: part files of the killed stay there
            fcntl.flock(handle, fcntl.LOCK_EX)
        if _is_same_file(part, handle):
            break
        os.close(handle)  # another process took it for an abandoned one before it was locked
    with suppress(FileNotFoundError):
        os.fchmod(handle, stat.S_IMODE(target.stat().st_mode))
    return part, handle


def _remove_abandoned_parts(target: Path) -> None:
    """Remove the part files of this target whose writers are gone: those that nobody locks."""
    pattern = re.compile(re.escape(f".{_stem(target)}.") + r"[0-9a-f]{16}\.part")
    for name in os.listdir(target.parent):
        if pattern.fullmatch(name):
            with suppress(OSError):  # being written, not ours to remove, or gone by now
                _remove_unless_locked(target.with_name(name))


def _remove_unless_locked(part: Path) -> None:
    handle = os.open(part, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_same_file(part, handle):
            part.unlink()
    finally:
        os.close(handle)


def _stem(target: Path) -> str:
    return os.fsdecode(os.fsencode(target.name)[:_STEM])


def _is_same_file(path: Path, handle: int) -> bool:
    """Whether the path still leads to the file that was opened."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    """Bring the folder's new entry to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
