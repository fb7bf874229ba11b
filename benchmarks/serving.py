"""Measures `longspan serve`: requests a second of a small classifier and a forecaster, each answer checked.

    python -m benchmarks.serving [--seconds 60] [--clients 32] [--models walks,sales]

The server and the clients are processes of their own. A client sends the next request when the answer to the
last one is there, over one connection. Every answer is compared with that of `predict`. The goal is a
thousand requests a second with 99 % of them answered within 50 ms.
"""

from __future__ import annotations

import argparse
import asyncio
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
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from longspan import Classifier, Forecaster, errors

from .pairs import show

_SOURCES = 50  # different requests
_STEPS = 24  # of a sequence to classify
_TOLERANCE = 1e-4


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


async def client(port: int, asked: Sequence[Request], until: float, taken: list[float]) -> int:
    """Ask one request after the other until a time; returns how many answers were wrong."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    wrong = number = 0
    while time.perf_counter() < until:
        request = asked[number % len(asked)]
        number += 1
        began = time.perf_counter()
        writer.write(request.content)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        taken.append(time.perf_counter() - began)
        wrong += not (head.startswith(b"HTTP/1.1 200") and right(json.loads(body), request.rows))
    writer.close()
    return wrong


async def load(port: int, asked: Sequence[Request], clients: int, seconds: float) -> dict[str, object]:
    """Requests a second, how long answers took, and how many were wrong."""
    taken: list[float] = []
    until = time.perf_counter() + seconds
    shifted = [[*asked[i % len(asked) :], *asked[: i % len(asked)]] for i in range(clients)]
    wrong = sum(await asyncio.gather(*(client(port, part, until, taken) for part in shifted)))
    quantiles = np.quantile(taken, [0.5, 0.99]) * 1e3
    return {
        "requests a second": f"{len(taken) / seconds:,.0f} (goal 1,000)",
        "median, ms": f"{quantiles[0]:.1f}",
        "99 %, ms": f"{quantiles[1]:.1f} (goal 50)",
        "wrong": wrong,
        "answers": len(taken),
    }


def trained() -> dict[str, tuple[Any, list[Any]]]:
    """The models by name, with sources to ask about."""
    draw = np.random.default_rng(0)
    walks = [draw.normal(size=(_STEPS, 1)).cumsum(0) for _ in range(200)]
    labels = ["up" if walk[-1, 0] > 0 else "down" for walk in walks]
    series = np.sin(np.arange(400) / 5) + 0.1 * draw.normal(size=400)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.LongspanWarning)
        classifier = Classifier(epochs=3).fit(walks, labels, verbose=0)
        forecaster = Forecaster(horizon=6, epochs=2).fit(series, verbose=0)
    return {
        "walks": (classifier, [[walk.tolist()] for walk in walks[:_SOURCES]]),
        "sales": (forecaster, [series[i : i + 100].tolist() for i in range(_SOURCES)]),
    }


def main(arguments: Sequence[str]) -> int:
    """Measure the models that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--models", default="walks,sales")
    options = parser.parse_args(arguments)
    names = options.models.split(",")
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        models = {name: model for name, model in trained().items() if name in names}
        for name, (model, _) in models.items():
            model.save(Path(folder, name))
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = [sys.executable, "-m", "longspan", "serve", *(str(Path(folder, name)) for name in models)]
        command += ["--port", str(port), "--threads", "1", "--quiet"]
        with subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}) as server:
            wait_for(port, server)
            shown = {}
            for name, (model, sources) in models.items():
                asked = requests(name, port, model, sources)
                asyncio.run(load(port, asked, options.clients, 2.0))  # warms up
                shown[name] = asyncio.run(load(port, asked, options.clients, options.seconds))
            server.terminate()
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
