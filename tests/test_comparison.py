"""Networks are compared on equal terms, and a verdict is no surer than its seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import longspan as ls
from longspan import layers, models
from longspan.comparison import Entry, _verdict, confidence_interval

KINDS = {"LSTM": layers.LSTM, "GRU": layers.GRU, "RNN": layers.SimpleRNN}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 8, 1)).astype(np.float32)
Y = X.sum(1)


def build(kind: str) -> models.Sequential:
    model = models.Sequential([KINDS[kind](6), layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    return model


def test_three_networks() -> None:
    found = ls.compare(build, list(KINDS), (X, Y), epochs=2, seeds=3, metric="mae")
    assert {one.name: one.parameters for one in found.entries} == {"LSTM": 199, "GRU": 169, "RNN": 55}
    assert [one.error for one in found.entries] == sorted(one.error for one in found.entries)
    assert all(len(one.errors) == 3 and one.seconds > 0 for one in found.entries)
    shown = str(found)
    assert shown.splitlines()[1].startswith(found.best)
    assert "parameters" in shown
    assert found.verdict in shown
    assert "95 % interval" in found.verdict


def test_the_same_seeds_give_the_same_errors() -> None:
    first, second = (ls.compare(build, ["GRU"], (X, Y), epochs=2, seeds=[4, 5]).entries[0] for _ in range(2))
    assert first.errors == second.errors
    assert first.errors[0] != first.errors[1]


def test_time_is_a_budget_too() -> None:
    counts: list[int] = []

    def counted(kind: str) -> Any:
        model = build(kind)
        plain = model.fit

        def fit(*args: Any, **options: Any) -> Any:
            history = plain(*args, **options)
            counts.append(len(history.epoch))
            return history

        model.fit = fit
        return model

    ls.compare(counted, ["RNN"], (X, Y), epochs=100_000, seconds=0.05, seeds=1)
    assert 1 <= counts[0] < 100_000


def test_held_out_rows_are_the_last_or_ones_own() -> None:
    seen: list[int] = []

    def watched(kind: str) -> Any:
        model = build(kind)
        plain = model.evaluate

        def evaluate(x: Any, y: Any, **options: Any) -> Any:
            seen.append(len(x))
            assert np.array_equal(x, X[48:]) or len(x) == 5
            return plain(x, y, **options)

        model.evaluate = evaluate  # pyright: ignore[reportAttributeAccessIssue]
        return model

    ls.compare(watched, ["RNN"], (X, Y), epochs=1, seeds=1)
    ls.compare(watched, ["RNN"], (X, Y), epochs=1, seeds=1, validation_data=(X[:5], Y[:5]))
    assert seen == [12, 5]


def test_verdicts() -> None:
    clear = [Entry("A", (1.0, 1.1, 0.9), 2.0, 10), Entry("B", (2.0, 2.2, 1.9), 1.0, 5)]
    assert "a real difference" in _verdict(clear, "loss")
    close = [Entry("A", (1.0, 1.5, 0.9), 2.0, 10), Entry("B", (1.2, 1.0, 1.4), 1.0, 5)]
    assert "too close to call, and B is the quicker to fit" in _verdict(close, "loss")
    assert "give several" in _verdict([Entry("A", (1.0,), 1.0, 1), Entry("B", (2.0,), 1.0, 1)], "loss")


def test_what_rises_is_better_high() -> None:
    def sorting(kind: str) -> models.Sequential:
        model = models.Sequential([KINDS[kind](6), layers.Dense(1, activation="sigmoid")])
        model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
        return model

    labels = (Y > 0).astype(np.float32)
    found = ls.compare(sorting, ["LSTM", "RNN"], (X, labels), epochs=3, seeds=2, metric="accuracy")
    assert found.entries[0].error >= found.entries[1].error
    assert f"{found.best} has the highest mean accuracy" in found.verdict
    clear = [Entry("A", (0.9, 0.91, 0.9), 2.0, 10), Entry("B", (0.7, 0.71, 0.69), 1.0, 5)]
    assert "B has 0.203 less" in _verdict(clear, "accuracy")
    assert "a real difference" in _verdict(clear, "accuracy")


def test_the_interval_is_students() -> None:
    """The published quantile: half the width is t * s / sqrt(n), with t = 2.776 for five values."""
    values = [1.0, 2.0, 4.0, 8.0, 16.0]
    low, high = confidence_interval(values)
    assert (low + high) / 2 == pytest.approx(6.2)
    assert (high - low) / 2 == pytest.approx(2.776 * np.std(values, ddof=1) / 5**0.5)


def test_sentences() -> None:
    with pytest.raises(ValueError, match="names: expected at least one"):
        ls.compare(build, [], (X, Y))
    with pytest.raises(ValueError, match="metric: expected one of 'loss', 'mae', received 'mse'"):
        ls.compare(build, ["RNN"], (X, Y), epochs=1, seeds=1, metric="mse")
    with pytest.raises(TypeError, match="data: expected a pair"):
        ls.compare(build, ["RNN"], X)  # pyright: ignore[reportArgumentType]
    torch.manual_seed(0)
