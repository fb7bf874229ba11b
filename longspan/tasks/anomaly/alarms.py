"""Joins readings over a threshold into alarms, scores alarms by known anomalies, and chooses thresholds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl


def alarm_intervals(over: Sequence[bool], min_gap: int) -> list[tuple[int, int]]:
    """First and last reading of every alarm: readings over the threshold less than `min_gap` apart are one.

    >>> alarm_intervals([False, True, False, True, False, False, False, True], min_gap=3)
    [(1, 3), (7, 7)]
    """
    intervals: list[tuple[int, int]] = []
    for row in (row for row, is_over in enumerate(over) if is_over):
        if intervals and row - intervals[-1][1] < min_gap:
            intervals[-1] = (intervals[-1][0], row)
        else:
            intervals.append((row, row))
    return intervals


def alarm_frame(frame: pl.DataFrame, min_gap: int) -> pl.DataFrame:
    """The alarms of scored readings as a table.

    Args:
        frame: a row for every reading: id (where the source has one), time, score, alarm (bool), cause (None
            where there is no alarm).
        min_gap: readings without an alarm that end one.

    Returns:
        A row for every alarm: id (where the source has one), start, end, severity (its highest score), cause
        (the columns that raised it, the one with the highest score first), readings (how many of its readings
        were over the threshold).
    """
    parts = [frame] if "id" not in frame.columns else frame.partition_by("id", maintain_order=True)
    rows = [
        _alarm(part[first : last + 1])
        for part in parts
        for first, last in alarm_intervals(part["alarm"].to_list(), min_gap)
    ]
    time = frame.schema["time"]
    schema = {"id": frame.schema["id"]} if "id" in frame.columns else {}
    schema |= {"start": time, "end": time, "severity": pl.Float64(), "cause": pl.String()}
    schema |= {"readings": pl.Int64()}
    return pl.DataFrame([{name: row[name] for name in schema} for row in rows], schema=schema)


def _alarm(readings: pl.DataFrame) -> dict[str, Any]:
    """One row of `alarm_frame` out of the readings of an alarm."""
    over = readings.filter("alarm")
    causes = over.group_by("cause", maintain_order=True).agg(pl.col("score").max())
    causes = causes.sort("score", descending=True)["cause"].to_list()
    alarm = {"start": readings["time"][0], "end": readings["time"][-1], "severity": readings["score"].max()}
    alarm |= {"cause": ", ".join(causes), "readings": len(over)}
    return {**alarm, "id": readings["id"][0]} if "id" in readings.columns else alarm


def event_scores(
    alarms: Sequence[np.ndarray], anomalies: Sequence[np.ndarray], min_gap: int
) -> dict[str, float]:
    """Precision, recall and F1 of alarms against known anomalies, counted by interval.

    An alarm is right if it overlaps a known anomaly. A known anomaly is found if an alarm overlaps it.
    Precision is 0 without alarms, recall is 0 without known anomalies.

    Args:
        alarms: of every series (T,) bool, True where a reading is over the threshold.
        anomalies: of every series (T,) bool, True where a reading is a known anomaly.
        min_gap: readings without an alarm that end one.

    >>> over, anomalous = np.zeros(9, dtype=bool), np.zeros(9, dtype=bool)
    >>> over[[2, 8]], anomalous[1:4] = True, True
    >>> event_scores([over], [anomalous], min_gap=2)["precision"]
    0.5
    """
    right_alarms, all_alarms, found_anomalies, all_anomalies = 0, 0, 0, 0
    for over, anomalous in zip(alarms, anomalies, strict=True):
        predicted = alarm_intervals(over.tolist(), min_gap)
        actual = alarm_intervals(anomalous.tolist(), 2)
        right_alarms += sum(any(_overlap(alarm, anomaly) for anomaly in actual) for alarm in predicted)
        found_anomalies += sum(any(_overlap(alarm, anomaly) for alarm in predicted) for anomaly in actual)
        all_alarms, all_anomalies = all_alarms + len(predicted), all_anomalies + len(actual)
    precision, recall = right_alarms / max(all_alarms, 1), found_anomalies / max(all_anomalies, 1)
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}


def record_scores(alarms: Sequence[np.ndarray], anomalies: Sequence[np.ndarray]) -> dict[str, float]:
    """Precision, recall and F1 of alarms against known anomalies, counted by reading.

    Args:
        alarms, anomalies: of every series (T,) bool.

    >>> record_scores([np.array([True, True, False])], [np.array([True, False, False])])["precision"]
    0.5
    """
    over, anomalous = np.concatenate(list(alarms)), np.concatenate(list(anomalies))
    right = int((over & anomalous).sum())
    precision, recall = right / max(int(over.sum()), 1), right / max(int(anomalous.sum()), 1)
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}


def _overlap(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Whether two intervals, both ends included, share a reading."""
    return first[0] <= second[1] and second[0] <= first[1]


def threshold_for_f1(scores: Sequence[np.ndarray], f1: Callable[[float], float], lowest: float) -> float:
    """The threshold with the highest F1. Where a range of thresholds reaches it, the range's geometric mean.

    Args:
        scores: of every series (T,); f1: the F1 of the alarms of a threshold.
        lowest: what is returned where no score is above 0.
    """
    every_score = np.concatenate(list(scores))
    if not (every_score > 0).any():
        return lowest
    candidates = np.unique(np.quantile(every_score[every_score > 0], np.linspace(0.5, 1.0, 200)))
    values = np.array([f1(float(threshold)) for threshold in candidates])
    best = candidates[values == values.max()]
    return float(np.sqrt(best[0] * best[-1]))


def threshold_for_false_positive_rate(scores: np.ndarray, rate: float, lowest: float) -> float:
    """The lowest threshold that at most a share `rate` of held-out scores (N,) reaches, `lowest` at least.

    >>> threshold_for_false_positive_rate(np.array([1.0, 3.0, 2.0, 1.5]), rate=0.25, lowest=1.02) > 2.0
    True
    """
    allowed, falling = int(rate * len(scores)), np.sort(scores)[::-1]
    return max(lowest, float(np.nextafter(falling[allowed], np.inf)) if allowed < len(falling) else lowest)
