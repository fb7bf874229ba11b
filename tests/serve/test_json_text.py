"""JSON is read and written alike with orjson and without."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")

from longspan.serve import json_text

TEXTS = (
    b"{}", b'{"source":[1,2.5,-0.0,-0,1E5,0.1]}', b"18446744073709551615", b"18446744073709551616",
    b"-9223372036854775809", b"1" + b"0" * 400, b"1e999", b"[NaN,-Infinity]", b'{"a":1,"a":2}',
    b'"\\ud83d\\ude00"', b'"\\ud800"', b'"\xed\xa0\x80"', b"\xef\xbb\xbf{}", '"\u00e9"'.encode("utf-16"),
    b"{", b"[1,]", b"01", b'"\t"', b"", b"\x00", b"[" * 900 + b"]" * 900, b"[" * 100_000,
)  # fmt: skip
VALUES = (
    {"rows": [{"time": 3, "point": 0.1 + 0.2, "q": None}], "notes": ["a \u2028 <script>", "\U0001f600"]},
    [math.nan, math.inf, {"a": -math.inf}], 2**70, 5e-324, 1e16, True, (1, 2),
)  # fmt: skip


@pytest.fixture(params=["json", "orjson"])
def module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "orjson":
        pytest.importorskip("orjson", reason="orjson is not installed")
    else:
        monkeypatch.setattr(json_text, "_ORJSON", None)


def outcome(read: Any, text: bytes) -> str:
    try:
        return repr(read(text))
    except (ValueError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.usefixtures("module")
def test_texts_are_read_as_by_pythons_own_module() -> None:
    draw = random.Random(0)
    numbers = [draw.uniform(-1, 1) * 10.0 ** draw.randint(-320, 300) for _ in range(500)]
    for text in (*TEXTS, json.dumps(numbers).encode(), str(numbers).encode()):
        assert outcome(json_text.loads, text) == outcome(json.loads, text), text[:50]


@pytest.mark.usefixtures("module")
def test_what_is_written_is_read_back_with_null_for_numbers_that_are_not_finite() -> None:
    assert json.loads(json_text.dumps(VALUES[0])) == VALUES[0]
    assert json.loads(json_text.dumps(VALUES[1])) == [None, None, {"a": None}]
    for value in VALUES[2:]:
        assert repr(json.loads(json_text.dumps(value))) == repr(json.loads(json.dumps(value)))
    with pytest.raises(ValueError, match="surrogates"):
        json_text.dumps("\ud800")
