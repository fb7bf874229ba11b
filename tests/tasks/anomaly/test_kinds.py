"""The kind of data is found in the training part: rhythm, drift, order and commands tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

import longspan as ls
from longspan import errors
from longspan.tasks.anomaly.kinds import drifting, find_kind, has_rhythm
from longspan.tasks.anomaly.reading import Series

SMALL: dict[str, Any] = {"hidden_size": 8, "epochs": 2}


def series(numbers: np.ndarray, words: np.ndarray | None = None, moments: np.ndarray | None = None) -> Series:
    texts = np.empty((len(numbers), 0), dtype=object) if words is None else words
    names = tuple(f"x{column}" for column in range(numbers.shape[1]))
    categories = tuple(f"c{column}" for column in range(texts.shape[1]))
    return Series(None, None, names, numbers, categories, texts, None, None, moments)


def kind(one: Series) -> str:
    return find_kind([one], range(len(one.names)), range(len(one.categories))).name


def steady(rows: int, channels: int = 4, seed: int = 0) -> np.ndarray:
    """Channels that return to their levels, with a short memory."""
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(rows, channels))
    for row in range(1, rows):
        values[row] += 0.7 * values[row - 1]
    return values


def waves(rows: int) -> np.ndarray:
    steps = np.arange(rows)
    noise = 0.1 * np.random.default_rng(0).normal(size=(rows, 3))
    return np.stack([np.sin(steps / 5), np.cos(steps / 5), np.sin(steps / 5 + 1)], 1) + noise


def test_one_channel_and_rhythms_and_random_walks_are_series() -> None:
    draw = np.random.default_rng(1)
    assert kind(series(steady(600, 1))) == "series"
    assert kind(series(draw.normal(size=(600, 1)))) == "series"
    assert kind(series(waves(600))) == "series"
    assert kind(series(np.cumsum(draw.normal(size=(2000, 6)), 0))) == "series"


def test_steady_channels_are_sensors() -> None:
    assert kind(series(steady(400))) == "sensors"
    one_drifts = steady(400, 5)
    one_drifts[:, 0] += np.linspace(0, 20, 400)
    assert kind(series(one_drifts)) == "sensors"


def test_rows_that_do_not_depend_on_the_last_one_are_records_unless_their_times_are_regular() -> None:
    draw = np.random.default_rng(2)
    words = draw.choice(["tcp", "udp"], (500, 1)).astype(object)
    assert kind(series(draw.normal(size=(500, 2)), words)) == "records"
    assert kind(series(draw.normal(size=(500, 5)))) == "records"
    assert kind(series(draw.normal(size=(500, 5)), None, np.arange(500) * 60)) == "sensors"
    late = np.cumsum(draw.exponential(9.0, 500)).astype(np.int64)
    assert kind(series(draw.normal(size=(500, 2)), words, late)) == "records"
    alternating = np.array([["a"], ["b"]] * 250, dtype=object)
    assert kind(series(waves(500)[:, :1], alternating)) == "series"


def test_channels_beside_commands_are_telemetry() -> None:
    commands = (np.random.default_rng(3).random((600, 5)) < 0.1).astype(float)
    assert kind(series(np.column_stack([steady(600, 1), commands]))) == "telemetry"
    assert kind(series(np.column_stack([steady(600, 1), 0 * commands]))) == "telemetry"
    assert kind(series(np.column_stack([steady(600, 6), commands]))) == "sensors"


def test_rhythm_and_drift() -> None:
    assert has_rhythm(waves(400)) and not has_rhythm(steady(400))
    walk = np.cumsum(np.random.default_rng(0).normal(size=(800, 1)), 0)
    both = drifting(np.column_stack([walk + np.linspace(0, 60, 800)[:, None], steady(800, 1)]))
    assert both.tolist() == [True, False]


def test_the_kind_is_told_and_can_be_forced() -> None:
    with pytest.warns(errors.LongspanWarning, match="Data taken as sensors: several channels"):
        task = ls.AnomalyDetector(**SMALL).fit(steady(300), verbose=0)
    assert task.codec_.kind.name == "sensors" and "sensors" in task.notes_[0]
    summary = task.sections()[0].elements[0]
    assert "sensors" in repr(summary)
    forced = ls.AnomalyDetector(**SMALL, kind="series").fit(steady(300), verbose=0)
    assert forced.codec_.kind.name == "series" and forced.notes_ == []
    with pytest.raises(ValueError, match="kind: expected"):
        ls.AnomalyDetector(**SMALL, kind="pump").fit(steady(300), verbose=0)
    with pytest.raises(ValueError, match="kind sensors: expected columns of numbers"):
        frame = pl.DataFrame({"x": range(100), "y": ["a", "b"] * 50})
        ls.AnomalyDetector(**SMALL, kind="sensors").fit(frame, verbose=0)
    with pytest.raises(ValueError, match="forecaster: expected none with kind records"):
        ls.AnomalyDetector(**SMALL, kind="records", forecaster="").fit(steady(300), verbose=0)
    with pytest.raises(ValueError, match="method: expected forecast with kind sensors"):
        ls.AnomalyDetector(**SMALL, kind="sensors", method="autoencoder").fit(steady(300), verbose=0)
