"""Covariates are encoded and scaled at prediction as in training."""

from __future__ import annotations

import numpy as np

from longspan.tasks.forecast.covariates import Covariates, standard, vocabularies

WORDS = np.array(["up", "", "down", "up"], dtype=object)
SOME = Covariates(np.array([[1.0], [np.nan], [3.0], [5.0]], np.float32), {"mode": WORDS})


def test_text_covariates_become_codes_of_a_vocabulary() -> None:
    known = vocabularies([SOME])
    assert known == {"mode": {"down": 1, "up": 2}}
    assert SOME.words(np.arange(4), known)[:, 0].tolist() == [2, 0, 1, 2]
    inside = np.array([[True, False], [True, True]])
    assert SOME.words(np.array([[0, 0], [2, 1]]), known, inside)[..., 0].tolist() == [[2, 0], [1, 0]]
    new = Covariates(SOME.numbers[:1], {"mode": np.array(["sideways"], dtype=object)})
    assert new.words(np.array([0]), known).tolist() == [[0]]


def test_missing_covariates_become_the_mean() -> None:
    found = standard(SOME.numbers, (np.array([3.0]), np.array([2.0])))
    assert found[:, 0].tolist() == [-1.0, 0.0, 0.0, 1.0]
    inside = np.array([False, True, True, True])
    assert standard(SOME.numbers, (np.array([3.0]), np.array([2.0])), inside)[0, 0] == 0.0
    assert standard(np.empty((3, 0)), (np.empty(0), np.empty(0))).shape == (3, 0)


def test_the_saved_state_encodes_the_same() -> None:
    part = SOME.take(np.array([3, 1]))
    assert part.labels["mode"].tolist() == ["up", ""] and part.numbers[0, 0] == 5.0
    again = Covariates.from_state(SOME.state())
    assert np.array_equal(again.numbers, SOME.numbers, equal_nan=True)
    assert again.labels["mode"].tolist() == WORDS.tolist()
