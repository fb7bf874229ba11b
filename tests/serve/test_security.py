"""What others may send: paths, bombs, lies about lengths, slow clients and malformed requests do no harm."""

from __future__ import annotations

import gzip
import io
import resource
import socket
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")

from .malformed import Malformer
from .test_serve import SOURCES, WAVE

JSON = {"Content-Type": "application/json"}


def refused(response: httpx.Response, *statuses: int) -> str:
    assert response.status_code in statuses, response.text
    error = response.json()["error"]
    assert ": expected " in error and "Traceback" not in error
    return error


def talk(client: httpx.Client, *parts: bytes, seconds: float = 5.0) -> bytes:
    """What the server answers to bytes that no client of HTTP would send."""
    address = client.base_url.host, client.base_url.port or 0
    with socket.create_connection(address, timeout=seconds) as connection:
        for part in parts:
            connection.sendall(part)
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
                if b'"}' in answer or b"Invalid HTTP" in answer:
                    break
        except (TimeoutError, ConnectionResetError):
            pass
    return answer


# ---- files of the server


@pytest.mark.parametrize(
    "name", ["../walks", "..%2fwalks", "%2e%2e%2fwalks", "....//walks", "walks%00", "/etc/passwd"]
)
def test_names_of_models_are_no_paths(client: httpx.Client, name: str) -> None:
    answer = talk(
        client, f"POST /models/{name}/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    )
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400")), answer


def test_no_text_in_a_request_is_the_path_of_a_file(everything: httpx.Client, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("value,path,file,image\n" + "0.123456,a,a,a\n" * 60)
    for name in ("sales", "walks", "machine", "letters", "shop", "hear", "watch", "look"):
        for source in (
            str(secret),
            [str(secret)],
            [{"path": str(secret), "file": str(secret)}],
            [[str(secret)]],
        ):
            response = everything.post(f"/models/{name}/predict", json={"source": source})
            assert "123456" not in response.text and response.status_code < 500, (name, source)
            assert name not in ("hear", "watch", "look") or response.status_code == 422, response.text
            assert "where nothing is" not in response.text, "nor does it say which files there are"
        session = everything.post(f"/models/{name}/sessions")
        if session.status_code == 200:
            path = f"/models/{name}/sessions/{session.json()['id']}"
            assert "123456" not in everything.post(path, json={"reading": str(secret)}).text
    for name in ("hear", "watch"):
        for kind in ("text/csv", "text/plain", "application/x-ndjson"):
            response = everything.post(
                f"/models/{name}/predict", content=secret.read_bytes(), headers={"Content-Type": kind}
            )
            refused(response, 415)


def test_errors_name_no_file_of_the_server(client: httpx.Client) -> None:
    headers = {"Content-Type": "text/csv"}
    error = refused(client.post("/models/sales/predict", content=b"a\nx\n", headers=headers), 422)
    assert "/tmp" not in error and "longspan-" not in error


def test_answers_name_no_file_of_the_server(everything: httpx.Client) -> None:
    soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed")
    sound = io.BytesIO()
    soundfile.write(sound, np.zeros(8000, np.int16), 8000, format="WAV")
    headers = {"Content-Type": "audio/wav"}
    answer = everything.post("/models/hear/predict", content=sound.getvalue(), headers=headers)
    assert answer.json()["rows"][0]["file"] == "source.wav" and "longspan-" not in answer.text


# ---- sizes


def test_lengths_that_lie(limited: httpx.Client) -> None:
    start = b"POST /models/sales/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    assert b" 413 " in talk(limited, start + b"Content-Length: 99999999999\r\n\r\n{}")
    assert b" 400 " in talk(limited, start + b"Content-Length: -5\r\n\r\n{}")
    chunk = b"fa00\r\n" + b"1" * 64000 + b"\r\n"
    assert b" 413 " in talk(limited, start + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 32), "endless"
    assert b" 400 " in talk(limited, start + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")


def test_a_body_that_never_ends_is_given_up(serve: Callable[..., Any], fitted: dict[str, Any]) -> None:
    from longspan.serve import Limits

    start = b"POST /models/sales/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
    with serve({"sales": fitted["sales"]}, limits=Limits(seconds=0.3)) as client:
        answer = talk(client, start)
        assert b" 408 " in answer and b"body: expected a body within 0.3 seconds" in answer


@pytest.mark.parametrize("levels", [33, 200, 900, 100_000])
def test_deep_json(client: httpx.Client, levels: int) -> None:
    for one in (b"[" * levels + b"]" * levels, b'{"a":' * levels + b"1" + b"}" * levels):
        for path in ("sales/predict", "letters/generate"):
            error = refused(
                client.post(f"/models/{path}", content=b'{"source": ' + one + b"}", headers=JSON), 400
            )
            assert "few levels" in error


def zipped(size: int) -> bytes:
    """An archive of one file of zeros."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"0" * size)
    return file.getvalue()


def test_bombs_stay_packed(everything: httpx.Client) -> None:
    packed = {"gzip": gzip.compress(b"1\n" * 50_000_000, 1), "zip": zipped(50_000_000)}
    for body in packed.values():
        for kind in ("text/csv", "text/plain", "application/x-ndjson"):
            response = everything.post("/models/sales/predict", content=body, headers={"Content-Type": kind})
            assert "packed" in refused(response, 415)
        for kind in (
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "application/zip",
            "application/vnd.apache.parquet", "application/x-npz",
        ):  # fmt: skip
            headers = {"Content-Type": kind, "Content-Disposition": 'attachment; filename="data.xlsx"'}
            refused(everything.post("/models/sales/predict", content=body, headers=headers), 415)
    headers = {**JSON, "Content-Encoding": "gzip"}
    assert "Content-Encoding" in refused(
        everything.post("/models/sales/predict", content=packed["gzip"], headers=headers), 415
    )


def png_header(width: int, height: int) -> bytes:
    """A picture whose header promises more than it holds."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 1000)
    parts = [
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (chunk, data, b"IEND")
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_pictures_sounds_and_clips_that_unpack_to_too_much(everything: httpx.Client) -> None:
    soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed")
    pytest.importorskip("PIL", reason="pillow is not installed")
    pytest.importorskip("av", reason="PyAV is not installed")
    sound = io.BytesIO()
    soundfile.write(sound, np.zeros(8000 * 1900, np.int16), 8000, format="FLAC")
    sends = [
        ("hear", "audio/flac", sound.getvalue(), 413), ("hear", "audio/flac", b"fLaC" + b"\0" * 99, 422),
        ("hear", "audio/wav", b"\0" * 99, 422), ("watch", "image/png", png_header(60_000, 60_000), 422),
        ("watch", "image/png", png_header(9000, 9000), 413), ("watch", "image/png", b"%!PS-Adobe EPSF", 422),
        ("watch", "video/mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", 422),
        ("watch", "video/mp4", b"ffconcat version 1.0\nfile /etc/passwd\n", 422),
        ("watch", "video/mp4", b"\0\0\0\x18ftypmp42" + b"\0" * 99, 422),
    ]  # fmt: skip
    for name, kind, body, status in sends:
        response = everything.post(f"/models/{name}/predict", content=body, headers={"Content-Type": kind})
        refused(response, status)
    session = everything.post("/models/watch/sessions").json()["id"]
    for body in (png_header(9000, 9000), b"%!PS-Adobe EPSF", b"GIF89a"):
        response = everything.post(
            f"/models/watch/sessions/{session}", content=body, headers={"Content-Type": "image/png"}
        )
        refused(response, 413, 422)


# ---- headers and texts


def test_wrong_content_types(client: httpx.Client) -> None:
    for kind in (
        "text/html",
        "application/xml",
        "multipart/form-data; boundary=x",
        "a/b; charset=\xff",
        "json",
    ):
        headers = [(b"Content-Type", kind.encode("latin-1"))]
        refused(client.post("/models/sales/predict", content=b'{"source": [1]}', headers=headers), 415)
    refused(client.post("/models/sales/predict", content=b"a,b\n1,2\n", headers=JSON), 400)


def test_no_header_is_made_of_names(client: httpx.Client) -> None:
    for name in ("filename*=utf-8''a%0d%0aX-Evil:%201.csv", 'filename="a\tX-Evil: 1.csv"'):
        headers = {"Content-Type": "application/octet-stream", "Content-Disposition": f"attachment; {name}"}
        response = client.post("/models/machine/predict", content=b"value\n1\n", headers=headers)
        assert "x-evil" not in response.headers and response.status_code < 500
    answer = talk(client, b"GET /models/a%0d%0aX-Evil:%201 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"\nX-Evil" not in answer and answer.startswith(b"HTTP/1.1 404")
    answer = talk(client, b"GET / HTTP/1.1\r\nHost: x\r\nA: b\rX-Evil: 1\r\n\r\n")
    assert b"\nX-Evil" not in answer


def test_texts_come_back_as_they_are_and_are_never_markup(client: httpx.Client) -> None:
    rows = [{"user": "<script>alert(1)</script>", "item": "tea", "time": 1}]
    response = client.post("/models/shop/predict", json={"source": rows})
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "script-src" in response.headers["content-security-policy"] or (
        "default-src 'self'" in response.headers["content-security-policy"]
    )
    halves = client.post("/models/letters/predict", content=b'{"source": ["\\ud800"]}', headers=JSON)
    assert "surrogate" in refused(halves, 400)


# ---- load


def test_slow_clients_do_not_stop_others(client: httpx.Client) -> None:
    address = client.base_url.host, client.base_url.port or 0
    slow = [socket.create_connection(address) for _ in range(200)]
    start = b"POST /models/sales/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    try:
        for number, connection in enumerate(slow):
            connection.sendall(start + b"{" if number % 2 else start[: 1 + number % 40])
        slowest, began = 0.0, time.perf_counter()
        while time.perf_counter() - began < 1.5:
            asked = time.perf_counter()
            response = client.post("/models/sales/predict", json={"source": WAVE})
            slowest = max(slowest, time.perf_counter() - asked)
            assert response.status_code == 200
            for connection in slow[1::2][:20]:
                connection.sendall(b" ")
        assert slowest < 1.0
    finally:
        for connection in slow:
            connection.close()


# ---- malformed requests


def malformed(client: httpx.Client, count: int, seed: int) -> dict[int, int]:
    """Send requests that are drawn by a seed; returns how many were answered with each status."""
    models = client.get("/models").json()
    sessions = {
        model["name"]: client.post(f"/models/{model['name']}/sessions").json()["id"]
        for model in models
        if model["sessions"]
    }
    statuses: dict[int, int] = {}
    schema = client.get("/openapi.json").json()
    for request in Malformer(schema, SOURCES, sessions, seed).draw(count):
        response = client.request(request.method, request.path, headers=request.headers, content=request.body)
        assert response.status_code < 500 and "Traceback" not in response.text, (request, response.text)
        if response.status_code >= 400 and request.method != "HEAD":
            assert ": expected " in response.json()["error"], (request, response.text)
        statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
    return statuses


def test_malformed_requests_get_one_sentence(everything: httpx.Client) -> None:
    statuses = malformed(everything, 300, seed=0)
    assert set(statuses) >= {200, 400, 404, 405, 415, 422}, statuses


@pytest.mark.slow
def test_ten_thousand_malformed_requests_leave_memory_flat(everything: httpx.Client) -> None:
    malformed(everything, 2000, seed=1)
    before = resident()
    statuses = malformed(everything, 10_000, seed=2)
    print(f"{statuses}; {before / 2**20:.0f} MiB before, {resident() / 2**20:.0f} MiB after")
    assert sum(statuses.values()) == 10_000 and resident() - before < 32 << 20


def resident() -> int:
    """Bytes of memory that this process, server and client, holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
