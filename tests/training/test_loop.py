"""The training loop equals one written by hand, stops where it must, and says why."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import longspan as ls
from longspan.data import Batch, Batches, BPTTChunks
from longspan.losses import MeanSquaredError
from longspan.optimizers import keras
from longspan.training import Callback, LambdaCallback, TerminateOnNaN, evaluate, train
from longspan.training.loss_meter import AsyncLossMeter

X = torch.randn(24, 6, 3, generator=torch.Generator().manual_seed(1))
Y = X.sum((1, 2), keepdim=False).unsqueeze(1)


class Reader(nn.Module):
    """An LSTM read off at its last step, or at every step."""

    def __init__(self, *, every: bool = False, **options: Any) -> None:
        super().__init__()
        self.core = ls.nn.LSTM(3, 5, batch_first=True, **options)
        self.head, self.every = nn.Linear(5, 1), every

    def forward(self, batch: Batch, state: Any) -> tuple[Tensor, Any]:
        out, state = self.core(batch.x, state, lengths=batch.lengths)
        return self.head(out if self.every else out[:, -1]), state


def reader(**options: Any) -> Reader:
    torch.manual_seed(5)
    return Reader(**options)


def run(network: nn.Module | None = None, batches: Any = None, loss: Any = "mse", **options: Any) -> Any:
    network = reader() if network is None else network
    optimizer = options.pop("optimizer", None) or torch.optim.SGD(network.parameters(), lr=0.05)
    batches = Batches(X, Y, batch_size=10) if batches is None else batches
    return train(network, batches, loss, optimizer, **{"epochs": 2, "verbose": 0, **options})


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("clip", [{}, {"clip_norm": 0.05}, {"clip_value": 0.003}])
def test_equals_a_loop_by_hand(clip: dict[str, float]):
    ours, theirs = reader(), reader()
    history = run(ours, epochs=3, **clip)
    optimizer, means = torch.optim.SGD(theirs.parameters(), lr=0.05), []
    for _ in range(3):
        total = 0.0
        for x, y in zip(X.split(10), Y.split(10), strict=True):
            value = nn.functional.mse_loss(theirs(Batch(x), None)[0], y)
            optimizer.zero_grad()
            value.backward()
            if "clip_norm" in clip:
                norm = nn.utils.clip_grad_norm_(theirs.parameters(), 0.05)
                assert norm > 0.05
            if "clip_value" in clip:
                nn.utils.clip_grad_value_(theirs.parameters(), 0.003)
            optimizer.step()
            total += value.item() * len(x)
        means.append(total / 24)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
    assert history.history["loss"] == pytest.approx(means, rel=1e-6) and history.epoch == [0, 1, 2]


def test_same_seed_same_bits():
    networks = []
    for seed in (3, 3, 4):
        network = reader(recurrent_dropout=0.3)
        torch.manual_seed(seed)
        batches = Batches(X, Y, batch_size=10, shuffle=True)
        run(network, batches, optimizer=keras.Adam().build(network.parameters()), epochs=3)
        networks.append(network)
    assert same(networks[0], networks[1]) and not same(networks[0], networks[2])


def test_truncated_back_propagation():
    series, answers = X.repeat(1, 3, 1)[:4], torch.randn(4, 18, 1)
    ours, theirs = reader(every=True), reader(every=True)
    run(ours, BPTTChunks(series, answers, chunk_length=7), epochs=2)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.05)
    for _ in range(2):
        state = None
        for start in (0, 7, 14):
            kept = None if state is None else tuple(part.detach() for part in state)
            output, state = theirs(Batch(series[:, start : start + 7]), kept)
            optimizer.zero_grad()
            nn.functional.mse_loss(output, answers[:, start : start + 7]).backward()
            optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_states_are_handed_on_only_where_a_batch_carries():
    seen: list[Any] = []

    class Spy(Reader):
        def forward(self, batch: Batch, state: Any) -> tuple[Tensor, Any]:
            seen.append(state)
            assert state is None or not state[0].requires_grad
            return super().forward(batch, state)

    first = (torch.ones(1, 8, 5), torch.ones(1, 8, 5))
    parts = zip(X.split(8), Y.split(8), [True, True, False], strict=True)
    batches = [Batch(x, y, continues=continues) for x, y, continues in parts]
    run(Spy(), batches, epochs=1, state=first)
    assert torch.equal(seen[0][0], first[0]) and seen[1] is not None and seen[2] is None


def test_padding_does_not_count():
    network = reader(every=True)
    rows = [X[0], X[1, :2], X[2, :4]]
    answers = torch.randn(3, 6, 1)
    padded = Batches(rows, answers)
    with torch.no_grad():
        lengths = [6, 2, 4]
        parts = [
            network(Batch(row[None]), None)[0][0] - answers[i, :n]
            for i, (row, n) in enumerate(zip(rows, lengths, strict=True))
        ]
    wanted = torch.cat(parts).square().mean().item()
    logs = evaluate(network, padded, "mse", ["mae"])
    assert logs["loss"] == pytest.approx(wanted, rel=1e-5)
    assert logs["mae"] == pytest.approx(torch.cat(parts).abs().mean().item(), rel=1e-5)


def test_validation_and_metrics():
    network = reader()
    seen: list[bool] = []
    spy = LambdaCallback(on_test_begin=lambda logs: seen.append(network.training))
    batches, check = Batches(X[:16], Y[:16], batch_size=5), Batches(X[16:], Y[16:], batch_size=3)
    history = run(network, batches, metrics=["mae", "mse"], validate=check, callbacks=[spy])
    assert set(history.history) == {"loss", "mae", "mse", "val_loss", "val_mae", "val_mse"}
    again = evaluate(network, check, MeanSquaredError(), ["mae"])
    assert history.history["val_loss"][-1] == pytest.approx(again["loss"])
    assert history.history["val_mae"][-1] == pytest.approx(again["mae"])
    assert history.history["loss"] == pytest.approx(history.history["mse"], rel=1e-5)
    assert network.training and len(seen) == 2


def test_validation_by_a_function():
    history = run(validate=lambda: {"score": 7})
    assert history.history["val_score"] == [7.0, 7.0]


def test_evaluating_changes_nothing():
    network = reader(recurrent_dropout=0.5)
    before = [p.clone() for p in network.parameters()]
    one, two = (evaluate(network, Batches(X, Y), "mse") for _ in range(2))
    assert one == two and network.training
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_loaders_lists_and_tuples_are_batches():
    found = []
    items = list(zip(X.split(10), Y.split(10), strict=True))
    for batches in (Batches(X, Y, batch_size=10), DataLoader(TensorDataset(X, Y), batch_size=10), items):
        network = reader()
        run(network, batches)
        found.append(network)
    assert same(found[0], found[1]) and same(found[0], found[2])


def test_schedules():
    rates: list[float] = []
    spy = LambdaCallback(on_train_batch_end=lambda batch, logs: rates.append(optimizer.param_groups[0]["lr"]))
    network = reader()
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    run(network, optimizer=optimizer, schedule=lambda step: 0.1 / (step + 1), callbacks=[spy])
    assert rates == pytest.approx([0.1 / n for n in range(1, 7)])
    rates.clear()
    network = reader()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    halves = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    run(network, optimizer=optimizer, schedule=halves, callbacks=[spy])
    assert rates == pytest.approx([0.1 / 2**n for n in range(1, 7)])


def test_hooks_come_in_order():
    called: list[Any] = []

    class Spy(Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            called.append(("train", self.params["epochs"], self.model))

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            called.append(("epoch", epoch))

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            called.append(("batch", batch))

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            called.append(("done", batch, math.isfinite(logs["loss"])))

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs["extra"] = epoch * 2.0
            self.model.stop_training = epoch == 1

        def on_train_end(self, logs: Any = None) -> None:
            called.append(("end", logs["extra"]))

    network = reader()
    history = run(network, Batches(X, Y, batch_size=20), callbacks=[Spy()], epochs=9, initial_epoch=0)
    steps = [("batch", 0), ("done", 0, True), ("batch", 1), ("done", 1, True)]
    epochs = [("epoch", 0), *steps, ("epoch", 1), *steps]
    assert called == [("train", 9, network), *epochs, ("end", 2.0)]
    assert history.history["extra"] == [0.0, 2.0] and history.stopped == "a callback set stop_training"


def test_initial_epoch_and_model():
    kept: list[Any] = []
    model = nn.Module()
    spy = LambdaCallback(on_epoch_begin=lambda epoch, logs: kept.append((epoch, spy.model)))
    run(initial_epoch=3, epochs=5, callbacks=[spy], model=model)
    assert kept == [(3, model), (4, model)]
    assert run(epochs=0).epoch == []


class Spoiled(Reader):
    """NaN at the step asked for."""

    def __init__(self, at: int, value: float = math.nan) -> None:
        super().__init__()
        self.at, self.value, self.seen = at, value, 0

    def forward(self, batch: Batch, state: Any) -> tuple[Tensor, Any]:
        out, state = super().forward(batch, state)
        self.seen += 1
        return (out * self.value if self.seen == self.at else out), state


@pytest.mark.parametrize(("value", "word"), [(math.nan, "nan"), (math.inf, "inf")])
def test_a_loss_that_is_no_number_stops_at_once(value: float, word: str):
    network = Spoiled(5, value)
    weights: list[Tensor] = []
    spy = LambdaCallback(
        on_train_batch_end=lambda batch, logs: weights.__setitem__(
            slice(None), [p.clone() for p in network.parameters()]
        )
    )
    words = (
        f"loss: expected a finite number, received {word} at epoch 2, step 2; "
        "lower the learning rate, clip the gradients (clip_norm=1.0) or look at the data."
    )
    with pytest.raises(FloatingPointError, match=re.escape(words)):
        run(network, callbacks=[spy])
    assert network.seen == 5
    assert all(torch.equal(a, b) for a, b in zip(weights, network.parameters(), strict=True))


def test_nan_in_a_batch_is_named():
    bad = X.clone()
    bad[13, 2, 1] = math.nan
    items = list(zip(bad.split(10), Y.split(10), strict=True))
    with pytest.raises(
        FloatingPointError, match="nan at epoch 1, step 2, whose batch holds NaN or infinity;"
    ):
        run(batches=items)


def test_nan_ends_quietly_where_keras_would():
    network = Spoiled(5)
    history = run(network, callbacks=[TerminateOnNaN()], epochs=9)
    assert history.epoch == [0, 1] and network.seen == 5
    assert math.isnan(history.history["loss"][1])
    assert history.stopped is not None and "nan at epoch 2, step 2" in history.stopped
    with pytest.raises(FloatingPointError, match="nan at epoch 2, step 2"):
        run(Spoiled(5), callbacks=[TerminateOnNaN(raise_error=True)], epochs=9)


def generator() -> Any:
    yield from Batches(X, Y)


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "no batches": (
        lambda: run(batches=[]),
        "batches: expected at least one batch an epoch, received none; check that there are data.",
    ),
    "nothing to evaluate on": (
        lambda: evaluate(reader(), [], "mse"),
        "batches: expected at least one batch, rec",
    ),
    "not batches": (
        lambda: run(batches=3),
        "batches: expected batches to go through every epoch, received int; pass longspan.data.Batches",
    ),
    "a generator": (
        lambda: run(batches=generator()),
        "batches: expected batches that can be iterated every epoch, received generator; "
        "pass a list, longspan.data.Batches or a DataLoader.",
    ),
    "shape": (
        lambda: run(batches=Batches(X, torch.zeros(24, 2))),
        "y: expected shape (24, 1) like the network's output, received shape (24, 2)",
    ),
    "loss by name": (lambda: run(loss="msee"), "received 'msee'; the nearest is 'mse'."),
    "loss of a kind": (
        lambda: run(loss=3),
        "loss: expected a name, a loss, or a function (output, batch) -> number, received int",
    ),
    "loss per row": (
        lambda: run(loss=lambda output, batch: (output - batch.y)[:, 0]),
        "loss: expected one number, a tensor without dimensions, received shape (10,); take its mean.",
    ),
    "loss a float": (
        lambda: run(loss=lambda output, batch: 1.0),
        "a tensor without dimensions, received float",
    ),
    "loss detached": (
        lambda: run(loss=lambda output, batch: output.mean().detach()),
        "loss: expected a number with gradients, received one that does not depend on any parameter",
    ),
    "metric": (lambda: run(metrics=["acuracy"]), "the nearest is 'accuracy'"),
    "metric of a kind": (lambda: run(metrics=[3]), "metrics: expected names or metrics, received int"),
    "metrics twice": (
        lambda: run(metrics=["mae", "mae"]),
        "metrics: expected different names, received 'mae' twice",
    ),
    "callback": (
        lambda: run(callbacks=[print]),
        "callbacks: expected Callback objects, received builtin_function",
    ),
    "hook": (lambda: LambdaCallback(on_epoch=None), "hook: expected one of 'on_train_begin'"),
    "epochs": (lambda: run(epochs=-1), "epochs: expected a whole number of at least 0, received -1"),
    "verbose": (lambda: run(verbose=3), 'verbose: expected 0, 1, 2 or "auto", received 3; 1 shows a bar'),
    "clip": (lambda: run(clip_norm=0.0), "clip_norm: expected a number above 0, received 0.0"),
    "schedule": (lambda: run(schedule=0.1), "schedule: expected a function from the step to a rate"),
    "plateau": (
        lambda: run(
            schedule=torch.optim.lr_scheduler.ReduceLROnPlateau(torch.optim.SGD(reader().parameters()))
        ),
        "schedule: expected one that needs no metric, received torch's ReduceLROnPlateau",
    ),
    "frozen": (
        lambda: run(
            network := reader().requires_grad_(False), optimizer=torch.optim.SGD(network.parameters())
        ),
        "optimizer: expected at least one parameter that learns, received none",
    ),
    "resume": (
        lambda: run(resume=3),
        "resume: expected a path or a longspan.training.CheckpointConfig, received int",
    ),
    "mask of other steps": (
        lambda: run(reader(every=True), [Batch(X, X, mask=torch.ones(24, 5, dtype=torch.bool))], epochs=1),
        "mask: expected shape (24, 6), (B, T) of the network's output, received (24, 5)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_sentence(case: str):
    wrong, words = WRONG[case]
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        wrong()


def test_losses_on_a_device_are_looked_at_now_and_then():
    late, seen = AsyncLossMeter(lambda batch: len(batch.x)), Batch(torch.zeros(2, 1))
    number = torch.ones((), requires_grad=True)
    for step in range(70):
        late.add(number * step, seen, 0, step)
    assert late.result() == pytest.approx(sum(range(70)) / 70) and late.count == 140
    late.add(number, seen, 3, 0)
    late.add(number * math.nan, seen, 3, 1)
    late.add(number, seen, 3, 2)
    with pytest.raises(FloatingPointError, match="received nan at epoch 4, step 2;"):
        late.flush()
