"""A server answers as `predict` does, many requests at once, keeps sessions, and refuses with a sentence."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from longspan import layers, models
from longspan.serve import Limits, bodies, create_app
from longspan.serve.models import ServedModel
from longspan.serve.sequential import ServedSequential

WAVE = [float(value) for value in np.sin(np.arange(90) / 5.0)]
WALK = [[float(value)] for value in np.cumsum(np.cos(np.arange(12)))]
SOURCES: dict[str, Any] = {
    "sales": WAVE,
    "walks": [WALK, WALK[:9]],
    "machine": [{"value": value} for value in WAVE],
    "shop": [["tea"]],
    "letters": ["the cat", "a cat sat"],
}


def rows_of(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return json.loads(json.dumps(frame.to_dicts(), default=str))


def same(answered: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert len(answered) == len(wanted)
    for one, other in zip(answered, wanted, strict=True):
        assert one.keys() == other.keys()
        for name, value in other.items():
            if isinstance(value, float):
                assert one[name] == pytest.approx(value, rel=1e-4, abs=1e-6, nan_ok=True), name
            else:
                assert one[name] == value, name


# ---- predictions


@pytest.mark.parametrize("name", list(SOURCES))
def test_answers_are_those_of_predict(name: str, client: httpx.Client, fitted: dict[str, Any]) -> None:
    response = client.post(f"/models/{name}/predict", json={"source": SOURCES[name]})
    assert response.status_code == 200, response.text
    content, wanted = response.json(), fitted[name].predict_table(SOURCES[name])
    assert content["columns"] == wanted.columns
    same(content["rows"], rows_of(wanted))


def test_files_and_csv(client: httpx.Client, fitted: dict[str, Any], tmp_path: Path) -> None:
    table = "value\n" + "\n".join(map(str, WAVE))
    headers = {"Content-Type": "text/csv", "Accept": "text/csv"}
    response = client.post("/models/machine/predict", content=table, headers=headers)
    assert response.headers["content-type"].startswith("text/csv"), response.text
    (tmp_path / "data.csv").write_text(table)
    wanted = fitted["machine"].predict_table(str(tmp_path / "data.csv"))
    packed = {"Content-Type": "text/csv", "Content-Encoding": "Identity", "Accept": "text/csv;q=0, */*"}
    response = client.post("/models/machine/predict", content=table, headers=packed)
    assert response.headers["content-type"] == "application/json", response.text
    response = client.post("/models/machine/predict", content=table, headers=headers)
    answered = pl.read_csv(response.content)
    assert answered.columns == wanted.columns and answered.height == wanted.height
    np.testing.assert_allclose(answered["score"], wanted["score"], rtol=1e-4, atol=1e-6)


def test_options_of_predict_act(client: httpx.Client) -> None:
    for k in (1, 2):
        content = client.post("/models/shop/predict", json={"source": [["tea"]], "k": k}).json()
        assert len(content["rows"]) == k
    query = client.post("/models/shop/predict?k=1", content="user,item,time\na,tea,1\n",
                        headers={"Content-Type": "text/csv"})  # fmt: skip
    assert len(query.json()["rows"]) == 1, query.text


def test_options_in_an_address_act_once_or_are_refused(client: httpx.Client) -> None:
    table = {"content": "user,item,time\na,tea,1\n", "headers": {"Content-Type": "text/csv"}}
    twice = client.post("/models/shop/predict?k=1&k=2", **table)
    assert twice.status_code == 422 and "each option once, received 'k' again" in twice.json()["error"]
    beside = client.post("/models/shop/predict?k=1", json={"source": [["tea"]]})
    assert beside.status_code == 422 and "options in the body of JSON" in beside.json()["error"]
    wrong = client.post("/models/shop/predict?source=1", **table)
    assert "one of k, exclude_seen, received 'source'" in wrong.json()["error"]


def test_an_address_names_the_methods_that_it_takes(client: httpx.Client) -> None:
    response = client.get("/models/shop/predict")
    assert response.status_code == 405 and response.headers["allow"] == "POST"


def test_requests_that_wait_together_are_answered_at_once(
    client: httpx.Client, fitted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    original = type(fitted["sales"]).predict_tables

    def counted(self: Any, sources: Any, **options: Any) -> Any:
        calls.append(len(sources))
        time.sleep(0.02)
        return original(self, sources, **options)

    monkeypatch.setattr(type(fitted["sales"]), "predict_tables", counted)
    sources = [[value + shift for value in WAVE] for shift in range(40)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda s: client.post("/models/sales/predict", json={"source": s}), sources))
    assert sum(calls) == 40 and len(calls) < 30
    for source, answer in zip(sources, answers, strict=True):
        same(answer.json()["rows"], rows_of(original(fitted["sales"], [source])[0]))


@pytest.mark.parametrize(
    ("name", "plain", "noted", "words"),
    [
        ("shop", [["tea"]], [["moon"]], "have not been seen"),
        ("machine", SOURCES["machine"][:30], [{"value": 1.0, "x": 2.0}] * 30, "Left out"),
    ],
)
def test_a_note_is_about_its_own_source(
    name: str, plain: Any, noted: Any, words: str, fitted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    original = type(fitted[name]).predict_tables

    def counted(self: Any, sources: Any, **options: Any) -> Any:
        calls.append(len(sources))
        return original(self, sources, **options)

    monkeypatch.setattr(type(fitted[name]), "predict_tables", counted)
    limits = Limits()
    with ThreadPoolExecutor(1) as pool:
        served = ServedModel(name, fitted[name], limits, pool)
        sources = [bodies.as_source(source, limits) for source in (plain, noted, plain)]
        answers = served._predict(sources, {})
    assert calls == [3], "one call for all of them"
    notes = [answer.notes for answer in answers if not isinstance(answer, Exception)]
    assert notes[0] == notes[2] == [] and words in notes[1][0], notes


def test_a_part_of_another_application_answers_too(fitted: dict[str, Any]) -> None:
    app = Starlette(routes=[Mount("/inside", create_app({"sales": fitted["sales"]}))])
    with TestClient(app) as client:
        answer = client.post("/inside/models/sales/predict", json={"source": WAVE})
    assert answer.status_code == 200 and answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json()["rows"] == fitted["sales"].predict_table(WAVE).to_dicts()


def test_one_bad_request_does_not_spoil_the_others(client: httpx.Client) -> None:
    sources = [WAVE, ["a", "b"], WAVE, [{"other": 1.0}], WAVE] * 4
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda s: client.post("/models/sales/predict", json={"source": s}), sources))
    for source, answer in zip(sources, answers, strict=True):
        assert answer.status_code == (200 if source is WAVE else 422), answer.text
        assert source is WAVE or ": expected " in answer.json()["error"]


def test_a_saved_sequential_is_served(serve: Callable[..., Any], tmp_path: Path) -> None:
    model = models.Sequential([layers.Input((5, 2)), layers.LSTM(3), layers.Dense(2)])
    model.compile("adam", "mse")
    model.save(tmp_path / "net.keras")
    x = np.random.default_rng(0).normal(size=(4, 5, 2)).astype(np.float32)
    with serve({"net": ServedSequential.load(tmp_path / "net.keras")}) as client:
        content = client.post("/models/net/predict", json={"source": x.tolist()}).json()
        assert content["columns"] == ["value_0", "value_1"]
        answered = [[row["value_0"], row["value_1"]] for row in content["rows"]]
        np.testing.assert_allclose(answered, model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)
        for bad in ([[1.0, [2.0]]], ["text"], [[[1.0]]], [1.0], [{"a": 1}]):
            refused = client.post("/models/net/predict", json={"source": bad})
            assert refused.status_code == 422 and ": expected " in refused.json()["error"], refused.text


def test_a_language_model_writes_as_it_draws(client: httpx.Client, fitted: dict[str, Any]) -> None:
    content = {"prompt": "the ", "length": 30, "seed": 3, "temperature": 0.8}
    with client.stream("POST", "/models/letters/generate", json=content) as response:
        assert response.status_code == 200
        pieces = list(response.iter_text())
    assert "".join(pieces) == fitted["letters"].generate(**content)
    for bad, status in (({"prompt": 1}, 422), ({"lenght": 3}, 422), ({"temperature": -1.0}, 422),
                        ({"length": 10**9}, 413), ({"length": 0}, 422)):  # fmt: skip
        refused = client.post("/models/letters/generate", json=bad)
        assert refused.status_code == status and ": expected " in refused.json()["error"], refused.text
    assert client.post("/models/sales/generate", json={}).status_code == 404


# ---- refusals


@pytest.mark.parametrize(
    ("content", "headers", "status", "words"),
    [
        (b"{", {"Content-Type": "application/json"}, 400, "body: expected JSON"),
        (b"[1]", {"Content-Type": "application/json"}, 400, "expected a JSON object"),
        (b"[" * 100_000, {"Content-Type": "application/json"}, 400, "body: expected"),
        (b"\xff\xfe", {"Content-Type": "application/json"}, 400, "body: expected JSON"),
        (b'{"source": []}', {"Content-Type": "application/json"}, 422, "received an empty list"),
        (b'{"source": [1, {"a": 1}]}', {"Content-Type": "application/json"}, 422, "rows of one kind"),
        (b'{"source": [{"a": {"b": 1}}]}', {"Content-Type": "application/json"}, 422, "in a cell"),
        (b'{"sorce": [1]}', {"Content-Type": "application/json"}, 422, "nearest is 'source'"),
        (b"a,b", {"Content-Type": "application/x-evil"}, 415, "Content-Type: expected"),
        (b"", {"Content-Type": "text/csv"}, 422, "body: expected a file"),
        (b"PK\x03\x04", {"Content-Type": "application/zip"}, 415, "Content-Type: expected"),
        (b"a" * 3_000_000, {"Content-Type": "text/csv"}, 413, "body: expected at most"),
        (b"1\n" * 2000, {"Content-Type": "text/csv"}, 413, "source: expected at most 1,000 rows"),
    ],
)
def test_bad_requests_get_one_sentence(
    limited: httpx.Client, content: bytes, headers: dict[str, str], status: int, words: str
) -> None:
    response = limited.post("/models/sales/predict", content=content, headers=headers)
    assert response.status_code == status, response.text
    assert words in response.json()["error"]


def test_a_body_without_a_length_is_cut_off(limited: httpx.Client) -> None:
    def endless() -> Any:
        for _ in range(10_000):
            yield b"1\n" * 5000

    headers = {"Content-Type": "text/csv"}
    try:
        response = limited.post("/models/sales/predict", content=endless(), headers=headers)
    except httpx.HTTPError:  # the server may close the connection while the body is sent
        return
    assert response.status_code == 413


def test_unknown_addresses_and_methods(client: httpx.Client) -> None:
    for method, path, status in (
        ("GET", "/nothing", 404), ("GET", "/models/sales/predict", 405),
        ("POST", "/models/none/predict", 404),
        ("POST", "/models/..%2f..%2fetc%2fpasswd/predict", 404),
        ("POST", "/models/walks/sessions", 404),
        ("POST", "/models/machine/sessions/none", 404),
    ):  # fmt: skip
        response = client.request(method, path, json={"reading": 1.0})
        assert response.status_code == status, (path, response.text)
        assert ": expected " in response.json()["error"]


# ---- who may ask


def test_a_token_is_required_where_there_is_one(serve: Callable[..., Any], fitted: dict[str, Any]) -> None:
    with serve({"walks": fitted["walks"]}, token="a" * 20) as client:
        assert client.get("/health").status_code == 200 and client.get("/ready").status_code == 200
        for headers in ({}, {"Authorization": "Bearer no"}, {"Authorization": "Bearer é".encode("latin-1")}):
            refused = client.get("/models", headers=headers)
            assert refused.status_code == 401 and "token: expected" in refused.json()["error"]
        assert client.get("/models", headers={"Authorization": "a" * 20}).status_code == 401
        for scheme in ("Bearer", "bearer"):
            assert client.get("/models", headers={"Authorization": f"{scheme} {'a' * 20}"}).status_code == 200


def test_pages_need_no_other_machine_and_escape_names(
    serve: Callable[..., Any], fitted: dict[str, Any], client: httpx.Client
) -> None:
    texts = [
        client.get(path).text
        for path in ("/", "/page.css", "/page.js", "/page_charts.js", "/page_media.js", "/docs")
    ]
    assert sum(map(len, texts)) < 300_000
    for text in texts:
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "") and "https://" not in text
        assert "@import" not in text and "innerHTML" not in text
    with serve({"<script>x": fitted["walks"]}) as other:
        assert "<script>x" not in other.get("/docs").text


def test_counts_are_those_of_prometheus(client: httpx.Client) -> None:
    client.post("/models/walks/predict", json={"source": [WALK]})
    text = client.get("/metrics").text
    assert 'longspan_requests_total{path="/models/walks/predict",status="200"}' in text
    assert "longspan_request_seconds_bucket" in text and "longspan_sessions" in text


# ---- what mattered


def test_answers_are_explained(serve: Callable[..., Any], written: dict[str, Any]) -> None:
    with serve(written) as client:
        rows = client.post("/models/mood/explain", json={"source": ["a good day", "bad food"]}).json()["rows"]
        wanted = written["mood"].explain(["a good day", "bad food"])
        assert [row["tokens"] for row in rows] == [[token for token, _ in row] for row in wanted]
        for row, other in zip(rows, wanted, strict=True):
            np.testing.assert_allclose(row["weights"], [weight for _, weight in other], atol=1e-5)
        row = client.post("/models/words/explain", json={"source": ["one two"]}).json()["rows"][0]
        assert row["read"][:2] == ["one", "two"] and len(row["read"]) == 3
        weights = np.array(row["weights"])
        assert weights.shape == (len(row["written"]), 3)
        np.testing.assert_allclose(weights.sum(1), 1.0, atol=1e-4)
        for content, status in (
            ({}, 422), ({"source": ["a"] * 21}, 413), ({"source": "a"}, 422), ({"source": [1], "k": 1}, 422),
        ):  # fmt: skip
            refused = client.post("/models/mood/explain", json=content)
            assert refused.status_code == status and ": expected " in refused.json()["error"]
        assert client.post("/models/shops/explain", json={"source": [1.0]}).status_code == 404


# ---- sessions


def test_sessions_have_a_state_of_their_own(client: httpx.Client, fitted: dict[str, Any]) -> None:
    base = "/models/machine/sessions"
    one, other = (client.post(base).json()["id"] for _ in range(2))
    steps = [client.post(f"{base}/{one}", json={"reading": value}).json()["answer"] for value in WAVE[:9]]
    first = client.post(f"{base}/{other}", json={"reading": WAVE[0]}).json()["answer"]
    assert first == steps[0], "the other session's readings do not count"
    before = fitted["machine"].stream_.state()
    assert client.post(f"{base}/{one}", json={"reading": 50.0}).json()["answer"][1] is True
    assert repr(fitted["machine"].stream_.state()) == repr(before), "nor do they change the model"
    assert client.delete(f"{base}/{one}").json() == {"status": "ended"}
    assert client.post(f"{base}/{one}", json={"reading": 1.0}).status_code == 404


def test_a_forecast_follows_the_readings_of_its_session(client: httpx.Client) -> None:
    base = "/models/sales/sessions"
    id = client.post(base).json()["id"]
    before = client.get(f"{base}/{id}").json()["rows"]
    assert client.post(f"{base}/{id}", json={"reading": [3.0]}).status_code == 200
    after = client.get(f"{base}/{id}").json()["rows"]
    assert after[0]["time"] == before[0]["time"] + 1 and after[0]["point"] != before[0]["point"]


def test_a_recommender_keeps_a_user_for_each_session(client: httpx.Client) -> None:
    base = "/models/shop/sessions"
    ids = [client.post(base).json()["id"] for _ in range(2)]
    for id, item in zip(ids, ("tea", "milk"), strict=True):
        response = client.post(f"{base}/{id}", json={"reading": {"user": "Ada", "item": item}})
        assert response.status_code == 200, response.text
    items = [{row["item"] for row in client.get(f"{base}/{id}?k=2").json()["rows"]} for id in ids]
    assert items == [{"milk", "cup"}, {"tea", "cup"}]


def test_sessions_go_on_after_a_restart(
    serve: Callable[..., Any], fitted: dict[str, Any], sessions_file: Path
) -> None:
    base, ids, wanted = "/models/{}/sessions", {}, {}
    with serve(fitted, sessions=sessions_file) as client:
        for name in ("machine", "sales"):
            ids[name] = client.post(base.format(name)).json()["id"]
            for value in WAVE[:5]:
                reading = value if name == "machine" else [value]
                client.post(f"{base.format(name)}/{ids[name]}", json={"reading": reading})
        wanted["sales"] = client.get(f"{base.format('sales')}/{ids['sales']}").json()
    with serve(fitted) as client:  # one that was never stopped
        id = client.post(base.format("machine")).json()["id"]
        for value in WAVE[:6]:
            wanted["machine"] = client.post(f"{base.format('machine')}/{id}", json={"reading": value}).json()
    with serve(fitted, sessions=sessions_file) as client:
        reply = client.post(f"{base.format('machine')}/{ids['machine']}", json={"reading": WAVE[5]}).json()
        assert reply == wanted["machine"], "bit by bit"
        assert client.get(f"{base.format('sales')}/{ids['sales']}").json() == wanted["sales"]
    with serve({"walks": fitted["walks"]}, sessions=sessions_file) as client:
        assert client.get("/ready").status_code == 200, "sessions of models that are not served stay out"


def test_sessions_are_limited_in_number_and_age(limited: httpx.Client) -> None:
    base = "/models/machine/sessions"
    first = limited.post(base).json()["id"]
    limited.post(base)
    refused = limited.post(base)
    assert refused.status_code == 503 and "sessions: expected fewer than 2" in refused.json()["error"]
    time.sleep(0.6)
    assert limited.post(f"{base}/{first}", json={"reading": 1.0}).status_code == 404
    assert limited.post(base).status_code == 200
