"""Long series are read, predicted and scored in pieces, with the numbers of the whole."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from longspan import AnomalyDetector
from longspan.tasks.anomaly import features, network, scoring

pytestmark = pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")


def readings(count: int) -> pl.DataFrame:
    draw = np.random.default_rng(0)
    wave = np.sin(np.arange(count) / 9) + 0.05 * draw.normal(size=count)
    wave[count // 2] += 4
    return pl.DataFrame({"wave": wave, "mode": np.where(np.arange(count) % 40 < 20, "on", "off")})


@pytest.mark.parametrize(
    "options", [{}, {"threshold": "dynamic"}, {"kind": "telemetry", "target": ("wave",)}], ids=str
)
def test_pieces_give_the_numbers_of_the_whole(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = readings(700)
    task = AnomalyDetector(epochs=1, hidden_size=8, **options).fit(source[:400], verbose=0)
    whole = task.predict_table(source)
    assert whole["score"].is_finite().any()
    monkeypatch.setattr(network, "READINGS_AT_ONCE", 64)
    monkeypatch.setattr(features, "_LISTED", 50)
    monkeypatch.setattr(scoring, "_LISTED", 33)
    assert_frame_equal(task.predict_table(source), whole, rel_tol=1e-5, abs_tol=1e-6)


def test_the_memory_of_a_prediction_is_little_for_each_reading() -> None:
    source = np.sin(np.arange(40_000) / 9)
    task = AnomalyDetector(epochs=1, hidden_size=8).fit(source[:400], verbose=0)
    task.predict(source[:100])
    peaks = []
    for count in (20_000, 40_000):
        tracemalloc.start()
        task.predict(source[:count])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 20_000 < 200, "bytes of Python's and numpy's for a reading"
