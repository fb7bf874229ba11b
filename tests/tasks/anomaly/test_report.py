"""A detector's report draws what it watched, with labels and alarms, and lists what went wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from longspan import AnomalyDetector
from longspan.report.elements import LineChart, Section, Stats, Table

DAYS = 500


@pytest.fixture(scope="module")
def detector() -> AnomalyDetector:
    wave = np.sin(np.arange(DAYS) / 5)
    table = pl.DataFrame({"level": wave, "noise": np.cos(np.arange(DAYS) / 3)})
    return AnomalyDetector(epochs=2, hidden_size=8, kind="series").fit(table, verbose=0)


def readings(*, labelled: bool) -> pl.DataFrame:
    """A wave with a spike at 300 that is labelled, a label at 400 that nothing shows, and a spike at 450."""
    level = np.sin(np.arange(DAYS) / 5)
    level[[300, 450]] = 6.0
    known = np.isin(np.arange(DAYS), [300, 301, 200]).astype(int)
    columns: dict[str, Any] = {"level": level, "noise": np.cos(np.arange(DAYS) / 3)}
    return pl.DataFrame({**columns, "fault": known} if labelled else columns)


def by_title(sections: list[Section]) -> dict[str, Section]:
    return {section.title: section for section in sections}


def test_the_watched_columns_are_drawn_with_alarms_and_labels(detector: AnomalyDetector) -> None:
    detector.set_params(label="fault", min_gap=20)
    shown = by_title(detector.sections(readings(labelled=True)))
    charts = [chart for chart in shown["Readings"].elements if isinstance(chart, LineChart)]
    assert [chart.title for chart in charts] == ["level", "noise", "Scores"]
    assert charts[0].lines[0].name == "actual" and max(charts[0].lines[0].y) == 6.0
    labels = [(start, end) for start, end, name in charts[0].spans if name == "labelled"]
    assert labels == [(200, 200), (300, 301)]
    alarms = [(start, end) for start, end, name in charts[0].spans if name == "alarm"]
    assert any(start <= 300 <= end for start, end in alarms)
    assert charts[0].spans == charts[2].spans


def test_errors_are_listed_and_precision_and_recall_stand_at_the_top(detector: AnomalyDetector) -> None:
    detector.set_params(label="fault", min_gap=20)
    table = readings(labelled=True)
    shown, scores = by_title(detector.sections(table)), detector.evaluate(table)
    stats = shown["Summary"].elements[0]
    assert isinstance(stats, Stats)
    values = {stat.name: stat.value for stat in stats.stats}
    assert values["Recall"] == f"{100 * scores['recall']:.0f} %" == "50 %"
    assert values["Precision"] == f"{100 * scores['precision']:.0f} %"
    missed, false_alarms = shown["Errors"].elements
    assert isinstance(missed, Table) and isinstance(false_alarms, Table)
    assert [row[0] for row in missed.rows] == [200]
    assert 450 in [row[0] for row in false_alarms.rows]


def test_without_labels_there_is_no_list_of_errors(detector: AnomalyDetector) -> None:
    detector.set_params(label=None, min_gap=20)
    shown = by_title(detector.sections(readings(labelled=False)))
    assert "Readings" in shown and "Errors" not in shown
    assert "Readings" not in by_title(detector.sections())
