"""Reads delimited text (CSV and its kin): finds separator, header and decimal mark, leaves comments out."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from longspan import errors

from .numeric import MISSING
from .text_files import compression, decode, encoding_of, read_bytes

_SEPARATORS = (",", ";", "\t", "|")
_BLANKS = " "  # stands for runs of blanks
_NONE = "\x1f"  # the separator of a file of one column
_HEAD_BYTES = 1 << 18  # bytes by which the form of a file is found
_HEAD_ROWS = 300  # rows by which it is found
_INFERRED = 10_000  # rows by which the types of columns are found at first
_NUMBER = re.compile(r"[-+\u2212]?(\d[\d., \u00a0']*|[.,]\d+)([eE][-+]?\d+)?%?")
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T].*)?|\d{4}-?(Q\d|W\d\d|\d\d)(-\d)?")
_FRACTION = re.compile(r"-?\d*\.\d+")
_COMMENTS = ("#", "%", "//")
_SINGLE_QUOTED = re.compile(r"'[^']*'(?:[^'\w\s]\s*'[^']*')+")  # a header
_THOUSANDS = re.compile(r"-?[1-9]\d{0,2}\.\d{3}")  # or three decimals
_LEAST_DATES = 100  # rows from which columns of dates are read as such
_ISO = {
    "%Y-%m-%d": re.compile(r"[12]\d{3}-\d{2}-\d{2}"),
    "%Y-%m-%d %H:%M": re.compile(r"[12]\d{3}-\d{2}-\d{2} \d{2}:\d{2}"),
    "%Y-%m-%d %H:%M:%S": re.compile(r"[12]\d{3}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}"),
    "%Y-%m-%dT%H:%M:%S": re.compile(r"[12]\d{3}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}"),
}


@dataclass(frozen=True)
class Form:
    """The form of a delimited file.

    separator: one character, " " for runs of blanks; names: of its columns; skip: lines before the first row;
    decimal: "," or "."; as_text: columns whose numbers must be read by `numeric.read_numbers`; notes: what
    is worth knowing of how it was found; blanks: whether blanks follow the separators; iso: the format of
    each column whose first cells are all dates in one ISO form; quote: the sign around cells; fractions:
    columns whose first cells are all numbers with a decimal point, some of them no whole numbers.
    """

    separator: str
    names: tuple[str, ...]
    skip: int
    decimal: str = "."
    as_text: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    blanks: bool = False
    iso: Mapping[str, str] = field(default_factory=dict)
    quote: str = '"'
    fractions: tuple[str, ...] = ()


def read_delimited(
    path: Path,
    *,
    encoding: str = "utf-8",
    text: Collection[str] = (),
    separator: str | None = None,
    dates: bool = False,
    needed: Collection[str] = (),
    ids: Collection[str] = (),
) -> tuple[pl.DataFrame, Form]:
    """A delimited file as a frame, and its form.

    Args:
        path: the file, compressed or not.
        encoding: where no byte order mark shows it.
        text: columns that stay text as it is written.
        separator: None to find it.
        dates: whether columns of dates in ISO form alone are read as such.
        needed: where all of them are there, columns of fractions beside these may be left out.
        ids: names, in small letters, of columns that stay text as well.

    Raises:
        ValueError: it is no table, or cannot be decoded; one sentence.
    """
    head = read_bytes(path, _HEAD_BYTES)
    found = encoding_of(head, encoding).lower().replace("_", "-")
    plain = compression(path) is None and found in ("utf-8", "utf8", "utf-8-sig")
    whole = "" if plain else decode(read_bytes(path), encoding, path, "table")
    start = _decoded_head(head, encoding, path) if plain else whole[:_HEAD_BYTES]
    start = start.removeprefix("\ufeff")
    form = find_form(start, f"file {path}", separator)
    for note in form.notes:
        errors.notice(note)
    if form.separator == _BLANKS:
        whole = whole or decode(read_bytes(path), encoding, path, "table")
        whole = "\n".join("\t".join(line.split()) for line in whole.splitlines())
    elif '"' not in start and "\r" in start.replace("\r\n", ""):  # lines that end as on old Macs
        whole = (
            (whole or decode(read_bytes(path), encoding, path, "table"))
            .replace("\r\n", "\n")
            .replace("\r", "\n")
        )
    source = io.BytesIO(whole.encode()) if whole else path
    text = {*text, *(name for name in form.names if name.strip().lower() in ids)}
    return _parsed(source, path, form, text, dates, needed), form


def _decoded_head(head: bytes, encoding: str, path: Path) -> str:
    """The first bytes as text, up to the last whole line."""
    if len(head) == _HEAD_BYTES and b"\n" in head:
        head = head[: head.rindex(b"\n") + 1]
    return decode(head, encoding, path, "table")


def _parsed(
    source: Path | io.BytesIO,
    path: Path,
    form: Form,
    text: Collection[str],
    dates: bool,
    needed: Collection[str],
) -> pl.DataFrame:
    """The rows by polars; types are found by the first rows, by all of them where these mislead."""
    kept = {name: pl.String for name in form.names if name in text or name in form.as_text}
    iso = {name: layout for name, layout in form.iso.items() if name not in kept}
    try:
        try:
            frame = _with_dates(path, form, kept, iso, needed) if dates and iso and source is path else None
            if frame is None:
                frame = _read_csv(source, form, kept, _INFERRED)
        except pl.exceptions.ComputeError as error:
            if "utf-8" in str(error) or "found more fields" in str(error):
                raise
            if isinstance(source, io.BytesIO):
                source.seek(0)
            frame = _read_csv(source, form, kept, None)
    except pl.exceptions.NoDataError:
        return pl.DataFrame(schema=dict.fromkeys(form.names, pl.String))
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise _unreadable(path, source, form, error) from error
    empty = [
        name for name in frame.columns if _is_nameless(name) and frame[name].null_count() == frame.height
    ]
    frame = frame.drop(empty)
    if frame.width > 1 and all(column.null_count() for column in frame.get_columns()):
        frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))  # blank lines
    if form.blanks:
        frame = frame.with_columns(pl.col(pl.String).str.strip_chars())
    return frame.rename({name: _named(name) for name in frame.columns})


def _with_dates(
    path: Path,
    form: Form,
    kept: dict[str, type[pl.String]],
    iso: Mapping[str, str],
    needed: Collection[str],
) -> pl.DataFrame | None:
    """The rows with columns of ISO dates read chunk by chunk; None where a cell is none.

    Args:
        iso: the format of each of these columns.
        needed: where all of them are there, columns of fractions beside these are left out.
    """
    may_leave_out = bool(needed) and set(needed) <= set(form.names)
    left_out = {name for name in form.fractions if may_leave_out and name not in needed}
    rows = pl.scan_csv(path, **_csv_options(form, {**kept, **dict.fromkeys(iso, pl.String)}, _INFERRED))
    parsed = [  # a cache of the dates that were read costs more than reading them in a fixed form
        pl.col(name).str.to_datetime(layout, strict=False, time_unit="us", cache=False)
        for name, layout in iso.items()
    ]
    wanted = [name for name in form.names if name not in left_out]
    frame = rows.with_columns(parsed).select(wanted).collect(engine="streaming")
    return None if any(frame[name].null_count() for name in iso) else frame


def _csv_options(form: Form, kept: dict[str, type[pl.String]], rows: int | None) -> dict[str, Any]:
    """How polars reads a file of a form; rows: those by which types are found."""
    return {
        "has_header": False,
        "new_columns": list(form.names),
        "separator": "\t" if form.separator == _BLANKS else form.separator,
        "skip_lines": form.skip,
        "schema_overrides": kept,
        "infer_schema_length": rows,
        "null_values": "",
        "quote_char": form.quote,
        "try_parse_dates": False,
        "glob": False,
    }


def _read_csv(
    source: Path | io.BytesIO, form: Form, kept: dict[str, type[pl.String]], rows: int | None
) -> pl.DataFrame:
    return pl.read_csv(source, **_csv_options(form, kept, rows))


def _unreadable(path: Path, source: Path | io.BytesIO, form: Form, error: Exception) -> ValueError:
    """The sentence for what polars could not read: a byte that is no text, or a line with more cells."""
    raw = source.getvalue() if isinstance(source, io.BytesIO) else read_bytes(path)
    if "utf-8" in str(error):
        decode(raw, "utf-8", path, "table")
    width, separator = len(form.names), "\t" if form.separator == _BLANKS else form.separator
    reader = csv.reader(io.StringIO(raw.decode("utf-8", "replace"), newline=""), delimiter=separator)
    received, way_out = "lines of unequal length or open quotes", "check the quotes and the separators"
    try:
        for row in reader:
            if reader.line_num > form.skip and len(row) > width:
                received = f"{len(row)} in line {reader.line_num}"
                way_out = "put cells that contain the separator in quotes"
                return errors.value_error(f"file {path}", f"{width} cells in every line", received, way_out)
    except csv.Error:
        pass
    return errors.value_error(f"file {path}", "a readable table", received, way_out)


# ---- the form


def find_form(head: str, name: str, separator: str | None = None) -> Form:
    """The form of a delimited file by its first lines.

    >>> find_form("# made by hand\\ndate;v\\n2021-01-01;1,5\\n", "file").separator
    ';'

    Raises:
        ValueError: there is nothing in it; one sentence.
    """
    lines = head.splitlines()
    skip = 0
    told = re.fullmatch(r'"?sep=(.)"?\s*', lines[0], re.IGNORECASE) if lines else None
    if told:
        separator, skip = told.group(1), 1
    comment = ""
    while skip < len(lines) and (not lines[skip].strip() or lines[skip].lstrip().startswith(_COMMENTS)):
        comment, skip = lines[skip], skip + 1
    if skip == len(lines) and not comment.strip():
        raise errors.value_error(name, "a table with a header", "an empty file", "check it")
    body = lines[skip:]
    quote = "'" if body and _SINGLE_QUOTED.fullmatch(body[0].strip()) else '"'
    if quote == "'":
        body = [line.replace("'", '"') for line in body]
    separator = separator or _find_separator(body)
    rows = _rows(body, separator)
    width = _width(rows)
    above = _commented_names(comment, separator, width)
    first = 0 if above else _first_row(rows, width)
    if above or not rows:
        names, notes, data = above or [comment.strip()], (), rows
    else:
        names, notes, first = _names(rows, first, width)
        data = rows[first:]
    titles = [
        line for _, row in rows[: 0 if above else _first_row(rows, width)] for line in row if line.strip()
    ]
    if titles:
        notes = (*notes, f"{name}: lines before the header are left out, the first with {titles[0]!r}.")
    skip = (skip + data[0][0]) if data else len(lines)
    cells = [row for _, row in data if len(row) >= min(width, len(names))]
    decimal = _decimal(cells, separator)
    spaced = [row[1:] for _, row in rows[:2] if len(row) > 1]
    blanks = bool(spaced) and all(cell.startswith(" ") for row in spaced for cell in row if cell)
    as_text = _as_text(cells, names, decimal)
    iso = _iso_columns(cells, names)
    notes = (*notes, *(_note_thousands(cells, names) if separator == ";" and decimal == "." else ()))
    fractions = _fractions(cells, names)
    return Form(separator, tuple(names), skip, decimal, as_text, notes, blanks, iso, quote, fractions)


def _fractions(rows: Sequence[Sequence[str]], names: Sequence[str]) -> tuple[str, ...]:
    """The columns that hold numbers with a decimal point alone; ids written as 7.0 are none of them."""
    if len(rows) < _LEAST_DATES:
        return ()
    found: list[str] = []
    for place, name in enumerate(names):
        cells = [row[place] if place < len(row) else "" for row in rows]
        if all(map(_FRACTION.fullmatch, cells)) and any(cell.rpartition(".")[2].strip("0") for cell in cells):
            found.append(name)
    return tuple(found)


def _note_thousands(rows: Sequence[Sequence[str]], names: Sequence[str]) -> tuple[str, ...]:
    """What is to be told of columns whose dots may stand between thousands in all of the first cells."""
    notes: list[str] = []
    for place, name in enumerate(names):
        cells = [row[place].strip() for row in rows if place < len(row) and row[place].strip()]
        if len(cells) > 2 and all(map(_THOUSANDS.fullmatch, cells)):
            notes.append(f"{name}: {cells[0]!r} is read as {float(cells[0]):g}, the dot as a decimal point.")
    return tuple(notes)


def _iso_columns(rows: Sequence[Sequence[str]], names: Sequence[str]) -> dict[str, str]:
    """The columns with dates in one ISO form, and their format."""
    found: dict[str, str] = {}
    for place, name in enumerate(names):
        cells = [row[place] for row in rows if place < len(row)]
        formats = {next((one for one, form in _ISO.items() if form.fullmatch(cell)), "") for cell in cells}
        if len(formats) == 1 and len(cells) >= _LEAST_DATES:
            found[name] = formats.pop()
    return {name: layout for name, layout in found.items() if layout}


Row = tuple[int, list[str]]  # the number of its first line, from 0, and its cells


def _rows(lines: Sequence[str], separator: str) -> list[Row]:
    """The first rows that are not blank."""
    if separator == _BLANKS:
        split = [line.split() for line in lines[:_HEAD_ROWS]]
        return [(number, row) for number, row in enumerate(split) if row]
    reader = csv.reader((line + "\n" for line in lines[: 4 * _HEAD_ROWS]), delimiter=separator)
    rows: list[Row] = []
    begin = 0
    try:
        for row in reader:
            if row:
                rows.append((begin, row))
            begin = reader.line_num
            if len(rows) == _HEAD_ROWS:
                break
    except csv.Error:
        return rows
    return rows


def _width(rows: Sequence[Row]) -> int:
    """The number of cells that most rows have; of two that are as usual the larger."""
    counts = Counter(len(row) for _, row in rows)
    return max(counts, key=lambda width: (counts[width], width)) if counts else 1


def _first_row(rows: Sequence[Row], width: int) -> int:
    """The header's place: the first row of the usual width, or the one before it that lacks one name."""
    place = next((place for place, (_, row) in enumerate(rows) if len(row) == width), 0)
    before = place > 0 and len(rows[place - 1][1]) == width - 1
    return place - 1 if before and any(is_value(cell) and cell.strip() for cell in rows[place][1]) else place


def _find_separator(lines: Sequence[str]) -> str:
    """The separator that cuts most lines, the header among them, into equally many cells."""
    best, best_score = _NONE, (0.0, 0.0, 0)
    for candidate in _SEPARATORS:
        rows = _rows(lines, candidate)
        width = _width(rows)
        if width < 2:
            continue
        first = _first_row(rows, width)
        below = rows[first:]
        share = sum(len(row) == width for _, row in below) / len(below)
        share *= len(below) / len(rows)
        score = (round(share, 1), 1.0 if len(rows[0][1]) >= width - 1 > 0 else 0.0, width)
        score = (score[0] if len(rows[0][1]) > 1 else 0.5 * score[0], *score[1:])
        if score > best_score and share > 0.3:
            best, best_score = candidate, score
    if best == _NONE and _is_blank_separated(lines):
        return _BLANKS
    return best


def _is_blank_separated(lines: Sequence[str]) -> bool:
    rows = _rows(lines, _BLANKS)
    width = _width(rows)
    alike = [row for _, row in rows if len(row) == width]
    if width < 2 or len(alike) < 0.9 * len(rows):
        return False
    return all(is_value(row[-1]) for row in alike[1:]) and len(alike) > 1


def is_value(cell: str) -> bool:
    """Whether a cell reads as a number, a date or a missing marker, so that it is no name."""
    cell = cell.strip()
    return bool(_NUMBER.fullmatch(cell) or _DATE.fullmatch(cell)) or cell in MISSING


def _commented_names(comment: str, separator: str, width: int) -> list[str]:
    """The names of a header that stands in the last comment line, [] where it is a comment."""
    if width < 2 or not comment.strip():
        return []
    bare = comment.strip().lstrip("#%/").strip()
    names = [cell.strip() for cell in (bare.split() if separator == _BLANKS else bare.split(separator))]
    return names if len(names) == width and not any(is_value(cell) for cell in names) else []


def _names(rows: Sequence[Row], first: int, width: int) -> tuple[list[str], tuple[str, ...], int]:
    """The columns' names, what is to be told, and the place of the first row of data."""
    header, below = [cell.strip() for cell in rows[first][1]], [row for _, row in rows[first + 1 :]]
    if _is_headless(header, below):
        names = [f"column_{place + 1}" for place in range(width)]
        note = f"The file has no header line; its columns are called column_1 to column_{width}."
        return names, (note,), first
    known = max(1, min(3, len(below) - 2))
    header, count, notes = _with_more_lines(header, below[:known], below[known:])
    if len(header) == width - 1:
        last_empty = all(not row[-1].strip() for row in below if len(row) == width)
        header = [*header, ""] if last_empty else ["", *header]
    seen: Counter[str] = Counter()
    names = []
    for place, cell in enumerate(header):
        seen[cell] += 1
        twice = f"{cell}_{seen[cell]}" if seen[cell] > 1 else cell
        names.append(_NAMELESS.format(place + 1) if not cell else twice)
    return names, (*notes, *_note_twice(seen)), first + 1 + count


def _note_twice(counts: Mapping[str, int]) -> tuple[str, ...]:
    """What is to be told of names that several columns have."""
    twice = [name for name, count in counts.items() if name and count > 1]
    if not twice:
        return ()
    if len(twice) > 1:
        return (
            f"{len(twice)} names of columns come twice, such as {twice[0]!r}; '_2' is added to the second.",
        )
    return (f"Two columns are called {twice[0]!r}; the second is read as {twice[0] + '_2'!r}.",)


_NAMELESS = "\x00column_{}"


def _is_nameless(name: str) -> bool:
    return name.startswith("\x00")


def _named(name: str) -> str:
    return name.removeprefix("\x00")


def _is_headless(header: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether the first row is data: a date or a decimal number in it, or all of it is values."""
    if not below or not any(cell for cell in header):
        return False
    values = [is_value(cell) for cell in header]
    if all(values):
        return True
    for place, cell in enumerate(header):
        column = [row[place].strip() for row in below if place < len(row)]
        alike = sum(map(is_value, column)) > 0.9 * len(column)
        decimal = bool(re.fullmatch(r"-?\d*[.,]\d+|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}.*", cell))
        if alike and (decimal or (re.fullmatch(r"[01]", cell) and set(column) <= {"0", "1"})):
            return True
    return False


def _with_more_lines(
    header: list[str], above: Sequence[Sequence[str]], below: Sequence[Sequence[str]]
) -> tuple[list[str], int, tuple[str, ...]]:
    """A header of several lines: names, the number of lines beside the first, and what is to be told.

    Lines of units are left out; where the columns' second names differ (tickers) they are added to the first.
    """
    if len(below) < 2:
        return header, 0, ()
    numeric = [
        place
        for place in range(len(header))
        if all(is_value(row[place]) for row in below if place < len(row) and row[place].strip())
    ]
    count = 0
    for row in above:
        cells = [row[place].strip() for place in numeric if place < len(row)]
        if (
            not cells
            or any(is_value(cell) and cell for cell in cells)
            or not any(cell.strip() for cell in row)
        ):
            break
        count += 1
    if not count or (count == 1 and not any(above[0][place].strip() for place in numeric)):
        return header, 0, ()
    second = [cell.strip() for cell in above[0]]
    named = next((row[0].strip() for row in above[:count][::-1] if row and row[0].strip()), "")
    if count > 1 and not any(cell.strip() for cell in above[count - 1][1:]):
        header = [named, *header[1:]]
    apart = len({second[place] for place in numeric if place and place < len(second)}) > 1
    if apart and len(set(header[1:])) < len(header[1:]):
        header = [header[0], *(f"{one}_{other}" for one, other in zip(header[1:], second[1:], strict=False))]
    told = f"The header has {count + 1} lines; columns are called {', '.join(header[:6])}."
    return header, count, (told,)


def _decimal(rows: Sequence[Sequence[str]], separator: str) -> str:
    """The decimal mark: a comma where it is no separator and cells show one."""
    if separator == ",":
        return ""
    shown = any(
        re.fullmatch(r"[-+]?(\d+|\d{1,3}(\.\d{3})+),\d+", cell.strip()) for row in rows for cell in row
    )
    dotted = any(re.fullmatch(r"[-+]?\d*\.(\d{1,2}|\d{4,})", cell.strip()) for row in rows for cell in row)
    return "," if shown and not dotted else "" if shown else "."


def _as_text(rows: Sequence[Sequence[str]], names: Sequence[str], decimal: str) -> tuple[str, ...]:
    """Columns in which a dot stands between thousands, as decimal commas elsewhere show."""
    if decimal != ",":
        return ()
    return tuple(
        name
        for place, name in enumerate(names)
        if any(place < len(row) and re.fullmatch(r"-?\d{1,3}(\.\d{3})+", row[place].strip()) for row in rows)
    )
