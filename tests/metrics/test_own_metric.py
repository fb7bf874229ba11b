"""Tests metrics of a user's own: variables, arrays, checkpoints, and use by fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from longspan import losses, metrics
from longspan.layers import Dense, Input
from longspan.models import Sequential

X = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
Y = X.sum(1, keepdims=True)


class Spread(metrics.Metric):
    """The mean absolute error of all batches, and the largest error."""

    def __init__(self, name: str = "spread", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.total = self.add_weight(name="total", initializer="zeros")
        self.largest = self.add_variable(shape=(), initializer="zeros", name="largest")
        self.count = self.add_weight(name="count")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        errors = (y_true - y_pred).abs()
        self.total.assign_add(errors.sum())
        self.largest.assign(torch.maximum(self.largest, errors.max()))
        self.count.assign(self.count + errors.numel())

    def result(self) -> Any:
        return self.total / self.count + 0.0 * self.largest


def test_variables_are_kept_and_reset() -> None:
    metric = Spread()
    assert float(metric([0.0, 1.0], np.array([1.0, 4.0]))) == 2.0
    assert float(metric(torch.zeros(2), torch.zeros(2))) == 1.0
    assert [float(variable) for variable in metric.variables] == [4.0, 3.0, 4.0]
    state = metric.state()
    metric.reset_state()
    assert [float(variable) for variable in metric.variables] == [0.0, 0.0, 0.0]
    metric.restore(state)
    assert float(metric.result()) == 1.0 and metric.largest.numpy() == 3.0
    assert type(metric.total + 1) is torch.Tensor
    metric.total.assign_sub(4.0)
    assert float(metric.total) == 0.0


def test_fit_and_evaluate_use_it(tmp_path: Path) -> None:
    model = Sequential([Input((3,)), Dense(1)])
    model.compile("sgd", "mse", metrics=["mae", Spread()])
    history = model.fit(X, Y, epochs=2, batch_size=5, verbose=0, validation_data=(X, Y))
    np.testing.assert_allclose(history.history["spread"], history.history["mae"], rtol=1e-5)
    np.testing.assert_allclose(history.history["val_spread"], history.history["val_mae"], rtol=1e-5)
    assert [metric.name for metric in model.metrics] == ["mae", "spread"]


def test_a_name_from_the_class_and_types() -> None:
    class MeanOfAll(Spread):
        def __init__(self) -> None:
            super().__init__(name=None, dtype="float64")  # pyright: ignore[reportArgumentType]

    assert MeanOfAll().name == "mean_of_all" and MeanOfAll().total.dtype is torch.float64
    with pytest.raises(ValueError, match="dtype: expected one of "):
        Spread(dtype="float12")


def test_losses_and_metrics_take_arrays_and_lists() -> None:
    assert float(losses.MeanSquaredError()(np.ones((2, 1)), np.zeros((2, 1)))) == 1.0
    assert float(losses.MeanAbsoluteError()([[1], [3]], [[0.0], [0.0]], sample_weight=[1.0, 0.0])) == 0.5
    assert float(metrics.get("mse")([[1.0]], [[3.0]])) == 4.0
    metric = metrics.get(metrics.Accuracy())
    metric.update_state(np.array([1, 0]), np.array([1, 1]))
    assert float(metric.result()) == 0.5
