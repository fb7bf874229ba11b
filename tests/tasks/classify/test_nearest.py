"""Distances of dynamic time warping are those of its equation; scores follow the nearest series."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from longspan.tasks.classify.nearest import NearestSeries, warping_distances


def by_the_equation(x: Tensor, other: Tensor, window: int) -> float:
    steps = len(x)
    least = np.full((steps + 1, steps + 1), np.inf)
    least[0, 0] = 0.0
    for i in range(steps):
        for j in range(max(0, i - window), min(steps, i + window + 1)):
            cost = float((x[i] - other[j]).square().sum())
            least[i + 1, j + 1] = cost + min(least[i, j], least[i, j + 1], least[i + 1, j])
    return float(least[steps, steps])


@pytest.mark.parametrize("window", [0, 1, 4, 20])
def test_a_distance_is_the_least_cost_within_the_window(window: int) -> None:
    torch.manual_seed(0)
    x, others = torch.randn(3, 12, 2), torch.randn(2, 12, 2)
    expected = [[by_the_equation(each, other, window) for other in others] for each in x]
    torch.testing.assert_close(
        warping_distances(x, others, window), torch.tensor(expected), rtol=1e-5, atol=1e-5
    )


def fitted(targets: Tensor) -> tuple[NearestSeries, list[Tensor]]:
    torch.manual_seed(0)
    series = [torch.randn(length, 1) + row % 2 for row, length in enumerate((9, 12, 12, 7, 12, 10))]
    return NearestSeries().fit(series, targets, lambda scores: -float((scores * targets).sum())), series


def test_a_training_series_is_its_own_neighbour_unless_left_out() -> None:
    y = torch.nn.functional.one_hot(torch.tensor([0, 1, 0, 1, 0, 1]), 2).float()
    nearest, series = fitted(y)
    assert nearest.scores(series).argmax(1).equal(y.argmax(1))
    again = NearestSeries.from_state(nearest.state())
    assert again.scores(series).equal(nearest.scores(series))
    others = NearestSeries().fit(series[1:], y[1:], lambda scores: 0.0)
    others.window, others.least = nearest.window, nearest.least
    torch.testing.assert_close(others.scores(series[:1])[0], nearest.left_out[0], rtol=1e-4, atol=1e-4)


def test_equal_series_labels_of_several_classes_and_a_class_of_one_series_have_finite_scores() -> None:
    several = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]] * 2)
    several[0, 2] = 1.0
    nearest, _ = fitted(several)
    assert nearest.left_out.isfinite().all() and float(nearest.left_out[0, 2]) == 0.0
    alike = NearestSeries().fit([torch.ones(4, 1)] * 6, several, lambda scores: 0.0)
    assert alike.left_out.isfinite().all() and alike.scores([torch.zeros(1, 1)]).isfinite().all()


def test_equal_series_are_at_no_distance() -> None:
    torch.manual_seed(0)
    x = torch.randn(40, 128, 1)
    x[1] = x[0]
    for window in (0, 2):
        assert float(warping_distances(x, x, window).diagonal().max()) == 0.0
    y = torch.nn.functional.one_hot(torch.arange(40) % 2, 2).float()
    nearest = NearestSeries().fit(list(x), y, lambda scores: 0.0)
    assert nearest.least > 1.0 and nearest.left_out.abs().max() < 10.0
