"""The limits of a server, and the errors of requests beyond them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from longspan import errors
from longspan.tasks.options import Option


@dataclass(frozen=True)
class Limits:
    """What one server takes.

    body_bytes: of one request; rows: of one source; seconds: until an answer; sessions: that live at once;
    session_seconds: without a reading, after which a session ends; batch: requests answered at once;
    threads: that compute; waiting: requests that wait for them; connections: open websockets;
    open_connections: of all kinds, beyond which a further one is answered with status 503 and closed; fewer
    where the system lets a process open fewer files.
    head_bytes, head_seconds: of a request's line and headers; idle_seconds: of a connection between requests,
    after which it is closed.
    pixels, media_seconds: of pictures and clips that are sent.
    """

    body_bytes: int = 16 << 20
    rows: int = 100_000
    seconds: float = 60.0
    sessions: int = 1000
    session_seconds: float = 24 * 3600.0
    batch: int = 64
    threads: int = 2
    waiting: int = 1000
    connections: int = 1000
    open_connections: int = 2000
    pixels: int = 1 << 25
    media_seconds: float = 1800.0
    head_bytes: int = 1 << 16
    head_seconds: float = 10.0
    idle_seconds: int = 5

    def __post_init__(self) -> None:
        whole = (
            "body_bytes", "rows", "sessions", "batch", "threads", "waiting", "connections",
            "open_connections", "pixels", "head_bytes", "idle_seconds",
        )  # fmt: skip
        for name in whole:
            errors.check_int(name, getattr(self, name), 1, "give a whole number")
        for name in ("seconds", "session_seconds", "media_seconds", "head_seconds"):
            if not errors.check_non_negative(name, getattr(self, name), "give seconds"):
                raise errors.value_error(name, "a number above 0", getattr(self, name), "give seconds")


class Refused(Exception):
    """A request that is not answered; status: of HTTP, text: the one sentence."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


def refused(status: int, argument: str, expected: str, received: object, way_out: str) -> Refused:
    """A refusal in the form of every error of the library."""
    return Refused(status, errors.message(argument, expected, received, way_out))


class Deadline:
    """Ends what waits inside it after so many seconds, by `asyncio.TimeoutError`; it makes no task.

    Args:
        seconds: from when it is entered.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._is_over = seconds, False

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._end)

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._timer.cancel()
        if self._is_over and kind is asyncio.CancelledError:
            getattr(self._task, "uncancel", int)()  # of Python 3.11 and later
            raise asyncio.TimeoutError

    def _end(self) -> None:
        self._is_over = True
        self._task.cancel()


def check_options(declared: Mapping[str, Option], content: Mapping[str, Any], *others: str) -> None:
    """Refuse options that are not declared or whose values are not allowed; others: names to offer too."""
    names = [*others, *declared]
    for name, value in content.items():
        if name not in declared:
            expected, way_out = f"one of {', '.join(names)}", errors.did_you_mean(name, names)
            raise refused(422, "body", expected, repr(name), way_out)
        try:
            declared[name].check(value)
        except (ValueError, TypeError) as error:
            raise Refused(422, str(error)) from error


def parsed_options(declared: Mapping[str, Option], texts: Mapping[str, str]) -> dict[str, Any]:
    """Options in an address, which are text; unknown names stay to be refused."""
    try:
        return {
            name: declared[name].parse(text) if name in declared else text for name, text in texts.items()
        }
    except ValueError as error:
        raise Refused(422, str(error)) from error
