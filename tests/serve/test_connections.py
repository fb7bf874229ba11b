"""Connections whose headers come slowly, without end or not at all are ended, and others go on."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

httpx = pytest.importorskip("httpx", reason="httpx is not installed")

from websockets.exceptions import InvalidStatus  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

from longspan.serve import Limits  # noqa: E402
from longspan.serve.connections import affordable  # noqa: E402

from .conftest import serving  # noqa: E402

HEAD = b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n"


@pytest.fixture(scope="module")
def client(fitted: dict[str, Any]) -> Iterator[Any]:
    limits = Limits(head_seconds=1.5, head_bytes=4096, idle_seconds=1)
    with serving({"sales": fitted["sales"]}, limits=limits) as client:
        yield client


def connected(client: Any) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=10)


def dribbled(connection: socket.socket, text: bytes, pause: float) -> tuple[bytes, float]:
    """What is answered to a text that is sent byte by byte, and the seconds until the connection ended."""
    began, ended = time.perf_counter(), threading.Event()

    def send() -> None:
        for number in range(len(text)):
            if ended.wait(pause):
                return
            try:
                connection.sendall(text[number : number + 1])
            except OSError:
                return

    sender = threading.Thread(target=send)
    sender.start()
    answer = answered(connection)
    ended.set()
    sender.join()
    return answer, time.perf_counter() - began


@pytest.mark.parametrize("text", [HEAD * 2, b"\r\n" * 50], ids=["headers", "empty lines"])
def test_headers_that_come_byte_by_byte_end_the_connection(client: Any, text: bytes) -> None:
    slow = [connected(client) for _ in range(30)]
    results: list[tuple[bytes, float]] = []
    threads = [
        threading.Thread(target=lambda one=one: results.append(dribbled(one, text, 0.1))) for one in slow
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        asked = time.perf_counter()
        assert client.get("/health").status_code == 200
        assert time.perf_counter() - asked < 1.0, "others are not stopped"
        time.sleep(0.05)
    for answer, seconds in results:
        assert 1.2 < seconds < 4.0
        assert answer.startswith(b"HTTP/1.1 408") and b"headers within 1.5 seconds" in answer
    for one in slow:
        one.close()


def test_a_further_request_has_the_same_time_for_its_headers(client: Any) -> None:
    with closing(connected(client)) as connection:
        connection.sendall(HEAD)
        assert b"200 OK" in connection.recv(65536)
        answer, seconds = dribbled(connection, HEAD * 2, 0.1)
        assert answer.startswith(b"HTTP/1.1 408") and 1.2 < seconds < 4.0


@pytest.mark.parametrize(("asks", "least", "most"), [(False, 1.2, 4.0), (True, 0.7, 3.0)])
def test_a_connection_without_requests_is_closed(client: Any, asks: bool, least: float, most: float) -> None:
    with closing(connected(client)) as connection:
        if asks:
            connection.sendall(HEAD)
            assert b"200 OK" in connection.recv(65536)
        began = time.perf_counter()
        assert connection.recv(65536) == b""
        assert least < time.perf_counter() - began < most


def test_headers_without_end_are_refused(client: Any) -> None:
    with closing(connected(client)) as connection:
        connection.sendall(HEAD[:-2])
        connection.sendall((b"X-Long: " + b"a" * 1000 + b"\r\n") * 5)
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 431") and b"at most 4,096 bytes" in answer


def test_a_slow_body_has_its_own_time(client: Any) -> None:
    with closing(connected(client)) as connection:
        head = b"POST /models/sales/predict HTTP/1.1\r\nHost: here\r\nContent-Length: 20\r\n\r\n"
        connection.sendall(head)
        for _ in range(20):
            connection.sendall(b" ")
            time.sleep(0.1)
        assert b"HTTP/1.1 400" in connection.recv(65536), "read as a whole, though no JSON"


def answered(connection: socket.socket) -> bytes:
    """What comes until the other side closes; nothing after a reset."""
    answer = b""
    try:
        while part := connection.recv(65536):
            answer += part
    except ConnectionResetError:
        pass
    return answer


def test_connections_beyond_the_limit_are_refused_and_the_others_served(fitted: dict[str, Any]) -> None:
    limits = Limits(open_connections=4, idle_seconds=60)
    request = b"POST /models/sales/predict HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\n" + b" " * 100
    with serving({"sales": fitted["sales"]}, limits=limits) as client, ExitStack() as stack:
        served = [stack.enter_context(closing(connected(client))) for _ in range(4)]
        for one in served:
            one.sendall(HEAD)
            assert one.recv(65536).startswith(b"HTTP/1.1 200")
        more = [stack.enter_context(closing(connected(client))) for _ in range(150)]  # also more than linger
        for number, one in enumerate(more[:50]):
            one.sendall((request, HEAD, b"")[number % 3])
        for number, one in enumerate(more):
            head, _, body = answered(one).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503") and b"at most 4 open connections" in body, number
        for one in served:
            one.sendall(HEAD)
            assert one.recv(65536).startswith(b"HTTP/1.1 200"), "those that are there are still served"
        for one in more:  # as long as a hundred of them linger, a further one is closed before it has asked
            one.close()
        time.sleep(0.2)
        with pytest.raises(InvalidStatus) as refusal:
            connect(f"ws://{client.base_url.host}:{client.base_url.port}/models/sales/sessions")
        assert refusal.value.response.status_code == 503
        served[0].close()
        for _ in range(100):
            if client.get("/health").status_code == 200:
                break
            time.sleep(0.02)
        assert client.get("/health").status_code == 200, "a place that becomes free is given to the next"


def test_open_files_of_the_process_limit_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource", reason="this system has no limits of a process")
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (1024, 2000))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: given.append(limits))
    assert affordable(100) == 100 and not given
    assert affordable(1500) == 1500 and affordable(5000) == 2000 - 256
    assert given == [(1756, 2000), (2000, 2000)]
