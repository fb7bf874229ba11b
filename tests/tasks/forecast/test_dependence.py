"""How much errors at neighbouring origins, and of series and channels, tell the same."""

from __future__ import annotations

import numpy as np
import pytest

from longspan.tasks.forecast import Forecaster
from longspan.tasks.forecast.dependence import Dependence, independent_share
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


def correlation(series: list[np.ndarray], season: int = 1) -> np.ndarray:
    found = Dependence.measure(origins(series), 2, season).correlation
    assert found is not None and found.shape == (2,)
    return found


def test_series_that_move_alike_count_as_fewer():
    alone, alike = (correlation(walks(same)) for same in (0.0, 1.0))
    assert (alone < 0.03).all() and (alike > 0.15).all()
    assert (independent_share(20, alone) > 12).all() and (independent_share(20, alike) < 6).all()
    assert independent_share(20, np.array([0.0, 1.0])).tolist() == [20, 1]


def test_series_of_common_steps_count_as_fewer():
    random = np.random.default_rng(0)
    series = [np.cumsum(random.standard_normal(300)) for _ in range(20)]
    common = [values + np.cumsum(np.random.default_rng(1).standard_normal(300)) for values in series]
    found = correlation(common)
    assert (found > 0.4).all() and (found < 0.65).all()


def test_a_season_that_series_share_is_no_likeness_of_their_errors():
    season = 5 * np.sin(2 * np.pi * np.arange(300) / 12)
    series = [season[: len(walk)] + 0.1 * walk for walk in walks(0.0)]
    assert (correlation(series, 12) < 0.15).all() and (correlation(series, 1) > 0.5).all()


def test_what_series_share_far_ahead_counts_there():
    random = np.random.default_rng(0)
    level = np.cumsum(random.standard_normal(600))
    series = [level + 2 * random.standard_normal(600) for _ in range(8)]
    found = Dependence.measure(origins(series), 24, 1).correlation
    assert found is not None and found[0] < 0.2 and found[-1] > 0.6
    assert (np.diff(found) > -0.05).all()


def test_series_that_end_at_different_times_are_compared_row_by_row():
    level = np.cumsum(np.random.default_rng(0).standard_normal(300))
    assert (correlation([level, level[:-40], level[:-90]]) > 0.95).all()


def test_one_column_or_few_rows_tell_nothing():
    assert Dependence.measure(origins([np.arange(50.0)]), 2, 1).correlation is None
    few = Dependence.measure(origins([np.arange(6.0) ** 2, np.arange(6.0)]), 2, 1)
    assert few.correlation is None and (few.memory >= 1).all()
    both = origins([np.arange(12.0), np.arange(12.0)])
    memory, correlation = np.array([1.0, 1.5]), np.array([0.5, 0.25])
    found = independent_windows(both, 2, Dependence(memory, correlation))
    assert found == pytest.approx((1 + 9 / memory) * 2 / (1 + correlation))


def test_errors_of_noise_are_forgotten_at_once_and_those_of_a_walk_within_a_horizon():
    random = np.random.default_rng(0)
    noise = random.standard_normal(2000)
    memories = [
        Dependence.measure(origins([values]), 24, season).memory
        for values, season in ((noise, 1), (np.cumsum(noise), 1), (10 * np.sin(np.arange(2000)) + noise, 44))
    ]
    without, walk, season = memories
    assert all(memory[0] == 1 and (memory <= np.arange(1, 25)).all() for memory in memories)
    assert without[-1] < 4 and season[-1] < 4
    assert 10 < walk[-1] < 20  # overlapping sums of 24 steps: 2 / 3 of 24


def test_memory_is_measured_in_rows_with_gaps_and_of_long_horizons():
    values = np.random.default_rng(0).standard_normal(900)
    values[100:130] = np.nan
    memory = Dependence.measure(origins([values]), 200, 7).memory
    assert memory.shape == (200,) and np.isfinite(memory).all() and memory[-1] < 30
    longer = Dependence.measure(origins([np.arange(10.0)]), 30, 1).memory
    assert longer.shape == (30,) and (longer >= 1).all()
