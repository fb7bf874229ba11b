"""Reads recordings with their texts: sound files, folders, tables of transcripts, Kaldi's lists, arrays."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from longspan import errors
from longspan.data.readers.frames import is_frame
from longspan.data.readers.tables import TABLE_ENDINGS, ReadOptions, is_path, read_source
from longspan.data.readers.text_files import decoded, ending_of, existing, visible_files

from .sound_files import SOUND_ENDINGS, array_sound, check_rate, note_defects, read_sound

_TABLES = (*TABLE_ENDINGS, ".jsonl", ".ndjson", ".json")
_FILE_NAMES = (
    "file",
    "path",
    "audio",
    "audio_filepath",
    "sound",
    "wav",
    "filename",
    "file_name",
    "audio_path",
    "wav_path",
)
_TEXT_NAMES = ("text", "transcript", "transcription", "sentence", "words", "word", "label", "command")
_KINDS = "a path, a frame with files and texts, a list of paths, arrays, or pairs (array, rate)"


class Recording(NamedTuple):
    """sound: (N,) float32 in [-1, 1]; rate: samples a second; text: None where it is not known.

    file: the path; None for an array.
    """

    sound: np.ndarray
    rate: int
    text: str | None = None
    file: str | None = None


class RatedSource(NamedTuple):
    """A source and the rate that the caller gave for it; None for that of the files, or `default`."""

    source: Any
    rate: int | None


class TranscriptColumns(NamedTuple):
    """Names of the columns of files and of texts, None for those to be found; encoding: of text files."""

    file: str | None = None
    text: str | None = None
    encoding: str = "utf-8"


class _Item(NamedTuple):
    """A recording that is not read yet. sound: a path, or an array; place: where errors say that it is."""

    sound: Any
    rate: int | None
    text: str | None
    place: str


def read_recordings(
    source: Any,
    y: Any = None,
    *,
    columns: TranscriptColumns | None = None,
    texts: bool = True,
    default_rate: int | None = None,
) -> list[Recording]:
    """Recordings out of a source.

    Args:
        source: a sound file (wav, flac, ogg ...); a table with columns of files and texts; a folder with
            transcripts.csv, .tsv or .jsonl, with Kaldi's wav.scp and text, with a folder a word, or with
            sound files alone; a frame; a list of paths, arrays (N,) or (N, channels), pairs (array, rate),
            pairs (path, text), or triples (array, rate, text); one array; or a `RatedSource`.
        y: the texts where they come apart, one a sound.
        columns: of a table; None for those that are found.
        texts: whether a sound without a text is refused.
        default_rate: of arrays without one; None to refuse them.

    Raises:
        FileNotFoundError, ValueError, TypeError: there is nothing to read, a file is no sound, a text or a
            file is missing; one sentence.
    """
    columns = columns or TranscriptColumns()
    rate = None
    if isinstance(source, RatedSource):
        source, rate = source
        rate = None if rate is None else check_rate(rate)
    items = _items(source, columns, texts and y is None)
    if y is not None:
        items = _with_texts(items, y)
    if not items:
        raise errors.value_error("source", "at least one sound", "none", "check what was read")
    recordings = [_recording(item, rate, default_rate) for item in items]
    _check_texts(recordings, items, texts)
    note_defects([one.sound for one in recordings], [item.place for item in items])
    return recordings


def _recording(item: _Item, rate: int | None, default: int | None) -> Recording:
    text = None if item.text is None else clean_text(item.text)
    if isinstance(item.sound, Path):
        sound, own = read_sound(item.sound)
        if rate is not None and rate != own:
            expected = f"{own}, which is that of {item.sound}, or none"
            raise errors.value_error("rate", expected, rate, "leave it out for files")
        return Recording(sound, own, text, str(item.sound))
    own = rate if item.rate is None else check_rate(item.rate)
    if rate is not None and own != rate:
        raise errors.value_error("rate", f"{own}, which stands beside {item.place}", rate, "leave it out")
    own = default if own is None else own
    if own is None:
        way_out = "pass rate=16000 or the like, or pairs (array, rate)"
        raise errors.value_error("rate", "the samples a second of the arrays", None, way_out)
    return Recording(array_sound(item.sound, item.place), own, text)


def clean_text(text: str) -> str:
    """A text in Unicode's form NFC with single blanks.

    >>> clean_text(" one   two ")
    'one two'
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def _check_texts(recordings: Sequence[Recording], items: Sequence[_Item], needed: bool) -> None:
    for recording, item in zip(recordings, items, strict=True):
        if needed and not recording.text:
            way_out = "give it a transcript or leave the sound out"
            raise errors.value_error(
                "text", "a transcript for every sound", f"none for {item.place}", way_out
            )


# ---- texts that come apart


def _with_texts(items: list[_Item], y: Any) -> list[_Item]:
    if isinstance(y, (str, bytes)) or not isinstance(y, Iterable):
        raise errors.type_error("texts", "a list of strings, one a sound", y, "put them in a list")
    texts = list(y)
    if len(texts) != len(items):
        received = f"{len(texts)} for {len(items)} sounds"
        raise errors.value_error("texts", "one for every sound", received, "give as many of both")
    odd = next((row for row, text in enumerate(texts) if not isinstance(text, (str, np.str_))), None)
    if odd is not None:
        received = f"{type(texts[odd]).__name__} in row {odd}"
        raise errors.value_error("texts", "strings", received, "convert it to a string")
    return [item._replace(text=str(text)) for item, text in zip(items, texts, strict=True)]


# ---- sources


def _items(source: Any, columns: TranscriptColumns, texts: bool) -> list[_Item]:
    if is_path(source):
        path = existing(source)
        if path.is_dir():
            return _from_folder(path, columns, texts)
        if ending_of(path) in _TABLES:
            return _from_table(path, path.parent, columns, texts, str(path))
        return [_Item(path, None, None, str(path))]
    if isinstance(source, np.ndarray) and source.dtype.names is None:
        return [_array_item(source, 0)] if source.ndim == 1 else _from_list(list(source))
    if isinstance(source, tuple) and len(source) == 2 and isinstance(source[1], (int, np.integer)):
        return [_array_item(source, 0)]
    if is_frame(source):
        return _from_table(source, Path(), columns, texts, "source")
    if isinstance(source, bytes) or not isinstance(source, Iterable):
        raise errors.type_error("source", _KINDS, source, "convert it to one of these")
    return _from_list(list(source))


def _from_list(rows: Sequence[Any]) -> list[_Item]:
    return [_with_own_text(row, at) for at, row in enumerate(rows)]


def _with_own_text(row: Any, at: int) -> _Item:
    """A sound of a list, with its text if it is a tuple whose last part is one."""
    if not (isinstance(row, tuple) and len(row) in (2, 3) and isinstance(row[-1], str)):
        return _list_item(row, at)
    sound = row[0] if len(row) == 2 else row[:-1]
    return _list_item(sound, at)._replace(text=row[-1])


def _list_item(row: Any, at: int) -> _Item:
    if is_path(row):
        return _Item(_sound_path(Path(row), f"row {at}"), None, None, str(row))
    return _array_item(row, at)


def _array_item(row: Any, at: int) -> _Item:
    """An array, or a pair (array, rate) as soundfile.read gives it."""
    if isinstance(row, tuple) and len(row) == 2 and isinstance(row[1], (int, np.integer)):
        return _Item(row[0], int(row[1]), None, f"sound {at}")
    return _Item(row, None, None, f"sound {at}")


def _sound_path(path: Path, place: str) -> Path:
    if not path.is_file():
        received = f"{path}, where nothing is, in {place}"
        raise FileNotFoundError(
            errors.message("file", "a sound for every transcript", received, "correct the path")
        )
    return path


def _from_folder(folder: Path, columns: TranscriptColumns, texts: bool) -> list[_Item]:
    if (folder / "wav.scp").is_file():
        return _from_kaldi(folder, columns.encoding, texts)
    tables = [file for file in visible_files(folder) if file.parent == folder and _is_transcripts(file)]
    if len(tables) > 1:
        received = ", ".join(file.name for file in tables)
        raise errors.value_error(f"folder {folder}", "one table of transcripts", received, "name one of them")
    files = [file for file in visible_files(folder) if file.suffix.lower() in SOUND_ENDINGS]
    if tables:
        items = _from_table(tables[0], folder, columns, texts, str(tables[0]))
        if texts:
            _check_all_named(files, items, tables[0])
        return items
    if not files:
        way_out = f"put files that end in {', '.join(SOUND_ENDINGS[:3])} there"
        raise errors.value_error(f"folder {folder}", "sound files", "none", way_out)
    apart = all(file.parent.parent == folder for file in files)
    return [_Item(file, None, file.parent.name if apart else None, str(file)) for file in files]


def _is_transcripts(path: Path) -> bool:
    return path.name.lower().startswith(("transcripts.", "transcript.")) and ending_of(path) in _TABLES


def _check_all_named(files: Sequence[Path], items: Sequence[_Item], table: Path) -> None:
    """Refuse sound files of a folder that its table does not name."""
    named = {Path(item.sound).resolve() for item in items}
    without = [file for file in files if file.resolve() not in named]
    if without:
        others = f" and {len(without) - 1} others" if len(without) > 1 else ""
        received = f"none for {without[0].name}{others}"
        way_out = "add a row, or move the file away"
        raise errors.value_error(f"file {table}", "a transcript for every sound", received, way_out)


# ---- tables


def _from_table(source: Any, folder: Path, columns: TranscriptColumns, texts: bool, name: str) -> list[_Item]:
    text = {*_FILE_NAMES, *_TEXT_NAMES, columns.file or "", columns.text or ""}
    options = ReadOptions(encoding=columns.encoding)
    frame = read_source(source, options=options, text=text | _spellings(text)).frame
    file = _column(frame, columns.file, _FILE_NAMES, "file_column", name, needed=True)
    spoken = _column(frame, columns.text, _TEXT_NAMES, "text_column", name, needed=texts)
    if "offset" in frame.columns and bool((frame["offset"] != 0).any()):
        way_out = "cut the files at the offsets first"
        raise errors.value_error(
            name, "one utterance a file", "a column offset of other values than 0", way_out
        )
    files = [None if value is None else str(value) for value in frame[file or ""].to_list()]
    said = [None] * len(files) if spoken is None else _texts(frame[spoken])
    first = 2 if is_path(source) and ending_of(Path(source)) not in (".jsonl", ".ndjson", ".json") else 0
    items = []
    for row, (path, value) in enumerate(zip(files, said, strict=True)):
        place = f"row {row + first} of {name}"
        if not path:
            raise errors.value_error("file", "a path in every row", f"none in {place}", "fill it")
        items.append(_Item(_sound_path(folder / path, place), None, value, f"{path} ({place})"))
    return items


def _spellings(names: Iterable[str]) -> set[str]:
    return {spelling for name in names for spelling in (name.upper(), name.title())}


def _texts(column: pl.Series) -> list[str | None]:
    return [None if value is None else str(value) for value in column.to_list()]


def _column(
    frame: pl.DataFrame, wanted: str | None, usual: Sequence[str], option: str, name: str, *, needed: bool
) -> str | None:
    """The column of a table that the option names, or that has a usual name."""
    names = frame.columns
    listed = f"the columns of {name} ({', '.join(names[:12])})"
    if wanted is not None:
        if wanted not in names:
            raise errors.value_error(
                option, f"one of {listed}", repr(wanted), errors.did_you_mean(wanted, names)
            )
        return wanted
    lowered = {column.strip().lower(): column for column in reversed(names)}
    column = next((lowered[one] for one in usual if one in lowered), None)
    if column is None and needed:
        raise errors.value_error(option, f"a column called {usual[0]} or the like", listed, "name it")
    return column


# ---- Kaldi


def _from_kaldi(folder: Path, encoding: str, texts: bool) -> list[_Item]:
    """The recordings of wav.scp with their texts, by their ids; both files have an id first on a line."""
    if (folder / "segments").is_file():
        way_out = "cut the files at the segments first"
        raise errors.value_error(f"folder {folder}", "one utterance a file", "a file segments", way_out)
    files = _keyed_lines(folder / "wav.scp", encoding)
    said = _keyed_lines(folder / "text", encoding) if (folder / "text").is_file() else {}
    if texts:
        _check_same_ids(folder, files, said)
    items = []
    for key, path in files.items():
        place = f"{key} in {folder / 'wav.scp'}"
        if path.endswith("|"):
            way_out = "write the sounds into files first"
            raise errors.value_error(f"file {folder / 'wav.scp'}", "paths", f"a command for {key}", way_out)
        inside = folder / path
        items.append(
            _Item(_sound_path(inside if inside.is_file() else Path(path), place), None, said.get(key), place)
        )
    return items


def _keyed_lines(path: Path, encoding: str) -> dict[str, str]:
    lines = (line.split(maxsplit=1) for line in decoded(path, encoding).splitlines() if line.strip())
    return {parts[0]: parts[1].strip() if len(parts) > 1 else "" for parts in lines}


def _check_same_ids(folder: Path, files: dict[str, str], said: dict[str, str]) -> None:
    without_text = [key for key in files if key not in said]
    without_file = [key for key in said if key not in files]
    for missing, what, place in (
        (without_text, "a transcript for every sound", "text"),
        (without_file, "a sound for every transcript", "wav.scp"),
    ):
        if missing:
            received = f"none for {missing[0]}" + (
                f" and {len(missing) - 1} others" if len(missing) > 1 else ""
            )
            raise errors.value_error(f"file {folder / place}", what, received, "add its line")
