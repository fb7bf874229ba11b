"""The classifier's charts show precision, recall, calibration and attributions."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from longspan import Classifier
from longspan.report.elements import HighlightedText, LineChart, Stats, Table, Tabs
from longspan.tasks.classify import report


def test_the_table_shows_precision_and_recall_of_each_class() -> None:
    classes, answers, truths = ["a", "b", "c"], np.array([0, 0, 1]), np.array([0, 1, 1])
    matrix = report.confusion(classes, answers, truths)
    assert np.array_equal(np.asarray(matrix.values), [[1, 0, 0], [1, 1, 0], [0, 0, 0]])
    rows = [["a", 1, 0.5, 1.0, 2 / 3], ["b", 2, 1.0, 0.5, 2 / 3], ["c", 0, None, None, None]]
    assert report.by_class(classes, answers, truths).rows == rows
    one_hot = np.eye(3, dtype=bool)
    assert report.by_class(classes, one_hot[answers], one_hot[truths]).rows == rows


def test_a_single_label_is_scored_on_the_rows_that_have_it() -> None:
    answers, truths = np.array([[True], [True], [False]]), np.array([[True], [False], [False]])
    assert report.by_class(["a"], answers, truths).rows == [["a", 1, 0.5, 1.0, 2 / 3]]


def test_the_calibration_curve_is_accuracy_over_confidence() -> None:
    answers, perfect = report.reliability([(0.55, 0.4, 7), (0.95, 1.0, 3)]).lines
    assert (list(answers.x), list(answers.y)) == ([0.55, 0.95], [0.4, 1.0]) and perfect.style == "dash"


@pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
def test_texts_show_truth_probability_and_the_surest_errors() -> None:
    texts, labels = ["a good film", "a bad film", "good", "bad"] * 8, ["good", "bad"] * 16
    labels[0], labels[3] = "bad", "good"  # wrong on purpose
    options: dict[str, Any] = {"epochs": 4, "hidden_size": 8, "subword_buckets": 0, "ensemble_size": 1}
    table = pl.DataFrame({"text": texts, "label": labels})
    model = Classifier(**options, learning_rate=0.02, word_dropout=0.0).fit(table, verbose=0)
    sections = {section.title: section for section in model.sections(table)}
    words = sections["What mattered"].elements[0]
    assert isinstance(words, HighlightedText) and len(words.keys) == 2
    probability = float(model.predict_proba(texts[:1]).max())
    answer = str(model.predict(texts[:1])[0])
    assert words.texts[0][0] == f"{answer}, {100 * probability:.0f} %" + (
        ", right" if answer == "bad" else ", truly bad"
    )
    errors = sections["Errors"].elements[0]
    wrong = np.flatnonzero(model.predict(texts) != np.array(labels))
    assert isinstance(errors, Table) and len(wrong) and {row[0] for row in errors.rows} == {*wrong.tolist()}
    assert errors.rows[0][4] == texts[errors.rows[0][0]]
    summary = sections["Summary"].elements
    assert len(summary) == 1 and isinstance(summary[0], Stats)
    accuracy = summary[0].stats[0]
    assert accuracy.value == f"{100 * (1 - len(wrong) / 32):.1f} %" and "class 50.0 %" in accuracy.remark


@pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
def test_each_series_is_drawn_above_what_its_steps_counted() -> None:
    x = np.random.default_rng(0).normal(size=(16, 12))
    model = Classifier(epochs=1, hidden_size=4, filters=(4,), kernel_sizes=(3,), ensemble_size=1)
    model.fit(x, ["up", "down"] * 8, verbose=0)
    chart = {section.title: section for section in model.sections(x)}["What mattered"].elements[0]
    assert isinstance(chart, Tabs) and len(chart.options) == 4
    parts: Any = next(iter(chart.options.values()))
    series, weights = parts
    assert isinstance(series, LineChart) and isinstance(weights, LineChart)
    assert np.allclose(series.lines[0].y, x[0], atol=1e-6) and len(weights.lines[0].y) == 12
