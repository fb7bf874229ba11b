"""Fits one small model of every task, and saves it with its predictions; the tests load what it has written.

    python tests/tasks/golden/make.py [NAME ...]

Writes NAME.model and NAME.json beside this file. The test data are sines, so that no generator of random
numbers has to stay as it is. Make a file anew only if its format is meant to change, and name the reason in
the commit.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

import longspan as ls

HERE = Path(__file__).parent


def hourly(rows: int, begin: int = 0) -> pl.DataFrame:
    """Two series of hourly values with a text covariate and a missing value each."""
    parts = []
    for name, shift in (("a", 0.0), ("b", 2.0)):
        steps = np.arange(begin, begin + rows)
        values = 10.0 + shift + np.sin(steps / 4 + shift) + 0.2 * np.sin(steps * 1.7)
        values[5] = np.nan
        times = [datetime(2024, 1, 1) + timedelta(hours=int(step)) for step in steps]
        day = ["work" if 8 <= time.hour < 18 else "rest" for time in times]
        parts.append(pl.DataFrame({"name": name, "time": times, "load": values, "day": day}))
    return pl.concat(parts)


def texts(count: int, begin: int = 0) -> tuple[list[str], list[str]]:
    """Sentences whose label depends on the order of their words."""
    fillers = ["the", "film", "was", "a", "plot", "with", "actors"]
    sentences, labels = [], []
    for number in range(begin, begin + count):
        good = number % 2 == 0
        words = [fillers[(number * step) % 7] for step in range(1, 2 + number % 4)]
        words.insert(number % len(words), "fine not" if good else "not fine")
        sentences.append(" ".join(words))
        labels.append("good" if good else "bad")
    return sentences, labels


def fit_forecast() -> ls.Forecaster:
    task = ls.Forecaster(
        horizon=3,
        id="name",
        target="load",
        future_covariates="day",
        hidden_size=4,
        context_length=24,
        epochs=2,
    )
    return task.fit(hourly(240), verbose=0)


def ask_forecast(task: ls.Forecaster) -> dict[str, list[Any]]:
    later = hourly(60, 240)
    known = later.with_columns(load=pl.when(pl.col("time") < datetime(2024, 1, 13)).then(pl.col("load")))
    steps, _ = task.predict_stream(later.filter(pl.col("name") == "a"))
    return {
        "predict": task.predict(known).drop("name", "time", "target").to_numpy().ravel().tolist(),
        "steps": steps.ravel().tolist(),
    }


def fit_classify() -> ls.Classifier:
    task = ls.Classifier(hidden_size=4, embedding_size=4, ensemble_size=1, subword_buckets=8, epochs=2)
    return task.fit(*texts(120), verbose=0)


def ask_classify(task: ls.Classifier) -> dict[str, list[Any]]:
    asked = ["", "unheard-of words", *texts(8, 120)[0]]
    return {"labels": list(task.predict(asked)), "probabilities": task.predict_proba(asked).ravel().tolist()}


def fit_anomaly() -> ls.AnomalyDetector:
    task = ls.AnomalyDetector(id="name", hidden_size=4, context_length=20, epochs=2, history=200)
    return task.fit(hourly(300), verbose=0)


def ask_anomaly(task: ls.AnomalyDetector) -> dict[str, list[Any]]:
    later = hourly(60, 300)
    found = task.predict(later)
    stream = [task.update(row)[0] for row in later.to_dicts()]
    return {"scores": found["score"].to_list(), "alarms": found["alarm"].to_list(), "stream": stream}


def fit_language() -> ls.LanguageModel:
    task = ls.LanguageModel(hidden_size=8, embedding_size=4, epochs=2, chunk_length=16)
    return task.fit(texts(60)[0], verbose=0)


def ask_language(task: ls.LanguageModel) -> dict[str, list[Any]]:
    scores = task.log_prob(["", "the film was fine", "Ünseen"])
    return {
        "log_prob": np.concatenate(scores).tolist(),
        "metrics": list(task.evaluate(texts(8, 60)[0]).values()),
        "generated": [task.generate("the ", 20, temperature=0)],
    }


def counted(count: int, begin: int = 0) -> tuple[list[str], list[str]]:
    """Words to be written in another language, each row from another one on."""
    there = {"one": "uno", "two": "due", "three": "tre", "four": "quattro"}
    words = list(there)
    rows = [
        [words[(n * step + n // 4) % 4] for step in range(1, 4 + n % 3)] for n in range(begin, begin + count)
    ]
    return [" ".join(row) for row in rows], [" ".join(there[word] for word in row[::-1]) for row in rows]


def fit_translate() -> ls.Translator:
    task = ls.Translator(hidden_size=6, embedding_size=4, epochs=4, learning_rate=0.05, batch_size=8)
    return task.fit(*counted(80), verbose=0)


def ask_pairs(task: Any) -> dict[str, list[Any]]:
    table = task.predict_table([*counted(4, 80)[0], "one unheard-of four"])
    return {"answers": table["answer"].to_list(), "scores": table["score"].to_list()}


def fit_summarize() -> ls.Summarizer:
    task = ls.Summarizer(hidden_size=6, embedding_size=4, epochs=4, learning_rate=0.05, batch_size=8)
    sources, targets = counted(80)
    return task.fit([f"word{n} said {text}" for n, text in enumerate(sources)], targets, verbose=0)


def walks(users: int, begin: int = 0) -> pl.DataFrame:
    """Events of users who walk through nine items, each in steps of their own, with the item's kind."""
    steps = [(user, step) for user in range(begin, begin + users) for step in range(3 + user % 4)]
    items = [(user + step * (1 + user % 3)) % 9 for user, step in steps]
    return pl.DataFrame(
        {
            "user": [f"u{user}" for user, _ in steps],
            "item": items,
            "time": [datetime(2024, 1, 1) + timedelta(hours=step) for _, step in steps],
            "kind": [("tea", "cup", "jug")[item % 3] for item in items],
            "place": ["web" if step % 2 else "shop" for _, step in steps],
        }
    )


def fit_recommend() -> ls.Recommender:
    task = ls.Recommender(
        hidden_size=6, embedding_size=4, epochs=2, batch_size=8, attributes=("kind",), context=("place",), k=3
    )
    return task.fit(walks(60), verbose=0)


def ask_recommend(task: ls.Recommender) -> dict[str, list[Any]]:
    later = walks(12, 60)
    found = task.predict(later)
    task.update("u1", 4, context={"place": "web"})
    return {
        "users": found["user"].to_list(),
        "scores": found["score"].to_list(),
        "known": task.predict()["score"].to_list(),
        "streamed": task.recommend("u1")["score"].to_list(),
        "metrics": list(task.evaluate(later).values()),
    }


def melodies(count: int, begin: int = 0) -> tuple[list[tuple[np.ndarray, int]], list[str]]:
    """Sounds of two tones each, and their names."""
    names = ["low", "high"]
    rows = [[names[n % 2], names[n // 2 % 2]] for n in range(begin, begin + count)]
    pitch = {"low": 0.2, "high": 0.9}
    sounds = [
        np.concatenate([0.3 * np.sin(np.arange(800 + 10 * (n % 7)) * pitch[name]) for name in row])
        for n, row in enumerate(rows, begin)
    ]
    return [(sound.astype(np.float32), 8000) for sound in sounds], [" ".join(row) for row in rows]


def fit_speech() -> ls.SpeechRecognizer:
    task = ls.SpeechRecognizer(
        hidden_size=4, filters=4, mel_bins=8, num_layers=1, epochs=8, learning_rate=0.05, batch_size=4,
        token_level="words", ngram=2,
    )  # fmt: skip
    return task.fit(*melodies(60), verbose=0)


def ask_speech(task: ls.SpeechRecognizer) -> dict[str, list[Any]]:
    found = task.transcribe(melodies(6, 60)[0])
    return {"text": found["text"].to_list(), "confidence": found["confidence"].to_list()}


def squares(count: int, begin: int = 0) -> tuple[list[np.ndarray], list[str]]:
    """Pictures of a square in one of two colours, on the left or on the right."""
    pictures, captions = [], []
    for number in range(begin, begin + count):
        red, left = number % 2 == 0, number // 2 % 2 == 0
        picture = np.full((12, 12, 3), number % 7, np.uint8)
        picture[3:9, (1 if left else 6) :][:, :5, 0 if red else 2] = 200
        pictures.append(picture)
        captions.append(f"a {'red' if red else 'blue'} square on the {'left' if left else 'right'}")
    return pictures, captions


def fit_caption() -> ls.Captioner:
    task = ls.Captioner(
        hidden_size=12, embedding_size=6, filters=(6, 8), epochs=25, learning_rate=0.03, batch_size=4,
    )  # fmt: skip
    return task.fit(*squares(60), verbose=0)


def ask_caption(task: ls.Captioner) -> dict[str, list[Any]]:
    found = task.predict_table(squares(6, 60)[0], beam_size=2)
    return {"caption": found["caption"].to_list(), "score": found["score"].to_list()}


def moving_squares(count: int, begin: int = 0) -> tuple[list[np.ndarray], list[str]]:
    """Clips of a bright square that goes left or right, of unequal lengths."""
    clips, labels = [], []
    for number in range(begin, begin + count):
        clip = np.full((4 + number % 3, 8, 8), 10, np.uint8)
        for step, frame in enumerate(clip):
            column = step if number % 2 else 5 - step
            frame[number % 5 : number % 5 + 3, max(0, column) : column + 3] = 200
        clips.append(clip)
        labels.append("right" if number % 2 else "left")
    return clips, labels


def fit_video() -> ls.VideoClassifier:
    task = ls.VideoClassifier(
        hidden_size=4, filters=(4,), feature_size=8, epochs=4, batch_size=4, bidirectional=False, refit=False
    )
    return task.fit(*moving_squares(44), verbose=0)


def ask_video(task: ls.VideoClassifier) -> dict[str, list[Any]]:
    clips, _ = moving_squares(6, 44)
    stream = task.stream()
    steps: list[Any] = [stream.step(frame) for frame in clips[0]]
    return {
        "labels": task.predict(clips).tolist(),
        "probabilities": task.predict_proba(clips).ravel().tolist(),
        "stream": [float(step.probability) for step in steps],
    }


Fit = Callable[[], Any]
Ask = Callable[[Any], dict[str, list[Any]]]
GOLDEN: dict[str, tuple[Fit, Ask]] = {
    "forecast": (fit_forecast, ask_forecast),
    "classify": (fit_classify, ask_classify),
    "anomaly": (fit_anomaly, ask_anomaly),
    "language": (fit_language, ask_language),
    "translate": (fit_translate, ask_pairs),
    "summarize": (fit_summarize, ask_pairs),
    "recommend": (fit_recommend, ask_recommend),
    "speech": (fit_speech, ask_speech),
    "caption": (fit_caption, ask_caption),
    "video": (fit_video, ask_video),
}


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    for name in names or list(GOLDEN):
        fit, ask = GOLDEN[name]
        fit().save(HERE / f"{name}.model")
        answers = ask(ls.load(HERE / f"{name}.model"))
        (HERE / f"{name}.json").write_text(json.dumps(answers) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
