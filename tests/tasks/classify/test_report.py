"""The classifier's charts show precision, recall, calibration and attributions."""

from __future__ import annotations

import numpy as np

from longspan.report.elements import HighlightedText, LineChart
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


def test_attributions_mark_words_and_draw_a_curve_over_steps() -> None:
    words = report.attributions(["yes"], [[("good", 1.0), (7, -0.5)]], words=True)
    assert isinstance(words, HighlightedText) and words.texts == [("yes", [("good", 1.0), ("7", -0.5)])]
    steps = report.attributions(["up", "down"], [[(0, 0.1), (1, 1.0)], [(0, -1.0)]], words=False)
    assert isinstance(steps, LineChart) and [line.name for line in steps.lines] == [
        "record 0: up",
        "record 1: down",
    ]
    assert (list(steps.lines[0].x), list(steps.lines[0].y)) == ([0, 1], [0.1, 1.0])
