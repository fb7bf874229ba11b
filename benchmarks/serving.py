"""Measures `longspan serve`: requests a second of small models, and how long answers take at a steady rate.

    python -m benchmarks.serving [--seconds 60] [--clients 32] [--rate 1000] [--models walks,...]

The server and the clients are processes of their own. First every client sends the next request when the
answer to the last one is there, over one connection. Then requests begin at a steady rate, whether or not
others are answered; the time of an answer counts from when its request was due. Every answer is compared with
that of `predict`. The goal is a thousand requests a second with 99 % of them answered within 50 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from longspan import Classifier, Forecaster, errors

from .pairs import show

_SOURCES = 50  # different requests
_STEPS = 24  # of a sequence to classify
_TOLERANCE = 1e-4
_SMALL: dict[str, Any] = {"hidden_size": 16}  # options of the small models
_CONNECTIONS = 200  # of the steady rate, at most


class Request(NamedTuple):
    """One request as bytes, and the rows that answer it."""

    content: bytes
    rows: list[dict[str, Any]]


def requests(name: str, port: int, model: Any, sources: Sequence[Any]) -> list[Request]:
    """The requests for sources, with the rows of `predict`."""
    made = []
    for source in sources:
        body = json.dumps({"source": source}).encode()
        head = (
            f"POST /models/{name}/predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        rows = model.predict_table(source).to_dicts()
        made.append(Request(head.encode() + body, json.loads(json.dumps(rows, default=str))))
    return made


def right(answered: Any, wanted: list[dict[str, Any]]) -> bool:
    """Whether an answer has the rows that are wanted."""
    rows = answered.get("rows", [])
    return len(rows) == len(wanted) and all(
        math.isclose(row[key], value, rel_tol=_TOLERANCE, abs_tol=1e-6)
        if isinstance(value, float)
        else row[key] == value
        for row, other in zip(rows, wanted, strict=True)
        for key, value in other.items()
    )


class Connection(asyncio.Protocol):
    """A connection that is kept, with one request at a time.

    Args:
        answered: is called with the connection and each answer, head and body.
    """

    def __init__(self, answered: Callable[[Connection, bytes], None]) -> None:
        self.answered, self.received, self.number, self.began = answered, b"", 0, 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def ask(self, request: Request, number: int, began: float) -> None:
        self.number, self.began = number, began
        self.transport.write(request.content)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        if end and len(body) >= int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]):
            answer, self.received = self.received, b""
            self.answered(self, answer)


class Load:
    """Requests to one model, with their times in seconds, and the answers until they are checked."""

    def __init__(self, port: int, requests: Sequence[Request]) -> None:
        self.port, self.requests = port, requests
        self.taken: list[float] = []
        self.answers: list[tuple[int, bytes]] = []
        self.idle: list[Connection] = []
        self.sent, self.until = 0, 0.0

    async def connect(self, count: int, answered: Callable[[Connection, bytes], None]) -> list[Connection]:
        loop = asyncio.get_running_loop()
        made = [
            await loop.create_connection(lambda: Connection(answered), "127.0.0.1", self.port)
            for _ in range(count)
        ]
        return [connection for _, connection in made]

    def note(self, connection: Connection, answer: bytes) -> None:
        self.taken.append(time.perf_counter() - connection.began)
        self.answers.append((connection.number, answer))

    def ask_next(self, connection: Connection, began: float) -> None:
        number, self.sent = self.sent % len(self.requests), self.sent + 1
        connection.ask(self.requests[number], number, began)

    async def saturate(self, clients: int, seconds: float) -> float:
        """Ask one request after the other on each connection; returns the seconds that it took."""

        def answered(connection: Connection, answer: bytes) -> None:
            self.note(connection, answer)
            if (now := time.perf_counter()) < self.until:
                self.ask_next(connection, now)

        connections = await self.connect(clients, answered)
        began = time.perf_counter()
        self.until = began + seconds
        for connection in connections:
            self.ask_next(connection, time.perf_counter())
        await self._all_answered()
        return time.perf_counter() - began

    async def keep_rate(self, rate: float, seconds: float) -> float:
        """Begin requests at a steady rate; returns the seconds until all were answered."""
        due: list[float] = []  # requests for which no connection was free

        def answered(connection: Connection, answer: bytes) -> None:
            self.note(connection, answer)
            if due:
                self.ask_next(connection, due.pop(0))
            else:
                self.idle.append(connection)

        count = min(_CONNECTIONS, math.ceil(4 * rate))  # none rests for the 5 s after which it is closed
        self.idle = await self.connect(count, answered)
        began = time.perf_counter()
        for number in range(int(rate * seconds)):
            at = began + number / rate
            if (wait := at - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            elif number % 16 == 0:
                await asyncio.sleep(0)
            if self.idle:
                self.ask_next(self.idle.pop(0), at)
            else:
                due.append(at)
        while due:
            await asyncio.sleep(0.01)
        await self._all_answered()
        return time.perf_counter() - began

    async def _all_answered(self) -> None:
        while len(self.taken) < self.sent:
            await asyncio.sleep(0.01)

    def wrong(self) -> int:
        """How many answers were not those of `predict`."""
        return sum(not correct(self.requests[number], answer) for number, answer in self.answers)


def correct(request: Request, answer: bytes) -> bool:
    """Whether an answer, head and body, has the rows of a request."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.startswith(b"HTTP/1.1 200") and right(json.loads(body), request.rows)


def measured(port: int, requests: Sequence[Request], options: Any, server: int) -> dict[str, object]:
    """The figures of one model; server: the process."""
    asyncio.run(Load(port, requests).saturate(options.clients, 2.0))  # warms up
    gc.collect()
    gc.freeze()  # pauses of the clients are no answers that take long
    most, steady = Load(port, requests), Load(port, requests)
    spent = -processor_seconds(server)
    seconds = asyncio.run(most.saturate(options.clients, options.seconds))
    spent += processor_seconds(server)
    asyncio.run(steady.keep_rate(options.rate, options.seconds))
    shown: dict[str, object] = {
        "requests a second": f"{len(most.taken) / seconds:,.0f} (goal 1,000)",
        "99 %, ms": f"{1e3 * np.quantile(most.taken, 0.99):.1f}",
        "processor, ms": f"{1e3 * spent / len(most.taken):.2f}",
    }
    quantiles = np.quantile(steady.taken, [0.5, 0.99]) * 1e3
    shown[f"50 % at {options.rate:g}/s"] = f"{quantiles[0]:.1f}"
    shown[f"99 % at {options.rate:g}/s"] = f"{quantiles[1]:.1f} (goal 50)"
    shown["answers"] = len(most.taken) + len(steady.taken)
    shown["wrong"] = most.wrong() + steady.wrong()
    return shown


def processor_seconds(process: int) -> float:
    """Seconds of the processor that a process and its threads have used; NaN where there is no /proc."""
    stat = Path(f"/proc/{process}/stat")
    if not stat.exists():
        return math.nan
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def trained(names: Sequence[str]) -> dict[str, tuple[Any, list[Any]]]:
    """The models of these names, with sources to ask about."""
    draw = np.random.default_rng(0)
    walks = [draw.normal(size=(_STEPS, 1)).cumsum(0) for _ in range(200)]
    labels = ["up" if walk[-1, 0] > 0 else "down" for walk in walks]
    series = np.sin(np.arange(400) / 5) + 0.1 * draw.normal(size=400)
    one_network = {**_SMALL, "ensemble_size": 1, "convolution": False}
    models: dict[str, Any] = {
        "walks": Classifier(epochs=3),
        "walks-small": Classifier(epochs=3, **one_network),
        "sales": Forecaster(horizon=6, epochs=2),
        "sales-small": Forecaster(horizon=6, epochs=2, **_SMALL),
    }
    data: dict[str, Any] = {"walks": (walks, labels), "sales": (series,)}
    asked = {
        "walks": [[walk.tolist()] for walk in walks[:_SOURCES]],
        "sales": [series[i : i + 100].tolist() for i in range(_SOURCES)],
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.LongspanWarning)
        kinds = {name: name.partition("-")[0] for name in names}
        return {name: (models[name].fit(*data[kind], verbose=0), asked[kind]) for name, kind in kinds.items()}


def main(arguments: Sequence[str]) -> int:
    """Measure the models that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--models", default="walks,walks-small,sales,sales-small")
    options = parser.parse_args(arguments)
    names = options.models.split(",")
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        models = trained(names)
        for name, (model, _) in models.items():
            model.save(Path(folder, name))
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = [sys.executable, "-m", "longspan", "serve", *(str(Path(folder, name)) for name in models)]
        command += ["--port", str(port), "--threads", "1", "--quiet"]
        with subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}) as server:
            wait_for(port, server)
            shown = {
                name: measured(port, requests(name, port, model, sources), options, server.pid)
                for name, (model, sources) in models.items()
            }
            server.terminate()
    gc.unfreeze()  # bindings of C++ tell of objects that are left at the end
    show(f"longspan serve, {options.clients} clients for {options.seconds:g} s", shown)
    return 0


def wait_for(port: int, server: subprocess.Popen[Any]) -> None:
    """Wait until a server is ready."""
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ready").close()
            return
        except OSError:
            if server.poll() is not None:
                raise SystemExit("the server has ended") from None
            time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
