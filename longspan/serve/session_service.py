"""Answers requests about sessions, over HTTP and over websockets: begin, read, ask what follows, end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import polars as pl

from longspan import errors

from . import bodies, generation
from .limits import Limits, check_options, parsed_options, refused
from .models import ServedModel, model_of
from .sessions import Session, Sessions
from .streams import TextStream, kind_of

_SAVE_EVERY = 2.0  # seconds between saves of sessions that have changed
_Result = TypeVar("_Result")


class SessionService:
    """The sessions of a server, each fed by a thread of the pool.

    Args:
        models: by name; limits: of the server; pool: the threads that compute; sessions: where they are kept.
    """

    def __init__(
        self, models: Mapping[str, ServedModel], limits: Limits, pool: ThreadPoolExecutor, sessions: Sessions
    ) -> None:
        self.models, self.limits, self.pool, self.sessions = models, limits, pool, sessions
        self._unsaved = False

    async def begin(self, name: str, texts: Mapping[str, str]) -> dict[str, Any]:
        """A new session: its id, and whether it goes on after a restart of the server.

        Args:
            name: of the model; texts: options in the address, by name.
        """
        served = model_of(self.models, name)
        kind = kind_of(served)
        declared = {} if kind is None else kind.options(served)
        options = parsed_options(declared, texts)
        check_options(declared, options)
        session, _ = await self._run(lambda: self.sessions.begin(name, options))
        self._unsaved = True
        return {"id": session.id, "saved": session.stream.saved and self.sessions.path is not None}

    async def read(self, name: str, id: str, content: bytes | dict[str, Any]) -> dict[str, Any]:
        """The answer to one more reading of a session.

        Args:
            content: bytes of sound or of a picture, or an object with the key reading.
        """
        session = self.get(name, id)
        if isinstance(content, dict) and set(content) != {"reading"}:
            received = ", ".join(sorted(content)) or "nothing"
            raise refused(422, "body", "the key reading alone", received, 'send {"reading": ...}')
        read = session.stream.read_bytes if isinstance(content, bytes) else session.stream.read
        reading = content if isinstance(content, bytes) else content["reading"]
        answer, notes = await self._locked(session, lambda: read(reading))
        self._unsaved = True
        return {"answer": bodies.plain(answer)} | ({"notes": notes} if notes else {})

    async def follow(self, name: str, id: str, options: Mapping[str, Any]) -> pl.DataFrame:
        """What follows the readings of a session so far."""
        session = self.get(name, id)
        checked = _checked(session, options)
        return (await self._locked(session, lambda: session.stream.follow(checked)))[0]

    async def pieces(self, name: str, id: str, options: Mapping[str, Any]) -> AsyncIterator[str]:
        """The text that follows a session of a language model, as it is drawn."""
        session = self.get(name, id)
        if not isinstance(session.stream, TextStream):
            raise refused(422, "generate", "a session of a language model", "another", "send predict")
        stream, checked = session.stream, _checked(session, options)
        text, _ = await self._locked(session, lambda: stream.pieces(checked))
        async for piece in generation.pieces(text, self.pool):
            yield piece

    async def end(self, name: str, id: str) -> dict[str, Any]:
        """End a session; with the answer to all its readings, where each did not have its own."""
        self.get(name, id)
        answer, _ = await self._run(lambda: self.sessions.end(name, id))
        self._unsaved = True
        return {"status": "ended"} if answer is None else {"status": "ended", "answer": bodies.plain(answer)}

    def get(self, name: str, id: str) -> Session:
        """A living session of a model; `Refused` with status 404 where there is none."""
        model_of(self.models, name)
        return self.sessions.get(name, id)

    async def keep_saving(self) -> None:
        """Save the sessions while the server runs, whenever one has changed."""
        while True:
            await asyncio.sleep(_SAVE_EVERY)
            if self._unsaved:
                self._unsaved = False
                await self._run(self.sessions.save)

    async def _locked(self, session: Session, compute: Callable[[], _Result]) -> tuple[_Result, list[str]]:
        def locked() -> _Result:
            with session.lock:
                return compute()

        return await self._run(locked)

    async def _run(self, compute: Callable[[], _Result]) -> tuple[_Result, list[str]]:
        """What a thread of the pool computes, and the notes of the library about it."""

        def noted() -> tuple[_Result, list[str]]:
            with errors.collect_notices(quiet=True) as notes, np.errstate(all="ignore"):
                return compute(), notes

        return await asyncio.get_running_loop().run_in_executor(self.pool, noted)


def follow_options(session: Session, texts: Mapping[str, str]) -> dict[str, Any]:
    """The options in an address, as those of what follows a session."""
    return parsed_options(session.stream.follows() or {}, texts)


def _checked(session: Session, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of what follows a session; lists are several values."""
    declared = session.stream.follows()
    if declared is None:
        return {}
    checked = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    check_options(declared, checked)
    return checked
