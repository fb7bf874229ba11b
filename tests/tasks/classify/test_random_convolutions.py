"""Features of random convolutions count what they say, and neither padding nor other rows change them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from longspan.tasks.classify.random_convolutions import RandomConvolutions


def drawn(channels: int = 2) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(length, channels) for length in (40, 23, 5, 31)]


@pytest.fixture(scope="module", params=[1, 2, 12])
def fitted(request: pytest.FixtureRequest) -> tuple[list[Tensor], RandomConvolutions]:
    series = drawn(request.param)
    return series, RandomConvolutions(thresholds=6, groups=2).fit(series)


def test_a_series_alone_has_the_features_it_has_among_longer_ones(
    fitted: tuple[list[Tensor], RandomConvolutions],
) -> None:
    series, convolutions = fitted
    together = convolutions(series)
    assert together.shape == (4, sum(convolutions.sizes)) and together.isfinite().all()
    alone = torch.cat([convolutions([each]) for each in series])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_proportions_excesses_and_counts_are_those_of_the_equations() -> None:
    series = drawn(1)[:1]
    convolutions = RandomConvolutions(thresholds=4, groups=1).fit(series)
    features, values = convolutions(series)[0], series[0][:, 0]
    part = convolutions.dilations[1]
    margin = 4 * part.dilation
    padded = torch.nn.functional.pad(values, (margin, margin))
    taps = torch.stack([padded[t : t + 2 * margin + 1 : part.dilation] for t in range(len(values))])
    out = taps @ part.kernels[:, 0].T  # (T, 84)
    start = 2 * sum(each.thresholds.numel() for each in convolutions.dilations[:1])
    for kernel in (0, 1):  # the second dilation: kernel 1 counts padded steps, kernel 0 inner ones
        counted = out[:, kernel] if kernel else out[margin:-margin, kernel]
        expected = [float((counted > threshold).float().mean()) for threshold in part.thresholds[kernel]]
        begin = start + kernel * part.thresholds.shape[1]
        assert features[begin : begin + len(expected)].tolist() == pytest.approx(expected)
        excess = [(counted - each)[counted > each] for each in part.thresholds[kernel]]
        means = [float(values.mean()) if len(values) else 0.0 for values in excess]
        begin += part.thresholds.numel()
        assert features[begin : begin + len(means)].tolist() == pytest.approx(means, rel=1e-4)
    counts = features[convolutions.sizes[0] :][8:16].square()
    assert float(counts.sum()) == pytest.approx(len(values)), "one of the kernels of a group loses at a step"


def test_what_steps_add_is_the_weighted_sum_of_the_features() -> None:
    series = drawn()
    convolutions = RandomConvolutions(6, 2).fit(series)
    weights = torch.randn(4, sum(convolutions.sizes))
    steps = convolutions.attribution(series, weights)
    expected = (weights * convolutions(series)).sum(1)
    torch.testing.assert_close(steps.sum(1), expected, rtol=1e-3, atol=1e-3)
    assert steps.shape == (4, 40) and not steps[2, 5:].any() and steps[2, :5].any()


def test_a_threshold_is_a_quantile_of_training_series() -> None:
    series = drawn(1)[:1]
    convolutions = RandomConvolutions(thresholds=40, groups=1).fit(series)
    shares = convolutions(series)[0, : convolutions.dilations[0].thresholds.numel()]
    assert 0.3 < float(shares.mean()) < 0.7 and float(shares.std()) > 0.2


def test_many_records_have_fewer_features() -> None:
    few, many = RandomConvolutions.for_records(100), RandomConvolutions.for_records(40_000)
    assert few.thresholds == 60 and many.thresholds == 10 and many.groups == 6


def test_saved_convolutions_give_the_same_features() -> None:
    series = drawn()
    convolutions = RandomConvolutions(6, 2).fit(series)
    again = RandomConvolutions.from_state(convolutions.state())
    assert again(series).equal(convolutions(series)) and again.sizes == convolutions.sizes
