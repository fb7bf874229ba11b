"""Answers websockets: a session over one connection, an answer to every message."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

from fastapi import WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse

from . import bodies
from .limits import Limits, refused
from .session_service import SessionService

PROTOCOL = "longspan"  # the subprotocol that a server of this kind speaks
TOKEN_PREFIX = "longspan.bearer."  # before a token in base64url, a second subprotocol that a browser offers
_VERBS = ("reading", "predict", "generate", "end")  # keys of a message
_GOING_AWAY = 1001  # close codes: RFC 6455, section 7.4
_CLOSED_AFTER = {404: 1008, 413: 1009}  # status of an error -> the close code after it


def offered_token(protocols: str) -> bytes:
    """The token among the subprotocols that a client offers, b"" without one.

    >>> offered_token("longspan, longspan.bearer.c2VjcmV0")
    b'secret'
    """
    for protocol in protocols.split(","):
        name = protocol.strip()
        if name.startswith(TOKEN_PREFIX):
            text = name.removeprefix(TOKEN_PREFIX)
            try:
                return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            except (binascii.Error, ValueError):
                return b""
    return b""


def check_origin(websocket: WebSocket) -> None:
    """Refuse a page of another site, which a browser would let connect to this machine."""
    origin = websocket.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != websocket.headers.get("host"):
        raise refused(403, "Origin", "this server's own page", repr(origin), "connect from a program")


class SessionSockets:
    """The websockets of a server.

    Args:
        service: answers the messages; limits: of the server; failed: makes the answer to an error.
    """

    def __init__(
        self, service: SessionService, limits: Limits, failed: Callable[[Exception], JSONResponse]
    ) -> None:
        self.service, self.limits, self._failed = service, limits, failed
        self.connections = 0

    async def run(self, websocket: WebSocket, name: str, id: str | None) -> None:
        """Answer one connection until it closes; the session stays, unless a message ends it.

        Args:
            name: of the model; id: of the session, None to begin one.
        """
        self.connections += 1
        try:
            began = await self._begin(websocket, name, id)
        except Exception as error:
            await websocket.send_denial_response(self._failed(error))
        else:
            offered = websocket.scope.get("subprotocols", [])
            await websocket.accept(PROTOCOL if PROTOCOL in offered else None)
            await websocket.send_text(bodies.as_text(began))
            await self._answer_all(websocket, name, began["id"])
        finally:
            self.connections -= 1

    async def _begin(self, websocket: WebSocket, name: str, id: str | None) -> dict[str, Any]:
        check_origin(websocket)
        if self.connections > self.limits.connections:
            received = f"{self.limits.connections:,}"
            raise refused(503, "websockets", f"fewer than {received}", received, "close another first")
        if id is None:
            return await self.service.begin(name, dict(websocket.query_params))
        session = self.service.get(name, id)
        return {"id": id, "saved": session.stream.saved and self.service.sessions.path is not None}

    async def _answer_all(self, websocket: WebSocket, name: str, id: str) -> None:
        while True:
            try:
                message = await asyncio.wait_for(websocket.receive(), self.limits.session_seconds)
            except asyncio.TimeoutError:
                await websocket.close(_GOING_AWAY, "nothing was sent for too long")
                return
            if message["type"] == "websocket.disconnect":
                return
            try:
                async for answer in self._answers(name, id, message):
                    await websocket.send_text(bodies.as_text(answer))
                    if answer.get("status") == "ended":
                        await websocket.close()
                        return
            except WebSocketDisconnect:
                return
            except Exception as error:
                response: JSONResponse = self._failed(error)
                await websocket.send_text(bytes(response.body).decode())
                if response.status_code in _CLOSED_AFTER:
                    await websocket.close(_CLOSED_AFTER[response.status_code])
                    return

    async def _answers(self, name: str, id: str, message: Any) -> AsyncIterator[dict[str, Any]]:
        """The answers to one message: one, or for a text that is drawn one a piece and one at its end."""
        service, content = self.service, message.get("bytes")
        _check_length(content if content is not None else message["text"].encode(), self.limits)
        if content is not None:
            yield await service.read(name, id, content)
            return
        verb, value = _request(message["text"])
        if verb == "reading":
            yield await service.read(name, id, {"reading": value})
        elif verb == "end":
            yield await service.end(name, id)
        elif verb == "predict":
            yield bodies.as_content(await service.follow(name, id, value), [])
        else:
            async for piece in service.pieces(name, id, value):
                yield {"piece": piece}
            yield {"answer": None}


def _request(text: str) -> tuple[str, Any]:
    """The one key of a message, and its value."""
    request = bodies.parse_json(text.encode())
    verb = next(iter(request), "")
    if len(request) != 1 or verb not in _VERBS:
        received = ", ".join(sorted(request)) or "nothing"
        expected = f"one of the keys {', '.join(_VERBS)}"
        raise refused(422, "message", expected, received, 'send {"reading": ...}')
    value = request[verb]
    if verb in ("predict", "generate") and not isinstance(value, dict):
        raise refused(422, verb, "an object with options", value, "send {} for the usual ones")
    return verb, value


def _check_length(content: bytes, limits: Limits) -> None:
    if len(content) > limits.body_bytes:
        expected, received = f"at most {limits.body_bytes:,} bytes", f"{len(content):,}"
        raise refused(413, "message", expected, received, "send smaller parts")
