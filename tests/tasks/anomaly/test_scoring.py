"""Scores divide errors by their usual size and leave known anomalies out; the false-positive budget holds."""

from __future__ import annotations

import numpy as np
import pytest

from longspan.tasks.anomaly.extremes import START
from longspan.tasks.anomaly.scoring import MIN_THRESHOLD, AnomalyScorer, PredictedSeries


def judge(dynamic: bool = False, values: tuple[int, ...] = ()) -> AnomalyScorer:
    found = AnomalyScorer(1000, dynamic)
    found.reset([1.0], values)
    return found


def seen(rows: int, bad: slice | None = None, seed: int = 0) -> PredictedSeries:
    """A number around 0 that 0 is expected of, and stretches of 9."""
    numbers, known = np.random.default_rng(seed).normal(size=(rows, 1)), np.zeros(rows, dtype=bool)
    if bad is not None:
        numbers[bad], known[bad] = 9.0, True
    expected = np.zeros((rows, 1))
    expected[0] = np.nan
    return PredictedSeries(numbers, numbers.astype(np.float32), expected, known)


def test_errors_are_scaled_by_the_predicted_spread() -> None:
    found = judge()
    found.fit_widths(np.array([[0.4], [np.nan], [0.4], [0.8]]))
    assert found.typical_width == [0.4]
    errors = [found.errors([0.5], [0.2, width])[0] for width in (0.4, 0.8, 0.1, 0.0)]
    assert np.allclose(np.array(errors, dtype=float), [0.3, 0.15, 1.2, 3.0])


def test_errors_of_categories_are_negative_log_likelihoods() -> None:
    found = judge(values=(2, 3))
    chances = np.log([0.75, 0.25, 0.1, 0.2, 0.7])
    errors = found.errors([np.nan, 1, 2], [0.0, *chances])
    assert errors[0] is None
    assert errors[1:] == [pytest.approx(-np.log(0.25)), pytest.approx(-np.log(0.7))]
    assert found.errors([0.0, 1, 2], None) == [None, None, None]


def test_known_anomalies_do_not_widen_the_usual_range() -> None:
    ordinary, found = judge(), judge()
    for one, known in ((ordinary, False), (found, True)):
        series = seen(600, slice(300, 310))
        one.fit(
            [series if known else series._replace(known_anomalies=np.zeros_like(series.known_anomalies))],
            share=0.2,
            false_positive_rate=0.0,
            min_gap=50,
        )
    new = seen(400, slice(200, 210), seed=1)
    assert found.score_series(new)[1][200] and not ordinary.score_series(new)[1][200]
    assert not found.score_series(new)[1][:200].any()


def test_an_unlabelled_anomaly_in_training_does_not_widen_the_usual_range() -> None:
    scorer = judge()
    series = seen(1_500, slice(900, 905))._replace(known_anomalies=np.zeros(1_500, dtype=bool))
    with pytest.warns(UserWarning, match="training readings lie far beyond all others"):
        scorer.fit([series], share=0.2, false_positive_rate=0.01, min_gap=10)
    assert scorer.trackers[0].high.items[0][1] < 9.0
    assert (scorer.score_series(series)[0][900:902] >= scorer.threshold).all()


def test_a_way_in_which_the_series_behaves_often_is_learnt() -> None:
    scorer = judge()
    numbers = np.random.default_rng(0).normal(size=(1_500, 1))
    numbers[600:] *= 9.0  # louder from here on
    series = seen(1_500)._replace(numbers=numbers, targets=numbers.astype(np.float32))
    scorer.fit([series], share=0.2, false_positive_rate=0.01, min_gap=10)
    assert scorer.trackers[0].high.items[0][1] > 9.0


@pytest.mark.parametrize("budget", [0.0, 0.02])
def test_false_alarms_stay_within_the_budget(budget: float) -> None:
    found = judge()
    found.fit([seen(2000)], share=0.5, false_positive_rate=budget, min_gap=50)
    scores = found.run(found.new_state(), seen(2000))[0][1000:]
    assert found.threshold >= MIN_THRESHOLD and (scores >= found.threshold).sum() <= budget * 1000


def test_scores_one_by_one_equal_the_series_and_continue_from_a_saved_state() -> None:
    found = judge()
    found.fit([seen(500)], share=0.2, false_positive_rate=0.0, min_gap=50)
    again = judge()
    again.restore(found.state())
    new = seen(300, slice(250, 255), seed=2)
    scores, over, causes = again.score_series(new)
    watches, one_by_one = found.initial_state(), []
    for number, expected in zip(new.numbers.tolist(), new.expected.tolist(), strict=True):
        errors = found.errors(
            np.array(number, dtype=np.float32).tolist(), None if np.isnan(expected[0]) else expected
        )
        one_by_one.append(found.score(watches, number, errors)[0])
    assert scores.tolist() == one_by_one and not causes.any()
    assert over.tolist() == [score >= found.threshold for score in one_by_one] and over[250]


def test_a_state_continues_its_series_or_begins_another() -> None:
    found = judge()
    found.fit([seen(START + 20)], share=0.2, false_positive_rate=0.0, min_gap=50)
    (on,), (new,) = found.initial_state(continues=True), found.initial_state()
    assert on.fresh == START + 19 and new.fresh == 0 and on.count == new.count == START + 20


def test_the_dynamic_threshold_is_applied_to_errors() -> None:
    found = judge(dynamic=True)
    found.fit([seen(2400)], share=0.2, false_positive_rate=0.001, min_gap=2)
    assert len(found.new_thresholds()) == 1 and judge().new_thresholds() == []
    new = seen(3000, slice(2600, 2640), seed=3)
    _, over, _ = found.score_series(new)
    assert over[2600:2700].any() and not over[:2400].any()


def test_a_level_never_seen_is_an_error_as_long_as_it_lasts() -> None:
    scorer = AnomalyScorer(1000, bounded=True)
    scorer.reset([1.0], [])
    scorer.fit([seen(600, slice(300, 310))], share=0.2, false_positive_rate=0.001, min_gap=50)
    (low, high), *_ = scorer.bounds
    assert -6.0 < low < -2.0 and 2.0 < high < 6.0, "known anomalies do not widen the training range"
    assert scorer.errors([high], [high]) == [0.0]
    assert scorer.errors([high + 2.0], [high + 2.0]) == [pytest.approx(2.0)]
    assert scorer.errors([low - 2.0], [low - 2.0]) == [pytest.approx(-2.0)]
    again = AnomalyScorer(1000, bounded=True)
    again.reset([1.0], [])
    again.restore(scorer.state())
    assert again.bounds == scorer.bounds
