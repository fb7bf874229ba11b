"""Websockets: a session over one connection, an answer to every message, the limits and the token of HTTP."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")
sync = pytest.importorskip("websockets.sync.client", reason="websockets is not installed")

from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402

WAVE = [float(value) for value in np.sin(np.arange(90) / 5.0)]
SOUND = (0.3 * np.sin(np.arange(4000) * 0.15)).astype(np.float32)
FRAMES = np.random.default_rng(1).integers(0, 255, (6, 12, 12)).astype(np.uint8)


def connect(client: httpx.Client, path: str, **options: Any) -> Any:
    """A websocket of the server that a client asks."""
    address = str(client.base_url).replace("http", "ws", 1).rstrip("/")
    return sync.connect(f"{address}/models/{path}", compression=None, **options)


def ask(socket: Any, message: Any) -> Any:
    socket.send(message if isinstance(message, bytes) else json.dumps(message))
    return json.loads(socket.recv())


def refusal(client: httpx.Client, path: str, **options: Any) -> tuple[int, str]:
    """The status and the sentence of a connection that is not opened."""
    with pytest.raises(InvalidStatus) as caught, connect(client, path, **options):
        pass
    response = caught.value.response
    return response.status_code, json.loads(response.body)["error"]


# ---- readings and their answers


def test_a_socket_answers_as_requests_do(client: httpx.Client) -> None:
    base = "/models/machine/sessions"
    id = client.post(base).json()["id"]
    wanted = [client.post(f"{base}/{id}", json={"reading": value}).json() for value in WAVE[:6]]
    with connect(client, "machine/sessions") as socket:
        began = json.loads(socket.recv())
        assert "longspan_connections 1.0" in client.get("/metrics").text
        answers = [ask(socket, {"reading": value}) for value in WAVE[:3]]
    with connect(client, f"machine/sessions/{began['id']}") as socket:
        assert json.loads(socket.recv()) == began, "closing keeps the session"
        answers += [ask(socket, {"reading": value}) for value in WAVE[3:6]]
        assert answers == wanted
        assert ask(socket, {"end": True}) == {"status": "ended"}
        with pytest.raises(ConnectionClosed):
            socket.recv()
    assert refusal(client, f"machine/sessions/{began['id']}")[0] == 404


def test_events_and_what_follows_them(client: httpx.Client) -> None:
    with connect(client, "shop/sessions") as socket:
        socket.recv()
        assert ask(socket, {"reading": {"user": "Ada", "item": "tea"}}) == {"answer": None}
        assert ask(socket, {"reading": ["Ada", "milk"]}) == {"answer": None}
        rows = ask(socket, {"predict": {"k": 1}})["rows"]
        assert [row["item"] for row in rows] == ["cup"]


def test_text_is_read_piece_by_piece_and_goes_on(client: httpx.Client, fitted: dict[str, Any]) -> None:
    model, options = fitted["letters"], {"length": 20, "seed": 3}
    with connect(client, "letters/sessions") as socket:
        socket.recv()
        first = ask(socket, {"reading": "the "})["answer"]
        shares = np.array([one["probability"] for one in first])
        assert (np.diff(shares) <= 0).all() and 0.5 < shares.sum() < 1.0 + 1e-5
        best = model.generate("the ", 1, temperature=0.0)
        assert first[0]["token"] == best
        socket.send(json.dumps({"generate": options}))
        pieces = []
        while "piece" in (message := json.loads(socket.recv())):
            pieces.append(message["piece"])
        assert message == {"answer": None} and "".join(pieces) == model.generate("the ", **options)
        assert ask(socket, {"predict": options})["rows"] == [{"text": "".join(pieces)}]
        ask(socket, {"reading": "cat"})
        whole = model.generate("the cat", **options)
        assert ask(socket, {"predict": options})["rows"] == [{"text": whole}]


def test_chunks_of_sound_and_frames(serve: Callable[..., Any], media: dict[str, Any], tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    stream = media["hear"].stream(8000)
    chunks = np.array_split(np.round(SOUND * 2**15).astype("<i2"), 5)
    heard = [stream.step(chunk) for chunk in chunks]
    whole, seen = stream.finish(), media["watch"].stream()
    with serve(media, sessions=tmp_path / "sessions") as client:
        with connect(client, "hear/sessions?rate=8000") as socket:
            assert json.loads(socket.recv())["saved"] is True
            assert [ask(socket, chunk.tobytes())["answer"] for chunk in chunks] == heard
            assert "16 bit" in ask(socket, b"abc")["error"]
            assert ask(socket, {"end": None}) == {"status": "ended", "answer": whole}
        with connect(client, "watch/sessions") as socket:
            assert json.loads(socket.recv())["saved"] is True
            for frame in FRAMES[:3]:
                answer = ask(socket, {"reading": frame.tolist()})["answer"]
                assert answer["probability"] == seen.step(frame).probability
            file = io.BytesIO()
            pillow.fromarray(FRAMES[3]).convert("RGB").save(file, "png")
            answer = ask(socket, file.getvalue())["answer"]
            assert answer["probability"] == pytest.approx(seen.step(FRAMES[3]).probability, abs=0.05)
            assert ": expected " in ask(socket, b"no picture")["error"]
        with connect(client, "hear/sessions?rate=16000") as socket:
            assert json.loads(socket.recv())["saved"] is False, "it says that it is not saved"
        assert refusal(client, "hear/sessions?rate=0")[0] == 422
        assert refusal(client, "hear/sessions?pace=3")[0] == 422


def test_every_kind_of_session_is_taken_up_bit_by_bit(
    serve: Callable[..., Any], fitted: dict[str, Any], media: dict[str, Any], sessions_file: Path
) -> None:
    models = {**fitted, **media}
    frames = [frame.tolist() for frame in FRAMES]
    readings: dict[str, list[Any]] = {
        "machine": WAVE[:6], "letters": list("the ca"), "watch": frames, "look": frames,
        "hear": [chunk.tolist() for chunk in np.array_split(SOUND, 6)],
        "shop": [["Ada", item] for item in ("tea", "milk", "tea", "milk", "tea", "cup")],
    }  # fmt: skip

    def answers(client: httpx.Client, name: str, id: str, part: slice) -> list[Any]:
        path = f"/models/{name}/sessions/{id}"
        read = [client.post(path, json={"reading": one}).json() for one in readings[name][part]]
        return [*read, client.get(path + "?length=9&seed=2" if name == "letters" else path).json()]

    with serve(models, sessions=sessions_file) as client:
        begun = {name: client.post(f"/models/{name}/sessions").json() for name in readings}
        assert all(one["saved"] for one in begun.values())
        other = {name: client.post(f"/models/{name}/sessions").json()["id"] for name in readings}
        whole = {name: answers(client, name, other[name], slice(6))[3:] for name in readings}
        for name, one in begun.items():
            answers(client, name, one["id"], slice(3))
    with serve(models, sessions=sessions_file) as client:
        for name, one in begun.items():
            assert answers(client, name, one["id"], slice(3, 6)) == whole[name], name


# ---- refusals


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("{", "body: expected JSON"),
        ("[1]", "expected a JSON object"),
        ("[" * 50_000, "body: expected"),
        ("{}", "message: expected one of the keys reading"),
        ('{"reading": 1, "end": 1}', "message: expected one of the keys reading"),
        ('{"predict": 3}', "predict: expected an object with options"),
        ('{"generate": {}}', "generate: expected a session of a language model"),
        ('{"reading": "/etc/passwd"}', "reading: expected a number"),
        (b"\x00\x01", "reading: expected JSON"),
    ],
)
def test_bad_messages_get_one_sentence_and_the_session_goes_on(
    client: httpx.Client, message: str | bytes, words: str
) -> None:
    with connect(client, "machine/sessions") as socket:
        socket.recv()
        socket.send(message)
        assert words in json.loads(socket.recv())["error"]
        assert len(ask(socket, {"reading": 0.5})["answer"]) == 2


def test_limits_of_length_age_and_number(limited: httpx.Client) -> None:
    time.sleep(0.6)  # others' sessions end
    with connect(limited, "machine/sessions") as socket:
        socket.recv()
        socket.send(json.dumps({"reading": [0.0] * 600_000}))
        assert "message: expected at most 2,000,000 bytes" in json.loads(socket.recv())["error"]
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009
    with connect(limited, "machine/sessions") as socket:
        socket.recv()
        assert refusal(limited, "machine/sessions")[0] == 503
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=5)  # nothing is sent for too long
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001


def test_the_token_as_a_header_or_as_a_subprotocol(serve: Callable[..., Any], fitted: dict[str, Any]) -> None:
    token = "a secret of = letters"
    word = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
    with serve({"machine": fitted["machine"]}, token=token) as client:
        for options in (
            {"additional_headers": {"Authorization": f"Bearer {token}"}},
            {"subprotocols": ["longspan", f"longspan.bearer.{word}"]},
        ):
            with connect(client, "machine/sessions", **options) as socket:
                assert "id" in json.loads(socket.recv())
        for options in (
            {}, {"subprotocols": ["longspan", "longspan.bearer.no"]},
            {"subprotocols": ["longspan.bearer.x"]}, {"additional_headers": {"Authorization": "Bearer b"}},
        ):  # fmt: skip
            status, sentence = refusal(client, "machine/sessions", **options)
            assert status == 401 and "token: expected" in sentence


def test_pages_of_other_sites_may_not_connect(client: httpx.Client) -> None:
    own = str(client.base_url).rstrip("/")
    with connect(client, "machine/sessions", origin=own) as socket:
        assert "id" in json.loads(socket.recv())
    status, sentence = refusal(client, "machine/sessions", origin="https://example.org")
    assert status == 403 and "Origin: expected" in sentence


def test_addresses_that_are_none(client: httpx.Client) -> None:
    for path in ("walks/sessions", "none/sessions", "../metrics", "machine/sessions/none"):
        status, sentence = refusal(client, path)
        assert status == 404 and ": expected " in sentence, path
