"""Sections of a detector's report: its threshold, the scores of every entity, the alarms."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from longspan.report.elements import Line, LineChart, Section, Stat, Stats, Table, table_of, tabs

from .alarms import alarm_frame, alarm_intervals
from .codec import AnomalyCodec

_ENTITIES = 20  # entities whose scores are shown at most
_ALARMS = 200  # alarms listed at most


def sections(codec: AnomalyCodec, predictions: pl.DataFrame | None) -> list[Section]:
    """What a detector's report shows before training and options.

    Args:
        codec: of the fitted detector.
        predictions: the frame of `AnomalyDetector.predict`; None where no source is evaluated.
    """
    min_gap = codec.min_gap
    level = None if codec.scorer.dynamic else codec.scorer.threshold
    numbers = [Stat("Threshold", "dynamic", "found anew in the recent errors")]
    if level is not None:
        numbers = [Stat("Threshold", f"{level:.3g}", codec.scorer.score_unit)]
    numbers.insert(0, Stat("Kind of data", codec.kind.name, codec.kind.reason))
    shown = []
    if level is not None and codec.scorer.held_out["readings"]:
        shown.append(Section("Held-out part", [_held_out_alarms(codec.scorer.held_out)]))
    if codec.scorer.detected:
        shown.append(Section("Injected anomalies", [_injected(codec.scorer.detected)]))
    if predictions is not None:
        alarms = alarm_frame(predictions, min_gap)
        numbers += [Stat("Readings", f"{len(predictions):,}"), Stat("Alarms", f"{len(alarms):,}")]
        curves = {name: _curve(part, min_gap, level) for name, part in _entities(predictions).items()}
        shown += [Section("Scores", [tabs("Scores by entity", curves)])]
        shown += [Section("Alarms", [table_of("Alarms", alarms.head(_ALARMS))])]
    note = f"Watched: {', '.join(codec.features.monitored)}."
    return [Section("Summary", [Stats("Detector", numbers, note=note)]), *shown]


def _held_out_alarms(held_out: Mapping[str, int]) -> Table:
    """How many held-out readings raised an alarm, beside what the false-positive rate allows."""
    total = held_out["readings"]
    names = {"detector": "over", "allowed at most": "allowed"}
    rows = [[name, held_out[key], held_out[key] / total] for name, key in names.items()]
    note = f"{total:,} readings, the last of every series."
    return Table("Held-out part", ["", "alarms", "share"], rows, note=note, emphasis=0)


def _injected(detected: Mapping[str, float]) -> Table:
    """How well each kind of anomaly that was injected into normal readings is told from them."""
    rows = [[name, area] for name, area in detected.items()]
    note = "Area under the ROC curve, by which scorers were chosen; 0.5 for chance, 1 for all of them found."
    return Table("Injected anomalies", ["", "AUC"], rows, note=note)


def _entities(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Judged readings by entity, those with most alarms first."""
    if "id" not in frame.columns:
        return {"": frame}
    parts = frame.partition_by("id", maintain_order=True)
    parts.sort(key=lambda part: -int(part["alarm"].sum()))
    return {str(part["id"][0]): part for part in parts[:_ENTITIES]}


def _curve(part: pl.DataFrame, min_gap: int, level: float | None) -> LineChart:
    """The scores of an entity with its alarms shaded; level: the threshold where there is one for scores."""
    x = part["time"].to_list()
    spans = [
        (x[first], x[last], "alarm") for first, last in alarm_intervals(part["alarm"].to_list(), min_gap)
    ]
    levels = [] if level is None else [(level, "threshold")]
    line = Line("score", x, part["score"].to_list())
    return LineChart("Scores", "time", "score", [line], spans=spans, levels=levels)
