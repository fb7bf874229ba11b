"""Several sources predicted at once have the answers of each alone, and their own errors."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

import longspan as ls
from longspan import errors
from longspan.data.batches import Batch
from longspan.tasks.forecast.codec import ForecastCodec
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


def shops(begin: str, names: Sequence[str], rows: int, *, zone: str | None = None) -> pl.DataFrame:
    """Daily sales of shops, with a covariate whose next three days are there too."""
    start = datetime.fromisoformat(begin)
    days = pl.datetime_range(start, start + timedelta(days=rows + 2), "1d", time_zone=zone, eager=True)
    draw = np.random.default_rng(rows)
    sold: Any = (10 + draw.normal(size=(len(names), rows))).tolist()
    return pl.concat(
        pl.DataFrame(
            {"shop": name, "day": days, "open": np.arange(rows + 3) % 7 < 6, "sold": [*own, *[None] * 3]}
        )
        for name, own in zip(names, sold, strict=True)
    ).with_columns(pl.col("open").cast(pl.Float64))


@pytest.mark.parametrize("several", [True, False])
def test_forecasts_of_frames_are_those_of_each_alone(several: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["north", "south"] if several else ["north"]
    task: Any = ls.Forecaster(
        horizon=3, epochs=1, context_length=14, target="sold", time="day", future_covariates="open",
        id="shop" if several else None,
    )  # fmt: skip
    history = shops("2024-01-01", names, 80)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.LongspanWarning)
        task.fit(history if several else history.drop("shop"), verbose=0)
        asked = [
            shops("2024-03-21", names[:1], 20),
            shops("2024-05-02", names, 30),
            shops("2024-02-10", [*names, "new"] if several else names, 25),
            shops("2024-02-10", names, 4),
        ]
        asked = asked if several else [one.drop("shop") for one in asked]
        alone = [task.predict_table(one) for one in asked]
        calls: list[int] = []
        monkeypatch.setattr(ForecastCodec, "as_table", counting(ForecastCodec.as_table, calls))
        tables = task.predict_tables(asked)
        assert len(calls) == 1, "one table of all"
        for answer, wanted in zip(tables, alone, strict=True):
            assert_frame_equal(answer, wanted, rel_tol=1e-5, abs_tol=1e-6)
        far = [asked[0], asked[0].with_columns(pl.col("day").dt.offset_by("200y"))]
        tables = task.predict_tables(far)
        assert len(calls) == 3, "a table each, as their times lie far apart"
        for answer, source in zip(tables, far, strict=True):
            assert_frame_equal(answer, task.predict_table(source), rel_tol=1e-5, abs_tol=1e-6)


def counting(function: Any, calls: list[int]) -> Any:
    def counted(*arguments: Any) -> Any:
        calls.append(1)
        return function(*arguments)

    return counted


@pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
def test_forecasts_of_one_and_of_several_arrays(fitted: dict[str, Any]) -> None:
    wave = np.sin(np.arange(120) / 5.0)
    for asked in ([wave, [wave, wave[:90]]], [[wave, wave[:90]], [wave[:50], wave]], [wave, wave[:3]]):
        for answer, source in zip(fitted["forecast"].predict_tables(asked), asked, strict=True):
            assert_frame_equal(answer, fitted["forecast"].predict_table(source), rel_tol=1e-5, abs_tol=1e-6)


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
