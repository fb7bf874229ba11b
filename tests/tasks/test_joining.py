"""Several sources predicted at once have the answers of each alone, and their own errors."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

import longspan as ls
from longspan import errors
from longspan.data.batches import Batch
from longspan.tasks.joining import MOST_ROWS, predict_joined


@pytest.fixture(scope="module")
def fitted() -> dict[str, Any]:
    draw = np.random.default_rng(0)
    wave = np.sin(np.arange(200) / 5.0) + 0.05 * draw.normal(size=200)
    walks = [draw.normal(size=(steps, 2)).cumsum(0) for steps in draw.integers(8, 14, 40)]
    labels = ["up" if walk[-1, 0] > 0 else "down" for walk in walks]
    texts = ["a good film", "a bad film", "good good", "bad bad"] * 10
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.LongspanWarning)
        return {
            "forecast": ls.Forecaster(horizon=3, epochs=1).fit(wave, verbose=0),
            "walks": ls.Classifier(epochs=1).fit(walks, labels, verbose=0),
            "texts": ls.Classifier(epochs=1).fit(texts, ["yes", "no"] * 20, verbose=0),
            "detect": ls.AnomalyDetector(epochs=1).fit(wave, verbose=0),
        }


def sources(name: str) -> list[Any]:
    draw = np.random.default_rng(1)
    if name == "texts":
        return [["good"], ["bad film", "a long and bad film"], ["what"]]
    if name == "walks":
        return [
            [draw.normal(size=(steps, 2)) for _ in range(count)] for steps, count in ((9, 1), (12, 3), (9, 2))
        ]
    return [np.sin(np.arange(length) / 5.0) for length in (90, 120, 90)]


@pytest.mark.parametrize("name", ["forecast", "walks", "texts", "detect"])
def test_answers_are_those_of_each_alone(fitted: dict[str, Any], name: str) -> None:
    task, asked = fitted[name], sources(name)
    for answer, source in zip(task.predict_tables(asked), asked, strict=True):
        assert_frame_equal(answer, task.predict_table(source), rel_tol=1e-4, abs_tol=1e-6)


@pytest.mark.parametrize("name", ["forecast", "walks"])
def test_an_error_is_that_of_one_source(fitted: dict[str, Any], name: str) -> None:
    asked = sources(name)
    answers = fitted[name].predict_tables([asked[0], "nothing.csv", asked[1]])
    assert isinstance(answers[1], FileNotFoundError) and "nothing.csv" in str(answers[1])
    assert all(isinstance(answers[place], pl.DataFrame) for place in (0, 2))
    assert fitted[name].predict_tables([]) == []


def test_batches_of_one_form_are_joined() -> None:
    seen: list[tuple[int, ...]] = []

    def predict(batches: Any) -> list[Any]:
        seen.extend(tuple(batch.x.shape) for batch in batches)
        return [(batch.x.sum((1, 2)), batch.x[:, 0]) for batch in batches]

    def batch(rows: int, steps: int, width: int = 1, *, ragged: bool = True) -> Batch:
        lengths = torch.full((rows,), steps) if ragged else None
        return Batch(torch.full((rows, steps, width), float(steps)), lengths=lengths)

    parts = [[batch(1, 3)], [batch(2, 5), batch(1, 4, 2)], [batch(3, 4)], [batch(1, 4, ragged=False)]]
    answers = predict_joined(predict, parts)
    assert seen == [(6, 5, 1), (1, 4, 2), (1, 4, 1)], "padded to the longest where there are lengths"
    assert [[len(answer[0]) for answer in source] for source in answers] == [[1], [2, 1], [3], [1]]
    assert answers[2][0][0].tolist() == [16.0] * 3 and answers[1][0][0].tolist() == [25.0] * 2
    seen.clear()
    predict_joined(predict, [[batch(MOST_ROWS - 1, 2)], [batch(2, 2)], [batch(1, 2)]])
    assert [shape[0] for shape in seen] == [MOST_ROWS - 1, 3], "no batch grows without end"
