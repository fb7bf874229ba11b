"""An interrupted fit resumes to the same weights from every kind of source; other checkpoints are refused."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from longspan import (
    AnomalyDetector,
    Captioner,
    Classifier,
    Forecaster,
    LanguageModel,
    Recommender,
    SpeechRecognizer,
    Summarizer,
    Translator,
    errors,
)
from longspan.tasks.digests import digest
from longspan.training import Callback, CheckpointConfig, LambdaCallback, checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def texts(count: int = 24) -> tuple[list[str], list[str]]:
    draw = np.random.default_rng(0)
    words = ["a", "film", "with", "people", "was", "quite"]
    labels = [str(one) for one in draw.choice(["bad", "good"], count)]
    return [f"{label} {' '.join(draw.choice(words, draw.integers(1, 6)))}" for label in labels], labels


def many_labels() -> tuple[list[str], list[list[str]]]:
    rows, labels = texts()
    return rows, [
        [label, "film"] if "film" in row else [label] for row, label in zip(rows, labels, strict=True)
    ]


def tags() -> tuple[list[list[str]], list[list[str]]]:
    rows = [row.split() for row in texts()[0]]
    return rows, [["y" if word in ("bad", "good") else "n" for word in row] for row in rows]


def series(count: int = 30) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(1).normal(size=(count, 12))
    return x, (x.mean(1) > 0).astype(int)


def long_series() -> tuple[pl.DataFrame, None]:
    x, y = series()
    rows = {"id": np.repeat(np.arange(30), 12), "value": x.ravel(), "label": np.repeat(y, 12)}
    return pl.DataFrame(rows), None


def wave(rows: int = 150) -> np.ndarray:
    return np.sin(np.arange(rows) / 3) + 0.1 * np.random.default_rng(2).normal(size=rows)


def hours(rows: int = 150) -> np.ndarray:
    return np.datetime64("2024-01-01", "us") + np.arange(rows) * np.timedelta64(1, "h")


def wide() -> tuple[pl.DataFrame, None]:
    return pl.DataFrame({"time": hours(), "a": wave(), "b": -wave()}), None


def panel() -> tuple[pl.DataFrame, None]:
    parts = [
        pl.DataFrame({"id": f"s{number}", "time": hours(80), "y": wave(80) + number, "k": wave(80) ** 2})
        for number in range(3)
    ]
    return pl.concat(parts), None


def entities() -> tuple[pl.DataFrame, None]:
    parts = [
        pl.DataFrame({"unit": f"u{number}", "load": wave(80), "mode": ["up", "down"] * 40, "known": [0] * 80})
        for number in range(2)
    ]
    return pl.concat(parts), None


LEARN = {"epochs": 2, "hidden_size": 8, "batch_size": 4, "dropout": 0.2, "patience": 9}


def sentences() -> tuple[list[str], None]:
    return [f"the cat number {at % 7} sat on mat {at % 5} and ran away" for at in range(60)], None


def pairs() -> tuple[list[str], list[str]]:
    sources = [f"the cat number {at % 7} sat on mat {at % 5}" for at in range(60)]
    return sources, [f"cat {at % 7} mat {at % 5}" for at in range(60)]


def walks() -> tuple[pl.DataFrame, None]:
    draw = np.random.default_rng(3)
    columns = {"user": np.repeat(np.arange(60), 6), "item": draw.integers(0, 12, 360), "time": np.arange(360)}
    return pl.DataFrame(columns).with_columns(place=pl.Series(draw.choice(["shop", "web"], 360))), None


def sounds() -> tuple[list[tuple[np.ndarray, int]], list[str]]:
    draw = np.random.default_rng(3)
    texts = [str(one) for one in draw.choice(["low tone", "high tone"], 40)]
    pitch = {"low tone": 0.2, "high tone": 0.9}
    return [(np.sin(np.arange(900) * pitch[text]).astype(np.float32), 8000) for text in texts], texts


def squares() -> tuple[np.ndarray, list[str]]:
    draw = np.random.default_rng(3)
    colors = draw.integers(0, 2, 40)
    pictures = np.zeros((40, 8, 8, 3), np.uint8)
    pictures[np.arange(40), 2:6, 2:6, colors] = 200
    return pictures, [["a red square", "a green square"][color] for color in colors]


SMALL: dict[str, Any] = {"hidden_size": 4, "epochs": 2}
TEXT = {**SMALL, "embedding_size": 4, "subword_buckets": 20, "max_ngram": 1, "ensemble_size": 1}
SERIES = {**SMALL, "filters": (4,), "kernel_sizes": (3,), "ensemble_size": 1}
AHEAD = {**SMALL, "horizon": 2, "context_length": 8, "batch_size": 16}
WATCH = {**SMALL, "context_length": 8}
CASES: dict[str, tuple[Callable[..., Any], dict[str, Any], Callable[[], tuple[Any, Any]]]] = {
    "texts": (Classifier, TEXT, texts),
    "many labels": (Classifier, TEXT, many_labels),
    "tags": (Classifier, {**TEXT, "labels": "token"}, tags),
    "series": (Classifier, SERIES, series),
    "balanced": (Classifier, {**SERIES, "class_weight": "balanced", "num_layers": 2}, series),
    "table of series": (Classifier, SERIES, long_series),
    "array": (Forecaster, AHEAD, lambda: (wave(), None)),
    "wide table": (Forecaster, {**AHEAD, "target": ("a", "b"), "dropout": 0.2, "num_layers": 2}, wide),
    "panel": (Forecaster, {**AHEAD, "id": "id", "target": "y", "past_covariates": "k"}, panel),
    "readings": (AnomalyDetector, WATCH, lambda: (wave(), None)),
    "windows": (AnomalyDetector, {**WATCH, "method": "autoencoder", "dropout": 0.2, "num_layers": 2}, wide),
    "entities": (AnomalyDetector, {**WATCH, "id": "unit", "label": "known"}, entities),
    "forecaster": (
        AnomalyDetector,
        {"forecaster": "context_length=8 epochs=2 hidden_size=4 batch_size=16"},
        wide,
    ),
    "words": (LanguageModel, {**LEARN, "token_level": "words"}, sentences),
    "characters": (LanguageModel, {**LEARN, "token_level": "characters", "num_layers": 2}, sentences),
    "translations": (Translator, {**LEARN, "embedding_size": 6}, pairs),
    "summaries": (Summarizer, {**LEARN, "embedding_size": 6}, pairs),
    "events": (
        Recommender,
        {**LEARN, "embedding_size": 6, "context": ("place",), "chunk_length": 8, "num_layers": 2},
        walks,
    ),
    "sampled items": (Recommender, {**LEARN, "loss": "bpr_max", "num_samples": 5, "chunk_length": 8}, walks),
    "pictures": (Captioner, {**LEARN, "embedding_size": 4, "filters": (4,), "samples": 2}, squares),
    "commands": (SpeechRecognizer, {**LEARN, "filters": 4, "mel_bins": 8}, sounds),
    "spellings": (
        SpeechRecognizer,
        {
            **LEARN,
            "filters": 4,
            "mel_bins": 8,
            "token_level": "characters",
            "noise_perturbation": 0.5,
            "ngram": 2,
        },
        sounds,
    ),
}


def answers(model: Any, source: Any) -> str:
    """What a model says about its source; a language model answers probabilities."""
    return repr(model.log_prob(source) if isinstance(model, LanguageModel) else model.predict(source))


class Killed(Exception):
    pass


def killed_after(steps: int) -> Callback:
    left = [steps]

    def count(batch: int, logs: Any) -> None:
        left[0] -= 1
        if not left[0]:
            raise Killed

    return LambdaCallback(on_train_batch_end=count)


def fit(name: str, path: Path | None = None, callbacks: tuple[Callback, ...] = (), *, every: int = 1) -> Any:
    """The case's task fitted, with a checkpoint at every so many steps where there is a path."""
    kind, options, source = CASES[name]
    resume = None if path is None else CheckpointConfig(path, steps=every, seconds=None)
    return kind(**options).fit(*source(), resume=resume, callbacks=callbacks, verbose=0)


def same(one: Any, other: Any) -> bool:
    a, b = one.network_.state_dict(), other.network_.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", CASES)
def test_an_interrupted_fit_resumes_to_the_same_weights(name: str, tmp_path: Path):
    counted: list[int] = []
    whole = fit(
        name, callbacks=(LambdaCallback(on_train_batch_end=lambda batch, logs: counted.append(batch)),)
    )
    steps, path = len(counted), tmp_path / "checkpoint"
    with pytest.raises(Killed):
        fit(
            name, path, (killed_after(steps // 2 + 2 + 2 * (steps // 8)),)
        )  # inside a pass of the second epoch
    kept = checkpoint.read(path)
    assert kept["epoch"] == 1 and kept["step"] % 2, "it was not killed inside a pass"
    resumed = fit(name, path, (LambdaCallback(),), every=1000)
    assert same(resumed, whole)
    assert resumed.history_.history == whole.history_.history
    source = CASES[name][2]()[0]
    assert answers(resumed, source) == answers(whole, source)
    assert resumed.codec_.state().keys() == whole.codec_.state().keys()


def test_a_finished_checkpoint_gives_its_weights_with_a_warning(tmp_path: Path):
    path = tmp_path / "checkpoint"
    first = fit("series", path, every=1000)
    assert not any("finished" in note for note in first.notes_)
    with pytest.warns(errors.LongspanWarning, match=r"checkpoint .*checkpoint was finished"):
        again = fit("series", path)
    assert same(first, again) and any("was finished" in note for note in again.notes_)


def test_a_checkpoint_of_another_fit_is_refused(tmp_path: Path):
    path = tmp_path / "checkpoint"
    x, y = series()
    Classifier(**SERIES).fit(x, y, resume=path, verbose=0)
    before = path.read_bytes()

    def refused(words: str, task: Any, *source: Any, **others: Any) -> None:
        sentence = f"checkpoint {path}: expected one of this training, received one with {words}"
        with pytest.raises(ValueError, match="^" + re.escape(sentence)):
            task.fit(*source, resume=path, verbose=0, **others)

    refused("other data; name another file or delete this one.", Classifier(**SERIES), x, 1 - y)
    refused("other data;", Classifier(**SERIES), x + 1e-9, y)
    refused("other data;", Classifier(**SERIES), x[:-1], y[:-1])
    refused("seed=0 instead of 1;", Classifier(**SERIES, seed=1), x, y)
    refused("hidden_size=4 instead of 5;", Classifier(**{**SERIES, "hidden_size": 5}), x, y)
    refused("epochs=2 instead of 9;", Classifier(**{**SERIES, "epochs": 9}), x, y)
    refused("other validation data;", Classifier(**SERIES), x, y, validation_data=fit_source())
    refused("task=classify instead of forecast, ", Forecaster(), wave())
    assert path.read_bytes() == before
    Classifier(**SERIES, device="cpu").fit(x, y, resume=path, verbose=0)


def fit_source() -> pl.DataFrame:
    return long_series()[0]


def test_a_checkpoint_of_a_forecaster_is_not_one_of_a_detector(tmp_path: Path):
    path = tmp_path / "checkpoint"
    fit("forecaster", path, every=1000)
    with pytest.raises(
        ValueError, match="expected one of this training, received one with task=anomaly instead"
    ):
        Forecaster(**AHEAD).fit(wave(), resume=path, verbose=0)


def test_a_checkpoint_path_that_is_a_folder_is_refused_before_reading(tmp_path: Path):
    with pytest.raises(ValueError, match=r"^resume: expected a file or a new name, received a folder"):
        Forecaster().fit("nothing there", resume=tmp_path)


def test_equal_records_have_equal_digests():
    one, other = (Classifier(**TEXT).read(*texts()) for _ in range(2))
    assert digest(one) == digest(other) != digest(one[:-1])
    assert digest(["".join(["a", "b"])] * 2) == digest(["ab", "".join(["a", "b"])])


def test_fits_in_parallel_threads_equal_fits_alone():
    names = ["texts", "series", "array", "readings"]
    alone = {name: fit(name) for name in names}
    beside: dict[str, Any] = {}
    threads = [threading.Thread(target=lambda n=name: beside.update({n: fit(n)})) for name in names]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert beside.keys() == alone.keys() and all(same(alone[name], beside[name]) for name in names)
