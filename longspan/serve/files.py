"""Checks files in bodies before a task reads them: their kind by the first bytes, and their size unpacked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from longspan import errors
from longspan.data.frames import clip_info
from longspan.data.readers.text_files import compression
from longspan.optional import require

from .limits import Limits, refused
from .models import Answer

_MEDIA_TASKS = ("speech", "video", "caption")  # those for which a text is the path of a file
_TABLES = (".csv", ".tsv", ".txt", ".jsonl")
_SOUNDS = (".wav", ".flac", ".ogg")
_PICTURES = (".png", ".jpg", ".jpeg", ".webp")
_RATE = 48_000  # samples a second by which the longest sound is counted
# Ending -> where in the file its mark stands, and the mark. Decoders go by the content, and some of their
# formats name other files or start other programs, so no other content reaches them.
_MARKS = {
    ".wav": (8, b"WAVE"),
    ".flac": (0, b"fLaC"),
    ".ogg": (0, b"OggS"),
    ".png": (0, b"\x89PNG\r\n\x1a\n"),
    ".jpg": (0, b"\xff\xd8\xff"),
    ".jpeg": (0, b"\xff\xd8\xff"),
    ".webp": (8, b"WEBP"),
    ".gif": (0, b"GIF8"),
    ".mp4": (4, b"ftyp"),
    ".webm": (0, b"\x1a\x45\xdf\xa3"),
    ".avi": (8, b"AVI "),
}


def without_paths(task: str, source: Any) -> Any:
    """A source of JSON; for tasks that would read files of this machine by their names, as arrays.

    Raises:
        Refused: for such a task it is no list with lists of numbers.
    """
    if task not in _MEDIA_TASKS or source is None:
        return source
    rows = [None] if isinstance(source, pl.DataFrame) else source
    arrays = [number_array(row) for row in rows]
    if any(array is None for array in arrays):
        expected = "lists of numbers, or one file as the body"
        raise refused(422, "source", expected, "names of files or others", "send the file's bytes")
    # JSON does not tell samples of 16 bits from those of 32, so samples are between -1 and 1
    return [array.astype(np.float32) if task == "speech" else array for array in arrays if array is not None]


def number_array(value: Any) -> np.ndarray | None:
    """Nested lists of numbers as an array; None for anything else."""
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):  # lists of unequal lengths
        return None
    return array if isinstance(value, list) and array.dtype.kind in "iuf" else None


def check_kind(task: str, ending: str) -> None:
    """Refuse a table for a task whose tables name files."""
    if task in _MEDIA_TASKS and ending in _TABLES:
        expected = "a sound, a picture or a clip"
        raise refused(415, "Content-Type", expected, f"a table ({ending})", "send the file's bytes")


def without_folder(answer: Answer, path: Path) -> Answer:
    """An answer that names the file in a body without the folder in which it was read."""
    names = pl.col(pl.String).str.replace_all(str(path), path.name, literal=True)
    return Answer(
        answer.frame.with_columns(names), [note.replace(str(path), path.name) for note in answer.notes]
    )


def picture_ending(content: bytes) -> str:
    """The ending of a picture by its first bytes.

    Raises:
        Refused: it is none that is taken.
    """
    for ending in _PICTURES:
        at, mark = _MARKS[ending]
        if content[at : at + len(mark)] == mark:
            return ending
    raise refused(422, "reading", "a picture (PNG, JPEG, WebP)", "other bytes", "send the file's bytes")


def check_file(path: Path, limits: Limits) -> None:
    """Refuse a file that is none of its kind, or that grows beyond the limits when it is unpacked.

    Raises:
        Refused: so. ValueError: it is damaged; one sentence.
    """
    if path.suffix in _TABLES:
        _check_table(path, limits)
        return
    at, mark = _MARKS[path.suffix]
    with path.open("rb") as file:
        head = file.read(at + len(mark))
    if head[at:] != mark:
        expected = f"a file that is {path.suffix[1:]} by its first bytes"
        raise refused(422, "body", expected, "another", "name what the body is by its Content-Type")
    if path.suffix in _SOUNDS:
        _check_sound(path, limits)
    elif path.suffix in _PICTURES:
        _check_picture(path, limits)
    else:
        _check_clip(path, limits)


def _check_table(path: Path, limits: Limits) -> None:
    kind = compression(path)
    if kind is not None:
        raise refused(415, "body", "text", f"a {kind} file", "send it unpacked")
    lines = path.read_bytes().count(b"\n")
    if lines > limits.rows:
        expected = f"at most {limits.rows:,} rows"
        raise refused(413, "source", expected, f"{lines:,} lines", "send it in parts")


def _check_sound(path: Path, limits: Limits) -> None:
    soundfile = require("soundfile", "speech", "sound files")
    try:
        info = soundfile.info(str(path))
    except soundfile.LibsndfileError as error:
        received = f"a damaged one ({error.error_string.rstrip('.')})"
        raise errors.value_error("body", "a sound", received, "write the file again") from error
    most = limits.media_seconds * min(info.samplerate, _RATE)
    if info.frames * info.channels > most:
        _refuse_long(limits)


def _check_picture(path: Path, limits: Limits) -> None:
    pillow = require("PIL.Image", "video", "pictures")
    try:
        with pillow.open(path) as picture:
            width, height = picture.size
    # Pillow raises many kinds of errors for damaged files, and one for a picture that is far too large.
    except Exception as error:
        received = f"a damaged one ({type(error).__name__})"
        raise errors.value_error("body", "a picture", received, "write the file again") from error
    _check_pixels(width, height, limits)


def _check_clip(path: Path, limits: Limits) -> None:
    """The size of frames by the header, their number and times by the packets, which are not decoded."""
    info = clip_info(path)
    _check_pixels(info.width, info.height, limits)
    av = require("av", "video", "clips")
    times: list[float] = []
    try:
        with av.open(str(path)) as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.pts is not None:
                    times.append(float(packet.pts * packet.time_base))
    except av.error.FFmpegError as error:
        received = f"a damaged one ({type(error).__name__})"
        raise errors.value_error("body", "a clip", received, "write the file again") from error
    if len(times) > limits.rows:
        expected = f"at most {limits.rows:,} frames"
        raise refused(413, "body", expected, f"{len(times):,}", "send a shorter clip")
    if times and max(times) - min(times) > limits.media_seconds:
        _refuse_long(limits)


def _check_pixels(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.pixels:
        expected = f"pictures of at most {limits.pixels:,} pixels"
        raise refused(413, "body", expected, f"{width} x {height}", "make it smaller")


def _refuse_long(limits: Limits) -> None:
    expected = f"at most {limits.media_seconds:g} seconds"
    raise refused(413, "body", expected, "more", "send it in parts")
