"""Scores of probabilities are what their definitions say."""

from __future__ import annotations

import numpy as np
import pytest

from longspan.metrics import classification


def test_scores():
    answers = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3]])
    truths = np.array([0, 0, 1, 0])
    assert classification.accuracy(answers, truths) == 0.75 and classification.auc(answers, truths) == 1.0
    assert classification.log_loss(answers, truths) == pytest.approx(-np.log([0.9, 0.4, 0.8, 0.7]).mean())
    assert np.isnan(classification.auc(answers, np.zeros(4, int)))
    assert classification.calibration_error(np.array([[1.0, 0.0]] * 4), np.array([0, 0, 1, 1])) == 0.5
    assert classification.accuracy(answers, np.array([[1, 0], [1, 0], [0, 1], [1, 0]])) == 0.75


def test_bins_hold_every_answer():
    answers = np.array([[0.95, 0.05], [0.9, 0.1], [0.4, 0.6]])
    (sure, right, count), (_, _, other) = reversed(
        classification.calibration_curve(answers, np.array([0, 1, 1]))
    )
    assert (sure, right, count, other) == (pytest.approx(0.925), 0.5, 2, 1)


def test_a_class_never_right_has_no_f1():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    answers = [np.array([[0.9, 0.1]]), np.array([[0.8, 0.2], [0.7, 0.3]])]
    assert classification.f1(answers, [np.array([0]), np.array([0, 1])]) == pytest.approx(0.8 / 2)
