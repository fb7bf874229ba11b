"""The forecasting network begins at the linear forecast and shrinks towards it; its losses are right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Laplace, Normal

from longspan.data.batches import Batch
from longspan.tasks.forecast.network import (
    OUTPUTS,
    ForecastInputs,
    ForecastNetwork,
    likelihood,
    pinball,
    quantiles_of,
)
from longspan.tasks.forecast.simple_forecasts import HistoryShape, SimpleForecasts

LEVELS = torch.tensor([0.1, 0.5, 0.9])
SIZES: dict[str, Any] = {
    "context": 6, "horizon": 3, "values": 1, "past": 1, "ahead": 2, "static": 1,
    "past_words": [3], "ahead_words": [], "static_words": [2],
}  # fmt: skip


def network(output: str = "quantiles", **sizes: Any) -> ForecastNetwork:
    torch.manual_seed(0)
    how = {"hidden_size": 4, "cell": "LSTM", "num_layers": 1, "dropout": 0.0}
    return ForecastNetwork({**SIZES, **sizes}, levels=LEVELS.tolist(), distribution=output, read=4, **how)


def batch(rows: int = 5) -> Batch:
    draw = torch.Generator().manual_seed(1)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(rows, *shape, generator=draw)

    words = torch.ones(rows, 6, 1).long(), torch.zeros(rows, 9, 0).long(), torch.ones(rows, 1).long()
    nothing = torch.zeros(rows, 3), torch.ones(rows, 1)
    history = numbers(6).double(), torch.full((rows,), 6)
    x = ForecastInputs(numbers(6, 1), numbers(6, 1), numbers(9, 2), numbers(1), *words, *nothing, *history)
    return Batch(x, numbers(3))


def started(output: str = "quantiles") -> ForecastNetwork:
    net = network(output)
    line = np.random.default_rng(0).normal(size=(7, 3))
    net.init_from_linear(line, np.array([[-1.0, 0.0, 2.0]] * 3))
    return net


def test_the_first_output_is_the_linear_forecast() -> None:
    net, one = started(), batch()
    line = net.skip(one.x.values[..., 0])
    assert torch.allclose(net(one)[0], line.unsqueeze(-1) + torch.tensor([-1.0, 0.0, 2.0]))
    found = started("normal")(one)[0]
    assert torch.allclose(found[..., 0], line) and torch.allclose(found[..., 1], torch.zeros(5, 3))


def changed() -> ForecastNetwork:
    net = started()
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)))
    return net


def test_shrinkage_moves_the_output_towards_the_linear_forecast() -> None:
    net, one = changed(), batch()
    with torch.no_grad():
        first, now = net.initial_and_now(one)
        assert torch.equal(net(one)[0], now) and not torch.allclose(first, now)
        net.set_shrinkage(0.25)
        assert torch.allclose(net(one)[0], torch.lerp(first, now, 0.25), atol=1e-5)


@pytest.mark.parametrize("share", [1.0, 0.75, 0.5, 0.25])
def test_shrinkage_is_chosen_on_held_out_batches(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    net, one = changed(), batch()
    with torch.no_grad():
        first, now = net.initial_and_now(one)
    wanted = torch.lerp(first, now, share)
    monkeypatch.setattr(net, "loss", lambda output, _: (output - wanted).abs().mean())
    net.shrink_to_init([one])
    assert torch.allclose(net(one)[0], wanted, atol=1e-5)


@pytest.mark.parametrize("kind", OUTPUTS)
def test_simple_forecasts_move_the_quantiles_by_their_shares(kind: str) -> None:
    net, one = started(kind), batch()
    before, scale, changes = net.predict(one)
    net.set_simple(SimpleForecasts({"last": 0.25}, HistoryShape(6, 0, 3)))
    after, *others = net.predict(one)
    last = one.x.history[:, -1:].expand(-1, 3)
    assert torch.allclose(after[..., 1], torch.lerp(before[..., 1], last, 0.25))
    assert torch.allclose(after - after[..., 1:2], before - before[..., 1:2])
    assert torch.equal(others[0], scale) and torch.equal(others[1], changes)
    net.set_simple(None)
    assert torch.equal(net.predict(one)[0], before)


def test_the_context_is_no_longer_than_the_input() -> None:
    net = network(context=3)
    assert net.read == 3 and network().read == 4
    layers = network().gates(batch())
    assert len(layers) == 1 and layers[0]["i"].shape == (5, 4, 4)


def test_the_quantile_loss_equals_one_by_hand() -> None:
    output = torch.tensor([[[0.0, 1.0, 4.0], [9.0, 9.0, 9.0]]])
    y = torch.tensor([[2.0, torch.nan]])
    assert pinball(output, y, LEVELS).item() == pytest.approx(2 * (0.1 * 2 + 0.5 * 1 + 0.1 * 2) / 3)
    absolute = pinball(output[..., 1:2], y, LEVELS[1:2])
    assert absolute.item() == 1.0, "at the median the absolute error"


@pytest.mark.parametrize("kind", OUTPUTS[1:])
def test_likelihoods_and_quantiles_equal_torch_distributions(kind: str) -> None:
    output, y = torch.randn(4, 3, 2, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    place, scale = output[..., 0], output[..., 1].exp()
    levels = LEVELS.double()
    found = quantiles_of(output, levels, kind)
    if kind == "logistic":
        z = (y - place) / scale
        wanted = (z + scale.log() + 2 * torch.log1p((-z).exp())).mean()
        assert torch.allclose(
            torch.sigmoid((found - place[..., None]) / scale[..., None]), levels.expand(4, 3, 3)
        )
    else:
        law = {"normal": Normal, "laplace": Laplace}[kind]
        wanted = -law(place, scale).log_prob(y).mean()
        assert torch.allclose(law(place[..., None], scale[..., None]).cdf(found), levels.expand(4, 3, 3))
    assert torch.allclose(likelihood(output, y, kind), wanted)
    assert torch.equal(network(kind).loss(output, Batch(None, y)), likelihood(output, y, kind))


def test_quantiles_are_sorted() -> None:
    output = torch.tensor([[[3.0, 1.0, 2.0]]])
    assert quantiles_of(output, LEVELS, "quantiles").tolist() == [[[1.0, 2.0, 3.0]]]
    y = torch.zeros(1, 1)
    assert network().loss(output, Batch(None, y)) == pinball(output, y, LEVELS)
