"""Intervals are wider after larger changes, as far as these have told errors before."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from longspan.tasks.forecast.window_spread import WindowSpread, mean_change


def test_the_exponent_is_that_of_the_errors() -> None:
    draw = np.random.default_rng(0)
    changes = np.exp(draw.normal(0, 0.7, 2000))
    for power in (0.0, 0.5, 1.0):
        errors = changes**power * np.exp(0.3 * draw.standard_normal(2000))
        found = WindowSpread.fit(changes, errors, changes, independent=200.0)
        assert found.exponent == pytest.approx(power, abs=0.08)
    few = WindowSpread.fit(changes, changes, changes, independent=3.0)
    assert few.exponent == pytest.approx(0.5, abs=0.05)
    assert WindowSpread.from_state(found.state()) == found and WindowSpread.from_state(None).exponent == 0.0


def test_quantiles_move_away_from_the_median_by_the_factors() -> None:
    spread = WindowSpread(1.0, usual=1.0)
    values = np.array([[[-1.0, 0.0, 2.0]]] * 3)
    found, factors = spread.widened(values, np.array([1.0, 100.0, 0.0]), median=1)
    assert factors.tolist() == [1.0, 4.0, 0.8]
    np.testing.assert_allclose(found[:, 0, 2], 2 * factors)


@pytest.mark.parametrize("errors", [np.full(9, np.nan), np.zeros(9)])
def test_windows_without_errors_change_nothing(errors: np.ndarray) -> None:
    found = WindowSpread.fit(np.ones(9), errors, np.ones(9), 5.0)
    assert found.factors(np.array([0.1, 5.0])).tolist() == [1.0, 1.0]
    constant = WindowSpread.fit(np.zeros(9), np.ones(9), np.zeros(9), 5.0)
    assert constant.factors(np.array([0.0, 5.0])).tolist() == [1.0, 1.0]


def test_changes_to_and_from_missing_values_do_not_count() -> None:
    values = torch.tensor([[0.0, 1.0, 1.0, 4.0]], dtype=torch.float64)
    assert mean_change(values).tolist() == [pytest.approx(4 / 3)]
    assert mean_change(values, torch.tensor([[True, True, False, True]])).tolist() == [1.0]
    assert mean_change(values[:, :1]).isnan().all()
