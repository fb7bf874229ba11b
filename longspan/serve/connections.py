"""Ends connections that are too many, and those whose request line and headers are too slow or too long."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from .bodies import as_text
from .limits import Limits, Refused, refused

if sys.platform != "win32":
    import resource

_OTHER_FILES = 256  # that a server has open beside its connections
_LINGERING = 100  # refused connections that are kept until their answer has been read
_LINGER_SECONDS = 1.0


def affordable(connections: int) -> int:
    """How many of so many connections the process may have open; its soft limit of open files is raised."""
    if sys.platform == "win32":
        return connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == resource.RLIM_INFINITY else max(1, min(connections, soft - _OTHER_FILES))


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's connection, with limits of their number, and of a request's headers in time and bytes.

    Args:
        limits: of the server; refused: holds the connections of the server that are refused and still open;
            others: of uvicorn's own class.
    """

    def __init__(self, limits: Limits, refused: set[LimitedProtocol], *others: Any, **keywords: Any) -> None:
        super().__init__(*others, **keywords)
        self._limits, self._refused, self._head_bytes = limits, refused, 0
        self._end_of_wait: asyncio.TimerHandle | None = None
        self._is_answered = False  # of a refused one, whether it has been told

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        if len(self.connections) > self._limits.open_connections:
            self._refuse_one_more()
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._refused.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self in self._refused:
            self._answer_one_more()
            return
        if self._end_of_wait is None and (self.cycle is None or self.cycle.response_complete):
            self._await_head()  # of a further request
        if self._end_of_wait is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._end_of_wait is not None and self._head_bytes > self._limits.head_bytes:
            expected = f"at most {self._limits.head_bytes:,} bytes of headers"
            self._refuse(refused(431, "request", expected, "more", "send fewer headers"))

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._end_of_wait = self.loop.call_later(self._limits.head_seconds, self._refuse_slow)

    def _stop_waiting(self) -> None:
        if self._end_of_wait is not None:
            self._end_of_wait.cancel()
            self._end_of_wait = None

    def _refuse_one_more(self) -> None:
        """Answer once a request begins, or after a second; end the connection when that can have been read.

        Earlier it would be reset by what the client still sends, and the answer lost.
        """
        self.connections.discard(self)  # another one takes its place
        if len(self._refused) < _LINGERING:
            self._refused.add(self)
            self._end_of_wait = self.loop.call_later(_LINGER_SECONDS, self._answer_one_more)
        else:
            self._write_too_many()
            self.transport.close()

    def _answer_one_more(self) -> None:
        if self._is_answered:
            return
        self._is_answered = True
        self._stop_waiting()
        self._write_too_many()
        self.transport.write_eof()
        self._end_of_wait = self.loop.call_later(_LINGER_SECONDS, self.transport.close)

    def _write_too_many(self) -> None:
        most = f"{self._limits.open_connections:,} open connections"
        self._write(refused(503, "server", f"at most {most}", "one more", "try again in a moment"))

    def _refuse_slow(self) -> None:
        expected = f"headers within {self._limits.head_seconds:g} seconds"
        self._refuse(refused(408, "request", expected, "slower ones", "send them faster"))

    def _refuse(self, error: Refused) -> None:
        """Answer with one sentence and end the connection; one that has sent nothing gets no answer."""
        self._stop_waiting()
        if self.transport.is_closing():
            return
        if self._head_bytes:
            self._write(error)
        self.transport.close()

    def _write(self, error: Refused) -> None:
        """Write a whole answer, the last one of the connection."""
        body = as_text({"error": error.text}).encode()
        head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[error.status] + head.encode() + body)
