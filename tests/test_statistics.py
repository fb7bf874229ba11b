"""Student's t beside SciPy's: the table to its three decimals, the expansion closer with more freedom."""

from __future__ import annotations

import pytest
from scipy import stats

from longspan.statistics import t_95, t_over_normal


@pytest.mark.parametrize("df", [1, 2, 12, 30])
def test_the_table_is_rounded_to_three_decimals(df: int) -> None:
    assert t_95(df) == pytest.approx(stats.t.ppf(0.975, df), abs=5.1e-4)


def test_beyond_the_table_the_normal_stands_in() -> None:
    assert t_95(31) == 1.96


@pytest.mark.parametrize("level", [0.05, 0.1, 0.9, 0.975])
@pytest.mark.parametrize(("df", "error"), [(3, 0.02), (10, 5e-4), (100, 1e-6)])
def test_the_expansion_nears_the_quantile(level: float, df: float, error: float) -> None:
    assert t_over_normal(level, df) == pytest.approx(
        stats.t.ppf(level, df) / stats.norm.ppf(level), rel=error
    )


def test_the_median_is_left_alone_and_freedom_is_at_least_one() -> None:
    assert t_over_normal(0.5, 1) == 1.0
    assert t_over_normal(0.9, 0.2) == t_over_normal(0.9, 1)
