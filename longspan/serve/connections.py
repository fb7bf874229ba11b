"""Ends connections whose request line and headers come too slowly or are too long."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from .bodies import as_text
from .limits import Limits, Refused, refused


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's connection, with limits of the time and the bytes until the headers of a request are there.

    Args:
        limits: of the server; others: of uvicorn's own class.
    """

    def __init__(self, limits: Limits, *others: Any, **keywords: Any) -> None:
        super().__init__(*others, **keywords)
        self._limits, self._head_bytes = limits, 0
        self._end_of_wait: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
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

    def _refuse_slow(self) -> None:
        expected = f"headers within {self._limits.head_seconds:g} seconds"
        self._refuse(refused(408, "request", expected, "slower ones", "send them faster"))

    def _refuse(self, error: Refused) -> None:
        """Answer with one sentence and end the connection; one that has sent nothing gets no answer."""
        self._stop_waiting()
        if self.transport.is_closing():
            return
        if self._head_bytes:
            body = as_text({"error": error.text}).encode()
            head = (
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(STATUS_LINE[error.status] + head.encode() + body)
        self.transport.close()
