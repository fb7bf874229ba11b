"""Sections of a detector's report: its quality, the watched series with alarms and labels, errors, alarms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from longspan.report.elements import Element, Line, LineChart, Section, Stat, Stats, Table, table_of, tabs

from .alarms import alarm_frame, alarm_intervals
from .codec import AnomalyCodec, ScoredSeries

_ENTITIES = 20  # entities that are shown at most
_CHANNELS = 6  # watched columns that are drawn of an entity at most
_CHARTS = 24  # charts of all entities at most, as each takes a third of a second
_ALARMS = 200  # alarms listed at most
_WORST = 10  # errors listed of each kind
_GOOD, _BAD = 0.8, 0.5  # precision and recall that are marked as good and as bad


def sections(
    codec: AnomalyCodec, answers: Sequence[ScoredSeries] | None, scores: Mapping[str, float]
) -> list[Section]:
    """What a detector's report shows before training and options.

    Args:
        codec: of the fitted detector.
        answers: the scored readings; None where no source is evaluated.
        scores: precision, recall and f1; {} where no anomalies are labelled.
    """
    level = None if codec.scorer.dynamic else codec.scorer.threshold
    numbers = [Stat("Kind of data", codec.kind.name, codec.kind.reason), _threshold(codec, level)]
    shown = []
    if level is not None and codec.scorer.held_out["readings"]:
        shown.append(Section("Held-out part", [_held_out_alarms(codec.scorer.held_out)]))
    if codec.scorer.detected:
        shown.append(Section("Injected anomalies", [_injected(codec.scorer.detected)]))
    if answers is not None:
        alarms = alarm_frame(codec.table(list(answers)), codec.min_gap)
        numbers += _counts(answers, len(alarms), scores)
        charts = {_name(answer): _charts(codec, answer, level) for answer in _entities(codec, answers)}
        watched: list[Section] = [Section("Readings", _one_at_a_time(charts))]
        if scores:
            watched.append(Section("Errors", [_missed(codec, answers), _false_alarms(codec, answers)]))
        watched.append(Section("Alarms", [table_of("Alarms", alarms.head(_ALARMS))]))
        shown = [*watched, *shown]
    note = f"Watched: {', '.join(codec.features.monitored)}."
    return [Section("Summary", [Stats("Detector", numbers, note=note)]), *shown]


def _threshold(codec: AnomalyCodec, level: float | None) -> Stat:
    if level is None:
        return Stat("Threshold", "dynamic", "found anew in the recent errors")
    return Stat("Threshold", f"{level:.3g}", codec.scorer.score_unit)


def _counts(answers: Sequence[ScoredSeries], alarms: int, scores: Mapping[str, float]) -> list[Stat]:
    """How many readings and alarms there are, and with labels how good the alarms are."""
    stats = [Stat("Readings", f"{sum(map(len, (answer.scores for answer in answers))):,}")]
    stats.append(Stat("Alarms", f"{alarms:,}"))
    remarks = {"precision": "of the alarms are right", "recall": "of the labelled anomalies are found"}
    for name, remark in remarks.items():
        if name in scores:
            value = scores[name]
            mood = "good" if value >= _GOOD else "bad" if value < _BAD else ""
            stats.append(Stat(name.title(), f"{100 * value:.0f} %", remark, mood))
    return stats


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


# ---- the readings


def _entities(codec: AnomalyCodec, answers: Sequence[ScoredSeries]) -> list[ScoredSeries]:
    """Those with the most alarms and labelled anomalies first, as many as there is room for."""
    most = max(1, min(_ENTITIES, _CHARTS // (1 + len(_drawn(codec)))))
    return sorted(answers, key=lambda answer: -int((answer.alarms | answer.series.known).sum()))[:most]


def _name(answer: ScoredSeries) -> str:
    return "" if answer.series.name is None else str(answer.series.name)


def _drawn(codec: AnomalyCodec) -> list[str]:
    """The watched columns of numbers that are drawn."""
    return [name for name in codec.features.monitored if name in codec.features.names][:_CHANNELS]


def _one_at_a_time(charts: Mapping[str, list[LineChart]]) -> list[Element]:
    if len(charts) > 1:
        return [tabs("Readings by entity", charts)]
    return [chart for shown in charts.values() for chart in shown]


def _charts(codec: AnomalyCodec, answer: ScoredSeries, level: float | None) -> list[LineChart]:
    """The watched columns and the scores of an entity, its alarms and labelled anomalies shaded."""
    series, x = answer.series, _times(answer)
    spans = [
        (x[first], x[last], "alarm") for first, last in alarm_intervals(answer.alarms.tolist(), codec.min_gap)
    ]
    spans += [(x[first], x[last], "labelled") for first, last in alarm_intervals(series.known.tolist(), 2)]
    style = "points" if codec.kind.name == "records" else "line"
    values = {
        name: series.numbers[:, series.names.index(name)] for name in _drawn(codec) if name in series.names
    }
    charts = [
        LineChart(name, "time", name, [Line("actual", x, numbers, style)], spans=spans)
        for name, numbers in values.items()
    ]
    levels = [] if level is None else [(level, "threshold")]
    line = Line("score", x, answer.scores, style)
    return [*charts, LineChart("Scores", "time", "score", [line], spans=spans, levels=levels)]


def _times(answer: ScoredSeries) -> list[Any]:
    times = answer.series.times
    return list(range(len(answer.scores))) if times is None else list(times)


# ---- the errors


def _missed(codec: AnomalyCodec, answers: Sequence[ScoredSeries]) -> Table:
    """The labelled anomalies without an alarm, those with the lowest scores first."""
    rows = []
    for answer in answers:
        near = np.zeros(len(answer.alarms), dtype=bool)
        for first, last in alarm_intervals(answer.alarms.tolist(), _gap(codec)):
            near[first : last + 1] = True
        for first, last in alarm_intervals(answer.series.known.tolist(), _gap(codec, labelled=True)):
            if not near[first : last + 1].any():
                rows.append(_stretch(answer, first, last))
    return _worst("Labelled, without an alarm", sorted(rows, key=lambda row: row[-1]), answers)


def _false_alarms(codec: AnomalyCodec, answers: Sequence[ScoredSeries]) -> Table:
    """The alarms without a labelled anomaly, those with the highest scores first."""
    rows = [
        _stretch(answer, first, last)
        for answer in answers
        for first, last in alarm_intervals(answer.alarms.tolist(), _gap(codec))
        if not answer.series.known[first : last + 1].any()
    ]
    return _worst("Alarms without a label", sorted(rows, key=lambda row: -row[-1]), answers)


def _gap(codec: AnomalyCodec, *, labelled: bool = False) -> int:
    """Readings without an alarm, or without a label, that end a stretch, as the scores count them."""
    return 1 if codec.kind.name == "records" else 2 if labelled else codec.min_gap


def _stretch(answer: ScoredSeries, first: int, last: int) -> list[Any]:
    """Entity, start, end, readings and highest score of a stretch of readings."""
    times = _times(answer)
    highest = float(np.nanmax(np.nan_to_num(answer.scores[first : last + 1])))
    return [_name(answer), times[first], times[last], last - first + 1, highest]


def _worst(title: str, rows: list[list[Any]], answers: Sequence[ScoredSeries]) -> Table:
    """A table of stretches, without the entity where there is only one."""
    columns = ["entity", "start", "end", "readings", "highest score"]
    note = "None." if not rows else f"{_WORST} of {len(rows):,}." if len(rows) > _WORST else ""
    alone = answers[0].series.name is None
    shown = [row[1:] if alone else row for row in rows[:_WORST]]
    return Table(title, columns[1:] if alone else columns, shown, note=note)
