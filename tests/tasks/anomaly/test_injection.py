"""Injected anomalies lie where they are said to lie, and leave all other readings as they were."""

from __future__ import annotations

import numpy as np

from longspan.tasks.anomaly.injection import QUIET_START, changed_records, changed_series, injected_auc
from longspan.tasks.anomaly.reading import Series


def normal(rows: int, words: bool = False) -> Series:
    draw = np.random.default_rng(0)
    texts = draw.choice(["a", "b"], (rows, int(words))).astype(object)
    categories = ("word",) if words else ()
    return Series(None, None, ("x", "y"), draw.normal(size=(rows, 2)), categories, texts, None)


def test_segments_are_changed_after_a_quiet_start() -> None:
    series = normal(500)
    changed = changed_series([series], [0, 1])
    assert {one.name for one in changed} == {"spike", "shift", "noise", "freeze", "swap", "drift"}
    for one in changed:
        assert one.anomalous.any() and not one.anomalous[:QUIET_START].any()
        usual = one.series.numbers[~one.anomalous]
        assert all(row in series.numbers for row in usual)
        assert one.name != "spike" or one.anomalous.sum() == 1
    again = changed_series([series], [0, 1])
    assert all(
        np.array_equal(a.series.numbers, b.series.numbers) for a, b in zip(changed, again, strict=True)
    )
    assert changed_series([normal(30)], [0, 1]) == [], "too short to inject into"


def test_records_are_changed_each_by_itself() -> None:
    series = normal(200, words=True)
    changed = changed_records([series], [0, 1], [0])
    assert {one.name for one in changed} == {"extreme", "category", "mixed", "shuffled"}
    by_name = {one.name: one.series for one in changed}
    assert (by_name["extreme"].numbers.max(1) > series.numbers.max(1).mean()).all()
    assert (by_name["category"].words == "(never seen)").any()
    assert np.array_equal(by_name["category"].numbers, series.numbers)
    only_words = changed_records([normal(200, words=True)], [], [0])
    assert {one.name for one in only_words} == {"category"}


def test_area_under_the_curve() -> None:
    assert injected_auc(np.arange(4.0), np.arange(4.0) + 10) == 1.0
    assert injected_auc(np.arange(4.0), np.arange(4.0)) == 0.5
