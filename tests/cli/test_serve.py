"""`longspan serve` as a process: it answers, keeps sessions through a kill, ends in order, and refuses."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from longspan import AnomalyDetector, cli, errors


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / "machine"
    wave = pl.DataFrame({"value": np.sin(np.arange(200) / 5.0)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.LongspanWarning)
        AnomalyDetector(epochs=1).fit(wave, verbose=0).save(path)
    return path


@contextmanager
def server(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running server and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "longspan", "serve", *words, "--port", str(port)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        address = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                httpx.get(f"{address}/ready")
                break
            except httpx.TransportError:
                assert process.poll() is None, process.stdout and process.stdout.read()
                time.sleep(0.1)
        try:
            yield process, address
        finally:
            process.kill()


def test_sessions_outlive_a_kill_and_an_interrupt(model: Path, tmp_path: Path) -> None:
    words = (str(model), "--sessions", str(tmp_path / "sessions"))
    readings = [float(value) for value in np.cos(np.arange(8))]
    answers = []
    with server(*words) as (process, address):
        base = f"{address}/models/machine/sessions"
        id, other = (httpx.post(base).json()["id"] for _ in range(2))
        for reading in readings[:3]:
            answers.append(httpx.post(f"{base}/{id}", json={"reading": reading}).json())
        asked, saved = time.time(), tmp_path / "sessions"
        while not saved.exists() or saved.stat().st_mtime < asked + 0.1:  # every two seconds
            time.sleep(0.05)
            if time.time() > asked + 2.5 and saved.exists():
                break  # it was saved while the last answer was on its way
        process.send_signal(signal.SIGKILL)
        process.wait()
    with server(*words) as (process, address):
        base = f"{address}/models/machine/sessions"
        answers.append(httpx.post(f"{base}/{id}", json={"reading": readings[3]}).json())
        whole = [httpx.post(f"{base}/{other}", json={"reading": reading}).json() for reading in readings[:4]]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) in (0, -signal.SIGINT)
        assert process.stdout is not None and "Traceback" not in process.stdout.read()
    assert answers == whole, "bit by bit as in one that was never stopped"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "MODEL: expected a saved model or several"),
        (("nothing",), "nothing"),
        (("{model}", "{model}"), "expected files of different names"),
        (("{model}", "--host", "0.0.0.0"), "--host: expected a token for a host that others reach"),
        (("{model}", "--token", "nothing"), "nothing"),
        (("{model}", "--token", "{short}"), "--token: expected a file with at least 16 characters"),
        (("{model}", "--port", "99999999"), "--port"),
    ],
)
def test_refusals(
    model: Path, tmp_path: Path, words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "short").write_text("abc")
    arguments = [word.format(model=model, short=tmp_path / "short") for word in words]
    assert cli.main(["serve", *arguments]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1, error
