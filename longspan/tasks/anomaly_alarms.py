"""Knows alarms: as intervals in a frame, how many of them were right, and how a report shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl

from longspan.data.peaks import intervals

from .exhibits import Choice, Curves, Line, Number, Numbers, Section, Table

SHOWN = 20  # entities whose scores a report shows
ROWS = 200  # alarms that it lists


def alarm_frame(frame: pl.DataFrame, quiet: int) -> pl.DataFrame:
    """The alarms in what `AnomalyDetector.predict` gave, `quiet` readings apart or more."""
    parts = [frame] if "id" not in frame.columns else frame.partition_by("id", maintain_order=True)
    rows = [
        _alarm(part[first : last + 1])
        for part in parts
        for first, last in intervals(part["alarm"].to_list(), quiet)
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


def hits(alarms: Sequence[np.ndarray], flags: Sequence[np.ndarray], quiet: int) -> tuple[float, float]:
    """Precision and recall of alarms against flagged stretches, of every series (T,) bool.

    An alarm is right if it touches a flagged stretch, and a stretch is found if an alarm touches it.
    """
    right, alarmed, found, known = 0, 0, 0, 0
    for over, truth in zip(alarms, flags, strict=True):
        ours, theirs = intervals(over.tolist(), quiet), intervals(truth.tolist(), 2)
        right += sum(any(_touch(one, other) for other in theirs) for one in ours)
        found += sum(any(_touch(one, other) for other in ours) for one in theirs)
        alarmed, known = alarmed + len(ours), known + len(theirs)
    return right / max(alarmed, 1), found / max(known, 1)


def _touch(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def f1(precision: float, recall: float) -> float:
    """Their harmonic mean, 0 where both are."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def best_threshold(scores: Sequence[np.ndarray], worth: Callable[[float], float], least: float) -> float:
    """The middle of the thresholds that are worth most; `least` where no score is above 0."""
    known = np.concatenate(list(scores))
    if not (known > 0).any():
        return least
    tried = np.unique(np.quantile(known[known > 0], np.linspace(0.5, 1.0, 200)))
    found = np.array([worth(float(limit)) for limit in tried])
    best = tried[found == found.max()]
    return float(np.sqrt(best[0] * best[-1]))


def sections(frame: pl.DataFrame, alarms: pl.DataFrame, quiet: int, level: float | None) -> list[Section]:
    """The scores, entity by entity, and the alarms; level: the threshold where there is one for scores."""
    parts = {"": frame} if "id" not in frame.columns else _parts(frame)
    curves = {name: _curve(part, quiet, level) for name, part in parts.items()}
    shown = Choice("Scores by entity", curves) if len(curves) > 1 else next(iter(curves.values()))
    rows = [list(row) for row in alarms.head(ROWS).rows()]
    return [Section("Scores", [shown]), Section("Alarms", [Table("Alarms", alarms.columns, rows)])]


def _parts(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Entities by name, those with most alarms first."""
    parts = frame.partition_by("id", maintain_order=True)
    parts.sort(key=lambda part: -int(part["alarm"].sum()))
    return {str(part["id"][0]): part for part in parts[:SHOWN]}


def _curve(part: pl.DataFrame, quiet: int, level: float | None) -> Curves:
    x = part["time"].to_list()
    spans = [(x[first], x[last], "alarm") for first, last in intervals(part["alarm"].to_list(), quiet)]
    levels = [] if level is None else [(level, "threshold")]
    line = Line("score", x, part["score"].to_list())
    return Curves("Scores", "time", "score", [line], spans=spans, levels=levels)


def summary(columns: str, threshold: Number, frame: pl.DataFrame | None, alarms: int) -> Section:
    """The headlines."""
    shown = [threshold]
    if frame is not None:
        shown += [Number("Readings", f"{len(frame):,}"), Number("Alarms", f"{alarms:,}")]
    return Section("Summary", [Numbers("Detector", shown, note=f"Watched: {columns}.")])
