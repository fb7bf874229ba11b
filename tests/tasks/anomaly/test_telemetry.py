"""Telemetry: channels are watched and commands are read; one by one gives what the table gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import longspan as ls
from longspan import errors


def telemetry(rows: int, seed: int = 0) -> np.ndarray:
    """A channel that answers the first of three commands with a delay."""
    draw = np.random.default_rng(seed)
    commands = (draw.random((rows, 3)) < 0.1).astype(float)
    channel = np.zeros(rows)
    for row in range(1, rows):
        channel[row] = 0.8 * channel[row - 1] + commands[row - 1, 0]
    return np.column_stack([channel + 0.02 * draw.normal(size=rows), commands])


@pytest.fixture(scope="module")
def fitted() -> ls.AnomalyDetector:
    with pytest.warns(errors.LongspanWarning, match="Data taken as telemetry: 3 columns hold commands"):
        return ls.AnomalyDetector(hidden_size=8, epochs=10).fit(telemetry(1500), verbose=0)


def test_commands_are_read_and_not_watched(fitted: ls.AnomalyDetector) -> None:
    codec = fitted.codec_
    assert codec.features.monitored == ["channel 0"] and codec.scorer.dynamic
    assert codec.sizes["inputs"] == 3 + 3 * 2 and codec.sizes["numbers"] == 1
    forced = ls.AnomalyDetector(hidden_size=8, epochs=1, threshold="fixed", target=("channel 0",))
    with pytest.warns(errors.LongspanWarning, match="telemetry"):
        forced.fit(telemetry(600), verbose=0)
    assert not forced.codec_.scorer.dynamic


def test_the_network_uses_commands_where_they_help(fitted: ls.AnomalyDetector) -> None:
    network: Any = fitted.network_
    assert 0.5 < network.trust.item() <= 1.0
    series = fitted.read(telemetry(800, 1), use="predict", fitted=fitted.fitted_)[0]
    (batch,) = fitted.batches(fitted.codec_, [series], train=False)
    expected = network.predict(batch).detach().numpy()[1:, 0]
    targets = fitted.codec_.features.encode(series)[1][:, 0]
    ours, naive = ((targets[1:] - part) ** 2 for part in (expected, targets[:-1]))
    assert ours.mean() < 0.7 * naive.mean()


def test_a_level_that_lasts_is_an_alarm(fitted: ls.AnomalyDetector) -> None:
    values = telemetry(2000, 2)
    values[1500:1600, 0] = values[:, 0].max() + 2.0
    alarms = fitted.predict(values)["alarm"].to_numpy()
    assert alarms[1500:1600].any() and not alarms[:1300].any()


def test_one_by_one_gives_what_predict_gives_after_loading(
    fitted: ls.AnomalyDetector, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "model")
    task: Any = ls.load(tmp_path / "model")
    values = telemetry(300, 3)
    assert task.codec_.features.monitored == ["channel 0"]
    answers = task.predict(values)
    assert answers.equals(fitted.predict(values))
    task.fitted_.running.series.clear()
    stream = [task.update(reading)[0] for reading in values.tolist()]
    np.testing.assert_allclose(stream, answers["score"], rtol=1e-3, atol=1e-3)


def test_a_short_training_part_tells_no_limits() -> None:
    def slow(rows: int, seed: int) -> np.ndarray:
        draw = np.random.default_rng(seed)
        wave = np.sin(np.arange(rows) / 64) + 0.05 * draw.normal(size=rows)
        return np.column_stack([wave, (draw.random((rows, 2)) < 0.1).astype(float)])

    detector = ls.AnomalyDetector(hidden_size=8, epochs=10, kind="telemetry").fit(slow(150, 0), verbose=0)
    assert not detector.predict_table(slow(3000, 3))["alarm"].any()
