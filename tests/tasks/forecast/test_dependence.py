"""How alike series and channels move."""

from __future__ import annotations

import numpy as np
import pytest

from longspan.tasks.forecast import Forecaster
from longspan.tasks.forecast.dependence import independent_share, shared_movement
from longspan.tasks.forecast.origins import independent_windows
from longspan.tasks.forecast.panel import Origins
from longspan.tasks.forecast.windows import every_origin


def origins(series: list[np.ndarray]) -> Origins:
    panel = Forecaster(horizon=2).panel(series)
    return Origins(panel, every_origin(panel, 1, 2))


def walks(same: float, count: int = 20) -> list[np.ndarray]:
    """Walks of different lengths whose steps are larger at the same times, by a share `same`."""
    random = np.random.default_rng(0)
    common = np.exp(same * random.standard_normal(300))
    return [np.cumsum(common * random.standard_normal(300))[: 200 + 5 * place] for place in range(count)]


def test_series_that_move_alike_count_as_fewer():
    alone, alike = (shared_movement(origins(walks(same)), 1) for same in (0.0, 1.0))
    assert alone is not None and alike is not None
    assert alone < 0.02 and alike > 0.2
    assert independent_share(20, alone) > 14 and independent_share(20, alike) < 5
    assert independent_share(20, 0.0) == 20 and independent_share(20, 1.0) == 1


def test_series_of_common_steps_count_as_fewer():
    random = np.random.default_rng(0)
    series = [np.cumsum(random.standard_normal(300)) for _ in range(20)]
    common = [values + np.cumsum(np.random.default_rng(1).standard_normal(300)) for values in series]
    found = shared_movement(origins(common), 1)
    assert found is not None and 0.45 < found < 0.6


def test_a_season_that_series_share_is_no_likeness_of_their_errors():
    season = 5 * np.sin(2 * np.pi * np.arange(300) / 12)
    series = origins([season[: len(walk)] + 0.1 * walk for walk in walks(0.0)])
    without, within = shared_movement(series, 1), shared_movement(series, 12)
    assert without is not None and within is not None and within < 0.1 < without


def test_one_column_or_few_rows_tell_nothing():
    assert shared_movement(origins([np.arange(50.0)]), 1) is None
    assert shared_movement(origins([np.arange(6.0) ** 2, np.arange(6.0)]), 1) is None
    both = origins([np.arange(12.0), np.arange(12.0)])
    steps = np.arange(1, 3)
    assert independent_windows(both, 2, 0.5) == pytest.approx((1 + 9 / steps) * 2 / 1.5)
