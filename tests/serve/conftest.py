"""A real server on a loopback port, with small models."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")
uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed")

import longspan as ls  # noqa: E402
from longspan import errors  # noqa: E402
from longspan.serve import Limits, create_app  # noqa: E402
from longspan.serve.app import configuration  # noqa: E402


@contextmanager
def serving(models: dict[str, Any], **options: Any) -> Iterator[httpx.Client]:
    """A client of a server of these models."""
    app = create_app(models, **options)
    server = uvicorn.Server(configuration(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        for _ in range(1000):
            if server.started:
                break
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def fitted() -> dict[str, Any]:
    """A forecaster, a classifier of sequences, a detector, a recommender, and a language model."""
    random = np.random.default_rng(0)
    wave = np.sin(np.arange(200) / 5.0) + 0.05 * random.normal(size=200)
    sequences = [random.normal(size=(12, 1)).cumsum(0) for _ in range(40)]
    labels = ["up" if one[-1, 0] > 0 else "down" for one in sequences]
    baskets = [["tea", "milk", "cup"], ["tea", "milk"], ["milk", "cup"]] * 10
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.LongspanWarning)  # few records
        return _fitted(wave, sequences, labels, baskets)


def _fitted(wave: Any, sequences: Any, labels: Any, baskets: Any) -> dict[str, Any]:
    return {
        "sales": ls.Forecaster(horizon=4, epochs=1).fit(wave, verbose=0),
        "walks": ls.Classifier(epochs=1).fit(sequences, labels, verbose=0),
        "machine": ls.AnomalyDetector(epochs=1).fit(pl.DataFrame({"value": wave}), verbose=0),
        "letters": ls.LanguageModel(epochs=1, hidden_size=16).fit(["the cat sat. " * 60], verbose=0),
        "shop": ls.Recommender(epochs=1, hidden_size=8, embedding_size=8).fit(baskets, verbose=0),
    }


@pytest.fixture(scope="session")
def media() -> dict[str, Any]:
    """A recognizer of speech and two classifiers of clips, which hear and see in one direction."""
    for package in ("soundfile", "soxr", "kaldi_native_fbank"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    random = np.random.default_rng(0)
    sounds = [0.3 * np.sin(np.arange(2000) * step) for step in (0.15, 0.4)] * 4
    clips = random.integers(0, 255, (8, 5, 12, 12)).astype(np.uint8)
    small: dict[str, Any] = {"epochs": 1, "hidden_size": 8, "bidirectional": False}
    seen = small | {"filters": (4,), "feature_size": 8}
    recognizer = ls.SpeechRecognizer(**small, filters=8, mel_bins=16, num_layers=1)
    attending = ls.VideoClassifier(**seen, pooling="attention")
    convolutional = ls.VideoClassifier(**seen, architecture="convlstm", pooling="max")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.LongspanWarning)
        return {
            "hear": recognizer.fit([(s, 8000) for s in sounds], ["low", "high"] * 4, verbose=0),
            "watch": attending.fit(list(clips), ["a", "b"] * 4, verbose=0),
            "look": convolutional.fit(list(clips), ["a", "b"] * 4, verbose=0),
        }


@pytest.fixture(scope="session")
def described() -> Any:
    """A captioner."""
    pytest.importorskip("PIL.Image", reason="pillow is not installed")
    pictures = [np.full((16, 16, 3), value, np.uint8) for value in (20, 230)] * 4
    captions = ["a dark picture of nothing at all in the night", "a bright picture of a summer day"] * 4
    small = ls.Captioner(epochs=1, hidden_size=8, embedding_size=8, filters=(4,), image_size=(16, 16))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.LongspanWarning)
        return small.fit(pictures, captions, verbose=0)


@pytest.fixture(scope="session")
def written() -> dict[str, Any]:
    """A classifier of texts, a translator, and a forecaster of several series."""
    texts = ["a good day", "a bad day", "good food", "bad food"] * 8
    pairs = (["one two", "two one", "three one"] * 8, ["eins zwei", "zwei eins", "drei eins"] * 8)
    shops = pl.DataFrame(
        [
            {"series": s, "time": t, "value": float(np.sin(t / 5) + i)}
            for i, s in enumerate("ab")
            for t in range(80)
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.LongspanWarning)
        return {
            "mood": ls.Classifier(epochs=1, hidden_size=8).fit(texts, ["+", "-"] * 16, verbose=0),
            "words": ls.Translator(token_level="words", epochs=1, hidden_size=8, embedding_size=8).fit(
                *pairs, verbose=0
            ),
            "shops": ls.Forecaster(horizon=12, epochs=1, hidden_size=4).fit(shops, verbose=0),
        }


@pytest.fixture(scope="session")
def client(fitted: dict[str, Any]) -> Iterator[httpx.Client]:
    with serving(fitted) as client:
        yield client


@pytest.fixture(scope="session")
def everything(fitted: dict[str, Any], media: dict[str, Any]) -> Iterator[httpx.Client]:
    """A client of a server of all models."""
    with serving({**fitted, **media}) as client:
        yield client


@pytest.fixture(scope="session")
def limited(fitted: dict[str, Any]) -> Iterator[httpx.Client]:
    """A client of a server that takes little."""
    limits = Limits(body_bytes=2_000_000, rows=1000, sessions=2, session_seconds=0.5)
    with serving(fitted, limits=limits) as client:
        yield client


@pytest.fixture
def serve() -> Callable[..., Any]:
    return serving


@pytest.fixture
def sessions_file(tmp_path: Path) -> Path:
    return tmp_path / "sessions"
