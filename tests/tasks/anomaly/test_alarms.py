"""Alarms join neighbouring rows; one that touches a known anomaly is right; thresholds keep the budget."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from longspan.tasks.anomaly.alarms import (
    alarm_frame,
    alarm_intervals,
    event_scores,
    threshold_for_f1,
    threshold_for_false_positive_rate,
)


def test_neighbouring_rows_join_into_one_alarm() -> None:
    over = [False, True, False, True, False, False, False, True]
    assert alarm_intervals(over, 3) == [(1, 3), (7, 7)]
    assert alarm_intervals(over, 1) == [(1, 1), (3, 3), (7, 7)]
    assert alarm_intervals([], 3) == []


def test_alarms_of_each_entity_are_apart() -> None:
    frame = pl.DataFrame(
        {
            "id": ["a"] * 4 + ["b"] * 4,
            "time": [*range(4), *range(4)],
            "score": [0.0, 2.0, 0.0, 3.0, 1.5, 0.0, 0.0, 0.0],
            "alarm": [False, True, False, True, True, False, False, False],
            "cause": [None, "x", None, "y", "x", None, None, None],
        }
    )
    found = alarm_frame(frame, 3)
    assert found.rows() == [("a", 1, 3, 3.0, "y, x", 2), ("b", 0, 0, 1.5, "x", 1)]
    assert len(alarm_frame(frame, 2)) == 3
    none = alarm_frame(frame.with_columns(alarm=False).drop("id"), 3)
    assert none.columns == ["start", "end", "severity", "cause", "readings"] and len(none) == 0


def marked(*places: int) -> np.ndarray:
    found = np.zeros(20, dtype=bool)
    found[list(places)] = True
    return found


def test_an_alarm_that_touches_a_known_anomaly_is_a_hit() -> None:
    found = event_scores([marked(5, 15)], [marked(4, 5, 6, 9)], 2)
    assert found == {"precision": 0.5, "recall": 0.5, "f1": 0.5}
    assert event_scores([marked()], [marked(3)], 2) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    assert event_scores([marked(3), marked()], [marked(3), marked()], 2)["f1"] == 1.0


def test_the_best_threshold_is_midway_between_the_best_scores() -> None:
    scores = np.array([0.0, 1.0, 1.1, 1.2, 4.0, 9.0])
    found = threshold_for_f1([scores], lambda limit: float((scores >= limit).sum() == 2), 1.02)
    assert 1.2 < found < 4.0
    assert threshold_for_f1([np.zeros(5)], lambda limit: 1.0, 1.02) == 1.02


@pytest.mark.parametrize("budget", [0.0, 0.01, 0.2])
def test_the_allowed_threshold_keeps_the_budget_of_false_alarms(budget: float) -> None:
    held = 2.0 + np.random.default_rng(0).random(500)
    limit = threshold_for_false_positive_rate(held, budget, 1.02)
    assert (held >= limit).sum() == int(budget * 500)
    assert threshold_for_false_positive_rate(held, 1.0, 1.02) == 1.02
