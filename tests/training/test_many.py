"""Tests `train_many`: every network gets the numbers that `train` gives it alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from longspan import nn as fast
from longspan import optimizers
from longspan.data import Batch, Batches
from longspan.training import EarlyStopping, train, train_many

K, N, T, I = 4, 24, 6, 3


class Net(nn.Module):
    """Sequences -> a number a row; `odd` reads a value, which torch.vmap cannot."""

    def __init__(self, hidden: int = 5, dropout: float = 0.0, odd: bool = False) -> None:
        super().__init__()
        self.rnn, self.drop = fast.GRU(I, hidden, batch_first=True), nn.Dropout(dropout)
        self.head, self.odd = nn.Linear(hidden, 1), odd
        self.register_buffer("shift", torch.randn(1))

    def forward(self, batch: Batch, state: Any) -> tuple[Tensor, Any]:
        out, _ = self.rnn(batch.x, lengths=batch.lengths)
        if self.odd and out.sum().item() > 1e9:
            return out, None
        return self.head(self.drop(out[:, -1])) + self.shift, None


def nets(**options: Any) -> list[nn.Module]:
    torch.manual_seed(1)
    return [Net(**options) for _ in range(K)]


def source(seed: int, rows: int = N, **options: Any) -> Batches:
    torch.manual_seed(100 + seed)
    x = torch.randn(rows, T, I)
    return Batches(x, x.sum((1, 2))[:, None] / 9, batch_size=7, shuffle=True, seed=seed, **options)


def alone(
    net: nn.Module,
    batches: Any,
    validate: Any,
    rate: Any,
    decay: float,
    patience: int | None,
    clip: float | None,
) -> Any:
    """`train` with the same arguments."""
    callbacks = [EarlyStopping("val_loss", patience=patience, restore_best_weights=True)] if patience else []
    config = optimizers.Adam(1e-3 if callable(rate) else rate, weight_decay=decay)
    optimizer = config.build(net.parameters())
    schedule: Any = rate if callable(rate) else None
    return train(
        net, batches, "mse", optimizer, epochs=8, validate=validate, callbacks=callbacks, clip_norm=clip,
        schedule=schedule, verbose=0,
    )  # fmt: skip


def compare(
    networks: Sequence[nn.Module],
    own: Sequence[Any],
    held_out: Sequence[Any] | None = None,
    *,
    rates: Any = 0.02,
    decays: Any = 0.0,
    patience: int | None = None,
    clip: float | None = None,
) -> Any:
    """Train the networks at once and copies of them alone; the runs, after all is seen to be the same."""
    copies, sources = [copy.deepcopy(n) for n in networks], [copy.deepcopy(s) for s in own]
    if all(s is own[0] for s in own):
        own_again: list[Any] = [copy.deepcopy(own[0]) for _ in own]
    else:
        own_again = sources
    runs = train_many(
        networks,
        own,
        "mse",
        epochs=8,
        learning_rates=rates,
        weight_decay=decays,
        validate=held_out,
        patience=patience,
        clip_norm=clip,
    )
    for k, (net, other) in enumerate(zip(networks, copies, strict=True)):
        rate = rates[k] if isinstance(rates, list) else rates
        decay = decays[k] if isinstance(decays, list) else decays
        valid = None if held_out is None else held_out[k]
        history = alone(other, own_again[k], valid, rate, decay, patience, clip)
        found = runs.histories[k]
        assert found.epoch == history.epoch
        assert (found.stopped is None) == (history.stopped is None)
        for name, values in history.history.items():
            assert found.history[name] == pytest.approx(values, rel=2e-4)
        for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True):
            torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-4)
    return runs


class TestTheNumbersOfTrainingAlone:
    def test_own_batches_rates_and_clipping(self) -> None:
        runs = compare(nets(), [source(k) for k in range(K)], rates=[0.001, 0.01, 0.02, 0.05], clip=0.5)
        assert runs.how == "the 4 networks were trained at once."

    def test_own_weight_decay(self) -> None:
        networks = nets()
        compare(networks, [source(0)] * K, rates=0.05, decays=[0.0, 0.1, 1.0, 5.0])
        sizes = [net.get_parameter("rnn.weight_hh_l0").norm().item() for net in networks]
        assert sizes[3] < 0.5 * sizes[0]

    def test_shared_batches_with_lengths_and_a_schedule(self) -> None:
        batches = source(0, lengths=torch.arange(N) % T + 1)
        runs = compare(nets(), [batches] * K, rates=lambda step: 0.02 / (1 + step))
        assert runs.how == "the 4 networks were trained at once."

    def test_each_stops_by_itself_and_keeps_its_best_weights(self) -> None:
        valid = [source(9)] * K
        runs = compare(
            nets(), [source(k) for k in range(K)], valid, rates=[0.3, 0.01, 0.5, 0.002], patience=1
        )
        lengths = [len(history.epoch) for history in runs.histories]
        assert len(set(lengths)) > 1 and max(lengths) == 8
        assert any("did not improve" in str(history.stopped) for history in runs.histories)

    def test_steps_with_other_shapes_are_taken_one_by_one(self) -> None:
        runs = compare(nets(), [source(k, N - k) for k in range(3)] + [source(3)])
        assert runs.how.startswith(
            "the 4 networks were trained at once but for 8 steps, whose batches differ"
        )

    def test_networks_that_cannot_be_mapped(self) -> None:
        runs = compare(nets(odd=True), [source(k) for k in range(K)])
        assert runs.how.startswith(
            "every step took the networks one after another, since torch.vmap says: vmap:"
        )


def test_an_error_of_the_networks_is_raised() -> None:
    wide = Batch(torch.randn(2, T, I + 1), torch.randn(2, 1))
    with pytest.raises(ValueError, match="input: expected a tensor of shape"):
        train_many(nets(), [[wide]] * K, "mse", epochs=1)


def test_unlike_networks_are_trained_one_after_another() -> None:
    assert "network 1 has other layers" in compare([Net(), Net(6)], [source(0), source(1)]).how
    runs = train_many([Net(), Net(dropout=0.5)], [source(0), source(1)], "mse", epochs=1)
    assert runs.how.startswith(
        "the networks were trained one after another, since network 1 has other layers"
    )
    frozen = Net()
    frozen.head.bias.requires_grad_(False)
    assert "other shapes" in compare([Net(), frozen], [source(0), source(1)]).how
    assert "different numbers of batches" in compare([Net(), Net()], [source(0), source(1, 50)]).how
    assert "they are fewer than 4" in compare(nets()[:3], [source(k) for k in range(3)]).how


def test_dropout_differs_from_network_to_network() -> None:
    first = Net(dropout=0.5)
    networks = [copy.deepcopy(first) for _ in range(K)]
    assert "at once" in train_many(networks, [source(0)] * K, "mse", epochs=1).how
    assert not torch.equal(networks[0].head.weight, networks[1].head.weight)


def test_a_loss_that_is_not_finite_stops_its_network_alone() -> None:
    networks = nets()
    with torch.no_grad():
        networks[1].get_parameter("head.weight").fill_(float("inf"))
    before = copy.deepcopy(networks[1].state_dict())
    runs = train_many(networks, [source(k) for k in range(K)], "mse", epochs=3)
    assert [len(history.epoch) for history in runs.histories] == [3, 1, 3, 3]
    assert "the loss was" in str(runs.histories[1].stopped)
    for a, b in zip(networks[1].state_dict().values(), before.values(), strict=True):
        assert torch.equal(a, b)
    assert all(p.isfinite().all() for n in (networks[0], networks[2]) for p in n.parameters())


def test_errors() -> None:
    with pytest.raises(ValueError, match="batches: expected one for each of 4 networks, received 1"):
        train_many(nets(), [source(0)], "mse", epochs=1)
    with pytest.raises(ValueError, match="networks: expected at least one network"):
        train_many([], [], "mse", epochs=1)
    with pytest.raises(ValueError, match="clip_norm"):
        train_many(nets(), [source(0)] * K, "mse", epochs=1, clip_norm=-1.0)
    chunk = Batch(torch.randn(2, T, I), torch.randn(2, 1), continues=True)
    with pytest.raises(ValueError, match="batches: expected rows that stand alone"):
        train_many(nets(), [[chunk]] * K, "mse", epochs=1)
