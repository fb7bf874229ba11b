"""Series are scaled by the statistics of training, and their length is a feature where it differs."""

from __future__ import annotations

import numpy as np
import pytest

from longspan import errors
from longspan.tasks.classify.series_encoder import MixedInput, SeriesEncoder, are_standardised


def test_the_length_is_a_channel_where_it_differs():
    series = [np.ones((length, 1), np.float32) * length for length in (5, 10, 20)]
    found = SeriesEncoder().fit(series, with_length=True)
    assert found.width == 2 and found.rows(series)[1].shape == (10, 2)
    means = [float(row[0, 1]) for row in found.rows(series)]
    assert np.mean(means) == pytest.approx(0.0, abs=1e-6) and means == sorted(means)
    assert SeriesEncoder().fit(series, with_length=False).width == 1
    same = [np.zeros((5, 1)) + n for n in range(4)]
    assert SeriesEncoder().fit(same, with_length=True).width == 1, "nothing to see where all are as long"


def test_missing_readings_become_the_mean_with_a_note():
    series = [np.array([[1.0], [np.nan], [3.0]])]
    with pytest.warns(errors.LongspanWarning, match="1 missing readings"):
        found = SeriesEncoder(max_length=2).fit(series, with_length=False)
    assert found.rows(series)[0].tolist() == [[-1.0], [0.0]] and found.steps(series[0]) == [0, 1]
    again = SeriesEncoder().restore(found.state())
    assert again.max_length == 2 and again.rows(series)[0].equal(found.rows(series)[0])


def test_every_series_has_a_scale_of_its_own_where_that_is_asked() -> None:
    series = [np.array([[1.0], [3.0]]), np.array([[100.0], [500.0]])]
    encoder = SeriesEncoder(normalization="series").fit(series, with_length=True)
    assert [row.flatten().tolist() for row in encoder.rows(series)] == [[-1.0, 1.0], [-1.0, 1.0]]
    assert are_standardised([row.numpy() for row in encoder.rows(series)]) and not are_standardised(series)
    assert encoder.rows([np.full((2, 1), 7.0)])[0].tolist() == [[0.0], [0.0]]
    assert SeriesEncoder().restore(encoder.state()).rows(series)[1].equal(encoder.rows(series)[1])


def test_static_values_stand_at_every_step() -> None:
    records = [MixedInput(np.ones((2, 1)), (1.0, "a")), MixedInput(np.zeros((3, 1)), (2.0, "a"))]
    encoder = SeriesEncoder().fit(records, with_length=True, static=("size", "kind"))
    rows = encoder.rows(records)
    assert encoder.width == 1 + 1 + 2 + 2 and [len(row) for row in rows] == [2, 3]
    assert (rows[1][:, 1:] == rows[1][0, 1:]).all() and not rows[0][0, 2:].equal(rows[1][0, 2:])
    with pytest.raises(
        ValueError, match="records with the static values of training, received a series alone"
    ):
        encoder.rows([np.ones((2, 1))])


def test_series_of_another_width_are_refused():
    found = SeriesEncoder().fit([np.zeros((4, 2)), np.ones((3, 2))], with_length=False)
    with pytest.raises(ValueError, match="2 channels in every series, received 3 in row 0"):
        found.rows([np.zeros((4, 3))])
    with pytest.raises(ValueError, match="series as in training, received a text in row 0"):
        found.rows(["text"])
