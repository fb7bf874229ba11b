"""Draws malformed requests by a seed, from what a server says about itself."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

_TEXTS = (
    "", "a", "<script>", "\r\nX-Evil: 1", "../../etc/passwd", "/etc/hostname", "\x00", "é" * 300,
    "1e999", "\U0001f600",
)  # fmt: skip
_NUMBERS = (0, -1, 1, 2**31, 2**63, 2**200, 10**400, 1e308, -1e308, 0.5, float("nan"), float("inf"))
_KEYS = (
    "source", "reading", "user", "item", "time", "value", "k", "beam_size", "prompt", "length", "seed",
    "context",
    "temperature", "top_k", "top_p", "rate", "", "__class__", "a" * 200,
)  # fmt: skip
_KINDS = (
    "application/json", "text/csv", "text/plain", "application/x-ndjson", "audio/wav", "image/png",
    "image/gif",
    "video/mp4", "application/octet-stream", "text/html", "multipart/form-data; boundary=x", "",
    "\xff", ";;;",
    "application/json; charset=utf-16",
)  # fmt: skip
_BYTES = (
    b"", b"\x00" * 50, b"\xff\xfe", b"PK\x03\x04", b"\x1f\x8b\x08", b"a,b\n1,2\n", b"a\n" * 60,
    b"RIFF0000WAVEfmt ", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"0000ftyp", b"{", b'{"source": [',
    b"--x\r\n\r\n--x--", b'"\xed\xa0\x80"', b'{"source": ["\\ud800"]}', b"[" * 5000, b'{"a":' * 3000,
    b"\xef\xbb\xbf{}",
)  # fmt: skip
_METHODS = ("POST", "POST", "POST", "POST", "GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE")
_HEADERS = (
    ("Accept", "text/csv"), ("Accept", "\xff"), ("Content-Encoding", "gzip"),
    ("Authorization", "Bearer \xe9"),
    ("Content-Disposition", "attachment; filename*=utf-8''%0d%0aX.csv"), ("Range", "bytes=0-"),
    ("X-Long", "a" * 3000), ("Cookie", "a=b;" * 50),
)  # fmt: skip
_QUERIES = (
    "k=x", "k=" + "9" * 5000, "beam_size=0", "x=1&x=2", "%ff=%00", "rate=-1", "&&&", "length=1e9", "seed=-1",
)  # fmt: skip
_ENDS = ("/", "/..%2f..%2fetc%2fpasswd", "%00", "/%ff", "x" * 2000)


class Malformed(NamedTuple):
    """One request."""

    method: str
    path: str
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Malformer:
    """Draws requests.

    Args:
        schema: what `/openapi.json` gives; sources: those that models take, which are spoilt.
        sessions: the ids of living ones by model; seed: the same seed draws the same requests.
    """

    def __init__(
        self, schema: dict[str, Any], sources: dict[str, Any], sessions: dict[str, str], seed: int
    ) -> None:
        self._draw, self._sources, self._sessions = random.Random(seed), sources, sessions
        self._addresses = [
            (method.upper(), path, self._schema_of(operation))
            for path, methods in schema["paths"].items()
            for method, operation in methods.items()
            for _ in range(5 if method == "post" and not path.endswith("/sessions") else 1)
        ]

    def draw(self, count: int) -> Iterator[Malformed]:
        for _ in range(count):
            yield self._request()

    def _schema_of(self, operation: dict[str, Any]) -> dict[str, Any]:
        content = operation.get("requestBody", {}).get("content", {})
        return content.get("application/json", {}).get("schema", {})

    def _request(self) -> Malformed:
        draw = self._draw
        method, path, schema = draw.choice(self._addresses)
        name = path.split("/")[2] if path.startswith("/models/") else ""
        if draw.random() < 0.1:
            method = draw.choice(_METHODS)
        # a session that is ended would answer none of the later requests
        living = "none" if method == "DELETE" else self._sessions.get(name, "none")
        path = path.replace("{session}", draw.choice([*[living] * 9, "%0d%0a", "..", "é"]))
        if draw.random() < 0.05:
            path += draw.choice(_ENDS)
        if draw.random() < 0.1:
            path += "?" + draw.choice(_QUERIES)
        headers = [draw.choice(_HEADERS) for _ in range(draw.random() < 0.15)]
        if method in ("POST", "PUT", "PATCH") or draw.random() < 0.05:
            kind, body = self._body(schema, name)
            headers.append(("Content-Type", kind))
        else:
            body = b""
        return Malformed(method, path, [(n.encode(), v.encode("latin-1")) for n, v in headers], body)

    def _body(self, schema: dict[str, Any], name: str) -> tuple[str, bytes]:
        draw = self._draw
        if draw.random() < 0.2:
            return draw.choice(_KINDS), draw.choice(_BYTES)
        content: Any = {
            key: self._like(part) for key, part in schema.get("properties", {}).items() if draw.random() < 0.5
        }
        if "source" in schema.get("properties", {}) and draw.random() < 0.7:
            content["source"] = self._spoilt(self._sources.get(name, [1.0]))
        if draw.random() < 0.1:
            content[draw.choice(_KEYS)] = self._anything(0)
        if draw.random() < 0.03:
            content = self._anything(0)
        text = json.dumps(content).encode()
        if draw.random() < 0.05:
            at = draw.randrange(len(text) + 1)
            text = text[:at] + draw.choice(_BYTES) + text[at + draw.randrange(3) :]
        return (draw.choice(_KINDS) if draw.random() < 0.03 else "application/json"), text

    def _like(self, schema: dict[str, Any]) -> Any:
        """A value of a schema's type, at its limits or beyond, or any other."""
        draw, kind = self._draw, schema.get("type")
        kind = draw.choice(kind) if isinstance(kind, list) else kind
        if draw.random() < 0.3 or kind is None:
            return self._anything(0)
        if kind == "integer":
            return draw.choice([schema.get("minimum", 0), schema.get("minimum", 0) - 1, 3, 2**40])
        if kind == "number":
            return draw.choice([0.0, 1.0, 0.7, -3.5, 1e300])
        return {"boolean": True, "string": "the ", "null": None, "array": [], "object": {}}.get(kind)

    def _spoilt(self, value: Any) -> Any:
        """A source with one of its parts replaced, dropped or doubled."""
        draw = self._draw
        if isinstance(value, list) and value and draw.random() < 0.9:
            at = draw.randrange(len(value))
            new = draw.choice([[self._spoilt(value[at])], [], [value[at]] * 2, [self._anything(1)]])
            return [*value[:at], *new, *value[at + 1 :]]
        if isinstance(value, dict) and value and draw.random() < 0.9:
            key = draw.choice(list(value))
            return {**value, draw.choice([key, draw.choice(_KEYS)]): self._spoilt(value[key])}
        return self._anything(1)

    def _anything(self, depth: int) -> Any:
        draw = self._draw
        kind = draw.random()
        if depth > 4 or kind < 0.6:
            return draw.choice(
                [None, True, False, [], {}, [[]], [{}], draw.choice(_NUMBERS), draw.choice(_TEXTS)]
            )
        if kind < 0.8:
            return [self._anything(depth + 1) for _ in range(draw.randint(1, 4))]
        return {draw.choice(_KEYS): self._anything(depth + 1) for _ in range(draw.randint(1, 3))}
