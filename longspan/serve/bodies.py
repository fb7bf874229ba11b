"""Reads the bodies of requests, within limits, and writes answers as JSON or CSV."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from datetime import date, time, timedelta
from pathlib import PurePath
from typing import Any

import numpy as np
import polars as pl
from starlette.types import Receive

from . import json_text
from .limits import Limits, Refused, refused

# Content type -> the ending by which the body is read as a file.
ENDINGS = {
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "text/plain": ".txt",
    "application/x-ndjson": ".jsonl",
    "audio/wav": ".wav",
    "audio/x-wav": ".wav",
    "audio/flac": ".flac",
    "audio/ogg": ".ogg",
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "video/mp4": ".mp4",
    "video/webm": ".webm",
    "video/x-msvideo": ".avi",
}
_PLAIN_TYPES = frozenset({pl.String, pl.Boolean, pl.Int64, pl.Int32, pl.UInt32})  # of cells that are JSON
MOST_LEVELS = 32  # of lists and objects in a body of JSON


async def read_body(receive: Receive, declared: bytes | None, limits: Limits) -> bytes:
    """The whole body of a request; declared: its Content-Length, None without one.

    Raises:
        Refused: it has more bytes than the server takes, of which it reads no more, or only a part comes.
    """
    if declared is not None and declared.isdigit() and int(declared) > limits.body_bytes:
        raise _too_long(limits)
    chunks, count = list[bytes](), 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise refused(400, "body", "a whole one", "a part of it", "send it again")
        chunk = message.get("body", b"")
        count += len(chunk)
        if count > limits.body_bytes:
            raise _too_long(limits)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _too_long(limits: Limits) -> Refused:
    expected = f"at most {limits.body_bytes:,} bytes"
    return refused(413, "body", expected, "more", "send fewer rows or a smaller file")


def parse_json(body: bytes) -> dict[str, Any]:
    """The object in a body of JSON.

    Raises:
        Refused: it is no JSON, no object, or nested too deeply.
    """
    try:
        value = json_text.loads(body)
    except RecursionError as error:  # a thousand levels
        raise refused(400, "body", "few levels of lists and objects", "too many", "flatten it") from error
    except ValueError as error:
        received = str(error).partition("\n")[0]
        raise refused(400, "body", "JSON", f"something else ({received})", "check the quotes") from error
    if not isinstance(value, dict):
        received = f"a {type(value).__name__}"
        raise refused(400, "body", "a JSON object", received, 'send {"source": [...]}')
    if body.count(b"[") + body.count(b"{") > MOST_LEVELS and _levels(value) > MOST_LEVELS:
        raise refused(400, "body", "few levels of lists and objects", "too many", "flatten it")
    if b"\\u" in body:
        _check_text(value)
    return value


def _levels(value: Any) -> int:
    """The levels of nested lists and objects; counting ends above `MOST_LEVELS`."""
    level, containers = 0, [value]
    while containers and level <= MOST_LEVELS:
        level += 1
        parts = (one.values() if isinstance(one, dict) else one for one in containers)
        containers = [part for values in parts for part in values if isinstance(part, (dict, list))]
    return level


def _check_text(value: Any) -> None:
    """Refuse halves of a surrogate pair, which JSON can write and UTF-8 cannot."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        expected, received = "characters in its texts", "half of a surrogate pair"
        raise refused(400, "body", expected, received, "write the character whole") from None


def as_source(value: Any, limits: Limits) -> Any:
    """A source as the tasks read it: a frame of rows, or lists; None for none.

    Raises:
        Refused: it is no list, it is empty or too long, or its rows are of several kinds.
    """
    if value is None:
        return None
    if not isinstance(value, list) or not value:
        received = "an empty list" if value == [] else f"a {type(value).__name__}"
        raise refused(422, "source", "a list with rows, texts or numbers", received, "see /docs")
    if len(value) > limits.rows:
        received = f"{len(value):,}"
        raise refused(413, "source", f"at most {limits.rows:,} rows", received, "send it in parts")
    objects = list(map(type, value)).count(dict)
    if objects not in (0, len(value)):
        raise refused(422, "source", "rows of one kind", "objects and others", "send objects alone")
    if not objects:
        return value
    if any(isinstance(cell, (dict, list)) for row in value for cell in row.values()):
        raise refused(422, "source", "a number, text or null in a cell", "a list or object", "flatten it")
    try:
        return pl.from_dicts(value, infer_schema_length=None)
    except (pl.exceptions.PolarsError, TypeError, OverflowError) as error:
        received = str(error).partition("\n")[0]
        raise refused(422, "source", "one type in a column", received, "make the cells alike") from error


def ending_of(content_type: str, filename: str | None) -> str:
    """The ending by which a body is read as a file, by the content type or else the name of the file.

    Raises:
        Refused: neither is known.
    """
    ending = ENDINGS.get(content_type)
    if ending is None and filename:
        suffix = PurePath(filename).suffix.lower()
        ending = suffix if suffix in {*ENDINGS.values(), ".jpeg"} else None
    if ending is None:
        expected = f"application/json or one of {', '.join(ENDINGS)}"
        raise refused(415, "Content-Type", expected, repr(content_type), "name what the body is")
    return ending


def prefers_csv(accept: str) -> bool:
    """Whether the header Accept ranks CSV, by name, at least as high as JSON (RFC 9110, section 12.5.1).

    >>> prefers_csv("text/csv"), prefers_csv("application/json, text/csv; q=0.5"), prefers_csv("*/*")
    (True, False, False)
    """
    weights = {}
    for part in accept.split(","):
        kind, *parameters = [piece.strip().lower() for piece in part.split(";")]
        weights[kind] = min([_weight(piece[2:]) for piece in parameters if piece[:2] == "q="], default=1.0)
    csv = weights.get("text/csv", 0.0)
    return csv > 0.0 and csv >= weights.get("application/json", 0.0)


def _weight(text: str) -> float:
    """A weight of the header Accept, 0 where it is none."""
    try:
        return float(text) if 0.0 <= float(text) <= 1.0 else 0.0
    except ValueError:
        return 0.0


def as_content(frame: pl.DataFrame, notes: list[str]) -> dict[str, Any]:
    """A frame as plain values: its columns, its rows, and what the library noted."""
    if all(map(_is_plain, frame.dtypes)):
        rows = frame.to_dicts()
    else:
        columns = [_plain_cells(column) for column in frame.get_columns()]
        rows = [dict(zip(frame.columns, row, strict=True)) for row in zip(*columns, strict=True)]
    return {"columns": frame.columns, "rows": rows, "notes": notes}


def _is_plain(dtype: pl.DataType) -> bool:
    """Whether cells of a type are plain values already."""
    return dtype in _PLAIN_TYPES or dtype.is_float()


def _plain_cells(column: pl.Series) -> list[Any]:
    return column.to_list() if _is_plain(column.dtype) else [plain(value) for value in column]


def answer(frame: pl.DataFrame, notes: list[str]) -> bytes:
    """A frame as JSON, see `as_content`."""
    return json_text.dumps(as_content(frame, notes))


def as_text(content: Mapping[str, Any]) -> str:
    """Plain values as JSON."""
    return json_text.dumps(content).decode()


def as_csv(frame: pl.DataFrame) -> bytes:
    """A frame as CSV; lists and records of a cell are JSON."""
    nested = [name for name, dtype in frame.schema.items() if dtype.is_nested()]
    texts = {name: [json.dumps(plain(value), ensure_ascii=False) for value in frame[name]] for name in nested}
    buffer = io.BytesIO()
    frame.with_columns(**{name: pl.Series(cells) for name, cells in texts.items()}).write_csv(buffer)
    return buffer.getvalue()


def plain(value: Any) -> Any:
    """A value as JSON has it: numbers that are not finite are null, times are text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, (date, time, timedelta)):
        return value.isoformat() if isinstance(value, (date, time)) else value.total_seconds()
    if isinstance(value, pl.DataFrame):
        return [plain(row) for row in value.iter_rows(named=True)]
    if isinstance(value, pl.Series):
        return [plain(part) for part in value]
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    fields = getattr(value, "_fields", None)
    if fields is not None:
        return {name: plain(part) for name, part in zip(fields, value, strict=True)}
    if isinstance(value, (tuple, list)):
        return [plain(part) for part in value]
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
