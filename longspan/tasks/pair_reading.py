"""Reads pairs of texts: tables, JSON lines, lines with a tabulator, two aligned files, lists of strings."""

from __future__ import annotations

import csv
import io
import json
import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import narwhals as nw

from longspan import errors
from longspan.data.readers.frames import is_frame, is_records
from longspan.data.readers.tables import TABLE_ENDINGS, ReadOptions, is_path, read_source
from longspan.data.readers.text_files import PACKED_ENDINGS, decoded, ending_of, existing

_JSON = (".jsonl", ".ndjson", ".json")
_SOURCE_NAMES = ("source", "src", "text", "input", "document", "article", "body", "question", "word")
_TARGET_NAMES = (
    "target", "tgt", "translation", "output", "summary", "title", "subject", "headline", "answer", "sound",
)  # fmt: skip
_KINDS = "a path, a frame, pairs, or a list of strings"


class Pair(NamedTuple):
    """source: the text to read; target: the text to write, None where it is not known."""

    source: str
    target: str | None = None


class PairColumns(NamedTuple):
    """Names of the columns of both texts, None for those to be found, and how files are decoded."""

    source: str | None = None
    target: str | None = None
    encoding: str = "utf-8"


class _Rows(NamedTuple):
    """Texts of both sides with what a row is called in an error, such as "line 3 of a.tsv"."""

    sources: Sequence[Any]
    targets: Sequence[Any] | None
    places: Sequence[str]


def read_pairs(
    source: Any, y: Any = None, *, columns: PairColumns | None = None, targets: bool = True
) -> list[Pair]:
    """Pairs of texts, in Unicode's normal form C.

    Args:
        source: a path: a table (.csv, .parquet, ...) or JSON lines with a column for each text; a .tsv, or
            any other file, with both texts on a line and a tabulator between; a beginning such as
            "data/train", where data/train.de and data/train.en lie and the columns are "de" and "en". Or a
            frame, a list of pairs, or a list of sources.
        y: the targets where they come apart: as many strings, or a file with a line for each line of source.
        columns: of the texts; None for those that are found.
        targets: whether a row without a target is refused; without, targets that are missing are None.

    Raises:
        FileNotFoundError, ValueError, TypeError: there is nothing to read, a text is missing, or the numbers
            of sources and targets differ; one sentence with the line.

    >>> read_pairs(["ein Hund"], ["a dog"])
    [Pair(source='ein Hund', target='a dog')]
    """
    columns = columns or PairColumns()
    if y is not None:
        rows = _beside(source, y, columns)
    elif is_path(source):
        rows = _from_path(Path(source), columns, targets)
    else:
        rows = _from_memory(source, columns, targets)
    if not len(rows.sources):
        raise errors.value_error("source", "at least one text", "none", "check what was read")
    return _checked(rows, targets)


def _checked(rows: _Rows, needed: bool) -> list[Pair]:
    targets = [None] * len(rows.sources) if rows.targets is None else rows.targets
    if needed and rows.targets is None:
        way_out = "put both texts into a row, or pass the targets beside the sources"
        raise errors.value_error("target", "a text to learn to write for every source", "none", way_out)
    pairs = []
    for source, target, place in zip(rows.sources, targets, rows.places, strict=True):
        written = _text(target, "target", place)
        read = _text(source, "source", place)
        if needed:
            for name, text in (("source", read), ("target", written)):
                if not (text or "").strip():
                    way_out = "fill it or leave the row out"
                    raise errors.value_error(name, "a text in every row", f"none in {place}", way_out)
        pairs.append(Pair(read or "", written or None))
    return pairs


def _text(value: Any, name: str, place: str) -> str | None:
    """A cell as text in normal form C; None for a missing one."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    if not isinstance(value, str):
        received = f"{type(value).__name__} in {place}"
        raise errors.value_error(name, "texts", received, "convert it to a string")
    return unicodedata.normalize("NFC", value)


# ---- two sources side by side


def _beside(source: Any, y: Any, columns: PairColumns) -> _Rows:
    """Sources and targets that come apart."""
    sources, targets = (_column(one, name, columns) for one, name in ((source, "source"), (y, "targets")))
    if len(sources) != len(targets):
        received = f"{len(sources)} sources and {len(targets)} targets"
        raise errors.value_error("targets", "one for every source", received, "give as many of both")
    where = f" of {source}" if is_path(source) else ""
    kind = "line" if is_path(source) else "row"
    return _Rows(sources, targets, _places(len(sources), kind, where, first=int(is_path(source))))


def _column(values: Any, name: str, columns: PairColumns) -> list[Any]:
    """The texts of a list, or the lines of a file."""
    if is_path(values):
        return _lines(existing(values), columns.encoding)
    if nw.dependencies.is_into_dataframe(values):
        frame = nw.from_native(values)
        if len(frame.columns) != 1:
            received = f"{len(frame.columns)} columns"
            raise errors.value_error(name, "one column of texts", received, "pass one of them")
        return frame[frame.columns[0]].to_list()
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise errors.type_error(name, "a list of strings or a file of lines", values, "put it in a list")
    return list(values)


def _places(count: int, kind: str, where: str = "", *, first: int = 0) -> list[str]:
    return [f"{kind} {number + first}{where}" for number in range(count)]


def _lines(path: Path, encoding: str) -> list[str]:
    """All lines of a file, blank ones too, since they are aligned; the end of the last line starts none."""
    lines = decoded(path, encoding).split("\n")
    return [line.rstrip("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]


# ---- files


def _from_path(path: Path, columns: PairColumns, targets: bool) -> _Rows:
    aligned = _aligned_files(path, columns)
    if aligned is not None:
        source, target = aligned
        if target is not None:
            return _beside(source, target, columns)
        lines = _lines(source, columns.encoding)
        return _Rows(lines, None, _places(len(lines), "line", f" of {source}", first=1))
    suffix = ending_of(existing(path))
    if path.is_dir():
        way_out = "name a file, or the common beginning of two aligned files"
        raise errors.value_error("source", "a file with pairs of texts", f"the folder {path}", way_out)
    if suffix in _JSON:
        return _from_json(path, columns, targets)
    if suffix == ".csv":
        return _from_cells(path, _csv_rows(path, columns.encoding), columns, targets)
    if suffix in TABLE_ENDINGS and suffix not in (".tsv", ".txt"):
        return _from_frame(path, columns, targets)
    return _from_cells(path, _tab_rows(path, columns.encoding), columns, targets)


def _aligned_files(path: Path, columns: PairColumns) -> tuple[Path, Path | None] | None:
    """The files `path`.SOURCE and `path`.TARGET; None where there is a file `path` or no such file."""
    if os.path.exists(path) or columns.source is None:
        return None
    source = _with_ending(path, columns.source)
    return None if source is None else (source, _with_ending(path, columns.target or ""))


def _with_ending(path: Path, ending: str) -> Path | None:
    """The file `path`.`ending`, or that of a compressed one; None for none."""
    if not ending:
        return None
    names = (f"{path}.{ending}{packed}" for packed in ("", *PACKED_ENDINGS))
    return next((Path(name) for name in names if os.path.exists(name)), None)


def _csv_rows(path: Path, encoding: str) -> list[tuple[int, list[str]]]:
    """Line numbers and cells of a CSV file, whose first line shows the separator: , ; or a tabulator."""
    text = decoded(path, encoding)
    head = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=head.count))
    try:
        rows, line = [], 1
        for cells in reader:
            rows.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        received = f"{error} in line {reader.line_num} of {path}"
        raise errors.value_error("source", "a CSV file", received, "correct the line") from error
    return [(line, cells) for line, cells in rows if cells]


def _tab_rows(path: Path, encoding: str) -> list[tuple[int, list[str]]]:
    """Line numbers and cells of lines with tabulators between; quotes are part of the text."""
    lines = list(enumerate(_lines(path, encoding), 1))
    if not any("\t" in line for _, line in lines):  # plain lines, of which an empty one is a text too
        return [(number, [line]) for number, line in lines]
    return [(number, line.split("\t")) for number, line in lines if line.strip()]


def _from_cells(path: Path, rows: list[tuple[int, list[str]]], columns: PairColumns, targets: bool) -> _Rows:
    """Pairs out of rows of cells whose first row may be a header."""
    if not rows:
        raise errors.value_error("source", "at least one row", f"none in {path}", "check the file")
    header = rows[0][1]
    if len(header) == 1 and not targets and columns.source not in header:
        return _Rows([cells[0] for _, cells in rows], None, [f"line {n} of {path}" for n, _ in rows])
    named = {columns.source, columns.target} - {None}
    if named <= set(header) if named else _is_header(header):
        source, target = _found_columns(header, columns, targets)
        rows = rows[1:]
    elif named and len(header) != 2:
        missing = next(name for name in (columns.source, columns.target) if name and name not in header)
        option = "source_column" if missing == columns.source else "target_column"
        expected = f"one of the columns of {path} ({', '.join(header)})"
        raise errors.value_error(option, expected, repr(missing), "correct the name")
    else:
        source, target = _without_header(path, header)
    places = [f"line {number} of {path}" for number, _ in rows]
    sources = [_cell(cells, source) for _, cells in rows]
    return _Rows(sources, None if target is None else [_cell(cells, target) for _, cells in rows], places)


def _without_header(path: Path, header: Sequence[str]) -> tuple[int, int]:
    if len(header) < 2:
        way_out = "put a tabulator between source and target, or name the columns in a first row"
        raise errors.value_error("source", "two texts on every line", f"one in line 1 of {path}", way_out)
    errors.notice(f"{path} has no header: its first column is the source, its second the target.")
    return 0, 1


def _cell(cells: Sequence[str], place: int) -> str | None:
    return cells[place] if place < len(cells) else None


def _is_header(cells: Sequence[str]) -> bool:
    names = {cell.strip().lower() for cell in cells}
    return bool(names & set(_SOURCE_NAMES)) and bool(names & set(_TARGET_NAMES) or len(cells) == 1)


def _found_columns(names: Sequence[str], columns: PairColumns, targets: bool) -> tuple[int, int | None]:
    """The places of both columns among the names.

    Raises:
        ValueError: one of them is not there; the sentence has all names.
    """
    source = _found_column(names, columns.source, _SOURCE_NAMES, "source_column")
    try:
        target = _found_column(names, columns.target, _TARGET_NAMES, "target_column")
    except ValueError:
        if targets:
            raise
        return source, None
    return source, target


def _found_column(names: Sequence[str], wanted: str | None, usual: Sequence[str], option: str) -> int:
    lowered = [name.strip().lower() for name in names]
    if wanted is not None:
        if wanted not in names:
            expected = f"one of the columns ({', '.join(names)})"
            raise errors.value_error(option, expected, repr(wanted), errors.did_you_mean(wanted, names))
        return names.index(wanted)
    place = next((lowered.index(name) for name in usual if name in lowered), None)
    if place is None:
        received = f"the columns {', '.join(names)}"
        raise errors.value_error(option, f"a column called {usual[0]} or the like", received, "name it")
    return place


def _from_json(path: Path, columns: PairColumns, targets: bool) -> _Rows:
    text = decoded(path, columns.encoding)
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if path.suffix.lower() == ".json" and text.lstrip().startswith("["):
        rows = _parsed(text, f"{path}")
        return _from_fields(rows, _places(len(rows), "record", f" of {path}"), columns, targets)
    places = [f"line {number} of {path}" for number, _ in lines]
    rows = [_parsed(line, place) for (_, line), place in zip(lines, places, strict=True)]
    return _from_fields(rows, places, columns, targets)


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        received = f"{getattr(error, 'msg', 'values nested too deep')} in {place}"
        raise errors.value_error("source", "JSON objects, one a line", received, "correct it") from error


def _from_fields(rows: Sequence[Any], places: Sequence[str], columns: PairColumns, targets: bool) -> _Rows:
    """Pairs out of JSON objects; {"translation": {"de": ..., "en": ...}} is one with the inner fields."""
    found = []
    for row, place in zip(rows, places, strict=True):
        inner = row.get("translation") if isinstance(row, Mapping) else None
        fields = inner if isinstance(inner, Mapping) else row
        if not isinstance(fields, Mapping):
            received = f"{type(fields).__name__} in {place}"
            raise errors.value_error("source", "an object for every pair", received, "correct it")
        found.append(fields)
    names = list(dict.fromkeys(str(name) for fields in found for name in fields))
    source, target = _found_columns(names, columns, targets)
    written = None if target is None else [fields.get(names[target]) for fields in found]
    return _Rows([fields.get(names[source]) for fields in found], written, places)


def _from_frame(source: Any, columns: PairColumns, targets: bool) -> _Rows:
    """Pairs out of a frame, or of a file that holds one."""
    text = {*_SOURCE_NAMES, *_TARGET_NAMES, columns.source or "", columns.target or ""}
    frame = read_source(source, options=ReadOptions(encoding=columns.encoding), text=text).frame
    where = f" of {source}" if is_path(source) else ""
    read, written = _found_columns(frame.columns, columns, targets)
    values = [frame.to_series(place).to_list() for place in (read, written) if place is not None]
    return _Rows(values[0], values[1] if written is not None else None, _places(len(frame), "row", where))


def _from_memory(source: Any, columns: PairColumns, targets: bool) -> _Rows:
    if is_frame(source) and not is_records(source) and not nw.dependencies.is_into_series(source):
        return _from_frame(source, columns, targets)
    if isinstance(source, bytes) or not isinstance(source, Iterable):
        raise errors.type_error("source", _KINDS, source, "convert it to one of these")
    rows = list(source)
    places = _places(len(rows), "row")
    if rows and isinstance(rows[0], Mapping):
        return _from_fields(rows, places, columns, targets)
    if rows and isinstance(rows[0], (tuple, list)):
        odd = next((n for n, row in enumerate(rows) if len(row) != 2), None)
        if odd is not None:
            received = f"{len(rows[odd])} values in row {odd}"
            raise errors.value_error("source", "pairs of two texts", received, "correct the row")
        return _Rows([row[0] for row in rows], [row[1] for row in rows], places)
    return _Rows(rows, None, places)
