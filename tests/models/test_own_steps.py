"""Steps and losses that a model's own class defines are called by fit, evaluate and predict, as in Keras."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

from longspan import metrics
from longspan.layers import Dense
from longspan.models import Model

keras: Any = import_module("keras")  # as Any: its annotations are unions of every backend's
ours: Any = import_module("longspan")

pytestmark = pytest.mark.filterwarnings("ignore")  # of Keras itself

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(20, 6, 3)).astype("float32"), RNG.normal(size=(20, 1)).astype("float32")


def guide_model(space: Any) -> Any:
    """The model of Keras' guide to training steps of one's own on PyTorch."""

    class Custom(space.Model):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.dense = space.layers.LSTM(4), space.layers.Dense(1)

        def call(self, inputs: Any) -> Any:
            return self.dense(self.lstm(inputs))

        def train_step(self, data: Any) -> Any:
            x, y = data
            self.zero_grad()
            y_pred = self(x, training=True)
            loss = self.compute_loss(y=y, y_pred=y_pred)
            loss.backward()
            weights = list(self.trainable_weights)
            gradients = [v.value.grad for v in weights]
            with torch.no_grad():
                self.optimizer.apply(gradients, weights)
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(y, y_pred)
            return {metric.name: metric.result() for metric in self.metrics}

    return Custom()


def tracked_model(space: Any) -> Any:
    """Its own metrics and test step, and a loss that reads the inputs."""

    class Tracked(space.Model):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.dense = space.layers.LSTM(4), space.layers.Dense(1)

        def call(self, inputs: Any) -> Any:
            return self.dense(self.lstm(inputs))

        def compute_loss(
            self, x: Any = None, y: Any = None, y_pred: Any = None, weight: Any = None, training: Any = True
        ) -> Any:
            return (y - y_pred).square().mean() + x.square().mean() * 0.1

        def predict_step(self, data: Any) -> Any:
            x = data[0] if isinstance(data, tuple) else data
            return self(x) + 1.0

    return Tracked()


def same_start(make: Any) -> list[Any]:
    models = [make(space) for space in (ours, keras)]
    for model, space in zip(models, (ours, keras), strict=True):
        model.compile(optimizer=space.optimizers.Adam(0.01), loss="mse", metrics=["mae"])
        model.predict(X[:2], verbose=0)
    models[0].set_weights(models[1].get_weights())
    return models


@pytest.mark.parametrize("make", [guide_model, tracked_model])
def test_fit_and_predict_equal_keras(make: Any) -> None:
    mine, theirs = same_start(make)
    histories = [
        model.fit(X, Y, epochs=3, batch_size=5, shuffle=False, verbose=0).history for model in (mine, theirs)
    ]
    if make is tracked_model:
        assert histories[0]["loss"] == pytest.approx(histories[1]["loss"], rel=1e-4)
    for a, b in zip(mine.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(mine.predict(X, verbose=0), theirs.predict(X, verbose=0), rtol=1e-3, atol=1e-4)
    assert mine.evaluate(X, Y, verbose=0)[0] == pytest.approx(theirs.evaluate(X, Y, verbose=0)[0], rel=1e-3)


def test_logs_of_a_step_go_into_the_history() -> None:
    class Counting(ours.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = ours.layers.Dense(1)

        def call(self, inputs: Any) -> Any:
            return self.dense(inputs)

        def train_step(self, data: Any) -> Any:
            return {**super().train_step(data), "steps": 7.0}

        def test_step(self, data: Any) -> Any:
            return {**super().test_step(data), "tested": 1.0}

    model = Counting()
    model.compile("sgd", "mse", metrics=["mae"])
    history = model.fit(X[:, 0], Y, epochs=2, validation_split=0.5, verbose=0).history
    assert history["steps"] == [7.0, 7.0] and history["val_tested"] == [1.0, 1.0]
    assert history["loss"][1] < history["loss"][0] and set(history) >= {"mae", "val_mae", "val_loss"}
    assert set(model.evaluate(X[:, 0], Y, verbose=0, return_dict=True)) == {"loss", "mae", "tested"}


class Measured(Model):
    """A model with a metric of its own, updated in an older form of compute_loss."""

    def __init__(self) -> None:
        super().__init__()
        self.four = metrics.Mean("four")
        self.dense = Dense(1, activity_regularizer="l2")

    def call(self, inputs: Any) -> Any:
        return self.dense(inputs)

    def compute_loss(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None
    ) -> Any:
        assert self.losses
        loss = super().compute_loss(x, y, y_pred, sample_weight)
        self.four.update_state(4 * loss.detach())
        return loss


def test_metrics_that_are_attributes() -> None:
    model, x = Measured(), np.ones((8, 2))
    model.compile("sgd", "mse", metrics=["mae"])
    history = model.fit(x, x[:, :1], verbose=0).history
    assert set(history) == {"loss", "mae", "four"}
    assert history["four"][0] == pytest.approx(4 * history["loss"][0])
    logs = model.evaluate(x, x[:, :1], verbose=0, return_dict=True)
    assert logs["four"] == pytest.approx(4 * logs["loss"]) and logs == pytest.approx(
        {name: float(value) for name, value in model.get_metrics_result().items()}
    )
    assert [metric.name for metric in model.metrics] == ["loss", "mae", "four"]
    model.reset_metrics()
    assert float(model.four.result()) == 0.0
