"""Knows alarms: readings over a threshold as intervals, how many were right, and which threshold is best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl


def alarm_intervals(over: Sequence[bool], quiet: int) -> list[tuple[int, int]]:
    """First and last reading of each alarm: readings over the threshold less than `quiet` apart are one.

    >>> alarm_intervals([False, True, False, True, False, False, False, True], quiet=3)
    [(1, 3), (7, 7)]
    """
    found: list[tuple[int, int]] = []
    for place in (place for place, one in enumerate(over) if one):
        if found and place - found[-1][1] < quiet:
            found[-1] = (found[-1][0], place)
        else:
            found.append((place, place))
    return found


def alarm_frame(frame: pl.DataFrame, quiet: int) -> pl.DataFrame:
    """The alarms of judged readings, `quiet` readings apart or more.

    Args:
        frame: a row a reading: id where there is one, time, score, alarm (bool), cause (None for no alarm).

    Returns:
        A frame: id where there is one, start, end, severity (the highest score), cause (the columns that
        raised it, the one that did so most first), readings (that were over the threshold).
    """
    parts = [frame] if "id" not in frame.columns else frame.partition_by("id", maintain_order=True)
    rows = [
        _alarm(part[first : last + 1])
        for part in parts
        for first, last in alarm_intervals(part["alarm"].to_list(), quiet)
    ]
    time = frame.schema["time"]
    schema = {"id": frame.schema["id"]} if "id" in frame.columns else {}
    schema |= {"start": time, "end": time, "severity": pl.Float64(), "cause": pl.String()}
    schema |= {"readings": pl.Int64()}
    return pl.DataFrame([{name: row[name] for name in schema} for row in rows], schema=schema)


def _alarm(part: pl.DataFrame) -> dict[str, Any]:
    """One alarm out of its readings."""
    over = part.filter("alarm")
    causes = over.group_by("cause", maintain_order=True).agg(pl.col("score").max())
    causes = causes.sort("score", descending=True)["cause"].to_list()
    found = {"start": part["time"][0], "end": part["time"][-1], "severity": part["score"].max()}
    found |= {"cause": ", ".join(causes), "readings": len(over)}
    return {**found, "id": part["id"][0]} if "id" in part.columns else found


def event_scores(alarms: Sequence[np.ndarray], flags: Sequence[np.ndarray], quiet: int) -> dict[str, float]:
    """Precision, recall and f1 of alarms against flagged stretches, of every series (T,) bool.

    An alarm is right if it touches a flagged stretch, and a stretch is found if an alarm touches it. What
    there is nothing of counts 0.

    >>> over, known = np.zeros(9, dtype=bool), np.zeros(9, dtype=bool)
    >>> over[[2, 8]], known[1:4] = True, True
    >>> event_scores([over], [known], quiet=2)["precision"]
    0.5
    """
    right, alarmed, found, known = 0, 0, 0, 0
    for over, truth in zip(alarms, flags, strict=True):
        ours, theirs = alarm_intervals(over.tolist(), quiet), alarm_intervals(truth.tolist(), 2)
        right += sum(any(_touch(one, other) for other in theirs) for one in ours)
        found += sum(any(_touch(one, other) for other in ours) for one in theirs)
        alarmed, known = alarmed + len(ours), known + len(theirs)
    precision, recall = right / max(alarmed, 1), found / max(known, 1)
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}


def _touch(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def threshold_for_f1(scores: Sequence[np.ndarray], worth: Callable[[float], float], least: float) -> float:
    """The middle of the thresholds that are worth most; `least` where no score is above 0."""
    known = np.concatenate(list(scores))
    if not (known > 0).any():
        return least
    tried = np.unique(np.quantile(known[known > 0], np.linspace(0.5, 1.0, 200)))
    found = np.array([worth(float(limit)) for limit in tried])
    best = tried[found == found.max()]
    return float(np.sqrt(best[0] * best[-1]))


def threshold_for_false_positive_rate(held: np.ndarray, budget: float, least: float) -> float:
    """The lowest threshold that at most a share `budget` of the scores (N,) reaches; `least` or above.

    >>> threshold_for_false_positive_rate(np.array([1.0, 3.0, 2.0, 1.5]), budget=0.25, least=1.02) > 2.0
    True
    """
    allowed, beyond = int(budget * len(held)), np.sort(held)[::-1]
    return max(least, float(np.nextafter(beyond[allowed], np.inf)) if allowed < len(beyond) else least)
