"""Reads and writes JSON, by orjson where it is installed, with the results of Python's own module."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any

_WRITE = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 19  # digits from which an integer may have more than 64 bits, which orjson rounds
_ORJSON: Any = None if find_spec("orjson") is None else import_module("orjson")


def loads(text: bytes) -> Any:
    """The value of a text of JSON.

    Raises:
        ValueError, RecursionError: it is none, as `json.loads` says it.

    >>> loads(b'[1, 2.5, "a"]')
    [1, 2.5, 'a']
    """
    if _ORJSON is not None and _LONG_NUMBER not in text.translate(_DIGITS):
        with suppress(ValueError):  # no JSON, NaN, half of a surrogate pair, beyond the largest float
            return _ORJSON.loads(text)
    return json.loads(text)


def dumps(value: Any) -> bytes:
    """Lists, objects and plain values as JSON in UTF-8, without spaces; numbers that are not finite are null.

    Raises:
        ValueError: half of a surrogate pair.

    >>> dumps({"point": [0.5, float("nan")]}).decode()
    '{"point":[0.5,null]}'
    """
    if _ORJSON is not None:
        with suppress(TypeError):  # an integer of more than 64 bits, half of a surrogate pair
            return _ORJSON.dumps(value)
    try:
        text = _WRITE(value)
    except ValueError:
        text = _WRITE(_finite(value))
    return text.encode()


def _finite(value: Any) -> Any:
    """The value with null for numbers that are not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, (list, tuple)) else value
