"""Sensors: faults are flagged as long as they last, and streams equal series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import longspan as ls

SMALL: dict[str, Any] = {"hidden_size": 8, "epochs": 5, "kind": "sensors"}


def readings(rows: int, seed: int = 0) -> np.ndarray:
    """Four channels, two of which are nearly the same."""
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(rows, 4))
    for row in range(1, rows):
        values[row] += 0.5 * values[row - 1]
    values[:, 3] = values[:, 2] + 0.1 * draw.normal(size=rows)
    return values * [1.0, 10.0, 0.1, 0.1] + [0.0, 500.0, 7.0, 7.0]


@pytest.fixture(scope="module")
def fitted() -> ls.AnomalyDetector:
    return ls.AnomalyDetector(**SMALL).fit(readings(600), verbose=0)


def faulty(fault: str) -> np.ndarray:
    values = readings(500, 1)
    part = values[200:400]
    if fault == "shift":
        part[:, 1] += 25.0
    elif fault == "frozen":
        part[:, 0] = part[0, 0]
    elif fault == "noise":
        part[:, 1] += 40.0 * np.random.default_rng(0).normal(size=200)
    else:  # broken correlation
        part[:, 3] = 7.0 - (part[:, 3] - 7.0)
    return values


@pytest.mark.parametrize("fault", ["shift", "frozen", "noise", "correlation"])
def test_a_fault_is_flagged_as_long_as_it_lasts(fitted: ls.AnomalyDetector, fault: str) -> None:
    answers = fitted.predict(faulty(fault))
    alarms = answers["alarm"].to_numpy()
    assert alarms[250:400].mean() > 0.8 and alarms[:200].mean() < 0.05
    causes = {"shift": "channel 1", "frozen": "channel 0", "noise": "channel 1"}
    if fault in causes:
        assert answers["cause"][300] == causes[fault]


def test_scores_are_tail_probabilities(fitted: ls.AnomalyDetector) -> None:
    scores = fitted.predict(readings(3000, 2))["score"].to_numpy()
    assert 0.02 < (scores >= 1.0).mean() < 0.3 and (scores >= fitted.codec_.scorer.threshold).mean() < 0.02
    assert fitted.codec_.scorer.threshold >= 3.0


def test_a_stream_equals_the_series_and_goes_on_after_loading(
    fitted: ls.AnomalyDetector, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "model")
    task: Any = ls.load(tmp_path / "model")
    values = faulty("shift")
    values[7, 2] = np.nan
    assert np.array_equal(task.predict(values)["score"], fitted.predict(values)["score"])
    task.fitted_.running.series.clear()
    stream = []
    for row, reading in enumerate(values.tolist()):
        if row == 250:
            task.save(tmp_path / "middle")
            task = ls.load(tmp_path / "middle")
        stream.append(task.update(reading))
    answers = fitted.predict(values)
    np.testing.assert_allclose([score for score, _ in stream], answers["score"], rtol=1e-3, atol=1e-3)
    assert [alarm for _, alarm in stream][300:390] == answers["alarm"].to_list()[300:390]


def test_known_anomalies_are_not_learnt_from_and_set_the_threshold() -> None:
    values, flags = faulty("shift"), np.zeros(500, dtype=bool)
    flags[200:400] = True
    task = ls.AnomalyDetector(**SMALL).fit(values, flags, verbose=0)
    again = task.predict(faulty("shift"))["alarm"].to_numpy()
    assert again[230:400].all() and again[:200].mean() < 0.1
    assert "known" in task.codec_.scorer.detected


def test_a_network_never_forecasts_worse_than_the_last_value_on_held_out_readings() -> None:
    walk = np.cumsum(np.random.default_rng(0).normal(size=(400, 3)), 0)
    task = ls.AnomalyDetector(**{**SMALL, "epochs": 20}).fit(walk, verbose=0)
    codec, network = task.codec_, task.network_
    held_out = (task.split(task.read(walk))[1] or [])[0]
    (batch,) = task.batches(codec, [held_out], train=False)
    expected = network.predict(batch).detach().numpy()[1:]
    targets = codec.features.encode(held_out)[1]
    ours, naive = ((targets[1:] - part) ** 2 for part in (expected, targets[:-1]))
    assert (ours.mean(0) <= naive.mean(0) * (1 + 1e-5)).all()
